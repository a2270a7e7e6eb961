"""The TLS part of bench/compare: mailweir and HAProxy with implicit TLS, in plaintext to the same sink.

Both have the same P-256 certificate, TLS 1.3 alone, TLS_AES_128_GCM_SHA256, X25519 and session
tickets; what openssl s_client sees of these must be equal, or nothing is measured. The clients are
threads of Python in processes of their own; their CPU is not counted, and they are made ready
(connected, warmed up, in possession of a ticket) before a proxy's CPU time is taken. Each handshake
is checked for being a full or a resumed one, as it should be.
"""
import multiprocessing
import os
import socket
import ssl
import subprocess
import threading
import time

from compare_rig import Candidate, HAPROXY_CFG, MAILWEIR_INI, REPLY_S, RUN_S, SETTLE_S, expect
from harness.meter import cpu_times, memory_kib
from harness.process import Failed, find_program

PROCESSES, THREADS, WARM_UP_EACH = 3, 8, 10
SUITE = "TLS_AES_128_GCM_SHA256"
BULK_BYTES = 1 << 20
MAILWEIR_TLS_INI = MAILWEIR_INI.replace("upstream = default\n", "upstream = default\ntls = implicit\n",
                                        1) + """[tls]
certificate = {certificate}.pem {certificate}.key
min_version = 1.3
"""
HAPROXY_TLS_CFG = HAPROXY_CFG.replace("defaults\n", f"""    ssl-default-bind-ciphersuites {SUITE}
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
""", 1).replace("backlog 4096", "backlog 4096 ssl crt {certificate}.both")


def make_certificate(folder):
    """NAME.pem, NAME.key, and NAME.both for HAProxy; returns NAME."""
    name = os.path.join(folder, "bench")
    subprocess.run([find_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=bench.example",
                    "-addext", "subjectAltName=DNS:bench.example", "-keyout", name + ".key", "-out",
                    name + ".pem"], check=True, stderr=subprocess.DEVNULL)
    with open(name + ".both", "wb") as both:
        for end in (".pem", ".key"):
            with open(name + end, "rb") as file:
                both.write(file.read())
    return name


# ---- the clients ----

