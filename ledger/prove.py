"""Make proofs from a log's public files. What leaves names the newest witnessed checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ledger import canonical
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry
from ledger.errors import EntryError, IncompleteError, LedgerError, OperationalError, ProofError, TamperedError
from ledger.key_history import KeyHistory
from ledger.merkle import NodeGetter, consistency_proof, inclusion_proof
from ledger.note import MAX_NOTE_BYTES, NoteVerifier
from ledger.proof import (
    ConsistencyProof,
    InclusionProof,
    SignedCheckpoint,
    Trust,
    verify_consistency_proof,
    verify_inclusion_proof,
)
from ledger.proof_set import MAX_PROOFS, ProofSet
from ledger.tiles import TileReader, read_regular_file

__all__ = ["Prover"]


@dataclass(frozen=True, slots=True)
class _Named:
    """A signed checkpoint with its exact bytes."""

    note: bytes
    checkpoint: Checkpoint


class Prover:
    """Makes proofs from one directory, each verified before it is handed out.

    Args:
        directory: the log's; ``state/`` is not needed.
        vkey: the log's key; by default the directory's own.
        unwitnessed: name the newest checkpoint that the log signed, though nobody cosigned it.

    Raises:
        OperationalError: there is no log, or no usable key.
    """

    def __init__(self, directory: Path, *, vkey: str | None = None, unwitnessed: bool = False) -> None:
        if not (directory / "checkpoint").is_file() and not (directory / "checkpoint.witnessed").is_file():
            raise OperationalError(
                f"{directory} is not a ledger's directory", remedy="name the folder that holds checkpoint"
            )
        self._directory = directory
        self._trust = Trust(tuple(_keys(directory, vkey)))
        self._reader = TileReader(directory)
        self.unwitnessed = unwitnessed

    @property
    def newest(self) -> SignedCheckpoint:
        """The checkpoint that proofs name.

        Raises:
            IncompleteError: nobody has cosigned the log yet.
            TamperedError: it is not the log's.
        """
        return self._open(self._newest().note)

    @property
    def note(self) -> bytes:
        """Its exact bytes."""
        return self._newest().note

    @property
    def head_size(self) -> int:
        """The size of the newest checkpoint here, which says how wide the newest partial tiles are."""
        return self._head(self._newest()).size

    def inclusion(self, seq: int, *, with_entry: bool = True) -> InclusionProof:
        """Prove that an entry stands in the log.

        Args:
            seq: the entry's number.
            with_entry: carry the entry's bytes.

        Raises:
            IncompleteError: it is not covered by the newest witnessed checkpoint yet.
            OperationalError: there is no such entry.
            TamperedError: a file is missing or is not as it was signed.
        """
        newest = self._newest()
        size = newest.checkpoint.size
        if not 0 <= seq < size:
            if 0 <= seq < self._head(newest).size:
                raise IncompleteError(
                    f"entry {seq} is not witnessed yet, only {size} entries are",
                    remedy="try again when the peer has cosigned, or add --unwitnessed",
                )
            raise OperationalError(f"the log has no entry {seq}", remedy=f"name one from 0 to {size - 1}")
        try:
            (entry,) = self._reader.entries(seq, seq + 1, self._head(newest).size)
            hashes = inclusion_proof(self._nodes(newest), seq, size)
            proof = InclusionProof(seq, tuple(hashes), newest.note, entry if with_entry else None)
            verify_inclusion_proof(proof, self._trust, entry=entry)
        except ProofError as error:
            raise TamperedError(f"entry {seq}: {error.message}", remedy="run tdz-ledger verify") from error
        return proof

    def about(self, subject: str) -> ProofSet:
        """Prove every entry about a subject, and the agreement that they name, in one set.

        Raises:
            IncompleteError: none is covered by the newest witnessed checkpoint yet.
            OperationalError: there are more than a set may have.
            TamperedError: a file is missing or is not as it was signed.
        """
        found = self._of_subjects({subject})
        named = {f"agreements/{each}" for entry in found if isinstance(each := entry.body.get("agreement"), str)}
        if named:
            found = self._of_subjects({subject, *named})
        if not found:
            raise IncompleteError(
                f"no witnessed entry is about {subject}", remedy="as transfers/<id>; or the peer has yet to cosign it"
            )
        if len(found) > MAX_PROOFS:
            raise OperationalError(f"{len(found)} entries are about {subject}", remedy="prove them one by one")
        return ProofSet(subject, tuple(self.inclusion(each.seq) for each in found))

    def _of_subjects(self, subjects: set[str]) -> list[Entry]:
        newest = self._newest()
        head, size = self._head(newest).size, newest.checkpoint.size
        marks = [canonical.encode(each) for each in subjects]
        found: list[Entry] = []
        reader = self._reader.entries(0, head, head)
        for seq, data in zip(range(size), reader, strict=False):
            if any(mark in data for mark in marks):
                try:
                    entry = Entry.parse(data, seq=seq)
                except EntryError as error:
                    raise TamperedError(f"entry {seq}: {error.message}", remedy="run tdz-ledger verify") from error
                if entry.subject in subjects:
                    found.append(entry)
        return found

    def consistency(self, old: int | bytes, new: int | bytes | None = None) -> ConsistencyProof:
        """Prove that one signed checkpoint is a prefix of another.

        Args:
            old: the older one: its size, where it is kept, or its signed note.
            new: the newer one likewise; None means the newest witnessed one.

        Raises:
            IncompleteError: nobody has cosigned the log yet.
            OperationalError: no signed checkpoint of that size is kept, or they are not in order.
            TamperedError: a file is missing, or the two contradict each other.
        """
        first, second = self._named(old), self._newest() if new is None else self._named(new)
        sizes = first.checkpoint.size, second.checkpoint.size
        if not 0 < sizes[0] <= sizes[1]:
            raise OperationalError(
                f"from size {sizes[0]} to size {sizes[1]} there is nothing to prove",
                remedy="name a size above 0 and a later one",
            )
        if sizes[1] > self._head(second).size:
            raise OperationalError(f"this copy has no {sizes[1]} entries", remedy="fetch a newer copy of the log")
        try:
            hashes = consistency_proof(self._nodes(second), *sizes)
            proof = ConsistencyProof(tuple(hashes), first.note, second.note)
            verify_consistency_proof(proof, self._trust)
        except ProofError as error:
            raise TamperedError(
                f"{error.message}; checkpoints {sizes[0]} and {sizes[1]} contradict each other or the tiles",
                remedy="run tdz-ledger verify, and keep both checkpoints",
            ) from error
        return proof

    def _newest(self) -> _Named:
        if self.unwitnessed:
            return self._read("checkpoint")
        if not os.path.lexists(self._directory / "checkpoint.witnessed"):
            raise IncompleteError(
                "nobody has cosigned this log yet", remedy="wait for the peer or a witness, or add --unwitnessed"
            )
        return self._read("checkpoint.witnessed")

    def _head(self, named: _Named) -> Checkpoint:
        """The newest checkpoint here: its size says how wide the newest partial tiles are."""
        if not os.path.lexists(self._directory / "checkpoint"):
            return named.checkpoint
        head = self._read("checkpoint").checkpoint
        return head if head.size >= named.checkpoint.size else named.checkpoint

    def _nodes(self, named: _Named) -> NodeGetter:
        return self._reader.nodes(self._head(named).size)

    def _named(self, which: int | bytes) -> _Named:
        if isinstance(which, bytes):
            return _Named(which, self._open(which).checkpoint)
        if os.path.lexists(self._directory / "checkpoints" / str(which)):
            found = self._read(f"checkpoints/{which}")
            if found.checkpoint.size == which:
                return found
        for name in ("checkpoint.witnessed", "checkpoint"):
            if os.path.lexists(self._directory / name):
                found = self._read(name)
                if found.checkpoint.size == which:
                    return found
        raise OperationalError(
            f"no signed checkpoint of size {which} is kept here",
            remedy="name a size that stands in checkpoints/, or a file with the signed checkpoint",
        )

    def _read(self, name: str) -> _Named:
        try:
            note = read_regular_file(str(self._directory / name), MAX_NOTE_BYTES)
            return _Named(note, self._open(note).checkpoint)
        except OperationalError:
            raise
        except LedgerError as error:
            raise TamperedError(f"{name}: {error.message}", remedy="run tdz-ledger verify") from error

    def _open(self, note: bytes) -> SignedCheckpoint:
        try:
            return self._trust.open(note)
        except LedgerError as error:
            raise TamperedError(f"a checkpoint: {error.message}", remedy="is this the log's own key?") from error


def _keys(directory: Path, vkey: str | None) -> list[NoteVerifier]:
    """The given key or the directory's own, with the earlier ones that ``vkeys`` names beside it."""
    try:
        own = vkey or read_regular_file(str(directory / "vkey"), MAX_NOTE_BYTES).decode("utf-8").strip()
        keys = [NoteVerifier(own)]
        if os.path.lexists(directory / "vkeys"):
            history = KeyHistory.parse(read_regular_file(str(directory / "vkeys"), MAX_NOTE_BYTES).decode("utf-8"))
            if own in history.vkeys:
                keys = history.verifiers()
    except (LedgerError, UnicodeDecodeError) as error:
        raise OperationalError(f"no usable key: {error}", remedy="give the log's key with --vkey") from error
    return keys
