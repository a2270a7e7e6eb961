"""The rig of bench/compare: the processes that take part, and what is measured on one of them.

A Server is alive within `with`, each time on a new port; a Candidate is one of the proxies.
"""
import os
import re
import socket
import subprocess
import time

from harness.meter import cpu_times, memory_kib
from harness.process import Failed, end, find_program, read, spawn, wait_for

SOURCE_SESSIONS, MESSAGE_BYTES, WARM_UP_MESSAGES = 50, 1024, 1000
LARGE_BYTES = 26214400
SETTLE_S, START_S, REPLY_S, RUN_S = 0.3, 10, 20, 300
NGINX_MODULE = "/usr/lib/nginx/modules/ngx_mail_module.so"

MAILWEIR_INI = """[proxy]
hostname = bench.example
workers = {workers}
io = {option}
[listen:mx]
bind = 127.0.0.1:{port}
upstream = default
[upstream:default]
server = 127.0.0.1:{sink}
[verify]
mode = off
[log]
target = {log}
level = info
"""
HAPROXY_CFG = """global
    nbthread {workers}
    maxconn {connections}
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    {option}
listen smtp
    bind 127.0.0.1:{port} backlog 4096
    server sink 127.0.0.1:{sink}
"""
NGINX_CONF = """load_module {option};
daemon off; user {user}; worker_processes {workers}; pid {log}.pid; error_log {log} error;
events {{ worker_connections {connections}; }}
http {{ access_log off; server {{ listen 127.0.0.1:{helper}; location / {{
    add_header Auth-Status OK; add_header Auth-Server 127.0.0.1; add_header Auth-Port {sink};
    return 204; }} }} }}
mail {{ auth_http 127.0.0.1:{helper}/; server {{ listen 127.0.0.1:{port} backlog=4096;
    protocol smtp; smtp_auth none; xclient off; timeout 1h; }} }}
"""


def expect(connection, code):
    """Reads one whole reply and holds it against the code."""
    reply = piece = connection.recv(4096)
    while piece and not re.search(rb"^\d{3}( [^\n]*)?\r\n\Z", reply, re.M):
        piece = connection.recv(4096)
        reply += piece
    if not reply.startswith(code):
        raise Failed(f"reply {reply[:80]!r}")


class Server:
    """A process with a port and a log: alive within `with`, each time on a new port."""

    def __init__(self, bench, name, command, text="", proof="", **values):
        self.bench, self.name, self.command = bench, name, command
        self.text, self.proof, self.values = text, proof, values
        self.log = os.path.join(bench.folder, f"{name}.log".replace(" ", "-"))

    def __enter__(self):
        self.port = next(self.bench.ports)
        values = dict(self.bench.values, **self.values, port=self.port, log=self.log,
                      helper=next(self.bench.ports))
        with open(self.log + ".conf", "w", encoding="utf-8") as file:
            file.write(self.text.format(**values))
        with open(self.log, "wb") as log:
            self.process = spawn([part.format(config=self.log + ".conf", **values)
                                  for part in self.command], stdout=log, stderr=log)
        main = self.process.pid
        if not wait_for(self.is_up, START_S) or self.process.poll() is not None:
            end(self.process)
            raise Failed(f"{self.name} does not start: {read(self.log)[-300:]}")
        time.sleep(SETTLE_S)
        self.pids = [main, *map(int, read(f"/proc/{main}/task/{main}/children").split())]
        return self

    def __exit__(self, *_):
        end(self.process)

    def is_up(self):
        """Listens, and says in its log what it must; or has ended."""
        if self.process.poll() is not None:
            return True
        with socket.socket() as probe:
            listens = probe.connect_ex(("127.0.0.1", self.port)) == 0
        return listens and self.proof in read(self.log)

    def sink_count(self):
        """Of smtp-sink: messages that arrived complete."""
        with open(self.log, "rb") as log:
            log.seek(max(0, os.path.getsize(self.log) - 200))
            found = re.findall(rb"mesg=(\d+)\r", log.read())
        return int(found[-1]) if found else 0


