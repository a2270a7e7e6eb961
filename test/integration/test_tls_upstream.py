"""
test_tls_upstream - TLS towards the upstream: real postfix, the modes of `tls`, every kind of
certificate, pins, and the pool.

    client --> mailweir == TLS ==> postfix | Peer (weirpeer.py, an ssl server in this process)
"""
import os
import random
import re
import ssl
import shutil
import signal
import subprocess
import threading
from base64 import encodebytes
from collections import Counter

import pytest

import weirlab
import weirpeer
from smtpraw import digest, ehlo_words, without_received
from weirpki import Authority, DAY

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
ONCE = {"check_interval": "1h", "connect_timeout": "3s"}  # servers are asked at the start only
TLS_10 = ssl.TLSVersion.TLSv1


def upstream(mode, pki, **keys):
    """Configuration of the one upstream; a value of None takes a key away."""
    keys = {"tls": mode, "tls_ca": pki.ca.path, **ONCE, **keys}
    return {"upstream:default": {key: value for key, value in keys.items() if value is not None}}


def accepted(result):
    assert result[0] == "eom" and result[1].startswith(b"250"), result


def refused(result, reason):
    """451 4.4.1 at RCPT, with a reason."""
    stage, reply = result
    assert stage == "rcpt" and reply.startswith(b"451 4.4.1 "), result
    assert re.search(reason, reply.decode(), re.I), (reason, reply)


def is_told(proxy, reason):
    """The newest line about a server says that it is down for this reason."""
    def told():
        lines = [line for line in proxy.plain() if " server " in line]
        return lines and " is down: TLS: " in lines[-1] and re.search(reason, lines[-1], re.I)
    weirlab.wait_until(told, f"the log says {reason!r}: {proxy.plain()[-3:]}")


# ---- a real postfix ----

class TlsPostfix(weirlab.Postfix):
    """One instance with a port for each kind of TLS; in the log each has its own name."""

    SERVICES = {
        "encrypt": ["smtpd_tls_security_level=encrypt"],
        "ccert": ["smtpd_tls_security_level=encrypt", "smtpd_tls_req_ccert=yes"],
        "wrapper": ["smtpd_tls_security_level=encrypt", "smtpd_tls_wrappermode=yes"],
        "may": ["smtpd_tls_security_level=may"],
        "none": ["smtpd_tls_security_level=none"],
        "old": ["smtpd_tls_security_level=may", "smtpd_tls_protocols=TLSv1"],
    }

    def __init__(self, root, pki):
        self.pki = pki
        self.at = {name: ("127.0.0.1", weirlab.free_port()) for name in self.SERVICES}
        super().__init__(root, "tls")

    def write(self, name, text):
        if name == "main.cf":
            text += (f"smtpd_tls_cert_file = {self.pki.right.chain}\n"
                     f"smtpd_tls_key_file = {self.pki.right.key}\n"
                     f"smtpd_tls_CAfile = {self.pki.ca.path}\nsmtpd_tls_loglevel = 1\n"
                     "tls_random_source = dev:/dev/urandom\n")
        if name == "master.cf":
            for service, options in self.SERVICES.items():
                text += f"127.0.0.1:{self.at[service][1]} inet n - n - 200 smtpd\n"
                for option in [f"syslog_name=postfix/{service}"] + options:
                    text += f"    -o {option}\n"
            text += "tlsmgr unix - - n 1000? 1 tlsmgr\n"
        super().write(name, text)

    def log(self, service, text):
        """How often the service has said this."""
        lines = weirlab.read(self.root + "/log").decode().split("\n")
        return sum(f"postfix/{service}/" in line and re.search(text, line) is not None
                   for line in lines)


@pytest.fixture(scope="session")
def tls_postfix(lab, peer_pki):
    server = TlsPostfix(os.path.join(lab, "tls-postfix"), peer_pki)
    yield server
    server.stop()


