"""RunService: federated runs, for partners, and for those who oversee them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from gateway.errors import InputError, NotFoundError
from gateway.federation import rows
from gateway.federation.coordinator import concerns
from gateway.federation.federation import Federation
from gateway.model import limits
from gateway.model.decision import Finding
from gateway.model.participant import Identity, Role
from gateway.model.run import RunSpec, RunState
from gateway.server.access import caller
from gateway.server.paging import newest_first, page_size, wanted_states
from gateway.v1 import common_pb2, exchange_pb2, run_pb2, run_pb2_grpc

_WATCH_S: Final = 0.2


class RunService(run_pb2_grpc.RunServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._house = federation.house

    async def StartRun(self, request: run_pb2.StartRunRequest, context: Any) -> run_pb2.Run:
        """Record a run and let it go on."""
        who = caller(context).identity
        if len(request.request_id) > limits.REQUEST_ID_MAX_CHARS:
            raise InputError(f"request_id has at most {limits.REQUEST_ID_MAX_CHARS} characters")
        spec = RunSpec.parse(request.spec)
        self._house.paces.requests.take(who.uri)
        return await self._message(await self._federation.coordinator.start(who, spec, request.request_id))

    async def GetRun(self, request: run_pb2.GetRunRequest, context: Any) -> run_pb2.Run:
        """Show one run."""
        return await self._message(await self._visible(caller(context).identity, request.id))

    async def ListRuns(self, request: run_pb2.ListRunsRequest, context: Any) -> run_pb2.ListRunsResponse:
        """List runs, newest first."""
        who = caller(context).identity
        size = page_size(request.page)
        found = await rows.listed(
            self._house.state,
            participant=who.uri if who.role is Role.PARTNER else "",
            where_state=wanted_states(RunState, request.state),
            before=request.page.token,
            size=size + 1,
        )
        page, token = newest_first(found, size, key=lambda row: row.id)
        return run_pb2.ListRunsResponse(runs=[_run(row, ()) for row in page], next_page_token=token)

    async def WatchRun(self, request: run_pb2.WatchRunRequest, context: Any) -> AsyncIterator[run_pb2.Run]:
        """Send the run now and at each change until it has ended."""
        who = caller(context).identity
        last: run_pb2.Run | None = None
        while True:
            row = await self._visible(who, request.id)
            message = await self._message(row)
            if message != last:
                yield message
                last = message
            if not row.open:
                return
            await asyncio.sleep(_WATCH_S)

    async def CancelRun(self, request: run_pb2.CancelRunRequest, context: Any) -> run_pb2.Run:
        """End a run at once."""
        who = caller(context).identity
        await self._visible(who, request.id)
        return await self._message(await self._federation.cancel(who, request.id))

    async def _visible(self, who: Identity, identifier: str) -> rows.RunRow:
        row = await rows.get(self._house.state, identifier)
        if who.role is Role.PARTNER and not concerns(row, who.uri):
            raise NotFoundError(f"no run {identifier[:80]}", remedy="see `tdz run list`")
        return row

    async def _message(self, row: rows.RunRow) -> run_pb2.Run:
        return _run(row, await rows.rounds(self._house.state, row.id))


def _run(row: rows.RunRow, history: Sequence[rows.RoundRow]) -> run_pb2.Run:
    document, spec = row.document, row.spec
    return run_pb2.Run(
        id=row.id,
        name=spec.name,
        state=row.state,
        side=row.side,
        participant=row.participant,
        peer_zone=row.peer_zone,
        app=spec.app.name,
        strategy=spec.strategy,
        round=row.round,
        rounds=spec.rounds,
        datasets=[
            run_pb2.RunDataset(resource=each.resource, zone=each.zone, owner=each.owner, version=each.version)
            for each in row.datasets
        ],
        history=[_round(each) for each in history],
        bytes_out=row.bytes_out,
        bytes_in=row.bytes_in,
        findings=[_finding(Finding.from_json(finding)) for finding in document.get("findings", ())],
        decisions=[
            exchange_pb2.ZoneDecision(zone=zone, effect=effect, decision_id=decision_id, ledger_seq=-1)
            for zone, effect, decision_id in document.get("decisions", ())
        ],
        reason=row.reason,
        deadline=row.deadline if row.open else 0,
        request_id=row.request_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        outcome=row.outcome,
        model=row.model,
        held_by=row.held_by,
        agreement=row.agreement if row.state not in {"SUBMITTED", "DECIDED", "REFUSED"} else "",
    )


def _round(row: rows.RoundRow) -> run_pb2.RunRound:
    return run_pb2.RunRound(
        round=row.round,
        zones=[
            run_pb2.ZoneMetrics(
                zone=zone["zone"],
                examples=zone["examples"],
                metrics=[run_pb2.RunMetric(name=name, value=value) for name, value in zone["metrics"]],
            )
            for zone in row.document["zones"]
        ],
        milliseconds=row.milliseconds,
        bytes=row.bytes,
    )


def _finding(finding: Finding) -> common_pb2.Finding:
    return common_pb2.Finding(
        code=finding.code,
        effect=finding.effect,
        authority=finding.authority,
        cite=finding.cite,
        remedy=finding.remedy,
        fields=list(finding.fields),
    )
