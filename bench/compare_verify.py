"""The verification part of bench/compare: signed messages, all checks on, a real DNS server.

Nobody on the loopback is looked up in a list, so the proxies listen on an address of TEST-NET-3 as well,
which lo gets for the time of the run (this needs root); it is the clients' address, too. The zones are
served by nsd; for `wait` a relay in front of it answers 20 ms late, and each message has a domain of its
own, so that no cache helps.
"""
import base64
import hashlib
import json
import os
import select
import socket
import subprocess
import threading
import time

from compare_rig import Candidate, HAPROXY_CFG, MAILWEIR_INI, SETTLE_S, Server, expect
from harness.meter import memory_kib
from harness.process import Failed, find_program, read, wait_for

ADDRESS, DOMAIN = "203.0.113.25", "signed.example"
DELAY_MS, HOLD_KIB, HELD_BYTES, MAIL_BYTES = 20, 256, 10 * 1000 * 1000, 4096
VERIFY_INI = MAILWEIR_INI.replace("upstream = default\n", "bind = {host}:{port}\nupstream = default\n", 1)
VERIFY_INI = VERIFY_INI.replace("mode = off\n", f"""mode = hold
hold_memory = {HOLD_KIB}k
spool_dir = {{folder}}
[dns]
server = 127.0.0.1:{{dns}}
[dnsbl]
zone = list.example weight=3
[dmarc]
action = reject
""")
VERIFY_HAPROXY_CFG = HAPROXY_CFG.replace("backlog 4096\n", "backlog 4096\n    bind {host}:{port} backlog 4096\n")
NSD_CONF = """server:
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    pidfile: "{log}.pid"
    xfrdfile: "{log}.xfrd"
    xfrdir: "{folder}"
    zonelistfile: "{log}.list"
    server-count: 1
remote-control:
    control-enable: no
"""
SOA = "$ORIGIN {0}\n$TTL 3600\n@ IN SOA ns.{0} hostmaster.{0} 1 3600 900 604800 3600\n@ IN NS ns.{0}\n"


