#!/usr/bin/python3
"""Makes RSA signatures of many key sizes in a directory, each good by arithmetic, without a private key.

    test/rsa_vectors.py DIRECTORY BITS...

For each size: BITS.spki, a SubjectPublicKeyInfo with e = 3, and BITS.sig, a PKCS #1 v1.5 signature with
SHA-256 over "abc". The modulus is made to fit: for the padded digest m and any s, s is the cube root of
m modulo s^3 - m. So a size that would take a minute to make a key for takes nothing, and a library that
refuses one does it for the size alone.
"""
import hashlib
import os
import sys

DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")


def der(tag, content):
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def der_integer(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def cube_root(value):
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle ** 3 < value else (low, middle)
    return low


def vector(bits):
    """(modulus, signature, size in octets)"""
    size = (bits + 7) // 8
    info = DIGEST_INFO + hashlib.sha256(b"abc").digest()
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
    message = int.from_bytes(padded, "big")
    root = cube_root((3 << (bits - 2)) + message)  # the modulus begins with the bits 11
    root += (root - message + 1) % 2  # and is odd
    modulus = root ** 3 - message
    assert modulus.bit_length() == bits and modulus % 2 == 1 and modulus > message
    assert pow(root, 3, modulus) == message
    return modulus, root, size


def main(folder, sizes):
    for bits in map(int, sizes):
        modulus, root, size = vector(bits)
        key = der(0x30, der_integer(modulus) + der_integer(3))
        with open(os.path.join(folder, f"{bits}.spki"), "wb") as file:
            file.write(der(0x30, RSA_ENCRYPTION + der(3, b"\0" + key)))
        with open(os.path.join(folder, f"{bits}.sig"), "wb") as file:
            file.write(root.to_bytes(size, "big"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
