"""
test_pool - many clients over few upstream connections: how few there are, and that nothing of one
client ever reaches another.

WEIR_SALTED is the number of messages of the salted test (default 5000; 100000 is the long form),
WEIR_SEED its seed, printed (-s). The sink's store is in memory where the machine has such a folder:
what is tried here is the proxy, not the disk.
"""
import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest

import salted
import smtpraw
import weirlab

MESSAGES = int(os.environ.get("WEIR_SALTED", "5000"))
SEED = os.environ.get("WEIR_SEED", "1")
CLIENTS, CONNECTIONS_MAX = 50, 60


@pytest.fixture
def quick_sink(stops):
    """quick_sink(option...): a weir-sink whose store is in memory."""
    folders = []

    def start(*options):
        folders.append(tempfile.mkdtemp(prefix="weir-", dir="/dev/shm" if os.path.isdir("/dev/shm")
                                        else None))
        stops.append(weirlab.WeirSink(folders[-1], options=options))
        return stops[-1]
    yield start
    for folder in folders:
        shutil.rmtree(folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_few_connections_serve_many_sessions(weir, quick_sink, workers):
    """10 000 sessions of one message each, 50 at a time."""
    server = quick_sink()
    proxy = weir(server, config={"proxy": {"workers": workers}})
    host, port = proxy.address
    subprocess.run(["smtp-source", "-s", str(CLIENTS), "-m", "10000", "-f", "a@b.example",
                    "-t", "c@d.example", f"{host}:{port}"], check=True, timeout=120)
    proxy.end()
    counts = server.counts()
    print(f"{workers} workers: {counts['connections']} upstream connections")
    assert counts["messages"] == 10000
    assert counts["connections"] <= CONNECTIONS_MAX, counts  # checks of the server's health as well


def test_the_sink_tells_what_a_reply_is_about(quick_sink):
    """What the salted test relies on."""
    server = quick_sink("-a")
    with smtpraw.Client(server.address) as client:
        client.ok("EHLO client.example", 250)
        for line, reply in ((b"MAIL FROM:<refuse.a@b.example>", b"550 5.1.1 <refuse.a@b.example>"),
                            (b"MAIL FROM:<a@b.example>", b"250 2.1.5 <a@b.example>"),
                            (b"RCPT TO:<defer.c@d.example>", b"450 4.2.1 <defer.c@d.example>"),
                            (b"RCPT TO:<c@d.example>", b"250 2.1.5 <c@d.example>")):
            assert client.cmd(line) == reply + b"\r\n"
        assert client.data(b"\r\n") == b"250 2.0.0 a@b.example kept as 1\r\n"
    assert server.journal()[0]["rcpt"] == ["c@d.example"]


def check_journal(rows, outcome):
    """Every message of which a client was told is there, once, with its own envelope; the others are
    those whose reply nobody read. Returns the salts that each upstream connection has carried."""
    carried, seen = {}, set()
    for row in rows:
        salts = set(salted.SALT.findall(json.dumps([row["from"], row["rcpt"]]).encode()))
        assert len(salts) == 1, row
        tag = row["from"].partition("@")[0].encode()
        assert tag not in seen, f"twice: {row}"
        seen.add(tag)
        assert all(rcpt.partition(".")[2] == f"{tag.decode()}@to.example" for rcpt in row["rcpt"]), row
        if tag in outcome.kept:
            assert (row["n"], len(row["rcpt"])) == outcome.kept[tag], row
        carried.setdefault(row["connection"], set()).update(salts)
    assert set(outcome.kept) <= seen
    assert seen - set(outcome.kept) <= set(outcome.unknown)
    return carried


def check_log(lines):
    """No record speaks of two sessions, and nothing went wrong."""
    for line in lines:
        assert len(set(salted.SALT.findall(line.encode()))) <= 1, line
        assert " error: " not in line and " warning: " not in line, line


def test_clients_never_see_each_other(weir, quick_sink):
    server = quick_sink("-a")
    proxy = weir(server)
    count = salted.sessions_for(SEED, MESSAGES)
    start = time.monotonic()
    outcome = salted.play_all(proxy.address, SEED, count, server.store, weirlab.HOSTNAME)
    seconds = time.monotonic() - start
    assert not outcome.problems, "\n".join(outcome.problems[:salted.PROBLEMS_MAX])
    proxy.end()
    carried = check_journal(server.journal(), outcome)
    check_log(proxy.lines())
    shared = sum(1 for salts in carried.values() if len(salts) > 1)
    print(f"seed {SEED}: {len(outcome.kept)} messages, {outcome.bytes} bytes, {outcome.replies} "
          f"replies of {count} sessions ({outcome.stopped} stopped early) in {seconds:.1f} s over "
          f"{len(carried)} upstream connections, {shared} of them shared: 0 foreign bytes")
    assert len(outcome.kept) >= MESSAGES
    assert shared > len(carried) / 4, "without sharing nothing has been tried"
