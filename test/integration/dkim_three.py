"""Three verifiers of DKIM beside each other, ours, python3-dkim and Mail::DKIM, with keys of their own.

All of them get the same mails and the same records, from tables: nobody is asked on a network.
"""
import base64
import collections
import logging
import os
import shutil
import subprocess

import dkim
import nacl.encoding
import nacl.signing

import weirlab

NOW = 1700000000
DOMAINS = (b"good.example", b"sub.good.example", b"other.example")
JUDGE = shutil.which("perl") or "perl", os.path.join(os.path.dirname(__file__), "dkim_judge.pl")
PAIRS = [(head, body) for head in (b"simple", b"relaxed") for body in (b"simple", b"relaxed")]


# ---- keys and their records ----

class Key:
    def __init__(self, kind, folder):
        self.kind = kind
        self.is_rsa = kind.startswith("r")
        self.path = os.path.join(folder, kind + ".pem")
        if self.is_rsa:
            self._make_rsa(kind[1:])
        else:
            private = nacl.signing.SigningKey.generate()
            self.private = private.encode(nacl.encoding.Base64Encoder)
            self.p = private.verify_key.encode(nacl.encoding.Base64Encoder).decode()

    def _make_rsa(self, bits):
        openssl("genrsa", "-traditional", "-out", self.path, bits)
        public = openssl("rsa", "-in", self.path, "-pubout").split(b"\n")
        self.p = b"".join(public[1:-2]).decode()
        with open(self.path, "rb") as file:
            self.private = file.read()

    def record(self, form):
        k = "rsa" if self.is_rsa else "ed25519"
        spaced = " ".join(self.p[i:i + 60] for i in range(0, len(self.p), 60))
        return {"a": f"v=DKIM1; k={k}; p={self.p}", "b": f"k={k};h=sha256;s=email;t=y;p={self.p};",
                "c": f"v=DKIM1; k={k}; n=a=note; p={spaced}"}[form]


