"""Follow a log: what is new is verified against what was seen, and what contradicts it is an alert."""

from __future__ import annotations

import os
import time as _time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.entry import Entry, first_prev
from ledger.errors import FormatError, LedgerError, OperationalError, ProofError, TamperedError
from ledger.merkle import HASH_SIZE, CompactRange, leaf_hash, tree_root
from ledger.note import MAX_NOTE_BYTES
from ledger.proof import SignedCheckpoint, Trust
from ledger.report import Witnessed
from ledger.scan import Progress
from ledger.tiles import TILE_WIDTH, TileReader, read_regular_file
from ledger.verify import verify_directory

__all__ = ["Event", "Monitor"]

_MEMBERS: Final = {"hashes", "note", "prev", "time", "v"}
MAX_STATE_BYTES: Final = 2 * MAX_NOTE_BYTES


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a monitor saw; an alert is a contradiction, or news that stays away."""

    kind: Literal["verified", "grew", "witnessed", "alert"]
    text: str
    size: int
    at: int

    @property
    def line(self) -> str:
        """The event as a line."""
        return f"{datetime.fromtimestamp(self.at, UTC):%Y-%m-%dT%H:%M:%SZ} {self.kind:<9} size {self.size}: {self.text}"

    def as_json(self) -> JsonValue:
        """The event as a document."""
        return {"at": self.at, "kind": self.kind, "size": self.size, "text": self.text}


@dataclass(slots=True)
class _Seen:
    """What was verified: the checkpoint, the right edge that leads to its root, and the last entry."""

    note: bytes
    edge: CompactRange
    prev: bytes
    time: str

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "hashes": [each.hex() for each in self.edge.hashes],
                "note": self.note.decode(),
                "prev": self.prev.hex(),
                "time": self.time,
                "v": 1,
            }
        )


class Monitor:
    """Follows one directory, which a writer, a copying job or a mirror keeps up to date.

    Args:
        directory: the log's public files.
        trust: the log's key, and witnesses, from a trusted place.
        state: where to keep what was seen; None keeps it in memory only.
        max_age: seconds that the newest cosignature may be old; None where age says nothing.
        clock: Unix seconds.

    Raises:
        OperationalError: no log's key was given, or the state is of no use.
    """

    def __init__(
        self,
        directory: Path,
        trust: Trust,
        *,
        state: Path | None = None,
        max_age: int | None = None,
        clock: Callable[[], int] = lambda: int(_time.time()),
    ) -> None:
        if not trust.all_logs:
            raise OperationalError("no log's key was given", remedy="give --vkey, the zone's --card or a --policy")
        self._directory = directory
        # The head need not be cosigned: the policy is asked of checkpoint.witnessed.
        self._trust = Trust(trust.all_logs, trust.all_witnesses)
        self._policy = trust
        self._state = state
        self._max_age = max_age
        self._clock = clock
        self._witnessed = 0
        self._seen = self._load()

    def look(self, progress: Progress | None = None, workers: int = 1) -> list[Event]:
        """Look once: verify what is new.

        Args:
            progress: of the first, whole verification.
            workers: for that too.

        Returns:
            What happened; empty where nothing did. After an alert what was seen stays as it was.

        Raises:
            OperationalError: there is no log, or it cannot be read.
        """
        try:
            events = self._grown(self._seen) if self._seen else self._first(progress, workers)
            return [*events, *self._judge_witnessed()]
        except OperationalError:
            raise
        except LedgerError as error:
            return [self._event("alert", error.message)]

    def _first(self, progress: Progress | None, workers: int) -> list[Event]:
        """Verify everything that is there."""
        note = self._note("checkpoint")
        report = verify_directory(self._directory, trust=self._policy, seen=note, progress=progress, workers=workers)
        if report.findings:
            return [self._event("alert", f"{each.file}: {each.text}", report.size) for each in report.findings]
        checkpoint = self._open(note).checkpoint
        size = checkpoint.size
        reader = TileReader(self._directory)
        nodes = reader.nodes(max(size, report.size))
        hashes = [nodes(height, start) for height, start in _edge(size)]
        edge = CompactRange(size, hashes)
        if edge.root() != checkpoint.root:
            raise TamperedError("the tiles do not give the root that was signed")
        prev, time = first_prev(checkpoint.origin), ""
        if size:
            (last,) = reader.entries(size - 1, size, max(size, report.size))
            prev, time = leaf_hash(last), Entry.parse(last, seq=size - 1).time
        self._keep(_Seen(note, edge, prev, time))
        return [self._event("verified", report.first_line, size)]

    def _grown(self, seen: _Seen) -> list[Event]:
        """Verify the entries since, from the edge that was seen to the root that is signed now."""
        note = self._note("checkpoint")
        newest = self._open(note).checkpoint
        size = seen.edge.size
        if newest.size < size:
            raise TamperedError(f"the log has {newest.size} entries, {size} were seen: it was rolled back")
        edge, prev, time = seen.edge.copy(), seen.prev, seen.time
        reader = TileReader(self._directory)
        for seq, data in enumerate(reader.entries(size, newest.size, newest.size), size):
            entry = Entry.parse(data, seq=seq, prev=prev)
            if entry.time < time and entry.kind != "clock.corrected":
                raise TamperedError(f"entry {seq} says that it was made before an earlier one")
            prev, time = leaf_hash(data), entry.time
            edge.append(prev)
            if not (seq + 1) % TILE_WIDTH and reader.tile(0, seq // TILE_WIDTH, TILE_WIDTH)[-HASH_SIZE:] != prev:
                raise TamperedError(f"the tile's hash of entry {seq} is not the entry's")
        if edge.root() != newest.root:
            raise TamperedError(
                f"the root that the log signed at size {newest.size} does not follow from the {size} entries seen"
            )
        if newest.size == size:
            return []
        self._keep(_Seen(note, edge, prev, time))
        return [self._event("grew", f"{newest.size - size} entries since size {size}", newest.size)]

    def _judge_witnessed(self) -> list[Event]:
        """The newest checkpoint that others cosigned: newer, and not too old."""
        name = "checkpoint.witnessed"
        if not os.path.lexists(self._directory / name):
            return self._stale(None)
        signed = self._policy.open(read_regular_file(str(self._directory / name), MAX_NOTE_BYTES))
        seen = self._seen
        if seen is not None:
            size = signed.checkpoint.size
            nodes = TileReader(self._directory).nodes(seen.edge.size)
            if size <= seen.edge.size and tree_root(nodes, size) != signed.checkpoint.root:
                raise TamperedError(f"{name} has another root at size {size} than the entries that were seen")
        events = []
        if signed.checkpoint.size > self._witnessed and signed.cosignatures:
            self._witnessed = signed.checkpoint.size
            witnessed = Witnessed(signed.checkpoint.size, signed.cosignatures)
            text = f"at {witnessed.time} by {', '.join(witnessed.names)}"
            events.append(self._event("witnessed", text, signed.checkpoint.size))
        return [*events, *self._stale(signed)]

    def _stale(self, signed: SignedCheckpoint | None) -> list[Event]:
        if self._max_age is None:
            return []
        newest = max((each.time or 0 for each in signed.cosignatures), default=0) if signed else 0
        age = self._clock() - newest
        if age <= self._max_age:
            return []
        text = f"the newest cosignature is {age} s old, more than {self._max_age}" if newest else "nobody cosigned it"
        return [self._event("alert", text, signed.checkpoint.size if signed else 0)]

    def _open(self, note: bytes) -> SignedCheckpoint:
        return self._trust.open(note)

    def _note(self, name: str) -> bytes:
        if not self._directory.is_dir():
            raise OperationalError(f"{self._directory} is not a ledger's directory", remedy="name the log's folder")
        return read_regular_file(str(self._directory / name), MAX_NOTE_BYTES)

    def _event(
        self, kind: Literal["verified", "grew", "witnessed", "alert"], text: str, size: int | None = None
    ) -> Event:
        if size is None:
            size = self._seen.edge.size if self._seen else 0
        return Event(kind, text, size, self._clock())

    # --- what was seen ------------------------------------------------------------------------------------

    def _keep(self, seen: _Seen) -> None:
        self._seen = seen
        if self._state is None:
            return
        temporary = self._state.with_name(f".{self._state.name}.new")
        try:
            with temporary.open("wb") as file:
                file.write(seen.encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._state)
        except OSError as error:
            raise OperationalError(f"cannot write {self._state}: {error.strerror}") from error

    def _load(self) -> _Seen | None:
        if self._state is None or not self._state.exists():
            return None
        try:
            seen = _parse(read_regular_file(str(self._state), MAX_STATE_BYTES))
            signed = self._open(seen.note).checkpoint
            if (signed.size, signed.root) != (seen.edge.size, seen.edge.root()):
                raise FormatError("it does not lead to the checkpoint that it holds")
        except LedgerError as error:
            raise OperationalError(
                f"{self._state}: {error.message}", remedy="move it away; the log is then verified from the start"
            ) from error
        return seen


def _parse(data: bytes) -> _Seen:
    try:
        value = canonical.decode(data)
        if not isinstance(value, dict) or value.keys() != _MEMBERS or value["v"] != 1:
            raise FormatError("not what a monitor keeps")
        hashes, note, prev, time = value["hashes"], value["note"], value["prev"], value["time"]
        if not isinstance(hashes, list) or not isinstance(note, str) or not isinstance(prev, str):
            raise FormatError("not what a monitor keeps")
        size = int(note.split("\n")[1])
        edge = CompactRange(size, [bytes.fromhex(str(each)) for each in hashes])
        return _Seen(note.encode(), edge, bytes.fromhex(prev), str(time))
    except (CanonicalError, ValueError, IndexError, ProofError) as error:
        raise FormatError("not what a monitor keeps") from error


def _edge(size: int) -> list[tuple[int, int]]:
    """The largest complete subtrees of a size, left to right."""
    found, start = [], 0
    for height in range(size.bit_length() - 1, -1, -1):
        if size >> height & 1:
            found.append((height, start >> height))
            start += 1 << height
    return found
