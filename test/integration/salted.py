"""
salted - client sessions whose every message, address and expected reply carries a salt of its own.

Session 17's salt is "w000017w"; it is in EHLO, in each address, in a header field and in each line
of each message. weir-sink -a repeats the address in its replies to MAIL, RCPT and messages, and says
under which number it has kept one. So a client that reads a foreign reply, and a message that holds
a foreign line, are seen at once:

    Session   what one client will say, made from (seed, number) alone: writes, replies that are due
    play      says it, reads the replies, opens each message that was kept, and throws it away
    play_all  many of them, some at a time, in several processes

Clients vary: several transactions, commands one by one, in groups, or a group behind a message in
the same write; RSET in a transaction; senders and recipients that the sink refuses; the end in the
middle of anything, by FIN or by RST; messages from 100 bytes to 100 KB.
"""
import concurrent.futures
import os
import random
import re
import socket
import struct
import threading

import smtpraw

SALT = re.compile(rb"w\d{6}w")
SIZE_MIN, SIZE_MAX = 100, 100_000
PROBLEMS_MAX = 20
FILLER = bytes(range(33, 127)) * 12
ONE_BY_ONE, GROUPS, BEHIND_MESSAGES = range(3)


class Step:
    """What is sent at once, and the beginning of the reply (a pattern: the salted replies whole)."""

    def __init__(self, data, reply, ends_group=False, message=None):
        self.data, self.reply = data, re.compile(reply)
        self.ends_group, self.message = ends_group, message


class Message:
    """One that will be sent: its tag (salt and number of the transaction), what must be kept."""

    def __init__(self, tag, rcpt_count, content):
        self.tag, self.rcpt_count, self.content = tag, rcpt_count, content


