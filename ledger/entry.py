"""Log entries: canonical JSON with exactly eight members, chained by the leaf hash of the one before."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time as _time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.errors import EntryError

__all__ = [
    "KINDS",
    "MAX_ENTRY_BYTES",
    "Draft",
    "Entry",
    "LoneDraft",
    "body_bytes",
    "check_body",
    "content_of",
    "first_prev",
    "format_time",
    "new_id",
    "parse_time",
]

MAX_ENTRY_BYTES: Final = 65_535
"""What a bundle's uint16 length prefix can say; aim at 2 KiB."""

KINDS: Final = frozenset(
    {
        "log.opened",
        "log.sealed",
        "decision",
        "agreement",
        "transfer.started",
        "transfer.completed",
        "transfer.aborted",
        "transfer.resumed",
        "receipt",
        "revocation",
        "approval",
        "release",
        "policy.activated",
        "identity.issued",
        "identity.revoked",
        "key.rotated",
        "peer.checkpoint",
        "fork.detected",
        "clock.corrected",
        "erasure",
    }
)
"""The kinds that are named one by one; ``job.*``, ``run.*`` and ``round.*`` are open. Unknown ones still verify."""

# Only the kinds whose members the format names; the log itself depends on them.
_SCHEMAS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "log.opened": (frozenset({"origin", "vkey"}), frozenset({"predecessor"})),
    "log.sealed": (frozenset({"reason"}), frozenset()),
    "key.rotated": (frozenset({"old", "new", "from", "signatures"}), frozenset()),
    "clock.corrected": (frozenset({"before"}), frozenset()),
    "erasure": (frozenset({"seq", "id", "field"}), frozenset()),
}

_MEMBERS: Final = frozenset({"v", "id", "seq", "prev", "time", "kind", "subject", "body"})
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_KIND: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*", re.ASCII)
_MAX_KIND: Final = 64
_MAX_SUBJECT: Final = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Args:
        id: UUIDv7 of the event, chosen before the append.
        seq: its place, from 0.
        prev: leaf hash of the entry before; of the first, SHA-256 of the origin.
        time: ``YYYY-MM-DDTHH:MM:SS.ffffffZ``, the log's own word.
        kind: what happened, dotted lower case.
        subject: what it happened to, as ``transfers/...``.
        body: the rest, by kind.
    """

    id: str
    seq: int
    prev: bytes
    time: str
    kind: str
    subject: str
    body: dict[str, JsonValue]

    def encode(self) -> bytes:
        """The entry's bytes, as they are stored and hashed."""
        return Draft(self.id, self.kind, self.subject, self.body).place(self.seq, self.prev, self.time)

    @classmethod
    def parse(cls, data: bytes, *, seq: int | None = None, prev: bytes | None = None) -> Entry:
        """Parse stored bytes and check that they may stand at their place.

        Args:
            seq: the place they were found at; not checked where None.
            prev: the leaf hash of the entry before; not checked where None.

        Raises:
            EntryError: too long, not canonical, not exactly the members, or at another place.
        """
        if len(data) > MAX_ENTRY_BYTES:
            raise EntryError(f"an entry has at most {MAX_ENTRY_BYTES} bytes, not {len(data)}")
        try:
            value = canonical.decode(data)
        except CanonicalError as error:
            raise EntryError(f"not canonical JSON: {error}") from error
        if type(value) is not dict or value.keys() != _MEMBERS:
            raise EntryError("an entry has the members body, id, kind, prev, seq, subject, time and v, no others")
        if value["v"] != 1 or value["v"] is True:
            raise EntryError("an entry of another version than 1")
        found, before, body = value["seq"], value["prev"], value["body"]
        if type(found) is not int or found < 0:
            raise EntryError("seq is not a number from 0 on")
        if type(before) is not str or not _HASH.fullmatch(before):
            raise EntryError("prev is not a SHA-256 in lower-case hex")
        if type(body) is not dict:
            raise EntryError("body is not an object")
        entry = cls(
            _check_id(value["id"]),
            found,
            bytes.fromhex(before),
            _check_time(value["time"]),
            _check_kind(value["kind"]),
            _check_subject(value["subject"]),
            body,
        )
        if seq is not None and found != seq:
            raise EntryError(f"seq is {found} at place {seq}")
        if prev is not None and entry.prev != prev:
            raise EntryError("prev is not the leaf hash of the entry before")
        return entry


def body_bytes(entry: Entry, data: bytes) -> bytes:
    """The canonical bytes of a body, cut out of its entry's canonical bytes ``data``."""
    return data[len(b'{"body":') : data.rindex(b',"id":"%b","kind":"' % entry.id.encode())]


