"""build/weir-sink by itself, on both loops: what it keeps, what it refuses, how it misbehaves.

Needs nothing but Python's own library and the program (folder: MAILWEIR_BUILD, default build/).
"""
import ctypes
import hashlib
import json
import os
import random
import re
import signal
import smtplib
import socket
import struct
import subprocess
import threading
import time

import pytest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROGRAM = os.path.join(ROOT, os.environ.get("MAILWEIR_BUILD", "build"), "weir-sink")
PATIENCE = 20  # seconds that anything may take
OK_MAIL = b"EHLO t.example\r\nMAIL FROM:<a@t.example>\r\nRCPT TO:<b@t.example>\r\n"


class Sink:
    """A running weir-sink on a free port."""

    def __init__(self, io, *options, listen="127.0.0.1:0", wrap=None):
        self.process = subprocess.Popen(
            [PROGRAM, "-l", listen, "-i", io, *options], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=wrap)
        self.lines = []
        while not (self.lines and b"listening on" in self.lines[-1]):
            line = self.process.stderr.readline()
            assert line, f"weir-sink ended early: {self.lines}"
            self.lines.append(line)
        match = re.fullmatch(rb"weir-sink: listening on (\S+) \((io_uring|epoll)\)\n",
                             self.lines[-1])
        self.address = match[1].decode()
        self.io = match[2].decode()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            counts = self.stop()
            assert kind is not None or counts["sessions_now"] >= 0

    def connect(self):
        if self.address.startswith("unix:"):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            client.connect(self.address[5:])
            return Client(client)
        host, port = self.address.rsplit(":", 1)
        return Client(socket.create_connection((host.strip("[]"), int(port)), PATIENCE))

    def smtp(self):
        host, port = self.address.rsplit(":", 1)
        return smtplib.SMTP(host, int(port), local_hostname="t.example", timeout=PATIENCE)

    def counts(self):
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors
        assert b"Sanitizer" not in errors and b"runtime error" not in errors, errors
        return json.loads(out.splitlines()[-1])

    def kill(self):
        self.process.kill()
        self.process.communicate()


