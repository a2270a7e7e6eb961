"""DKIM beside two other verifiers, python3-dkim and Mail::DKIM, over mails that are made and then changed.

    dkim_mails.py --> signed by dkimpy or Mail::DKIM --> changed --> ours (verify_probe)
                                                                     dkimpy, Mail::DKIM: the judges

For each selector the number of good signatures must be equal in all three. Where it is not, the difference
needs one of the explanations below. What is good here is good for a judge as well, if only once a step of the
RFC that it leaves out has been made for it; otherwise it is a false pass. Mail::DKIM knows no Ed25519: dkimpy
judges those alone.

WEIR_LONG=1 makes 20 000 mails of it (WEIR_MAILS=N that many); WEIR_SEED=N chooses which, and is printed. The
keys are new each time.
"""
import collections
import os
import random
import re
import types
from unittest import mock

import dkim
import pytest

import dkim_mails
import dkim_three

MAILS = int(os.environ.get("WEIR_MAILS", "20000" if os.environ.get("WEIR_LONG") else "2000"))
SEED = int(os.environ.get("WEIR_SEED", "20261124"))
VARIANTS = 4  # of each mail that is signed, beside itself
BATCH = 500

FIELD_START = rb"(?:\A|(?<=\r\n))([\x21-\x39\x3b-\x7e]+)"
BASE64 = rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"


def header_of(content):
    return content.partition(b"\r\n\r\n")[0]


def fields_of(content):
    return re.split(rb"\r\n(?![ \t])", header_of(content))


# ---- differences: why a judge that says no is wrong ----
#
# Each repair is a step that the RFC prescribes and a judge leaves out. It is made for them, and they are asked
# again: they must say then what is said here.

def with_line_end(content):
    header, empty_line, body = content.partition(b"\r\n\r\n")
    return content + b"\r\n" if empty_line and body and not body.endswith(b"\r\n") else content


def without_space_before_colon(content):
    header = header_of(content)
    return re.sub(FIELD_START + rb"[ \t]+:", rb"\1:", header) + content[len(header):]


REPAIRS = [
    ("RFC 6376, 3.4.3 and 3.4.4: a CRLF is added to a body that does not end in one", with_line_end),
    ("RFC 6376, 3.4.2: MUST delete white space before the colon", without_space_before_colon),
]


# ---- differences: why a judge that says yes is wrong ----

def has_bare_cr_or_lf(case):
    return re.search(rb"\r(?!\n)|(?<!\r)\n", case.content)


def has_line_that_is_no_field(case):
    return not all(re.match(FIELD_START + rb"[ \t]*:", field) for field in fields_of(case.content))


def has_not_one_author(case):
    names = [field.split(b":")[0].strip().lower() for field in fields_of(case.content)]
    return names.count(b"from") != 1


def has_bad_base64(case):
    """In b= or bh= of one of its signatures."""
    for field in fields_of(case.content):
        for value in re.findall(rb"[;\s]bh?[ \t\r\n]*=([^;]*)", field) if case.selector.encode() in field else ():
            if not re.fullmatch(BASE64, re.sub(rb"[ \t\r\n]", b"", value)):
                return True
    return False


def has_header_without_end(case):
    return b"\r\n\r\n" not in case.content and not case.content.endswith(b"\r\n")


REFUSALS = [
    ("RFC 5322, 2.3: CR and LF MUST only occur together as CRLF", has_bare_cr_or_lf),
    ("RFC 5322, 2.2: a field name MUST be composed of printable US-ASCII characters", has_line_that_is_no_field),
    ("RFC 5322, 3.6: there is exactly one From field, and RFC 6376, 5.4: it MUST be signed", has_not_one_author),
    ("RFC 4648, 3.2 and 3.3: padding MUST be there, other characters MUST be rejected", has_bad_base64),
    ("RFC 5322, 2.2: a field ends in CRLF", has_header_without_end),
]


class Case:
    """One mail, and how many good signatures of one selector each of the three finds."""

    def __init__(self, content, selector, ours, judges):
        self.content, self.selector, self.ours = content, selector, ours
        self.judges = judges[:1] if "e25519" in selector else judges

    def is_equal(self):
        return all(judge == self.ours for judge in self.judges)

    def is_false_pass(self):
        return self.ours > max(self.judges)

    def refusal(self):
        """The clause by which ours finds fewer than a judge."""
        if any(judge < self.ours for judge in self.judges):
            return None
        return next((clause for clause, applies in REFUSALS if applies(self)), None)


