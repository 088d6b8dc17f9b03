"""`opa-python-client`, held to what a decision may rely on.

Its asynchronous client (3.0) takes no CA, follows redirects with the token in hand, reads answers of any size and
any JSON, sleeps between retries whatever the caller's deadline, and takes an answer without a result for one.
`_init_session` and `_request`, through which all its calls go, are replaced here; a test holds that they still do.
Modules are never sent with it: it rewrites a module that OPA refuses and sends that instead.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import aiohttp
from opa_client import AsyncOpaClient

from gateway.config import OpaSettings
from gateway.errors import ConfigError, DecisionUnavailableError
from gateway.model.limits import DECISION_OUTPUT_MAX, KIB, OPA_CONNECTIONS, OPA_POLICIES_MAX

_TOKEN_MAX: Final = 4 * KIB
_PASSING: Final = frozenset({502, 503, 504})
_PIECE: Final = 64 * KIB


class OpaUnreachableError(DecisionUnavailableError):
    """No answer came, or one that another try may mend."""


class OpaRefusedError(DecisionUnavailableError):
    """OPA took the question and the policy failed on it: the server itself is well."""


@dataclass(frozen=True, slots=True)
class OpaAnswer:
    """A whole answer, in the shape that `AsyncOpaClient` expects of aiohttp's."""

    status: int
    body: bytes

    def raise_for_status(self) -> None:
        """Refuse what is not 200.

        Raises:
            OpaUnreachableError: a proxy's or overloaded server's word.
            OpaRefusedError: the policy failed on this input.
            DecisionUnavailableError: anything else.
        """
        if self.status == 200:
            return
        if self.status in _PASSING:
            raise OpaUnreachableError(f"OPA answered with status {self.status}")
        if self.status in (401, 403):
            raise DecisionUnavailableError(f"OPA does not let this gateway ask (status {self.status})")
        if self.status in (400, 500) and (said := self._said()):
            raise OpaRefusedError(f"the policy failed in OPA: {said}")
        raise DecisionUnavailableError(f"OPA answered with status {self.status}")

    async def json(self) -> Any:
        """The body, read strictly.

        Raises:
            DecisionUnavailableError: it is no JSON, has a name twice, or a number that is none.
        """
        try:
            return json.loads(self.body, object_pairs_hook=_once, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise DecisionUnavailableError("OPA answered garbage") from error

    def _said(self) -> str:
        try:
            said = json.loads(self.body)
            parts = [said["message"], *(error["message"] for error in said.get("errors", [])[:4])]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return ""
        return " ".join(": ".join(map(str, parts)).split())[:300]


class OpaClient(AsyncOpaClient):  # type: ignore[misc]  # the library has no types
    """A session with one OPA server: TLS to a known CA, no redirects, no retries, no unbounded reads.

    Args:
        settings: where, and with which files; they are read here, so that a new session has renewed ones.

    Raises:
        ConfigError: a file cannot be read.
    """

    def __init__(self, settings: OpaSettings) -> None:
        host = settings.address.host
        super().__init__(
            host=f"[{host}]" if ":" in host else host,
            port=settings.address.port,
            ssl=True,
            token=_token(settings),
            retries=0,
            timeout=settings.timeout_s,
        )
        self._context = _context(settings)

    async def _init_session(self) -> None:
        self._connector = aiohttp.TCPConnector(ssl=self._context, limit=OPA_CONNECTIONS)
        self._session = aiohttp.ClientSession(
            headers={**(self.headers or {}), "Accept-Encoding": "identity"},
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(total=None),  # callers have deadlines
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            json_serialize=_spliced,
        )

    @asynccontextmanager
    async def _request(self, method: str, url: str, **kwargs: Any) -> AsyncIterator[OpaAnswer]:
        """One try.

        Raises:
            OpaUnreachableError: no connection, or it broke.
            DecisionUnavailableError: another certificate, or an answer that is too long.
        """
        bound = OPA_POLICIES_MAX if method == "GET" else DECISION_OUTPUT_MAX
        try:
            async with self._session.request(method, url, allow_redirects=False, **kwargs) as response:
                answer = OpaAnswer(response.status, await _whole(response, bound))
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise DecisionUnavailableError(f"OPA proves no identity that is trusted: {_short(error)}") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
            raise OpaUnreachableError(f"OPA cannot be reached: {_short(error)}") from error
        except aiohttp.ClientError as error:
            raise DecisionUnavailableError(f"OPA answered garbage: {_short(error)}") from error
        yield answer

    async def ask(self, document: bytes, package: str, rule: str) -> dict[str, Any]:
        """A rule's value for one input document, with OPA's provenance beside it.

        Raises:
            DecisionUnavailableError: none came.
        """
        answer = await self.query_rule(document, package, rule, query_params={"provenance": True})
        return _object(answer)

    async def loaded(self) -> tuple[list[tuple[tuple[str, ...], str]], dict[str, Any]]:
        """Everything that the server evaluates: (package, text) of each module, and all of `data`.

        Raises:
            DecisionUnavailableError: it does not say.
        """
        modules = []
        async with self._request("GET", f"{self.root_url}/policies") as answer:
            answer.raise_for_status()
            listed = _object(await answer.json()).get("result")
        try:
            for module in listed or []:
                path = tuple(str(part["value"]) for part in module["ast"]["package"]["path"])
                modules.append((path[1:], str(module["raw"])))
        except (KeyError, TypeError) as error:
            raise DecisionUnavailableError("OPA lists its modules in another form") from error
        async with self._request("GET", f"{self.root_url}/data") as answer:
            answer.raise_for_status()
            data = _object(await answer.json()).get("result")
        return modules, _object(data)


def _context(settings: OpaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(settings.ca) if settings.ca is not None else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates for OPA cannot be read: {_short(error)}", remedy="mend ca, certificate and key of [opa]"
        ) from error
    return context


def _token(settings: OpaSettings) -> str | None:
    if settings.token_file is None:
        return None
    try:
        with settings.token_file.open("rb") as file:
            token = file.read(_TOKEN_MAX + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigError("the token for OPA cannot be read", remedy="mend token_file of [opa]") from error
    if not token or len(token) > _TOKEN_MAX or not token.isprintable() or " " in token:
        raise ConfigError("the file with the token for OPA holds none", remedy="mend token_file of [opa]")
    return token


async def _whole(response: aiohttp.ClientResponse, bound: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise DecisionUnavailableError("OPA's answer is compressed, which was not asked for")
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(_PIECE):
        size += len(piece)
        if size > bound:
            raise DecisionUnavailableError("OPA's answer is too long")
        pieces.append(piece)
    return b"".join(pieces)


def _spliced(body: Any) -> str:
    """The request's JSON: the input is canonical JSON already, and is not taken apart again."""
    document: bytes = body["input"]
    return '{"input":' + document.decode() + "}"


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DecisionUnavailableError("OPA answered garbage")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
