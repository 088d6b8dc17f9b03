"""The witness over HTTP: C2SP tlog-witness, the monitoring path, its own key, and a health check.

Needs the extra ``witness``. Everything that a client sends is bounded here.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from aiohttp import web

from ledger.errors import (
    BadProofError,
    BadRequestError,
    BadSignatureError,
    LedgerError,
    MirrorError,
    OldSizeError,
    UnknownOriginError,
)
from ledger.witness.protocol import ADD_CHECKPOINT, MAX_BODY_BYTES, SIZE_TYPE
from ledger.witness.store import ForkKept, WitnessStore

__all__ = ["WitnessServer"]

MAX_CONNECTIONS: Final = 512
MAX_IN_FLIGHT: Final = 64
BODY_DEADLINE_S: Final = 10.0
KEEPALIVE_S: Final = 60.0
"""How long a connection may wait between requests; a request's headers must have come by then, too."""
STOP_DEADLINE_S: Final = 10.0

_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_STATUS: Final = (
    (UnknownOriginError, 404),
    (BadSignatureError, 403),
    (OldSizeError, 409),
    (BadProofError, 422),
    (BadRequestError, 400),
)
_T = TypeVar("_T")
_log = logging.getLogger("ledger.witness")


class WitnessServer:
    """Serves one witness until :meth:`stop`.

    Args:
        store: the witness; this server calls it from one thread.
        host: where to listen.
        port: 0 lets the system choose.
        prefix: what stands before each path, such as ``/witness``.
        tls: None where a proxy stands before it, or on loopback. The protocol needs no secrecy: checkpoints are
            public, and its answers are signed.
    """

    def __init__(
        self, store: WitnessStore, *, host: str, port: int, prefix: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise BadRequestError(f"{prefix!r} is no prefix", remedy="write it as /witness, without a last slash")
        self._store = store
        self._host = host
        self._tls = tls
        self.port = port
        self.failed: asyncio.Event = asyncio.Event()
        """Set when the database failed in a way after which nothing may be signed."""
        self._in_flight = 0
        self._worker = ThreadPoolExecutor(1, "witness")
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                web.post(f"{prefix}{ADD_CHECKPOINT}", self._add_checkpoint),
                web.get(f"{prefix}/{{origin:[0-9a-f]{{64}}}}/checkpoint", self._checkpoint),
                web.get(f"{prefix}/vkey", self._vkey),
                web.get(f"{prefix}/health", self._health),
            ]
        )
        self._runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=STOP_DEADLINE_S,
            max_line_size=4096,
            max_field_size=4096,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken, or not ours.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Take no more requests, finish those that run, close the store."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        await asyncio.to_thread(self._worker.shutdown)
        self._store.close()

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _TooMany()
        return server()

    # --- what is served ---------------------------------------------------------------------------------

    async def _add_checkpoint(self, request: web.Request) -> web.Response:
        if self._in_flight >= MAX_IN_FLIGHT:
            return _text(503, "too many requests at once", {"Retry-After": "1"})
        self._in_flight += 1
        started = time.monotonic()
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                body = await request.read()
            return await self._judge(body, started)
        except TimeoutError:
            return _text(408, f"the body did not come within {BODY_DEADLINE_S:g} s")
        except ConnectionError:
            return _text(400, "the body did not come")  # nobody is left to read it
        finally:
            self._in_flight -= 1

    async def _judge(self, body: bytes, started: float) -> web.Response:
        try:
            done = await self._run(lambda: self._store.add_checkpoint(body))
        except ForkKept as fork:
            _log.error("FORK: %s; kept as %s; its log is frozen", fork.message, fork.path or "its reason alone")
            if fork.old_size != fork.held_size:
                return _size(fork.held_size)
            return _text(422, fork.message)
        except MirrorError as error:
            status = _status(error)
            _log.info("add-checkpoint %d: %s", status, _printable(error.message))
            return _size(error.held_size) if isinstance(error, OldSizeError) else _text(status, error.message)
        except (LedgerError, sqlite3.Error, OSError) as error:
            return self._unable(error)
        took = (time.monotonic() - started) * 1000
        checkpoint = done.checkpoint
        _log.info("add-checkpoint 200: %s size %d, %.0f ms", _printable(checkpoint.origin), checkpoint.size, took)
        return _text(200, done.line)

    def _unable(self, error: Exception) -> web.Response:
        _log.error("nothing can be signed now: %s", error)
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "").startswith("SQLITE_IOERR"):
            self.failed.set()  # after a failed fsync the page cache may show what the disk lacks
        return _text(503, "nothing can be signed now", {"Retry-After": "10"})

    async def _checkpoint(self, request: web.Request) -> web.Response:
        path = f"/{request.match_info['origin']}/checkpoint"
        note = await self._run(lambda: self._store.served(path))
        if note is None:
            return _text(404, "no checkpoint of such a log was cosigned here")
        return web.Response(body=note, content_type="text/plain", charset="utf-8")

    async def _vkey(self, _request: web.Request) -> web.Response:
        return _text(200, self._store.vkey)

    async def _health(self, _request: web.Request) -> web.Response:
        try:
            logs = len(await self._run(self._store.logs))
        except sqlite3.Error as error:
            _log.error("the database does not answer: %s", error)
            return web.json_response({"status": "failing"}, status=503)
        status = 503 if self.failed.is_set() else 200
        return web.json_response({"status": "failing" if status == 503 else "ok", "logs": logs}, status=status)

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


class _TooMany(asyncio.Protocol):
    """A connection beyond the limit: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _status(error: MirrorError) -> int:
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def _text(status: int, line: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{line}\n", headers=headers)


def _size(size: int) -> web.Response:
    # SPEC tlog-witness: 409 with the size cosigned last, a newline, and its content type.
    return web.Response(status=409, body=f"{size}\n".encode(), headers={"Content-Type": SIZE_TYPE})


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:200])
