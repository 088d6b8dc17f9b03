"""A time-stamping authority of RFC 3161 by `openssl ts`, behind a small HTTP server in this process."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OPENSSL = shutil.which("openssl")

_CONFIG = """
[tsa]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.5
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
_EXTENSIONS = """
[tsa]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
"""


@dataclass
class Authority:
    """Its files, its address, and a knob with which a test changes an answer."""

    directory: Path
    url: str = ""
    change: Callable[[int, bytes], tuple[int, bytes]] = lambda status, body: (status, body)
    queries: list[bytes] = field(default_factory=list)

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.directory, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr

    def make(self) -> None:
        self.directory.mkdir()
        (self.directory / "tsa.cnf").write_text(_CONFIG)
        (self.directory / "extensions.cnf").write_text(_EXTENSIONS)
        (self.directory / "serial").write_text("01\n")
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self.openssl(*new, "-x509", "-days", "30", "-subj", "/CN=Time CA", "-keyout", "ca.key", "-out", "ca.pem")
        self.openssl(*new, "-subj", "/CN=Time stamps", "-keyout", "tsa.key", "-out", "tsa.csr")
        sign = ("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        self.openssl(*sign, "-days", "30", "-extfile", "extensions.cnf", "-extensions", "tsa", "-out", "tsa.pem")

    def reply(self, query: bytes) -> bytes:
        (self.directory / "query").write_bytes(query)
        command = ("ts", "-reply", "-queryfile", "query", "-config", "tsa.cnf", "-section", "tsa", "-out", "answer")
        self.openssl(*command)
        return (self.directory / "answer").read_bytes()


@contextmanager
def authority(directory: Path) -> Iterator[Authority]:
    """An authority that answers over HTTP."""
    made = Authority(directory)
    made.make()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            made.queries.append(query)
            status, body = made.change(200, made.reply(query))
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: the test reads `queries`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/tsr"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()