class Draft:
    """An entry before it has a place: checked and encoded once, off the committing thread.

    Raises:
        EntryError: a part is not as an entry needs it, or the entry would be too long.
    """

    __slots__ = ("_head", "_subject", "content", "id", "kind", "size", "subject")

    alone = False
    """Whether it must have a batch of its own."""

    def __init__(self, id: str, kind: str, subject: str, body: dict[str, JsonValue]) -> None:  # noqa: A002
        self.id = _check_id(id)
        self.kind = _check_kind(kind)
        self.subject = _check_subject(subject)
        if type(body) is not dict:
            raise EntryError("body is not an object")
        check_body(kind, body)
        try:
            encoded = canonical.encode(body)
            self._subject = canonical.encode(subject)
        except CanonicalError as error:
            raise EntryError(f"the body has no canonical form: {error}") from error
        self._head = b'{"body":%b,"id":"%b","kind":"%b","prev":"' % (encoded, id.encode(), kind.encode())
        self.content = _content(kind, self._subject, encoded)
        """SHA-256 over what a retry must repeat: kind, subject and body."""
        self.size = len(self._head) + len(self._subject) + 160
        """An upper bound of the entry's bytes."""
        if self.size > MAX_ENTRY_BYTES:
            raise EntryError(
                f"the entry would have about {self.size} bytes, more than {MAX_ENTRY_BYTES}",
                remedy="put the document into the content store and name it by digest",
            )

    def at(self, seq: int, before: str) -> Draft:
        """The draft to place, for one whose body depends on its place.

        Args:
            seq: the place.
            before: the time of the entry before.
        """
        return self

    def place(self, seq: int, prev: bytes, time: str) -> bytes:
        """The entry's bytes at a place; the members in the order that RFC 8785 gives them."""
        return b'%b%b","seq":%d,"subject":%b,"time":"%b","v":1}' % (
            self._head,
            prev.hex().encode(),
            seq,
            self._subject,
            time.encode(),
        )


class LoneDraft(Draft):
    """A draft that has a batch of its own, so that its body may say what its place is.

    Args:
        body: what a retry must repeat.
        make: gives the body at a place, from its number and the time of the entry before; by default ``body``.
    """

    __slots__ = ("_make",)

    alone = True

    def __init__(
        self,
        id: str,  # noqa: A002
        kind: str,
        subject: str,
        body: dict[str, JsonValue],
        make: Callable[[int, str], dict[str, JsonValue]] | None = None,
    ) -> None:
        super().__init__(id, kind, subject, body if make is None else make(0, format_time(0)))
        if make is not None:
            self.content = _content(kind, self._subject, canonical.encode(body))
        self._make = make

    def at(self, seq: int, before: str) -> Draft:
        """See :class:`Draft`."""
        return self if self._make is None else Draft(self.id, self.kind, self.subject, self._make(seq, before))


def content_of(entry: Entry) -> bytes:
    """SHA-256 over what a retry of an entry must repeat."""
    return Draft(entry.id, entry.kind, entry.subject, entry.body).content


def check_body(kind: str, body: dict[str, JsonValue]) -> None:
    """Check the member names of a body whose kind the format describes; others pass.

    Raises:
        EntryError: a member is missing or has no place there.
    """
    if kind not in _SCHEMAS:
        return
    needed, optional = _SCHEMAS[kind]
    if not needed <= body.keys() <= needed | optional:
        may = f"; may have {', '.join(sorted(optional))}" if optional else ""
        raise EntryError(f"the body of {kind} has {', '.join(sorted(needed))}{may}")


def first_prev(origin: str) -> bytes:
    """What entry 0 names as the one before it."""
    return hashlib.sha256(origin.encode()).digest()


def new_id(unix_ns: int | None = None) -> str:
    """A fresh UUIDv7 (RFC 9562 section 5.7)."""
    milliseconds = (_time.time_ns() if unix_ns is None else unix_ns) // 1_000_000
    number = milliseconds << 80 | 7 << 76 | int.from_bytes(os.urandom(10), "big") & ~(0xF << 76)
    number = number & ~(3 << 62) | 2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def format_time(unix_microseconds: int) -> str:
    """A time as entries write it, UTC."""
    seconds, rest = divmod(unix_microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"


def parse_time(text: str) -> int:
    """Microseconds since 1970 of a time as entries write it.

    Raises:
        EntryError: not such a time.
    """
    if not _TIME.fullmatch(text):
        raise EntryError("time is not YYYY-MM-DDTHH:MM:SS.ffffffZ")
    try:
        return _whole_seconds(text[:19]) * 1_000_000 + int(text[20:26])
    except ValueError as error:
        raise EntryError(f"{text} is no time") from error


@functools.lru_cache(maxsize=256)  # many entries share a second
def _whole_seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _content(kind: str, subject: bytes, body: bytes) -> bytes:
    return hashlib.sha256(b"%b\n%b\n%b" % (kind.encode(), subject, body)).digest()


def _check_id(value: JsonValue) -> str:
    if type(value) is not str or not _ID.fullmatch(value):
        raise EntryError("id is not a UUIDv7 in lower case")
    return value


def _check_time(value: JsonValue) -> str:
    if type(value) is not str:
        raise EntryError("time is not a string")
    parse_time(value)
    return value


def _check_kind(value: JsonValue) -> str:
    if type(value) is not str or len(value) > _MAX_KIND or not _KIND.fullmatch(value):
        raise EntryError("kind is not a dotted name in lower case")
    return value


def _check_subject(value: JsonValue) -> str:
    if type(value) is not str or not 1 <= len(value) <= _MAX_SUBJECT or not value.isprintable():
        raise EntryError(f"subject is not 1 to {_MAX_SUBJECT} printable characters")
    return value
