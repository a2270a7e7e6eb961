"""
test_tls_listener - TLS towards clients: who gets in, with which certificate, and what STARTTLS
does to the dialogue.

    swaks | openssl s_client | postfix | smtplib | TlsSocket  -->  mailweir  -->  weir-sink
"""
import base64
import os
import re
import smtplib
import ssl
import subprocess

import pytest

import smtpraw
import weirlab
import weirtls
from smtpraw import digest, stuff, without_received
from weirtls import NAME, OTHER, VERSIONS

KINDS = ("starttls", "implicit")
CIPHERS = {"TLSv1.2": r"TLS_ECDHE_(ECDSA|RSA)_WITH_\w+", "TLSv1.3": r"TLS_(AES|CHACHA20)_\w+"}
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


def connect(proxy, pki, kind, **options):
    return weirtls.connect(proxy.address, pki.context(**options), kind == "implicit")


def deliver(client, content=MESSAGE):
    client.begin()
    reply = client.data(stuff(content))
    assert reply.startswith(b"250"), reply
    return client


def check_record(record, version):
    assert record["tls"]["version"] == version, record
    assert re.fullmatch(CIPHERS[version], record["tls"]["cipher"]), record


# ---- messages ----

def content_of(size):
    """`size` bytes and a line end, in lines of which two in three begin with dots."""
    text = b"".join(b"." * (n % 3) + b"line %d\r\n" % n for n in range(size // 8 + 1))[:size]
    return text.rstrip(b"\r\n").ljust(size, b"x") + b"\r\n"


SIZES = (1, 2, 77, 1000, 4096, 16381, 16382, 16383, 16384, 16385, 65536, 1 << 20, 5 << 20)


def test_messages_of_all_sizes(secured, pki, kind, version):
    proxy = secured(tls=kind)
    sent = [content_of(size) for size in SIZES]
    with connect(proxy, pki, kind, **VERSIONS[version]) as client:
        for content in sent:
            deliver(client, content)
        client.ok("QUIT", 221)
        assert client.at_end(), "close_notify"
    stored = proxy.sink.contents(len(sent))
    assert [digest(without_received(c, weirlab.HOSTNAME)) for c in stored] == \
        [digest(content) for content in sent]
    for content in stored:
        field = smtpraw.split_field(content)[0]
        assert b"with ESMTPS" in field, field
    for record in proxy.records(at_least=len(sent)):
        check_record(record, version)


def test_records_of_one_byte(secured, pki, kind, version):
    """Each byte in a TLS record of its own, in one go and one at a time."""
    proxy = secured(tls=kind)
    begin = b"EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@d.example>\r\nDATA\r\n"
    for together in (True, False):
        with connect(proxy, pki, kind, **VERSIONS[version]) as client:
            for part, wanted in ((begin, [b"250", b"250", b"250", b"354"]),
                                 (MESSAGE + b".\r\n", [b"250"])):
                records = [client.sock.records(bytes([byte])) for byte in part]
                for chunk in [b"".join(records)] if together else records:
                    client.sock.raw.sendall(chunk)
                assert [client.reply()[:3] for _ in wanted] == wanted
    for content in proxy.sink.contents(2):
        assert without_received(content, weirlab.HOSTNAME) == MESSAGE


def test_plaintext_session_has_no_tls_in_its_record(secured):
    proxy = secured()
    with proxy.connect() as client:
        deliver(client)
    record, = proxy.records()
    assert record["tls"] is None
    content, = proxy.sink.contents()
    assert b"with ESMTP\r" in content or b"with ESMTP " in content, content


# ---- other people's clients ----

def test_smtplib(secured, pki, kind, version):
    proxy = secured(tls=kind)
    context = pki.context(**VERSIONS[version])
    smtp = smtplib.SMTP(timeout=20) if kind == "starttls" else smtplib.SMTP_SSL(context=context)
    smtp._host = NAME  # whose certificate is wanted
    smtp.connect("127.0.0.1", proxy.port)
    with smtp:
        if kind == "starttls":
            smtp.starttls(context=context)
        smtp.sendmail("a@client.example", ["b@d.example"], MESSAGE)
    content, = proxy.sink.contents()
    assert without_received(content, weirlab.HOSTNAME) == MESSAGE
    check_record(proxy.records()[0], version)


@pytest.mark.parametrize("option", ["--tls", "--tlsc"])
def test_swaks(secured, folder, option):
    proxy = secured(tls="implicit" if option == "--tlsc" else "starttls")
    path = os.path.join(folder, "body")
    with open(path, "wb") as file:
        file.write(MESSAGE * 1000)
    done = subprocess.run(
        ["swaks", option, "--server", "127.0.0.1", "--port", str(proxy.port), "--helo",
         "client.example", "--from", "a@client.example", "--to", "b@d.example", "--tls-sni", NAME,
         "--data", "@" + path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
        check=False)
    assert done.returncode == 0, done.stdout
    assert b"=== TLS started" in done.stdout and b"~> QUIT" in done.stdout, done.stdout
    content, = proxy.sink.contents()
    assert MESSAGE * 1000 in content
    assert proxy.records()[0]["tls"]["version"] == "TLSv1.3"


@pytest.fixture(scope="module")
def tls_postfix(lab, pki):
    """A postfix that relays with TLS and a verified certificate only: by STARTTLS to port `ports`
    [0], and what is for implicit.example inside TLS to ports[1]."""
    ports = [weirlab.free_port() for _ in KINDS]
    root = os.path.join(lab, "tls-sending")
    server = weirlab.Postfix(root, "tlsout", f"[127.0.0.1]:{ports[0]}", {
        "main.cf": "smtp_tls_security_level = secure\n"
                   f"smtp_tls_secure_cert_match = {NAME}\n"
                   f"smtp_tls_CAfile = {pki.ca}\n"
                   "smtp_tls_loglevel = 1\n"
                   f"transport_maps = inline:{{ implicit.example=smtps:[127.0.0.1]:{ports[1]} }}\n",
        "master.cf": "smtps unix - - n - - smtp -o smtp_tls_wrappermode=yes\n"})
    server.ports = ports
    yield server
    server.stop()


def test_postfix_as_client(weir, sink, pki, kind, tls_postfix):
    server = sink()
    port = tls_postfix.ports[KINDS.index(kind)]
    proxy = weir(server, port=port, config=weirtls.settings(pki.ec, pki.rsa, tls=kind))
    bodies = [content_of(size) for size in (1, 1000, 5 << 20)]
    for body in bodies:
        with smtplib.SMTP(*tls_postfix.address, local_hostname="client.example") as smtp:
            smtp.sendmail("a@client.example", [f"b@{kind}.example"],
                          b"From: a@client.example\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
                          b"Message-Id: <1@c.example>\r\n\r\n" + body)
    stored = server.contents(len(bodies))
    assert sorted(digest(c.split(b"\r\n\r\n", 1)[1]) for c in stored) == sorted(map(digest, bodies))
    for record in proxy.records(at_least=len(bodies)):
        check_record(record, "TLSv1.3")
    assert b"Verified TLS connection established to" in weirlab.read(tls_postfix.root + "/log")


# ---- versions, ciphers, ALPN ----

def s_client(proxy, kind, *options, say=b"EHLO c.example\r\nQUIT\r\n"):
    return weirtls.openssl(proxy.address, *options, say=say, starttls=kind == "starttls")


def accepted(outcome):
    """s_client came through to SMTP inside TLS."""
    code, printed = outcome
    assert code == 0 and b"221 2.0.0" in printed, printed
    return printed


def refused(outcome, alert):
    code, printed = outcome
    assert code != 0 and b"221 2.0.0" not in printed, printed
    assert re.search(alert, printed), printed


@pytest.mark.parametrize("option, wanted", [("-tls1_2", b"TLSv1.2"), ("-tls1_3", b"TLSv1.3")])
def test_versions(secured, pki, kind, option, wanted):
    proxy = secured(tls=kind)
    printed = accepted(s_client(proxy, kind, option, "-CAfile", pki.ca, "-verify_hostname", NAME,
                                "-verify_return_error"))
    assert re.search(rb"(?m)^New, " + wanted, printed), printed
    assert b"Verify return code: 0 (ok)" in printed


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(secured, kind, option):
    proxy = secured(tls=kind)
    refused(s_client(proxy, kind, option, "-cipher", "ALL:@SECLEVEL=0"), b"alert protocol version")
    accepted(s_client(proxy, kind))


def test_min_version(secured, kind):
    proxy = secured(tls=kind, min_version="1.3")
    refused(s_client(proxy, kind, "-tls1_2"), b"alert protocol version")
    accepted(s_client(proxy, kind, "-tls1_3"))


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE",
                                    "ECDHE-ECDSA-AES256-SHA384", "NULL", "aNULL"])
def test_weak_ciphers_are_refused(secured, kind, cipher):
    """No static RSA, no CBC, no finite-field groups, nothing without keys."""
    proxy = secured(tls=kind)
    refused(s_client(proxy, kind, "-tls1_2", "-cipher", cipher + ":@SECLEVEL=0"),
            b"alert handshake failure")
    accepted(s_client(proxy, kind, "-tls1_2"))


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
                                    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
                                    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"])
def test_strong_ciphers_of_tls_1_2(secured, kind, cipher):
    proxy = secured(tls=kind)
    printed = accepted(s_client(proxy, kind, "-tls1_2", "-cipher", cipher))
    assert b"Cipher is " + cipher.encode() in printed, printed
    name = proxy.records("session")[-1]["tls"]["cipher"]
    assert name.replace("_", "-").replace("-WITH", "").startswith("TLS-" + cipher[:11]), name


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_alpn(secured, kind, option):
    """Only "smtp", alone or among others, or nothing (ALPACA, CVE-2021-3618)."""
    proxy = secured(tls=kind)
    assert b"ALPN protocol: smtp" in accepted(s_client(proxy, kind, option, "-alpn", "smtp"))
    assert b"ALPN protocol: smtp" in accepted(s_client(proxy, kind, option, "-alpn", "h2,smtp"))
    assert b"No ALPN negotiated" in accepted(s_client(proxy, kind, option))
    for names in ("http/1.1", "h2,http/1.1", "imap", "smtp2", "SMTP"):
        refused(s_client(proxy, kind, option, "-alpn", names), b"alert no application protocol")


# ---- certificates ----

def peer(outcome):
    """The common name of the certificate that s_client got."""
    return re.search(rb"(?m)^subject=CN = (\S+)", accepted(outcome)).group(1).decode()


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_certificate_by_name(secured, pki, kind, option):
    proxy = secured(pki.ec, pki.rsa, pki.other, pki.wild, tls=kind)
    names = {NAME: "ec", OTHER: "other", OTHER.upper(): "other", "a.wild.example.test": "wild",
             "wild.example.test": "ec", "a.b.wild.example.test": "ec", "nobody.example.test": "ec"}
    for name, wanted in names.items():
        assert peer(s_client(proxy, kind, option, "-servername", name)) == wanted, name
    assert peer(s_client(proxy, kind, option, "-noservername")) == "ec"


def test_key_kind_by_what_the_client_can_verify(secured, pki, kind):
    proxy = secured(tls=kind)
    only_rsa = ["-sigalgs", "rsa_pss_rsae_sha256:rsa_pkcs1_sha256", "-CAfile", pki.ca]
    for version in ("-tls1_2", "-tls1_3"):
        assert peer(s_client(proxy, kind, version, *only_rsa, "-servername", NAME)) == "rsa"
        assert peer(s_client(proxy, kind, version, "-sigalgs", "ecdsa_secp256r1_sha256")) == "ec"
    assert peer(s_client(proxy, kind, "-tls1_2", "-cipher", "aRSA")) == "rsa"
    assert peer(s_client(proxy, kind, "-tls1_2", "-cipher", "aECDSA")) == "ec"


def test_first_certificate_is_the_default(secured, pki, kind):
    proxy = secured(pki.other, pki.ec, tls=kind)
    assert peer(s_client(proxy, kind, "-noservername")) == "other"
    assert peer(s_client(proxy, kind, "-servername", NAME)) == "ec"


# ---- resumption, early data, renegotiation ----

def finish(client):
    """Reads on, so that tickets have come; and the session to resume."""
    client.ok("EHLO client.example", 250)
    client.ok("QUIT", 221)
    assert client.at_end()
    session = client.sock.tls.session
    client.close()
    return session


def test_resumption_across_workers_and_a_reload(secured, pki, kind, version):
    """A connection goes to the worker that has the fewest: four at a time reach both."""
    proxy = secured(tls=kind)
    context = pki.context(**VERSIONS[version])
    implicit = kind == "implicit"
    session = finish(weirtls.connect(proxy.address, context, implicit))
    for _ in range(2):
        clients = [weirtls.connect(proxy.address, context, implicit, session=session)
                   for _ in range(4)]
        assert [client.sock.tls.session_reused for client in clients] == [True] * 4
        for client in clients:
            finish(deliver(client))
        weirtls.reload(proxy)
    assert len(proxy.sink.contents(8)) == 8


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_resumption_with_openssl(secured, folder, kind, option):
    proxy = secured(tls=kind)
    path = os.path.join(folder, "session")
    accepted(s_client(proxy, kind, option, "-sess_out", path))
    for _ in range(4):
        assert b"\nReused, TLS" in accepted(s_client(proxy, kind, option, "-sess_in", path))


def test_a_forged_ticket_is_a_full_handshake(secured, folder, kind):
    """A flipped bit opens nothing and breaks nothing, wherever it is. (The last 16 bytes are
    the unused half of a field.)"""
    proxy = secured(tls=kind)
    path = os.path.join(folder, "session")
    accepted(s_client(proxy, kind, "-tls1_2", "-sess_out", path))
    der = pem_bytes(path)
    ticket = dict(fields_of(der))[0xaa]
    start, end = der.index(ticket) + 6, der.index(ticket) + len(ticket) - 16
    for at in (*range(start, end, 16), end - 1):
        write_pem(path, der[:at] + bytes([der[at] ^ 1]) + der[at + 1:])
        assert b"\nNew, TLS" in accepted(s_client(proxy, kind, "-tls1_2", "-sess_in", path)), at


def pem_bytes(path):
    return base64.b64decode(b"".join(weirlab.read(path).split(b"\n")[1:-2]))


def write_pem(path, der):
    lines = base64.encodebytes(der).decode()
    with open(path, "w", encoding="ascii") as file:
        file.write(f"-----BEGIN SSL SESSION PARAMETERS-----\n{lines}"
                   "-----END SSL SESSION PARAMETERS-----\n")


def fields_of(der):
    """(tag, whole field) of each element of a DER sequence."""
    def length_at(at):
        first = der[at]
        count = first & 0x7f if first & 0x80 else 0
        return (int.from_bytes(der[at + 1:at + 1 + count], "big") if count else first), 1 + count
    _, head = length_at(1)
    at, fields = 1 + head, []
    while at < len(der):
        length, head = length_at(at + 1)
        fields.append((der[at], der[at:at + 1 + head + length]))
        at += 1 + head + length
    return fields


def allow_early_data(path):
    """Makes s_client believe that the server takes early data (field 15 of its session files)."""
    fields = fields_of(pem_bytes(path))
    assert 0xaf not in [tag for tag, _ in fields], "the server itself allows early data"
    fields = sorted(fields + [(0xaf, b"\xaf\x04\x02\x02\x40\x00")],
                    key=lambda field: field[0] if field[0] >= 0xa0 else 0)
    body = b"".join(field for _, field in fields)
    write_pem(path, b"\x30\x82" + len(body).to_bytes(2, "big") + body)


def test_early_data_is_refused(secured, folder, kind):
    proxy = secured(tls=kind)
    path, early = (os.path.join(folder, name) for name in ("session", "early"))
    assert b"Max Early Data: 0" in accepted(s_client(proxy, kind, "-tls1_3", "-sess_out", path))
    with open(early, "wb") as file:
        file.write(b"EHLO early.example\r\nMAIL FROM:<early@c.example>\r\n"
                   b"RCPT TO:<b@d.example>\r\nDATA\r\n" + MESSAGE + b".\r\n")
    allow_early_data(path)
    code, printed = s_client(proxy, kind, "-tls1_3", "-sess_in", path, "-early_data", early)
    assert b"Early data was accepted" not in printed and b"354" not in printed, printed
    assert b"Early data was rejected" in printed or code != 0, printed
    accepted(s_client(proxy, kind))
    assert proxy.sink.journal() == [] and proxy.records(at_least=0) == []


def test_no_renegotiation(secured, kind):
    """What the client asks for by "R" ends in an alert or in nothing; never in a new handshake."""
    proxy = secured(tls=kind)
    argv = ["openssl", "s_client", "-connect", weirlab.address_text(proxy.address), "-tls1_2"]
    argv += ["-starttls", "smtp"] if kind == "starttls" else []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as child:
        out, done = b"", False
        os.write(child.stdin.fileno(), b"NOOP\r\n")
        while not re.search(rb"---\n2[25]0 .*\n250 2\.0\.0", out):
            out += os.read(child.stdout.fileno(), 65536)
        os.write(child.stdin.fileno(), b"R\n")
        done = child.communicate(timeout=30)[0]
    assert b"RENEGOTIATING" in done, done
    assert re.search(b"no renegotiation|alert|unexpected eof|errno", done), done
    assert b"depth=" not in done, "a second handshake"
    accepted(s_client(proxy, kind))


# ---- the dialogue ----

def secure(proxy, pki):
    return weirtls.connect(proxy.address, pki.context())


@pytest.mark.parametrize("argument", ["x", "smtp", "  TLS ", "\t1"])
def test_starttls_takes_no_argument(secured, pki, argument):
    proxy = secured()
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.ok("STARTTLS " + argument, "501 5.5.4")
        client.ok("NOOP", 250)
        weirtls.start_tls(client, pki.context())
        deliver(client)


def test_starttls_is_offered_once(secured, pki):
    proxy = secured()
    with proxy.connect() as client:
        assert b"STARTTLS" in smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        weirtls.start_tls(client, pki.context())
        assert b"STARTTLS" not in smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        for _ in range(3):
            client.ok("STARTTLS", "503 5.5.1")
        deliver(client)


def test_starttls_is_not_offered_inside_implicit_tls(secured, pki):
    proxy = secured(tls="implicit")
    with connect(proxy, pki, "implicit") as client:
        assert b"STARTTLS" not in smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        client.ok("STARTTLS", "503 5.5.1")
        deliver(client)


@pytest.mark.parametrize("tls", ["starttls", "off", None])
def test_no_certificate_no_starttls(weir, sink, tls):
    proxy = weir(sink(), config={"listen:mx": {"tls": tls}})
    with proxy.connect() as client:
        assert b"STARTTLS" not in smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        assert client.cmd("STARTTLS")[:1] == b"5"
        deliver(client)


def test_a_certificate_makes_starttls_the_default(secured, pki):
    proxy = secured(tls=None)
    with secure(proxy, pki) as client:
        deliver(client)
    assert proxy.records()[0]["tls"]["version"] == "TLSv1.3"


def test_tls_off_with_a_certificate(secured):
    proxy = secured(tls="off")
    with proxy.connect() as client:
        assert b"STARTTLS" not in smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        assert client.cmd("STARTTLS")[:1] == b"5"
        deliver(client)


def test_everything_before_tls_is_forgotten(secured, pki):
    proxy = secured()
    with secure(proxy, pki) as client:
        client.ok("MAIL FROM:<a@client.example>", "503 5.5.1")
        client.ok("EHLO inside.example", 250)
        client.ok("RCPT TO:<b@d.example>", "503 5.5.1")
        deliver(client)


def test_a_transaction_does_not_survive_starttls(secured, pki):
    """Whatever STARTTLS is answered within a transaction, nothing of it is there after TLS."""
    proxy = secured()
    with proxy.connect() as client:
        client.begin("early@client.example", "early@server.example")
        reply = client.cmd("STARTTLS")
        if reply.startswith(b"220"):
            client.sock = weirtls.TlsSocket(client.sock, pki.context()).handshake()
        else:
            assert reply.startswith(b"503"), reply
            client.ok("RSET", 250)
            weirtls.start_tls(client, pki.context())
        for line in ("DATA", "RCPT TO:<b@d.example>", "MAIL FROM:<a@client.example>"):
            client.ok(line, 503)
        client.ok("EHLO inside.example", 250)
        client.ok("DATA", 503)
        deliver(client)
    row, = proxy.sink.rows()
    assert row["rcpt"] == ["b@server.example"], row


def test_required(secured, pki):
    """RFC 3207, 4: 530 for all but what leads to TLS or away."""
    proxy = secured(tls="required")
    with proxy.connect() as client:
        assert b"STARTTLS" in smtpraw.ehlo_words(client.ok("EHLO client.example", 250))
        for line in ("MAIL FROM:<a@client.example>", "RCPT TO:<b@d.example>", "DATA", "VRFY x",
                     "HELO client.example"):
            client.ok(line, "530 5.7.0")
        for line in ("BDAT 3 LAST", "AUTH PLAIN", "EXPN list", "NONSENSE", "STARTTLS now"):
            client.ok(line, 5)
        for line in ("NOOP", "EHLO client.example"):
            client.ok(line, 250)
        weirtls.start_tls(client, pki.context())
        deliver(client)
    with proxy.connect() as client:
        client.ok("QUIT", 221)
    with proxy.connect() as client:
        client.send(b"EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@d.example>\r\n"
                    b"DATA\r\n")
        assert client.reply().startswith(b"250")
        assert [client.reply()[:9] for _ in range(3)] == [b"530 5.7.0"] * 3
    assert len(proxy.sink.rows()) == 1


# ---- the PROXY protocol in front of TLS ----

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 25\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 8, 0x12, 0x67, 0, 25])


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_proxy_header_before_tls(secured, pki, kind, header):
    """Behind the header comes the ClientHello, in the same segment as well."""
    proxy = secured(tls=kind, listen={"trust_proxy": "127.0.0.0/8"})
    for cut in (None, len(header), len(header) + 1, len(header) - 1, 1):
        client = smtpraw.Client(proxy.address, greet=False)
        if kind == "starttls":
            client.send(header + b"EHLO client.example\r\n")
            assert client.reply().startswith(b"220") and client.reply().startswith(b"250")
            weirtls.start_tls(client, pki.context())
        else:
            sock = weirtls.TlsSocket(client.sock, pki.context())
            sock.start(header, cut)
            client.sock = sock.handshake()
            assert client.reply().startswith(b"220")
        with client:
            deliver(client)
    for record in proxy.records(at_least=5):
        assert record["client"] == "192.0.2.7:4711" and record["tls"], record


