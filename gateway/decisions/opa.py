"""An OPA server behind the engine port."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, Final

from gateway.config import OpaSettings, write_file
from gateway.decisions.circuit import Circuit
from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.opa_bundle import ANSWER_PACKAGE, ANSWER_RULE, OpaBundle
from gateway.decisions.opa_client import OpaClient, OpaRefusedError, OpaUnreachableError
from gateway.decisions.policy_set import ZonePolicy
from gateway.errors import DecisionUnavailableError, StorageError
from gateway.model.limits import DECISION_DEADLINE_S, DECISIONS_WAITING, OPA_LOADS_S, OPA_PROOF_S, OPA_TRIES

_BACKOFF_S: Final = 0.02
_LOOK_AGAIN_S: Final = 0.1
_OLDEST: Final = (1, 21, 3)  # a bypass of bundle signatures was fixed there
_VERSION: Final = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:[-+].*)?")


class OpaEngine:
    """Asks an OPA server, and takes its word only where it is the policy in force that speaks.

    1. Before the first decision, and again after anything went wrong, all that OPA evaluates is read back and
       compared with the policy, module by module; its version and the bundle's revision are looked at.
    2. Each answer carries the seal of the policy that made it, from the same evaluation. Another seal, other
       bundles than those looked at, or none: no decision.

    Evaluation changes nothing, so a try that got no answer is repeated, `OPA_TRIES` in all and never beyond the
    decision's deadline. A server that fails several decisions in a row is left alone for a while (`Circuit`); a
    policy that fails on one input says nothing against the server. Files of the settings are read anew for each
    session, and a session ends with the first failure: a renewed token or certificate needs no restart. A bundle that
    could not be written is tried again by the next decision.

    Args:
        policy: what is in force. One engine serves one policy; the next policy has an engine of its own.
        settings: where OPA is.
        deadline_s: seconds for one evaluation, all tries together.
        waiting: evaluations that may be under way; one more is refused at once.
        loads_s: seconds that a start waits for OPA to load the bundle, where OPA can be asked.
    """

    def __init__(
        self,
        policy: ZonePolicy,
        settings: OpaSettings,
        *,
        deadline_s: float = DECISION_DEADLINE_S,
        waiting: int = DECISIONS_WAITING,
        loads_s: float = OPA_LOADS_S,
    ) -> None:
        self._policy = policy
        self._bundle = OpaBundle.of(policy)
        self._settings = settings
        self._deadline_s = deadline_s
        self._most = waiting
        self._loads_s = loads_s
        self._under_way = 0
        self._clock = asyncio.get_running_loop().time
        self._circuit = Circuit(failures=settings.failures, rest_s=settings.rest_s, clock=self._clock)
        self._client: OpaClient | None = None
        self._bundles: object = None
        self._proving: asyncio.Task[None] | None = None
        self._giving: asyncio.Task[None] | None = None
        self._why = "not asked yet"
        self._closed = False

    @property
    def bundle(self) -> OpaBundle:
        """What OPA must have loaded."""
        return self._bundle

    @property
    def state(self) -> str:
        """The circuit's state and what was wrong last, in words, for an operator."""
        return f"{self._circuit.state}{': ' + self._why if self._why else ''}"

    async def start(self) -> None:
        """Write the bundle, where the settings name its file, and wait a while for OPA to load it.

        That OPA cannot be reached, or has another policy, is no error here: decisions deny until that is mended.

        Raises:
            ConfigError: a file of the settings cannot be read, or the policy does not compile.
            StorageError: the bundle cannot be written.
        """
        OpaClient(self._settings)  # says now what is wrong with its files
        await EmbeddedEngine(self._policy).compile()  # a policy is in the language that both engines read
        self._giving = None  # another policy's may stand there by now
        await self._give()
        await self._drop()
        deadline = self._clock() + (self._loads_s if self._settings.bundle is not None else self._deadline_s)
        while not self._closed:
            try:
                await self._proven(deadline)
            except DecisionUnavailableError as error:
                self._why = error.message
                cannot_ask = isinstance(error, OpaUnreachableError) or self._settings.bundle is None
                if not cannot_ask and self._clock() + _LOOK_AGAIN_S < deadline:
                    await asyncio.sleep(_LOOK_AGAIN_S)
                    continue
            return

    async def in_force(self, timeout_s: float) -> None:
        """Look anew, and wait until OPA has loaded this very policy.

        Raises:
            DecisionUnavailableError: it has not in time; the text says what it has.
        """
        deadline = self._clock() + timeout_s
        await self._drop()  # what was seen before may be true no more
        while True:
            try:
                return await self._proven(deadline)
            except DecisionUnavailableError:
                if self._closed or self._clock() + _LOOK_AGAIN_S >= deadline:
                    raise
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def evaluate(self, document: bytes) -> object:
        """See `Engine.evaluate`."""
        if self._closed:
            raise DecisionUnavailableError("the policy engine is closed")
        if self._under_way >= self._most:
            raise DecisionUnavailableError(f"{self._most} decisions wait for the policy engine already")
        self._circuit.admit()
        self._under_way += 1
        try:
            result = await self._sealed(document, self._clock() + self._deadline_s)
        except OpaRefusedError:
            self._circuit.succeeded()
            raise
        except DecisionUnavailableError as error:
            self._why = error.message
            self._circuit.failed()
            await self._drop()
            raise
        except BaseException:
            self._circuit.abandoned()
            raise
        finally:
            self._under_way -= 1
        self._circuit.succeeded()
        self._why = ""
        if not result:
            raise DecisionUnavailableError("the policy gave no result")
        return result[0]

    async def close(self) -> None:
        """End the session; later evaluations are refused."""
        self._closed = True
        if self._proving is not None:
            self._proving.cancel()
            await asyncio.gather(self._proving, return_exceptions=True)
        if self._giving is not None:  # the next policy's bundle must not be overwritten by this one's
            await asyncio.gather(self._giving, return_exceptions=True)
        await self._drop()

    async def _give(self) -> None:
        """Write the bundle where OPA loads it from, unless it stands there already; nothing where others do that.

        Raises:
            StorageError: it cannot be written; the next decision tries again.
        """
        file = self._settings.bundle
        if file is None:
            return
        if self._giving is None or (self._giving.done() and self._giving.exception() is not None):
            self._giving = asyncio.create_task(asyncio.to_thread(self._write, file), name="opa: write the bundle")
        await asyncio.shield(self._giving)

    def _write(self, file: Path) -> None:
        write_file(file, self._bundle.archive(), mode=0o644)

    async def _sealed(self, document: bytes, deadline: float) -> list[object]:
        """The decisions of one evaluation under the policy in force: one, or none where the rule is undefined."""
        while True:
            await self._proven(deadline)
            answer = await self._tried(document, deadline)
            result, bundles = answer.get("result"), _bundles(answer)
            if result is None:
                raise DecisionUnavailableError("OPA has no policy of this gateway's loaded")
            if not isinstance(result, dict) or set(result) != {"policy", "decisions"}:
                raise DecisionUnavailableError("OPA answered garbage")
            if result["policy"] != self._bundle.seal:
                raise DecisionUnavailableError("OPA has another policy loaded than the one in force")
            if bundles != self._bundles:  # what was read back stands no more for what is loaded
                await self._drop()
                continue
            decisions = result["decisions"]
            if not isinstance(decisions, list) or len(decisions) > 1:
                raise DecisionUnavailableError("OPA answered garbage")
            return decisions

    async def _tried(self, document: bytes, deadline: float) -> dict[str, Any]:
        for attempt in range(1, OPA_TRIES + 1):
            client = self._client
            if client is None:  # another decision's failure ended the session
                await self._proven(deadline)
                continue
            left = deadline - self._clock()
            try:
                async with asyncio.timeout(min(self._settings.timeout_s, left)):
                    return await client.ask(document, ANSWER_PACKAGE, ANSWER_RULE)
            except TimeoutError as error:
                failure: DecisionUnavailableError = OpaUnreachableError("OPA gave no answer in time")
                failure.__cause__ = error
            except OpaUnreachableError as error:
                failure = error
            pause = _BACKOFF_S * 2**attempt
            if attempt == OPA_TRIES or self._clock() + pause >= deadline:
                raise failure
            await asyncio.sleep(pause)
        raise OpaUnreachableError("OPA gave no answer in time")

    async def _proven(self, deadline: float) -> None:
        """Return once OPA was seen to have the policy; all who wait share one look."""
        if self._client is not None:
            return
        if self._closed:
            raise DecisionUnavailableError("the policy engine is closed")
        if self._proving is None or self._proving.done():
            self._proving = asyncio.create_task(self._prove(), name="opa: which policy is loaded")
            self._proving.add_done_callback(_seen)
        done, _ = await asyncio.wait({self._proving}, timeout=max(0.0, deadline - self._clock()))
        if not done:
            raise OpaUnreachableError("OPA gave no answer in time")
        if self._proving.cancelled():
            raise DecisionUnavailableError("the policy engine is closed")
        if (error := self._proving.exception()) is not None:
            kind = OpaUnreachableError if isinstance(error, OpaUnreachableError) else DecisionUnavailableError
            raise kind(str(getattr(error, "message", error))) from error

    async def _prove(self) -> None:
        """Step 1 of the class's text.

        Raises:
            DecisionUnavailableError: it has another policy, is too old, or cannot be asked.
            ConfigError: a file of the settings cannot be read.
        """
        client = OpaClient(self._settings)
        try:
            await self._give()
            async with asyncio.timeout(OPA_PROOF_S):
                await client._init_session()  # noqa: SLF001  # ours; the library opens sessions by `async with` alone
                said = await client.ask(b"{}", ANSWER_PACKAGE, "policy")
                _check_version(said)
                if said.get("result") is None:
                    raise DecisionUnavailableError("OPA has no policy of this gateway's loaded")
                if said["result"] != self._bundle.seal:
                    raise DecisionUnavailableError("OPA has another policy loaded than the one in force")
                bundles = _bundles(said)
                if self._bundle.seal not in bundles.values():
                    raise DecisionUnavailableError("OPA has the policy, but from no bundle, so anybody may change it")
                modules, data = await client.loaded()
                if foreign := {*(path[0] for path, _ in modules if path), *data} - {"tdz", "system"}:
                    raise DecisionUnavailableError(f"OPA has what is not of this policy: data.{min(foreign)[:80]}")
                texts = [text for path, text in modules if path[:1] == ("tdz",)]
                if found := self._bundle.differs(texts, data.get("tdz", {})):
                    raise DecisionUnavailableError(f"OPA has another policy loaded than the one in force: {found}")
        except TimeoutError as error:
            await client.close_connection()
            raise OpaUnreachableError("OPA gave no answer in time") from error
        except StorageError as error:
            raise DecisionUnavailableError(f"the bundle for OPA cannot be written: {error.message}") from error
        except BaseException:
            await client.close_connection()
            raise
        self._client, self._bundles, self._why = client, bundles, ""

    async def _drop(self) -> None:
        """End the session: the next decision looks again what is loaded."""
        client, self._client = self._client, None
        if client is not None:
            await client.close_connection()


def _bundles(answer: dict[str, Any]) -> dict[str, str]:
    """Name and revision of each bundle that was active in the evaluation."""
    found = answer.get("provenance")
    bundles = found.get("bundles", {}) if isinstance(found, dict) else {}
    if not isinstance(bundles, dict):
        return {}
    return {str(name): str(b.get("revision", "")) for name, b in bundles.items() if isinstance(b, dict)}


def _check_version(answer: dict[str, Any]) -> None:
    found = answer.get("provenance")
    version = str(found.get("version", "")) if isinstance(found, dict) else ""
    parsed = _VERSION.fullmatch(version)
    if parsed is None or tuple(map(int, parsed.groups())) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise DecisionUnavailableError(f"OPA is of version {version[:40] or 'unknown'}, and must be {oldest} or later")


def _seen(task: asyncio.Task[None]) -> None:
    """Nobody may be waiting for the outcome any more; the next decision looks again."""
    if not task.cancelled():
        task.exception()
