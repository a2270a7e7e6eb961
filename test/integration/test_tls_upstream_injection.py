"""
test_tls_upstream_injection - an upstream, or somebody on the way to it, that plays with STARTTLS:
replies in clear behind the 220 or in the middle of TLS, greeting games, and ends of every kind at
every stage.

    client --> mailweir <-- tampering -- Peer (weirpeer.py)

What must hold each time: no 250 that the upstream has not given through TLS, nothing of a
transaction in clear, an answer for the client in time, and a proxy that goes on working.
"""
import json
import re
import ssl
import time

import pytest

import weirpeer
import weirlab
from smtpraw import ehlo_words
from test_tls_upstream import accepted, refused, upstream

EVIL = b"250-evil\r\n250-SIZE 77\r\n250-SMTPUTF8\r\n250-DSN\r\n250 AUTH PLAIN\r\n"
EVIL_WORDS = {b"SIZE": b"77", b"SMTPUTF8": b"", b"DSN": b"", b"AUTH": b"PLAIN"}
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
LONG = b"Subject: long\r\n\r\n" + b"0123456789abcdef\r\n" * 20000


@pytest.fixture
def scene(weir, peer, peer_pki):
    """scene(mode, version): the proxy, its server (`server`), and another session on the same and
    only worker (`other`), whose NOOP is how to know that the proxy has seen what was sent."""
    others = []

    def start(mode="required", version=None, **keys):
        server = peer(peer_pki.right, version, implicit=mode == "implicit")
        proxy = weir(server, config={"proxy": {"workers": 1}, "limits": {"commands": 100000},
                                     **upstream(mode, peer_pki, pool_idle=0, **keys)})
        weirlab.wait_until(lambda: server.count and not server.wires, "the first check is over")
        proxy.server = server
        proxy.other = proxy.connect()
        others.append(proxy.other)
        proxy.other.ok("EHLO other.example", 250)
        return proxy
    yield start
    for other in others:
        other.close()


def in_pieces(proxy, *pieces):
    """A fault: these bytes in clear, each piece in a segment of its own."""
    def act(wire):
        for number, piece in enumerate(pieces):
            if number > 0:
                proxy.other.ok("NOOP", 250)
            wire.send_raw(piece)
    return act


TAMPERED = "TLS: |spoke out of turn"  # what the reason must say


def is_unharmed(proxy):
    """Nothing that was injected has been believed, no mail went in clear, and all goes on."""
    assert not proxy.server.clear_mail()
    proxy.server.faults.clear()
    accepted(weirpeer.mail(proxy))
    with proxy.connect() as client:
        words = ehlo_words(client.ok("EHLO client.example", 250))
    assert not [word for word, value in EVIL_WORDS.items() if words.get(word) == value], words


# ---- bytes in clear around the handshake ----

@pytest.mark.parametrize("version", VERSIONS)
def test_injection_at_every_cut(scene, version):
    """The server goes on with a real handshake behind what was injected."""
    proxy = scene("required", VERSIONS[version])
    whole = b"220 go\r\n" + EVIL
    for cut in range(len(whole) + 1):
        proxy.server.faults["starttls"] = in_pieces(proxy, whole[:cut], whole[cut:])
        refused(weirpeer.mail(proxy), TAMPERED)
    is_unharmed(proxy)


@pytest.mark.parametrize("behind", [
    b"\n", b"\r\n", b" ", b"\0", b"2", b"220 again\r\n", b"250 ok\r\n", b"\x16", b"\x16\x03\x03",
    b"\x15\x03\x03\x00\x02\x01\x00", b"\x14\x03\x03\x00\x01\x01", b"x" * 5000])
def test_any_byte_behind_220(scene, behind):
    """Also what looks like the beginning of TLS: the server does not speak first."""
    proxy = scene(connect_timeout="1s")
    for pieces in ([b"220 go\r\n" + behind], [b"220 go\r\n", behind]):
        proxy.server.faults["starttls"] = in_pieces(proxy, *pieces)
        stage, reply = weirpeer.mail(proxy)
        if pieces[-1] == b"\x14\x03\x03\x00\x01\x01" and stage == "eom":
            continue  # RFC 8446, 5: a lone change_cipher_spec may be dropped without a trace
        refused((stage, reply), TAMPERED + "|timed out")  # as it waits for the rest of a record
    is_unharmed(proxy)


