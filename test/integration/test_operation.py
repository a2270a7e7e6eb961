"""
test_operation - starting, checking, stopping, logging, and what a hard system does to it.
"""
import ctypes
import glob
import json
import os
import pwd
import re
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest

import smtpraw
import weirlab

MESSAGE = b"Subject: x\r\n\r\nx\r\n"
PROGRAM = os.path.join(weirlab.BUILD, "mailweir")

GOOD = """[proxy]
hostname = mx.weir.example
[listen:mx]
bind = 127.0.0.1:{port}
upstream = default
[upstream:default]
server = 127.0.0.1:2626
[verify]
mode = off
[log]
target = stderr
"""


def mailweir(*arguments, **options):
    return subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=30, check=False, text=True, **options)


def check_config(folder, text):
    """mailweir -t on this text, and the file's name."""
    path = os.path.join(folder, "check.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return mailweir("-t", "-c", path), path


# ---- options and configuration ----

def test_version_and_usage():
    done = mailweir("-V")
    assert done.returncode == 0 and re.fullmatch(r"mailweir \d+\.\d+\.\d+\S*\n", done.stdout)
    for arguments in ((), ("-x",), ("-c",), ("-c", "a", "b")):
        done = mailweir(*arguments)
        assert done.returncode != 0 and "usage" in done.stderr.lower(), (arguments, done)


def test_check_good(folder):
    done, _ = check_config(folder, GOOD.format(port=2525))
    assert done.returncode == 0, done
    assert done.stderr == ""


def test_check_the_file_we_ship():
    done = mailweir("-t", "-c", os.path.join(weirlab.REPO, "proxy.ini"))
    assert done.returncode == 0, done


def extended(text):
    """GOOD with these lines in it, in the section that they name; and their line numbers."""
    good = GOOD.format(port=2525)
    header, keys = text.split("\n", 1)
    if header + "\n" in good:
        first = good[:good.index(header)].count("\n") + 2
        return good.replace(header + "\n", text), range(first, first + keys.count("\n"))
    first = good.count("\n") + 1
    return good + text, range(first, first + text.count("\n") + 1)


# Lines that are wrong, and the words that the message must have besides file and line.
BAD = [
    ("[nosuch]\na = b\n", ["nosuch"]),
    ("[proxy]\nnosuch = 1\n", ["proxy", "nosuch"]),
    ("[proxy]\nworkers = 0\n", ["proxy", "workers"]),
    ("[proxy]\nworkers = 65\n", ["proxy", "workers"]),
    ("[proxy]\nworkers = many\n", ["proxy", "workers"]),
    ("[proxy]\nio = kqueue\n", ["proxy", "io"]),
    ("[proxy]\nmax_sessions = -1\n", ["proxy", "max_sessions"]),
    ("[proxy]\ndrain_timeout = 5 parsecs\n", ["proxy", "drain_timeout"]),
    ("[proxy]\nuser = no-such-user-here\n", ["proxy", "user"]),
    ("[listen:two]\nbind = 127.0.0.1\nupstream = default\n", ["listen:two", "bind"]),
    ("[listen:two]\nbind = 127.0.0.1:99999\nupstream = default\n", ["listen:two", "bind"]),
    ("[listen:two]\nbind = 127.0.0.1:2\nupstream = other\n", ["listen:two", "upstream"]),
    ("[listen:two]\nbind = 127.0.0.1:2\nmode = sideways\n", ["listen:two", "mode"]),
    ("[upstream:u]\nserver = 127.0.0.1:25\ncontact = now\n", ["upstream:u", "contact"]),
    ("[upstream:u]\nserver = nosuchhost.invalid:25\n", ["upstream:u", "server"]),
    ("[upstream:u]\nserver = 127.0.0.1:25 weight=heavy\n", ["upstream:u", "server"]),
    ("[upstream:u]\nserver = 127.0.0.1:25\nconnect_timeout = 10\n",
     ["upstream:u", "connect_timeout"]),
    ("[verify]\nmode = maybe\n", ["verify", "mode"]),
    ("[verify]\nreceived_header = perhaps\n", ["verify", "received_header"]),
    ("[limits]\nmessage_size = 10x\n", ["limits", "message_size"]),
    ("[limits]\nmessage_size = 99999999999999999999g\n", ["limits", "message_size"]),
    ("[limits]\nrecipients = 0\n", ["limits", "recipients"]),
    ("[limits]\nerrors =\n", ["limits", "errors"]),
    ("[log]\nformat = xml\n", ["log", "format"]),
    ("[log]\nlevel = loud\n", ["log", "level"]),
    ("this is no line of it\n", []),
    ("[proxy\n", []),
    ("[log]\nlevel = info\n[log]\nformat = json\n", ["log"]),
]


@pytest.mark.parametrize("text,words", BAD,
                         ids=[re.sub(r"\W+", " ", text).strip() for text, _ in BAD])
def test_check_bad(folder, text, words):
    whole, numbers = extended(text)
    done, path = check_config(folder, whole)
    assert done.returncode == 1, done
    lines = re.findall(re.escape(path) + r":(\d+): (.*)", done.stderr)
    assert lines, done.stderr
    assert any(int(number) in numbers and all(word in message for word in words)
               for number, message in lines), done.stderr


def test_check_names_all_errors_at_once(folder):
    text, _ = extended("[limits]\nerrors = x\nrecipients = y\n")
    done, _ = check_config(folder, text)
    assert done.returncode == 1
    assert "errors" in done.stderr and "recipients" in done.stderr


def test_unreadable_configuration(folder):
    done = mailweir("-t", "-c", os.path.join(folder, "missing.ini"))
    assert done.returncode == 1 and "missing.ini" in done.stderr and "No such file" in done.stderr
    done = mailweir("-c", folder)
    assert done.returncode == 1 and folder in done.stderr


def test_start_fails_when_the_port_is_taken(folder):
    port = weirlab.free_port()
    path = os.path.join(folder, "taken.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(GOOD.format(port=port))
    with socket.create_server(("127.0.0.1", port)):
        done = mailweir("-c", path)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr and "in use" in done.stderr, done.stderr


def test_start_fails_when_the_log_cannot_be_written(folder):
    path = os.path.join(folder, "log.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(GOOD.format(port=weirlab.free_port()).replace("stderr", folder + "/no/such/log"))
    done = mailweir("-c", path)
    assert done.returncode == 1 and folder + "/no/such/log" in done.stderr, done


# ---- stop ----

def test_sigterm_lets_the_transaction_end(weir, sink):
    server = sink()
    proxy = weir(server)
    with proxy.connect() as busy, proxy.connect() as idle:
        idle.ok("EHLO idle.example", 250)
        busy.begin()
        busy.ok("DATA", 354)
        busy.send(b"Subject: first half\r\n\r\n")
        proxy.signal(signal.SIGTERM)
        weirlab.wait_until(lambda: not weirlab.is_listening(proxy.address), "no more accepting")
        busy.send(b"second half\r\n.\r\n")
        assert busy.reply().startswith(b"250"), "the transaction in progress ends"
        busy.send(b"MAIL FROM:<a@client.example>\r\n")
        assert busy.reply().startswith(b"421"), "the next command is refused"
        assert busy.at_end()
        # An idle session hears 421 at its next command, or at once.
        idle.send(b"NOOP\r\n")
        assert idle.reply().startswith(b"421")
        assert idle.at_end()
    assert proxy.wait() == 0
    assert len(server.rows()) == 1


def test_sigterm_is_bounded(weir, sink):
    proxy = weir(sink(), config={"proxy": {"drain_timeout": "1s"}})
    with proxy.connect() as client:
        client.begin()
        client.ok("DATA", 354)
        client.send(b"and never an end\r\n")
        began = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(20) == 0
        assert 0.8 <= time.monotonic() - began < 8
        replies = client.rest()
        assert b"250" not in replies, replies
    assert any("drain" in line.lower() for line in proxy.plain())


def test_sigterm_when_idle_is_quick(weir, sink):
    proxy = weir(sink())
    began = time.monotonic()
    assert proxy.stop() == 0
    assert time.monotonic() - began < 5


# ---- log ----

def deliver(proxy, **options):
    with proxy.connect(**options) as client:
        client.begin()
        assert client.data(MESSAGE).startswith(b"250")
        client.ok("QUIT", 221)


def test_sighup_reopens_the_log(weir, sink):
    proxy = weir(sink())
    deliver(proxy)
    proxy.records()
    old = proxy.log_path + ".1"
    os.rename(proxy.log_path, old)
    size = os.path.getsize(old)
    proxy.signal(signal.SIGHUP)
    weirlab.wait_until(lambda: os.path.exists(proxy.log_path), "a new log file")
    deliver(proxy)
    assert len(proxy.records()) == 1
    assert os.path.getsize(old) == size
    assert proxy.is_running()


KEYS = ["ts", "event", "session", "transaction", "listener", "client", "helo", "tls", "from",
        "rcpt", "size", "upstream", "reply", "decided_by", "verdict", "checks", "ms"]
STAGES = ["connect", "data", "total", "upstream_reply", "verify", "wait_dns"]


def test_json_record(weir, sink):
    server = sink("eom/1:reply=250 2.6.0 taken as 4711")
    proxy = weir(server)
    with proxy.connect() as client:
        client.begin()
        client.ok("RCPT TO:<c@server.example>", 250)
        assert client.data(MESSAGE) == b"250 2.6.0 taken as 4711\r\n"
        host, port = client.sock.getsockname()
        client.ok("QUIT", 221)
    record, = proxy.records()
    assert sorted(record) == sorted(KEYS), set(record) ^ set(KEYS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)", record["ts"])
    assert re.fullmatch(r"\w+", record["session"]) and record["transaction"] == 1
    assert record["listener"] == "mx" and record["client"] == f"{host}:{port}"
    assert record["helo"] == "client.example" and record["tls"] is None
    assert record["from"] == "a@client.example"
    assert record["rcpt"] == [{"to": "b@server.example", "code": 250},
                              {"to": "c@server.example", "code": 250}]
    assert record["size"] == len(MESSAGE)
    assert record["upstream"] == weirlab.address_text(server.address)
    assert record["reply"] == {"code": 250, "text": "2.6.0 taken as 4711"}
    assert record["decided_by"] == "upstream" and record["verdict"] == "accept"
    assert isinstance(record["checks"], dict)
    assert sorted(record["ms"]) == STAGES
    assert all(isinstance(ms, (int, float)) and ms >= 0 for ms in record["ms"].values())


def test_session_record(weir, sink):
    proxy = weir(sink())
    with proxy.connect() as client:
        client.ok("EHLO nothing.example", 250)
        client.ok("QUIT", 221)
    record, = proxy.records("session")
    assert sorted(record) == sorted(KEYS)
    assert record["helo"] == "nothing.example" and record["transaction"] == 0
    deliver(proxy)
    proxy.records()
    assert len(proxy.records("session", 0)) == 1, "no session record beside a transaction's"


def test_text_records(weir, sink):
    proxy = weir(sink(), config={"log": {"format": "text"}})
    deliver(proxy)

    def found():
        return [line for line in proxy.lines() if "a@client.example" in line]
    lines = weirlab.wait_until(found, "a text record")
    assert len(lines) == 1 and not lines[0].startswith("{")
    for word in ("transaction", "b@server.example", "250", "upstream", "accept", "client.example"):
        assert word in lines[0], (word, lines[0])


def test_log_level(weir, sink):
    proxy = weir(sink(), config={"log": {"level": "error"}})
    deliver(proxy)
    assert not [line for line in proxy.plain() if "started" in line or "listening" in line]


def test_log_to_stderr(weir, sink):
    proxy = weir(sink(), config={"log": {"target": "stderr"}})
    deliver(proxy)

    def rows():
        text = weirlab.read(proxy.err).decode()
        return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]
    assert weirlab.wait_until(rows, "a record on stderr")[0]["event"] == "transaction"


@pytest.mark.skipif(os.path.exists("/dev/log") or os.geteuid() != 0,
                    reason="/dev/log belongs to the system here, or cannot be made")
def test_log_to_syslog(weir, sink):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind("/dev/log")
        try:
            syslog.settimeout(weirlab.PATIENCE)
            proxy = weir(sink(), config={"log": {"target": "syslog"}})
            deliver(proxy)
            text = b""
            while b'"event":"transaction"' not in text:
                text = syslog.recv(1 << 17)
            form = rb"<(\d+)>.*mailweir\[%d\]: (\{.*\})\n?\0?" % proxy.pid
            match = re.fullmatch(form, text, re.S)
            assert match and int(match[1]) >> 3 == 2, text  # facility mail
            assert json.loads(match[2])["reply"]["code"] == 250
        finally:
            os.unlink("/dev/log")


def test_full_log_device_does_not_stop_mail(weir, sink):
    server = sink()
    proxy = weir(server, config={"log": {"target": "/dev/full"}})
    deliver(proxy)
    deliver(proxy)
    assert len(server.rows(2)) == 2


def test_start_lines(weir, sink):
    soft = 300
    proxy = weir(sink(), preexec=weirlab.limit_files(soft, 2000))
    limits = weirlab.read(f"/proc/{proxy.pid}/limits").decode()
    assert re.search(r"Max open files\s+2000\s+2000", limits), limits
    text = "\n".join(proxy.plain())
    line = next(line for line in proxy.plain() if "descriptors" in line or "sessions" in line)
    assert re.search(r"\b2000\b", line) and "sessions" in line, line
    assert proxy.io in text and re.search(r"listening on 127\.0\.0\.1:%d" % proxy.port, text), text


def test_start_line_says_when_descriptors_do_not_suffice(weir, sink):
    proxy = weir(sink(), config={"proxy": {"max_sessions": 5000}},
                 preexec=weirlab.limit_files(300, 300))
    line = next(line for line in proxy.plain() if "sessions" in line)
    number = int(re.search(r"(\d+) sessions", line).group(1))
    assert number < 300, line


# ---- io_uring refused ----

SYS_IO_URING_SETUP = 425  # on every architecture
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
BPF_LD_NR, BPF_JEQ, BPF_RET = 0x20, 0x15, 0x06
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7fff0000


def refuse_io_uring(error):
    """For preexec_fn: a seccomp filter that answers io_uring_setup with this error, as container
    runtimes do (EPERM, as kernel.io_uring_disabled does as well; ENOSYS, as an old kernel does)."""
    libc = ctypes.CDLL(None, use_errno=True)
    rows = [(BPF_LD_NR, 0, 0, 0), (BPF_JEQ, 0, 1, SYS_IO_URING_SETUP),
            (BPF_RET, 0, 0, SECCOMP_RET_ERRNO | error), (BPF_RET, 0, 0, SECCOMP_RET_ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    program = Program(len(rows), ctypes.addressof(code))

    def install():
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or \
                libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
            os._exit(99)
    install.keep = (code, program)
    return install


@pytest.mark.parametrize("error,cause", [(1, "EPERM"), (38, "ENOSYS")])
def test_auto_falls_back_to_epoll(folder, stops, sink, error, cause):
    server = sink()
    proxy = weirlab.Mailweir(folder, "auto", [server.address], preexec=refuse_io_uring(error))
    stops.append(proxy)
    deliver(proxy)
    lines = [line for line in proxy.plain() if "io_uring" in line]
    assert len(lines) == 1 and "epoll" in lines[0], lines
    assert cause in lines[0] or os.strerror(error) in lines[0], lines
    if error == 1:
        assert "seccomp" in lines[0] and "kernel.io_uring_disabled" in lines[0], lines
    assert len(server.rows()) == 1


@pytest.mark.parametrize("error,cause", [(1, "EPERM"), (38, "ENOSYS")])
def test_io_uring_wanted_but_refused(folder, error, cause):
    proxy = weirlab.Mailweir(folder, "io_uring", [("127.0.0.1", 1)], start=False)
    done = subprocess.run(proxy.argv, preexec_fn=refuse_io_uring(error), timeout=30, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 1
    text = done.stderr.decode() + "\n".join(proxy.lines())
    line = next(line for line in text.split("\n") if "io_uring" in line)
    assert cause in line or os.strerror(error) in line, text


def test_auto_uses_io_uring_where_it_may(folder, stops, sink):
    proxy = weirlab.Mailweir(folder, "auto", [sink().address])
    stops.append(proxy)
    assert any(re.search(r"started.*io_uring", line) for line in proxy.plain()), proxy.plain()


# ---- privileges ----

def free_low_port():
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port below 1024 is free")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop from")
def test_low_port_then_another_user(weir, sink):
    server = sink()
    proxy = weir(server, port=free_low_port(), config={"proxy": {"user": "nobody"}})
    nobody = pwd.getpwnam("nobody")
    for task in os.listdir(f"/proc/{proxy.pid}/task"):
        status = weirlab.read(f"/proc/{proxy.pid}/task/{task}/status").decode()
        assert re.search(r"Uid:\t%d\t%d\t%d\t%d\n" % ((nobody.pw_uid,) * 4), status), status
        assert re.search(r"Gid:\t%d\t%d\t%d\t%d\n" % ((nobody.pw_gid,) * 4), status), status
        assert re.search(r"Groups:\t(%d)? ?\n" % nobody.pw_gid, status), status
        assert re.search(r"CapEff:\t0+\n", status), status
    deliver(proxy)
    assert len(server.rows()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop from")
def test_sighup_after_the_drop_keeps_logging(weir, sink):
    """The new user may not create a file there: the old one stays, and mail goes on."""
    proxy = weir(sink(), config={"proxy": {"user": "nobody"}})
    deliver(proxy)
    proxy.records()
    old = proxy.log_path + ".1"
    os.rename(proxy.log_path, old)
    proxy.signal(signal.SIGHUP)
    deliver(proxy)
    weirlab.wait_until(lambda: weirlab.read(old).count(b'"transaction":1') +
                       weirlab.read(proxy.log_path).count(b'"transaction":1') >= 2, "both records")


# ---- descriptors ----

def open_files(proxy):
    return len(os.listdir(f"/proc/{proxy.pid}/fd"))


def test_descriptors_run_out(weir, sink):
    """EMFILE at accept: no spinning, open sessions go on, and it recovers by itself."""
    server = sink()
    proxy = weir(server, config={"proxy": {"workers": 1}, "upstream:default": {"pool_idle": 0}})
    deliver(proxy)
    with proxy.connect() as first:
        first.begin()
        top = max(int(name) for name in os.listdir(f"/proc/{proxy.pid}/fd")) + 1
        limit = top + 10
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (limit, limit))
        crowd = [socket.create_connection(proxy.address, 10) for _ in range(40)]
        weirlab.wait_until(lambda: open_files(proxy) >= limit - 3 or
                           any("descriptor" in line or "open files" in line
                               for line in proxy.plain()), "descriptors are used up")
        cpu, began = proxy.cpu_seconds(), time.monotonic()
        while time.monotonic() - began < 1.5:
            first.ok("NOOP", 250)
            time.sleep(0.1)
        used = proxy.cpu_seconds() - cpu
        assert used < 0.3, f"{used} s of CPU in 1.5 s: spinning"
        assert first.data(MESSAGE).startswith(b"250")
        assert len(proxy.plain()) < 60, "a flood of log lines"
        for sock in crowd:
            sock.close()

    def again():
        try:
            with proxy.connect(timeout=2) as client:
                return client.cmd("NOOP").startswith(b"250")
        except (OSError, smtpraw.Closed):
            return False
    weirlab.wait_until(again, "recovery")
    deliver(proxy)
    assert len(server.rows(3)) == 3


def test_nothing_leaks(weir, sink):
    """The number of descriptors after many sessions of all kinds is that of before."""
    proxy = weir(sink(), config={"upstream:default": {"pool_idle": 0}})
    deliver(proxy)
    settled = weirlab.wait_until(lambda: steady(proxy), "steady")
    for _ in range(30):
        deliver(proxy)
        proxy.connect().close()
        client = proxy.connect()
        client.begin()
        client.ok("DATA", 354)
        client.send(b"half")
        client.close()
    weirlab.wait_until(lambda: open_files(proxy) <= settled, f"back to {settled} descriptors")


def steady(proxy):
    count = open_files(proxy)
    with proxy.connect() as client:
        client.ok("QUIT", 221)
        client.at_end()
    return count if open_files(proxy) == count else None


def open_links(proxy):
    """What the descriptors are; one may go while we look."""
    links = set()
    for path in glob.glob(f"/proc/{proxy.pid}/fd/*"):
        try:
            links.add(os.readlink(path))
        except FileNotFoundError:
            continue
    return links


def test_nothing_is_stored(weir, sink):
    """In the middle of a message the proxy has no file open but its log."""
    proxy = weir(sink())
    with proxy.connect() as client:
        client.begin()
        client.ok("DATA", 354)
        client.send(b"0123456789abcde\r\n" * 20000)
        files = {link for link in open_links(proxy)
                 if link.startswith("/") and not link.startswith("/dev/")}
        assert files == {proxy.log_path, proxy.out, proxy.err}, files
        client.send(b".\r\n")
        assert client.reply().startswith(b"250")
