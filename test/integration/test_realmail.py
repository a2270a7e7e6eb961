"""
test_realmail - real clients through the proxy to real servers: every byte that was sent arrives.

A recording tap stands between client and proxy. What it saw, message by message, must be what the
server has, apart from the Received field of the proxy and the server's own trace fields.

    swaks | smtp-source      --> tap --> mailweir --> postfix | smtp-sink
    smtplib | postfix                                 aiosmtpd | weir-sink

WEIR_IO=direct runs the same tests without the proxy: the control for the comparison itself.
"""
import os
import smtplib
import socket
import subprocess
from collections import Counter

import pytest

import smtpraw
import weirlab
from smtpraw import digest, stuff, without_received

SERVERS = ("postfix", "smtp_sink", "aio_sink", "weir_sink")


class Route:
    """Tap, proxy and one of the servers, with a domain that leads to the server's store."""

    def __init__(self, kind, request, weir, config=None, port=None):
        self.kind = kind
        if kind == "weir_sink":
            self.server = request.getfixturevalue("sink")()
        else:
            self.server = request.getfixturevalue(kind)
        self.domain = self.server.mailbox() if kind == "postfix" else "d.example"
        self.proxy = weir(self.server, config=config)
        self.tap = smtpraw.Tap(self.proxy.address, port or weirlab.free_port())
        request.addfinalizer(self.tap.close)

    def arrived(self, count):
        if self.kind == "postfix":
            contents = self.server.contents(count, self.domain)
        else:
            contents = self.server.contents(count)
        return contents

    def check(self, count, received=True):
        """`count` messages went in and came out, equal. Postfix stores one copy per recipient, so
        count what is different there."""
        sent = self.tap.messages()
        assert len(sent) == count, len(sent)
        arrived = self.arrived(count)
        bare = [without_received(content, weirlab.HOSTNAME) for content in arrived]
        assert Counter(map(digest, bare)) == Counter(map(digest, sent)), difference(bare, sent)
        if self.proxy.is_proxy:
            assert all((a != b) == received for a, b in zip(arrived, bare)), "Received"
            assert len(self.proxy.records(at_least=count)) == count
        return sent


def difference(arrived, sent):
    only_arrived = list((Counter(arrived) - Counter(sent)).elements())[:1]
    only_sent = list((Counter(sent) - Counter(arrived)).elements())[:1]
    return f"arrived {[x[:500] for x in only_arrived]}, sent {[x[:500] for x in only_sent]}"


@pytest.fixture(params=SERVERS)
def route(request, weir):
    return Route(request.param, request, weir)


def run(argv, **options):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=90, check=False, **options)
    assert done.returncode == 0, (argv, done.stdout[-3000:])
    return done.stdout


def smtp_source(route, *options):
    return run(["/usr/sbin/smtp-source", "-f", "a@client.example", "-t", f"b@{route.domain}",
                *options, weirlab.address_text(route.tap.address)])


def test_swaks(route, folder):
    body = os.path.join(folder, "body")
    with open(body, "wb") as file:
        file.write(b".dot first\n..two\n\ntext\n.\nafter a lone dot\n")
        file.write("\u00e4\u20ac\n".encode() * 50)
    out = run(["swaks", "--server", "127.0.0.1", "--port", str(route.tap.port), "--from",
               "a@client.example", "--to", f"b@{route.domain}", "--body", "@" + body, "--attach",
               "@" + body, "--h-Subject", "swaks"])
    assert b"250 " in out
    assert b"\r\n..two\r\n" in route.check(1)[0]


def test_swaks_pipeline(route):
    run(["swaks", "--server", "127.0.0.1", "--port", str(route.tap.port), "--from",
         "a@client.example", "--to", f"b@{route.domain},c@{route.domain}", "--pipeline"])
    route.check(1) if route.kind != "postfix" else check_copies(route, 2)


def check_copies(route, copies):
    """Postfix keeps one file per recipient, each with the same content."""
    sent, = route.tap.messages()
    arrived = route.arrived(copies)
    assert [without_received(c, weirlab.HOSTNAME) for c in arrived] == [sent] * copies


def test_smtp_source_single(route):
    smtp_source(route)
    route.check(1)


