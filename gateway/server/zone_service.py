"""ZoneService: card, pairings, participants and status over gRPC; the rules stand in `gateway.identity`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, Protocol, TypeAlias

import grpc
from pydantic import ValidationError

from gateway.errors import InputError
from gateway.identity.card import SignedCard
from gateway.identity.pairing import Pairings, PairOutcome
from gateway.identity.participants import FACTS_MAX, Participants
from gateway.identity.registry import Registry
from gateway.identity.tables import Pairing
from gateway.model.participant import Participant
from gateway.model.policy_input import Screening
from gateway.server.identity_service import actor
from gateway.v1 import zone_pb2, zone_pb2_grpc

_OUTCOMES: Final = {
    PairOutcome.PAIRED: zone_pb2.PAIR_OUTCOME_PAIRED,
    PairOutcome.REPLACED: zone_pb2.PAIR_OUTCOME_REPLACED,
    PairOutcome.UNCHANGED: zone_pb2.PAIR_OUTCOME_UNCHANGED,
    PairOutcome.CONFIRM: zone_pb2.PAIR_OUTCOME_CONFIRM,
}
_RESULTS: Final[Mapping[int, Literal["clear", "hit", "unknown"]]] = {
    zone_pb2.SCREENING_RESULT_CLEAR: "clear",
    zone_pb2.SCREENING_RESULT_HIT: "hit",
    zone_pb2.SCREENING_RESULT_UNKNOWN: "unknown",
}

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Reachability:
    """Whether a peer's gateway answers now, and one line that says how it stands."""

    reachable: bool
    detail: str = ""


class StatusSource(Protocol):
    """What a status needs from the rest of the gateway."""

    async def reach(self, zone: str) -> Reachability:
        """How a paired zone's gateway stands; answers within seconds whatever the peer does."""

    def ledger_sizes(self) -> tuple[int, int]:
        """Entries published, and entries covered by a checkpoint that others cosigned."""

    def witnesses(self) -> Iterable[zone_pb2.Witness]:
        """Who else cosigns the ledger, by name."""

    def timestamps(self) -> zone_pb2.TimeStamps | None:
        """How checkpoints are time-stamped; None where no authority is asked."""

    def certificate_not_after(self) -> int:
        """Until when the gateway's certificate is valid, Unix seconds UTC."""


