"""
weirlab - starts the programs that the integration tests talk to, and ends each by its own pid.

Everything listens on loopback, on a port of its own, with files in a directory of its own. Waiting
is always for an event with a deadline, never for a fixed time, so slow machines only take longer.

    Mailweir    build/mailweir -c FILE, its records and plain lines
    WeirSink    build/weir-sink: journal with sha256, misbehaves on request
    SmtpSink    postfix's smtp-sink, each message dumped to a file
    AioSink     aiosmtpd in a thread of ours
    Postfix     an instance of its own: configuration, queue, data directory, maildirs, ports

Each of the servers has `address`, `contents()` (what arrived, the server's own trace fields taken
off) and `stop()`.
"""
import asyncio
import json
import os
import pwd
import random
import re
import resource
import signal
import socket
import subprocess
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

import smtpraw

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("MAILWEIR_BUILD", os.path.join(REPO, "build"))
HOSTNAME = "mx.weir.example"
PATIENCE = float(os.environ.get("WEIR_PATIENCE", "20"))  # seconds that an event may take


def wait_until(happened, what, seconds=None):
    """Polls until `happened()` is true and returns its value."""
    deadline = time.monotonic() + (seconds or PATIENCE)
    while not (value := happened()):
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.01)
    return value


_ports = {}


def free_port(host="127.0.0.1"):
    """A port that nobody has now, below the range of outgoing connections."""
    chooser = _ports.setdefault("chooser", random.Random(os.getpid()))
    while True:
        port = chooser.randrange(10000, 32000)
        if port in _ports:
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _ports[port] = True
        return port


def is_listening(address):
    try:
        smtpraw.dial(address, 2.0).close()
        return True
    except OSError:
        return False


def greets(address):
    """True when a whole greeting comes."""
    try:
        smtpraw.Client(address, timeout=5.0).close()
        return True
    except (OSError, smtpraw.Closed):
        return False


def address_text(address):
    """As configurations write it."""
    if isinstance(address, str):
        return address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