def p99(values):
    return sorted(values)[len(values) * 99 // 100]


# ---- a signed message (RFC 6376), made with openssl ----

def make_key(folder):
    path = os.path.join(folder, "dkim.pem")
    subprocess.run([find_program("openssl"), "genrsa", "-out", path, "2048"], check=True,
                   stderr=subprocess.DEVNULL)
    public = subprocess.run([find_program("openssl"), "rsa", "-in", path, "-pubout", "-outform", "DER"],
                            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return path, base64.b64encode(public).decode()


def sign(key, domain, fields, body):
    """Header and body with CRLF, the signature on top; relaxed header, simple body. No field is folded."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    names = ":".join(name for name, _ in fields)
    value = (f"v=1; a=rsa-sha256; c=relaxed/simple; d={domain}; s=k1; h={names};"
             f" bh={digest}; b=")
    text = "".join(f"{name.lower()}:{text}\r\n" for name, text in fields)
    signed = subprocess.run([find_program("openssl"), "dgst", "-sha256", "-sign", key], check=True,
                            input=(text + "dkim-signature:" + value).encode(),
                            stdout=subprocess.PIPE).stdout
    head = "".join(f"{name}: {text}\r\n" for name, text in fields)
    signature = f"DKIM-Signature: {value}{base64.b64encode(signed).decode()}\r\n"
    return (signature + head + "\r\n").encode() + body


def make_mail(key, domain, size=MAIL_BYTES):
    fields = [("From", f"Author <author@{domain}>"), ("To", "user@server.example"), ("Subject", "A sample"),
              ("Date", "Tue, 03 Feb 2026 10:00:00 +0000"), ("Message-ID", f"<1@{domain}>")]
    line = b"The quick brown fox jumps over the lazy dog, and so on.\r\n"
    return sign(key, domain, fields, line * max(1, (size - 900) // len(line)))


# ---- DNS ----

class LateDns:
    """Passes questions on to `port`, and the answers back DELAY_MS later."""

    def __init__(self, port, delay_ms):
        self.target, self.delay_s, self.ends = ("127.0.0.1", port), delay_ms / 1000, False
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.front.bind(("127.0.0.1", 0))
        self.port = self.front.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        due = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.connect(self.target)
            while not self.ends:
                wait_s = min(0.2, max(0, due[0][0] - time.monotonic())) if due else 0.2
                if select.select([self.front], [], [], wait_s)[0]:
                    question, peer = self.front.recvfrom(4096)
                    came = time.monotonic()
                    back.send(question)
                    due.append((came + self.delay_s, back.recv(65535), peer))
                while due and due[0][0] <= time.monotonic():
                    _, answer, peer = due.pop(0)
                    self.front.sendto(answer, peer)

    def stop(self):
        self.ends = True
        self.thread.join()
        self.front.close()


class Rig:
    """Address, zones, DNS server and message; within `with`."""

    def __init__(self, bench, delay_ms=0, own=0):
        """`own`: messages that have a domain of their own."""
        self.bench, self.delay_ms, self.own, self.late = bench, delay_ms, own, None
        self.key, public = make_key(bench.folder)
        self.mail = os.path.join(bench.folder, "signed.eml")
        with open(self.mail, "wb") as file:
            file.write(make_mail(self.key, DOMAIN).replace(b"\r\n", b"\n"))
        self.nsd = Server(bench, "nsd", [find_program("nsd"), "-d", "-c", "{config}"],
                          self.zones(public), folder=bench.folder)

    def zones(self, public):
        key = " ".join(f'"{text}"' for text in
                       ("v=DKIM1; k=rsa; p=", *(public[i:i + 200] for i in range(0, len(public), 200))))
        records = {
            "example.": "",
            DOMAIN + ".": f'@ IN TXT "v=spf1 ip4:{ADDRESS} -all"\n_dmarc IN TXT "v=DMARC1; p=reject"\n'
                          f"k1._domainkey IN TXT ( {key} )\n"
                          + "".join(f'm{i} IN TXT "v=spf1 ip4:{ADDRESS} -all"\n'
                                    f"k1._domainkey.m{i} IN TXT ( {key} )\n" for i in range(self.own)),
            "list.example.": "2.0.0.127 IN A 127.0.0.2\n"}
        conf = NSD_CONF
        for origin, text in records.items():
            with open(os.path.join(self.bench.folder, origin + "zone"), "w", encoding="ascii") as file:
                file.write(SOA.format(origin) + text)
            conf += f"zone:\n    name: {origin}\n    zonefile: {origin}zone\n"
        return conf

    def mails(self, count):
        """[(domain, message)]"""
        domains = [f"m{i}.{DOMAIN}" for i in range(count)]
        return [(domain, make_mail(self.key, domain)) for domain in domains]

    def __enter__(self):
        if subprocess.run(["ip", "address", "add", ADDRESS + "/32", "dev", "lo"], check=False,
                          stderr=subprocess.DEVNULL).returncode not in (0, 2):
            raise Failed(f"lo cannot have the address {ADDRESS}: this scenario needs root")
        self.nsd.__enter__()
        if self.delay_ms:
            self.late = LateDns(self.nsd.port, self.delay_ms)
        return self

    def __exit__(self, *_):
        if self.late:
            self.late.stop()
        self.nsd.__exit__()
        subprocess.run(["ip", "address", "del", ADDRESS + "/32", "dev", "lo"], check=False)

    def values(self):
        return {"host": ADDRESS, "dns": self.late.port if self.late else self.nsd.port, "mail": self.mail,
                "sender": f"bounce@{DOMAIN}", "folder": self.bench.folder, "rig": self}

    def mailweirs(self):
        bench = self.bench
        return [Verifier(bench, plain.name, [bench.options.binary, "-c", "{config}"], VERIFY_INI, plain.proof,
                         option=plain.values["option"], **self.values()) for plain in bench.mailweirs]

    def candidates(self):
        haproxy = Candidate(self.bench, "haproxy", [find_program("haproxy"), "-db", "-f", "{config}"],
                            VERIFY_HAPROXY_CFG, option=self.bench.haproxy.values["option"], **self.values())
        return [haproxy, *self.mailweirs()]


# ---- the gateway ----

class Verifier(Candidate):
    """mailweir with all checks on."""

    def records(self):
        return [json.loads(line) for line in read(self.log).split("\n")
                if line.startswith("{") and '"event":"transaction"' in line]

    def prove(self):
        """Each message was checked, by all four, and found good."""
        records = self.records()
        for record in records:
            checks = record["checks"]
            if [checks["dnsbl"]["score"], checks["dnsbl"]["zones"], checks["spf"]["result"],
                    checks["dkim"][0]["result"], checks["dmarc"]["result"]] != [0, [], "pass", "pass", "pass"]:
                raise Failed(f"{self.name}: not verified: {record}")
        if not records:
            raise Failed(f"{self.name}: no records")

    def connect(self):
        connection = socket.create_connection((ADDRESS, self.port), 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        expect(connection, b"220")
        return connection

    def begin(self, connection, domain):
        for command, code in ((b"EHLO client.example", b"250"),
                              (f"MAIL FROM:<bounce@{domain}>".encode(), b"250"),
                              (b"RCPT TO:<user@server.example>", b"250"), (b"DATA", b"354")):
            connection.sendall(command + b"\r\n")
            expect(connection, code)

    def waits_ms(self, count):
        """From the end of each message to its verdict, as the records tell; one message after the other, each
        whole in one write, so that nothing of the wait is hidden behind the client."""
        mails = self.values["rig"].mails(count)
        with self:
            for domain, mail in mails:
                with self.connect() as connection:
                    self.begin(connection, domain)
                    connection.sendall(mail + b".\r\n")
                    expect(connection, b"250")
            time.sleep(SETTLE_S)
            self.prove()
            records = self.records()
        if len(records) != count:
            raise Failed(f"{self.name}: {len(records)} records of {count} messages")
        return [record["ms"]["verify"] for record in records]

    def held_mib(self, count):
        rig = self.values["rig"]
        mail = make_mail(rig.key, DOMAIN, HELD_BYTES)
        with self:
            self.send(1000, False)
            time.sleep(SETTLE_S)
            before, connections = memory_kib(self.pids), []
            for _ in range(count):
                connections.append(self.connect())
                self.begin(connections[-1], DOMAIN)
                connections[-1].sendall(mail)
            time.sleep(1)
            grown = memory_kib(self.pids) - before
            for connection in connections:  # one by one: the sink has one thread
                connection.sendall(b".\r\n")
                expect(connection, b"250")
                connection.close()
        print(f"  {self.name:20} {grown / 1024:.1f} MiB, and all of them were delivered", flush=True)
        return grown / 1024