class Client:
    """A socket that knows what a reply is."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def reply(self):
        """All lines of one reply; what came so far when the peer ends."""
        lines = []
        while not lines or lines[-1][3:4] == b"-":
            line = self.file.readline()
            if not line:
                break
            lines.append(line)
        return b"".join(lines)

    def codes(self, count):
        return [int(self.reply()[:3]) for _ in range(count)]

    def ask(self, data):
        self.send(data)
        return self.reply()

    def greet(self):
        assert self.reply().startswith(b"220 ")
        return self.ask(b"EHLO t.example\r\n")

    def to_data(self):
        self.greet()
        self.send(b"MAIL FROM:<a@t.example>\r\nRCPT TO:<b@t.example>\r\nDATA\r\n")
        assert self.codes(3) == [250, 250, 354]

    def is_at_end(self):
        return self.file.read(1) == b""


def rows_of(folder):
    with open(os.path.join(folder, "journal"), "rb") as journal:
        data = journal.read()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def check_row(folder, row, content):
    with open(os.path.join(folder, row["file"]), "rb") as file:
        kept = file.read()
    assert kept == content
    assert row["size"] == len(content)
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert row["file"] == f"msg-{row['n']:06}.eml"


def send_one(sink, content=b"Subject: x\r\n\r\nhello\r\n"):
    with sink.connect() as client:
        client.to_data()
        return client.ask(content + b".\r\n")


@pytest.fixture(params=["io_uring", "epoll"])
def backend(request):
    return request.param


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


# ---- mail that is kept ----

def test_mail_is_kept(backend, store):
    content = (b"Subject: dots\r\nTo: b@t.example\r\n\r\n.\r\n..\r\n.a\r\n\r\ncaf\xc3\xa9 .\r\n"
               b"end\r\n")
    with Sink(backend, "-d", store) as sink:
        with sink.smtp() as smtp:
            smtp.sendmail("a@t.example", ["b@t.example", '"c \\" d"@t.example'], content)
            smtp.sendmail("", ["e@t.example"], b"second\r\n")
        rows = rows_of(store)
        assert [row["n"] for row in rows] == [1, 2]
        assert rows[0]["from"] == "a@t.example"
        assert rows[0]["rcpt"] == ["b@t.example", '"c \\" d"@t.example']
        assert rows[0]["rcpt_params"] == ["", ""]
        assert rows[0]["connection"] == rows[1]["connection"] == 1
        assert rows[1]["from"] == "" and rows[1]["rcpt"] == ["e@t.example"]
        check_row(store, rows[0], content)
        check_row(store, rows[1], b"second\r\n")
        assert sorted(os.listdir(store)) == ["journal", "msg-000001.eml", "msg-000002.eml"]
        counts = sink.stop()
    assert counts["messages"] == 2 and counts["bytes"] == len(content) + 8
    assert counts["connections"] == 1 and counts["refused"] == 0


def test_parameters(backend, store):
    with Sink(backend, "-d", store) as sink, sink.connect() as client:
        client.greet()
        client.send(b"MAIL FROM: <j\xc3\xb6@t.example>  SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS "
                    b"ENVID=x+2By \r\nRCPT TO:<b@t.example> NOTIFY=SUCCESS,DELAY "
                    b"ORCPT=rfc822;b@t.example\r\nRCPT TO:<c@t.example>\r\nDATA\r\n")
        assert client.codes(4) == [250, 250, 250, 354]
        assert client.ask(b"hello\r\n.\r\n") == b"250 2.0.0 Ok: kept as 1\r\n"
        row = rows_of(store)[0]
    assert row["from"] == "j\u00f6@t.example"
    assert row["from_params"] == "SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By"
    assert row["rcpt"] == ["b@t.example", "c@t.example"]
    assert row["rcpt_params"] == ["NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@t.example", ""]


def test_pipelined_transactions(backend, store):
    with Sink(backend, "-d", store) as sink, sink.connect() as client:
        client.greet()
        one = b"MAIL FROM:<a@t.example>\r\nRCPT TO:<b@t.example>\r\nDATA\r\n%d\r\n.\r\n"
        client.send(b"".join(one % i for i in range(200)) + b"NOOP\r\nQUIT\r\n")
        assert client.codes(802) == [250, 250, 354, 250] * 200 + [250, 221]
        assert client.is_at_end()
        rows = rows_of(store)
        assert [row["n"] for row in rows] == list(range(1, 201))
        for i, row in enumerate(rows):
            check_row(store, row, b"%d\r\n" % i)


def test_every_cut(backend, store):
    """A dialogue that arrives byte by byte is the same dialogue."""
    script = OK_MAIL + b"DATA\r\n..a\r\n.b\r\n.\r\nQUIT\r\n"
    with Sink(backend, "-d", store) as sink, sink.connect() as client:
        for i in range(len(script)):
            client.send(script[i:i + 1])
        assert client.codes(7) == [220, 250, 250, 250, 354, 250, 221]
        check_row(store, rows_of(store)[0], b".a\r\nb\r\n")


def test_big_message(backend, store):
    seed = 20
    print("seed", seed)
    source = random.Random(seed)
    lines = [b"." * source.randrange(4) + source.randbytes(source.randrange(120)).hex().encode()
             for _ in range(60000)]
    content = b"\r\n".join(lines) + b"\r\n"
    with Sink(backend, "-d", store) as sink:
        with sink.smtp() as smtp:
            smtp.sendmail("a@t.example", ["b@t.example"], content)
        check_row(store, rows_of(store)[0], content)


def test_many_at_once(backend, store):
    """All are open before the first one says a word; each ends up in the journal once."""
    count = 300
    with Sink(backend, "-d", store) as sink:
        clients = [sink.connect() for _ in range(count)]
        for client in clients:
            client.to_data()
        assert sink.counts()["sessions_now"] == count
        for i, client in enumerate(clients):
            client.send(b"%d\r\n.\r\n" % i)
        said = [client.reply() for client in clients]
        for client in clients:
            client.__exit__()
        rows = rows_of(store)
        assert sorted(row["n"] for row in rows) == list(range(1, count + 1))
        assert sorted(row["connection"] for row in rows) == list(range(1, count + 1))
        by_number = {row["n"]: row for row in rows}
        for i, line in enumerate(said):
            check_row(store, by_number[int(re.fullmatch(rb"250 .* kept as (\d+)\r\n", line)[1])],
                      b"%d\r\n" % i)


def test_only_counted_without_folder(backend):
    with Sink(backend) as sink:
        for i in range(3):
            assert send_one(sink, b"..12\r\n") == b"250 2.0.0 Ok\r\n"
        counts = sink.stop(signal.SIGINT)
    assert counts["messages"] == 3 and counts["bytes"] == 15 and counts["connections"] == 3
    assert counts["commands"] == 12


def test_unfinished_message_is_not_kept(backend, store):
    with Sink(backend, "-d", store) as sink:
        with sink.connect() as client:
            client.to_data()
            client.send(b"half a mess")
        with sink.connect() as client:
            client.to_data()
            client.send(b"x\r\n.\r")  # the peer goes before the last byte
        wait_for_sessions(sink, 0)
        assert os.listdir(store) == ["journal"] and rows_of(store) == []


def wait_for_sessions(sink, count):
    deadline = time.monotonic() + PATIENCE
    while sink.counts()["sessions_now"] != count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- strictness ----

BAD_BODIES = [
    b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"a\n.\r\nMAIL FROM:<x@t.example>\r\n",
    b"a\r.\r\nMAIL FROM:<x@t.example>\r\n", b"a\r\n.\nQUIT\r\n", b"a\r\n.\rQUIT\r\n",
    b"a\r\n\0.\r\n", b"a\r\r\n.\r\r\nb\r\n",
]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_bad_bytes_in_a_message(backend, store, body):
    with Sink(backend, "-d", store) as sink, sink.connect() as client:
        client.to_data()
        client.send(body + b"\r\n.\r\nNOOP\r\n")
        assert client.reply().startswith(b"550 5.5.2 ")
        assert client.codes(1) == [250]
        assert rows_of(store) == [] and os.listdir(store) == ["journal"]
        counts = sink.counts()
        assert counts["refused"] == 1 and counts["messages"] == 0 and counts["commands"] == 5


@pytest.mark.parametrize("line", [b"NO\nOP", b"NO\rOP", b"NO\0OP", b"NOOP\n", b"\rNOOP"])
def test_bad_bytes_in_a_command(backend, line):
    with Sink(backend) as sink, sink.connect() as client:
        client.greet()
        client.send(line + b"\r\nNOOP\r\n")
        assert client.reply().startswith(b"550 5.5.2 ")
        assert client.codes(1) == [250]
        assert sink.counts()["refused"] == 1


def test_long_line(backend):
    with Sink(backend) as sink, sink.connect() as client:
        client.greet()
        client.send(b"NOOP " + b"x" * 100000 + b"\r\nNOOP\r\n")
        assert client.codes(2) == [500, 250]


REFUSALS = [
    (b"", b"MAIL FROM:<a@t.example>", b"503 5.5.1"), (b"", b"EHLO", b"501 5.5.4"),
    (b"", b"EHLO a b", b"501 5.5.4"), (b"EHLO x\r\n", b"RCPT TO:<b@t.example>", b"503 5.5.1"),
    (b"EHLO x\r\n", b"DATA", b"503 5.5.1"), (b"EHLO x\r\n", b"MAIL FROM:a@t.example", b"501 5.1.7"),
    (b"EHLO x\r\n", b"MAIL <a@t.example>", b"501 5.5.4"),
    (b"EHLO x\r\n", b"MAIL FROM:<a@t.example> FOO=1", b"555 5.5.4"),
    (b"EHLO x\r\n", b"MAIL FROM:<a@t.example> SIZE=52428801", b"552 5.3.4"),
    (b"EHLO x\r\n", b"MAIL FROM:<j\xc3\xb6@t.example>", b"553 5.6.7"),
    (b"HELO x\r\n", b"MAIL FROM:<a@t.example> SIZE=1", b"555 5.5.4"),
    (b"EHLO x\r\nMAIL FROM:<>\r\n", b"MAIL FROM:<>", b"503 5.5.1"),
    (b"EHLO x\r\nMAIL FROM:<>\r\n", b"RCPT TO:<@x,@y:b@t.example>", b"501 5.1.3"),
    (b"EHLO x\r\nMAIL FROM:<>\r\n", b"DATA", b"554 5.5.1"), (OK_MAIL, b"DATA x", b"501 5.5.4"),
    (b"EHLO x\r\n", b"BDAT 3 LAST", b"502 5.5.1"), (b"EHLO x\r\n", b"STARTTLS", b"502 5.5.1"),
    (b"EHLO x\r\n", b"FOO", b"500 5.5.1"), (b"EHLO x\r\n", b"QUIT now", b"501 5.5.4"),
    (b"EHLO x\r\nMAIL FROM:<>\r\nRSET\r\n", b"RCPT TO:<b@t.example>", b"503 5.5.1"),
    (OK_MAIL + b"EHLO x\r\n", b"DATA", b"503 5.5.1"),
]


@pytest.mark.parametrize("before,command,reply", REFUSALS)
def test_refusals(backend, store, before, command, reply):
    with Sink(backend, "-d", store) as sink, sink.connect() as client:
        client.send(before + command + b"\r\n")
        assert all(code < 400 for code in client.codes(1 + before.count(b"\r\n")))
        assert client.reply().startswith(reply)
        assert sink.counts()["refused"] == 1


def test_too_many_recipients(backend, store):
    with Sink(backend, "-d", store) as sink, sink.connect() as client:
        client.greet()
        client.send(b"MAIL FROM:<>\r\n" + b"RCPT TO:<b@t.example>\r\n" * 1001 + b"DATA\r\n")
        assert client.codes(1003) == [250] * 1001 + [452, 354]
        assert client.ask(b".\r\n").startswith(b"250 ")
        row = rows_of(store)[0]
        assert row["rcpt"] == ["b@t.example"] * 1000 and row["rcpt_params"] == [""] * 1000
        check_row(store, row, b"")


def test_size_limit(backend, store):
    with Sink(backend, "-d", store, "-e", "SIZE=10") as sink:
        assert send_one(sink, b"12345678\r\n").startswith(b"250 ")
        assert send_one(sink, b"123456789\r\n").startswith(b"552 5.3.4 ")
        assert [row["size"] for row in rows_of(store)] == [10]


# ---- what it offers ----

@pytest.mark.parametrize("options,reply", [
    (["-e", ""], b"250 weir-sink\r\n"),
    (["-e", "PIPELINING,SIZE=99,X-Y z"], b"250-weir-sink\r\n250-PIPELINING\r\n250-SIZE 99\r\n"
                                         b"250 X-Y z\r\n"),
    (["-n", "mx.t.example", "-e", "DSN"], b"250-mx.t.example\r\n250 DSN\r\n"),
    ([], b"250-weir-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
         b"250-ENHANCEDSTATUSCODES\r\n250 SIZE 52428800\r\n"),
])
def test_ehlo(backend, options, reply):
    with Sink(backend, *options) as sink, sink.connect() as client:
        assert client.greet() == reply


def test_helo_only(backend):
    with Sink(backend, "-e", "none") as sink, sink.connect() as client:
        assert client.greet().startswith(b"502 5.5.1 ")
        assert client.ask(b"HELO t.example\r\n") == b"250 weir-sink\r\n"
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n")
        assert client.codes(3) == [250, 250, 354]
        assert sink.counts()["refused"] == 0


# ---- BDAT ----

def test_bdat(backend, store):
    with Sink(backend, "-d", store, "-e", "PIPELINING,CHUNKING") as sink, sink.connect() as client:
        client.reply()
        client.send(OK_MAIL + b"BDAT 6\r\n.a\r\n.\r" + b"BDAT 0\r\n" + b"BDAT 9 LAST\r\n\n.\r\nb\r\n\r\n")
        assert client.codes(6) == [250] * 6
        client.send(OK_MAIL[len(b"EHLO t.example\r\n"):] + b"BDAT 0 LAST\r\nQUIT\r\n")
        assert client.codes(4) == [250, 250, 250, 221]
        rows = rows_of(store)
        check_row(store, rows[0], b".a\r\n.\r\n.\r\nb\r\n\r\n")
        check_row(store, rows[1], b"")


def test_bdat_refused(backend, store):
    with Sink(backend, "-d", store, "-e", "CHUNKING") as sink, sink.connect() as client:
        client.greet()
        # No transaction: the octets go, whatever they look like.
        assert client.ask(b"BDAT 6 LAST\r\nQUIT\r\n").startswith(b"503 5.5.1 ")
        client.send(OK_MAIL + b"BDAT 5 LAST\r\na\nb\r\n")
        assert client.codes(3) == [250, 250, 250]
        assert client.reply().startswith(b"550 5.5.2 ")
        client.send(OK_MAIL + b"BDAT 1\r\nxDATA\r\n")
        assert client.codes(4) == [250, 250, 250, 250]
        assert client.reply().startswith(b"503 5.5.1 ")
        assert client.ask(b"BDAT x\r\n").startswith(b"501 5.5.4 ")
        assert client.is_at_end()  # how many octets follow is not known
        assert rows_of(store) == []


# ---- misbehaviour ----

SCRIPT = [  # stage, what leads to it
    ("connect", b""), ("ehlo", b"EHLO x\r\n"), ("helo", b"HELO x\r\n"),
    ("mail", b"MAIL FROM:<a@t.example>\r\n"), ("rcpt", b"RCPT TO:<b@t.example>\r\n"),
    ("data", b"DATA\r\n"), ("body", b"x"), ("eom", b"\r\n.\r\n"), ("rset", b"RSET\r\n"),
    ("noop", b"NOOP\r\n"), ("quit", b"QUIT\r\n"),
]
STAGES = [stage for stage, _ in SCRIPT]


def lead_to(client, stage):
    """Everything in front of the stage, then its own bytes; the replies in between are read."""
    for name, data in SCRIPT:
        client.send(data)
        if name == stage:
            return
        if name != "body":
            assert client.codes(1)[0] < 400
    raise AssertionError(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_reply_at_each_stage(backend, store, stage):
    rule = stage + ":reply=450-4.2.1 so\\r\\n450 4.2.1 later"
    with Sink(backend, "-d", store, "-m", rule) as sink, sink.connect() as client:
        lead_to(client, stage)
        assert client.reply() == b"450-4.2.1 so\r\n450 4.2.1 later\r\n"
        if stage == "body":
            client.send(b"\r\n.\r\n")
        assert len(rows_of(store)) == (STAGES.index(stage) > STAGES.index("eom"))
        # The transaction is as the reply says, and the session goes on.
        assert client.ask(b"VRFY x\r\n").startswith(b"252 ")
        assert sink.counts()["refused"] == 0


@pytest.mark.parametrize("action", ["drop", "reset", "garbage", "hang", "close-after", "delay=150",
                                    "drip=2"])
@pytest.mark.parametrize("stage", STAGES)
def test_action_at_each_stage(backend, store, stage, action):
    if (stage, action) == ("connect", "reset"):
        return check_reset_at_connect(backend)
    with Sink(backend, "-d", store, "-m", f"{stage}:{action}") as sink, sink.connect() as client:
        lead_to(client, stage)
        start = time.monotonic()
        {"drop": expect_end, "reset": expect_reset, "garbage": expect_garbage,
         "hang": expect_silence, "close-after": expect_last_reply}.get(action, expect_reply)(
             client, stage)
        took = time.monotonic() - start
        if action == "delay=150":
            assert took >= 0.1
        kept = len(rows_of(store))
    done = ["close-after", "delay=150", "drip=2"]
    at = STAGES.index(stage) - STAGES.index("eom")
    if not (stage == "body" and action in done):
        assert kept == (at > 0 or (at == 0 and action in done))


def check_reset_at_connect(backend):
    """The reset may be quicker than our connect(2)."""
    with Sink(backend, "-m", "connect:reset") as sink:
        try:
            client = sink.connect()
        except ConnectionResetError:
            pass
        else:
            with client:
                expect_reset(client, "connect")
        assert sink.counts()["connections"] == 1


def expect_end(client, _stage):
    assert client.is_at_end()


def expect_reset(client, _stage):
    with pytest.raises(ConnectionResetError):
        while not client.is_at_end():
            pass
        client.send(b"x")  # the reset may follow what was read as an end
        time.sleep(0.1)
        client.send(b"x")


def expect_garbage(client, _stage):
    line = client.file.readline()
    assert len(line) == 50 and line.endswith(b"\r\n") and not line[:1].isdigit()


def expect_silence(client, _stage):
    client.sock.settimeout(0.3)
    with pytest.raises(socket.timeout):
        client.sock.recv(1)


def expect_last_reply(client, stage):
    if stage != "body":
        assert client.codes(1)[0] < 400
    assert client.is_at_end()


def expect_reply(client, stage):
    if stage == "body":
        client.send(b"\r\n.\r\n")
    assert client.codes(1)[0] < 400


def test_drip_is_slow(backend):
    with Sink(backend, "-m", "noop:drip=20") as sink, sink.connect() as client:
        client.greet()
        start = time.monotonic()
        assert client.ask(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"
        assert time.monotonic() - start >= 0.2  # 14 bytes
        first = client.sock
        client.send(b"NOOP\r\n")
        assert first.recv(100) == b"2"


def test_early_reply(backend, store):
    with Sink(backend, "-d", store, "-m", "eom/2:early") as sink, sink.connect() as client:
        client.to_data()
        assert client.ask(b"1\r\n.\r\n").startswith(b"250 2.0.0 Ok: kept as 1")
        client.send(b"MAIL FROM:<a@t.example>\r\nRCPT TO:<b@t.example>\r\nDATA\r\n")
        assert client.codes(4) == [250, 250, 354, 250]
        assert len(rows_of(store)) == 1
        assert client.ask(b"2\r\n.\r\nVRFY x\r\n").startswith(b"252 ")
        check_row(store, rows_of(store)[1], b"2\r\n")
        client.send(b"MAIL FROM:<a@t.example>\r\nRCPT TO:<b@t.example>\r\nDATA\r\n")
        assert client.codes(3) == [250, 250, 354]
        assert client.ask(b"3\r\n.\r\n").startswith(b"250 ")


def test_own_reply_that_keeps(backend, store):
    with Sink(backend, "-d", store, "-m", "eom:reply=250 2.6.0 mine") as sink:
        assert send_one(sink) == b"250 2.6.0 mine\r\n"
        assert len(rows_of(store)) == 1


def test_nth_is_counted_over_all_connections(backend, store):
    with Sink(backend, "-d", store, "-m", "eom/2:reply=452 4.3.1 full") as sink:
        assert [send_one(sink)[:3] for _ in range(3)] == [b"250", b"452", b"250"]
        assert [row["n"] for row in rows_of(store)] == [1, 2]


def test_rules_work_together(backend, store):
    rules = ["-m", "noop:delay=100", "-m", "noop:close-after", "-m", "noop:reply=250 x"]
    with Sink(backend, *rules) as sink, sink.connect() as client:
        client.greet()
        start = time.monotonic()
        assert client.ask(b"NOOP\r\n") == b"250 x\r\n"
        assert time.monotonic() - start >= 0.1
        assert client.is_at_end()


def test_refused_mail_has_no_transaction(backend, store):
    rules = ["-m", "mail/1:reply=451 4.7.1 no", "-m", "rcpt/2:reply=550 5.1.1 nobody"]
    with Sink(backend, "-d", store, *rules) as sink, sink.connect() as client:
        client.reply()
        client.send(OK_MAIL + b"DATA\r\n")
        assert client.codes(4) == [250, 451, 503, 503]
        client.send(OK_MAIL + b"DATA\r\n")
        assert client.codes(4) == [250, 250, 550, 554]
        client.send(b"RCPT TO:<c@t.example>\r\nDATA\r\n")
        assert client.codes(2) == [250, 354]
        assert client.ask(b".\r\n").startswith(b"250 ")
        assert rows_of(store)[0]["rcpt"] == ["c@t.example"]


def test_hang_in_a_message_stops_reading(backend):
    with Sink(backend, "-m", "body:hang") as sink, sink.connect() as client:
        client.to_data()
        client.sock.settimeout(0.5)
        with pytest.raises(socket.timeout):
            for _ in range(1000):
                client.send(b"x" * 65536)


def test_slow_session_does_not_delay_others(backend):
    with Sink(backend, "-m", "noop/1:delay=5000", "-m", "noop/2:hang") as sink:
        with sink.connect() as slow, sink.connect() as stuck:
            for client in (slow, stuck):
                client.greet()
                client.send(b"NOOP\r\n")
            start = time.monotonic()
            assert send_one(sink).startswith(b"250 ")
            assert time.monotonic() - start < 2


# ---- crashes and restarts ----

def test_numbering_after_restart(backend, store):
    for _ in range(3):
        with Sink(backend, "-d", store) as sink:
            send_one(sink)
            send_one(sink)
    assert [row["n"] for row in rows_of(store)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("tail", [b"{", b'{"n":3,"connection":1,"sha', b'{"n":3}', b"x" * 70000])
def test_cut_line_is_taken_away(backend, store, tail):
    with Sink(backend, "-d", store) as sink:
        send_one(sink)
        send_one(sink)
    path = os.path.join(store, "journal")
    with open(path, "ab") as journal:
        journal.write(tail)
    with Sink(backend, "-d", store) as sink:
        assert [row["n"] for row in rows_of(store)] == [1, 2]
        send_one(sink, b"third\r\n")
    rows = rows_of(store)
    assert [row["n"] for row in rows] == [1, 2, 3]
    check_row(store, rows[2], b"third\r\n")


def test_first_line_cut(backend, store):
    os.mkdir(store)
    with open(os.path.join(store, "journal"), "wb") as journal:
        journal.write(b'{"n":1,"conn')
    with Sink(backend, "-d", store) as sink:
        send_one(sink)
    assert [row["n"] for row in rows_of(store)] == [1]


def test_leftovers_of_a_crash(backend, store):
    """A file without a line gives its number up; one that was growing goes."""
    os.mkdir(store)
    for name in ("incoming-7", "msg-000001.eml"):
        with open(os.path.join(store, name), "wb") as file:
            file.write(b"left over, and longer than what comes\r\n")
    with Sink(backend, "-d", store) as sink:
        send_one(sink, b"new\r\n")
    assert sorted(os.listdir(store)) == ["journal", "msg-000001.eml"]
    check_row(store, rows_of(store)[0], b"new\r\n")


def test_killed(backend, store):
    """kill -9 with sessions in work: each 250 has its message."""
    acknowledged = []

    def work(sink):
        try:
            while True:
                content = b"%d\r\n" % random.getrandbits(64)
                if send_one(sink, content).startswith(b"250 "):
                    acknowledged.append(content)
        except (OSError, AssertionError, ValueError):
            pass  # it has been killed

    for wait in (0.05, 0.1, 0.15):
        sink = Sink(backend, "-d", store)
        threads = [threading.Thread(target=work, args=(sink,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(wait)
        while not acknowledged:
            time.sleep(0.01)
        sink.kill()
        for thread in threads:
            thread.join()
    with Sink(backend, "-d", store):
        rows = rows_of(store)
    assert [row["n"] for row in rows] == list(range(1, len(rows) + 1))
    sums = {row["sha256"] for row in rows}
    assert acknowledged
    assert {hashlib.sha256(content).hexdigest() for content in acknowledged} <= sums
    for row in rows:
        with open(os.path.join(store, row["file"]), "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == row["sha256"]


# ---- start, end, options ----

def run(*options):
    return subprocess.run([PROGRAM, *options], capture_output=True, timeout=PATIENCE, check=False)


def test_folder_is_locked(backend, store):
    with Sink(backend, "-d", store):
        second = run("-l", "127.0.0.1:0", "-d", store)
        assert second.returncode == 1 and b"another process" in second.stderr


def test_foreign_journal(store):
    os.mkdir(store)
    with open(os.path.join(store, "journal"), "wb") as journal:
        journal.write(b"dear diary\n")
    process = run("-l", "127.0.0.1:0", "-d", store)
    assert process.returncode == 1 and b"not one of weir-sink" in process.stderr
    with open(os.path.join(store, "journal"), "rb") as journal:
        assert journal.read() == b"dear diary\n"


@pytest.mark.parametrize("options", [
    [], ["-l", "127.0.0.1:0", "extra"], ["-l", "127.0.0.1:0", "-m", "mail:nonsense"],
    ["-l", "127.0.0.1:0", "-e", "A,,B"], ["-l", "127.0.0.1:0", "-e", "SIZE=x"],
    ["-l", "127.0.0.1:0", "-n", "two words"], ["-x"],
])
def test_bad_options(options):
    process = run(*options)
    assert process.returncode == 2 and process.stderr


@pytest.mark.parametrize("options", [
    ["-l", "127.0.0.1"], ["-l", "localhost:25"], ["-l", "[::1:25"], ["-l", "127.0.0.1:65536"],
    ["-l", "unix:"], ["-l", "unix:/" + "x" * 200], ["-l", "127.0.0.1:0", "-i", "kqueue"],
    ["-l", "127.0.0.1:0", "-d", "/dev/null/x"], ["-l", "192.0.2.1:25"],
])
def test_start_that_fails(options):
    process = run(*options)
    assert process.returncode == 1 and process.stderr.startswith(b"weir-sink: ")


def test_addresses(backend, tmp_path):
    path = str(tmp_path / "sink.socket")
    for _ in range(2):
        with Sink(backend, listen="unix:" + path) as sink:
            assert send_one(sink).startswith(b"250 ")
            sink.kill()  # leaves the socket, which must not be in the next one's way
    with Sink(backend, listen="unix:" + path):
        pass
    assert not os.path.exists(path)
    with Sink(backend, "-l", "127.0.0.1:0", listen="[::1]:0") as sink:
        assert send_one(sink).startswith(b"250 ")
        second = re.search(rb"127\.0\.0\.1:\d+", sink.process.stderr.readline())
        sink.address = second[0].decode()
        assert send_one(sink).startswith(b"250 ")
        assert sink.stop()["connections"] == 2


def test_stop_with_open_sessions(backend, store):
    with Sink(backend, "-d", store, "-m", "noop/1:delay=60000", "-m", "noop/2:drip=60000",
              "-m", "noop/3:hang") as sink:
        clients = [sink.connect() for _ in range(6)]
        for client in clients:
            client.greet()
        for client in clients[:3]:
            client.send(b"NOOP\r\n")
        clients[3].send(b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n")
        assert clients[3].codes(3) == [250, 250, 354]
        clients[3].send(b"half")
        time.sleep(0.1)
        assert sink.stop()["sessions_now"] == 6
        for client in clients:
            client.__exit__()
    assert os.listdir(store) == ["journal"]


def test_quiet():
    process = subprocess.Popen([PROGRAM, "-q", "-l", "127.0.0.1:0"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    time.sleep(0.3)
    process.terminate()
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and errors == b"" and json.loads(out)["connections"] == 0


def refuse_io_uring():
    """A seccomp filter: io_uring_setup(2), number 425 everywhere, fails with EPERM."""
    program = b"".join(struct.pack("HBBI", *row) for row in [
        (0x20, 0, 0, 0),             # load the number of the call
        (0x15, 0, 1, 425),           # is it io_uring_setup?
        (0x06, 0, 0, 0x00050001),    # yes: EPERM
        (0x06, 0, 0, 0x7fff0000),    # no: go on
    ])
    rows = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(rows))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0              # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, header, 0, 0) == 0         # PR_SET_SECCOMP, filter


def test_io_uring_refused(store):
    with Sink("auto", "-d", store, wrap=refuse_io_uring) as sink:
        assert sink.io == "epoll" and len(sink.lines) == 2
        assert b"no io_uring" in sink.lines[0] and b"seccomp" in sink.lines[0]
        assert send_one(sink).startswith(b"250 ")
    process = subprocess.run([PROGRAM, "-l", "127.0.0.1:0", "-i", "io_uring"], check=False,
                             capture_output=True, timeout=PATIENCE, preexec_fn=refuse_io_uring)
    assert process.returncode == 1 and b"not permitted" in process.stderr
