"""
smtpraw - a raw SMTP client and a recording tap: bytes out, bytes in, nothing repaired.

smtplib and swaks are clients that behave. These two are for what they cannot do: commands cut at
any byte, replies kept as the bytes they were, and a record of what a real client put on the wire.

    client --> Tap --> mailweir --> server        Tap.messages() is what the client really sent

Content is always the message after unstuffing, with CRLF line ends and without the end-of-data.
"""
import hashlib
import re
import socket
import threading


class Closed(Exception):
    """The peer closed the connection where a reply was due."""


class Client:
    """One connection. Replies come back as the bytes of all their lines, in order."""

    def __init__(self, address, timeout=20.0, greet=True):
        self.sock = dial(address, timeout)
        self.buffer = b""
        self.greeting = self.reply() if greet else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        """The next line with its CRLF."""
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise Closed(f"end of connection behind {self.buffer!r}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def reply(self):
        """All lines of the next reply; checks their form (RFC 5321, 4.2)."""
        lines = []
        while True:
            line = self.line()
            assert re.fullmatch(rb"[2-5][0-9][0-9]([ -][^\r\n]*)?\r\n", line), line
            assert not lines or line[:3] == lines[0][:3], (lines, line)
            lines.append(line)
            if line[3:4] != b"-":
                return b"".join(lines)

    def cmd(self, line):
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def ok(self, line, code):
        """A command whose reply must have this code (or begin with these bytes)."""
        reply = self.cmd(line)
        assert reply.startswith(str(code).encode()), (line, reply)
        return reply

    def data(self, content):
        """DATA, a content that is already stuffed and ends in CRLF, and the end; the last reply."""
        self.ok("DATA", 354)
        self.send(content + b".\r\n")
        return self.reply()

    def begin(self, sender="a@client.example", rcpt="b@server.example"):
        """EHLO, MAIL and one RCPT, each accepted."""
        self.ok("EHLO client.example", 250)
        self.ok(f"MAIL FROM:<{sender}>", 250)
        self.ok(f"RCPT TO:<{rcpt}>", 250)
        return self

    def at_end(self, timeout=20.0):
        """True when the peer closes without another byte."""
        self.sock.settimeout(timeout)
        try:
            return self.buffer == b"" and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def rest(self):
        """Everything up to the end of the connection."""
        data = self.buffer
        try:
            while chunk := self.sock.recv(65536):
                data += chunk
        except ConnectionError:
            pass
        self.buffer = b""
        return data


def dial(address, timeout=20.0):
    """A connection to "unix:PATH" or (host, port), without Nagle."""
    if isinstance(address, str) and address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(address[5:])
        return sock
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def codes(reply_bytes):
    """The codes of all replies in some bytes."""
    return [int(x) for x in re.findall(rb"(?m)^([2-5][0-9][0-9])(?:[ ]|\r?$)", reply_bytes)]


def ehlo_words(reply):
    """The extension lines of an EHLO reply: {b"SIZE": b"1000", ...}."""
    words = {}
    for line in reply.split(b"\r\n")[1:]:
        word, _, rest = line[4:].partition(b" ")
        if word:
            words[word.upper()] = rest
    return words


def stuff(content):
    """Dot-stuffing (RFC 5321, 4.5.2) of a content with CRLF line ends."""
    return re.sub(rb"(?m)^\.", b"..", content)


def unstuff(data):
    return re.sub(rb"(\A|\r\n)\.", rb"\1", data)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def split_field(content):
    """The first header field with its folded lines, and what follows."""
    match = re.match(rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", content)
    return (match.group(0), content[match.end():]) if match else (b"", content)


def behind_results(content, hostname):
    """The content behind the results that the proxy `hostname` has put on top, if there are any."""
    field, rest = split_field(content)
    while re.match(rb"(Authentication-Results|X-Mailweir): " + hostname.encode() + b"[; ]", field):
        content = rest
        field, rest = split_field(content)
    return content


def without_received(content, hostname):
    """The content without the fields that the proxy `hostname` has put on top."""
    content = behind_results(content, hostname)
    field, rest = split_field(content)
    by_us = field.lower().startswith(b"received:") and b"by " + hostname.encode() in field
    return rest if by_us else content


def content_of_wire(data):
    """What is sent between 354 and the final reply, to content."""
    assert data.endswith(b".\r\n") and (data == b".\r\n" or data.endswith(b"\r\n.\r\n")), data[-20:]
    return unstuff(data[:-3])


class Tap:
    """A relay for recording, in front of `target`: `messages()` is each content as it was sent."""

    def __init__(self, target, port, host="127.0.0.1"):
        self.target = target
        self.address = (host, port)
        self.port = port
        self.lock = threading.Lock()
        self.found = []
        self.said = []  # every line that a client sent outside of DATA
        self.listener = socket.create_server((host, port), backlog=512)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would keep the port
        self.listener.close()

    def messages(self):
        with self.lock:
            return list(self.found)

    def commands(self):
        with self.lock:
            return list(self.said)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = dial(self.target)
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.settimeout(None)
            state = {"data": False}
            pairs = ((client, server, self._from_client), (server, client, self._from_server))
            for source, sink, note in pairs:
                pump = (source, sink, note, state)
                threading.Thread(target=self._pump, args=pump, daemon=True).start()

    @staticmethod
    def _pump(source, sink, note, state):
        try:
            rest = b""
            while data := source.recv(65536):
                rest = note(rest + data, state)
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        sink.close()

    def _from_server(self, data, state):
        while b"\n" in data:
            line, data = data.split(b"\n", 1)
            if line.startswith(b"354"):
                state["data"] = True
        return data

    def _from_client(self, data, state):
        while data:
            if state["data"]:
                end = 0 if data.startswith(b".\r\n") else data.find(b"\r\n.\r\n") + 2
                if end == 1:
                    return data
                with self.lock:
                    self.found.append(content_of_wire(data[:end + 3]))
                data, state["data"] = data[end + 3:], False
            elif b"\r\n" in data:
                line, data = data.split(b"\r\n", 1)
                with self.lock:
                    self.said.append(line)
            else:
                return data
        return data
