"""
test_readme - the commands and the configuration that README.md shows are run as they stand there.

A fenced block whose info string has "test:NAME" is taken: `run` starts and is stopped again, `once`
must succeed command by command, `config` is a configuration that mailweir accepts. Ports come from
the environment (PORT, SINK_PORT), the build folder is the one under test.
"""
import json
import os
import re
import signal
import socket
import subprocess

import pytest

import weirlab

# `make` without SAN must not touch a folder that holds a sanitizer's build.
pytestmark = pytest.mark.skipif(os.path.basename(weirlab.BUILD) in ("asan", "tsan"),
                                reason="README's commands build without a sanitizer")
BLOCK = re.compile(r"^```\w+ test:(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(name):
    with open(os.path.join(weirlab.REPO, "README.md"), encoding="utf-8") as file:
        found = [text for kind, text in BLOCK.findall(file.read()) if kind == name]
    assert found, f"README.md has no block test:{name}"
    return found


def environment(**more):
    """Of somebody at a shell: nothing of the make that may have started this test."""
    result = {name: value for name, value in os.environ.items()
              if name not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "SAN", "OPT")}
    return dict(result, B=weirlab.BUILD, **{name: str(value) for name, value in more.items()})


class Run:
    """One `make run` in a process group of its own."""

    def __init__(self, folder, io="auto"):
        self.port = weirlab.free_port()
        self.sink_port = weirlab.free_port()
        self.output = os.path.join(folder, "run.output")
        self.pid_file = os.path.join(weirlab.BUILD, "run", "pid")
        self.journal = os.path.join(weirlab.BUILD, "run", "mail", "journal")
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                blocks("run")[0], shell=True, cwd=weirlab.REPO, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                # As at a terminal, also where these tests run in the background: a shell cannot
                # trap what was ignored when it began.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                env=environment(PORT=self.port, SINK_PORT=self.sink_port, IO=io))

    def text(self):
        with open(self.output, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_until_serving(self):
        def serving():
            assert self.process.poll() is None, self.text()
            return "records follow here" in self.text()
        weirlab.wait_until(serving, "make run serves", 300)

    def records(self):
        lines = [line for line in self.text().splitlines() if line.startswith('{"event"')]
        return [json.loads(line) for line in lines]

    def is_gone(self):
        return not any(weirlab.is_listening(("127.0.0.1", port))
                       for port in (self.port, self.sink_port))

    def end(self):
        """After a failed test: the group's own end, so that nothing stays behind."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)


@pytest.fixture
def make_run(folder, stops):
    def start(io="auto"):
        stops.append(Run(folder, io))
        return stops[-1]
    return start


def test_make_run_on_each_loop(make_run, io):
    """README's first command: a message goes through, its record shows, SIGTERM ends all with 0."""
    run = make_run(io)
    run.wait_until_serving()
    record = run.records()[-1]
    assert record["verdict"] == "accept" and record["reply"]["code"] == 250, record
    assert record["rcpt"] == [{"to": "bob@example.org", "code": 250}], record
    assert f"on {io}" in run.text()
    with open(run.journal, encoding="utf-8") as journal:
        assert json.loads(journal.readlines()[-1])["rcpt"] == ["bob@example.org"]
    with open(run.pid_file, encoding="utf-8") as file:
        os.kill(int(file.read()), signal.SIGTERM)
    assert run.process.wait(60) == 0, run.text()
    assert run.is_gone()


def test_make_run_ends_with_ctrl_c(make_run):
    """Ctrl-C reaches the whole group; both servers are gone when the command has ended."""
    run = make_run()
    run.wait_until_serving()
    assert "  CC " not in run.text(), "what was built is built again"
    os.killpg(run.process.pid, signal.SIGINT)
    run.process.wait(60)
    assert "stopping" in run.text()
    assert run.is_gone()


def test_make_run_names_a_taken_port(make_run):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = subprocess.run(
            ["make", "run"], cwd=weirlab.REPO, stdin=subprocess.DEVNULL, capture_output=True,
            env=environment(PORT=port, SINK_PORT=weirlab.free_port()), text=True,
            timeout=300)
    assert result.returncode != 0
    assert f"port {port} on 127.0.0.1 is taken" in result.stderr, result.stderr


@pytest.mark.parametrize("number", range(len(blocks("once"))))
def test_commands(number):
    text = blocks("once")[number].replace("build/", weirlab.BUILD + "/")
    result = subprocess.run(["bash", "-e", "-c", text], cwd=weirlab.REPO, env=environment(),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=600)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("number", range(len(blocks("config"))))
def test_configuration(folder, number):
    path = os.path.join(folder, "proxy.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(blocks("config")[number])
    result = subprocess.run([os.path.join(weirlab.BUILD, "mailweir"), "-t", "-c", path],
                            capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr
