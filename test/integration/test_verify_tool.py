"""mailweir --verify: one message file, one field, the reasons, and an exit status.

Zones of the tests are whole worlds: with an SOA at the root, what they do not hold does not exist.
"""
import base64
import hashlib
import os
import re
import subprocess

import authres
import dkim
import pytest

import test_dkim
import weirdns
import weirlab

PROGRAM = os.path.join(weirlab.BUILD, "mailweir")
ROOT = ". 60 IN SOA ns.weir.example. hostmaster.weir.example. 1 3600 900 604800 60\n"
CLIENT = "203.0.113.7"

# RFC 6376, appendices A and C, with its errata 3192 (one blank in "game. Are") and 4926 (indentation).
RFC6376_KEY = ("v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
               "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"
               "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB")
RFC6376 = b"""DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
"""


def quoted(text):
    escaped = re.sub(r'[^ -~]|["\\;]', lambda m: f"\\{ord(m[0]):03d}", text)
    return '"' + escaped + '"'


def txt(name, text):
    parts = " ".join(quoted(text[i:i + 200]) for i in range(0, len(text), 200))
    return f"{name}. 60 IN TXT {parts}\n"


class Tool:
    """Runs the tool on files of one folder."""

    def __init__(self, folder):
        self.folder = folder

    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("latin-1"))
        return path

    def __call__(self, message, *options, zone=ROOT, **more):
        if isinstance(message, bytes):
            message = self.file("message", message)
        if zone is not None:
            options += ("--zone", self.file("zone", zone))
        return subprocess.run([PROGRAM, "--verify", message, *options], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False, **more)