class Session:
    """The plan of one client."""

    def __init__(self, seed, number, message_count=None):
        self.rng = random.Random(f"{seed}/{number}")
        self.salt = b"w%06dw" % number
        self.style = self.rng.randrange(3)
        name = self.salt + b".client.example"
        self.steps = [Step(b"EHLO " + name + b"\r\n", rb"250-", True)]
        self.messages = []
        for index in range(1, 1 + (message_count or self.rng.choice((1, 1, 1, 2, 3, 5)))):
            self.add_transaction(b"%s.%02d" % (self.salt, index))
        self.steps.append(Step(b"QUIT\r\n", rb"221 ", True))
        # Where it ends, if not at QUIT: in this step, at this part of it.
        self.stop_step, self.stop_part, self.is_reset = None, None, False
        if self.rng.random() < 0.08:
            self.stop_step = self.rng.randrange(1, len(self.steps))
            self.stop_part = self.rng.random()
            self.is_reset = self.rng.random() < 0.5

    def add_transaction(self, tag):
        """MAIL, RCPT, and DATA and a message where that can succeed; perhaps RSET instead."""
        rng = self.rng
        mail = tag + b"@from.example"
        is_refused = rng.random() < 0.03
        if is_refused:
            mail = b"refuse." + mail
        self.steps.append(Step(b"MAIL FROM:<" + mail + b">\r\n", rb"250 2\.1\.0 "))
        rcpt_count = 0
        for index in range(rng.choice((1, 1, 1, 2, 3))):
            rcpt = b"to%d.%s@to.example" % (index, tag)
            code = b"250 2.1.5"
            kind = rng.random()
            if kind < 0.08:
                rcpt, code = b"refuse." + rcpt, b"550 5.1.1"
            elif kind < 0.12:
                rcpt, code = b"defer." + rcpt, b"450 4.2.1"
            due = b"550 5.1.1 <" + mail if is_refused else code + b" <" + rcpt
            self.steps.append(Step(b"RCPT TO:<" + rcpt + b">\r\n", re.escape(due) + rb">\r\n\Z"))
            rcpt_count += code.startswith(b"2") and not is_refused
        if rng.random() < 0.1:
            self.steps.append(Step(b"RSET\r\n", rb"250 "))
        elif rcpt_count == 0:
            self.steps.append(Step(b"DATA\r\n", rb"(503|554) 5\.5\.1 ", True))
            self.steps.append(Step(b"RSET\r\n", rb"250 "))
        else:
            message = Message(tag, rcpt_count, self.make_content(tag))
            self.steps.append(Step(b"DATA\r\n", rb"354 ", True))
            self.steps.append(Step(smtpraw.stuff(message.content) + b".\r\n",
                                   rb"250 2\.0\.0 " + re.escape(mail) + rb" kept as (\d+)\r\n\Z",
                                   self.style != BEHIND_MESSAGES, message))

    def make_content(self, tag):
        """A header field and lines, some of them with dots in front; each line has the tag."""
        rng = self.rng
        size = int(SIZE_MIN * (SIZE_MAX / SIZE_MIN) ** rng.random())
        lines = [b"." * rng.choice((0, 0, 1, 2)) + tag + FILLER[rng.randrange(90):][:length]
                 for length in (0, rng.randrange(1, 60), rng.randrange(60, 900))]
        block = b"\r\n".join(lines) + b"\r\n"
        body = (block * (size // len(block) + 1))[:size].rpartition(b"\r\n")[0]
        return b"Subject: %s\r\n\r\n%s\r\n%s end\r\n" % (tag, body, tag)

    def groups(self):
        """The steps that are sent together."""
        group = []
        for step in self.steps:
            group.append(step)
            if step.ends_group or self.style == ONE_BY_ONE:
                yield group
                group = []

    def stops_in(self, group):
        return self.stop_step is not None and self.steps[self.stop_step] in group


class Outcome:
    """What came of some sessions."""

    def __init__(self):
        self.kept = {}     # tag: (number in the sink's journal, recipients)
        self.unknown = []  # tags of messages whose reply was not waited for
        self.replies, self.stopped, self.bytes, self.problems = 0, 0, 0, []

    def add(self, other):
        self.kept.update(other.kept)
        self.unknown += other.unknown
        self.replies += other.replies
        self.stopped += other.stopped
        self.bytes += other.bytes
        self.problems += other.problems


def check_kept(path, session, message, hostname):
    """The problems of a message that was kept; takes its file away."""
    with open(path, "rb") as file:
        content = file.read()
    os.unlink(path)
    foreign = set(SALT.findall(content)) - {session.salt}
    if foreign:
        return [f"{message.tag}: foreign salts {foreign} in {path}"]
    field = smtpraw.split_field(smtpraw.behind_results(content, hostname))[0]
    if session.salt + b".client.example" not in field:
        return [f"{message.tag}: Received is {field!r}"]
    if smtpraw.without_received(content, hostname) != message.content:
        return [f"{message.tag}: {path} is not what was sent"]
    return []


def check_reply(step, reply, session, store, hostname, outcome):
    outcome.replies += 1
    match = step.reply.match(reply)
    foreign = set(SALT.findall(reply)) - {session.salt}
    if not match or foreign:
        outcome.problems.append(f"{session.salt}: {step.data[:60]!r} got {reply!r}")
    elif step.message:
        number = int(match[1])
        outcome.kept[step.message.tag] = (number, step.message.rcpt_count)
        outcome.bytes += len(step.message.content)
        outcome.problems += check_kept(os.path.join(store, f"msg-{number:06}.eml"), session,
                                       step.message, hostname)


def stop_early(client, session, group, outcome):
    """The rest of its life: some of the group, and no more reading."""
    outcome.stopped += 1
    at = group.index(session.steps[session.stop_step])
    last = group[at]
    part = last.data[:int(session.stop_part * (len(last.data) + 1))]
    outcome.unknown += [step.message.tag for step in group[:at] if step.message]
    if last.message and len(part) == len(last.data):
        outcome.unknown.append(last.message.tag)
    client.send(b"".join(step.data for step in group[:at]) + part)
    if session.is_reset:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def play(address, session, store, hostname, outcome):
    with smtpraw.Client(address, timeout=60.0) as client:
        for group in session.groups():
            if session.stops_in(group):
                stop_early(client, session, group, outcome)
                return
            client.send(b"".join(step.data for step in group))
            for step in group:
                check_reply(step, client.reply(), session, store, hostname, outcome)


def play_some(address, seed, numbers, at_once, store, hostname):
    """One process: its share of the sessions, `at_once` threads."""
    outcomes = [Outcome() for _ in range(at_once)]
    numbers = iter(numbers)
    lock = threading.Lock()

    def run(outcome):
        while len(outcome.problems) < PROBLEMS_MAX:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                play(address, Session(seed, number), store, hostname, outcome)
            except Exception as error:  # told with the others
                outcome.problems.append(f"session {number}: {error!r}")
    threads = [threading.Thread(target=run, args=(outcome,)) for outcome in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = Outcome()
    for outcome in outcomes:
        total.add(outcome)
    return total


def sessions_for(seed, messages):
    """How many sessions it takes until so many messages have been sent and their replies read."""
    number, planned = 0, 0
    while planned < messages:
        session = Session(seed, number)
        for group in session.groups():
            if session.stops_in(group):
                break
            planned += sum(1 for step in group if step.message)
        number += 1
    return number


def play_all(address, seed, session_count, store, hostname, processes=3, at_once=16):
    total = Outcome()
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        shares = [pool.submit(play_some, address, seed, range(index, session_count, processes),
                              at_once, store, hostname) for index in range(processes)]
        for share in shares:
            total.add(share.result())
    return total
