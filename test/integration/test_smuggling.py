"""
test_smuggling - byte sequences that must never end or split a message, end to end.

The named sequences of other systems' history, each in the header, as the first body line, in
mid-body and as the very first bytes of the message (behind the field that the proxy adds), cut at
every byte. A few lines of reference below say what the stream of bytes means; the proxy must say
the same. The exhaustive enumeration runs in test/sim.

    client -- raw bytes --> mailweir --> tap --> weir-sink | postfix
"""
import re

import pytest

import smtpraw
import weirlab

SEQUENCES = [b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r",
             b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\0\n.\r\n",
             b"\r\n.\r\0\n", b"\0\r\n.\r\n", b"\r\n.\r\n\0",
             # variants: a stuffed dot behind a bare CR, a dot as a header line, bare ends alone
             b"\r..\r\n", b"\n..\r\n", b"\r", b"\n", b"\0", b"\n\n", b"\r\r", b"\n\r",
             b"\r\n.\n\r\n.\r\n"]

EVIL = (b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<evil@%s>\r\nDATA\r\n"
        b"Subject: smuggled\r\n\r\nevil\r\n")

PLACES = {
    "start": (b"", b"Subject: x\r\n\r\nbody\r\n"),
    "header": (b"Subject: x", b"To: b@d.example\r\n\r\nbody\r\n"),
    "first line": (b"Subject: x\r\n\r\n", b"body\r\n"),
    "middle": (b"Subject: x\r\n\r\nbody", b"more\r\n"),
    "long": (b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 4000 + b"y", b"more\r\n"),
}


def reference(stream):
    """What the bytes behind 354 mean: (content is clean, content, the bytes behind its end)."""
    end = (b"\r\n" + stream).index(b"\r\n.\r\n")
    content = stream[:end]
    rest = stream[end + 3:]
    return not re.search(rb"[\r\n\0]", content.replace(b"\r\n", b"")), content, rest


def attack(proxy, place, sequence, domain, cut=None):
    """Sends one message with the sequence in it and the smuggled commands behind it. Returns the
    replies from the end of data on, and what the reference says."""
    before, after = PLACES[place]
    head = before + sequence
    evil = EVIL % domain.encode()
    stream = head + evil + after + b".\r\n"
    with proxy.connect() as client:
        client.begin(rcpt=f"b@{domain}")
        client.ok("DATA", 354)
        if cut is None:
            client.send(stream + b"QUIT\r\n")
        else:
            client.send(stream[:cut])
            # The NOOP of another connection passes between the two pieces: no fixed wait, but a
            # round trip through the proxy.
            proxy.other.ok("NOOP", 250)
            client.send(stream[cut:] + b"QUIT\r\n")
        replies = client.rest()
    return stream, replies


def check(stream, replies, about):
    """Exactly one reply to the message, and nothing of its content taken for a command."""
    clean, content, rest = reference(stream)
    found = smtpraw.codes(replies)
    assert found, about
    if not clean:
        assert found[0] == 550 and replies.startswith(b"550 5.5.2"), (about, replies)
    else:
        assert found[0] == 250, (about, replies)
    if not rest:
        assert len(found) == 2 and found[1] == 221, (about, replies)


@pytest.fixture
def line(sink, weir):
    """Proxy, tap and sink; `other` is a second session on the same (only) worker."""
    server = sink()
    tap = smtpraw.Tap(server.address, weirlab.free_port())
    proxy = weir(tap, config={"proxy": {"workers": 1},
                              "limits": {"commands": 100000, "errors": 1000}})
    proxy.other = proxy.connect()
    proxy.other.ok("EHLO other.example", 250)
    proxy.server = server
    proxy.tap = tap
    yield proxy
    proxy.other.close()
    tap.close()


def wanted_contents(stream):
    """The contents that must arrive for this stream of bytes: the message itself when it is clean,
    and a second one when a true end-of-data made commands of what is behind it."""
    clean, content, rest = reference(stream)
    wanted = [smtpraw.unstuff(content)] if clean else []
    if rest.startswith(b"MAIL"):
        wanted += wanted_contents(rest.split(b"DATA\r\n", 1)[1])
    return wanted


@pytest.mark.parametrize("place", PLACES)
def test_named_sequences(line, place):
    wanted = []
    for sequence in SEQUENCES:
        stream, replies = attack(line, place, sequence, "d.example")
        check(stream, replies, (place, sequence))
        wanted += wanted_contents(stream)
    compare(line, wanted)


@pytest.mark.parametrize("place", ["start", "header", "first line", "middle"])
def test_cut_at_every_byte(line, place):
    wanted = []
    before, _ = PLACES[place]
    for sequence in SEQUENCES:
        for cut in range(len(before), len(before) + len(sequence) + 1):
            if cut > 0:
                stream, replies = attack(line, place, sequence, "d.example", cut)
                check(stream, replies, (place, sequence, cut))
                wanted += wanted_contents(stream)
    compare(line, wanted)