@pytest.fixture
def tool(folder):
    return Tool(folder)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """A private key in PEM, and its record."""
    path = str(tmp_path_factory.mktemp("keys") / "key.pem")
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", path, "2048"], check=True,
                   stderr=subprocess.DEVNULL)
    public = subprocess.run(["openssl", "rsa", "-in", path, "-pubout"], check=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    with open(path, "rb") as file:
        return file.read(), "v=DKIM1; p=" + b"".join(public.split(b"\n")[1:-2]).decode()


def mail(sender="author@good.example", body=b"Hello.\r\n"):
    return (f"From: <{sender}>\r\nTo: b@server.example\r\nSubject: hello\r\n"
            "Date: Tue, 03 Feb 2026 10:00:00 +0000\r\n\r\n").encode() + body


def signed(key, content=None, domain=b"good.example", selector=b"k1"):
    content = content or mail()
    return dkim.sign(content, selector, domain, key[0], canonicalize=(b"relaxed", b"relaxed")) + content


def good_zone(key, *more):
    return (ROOT + txt("k1._domainkey.good.example", key[1]) +
            txt("good.example", f"v=spf1 ip4:{CLIENT} -all") + "".join(more))


def results(done):
    """{method: [result]} of the field as an independent reader sees it; it is held against the reasons."""
    field = re.match(rb"Authentication-Results: [^\n]*\n(?:[ \t][^\n]*\n)*", done.stdout)
    assert field and done.stderr == b"", done
    header = authres.AuthenticationResultsHeader.parse(
        field[0].decode("ascii").replace("\n", "").replace("\t", " "))
    found = {}
    for result in header.results:
        found.setdefault(result.method, []).append(result.result)
    told = {}
    for line in done.stdout[field.end():].decode("ascii").splitlines():
        if line.startswith("refused by "):
            continue
        method, result = re.match(r"(\w+): (\w+):", line).groups()
        told.setdefault(method, []).append(result)
    found = {method: words for method, words in found.items() if method != "none"}
    assert {method: sorted(words) for method, words in found.items()} == {
        method: sorted(words) for method, words in told.items()
        if method in ("spf", "dkim", "dmarc") and (method in found or words != ["none"])}, done
    return told


# ---- what it finds, and its exit status ----

def test_all_good(tool, key):
    done = tool(signed(key), "--client", CLIENT, "--helo", "mx.good.example", "--from", "author@good.example",
                zone=good_zone(key, txt("_dmarc.good.example", "v=DMARC1; p=reject")))
    assert results(done) == {"spf": ["pass"], "dkim": ["pass"], "dmarc": ["pass"]}
    assert done.returncode == 0
    field = done.stdout.replace(b"\n\t", b" ")
    assert b"header.d=good.example header.s=k1" in field
    assert b"dkim: pass: d=good.example s=k1 a=rsa-sha256\n" in done.stdout


def test_nothing_to_find(tool):
    done = tool(mail())
    assert results(done) == {"dkim": ["none"], "dmarc": ["none"]} and done.returncode == 0


@pytest.mark.parametrize("reverse_path", ["", "<>", "<author@good.example>", "author@good.example"])
def test_reverse_path(tool, key, reverse_path):
    """Without an address in it SPF looks at HELO (RFC 7208, 2.4)."""
    done = tool(mail(), "--client", CLIENT, "--helo", "good.example", "--from", reverse_path, zone=good_zone(key))
    assert results(done)["spf"] == ["pass"]
    assert (b"helo=good.example" in done.stdout) == ("author" not in reverse_path)


def test_without_client_no_spf(tool, key):
    done = tool(signed(key), "--helo", "good.example", "--from", "a@good.example", zone=good_zone(key))
    assert "spf" not in results(done) and done.returncode == 0


@pytest.mark.parametrize("client,policy,words", [
    (CLIENT, "-all", "pass"), ("203.0.113.8", "-all", "fail"), ("203.0.113.8", "~all", "softfail"),
    ("203.0.113.8", "?all", "neutral"), ("2001:db8::1", "-all", "fail"), (CLIENT, "nonsense", "permerror")])
def test_spf(tool, client, policy, words):
    zone = ROOT + txt("good.example", f"v=spf1 ip4:{CLIENT} {policy}")
    done = tool(mail(), "--client", client, "--from", "a@good.example", zone=zone)
    assert results(done)["spf"] == [words]
    assert done.returncode == (0 if words == "pass" else 1)


def test_changed_body_and_header(tool, key):
    content = signed(key)
    for bad in (content.replace(b"Hello.", b"Hullo."), content.replace(b"Subject: hello", b"Subject: hallo")):
        done = tool(bad, zone=good_zone(key))
        assert results(done)["dkim"] == ["fail"] and done.returncode == 1
        assert re.search(rb"^dkim: fail: d=good.example s=k1 a=rsa-sha256: .+$", done.stdout, re.M)


def test_no_key_is_permerror_and_no_answer_temperror(tool, key):
    done = tool(signed(key), zone=ROOT)
    assert results(done)["dkim"] == ["permerror"] and done.returncode == 1
    done = tool(signed(key), zone=ROOT.replace(". 60", "elsewhere.example. 60", 1))
    assert results(done)["dkim"] == ["temperror"] and done.returncode == 1


def test_several_signatures(tool, key):
    """Each is told by itself; one bad one makes the status 1."""
    zone = good_zone(key, txt("k2._domainkey.other.example", key[1]))
    two = signed(key, signed(key), b"other.example", b"k2")
    done = tool(two, zone=zone)
    assert results(done)["dkim"] == ["pass", "pass"] and done.returncode == 0
    assert done.stdout.count(b" s=k1") == 1 and done.stdout.count(b" s=k2") == 1
    done = tool(two, zone=zone.replace("k2._", "k3._"))
    assert sorted(results(done)["dkim"]) == ["pass", "permerror"] and done.returncode == 1


def signed_until(key, folder, expiry_s):
    """A message with x= in its signature (relaxed/relaxed), by openssl alone."""
    body = base64.b64encode(hashlib.sha256(b"Hello.\r\n").digest()).decode()
    tags = (f"v=1; a=rsa-sha256; c=relaxed/relaxed; d=good.example; s=k1; t=1600000000; x={expiry_s}; "
            f"h=from; bh={body}; b=")
    path = os.path.join(folder, "key.pem")
    with open(path, "wb") as file:
        file.write(key[0])
    text = f"from:<author@good.example>\r\ndkim-signature:{tags}".encode()
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", path], input=text, check=True,
                          stdout=subprocess.PIPE)
    return f"DKIM-Signature: {tags}{base64.b64encode(done.stdout).decode()}\r\n".encode() + mail()


