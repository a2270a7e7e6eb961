"""
test_kill - kill -9 of the proxy and of the sink at random moments, with 50 live sessions.

P1: every message for which a client has read 250 is in the sink's journal with the right sha256
and size; nothing in the journal is truncated or was never sent. Clients write down what they sent
before they send it, and what was acknowledged as soon as they have read the 250.

    50 clients (asyncio) --> mailweir --> weir-sink -d    both killed and started again, on the same
                                                          ports and the same directory

WEIR_KILLS (default 50, shared by the loops) and WEIR_SEED (default: random, printed) choose how
often and what.
"""
import asyncio
import json
import os
import random
import re
import time

import smtpraw
import weirlab
from conftest import LOOPS

CLIENTS = 50
KILLS = int(os.environ.get("WEIR_KILLS", "50"))


class Books:
    """What was sent, and what was acknowledged: id -> (sha256, size)."""

    def __init__(self):
        self.sent = {}
        self.acked = set()
        self.cut = 0  # connections that were lost on the way


async def expect(reader, code):
    line = b"250-"
    while line[3:4] == b"-":
        line = await asyncio.wait_for(reader.readline(), 30)
        if not line.endswith(b"\r\n"):
            raise ConnectionError("cut off")
    if not line.startswith(code):
        raise ConnectionError(line)


async def one_message(reader, writer, books, rng, name):
    writer.write(b"MAIL FROM:<%s@client.example>\r\nRCPT TO:<b@d.example>\r\nDATA\r\n"
                 % name.encode())
    for code in (b"250", b"250", b"354"):
        await expect(reader, code)
    size = rng.choice((10, 200, 1000, 20000, 100000))
    content = b"X-Id: %s\r\n\r\n" % name.encode()
    content += b"0123456789abcde\r\n" * (size // 17) + b"end\r\n"
    books.sent[name] = (smtpraw.digest(content), len(content))
    writer.write(content + b".\r\n")
    await expect(reader, b"250")
    books.acked.add(name)


async def one_session(address, books, rng, names):
    reader, writer = await asyncio.wait_for(asyncio.open_connection(*address), 10)
    try:
        await expect(reader, b"220")
        writer.write(b"EHLO client.example\r\n")
        await expect(reader, b"250")
        for _ in range(rng.randrange(1, 20)):
            await one_message(reader, writer, books, rng, next(names))
            await asyncio.sleep(rng.random() * 0.5)
    finally:
        writer.transport.abort()


async def one_client(number, address, books, rng, stop):
    names = (f"m{number}x{count}" for count in range(1000000))
    while not stop.is_set():
        try:
            await one_session(address, books, rng, names)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            books.cut += 1
            await asyncio.sleep(0.02 + rng.random() * 0.05)


async def killer(victims, rng, count, books):
    """Lets mail flow, then kills one of the two and starts it again."""
    for _ in range(count):
        goal = len(books.acked) + rng.randrange(1, 60)
        deadline = time.monotonic() + 20
        while len(books.acked) < goal:
            assert time.monotonic() < deadline, "mail does not flow"
            await asyncio.sleep(0.01)
        await asyncio.sleep(rng.random() * 0.2)
        victim = rng.choice(victims)
        victim.kill()
        await asyncio.to_thread(victim.start)


async def run(proxy, sink, rng, kills):
    books = Books()
    stop = asyncio.Event()
    clients = [asyncio.create_task(one_client(n, proxy.address, books, random.Random(rng.random()),
                                              stop)) for n in range(CLIENTS)]
    try:
        await killer([proxy, sink], rng, kills, books)
    finally:
        stop.set()
        done, late = await asyncio.wait(clients, timeout=30)
        for task in late:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    assert not late, f"{len(late)} clients hang"
    for task in done:
        task.result()
    return books


def check(sink, books):
    """The journal against the books."""
    found = {}
    for row in sink.journal():
        content = sink.content(row)  # checks sha256 and size of the file
        content = smtpraw.without_received(content, weirlab.HOSTNAME)
        name = re.match(rb"X-Id: (\S+)\r\n", content).group(1).decode()
        assert row["from"] == f"{name}@client.example" and row["rcpt"] == ["b@d.example"], row
        assert books.sent[name] == (smtpraw.digest(content), len(content)), "truncated or changed"
        assert name not in found, f"{name} twice: nobody sent it again"
        found[name] = row
    missing = books.acked - set(found)
    assert not missing, f"acknowledged and lost: {sorted(missing)[:10]} of {len(books.acked)}"
    return len(found)


def is_json(line):
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


def test_kill(folder, stops, io):
    seed = int(os.environ.get("WEIR_SEED", random.SystemRandom().randrange(1 << 32)))
    kills = (KILLS + len(LOOPS) - 1) // len(LOOPS)
    print(f"seed {seed}, {kills} kills on {io}")
    sink = weirlab.WeirSink(folder)
    stops.append(sink)
    proxy = weirlab.Mailweir(folder, io, [sink.address],
                             {"upstream:default": {"check_interval": "500ms"}})
    stops.append(proxy)
    books = asyncio.run(run(proxy, sink, random.Random(seed), kills))
    stored = check(sink, books)
    # A kill in the middle of a write can tear that one record, but never the next one.
    torn = [line for line in proxy.lines() if line.startswith("{") and not is_json(line)]
    assert len(torn) <= kills, torn
    assert all(line.count('{"event"') == 1 for line in torn), torn
    # The numbers say whether this was a test.
    assert len(books.acked) >= kills and books.cut >= kills / 2, (len(books.acked), books.cut)
    print(f"{len(books.sent)} sent, {len(books.acked)} acknowledged, {stored} stored, "
          f"{books.cut} sessions cut")
