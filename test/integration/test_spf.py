"""SPF against the openspf suite (CONFORMANCE_DATA/spf): each scenario with its own records."""
import os
import socket
import subprocess

import pytest
import yaml

BUILD = os.environ.get("MAILWEIR_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
DATA = os.environ.get("CONFORMANCE_DATA",
                      os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "data"))
SUITE = os.path.join(DATA, "spf", "rfc7208-tests.yml")
TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}

pytestmark = pytest.mark.skipif(not os.path.exists(SUITE), reason=f"there is no {SUITE}")


def scenarios():
    if not os.path.exists(SUITE):
        return []
    with open(SUITE, encoding="utf-8") as stream:
        return list(yaml.safe_load_all(stream))


def octets(text):
    return text.encode("latin-1", "surrogateescape") if isinstance(text, str) else text


def wire_name(name):
    labels = [octets(label) for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def wire_text(value):
    strings = value if isinstance(value, list) else [value]
    out = b""
    for string in map(octets, strings):
        parts = [string[i:i + 255] for i in range(0, len(string), 255)] or [b""]
        out += b"".join(bytes([len(part)]) + part for part in parts)
    return out


def rdata(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "MX":
        return int(value[0]).to_bytes(2, "big") + wire_name(value[1])
    if kind == "TXT":
        return wire_text(value)
    return wire_name(value)


def hexed(text):
    return octets(text).hex() or "-"


def zone_lines(zone):
    """Records of type SPF stand for TXT records as well, unless the name has those of its own."""
    for name, records in zone.items():
        if not name.rstrip("."):
            continue
        pairs = [next(iter(r.items())) for r in records if isinstance(r, dict)]
        has_txt = any(kind == "TXT" for kind, _ in pairs)
        known = set()
        for kind, value in pairs:
            if kind == "SPF":
                kind = None if has_txt else "TXT"
            if kind is None or value == "NONE":
                continue
            known.add(kind)
            if value == "TIMEOUT":
                yield f"fail {hexed(name)} {TYPES[kind]}"
            else:
                yield f"add {hexed(name)} {TYPES[kind]} {rdata(kind, value).hex()}"
        if "TIMEOUT" in records:
            for kind, number in TYPES.items():
                if kind not in known and kind != "CNAME":
                    yield f"fail {hexed(name)} {number}"


def run(lines):
    done = subprocess.run([os.path.join(BUILD, "test", "probe", "verify_probe")], check=True,
                          input="".join(line + "\n" for line in lines).encode(),
                          stdout=subprocess.PIPE, timeout=60)
    return [line.split(" ") for line in done.stdout.decode().splitlines()]


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda s: s["description"].replace(" ", "-"))
def test_suite(scenario):
    names = list(scenario["tests"])
    lines = list(zone_lines(scenario["zonedata"]))
    for name in names:
        test = scenario["tests"][name]
        lines.append(f"ask {test['host']} {hexed(test['helo'])} {hexed(test['mailfrom'])}")
    wrong = []
    for name, (result, explanation) in zip(names, run(lines), strict=True):
        test = scenario["tests"][name]
        wanted = test["result"] if isinstance(test["result"], list) else [test["result"]]
        text = bytes.fromhex(explanation).decode("latin-1")
        if result not in wanted:
            wrong.append(f"{name}: {result}, not {wanted}")
        wish = test.get("explanation")
        if wish is not None and result == "fail" and text != ("" if wish == "DEFAULT" else wish):
            wrong.append(f"{name}: explains '{text}', not '{wish}'")
    assert not wrong, "\n".join(wrong)
