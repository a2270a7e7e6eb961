"""
test_chunking - messages that go to the upstream in one piece (BDAT): the same bytes arrive as with
DATA, at every bound, and nothing that is refused arrives.
"""
import re
import smtplib
import subprocess
from collections import Counter

import pytest

import smtpraw
import weirlab
from smtpraw import digest, stuff, without_received

OFFER = "PIPELINING,8BITMIME,CHUNKING"
KIB16 = 16384
SIZES = [2, 3, 4, 1000, 7000, *range(8190, 8195), *range(KIB16 - 6, KIB16 + 4), 24576, 1 << 20]


def lines(size):
    """A content of that size."""
    line = b"0123456789abcdef" * 4 + b"\r\n"
    return (line * (size // len(line) + 1))[:size - 2] + b"\r\n"


# One CR, LF or dot at each end; what begins with ".." on the wire, what ends so, dots everywhere.
CONTENTS = [b"", b"\r\n", b".\r\n", b"..\r\n", b".a\r\n", b"a\r\n.\r\n", b"a\r\n..\r\n.\r\n",
            b".\r\n" * 5000, b"..a\r\nb.\r\n" * 700, b"Subject: x\r\n\r\n" + b"y" * 1000 + b"\r\n",
            b"\r\n.\r\n\r\n", b"\x01\x7f\xff.\r\n.\xe4\r\n", *map(lines, SIZES)]


def plain(content):
    """Without a field that the server put on top, and ours."""
    return without_received(content, weirlab.HOSTNAME)


def send_all(address, rcpt, contents):
    """Each in a transaction of one session, and in one piece."""
    with smtpraw.Client(address) as client:
        client.ok("EHLO client.example", 250)
        for content in contents:
            client.ok("MAIL FROM:<a@client.example>", 250)
            client.ok(f"RCPT TO:<{rcpt}>", 250)
            reply = client.data(stuff(content))
            assert reply.startswith(b"250"), (reply, content[:50])


@pytest.mark.parametrize("contact", ["rcpt", "mail", "connect"])
def test_same_as_with_data(sink, weir, contact):
    arrived = {}
    for chunking in ("auto", "off"):
        server = sink(extensions=OFFER)
        proxy = weir(server, config={"upstream:default": {"chunking": chunking,
                                                          "contact": contact}})
        send_all(proxy.address, "b@d.example", CONTENTS)
        stored = server.contents(len(CONTENTS))
        assert len(stored) == len(CONTENTS)
        for content, wanted in zip(stored, CONTENTS):
            assert content.endswith(wanted) and content.startswith(b"Received: "), wanted[:50]
        arrived[chunking] = [digest(plain(content)) for content in stored]
        records = proxy.records(at_least=len(CONTENTS))
        assert [record["size"] for record in records] == list(map(len, CONTENTS))
    assert arrived["auto"] == arrived["off"]


@pytest.mark.parametrize("contact", ["rcpt", "connect"])
def test_same_as_with_data_to_postfix(postfix, weir, contact):
    contents = [b"Subject: x\r\n\r\n" + content for content in CONTENTS if b"\xff" not in content]
    for chunking in ("auto", "off"):
        domain = postfix.mailbox()
        told_before = told(postfix)
        proxy = weir(postfix, config={"upstream:default": {"chunking": chunking,
                                                           "contact": contact}})
        send_all(proxy.address, f"b@{domain}", contents)
        stored = [digest(plain(c)) for c in postfix.contents(len(contents), domain)]
        assert Counter(stored) == Counter(map(digest, contents))
        assert proxy.stop() == 0
        count = weirlab.wait_until(lambda before=told_before: told_all(
            told(postfix) - before, len(contents)), "postfix has told of its sessions")
        short = sum(len(stuff(content)) < 8000 for content in contents)
        assert count["bdat"] >= short if chunking == "auto" else count["bdat"] == 0, count


def told(postfix):
    """How many of which command postfix has had in the sessions that are over, by its log."""
    pairs = re.findall(rb" (data|bdat)=(\d+)", weirlab.read(postfix.root + "/log"))
    return sum((Counter({name.decode(): int(number)}) for name, number in pairs), Counter())


def told_all(count, messages):
    return count if count["data"] + count["bdat"] >= messages else None


def test_which_goes_which_way(sink, weir):
    """A sink that refuses DATA, and takes BDAT."""
    server = sink("data:reply=554 5.0.0 no DATA", extensions=OFFER)
    proxy = weir(server)
    with smtpraw.Client(proxy.address) as client:
        for content, code in ((b"", b"250"), (lines(500), b"250"), (lines(KIB16 - 3), b"250"),
                              (lines(100000), b"554 5.0.0 no DATA"), (lines(500), b"250")):
            client.begin()
            assert client.data(content).startswith(code), len(content)
    assert len(server.rows(4)) == 4
    verdicts = [record["verdict"] for record in proxy.records(at_least=5)]
    assert verdicts == ["accept"] * 3 + ["reject", "accept"]


@pytest.fixture
def tap(sink, request):
    """In front of a sink, to see what the proxy says to it."""
    def start(*rules):
        server = sink(*rules, extensions=OFFER)
        recorder = smtpraw.Tap(server.address, weirlab.free_port())
        request.addfinalizer(recorder.close)
        return server, recorder
    return start


def test_slow_client_gets_through(tap, weir):
    """No waiting for the whole of a message that drips in."""
    server, seen = tap()
    proxy = weir(seen)
    content = lines(300)
    with smtpraw.Client(proxy.address) as client:
        client.begin().ok("DATA", 354)
        client.send(content[:100])
        weirlab.wait_until(lambda: b"DATA" in seen.commands(), "the upstream has been asked")
        client.send(content[100:] + b".\r\n")
        assert client.reply().startswith(b"250")
    assert plain(server.contents(1)[0]) == content


def test_refused_message_costs_no_connection(tap, weir):
    server, seen = tap()
    proxy = weir(seen, config={"limits": {"message_size": "1k"}})
    with smtpraw.Client(proxy.address) as client:
        for content, code in ((b"bare\nlf\r\n", b"550 5.5.2"), (b"bare\rcr\r\n", b"550 5.5.2"),
                              (b"nul\0\r\n", b"550 5.5.2"), (lines(2000), b"552 5.3.4"),
                              (b"Received: x\r\n" * 60, b"554 5.4.6"), (lines(900), b"250")):
            client.begin()
            assert client.data(content).startswith(code), content
    assert [plain(c) for c in server.contents(1)] == [lines(900)]
    assert seen.commands().count(b"RSET") == 5  # on the same connection


def test_bdat_refused_by_the_upstream(sink, weir):
    """Its own words; the next message goes through."""
    for contact in ("rcpt", "connect"):
        server = sink("eom/1:reply=550 5.7.1 not this one", extensions=OFFER)
        proxy = weir(server, config={"upstream:default": {"contact": contact}})
        with smtpraw.Client(proxy.address) as client:
            client.begin()
            assert client.data(b"x: y\r\n\r\n") == b"550 5.7.1 not this one\r\n"
            client.begin()
            assert client.data(b"x: y\r\n\r\n").startswith(b"250")


def test_through_tls(sink, weir, folder):
    """Two records, of 8000 bytes and of at most 16 KiB, fill the window more than a receive can, and
    a long name in our field leaves no room for it."""
    pem = folder + "/mx.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mx", "-days", "2",
                    "-keyout", pem + ".key", "-out", pem], check=True, capture_output=True)
    server = sink(extensions=OFFER)
    proxy = weir(server, config={"tls": {"certificate": f"{pem} {pem}.key"}})
    contents = [lines(size) for size in (100, 7998, KIB16, 23400, *range(23500, 23530), 24000,
                                         8000 + KIB16 - 3, 8000 + KIB16, 30000)]
    with smtplib.SMTP(*proxy.address, timeout=20) as smtp:
        smtp.starttls()
        for content in contents:
            smtp.ehlo(".".join(["c" * 60] * 4))
            assert smtp.mail("a@client.example")[0] == smtp.rcpt("b@d.example")[0] == 250
            assert smtp.docmd("DATA")[0] == 354
            smtp.sock.sendall((content + b".\r\n")[:8000])
            smtp.sock.sendall((content + b".\r\n")[8000:])
            assert smtp.getreply()[0] == 250
    assert [digest(plain(c)) for c in server.contents(len(contents))] == list(map(digest, contents))
