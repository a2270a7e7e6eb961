"""Messages that are made to be expensive, and an ordinary one of the same size.

Each is a Message: octets, the DNS records that its sender owns, and the reverse-path. `size` is about what
it measures, so that twice the size can be asked for. Nothing here is random.
"""
import base64
import functools
import hashlib
import itertools
import os
import re
import subprocess
import tempfile

import dkim

TXT, A = 16, 1
WORDS = b"Lorem ipsum dolor sit amet, consetetur sadipscing elitr, sed diam nonumy\r\n"


class Message:
    def __init__(self, header, body, records=(), sender="joe@example.com"):
        self.octets = header + b"\r\n" + body
        self.records = list(records)  # (name, type, wire data)
        self.sender = sender


# ---- records ----

def txt(name, text):
    text = text if isinstance(text, bytes) else text.encode()
    parts = [text[i:i + 255] for i in range(0, len(text), 255)] or [b""]
    return (name, TXT, b"".join(bytes([len(part)]) + part for part in parts))


def der(tag, content):
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def der_integer(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_key(bits, exponent=65537):
    """A key record whose modulus nobody knows the factors of; the arithmetic costs the same."""
    digits = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(bits // 256))
    modulus = int.from_bytes(digits, "big") | 1 << (bits - 1) | 1
    key = der(0x30, der_integer(modulus) + der_integer(exponent))
    return "v=DKIM1; k=rsa; p=" + base64.b64encode(key).decode()


@functools.lru_cache(maxsize=None)
def good_key():
    """(private key as PEM, key record) of 2048 bits."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "key")
        subprocess.run(["openssl", "genrsa", "-traditional", "-out", path, "2048"], check=True,
                       stderr=subprocess.DEVNULL)
        public = subprocess.run(["openssl", "rsa", "-in", path, "-pubout", "-outform", "DER"], check=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        with open(path, "rb") as stream:
            return stream.read(), "v=DKIM1; p=" + base64.b64encode(public).decode()


# ---- parts ----

HEADER = b"".join([
    b"Received: from mail.example.com (mail.example.com [192.95.0.7])\r\n"
    b"\tby mx.example.net (Postfix) with ESMTPS id 4XyZ\r\n\tfor <a@example.net>; "
    b"Tue, 14 Nov 2023 22:13:20 +0000 (UTC)\r\n",
    b"From: Joe Example <joe@example.com>\r\n",
    b"To: Ann Example <ann@example.net>\r\n",
    b"Subject: The figures that you asked for\r\n",
    b"Date: Tue, 14 Nov 2023 22:13:19 +0000\r\n",
    b"Message-ID: <20231114221319.4711@mail.example.com>\r\n",
    b"MIME-Version: 1.0\r\n",
    b"Content-Type: text/plain; charset=utf-8\r\n"])

POLICY = [txt("example.com", "v=spf1 ip4:192.95.0.0/24 -all"),
          txt("_dmarc.example.com", "v=DMARC1; p=reject; rua=mailto:dmarc@example.com")]


def text(size):
    return (WORDS * (size // len(WORDS) + 1))[:max(size - 2, 0)] + b"\r\n"


def relaxed(body):
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and lines[-1] == b"":
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def body_sum(body, limit=None, is_relaxed=True):
    canonical = relaxed(body) if is_relaxed else body.rstrip(b"\r\n") + b"\r\n"
    return base64.b64encode(hashlib.sha256(canonical[:limit]).digest()).decode()


def signature(domain, names="From", bits=2048, total=None, more="", c="relaxed/relaxed"):
    """A field that nobody has signed. With `total`, the true hash of the body, it costs the arithmetic."""
    b = base64.b64encode(b"\x01" * (bits // 8)).decode()
    total = total or base64.b64encode(b"\x02" * 32).decode()
    return (f"DKIM-Signature: v=1; a=rsa-sha256; d={domain}; s=s; c={c};{more}\r\n"
            f" h={names};\r\n bh={total};\r\n b={b}\r\n").encode()


def benign(size):
    """One good signature; an ordinary header, an ordinary body."""
    private, record = good_key()
    for _ in range(2):  # the length of the signature is known then
        body = text(max(size - len(HEADER) - 600, 10))
        message = HEADER + b"\r\n" + body
        signed = dkim.sign(message, b"s", b"example.com", private, canonicalize=(b"relaxed", b"relaxed"))
        body = text(max(size - len(signed) - len(HEADER) - 2, 10))
        signed = dkim.sign(HEADER + b"\r\n" + body, b"s", b"example.com", private,
                           canonicalize=(b"relaxed", b"relaxed"))
    return Message(signed + HEADER, body, POLICY + [txt("s._domainkey.example.com", record)])


KEYS = [txt("*", rsa_key(2048))]


def with_signature(body, **more):
    """The body in question, hashed for one signature."""
    return Message(signature("example.com", **more) + HEADER, body, POLICY + KEYS)


# ---- what costs ----

def signatures_129(size):
    body = text(max(size - 129 * 560, 10))
    total = body_sum(body)
    fields = b"".join(signature(f"d{i}.example.com", total=total) for i in range(129))
    return Message(fields + HEADER, body, KEYS)


def signatures_of_one_key_each(bits, exponent):
    def make(size):
        body = text(size - 9000 - bits)
        total = body_sum(body)
        fields = b"".join(signature(f"d{i}.example.com", total=total, bits=bits) for i in range(8))
        return Message(fields + HEADER, body, [txt("*", rsa_key(bits, exponent))])
    return make


def names_on_fields(fields, names):
    """As many fields of two octets, and as many names in h= as there is room for, in eight signatures."""
    def make(size):
        share = size / (256 * 1024)
        header = b"".join(b"%c%c:\r\n" % (97 + i % 26, 97 + i // 26 % 26) for i in range(int(fields * share)))
        wanted = ":".join(["From"] + [chr(97 + i % 26) for i in range(int(names * share))])
        signatures = b"".join(signature(f"d{i}.example.com", names=wanted) for i in range(8))
        rest = max(size - len(header) - len(signatures) - len(HEADER), 10)
        return Message(signatures + HEADER + header, text(rest), KEYS)
    return make


def fnv(name):
    value = 2166136261
    for octet in name.lower().encode():
        value = (value ^ octet) * 16777619 & 0xffffffff
    return (value ^ value >> 15) % 4096


@functools.lru_cache(maxsize=None)
def colliding_names(count):
    """Names of four letters that a plain hash table of 4096 slots puts into one slot."""
    found = []
    for letters in itertools.product("abcdefghijklmnopqrstuvwxyz0123456789-_!#$%&'*+^`|~", repeat=4):
        name = "".join(letters)
        if fnv(name) == 7:
            found.append(name)
            if len(found) == count:
                return found
    return found


def colliding_fields(size):
    count = int(1900 * size / (128 * 1024))
    names = colliding_names(count)
    header = b"".join(name.encode() + b":\r\n" for name in names)
    wanted = ":".join((["From"] + names)[:190])
    signatures = b"".join(signature(f"d{i}.example.com", names=wanted) for i in range(7))
    rest = max(size - len(header) - len(signatures) - len(HEADER), 10)
    return Message(signatures + HEADER + header, text(rest), KEYS)


def header_signed_eight_times(size):
    wanted = ":".join(["From"] + ["x"] * 60)
    signatures = b"".join(signature(f"d{i}.example.com", names=wanted) for i in range(8))
    line = b"x: " + b"a b " * ((size - 12000) // 60 // 4) + b"\r\n"
    return Message(signatures + HEADER + line * 60, b"", KEYS)


def folds(size):
    """A field of folds, signed; too many for what is kept when there are 10^5 of them."""
    header = b"Subject: x" + b"\r\n " * ((size - 3000) // 3) + b"x\r\n"
    return Message(signature("example.com", names="From:Subject") + HEADER.replace(b"Subject", b"X-Old") + header,
                   b"Hi.\r\n", KEYS)


def key_record(record, types=1):
    def make(size):
        return Message(signature("example.com") + HEADER, text(size - 2000),
                       [txt("*", record(i)) for i in range(types)])
    return make


def received(size):
    field = b"Received: from a by b; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    return Message(signature("example.com", names="From" + ":Received" * 190) + HEADER +
                   field * ((size - 15000) // len(field)), b"", KEYS)


def results(piece):
    """Authentication-Results fields of the same pieces."""
    def make(size):
        fields = piece * ((size - 2000) // len(piece))
        return Message(signature("example.com") + HEADER + fields, b"", KEYS)
    return make


def one_result(inner, end=b""):
    def make(size):
        count = (size - 2000) // len(inner)
        return Message(signature("example.com") + HEADER + b"Authentication-Results: " + inner * count +
                       end + b"\r\n", b"", KEYS)
    return make


def body_of(piece, end=b"", **more):
    def make(size):
        return with_signature(piece * ((size - 2000) // len(piece)) + end, **more)
    return make


def body_limits(size):
    """Eight signatures, each over another part of the body, in both forms."""
    body = text(size - 8 * 560)
    fields = b"".join(signature(f"d{i}.example.com", more=f" l={size // 2 + i};",
                                c="simple/simple" if i % 2 else "relaxed/relaxed") for i in range(8))
    return Message(fields + HEADER, body, KEYS)


def author(piece, begin=b"", end=b""):
    def make(size):
        value = begin + piece * ((size - 2000) // len(piece)) + end
        header = HEADER.replace(b"From: Joe Example <joe@example.com>", b"From: " + value)
        return Message(signature("example.com") + header, b"", POLICY + KEYS)
    return make


def tree(size):
    """The author's name has 116 labels, as many as leave room for a signer's, and each signer is another one below it."""
    domain = ".".join(["a"] * 115) + ".com"
    header = HEADER.replace(b"joe@example.com", b"joe@" + domain.encode())
    body = text(max(size - 12000, 10))
    total = body_sum(body)
    fields = b"".join(signature(f"{chr(98 + i)}.{domain}", total=total) for i in range(8))
    return Message(fields + header, body, KEYS, sender="joe@c." + domain)


def spf(record, *others):
    def make(size):
        return Message(signature("example.com") + HEADER, text(size - 2000),
                       KEYS[1:] + [txt("example.com", record), ("*", A, b"\x7f\0\0\2")] +
                       [txt(name, other) for name, other in others])
    return make


def spf_bomb(macro, count, room=7800):
    """`count` records of one term of so many macros, included one after the other."""
    includes = " ".join(f"include:i{i}.test" for i in range(count))
    return spf("v=spf1 " + includes + " -all",
               *[(f"i{i}.test", "v=spf1 exists:" + macro * (room // len(macro)) + ".test -all")
                 for i in range(count)])