def content_of(size):
    """A message whose body has about so many bytes."""
    head = (b"From: a@client.example\r\nTo: b@server.example\r\nSubject: %d\r\n"
            b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-Id: <%d@client.example>\r\n\r\n"
            % (size, size))
    body = encodebytes(random.Random(size).randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
    return head + (body if size > 1 else b"x\r\n")


def deliver(proxy, postfix, contents):
    """Each in a session of its own; all of them must arrive as they are. A postfix says what was
    used in its own Received field, which is returned for each message."""
    domain = postfix.mailbox()
    for content in contents:
        with proxy.connect() as client:
            client.begin(rcpt=f"b@{domain}")
            reply = client.data(content)
            assert reply.startswith(b"250"), reply
            client.ok("QUIT", 221)
    arrived = postfix.contents(len(contents), domain)
    bare = [without_received(content, weirlab.HOSTNAME) for content in arrived]
    assert Counter(map(digest, bare)) == Counter(map(digest, contents))


SIZES = [1, 2, 100, 1000, 16000, 17000, 70000, 1000000, 5000000]


@pytest.mark.parametrize("service", ["encrypt", "ccert", "wrapper", "may"])
def test_postfix(weir, tls_postfix, peer_pki, service):
    mode = {"wrapper": "implicit", "may": "opportunistic"}.get(service, "required")
    pair = peer_pki.ca.issue("client", "DNS:client.example") if service == "ccert" else None
    before = tls_postfix.log(service, "TLS connection established")
    config = upstream(mode, peer_pki, tls_certificate=pair)
    proxy = weir(tls_postfix.at[service], config=config)
    deliver(proxy, tls_postfix, [content_of(size) for size in SIZES])
    assert tls_postfix.log(service, "TLS connection established from .*: TLSv1.3") > before
    if service == "ccert":
        assert tls_postfix.log(service, "Trusted TLS connection established") > 0


@pytest.mark.parametrize("service", ["encrypt", "wrapper"])
def test_pooled_connections_are_used_again(weir, tls_postfix, peer_pki, service):
    mode = "implicit" if service == "wrapper" else "required"
    before = tls_postfix.log(service, " connect from ")
    proxy = weir(tls_postfix.at[service], config=upstream(mode, peer_pki))
    deliver(proxy, tls_postfix, [content_of(1000 + n) for n in range(40)])
    connects = tls_postfix.log(service, " connect from ") - before
    assert 1 <= connects <= 2 + 1, connects  # one for each worker, and the first check


def test_postfix_wants_a_client_certificate(weir, tls_postfix, peer_pki):
    proxy = weir(tls_postfix.at["ccert"], config=upstream("required", peer_pki))
    refused(weirpeer.mail(proxy), "TLS: |No client certificate presented")


def test_postfix_without_tls_is_refused_when_required(weir, tls_postfix, peer_pki):
    proxy = weir(tls_postfix.at["none"], config=upstream("required", peer_pki))
    refused(weirpeer.mail(proxy), "TLS: .*STARTTLS")
    is_told(proxy, "STARTTLS")


@pytest.mark.parametrize("service", ["none", "old"])
def test_opportunistic_goes_on_in_clear(weir, tls_postfix, peer_pki, service):
    """`old` offers STARTTLS and then only TLS 1.0."""
    before = tls_postfix.log(service, "SSL_accept error")
    proxy = weir(tls_postfix.at[service], config=upstream("opportunistic", peer_pki))
    deliver(proxy, tls_postfix, [content_of(size) for size in (1, 1000, 100000)])
    assert (tls_postfix.log(service, "SSL_accept error") > before) == (service == "old")
    assert tls_postfix.log(service, "TLS connection established") == 0


# ---- opportunistic and required, step by step ----

def test_opportunistic_uses_what_is_offered(weir, peer, peer_pki):
    """No verification: the certificate is for nobody we know."""
    other = peer_pki.ca.self_signed("stranger", "DNS:stranger.example")
    server = peer(other)
    proxy = weir(server, config=upstream("opportunistic", peer_pki))
    for _ in range(3):
        accepted(weirpeer.mail(proxy))
    assert [secure for _, secure, _ in server.messages] == [True] * 3
    assert not server.clear_mail()


def first_check_is_over(proxy, server):
    proxy.offers(b"8BITMIME")
    weirlab.wait_until(lambda: not server.wires, "the first check has gone")


def garbage(wire):
    wire.sock.recv(65536)
    wire.send_raw(b"\x16\x03\x03\x00\x02xx" * 3)


@pytest.mark.parametrize("fault", ["454", "554", "TLS 1.0", "handshake closed", "handshake reset",
                                   "handshake garbage", "handshake silent"])
def test_opportunistic_falls_back_once(weir, peer, peer_pki, fault):
    server = peer(peer_pki.right, TLS_10 if fault == "TLS 1.0" else None)
    if fault[:3].isdigit():
        server.faults["starttls"] = weirpeer.refuses(fault + " 5.7.0 not today")
    elif fault != "TLS 1.0":
        act = {"closed": weirpeer.close, "reset": weirpeer.reset, "silent": weirpeer.hold,
               "garbage": garbage}
        server.faults["handshake"] = act[fault.split()[1]]
    proxy = weir(server, config=upstream("opportunistic", peer_pki, pool_idle=0,
                                         connect_timeout="1s"))
    first_check_is_over(proxy, server)
    for _ in range(3):
        before = server.count
        accepted(weirpeer.mail(proxy))
        assert 1 <= server.count - before <= 2, (before, server.count)
    assert [secure for _, secure, _ in server.messages] == [False] * 3
    assert server.lines(False, "STARTTLS")


def test_opportunistic_gives_up_after_the_second_connection(weir, peer, peer_pki):
    """Neither TLS nor clear text works: an answer, and no third connection."""
    server = peer(peer_pki.right, TLS_10)
    turns = []

    def greeting(wire):
        turns.append(wire.number)
        if len(turns) % 2 == 0:
            weirpeer.close(wire)
        return "220 peer.example"
    proxy = weir(server, config=upstream("opportunistic", peer_pki, pool_idle=0))
    first_check_is_over(proxy, server)
    server.faults["greeting"] = greeting
    stage, reply = weirpeer.mail(proxy)
    assert stage == "rcpt" and reply.startswith(b"451 4.4.1 "), reply
    assert len(turns) <= 2, turns


@pytest.mark.parametrize("fault,reason", [
    ("not offered", "STARTTLS"),
    ("454 4.7.0 TLS not available", "454 4.7.0 TLS not available"),
    ("554 5.7.0 never", "554 5.7.0 never"),
    ("250 2.0.0 odd", "250"),
    ("HELO only", "STARTTLS"),
    ("TLS 1.0", "TLS: "),
])
def test_required_never_goes_on_in_clear(weir, peer, peer_pki, fault, reason):
    server = peer(peer_pki.right, TLS_10 if fault == "TLS 1.0" else None)
    if fault == "not offered":
        server.offers = "PIPELINING 8BITMIME"
    elif fault == "HELO only":
        server.faults["ehlo"] = lambda wire: "502 5.5.1 what?"
    elif fault[:3].isdigit():
        server.faults["starttls"] = weirpeer.refuses(fault)
    proxy = weir(server, config=upstream("required", peer_pki))
    for _ in range(3):
        refused(weirpeer.mail(proxy), "TLS: .*" + reason if reason != "TLS: " else reason)
    is_told(proxy, reason)
    assert not server.clear_mail() and not server.messages


def test_implicit_to_a_server_that_greets_in_clear(weir, peer, peer_pki):
    server = peer(peer_pki.right)
    proxy = weir(server, config=upstream("implicit", peer_pki, connect_timeout="1s"))
    refused(weirpeer.mail(proxy), "TLS: ")
    assert not server.clear_mail()


@pytest.mark.parametrize("mode", ["required", "implicit"])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_versions(weir, peer, peer_pki, mode, version):
    server = peer(peer_pki.right, ssl.TLSVersion[version], implicit=mode == "implicit")
    proxy = weir(server, config=upstream(mode, peer_pki))
    for size in (1, 40000, 600000):
        accepted(weirpeer.mail(proxy, content_of(size)))
    contents = [without_received(content, weirlab.HOSTNAME) for _, _, content in server.messages]
    assert contents == [content_of(size) for size in (1, 40000, 600000)]


def test_min_version_is_for_upstreams_too(weir, peer, peer_pki):
    server = peer(peer_pki.right, ssl.TLSVersion.TLSv1_2)
    proxy = weir(server, config={**upstream("required", peer_pki), "tls": {"min_version": "1.3"}})
    refused(weirpeer.mail(proxy), "TLS: ")
    assert not server.handshakes


@pytest.mark.parametrize("contact", ["rcpt", "mail", "connect"])
def test_the_reason_is_told_wherever_we_connect(weir, peer, peer_pki, contact):
    """And the same upstream is used once its certificate is right."""
    server = peer(peer_pki.ca.self_signed("self-" + contact, "IP:127.0.0.1"))
    proxy = weir(server, config=upstream("required", peer_pki, contact=contact))
    with proxy.connect() as client:
        reply = client.greeting
        if contact != "connect":
            client.ok("EHLO client.example", 250)
            reply = client.cmd("MAIL FROM:<a@client.example>")
        if contact == "rcpt":
            reply = client.cmd("RCPT TO:<b@d.example>")
        assert reply[:3] in (b"451", b"421") and b" 4.4.1 " in reply and b"TLS: " in reply, reply
    server.context = weirpeer.server_context(peer_pki.right)
    accepted(weirpeer.mail(proxy))
    assert server.messages[-1][1] and not server.clear_mail()


@pytest.mark.parametrize("mode", ["required", "implicit"])
def test_many_clients_at_once(weir, peer, peer_pki, mode):
    """Each message has its own salt and size; each arrives once and as it was."""
    server = peer(peer_pki.right, implicit=mode == "implicit")
    proxy = weir(server, config=upstream(mode, peer_pki, pool_idle=4))
    rng = random.Random(4)
    batches = [[content_of(rng.choice((10, 1000, 16384, 200000)) + number * 10 + client)
                for number in range(12)] for client in range(10)]
    errors = []

    def run(batch):
        try:
            for content in batch:
                accepted(weirpeer.mail(proxy, content))
        except Exception as error:  # told by the main thread
            errors.append(error)
    threads = [threading.Thread(target=run, args=[batch]) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[:3]
    arrived = Counter(digest(without_received(content, weirlab.HOSTNAME))
                      for _, _, content in server.messages)
    assert arrived == Counter(digest(content) for batch in batches for content in batch)
    assert all(secure for _, secure, _ in server.messages)


# ---- certificates ----

class Cases:
    """Server certificates by name, each made once."""

    def __init__(self, pki):
        name, ca = pki.NAME, pki.ca
        clone = Authority(os.path.join(os.path.dirname(ca.folder), "clone"), "Test CA")
        self.bad = {
            "CA clone": (clone.issue("cloned", f"DNS:{name}"), "sig|signer|verify"),
            "wrong name": (ca.issue("wrong", "DNS:mx.other.example,IP:127.0.0.2"), "name"),
            "part of it": (ca.issue("part", "DNS:peer.example,DNS:x.mx.peer.example"), "name"),
            "expired": (ca.issue("old", f"DNS:{name}", dates=(-30 * DAY, -DAY)), "date|expired"),
            "not yet": (ca.issue("not-yet", f"DNS:{name}", dates=(DAY, 30 * DAY)), "date|valid"),
            "self-signed": (ca.self_signed("self", f"DNS:{name}"), "self.signed|signer|sig"),
            "no intermediate": (pki.inter.issue("gap", f"DNS:{name}", chained=False),
                                "signer|verify"),
            "common name": (ca.issue("cn", "DNS:unused.example", subject=f"/CN={name}"), "name"),
            "no alternative name": (ca.issue("cn2", None, subject=f"/CN={name}"), "name"),
            "wildcard in the middle": (ca.issue("mid", "DNS:mx.*.example"), "name"),
            "wildcard over two": (ca.issue("two", "DNS:*.example"), "name"),
            "wildcard in a label": (ca.issue("label", "DNS:m*.peer.example"), "name"),
            "wildcard for all": (ca.issue("all", "DNS:*"), "name"),
        }
        self.good = {
            "right name": pki.right,
            "another case": ca.issue("case", "DNS:MX.Peer.Example"),
            "wildcard": ca.issue("wild", "DNS:*.peer.example"),
            "one of many": ca.issue("many", f"DNS:a.example,IP:192.0.2.1,DNS:{name},DNS:z.example"),
            "two levels": pki.inter.issue("levels", f"DNS:{name}"),
        }


@pytest.fixture(scope="module")
def cases(peer_pki):
    return Cases(peer_pki)


@pytest.mark.parametrize("mode", ["required", "implicit"])
def test_certificates(weir, peer, peer_pki, cases, mode):
    """Good and bad in turn, so that the server goes down and comes back each time."""
    server = peer(peer_pki.right, implicit=mode == "implicit")
    proxy = weir(server, config=upstream(mode, peer_pki, tls_name=peer_pki.NAME, pool_idle=0))
    good = list(cases.good.items())
    for number, (about, (pair, reason)) in enumerate(cases.bad.items()):
        server.context = weirpeer.server_context(pair)
        refused(weirpeer.mail(proxy), "TLS: .*(" + reason + ")"), about
        is_told(proxy, reason)
        about, pair = good[number % len(good)]
        server.context = weirpeer.server_context(pair)
        result = weirpeer.mail(proxy)
        assert result[0] == "eom" and result[1].startswith(b"250"), (about, result)
    assert len(server.messages) == len(cases.bad)
    assert not server.clear_mail()


@pytest.mark.parametrize("mode", ["required", "implicit"])
@pytest.mark.parametrize("host,names,is_good", [
    ("127.0.0.1", "IP:127.0.0.1", True),
    ("127.0.0.1", "IP:127.0.0.2", False),
    ("127.0.0.1", "DNS:127.0.0.1", False),
    ("localhost", "DNS:localhost", True),
    ("localhost", "IP:127.0.0.1", False),
])
def test_default_name_is_the_host_as_configured(weir, peer, peer_pki, mode, host, names, is_good):
    pair = peer_pki.ca.issue("host-" + re.sub(r"\W", "-", host + names), names)
    server = peer(pair, implicit=mode == "implicit")
    proxy = weir(f"{host}:{server.address[1]}", config=upstream(mode, peer_pki))
    if is_good:
        accepted(weirpeer.mail(proxy))
    else:
        refused(weirpeer.mail(proxy), "TLS: .*name")


@pytest.mark.parametrize("mode", ["required", "implicit"])
def test_tls_verify_no_accepts_any(weir, peer, peer_pki, cases, mode):
    server = peer(peer_pki.right, implicit=mode == "implicit")
    proxy = weir(server, config=upstream(mode, peer_pki, tls_verify="no", tls_ca=None, pool_idle=0))
    for about, (pair, _) in cases.bad.items():
        server.context = weirpeer.server_context(pair)
        result = weirpeer.mail(proxy)
        assert result[0] == "eom" and result[1].startswith(b"250"), (about, result)
    assert all(secure for _, secure, _ in server.messages)


@pytest.mark.parametrize("mode", ["required", "implicit"])
def test_a_unix_socket_needs_a_name(weir, peer, peer_pki, folder, mode):
    server = peer(peer_pki.right, implicit=mode == "implicit",
                  address="unix:" + os.path.join(folder, "s"))
    proxy = weir(server, config=upstream(mode, peer_pki, tls_name=peer_pki.NAME))
    accepted(weirpeer.mail(proxy, content_of(100000)))


# ---- pins ----

@pytest.mark.parametrize("mode", ["required", "implicit"])
def test_pins(weir, peer, peer_pki, cases, mode):
    """`right` has the pinned key in each of these."""
    right, other = peer_pki.right, cases.good["wildcard"]
    stranger = cases.bad["CA clone"][0]
    pins = [([right.pin()], {}, [right], [other]),
            ([other.pin(), right.pin()], {}, [right, other], [cases.good["two levels"]]),
            # A pin does not replace the other checks ...
            ([stranger.pin()], {}, [], [stranger, right]),
            # ... unless they are off; and an authority's key is nobody's pin.
            ([stranger.pin()], {"tls_verify": "no"}, [stranger], [right, other])]
    for tls_pin, keys, good, bad in pins:
        server = peer(right, implicit=mode == "implicit")
        proxy = weir(server, config=upstream(mode, peer_pki, tls_name=peer_pki.NAME, pool_idle=0,
                                             tls_pin=tls_pin, **keys))
        for pair in bad:
            server.context = weirpeer.server_context(pair)
            refused(weirpeer.mail(proxy), "TLS: ")
        for pair in good:
            server.context = weirpeer.server_context(pair)
            accepted(weirpeer.mail(proxy))


def test_a_pin_wants_tls_for_certain(folder, io, peer_pki):
    for mode in ("off", "opportunistic"):
        config = upstream(mode, peer_pki, tls_pin=peer_pki.right.pin())
        config_fails(folder, io, config, "tls_pin", "bad.ini")


def test_the_wrong_pin_is_named_as_the_reason(weir, peer, peer_pki, cases):
    server = peer(peer_pki.right)
    pin = cases.good["wildcard"].pin()
    proxy = weir(server, config=upstream("required", peer_pki, tls_pin=pin))
    refused(weirpeer.mail(proxy), "TLS: .*pin")
    is_told(proxy, "pin")


# ---- two groups, one server ----

TWO_GROUPS = [
    {"tls": "off"},
    {"tls": "opportunistic"},
    {"tls": "required", "tls_verify": "no"},
    {"tls": "required"},
    {"tls": "required", "tls_pin": "right"},
]


def test_groups_never_share_connections(weir, peer, peer_pki):
    """Every connection carries the mail of one group; a group that must refuse the server does so
    although others have a connection open to it."""
    server = peer(peer_pki.right)
    config = {}
    for number, keys in enumerate(TWO_GROUPS + [{"tls": "required", "tls_ca": "clone"}]):
        port = weirlab.free_port()
        keys = {key: peer_pki.right.pin() if value == "right" else value
                for key, value in keys.items()}
        ca = peer_pki.ca.path
        if keys.get("tls_ca") == "clone":
            ca = peer_pki.ca.self_signed("lonely", "DNS:lonely.example").chain
        keys = {**ONCE, **({} if keys["tls"] == "off" else {"tls_ca": ca}), **keys,
                **({"tls_ca": ca} if "tls_ca" in keys else {})}
        config[f"listen:l{number}"] = {"bind": f"127.0.0.1:{port}", "upstream": f"u{number}"}
        config[f"upstream:u{number}"] = {"server": weirlab.address_text(server.address), **keys}
    proxy = weir(server, config={"proxy": {"workers": 1}, **config})
    owners = {}
    for turn in range(4):
        for number in range(len(TWO_GROUPS) + 1):
            host, port = config[f"listen:l{number}"]["bind"].split(":")
            door = weirlab.Direct((host, int(port)))
            result = weirpeer.mail(door)
            if number == len(TWO_GROUPS):
                refused(result, "TLS: ")
                continue
            accepted(result)
            wire, secure, _ = server.messages[-1]
            assert secure == (number > 0), (turn, number)
            assert owners.setdefault(wire, number) == number, owners
    assert sorted(owners.values()) == list(range(len(TWO_GROUPS))), owners
    assert proxy.is_running()


# ---- the configuration ----

def config_fails(folder, io, config, *words):
    """Neither -t nor a start succeeds, and the words are in what is said."""
    proxy = weirlab.Mailweir(folder, io, [("127.0.0.1", 1)], config=config, start=False,
                             name="bad")
    for argv in ([proxy.argv[0], "-t", *proxy.argv[1:]], proxy.argv):
        done = subprocess.run(argv, timeout=30, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        text = done.stderr.decode() + "\n".join(proxy.lines())
        assert done.returncode == 1, (argv, done)
        assert all(word in text for word in words), (argv, words, text)


@pytest.mark.parametrize("mode", ["required", "implicit"])
def test_files_that_cannot_be_used(folder, io, peer_pki, mode):
    missing = os.path.join(folder, "missing.pem")
    garbage = os.path.join(folder, "garbage.pem")
    with open(garbage, "w", encoding="ascii") as file:
        file.write("no certificate\n")
    for path in (missing, folder, garbage):
        config_fails(folder, io, upstream(mode, peer_pki, tls_ca=path), path, "tls_ca")
    right = peer_pki.right
    other = peer_pki.ca.issue("other-key", "DNS:x.example")
    for pair, named in ((f"{missing} {right.key}", missing), (f"{right.chain} {missing}", missing),
                        (f"{garbage} {right.key}", garbage),
                        (f"{right.chain} {other.key}", other.key)):
        config_fails(folder, io, upstream(mode, peer_pki, tls_certificate=pair), named,
                     "tls_certificate")


@pytest.mark.parametrize("key,value", [
    ("tls", "maybe"), ("tls_verify", "perhaps"), ("tls_certificate", "a.pem b.key c.pem"),
    ("tls_pin", "sha256/AAAA"), ("tls_pin", "sha1/AAAA"), ("tls_pin", "sha256/" + "!" * 43 + "="),
    ("tls_name", "two names"), ("tls_ca", ""), ("server", "unix:/nobody/without/tls_name"),
])
def test_values_that_are_no_values(folder, io, peer_pki, key, value):
    config = upstream("required", peer_pki)
    config["upstream:default"][key] = value
    config_fails(folder, io, config, key, "bad.ini")


def test_trust_is_read_again_on_sighup(weir, peer, peer_pki, folder):
    """Another tls_ca file counts from then on; a broken one changes nothing and is named."""
    path = os.path.join(folder, "trust.pem")
    other = Authority(os.path.join(folder, "other-ca"), "Other CA")
    shutil.copy(other.path, path)
    server = peer(peer_pki.right)
    proxy = weir(server, config=upstream("required", peer_pki, tls_ca=path, pool_idle=0))
    refused(weirpeer.mail(proxy), "TLS: ")
    shutil.copy(peer_pki.ca.path, path)
    proxy.signal(signal.SIGHUP)
    weirlab.wait_until(lambda: weirpeer.mail(proxy)[0] == "eom", "the new authority is trusted")
    with open(path, "w", encoding="ascii") as file:
        file.write("no certificate\n")
    proxy.signal(signal.SIGHUP)
    weirlab.wait_until(lambda: any(" error: " in line and path in line for line in proxy.plain()),
                       "the broken file is named")
    accepted(weirpeer.mail(proxy))


# ---- what the upstream offers ----

@pytest.mark.parametrize("where", ["before", "after"])
def test_only_the_ehlo_after_tls_counts(weir, peer, peer_pki, where):
    """SMTPUTF8, DSN and a SIZE on one side of TLS only."""
    some, none = "PIPELINING 8BITMIME SMTPUTF8 DSN SIZE=7000000", "PIPELINING 8BITMIME"
    server = peer(peer_pki.right, offers="STARTTLS " + (some if where == "before" else none),
                  offers_tls=none if where == "before" else some)
    proxy = weir(server, config=upstream("required", peer_pki)).offers(b"8BITMIME")
    accepted(weirpeer.mail(proxy))
    with proxy.connect() as client:
        words = ehlo_words(client.ok("EHLO client.example", 250))
    assert (b"SMTPUTF8" in words) == (where == "after"), words
    assert (b"DSN" in words) == (where == "after"), words
    assert (words.get(b"SIZE") == b"7000000") == (where == "after"), words
