"""`tdz-ledger witness serve` as a process, and requests to it byte by byte."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Answer:
    status: int
    type: str
    body: bytes

    @property
    def line(self) -> str:
        return self.body.decode()


@dataclass
class Witness:
    """A witness that runs."""

    directory: Path
    url: str
    vkey: str
    process: subprocess.Popen[str]
    log: Path

    def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        connection = self.connect()
        try:
            return exchange(connection, method, path, body)
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)

    def socket(self) -> socket.socket:
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname, parts.port), timeout=20)

    def add(self, body: bytes) -> Answer:
        return self.ask("POST", f"{urlsplit(self.url).path}/add-checkpoint", body)

    def command(self, *arguments: str) -> dict[str, object]:
        return command(*arguments, str(self.directory))

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=20)


def exchange(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> Answer:
    connection.request(method, path, body)
    response = connection.getresponse()
    return Answer(response.status, response.getheader("Content-Type", ""), response.read())


def command(*arguments: str) -> dict[str, object]:
    """Run `tdz-ledger witness … --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "ledger", "witness", *arguments, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@contextmanager
def running(directory: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Witness]:
    """A witness in a directory, made where it is not there yet."""
    if not directory.exists():
        command("init", str(directory), "--name", "witness.example/w1")
    log = directory.with_name(f"{directory.name}.log")
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger", "witness", "serve", str(directory), "--json", *options]
            + ([] if "--listen" in options else ["--listen", "127.0.0.1:0"]),
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        said = json.loads(line)
        yield Witness(directory, said["url"], said["vkey"], process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()
