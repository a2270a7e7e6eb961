"""
test_limits - every key of [limits] with its reply, and what costs much when it is not bounded.

Each limit: the last thing that is allowed passes, the next one gets the reply, and the proxy serves
the next client afterwards.
"""
import re
import socket
import threading
import time

import pytest

import smtpraw
import weirlab

MESSAGE = b"Subject: x\r\n\r\nx\r\n"


@pytest.fixture
def limited(weir, sink):
    """limited(key=value, ...): a proxy with these limits; its sink is `.server`."""
    def start(proxy=None, **limits):
        server = sink()
        started = weir(server, config={"limits": limits, "proxy": proxy or {}}).offers(b"SIZE")
        started.server = server
        return started
    return start


def ended_by(proxy, rule):
    """The record of a session that this rule has ended."""
    def found():
        return [row for row in proxy.records("session") if row["decided_by"] == rule]
    record, = weirlab.wait_until(found, f"a session record with decided_by {rule}")
    assert record["reply"]["code"] == 421, record


def still_serves(proxy):
    with proxy.connect() as client:
        client.begin()
        assert client.data(MESSAGE).startswith(b"250")
        client.ok("QUIT", 221)


def memory_kib(proxy, key):
    """VmRSS or VmHWM. A sanitizer's own memory says nothing about ours: 0 then."""
    if re.search(rb"lib[at]san", weirlab.read(f"/proc/{proxy.pid}/maps")):
        return 0
    match = re.search(rb"(?m)^%s:\s+(\d+) kB" % key.encode(),
                      weirlab.read(f"/proc/{proxy.pid}/status"))
    return int(match.group(1))


# ---- message_size ----

def test_size_is_offered_and_checked_at_mail(limited):
    proxy = limited(message_size="10k")
    with proxy.connect() as client:
        words = smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        assert words[b"SIZE"] == b"10240"
        client.ok("MAIL FROM:<a@client.example> SIZE=10241", "552 5.3.4")
        client.ok("MAIL FROM:<a@client.example> SIZE=99999999999999999999", "552 5.3.4")
        client.ok("MAIL FROM:<a@client.example> SIZE=10240", 250)
        client.ok("QUIT", 221)
    still_serves(proxy)


def test_size_of_the_message_itself(limited):
    proxy = limited(message_size="10k")
    fits = b"Subject: x\r\n\r\n" + b"z" * (10240 - 16) + b"\r\n"
    assert len(fits) == 10240
    with proxy.connect() as client:
        client.begin()
        assert client.data(fits).startswith(b"250"), "a message of exactly the limit"
        client.begin()
        reply = client.data(b"y" + fits)
        assert reply.startswith(b"552 5.3.4"), reply
        client.begin()
        reply = client.data(fits * 100)
        assert reply.startswith(b"552 5.3.4"), reply
        client.begin()
        assert client.data(MESSAGE).startswith(b"250"), "the session goes on"
    assert len(proxy.server.rows(2)) == 2
    records = proxy.records(at_least=4)
    assert [r["verdict"] for r in records] == ["accept", "reject", "reject", "accept"]
    assert {r["decided_by"] for r in records[1:3]} == {"limits.message_size"}


def test_stuffed_dots_do_not_count(limited):
    proxy = limited(message_size="10k")
    content = b".\r\n" * 3413
    assert len(content) <= 10240 < len(smtpraw.stuff(content))
    with proxy.connect() as client:
        client.begin()
        assert client.data(smtpraw.stuff(content)).startswith(b"250")


def test_a_large_message_keeps_memory_flat(limited):
    proxy = limited(message_size="50m")
    still_serves(proxy)
    before = memory_kib(proxy, "VmHWM")
    block = b"0123456789abcdef" * 63 + b"\r\n"
    with proxy.connect(timeout=60) as client:
        client.begin()
        client.ok("DATA", 354)
        for _ in range(25):
            client.send(block * 1040)
        client.send(b".\r\n")
        assert client.reply().startswith(b"250")
    assert proxy.server.rows(2)[1]["size"] >= 25 << 20
    grown = memory_kib(proxy, "VmHWM") - before
    assert grown < 4096, f"{grown} KiB more for 25 MB"