def openssl(*words):
    return subprocess.run(["openssl", *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


class World:
    """Keys, and the records of all selectors: sN, the key's kind, the record's form."""

    def __init__(self, folder):
        kinds = ["r1024"] * 4 + ["r2048"] * 6 + ["r4096"] + ["e25519"] * 4
        keys = {kind: Key(kind, folder) for kind in dict.fromkeys(kinds)}
        self.keys = [keys[kind] for kind in kinds]
        self.records = {}
        for key in keys.values():
            for number in range(3):
                for form in "abc":
                    for domain in DOMAINS:
                        name = f"s{number}{key.kind}{form}._domainkey.{domain.decode()}"
                        self.records[name] = key.record(form)

    def txt(self, name, timeout=5):
        del timeout
        text = self.records.get(name.decode("latin-1").rstrip(".").lower())
        return text.encode() if text else None


# ---- the three ----

class Perl:
    def __init__(self, world):
        self.process = subprocess.Popen(JUDGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name, text in world.records.items():
            assert self.ask("record", name, b64(text.encode())) == "ok"

    def ask(self, *words):
        self.process.stdin.write(" ".join(words).encode("ascii") + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode("ascii")
        assert answer.endswith("\n"), "Mail::DKIM is gone"
        return answer.strip()

    def sign(self, content, pair, domain, selector, key, how):
        method = b"/".join(pair).decode()
        answer = self.ask("sign", method, domain.decode(), selector.decode(), key.path, how, b64(content))
        return base64.b64decode(answer)

    def verify(self, content):
        """{selector: good ones}; of RSA alone, it knows no other."""
        answer = self.ask("verify", b64(content))
        results = [word.split("=") for word in answer.split() if answer != "-"]
        return collections.Counter(bytes.fromhex(selector).decode("latin-1")
                                   for selector, result in results if result == "pass")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


def b64(data):
    return base64.b64encode(data).decode()


class Dkimpy:
    def __init__(self, world):
        self.world = world
        logging.getLogger("dkimpy").propagate = False  # a line for each that is not good

    def is_good(self, judge, number):
        try:
            return bool(judge.verify(number, dnsfunc=self.world.txt))
        except Exception:  # it has many, also Python's own; each means that the signature is not good
            return False

    def verify(self, content):
        """{selector: good ones}."""
        try:
            judge = dkim.DKIM(content)
        except Exception:
            return collections.Counter()
        count = sum(name.lower() == b"dkim-signature" for name, _ in judge.headers)
        return collections.Counter(judge.selector.decode("latin-1") for number in range(count)
                                   if self.is_good(judge, number))


class Ours:
    def __init__(self, folder, world):
        self.folder = folder
        self.setup = "".join(f"add {name.encode().hex()} 16 {wire_text(text).hex()}\n"
                             for name, text in world.records.items())

    def verify(self, contents, rng):
        """[[(result, selector, reason)] of each]; `rng` cuts them into pieces."""
        lines = [self.setup]
        for number, content in enumerate(contents):
            path = os.path.join(self.folder, str(number))
            with open(path, "wb") as file:
                file.write(content)
            lines.append(f"verify {path} {NOW} {rng.choice([1, 2, 3, 17, 100, 4096, 100000])}\n")
        done = subprocess.run([os.path.join(weirlab.BUILD, "test", "probe", "verify_probe")], check=True,
                              input="".join(lines).encode(), stdout=subprocess.PIPE, timeout=600)
        answers = iter(done.stdout.decode("ascii").splitlines())
        results = []
        for count in answers:
            words = [next(answers).split(" ", 3) for _ in range(int(count))]
            assert all(len(word) == 4 for word in words), words
            results.append([(word[0], word[2], word[3]) for word in words])
        assert len(results) == len(contents)
        return results


def wire_text(text):
    data = text.encode()
    parts = [data[i:i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts)


# ---- the signers ----

def names_of(mail):
    return [text.split(b":")[0].strip().lower() for text in mail.fields]


def names_to_sign(rng, mail):
    """h= for dkimpy: what is there, some of it, repeated fields, and more often than there are."""
    names = [name for name in names_of(mail) if name != b"dkim-signature"]
    kind = rng.randrange(4)
    if kind == 1:
        names = [name for name in names if rng.random() < 0.5]
    if kind == 2:
        names += rng.sample(names, rng.randrange(len(names))) + [b"x-nobody", b"reply-to"]
    if kind == 3:
        names += names
    rng.shuffle(names)
    return names if b"from" in names else [b"from"] + names


def how_to_sign(rng, mail):
    """The same for Mail::DKIM."""
    chosen = {name.decode(): rng.choice("*+12") for name in names_of(mail)
              if name != b"dkim-signature" and rng.random() < 0.7}
    chosen["from"] = rng.choice("*+")
    return ",".join(f"{name}={how}" for name, how in sorted(chosen.items()))


class Signer:
    def __init__(self, world, perl):
        self.world, self.perl = world, perl
        self.made = collections.Counter()

    def sign_once(self, rng, mail, number):
        key = rng.choice(self.world.keys)
        pair, domain = rng.choice(PAIRS), rng.choice(DOMAINS)
        selector = f"s{number}{key.kind}{rng.choice('abc')}".encode()
        with_perl = key.is_rsa and rng.random() < 0.5
        if with_perl:
            field = self.perl.sign(mail.content(), pair, domain, selector, key, how_to_sign(rng, mail))
        else:
            field = self.sign_with_dkimpy(rng, mail, pair, domain, selector, key)
        self.made["Mail::DKIM" if with_perl else "dkimpy", key.kind, b"/".join(pair).decode()] += 1
        mail.fields.insert(0, field)

    @staticmethod
    def sign_with_dkimpy(rng, mail, pair, domain, selector, key):
        algorithm = b"rsa-sha256" if key.is_rsa else b"ed25519-sha256"
        signer = dkim.DKIM(mail.content(), signature_algorithm=algorithm)
        signer.should_not_sign = set()
        return signer.sign(selector, domain, key.private, canonicalize=pair,
                           identity=rng.choice([None, b"u@" + domain]), include_headers=names_to_sign(rng, mail))

    def sign(self, rng, mail):
        for number in range(rng.choice([1, 1, 1, 1, 2, 2, 3])):
            self.sign_once(rng, mail, number)