def test_smtp_source_many(route):
    smtp_source(route, "-s", "10", "-m", "200", "-l", "2000")
    route.check(200)


def test_smtp_source_kept_sessions(route):
    smtp_source(route, "-d", "-s", "5", "-m", "50", "-r", "1")
    route.check(50)


def test_smtp_source_long_body(route):
    smtp_source(route, "-s", "2", "-m", "2", "-l", str(1 << 20))
    assert all(len(content) >= 1 << 20 for content in route.check(2))


def mail(route):
    return smtplib.SMTP("127.0.0.1", route.tap.port, local_hostname="client.example", timeout=30)


def message(subject, body, header=b""):
    return (b"From: a@client.example\r\nTo: b@server.example\r\nSubject: " + subject + b"\r\n"
            + header + b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-Id: <1@client.example>\r\n"
            + b"\r\n" + body)


def test_smtplib_ehlo_and_helo(route):
    with mail(route) as smtp:
        smtp.sendmail("a@client.example", [f"b@{route.domain}"], message(b"EHLO", b"one\r\n"))
    with mail(route) as smtp:
        smtp.helo("old.example")
        smtp.sendmail("a@client.example", [f"b@{route.domain}"], message(b"HELO", b"two\r\n"))
    route.check(2)


def test_smtplib_smtputf8(request, weir):
    for kind in ("postfix", "aio_sink", "weir_sink"):
        route = Route(kind, request, weir)
        with mail(route) as smtp:
            wait_for_offer(route, b"SMTPUTF8")
            smtp.ehlo()
            sent = message("gr\u00fc\u00dfe".encode(), "\u4f60\u597d\r\n".encode())
            smtp.sendmail("\u00e4@client.example", [f"\u00f6@{route.domain}"], sent,
                          ["SMTPUTF8", "BODY=8BITMIME"])
        route.check(1)
        if kind == "weir_sink":
            row, = route.server.rows()
            assert row["from"] == "\u00e4@client.example", row
            assert row["rcpt"] == [f"\u00f6@{route.domain}"], row
            assert sorted(row["from_params"].split())[0] == "BODY=8BITMIME", row
            assert "SMTPUTF8" in row["from_params"], row


def wait_for_offer(route, word):
    if route.proxy.is_proxy:
        route.proxy.offers(word)


def test_smtplib_8bit_body(route):
    wanted = message(b"8 bit", bytes(range(0x80, 0x100)) * 7 + b"\r\n", b"MIME-Version: 1.0\r\n"
                     b"Content-Type: text/plain; charset=x-unknown\r\n"
                     b"Content-Transfer-Encoding: 8bit\r\n")
    option = [] if route.kind == "smtp_sink" else ["BODY=8BITMIME"]
    if option:
        wait_for_offer(route, b"8BITMIME")
    with mail(route) as smtp:
        smtp.ehlo()
        smtp.sendmail("a@client.example", [f"b@{route.domain}"], wanted, option)
    assert route.check(1) == [wanted]