def new_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class Player:
    """One client at a time: prepare() before CPU time is taken, then work()."""

    def __init__(self, port, count):
        self.port, self.count, self.context, self.sockets = port, count, new_context(), []

    def connect(self, session=None):
        """The connection, handshaken and greeted."""
        plain = socket.create_connection(("127.0.0.1", self.port), REPLY_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self.context.wrap_socket(plain, session=session)
        expect(connection, b"220")
        if connection.cipher()[0] != SUITE or connection.session_reused != (session is not None):
            raise Failed(f"{connection.cipher()}, resumed: {connection.session_reused}")
        return connection

    def prepare(self):
        for _ in range(WARM_UP_EACH):
            self.connect().close()

    def work(self):
        for _ in range(self.count):
            self.connect().close()


class ResumingPlayer(Player):
    def prepare(self):
        super().prepare()
        with self.connect() as connection:
            self.ticket = connection.session
        for _ in range(WARM_UP_EACH):
            self.connect(self.ticket).close()

    def work(self):
        for _ in range(self.count):
            self.connect(self.ticket).close()


class BulkPlayer(Player):
    def prepare(self):
        self.connection = self.connect()
        self.ask(b"EHLO client.example\r\n", b"250")
        self.content = (b"x" * 70 + b"\r\n") * (BULK_BYTES // 72) + b".\r\n"
        self.send_message()

    def ask(self, data, code):
        self.connection.sendall(data)
        expect(self.connection, code)

    def send_message(self):
        self.ask(b"MAIL FROM:<a@client.example>\r\n", b"250")
        self.ask(b"RCPT TO:<b@server.example>\r\n", b"250")
        self.ask(b"DATA\r\n", b"354")
        self.ask(self.content, b"250")

    def work(self):
        for _ in range(self.count):
            self.send_message()


class IdlePlayer(Player):
    def work(self):
        for _ in range(self.count):
            self.sockets.append(self.connect())
            self.sockets[-1].sendall(b"EHLO client.example\r\n")
            expect(self.sockets[-1], b"250")


def play_threads(kind, port, counts, pipe):
    """A process: its players get ready, wait for a word, work, and stay until the next word."""
    players = [kind(port, count) for count in counts]
    errors = []

    def all_do(what):
        def guarded(player):
            try:
                getattr(player, what)()
            except (OSError, Failed) as error:
                errors.append(f"{what}: {error}")
        threads = [threading.Thread(target=guarded, args=(player,)) for player in players]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pipe.send(errors)
    for what in ("prepare", "work"):
        all_do(what)
        pipe.recv()


class Clients:
    """Those processes, within `with`: ready; go(); gone."""

    def __init__(self, name, kind, port, count):
        self.name, self.members = name, []
        share, more = divmod(count, PROCESSES * THREADS)
        counts = [share + (index < more) for index in range(PROCESSES * THREADS)]
        for number in range(PROCESSES):
            here, there = multiprocessing.Pipe()
            process = multiprocessing.Process(target=play_threads, daemon=True, args=(
                kind, port, counts[number::PROCESSES], there))
            process.start()
            self.members.append((process, here))

    def hear(self):
        for process, pipe in self.members:
            try:
                errors = pipe.recv() if pipe.poll(RUN_S) else [f"not done after {RUN_S} s"]
            except EOFError:
                errors = ["a client died"]
            if errors:
                raise Failed(f"{self.name}: {len(errors)} clients: {errors[0]}")

    def __enter__(self):
        try:
            self.hear()
        except Failed:
            self.__exit__()
            raise
        return self

    def go(self):
        """Returns the seconds it took."""
        start = time.monotonic()
        for _, pipe in self.members:
            pipe.send("go")
        self.hear()
        return time.monotonic() - start

    def __exit__(self, *_):
        for process, _ in self.members:
            process.kill()
            process.join()


# ---- the proxies ----

class TlsCandidate(Candidate):
    def negotiated(self):
        """What openssl's client sees: suite, group, signature."""
        with self:
            said = subprocess.run([find_program("openssl"), "s_client", "-connect",
                                   f"127.0.0.1:{self.port}"], stdin=subprocess.DEVNULL, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
        return "; ".join(sorted(line for line in said.split("\n") if line.startswith(
            ("New, ", "Peer signature type: ", "Server Temp Key: "))))

    def tls_sample(self, kind, count, unit_count):
        """CPU of `count` pieces of work; a message or a handshake is unit_count units."""
        with self, Clients(self.name, kind, self.port, count) as clients:
            time.sleep(SETTLE_S)
            before = cpu_times(self.pids)
            seconds = clients.go()
            time.sleep(SETTLE_S)
            total, user, system = (b - a for a, b in zip(before, cpu_times(self.pids)))
        per_cpu_s = count * unit_count / (total / 1e9)
        return {"per_cpu_s": per_cpu_s, "user_share": user / max(1, user + system),
                "per_second": count * unit_count / seconds, "load": os.getloadavg()[0]}

    def tls_session_kib(self, count):
        with self, Clients(self.name, IdlePlayer, self.port, count) as clients:
            time.sleep(SETTLE_S)
            before = memory_kib(self.pids)
            clients.go()
            time.sleep(SETTLE_S)
            return (memory_kib(self.pids) - before) / count


def candidates(bench):
    """(HAProxy, mailweirs), once it is sure that they negotiate the same."""
    if not hasattr(bench, "tls_candidates"):
        values = {"certificate": make_certificate(bench.folder)}
        proxies = [TlsCandidate(bench, f"{plain.name} tls", plain.command, text, plain.proof,
                                **dict(plain.values, **values))
                   for plain, text in [(bench.make_haproxy(""), HAPROXY_TLS_CFG),
                                       *((one, MAILWEIR_TLS_INI) for one in bench.mailweirs)]]
        seen = {proxy.name: proxy.negotiated() for proxy in proxies}
        print(f"\nTLS: {seen[proxies[0].name]}", flush=True)
        if len(set(seen.values())) != 1 or SUITE not in seen[proxies[0].name]:
            raise Failed(f"the proxies do not negotiate the same: {seen}")
        bench.tls_candidates = proxies[0], proxies[1:]
    return bench.tls_candidates
