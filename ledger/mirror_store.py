"""The blocking part of a mirror: judge, store, sign. One thread at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.checkpoint import Checkpoint, Published
from ledger.edge import TileEdge
from ledger.entry import Entry, first_prev
from ledger.errors import (
    BadProofError,
    BadRequestError,
    BadSignatureError,
    ContradictionError,
    EntryError,
    ForkError,
    LedgerError,
    MirrorFullError,
    OldSizeError,
    OperationalError,
    ProofError,
    SignatureError,
    UnknownOriginError,
)
from ledger.files import FileWriter
from ledger.lock import open_database
from ledger.merkle import HASH_SIZE, leaf_hash, roots_of_consistency
from ledger.note import MAX_NOTE_BYTES, CosignatureSigner, Note, NoteVerifier, Signature, open_note
from ledger.recover import load_edge
from ledger.staging import TEMPORARY
from ledger.storage import Storage, lock_directory
from ledger.tiles import TILE_WIDTH, TileReader, entries_path, read_regular_file

__all__ = ["MAX_RECEIVE_BYTES", "MirrorStore", "mirror_directory"]

MAX_RECEIVE_BYTES: Final = 8 * 1024 * 1024
MAX_PROOF_HASHES: Final = 63
_FREE_MARGIN_BYTES: Final = 64 * 1024 * 1024
"""Left on the disk for the own log, which must not stop because a peer's grows."""


def mirror_directory(ledger: Path, origin: str) -> Path:
    """Where the mirror of an origin lies."""
    return ledger / "mirror" / first_prev(origin).hex()


