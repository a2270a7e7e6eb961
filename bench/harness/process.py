"""Processes of a measurement: each is started here, known by its pid, and ended by it.

end_all() is for the way out, whatever happened. What could not be measured is a Failed with the reason.
"""
import os
import shutil
import socket
import subprocess
import time

STOP_S = 40

live = []  # every process that we started and have not waited for


class Failed(Exception):
    """Something could not be measured; the text says why."""


def spawn(command, **more):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **more)
    live.append(process)
    return process


def end(process):
    """By its own pid: politely, then not."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    live.remove(process)


def end_all():
    """The way out: those that are still there have lost their `with`."""
    for process in live:
        process.kill()
        process.wait()


def find_program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_ports():
    """Below the ephemeral range, so that no outgoing connection takes one meanwhile."""
    for port in range(21000, 32000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def wait_for(question, limit_s):
    deadline = time.monotonic() + limit_s
    while not question() and time.monotonic() < deadline:
        time.sleep(0.02)
    return question()


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