class Run:
    def __init__(self, folder):
        self.folder = folder
        self.world = dkim_three.World(folder)
        self.perl = dkim_three.Perl(self.world)
        self.dkimpy = dkim_three.Dkimpy(self.world)
        self.ours = dkim_three.Ours(folder, self.world)
        self.signer = dkim_three.Signer(self.world, self.perl)
        self.explained = collections.Counter()
        self.words = collections.Counter()
        self.changes = collections.defaultdict(collections.Counter)
        self.good = collections.Counter()
        self.at_first_alone = 0  # good here, and for the judges once they had been helped
        self.mails = 0
        self.failures = []

    def make(self, number):
        """[(content, what was changed)]: a signed mail, and its variants."""
        rng = random.Random(f"{SEED}/{number}")
        mail = dkim_mails.make(rng)
        self.signer.sign(rng, mail)
        variants = [dkim_mails.change(rng, mail) for _ in range(VARIANTS)]
        return [(mail.content(), ["nothing"])] + [(variant.content(), steps) for variant, steps in variants]

    def judge(self, content):
        return [self.dkimpy.verify(content), self.perl.verify(content)]

    def explain(self, case):
        """A clause, or None. What is left when a step has been made for the judges is a case by itself."""
        repaired, clauses = case.content, []
        for clause, repair in REPAIRS:
            before, repaired = repaired, repair(repaired)
            clauses += [clause] if repaired != before else []
        if clauses:
            judges = [judge[case.selector] for judge in self.judge(repaired)]
            case = Case(repaired, case.selector, case.ours, judges)
        if case.is_equal():
            return "; ".join(clauses)
        return case.refusal()

    def compare(self, content, steps, found, judges):
        ours = collections.Counter(selector for result, selector, _ in found if result == "pass")
        for selector in set(ours) | set(judges[0]) | set(judges[1]):
            case = Case(content, selector, ours[selector], [judge[selector] for judge in judges])
            if case.is_equal():
                continue
            clause = self.explain(case)
            if clause is None:
                self.fail(case, steps, found)
            else:
                self.explained[clause] += 1
                self.at_first_alone += case.is_false_pass()

    def fail(self, case, steps, found):
        path = os.path.join(self.folder, f"difference-{len(self.failures)}.eml")
        with open(path, "wb") as file:
            file.write(case.content)
        kind = "FALSE PASS" if case.is_false_pass() else "difference"
        self.failures.append(f"{kind}: {path}: {case.selector}: ours {case.ours}, dkimpy and Mail::DKIM "
                             f"{case.judges}, changed by {steps}, ours says {found}")

    def batch(self, mails, seed):
        results = self.ours.verify([content for content, _ in mails], random.Random(seed))
        for (content, steps), found in zip(mails, results):
            self.mails += 1
            self.words.update(result for result, _, _ in found)
            for step in steps:
                self.changes[step].update("good" if result == "pass" else "bad" for result, _, _ in found)
            judges = self.judge(content)
            self.good.update(dkimpy=sum(judges[0].values()), perl=sum(judges[1].values()))
            self.compare(content, steps, found, judges)

    def run(self, count):
        mails, number = [], 0
        while self.mails < count:
            mails += self.make(number)
            number += 1
            if len(mails) >= min(BATCH, count - self.mails):
                self.batch(mails, number)
                mails = []

    def report(self):
        lines = [f"seed {SEED}: {self.mails} mails, {sum(self.words.values())} signatures: {dict(self.words)}",
                 f"good for dkimpy {self.good['dkimpy']}, for Mail::DKIM (RSA alone) {self.good['perl']}"]
        false = sum(failure.startswith("FALSE") for failure in self.failures)
        lines += [f"false passes {false}, unexplained differences {len(self.failures) - false}; good here, and for "
                  f"the judges once the step was made for them: {self.at_first_alone}"]
        lines += [f"  explained {count:6}  {clause}" for clause, count in self.explained.most_common()]
        lines += [f"  {step:24} good {counts['good']:6}  bad {counts['bad']:6}"
                  for step, counts in sorted(self.changes.items())]
        lines += [f"  signed {count:6}  {' '.join(how)}" for how, count in sorted(self.signer.made.items())]
        return "\n".join(lines)


@pytest.fixture
def run(folder, stops):
    with mock.patch.object(dkim, "time", types.SimpleNamespace(time=lambda: dkim_three.NOW)):
        made = Run(folder)
        stops.append(made.perl)
        yield made


@pytest.mark.timeout(7200)
def test_equal_to_two_judges(run):
    run.run(MAILS)
    print(run.report())
    false = [failure for failure in run.failures if failure.startswith("FALSE")]
    assert not false, "\n".join(false[:20])
    assert not run.failures, f"{len(run.failures)} of\n" + "\n".join(run.failures[:20])
    # Neither all good nor all bad, with each signer, key and form; else nothing was compared.
    bad = sum(run.words.values()) - run.words["pass"]
    assert min(run.words["pass"], bad) > 0.3 * sum(run.words.values())
    made = {(signer, kind) for signer, kind, _ in run.signer.made}
    assert made == {("dkimpy", "r1024"), ("dkimpy", "r2048"), ("dkimpy", "r4096"), ("dkimpy", "e25519"),
                    ("Mail::DKIM", "r1024"), ("Mail::DKIM", "r2048"), ("Mail::DKIM", "r4096")}
    assert len({pair for _, _, pair in run.signer.made}) == 4
    assert {step.__name__ for step in dkim_mails.CHANGES} < set(run.changes)


def test_the_comparison_finds_a_verifier_that_is_wrong(run):
    """Verdicts over another mail than the one that the judges see: too good ones, and too bad ones."""
    contents = [run.make(number)[0][0] for number in range(40)]
    signed = [content for content in contents if content.endswith(b"\r\n") and b"\r\n\r\n" in content]
    changed = [content + b"more\r\n" for content in signed]
    judged = {False: [run.judge(content) for content in signed], True: [run.judge(content) for content in changed]}
    found = run.ours.verify(signed, random.Random(1))
    for content, words, judges in zip(changed, found, judged[True]):
        run.compare(content, ["more"], words, judges)
    assert len(run.failures) >= len(changed) > 10 and all(text.startswith("FALSE PASS") for text in run.failures)
    run.failures.clear()
    found = run.ours.verify(changed, random.Random(1))
    for content, words, judges in zip(signed, found, judged[False]):
        run.compare(content, ["nothing"], words, judges)
    assert len(run.failures) >= len(changed) and all(text.startswith("difference") for text in run.failures)
    assert not run.explained
