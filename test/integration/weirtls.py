"""
weirtls - TLS for the integration tests: certificates, and a client that owns every byte.

    Pki        certificates made by openssl when the tests start
    TlsSocket  TLS over a raw socket through memory, so that a test can see, cut, reorder or foul
               the records; smtpraw.Client speaks over it as over a socket
    openssl    "openssl s_client" and what it printed

                 SMTP bytes --> ssl.SSLObject --> records --> raw socket, as the test likes
"""
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import time

import smtpraw
import weirlab

NAME = "mx.example.test"
OTHER = "other.example.test"
WILD = "*.wild.example.test"

# A certificate names where it could be revoked, as scanners ask for that.
CONF = """
[req]
distinguished_name = subject
prompt = no
[subject]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
crlDistributionPoints = URI:http://ca.example.test/root.crl
subjectAltName = ${ENV::NAMES}
"""
KEYS = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "rsa": ["-newkey", "rsa:2048"]}


class Certificate:
    """Two PEM files, and the SHA-256 of the certificate."""

    def __init__(self, chain, key):
        self.chain = chain
        self.key = key

    def __str__(self):
        """As [tls] certificate has it."""
        return f"{self.chain} {self.key}"

    def digest(self):
        with open(self.chain, encoding="ascii") as file:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()

    def put(self, chain, key):
        """Copies it over two files, each at once."""
        for source, target in ((self.chain, chain), (self.key, key)):
            shutil.copyfile(source, target + ".new")
            os.rename(target + ".new", target)


class Pki:
    """An authority of our own, `ca`, and under it `rsa` and `ec` (NAME), `other`, `wild`."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        with open(self.path("conf"), "w", encoding="ascii") as file:
            file.write(CONF)
        self.ca = self.path("ca.pem")
        self.openssl("req", "-x509", *KEYS["ec"], "-nodes", "-days", "90", "-extensions", "root",
                     "-subj", "/CN=Weir Test CA", "-keyout", self.path("ca.key"), "-out", self.ca)
        self.rsa = self.issue("rsa", NAME, "rsa")
        self.ec = self.issue("ec", NAME, "ec")
        self.other = self.issue("other", OTHER, "ec")
        self.wild = self.issue("wild", WILD, "ec")

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, word, *arguments, names="unused.example.test"):
        environment = dict(os.environ, NAMES="DNS:" + names)
        config = ["-config", self.path("conf")] if word == "req" else []
        done = subprocess.run(["openssl", word, *config, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                              timeout=60, check=False)
        assert done.returncode == 0, (word, arguments, done.stdout)

    def issue(self, label, name, kind):
        """A certificate for `name` under our authority."""
        chain, key, request = (self.path(label + end) for end in (".pem", ".key", ".csr"))
        self.openssl("req", *KEYS[kind], "-nodes", "-subj", f"/CN={label}", "-keyout", key, "-out",
                     request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.path("ca.key"),
                     "-CAcreateserial", "-days", "90", "-sha256", "-extfile", self.path("conf"),
                     "-extensions", "leaf", "-out", chain, names=name)
        return Certificate(chain, key)

    def context(self, name_is_checked=True, **options):
        """A client's context that trusts this authority and nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca)
        context.check_hostname = name_is_checked
        for key, value in options.items():
            setattr(context, key, value)
        return context


def only(version):
    """Options for Pki.context()."""
    return {"minimum_version": version, "maximum_version": version}


VERSIONS = {"TLSv1.2": only(ssl.TLSVersion.TLSv1_2), "TLSv1.3": only(ssl.TLSVersion.TLSv1_3)}


class TlsSocket:
    """A client's TLS over `raw`. What smtpraw.Client needs of a socket is there."""

    def __init__(self, raw, context, name=NAME, session=None):
        self.raw = raw
        self.inbound, self.outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inbound, self.outbound, server_hostname=name,
                                    session=session)

    def handshake(self):
        self._go_on(self.tls.do_handshake)
        return self

    def start(self, header, cut):
        """Sends `header` and the ClientHello, together or in two segments."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        data = header + self.outbound.read()
        self.raw.sendall(data[:cut])
        if cut is not None:
            time.sleep(0.01)
            self.raw.sendall(data[cut:])

    def _go_on(self, call):
        """Repeats a call, and moves bytes, until it comes through."""
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            finally:
                self.flush()

    def _receive(self):
        data = self.raw.recv(65536)
        if data:
            self.inbound.write(data)
        else:
            self.inbound.write_eof()

    def flush(self):
        if self.outbound.pending:
            self.raw.sendall(self.outbound.read())

    def records(self, data):
        """The records that carry `data`; nothing is sent."""
        assert not self.outbound.pending
        self.tls.write(data)
        return self.outbound.read()

    def close_notify(self):
        """The record of our close_notify; nothing is sent."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.outbound.read()

    def sendall(self, data):
        self.tls.write(data)
        self.flush()

    def recv(self, size):
        """b"" after the peer's close_notify; an end without it is a ConnectionError."""
        try:
            return self._go_on(lambda: self.tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLSyscallError):
            return b""
        except ssl.SSLEOFError as error:
            raise ConnectionResetError("cut short") from error

    def settimeout(self, seconds):
        self.raw.settimeout(seconds)

    def close(self):
        self.raw.close()

    def digest(self):
        """SHA-256 of the peer's certificate."""
        return hashlib.sha256(self.tls.getpeercert(True)).hexdigest()


def start_tls(client, context, name=NAME, session=None):
    """STARTTLS on a smtpraw.Client that has said EHLO; it goes on inside TLS."""
    client.ok("STARTTLS", 220)
    assert client.buffer == b"", client.buffer
    client.sock = TlsSocket(client.sock, context, name, session).handshake()
    return client


def connect(address, context, implicit=False, name=NAME, session=None):
    """A smtpraw.Client inside TLS that has not said EHLO there."""
    if not implicit:
        client = smtpraw.Client(address)
        client.ok("EHLO client.example", 250)
        return start_tls(client, context, name, session)
    client = smtpraw.Client(address, greet=False)
    client.sock = TlsSocket(client.sock, context, name, session).handshake()
    client.greeting = client.reply()
    return client


def settings(*certificates, tls="starttls", listen=None, limits=None, **tls_keys):
    """The configuration of a listener with these certificates."""
    return {"listen:mx": {"tls": tls, **(listen or {})}, "limits": limits or {},
            "tls": {"certificate": [str(certificate) for certificate in certificates], **tls_keys}}


def openssl(address, *options, say=b"QUIT\r\n", starttls=True):
    """Runs s_client, which says `say` inside TLS, until the proxy ends the session. Returns (exit
    code, all it printed)."""
    argv = ["openssl", "s_client", "-connect", weirlab.address_text(address), "-ign_eof"]
    argv += ["-starttls", "smtp", "-name", "client.example"] if starttls else []
    done = subprocess.run([*argv, *options], input=say, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout


def is_system_library():
    """The programs under test were built with the distribution's wolfSSL."""
    return weirlab.read(os.path.join(weirlab.BUILD, "wolfssl")).strip() == b"system"


def reload(proxy, wanted="certificates loaded again"):
    """SIGHUP, and the plain line that tells what came of it."""
    before = len(proxy.plain())
    proxy.signal(signal.SIGHUP)
    return weirlab.wait_until(
        lambda: next((line for line in proxy.plain()[before:] if wanted in line), None), wanted)
