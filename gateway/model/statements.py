"""The bodies of what gateways sign for each other: closed documents, parsed strictly, one class a kind.

The kind is also the DSSE payload type: application/vnd.tdz.<kind>.v1+json. Digests are lowercase hex SHA-256,
times Unix seconds UTC, sizes bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import IntegrityError, PeerError
from gateway.model import canonical, limits
from gateway.model.artifact import ModelDescription
from gateway.model.dataset import DatasetManifest
from gateway.model.decision import Decision
from gateway.model.described import AnyDescription, resource_of
from gateway.model.obligation import Obligation
from gateway.model.policy_facts import (
    Digest,
    Exporter,
    Identifier,
    Items,
    OptionalText,
    Part,
    Purpose,
    Recipient,
    Text,
    UnixSeconds,
    ZoneName,
    as_tuple,
)
from gateway.model.terms import Terms

Uuid7 = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
Resource = Annotated[str, StringConstraints(pattern=r"^(datasets|models)/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Count = Annotated[int, Field(ge=0, le=limits.ROWS_MAX)]
References = Annotated[
    tuple[Identifier, ...], BeforeValidator(as_tuple), Field(max_length=limits.MECHANISMS_PER_REQUEST)
]


class Statement(Part):
    """Base of every signed body."""

    kind: ClassVar[str]
    size_max: ClassVar[int] = limits.STATEMENT_MAX  # bytes of its envelope

    @classmethod
    def parse(cls, body: object) -> Self:
        """Read a body that another zone signed.

        Raises:
            PeerError: a member is missing, extra or wrong.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(str(step) for step in first["loc"])
            raise PeerError(f"the other zone's {cls.kind} is malformed: {path}: {first['msg']}") from error


class ResourceCard(Statement):
    """What a provider's zone says of one dataset or model, so that the asking zone can list it and decide."""

    kind = "resource-card"
    size_max = limits.CARD_STATEMENT_MAX

    resource: Resource
    owner: Identifier
    version: Digest
    manifest: DatasetManifest
    description: AnyDescription
    schema_message: Annotated[str, StringConstraints(max_length=2 * limits.SCHEMA_MESSAGE_MAX)]  # base64
    published_at: UnixSeconds
    exporter: Exporter
    terms: Terms

    @model_validator(mode="after")
    def _belongs_together(self) -> ResourceCard:
        named = resource_of(self.description)
        if self.manifest.version != self.version or self.resource != named:
            raise PydanticCustomError("card", "version, manifest and resource do not belong together")
        if (self.manifest.kind, self.manifest.id) != (self.description.kind, self.description.id):
            raise PydanticCustomError("card", "the manifest is of another kind or id than its description")
        if hashlib.sha256(self.description.encode()).hexdigest() != self.manifest.descriptive_digest:
            raise PydanticCustomError("card", "the description is not the one that the manifest names")
        if hashlib.sha256(self.schema_bytes()).hexdigest() != self.manifest.schema_digest:
            raise PydanticCustomError("card", "the schema is not the one that the manifest names")
        if isinstance(self.description, ModelDescription):
            try:
                self.description.require_manifest(self.manifest)
            except IntegrityError as error:
                raise PydanticCustomError("card", "{problem}", {"problem": error.message}) from error
        return self

    def schema_bytes(self) -> bytes:
        """The Arrow IPC schema message."""
        return base64.b64decode(self.schema_message, validate=True)


@functools.lru_cache(maxsize=16)
def card_of(text: str) -> ResourceCard:
    """The card that a row holds as canonical JSON; cards are frozen, and asked for several times in one pull.

    Raises:
        PeerError: it is malformed.
    """
    return ResourceCard.parse(canonical.decode(text.encode()))