@pytest.mark.parametrize("now,words,status", [(1700000000 - 1, "pass", 0), (1700000000 + 1, "policy", 1)])
def test_now_is_what_dates_are_held_against(tool, key, folder, now, words, status):
    done = tool(signed_until(key, folder, 1700000000), "--now", str(now), zone=good_zone(key))
    assert results(done)["dkim"] == [words] and done.returncode == status, done


@pytest.mark.parametrize("record,sender,words,status", [
    ("v=DMARC1; p=reject", "author@good.example", "pass", 0),
    ("v=DMARC1; p=reject", "author@sub.good.example", "pass", 0),
    ("v=DMARC1; p=reject; adkim=s", "author@sub.good.example", "fail", 1),
    ("v=DMARC1; p=none", "author@foreign.example", "none", 0),
    (None, "author@good.example", "none", 0)])
def test_dmarc(tool, key, record, sender, words, status):
    more = [txt("_dmarc.good.example", record)] if record else []
    done = tool(signed(key, mail(sender)), zone=good_zone(key, *more))
    assert results(done)["dmarc"] == [words] and done.returncode == status


def test_forgery_is_refused_by_its_owners_policy(tool, key):
    """With the operator's `action = reject` the reply of a session stands there as well."""
    config = tool.file("proxy.ini", proxy_ini("[dmarc]\naction = reject\n"))
    done = tool(mail(), "-c", config, zone=good_zone(key, txt("_dmarc.good.example", "v=DMARC1; p=reject")))
    assert done.returncode == 1
    assert re.search(rb"^dmarc: fail: from=good.example policy=reject .*$", done.stdout, re.M)
    assert re.search(rb"^refused by dmarc: 550 5\.7\.1 .*good\.example.*$", done.stdout, re.M)


def proxy_ini(more):
    return ("[proxy]\nhostname = mx.weir.example\n[listen:mx]\nbind = 127.0.0.1:2525\n"
            "[upstream:default]\nserver = 127.0.0.1:2626\n" + more)


@pytest.mark.parametrize("loop", os.environ.get("WEIR_IO", "io_uring,epoll").split(","))
def test_servers_of_the_configuration_on_each_loop(tool, stops, folder, key, loop):
    """With -c its servers are asked behind the zone; and its lists."""
    records = f'k1._domainkey IN TXT ( "{key[1][:200]}" "{key[1][200:]}" )\n'
    stops.append(weirdns.Nsd(folder, {"good.example.": records,
                                      "list.example.": "7.113.0.203 IN A 127.0.0.4\n7.113.0.203 IN TXT \"bad \\009\"\n",
                                      "example.": ""}))
    config = tool.file("proxy.ini", proxy_ini(
        f"[dns]\nserver = {stops[-1].server}\ntimeout = 500ms\n[dnsbl]\nzone = list.example weight=3\n"
        "[dmarc]\naction = off\n").replace("[listen", f"io = {loop}\n[listen"))
    done = tool(signed(key), "-c", config, zone=None)
    assert results(done) == {"dkim": ["pass"]} and done.returncode == 0
    assert done.stdout.startswith(b"Authentication-Results: mx.weir.example;")
    done = tool(signed(key), "-c", config, "--client", CLIENT, zone=None)
    told = results(done)
    assert told["dkim"] == ["pass"] and told["dnsbl"] == ["fail"] and done.returncode == 1
    assert b"score 3, threshold 3" in done.stdout and b"list.example lists it 127.0.0.4" in done.stdout
    assert re.search(rb"^refused by dnsbl: 550 ", done.stdout, re.M)


def test_silent_server_is_temperror_within_the_deadline(tool, folder, key):
    config = tool.file("proxy.ini", proxy_ini(
        f"[dns]\nserver = 127.0.0.1:{weirlab.free_port()}\ntimeout = 30s\nattempts = 9\n"
        "[verify]\ndeadline = 1s\n[dmarc]\naction = off\n"))
    done = tool(signed(key), "-c", config, zone=None)
    assert results(done) == {"dkim": ["temperror"]} and done.returncode == 1


# ---- the examples of the standards, and the cases of CONFORMANCE_DATA ----