# ---- configuration ----

CONFIG = """[proxy]
hostname = mx.weir.example
[listen:mx]
bind = 127.0.0.1:2525
upstream = default
{listen}
[upstream:default]
server = 127.0.0.1:2626
[verify]
mode = off
[log]
target = stderr
[tls]
{tls}
"""


def check_config(folder, listen, tls):
    path = os.path.join(folder, "check.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(listen=listen, tls=tls))
    done = subprocess.run([os.path.join(weirlab.BUILD, "mailweir"), "-t", "-c", path],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=30, check=False, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("tls", ["required", "implicit"])
def test_config_needs_a_certificate(folder, tls):
    """Without one "starttls", the default, is "off"."""
    code, told = check_config(folder, f"tls = {tls}", "")
    assert code == 1, told
    assert "check.ini:6" in told and "[tls] certificate = " in told, told
    for tls in ("starttls", "off"):
        assert check_config(folder, f"tls = {tls}", "") == (0, ""), tls


def broken_certificates(pki, folder):
    """[tls] certificate values of which each is wrong, with what the error must name."""
    garbage, empty, missing = (os.path.join(folder, name) for name in ("garbage", "empty", "none"))
    for path, text in ((garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n"), (empty, "")):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    ec, rsa = pki.ec, pki.rsa
    return [(f"{missing} {ec.key}", missing), (f"{ec.chain} {missing}", missing),
            (f"{garbage} {ec.key}", garbage), (f"{ec.chain} {garbage}", garbage),
            (f"{empty} {ec.key}", empty), (f"{ec.chain} {empty}", empty),
            (f"{ec.chain} {rsa.key}", rsa.key), (f"{ec.chain} {pki.other.key}", pki.other.key),
            (f"{ec.key} {ec.chain}", ec.key), (ec.chain, ec.chain),
            (f"{ec} {ec.key}", "certificate")]


def test_config_with_broken_certificates(folder, pki):
    assert check_config(folder, "tls = starttls", f"certificate = {pki.ec}")[0] == 0
    for value, named in broken_certificates(pki, folder):
        code, told = check_config(folder, "tls = starttls", f"certificate = {value}")
        assert code == 1 and named in told and "[tls] certificate" in told, (value, code, told)


@pytest.mark.parametrize("listen, tls", [
    ("tls = maybe", ""), ("tls =", ""), ("", "min_version = 1.1"), ("", "min_version = 1.4"),
    ("", "certificates = a b")])
def test_config_values(folder, listen, tls):
    code, told = check_config(folder, listen, tls)
    assert code == 1 and "check.ini:" in told, told


def test_start_with_a_broken_certificate_fails(folder, io, pki, sink):
    """As with any other mistake in the configuration: no start, and the file is named."""
    missing = os.path.join(folder, "none.pem")
    config = weirtls.settings(weirtls.Certificate(missing, pki.ec.key))
    proxy = weirlab.Mailweir(folder, io, [sink().address], config, start=False)
    done = subprocess.run(proxy.argv, stdin=subprocess.DEVNULL, timeout=30, check=False)
    assert done.returncode == 1
    assert [line for line in proxy.plain() if " error: " in line and missing in line]


# ---- hostile handshakes ----

def test_not_a_handshake(secured, pki, kind):
    """Nobody who speaks something else, or half of it, is answered in SMTP or disturbs others."""
    proxy = secured(tls=kind)
    hello = hello_of(pki)
    wrong = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"EHLO client.example\r\n", b"\0" * 64,
             b"\x80\x2e\x01\x00\x02" + b"\0" * 50, b"\x16\x03\x01\xff\xff" + b"A" * 100,
             b"\x17\x03\x03\x00\x05AAAAA", b"\x15\x03\x03\x00\x02\x02\x28",
             hello + b"GET / HTTP/1.1\r\n\r\n" * 20, hello[:5] + b"\x02" + hello[6:],
             hello[:9] + b"\xff" * (len(hello) - 9), hello * 2]
    for data in wrong:
        with smtpraw.Client(proxy.address, greet=kind == "starttls") as client:
            if kind == "starttls":
                client.ok("EHLO client.example", 250)
                client.ok("STARTTLS", 220)
            client.send(data)
            got = client.rest()
            assert b"250" not in got and b"220" not in got and b"500" not in got, (data, got)
    with connect(proxy, pki, kind) as client:
        deliver(client)


def hello_of(pki):
    sock = weirtls.TlsSocket(None, pki.context())
    try:
        sock.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sock.outbound.read()


def test_half_a_handshake_times_out(secured, pki, kind):
    """Whoever stops in the middle does not hold his place for ever."""
    proxy = secured(tls=kind, limits={"session_timeout": "2s"})
    hello = hello_of(pki)
    clients = [smtpraw.Client(proxy.address, greet=kind == "starttls") for _ in range(7)]
    for client, length in zip(clients, (0, 1, 5, 6, 60, len(hello) - 1, len(hello))):
        if kind == "starttls":
            client.ok("EHLO client.example", 250)
            client.ok("STARTTLS", 220)
        client.send(hello[:length])
    for client in clients:
        assert not smtpraw.codes(client.rest())
        client.close()
    with connect(proxy, pki, kind) as client:
        deliver(client)