def test_opportunistic_does_not_believe_it_either(scene):
    """It may go on in clear, after all; but what it offers is what it says in answer to EHLO."""
    proxy = scene("opportunistic")
    for cut in (None, 8, 9, 20):
        whole = b"220 go\r\n" + EVIL
        pieces = [whole] if cut is None else [whole[:cut], whole[cut:]]
        proxy.server.faults["starttls"] = in_pieces(proxy, *pieces)
        result = weirpeer.mail(proxy)
        if result[0] == "eom":
            accepted(result)
            assert not proxy.server.messages[-1][1]
        else:
            refused(result, TAMPERED)
        with proxy.connect() as client:
            words = ehlo_words(client.ok("EHLO client.example", 250))
        assert not [word for word, value in EVIL_WORDS.items() if words.get(word) == value], words
    proxy.server.faults.clear()
    accepted(weirpeer.mail(proxy))
    assert proxy.server.messages[-1][1]


@pytest.mark.parametrize("then", ["hold", "close", "half_close", "reset"])
@pytest.mark.parametrize("instead", [EVIL, b"250 ok\r\n", b"\x16\x03\x03\x40\x01" + b"x" * 20,
                                     b"\x16\x03\x03\x00\x04\x02\x00\x00\x00", b"x" * 20000])
def test_no_handshake_at_all(scene, instead, then):
    proxy = scene(connect_timeout="1s")

    def act(wire):
        wire.send_raw(instead)
        getattr(weirpeer, then)(wire)
    proxy.server.faults["handshake"] = act
    start = time.monotonic()
    refused(weirpeer.mail(proxy), TAMPERED + "|timed out|reset|closed")
    assert time.monotonic() - start < 5
    is_unharmed(proxy)


def test_a_220_of_several_lines_is_fine(scene):
    proxy = scene()
    pieces = (b"220-2.0.0 one", b"\r\n220 2.0.0 two\r", b"\n")
    proxy.server.faults["starttls"] = in_pieces(proxy, *pieces)
    accepted(weirpeer.mail(proxy))
    assert proxy.server.messages[-1][1]


# ---- bytes in clear in the middle of TLS ----

RAW = {"reply": b"250 2.0.0 ok\r\n", "go on": b"354 go on\r\n",
       "all": b"250 ok\r\n250 ok\r\n354 x\r\n",
       "alert": b"\x15\x03\x03\x00\x02\x01\x00", "record": b"\x17\x03\x03\x00\x20" + b"y" * 32,
       "header": b"\x17\x03\x03\xff\xff"}
ANSWERED_AT = {"secured": "rcpt", "ehlo_tls": "rcpt", "mail": "rcpt", "rcpt": "rcpt",
               "data": "data", "body": "eom", "eom": "eom"}
USUAL = {"ehlo_tls": "250 peer.example", "mail": "250 ok", "rcpt": "250 ok", "data": "354 go",
         "eom": "250 2.0.0 stored"}


@pytest.mark.parametrize("mode", ["required", "implicit"])
@pytest.mark.parametrize("version", VERSIONS)
def test_clear_text_in_the_middle_of_tls(scene, mode, version):
    """With and without the real reply behind it."""
    proxy = scene(mode, VERSIONS[version])
    for stage, answered_at in ANSWERED_AT.items():
        for about, raw in RAW.items():
            for usual in (None, USUAL.get(stage)):
                proxy.server.faults = {stage: lambda wire: wire.send_raw(raw) or usual}
                result = weirpeer.mail(proxy)
                assert result[0] == answered_at and result[1].startswith(b"451 4."), \
                    (stage, about, usual, result)
    is_unharmed(proxy)


def test_a_reply_in_one_piece_with_the_handshake(scene):
    """Through TLS, but before EHLO was said."""
    proxy = scene("required", VERSIONS["1.2"])

    def act(wire):
        wire.behind = EVIL
    proxy.server.faults["handshake"] = act
    refused(weirpeer.mail(proxy), TAMPERED)
    is_unharmed(proxy)


# ---- greeting games ----

