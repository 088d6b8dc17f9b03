"""The blocking part of a mirror: judge, hold, sign, file. One thread at a time.

What comes in one message is held in ``witness.db`` with the row that says so, in one transaction; tiles, bundles
and the served ``checkpoint`` follow by :meth:`MirrorStore.file`, many pushes at a time. What comes in several
messages goes to the files at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ledger.checkpoint import Checkpoint, Published
from ledger.edge import TileEdge
from ledger.entry import first_prev
from ledger.errors import (
    BadProofError,
    BadRequestError,
    ContradictionError,
    LedgerError,
    MirrorFullError,
    OperationalError,
)
from ledger.files import FileWriter
from ledger.freezing import frozen, require_open
from ledger.lock import open_database
from ledger.merkle import NodeGetter
from ledger.mirror_judge import MirrorJudge
from ledger.mirror_keys import MirrorKeys
from ledger.note import MAX_NOTE_BYTES, CosignatureSigner, Note, Signature
from ledger.recover import load_edge
from ledger.staging import TEMPORARY
from ledger.storage import Storage, lock_directory
from ledger.tiles import TILE_WIDTH, TileReader, entries_path, read_regular_file

__all__ = ["MAX_RECEIVE_BYTES", "MirrorStore", "mirror_directory"]

MAX_RECEIVE_BYTES: Final = 8 * 1024 * 1024
MAX_HELD_ENTRIES: Final = 256
MAX_HELD_BYTES: Final = 4 * 1024 * 1024
_FREE_MARGIN_BYTES: Final = 64 * 1024 * 1024
"""Left on the disk for the own log, which must not stop because a peer's grows."""


def mirror_directory(ledger: Path, origin: str) -> Path:
    """Where the mirror of an origin lies."""
    return ledger / "mirror" / first_prev(origin).hex()


