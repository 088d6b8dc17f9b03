"""What a zone's gateway tells its partners: datasets, requests, agreements, transfers, as plain frozen objects.

Times are Unix seconds UTC, 0 for none; sizes are bytes; digests are lower-case hex SHA-256. Fields are named and
meant as in proto/gateway/v1/catalog.proto and exchange.proto.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Resource:
    """Base: read from the wire by field name, shown as a plain document."""

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        values = {field.name: _plain(field.name, getattr(message, field.name)) for field in dataclasses.fields(cls)}
        return cls(**values)

    def document(self) -> dict[str, Any]:
        """The resource as JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Column(Resource):
    """One column as its publisher described it."""

    name: str
    arrow_type: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset(Resource):
    """A dataset as it is offered to the caller; `bytes` and `chunks` are those of the stored version."""

    name: str
    zone: str
    owner: str
    title: str
    description: str
    licence: str
    version: str
    rows: int
    bytes: int
    chunks: int
    columns: tuple[Column, ...]
    purposes: tuple[str, ...]
    obligations: tuple[str, ...]
    approval: str
    published_at: int
    offered_until: int


@dataclass(frozen=True, slots=True)
class ModelFile(Resource):
    """One file of a model."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Model(Resource):
    """A model as it is offered to the caller.

    `artifact` is its id: SHA-256 of the signed statement over its files. `facts` is the policy input's `model` part
    as JSON text, as the caller's zone reads it from the verified manifest and provenance. A listing leaves out
    `files` and `provenance`.
    """

    name: str
    zone: str
    owner: str
    title: str
    description: str
    licence: str
    version: str
    artifact: str
    facts: str
    bytes: int
    chunks: int
    files: tuple[ModelFile, ...]
    provenance: tuple[str, ...]
    purposes: tuple[str, ...]
    obligations: tuple[str, ...]
    approval: str
    published_at: int
    offered_until: int

    def lineage(self) -> dict[str, Any]:
        """What it was made from, on what, by whom vouched: the facts as a document."""
        facts: dict[str, Any] = json.loads(self.facts)
        return facts

    def document(self) -> dict[str, Any]:
        """The model as JSON values, its facts among them as a document."""
        return {**dataclasses.asdict(self), "facts": self.lineage()}


@dataclass(frozen=True, slots=True)
class Published(Resource):
    """A version that a publication made, or found already there."""

    name: str
    version: str
    rows: int
    chunks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Finding(Resource):
    """One rule's word on a request: what it is, on whose authority, where it stands, what would mend it."""

    code: str
    effect: str
    authority: str
    cite: str
    remedy: str

    def parts(self) -> tuple[str, str, str, str, str]:
        """The tuple that a `PolicyError` carries."""
        return (self.code, self.effect, self.authority, self.cite, self.remedy)


@dataclass(frozen=True, slots=True)
class Decision(Resource):
    """One zone's decision, and the entry of the own zone's ledger that records it."""

    zone: str
    effect: str
    decision_id: str
    ledger_seq: int


@dataclass(frozen=True, slots=True)
class AccessRequest(Resource):
    """A request for access and where it stands; states are those of contract negotiation.

    `denied_by` says who can be appealed against, `<zone>/policy` or `<zone>/admin`; `appeal` where an appeal stands;
    `anew` which request decides again after one that was overturned.
    """

    id: str
    resource: str
    purpose: str
    state: str
    effect: str
    held_by: str
    deadline: int
    findings: tuple[Finding, ...]
    decisions: tuple[Decision, ...]
    obligations: tuple[str, ...]
    agreement: str
    participant: str
    request_id: str
    created_at: int
    reason: str
    denied_by: str = ""
    appeal: str = ""
    appeal_deadline: int = 0
    anew: str = ""


@dataclass(frozen=True, slots=True)
class Agreement(Resource):
    """An agreement between an institution of each zone; `envelope` is its own text with both signatures."""

    id: str
    resource: str
    version: str
    consumer: str
    provider: str
    purpose: str
    state: str
    obligations: tuple[str, ...]
    expires_at: int
    pulls_limit: int
    pulls_used: int
    envelope: str
    reason: str
    created_at: int

    def in_force(self, *, now: float | None = None) -> bool:
        """Whether it can be pulled under, as far as can be seen from here.

        Args:
            now: Unix seconds; the wall clock where left out.
        """
        spent = self.pulls_limit > 0 and self.pulls_used >= self.pulls_limit
        moment = time.time() if now is None else now
        return self.state == "FINALIZED" and not spent and (not self.expires_at or moment < self.expires_at)


@dataclass(frozen=True, slots=True)
class Transfer(Resource):
    """A transfer and where it stands; states are those of the transfer process."""

    id: str
    agreement: str
    resource: str
    state: str
    version: str
    chunks_done: int
    chunks: int
    rows: int
    bytes: int
    reason: str
    deadline: int
    receipt: str
    peer_receipt: str
    created_at: int
    participant: str
    side: str

    ENDED: ClassVar[frozenset[str]] = frozenset({"COMPLETED", "TERMINATED"})

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in self.ENDED


@dataclass(frozen=True, slots=True)
class Progress(Resource):
    """How far a pull, an upload or a verification is.

    Totals are -1 where they are not known; `reconnects` counts how often the stream was taken up again.
    """

    chunks: int
    rows: int
    bytes: int
    chunks_total: int = -1
    rows_total: int = -1
    bytes_total: int = -1
    reconnects: int = 0


_PARTS: dict[str, type[Resource]] = {"columns": Column, "files": ModelFile, "findings": Finding, "decisions": Decision}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str | int | bytes):
        return value
    part = _PARTS.get(name)
    return tuple(value) if part is None else tuple(part.of(item) for item in value)
