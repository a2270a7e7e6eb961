"""
test_names - a server that is configured by name, and whose address changes while mail flows.

The proxy runs in a mount namespace of its own, where /etc/hosts is a file of the test's and the only
source of names; so this needs root.
"""
import os
import subprocess
import time

import pytest

import weirlab

NAME = "mail.weir.example"
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
CHECK = 1.0  # seconds; names are not looked up more often


def may_unshare():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False,
                                                stderr=subprocess.DEVNULL).returncode == 0


pytestmark = pytest.mark.skipif(not may_unshare(), reason="needs root and mount namespaces")


class Named(weirlab.Mailweir):
    """The proxy where NAME is what `hosts` says."""

    def __init__(self, folder, io, port, **options):
        self.hosts = os.path.join(folder, "hosts")
        self.switch = os.path.join(folder, "nsswitch.conf")
        with open(self.switch, "w", encoding="ascii") as file:
            file.write("passwd: files\nhosts: files\n")
        self.moves_to("127.0.0.1")
        super().__init__(folder, io, [(NAME, port)], start=False, config={
            "upstream:default": {"check_interval": f"{int(CHECK * 1000)}ms",
                                 "connect_timeout": "1s"}}, **options)
        script = 'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/nsswitch.conf && ' \
                 'shift && exec "$@"'
        self.argv = ["unshare", "-m", "sh", "-c", script, self.hosts, self.switch, *self.argv]
        self.start()

    def moves_to(self, *addresses):
        """In place: what is mounted is the file, not its name."""
        with open(self.hosts, "w", encoding="ascii") as file:
            file.write("".join(f"{address} {NAME}\n" for address in addresses))

    def told(self, text):
        return [line for line in self.plain() if text in line]

    def await_told(self, text, count=1):
        weirlab.wait_until(lambda: len(self.told(text)) >= count, f"the log says: {text}")


@pytest.fixture
def named(folder, io, sink, stops):
    """A proxy for NAME, and two sinks at 127.0.0.1 and 127.0.0.2, on the same port."""
    if io == "direct":
        pytest.skip("there is no proxy")
    sinks = [sink()]
    sinks.append(sink(listen=("127.0.0.2", sinks[0].port)))
    stops.append(Named(folder, io, sinks[0].port))
    proxy = stops[-1]
    proxy.servers = sinks
    return proxy


def send(proxy):
    with proxy.connect() as client:
        client.begin()
        reply = client.data(MESSAGE)
        assert reply.startswith(b"250"), reply
        client.ok("QUIT", 221)


def messages(server):
    return len(server.journal())


def test_mail_follows_the_name(named):
    first, second = named.servers
    send(named)
    assert (messages(first), messages(second)) == (1, 0)
    moved = time.monotonic()
    named.moves_to("127.0.0.2")
    while messages(second) == 0:  # every message arrives, here or there
        assert time.monotonic() - moved < weirlab.PATIENCE
        send(named)
        time.sleep(0.02)
    took = time.monotonic() - moved
    assert took < 2 * CHECK or os.environ.get("WEIR_PATIENCE"), took
    before = messages(first)
    for _ in range(5):
        send(named)
    assert messages(first) == before
    told = named.told("has moved")
    assert len(told) == 1 and f"server {NAME}:{first.port} has moved from 127.0.0.1:{first.port} " \
        f"to 127.0.0.2:{first.port}" in told[0]
    uses = [row["upstream"] for row in named.records(at_least=before + 6)]
    assert uses[0] == f"127.0.0.1:{first.port}" and uses[-1] == f"127.0.0.2:{first.port}"


def test_another_order_is_no_move(named):
    named.moves_to("127.0.0.2", "127.0.0.1")
    time.sleep(3 * CHECK)  # three rounds in which nothing happens, so there is no event to wait for
    send(named)
    assert not named.told("moved") and messages(named.servers[0]) == 1


def test_a_name_that_is_lost_keeps_its_address(named):
    named.moves_to()
    named.await_told("keeps its last address")
    time.sleep(2.5 * CHECK)  # two more rounds, of which nothing is told
    send(named)
    assert messages(named.servers[0]) == 1
    named.moves_to("127.0.0.1")
    named.await_told("can be resolved again")
    assert len(named.told("keeps its last address")) == 1
    assert not named.told("moved")


def test_a_dead_server_is_replaced_by_its_name(named):
    named.servers[0].kill()
    named.await_told("is down")
    named.moves_to("127.0.0.2")
    named.await_told("is up", 2)  # the first time was at the start
    send(named)
    assert messages(named.servers[1]) == 1
