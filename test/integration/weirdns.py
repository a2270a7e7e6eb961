"""DNS servers for the tests: a real one (nsd, an instance of its own), and a liar in front of it.

    mailweir --> Liar --> Nsd        the liar knows the truth, and says something else
"""
import os
import socket
import struct
import threading
import time

from weirlab import Program, free_port, wait_until

SOA = "@ 300 IN SOA ns.weir.example. hostmaster.weir.example. 1 3600 900 604800 60\n@ IN NS ns.weir.example.\n"


class Nsd(Program):
    """`zones` is {origin: text of its records}; each gets an SOA on top."""

    def __init__(self, folder, zones, name="nsd"):
        base = os.path.join(folder, name)
        os.makedirs(base, exist_ok=True)
        self.address = ("127.0.0.1", free_port())
        config = f"""server:
    ip-address: {self.address[0]}@{self.address[1]}
    username: ""
    chroot: ""
    zonesdir: "{base}"
    database: ""
    pidfile: "{base}/pid"
    xfrdfile: "{base}/xfrd.state"
    xfrdir: "{base}"
    zonelistfile: "{base}/zone.list"
    logfile: "{base}/log"
    server-count: 1
remote-control:
    control-enable: no
"""
        for origin, text in zones.items():
            with open(os.path.join(base, origin + "zone"), "w", encoding="ascii") as file:
                file.write(f"$ORIGIN {origin}\n$TTL 60\n{SOA}{text}\n")
            config += f"zone:\n    name: {origin}\n    zonefile: {origin}zone\n"
        path = os.path.join(base, "nsd.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(config)
        super().__init__(["/usr/sbin/nsd", "-d", "-c", path], folder, name)
        wait_until(lambda: self.is_running() and ask(self.address, b"\x05probe\x00") is not None,
                   "nsd answers")

    @property
    def server(self):
        return f"{self.address[0]}:{self.address[1]}"


def ask(address, name, kind=16):
    """One question by UDP; the answer's bytes, or None."""
    question = struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", kind, 1)
    return forward(address, question, 0.5)


def forward(address, message, timeout=2.0):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect(address)
        try:
            sock.send(message)
            return sock.recv(65535)
        except OSError:
            return None


def question_end(message):
    at = 12
    while message[at]:
        at += message[at] + 1
    return at + 5


class Liar:
    """A server whose answers are forged in the way that `deed` names. What is forged is worth having:
    the SPF record of the truth, with +all in the place of -all."""
    DEEDS = ("id", "port", "address", "name", "case", "type", "late", "cut", "loop", "servfail", "silence",
             "garbage", "short", "flood")

    def __init__(self, deed, truth):
        self.deed, self.truth, self.asked = deed, truth, 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.address = self.sock.getsockname()
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def server(self):
        return f"{self.address[0]}:{self.address[1]}"

    def stop(self):
        self.ends.set()
        forward(self.address, b"end", 0.1)
        self.thread.join(10)
        self.sock.close()

    def serve(self):
        while not self.ends.is_set():
            message, peer = self.sock.recvfrom(65535)
            if len(message) > 12:
                self.asked += 1
                self.answer(message, peer)

    def answer(self, message, peer):
        forged = forward(self.truth.address, message).replace(b"-all", b"+all")
        number = struct.unpack(">H", message[:2])[0]
        end = question_end(message)
        question = message[12:end]
        if self.deed == "id":
            self.sock.sendto(struct.pack(">H", number ^ 1) + forged[2:], peer)
        elif self.deed == "flood":  # many guesses; none is right
            for guess in range(1, 400):
                self.sock.sendto(struct.pack(">H", number ^ guess) + forged[2:], peer)
        elif self.deed in ("port", "address"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1" if self.deed == "port" else "127.0.0.2", 0))
                other.sendto(forged, peer)
        elif self.deed == "name":
            changed = bytes([question[0], question[1] ^ 0x01]) + question[2:]
            self.sock.sendto(forged[:12] + changed + forged[end:], peer)
        elif self.deed == "case":
            swapped = bytes(c ^ 0x20 if chr(c).isalpha() else c for c in question[:-4]) + question[-4:]
            self.sock.sendto(forged[:12] + swapped + forged[end:], peer)
        elif self.deed == "type":
            self.sock.sendto(forged[:end - 4] + struct.pack(">HH", 1, 1) + forged[end:], peer)
        elif self.deed == "late":
            time.sleep(1.0)
            self.sock.sendto(forged, peer)
        elif self.deed == "cut":  # the rest would be had by TCP, where nobody is
            self.sock.sendto(forged[:2] + bytes([forged[2] | 2]) + forged[3:], peer)
        elif self.deed == "loop":
            record = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
            self.sock.sendto(message[:2] + b"\x84\x00" + struct.pack(">HHHH", 1, 1, 0, 0) + question +
                             record, peer)
        elif self.deed == "servfail":
            self.sock.sendto(message[:2] + b"\x80\x02" + struct.pack(">HHHH", 1, 0, 0, 0) + question, peer)
        elif self.deed == "garbage":
            self.sock.sendto(message[:2] + b"\x84\x00" + b"\xff" * 60, peer)
        elif self.deed == "short":
            self.sock.sendto(forged[:len(forged) - 5], peer)
