"""Authentication-Results with python3-authres as the judge: of what is written, and of what is forged.

The judge wants a quoted value to be the last of its result, so properties are compared where none is
quoted before the end.
"""
import os
import random
import re
import subprocess

import authres

BUILD = os.environ.get("MAILWEIR_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
ID = "mx.example.org"
RESULTS = ["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"]
REASON = "as the test says"
SEED = 8601


def run(lines):
    done = subprocess.run([os.path.join(BUILD, "test", "probe", "authres_probe")], check=True,
                          input="".join(line + "\n" for line in lines).encode(),
                          stdout=subprocess.PIPE, timeout=60)
    return done.stdout.decode().split()


def hexed(text):
    return (text if isinstance(text, bytes) else text.encode("latin-1")).hex() or "-"


def unfolded(field):
    return re.sub(r"\r\n(?=[ \t])", "", field)


def judge(field):
    """The field as python3-authres reads it; None when it cannot."""
    try:
        return authres.all_features().parse(re.sub(r"^([^:]*?)[ \t]*:", r"\1:", unfolded(field)))
    except authres.AuthResError:
        return None


def properties(result):
    return {f"{each.type}.{each.name}": each.value for each in result.properties}


def random_domain(chance):
    return ".".join("".join(chance.choice("abcxyz019-_") for _ in range(chance.randint(1, 30)))
                    for _ in range(chance.randint(1, 6)))


def random_bytes(chance):
    return bytes(chance.choice(b";()\"\\=@, \t\r\n\x80\xffab.:/?") for _ in range(chance.randint(1, 60)))


def findings(chance, name):
    """Commands for the probe, and (method, result, properties) of each result."""
    lines, wanted = [], []
    if chance.random() < 0.8:
        result, domain, helo = chance.choice(RESULTS), name(chance), chance.randint(0, 1)
        lines.append(f"spf {result} {helo} {hexed(domain)}")
        wanted.append(("spf", result, {"smtp.helo" if helo else "smtp.mailfrom": domain}))
    signatures = []
    for _ in range(chance.randint(0, 6)):
        result, domain, selector = chance.choice(RESULTS), name(chance), name(chance)[:50]
        b8 = "".join(chance.choice("abcXYZ019+/") for _ in range(8))
        lines.append(f"dkim {result} {hexed(domain)} {hexed(selector)} {hexed(b8)}")
        signatures.append(("dkim", result, {"header.d": domain, "header.s": selector,
                                            "header.a": "rsa-sha256", "header.b": b8}))
    wanted += sorted(signatures, key=lambda each: each[1] != "pass")
    if chance.random() < 0.8:
        result, domain = chance.choice(["none", "pass", "fail", "temperror", "permerror"]), name(chance)
        lines.append(f"dmarc {result} quarantine 0 {hexed(domain)}")
        wanted.append(("dmarc", result, {"header.from": domain, "policy.dmarc": "quarantine"}))
    return lines, wanted


def written(name, rounds):
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    cases = [findings(chance, name) for _ in range(rounds)]
    output = run(line for lines, _ in cases for line in [*lines, f"write {hexed(ID)}"])
    assert len(output) == rounds
    return [(bytes.fromhex(text).decode("ascii"), wanted) for text, (_, wanted) in zip(output, cases)]


def test_written_fields_say_what_was_found():
    for field, wanted in written(random_domain, 500):
        header = judge(field)
        assert header is not None, field
        assert header.authserv_id == ID
        assert [(each.method, each.result, properties(each)) for each in header.results] == wanted, field
        assert all(each.reason == (REASON if each.method == "dkim" and each.result != "pass" else None)
                   for each in header.results), field


def test_written_fields_hold_no_more_than_was_found():
    """Whatever bytes peers put into names: each result once, and nothing else."""
    for field, wanted in written(random_bytes, 500):
        assert field.endswith("\r\n") and "\r" not in unfolded(field)[:-2] and len(field) < 4096
        assert all(32 <= ord(c) < 127 or c in "\r\n\t" for c in field)
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', '"', unfolded(field).rstrip("\r\n"))
        got = [part.split()[0] for part in bare.split(";")[1:]]
        assert got == ([f"{method}={result}" for method, result, _ in wanted] or ["none"]), field


def cfws(chance):
    return "".join(chance.choice([" ", "\t", "\r\n ", "\r\n\t", "(a)", "(a(b)c)", "(;)", "(\\))",
                                  f"({ID})"]) for _ in range(chance.randint(0, 4)))


def spelled(chance, name):
    case = "".join(chance.choice([c.lower(), c.upper()]) for c in name)
    title = "".join(chance.choice([c.lower(), c.upper()]) for c in "Authentication-Results")
    version = chance.choice(["", " 1", " 1" + cfws(chance)])
    results = "".join(f";{cfws(chance)}dkim{cfws(chance)}=pass header.d=example.com"
                      for _ in range(chance.choice([1, 1, 2, 90])))
    return (f"{title}{chance.choice(['', '', ' ', chr(9)])}:{cfws(chance)}{case}"
            f"{cfws(chance)}{version}{results}\r\n")


def others(chance):
    return chance.choice(["example.org", "mx2.example.org", "a.mx.example.org", "mx.example.org.net",
                          "mx.example.orga", "mx-example.org"])


def test_forged_fields_do_not_survive():
    """k forged among m of others, in any order: what is left holds none of ours and all of the others."""
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    judged = 0
    for _ in range(60):
        fields = [spelled(chance, ID) for _ in range(chance.randint(0, 20))]
        foreign = [spelled(chance, others(chance)) for _ in range(chance.randint(0, 20))]
        fields += foreign + [f"ARC-Authentication-Results: i=1; {ID}; dkim=pass\r\n"]
        chance.shuffle(fields)
        output = run(f"claims {hexed(ID)} {hexed(field)}" for field in fields)
        left = [field for field, answer in zip(fields, output) if answer == "0"]
        for field in left:
            header = judge(field)
            assert header is None or header.authserv_id != ID, field
        assert [field for field in fields if field in foreign] == \
            [field for field in left if not field.startswith("ARC-")]
        judged += [header.authserv_id for header in map(judge, fields) if header].count(ID)
    assert judged > 100, "the judge must have understood enough of the forged ones"

