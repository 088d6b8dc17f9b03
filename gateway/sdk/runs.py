"""Federated runs as a partner sees them: start one, watch it, wait for it, cancel it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from google.protobuf.message import Message

from gateway.errors import DeniedError, PeerUnavailableError, ReviewError, RunEndedError
from gateway.model import limits
from gateway.model.run import RunEnd, RunSpec, load_run_spec
from gateway.model.run_remedies import remedy_of
from gateway.sdk.resources import Decision, Finding, Resource
from gateway.sdk.session import Session
from gateway.v1 import run_pb2

_ATTEMPTS: Final = 3
_RETRY_DELAY_S: Final = 0.3
_AWAY_MAX_S: Final = float(limits.LEASE_S)

Spec = Path | str | Mapping[str, Any] | RunSpec


@dataclass(frozen=True, slots=True)
class RunDataset(Resource):
    """One dataset of a run."""

    resource: str
    zone: str
    owner: str
    version: str


@dataclass(frozen=True, slots=True)
class ZoneMetrics(Resource):
    """What one zone says of its training in one round; numbers are decimal texts."""

    zone: str
    examples: int
    metrics: dict[str, str]

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        given: Any = message
        return cls(given.zone, given.examples, {each.name: each.value for each in given.metrics})


@dataclass(frozen=True, slots=True)
class RunRound(Resource):
    """One completed round."""

    round: int
    zones: tuple[ZoneMetrics, ...]
    milliseconds: int
    bytes: int

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        given: Any = message
        zones = tuple(ZoneMetrics.of(each) for each in given.zones)
        return cls(given.round, zones, given.milliseconds, given.bytes)


_LISTS: Final[dict[str, type[Resource]]] = {
    "datasets": RunDataset,
    "history": RunRound,
    "findings": Finding,
    "decisions": Decision,
}


@dataclass(frozen=True, slots=True)
class RunStatus(Resource):
    """A run and where it stands; fields are meant as in proto/gateway/v1/run.proto."""

    id: str
    name: str
    state: str
    side: str
    participant: str
    peer_zone: str
    app: str
    strategy: str
    round: int
    rounds: int
    datasets: tuple[RunDataset, ...]
    history: tuple[RunRound, ...]
    bytes_out: int
    bytes_in: int
    findings: tuple[Finding, ...]
    decisions: tuple[Decision, ...]
    reason: str
    deadline: int
    request_id: str
    created_at: int
    updated_at: int
    outcome: str
    model: str
    agreement: str
    held_by: str

    ENDED: ClassVar[frozenset[str]] = frozenset({"RELEASED", "REFUSED", "FAILED", "CANCELLED"})

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        values: dict[str, Any] = {}
        for name in cls.__slots__:
            value: Any = getattr(message, name)
            part = _LISTS.get(name)
            values[name] = value if part is None else tuple(part.of(each) for each in value)
        return cls(**values)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in self.ENDED

    @property
    def remedy(self) -> str:
        """What to do about a run that ended without an outcome; empty where a finding that denied it says so."""
        denied = any(finding.effect == "deny" for finding in self.findings)
        return "" if denied else remedy_of(self.reason)

    def released(self) -> Self:
        """The status itself, where the run has come to its outcome.

        Raises:
            ReviewError: it waits for persons.
            DeniedError: a zone's policy, or a person who looked at it, refused it.
            RunEndedError: it failed or was cancelled, or nobody looked at it in time.
        """
        strictest = "review" if self.held_by else "deny"
        findings = tuple(finding.parts() for finding in self.findings if finding.effect in {"deny", "review"})
        decided = next((d.decision_id for d in self.decisions if d.effect == strictest), "")
        codes = ", ".join(dict.fromkeys(finding[0] for finding in findings)) or "no finding"
        if self.held_by:
            raise ReviewError(
                f"the run is held for review by {self.held_by} ({codes})",
                remedy=f"follow it with `tdz run show {self.id} --follow`",
                findings=findings,
                decision_id=decided,
                request_id=self.id,
            )
        if self.state == "REFUSED" and self.reason != RunEnd.UNREVIEWED:
            raise DeniedError(
                f"the run is refused ({codes})",
                remedy=next((finding[4] for finding in findings if finding[1] == "deny" and finding[4]), ""),
                findings=findings,
                decision_id=decided,
                request_id=self.id,
            )
        if self.state != "RELEASED":
            raise RunEndedError(
                f"the run is {self.state} after round {self.round} of {self.rounds}: {self.reason or 'no reason'}",
                remedy=remedy_of(self.reason) or f"see `tdz run show {self.id}`, then start a new run",
            )
        return self


class AsyncRun:
    """One run of the caller's zone.

    Args:
        session: the caller's.
        status: the run as the gateway last told of it.
    """

    def __init__(self, session: Session, status: RunStatus) -> None:
        self._session = session
        self._last = status

    def __repr__(self) -> str:
        return f"<Run {self.id} {self._last.state}>"

    @property
    def id(self) -> str:
        """Its id, the same in both zones."""
        return self._last.id

    @property
    def last(self) -> RunStatus:
        """What the gateway last told of it."""
        return self._last

    async def status(self) -> RunStatus:
        """The run as it is now."""
        self._last = await show_run(self._session, self.id)
        return self._last

    async def watch(self) -> AsyncGenerator[RunStatus, None]:
        """The run now and at each change until it has ended; a gateway that starts again is found again.

        Raises:
            PeerUnavailableError: the gateway does not answer for two minutes.
        """
        away = 0.0
        while True:
            call = self._session.runs.WatchRun(run_pb2.WatchRunRequest(id=self.id))
            try:
                async for message in self._session.stream(call):
                    away, self._last = 0.0, RunStatus.of(message)
                    yield self._last
                    if self._last.ended:
                        return
            except PeerUnavailableError:
                if away >= _AWAY_MAX_S:
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(_RETRY_DELAY_S)
            away += _RETRY_DELAY_S

    async def wait(self) -> RunStatus:
        """The run once it has come to its outcome.

        Raises:
            ReviewError: it waits for persons, in either zone; waiting again goes on once they have approved.
            DeniedError: a zone refused it; findings say which rule.
            RunEndedError: it failed or was cancelled; the text has the recorded reason.
        """
        async with aclosing(self.watch()) as seen:
            async for status in seen:
                if status.held_by:
                    break
        return self._last.released()

    async def cancel(self) -> RunStatus:
        """End the run at once.

        Raises:
            ConflictError: it has ended already.
        """
        self._last = await cancel_run(self._session, self.id)
        return self._last


async def start_run(session: Session, spec: Spec, request_id: str | None) -> AsyncRun:
    """Start a run; see `AsyncZone.run`."""
    found = await asyncio.to_thread(read_spec, spec)
    message = run_pb2.StartRunRequest(spec=found.encode(), request_id=request_id or str(uuid.uuid4()))
    for attempt in range(_ATTEMPTS):
        try:
            answer = await session.call(session.runs.StartRun, message)
            return AsyncRun(session, RunStatus.of(answer))
        except PeerUnavailableError:  # the request id makes repeating it harmless
            if attempt + 1 == _ATTEMPTS:
                raise
            await asyncio.sleep(_RETRY_DELAY_S)
    raise AssertionError("unreachable")


async def show_run(session: Session, run: str) -> RunStatus:
    """One run, by `runs/{id}` or its id."""
    message = run_pb2.GetRunRequest(id=run.removeprefix("runs/"))
    return RunStatus.of(await session.call(session.runs.GetRun, message))


async def list_runs(session: Session, state: str) -> list[RunStatus]:
    """Runs, newest first."""
    found = await session.pages(session.runs.ListRuns, run_pb2.ListRunsRequest(state=state), "runs")
    return [RunStatus.of(each) for each in found]


async def cancel_run(session: Session, run: str) -> RunStatus:
    """End one run at once."""
    message = run_pb2.CancelRunRequest(id=run.removeprefix("runs/"))
    return RunStatus.of(await session.call(session.runs.CancelRun, message))


def read_spec(spec: Spec) -> RunSpec:
    """A run from a YAML file, from its content, or as it is.

    Raises:
        ManifestError: file, line, field and remedy.
    """
    if isinstance(spec, RunSpec):
        return spec
    if isinstance(spec, str | Path):
        return load_run_spec(Path(spec))
    return RunSpec.of(spec)
