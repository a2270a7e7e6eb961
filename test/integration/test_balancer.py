"""
test_balancer - a real HAProxy in front, with the PROXY protocol: the client it names is the client
everywhere; whoever is not trusted cannot name anybody.
"""
import os
import socket

import pytest

import smtpraw
import weirlab

BALANCER = "127.0.0.5"  # HAProxy connects to the proxy from here
CLIENT = "127.0.0.9"    # and the client to HAProxy from here
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


@pytest.fixture
def haproxy(folder, stops):
    """haproxy(proxy, "send-proxy"): its address."""
    def start(proxy, options):
        address = ("127.0.0.1", weirlab.free_port())
        path = os.path.join(folder, "haproxy.cfg")
        with open(path, "w", encoding="utf-8") as file:
            file.write("global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n"
                       "  timeout client 30s\n  timeout server 30s\n"
                       f"listen mail\n  bind {weirlab.address_text(address)}\n"
                       f"  source {BALANCER}\n"
                       f"  server one {weirlab.address_text(proxy.address)} {options}\n")
        program = weirlab.Program(["haproxy", "-db", "-f", path], folder, "haproxy")
        program.wait_for_port(address)
        # SIGTERM ends HAProxy at once; its exit code is then 143.
        program.end = program.kill
        stops.append(program)
        return address
    return start


def dial_from(address, source):
    sock = socket.socket()
    sock.settimeout(20)
    sock.bind((source, 0))
    sock.connect(address)
    client = smtpraw.Client.__new__(smtpraw.Client)
    client.sock, client.buffer = sock, b""
    client.greeting = client.reply()
    return client


def send_one(client):
    client.begin()
    assert client.data(MESSAGE).startswith(b"250")
    client.ok("QUIT", 221)


@pytest.mark.parametrize("options", [
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options unique-id,crc32c",
])
def test_the_named_client_is_the_client(weir, sink, haproxy, options):
    server = sink()
    proxy = weir(server, config={"listen:mx": {"trust_proxy": f"{BALANCER}/32"}})
    address = haproxy(proxy, options)
    with dial_from(address, CLIENT) as client:
        port = client.sock.getsockname()[1]
        send_one(client)
    row, = proxy.records()
    assert row["client"] == f"{CLIENT}:{port}"
    stored = server.content(server.rows()[0])
    assert f"[{CLIENT}]".encode() in stored.split(b"\r\n")[0]


def test_a_balancer_that_is_not_trusted_names_nobody(weir, sink, haproxy):
    proxy = weir(sink(), config={"listen:mx": {"trust_proxy": "127.0.0.77"}})
    address = haproxy(proxy, "send-proxy")
    with dial_from(address, CLIENT) as client:
        assert client.reply().startswith(b"500 ")  # its header is an unknown command
        send_one(client)
    row, = proxy.records()
    assert row["client"].startswith(BALANCER + ":")


def test_a_trusted_peer_without_a_header_is_refused(weir, sink):
    proxy = weir(sink(), config={"listen:mx": {"trust_proxy": "127.0.0.0/8"}})
    with smtpraw.Client(proxy.address, greet=False) as client:
        client.send(b"EHLO client.example\r\n")
        assert client.rest().startswith(b"554 5.5.1 a PROXY header is needed")
    assert proxy.records("session")[-1]["decided_by"] == "trust_proxy"


def test_several_networks_on_several_lines(weir, sink, haproxy):
    networks = ["192.0.2.0/24 2001:db8::/32", f"198.51.100.1, {BALANCER}"]
    proxy = weir(sink(), config={"listen:mx": {"trust_proxy": networks}})
    address = haproxy(proxy, "send-proxy-v2")
    with dial_from(address, CLIENT) as client:
        send_one(client)
    assert proxy.records()[0]["client"].startswith(CLIENT + ":")