def test_example_of_rfc_6376(tool):
    zone = ROOT + txt("brisbane._domainkey.example.com", RFC6376_KEY)
    done = tool(RFC6376, zone=zone)
    assert results(done)["dkim"] == ["pass"] and done.returncode == 0, done
    for good, bad in ((b"game. Are", b"game.  Are"), (b"      by submit", b"     by submit")):
        assert results(tool(RFC6376.replace(good, bad), zone=zone))["dkim"] == ["fail"]


def case_zone(name):
    """A name that cannot be had stands in none of the zones."""
    records = test_dkim.records(name)
    has_failures = any(value == "TEMPERROR" for _, value in records)
    texts = [(domain, value) for domain, value in records if value not in ("TEMPERROR", "PERMERROR")]
    tops = [f"{domain}{ROOT}" for domain, _ in texts] if has_failures else [ROOT]
    return "".join(tops) + "".join(txt(domain, value) for domain, value in texts)


@pytest.mark.skipif(not test_dkim.case_names(), reason="there are no cases")
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", test_dkim.case_names())
def test_case(tool, name, ends):
    """As test_dkim.py has them, with RFC 8463's example among them (01)."""
    message = re.sub(rb"\r?\n", ends, test_dkim.case_file(name, "msg"))
    done = tool(message, "--now", str(test_dkim.NOW + 20000000), zone=case_zone(name))
    words = re.findall(r"^dkim: (\w+):", done.stdout.decode("ascii"), re.M)
    assert done.stderr == b"" and done.returncode in (0, 1)
    if name.startswith("03"):
        assert "pass" not in words, done
        return
    if name.startswith("09"):
        assert "policy" in words and set(words) <= {"pass", "policy"} and done.returncode == 1, done
        return
    wish = ["pass"] * 7 if name.startswith("02") else test_dkim.wanted(name)
    got = [word if word in ("pass", "temperror") else "bad" for word in words]
    assert sorted(got) == sorted(wish), done
    assert done.returncode == (0 if set(wish) == {"pass"} else 1), done


# ---- files ----

def test_line_ends(tool, key):
    """LF ends are read as CRLF; in a file with CRLF a bare LF is what it is: bad."""
    content, zone = signed(key, mail(body=b"one\r\n\r\n.two \r\n")), good_zone(key)
    assert results(tool(content, zone=zone))["dkim"] == ["pass"]
    assert results(tool(content.replace(b"\r\n", b"\n"), zone=zone))["dkim"] == ["pass"]
    assert results(tool(content.replace(b"one\r\n", b"one\n"), zone=zone))["dkim"] == ["fail"]
    done = tool(content.replace(b"hello\r\n", b"hello\n"), zone=zone)
    assert "pass" not in results(done)["dkim"]


def test_standard_input(tool, key):
    done = tool("-", zone=good_zone(key), input=signed(key))
    assert results(done)["dkim"] == ["pass"] and done.returncode == 0


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_long_message(tool, key, ends):
    """Far longer than any piece that is read at once, a line end at every offset of it."""
    body = b"".join(b"x" * (i % 97) + b"\r\n" for i in range(50000))
    content = signed(key, mail(body=body)).replace(b"\r\n", ends)
    assert len(content) > 2 << 20
    assert results(tool(content, zone=good_zone(key)))["dkim"] == ["pass"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\r", b"From: a@b.example", b"\0\0\0\n\n", b"x" * 300000],
                         ids=["empty", "lf", "crlf", "cr", "no-end", "nul", "long"])
def test_odd_files(tool, content):
    done = tool(content)
    assert done.returncode in (0, 1) and done.stdout.startswith(b"Authentication-Results: "), done
    assert b"::" not in done.stdout, "a reason with no name in front of it stands behind one colon"


HOSTILE = bytes(range(1, 256)).replace(b"\n", b"").replace(b"\r", b"")


