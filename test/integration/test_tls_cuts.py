"""
test_tls_cuts - a TLS session's DATA, ended or fouled at every byte of its record stream.

    [record: header] [record: body] [record: CRLF.CRLF]      then the reply
     ^ cut anywhere: reset, close, half-close, close_notify, plaintext

Always: a message is at the server only if its end-of-data was sent complete; whoever read 250 finds
his message there, once; who has sent all of it and still reads gets that 250; the proxy goes on, and
each transaction leaves one record.
"""
import re
import socket
import time

import pytest

import smtpraw
import weirlab
import weirtls
from smtpraw import without_received
from weirtls import VERSIONS

LINGER_NONE = b"\1\0\0\0\0\0\0\0"


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


def content_of(case):
    return b"Subject: %04d\r\n\r\n.dots\r\nbody\r\n" % case


def parts_of(case):
    """What is sent behind 354, one TLS record each."""
    header, body = content_of(case).split(b"\r\n\r\n")
    return [header + b"\r\n\r\n", smtpraw.stuff(body), b".\r", b"\n"]


class Session:
    """One client in the middle of DATA. send() puts the first `cut` bytes of its records on the
    wire; only what is needed is encrypted, so that a close_notify behind it has its right place."""

    def __init__(self, proxy, context, case):
        self.case = case
        self.in_a_record = False
        self.client = weirtls.connect(proxy.address, context)
        self.client.begin()
        self.client.ok("DATA", 354)
        self.tls = self.client.sock
        self.raw = self.tls.raw

    def stream(self):
        """All records, of which nothing is sent."""
        return [self.tls.records(part) for part in parts_of(self.case)]

    def send(self, cut):
        stream = b""
        for part in parts_of(self.case):
            if len(stream) < cut:
                stream += self.tls.records(part)
        self.raw.sendall(stream[:cut])
        self.in_a_record = cut < len(stream)

    def rest(self):
        """What still came inside TLS, however it ended."""
        got = self.client.buffer
        try:
            while data := self.tls.recv(65536):
                got += data
        except OSError:  # an alert, a reset, an end without close_notify
            pass
        return got


def end_by_reset(session):
    session.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)


def end_by_close(_session):
    pass


def end_by_half_close(session):
    session.raw.shutdown(socket.SHUT_WR)
    return session.rest()


def end_by_close_notify(session):
    """The connection stays open, except where the alert is but the next bytes of a record."""
    session.raw.sendall(session.tls.close_notify())
    if session.in_a_record:
        session.raw.shutdown(socket.SHUT_WR)
    return session.rest()


def end_by_close_notify_and_half_close(session):
    session.raw.sendall(session.tls.close_notify())
    return end_by_half_close(session)


def end_by_close_notify_and_reset(session):
    session.raw.sendall(session.tls.close_notify())
    end_by_reset(session)


ENDINGS = (end_by_reset, end_by_close, end_by_half_close, end_by_close_notify,
           end_by_close_notify_and_half_close, end_by_close_notify_and_reset)


class Outcome:
    """What clients were told, against what the server has."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.complete = set()
        self.told = set()
        self.cases = 0

    def note(self, case, is_complete, rest):
        """`rest`: what the client read, or None when it did not wait."""
        self.cases += 1
        codes = smtpraw.codes(rest or b"")
        assert set(codes) <= {250, 421, 451, 500, 554}, (case, rest)
        assert rest is None or is_complete == (250 in codes), (case, rest)
        if is_complete:
            self.complete.add(case)
        if 250 in codes:
            self.told.add(case)

    def check(self):
        proxy = self.proxy
        assert self.told <= self.complete, f"false 250: {self.told - self.complete}"
        assert len(proxy.records(at_least=self.cases)) == self.cases
        contents = [without_received(c, weirlab.HOSTNAME) for c in proxy.sink.contents(0)]
        cases = [int(re.match(rb"Subject: (\d+)", content).group(1)) for content in contents]
        assert len(cases) == len(set(cases)), "twice"
        assert self.told <= set(cases) <= self.complete, (self.told, cases, self.complete)
        assert contents == [content_of(case) for case in cases]


def still_serves(proxy, pki, implicit=False):
    with weirtls.connect(proxy.address, pki.context(), implicit) as client:
        client.begin()
        assert client.data(b"Subject: 9999\r\n\r\nx\r\n").startswith(b"250")
        client.ok("QUIT", 221)


def measure(proxy, context, outcome):
    """How long each record is; a session that ends before its first."""
    session = Session(proxy, context, 0)
    lengths = [len(record) for record in session.stream()]
    session.client.close()
    outcome.note(0, False, None)
    return lengths


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_byte_of_data(secured, pki, version, ending):
    proxy = secured()
    context = pki.context(**VERSIONS[version])
    outcome = Outcome(proxy)
    length = sum(measure(proxy, context, outcome))
    for cut in range(length + 1):
        session = Session(proxy, context, cut + 1)
        session.send(cut)
        rest = ending(session)
        session.client.close()
        outcome.note(cut + 1, cut == length, rest)
    outcome.check()
    still_serves(proxy, pki)


@pytest.mark.parametrize("ending", ENDINGS)
def test_behind_the_end_of_data(secured, pki, version, ending):
    """The client is gone before the server's reply is there, which takes its time."""
    proxy = secured(rules=["eom:delay=50"])
    context = pki.context(**VERSIONS[version])
    outcome = Outcome(proxy)
    for case in range(1, 9):
        session = Session(proxy, context, case)
        session.send(1 << 20)
        time.sleep(0.005 * case)
        rest = ending(session)
        session.client.close()
        outcome.note(case, True, rest)
    outcome.check()
    still_serves(proxy, pki)


