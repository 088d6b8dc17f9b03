"""What every flow of this zone's gateway shares: who we are, what we sign with, how we decide and record."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.artifacts.appraisal import appraise
from gateway.artifacts.trust import Trust
from gateway.catalog.register import ResourceRegister
from gateway.decisions.ends import ends_of
from gateway.decisions.inputs import KeptDecision, Subject
from gateway.decisions.mechanisms import MechanismRegister
from gateway.decisions.point import DecisionPoint
from gateway.errors import ClockError, IntegrityError, NotFoundError, PeerError
from gateway.flow import findings
from gateway.flow.locks import KeyedLocks
from gateway.flow.pace import Paces
from gateway.flow.steps import Effect, Steps
from gateway.identity.card import ZoneCard
from gateway.identity.dsse import Envelope
from gateway.identity.participants import Participants
from gateway.identity.registry import Registry
from gateway.identity.statements import Party, StatementSigner, verify_statement
from gateway.journal import Journal
from gateway.model import canonical, limits
from gateway.model.dataset import Description
from gateway.model.decision import Finding
from gateway.model.described import AnyDescription
from gateway.model.obligation import Obligation
from gateway.model.participant import Identity, Participant
from gateway.model.policy_facts import Exporter, Recipient, Site
from gateway.model.statements import Statement
from gateway.state import StateStore
from gateway.storage.chunks import ChunkStore
from gateway.storage.landing import Landings
from gateway.storage.subjects import SubjectSets
from gateway.storage.versions import VersionStore

S = TypeVar("S", bound=Statement)
P = TypeVar("P", bound="Clocked", covariant=True)
_CLOCK_CHECK_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines in seconds."""

    rpc: float = limits.RPC_DEADLINE_S
    mirror: float = limits.MIRROR_WAIT_S
    ticket: int = limits.TICKET_TTL_S
    confirm: int = limits.CONFIRM_BEFORE_S
    lease: int = limits.LEASE_S
    review: int = limits.REVIEW_TTL_S
    agreement: int = limits.AGREEMENT_TTL_S
    statement: int = limits.STATEMENT_TTL_S
    card: int = limits.CARD_TTL_S
    answer: float = limits.PEER_ANSWER_S
    retry: float = 0.2  # first wait before a peer is asked again; doubles up to 5 s
    reaper: float = 1.0
    start: float = limits.START_WAIT_S


def wall_clock() -> int:
    """Unix seconds UTC."""
    return int(time.time())


@dataclass(frozen=True, slots=True)
class PeerTime:
    """The other gateway's clock (Unix milliseconds) and ledger size."""

    time_ms: int
    ledger_size: int


class Described(Protocol):
    """A version with its description: a row of the catalog, or another zone's card."""

    @property
    def description(self) -> AnyDescription:
        """Its descriptive part."""

    @property
    def version(self) -> str:
        """Its digest."""

    @property
    def published_at(self) -> int:
        """When it was published, Unix seconds."""


class Clocked(Protocol):
    """What every flow asks of a paired gateway; each flow declares what else it needs."""

    async def hello(self, ledger_size: int) -> PeerTime:
        """Its clock, now."""


class Peers(Protocol[P]):
    """The paired zones."""

    def get(self, zone: str) -> P:
        """One of them.

        Raises:
            PeerUnavailableError: the zone is not paired.
        """

    def zones(self) -> list[str]:
        """All of them."""