class Program:
    """A child with stdout and stderr in files."""

    def __init__(self, argv, folder, name, preexec=None):
        os.makedirs(folder, exist_ok=True)
        self.out = os.path.join(folder, name + ".out")
        self.err = os.path.join(folder, name + ".err")
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          preexec_fn=preexec)
        self.pid = self.child.pid

    def is_running(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.is_running():
            self.child.send_signal(number)

    def wait(self, seconds=None):
        return self.child.wait(seconds or PATIENCE)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def stop(self, seconds=None):
        """SIGTERM, and the exit code; SIGKILL when that does not help."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def wait_for_port(self, address):
        def came_up():
            assert self.is_running(), f"ended at start: {read(self.err)!r}"
            return is_listening(address)
        wait_until(came_up, f"{address} listens")

    def cpu_seconds(self):
        """User and system time so far."""
        fields = read(f"/proc/{self.pid}/stat").rsplit(b")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Direct:
    """Stands for the proxy when there is none (WEIR_IO=direct): clients talk to the server."""
    is_proxy = False

    def __init__(self, address):
        self.address = address

    def connect(self, **options):
        return smtpraw.Client(self.address, **options)


class Mailweir(Program):
    """The proxy in front of `servers`. `config` is {section: {key: value or [values]}} on top of
    the defaults of the tests; a value of None takes a key away."""
    is_proxy = True

    def __init__(self, folder, io, servers, config=None, name="mailweir", port=None, start=True,
                 preexec=None):
        self.folder = folder
        self.port = port or free_port()
        self.address = ("127.0.0.1", self.port)
        self.log_path = os.path.join(folder, name + ".log")
        self.config_path = os.path.join(folder, name + ".ini")
        self.io = io
        os.makedirs(folder, exist_ok=True)
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(self.ini(servers, config or {}))
        self.argv = [os.path.join(BUILD, "mailweir"), "-c", self.config_path]
        self.name = name
        if start:
            self.start(preexec)

    def start(self, preexec=None):
        """Waits for its start line, or for its port where the log does not tell."""
        def count():
            logs = read(self.log_path) + read(os.path.join(self.folder, self.name + ".err"))
            return len(re.findall(rb"(?m)^\S+ mailweir\S* info: mailweir \S+ started", logs))
        before = count()
        super().__init__(self.argv, self.folder, self.name, preexec)

        def came_up():
            assert self.is_running(), f"ended at start: {read(self.err)!r} {self.plain()}"
            return count() > before
        if self.is_talking:
            wait_until(came_up, "mailweir has started")
        else:
            self.wait_for_port(self.address)

    def ini(self, servers, extra):
        sections = {
            "proxy": {"hostname": HOSTNAME, "workers": 2, "io": self.io, "max_sessions": 1000,
                      "drain_timeout": "10s"},
            "listen:mx": {"bind": address_text(self.address), "upstream": "default"},
            "upstream:default": {"server": [address_text(server) for server in servers]},
            "dns": {"server": "127.0.0.1:1"},  # nobody is there: what is asked fails at once
            "verify": {"mode": os.environ.get("WEIR_VERIFY", "off"), "spool_dir": self.folder},
            "log": {"target": self.log_path, "format": "json", "level": "info"},
        }
        for section, keys in extra.items():
            sections.setdefault(section, {}).update(keys)
        self.is_talking = sections["log"]["level"] == "info" and \
            sections["log"]["target"] in (self.log_path, "stderr")
        text = ""
        for section, keys in sections.items():
            text += f"[{section}]\n"
            for key, value in keys.items():
                for item in value if isinstance(value, list) else [value]:
                    text += "" if item is None else f"{key} = {item}\n"
        return text

    def lines(self):
        """All whole lines of the log."""
        return read(self.log_path).decode("utf-8").split("\n")[:-1]

    def plain(self):
        return [line for line in self.lines() if not line.startswith("{")]

    def records(self, event="transaction", at_least=1):
        """The records of that kind, once there are so many."""
        def found():
            rows = [json.loads(line) for line in self.lines() if line.startswith("{")]
            rows = [row for row in rows if event in (None, row["event"])]
            return rows if len(rows) >= at_least else None
        if at_least == 0:
            return found() or []
        return wait_until(found, f"{at_least} records {event} in {self.log_path}")

    def connect(self, **options):
        return smtpraw.Client(self.address, **options)

    def connections(self):
        """How many are established or half closed at our port."""
        rows = [row.split() for row in read("/proc/net/tcp").decode().splitlines()[1:]]
        return sum(row[1].endswith(f":{self.port:04X}") and row[3] in ("01", "08") for row in rows)

    def offers(self, wanted):
        """Waits until EHLO offers what is wanted (the upstreams are asked in the background)."""
        def offered():
            with self.connect() as client:
                return wanted in smtpraw.ehlo_words(client.ok("EHLO probe.example", 250))
        wait_until(offered, f"EHLO offers {wanted!r}")
        return self

    def end(self):
        """Stops; a crash, a hang and a report of a sanitizer are failures."""
        if not self.is_running():
            code = self.wait()
        else:
            code = self.stop(40)
        errors = read(self.err)
        assert code == 0, f"mailweir: exit {code}; {errors!r} {self.plain()[-5:]}"
        assert b"Sanitizer" not in errors and b"runtime error" not in errors, errors


class WeirSink(Program):
    """build/weir-sink with a journal. `rules` are its -m options."""

    def __init__(self, folder, rules=(), extensions=None, listen=None, name="sink", options=()):
        self.address = listen or ("127.0.0.1", free_port())
        self.port = self.address[1]
        self.store = os.path.join(folder, name + "-store")
        os.makedirs(self.store, exist_ok=True)
        self.argv = [os.path.join(BUILD, "weir-sink"), "-l", address_text(self.address), "-d",
                     self.store, "-i", os.environ.get("WEIR_SINK_IO", "auto"), *options]
        for rule in rules:
            self.argv += ["-m", rule]
        if extensions is not None:
            self.argv += ["-e", extensions]
        self.folder = folder
        self.name = name
        self.start()

    def start(self):
        """Waits for its start line, so that no connection of ours is counted by the rules. After
        kill -9 the kernel takes a moment to close what was in a ring, the listener as well."""
        is_restart = hasattr(self, "child")
        before = read(os.path.join(self.folder, self.name + ".err")).count(b"listening on")
        super().__init__(self.argv, self.folder, self.name)

        def said():
            if self.is_running():
                return read(self.err).count(b"listening on") > before
            told = read(self.err)
            assert is_restart and told.endswith(b"in use\n"), f"weir-sink ended: {told!r}"
            Program.__init__(self, self.argv, self.folder, self.name)
            return False
        wait_until(said, "weir-sink listens")

    def journal(self):
        rows = read(os.path.join(self.store, "journal")).split(b"\n")
        assert rows[-1] == b"", f"the journal's last line is cut: {rows[-1]!r}"
        return [json.loads(row) for row in rows[:-1]]

    def rows(self, at_least=1):
        wait_until(lambda: len(self.journal()) >= at_least, f"{at_least} messages in the journal")
        return self.journal()

    def content(self, row):
        content = read(os.path.join(self.store, row["file"]))
        assert len(content) == row["size"] and smtpraw.digest(content) == row["sha256"], row
        return content

    def contents(self, at_least=1):
        return [self.content(row) for row in self.rows(at_least)]

    def counts(self):
        """SIGTERM, and what it counted."""
        assert self.stop() == 0
        return json.loads(read(self.out).split(b"\n")[-2])


class SmtpSink(Program):
    """postfix's smtp-sink. It dumps messages with LF line ends behind some fields of its own, and
    puts one empty line at the end."""

    def __init__(self, folder, name="smtp-sink"):
        self.address = ("127.0.0.1", free_port())
        self.store = os.path.join(folder, name)
        os.makedirs(self.store)
        os.chmod(self.store, 0o777)
        template = os.path.join(self.store, "m.")
        super().__init__(["/usr/sbin/smtp-sink", "-c", "-u", "postfix", "-d", template,
                          address_text(self.address), "500"], folder, name)
        self.wait_for_port(self.address)

    def contents(self, at_least=1):
        def found():
            files = sorted(os.listdir(self.store))
            return files if len(files) >= at_least else None
        files = wait_until(found, f"{at_least} messages in {self.store}")
        return [self.read_dump(os.path.join(self.store, name)) for name in files]

    @staticmethod
    def read_dump(path):
        content = read(path).replace(b"\n", b"\r\n")
        field = b""
        while not field.startswith(b"Received: "):
            field, content = smtpraw.split_field(content)
            assert field.startswith((b"X-", b"Received: ")), (path, field)
        assert content.endswith(b"\r\n\r\n")
        return content[:-2]


class AioSink:
    """aiosmtpd. Keeps (envelope, content)."""

    def __init__(self):
        self.address = ("127.0.0.1", free_port())
        self.envelopes = []
        self.controller = _Aio(self, hostname=self.address[0], port=self.address[1])
        self.controller.start()

    async def handle_DATA(self, _server, _session, envelope):
        self.envelopes.append(envelope)
        return "250 2.0.0 aiosmtpd has it"

    def contents(self, at_least=1):
        wait_until(lambda: len(self.envelopes) >= at_least, f"{at_least} messages in aiosmtpd")
        return [envelope.original_content for envelope in self.envelopes]

    def stop(self):
        self.controller.stop()


class _Aio(Controller):
    def factory(self):
        return SMTP(self.handler, data_size_limit=2 ** 26, enable_SMTPUTF8=True,
                    loop=asyncio.get_event_loop())


POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {root}/log
maillog_file_prefixes = {root}
myhostname = {name}.postfix.example
mydestination =
mynetworks = 127.0.0.0/8 [::1]/128
inet_interfaces = 127.0.0.1
inet_protocols = all
alias_maps =
alias_database =
local_header_rewrite_clients =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = permit
smtpd_client_connection_count_limit = 0
smtpd_timeout = 60s
message_size_limit = 60000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_base = {root}/mail
virtual_mailbox_domains = texthash:{root}/etc/domains
virtual_mailbox_maps = texthash:{root}/etc/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtp_line_length_limit = 0
smtp_host_lookup = native
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtputf8_enable = yes
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
in_flow_delay = 0
relayhost = {relayhost}
default_destination_recipient_limit = 1000
smtp_destination_concurrency_limit = 20
"""

POSTFIX_MASTER = """
127.0.0.1:{port} inet n - n - 200 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
showq unix n - n - - showq
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A whole instance. mailbox() gives a domain of which every address goes to one maildir.
    `more` is {"main.cf": lines, "master.cf": lines} behind those above."""

    MAILBOXES = 100

    def __init__(self, root, name="in", relayhost="", more=None):
        self.root = root
        self.name = name
        self.address = ("127.0.0.1", free_port())
        self.used = 0
        nobody = pwd.getpwnam("nobody")
        for folder in ("etc", "queue", "data", "mail"):
            os.makedirs(os.path.join(root, folder))
        os.chown(os.path.join(root, "data"), pwd.getpwnam("postfix").pw_uid, -1)
        os.chown(os.path.join(root, "mail"), nobody.pw_uid, nobody.pw_gid)
        more = {"main.cf": "", "master.cf": "", **(more or {})}
        self.write("main.cf", POSTFIX_MAIN.format(root=root, name=name, relayhost=relayhost,
                                                  uid=nobody.pw_uid, gid=nobody.pw_gid)
                   + more["main.cf"])
        self.write("master.cf", POSTFIX_MASTER.format(port=self.address[1]) + more["master.cf"])
        names = [] if relayhost else [f"d{n:02}.example" for n in range(self.MAILBOXES)]
        self.write("domains", "".join(f"{n} ok\n" for n in names))
        self.write("mailboxes", "".join(f"@{n} {n}/\n" for n in names))
        self.postfix("start")
        wait_until(lambda: greets(self.address), f"postfix greets, see {root}/log")

    def write(self, name, text):
        with open(os.path.join(self.root, "etc", name), "w", encoding="utf-8") as file:
            file.write(text)

    def postfix(self, word):
        """Its output goes to a file: with a pipe we would wait for the checks that "start" leaves
        running behind it."""
        with open(os.path.join(self.root, "out"), "ab") as out:
            done = subprocess.run(["/usr/sbin/postfix", "-c", os.path.join(self.root, "etc"), word],
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60,
                                  check=False)
        assert done.returncode == 0, (word, read(out.name), read(self.root + "/log"))

    def stop(self):
        self.postfix("stop")

    def mailbox(self):
        """A domain not used before."""
        domain = f"d{self.used:02}.example"
        self.used += 1
        assert self.used <= self.MAILBOXES
        return domain

    def contents(self, at_least, domain):
        new = os.path.join(self.root, "mail", domain, "new")

        def found():
            files = os.listdir(new) if os.path.isdir(new) else []
            return sorted(files) if len(files) >= at_least else None
        files = wait_until(found, f"{at_least} messages for {domain}", 60)
        return [self.read_mail(os.path.join(new, name)) for name in files]

    def read_mail(self, path):
        """Postfix puts Return-Path, X-Original-To, Delivered-To and Received on top, and stores
        LF line ends."""
        content = read(path).replace(b"\n", b"\r\n")
        ours = f"by {self.name}.postfix.example ".encode()
        field = b""
        while not (field.startswith(b"Received: ") and ours in field):
            field, content = smtpraw.split_field(content)
            assert re.match(rb"(Return-Path|X-Original-To|Delivered-To|Received): ", field), field
        return content


def limit_files(soft, hard=None):
    """For preexec_fn."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard or soft))
