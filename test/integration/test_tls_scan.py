"""
test_tls_scan - what sslscan and testssl.sh say about a listener, by STARTTLS and inside TLS: nothing
of MEDIUM or above.

testssl.sh takes minutes. WEIR_SCAN chooses: "quick" (default: protocols, the server's preferences and
certificates; STARTTLS, the first loop), "full" (everything, both kinds of listener, every loop).
"""
import json
import os
import subprocess
import xml.etree.ElementTree

import pytest

import conftest
import weirlab
import weirtls

SCAN = os.environ.get("WEIR_SCAN", "quick")
KINDS = ("starttls", "implicit")
QUICK = ["-p", "-P", "-S"]
BAD = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")


def run(argv, folder, seconds):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=folder,
                          stderr=subprocess.STDOUT, timeout=seconds, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


# ---- sslscan ----

def sslscan(proxy, kind, folder):
    report = os.path.join(folder, "sslscan.xml")
    argv = ["sslscan", "--no-colour", f"--sni-name={weirtls.NAME}", f"--xml={report}"]
    argv += ["--starttls-smtp"] if kind == "starttls" else []
    code, printed = run([*argv, weirlab.address_text(proxy.address)], folder, 120)
    assert code == 0, printed
    return xml.etree.ElementTree.parse(report).find("ssltest"), printed


@pytest.mark.parametrize("kind", KINDS)
def test_sslscan(secured, folder, kind):
    proxy = secured(tls=kind)
    found, printed = sslscan(proxy, kind, folder)
    versions = {p.get("type") + p.get("version"): p.get("enabled") for p in found.iter("protocol")}
    on = {name for name, enabled in versions.items() if enabled == "1"}
    assert on >= {"tls1.3"} and on <= {"tls1.2", "tls1.3"} and len(versions) == 6, printed
    # The scanner's TLS 1.2 offers 344 cipher suites; Debian 12's wolfSSL takes 150 at most.
    assert "tls1.2" in on or weirtls.is_system_library(), printed
    renegotiation = found.find("renegotiation")
    assert renegotiation.get("supported") == "0" or renegotiation.get("secure") == "1", printed
    assert [h for h in found.iter("heartbleed") if h.get("vulnerable") != "0"] == [], printed
    ciphers = [(c.get("cipher"), c.get("strength"), c.get("curve")) for c in found.iter("cipher")]
    assert ciphers, printed
    for cipher, strength, curve in ciphers:
        assert strength in ("strong", "acceptable") and curve, (cipher, strength, curve)
        assert cipher.startswith(("TLS_", "ECDHE-")), cipher
        assert "GCM" in cipher or "CHACHA20" in cipher, cipher
    groups = {g.get("name") for g in found.iter("group")}
    assert any("25519" in name for name in groups) and len(groups) <= 5, (groups, printed)


# ---- testssl.sh ----

def scan_with_testssl(proxy, pki, kind, folder, checks):
    report = os.path.join(folder, "testssl.json")
    argv = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip",
            "127.0.0.1", "--add-ca", pki.ca, "--jsonfile", report, *checks]
    argv += ["--starttls", "smtp"] if kind == "starttls" else []
    code, printed = run([*argv, f"{weirtls.NAME}:{proxy.port}"], folder, 3000)
    assert os.path.exists(report), (code, printed)
    with open(report, encoding="utf-8") as file:
        return json.load(file), printed


def check_findings(rows, printed, wanted):
    """Nothing bad, nothing fatal, and each of `wanted` was looked at."""
    names = {row["id"].split()[0] for row in rows}
    assert wanted <= names, (wanted - names, printed)
    bad = [row for row in rows if row["severity"] in BAD]
    assert not bad, (bad, printed)
    for row in rows:
        if row["severity"] not in ("OK", "INFO"):
            print(row["severity"], row["id"], row["finding"][:120])


WANTED = {"SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cert_trust",
          "cert_chain_of_trust", "cipher_order"}
WANTED_FULL = {"cipherlist_NULL", "cipherlist_3DES_IDEA", "PFS", "heartbleed", "CCS", "ROBOT",
               "secure_client_renego", "CRIME_TLS", "SWEET32", "FREAK", "DROWN", "LOGJAM", "BEAST",
               "LUCKY13", "RC4", "fallback_SCSV"}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_testssl(secured, pki, folder, io, kind):
    if SCAN != "full" and (kind, io) != ("starttls", conftest.LOOPS[0]):
        pytest.skip("WEIR_SCAN=full for this one")
    proxy = secured(tls=kind)
    rows, printed = scan_with_testssl(proxy, pki, kind, folder, [] if SCAN == "full" else QUICK)
    check_findings(rows, printed, WANTED | (WANTED_FULL if SCAN == "full" else set()))


def test_the_check_of_testssl_sees_bad_findings():
    row = {"id": "SSLv3", "severity": "HIGH", "finding": "offered"}
    with pytest.raises(AssertionError):
        check_findings([row], "", {"SSLv3"})
    with pytest.raises(AssertionError):
        check_findings([], "", {"SSLv3"})
    check_findings([dict(row, severity="LOW")], "", {"SSLv3"})