GREETINGS = [
    b"220 one\r\n220 two\r\n",
    b"220 one\r\n250-peer\r\n250 STARTTLS\r\n",
    b"220 one\r\n250-peer\r\n250 STARTTLS\r\n220 go\r\n",
    b"220 one\r\n" + EVIL,
    b"220 one\r\n250",
    b"250 already greeted\r\n",
    b"235 2.7.0 already authenticated\r\n",
    b"221 bye\r\n",
    b"354 go on\r\n",
    b"* PREAUTH ready\r\n",
    b"+OK ready\r\n",
    b"220 no line end",
    b"\r\n220 one\r\n",
    b"220-one\r\n250 two\r\n",
]


@pytest.mark.parametrize("mode", ["required", "opportunistic", "implicit"])
def test_greetings_that_are_none(scene, mode):
    proxy = scene(mode, connect_timeout="500ms")
    for greeting in GREETINGS:
        proxy.server.faults["greeting"] = lambda wire: greeting
        result = weirpeer.mail(proxy)
        assert result[0] == "rcpt" and result[1].startswith(b"451 4.4.1 "), (greeting, result)
    assert not proxy.server.messages
    is_unharmed(proxy)


@pytest.mark.parametrize("reply", [b"220 again\r\n", b"250-x\r\n250 STARTTLS\r\n220 go\r\n",
                                   b"220 go\r\n", b"354 go\r\n", b"251 odd\r\n"])
def test_ehlo_replies_that_are_none(scene, reply):
    """Before TLS: all of these come before STARTTLS was said."""
    proxy = scene(connect_timeout="1s")
    proxy.server.faults["ehlo"] = lambda wire: reply
    refused(weirpeer.mail(proxy), ".")
    assert not proxy.server.clear_mail()
    is_unharmed(proxy)


@pytest.mark.parametrize("first", ["220 peer.example ESMTP", "220 2.0.0 go ahead"])
def test_a_second_greeting_inside_tls(scene, first):
    """A server that greets again after STARTTLS: its reply to EHLO would be taken for MAIL's."""
    proxy = scene()
    proxy.server.faults["ehlo_tls"] = lambda wire: wire.send(first.encode() + b"\r\n") or \
        proxy.other.ok("NOOP", 250) and "250 peer.example"
    result = weirpeer.mail(proxy)
    assert result[0] == "rcpt" and result[1].startswith(b"451 4.4.1 "), result
    is_unharmed(proxy)


def test_starttls_offered_inside_tls_is_ignored(scene):
    proxy = scene()
    proxy.server.offers_tls = "STARTTLS PIPELINING 8BITMIME"
    for _ in range(3):
        accepted(weirpeer.mail(proxy))
    assert not proxy.server.lines(True, "STARTTLS") and proxy.server.lines(False, "STARTTLS")
    assert all(secure for _, secure, _ in proxy.server.messages)


def test_nothing_is_sent_ahead_of_the_handshake(scene):
    """EHLO is said before and after it, STARTTLS alone in between, with nothing behind it."""
    proxy = scene()
    before = len(proxy.server.commands)
    waiting = []
    proxy.server.faults["starttls"] = lambda wire: \
        waiting.append(wire.buffer) or proxy.other.ok("NOOP", 250) and "220 2.0.0 go"
    accepted(weirpeer.mail(proxy))
    said = [(secure, line.split(" ")[0]) for _, secure, line in proxy.server.commands[before:]]
    assert said[:5] == [(False, "EHLO"), (False, "STARTTLS"), (True, "EHLO"), (True, "MAIL"),
                        (True, "RCPT")], said
    assert waiting == [b""]


# ---- ends of every kind ----

