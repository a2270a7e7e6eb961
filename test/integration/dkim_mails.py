"""Mails for test_dkim_differential.py: made, and changed once they are signed; all from one seed.

A mail is a list of header fields, what separates them from the body, and the body, all of it bytes. What a
change does to a signature nobody says here: that is the judges' matter.
"""
import re

WSP = [b" ", b"\t", b"  ", b" \t", b"\t\t ", b"     "]
WORDS = [b"weir", b"river", b"stone", b"mill", b"gr\xc3\xbc\xc3\x9fe", b"a=b;c", b"\"quoted, too\"", b"(comment)",
         b"0123456789" * 5, b":", b"=?utf-8?q?w=C3=A4re?=", b"x", b"%n%s", b"<b@server.example>", b"\xff\xfe"]
FIELDS = [b"To", b"Cc", b"Subject", b"Date", b"Message-ID", b"MIME-Version", b"Content-Type", b"Reply-To",
          b"List-Id", b"X-Empty", b"X-Weir", b"X-Weir", b"Comments", b"Received", b"Received", b"Sender"]


class Mail:
    def __init__(self, fields, separator, body):
        self.fields = list(fields)
        self.separator = separator
        self.body = body

    def copy(self):
        return Mail(self.fields, self.separator, self.body)

    def content(self):
        return b"".join(self.fields) + self.separator + self.body


# ---- made ----

def phrase(rng, words_max=12):
    """Words with white space between them, folded wherever the dice fall."""
    text = b""
    for _ in range(rng.randrange(words_max)):
        if rng.random() < 0.2:
            text += rng.choice([b"", b" ", b"\t"]) + b"\r\n" + rng.choice(WSP)
            if rng.random() < 0.15:
                text += b"\r\n" + rng.choice(WSP)  # a line of white space alone
        else:
            text += rng.choice(WSP)
        text += rng.choice(WORDS)
    return text


def field(rng, name):
    value = phrase(rng)
    if rng.random() < 0.1:
        value += rng.choice(WSP)
    if rng.random() < 0.15:
        name = rng.choice([name.lower(), name.upper()])
    return name + b":" + value + b"\r\n"


