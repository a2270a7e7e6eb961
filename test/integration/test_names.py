"""
test_names - a server that is configured by name, and whose address changes while mail flows.

The proxy runs in a mount namespace of its own, where /etc/hosts is a file of the test's, and behind
it comes a name server that never answers; so this needs root.
"""
import os
import socket
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

    def __init__(self, folder, io, port, has_dns):
        self.hosts = os.path.join(folder, "hosts")
        self.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.dns.bind((f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}", 53))
        self.dns.settimeout(weirlab.PATIENCE)
        mounts = ""
        for name, text in (("hosts", ""), ("nsswitch.conf", "passwd: files\nhosts: files {}\n"),
                           ("resolv.conf", f"nameserver {self.dns.getsockname()[0]}\n")):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="ascii") as file:
                file.write(text.format("dns" if has_dns else ""))
            mounts += f"mount --bind {path} /etc/{name} && "
        self.moves_to("127.0.0.1")
        super().__init__(folder, io, [(NAME, port)], start=False, config={
            "upstream:default": {"check_interval": f"{int(CHECK * 1000)}ms",
                                 "connect_timeout": "1s"}})
        self.argv = ["unshare", "-m", "sh", "-c", mounts + 'exec "$0" "$@"', *self.argv]
        self.start()

    def end(self):
        self.dns.close()
        super().end()

    def moves_to(self, *addresses):
        """In place: what is mounted is the file, not its name."""
        with open(self.hosts, "w", encoding="ascii") as file:
            file.write("".join(f"{address} {NAME}\n" for address in addresses))

    def told(self, text):
        return [line for line in self.plain() if text in line]

    def await_told(self, text, count=1):
        weirlab.wait_until(lambda: len(self.told(text)) >= count, f"the log says: {text}")


@pytest.fixture
def named(folder, io, sink, stops, request):
    """A proxy for NAME, and its `first` server at 127.0.0.1."""
    if io == "direct":
        pytest.skip("there is no proxy")
    first = sink()
    stops.append(Named(folder, io, first.port, getattr(request, "param", False)))
    stops[-1].first = first
    return stops[-1]


@pytest.fixture
def second(named, sink):
    """Another server, at 127.0.0.2 and the same port."""
    return sink(listen=("127.0.0.2", named.first.port))


def send(proxy):
    with proxy.connect() as client:
        client.begin()
        reply = client.data(MESSAGE)
        assert reply.startswith(b"250"), reply
        client.ok("QUIT", 221)


def messages(server):
    return len(server.journal())


def test_mail_follows_the_name(named, second):
    first = named.first
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
    assert not named.told("moved") and messages(named.first) == 1


def test_a_name_that_is_lost_keeps_its_address(named):
    named.moves_to()
    named.await_told("keeps its last address")
    time.sleep(2.5 * CHECK)  # two more rounds, of which nothing is told
    send(named)
    assert messages(named.first) == 1
    named.moves_to("127.0.0.1")
    named.await_told("can be resolved again")
    assert len(named.told("keeps its last address")) == 1
    assert not named.told("moved")


def test_a_dead_server_is_replaced_by_its_name(named, second):
    named.first.kill()
    named.await_told("is down")
    named.moves_to("127.0.0.2")
    named.await_told("is up", 2)  # the first time was at the start
    send(named)
    assert messages(second) == 1


@pytest.mark.parametrize("named", [True], indirect=True, ids=["dns"])
def test_nobody_waits_for_a_slow_name_server(named):
    named.moves_to()
    named.dns.recvfrom(512)  # a look-up is under way, and will be for 10 s
    for _ in range(5):
        send(named)
    begun = time.monotonic()
    assert named.stop() == 0
    assert time.monotonic() - begun < 3
    assert not named.told("keeps its last address")