class ZoneService(zone_pb2_grpc.ZoneServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`.

    Args:
        own: gives the zone's own card in force.
        registry: the registers.
        pairings: rules of pairing.
        participants: the register of institutions.
        status: the rest of the gateway.
        clock: Unix seconds UTC.
    """

    def __init__(
        self,
        own: Callable[[], SignedCard],
        registry: Registry,
        pairings: Pairings,
        participants: Participants,
        status: StatusSource,
        clock: Callable[[], float],
    ) -> None:
        self._own = own
        self._registry = registry
        self._pairings = pairings
        self._participants = participants
        self._status = status
        self._clock = clock

    async def GetZoneCard(self, request: zone_pb2.GetZoneCardRequest, context: _Context) -> zone_pb2.ZoneCard:
        """Give the zone's signed card."""
        own = self._own()
        return zone_pb2.ZoneCard(card=own.data, fingerprint=own.fingerprint)

    async def Pair(self, request: zone_pb2.PairRequest, context: _Context) -> zone_pb2.PairResponse:
        """Admit another zone by its card."""
        paired = await self._pairings.pair(
            request.card, request.fingerprint, confirm=request.confirm, by=actor(context)
        )
        return zone_pb2.PairResponse(
            outcome=_OUTCOMES[paired.outcome], peer=peer_message(paired.pairing), changed=paired.changed
        )

    async def Unpair(self, request: zone_pb2.UnpairRequest, context: _Context) -> zone_pb2.UnpairResponse:
        """End a pairing at once."""
        ended = await self._pairings.unpair(request.zone, by=actor(context))
        return zone_pb2.UnpairResponse(unpaired_at=ended.unpaired_at)

    async def GetStatus(self, request: zone_pb2.GetStatusRequest, context: _Context) -> zone_pb2.ZoneStatus:
        """Say what the gateway is and how it stands."""
        own = self._own()
        peers, pairings = [], self._registry.peers()
        standing = await asyncio.gather(*(self._status.reach(pairing.zone) for pairing in pairings))
        for pairing, reached in zip(pairings, standing, strict=True):
            message = peer_message(pairing)
            message.reachable = reached.reachable
            message.detail = reached.detail
            peers.append(message)
        published, witnessed = self._status.ledger_sizes()
        return zone_pb2.ZoneStatus(
            zone=own.card.zone,
            jurisdiction=own.card.jurisdiction,
            endpoint=own.card.endpoint,
            origin=own.card.origin,
            card_fingerprint=own.fingerprint,
            peers=peers,
            ledger_size=published,
            witnessed_size=witnessed,
            certificate_not_after=self._status.certificate_not_after(),
            now=int(self._clock()),
            witnesses=self._status.witnesses(),
            timestamps=self._status.timestamps(),
        )

    async def PutParticipant(self, request: zone_pb2.PutParticipantRequest, context: _Context) -> zone_pb2.Participant:
        """Register a participant or replace its facts."""
        made = await self._participants.put(
            request.id,
            exporter=_facts("exporter", request.exporter),
            recipient=_facts("recipient", request.recipient),
            by=actor(context),
        )
        return participant_message(made)

    async def GetParticipant(self, request: zone_pb2.GetParticipantRequest, context: _Context) -> zone_pb2.Participant:
        """Show one participant."""
        return participant_message(await self._participants.get(request.id))

    async def ListParticipants(
        self, request: zone_pb2.ListParticipantsRequest, context: _Context
    ) -> zone_pb2.ListParticipantsResponse:
        """List participants by id."""
        page, token = await self._participants.list(size=request.page.size, token=request.page.token)
        return zone_pb2.ListParticipantsResponse(
            participants=[participant_message(item) for item in page], next_page_token=token
        )

    async def ScreenParticipant(
        self, request: zone_pb2.ScreenParticipantRequest, context: _Context
    ) -> zone_pb2.Participant:
        """Set the result of screening a participant."""
        result = _RESULTS.get(request.result)
        if result is None:
            raise InputError("result is not set", remedy="name clear, hit or unknown")
        try:
            screening = Screening(list_revision=request.list_revision, result=result)
        except ValidationError as error:
            raise InputError("list_revision is not a text of 1 to 200 characters") from error
        return participant_message(await self._participants.screen(request.id, screening, by=actor(context)))


def peer_message(pairing: Pairing) -> zone_pb2.Peer:
    """A paired zone as its message, without its reachability."""
    card = pairing.signed.card
    return zone_pb2.Peer(
        zone=card.zone,
        jurisdiction=card.jurisdiction,
        endpoint=card.endpoint,
        origin=card.origin,
        fingerprint=pairing.signed.fingerprint,
        serial=card.serial,
        paired_at=pairing.paired_at,
    )


def participant_message(found: Participant) -> zone_pb2.Participant:
    """An institution as its message."""
    return zone_pb2.Participant(
        uri=found.identity.uri,
        exporter=json.dumps(found.exporter.document(), ensure_ascii=False),
        recipient=json.dumps(found.recipient.document(), ensure_ascii=False),
        updated_at=found.updated_at,
    )


def _facts(name: str, text: str) -> dict[str, Any]:
    """A part of the policy input from JSON text; the model checks the members."""
    if len(text) > FACTS_MAX:
        raise InputError(f"{name} is longer than {FACTS_MAX} characters")
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}", remedy="send the part as one JSON object") from error
    if not isinstance(value, dict):
        raise InputError(f"{name} is no JSON object", remedy="send the part as one JSON object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
