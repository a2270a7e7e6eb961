"""
test_tls_health - a server whose certificate ends is left, once and with the reason, while the other
one takes the mail; with a right certificate it comes back by itself.
"""
import re
import time

import pytest

import weirlab
import weirpeer
from test_tls_upstream import accepted, upstream

CHECK = 0.5  # seconds


def about(proxy, server):
    """The lines of the log about this server."""
    return [line for line in proxy.plain() if weirlab.address_text(server.address) in line]


@pytest.mark.parametrize("mode", ["required", "implicit"])
@pytest.mark.parametrize("pool_idle", [0, 64])
def test_a_certificate_that_expires(weir, peer, peer_pki, mode, pool_idle):
    soon = peer_pki.ca.issue("soon", "IP:127.0.0.1", dates=(-60, 4))
    expires = time.time() + 4
    dying, good = (peer(pair, implicit=mode == "implicit") for pair in (soon, peer_pki.right))
    keys = {"check_interval": f"{CHECK * 1000:.0f}ms", "connect_timeout": "2s"}
    proxy = weir(dying, good, config=upstream(mode, peer_pki, pool_idle=pool_idle, **keys))

    def is_down():
        accepted(weirpeer.mail(proxy))
        return any(" is down: TLS: " in line for line in about(proxy, dying))
    weirlab.wait_until(is_down, "the log says that the server is down")
    assert time.time() >= expires - 1
    assert dying.messages and good.messages
    before = len(dying.messages)
    for _ in range(20):
        accepted(weirpeer.mail(proxy))
    time_down = time.monotonic()
    while time.monotonic() < time_down + 3 * CHECK:  # checks that fail again are not news
        accepted(weirpeer.mail(proxy))
    told = [line for line in about(proxy, dying) if " is down" in line]
    assert len(told) == 1 and re.search("date|expired", told[0]), told
    assert len(dying.messages) == before
    assert not [line for line in about(proxy, good) if " is down" in line]

    dying.context = weirpeer.server_context(peer_pki.right)
    renewed = time.monotonic()
    weirlab.wait_until(lambda: " is up" in about(proxy, dying)[-1], "the server is up again")
    assert time.monotonic() - renewed < 2 * CHECK + 0.5
    good.stop()
    for _ in range(3):
        accepted(weirpeer.mail(proxy))
    assert len(dying.messages) == before + 3


def test_all_down_and_back(weir, peer, peer_pki):
    """No server left: 451 with the reason; EHLO still offers what it did."""
    server = peer(peer_pki.right, offers_tls="PIPELINING 8BITMIME SMTPUTF8")
    proxy = weir(server, config=upstream("required", peer_pki, check_interval="500ms", pool_idle=0))
    proxy.offers(b"SMTPUTF8")
    server.context = weirpeer.server_context(peer_pki.ca.self_signed("lone", "IP:127.0.0.1"))
    weirlab.wait_until(lambda: " is down: TLS: " in about(proxy, server)[-1], "down")
    stage, reply = weirpeer.mail(proxy)
    assert stage == "rcpt" and reply.startswith(b"451 4.4.1 ") and b"TLS: " in reply, reply
    proxy.offers(b"SMTPUTF8")
    server.context = weirpeer.server_context(peer_pki.right)
    weirlab.wait_until(lambda: " is up" in about(proxy, server)[-1], "up")
    accepted(weirpeer.mail(proxy))
