"""
test_replies - the upstream speaks: its replies reach the client byte by byte, at every stage.

weir-sink says what its rules tell it. The proxy asks each server for its EHLO list in the
background, so rules that count ("rcpt/3:...") name only stages that this does not reach.
"""
import os
import socket
import time

import pytest

import smtpraw
import weirlab

# What an upstream may say instead of its usual answer; \r\n between the lines of one reply.
REFUSALS = [
    "450 4.2.1 mailbox busy",
    "451 4.7.500 odd enhanced code",
    "452 4.2.2 full",
    "454 no enhanced code",
    "455 5.9.9 class differs",
    "550 5.1.1 no such user: 50% off, \"quoted\" <b@d.example> \\ {}",
    "553 5.7.999 odd",
    "554",
    "559 5.9.9 nobody defines this",
    "550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1 three",
    "450-4.0.0\r\n450-\r\n450-4.0.0 x\r\n450 4.0.0 end",
    "554-" + "x" * 400 + "\r\n554-5.7.1 " + "y" * 400 + "\r\n554 5.7.1 z",
    "550 5.1.1 gr\u00fc\u00dfe \u4f60\u597d",
    "".join(f"552-5.7.0 line {n}\r\n" for n in range(40)) + "552 5.7.0 last",
]
SUCCESSES = [
    "250 2.1.5 fine",
    "250 Ok",
    "250",
    "251 2.1.5 user not local; will forward",
    "252 2.5.0 odd but good",
    "250-2.1.5 one\r\n250-two\r\n250 2.1.5 three",
]


def rules(stage, replies):
    """The N-th time the stage is reached it says the N-th reply."""
    return [f"{stage}/{n}:reply=" + reply.replace("\\", "\\\\").replace("\r\n", "\\r\\n")
            for n, reply in enumerate(replies, 1)]


def wire(reply):
    return reply.encode() + b"\r\n"


def finish(client, reply_to_eom=b"250"):
    client.ok("RSET", 250)
    client.begin()
    assert client.data(b"Subject: last\r\n\r\nx\r\n").startswith(reply_to_eom)
    client.ok("QUIT", 221)


@pytest.mark.parametrize("contact", ["rcpt", "mail", "connect"])
def test_mail_replies(sink, weir, contact):
    replies = REFUSALS + SUCCESSES
    proxy = weir(sink(*rules("mail", replies)), config={"upstream:default": {"contact": contact}})
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        for reply in replies:
            answer = client.cmd("MAIL FROM:<a@client.example>")
            if contact == "rcpt":
                assert answer.startswith(b"250 2.1.0"), answer
                answer = client.cmd("RCPT TO:<b@d.example>")
                wanted = wire(reply) if reply in REFUSALS else b"250"
            else:
                wanted = wire(reply)
            assert answer.startswith(wanted), (reply, answer)
            assert reply in SUCCESSES or answer == wanted
            client.ok("RSET", 250)
        finish(client)


@pytest.mark.parametrize("contact", ["rcpt", "mail", "connect"])
def test_rcpt_replies(sink, weir, contact):
    replies = REFUSALS + SUCCESSES
    proxy = weir(sink(*rules("rcpt", replies)), config={"upstream:default": {"contact": contact}})
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        for number, reply in enumerate(replies):
            assert client.cmd(f"RCPT TO:<b{number}@d.example>") == wire(reply)
        assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
        finish(client)
    first = proxy.records(at_least=2)[0]
    assert [row["code"] for row in first["rcpt"]] == [int(reply[:3]) for reply in replies]
    assert first["verdict"] == "accept" and first["decided_by"] == "upstream"