# ---- recipients, errors, commands ----

def test_recipients(limited):
    proxy = limited(recipients=100)
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        for number in range(100):
            client.ok(f"RCPT TO:<r{number}@d.example>", 250)
        client.ok("RCPT TO:<one.too.many@d.example>", "452 4.5.3")
        client.ok("RCPT TO:<two.too.many@d.example>", "452 4.5.3")
        assert client.data(MESSAGE).startswith(b"250")
    row, = proxy.server.rows()
    assert len(row["rcpt"]) == 100
    record, = proxy.records()
    assert sum(r["code"] == 250 for r in record["rcpt"]) == 100


def test_very_many_recipients_in_one_go(limited):
    """10^4 pipelined recipients against the default: each gets its reply, memory stays put."""
    proxy = limited(commands=20000, errors=100)
    with proxy.connect(timeout=60) as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        sender = threading.Thread(target=client.send, args=(
            b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(10000)),))
        sender.start()
        codes = [client.reply()[:9] for _ in range(10000)]
        sender.join()
        assert all(code.startswith(b"250") for code in codes[:1000])
        assert set(codes[1000:]) == {b"452 4.5.3"}
        assert client.data(MESSAGE).startswith(b"250")
    assert len(proxy.server.rows()[0]["rcpt"]) == 1000


def test_errors(limited):
    proxy = limited(errors=5)
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        replies = []
        try:
            for _ in range(10):
                replies.append(client.cmd("NONSENSE"))
        except (smtpraw.Closed, ConnectionError):
            pass
    codes = [int(reply[:3]) for reply in replies]
    assert codes in ([500] * 5 + [421], [500] * 4 + [421]), codes
    assert b" 4." in replies[-1]
    ended_by(proxy, "limits.errors")
    still_serves(proxy)


def test_commands(limited):
    proxy = limited(commands=20)
    with proxy.connect() as client:
        replies = []
        try:
            for _ in range(30):
                replies.append(client.cmd("NOOP"))
        except (smtpraw.Closed, ConnectionError):
            pass
    codes = [int(reply[:3]) for reply in replies]
    assert codes in ([250] * 20 + [421], [250] * 19 + [421]), codes
    ended_by(proxy, "limits.commands")
    still_serves(proxy)


# ---- time ----

def timed(client, low, high):
    """Waits for the 421 and the end; the time that passed must be between the two."""
    began = time.monotonic()
    client.sock.settimeout(high + 10)
    reply = client.reply()
    passed = time.monotonic() - began
    assert reply.startswith(b"421 4.4.2") or reply.startswith(b"421 4."), reply
    assert client.at_end()
    assert low <= passed <= high, passed


def test_command_timeout(limited):
    proxy = limited(command_timeout="700ms")
    with proxy.connect() as client:
        timed(client, 0.5, 5)
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.send(b"MAIL FROM:<half")
        timed(client, 0.5, 5)
    with proxy.connect() as client:
        client.begin()
        timed(client, 0.5, 5)
    assert proxy.records()[0]["verdict"] == "abort"
    still_serves(proxy)


def test_dripped_command_is_no_escape(limited):
    """A byte now and then does not make the time for one command longer."""
    proxy = limited(command_timeout="800ms")
    with proxy.connect() as client:
        began = time.monotonic()
        client.sock.settimeout(0.1)
        reply = b""
        while time.monotonic() - began < 10 and not reply:
            try:
                client.send(b"x")
                reply = client.sock.recv(1000)
            except socket.timeout:
                continue
            except ConnectionError:
                break
        assert reply.startswith(b"421"), reply
        assert time.monotonic() - began < 5


def test_data_timeout(limited):
    proxy = limited(data_timeout="700ms", command_timeout="30s")
    with proxy.connect() as client:
        client.begin()
        client.ok("DATA", 354)
        client.send(b"Subject: x\r\n\r\nand then nothing")
        timed(client, 0.5, 5)
    assert proxy.server.journal() == []
    record, = proxy.records()
    assert record["verdict"] == "abort", record
    still_serves(proxy)