class NegotiationRequest(Statement):
    """The consumer's request, its register's facts, and its zone's decision as a statement of its own.

    The decision is separate, since it goes onto the ledgers and the register's facts do not.
    """

    kind = "negotiation"

    id: Uuid7
    participant: Identifier
    resource: Resource
    version: Digest
    purpose: Purpose
    mechanisms: References
    recipient: Recipient
    decision: Annotated[str, StringConstraints(max_length=limits.STATEMENT_MAX)]  # a ZoneDecision's envelope

    def summary(self) -> dict[str, Any]:
        """What a ledger entry says of the request."""
        document = self.document()
        return {name: document[name] for name in ("participant", "resource", "version", "purpose", "mechanisms")}


class ZoneDecision(Statement):
    """A zone's decision on a request; the provider's also says what both come to."""

    kind = "decision"

    negotiation: Uuid7
    decision: dict[str, Any]
    effect: Literal["allow", "review", "deny"]
    held_by: OptionalText
    deadline: UnixSeconds

    def peer_decision(self) -> Decision:
        """The decision inside.

        Raises:
            InputError: it is malformed.
        """
        return Decision.from_json(self.decision)


class ObligationPart(Part):
    """One obligation in an agreement."""

    kind: Text
    params: dict[str, Any]

    def obligation(self) -> Obligation:
        """As the domain has it.

        Raises:
            InputError: parameters without a canonical form.
        """
        return Obligation.from_json({"kind": self.kind, "params": self.params})


class AgreementLimits(Part):
    """Bounds of an agreement; 0 means none of this kind."""

    expires_at: UnixSeconds
    pulls: Count
    rows: Count
    bytes: Count
    onward: Literal[False]


class DecisionIds(Part):
    """Both zones' decisions."""

    consumer: Uuid7
    provider: Uuid7


class Agreement(Statement):
    """Offer and agreement in one payload: an offer with the provider's signature, an agreement with both."""

    kind = "agreement"

    id: Uuid7
    negotiation: Uuid7
    resource: Resource
    version: Digest
    view: Digest
    consumer: Identifier
    provider: Identifier
    consumer_zone: ZoneName
    provider_zone: ZoneName
    purpose: Purpose
    mechanisms: References
    obligations: Items[ObligationPart]
    limits: AgreementLimits
    decisions: DecisionIds
    confirm_before: UnixSeconds


class Appeal(Statement):
    """An institution's appeal against the denial of the other zone; its note stays with those who answer it."""

    kind = "appeal"

    negotiation: Uuid7
    participant: Identifier
    note: Annotated[str, StringConstraints(min_length=1, max_length=limits.NOTE_MAX_CHARS)]


class Revocation(Statement):
    """An agreement ends before its date; the one zone tells the other."""

    kind = "revocation"

    agreement: Uuid7
    by: Literal["admin", "provider", "consumer"]


class Preview(Statement):
    """A question that asks for nothing: what the provider's zone would say to a request for each of these purposes."""

    kind = "preview"

    participant: Identifier
    resource: Resource
    version: Digest
    purposes: Annotated[
        tuple[Purpose, ...],
        BeforeValidator(as_tuple),
        Field(min_length=1, max_length=limits.PREVIEW_PURPOSES_MAX),
    ]
    mechanisms: References
    recipient: Recipient


class Receipt(Statement):
    """One side's word on a completed transfer."""

    kind = "receipt"

    transfer: Uuid7
    agreement: Uuid7
    side: Literal["consumer", "provider"]
    version: Digest
    view: Digest
    chunks: Count
    rows: Count
    bytes: Count
    root: Digest
    started_at: UnixSeconds
    ended_at: UnixSeconds
    checkpoint: Annotated[str, StringConstraints(max_length=8 * limits.KIB)]  # newest witnessed note, or empty

    def same_outcome(self, other: Receipt) -> bool:
        """Whether two receipts say the same of what crossed."""
        names = ("transfer", "agreement", "version", "view", "chunks", "rows", "bytes", "root")
        return all(getattr(self, name) == getattr(other, name) for name in names)


class StreamEnd(Statement):
    """The signed end of a stream: without it a pull is incomplete, whatever the status says."""

    kind = "end"

    transfer: Uuid7
    version: Digest
    chunks: Count
    rows: Count
    bytes: Count
    root: Digest