def test_rcpt_replies_pipelined(sink, weir):
    """The same in one segment: replies stay in order."""
    replies = REFUSALS + SUCCESSES
    proxy = weir(sink(*rules("rcpt", replies)))
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        lines = ["MAIL FROM:<a@client.example>"]
        lines += [f"RCPT TO:<b{number}@d.example>" for number in range(len(replies))]
        client.send("".join(line + "\r\n" for line in lines + ["DATA"]).encode())
        assert client.reply().startswith(b"250 2.1.0")
        for reply in replies:
            assert client.reply() == wire(reply)
        assert client.reply().startswith(b"354")
        client.send(b"Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
        assert client.reply().startswith(b"250") and client.reply().startswith(b"221")


@pytest.mark.parametrize("contact", ["rcpt", "mail", "connect"])
def test_data_replies(sink, weir, contact):
    proxy = weir(sink(*rules("data", REFUSALS)), config={"upstream:default": {"contact": contact}})
    with proxy.connect() as client:
        for reply in REFUSALS:
            client.begin()
            assert client.cmd("DATA") == wire(reply)
            client.ok("RSET", 250)
        finish(client)
    records = proxy.records(at_least=len(REFUSALS) + 1)
    for record, reply in zip(records, REFUSALS):
        assert record["reply"]["code"] == int(reply[:3]), record
        assert record["decided_by"] == "upstream" and record["verdict"] in ("reject", "defer")


@pytest.mark.parametrize("contact", ["rcpt", "mail", "connect"])
def test_eom_replies(sink, weir, contact):
    replies = REFUSALS + SUCCESSES
    server = sink(*rules("eom", replies))
    proxy = weir(server, config={"upstream:default": {"contact": contact}})
    with proxy.connect() as client:
        for reply in replies:
            client.begin()
            assert client.data(b"Subject: x\r\n\r\nx\r\n") == wire(reply)
        finish(client)
    assert len(server.rows()) == len(SUCCESSES) + 1
    records = proxy.records(at_least=len(replies) + 1)
    for record, reply in zip(records, replies):
        assert record["reply"]["code"] == int(reply[:3]), record
        assert record["verdict"] == {"2": "accept", "4": "defer", "5": "reject"}[reply[0]]
    assert records[0]["reply"]["text"] == "4.2.1 mailbox busy"
    assert records[9]["reply"]["text"].split("\r\n")[-1].endswith("5.1.1 three")


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "eom"])
def test_421_is_passed_and_the_session_survives_or_ends(sink, weir, stage):
    """421 means that the upstream goes; the client hears it and is never left waiting."""
    server = sink(f"{stage}/1:reply=421 4.3.2 going down", f"{stage}/1:close-after")
    proxy = weir(server)
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        reply = client.cmd("RCPT TO:<b@d.example>")
        if stage in ("data", "eom"):
            assert reply.startswith(b"250")
            reply = client.cmd("DATA")
        if stage == "eom":
            assert reply.startswith(b"354")
            client.send(b"x\r\n.\r\n")
            reply = client.reply()
        assert reply == b"421 4.3.2 going down\r\n"
        client.send(b"QUIT\r\n")
        assert client.rest()[:3] in (b"", b"221")
    with proxy.connect() as client:
        client.begin()
        assert client.data(b"Subject: again\r\n\r\nx\r\n").startswith(b"250")
    assert len(server.journal()) == 1


@pytest.mark.parametrize("stage", ["connect", "ehlo"])
@pytest.mark.parametrize("reply", ["421 4.3.2 come later", "450 4.3.1 full", "554 5.3.2 go away"])
def test_refusals_before_mail_are_explained(sink, weir, stage, reply):
    """There is no command of the client's that these could answer: 451 4.4.1 with the reason."""
    actions = [f"{stage}:reply={reply}"]
    if stage == "ehlo":
        actions.append(f"helo:reply={reply}")
    proxy = weir(sink(*actions))
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        answer = client.ok("RCPT TO:<b@d.example>", "451 4.4.1")
        assert reply.encode()[4:] in answer or reply.encode()[:3] in answer, answer
        client.ok("DATA", 554)
        client.ok("QUIT", 221)


@pytest.mark.parametrize("contact", ["rcpt", "mail", "connect"])
def test_upstream_down(weir, contact):
    port = weirlab.free_port()
    proxy = weir(("127.0.0.1", port), config={"upstream:default": {"contact": contact}})
    with proxy.connect() as client:
        if contact == "connect":
            assert client.greeting[:3] in (b"421", b"451") and b" 4.4.1 " in client.greeting
            assert b"refused" in client.greeting, client.greeting
            return
        client.ok("EHLO client.example", 250)
        answer = client.cmd("MAIL FROM:<a@client.example>")
        if contact == "rcpt":
            assert answer.startswith(b"250")
            answer = client.cmd("RCPT TO:<b@d.example>")
        assert answer.startswith(b"451 4.4.1 "), answer
        assert b"refused" in answer, answer
        client.ok("NOOP", 250)
        client.ok("QUIT", 221)
    assert any("down" in line and "refused" in line for line in proxy.plain())


def test_upstream_comes_back(weir, sink):
    port = weirlab.free_port()
    proxy = weir(("127.0.0.1", port), config={"upstream:default": {"check_interval": "200ms"}})
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        client.ok("RCPT TO:<b@d.example>", 451)
        server = sink(listen=("127.0.0.1", port))
        proxy.offers(b"SIZE")
        client.ok("RSET", 250)
        client.begin()
        assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
    assert len(server.rows()) == 1


