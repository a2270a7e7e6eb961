"""
test_group - three servers behind one proxy: one is killed, one is frozen, one answers 421. No client
gets an error that another server could have prevented; each comes back by itself; weights hold.
"""
import json
import signal
import subprocess
import threading

import pytest

import weirlab

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
CHECK = 0.5  # seconds


@pytest.fixture
def group(weir, sink):
    """group(count, options=[""...], **keys): a proxy in front of so many sinks (its `.servers`)."""
    def start(count, options=None, rules=(), **keys):
        servers = [sink(*(rules if index == 0 else ())) for index in range(count)]
        lines = [f"{weirlab.address_text(server.address)} {option}".strip()
                 for server, option in zip(servers, options or [""] * count)]
        upstream = {"server": lines, "check_interval": f"{int(CHECK * 1000)}ms",
                    "connect_timeout": "1s", **keys}
        proxy = weir(*servers, config={"upstream:default": upstream})
        proxy.servers = servers
        return proxy
    return start


def send(proxy, count=1):
    """So many sessions of one message each; every reply must be a 250."""
    for _ in range(count):
        with proxy.connect() as client:
            client.begin()
            reply = client.data(MESSAGE)
            assert reply.startswith(b"250"), reply
            client.ok("QUIT", 221)


def send_at_once(proxy, clients=8, each=10):
    errors = []

    def run():
        try:
            send(proxy, each)
        except Exception as error:  # told by the main thread
            errors.append(error)
    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def messages(server):
    return len(server.journal())


def live_counts(server):
    """What the running sink has counted."""
    before = weirlab.read(server.out).count(b"\n")
    server.signal(signal.SIGUSR1)
    weirlab.wait_until(lambda: weirlab.read(server.out).count(b"\n") > before, "the sink's counts")
    return json.loads(weirlab.read(server.out).split(b"\n")[-2])


def is_told(proxy, server, word):
    """Waits until the log says that the server is up or down."""
    text = f"server {weirlab.address_text(server.address)} is {word}"
    weirlab.wait_until(lambda: proxy.plain() and text in
                       [line for line in proxy.plain() if weirlab.address_text(server.address) in line][-1],
                       f"the log says: {text}")


def test_a_killed_server_is_left_and_comes_back(group):
    proxy = group(3)
    send(proxy, 6)
    proxy.servers[0].kill()
    send_at_once(proxy)
    is_told(proxy, proxy.servers[0], "down")
    proxy.servers[0].start()
    is_told(proxy, proxy.servers[0], "up")
    before = messages(proxy.servers[0])
    weirlab.wait_until(lambda: send(proxy, 6) or messages(proxy.servers[0]) > before,
                       "mail for the server that is back")


def test_a_frozen_server_is_left_and_comes_back(group):
    proxy = group(3)
    send_at_once(proxy, clients=6, each=3)  # each has pooled connections now
    frozen = proxy.servers[1]
    frozen.signal(signal.SIGSTOP)
    try:
        send_at_once(proxy)
        is_told(proxy, frozen, "down")
    finally:
        frozen.signal(signal.SIGCONT)
    is_told(proxy, frozen, "up")
    send_at_once(proxy)


def test_a_server_that_says_421_is_left(group):
    proxy = group(3, rules=["connect:reply=421 4.3.2 not now"])
    send_at_once(proxy)
    assert messages(proxy.servers[0]) == 0
    assert messages(proxy.servers[1]) + messages(proxy.servers[2]) == 80


@pytest.mark.parametrize("balance", ["round_robin", "least_conn"])
def test_weights_hold(group, balance):
    proxy = group(3, ["weight=1", "weight=2", "weight=5"], balance=balance)
    host, port = proxy.address
    subprocess.run(["smtp-source", "-s", "40", "-m", "1600", "-f", "a@b.example", "-t", "c@d.example",
                    f"{host}:{port}"], check=True, timeout=60)
    counts = [messages(server) for server in proxy.servers]
    assert sum(counts) == 1600
    if balance == "round_robin":
        for got, due in zip(counts, (200, 400, 1000)):
            assert abs(got - due) <= due * 0.05, counts
    else:  # it evens out what is in work, not what was done
        assert counts[0] < counts[1] < counts[2], counts


def test_backup_is_used_only_when_the_others_are_down(group):
    proxy = group(2, ["", "backup"])
    send(proxy, 10)
    assert messages(proxy.servers[1]) == 0
    proxy.servers[0].kill()
    send(proxy, 10)
    assert messages(proxy.servers[1]) == 10


def test_max_is_never_exceeded(group):
    proxy = group(1, ["max=3"], pool_idle=2)
    most = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            most.append(live_counts(proxy.servers[0])["sessions_now"])
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        send_at_once(proxy, clients=12, each=10)
    finally:
        done.set()
        watcher.join()
    assert messages(proxy.servers[0]) == 120
    assert max(most) <= 3 + 1, most  # a probe may be there as well


def test_hash_keeps_a_client_at_its_server(group):
    proxy = group(3, balance="hash")
    send(proxy, 12)
    assert sorted(messages(server) for server in proxy.servers) == [0, 0, 12]
