"""DKIM against the small cases of CONFORMANCE_DATA/dkim, and against two other verifiers.

Expectations of our own: 09 rests on l=, which leaves a part of the body unsigned: "policy" here. 02 has
seven signatures, of which its other verifier looks at five; ours looks at eight, and all are good. 03's
header is malformed: no signature over it counts. 10 and 11 want what the keys there say.
"""
import json
import os
import re
import subprocess

import pytest

BUILD = os.environ.get("MAILWEIR_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
DATA = os.environ.get("CONFORMANCE_DATA",
                      os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "data"))
CASES = os.path.join(DATA, "dkim")
NOW = 1700000000
pytestmark = pytest.mark.skipif(not os.path.isdir(CASES), reason=f"there is no {CASES}")


def case_names():
    if not os.path.isdir(CASES):
        return []
    return sorted(name[:-4] for name in os.listdir(CASES) if name.endswith(".msg"))


def wire_text(value):
    data = value.encode("latin-1")
    parts = [data[i:i + 255] for i in range(0, len(data), 255)] or [b""]
    return b"".join(bytes([len(part)]) + part for part in parts)


def case_file(name, kind):
    """A file of the case; one that holds nothing but another one's name stands for that one."""
    path = os.path.join(CASES, f"{name}.{kind}")
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as stream:
        data = stream.read()
    other = os.path.join(CASES, data.strip().decode("latin-1")) if len(data) < 100 else path
    if os.path.isfile(other):
        with open(other, "rb") as stream:
            return stream.read()
    return data


def records(name):
    """"domain: text", continued lines end in a backslash; "TEMPERROR" and "PERMERROR" are no text."""
    text = case_file(name, "dns").decode("latin-1").replace("\\\n", "")
    pairs = [line.split(":", 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(domain.strip(), value.strip()) for domain, value in pairs]


def dns_lines(name):
    for domain, value in records(name):
        if value == "TEMPERROR":
            yield f"fail {domain.encode().hex()} 16"
        elif value != "PERMERROR":
            yield f"add {domain.encode().hex()} 16 {wire_text(value).hex()}"


def run(lines):
    done = subprocess.run([os.path.join(BUILD, "test", "probe", "verify_probe")], check=True,
                          input="".join(line + "\n" for line in lines).encode(),
                          stdout=subprocess.PIPE, timeout=60)
    return done.stdout.decode().splitlines()


def with_crlf(data, folder):
    data = re.sub(rb"\r?\n", b"\r\n", data)
    copy = os.path.join(folder, "message")
    with open(copy, "wb") as stream:
        stream.write(data)
    return copy


def wanted(name):
    states = [result["State"] for result in json.loads(case_file(name, "result"))["Results"] or []]
    return [{"SUCCESS": "pass", "TEMPFAIL": "temperror"}.get(state, "bad") for state in states]


@pytest.mark.parametrize("cut", [1, 7, 100000])
@pytest.mark.parametrize("name", case_names())
def test_case(name, cut, folder):
    message = with_crlf(case_file(name, "msg"), folder)
    lines = run([*dns_lines(name), f"verify {message} {NOW} {cut}"])
    words = [line.split(" ", 3)[0] for line in lines[1:]]
    assert len(words) == int(lines[0])
    if name.startswith("03"):
        assert "pass" not in words, lines
        return
    if name.startswith("09"):
        assert words == ["pass" if word == "pass" else "policy" for word in words] and "policy" in words, lines
        return
    got = [word if word in ("pass", "temperror") else "bad" for word in words]
    wish = wanted(name)
    if name.startswith("02"):
        wish = ["pass"] * 7
    assert sorted(got) == sorted(wish), lines


def test_names_that_are_none_are_shown_in_visible_ascii(folder):
    """d= and s= of a field that is refused: folded lines, control octets and others stand there as "?"."""
    rest = b"; h=from; bh=u0A/YWu2LwxHPEJTRgHj2P4k+mGt1J9R9M26i9WFzik=; b=AAAA\n"
    field = b"DKIM-Signature: v=1; a=rsa-sha256; d=good.example\n X-Weir=1; s=s1\n\t"
    content = field + b"\x1b[31m\xe4" + rest + field + b"two" + rest + b"From: <a@good.example>\n\nx\n"
    message = with_crlf(content, folder)
    for line in run([f"verify {message} {NOW} 100"])[1:]:
        words = line.split(" ", 3)
        assert words[0] == "permerror" and re.fullmatch("[!-~]+", words[1]) and re.fullmatch("[!-~]+", words[2]), line
    assert "good.example???X-Weir=1 s1???two" in "\n".join(run([f"verify {message} {NOW} 100"]))