def test_session_timeout(limited):
    proxy = limited(session_timeout="1s", command_timeout="30s", commands=1000000)
    with proxy.connect() as client:
        began = time.monotonic()
        reply = b"250"
        while reply.startswith(b"250"):
            assert time.monotonic() - began < 10
            reply = client.cmd("NOOP")
            time.sleep(0.02)
        assert reply.startswith(b"421"), reply
        assert time.monotonic() - began >= 0.9
        assert client.at_end()
    still_serves(proxy)


def test_session_timeout_is_always_told(limited):
    """The time may be up while a reply is still being sent: the 421 comes all the same."""
    proxy = limited(session_timeout="60ms", commands=1000000)
    told = 0
    for _ in range(30):
        with proxy.connect() as client:
            reply = b"250"
            while reply.startswith(b"250"):
                try:
                    reply = client.cmd("NOOP")
                except (smtpraw.Closed, ConnectionError):
                    reply = b""
                time.sleep(0.002)
            told += reply.startswith(b"421 4.4.2")
    assert told == 30, f"{told} of 30 clients were told"


def test_clients_that_vanish(limited):
    """Reset, half-close and close at every point of a session leave nothing behind."""
    proxy = limited()
    steps = [b"EHLO client.example\r\n", b"MAIL FROM:<a@client.example>\r\n",
             b"RCPT TO:<b@d.example>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\nhalf a mess"]
    for count in range(len(steps) + 1):
        for way in ("close", "reset", "half"):
            client = proxy.connect()
            for step in steps[:count]:
                client.send(step)
                if not step.startswith(b"Subject"):
                    client.reply()
            if way == "reset":
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if way == "half":
                client.sock.shutdown(socket.SHUT_WR)
                client.rest()
            client.close()
    still_serves(proxy)
    assert len(proxy.server.rows()) == 1
    weirlab.wait_until(lambda: proxy.connections() == 0, "all connections are gone")


# ---- lines ----

@pytest.mark.parametrize("length", [5000, 100000])
def test_overlong_line(limited, length):
    proxy = limited()
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.send(b"NOOP " + b"x" * length + b"\r\nNOOP\r\n")
        reply = client.reply()
        assert reply.startswith(b"500 5.5.2"), reply
        assert client.reply().startswith(b"250"), "one reply to the line, and on"
    still_serves(proxy)


def test_line_that_is_allowed(limited):
    proxy = limited()
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("NOOP " + "x" * (1024 - 7), 250)
        local, domain = "l" * 64, ".".join(["d" * 61] * 3)
        client.ok(f"MAIL FROM:<{local}@{domain}>", 250)
        client.ok(f"RCPT TO:<{local}@{domain}>", 250)
        client.ok(f"RCPT TO:<{local}x@d.example>", 501)
        client.ok("RCPT TO:<b@" + "d" * 63 + (".d" * 130) + ">", 501)


def test_endless_line(limited):
    """16 MB without a line end: one reply at most, memory stays, others are served meanwhile."""
    proxy = limited(proxy={"workers": 1})
    still_serves(proxy)
    before = memory_kib(proxy, "VmRSS")
    with proxy.connect(timeout=30) as client:
        for number in range(256):
            client.send(b"x" * 65536)
            if number == 128:
                still_serves(proxy)
        assert memory_kib(proxy, "VmRSS") - before < 2048
        client.send(b"\r\nQUIT\r\n")
        replies = client.rest()
    assert smtpraw.codes(replies) == [500, 221], replies
    assert replies.startswith(b"500 5.5.2"), replies


def test_pipelined_noops(limited):
    """10^5 NOOPs in one go, replies read as they come; another session is not delayed."""
    proxy = limited(proxy={"workers": 1}, commands=200000)
    with proxy.connect(timeout=60) as client:
        sender = threading.Thread(target=client.send, args=(b"NOOP\r\n" * 100000 + b"QUIT\r\n",))
        sender.start()
        client.reply()
        began = time.monotonic()
        still_serves(proxy)
        assert time.monotonic() - began < 5
        found = smtpraw.codes(client.rest())
        sender.join()
    assert found == [250] * 99999 + [221]
    assert memory_kib(proxy, "VmHWM") < 200 * 1024