@pytest.mark.parametrize("fault", ["closed", "connect:drop", "connect:reset", "connect:garbage",
                                   "connect:reply=554 5.3.2 no", "ehlo:drop", "ehlo:garbage",
                                   "ehlo:reply=421 4.3.2 no", "connect:hang", "ehlo:hang"])
def test_next_server_on_failure(weir, sink, fault):
    """Whichever server is tried first, the good one takes every message."""
    good = sink()
    rules_of_bad = [fault]
    if fault == "closed":
        bad = ("127.0.0.1", weirlab.free_port())
    else:
        bad = sink(*rules_of_bad)
    proxy = weir(bad, good, config={"upstream:default": {"connect_timeout": "500ms"}})
    for _ in range(3):
        with proxy.connect() as client:
            client.begin()
            assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
    assert len(good.rows(3)) == 3


def test_servers_share_the_load(weir, sink):
    servers = [sink(), sink()]
    proxy = weir(*servers, config={"upstream:default": {"pool_idle": 0}})
    for _ in range(20):
        with proxy.connect() as client:
            client.begin()
            assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
    counts = [len(server.journal()) for server in servers]
    assert sum(counts) == 20 and min(counts) >= 5, counts


@pytest.mark.parametrize("contact", ["rcpt", "connect"])
def test_unix_socket_server(weir, sink, folder, contact):
    server = sink(listen="unix:" + os.path.join(folder, "s"))
    proxy = weir(server, config={"upstream:default": {"contact": contact}})
    with proxy.connect() as client:
        client.begin()
        assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
    assert len(server.rows()) == 1


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_ipv6_server_and_client(weir, sink):
    server = sink(listen=("::1", weirlab.free_port("::1")))
    port = weirlab.free_port("::1")
    proxy = weir(server, config={"listen:six": {"bind": f"[::1]:{port}", "upstream": "default"}})
    with smtpraw.Client(("::1", port)) as client:
        client.begin()
        assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
        own = client.sock.getsockname()[1]
    record, = proxy.records()
    assert record["client"] == f"[::1]:{own}" and record["listener"] == "six"
    assert record["upstream"] == weirlab.address_text(server.address)
    field, _ = smtpraw.split_field(server.contents()[0])
    assert b"[IPv6:::1]" in field, field


def test_helo_only_server(weir, sink):
    server = sink(extensions="none")
    proxy = weir(server)
    with proxy.connect() as client:
        words = smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        assert set(words) <= {b"PIPELINING", b"ENHANCEDSTATUSCODES"}, words
        client.begin()
        assert client.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
    assert len(server.rows()) == 1
    assert server.rows()[0]["from_params"] == ""


@pytest.mark.parametrize("word", ["8BITMIME", "SMTPUTF8", "DSN", "SIZE=7000000",
                                  "ENHANCEDSTATUSCODES"])
def test_offered_only_if_upstream_has_it(weir, sink, word):
    everything = ["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES",
                  "SIZE=7000000"]
    key = word.split("=")[0].encode()
    has = weir(sink(extensions=word))
    lacks = weir(sink(extensions=",".join(w for w in everything if w != word)))
    has.offers(key)
    lacks.offers(b"8BITMIME" if key != b"8BITMIME" else b"DSN")
    with has.connect() as client:
        words = smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        assert set(words) == {key, b"PIPELINING"}, words
        assert words[key] == (b"7000000" if key == b"SIZE" else b"")
    with lacks.connect() as client:
        words = smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        expected = {w.split("=")[0].encode() for w in everything} - {key}
        assert set(words) - {key} == expected
        # Our own limit may stand where the upstream names none.
        assert key not in words or (key == b"SIZE" and words[key] == b"52428800"), words


def test_intersection_of_servers(weir, sink):
    servers = [sink(extensions="8BITMIME,DSN,SIZE=5000"), sink(extensions="SMTPUTF8,DSN,SIZE=4000")]
    proxy = weir(*servers)

    def settled():
        with proxy.connect() as client:
            words = smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
            return words == {b"DSN": b"", b"SIZE": b"4000", b"PIPELINING": b""}
    weirlab.wait_until(settled, "EHLO offers the intersection")


