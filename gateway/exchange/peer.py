"""How the exchange reaches the other zone's gateway. `gateway.server` fills it; the tests' faulty peer is another.

Every method raises PeerUnavailableError when the other gateway does not answer before the deadline, or the error
that it answered with. Calls may be repeated: the other gateway gives the same answer to the same id and content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.errors import PeerError
from gateway.flow.house import PeerTime
from gateway.model import canonical
from gateway.model.canonical import CanonicalError, JsonValue

Bytes = bytes | memoryview
_METADATA_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Answer:
    """The provider's answer to Negotiate: envelopes as JSON text; `offer` is empty without one."""

    decision: str
    offer: str
    ledger_size: int


@dataclass(frozen=True, slots=True)
class Granted:
    """A ticket for one stream; `until` in Unix seconds."""

    ticket: str
    until: int
    ledger_size: int = 0


@dataclass(frozen=True, slots=True)
class AppealTaken:
    """An appeal that the peer answers: its id there, and until when, Unix seconds."""

    review: str
    deadline: int


@dataclass(frozen=True, slots=True)
class PeerFrame:
    """One frame of a stream: an Arrow IPC message without its 8-byte prefix, and the gateway's own metadata.

    In order: the schema (metadata: StreamOpening), the chunk list (metadata alone, 32 bytes a chunk; only where
    the stream begins at chunk 0), each chunk's messages (metadata on its record batch, which ends it: ChunkMark),
    the signed end (metadata alone).
    """

    header: Bytes = b""
    metadata: Bytes = b""
    body: Bytes = b""


@dataclass(frozen=True, slots=True)
class ChunkMark:
    """What ends a chunk: its index and the SHA-256 (hex) of its file."""

    index: int
    digest: str

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode({"digest": self.digest, "index": self.index})

    @classmethod
    def decode(cls, data: Bytes) -> ChunkMark:
        """Read it strictly.

        Raises:
            PeerError: it is none.
        """
        document = _object(data, {"digest", "index"})
        index, digest = document["index"], document["digest"]
        if type(index) is not int or not isinstance(digest, str):
            raise PeerError("a chunk's mark is malformed")
        return cls(index, digest)


@dataclass(frozen=True, slots=True)
class StreamOpening:
    """What opens a stream: the provider's ledger size that covers its transfer.started."""

    ledger_size: int

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode({"ledger_size": self.ledger_size})

    @classmethod
    def decode(cls, data: Bytes) -> StreamOpening:
        """Read it strictly.

        Raises:
            PeerError: it is none.
        """
        size = _object(data, {"ledger_size"})["ledger_size"]
        if type(size) is not int or size < 0:
            raise PeerError("a stream's opening is malformed")
        return cls(size)


def _object(data: Bytes, members: set[str]) -> dict[str, JsonValue]:
    if len(data) > _METADATA_MAX:
        raise PeerError("a frame's metadata is too long")
    try:
        document = canonical.decode(bytes(data))
    except CanonicalError as error:
        raise PeerError("a frame's metadata is not canonical JSON") from error
    if not isinstance(document, dict) or set(document) != members:
        raise PeerError("a frame's metadata has other members than it should")
    return document


class PeerGateway(Protocol):
    """One paired zone's gateway."""

    @property
    def zone(self) -> str:
        """Its zone."""

    async def hello(self, ledger_size: int) -> PeerTime:
        """Its clock, now."""

    async def list_cards(self, after: str) -> tuple[list[str], str]:
        """A page of signed dataset cards and where the next begins, empty at the end."""

    async def get_card(self, resource: str) -> str:
        """One signed dataset card."""

    async def negotiate(self, envelope: str, ledger_size: int) -> Answer:
        """Round trip 1."""

    async def confirm(self, agreement: str, ledger_size: int) -> Granted:
        """Round trip 2."""

    async def issue_ticket(self, agreement: str, transfer: str) -> Granted:
        """A new ticket for a transfer of an agreement in force."""

    def read(
        self, ticket: str, transfer: str, first_chunk: int, ledger_size: int
    ) -> AbstractAsyncContextManager[AsyncIterator[PeerFrame]]:
        """Round trip 3: the stream; leaving the context ends the call."""

    async def deliver_receipt(self, receipt: str, ledger_size: int) -> tuple[str, int]:
        """The provider's receipt for the consumer's, and its ledger size."""

    async def reviewed(self, negotiation: str, review: str, decision: str, ledger_size: int) -> None:
        """Tell what reviewers answered to a review: a signed denial, or nothing where the negotiation may go on."""

    async def appeal(self, envelope: str, ledger_size: int) -> AppealTaken:
        """An institution's appeal against the peer's denial."""

    async def end_agreement(self, agreement: str, envelope: str, ledger_size: int) -> None:
        """Tell that an agreement has ended before its date."""

    async def preview(self, envelope: str) -> list[str]:
        """What it would decide for each purpose of a signed question: decisions as JSON; nothing is recorded."""

    async def abort(self, transfer: str, reason: str, ledger_size: int) -> None:
        """Tell it that the transfer is given up."""