def test_noops_of_a_client_that_does_not_read(limited):
    """Replies that nobody takes hold the client back, not the proxy's memory."""
    proxy = limited(proxy={"workers": 1}, commands=10000000, command_timeout="2s")
    still_serves(proxy)
    before = memory_kib(proxy, "VmRSS")
    with proxy.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.setblocking(False)
        sent, stuck_since = 0, time.monotonic()
        while time.monotonic() - stuck_since < 0.5 and sent < 64 << 20:
            try:
                sent += client.sock.send(b"NOOP\r\n" * 1000)
                stuck_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            except ConnectionError:
                break
        assert sent < 64 << 20, "back-pressure"
        assert memory_kib(proxy, "VmRSS") - before < 2048
        still_serves(proxy)


def test_many_header_fields(limited):
    """10^5 fields are the upstream's business; they pass, in bounded memory."""
    proxy = limited()
    content = b"X-Field: y\r\n" * 100000 + b"\r\nx\r\n"
    with proxy.connect(timeout=60) as client:
        client.begin()
        assert client.data(content).startswith(b"250")
    stored, = proxy.server.contents()
    assert smtpraw.without_received(stored, weirlab.HOSTNAME) == content


# ---- sessions ----

def test_max_sessions(limited):
    proxy = limited(proxy={"max_sessions": 10})
    clients = []
    refused = None
    for _ in range(30):
        client = smtpraw.Client(proxy.address, greet=False)
        reply = client.reply()
        if reply.startswith(b"421"):
            refused = reply
            assert client.at_end()
            break
        assert reply.startswith(b"220"), reply
        clients.append(client)
    assert refused and b" 4." in refused, refused
    assert 8 <= len(clients) <= 12, len(clients)
    for client in clients:
        client.ok("NOOP", 250)
        client.ok("QUIT", 221)
        client.close()

    def welcome():
        with smtpraw.Client(proxy.address) as client:
            return client.greeting.startswith(b"220")
    weirlab.wait_until(welcome, "a free place")
    still_serves(proxy)


# ---- states ----

def received(count):
    return b"".join(b"RECEIVED: from h%d by h%d;\r\n\tThu, 1 Jan 2026 00:00:00 +0000\r\n" % (n, n)
                    if n % 2 else b"Received: by h%d\r\n" % n for n in range(count))


def test_loop_detection(limited):
    proxy = limited()
    with proxy.connect() as client:
        client.begin()
        assert client.data(received(50) + MESSAGE).startswith(b"250"), "50 are allowed"
        client.begin()
        reply = client.data(received(51) + MESSAGE)
        assert reply.startswith(b"554 5.4.6"), reply
        client.begin()
        assert client.data(b"Subject: x\r\n\r\n" + received(60)).startswith(b"250"), "body"
    assert len(proxy.server.rows(2)) == 2
    assert proxy.records(at_least=3)[1]["verdict"] == "reject"


def test_order_of_commands(limited):
    proxy = limited(errors=1000)
    with proxy.connect() as client:
        client.ok("MAIL FROM:<a@client.example>", 503)
        client.ok("RCPT TO:<b@d.example>", 503)
        client.ok("DATA", 503)
        client.ok("EHLO", 501)
        client.ok("EHLO client.example", 250)
        client.ok("RCPT TO:<b@d.example>", 503)
        client.ok("DATA", 503)
        client.ok("MAIL FROM:<a@client.example>", 250)
        client.ok("MAIL FROM:<a@client.example>", 503)
        client.ok("DATA", "554 5.5.1")
        client.ok("RCPT TO:<b@d.example>", 250)
        client.ok("RSET", 250)
        client.ok("RCPT TO:<b@d.example>", 503)
        client.ok("DATA", 503)
        client.begin()
        client.ok("EHLO again.example", 250)
        client.ok("RCPT TO:<b@d.example>", 503)
        client.ok("VRFY b@d.example", 252)
        client.ok("EXPN list", 5)
        client.ok("HELP", 214)
        client.ok("noop", 250)
        client.ok("mAiL fRoM:<a@client.example>", 250)
        client.ok("rcpt to:<postmaster>", 250)
        assert client.data(MESSAGE).startswith(b"250")
        client.ok("RCPT TO:<b@d.example>", 503)
        client.ok("DATA", 503)
        client.ok("HELO old.example", 250)
        client.ok("MAIL FROM:<>", 250)
        client.ok("RCPT TO:<b@d.example>", 250)
        assert client.data(MESSAGE).startswith(b"250")
        client.ok("QUIT", 221)
        assert client.at_end()
    assert [row["from"] for row in proxy.server.rows(2)] == ["a@client.example", ""]