def body_line(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return b""
    if kind == 1:
        return rng.choice(WSP)
    if kind == 2:
        return b"." * rng.randrange(1, 4)
    if kind == 3:
        return bytes(rng.choice(b"abcxyz =\xe4\x00\x0b-") for _ in range(rng.randrange(200))).replace(b"\0", b"")
    text = rng.choice([b"", b" "]) + rng.choice(WSP).join(rng.choice(WORDS) for _ in range(rng.randrange(1, 15)))
    return text + (rng.choice(WSP) if rng.random() < 0.2 else b"")


def body(rng):
    kind = rng.randrange(12)
    if kind == 0:
        return b""
    if kind == 1:
        return b"\r\n" * rng.randrange(1, 5)
    if kind == 2:
        return rng.choice(WSP) + b"\r\n" * rng.randrange(3)
    lines = [body_line(rng) for _ in range(rng.choice([1, 3, 10, 40]))]
    text = b"\r\n".join(lines)
    return text + b"\r\n" * rng.choice([0, 1, 1, 1, 1, 2, 3, 7])


def make(rng):
    fields = [field(rng, name) for name in rng.sample(FIELDS, rng.randrange(2, len(FIELDS)))]
    author = rng.choice([b"a@good.example", b"Author <a@good.example>", b"\r\n \"A, B\"\t<a@sub.good.example>"])
    author = rng.choice([b"From:", b"FROM:"]) + rng.choice(WSP) + author + b"\r\n"
    fields.insert(rng.randrange(len(fields) + 1), author)
    if rng.random() < 0.02:
        return Mail(fields, b"", b"")  # a header alone
    return Mail(fields, b"\r\n", body(rng))


# ---- changed ----

def place(rng, data):
    return rng.randrange(len(data) + 1)


def with_octet(rng, data):
    at = place(rng, data)
    kind = rng.randrange(3)
    octet = bytes([rng.choice(b"aZ0 \t.=;:\xe4")])
    if kind == 0:
        return data[:at] + octet + data[at:]
    if kind == 1:
        return data[:at] + data[at + 1:]
    return data[:at] + octet + data[at + 1:]


def spaces(data):
    return [match.span() for match in re.finditer(rb"[ \t]+", data)]


def replace_span(data, span, new):
    return data[:span[0]] + new + data[span[1]:]


def body_octet(rng, mail):
    mail.body = with_octet(rng, mail.body)


def body_space(rng, mail):
    """White space in the place of white space."""
    if spaces(mail.body):
        mail.body = replace_span(mail.body, rng.choice(spaces(mail.body)), rng.choice(WSP))


def body_line_end_space(rng, mail):
    ends = [match.start() for match in re.finditer(rb"\r\n|\Z", mail.body)]
    at = rng.choice(ends)
    mail.body = mail.body[:at] + rng.choice(WSP) + mail.body[at:]


def body_no_line_end_space(rng, mail):
    mail.body = re.sub(rb"[ \t]+\r\n", b"\r\n", mail.body)


def body_blank_lines(rng, mail):
    mail.body += b"\r\n" * rng.randrange(1, 4)


def body_fewer_blank_lines(rng, mail):
    mail.body = re.sub(rb"(\r\n)+\Z", rng.choice([b"", b"\r\n"]), mail.body)


def body_blank_line_inside(rng, mail):
    mail.body = mail.body.replace(b"\r\n", b"\r\n\r\n", 1)


def body_more(rng, mail):
    mail.body += body_line(rng) + b"\r\n"


def body_cut(rng, mail):
    mail.body = mail.body[:place(rng, mail.body)]


def body_empty(rng, mail):
    mail.body = b""


def body_swap(rng, mail):
    lines = mail.body.split(b"\r\n")
    rng.shuffle(lines)
    mail.body = b"\r\n".join(lines)


def body_bare_end(rng, mail):
    mail.body = mail.body.replace(b"\r\n", rng.choice([b"\n", b"\r", b"\r\r\n", b"\n\r\n"]), 1)


def own_field(rng, mail):
    """Any but a signature."""
    numbers = [i for i, text in enumerate(mail.fields) if not is_signature(text)]
    return rng.choice(numbers) if numbers else 0


def is_signature(text):
    return text.split(b":")[0].strip().lower() == b"dkim-signature"


def header_octet(rng, mail):
    at = own_field(rng, mail)
    name, colon, value = mail.fields[at].partition(b":")
    mail.fields[at] = name + colon + with_octet(rng, value[:-2]).replace(b"\r\n\r\n", b"\r\n") + b"\r\n"


def any_field(change):
    """The change, made to one field, signatures included."""
    def changed(rng, mail):
        at = rng.randrange(len(mail.fields)) if rng.random() < 0.4 else own_field(rng, mail)
        mail.fields[at] = change(rng, mail.fields[at])
    changed.__name__ = change.__name__
    return changed


@any_field
def header_name_case(rng, text):
    name, colon, value = text.partition(b":")
    return rng.choice([name.lower(), name.upper(), name.swapcase()]) + colon + value


@any_field
def header_space(rng, text):
    return replace_span(text, rng.choice(spaces(text)), rng.choice(WSP)) if spaces(text) else text


@any_field
def header_fold(rng, text):
    if not spaces(text):
        return text
    span = rng.choice(spaces(text))
    return text[:span[0]] + b"\r\n" + text[span[0]:]


@any_field
def header_unfold(rng, text):
    return text[:-2].replace(b"\r\n", b"") + b"\r\n"


@any_field
def header_end_space(rng, text):
    return text[:-2] + rng.choice(WSP) + b"\r\n"


@any_field
def header_begin_space(rng, text):
    name, colon, value = text.partition(b":")
    return name + colon + rng.choice([value.lstrip(b" \t"), rng.choice(WSP) + value])


@any_field
def header_colon_space(rng, text):
    name, colon, value = text.partition(b":")
    return name + rng.choice([b" ", b"\t"]) + colon + value


@any_field
def header_bare_end(rng, text):
    span = rng.choice(spaces(text) or [(len(text) - 2, len(text) - 2)])
    return text[:span[0]] + rng.choice([b"\n", b"\r", b"\r\r\n"]) + text[span[0]:]


def header_remove(rng, mail):
    del mail.fields[own_field(rng, mail)]


def header_repeat(rng, mail):
    """A field once more, as it is or with another value, on top or below."""
    at = own_field(rng, mail)
    text = mail.fields[at] if rng.random() < 0.4 else field(rng, mail.fields[at].split(b":")[0].strip())
    mail.fields.insert(rng.choice([0, len(mail.fields), at, at + 1]), text)


def header_add(rng, mail):
    mail.fields.insert(place(rng, mail.fields), field(rng, rng.choice(FIELDS)))


def header_swap(rng, mail):
    first, second = own_field(rng, mail), own_field(rng, mail)
    mail.fields[first], mail.fields[second] = mail.fields[second], mail.fields[first]


def header_from(rng, mail):
    """Another author, above or below the real one."""
    mail.fields.insert(rng.choice([0, len(mail.fields)]), b"From: <ceo@good.example>\r\n")


def header_junk(rng, mail):
    """A line that is no field."""
    line = rng.choice([b"no field\r\n", b": empty name\r\n", b"\x0b\r\n"])
    mail.fields.insert(rng.randrange(1, len(mail.fields) + 1), line)


def header_separator(rng, mail):
    mail.separator = rng.choice([b"", b" \r\n", b"\r\n\r\n", b"\t\r\n\r\n"])


def signature(change):
    """The change, made to one signature; (rng, what follows the colon) -> the same."""
    def changed(rng, mail):
        numbers = [i for i, text in enumerate(mail.fields) if is_signature(text)]
        if numbers:
            at = rng.choice(numbers)
            name, colon, value = mail.fields[at].partition(b":")
            mail.fields[at] = name + colon + change(rng, value[:-2]) + b"\r\n"
    changed.__name__ = change.__name__
    return changed


def tag_octet(rng, value, tag):
    match = re.search(rb"(?:^|[;\s])" + tag + rb"=([^;]*)", value)
    if not match or match.end(1) == match.start(1):
        return value
    at = rng.randrange(match.start(1), match.end(1))
    return value[:at] + bytes([rng.choice(b"ABCwxyz0189+/=")]) + value[at + 1:]


@signature
def signature_octet(rng, value):
    return with_octet(rng, value)


@signature
def signature_value(rng, value):
    return tag_octet(rng, value, b"b")


@signature
def signature_last_bits(rng, value):
    """The last octets of b=, where base64 has bits to spare."""
    match = re.search(rb"[;\s]b=[^;]*?([A-Za-z0-9+/])\s*(=\s*){0,2}\s*(?:;|\Z)", value)
    if not match:
        return value
    return value[:match.start(1)] + bytes([rng.choice(b"ABCDEFGHwxyz0189+/")]) + value[match.end(1):]


@signature
def signature_padding(rng, value):
    return re.sub(rb"(=+)(\s*)\Z", rng.choice([rb"", rb"=\2", rb"==\2", rb"\1=\2"]), value)


@signature
def signature_body_hash(rng, value):
    return tag_octet(rng, value, b"bh")


@signature
def signature_tag(rng, value):
    tag = rng.choice([b"v", b"a", b"c", b"d", b"s", b"h", b"q", b"i", b"t"])
    return tag_octet(rng, value, tag)


@signature
def signature_less(rng, value):
    tags = value.split(b";")
    del tags[rng.randrange(len(tags))]
    return b";".join(tags)


@signature
def signature_more(rng, value):
    return rng.choice([value + b"; x-weir=1", b" y=2;" + value, value + b";", value + b" ; ", value + b";;",
                       b" v=1;" + value, value + b"; d=evil.example", value + b"; l=0"])


@signature
def signature_order(rng, value):
    tags = value.split(b";")
    rng.shuffle(tags)
    return b";".join(tags)


@signature
def signature_value_space(rng, value):
    """White space in b=, which is left out of what is signed."""
    match = re.search(rb"[;\s]b=([^;]*)", value)
    if not match:
        return value
    at = rng.randrange(match.start(1), match.end(1) + 1)
    return value[:at] + rng.choice([b" ", b"\t", b"\r\n ", b"\r\n\t", b" \r\n  "]) + value[at:]


@signature
def signature_canon(rng, value):
    pairs = [b"simple", b"relaxed", b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"]
    return re.sub(rb"([;\s]c=)[^;]*", lambda m: m[1] + rng.choice(pairs), value)


@signature
def signature_selector(rng, value):
    return re.sub(rb"([;\s]s=)[^;]*", lambda m: m[1] + rng.choice([b"s1r2048a", b"s0e25519a", b"nobody"]), value)


def signature_gone(rng, mail):
    numbers = [i for i, text in enumerate(mail.fields) if is_signature(text)]
    if numbers:
        del mail.fields[rng.choice(numbers)]


def signature_twice(rng, mail):
    numbers = [i for i, text in enumerate(mail.fields) if is_signature(text)]
    if numbers:
        mail.fields.insert(place(rng, mail.fields), mail.fields[rng.choice(numbers)])


def signature_moved(rng, mail):
    numbers = [i for i, text in enumerate(mail.fields) if is_signature(text)]
    if numbers:
        text = mail.fields.pop(rng.choice(numbers))
        mail.fields.insert(place(rng, mail.fields), text)


CHANGES = [
    body_octet, body_octet, body_space, body_line_end_space, body_no_line_end_space, body_blank_lines,
    body_fewer_blank_lines, body_blank_line_inside, body_more, body_cut, body_empty, body_swap, body_bare_end,
    header_octet, header_octet, header_name_case, header_space, header_fold, header_unfold, header_end_space,
    header_begin_space, header_colon_space, header_bare_end, header_remove, header_repeat, header_repeat,
    header_add, header_swap, header_from, header_junk, header_separator,
    signature_octet, signature_octet, signature_value, signature_last_bits, signature_padding, signature_body_hash,
    signature_tag, signature_less, signature_more, signature_order, signature_value_space, signature_canon,
    signature_selector, signature_gone, signature_twice, signature_moved,
]


def change(rng, mail):
    """(changed copy, names of what was done)."""
    changed = mail.copy()
    steps = rng.choices(CHANGES, k=rng.choice([1, 1, 1, 1, 2]))
    for step in steps:
        step(rng, changed)
    return changed, [step.__name__ for step in steps]