def sealed_cut(then):
    """A fault: half of a TLS record with the reply in it, then that end."""
    def act(wire, reply):
        record = wire.seal(reply)
        wire.send_raw(record[:len(record) // 2])
        then(wire)
    return act


def reply_cut(wire, reply):
    """A TLS record that holds half of the reply, and an orderly end of TLS."""
    wire.send(reply[:len(reply) // 2])
    wire.close_notify()
    weirpeer.close(wire)


def notify(then):
    def act(wire, _reply):
        wire.close_notify()
        then(wire)
    return act


ENDS = {
    "close": lambda wire, _: weirpeer.close(wire),
    "reset": lambda wire, _: weirpeer.reset(wire),
    "half_close": lambda wire, _: weirpeer.half_close(wire),
    "close_notify": notify(weirpeer.close),
    "close_notify, TCP open": notify(weirpeer.hold),
    "close_notify, half-close": notify(weirpeer.half_close),
    "record cut, close": sealed_cut(weirpeer.close),
    "record cut, reset": sealed_cut(weirpeer.reset),
    "record cut, half-close": sealed_cut(weirpeer.half_close),
    "reply cut, close_notify": reply_cut,
}


@pytest.mark.parametrize("mode", ["required", "implicit"])
@pytest.mark.parametrize("version", VERSIONS)
def test_ends_inside_tls(scene, mode, version):
    proxy = scene(mode, VERSIONS[version])
    for stage, answered_at in ANSWERED_AT.items():
        for about, end in ENDS.items():
            reply = (USUAL.get(stage) or "250 ok").encode() + b"\r\n"
            proxy.server.faults = {stage: lambda wire: end(wire, reply)}
            start = time.monotonic()
            result = weirpeer.mail(proxy, LONG if stage in ("body", "eom") else b"x\r\n")
            assert result[0] == answered_at and result[1].startswith(b"451 4."), \
                (stage, about, result)
            assert time.monotonic() - start < 5, (stage, about)
    is_unharmed(proxy)


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "starttls"])
@pytest.mark.parametrize("end", ["close", "reset", "half_close", "hold"])
def test_ends_before_tls(scene, stage, end):
    proxy = scene(connect_timeout="1s")
    for piece in (b"", b"2", b"220", b"220-x\r\n", b"220 x"):
        def act(wire):
            wire.send_raw(piece)
            getattr(weirpeer, end)(wire)
        proxy.server.faults[stage] = act
        start = time.monotonic()
        refused(weirpeer.mail(proxy), ".")
        assert time.monotonic() - start < 5
    is_unharmed(proxy)


@pytest.mark.parametrize("mode", ["required", "implicit"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("end", ["close", "reset", "half_close"])
def test_handshake_cut_at_many_bytes(scene, mode, version, end):
    """After so many bytes of what the server sends, up to where it is complete."""
    proxy = scene(mode, VERSIONS[version])
    budget = -1
    cuts = 0

    def act(wire):
        wire.budget, wire.at_cut = max(budget, 0), getattr(weirpeer, end)
    while True:
        budget += 1 if budget < 10 else 13
        proxy.server.faults["handshake"] = act
        result = weirpeer.mail(proxy)
        if result[0] == "eom":
            break
        refused(result, ".")
        cuts += 1
        assert budget < 20000
    assert cuts > 30, cuts
    accepted(result)
    is_unharmed(proxy)


@pytest.mark.parametrize("mode", ["required", "implicit"])
@pytest.mark.parametrize("version", VERSIONS)
def test_silence_in_the_handshake(scene, mode, version):
    proxy = scene(mode, VERSIONS[version], connect_timeout="500ms")

    def act(wire):
        wire.budget, wire.at_cut = budget, weirpeer.hold
    for budget in (0, 3, 100, 600):
        proxy.server.faults["handshake"] = act
        start = time.monotonic()
        refused(weirpeer.mail(proxy), "timed out")
        assert 0.4 < time.monotonic() - start < 5
    proxy.server.faults = {"ehlo_tls": weirpeer.hold}
    refused(weirpeer.mail(proxy), "timed out")
    is_unharmed(proxy)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_end_behind_the_final_reply_takes_nothing_back(scene, version):
    """The reply has come, whole: it stands."""
    proxy = scene("required", VERSIONS[version])

    def orderly(wire):
        wire.send(b"250 2.0.0 stored\r\n")
        wire.close_notify()
        weirpeer.close(wire)

    def half(wire):
        wire.send(b"250 2.0.0 stored\r\n")
        weirpeer.half_close(wire)
    for act in (orderly, half):
        proxy.server.faults["eom"] = act
        accepted(weirpeer.mail(proxy))
    is_unharmed(proxy)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_replies_in_tiny_records(scene, version, size):
    """Each record a few bytes, and replies of many lines: all is well."""
    proxy = scene("required", VERSIONS[version])
    lines = "".join(f"250-2.1.5 line {n}\r\n" for n in range(60)) + "250 2.1.5 last"

    def act(wire):
        wire.chop = size
    proxy.server.faults = {"secured": act, "rcpt": lambda wire: lines}
    accepted(weirpeer.mail(proxy, LONG))
    assert proxy.server.messages[-1][2].endswith(LONG)


# ---- pooled connections ----

def test_another_certificate_on_the_next_connection(weir, peer, peer_pki):
    """Keys are renewed while connections are kept."""
    server = peer(peer_pki.right)
    proxy = weir(server, config={"proxy": {"workers": 1}, **upstream("required", peer_pki)})
    accepted(weirpeer.mail(proxy))
    server.context = weirpeer.server_context(
        peer_pki.ca.issue("renewed", f"DNS:{peer_pki.NAME},IP:127.0.0.1"))
    with proxy.connect() as client:
        client.begin()  # holds the pooled connection
        accepted(weirpeer.mail(proxy))
        assert client.data(b"x\r\n").startswith(b"250")
    assert len({wire for wire, _, _ in server.messages}) == 2


@pytest.mark.parametrize("end", ["close_notify", "close", "reset", "half_close", "clear text"])
def test_a_pooled_connection_that_ends_is_replaced(weir, peer, peer_pki, end):
    server = peer(peer_pki.right)
    proxy = weir(server, config={"proxy": {"workers": 1}, **upstream("required", peer_pki)})
    wires = []
    server.faults["greeting"] = lambda wire: wires.append(wire) or "220 peer.example"
    for _ in range(4):
        accepted(weirpeer.mail(proxy))
        idle = wires[-1]
        if end == "close_notify":
            idle.close_notify()
        elif end == "clear text":
            idle.send_raw(b"421 4.3.2 going down\r\n")
        elif end == "half_close":
            idle.sock.shutdown(weirpeer.socket.SHUT_WR)
        else:
            if end == "reset":
                idle.sock.setsockopt(weirpeer.socket.SOL_SOCKET, weirpeer.socket.SO_LINGER,
                                     b"\1\0\0\0\0\0\0\0")
            idle.sock.shutdown(weirpeer.socket.SHUT_RDWR)
    assert len({wire for wire, _, _ in server.messages}) == 4


# ---- what the peer says stays clean ----

DIRTY = b'\x1b[31mred\x07 "quoted" back\\slash \x00 \x7f \xff\xfe \xc3\xbc 100% %s%n \xe2\x80\xae'


def is_clean(proxy, replies):
    for reply in replies:
        assert re.fullmatch(rb"[^\x00-\x1f\x7f]*\r\n", reply), reply
        reply.decode("utf-8")
    for line in weirlab.read(proxy.log_path).split(b"\n"):
        assert not re.search(rb"[\x00-\x1f\x7f]", line), line
        line.decode("utf-8")
    for row in proxy.records(None):
        assert "\x1b" not in json.dumps(row, ensure_ascii=False)


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "starttls", "ehlo_tls", "handshake"])
def test_what_the_peer_says_is_escaped(scene, stage):
    proxy = scene(connect_timeout="1s")

    def act(wire):
        wire.refused = stage == "starttls"
        if stage == "handshake":
            wire.send_raw(b"\x15\x03\x03\x00\x02" + DIRTY)
            weirpeer.close(wire)
        return b"454-4.7.0 " + DIRTY + b"\r\n454 4.7.0 evil " + DIRTY + b"\r\n"
    proxy.server.faults[stage] = act
    replies = [weirpeer.mail(proxy)[1] for _ in range(2)]
    assert all(reply.startswith(b"451 4.4.1 ") for reply in replies), replies
    is_clean(proxy, replies)
    is_unharmed(proxy)


def test_names_in_certificates_are_escaped(scene, peer_pki):
    proxy = scene()
    pair = peer_pki.ca.issue("dirty", "DNS:x\x1b[31m.example,DNS:y\x07\x7f.example",
                             subject="/CN=x\r\n250 ok\x1b[31m/O=\x07 \"q\" %n")
    proxy.server.context = weirpeer.server_context(pair)
    replies = [weirpeer.mail(proxy)[1] for _ in range(2)]
    assert all(reply.startswith(b"451 4.4.1 ") and b"TLS: " in reply for reply in replies), replies
    is_clean(proxy, replies)
