"""
test_tls_reload - new certificates by SIGHUP, under load: no handshake fails, no session ends, and a
broken new certificate changes nothing but the log.
"""
import os
import signal
import subprocess
import threading

import pytest

import smtpraw
import weirlab
import weirtls
from weirtls import NAME

RELOADS = int(os.environ.get("WEIR_RELOADS", "300"))
MESSAGE = b"Subject: reload\r\n\r\nbody\r\n"
DONE = "certificates loaded again"


class Files:
    """The two pairs of files that the configuration names, RSA and ECDSA, and what is put there."""

    def __init__(self, pki, folder):
        self.slots = {kind: weirtls.Certificate(os.path.join(folder, kind + ".pem"),
                                                os.path.join(folder, kind + ".key"))
                      for kind in ("ec", "rsa")}
        self.sets = [{"ec": pki.ec, "rsa": pki.rsa},
                     {kind: pki.issue("next-" + kind, NAME, kind) for kind in ("ec", "rsa")}]
        self.put(0)

    def put(self, number):
        for kind, slot in self.slots.items():
            self.sets[number][kind].put(slot.chain, slot.key)

    def digest(self, number):
        return self.sets[number]["ec"].digest()


@pytest.fixture
def files(pki, folder):
    return Files(pki, folder)


def start(secured, files, **options):
    return secured(*files.slots.values(), **options)


def digest_now(proxy, pki, only_rsa=False):
    """Of the certificate that a new session gets."""
    context = pki.context(**weirtls.VERSIONS["TLSv1.2" if only_rsa else "TLSv1.3"])
    if only_rsa:
        context.set_ciphers("ECDHE+aRSA")
    with weirtls.connect(proxy.address, context) as client:
        return client.sock.digest()


class Load:
    """Clients that do full handshakes and a message each, all the time. `failures` tells."""

    def __init__(self, proxy, pki, implicit=False):
        self.proxy = proxy
        self.pki = pki
        self.implicit = implicit
        self.over = False
        self.done = 0
        self.seen = set()
        self.failures = []
        self.lock = threading.Lock()
        bodies = [self.python, self.python, self.python, self.openssl]
        self.threads = [threading.Thread(target=self.run, args=(body,)) for body in bodies]
        for thread in self.threads:
            thread.start()

    def run(self, body):
        turn = 0
        while not self.over:
            try:
                body(turn)
                with self.lock:
                    self.done += 1
            except (AssertionError, OSError, smtpraw.Closed, subprocess.SubprocessError) as error:
                self.failures.append(repr(error))
            turn += 1

    def python(self, turn):
        options = list(weirtls.VERSIONS.values())[turn % 2]
        context = self.pki.context(**options)
        with weirtls.connect(self.proxy.address, context, self.implicit) as client:
            self.seen.add(client.sock.digest())
            client.begin()
            reply = client.data(MESSAGE)
            assert reply.startswith(b"250"), reply
            client.ok("QUIT", 221)
            assert client.at_end()

    def openssl(self, turn):
        say = b"EHLO c\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@d.example>\r\nDATA\r\n"
        say += MESSAGE + b".\r\nQUIT\r\n"
        options = ["-tls1_2", "-cipher", "aRSA"] if turn % 2 else []
        code, printed = weirtls.openssl(self.proxy.address, *options, "-CAfile", self.pki.ca,
                                        "-verify_return_error", say=say,
                                        starttls=not self.implicit)
        assert code == 0 and b"Verify return code: 0" in printed, printed
        assert b"\n354 " in printed and b"\n221 " in printed, printed

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
def test_reloads_under_load(secured, pki, files, stops, kind):
    proxy = start(secured, files, tls=kind)
    lasting = weirtls.connect(proxy.address, pki.context(), kind == "implicit")
    lasting.ok("EHLO lasting.example", 250)
    load = Load(proxy, pki, kind == "implicit")
    stops.append(load)
    kept = 0
    for turn in range(RELOADS):
        files.put(turn % 2)
        weirtls.reload(proxy)
        with weirtls.connect(proxy.address, pki.context(), kind == "implicit") as client:
            assert client.sock.digest() == files.digest(turn % 2), turn
        if turn % 25 == 0:
            lasting.begin()
            assert lasting.data(MESSAGE).startswith(b"250")
            kept += 1
        assert not load.failures, (turn, load.failures)
    load.end()
    assert not load.failures, load.failures
    print(f"{load.done} sessions during {RELOADS} reloads")
    assert load.done > 10 and load.seen == {files.digest(0), files.digest(1)}
    assert sum(DONE in line for line in proxy.plain()) == RELOADS
    lasting.ok("QUIT", 221)
    assert len(proxy.sink.journal()) == load.done + kept


