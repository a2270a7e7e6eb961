"""
weirpki - certificates for the servers behind the proxy, made by openssl while the tests run.

    Authority    a root of its own, or an intermediate under another one
    issue()      a Pair: chain file, key file, the pin of its key
    Pki          what most tests need

P-256 everywhere. Each authority has a folder; nothing is ever signed twice by one serial number.
"""
import base64
import hashlib
import os
import shutil
import subprocess
import time

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = none
[any]
commonName = optional
organizationName = optional
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = {key_id}
[inter]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

LEAF = """
[leaf]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
keyUsage = critical, digitalSignature
"""

KEY_ID = "00112233445566778899AABBCCDDEEFF00112233"
DAY = 86400


def openssl(*argv, data=None):
    done = subprocess.run(["openssl", *argv], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def stamp(seconds_from_now):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds_from_now))


class Pair:
    """What one end presents."""

    def __init__(self, chain, key):
        self.chain = chain
        self.key = key

    def __str__(self):
        """As configurations write it."""
        return f"{self.chain} {self.key}"

    def pin(self):
        """sha256/BASE64 of the SubjectPublicKeyInfo."""
        public = openssl("x509", "-in", self.chain, "-noout", "-pubkey")
        der = openssl("pkey", "-pubin", "-outform", "DER", data=public)
        return "sha256/" + base64.b64encode(hashlib.sha256(der).digest()).decode()


class Authority:
    """`path` is its certificate. Two roots of one name have the same subject and key id, and keys
    of their own: a clone."""

    def __init__(self, folder, name, under=None):
        self.folder = folder
        self.under = under
        os.makedirs(folder)
        self.path = os.path.join(folder, "ca.pem")
        self.key = os.path.join(folder, "ca.key")
        self.config = os.path.join(folder, "conf")
        open(os.path.join(folder, "index"), "x", encoding="ascii").close()
        self.write(LEAF)
        if under is None:
            openssl("req", "-config", self.config, "-x509", *self.new_key(self.key),
                    "-days", "3650", "-extensions", "root", "-subj", f"/CN={name}",
                    "-out", self.path)
        else:
            under.sign(f"/CN={name}", self.path, self.key, "inter", (-DAY, 999 * DAY))

    def write(self, leaf):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=self.folder, key_id=KEY_ID) + leaf)

    @staticmethod
    def new_key(path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]

    def sign(self, subject, path, key, section, dates):
        request = path + ".csr"
        openssl("req", "-config", self.config, *self.new_key(key), "-subj", subject,
                "-out", request)
        openssl("ca", "-config", self.config, "-batch", "-cert", self.path, "-keyfile", self.key,
                "-in", request, "-extensions", section, "-startdate", stamp(dates[0]), "-enddate",
                stamp(dates[1]), "-notext", "-out", path)

    def issue(self, name, names, subject=None, dates=(-DAY, 99 * DAY), chained=True):
        """A server's or client's certificate. `names` as in "DNS:a.example,IP:127.0.0.1", or None;
        `dates` in seconds from now; with `chained` what leads to the root stands behind it."""
        self.write(LEAF + (f"subjectAltName = {names}\n" if names else ""))
        pair = Pair(*(os.path.join(self.folder, name + end) for end in (".pem", ".key")))
        self.sign(subject or f"/CN={name}", pair.chain, pair.key, "leaf", dates)
        if chained and self.under is not None:
            with open(pair.chain, "ab") as chain, open(self.path, "rb") as own:
                shutil.copyfileobj(own, chain)
        return pair

    def self_signed(self, name, names):
        """A certificate that vouches for itself: nothing of this authority is in it."""
        self.write(LEAF + f"subjectAltName = {names}\n")
        pair = Pair(*(os.path.join(self.folder, name + end) for end in (".pem", ".key")))
        openssl("req", "-config", self.config, "-x509", *self.new_key(pair.key), "-days", "99",
                "-extensions", "leaf", "-subj", f"/CN={name}", "-out", pair.chain)
        return pair


class Pki:
    """A root, an intermediate, and a certificate that is right for 127.0.0.1 and for NAME."""

    NAME = "mx.peer.example"

    def __init__(self, folder):
        self.ca = Authority(os.path.join(folder, "ca"), "Test CA")
        self.inter = Authority(os.path.join(folder, "inter"), "Test CA 2", under=self.ca)
        self.right = self.ca.issue("right", f"DNS:{self.NAME},IP:127.0.0.1")