def compare(line, wanted):
    """What the sink has is what the reference says; the proxy sent it no bare CR, LF or NUL and no
    command that was not a client's."""
    stored = [smtpraw.without_received(content, weirlab.HOSTNAME)
              for content in line.server.contents(len(wanted))]
    # A message that begins with CRLF keeps an empty line behind our field.
    assert sorted(c.lstrip(b"\r\n") for c in stored) == sorted(w.lstrip(b"\r\n") for w in wanted)
    for content in stored + line.tap.commands():
        assert not re.search(rb"[\r\n\0]", content.replace(b"\r\n", b"")), content


@pytest.mark.parametrize("place", ["header", "middle"])
def test_named_sequences_to_postfix(weir, postfix, place):
    """Postfix takes bare LF for a line end unless told otherwise: it must never see one."""
    domain = postfix.mailbox()
    proxy = weir(postfix, config={"limits": {"errors": 1000}})
    for sequence in SEQUENCES:
        if b"\r\n.\r\n" in b"\r\n" + sequence + b"M":
            continue  # a true end-of-data: what follows is commands, and may be a message
        stream, replies = attack(proxy, place, sequence, domain)
        check(stream, replies, (place, sequence))
    with proxy.connect() as client:
        client.begin(rcpt=f"b@{domain}")
        assert client.data(b"Subject: canary\r\n\r\nx\r\n").startswith(b"250")
    stored, = postfix.contents(1, domain)
    assert b"canary" in stored and b"smuggled" not in stored


def test_records_name_the_rule(sink, weir):
    proxy = weir(sink(), config={"limits": {"errors": 1000}})
    refused = [s for s in SEQUENCES if not reference(s + b"x\r\n.\r\n")[0]]
    for count, sequence in enumerate(refused, 1):
        with proxy.connect() as client:
            client.begin()
            assert client.data(b"body" + sequence + b"x\r\n").startswith(b"550 5.5.2"), sequence
            record = proxy.records(at_least=count)[count - 1]
            assert record["decided_by"] == "framing" and record["verdict"] == "reject", record
            assert record["reply"]["code"] == 550, record
            assert record["reply"]["text"].startswith("5.5.2 "), record


def test_bad_dot_behind_the_size_limit(sink, weir):
    """Once the limit is hit the true end is still the only end."""
    server = sink()
    proxy = weir(server, config={"limits": {"message_size": "10k"}})
    for sequence in SEQUENCES:
        stream = b"Subject: x\r\n\r\n" + b"z" * 20000 + sequence + EVIL % b"d.example" + b".\r\n"
        if reference(stream)[2]:
            continue
        with proxy.connect() as client:
            client.begin()
            client.ok("DATA", 354)
            client.send(stream + b"QUIT\r\n")
            found = smtpraw.codes(client.rest())
        assert found in ([552, 221], [550, 221]), (sequence, found)
    assert server.journal() == []


@pytest.mark.parametrize("verb", ["EHLO x", "MAIL FROM:<a@b.example>", "NOOP", "RSET", "DATA",
                                  "QUIT"])
@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\0\r\n", b"\r\r\n", b"\n\r\n", b" \r \r\n"])
def test_commands_need_crlf(sink, weir, verb, ending):
    """A bare CR, bare LF or NUL in a command: one 500 5.5.2 for the line up to its true CRLF."""
    server = sink()
    proxy = weir(server)
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        tail = b"" if ending.endswith(b"\r\n") else b"RCPT TO:<x@d.example>\r\n"
        client.send(verb.encode() + ending + tail + b"NOOP\r\nQUIT\r\n")
        replies = client.rest()
    assert smtpraw.codes(replies) in ([500, 250, 221], [501, 250, 221], [550, 250, 221]), replies
    assert b" 5.5.2" in replies.split(b"\r\n")[0], replies


def test_pipelined_message_is_not_a_command(sink, weir):
    """Two messages in one segment stay two, in order."""
    server = sink()
    proxy = weir(server)
    one = (b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@d.example>\r\nDATA\r\n")
    with proxy.connect() as client:
        client.ok("EHLO client.example", 250)
        client.send(one + b"one\r\n.\r\n" + one + b"two\r\n..\r\n.\r\nQUIT\r\n")
        assert smtpraw.codes(client.rest()) == [250, 250, 354, 250, 250, 250, 354, 250, 221]
    bare = [smtpraw.without_received(c, weirlab.HOSTNAME) for c in server.contents(2)]
    assert bare == [b"one\r\n", b"two\r\n.\r\n"]