def test_hostile_bytes_do_not_reach_the_terminal(tool, key):
    """From the message, the options, the names of files, the zone; on both channels."""
    esc = b"\x1b]0;owned\x07\x9b31m"
    fields = [b"From: " + esc + b" <a@" + HOSTILE + b".example>",
              b"DKIM-Signature: v=1; a=rsa-sha256; d=" + esc + b".example; s=" + HOSTILE +
              b"; h=from; bh=" + HOSTILE + b"; b=" + esc,
              b"DKIM-Signature: v=1; a=rsa-sha256; d=good.example; s=k1; i=" + esc + b"; h=from; bh=AAAA; b=" + esc]
    message = b"\r\n".join(fields) + b"\r\n\r\n" + HOSTILE
    zone = ROOT + txt("good.example", "v=spf1 exp=why.good.example -all") + txt(
        "why.good.example", "no \x1b[31m \x07 \x9b and \x85") + txt("_dmarc.good.example", "v=DMARC1; \x1b[2J")
    runs = [tool(message, "--client", CLIENT, "--from", "a@good.example", zone=zone),
            tool(mail(), "--client", CLIENT, "--from", "a@good.example", zone=zone),
            tool(mail(), "--client", esc, zone=zone), tool(mail(), "--from", esc, zone=zone),
            tool(mail(), "--helo", esc, zone=zone), tool(mail(), "--now", esc, zone=zone),
            tool(mail(), esc, zone=zone), tool(mail(), b"--" + esc, zone=zone),
            tool(b"/none/".decode() + esc.decode("latin-1"), zone=zone),
            tool(mail(), zone="good.example. 60 IN A \x1b[31m\n")]
    for done in runs:
        assert re.fullmatch(rb"[\t\n -~]*", done.stdout + done.stderr), done
    assert [done.returncode for done in runs] == [1, 1] + [2] * 8


# ---- what it refuses ----

@pytest.mark.parametrize("options,names", [
    (["--zone", "/none/zone"], ["/none/zone", "No such file"]),
    (["--client", "203.0.113"], ["--client", "203.0.113", "192.0.2.1"]),
    (["--client", "mail.example.org"], ["--client"]),
    (["--client", "203.0.113.7:25"], ["--client"]),
    (["--helo", "no name"], ["--helo", "mail.example.org"]),
    (["--from", "nobody"], ["--from", "alice@example.org"]),
    (["--from", "<a@good.example> SIZE=1"], ["--from"]),
    (["--from", "a@" + "b" * 300], ["--from"]),
    (["--now", "yesterday"], ["--now", "seconds"]),
    (["--now", "-5"], ["--now"]),
    (["--now", "99999999999999999999"], ["--now"]),
    (["--now"], ["--now", "missing"]),
    (["--nothing"], ["--nothing", "mailweir -h"]),
    (["-tx"], ["'-t'", "mailweir -h"]),
    (["one more"], ["one more"]),
    (["--client", CLIENT, "--client", CLIENT], ["twice"]),
    (["-c", "/none/proxy.ini"], ["/none/proxy.ini"])])
def test_bad_arguments(tool, options, names):
    done = tool(mail(), *options, zone=None)
    assert done.returncode == 2 and done.stdout == b"", done
    assert done.stderr.count(b"\n") == 1, done
    for name in names:
        assert name in done.stderr.decode("ascii"), done


def test_bad_files(tool, folder):
    for path, name in (("/none/message", b"No such file"), (folder, b"Is a directory")):
        done = tool(path)
        assert done.returncode == 2 and name in done.stderr and done.stdout == b"", done
    done = tool(mail(), zone=ROOT + "good.example. IN A nonsense\n")
    assert done.returncode == 2 and b"line 2" in done.stderr, done
    done = tool(mail(), "-c", tool.file("proxy.ini", proxy_ini("[spf]\naction = maybe\n")))
    assert done.returncode == 2 and b"action" in done.stderr, done
    done = subprocess.run([PROGRAM, "--verify"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 2 and b"--verify" in done.stderr


def test_full_output_is_no_success(tool):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([PROGRAM, "--verify", tool.file("message", mail()), "--zone",
                               tool.file("zone", ROOT)], stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == 2 and b"No space left" in done.stderr


@pytest.mark.parametrize("options", [["-h"], ["--verify", "/none/message", "-h"], ["-h", "--verify", "-"]])
def test_manual(options):
    done = subprocess.run([PROGRAM, *options], capture_output=True, timeout=30, check=False, text=True)
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--verify", "--zone", "--client", "--helo", "--from", "--now", "-c CONF", "CRLF", "Exit status"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
