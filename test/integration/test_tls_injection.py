"""
test_tls_injection - plaintext behind STARTTLS: nothing of it is ever answered, before TLS or inside
it, nothing of it takes effect, and the session ends (CVE-2011-0411 and its family).

    client:  STARTTLS CRLF X  [handshake]     X in the same segment, in the next, cut at every byte

The check is first tried on two servers that make the mistake.
"""
import socket
import ssl
import threading
import time

import pytest

import smtpraw
import weirtls

TRANSACTION = (b"EHLO evil.example\r\nMAIL FROM:<evil@c.example>\r\nRCPT TO:<evil@d.example>\r\n"
               b"DATA\r\nSubject: evil\r\n\r\nx\r\n.\r\n")
X = {
    "noop": b"NOOP\r\n",
    "ehlo": b"EHLO evil.example\r\n",
    "helo": b"HELO evil.example\r\n",
    "mail": b"MAIL FROM:<evil@c.example>\r\n",
    "rset": b"RSET\r\n",
    "quit": b"QUIT\r\n",
    "starttls": b"STARTTLS\r\n",
    "transaction": TRANSACTION,
    "line-end": b"\r\n",
    "half": b"E",
    "nul": b"\0",
    "record": b"\x16",
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "long": b"NOOP " + b"x" * 4000 + b"\r\n",
}


class Injected(Exception):
    """An injected byte was answered or kept."""


def begin(address):
    client = smtpraw.Client(address)
    client.ok("EHLO client.example", 250)
    return client


def check_end(client, context):
    """The session must end: with nothing, with a refusal, or with 220 and a handshake that fails.
    When it does not, what the server says inside TLS is the proof."""
    try:
        reply = client.reply()
    except (smtpraw.Closed, ConnectionError):
        return
    if not reply.startswith(b"220 "):
        if reply[:1] not in b"45" or not client.at_end():
            raise Injected(reply)
        return
    if client.buffer[:1] not in (b"", b"\x15"):  # an alert is all that may follow
        raise Injected(client.buffer)
    try:
        client.sock = weirtls.TlsSocket(client.sock, context).handshake()
    except (ssl.SSLError, OSError):
        return
    raise Injected(said_inside(client))


def said_inside(client):
    """Answers to commands that were never sent inside TLS, or "secured" when there are none."""
    client.sock.settimeout(0.5)
    try:
        return client.reply()
    except (smtpraw.Closed, OSError):
        return b"secured"


def same_segment(client, x):
    client.send(b"STARTTLS\r\n" + x)


def next_segment(client, x):
    """Without waiting for the reply; the two may still be read together."""
    client.send(b"STARTTLS\r\n")
    client.send(x)


def behind_the_reply(client, x):
    """The client has its 220 and then sends plaintext in place of the handshake."""
    client.send(b"STARTTLS\r\n")
    client.buffer = client.line() + client.buffer
    client.send(x)


WAYS = (same_segment, next_segment, behind_the_reply)


def nothing_took_effect(proxy):
    """No mail, no transaction; no name of the injected commands stands in any record."""
    assert proxy.sink.journal() == []
    assert proxy.records(at_least=0) == []
    assert not [line for line in proxy.lines() if "evil" in line]


def still_serves(proxy, pki):
    with weirtls.connect(proxy.address, pki.context()) as client:
        client.begin()
        assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
    assert len(proxy.sink.rows()) == 1


@pytest.mark.parametrize("tls", ["starttls", "required"])
@pytest.mark.parametrize("way", WAYS)
def test_every_x(secured, pki, way, tls):
    proxy = secured(tls=tls)
    context = pki.context()
    for name, x in X.items():
        with begin(proxy.address) as client:
            way(client, x)
            try:
                check_end(client, context)
            except Injected as error:
                raise AssertionError((name, error)) from error
    nothing_took_effect(proxy)
    still_serves(proxy, pki)


@pytest.mark.parametrize("name", [name for name in X if name != "long"])
def test_cut_at_every_byte(secured, pki, name):
    """STARTTLS CRLF X in two segments; a pause lets the proxy read the first by itself."""
    proxy = secured()
    data = b"STARTTLS\r\n" + X[name]
    context = pki.context()
    for cut in range(1, len(data)):
        with begin(proxy.address) as client:
            client.send(data[:cut])
            time.sleep(0.001)
            client.send(data[cut:])
            check_end(client, context)
    nothing_took_effect(proxy)
    still_serves(proxy, pki)


def test_each_byte_by_itself(secured, pki):
    proxy = secured()
    for name in ("noop", "record", "nul"):
        with begin(proxy.address) as client:
            try:
                for byte in b"STARTTLS\r\n" + X[name]:
                    client.send(bytes([byte]))
                    time.sleep(0.001)
            except ConnectionError:  # it has ended already
                pass
            check_end(client, pki.context())
    nothing_took_effect(proxy)
    still_serves(proxy, pki)


def test_the_real_handshake_in_the_same_segment(secured, pki):
    """A client that does not wait for the 220 is not told apart from an attacker."""
    proxy = secured()
    with begin(proxy.address) as client:
        sock = weirtls.TlsSocket(client.sock, pki.context())
        sock.start(b"STARTTLS\r\n", None)
        rest = client.rest()
        assert b"\x16\x03\x03" not in rest, "a ServerHello"
    nothing_took_effect(proxy)
    still_serves(proxy, pki)


def test_commands_in_front_are_answered(secured, pki):
    """STARTTLS may end a group of pipelined commands (RFC 2920); they come first, it comes last."""
    proxy = secured()
    with smtpraw.Client(proxy.address) as client:
        client.send(b"EHLO client.example\r\nNOOP\r\nNOOP\r\nSTARTTLS\r\n")
        assert [client.reply()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"220"]
        client.sock = weirtls.TlsSocket(client.sock, pki.context()).handshake()
        client.ok("MAIL FROM:<a@client.example>", 503)
    nothing_took_effect(proxy)
    still_serves(proxy, pki)


# ---- the check itself ----

class Careless:
    """Reads greedily, and keeps over STARTTLS what came behind it."""

    def __init__(self, pki, answers):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki.ec.chain, pki.ec.key)
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                try:
                    self.session(sock)
                except OSError:
                    pass

    def session(self, sock):
        sock.sendall(b"220 careless\r\n")
        kept = b""
        while True:
            while b"\r\n" not in kept:
                kept += (data := sock.recv(65536))
                if not data:
                    return
            line, kept = kept.split(b"\r\n", 1)
            sock.sendall(b"220 go\r\n" if line == b"STARTTLS" else b"250 fine\r\n")
            if line == b"STARTTLS":
                sock = self.context.wrap_socket(sock, server_side=True)
                kept = kept if self.answers else b""

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.mark.parametrize("answers", [True, False])
def test_the_check_sees_careless_servers(pki, stops, answers):
    """One answers what it kept, the other drops it and goes on: we end such a session."""
    server = Careless(pki, answers)
    stops.append(server)
    with begin(server.address) as client:
        same_segment(client, X["noop"])
        with pytest.raises(Injected, match="250 fine" if answers else "secured"):
            check_end(client, pki.context())
