"""A peer that claims to be an OPA server: right about its policy, and then wrong in one way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.config import Address, OpaSettings
from gateway.decisions.opa_bundle import OpaBundle
from tests.opa_server import certificate, free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VERSION = "1.22.2"


@dataclass
class FaultyOpa:
    """Answers the questions by which an engine looks at a server as a good one does, and the decision as told.

    Args:
        bundle: what it claims to have.
        folder: for its certificate.
        decide: answers `data.tdz.served.answer`; None answers rightly, with `decision`.
    """

    bundle: OpaBundle
    folder: Path
    decision: Any = "allow"
    decide: Handler | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    texts: list[str] | None = None
    data: dict[str, Any] | None = None
    asked: int = 0
    headers: list[str] = field(default_factory=list)

    async def __aenter__(self) -> FaultyOpa:
        self.port = free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, key = certificate(self.folder)
        self.provenance = {
            "version": VERSION,
            "bundles": {"zone.tar.gz": {"revision": self.bundle.seal}},
        } | self.provenance
        app = web.Application()
        app.router.add_post("/v1/data/tdz/served/policy", self._policy)
        app.router.add_post("/v1/data/tdz/served/answer", self._answer)
        app.router.add_get("/v1/policies", self._policies)
        app.router.add_get("/v1/data", self._data)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def settings(self) -> OpaSettings:
        return OpaSettings(
            address=Address("127.0.0.1", self.port), ca=self.certificate, timeout_s=30.0, failures=3, rest_s=3600.0
        )

    def right(self, **changes: Any) -> web.Response:
        """The answer of a good server, with changes to its members."""
        answer = {"policy": self.bundle.seal, "decisions": [self.decision]}
        return web.json_response({"provenance": self.provenance, "result": answer} | changes)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.headers.append(request.headers.get("Authorization", ""))
        await request.read()
        return await self.decide(request) if self.decide is not None else self.right()

    async def _policy(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"provenance": self.provenance, "result": self.bundle.seal})

    async def _policies(self, _: web.Request) -> web.Response:
        texts = list(self.bundle.modules.values()) if self.texts is None else self.texts
        listed = []
        for number, text in enumerate(texts):
            name = next(line for line in text.splitlines() if line.startswith("package ")).split()[1]
            path = [{"type": "var", "value": "data"}, *({"type": "string", "value": part} for part in name.split("."))]
            listed.append({"id": f"zone/{number}.rego", "raw": text, "ast": {"package": {"path": path}}})
        return web.json_response({"result": listed})

    async def _data(self, _: web.Request) -> web.Response:
        return web.json_response({"result": dict(self.bundle.data) if self.data is None else self.data})


async def stalled(_: web.Request) -> web.StreamResponse:
    """No answer, ever."""
    await asyncio.Event().wait()
    raise AssertionError
