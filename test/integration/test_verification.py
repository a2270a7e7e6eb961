"""The verification end to end: real DNS (nsd), real signatures (python3-dkim), real servers behind.

Clients have the address that a PROXY header gives them, since nobody on the loopback is ever asked
about.
"""
import os
import re
import subprocess
import threading
import time

import authres
import dkim
import pytest

import smtpraw
import weirdns
import weirlab

HOST = weirlab.HOSTNAME
GOOD = "203.0.113.7"
LISTED = "203.0.113.66"
BODY = b"First line\r\n.dot at the beginning\r\n..two\r\n\r\nlast line \t\r\n\r\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A private key in PEM, and the p= of its record."""
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", str(path), "2048"], check=True,
                   stderr=subprocess.DEVNULL)
    public = subprocess.run(["openssl", "rsa", "-in", str(path), "-pubout"], check=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    p = b"".join(public.split(b"\n")[1:-2]).decode()
    return path.read_bytes(), p


def txt(name, text):
    parts = " ".join(f'"{text[i:i + 200]}"' for i in range(0, len(text), 200))
    return f"{name} IN TXT ( {parts} )\n"


@pytest.fixture
def nsd(folder, stops, keys):
    zones = {
        "example.": "",
        "good.example.": txt("@", f"v=spf1 ip4:{GOOD} -all") + txt("_dmarc", "v=DMARC1; p=reject") +
        txt("k1._domainkey", "v=DKIM1; k=rsa; p=" + keys[1]),
        "list.example.": "2.0.0.127 IN A 127.0.0.2\n66.113.0.203 IN A 127.0.0.4\n" +
        txt("66.113.0.203", 'see https://list.example/66 \\"\\013\\010quoted'),
        "names.example.": "TEST IN A 127.0.0.2\nspam.example IN A 127.0.0.2\n" +
        txt("spam.example", "a spammer's domain"),
        "error.example.": "*.113.0.203 IN A 127.255.255.254\n2.0.0.127 IN A 127.0.0.2\n",
    }
    stops.append(weirdns.Nsd(folder, zones))
    return stops[-1]


@pytest.fixture
def tapped(sink, stops):
    """A sink behind a tap, which tells what it was told."""
    stops.append(smtpraw.Tap(sink().address, weirlab.free_port()))
    stops[-1].stop = stops[-1].close
    return stops[-1]


def config(server, mode="hold", **sections):
    base = {"listen:mx": {"trust_proxy": "127.0.0.0/8"},
            "upstream:default": {"check_interval": "1h"},
            "dns": {"server": server, "timeout": "300ms", "attempts": 2},
            "verify": {"mode": mode, "deadline": "3s"}}
    for name, keys_ in sections.items():
        base.setdefault(name, {}).update(keys_)
    return base


def dial(proxy, client=GOOD):
    conn = smtpraw.Client(proxy.address, greet=False)
    conn.send(f"PROXY TCP4 {client} 127.0.0.1 40000 25\r\n".encode())
    conn.greeting = conn.reply()
    return conn


def mail(sender="author@good.example", subject="hello", body=BODY):
    return (f"From: Author <{sender}>\r\nTo: b@server.example\r\nSubject: {subject}\r\n"
            "Date: Tue, 03 Feb 2026 10:00:00 +0000\r\nMessage-ID: <1@good.example>\r\n\r\n").encode() + body


def signed(content, keys, domain=b"good.example"):
    return dkim.sign(content, b"k1", domain, keys[0], canonicalize=(b"relaxed", b"relaxed")) + content


def results(content):
    """{method: result} of our field on top, as an independent reader sees it; and the rest."""
    field, rest = smtpraw.split_field(content)
    assert field.startswith(b"Authentication-Results: "), field
    header = authres.AuthenticationResultsHeader.parse(field.decode("ascii").replace("\r\n", ""))
    assert header.authserv_id == HOST
    found = {}
    for result in header.results:
        found.setdefault(result.method, []).append(result.result)
    return found, rest


# ---- what is good arrives ----

@pytest.mark.parametrize("mode", ["hold", "stream"])
def test_good_mail_arrives_byte_for_byte(weir, postfix, nsd, keys, mode):
    proxy = weir(postfix, config=config(nsd.server, mode, dnsbl={"zone": "list.example weight=3"},
                                        dmarc={"action": "reject"}))
    content = signed(mail(), keys)
    domain = postfix.mailbox()
    with dial(proxy) as client:
        client.begin("bounce@good.example", f"user@{domain}")
        assert client.data(smtpraw.stuff(content)).startswith(b"250")
    arrived = postfix.contents(1, domain)[0]
    found, rest = results(arrived)
    assert smtpraw.without_received(rest, HOST) == content
    assert found == {"spf": ["pass"], "dkim": ["pass"], "dmarc": ["pass"]}
    record = proxy.records()[0]
    assert record["verdict"] == "accept" and record["decided_by"] == "upstream"
    assert record["checks"] == {
        "dnsbl": {"score": 0, "zones": []},
        "spf": {"result": "pass", "domain": "good.example"},
        "dkim": [{"result": "pass", "domain": "good.example", "selector": "k1"}],
        "dmarc": {"result": "pass", "policy": "reject"}}


def test_dmarc_passes_by_dkim_alone_when_spf_does_not(weir, sink, nsd, keys):
    server = sink()
    proxy = weir(server, config=config(nsd.server, dmarc={"action": "reject"}))
    with dial(proxy, "203.0.113.99") as client:
        client.begin("list@lists.example")
        assert client.data(smtpraw.stuff(signed(mail(), keys))).startswith(b"250")
    found, _ = results(server.contents()[0])
    assert found["dkim"] == ["pass"] and found["dmarc"] == ["pass"]


# ---- what is not ----

def test_listed_client_is_refused_at_rcpt_and_nobody_else_hears_of_it(weir, sink, nsd):
    server = sink()
    proxy = weir(server, config=config(nsd.server, dnsbl={"zone": "list.example weight=3 codes=127.0.0.2-127.0.0.11"}))
    with dial(proxy, LISTED) as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        reply = client.cmd("RCPT TO:<b@server.example>")
        assert reply.startswith(b"550 5.7.1 ") and LISTED.encode() in reply and b"list.example" in reply
        assert b"https://list.example/66" in reply
        assert re.fullmatch(rb"[\x20-\x7e]*\r\n", reply), reply
        assert client.cmd("DATA").startswith(b"554")
        client.ok("QUIT", 221)
    with dial(proxy) as client:  # the other one passes
        client.begin("a@client.example")
    record = proxy.records()[0]
    assert (record["verdict"], record["decided_by"], record["upstream"]) == ("reject", "dnsbl", None)
    assert record["checks"]["dnsbl"] == {"score": 3, "zones": [
        {"zone": "list.example", "codes": ["127.0.0.4"], "result": "listed"}]}
    counts = server.counts()
    assert counts["connections"] == 2, counts  # the health check's, and the other client's


def test_listed_domain_is_refused(weir, sink, nsd):
    proxy = weir(sink(), config=config(nsd.server, dnsbl={"rhsbl": "names.example weight=3"}))
    with dial(proxy) as client:
        client.ok("EHLO client.example", 250)
        client.ok("MAIL FROM:<a@spam.example>", 250)
        reply = client.cmd("RCPT TO:<b@server.example>")
        assert reply.startswith(b"550 5.7.1 ") and b"spam.example" in reply, reply
        client.ok("RSET", 250)
        client.ok("MAIL FROM:<a@client.example>", 250)
        client.ok("RCPT TO:<b@server.example>", 250)


def test_error_codes_and_failing_lists_refuse_nobody(weir, sink, nsd):
    zones = ["error.example weight=3", "nowhere.example weight=3"]
    proxy = weir(sink(), config=config(nsd.server, dnsbl={"zone": zones}))
    with dial(proxy, LISTED) as client:
        client.begin()
        assert client.data(mail()).startswith(b"250")
    rows = proxy.records()[0]["checks"]["dnsbl"]
    assert rows["score"] == 0 and {row["result"] for row in rows["zones"]} <= {"temperror"}, rows


def test_list_that_fails_its_test_points_is_left_out_loudly(weir, sink, nsd):
    proxy = weir(sink(), config=config(nsd.server, dnsbl={"zone": "good.example weight=3"}))
    weirlab.wait_until(lambda: any("good.example is left out" in line for line in proxy.plain()),
                       "the list is left out")


@pytest.mark.parametrize("mode", ["hold", "stream"])
def test_forgery_is_refused_as_its_owner_asks(weir, tapped, nsd, mode):
    proxy = weir(tapped, config=config(nsd.server, mode, dmarc={"action": "reject"}))
    with dial(proxy, "203.0.113.99") as client:
        client.begin("a@elsewhere.example")
        assert client.data(smtpraw.stuff(mail())) == \
            b"550 5.7.1 Rejected by the DMARC policy of good.example\r\n"
        client.begin("a@elsewhere.example")  # the session goes on
    record = proxy.records()[0]
    assert (record["verdict"], record["decided_by"]) == ("reject", "dmarc")
    assert record["checks"]["dmarc"] == {"result": "fail", "policy": "reject"}
    said = [line[:4].upper() for line in tapped.commands()]
    assert b"RCPT" in said and b"DATA" not in said and b"BDAT" not in said, said
    assert tapped.messages() == []


def test_stream_sends_the_body_as_it_comes_and_withholds_its_end(weir, tapped, nsd, keys):
    proxy = weir(tapped, config=config(nsd.server, "stream", dmarc={"action": "reject"}))
    content = signed(mail(body=b"x" * 70 + b"\r\n" + BODY), keys)
    half = content.index(b"xxx") + 10
    with dial(proxy) as client:
        client.begin("bounce@good.example")
        client.ok("DATA", 354)
        client.send(smtpraw.stuff(content[:half]))
        weirlab.wait_until(lambda: b"DATA" in [line[:4] for line in tapped.commands()], "DATA")
        assert tapped.messages() == []
        client.send(smtpraw.stuff(content[half:]) + b".\r\n")
        assert client.reply().startswith(b"250")
    found, rest = results(tapped.messages()[0])
    assert found == {"spf": ["pass"]}  # what needed the body was not known yet
    assert smtpraw.without_received(rest, HOST) == content
    assert proxy.records()[0]["checks"]["dkim"][0]["result"] == "pass"


def test_stream_cuts_the_upstream_off_when_the_body_is_not_what_was_signed(weir, tapped, nsd, keys):
    proxy = weir(tapped, config=config(nsd.server, "stream", dmarc={"action": "reject"}))
    content = signed(mail(body=b"x" * 70 + b"\r\n" + BODY), keys)
    half = content.index(b"xxx") + 10
    with dial(proxy, "203.0.113.99") as client:
        client.begin("bounce@elsewhere.example")
        client.ok("DATA", 354)
        client.send(smtpraw.stuff(content[:half]))
        weirlab.wait_until(lambda: b"DATA" in [line[:4] for line in tapped.commands()], "DATA")
        client.send(b"y" + smtpraw.stuff(content[half:]) + b".\r\n")
        assert client.reply().startswith(b"550 5.7.1 ")
    assert tapped.messages() == []
    assert proxy.records()[0]["checks"]["dkim"][0]["result"] == "fail"


def test_forged_results_do_not_survive(weir, sink, nsd, keys):
    server = sink()
    proxy = weir(server, config=config(nsd.server))
    ours = [f"Authentication-Results: {HOST}; dkim=pass", f"authentication-results :\t{HOST.upper()} 1; x=y",
            f'Authentication-Results: "{HOST}"; spf=pass', f"Authentication-Results: (a (b) c)\r\n {HOST}.; spf=pass",
            "X-Mailweir: forged"]
    others = ["Authentication-Results: other.example; dkim=pass", f"Authentication-Results: x.{HOST}; dkim=pass",
              f"X-Authentication-Results: {HOST}; dkim=pass", f"ARC-Authentication-Results: i=1; {HOST}; spf=pass"]
    lines = [line for pair in zip(ours, others) for line in pair] + ours[4:]
    head = "".join(line + "\r\n" for line in lines).encode()
    with dial(proxy) as client:
        client.begin()
        assert client.data(smtpraw.stuff(head + mail())).startswith(b"250")
    _, rest = results(server.contents()[0])
    kept = "".join(line + "\r\n" for line in others).encode()
    assert smtpraw.without_received(rest, HOST) == kept + mail()


# ---- servers that lie, and those that do not answer ----

@pytest.mark.parametrize("deed", weirdns.Liar.DEEDS)
def test_lies_are_not_believed_and_mail_flows(weir, sink, nsd, stops, deed):
    liar = weirdns.Liar(deed, nsd)
    stops.append(liar)
    server = sink()
    proxy = weir(server, config=config(liar.server))
    began = time.monotonic()
    with dial(proxy, "203.0.113.99") as client:
        client.begin("a@good.example")
        sent = time.monotonic()
        assert client.data(mail()).startswith(b"250")
        waited = time.monotonic() - sent
    assert liar.asked > 0 and waited < 3.0 + 1.5, waited
    record = proxy.records()[0]
    assert record["checks"]["spf"]["result"] == "temperror", record["checks"]
    assert record["checks"]["dmarc"]["result"] == "temperror", record["checks"]
    assert record["verdict"] == "tag"
    assert time.monotonic() - began < 10
    proxy.end()
    counted = [line for line in proxy.plain() if "1 messages checked, 1 tagged" in line]
    assert len(counted) == 1 and "0 refused, 1 with a temperror" in counted[0], proxy.plain()
    assert deed not in ("id", "name", "case", "type", "flood") or \
        " 0 strangers dropped" not in counted[0], counted


def test_no_answer_delays_nobody_else(weir, sink, nsd, stops):
    silent = weirdns.Liar("silence", nsd)
    stops.append(silent)
    proxy = weir(sink(), config=config(silent.server, proxy={"workers": 1}))
    with dial(proxy) as slow:
        slow.begin("a@good.example")
        slow.ok("DATA", 354)
        slow.send(mail() + b".\r\n")
        began = time.monotonic()
        with dial(proxy) as quick:
            quick.ok("EHLO client.example", 250)
            for _ in range(100):
                quick.ok("NOOP", 250)
        assert time.monotonic() - began < 1.5
        assert slow.reply().startswith(b"250")


def test_second_server_is_asked(weir, sink, nsd, stops):
    silent = weirdns.Liar("silence", nsd)
    stops.append(silent)
    settings = config([silent.server, nsd.server])
    proxy = weir(sink(), config=settings)
    with dial(proxy) as client:
        client.begin("a@good.example")
        assert client.data(mail()).startswith(b"250")
    assert proxy.records()[0]["checks"]["spf"]["result"] == "pass"


# ---- long messages and slow clients ----

def test_long_message_goes_through_a_file_and_none_is_left(weir, sink, nsd, folder, keys):
    """Its lines end on the borders of what is received, so that bytes held back come on top of a store
    with no room but for the rest: found with io_uring, where a write takes its time."""
    server = sink()
    spool = os.path.join(folder, "spool")
    os.mkdir(spool)
    proxy = weir(server, config=config(nsd.server, verify={"spool_dir": spool, "hold_memory": "64k"}))
    content = signed(mail(body=b"0123456789abcdef\r\n.\r\n" * 250000), keys)
    with dial(proxy) as client:
        client.begin("a@good.example")
        assert client.data(smtpraw.stuff(content)).startswith(b"250")
    found, rest = results(server.contents()[0])
    assert found["dkim"] == ["pass"]
    assert smtpraw.without_received(rest, HOST) == content
    assert os.listdir(spool) == []


def test_disk_full_is_452_and_nothing_is_forwarded(weir, sink, nsd, folder):
    server = sink()
    spool = os.path.join(folder, "small")
    os.mkdir(spool)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", spool], check=True)
    try:
        proxy = weir(server, config=config(nsd.server, verify={"spool_dir": spool, "hold_memory": "64k"}))
        with dial(proxy) as client:
            client.begin("a@good.example")
            reply = client.data(mail(body=b"0123456789abcdef\r\n" * 250000))
            assert reply == b"452 4.3.1 insufficient system storage\r\n"
            client.begin("a@good.example")
            assert client.data(mail()).startswith(b"250")
        assert len(server.rows()) == 1
        record = proxy.records(at_least=2)[0]
        assert (record["verdict"], record["decided_by"]) == ("defer", "verify.spool_dir")
        assert any("cannot be held" in line and spool in line for line in proxy.plain())
        proxy.end()
    finally:
        subprocess.run(["umount", spool], check=True)


def test_spool_dir_must_be_there(folder, weir, sink):
    missing = os.path.join(folder, "missing")
    proxy = weir(sink(), config=config("127.0.0.1:1", verify={"spool_dir": missing}), start=False)
    done = subprocess.run([*proxy.argv, "-t"], stderr=subprocess.PIPE, check=False)
    line = done.stderr.decode()
    assert done.returncode == 1 and "[verify] spool_dir: " in line and missing in line
    assert re.match(re.escape(proxy.config_path) + r":\d+: ", line), line
    done = subprocess.run(proxy.argv, stderr=subprocess.PIPE, check=False, timeout=20)
    assert done.returncode == 1
    proxy.end = lambda: None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop from")
def test_spool_dir_is_tried_as_the_user_who_serves(folder, weir, sink):
    """-t looks at it as the start does: root alone may write to it, and root does not serve."""
    spool = os.path.join(folder, "spool")
    os.mkdir(spool, mode=0o700)
    settings = config("127.0.0.1:1", verify={"spool_dir": spool})
    proxy = weir(sink(), config={**settings, "proxy": {"user": "nobody"}}, start=False)
    for argv in [*proxy.argv, "-t"], proxy.argv:
        done = subprocess.run(argv, stderr=subprocess.PIPE, check=False, timeout=20)
        log = done.stderr + (weirlab.read(proxy.log_path) if os.path.exists(proxy.log_path) else b"")
        assert done.returncode == 1 and b"[verify] spool_dir: " in log and b"nobody" in log, log
    proxy.end = lambda: None


def test_clients_that_drip_keep_no_upstream_connection(weir, sink, nsd):
    """500 clients that send a byte now and then: each gives its lease back, and its message still
    arrives."""
    clients, server = 500, sink()
    proxy = weir(server, config=config(nsd.server, **{"upstream:default": {
        "check_interval": "1h", "lease_hold": "500ms", "server": f"127.0.0.1:{server.port} max=20"}}))
    conns = []
    for _ in range(clients):
        conn = dial(proxy)
        conn.begin("a@good.example")
        conn.ok("DATA", 354)
        conns.append(conn)
    for part in (b"Subject: drip\r\n", b"\r\n", b"x\r\n"):
        time.sleep(0.7)
        for conn in conns:
            conn.send(part)
    with dial(proxy) as quick:  # all of them are in mid-message, and there is room for others
        quick.begin("a@good.example")
        began = time.monotonic()
        assert quick.data(mail()).startswith(b"250") and time.monotonic() - began < 3
    for conn in conns:
        conn.send(b".\r\n")
    replies = [conn.reply() for conn in conns]
    for conn in conns:
        conn.close()
    assert all(reply.startswith(b"250") for reply in replies), [r for r in replies if r[:3] != b"250"][:3]
    assert len(server.rows(clients + 1)) == clients + 1
    proxy.records(at_least=clients + 1)


def resident_kib(pid):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_many_long_messages_are_held_in_bounded_memory(weir, sink, nsd, folder):
    """A smaller copy of the figure of the bench: 60 messages of 3 MB at once."""
    count, memory = 60, 256
    proxy = weir(sink(), config=config(nsd.server, verify={"hold_memory": f"{memory}k"}))
    before = resident_kib(proxy.pid)
    body = mail(body=b"0123456789abcdef\r\n" * 170000)
    conns = []

    def hold(conn):
        conn.begin("a@good.example")
        conn.ok("DATA", 354)
        conn.send(body)

    for _ in range(count):
        conns.append(dial(proxy))
    threads = [threading.Thread(target=hold, args=(conn,)) for conn in conns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(1)
    grown = resident_kib(proxy.pid) - before
    for conn in conns:
        conn.send(b".\r\n")
    assert all(conn.reply().startswith(b"250") for conn in conns)
    for conn in conns:
        conn.close()
    assert grown < count * memory + 64 * 1024, grown