def test_smtplib_dsn(request, weir):
    route = Route("weir_sink", request, weir)
    wait_for_offer(route, b"DSN")
    with mail(route) as smtp:
        smtp.sendmail("a@client.example", ["b@d.example", "c@d.example"], message(b"DSN", b"x\r\n"),
                      ["RET=HDRS", "ENVID=QQ314159+2Bx"],
                      ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob+40x@d.example"])
    row, = route.server.rows()
    mail_params = row["from_params"].split()
    assert "RET=HDRS" in mail_params and "ENVID=QQ314159+2Bx" in mail_params, row
    wanted = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob+40x@d.example"]
    assert [params.split() for params in row["rcpt_params"]] == [wanted, wanted]
    route.check(1)


DOTS = b".\r\n..\r\n...\r\n.a\r\n\r\n.\r\n \r\n.b.\r\n" * 40


def test_smtplib_dot_lines(route):
    wanted = message(b"dots", DOTS)
    with mail(route) as smtp:
        smtp.sendmail("a@client.example", [f"b@{route.domain}"], wanted)
    assert route.check(1) == [wanted]


def test_smtplib_many_recipients(route):
    with mail(route) as smtp:
        to = [f"r{n}@{route.domain}" for n in range(60)]
        assert smtp.sendmail("a@client.example", to, message(b"many", b"x\r\n")) == {}
    if route.kind == "postfix":
        check_copies(route, 60)
    else:
        route.check(1)
    if route.proxy.is_proxy:
        record, = route.proxy.records()
        assert [(r["to"], r["code"]) for r in record["rcpt"]] == [(address, 250) for address in to]


def test_awkward_contents(request, weir):
    """Contents that a proxy likes to repair: no header, no body, long lines, blank first line."""
    route = Route("weir_sink", request, weir)
    contents = [b"", b"\r\n", b"\r\nbody only\r\n", b"no colon\r\n",
                b" white space first\r\n\r\nx\r\n", b"Subject: no body\r\n",
                b"Subject: trailing white space \t \r\n\r\n \t\r\n\r\n\r\n",
                b"X: y\r\n\r\n" + b"z" * 500000 + b"\r\n", b"A: b\r\n" * 5000 + b"\r\nx\r\n",
                b"A: b\r\n\r\n" + b"\x01\x07\x0b\x1b\x7f\xff\xfe" * 30 + b"\r\n"]
    for content in contents:
        with smtpraw.Client(route.tap.address) as client:
            client.begin()
            assert client.data(stuff(content)).startswith(b"250"), content[:50]
    # With our field in front a blank first line or white space must stay apart from that field.
    for content, stored in zip(contents, route.arrived(len(contents))):
        assert stored.endswith(content), (content[:50], stored[:500])
    assert route.tap.messages() == contents
    bare = [without_received(c, weirlab.HOSTNAME) for c in route.arrived(len(contents))]
    plain = [n for n, c in enumerate(contents) if not c.startswith((b"\r\n", b" ")) and c]
    assert [bare[n] for n in plain] == [contents[n] for n in plain]


@pytest.mark.parametrize("received", ["yes", "no"])
def test_received_header(request, weir, received):
    route = Route("weir_sink", request, weir, {"verify": {"received_header": received}})
    wanted = message(b"trace", b"x\r\n")
    with smtpraw.Client(route.tap.address) as client:
        client.begin()
        assert client.data(wanted).startswith(b"250")
    stored, = route.arrived(1)
    if not route.proxy.is_proxy or received == "no":
        assert stored == wanted
        return
    field, rest = smtpraw.split_field(stored)
    assert rest == wanted
    assert b"client.example" in field and b"[127.0.0.1]" in field, field
    assert b"by " + weirlab.HOSTNAME.encode() in field and b"with ESMTP" in field, field
    assert all(len(line) <= 998 for line in field.split(b"\r\n"))


def test_postfix_to_postfix(request, weir, sending_postfix):
    """The relayhost of one postfix is the proxy in front of another."""
    route = Route("postfix", request, weir, port=sending_postfix.relay_port)
    wait_for_offer(route, b"8BITMIME")
    bodies = [b"x\r\n", DOTS, b"\xe4\r\n" * 100, b"y" * 70 + b"\r\n",
              b"0123456789abcdef\r\n" * 50000]
    for number, body in enumerate(bodies):
        with smtplib.SMTP(*sending_postfix.address, local_hostname="client.example") as smtp:
            smtp.ehlo()
            smtp.sendmail("a@client.example", [f"b@{route.domain}"],
                          message(b"relay %d" % number, body), ["BODY=8BITMIME"])
    route.arrived(len(bodies))
    sent = route.check(len(bodies))
    for body in bodies:
        assert any(content.endswith(b"\r\n\r\n" + body) for content in sent)


def test_unix_and_ipv6_servers(request, weir, folder, sink):
    """Other families of upstream, with the same content."""
    path = os.path.join(folder, "s")
    servers = [sink(listen="unix:" + path)]
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        servers.append(sink(listen=("::1", weirlab.free_port("::1"))))
    for server in servers:
        proxy = weir(server)
        with proxy.connect() as client:
            client.begin()
            assert client.data(message(b"family", b"x\r\n")).startswith(b"250")
        stored, = server.contents()
        assert without_received(stored, weirlab.HOSTNAME) == message(b"family", b"x\r\n")
        if proxy.is_proxy:
            record, = proxy.records()
            assert record["upstream"] == weirlab.address_text(server.address)