FOUL = {"reply-like": b"250 2.0.0 ok\r\n", "end-of-data": b"\r\n.\r\n", "command": b"RSET\r\n",
        "nul": b"\0" * 40, "handshake": b"\x16\x03\x03\x00\x04\x00\x00\x00\x00",
        "data": b"\x17\x03\x03\x00\x18" + b"\0" * 24, "empty": b"\x17\x03\x03\x00\x00",
        "huge": b"\x17\x03\x03\xff\xff", "alert": b"\x15\x03\x03\x00\x02\x01\x00"}


def test_plaintext_in_the_middle(secured, pki, version):
    """One of these at every byte of the stream, and all of them between records: what is behind
    is worth nothing, and the session ends."""
    proxy = secured()
    context = pki.context(**VERSIONS[version])
    outcome = Outcome(proxy)
    lengths = measure(proxy, context, outcome)
    fouls = list(FOUL.values())
    between = [sum(lengths[:n]) for n in range(len(lengths))]
    tries = [(cut, fouls[cut % len(fouls)]) for cut in range(sum(lengths))]
    tries += [(cut, foul) for cut in between for foul in fouls]
    for case, (cut, foul) in enumerate(tries, 1):
        session = Session(proxy, context, case)
        stream = b"".join(session.stream())
        session.raw.sendall(stream[:cut] + foul + stream[cut:])
        session.raw.shutdown(socket.SHUT_WR)
        outcome.note(case, False, session.rest())
        session.client.close()
    outcome.check()
    still_serves(proxy, pki)


def test_a_flipped_bit_ends_the_session(secured, pki, version):
    """In any byte of the stream, the record's header included."""
    proxy = secured()
    context = pki.context(**VERSIONS[version])
    outcome = Outcome(proxy)
    for at in range(sum(measure(proxy, context, outcome))):
        session = Session(proxy, context, at + 1)
        stream = bytearray(b"".join(session.stream()))
        stream[at] ^= 1 << at % 8
        session.raw.sendall(stream)
        session.raw.shutdown(socket.SHUT_WR)
        outcome.note(at + 1, False, session.rest())
        session.client.close()
    outcome.check()
    still_serves(proxy, pki)


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
def test_handshake_cut(secured, pki, version, kind):
    """Every few bytes of what a client sends until it is secured, then close or reset."""
    proxy = secured(tls=kind)
    context = pki.context(**VERSIONS[version])
    length = None
    for cut in range(0, 2000, 7):
        client = smtpraw.Client(proxy.address, greet=kind == "starttls")
        if kind == "starttls":
            client.ok("EHLO client.example", 250)
            client.ok("STARTTLS", 220)
        wire = Limited(client.sock, cut)
        try:
            weirtls.TlsSocket(wire, context).handshake()
            length = wire.sent
        except ConnectionAbortedError:
            pass
        if cut % 2:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        client.close()
        if length:
            break
    assert length, "the last one came through"
    still_serves(proxy, pki, kind == "implicit")
    weirlab.wait_until(lambda: proxy.connections() == 0, "all connections are gone")


class Limited:
    """A socket that sends so many bytes in all and then breaks off."""

    def __init__(self, sock, limit):
        self.sock = sock
        self.left = limit
        self.sent = 0

    def sendall(self, data):
        self.sock.sendall(data[:self.left])
        self.sent += len(data)
        if len(data) > self.left:
            raise ConnectionAbortedError
        self.left -= len(data)

    def recv(self, size):
        return self.sock.recv(size)
