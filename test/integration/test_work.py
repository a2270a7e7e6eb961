"""What it costs to verify hostile messages, in instructions: never much more than an ordinary one costs.

valgrind counts them (callgrind, without a model of caches), since virtual machines have no counters: no
noise, and nothing depends on the load of the machine. It has no SHA instructions; the block function of
SHA-256 is counted as HASH_DISCOUNT times less, which is its time with them (1.7 GB/s at 3 GHz) in instructions
of ordinary code, else the ordinary message, which is mostly hashed, would hide what the others cost. Only
what happens inside of work_call() in test/probe/work_probe.c is counted, each call on its own: a piece of
16 KiB that is fed, a phase that is reached, an answer.

Each message is compared with an ordinary one of the same number of octets, with one good RSA signature of 2048
bits: RATIO_MAX times its instructions at most. Twice the size costs GROWTH_MAX times at most. One call is
CALL_MAX at most: 10 ms at one instruction per cycle and 2 GHz; servers do more of both.
"""
import os
import re
import subprocess

import pytest

import hostile

BUILD = os.environ.get("MAILWEIR_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
PROBE = os.path.join(BUILD, "test", "probe", "work_probe")
PIECE = 16384
RATIO_MAX = 2.0
GROWTH_MAX = 2.3
CALL_MAX = 20_000_000
QUERIES_MAX = 10
HASH_DISCOUNT = 4  # 28 instructions an octet with AVX2; 1.8 cycles are worth 7
KIB = 1024

CASES = {
    # name: (maker, size); half the size is tried as well
    "129 signatures": (hostile.signatures_129, 256 * KIB),
    "8 keys of 4096 bits": (hostile.signatures_of_one_key_each(4096, 65537), 1024 * KIB),
    "8 keys of 8192 bits": (hostile.signatures_of_one_key_each(8192, 65537), 1024 * KIB),
    "keys with a large exponent": (hostile.signatures_of_one_key_each(3000, 2 ** 2999 - 1), 256 * KIB),
    "8 keys of an odd size": (hostile.signatures_of_one_key_each(4088, 65537), 1024 * KIB),
    "8 times 10^4 names, 10^4 fields": (hostile.names_on_fields(10000, 10000), 256 * KIB),
    "8 times 195 names, 1900 fields": (hostile.names_on_fields(3800, 390), 128 * KIB),
    "names that collide": (hostile.colliding_fields, 125 * KIB),
    "the header signed 8 times": (hostile.header_signed_eight_times, 125 * KIB),
    "10^5 folds": (hostile.folds, 300 * KIB),
    "40000 folds": (hostile.folds, 120 * KIB),
    "TXT of 64 KB": (hostile.key_record(lambda i: "v=DKIM1; p=" + "A" * 64000), 64 * KIB),
    "64 keys in one answer": (hostile.key_record(lambda i: f"v=DKIM1; n={i}; p=" + "A" * 80, 64), 64 * KIB),
    "a key record of tags": (hostile.key_record(lambda i: "v=DKIM1; " + "x=y;" * 1900), 64 * KIB),
    "10^4 Received": (hostile.received, 600 * KIB),
    "2000 Received": (hostile.received, 115 * KIB),
    "90 times spf=pass": (hostile.results(b"Authentication-Results: mx.example.net" + b"; spf=pass" * 90 + b"\r\n"),
                          120 * KIB),
    "Authentication-Results of 1 MB": (hostile.one_result(b"; spf=pass"), 1024 * KIB),
    "quoted pieces in 120 KB": (hostile.one_result(b'a"b"'), 120 * KIB),
    "fields of quoted pieces": (hostile.results(b"Authentication-Results: " + b'a"b"' * 30 + b".\xc3\xa4" +
                                                b'\xc3\xa4""' * 15 + b"\r\n"), 120 * KIB),
    "fields of dotted pieces": (hostile.results(b"Authentication-Results: " + b"\xc3\xa4(). " * 50 + b"\r\n"),
                                120 * KIB),
    "fields of commented pieces": (hostile.results(b"Authentication-Results: " + b"a.()" * 120 + b"\r\n"),
                                   120 * KIB),
    "comments in comments": (hostile.one_result(b"(", b")"), 120 * KIB),
    "a body of spaces": (hostile.body_of(b" ", b"\r\n"), 256 * KIB),
    "one letter, one space": (hostile.body_of(b"a ", b"\r\n"), 256 * KIB),
    "8 parts of the body, both forms": (hostile.body_limits, 1024 * KIB),
    "space in front of line ends": (hostile.body_of(b" \t\r\n"), 256 * KIB),
    "short lines": (hostile.body_of(b"a\r\n"), 256 * KIB),
    "short lines, simple": (hostile.body_of(b"a\r\n", c="relaxed/simple"), 256 * KIB),
    "empty lines at the end": (hostile.body_of(b"\r\n"), 256 * KIB),
    "empty lines, then a letter": (hostile.body_of(b"\r\n", b"x\r\n"), 4096 * KIB),
    "empty lines, again and again": (hostile.body_of(b"\r\n" * 5000 + b"x\r\n"), 256 * KIB),
    "10^5 addresses": (hostile.author(b"a@b.c,", end=b"a@b.c\r\n"), 600 * KIB),
    "20000 addresses": (hostile.author(b"a@b.c,", end=b"a@b.c\r\n"), 120 * KIB),
    "comments in From": (hostile.author(b"()", end=b"a@b.c\r\n"), 120 * KIB),
    "routes in From": (hostile.author(b"<@", end=b"a@b.c\r\n"), 120 * KIB),
    "long domains in From": (hostile.author(b"a@" + b"x" * 200 + b".c,", end=b"\r\n"), 120 * KIB),
    "116 labels": (hostile.tree, 256 * KIB),
    "macros of 8 KB, five times": (hostile.spf_bomb("%{d}", 5), 192 * KIB),
    "reversed macros": (hostile.spf_bomb("%{S99r.-+,/_=}", 5), 192 * KIB),
    "many terms": (hostile.spf("v=spf1 " + "ip4:10.0.0.1 " * 600 + "-all"), 64 * KIB),
}


def read_counts(path):
    """The instructions of each part of callgrind's file, those of SHA-256's block function discounted."""
    counts, names, blocks, in_block, is_call = [], {}, 0, False, False
    with open(path) as stream:
        for line in stream:
            if match := re.match(r"c?fn=(\(\d+\))(?: (.*))?$", line):
                if match.group(2):
                    names[match.group(1)] = match.group(2)
                if line.startswith("fn="):
                    in_block = names[match.group(1)].startswith("Transform_Sha256")
            elif line.startswith("calls="):
                is_call = True
            elif line.startswith("totals: "):
                counts.append(int(line.split()[1]) - blocks + blocks // HASH_DISCOUNT)
                blocks, in_block = 0, False
            elif re.match(r"[-+*\d]\S* \d+$", line):
                blocks += int(line.split()[1]) if in_block and not is_call else 0
                is_call = False
    return counts


def measure(folder, message):
    """(instructions of each call by its name, what was found, questions, questions for keys)"""
    paths = [os.path.join(folder, name) for name in ("message", "records", "counts")]
    with open(paths[0], "wb") as stream:
        stream.write(message.octets)
    with open(paths[1], "w") as stream:
        stream.writelines(f"{name} {kind} {data.hex()}\n" for name, kind, data in message.records)
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=work_call",
         "--dump-after=work_call", "--combine-dumps=yes", f"--callgrind-out-file={paths[2]}",
         PROBE, paths[0], paths[1], message.sender, str(PIECE)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    names = [line.split()[1] for line in lines if line.startswith("CALL ")]
    counts = read_counts(paths[2])
    counts = counts[:len(names)]  # the last part is that of the program's end
    assert len(counts) == len(names) and sum(counts) > 0
    asked, keys = (int(word) for word in lines[-1].split()[1:])
    return list(zip(names, counts)), lines[-2], asked, keys


def total(calls):
    return sum(count for _, count in calls)


@pytest.fixture(scope="module", autouse=True)
def probe_is_plain():
    with open(PROBE, "rb") as stream:
        if b"__asan_init" in (octets := stream.read()) or b"__tsan_init" in octets:
            pytest.skip("valgrind and sanitizers do not go together")


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """Instructions for an ordinary message of a size."""
    known = {}

    def cost(size):
        if size not in known:
            message = hostile.benign(size)
            calls, found, _, _ = measure(str(tmp_path_factory.mktemp("ordinary")), message)
            assert found == "FOUND dkim=pass spf=pass dmarc=pass", found
            assert abs(len(message.octets) - size) < 200
            known[size] = total(calls)
        return known[size]
    return cost


@pytest.mark.parametrize("name", CASES)
def test_hostile_costs_like_ordinary(name, tmp_path, ordinary):
    make, size = CASES[name]
    message = make(size)
    half = make(size // 2)
    calls, found, asked, keys = measure(str(tmp_path), message)
    cost = total(calls)
    half_cost = total(measure(str(tmp_path), half)[0])
    longest = max(calls, key=lambda call: call[1])
    ratio = cost / ordinary(len(message.octets) // 1000 * 1000)
    growth = (cost / half_cost) / (len(message.octets) / len(half.octets) / 2)
    print(f"\n{name:36} {len(message.octets):8} octets {cost / 1e6:8.2f} M  ratio {ratio:6.2f}  growth {growth:5.2f}"
          f"  longest {longest[0]} {longest[1] / 1e6:.2f} M  {asked} questions  {found}")
    assert keys <= QUERIES_MAX
    assert longest[1] <= CALL_MAX
    assert growth <= GROWTH_MAX
    assert ratio <= RATIO_MAX