class MirrorStore:
    """One peer's log on our disk, and what we signed of it.

    ``witness.db`` is what counts: a checkpoint is mirrored once its row says so, and the row says so only when the
    entries are durable: in the files up to the checkpoint ``filed``, in the table ``held`` from there on.

    Raises:
        ContradictionError: the files are not what the row says, or the row is gone while the files are there.
        OperationalError: another process has the mirror open.
    """

    def __init__(
        self,
        ledger: Path,
        *,
        peer_vkey: str,
        cosigner: CosignatureSigner,
        clock: Callable[[], int],
        storage: Storage,
        quota_bytes: int,
    ) -> None:
        self._judge = MirrorJudge(peer_vkey)
        self.origin = self._judge.origin
        self.mirrored: Published | None = None
        self.pending: Published | None = None
        self._edge = self._base = TileEdge(first_prev(self.origin))
        self._bytes = self._base_bytes = 0
        self._full: list[str] = []
        self._filed: Published | None = None
        self._held_bytes = 0
        self._unfiled: list[tuple[str, bytes]] = []  # tiles and bundles that became full among what is held
        self._line = ""  # our newest cosignature, for the checkpoint that is served
        self._cosigner = cosigner
        self._clock = clock
        self._storage = storage
        self._quota_bytes = quota_bytes
        self._directory = str(mirror_directory(ledger.absolute(), self.origin))
        staging = ledger.absolute() / "state" / "staging"
        prefix = f"{TEMPORARY}mirror-{os.path.basename(self._directory)[:16]}-"
        self._files = FileWriter(storage, self._directory, str(staging), prefix)
        self.keys = MirrorKeys(self._judge, peer_vkey, self._files)
        self._db = open_database(ledger / "state" / "witness.db", OperationalError)
        try:
            self._files.sweep()
            os.makedirs(self._directory, exist_ok=True)
            storage.sync_directory(os.path.dirname(self._directory))
            self._flock = lock_directory(self._directory)
        except BaseException:
            self._db.close()
            raise
        try:
            self._load(peer_vkey)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database and give the lock back."""
        self._db.close()
        os.close(self._flock)

    @property
    def have(self) -> int:
        """The first entry that is missing: where the pushing side goes on."""
        return self._edge.size

    @property
    def size(self) -> int:
        """The number of entries that are mirrored: durable and under a checkpoint that we may cosign."""
        return self.mirrored.checkpoint.size if self.mirrored else 0

    # --- in one message ---------------------------------------------------------------------------------

    def take(self, note: bytes, old_size: int, proof: list[bytes], start: int, entries: list[bytes]) -> str:
        """Judge a checkpoint with all its entries, hold them, and cosign it.

        Durability: when it returns, entries and row are on disk in ``witness.db``. Atomicity: both or neither.

        Args:
            start: the first entry's number; entries that are here already are passed over.

        Returns:
            The cosignature line.

        Raises:
            MirrorError: the request is refused; nothing changed.
        """
        if self._edge.size != self.size:  # a push in several messages is under way: this one ends it
            self.begin(note, old_size, proof)
            self.receive(self._missing(start, entries))
            return self.finish()
        checkpoint = self._judged(note, old_size, proof)
        fresh = self._missing(start, entries)
        if self._edge.size + len(fresh) != checkpoint.size:
            raise BadRequestError(f"{len(fresh)} entries from {self._edge.size} on do not lead to {checkpoint.size}")
        if not fresh:
            return self._cosign(Published(checkpoint, note))
        size = self._room_for(fresh)
        edge = self._judge.entries(fresh, self._edge)
        if edge.root() != checkpoint.root:
            raise BadProofError(f"the entries do not give the root of size {checkpoint.size}")
        self.keys.require(Published(checkpoint, note), fresh, self._edge.size)
        if self._held_bytes + size > MAX_HELD_BYTES or checkpoint.size - self._filed_size > MAX_HELD_ENTRIES:
            self.file()
        held = [(self.origin, seq, entry) for seq, entry in enumerate(fresh, self._edge.size)]
        self._set_mirrored(Published(checkpoint, note), self._bytes + size, held)
        self._unfiled += edge.take_full()
        self._held_bytes += size
        self._edge = edge
        self._settle()
        return self._cosign(Published(checkpoint, note))

    def _missing(self, start: int, entries: list[bytes]) -> list[bytes]:
        if start > self._edge.size:
            raise BadRequestError(f"entries begin at {start}, the mirror needs {self._edge.size}")
        return entries[self._edge.size - start :]

    def file(self) -> None:
        """Bring tiles, bundles and ``checkpoint`` up to what is mirrored; durable when it returns."""
        mirrored = self.mirrored
        if mirrored is None or not self._line:
            return
        if mirrored.checkpoint.size != self._filed_size:
            self._files.add(self._unfiled, existing="replace")
            self._files.add(self._base.partials(self._filed_size), existing="replace")
            self._change("filed = note")
            self._filed = mirrored
            self._files.remove_partials([path for path, _ in self._unfiled])
            self._unfiled.clear()
            self._held_bytes = 0
        self.keys.file()
        # SPEC tlog-mirror: the checkpoint served MUST include the mirror's cosignature.
        own = self.keys.key_ids
        lines = [each for each in Note.parse(mirrored.note).signatures if each.key_id in own][: len(own)]
        note = Note(mirrored.checkpoint.text, (*lines, Signature.parse(self._line))).encode()
        self._files.replace("checkpoint", note)
        self._line = ""

    # --- in several messages ----------------------------------------------------------------------------

    def begin(self, note: bytes, old_size: int, proof: list[bytes], own_root: bytes = b"") -> None:
        """Judge a checkpoint as tlog-witness does, and persist it as pending; MirrorError where it is refused."""
        checkpoint = self._judged(note, old_size, proof, own_root)
        self.file()
        if checkpoint.size > self.size:
            self._change("pending = ?", note)
        if self._edge.size > checkpoint.size:
            self._forget()
        self.pending = Published(checkpoint, note)

    def receive(self, entries: list[bytes]) -> None:
        """Judge the next entries and store the bundles that become full.

        Raises:
            BadRequestError: nothing is pending, they are too many, or one may not stand there; none was taken.
            MirrorFullError: the quota or the disk is spent.
        """
        if self.pending is None or self._edge.size + len(entries) > self.pending.checkpoint.size:
            raise BadRequestError(f"{len(entries)} entries from {self._edge.size} on are beyond what is pending")
        size = self._room_for(entries)
        self._store(self._judge.entries(entries, self._edge))
        self.keys.follow(entries, self._edge.size - len(entries))
        self._bytes += size

    def finish(self) -> str:
        """Make the pending checkpoint the mirrored one and cosign it.

        Durability: when it returns, entries, tiles, the row in ``witness.db`` and ``checkpoint`` are on disk.

        Returns:
            The cosignature line.

        Raises:
            BadRequestError: nothing is pending, or entries are missing.
            BadProofError: the entries do not give the signed root; they are forgotten.
            BadSignatureError: the key that they introduce did not sign it.
        """
        pending = self.pending
        if pending is None:
            raise BadRequestError("no checkpoint is pending")
        if self._edge.size != pending.checkpoint.size:
            raise BadRequestError(f"entries from {self._edge.size} to {pending.checkpoint.size} are missing")
        if pending.checkpoint.size > self.size:
            # 1. The entries that came are the ones that were signed.
            if self._edge.root() != pending.checkpoint.root:
                self._forget()
                raise BadProofError(f"the entries do not give the root of size {pending.checkpoint.size}")
            self.keys.require(pending)
            # 2. Entries and tiles durable: the full ones were written as they came.
            self._files.add(self._edge.partials(self.size), existing="replace")
            # 3. Set mirrored.
            self._set_mirrored(pending, self._bytes)
            self._files.remove_partials(self._full)
            self._full.clear()
            self._settle()
        # 4. Sign, and serve it.
        line = self._cosign(pending)
        self.file()
        return line

    # --- both -------------------------------------------------------------------------------------------

    def _judged(self, note: bytes, old_size: int, proof: list[bytes], own_root: bytes = b"") -> Checkpoint:
        return self._judge.checkpoint(
            note, old_size, proof, held=self.mirrored, pending=self.pending, nodes=self._nodes, own_root=own_root
        )

    def _nodes(self) -> NodeGetter:
        self.file()
        return TileReader(self._directory).nodes(self.size)

    def _room_for(self, entries: Sequence[bytes]) -> int:
        """The bytes of these entries, if they may be taken."""
        size = sum(map(len, entries))
        if size > MAX_RECEIVE_BYTES:
            raise BadRequestError(f"more than {MAX_RECEIVE_BYTES} bytes of entries at once")
        if self._bytes + size > self._quota_bytes:
            text = f"the mirror of {self.origin} would pass its quota of {self._quota_bytes} bytes"
            raise MirrorFullError(text, remedy="raise the quota, or ask that zone why its log grows")
        if self._storage.free_bytes(self._directory) < _FREE_MARGIN_BYTES + 4 * size:
            raise MirrorFullError("the disk has no room for the peer's entries", remedy="free space")
        return size

    @property
    def _filed_size(self) -> int:
        return self._filed.checkpoint.size if self._filed else 0

    def _set_mirrored(self, mirrored: Published, total: int, held: Sequence[tuple[str, int, bytes]] = ()) -> None:
        """Say durably that it is mirrored, with the entries that the files do not have; without any they have all."""
        filed = mirrored if not held else self._filed
        self._change(
            "size = ?, bytes = ?, note = ?, filed = ?, vkey = ?, keys = ?, pending = NULL",
            mirrored.checkpoint.size,
            total,
            mirrored.note,
            filed.note if filed else b"",
            *self.keys.columns,
            held=held,
        )
        self.mirrored = self.pending = mirrored
        self._filed, self._bytes = filed, total
        self.keys.settle()

    def _settle(self) -> None:
        """From here on nothing is forgotten any more."""
        self._base, self._base_bytes = self._edge.copy(), self._bytes

    def _cosign(self, mirrored: Published) -> str:
        require_open(self._db, self.origin)
        self._line = self._cosigner.cosign(mirrored.checkpoint.text, self._clock())
        return self._line

    def _store(self, edge: TileEdge) -> None:
        full = edge.take_full()
        self._full += (path for path, _ in full)
        self._files.add(full, existing="replace")
        self._edge = edge

    def _forget(self) -> None:
        """Drop the entries beyond the mirrored checkpoint."""
        self._files.remove_all(self._full)
        self._full.clear()
        self._edge, self._bytes = self._base.copy(), self._base_bytes
        self.keys.forget()

    def _change(self, assignments: str, *values: object, held: Sequence[tuple[str, int, bytes]] = ()) -> None:
        """Change our row where it is still at the mirrored size, and what is held, durably."""
        statement = f"UPDATE mirror SET {assignments} WHERE origin = ? AND size = ?"  # noqa: S608 (our own words)
        self._db.execute("BEGIN IMMEDIATE")
        changed = self._db.execute(statement, (*values, self.origin, self.size)).rowcount
        if changed != 1:
            self._db.execute("ROLLBACK")
            raise ContradictionError("state/witness.db was changed by another process")
        if held:
            self._db.executemany("INSERT INTO held VALUES (?, ?, ?)", held)
        elif "filed" in assignments:
            self._db.execute("DELETE FROM held WHERE origin = ?", (self.origin,))
        self._storage.commit(self._db)

    # --- the start --------------------------------------------------------------------------------------

    def _load(self, peer_vkey: str) -> None:
        query = "SELECT keys, size, bytes, note, filed, pending FROM mirror WHERE origin = ?"
        row = self._db.execute(query, (self.origin,)).fetchone()
        if row is None:
            if os.path.lexists(f"{self._directory}/checkpoint"):
                raise ContradictionError(
                    f"{self._directory} is there and state/witness.db does not know it",
                    remedy="move it away and take a new cosigner key: what was signed is not known any more",
                )
            self._files.replace("vkey", f"{peer_vkey}\n".encode())
            self._db.execute("INSERT INTO mirror VALUES (?, ?, 0, 0, x'', x'', NULL, '')", (self.origin, peer_vkey))
            row = ("", 0, 0, b"", b"", None)
        keys, size, self._bytes, note, filed, pending = row
        self.keys.load(keys)
        self.mirrored, self._filed = self._published(note), self._published(filed)
        if self.size != size:
            raise ContradictionError(f"state/witness.db: the note of {self.origin} is not of size {size}")
        if self._filed:
            self._edge = load_edge(self._directory, self._filed.checkpoint)
        if self.mirrored:
            self._take_up_held(self.mirrored)
        self._settle()
        if self.mirrored and not frozen(self._db, self.origin):
            self._mend(self.mirrored)
        if pending is not None:
            self.pending = self._published(pending)
            self._resume()

    def _published(self, note: object) -> Published | None:
        return Published(self._judge.open(bytes(note)), bytes(note)) if isinstance(note, bytes) and note else None

    def _take_up_held(self, mirrored: Published) -> None:
        """Entries that were cosigned and not filed yet."""
        query = "SELECT entry FROM held WHERE origin = ? ORDER BY seq"
        entries = [bytes(entry) for (entry,) in self._db.execute(query, (self.origin,))]
        try:
            self._edge = self._judge.entries(entries, self._edge)
        except BadRequestError as error:
            raise ContradictionError(f"state/witness.db: {error.message}") from error
        if (self._edge.size, self._edge.root()) != (mirrored.checkpoint.size, mirrored.checkpoint.root):
            raise ContradictionError(f"state/witness.db does not hold what it says of {self.origin}")
        self._unfiled = self._edge.take_full()

    def _mend(self, mirrored: Published) -> None:
        """After a crash files and ``checkpoint`` may be older than the row."""
        try:
            text = Note.parse(read_regular_file(f"{self._directory}/checkpoint", MAX_NOTE_BYTES)).text
        except LedgerError:
            text = ""
        if text != mirrored.checkpoint.text:
            self._cosign(mirrored)
            self.file()

    def _resume(self) -> None:
        """Take up the full bundles that an interrupted push left: judged again, written again."""
        reader = TileReader(self._directory)
        stop = self.pending.checkpoint.size if self.pending else 0
        while (index := self._edge.size // TILE_WIDTH) < stop // TILE_WIDTH:
            if not os.path.lexists(f"{self._directory}/{entries_path(index)}"):
                return
            try:
                entries = reader.bundle(index, TILE_WIDTH)[self._edge.size % TILE_WIDTH :]
                edge = self._judge.entries(entries, self._edge)
            except LedgerError:
                return  # the pushing side sends them again
            self.keys.follow(entries, self._edge.size)
            self._store(edge)
            self._bytes += sum(map(len, entries))
