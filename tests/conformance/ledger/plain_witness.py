"""A witness of another make: C2SP tlog-witness on `http.server` and the second implementation, nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.conformance.ledger.tlog import Key, consistent


@dataclass
class PlainWitness:
    """What it signed, and knobs with which a test makes it strange."""

    key: Key
    url: str = ""
    latest: tuple[int, bytes, bytes] = (0, hashlib.sha256(b"").digest(), b"")
    requests: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    clock: Callable[[], float] = time.time
    answer: Callable[[int, bytes], tuple[int, bytes]] = lambda status, body: (status, body)
    gate: threading.Event = field(default_factory=threading.Event)
    """Answers wait for it."""

    def add_checkpoint(self, body: bytes) -> tuple[int, str, bytes]:
        with self.lock:
            self.requests.append(body)
            head, note = body.split(b"\n\n", 1)
            first, *lines = head.split(b"\n")
            old, proof = int(first.removeprefix(b"old ")), [base64.b64decode(each, validate=True) for each in lines]
            text = note.rpartition(b"\n\n")[0].decode() + "\n"
            size, root = int(text.split("\n")[1]), base64.b64decode(text.split("\n")[2])
            held, held_root, _ = self.latest
            if old > size:
                return 400, "text/plain", b"old size\n"
            if old != held:
                return 409, "text/x.tlog.size", f"{held}\n".encode()
            if (proof if old == 0 else not consistent(old, size, held_root, root, proof)) or len(proof) > 63:
                return 422, "text/plain", b"proof\n"
            line = self.key.cosign(text, int(self.clock())).encode()
            self.latest = size, root, note + line
            return 200, "text/plain", line

    def serve(self, path: str) -> tuple[int, bytes]:
        origin = self.latest[2].split(b"\n")[0]
        if self.latest[2] and path == f"/{hashlib.sha256(origin).hexdigest()}/checkpoint":
            return 200, self.latest[2]
        return 404, b""


@contextmanager
def plain_witness(name: str = "other.example/w", tls: tuple[Path, Path] | None = None) -> Iterator[PlainWitness]:
    """A witness that runs in threads of this process."""
    witness = PlainWitness(Key(name, 4))
    witness.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            witness.gate.wait(30)
            status, kind, answer = witness.add_checkpoint(body) if self.path == "/add-checkpoint" else (404, "", b"")
            status, answer = witness.answer(status, answer)
            self.respond(status, kind, answer)

        def do_GET(self) -> None:
            status, answer = witness.serve(self.path)
            self.respond(status, "text/plain", answer)

        def respond(self, status: int, kind: str, answer: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: the test reads `requests`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    witness.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield witness
    finally:
        witness.gate.set()
        server.shutdown()
        thread.join(20)
        server.server_close()