class Candidate(Server):
    """One of the proxies that are compared."""

    def send(self, messages, kept=True, size=MESSAGE_BYTES, sessions=SOURCE_SESSIONS):
        """Runs smtp-source; returns its seconds. Fails unless every message arrived."""
        sink = self.bench.sink
        before = sink.sink_count()
        start = time.monotonic()
        what = ["-F", self.values["mail"]] if "mail" in self.values else ["-l", str(size)]
        source = spawn([find_program("smtp-source"), "-s", str(sessions), *what, "-m", str(messages),
                        "-f", self.values.get("sender", "sender@client.example"),
                        *(["-d"] if kept else []),
                        f"{self.values.get('host', '127.0.0.1')}:{self.port}"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            said = source.communicate(timeout=RUN_S)[0].decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            said = f"not done after {RUN_S} s"
        finally:
            end(source)
        seconds = time.monotonic() - start
        if source.returncode != 0 or said:
            raise Failed(f"{self.name}: smtp-source: {said[:200]} (status {source.returncode})")
        wait_for(lambda: sink.sink_count() - before >= messages, 2)
        if sink.sink_count() - before != messages:
            raise Failed(f"{self.name}: sent {messages}, arrived {sink.sink_count() - before}")
        return seconds

    def open_sessions(self, count):
        """That many client sessions, each greeted and its EHLO answered."""
        sockets = []
        try:
            for _ in range(count):
                sockets.append(socket.create_connection(("127.0.0.1", self.port), REPLY_S))
                expect(sockets[-1], b"220")
                sockets[-1].sendall(b"EHLO client.example\r\n")
                expect(sockets[-1], b"250")
        except (OSError, Failed) as error:
            raise Failed(f"{self.name}: session {len(sockets)} of {count}: {error}") from error
        return sockets

    def sample(self, messages, kept, idle=0):
        """CPU per message, beside idle sessions and after a warm-up."""
        with self:
            sockets = self.open_sessions(idle)
            self.send(WARM_UP_MESSAGES, kept)
            time.sleep(SETTLE_S)
            before = cpu_times(self.pids)
            seconds = self.send(messages, kept)
            time.sleep(SETTLE_S)
            total, user, system = (b - a for a, b in zip(before, cpu_times(self.pids)))
            self.prove()
            del sockets
        cpu = total / 1000 / messages
        user_us = cpu * user / max(1, user + system)
        return {"cpu_us": cpu, "user_us": user_us, "sys_us": cpu - user_us,
                "per_second": messages / seconds, "seconds": seconds}

    def prove(self):
        """For those whose work must be seen to have been done."""

    def session_kib(self, count):
        """Resident memory of an idle session: greeted, EHLO answered."""
        with self:
            self.send(WARM_UP_MESSAGES)
            time.sleep(SETTLE_S)
            before, sockets = memory_kib(self.pids), self.open_sessions(count)
            time.sleep(SETTLE_S)
            after = memory_kib(self.pids)
            del sockets
        return (after - before) / count

    def sessions_lost(self, count):
        """Opens them all, then each must answer NOOP."""
        with self:
            sockets = self.open_sessions(count)
            try:
                for connection in sockets:
                    connection.sendall(b"NOOP\r\n")
                for connection in sockets:
                    expect(connection, b"250")
            except OSError as error:
                raise Failed(f"{self.name}: NOOP: {error}") from error
        return 0

    def growth_mib(self, count):
        """By how much the peak of Rss during large messages exceeds what it was before."""
        with self:
            self.send(WARM_UP_MESSAGES)
            for pid in self.pids:
                with open(f"/proc/{pid}/clear_refs", "w", encoding="utf-8") as file:
                    file.write("5")  # the peak begins anew
            before = memory_kib(self.pids)
            self.send(count, True, LARGE_BYTES, 1)
            return (memory_kib(self.pids, "status", "VmHWM") - before) / 1024