class MirrorStore:
    """One peer's log on our disk, and what we signed of it.

    ``witness.db`` is what counts: a checkpoint is mirrored once its row says so, and the row says so only when
    entries and tiles are durable.

    Raises:
        ContradictionError: the files are not what the row says, or the row is gone while the files are there.
        OperationalError: another process has the mirror open, or the key is another than the row's.
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
        self._verifier = NoteVerifier(peer_vkey)
        self.origin = self._verifier.vkey.name
        self.mirrored: Published | None = None
        self._pending: Published | None = None
        self._edge = self._base = TileEdge(first_prev(self.origin))
        self._bytes = self._base_bytes = 0
        self._full: list[str] = []
        self._cosigner = cosigner
        self._clock = clock
        self._storage = storage
        self._quota_bytes = quota_bytes
        self._directory = str(mirror_directory(ledger.absolute(), self.origin))
        staging = ledger.absolute() / "state" / "staging"
        prefix = f"{TEMPORARY}mirror-{os.path.basename(self._directory)[:16]}-"
        self._files = FileWriter(storage, self._directory, str(staging), prefix)
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

    def begin(self, note: bytes, old_size: int, proof: list[bytes]) -> None:
        """Judge a checkpoint as tlog-witness does, and persist it as pending.

        Raises:
            MirrorError: the request is refused; nothing changed.
        """
        checkpoint = self._open(note)
        if len(proof) > MAX_PROOF_HASHES or any(len(each) != HASH_SIZE for each in proof):
            raise BadRequestError(f"a proof has at most {MAX_PROOF_HASHES} hashes of {HASH_SIZE} bytes")
        held = self.mirrored
        # Two roots for one size are evidence, whatever else the request says.
        for other in (held, self._pending):
            if other and other.checkpoint.size == checkpoint.size and other.checkpoint.root != checkpoint.root:
                raise ForkError(
                    f"{self.origin} signed two roots of size {checkpoint.size}",
                    held_note=other.note,
                    offered_note=note,
                    proof=[],
                )
        # SPEC tlog-witness: the old size MUST be the one last signed (409), and not above the new one (400).
        if old_size != self.size:
            raise OldSizeError(
                f"the old size is {old_size}, signed last was {self.size}",
                held_size=self.size,
                held_note=held.note if held else b"",
            )
        if old_size > checkpoint.size:
            raise BadRequestError(f"the old size {old_size} is above the checkpoint's {checkpoint.size}")
        self._check_proof(note, checkpoint, proof)
        if checkpoint.size > self.size:
            self._execute("UPDATE mirror SET pending = ? WHERE origin = ? AND size = ?", note)
        if self._edge.size > checkpoint.size:
            self._forget()
        self._pending = Published(checkpoint, note)

    def receive(self, entries: list[bytes]) -> None:
        """Judge the next entries and store the bundles that become full.

        Raises:
            BadRequestError: nothing is pending, there are too many, or one is not what may stand there; none
                of these entries was taken.
            MirrorFullError: the quota or the disk is spent.
        """
        if self._pending is None or self._edge.size + len(entries) > self._pending.checkpoint.size:
            raise BadRequestError(f"{len(entries)} entries from {self._edge.size} on are beyond what is pending")
        size = sum(map(len, entries))
        if size > MAX_RECEIVE_BYTES:
            raise BadRequestError(f"more than {MAX_RECEIVE_BYTES} bytes of entries at once")
        if self._bytes + size > self._quota_bytes:
            raise MirrorFullError(f"the mirror of {self.origin} would pass its quota of {self._quota_bytes} bytes")
        if self._storage.free_bytes(self._directory) < _FREE_MARGIN_BYTES + 4 * size:
            raise MirrorFullError("the disk has no room for the peer's entries", remedy="free space")
        self._store(self._judged(entries))
        self._bytes += size

    def finish(self) -> str:
        """Make the pending checkpoint the mirrored one and cosign it.

        Durability: when it returns, entries, tiles, the row in ``witness.db`` and ``checkpoint`` are on disk.

        Returns:
            The cosignature line.

        Raises:
            BadRequestError: nothing is pending, or entries are missing.
            BadProofError: the entries do not give the signed root; they are forgotten.
        """
        pending = self._pending
        if pending is None:
            raise BadRequestError("no checkpoint is pending")
        if self._edge.size != pending.checkpoint.size:
            raise BadRequestError(f"entries from {self._edge.size} to {pending.checkpoint.size} are missing")
        if pending.checkpoint.size > self.size:
            # 1. The entries that came are the ones that were signed.
            if self._edge.root() != pending.checkpoint.root:
                self._forget()
                raise BadProofError(f"the entries do not give the root of size {pending.checkpoint.size}")
            # 2. Entries and tiles durable: the full ones were written as they came.
            self._files.add(self._edge.partials(self.size), existing="replace")
            # 3. Set mirrored.
            self._execute(
                "UPDATE mirror SET size = ?, bytes = ?, note = ?, pending = NULL WHERE origin = ? AND size = ?",
                pending.checkpoint.size,
                self._bytes,
                pending.note,
            )
            self.mirrored = pending
            self._files.remove_partials(self._full)
            self._full.clear()
            self._base, self._base_bytes = self._edge.copy(), self._bytes
        # 4. Sign, and serve it. SPEC tlog-mirror: the checkpoint served MUST include the mirror's cosignature.
        return self._sign(pending)

    def _sign(self, mirrored: Published) -> str:
        text = mirrored.checkpoint.text
        line = self._cosigner.cosign(text, self._clock())
        own = self._verifier.vkey.key_id
        lines = [each for each in Note.parse(mirrored.note).signatures if each.key_id == own][:1]
        self._files.replace("checkpoint", Note(text, (*lines, Signature.parse(line))).encode())
        return line

    def _open(self, note: bytes) -> Checkpoint:
        try:
            parsed = Note.parse(note)
            checkpoint = Checkpoint.parse(parsed.text)
        except LedgerError as error:
            raise BadRequestError(f"not a checkpoint: {error.message}") from error
        # SPEC tlog-witness: an unknown origin is 404, a missing or wrong signature 403.
        if checkpoint.origin != self.origin:
            raise UnknownOriginError(f"this mirror follows {self.origin}, not {checkpoint.origin}")
        try:
            open_note(note, [self._verifier])
        except SignatureError as error:
            raise BadSignatureError(f"the checkpoint: {error.message}") from error
        return checkpoint

    def _check_proof(self, note: bytes, checkpoint: Checkpoint, proof: list[bytes]) -> None:
        held = self.mirrored
        # SPEC tlog-witness: from size 0, and to an equal size, the proof MUST be empty.
        if held is None or held.checkpoint.size in (0, checkpoint.size):
            if proof:
                raise BadProofError("a proof from size 0 or between equal sizes is empty")
            return
        old = held.checkpoint
        try:
            old_root, new_root = roots_of_consistency(old.size, checkpoint.size, proof, old.root)
        except ProofError as error:
            raise BadProofError(error.message) from error
        if new_root != checkpoint.root:
            raise BadProofError(f"the proof does not lead to the root of size {checkpoint.size}")
        if old_root != old.root:
            raise ForkError(
                f"{self.origin} signed a size {checkpoint.size} that does not hold its size {old.size}",
                held_note=held.note,
                offered_note=note,
                proof=proof,
            )

    def _judged(self, entries: list[bytes]) -> list[tuple[bytes, bytes]]:
        """Entries with their leaf hashes: bytes, canonical form, seq and prev; never kinds."""
        prev, judged = self._edge.prev, []
        for seq, entry in enumerate(entries, self._edge.size):
            try:
                Entry.parse(entry, seq=seq, prev=prev)
            except EntryError as error:
                raise BadRequestError(f"entry {seq}: {error.message}") from error
            prev = leaf_hash(entry)
            judged.append((entry, prev))
        return judged

    def _store(self, judged: list[tuple[bytes, bytes]]) -> None:
        edge = self._edge.copy()
        for entry, leaf in judged:
            edge.append(entry, leaf)
        full = edge.take_full()
        self._full += (path for path, _ in full)
        self._files.add(full, existing="replace")
        self._edge = edge

    def _forget(self) -> None:
        """Drop the entries beyond the mirrored checkpoint."""
        self._files.remove_all(self._full)
        self._full.clear()
        self._edge, self._bytes = self._base.copy(), self._base_bytes

    def _load(self, peer_vkey: str) -> None:
        query = "SELECT vkey, size, bytes, note, pending FROM mirror WHERE origin = ?"
        row = self._db.execute(query, (self.origin,)).fetchone()
        if row is None:
            if os.path.lexists(f"{self._directory}/checkpoint"):
                raise ContradictionError(
                    f"{self._directory} is there and state/witness.db does not know it",
                    remedy="move it away and take a new cosigner key: what was signed is not known any more",
                )
            self._files.replace("vkey", f"{peer_vkey}\n".encode())
            self._db.execute("INSERT INTO mirror VALUES (?, ?, 0, 0, ?, NULL)", (self.origin, peer_vkey, b""))
            row = (peer_vkey, 0, 0, b"", None)
        vkey, size, self._bytes, note, pending = row
        if vkey != peer_vkey:
            raise OperationalError(
                f"{self.origin} is mirrored under another key", remedy="a new key comes with a new origin"
            )
        self.mirrored = Published(self._open(note), bytes(note)) if note else None
        if self.size != size:
            raise ContradictionError(f"state/witness.db: the note of {self.origin} is not of size {size}")
        if self.mirrored:
            self._base = load_edge(self._directory, self.mirrored.checkpoint)
        self._base_bytes = self._bytes
        self._edge = self._base.copy()
        if self.mirrored:
            self._mend_checkpoint(self.mirrored)
        if pending is not None:
            self._pending = Published(self._open(bytes(pending)), bytes(pending))
            self._resume(self._pending.checkpoint.size)

    def _mend_checkpoint(self, mirrored: Published) -> None:
        """After a crash between the row and the file, ``checkpoint`` is the older one."""
        try:
            text = Note.parse(read_regular_file(f"{self._directory}/checkpoint", MAX_NOTE_BYTES)).text
        except LedgerError:
            text = ""
        if text != mirrored.checkpoint.text:
            self._sign(mirrored)

    def _resume(self, stop: int) -> None:
        """Take up the full bundles that an interrupted push left: judged again, written again."""
        reader = TileReader(self._directory)
        while (index := self._edge.size // TILE_WIDTH) < stop // TILE_WIDTH:
            if not os.path.lexists(f"{self._directory}/{entries_path(index)}"):
                return
            try:
                entries = reader.bundle(index, TILE_WIDTH)[self._edge.size % TILE_WIDTH :]
                judged = self._judged(entries)
            except LedgerError:
                return  # the pushing side sends them again
            self._store(judged)
            self._bytes += sum(map(len, entries))

    def _execute(self, statement: str, *values: object) -> None:
        """Change our row where it is still at the mirrored size, durably."""
        self._db.execute("BEGIN IMMEDIATE")
        changed = self._db.execute(statement, (*values, self.origin, self.size)).rowcount
        if changed != 1:
            self._db.execute("ROLLBACK")
            raise ContradictionError("state/witness.db was changed by another process")
        self._storage.commit(self._db)


def unix_seconds() -> int:
    """Whole seconds since 1970."""
    return int(time.time())
