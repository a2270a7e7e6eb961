"""
weirpeer - an SMTP server with TLS in threads of the test, that misbehaves wherever a test says.

    Peer(context)   listens; `offers` are its EHLO words before TLS, `offers_tls` those after it
    peer.faults     {stage: act}: instead of the usual reply of that stage, act(wire) is called.
                    What it returns is sent as the reply; None: no reply, the dialogue goes on
    Wire            one connection: send() goes through TLS once there is TLS, send_raw() never

Stages, in their order: greeting ehlo starttls handshake secured ehlo_tls mail rcpt data body eom,
and rset, quit. `handshake` and `secured` have no reply; `body` is called when the first bytes of a
message have come. The TLS engine works in memory, so a test may cut and mix what goes on the wire.
"""
import re
import socket
import ssl
import struct
import threading

import smtpraw
import weirlab


class Over(Exception):
    """The dialogue ends here."""


def server_context(pair, version=None, client_ca=None):
    """`version`: the only one that is spoken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain, pair.key)
    if version is not None:
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Wire:
    """The server's end of one connection."""

    def __init__(self, sock, number):
        self.sock = sock
        self.number = number
        self.tls = None       # an ssl.SSLObject, once a handshake has begun
        self.secure = False
        self.received = ssl.MemoryBIO()
        self.sealed = ssl.MemoryBIO()
        self.buffer = b""     # plaintext not yet looked at
        self.budget = None    # bytes of the handshake that may still be sent
        self.at_cut = None    # what happens when there are no more
        self.refused = False  # TLS, by a fault
        self.behind = b""     # plaintext that goes out in one piece with the end of the handshake
        self.chop = None      # send(): a TLS record for each so many bytes

    def send_raw(self, data):
        self.sock.sendall(data)

    def seal(self, data):
        """The TLS records for it, not sent."""
        self.tls.write(data)
        return self.sealed.read()

    def send(self, data):
        size = self.chop or len(data) or 1
        for start in range(0, len(data), size):
            piece = data[start:start + size]
            self.send_raw(self.seal(piece) if self.secure else piece)

    def receive(self):
        """More plaintext; Over at any kind of end."""
        while True:
            if self.secure:
                try:
                    if data := self.tls.read(65536):
                        return data
                    raise Over("close_notify")
                except ssl.SSLWantReadError:
                    pass
            data = self.sock.recv(65536)
            if not data:
                raise Over("end of connection")
            if not self.secure:
                return data
            self.received.write(data)

    def line(self):
        while b"\n" not in self.buffer:
            self.buffer += self.receive()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

    def content(self, on_body):
        """Everything up to the end-of-data."""
        self.buffer = self.buffer or self.receive()
        on_body()
        while not (found := re.search(rb"(\A|\r\n)\.\r\n", self.buffer)):
            self.buffer += self.receive()
        data, self.buffer = self.buffer[:found.end()], self.buffer[found.end():]
        return smtpraw.content_of_wire(data)

    def flush_handshake(self):
        data = self.sealed.read()
        if self.budget is not None and len(data) > self.budget:
            self.send_raw(data[:self.budget])
            self.at_cut(self)
            raise Over("the handshake was cut")
        if self.budget is not None:
            self.budget -= len(data)
        self.send_raw(data)

    def handshake(self, context):
        """What was received in front of the handshake goes into it."""
        self.tls = context.wrap_bio(self.received, self.sealed, server_side=True)
        self.received.write(self.buffer)
        self.buffer = b""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush_handshake()
            data = self.sock.recv(65536)
            if not data:
                raise Over("end of connection in the handshake")
            self.received.write(data)
        self.tls.write(self.behind)
        self.flush_handshake()
        self.secure = True

    def close_notify(self):
        """TLS ends in order, TCP stays open."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:  # the other side's is not here yet
            pass
        self.send_raw(self.sealed.read())


# Ways to end; each is a fault by itself, at any stage.

def close(_wire):
    raise Over("closed")


def reset(wire):
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Over("reset")


def hold(wire):
    """Says nothing until the proxy goes."""
    while wire.sock.recv(65536):
        pass
    raise Over("end of connection")


def half_close(wire):
    wire.sock.shutdown(socket.SHUT_WR)
    hold(wire)


def listen(address):
    """At "unix:PATH" or (host, port)."""
    if not isinstance(address, str):
        return socket.create_server(address, backlog=512)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address[5:])
    listener.listen(512)
    return listener


class Peer:
    """`commands` is [(connection, is secure, line)], `messages` [(connection, is secure, content)]
    with a content for each end-of-data that was seen, whatever the reply."""

    def __init__(self, context, offers="STARTTLS PIPELINING 8BITMIME",
                 offers_tls="PIPELINING 8BITMIME", implicit=False, address=None):
        self.context = context
        self.offers = offers
        self.offers_tls = offers_tls
        self.implicit = implicit
        self.faults = {}
        self.commands = []
        self.messages = []
        self.handshakes = 0
        self.errors = []   # of TLS, as the server sees them
        self.wires = {}
        self.lock = threading.Lock()
        self.address = address or ("127.0.0.1", weirlab.free_port())
        self.listener = listen(self.address)
        self.count = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        if self.listener.fileno() < 0:
            return
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for sock in self.wires.values():
                sock.shutdown(socket.SHUT_RDWR)

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.count += 1
                wire = Wire(sock, self.count)
                self.wires[wire.number] = sock
            threading.Thread(target=self.serve, args=[wire], daemon=True).start()

    def serve(self, wire):
        try:
            self.dialogue(wire)
        except ssl.SSLError as error:
            self.errors.append(str(error))
            self.tell_alert(wire)
        except (Over, OSError):
            pass
        finally:
            with self.lock:
                del self.wires[wire.number]
                wire.sock.close()

    @staticmethod
    def tell_alert(wire):
        try:
            wire.send_raw(wire.sealed.read())
        except OSError:
            pass

    def step(self, wire, stage, reply=None):
        """The reply of this stage, or what the test wants instead."""
        if act := self.faults.get(stage):
            reply = act(wire)
        if reply is not None:
            wire.send(reply.encode() + b"\r\n" if isinstance(reply, str) else reply)

    def secure(self, wire):
        self.step(wire, "handshake")
        wire.handshake(self.context)
        self.handshakes += 1
        self.step(wire, "secured")

    def ehlo(self, wire):
        words = ["peer.example"] + (self.offers_tls if wire.secure else self.offers).split(" ")
        words = [word.replace("=", " ") for word in words if word]
        return "\r\n".join(["250-" + word for word in words[:-1]] + ["250 " + words[-1]])

    def dialogue(self, wire):
        if self.implicit:
            self.secure(wire)
        self.step(wire, "greeting", "220 peer.example ESMTP")
        while True:
            line = wire.line()
            self.commands.append((wire.number, wire.secure, line.decode("latin-1")))
            verb = line.split(b" ")[0].decode("latin-1").upper()
            if verb == "EHLO":
                self.step(wire, "ehlo_tls" if wire.secure else "ehlo", self.ehlo(wire))
            elif verb == "STARTTLS":
                self.step(wire, "starttls", "220 2.0.0 go ahead")
                if not wire.refused:
                    self.secure(wire)
            elif verb == "DATA":
                self.data(wire)
            elif verb == "QUIT":
                self.step(wire, "quit", "221 2.0.0 bye")
                return
            else:
                self.step(wire, verb.lower(), "250 2.0.0 " + verb)

    def data(self, wire):
        self.step(wire, "data", "354 go on")
        content = wire.content(lambda: self.step(wire, "body"))
        self.messages.append((wire.number, wire.secure, content))
        self.step(wire, "eom", "250 2.0.0 peer has it")

    # What tests ask.

    def lines(self, secure=None, verb=""):
        return [line for _, is_secure, line in list(self.commands)
                if secure in (None, is_secure) and line.upper().startswith(verb)]

    def clear_mail(self):
        """What of a transaction has been said in clear."""
        return [line for line in self.lines(secure=False)
                if line.split(" ")[0].upper() in ("MAIL", "RCPT", "DATA")]


def refuses(reply):
    """A fault: STARTTLS is answered with this, and there is no handshake."""
    def act(wire):
        wire.refused = True
        return reply
    return act


def mail(proxy, content=b"Subject: x\r\n\r\nbody\r\n"):
    """One message. (where it ended, the reply): ("eom", b"250...") when all is well."""
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        steps = (("rcpt", "RCPT TO:<b@d.example>", b"250"), ("data", "DATA", b"354"))
        for stage, line, code in steps:
            reply = client.cmd(line)
            if not reply.startswith(code):
                client.ok("NOOP", 250)  # the session lives
                client.ok("QUIT", 221)
                return stage, reply
        client.send(smtpraw.stuff(content) + b".\r\n")
        reply = client.reply()
        client.ok("QUIT", 221)
        return "eom", reply