def test_state_is_fresh_after_errors(limited):
    """After a refusal at the end of data the next RCPT or DATA needs a new MAIL."""
    proxy = limited(message_size="1k", errors=1000)
    with proxy.connect() as client:
        for content in (b"x\n.\r\n", b"y" * 3000 + b"\r\n", received(60), MESSAGE):
            client.begin()
            client.data(content)
            client.ok("RCPT TO:<b@d.example>", 503)
            client.ok("DATA", 503)
    assert len(proxy.server.rows()) == 1


def test_enhanced_codes_on_our_own_replies(limited):
    """RFC 2034: on every 2xx, 4xx and 5xx but greeting, HELO and EHLO; the class digit agrees."""
    proxy = limited(errors=1000)
    lines = ["NOOP", "RSET", "VRFY b@d.example", "HELP", "MAIL FROM:<a@client.example>", "RSET",
             "MAIL FROM:<a", "MAIL", "MAIL FROM:<@a,@b:c@d.example>", "RCPT", "DATA", "NONSENSE",
             "AUTH PLAIN", "BDAT 1", "STARTTLS", "XCLIENT A=b", "ETRN x", "EXPN x", "DATA x",
             "QUIT x",
             "NOOP " + "x" * 3000, "MAIL FROM:<\u00e4@client.example>", "QUIT"]
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        for line in lines:
            reply = client.cmd(line)
            match = re.match(rb"([245])\d\d ([245])\.\d{1,3}\.\d{1,3} \S", reply)
            assert match and match[1] == match[2], (line, reply)


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST / HTTP/1.0", "PUT / HTTP/1.1",
                                  "HEAD / HTTP/1.1", "OPTIONS * HTTP/1.1",
                                  "CONNECT d.example:25 HTTP/1.1"])
def test_http_is_dropped(limited, line):
    proxy = limited()
    with proxy.connect() as client:
        client.send(line.encode() + b"\r\nHost: x\r\n\r\nMAIL FROM:<a@client.example>\r\n")
        replies = client.rest()
    assert len(smtpraw.codes(replies)) <= 1 and b"HTTP" not in replies, replies
    assert b"250" not in replies
    still_serves(proxy)


def test_input_is_never_echoed(limited):
    """What a peer sends does not come back in replies, nor does it break a record."""
    proxy = limited(errors=1000)
    marker = "zq7marker"
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        for line in (f"{marker} x", f"MAIL FROM:<{marker}",
                     f"MAIL FROM:<a@client.example> {marker}=1", f"VRFY {marker}",
                     f"HELP {marker}", f"NOOP {marker}", f"AUTH {marker}"):
            assert marker.encode() not in client.cmd(line), line
    with proxy.connect() as client:
        client.ok("EHLO quote\"brace{percent%s", 250)
        client.ok("MAIL FROM:<\"a\\\"b\\\\c\"@client.example>", 250)
        client.ok("RCPT TO:<\"{%n}\"@d.example>", 250)
        assert client.data(MESSAGE).startswith(b"250")
    record, = proxy.records()
    assert record["helo"] == "quote\"brace{percent%s"
    assert record["from"] == "\"a\\\"b\\\\c\"@client.example"
    assert record["rcpt"] == [{"to": "\"{%n}\"@d.example", "code": 250}]