def test_never_offered(weir, sink):
    words = "PIPELINING,8BITMIME,XCLIENT NAME ADDR,XFORWARD NAME,CHUNKING,BINARYMIME,ETRN," \
            "AUTH PLAIN LOGIN,STARTTLS,VERB,BURL,TURN,X-NEW"
    server = sink(extensions=words)
    proxy = weir(server).offers(b"8BITMIME")
    with proxy.connect() as client:
        offered = smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        assert set(offered) == {b"8BITMIME", b"PIPELINING"}, offered
        for line in ("AUTH PLAIN AGEAYg==", "BDAT 3 LAST", "ETRN d.example", "STARTTLS", "TURN",
                     "XFORWARD NAME=x", "XCLIENT ADDR=192.0.2.1", "BURL imap://x LAST"):
            reply = client.cmd(line)
            assert reply[:1] == b"5", (line, reply)
        client.begin()
        client.ok("RSET", 250)
        client.ok("MAIL FROM:<a@client.example> AUTH=<>", 555)
        client.ok("MAIL FROM:<a@client.example> BODY=BINARYMIME", 5)
        client.ok("QUIT", 221)


FAULTS = [(stage, action) for stage in ("mail", "rcpt", "data", "eom")
          for action in ("drop", "reset", "garbage", "close-after", "drip=3")]
FAULTS += [("body", "drop"), ("body", "reset"), ("body", "delay=100"), ("eom", "early"),
           ("rcpt", "delay=200"), ("data", "reply=250 2.0.0 not what was asked"),
           ("eom", "reply=354 go on"), ("mail", "reply=220 hello"),
           ("eom", "reply=250-2.0.0 no end;close-after"),
           ("eom", "reply=250-one\\r\\n251 two"), ("eom", "reply=2"), ("eom", "reply=999 x"),
           ("rcpt", "reply=354 go on"), ("eom", "reply=250 2.0.0 ok\\r\\n250 2.0.0 second")]


@pytest.mark.parametrize("stage,action", FAULTS)
def test_misbehaving_upstream(weir, sink, stage, action):
    """Whatever it does: no 2xx for a message that it has not taken, proper replies, in time."""
    server = sink(*[f"{stage}/1:{part}" for part in action.split(";")])
    proxy = weir(server)
    began = time.monotonic()
    accepted = set()
    with proxy.connect(timeout=10) as client:
        client.ok("EHLO client.example", 250)
        for name in ("first@client.example", "second@client.example"):
            try:
                if one_transaction(client, name):
                    accepted.add(name)
            except (smtpraw.Closed, ConnectionError):
                break  # the proxy may end the session, as long as it has said nothing untrue
    with proxy.connect(timeout=10) as client:
        client.ok("EHLO client.example", 250)
        assert one_transaction(client, "third@client.example"), "the next session must work"
    stored = {row["from"]: row["size"] for row in server.journal()}
    assert accepted | {"third@client.example"} <= set(stored), (accepted, stored)
    assert all(size >= 36000 for size in stored.values()), "truncated"
    assert time.monotonic() - began < 10


def one_transaction(client, sender):
    """True when the message was accepted."""
    client.ok("RSET", 250)
    client.ok(f"MAIL FROM:<{sender}>", 250)
    reply = client.cmd("RCPT TO:<b@d.example>")
    if reply[:1] != b"2":
        assert reply[:1] in (b"4", b"5"), reply
        return False
    reply = client.cmd("DATA")
    if reply[:3] != b"354":
        assert reply[:1] in (b"4", b"5"), reply
        return False
    client.send(b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 3000 + b".\r\n")
    reply = client.reply()
    assert reply[:1] in (b"2", b"4", b"5"), reply
    return reply[:1] == b"2"


def test_slow_upstream_delays_nobody_else(weir, sink):
    """P6: one session waits for a slow reply, another goes on."""
    server = sink("rcpt/1:delay=3000")
    tap = smtpraw.Tap(server.address, weirlab.free_port())
    proxy = weir(tap, config={"proxy": {"workers": 1}})
    with proxy.connect() as slow, proxy.connect() as quick:
        slow.ok("EHLO client.example", 250)
        slow.ok("MAIL FROM:<a@client.example>", 250)
        slow.send(b"RCPT TO:<slow@d.example>\r\n")
        weirlab.wait_until(lambda: b"RCPT TO:<slow@d.example>" in tap.commands(), "the slow RCPT")
        began = time.monotonic()
        quick.begin()
        assert quick.data(b"Subject: x\r\n\r\nx\r\n").startswith(b"250")
        slow.sock.settimeout(0.01)
        with pytest.raises(socket.timeout):
            slow.reply()
        assert time.monotonic() - began < 2.5
        slow.sock.settimeout(10)
        assert slow.reply().startswith(b"250")
    tap.close()