class ZoneHouse(Generic[P]):
    """One zone's gateway, as its flows see it; `P` is what a flow asks of the paired gateways.

    Args:
        effects: what recorded steps do, by name, of all flows.
        trust: whose signatures on models count here.
        administrators: so many different ones must approve what policy sends to review.
    """

    def __init__(
        self,
        *,
        zone: str,
        gateway_id: str,
        signer: StatementSigner,
        state: StateStore,
        journal: Journal,
        registry: Registry,
        participants: Participants,
        decisions: DecisionPoint,
        mechanisms: MechanismRegister,
        catalog: ResourceRegister,
        trust: Callable[[], Awaitable[Trust]],
        chunks: ChunkStore,
        versions: VersionStore,
        landings: Landings,
        subjects: SubjectSets,
        jurisdiction: str,
        effects: Mapping[str, Effect],
        administrators: int = limits.REVIEW_ADMINISTRATORS,
        timing: Timing | None = None,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self.zone = zone
        self.jurisdiction = jurisdiction
        self.state = state
        self.journal = journal
        self.registry = registry
        self._participants = participants
        self.mechanisms = mechanisms
        self.catalog = catalog
        self.trust = trust
        self.chunks = chunks
        self.versions = versions
        self.landings = landings
        self.subjects = subjects
        self.timing = timing or Timing()
        self.clock = clock
        self.steps = Steps(state, journal, effects)
        self.administrators = administrators
        self.transfers = KeyedLocks()  # whoever records something of a transfer holds its lock
        self.negotiations = KeyedLocks()  # and of a negotiation, where nothing drives it: as provider, and while held
        self.paces = Paces()  # whoever lets a caller add to the ledger takes a token of it first
        self._gateway_id = gateway_id
        self._signer = signer
        self._decisions = decisions
        self._peers: Peers[P] | None = None
        self._skews: dict[str, tuple[float, float]] = {}

    @property
    def peers(self) -> Peers[P]:
        """The paired zones' gateways."""
        if self._peers is None:
            raise PeerError("this gateway is not connected to any other")
        return self._peers

    def connect(self, peers: Peers[Any]) -> None:
        """Say how the other gateways are reached."""
        self._peers = peers

    # --- places and people ------------------------------------------------------------------------------

    def site(self) -> Site:
        """This zone, as the policy input has it."""
        return Site.model_validate(
            {"jurisdiction": self.jurisdiction, "zone": self.zone, "gateway_id": self._gateway_id}
        )

    def card(self, zone: str) -> ZoneCard:
        """A paired zone's admitted card.

        Raises:
            NotFoundError: the zone is not paired.
        """
        return self.registry.peer(zone).signed.card

    def peer_site(self, zone: str) -> Site:
        """A paired zone; its jurisdiction comes from the card that an administrator admitted."""
        card = self.card(zone)
        return Site.model_validate({"jurisdiction": card.jurisdiction, "zone": zone, "gateway_id": "gateway"})

    async def participant(self, uri: str) -> Participant | None:
        """An institution of this zone's register, None where it is not registered."""
        try:
            return await self._participants.get(Identity.parse(uri).id)
        except NotFoundError:
            return None

    async def exporter(self, uri: str) -> Exporter | None:
        """An own institution's exporter part."""
        found = await self.participant(uri)
        return None if found is None else found.exporter

    async def recipient(self, uri: str) -> Recipient | None:
        """An own institution's recipient part."""
        found = await self.participant(uri)
        return None if found is None else found.recipient

    # --- statements -------------------------------------------------------------------------------------

    def sign(self, body: Statement, *, to: str, process: str, ttl: int | None = None) -> str:
        """A signed statement for another zone (or our own partners, with our own zone), as JSON text."""
        now = self.clock()
        envelope = self._signer.sign(
            body.kind,
            body.document(),
            audience=self._party(to),
            process=process,
            issued_at=now,
            expires_at=now + (ttl or self.timing.statement),
            most=body.size_max,
        )
        return text(envelope)

    def countersign(self, envelope: Envelope) -> str:
        """The same payload with our signature beside the other zone's."""
        return text(self._signer.countersign(envelope))

    def read(self, kind: type[S], statement: str, *, of: str, process: str = "", to: str = "") -> S:
        """Verify and read a statement.

        Args:
            kind: which body.
            statement: the envelope as JSON text.
            of: the zone that must have signed it.
            process: the process id it must carry; "" takes any.
            to: the zone that it must be meant for; "" means this one.

        Raises:
            IntegrityError: the signature or a binding does not hold.
            ClockError: issued in the future.
            PeerError: malformed.
        """
        envelope = parse_envelope(statement, most=kind.size_max)
        verified = verify_statement(
            envelope,
            kind.kind,
            key=self._key(of),
            issuer=self._party(of),
            audience=self._party(to or self.zone),
            now=self.clock(),
            leeway=limits.CLOCK_LEEWAY_S,
        )
        if process and verified.process != process:
            raise PeerError(f"a {kind.kind} of {of} belongs to another process")
        return kind.parse(verified.body)

    def _party(self, zone: str) -> Party:
        if zone == self.zone:
            return self._signer.issuer
        return self.card(zone).party

    def _key(self, zone: str) -> Ed25519PublicKey:
        return self._signer.public_key if zone == self.zone else self.card(zone).verification_key()

    # --- decisions --------------------------------------------------------------------------------------

    async def subject(self, described: Described) -> Subject:
        """What crosses, as the policy input has it.

        A dataset's facts stand in its manifest; a model's come from its verified manifest and provenance. Each zone
        looks for itself whose signatures it trusts.
        """
        description = described.description
        if isinstance(description, Description):
            return description.facts(described.version)
        trust = await self.trust()
        return await asyncio.to_thread(
            appraise, description, version=described.version, published_at=described.published_at, trust=trust
        )

    async def decide(
        self, document: Mapping[str, Any], *further: Finding, obligations: Iterable[Obligation] = ()
    ) -> KeptDecision:
        """Decide on an input; an engine's failure is a denial. A step keeps the result and records it.

        Args:
            document: the policy input.
            further: findings of the gateway itself, such as the owner's terms; they can only tighten.
            obligations: of the owner's terms; they add up with policy's, and what cannot be fulfilled denies.
        """
        decision = await self._decisions.decide(document)
        if decision.effect == "allow" and any(each.kind == "require_approval" for each in decision.obligations):
            decision = findings.tighten(decision, findings.APPROVAL)  # a zone's own rule that asks for no review
        decision = findings.tighten(decision, *further)
        if added := tuple(obligations):
            request = document["request"]
            decision = self._decisions.bind(decision, added, action=request["action"], now=request["now"])
        return KeptDecision(decision, document, self.clock())

    def ends(self, kept: KeptDecision) -> list[int]:
        """When what an own decision rests on ends, Unix seconds; see `gateway.decisions.ends`."""
        return ends_of(self._decisions.policy, kept)

    def refuse(self, document: Mapping[str, Any], finding: Finding) -> KeptDecision:
        """The gateway's own denial, where there is nothing that policy could decide on."""
        return KeptDecision(findings.refusal(self.zone, finding), document, self.clock())

    async def check_clock(self, zone: str) -> None:
        """Compare clocks with a paired gateway; what was compared lately is not asked for again.

        Raises:
            ClockError: they are too far apart.
            PeerUnavailableError: it does not answer.
        """
        at, apart = self._skews.get(zone, (float("-inf"), 0.0))
        if time.monotonic() - at > _CLOCK_CHECK_S:
            before = time.time()
            told = await self.peers.get(zone).hello(self.journal.committed_size)
            apart = abs(told.time_ms / 1000 - (before + time.time()) / 2)
            self._skews[zone] = time.monotonic(), apart
        if apart > limits.CLOCK_LEEWAY_S:
            raise ClockError(
                f"the clock of {zone} is {apart:.0f} s away from ours, at most {limits.CLOCK_LEEWAY_S} s are allowed",
                remedy="set both gateways' clocks by NTP",
            )


def text(envelope: Envelope) -> str:
    """An envelope as JSON text."""
    return canonical.encode(envelope.to_json()).decode()


def parse_envelope(statement: str, *, most: int = limits.STATEMENT_MAX) -> Envelope:
    """An envelope from JSON text of at most so many bytes.

    Raises:
        PeerError: it is none.
        IntegrityError: it is too long or malformed.
    """
    if len(statement) > most:
        raise IntegrityError(f"an envelope has at most {most} bytes")
    try:
        return Envelope.from_json(json.loads(statement), most=most)
    except ValueError as error:
        raise PeerError("an envelope is not JSON") from error
