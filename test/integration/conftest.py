"""
conftest - fixtures: a directory per test, the proxy on each loop, and the servers behind it.

Environment: MAILWEIR_BUILD (where the programs are, default build/), WEIR_IO (default
"io_uring,epoll"), WEIR_VERIFY (mode of those that do not care, default off), WEIR_PATIENCE (seconds an event may take, default 20), WEIR_KEEP=1 (keep the
files of tests that passed; those of failed tests always stay).
"""
import os
import shutil
import tempfile

import pytest

import weirlab
import weirpeer
import weirpki
import weirtls

LOOPS = os.environ.get("WEIR_IO", "io_uring,epoll").split(",")


def pytest_report_header():
    return f"mailweir: {weirlab.BUILD}; io: {', '.join(LOOPS)}"


def pytest_generate_tests(metafunc):
    if "io" in metafunc.fixturenames:
        metafunc.parametrize("io", LOOPS)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().failed:
        item.config.weir_failed = True


@pytest.fixture(scope="session")
def lab(request):
    """The directory of this run. Short (unix sockets), and open to the users that postfix has."""
    request.config.weir_failed = False
    path = tempfile.mkdtemp(prefix="weir-")
    os.chmod(path, 0o755)
    yield path
    if request.config.weir_failed or os.environ.get("WEIR_KEEP"):
        print(f"\nfiles are kept in {path}")
    else:
        shutil.rmtree(path)


@pytest.fixture
def folder(lab):
    path = tempfile.mkdtemp(prefix="t", dir=lab)
    os.chmod(path, 0o755)
    return path


@pytest.fixture
def stops():
    """Objects to be stopped when the test ends, the newest first."""
    things = []
    yield things
    errors = []
    for thing in reversed(things):
        try:
            thing.end() if hasattr(thing, "end") else thing.stop()
        except Exception as error:  # the others must be stopped as well
            errors.append(error)
    assert not errors, errors


@pytest.fixture
def sink(folder, stops):
    """Starts a weir-sink: sink(*rules, extensions=None, ...)."""
    def start(*rules, **options):
        options.setdefault("name", f"sink{len(stops)}")
        stops.append(weirlab.WeirSink(folder, rules, **options))
        return stops[-1]
    return start


@pytest.fixture
def weir(folder, stops, io):
    """Starts the proxy on the loop under test: weir(server, ..., config={...})."""
    def start(*servers, **options):
        addresses = [getattr(server, "address", server) for server in servers]
        if io == "direct":
            return weirlab.Direct(addresses[0])
        options.setdefault("name", f"mailweir{len(stops)}")
        stops.append(weirlab.Mailweir(folder, io, addresses, **options))
        return stops[-1]
    return start


@pytest.fixture
def secured(weir, sink, pki):
    """The proxy with TLS in front of a sink: secured(certificate, ..., tls="implicit"). The sink
    is its `sink`; `rules` are for that."""
    def start(*certificates, rules=(), **options):
        server = sink(*rules)
        chosen = certificates or (pki.ec, pki.rsa)
        proxy = weir(server, config=weirtls.settings(*chosen, **options))
        proxy.sink = server
        return proxy
    return start


@pytest.fixture
def smtp_sink(folder, stops):
    stops.append(weirlab.SmtpSink(folder))
    return stops[-1]


@pytest.fixture
def aio_sink(stops):
    stops.append(weirlab.AioSink())
    return stops[-1]


@pytest.fixture
def peer(stops):
    """Starts an SMTP server with TLS in this process: peer(pair, ...)."""
    def start(pair, version=None, **options):
        stops.append(weirpeer.Peer(weirpeer.server_context(pair, version), **options))
        return stops[-1]
    return start


@pytest.fixture(scope="session")
def peer_pki(lab):
    """Certificates of the servers behind the proxy."""
    return weirpki.Pki(os.path.join(lab, "peer-pki"))


@pytest.fixture(scope="session")
def pki(lab):
    """One authority for the whole run."""
    return weirtls.Pki(os.path.join(lab, "pki"))


@pytest.fixture(scope="session")
def postfix(lab):
    """One receiving postfix for the whole run; tests take a mailbox each."""
    server = weirlab.Postfix(os.path.join(lab, "postfix"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sending_postfix(lab):
    """One that relays everything to `relay_port`, where a test puts what it likes."""
    port = weirlab.free_port()
    server = weirlab.Postfix(os.path.join(lab, "sending"), "out", f"[127.0.0.1]:{port}")
    server.relay_port = port
    yield server
    server.stop()