def test_a_session_may_be_anywhere(secured, pki, files):
    """Sessions at every stage when certificates change: each goes on with what it has."""
    proxy = start(secured, files)
    context = pki.context()
    clients = [smtpraw.Client(proxy.address) for _ in range(8)]
    for client in clients[1:]:
        client.ok("EHLO client.example", 250)
    for client in clients[2:]:
        client.ok("STARTTLS", 220)
    sock = weirtls.TlsSocket(clients[3].sock, context)
    sock.start(b"", 40)  # half a ClientHello, then the rest
    clients[3].sock = sock
    for client in clients[4:]:
        client.sock = weirtls.TlsSocket(client.sock, context).handshake()
    for client in clients[5:]:
        client.begin()
    for client in clients[6:]:
        client.ok("DATA", 354)
    clients[7].send(MESSAGE)
    for number in (1, 0, 1):
        files.put(number)
        weirtls.reload(proxy)
    clients[2].sock = weirtls.TlsSocket(clients[2].sock, context).handshake()
    clients[3].sock.handshake()
    for client in clients[2:4]:  # which it is was decided with the 220
        assert client.sock.digest() in (files.digest(0), files.digest(1))
    for client in clients[:5]:
        client.begin()
    for client in clients[:6]:
        client.ok("DATA", 354)
    for client in clients[:7]:
        client.send(MESSAGE)
    for client in clients:
        client.send(b".\r\n")
        assert client.reply().startswith(b"250")
        client.close()
    assert len(proxy.sink.rows()) == 8


def write(path, text):
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.rename(path + ".new", path)


def broken(pki, files):
    """[(what to do, the file that the log must name)]"""
    slot = files.slots["ec"]
    return [
        (lambda: write(slot.chain, "no certificate\n"), slot.chain),
        (lambda: write(slot.chain, ""), slot.chain),
        (lambda: write(slot.key, "no key\n"), slot.key),
        (lambda: pki.other.put(slot.chain, slot.chain + ".unused"), slot.key),
        (lambda: os.unlink(slot.chain), slot.chain),
        (lambda: os.unlink(slot.key), slot.key),
        (lambda: write(files.slots["rsa"].chain, "the second one\n"), files.slots["rsa"].chain),
    ]


def test_a_broken_certificate_keeps_the_old_one(secured, pki, files):
    proxy = start(secured, files)
    for number, (damage, named) in enumerate(broken(pki, files)):
        files.put(1)
        damage()
        line = weirtls.reload(proxy, named)
        assert " error: " in line, line
        assert digest_now(proxy, pki) == files.digest(0), number
        assert digest_now(proxy, pki, only_rsa=True) == files.sets[0]["rsa"].digest(), number
    assert not [line for line in proxy.plain() if DONE in line]
    files.put(1)
    weirtls.reload(proxy)
    assert digest_now(proxy, pki) == files.digest(1)


def test_the_log_is_reopened_as_well(secured, pki, files):
    """One SIGHUP does both, and what is wrong with one does not stop the other."""
    proxy = start(secured, files)
    for number, damage in ((1, None), (0, lambda: write(files.slots["ec"].chain, "broken\n"))):
        files.put(number)
        if damage:
            damage()
        os.rename(proxy.log_path, f"{proxy.log_path}.{number}")
        proxy.signal(signal.SIGHUP)
        wanted = files.slots["ec"].chain if damage else DONE
        weirlab.wait_until(lambda w=wanted: any(w in line for line in proxy.plain()), wanted)
        assert digest_now(proxy, pki) == files.digest(1)
        with weirtls.connect(proxy.address, pki.context()) as client:
            client.begin()
            assert client.data(MESSAGE).startswith(b"250")
        assert len(proxy.records()) == 1


def test_sighup_without_tls(weir, sink):
    """Nothing to load, nothing said."""
    proxy = weir(sink())
    os.rename(proxy.log_path, proxy.log_path + ".1")
    proxy.signal(signal.SIGHUP)
    weirlab.wait_until(lambda: os.path.exists(proxy.log_path), "a new log file")
    with proxy.connect() as client:
        client.begin()
        assert client.data(MESSAGE).startswith(b"250")
    proxy.records()
    assert not [line for line in proxy.plain() if "certificate" in line]
