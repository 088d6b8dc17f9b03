"""The start of a writer: finish what a crash interrupted, refuse what contradicts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.checkpoint import Checkpoint, Published
from ledger.edge import TileEdge, edge_widths
from ledger.entry import Entry, first_prev, parse_time
from ledger.errors import ContradictionError, LedgerError, RolledBackError
from ledger.files import FileWriter
from ledger.key_history import KeyHistory, rotation_in
from ledger.keyring import Keyring
from ledger.lock import LockDatabase
from ledger.merkle import HASH_SIZE, leaf_hash
from ledger.note import MAX_NOTE_BYTES, NoteSigner, NoteVerifier, open_note
from ledger.reserve import Reserve
from ledger.staging import Batch
from ledger.tiles import TILE_WIDTH, TileReader, read_regular_file

__all__ = ["Recovered", "load_edge", "recover"]

_REMEDY = "restore nothing by hand; run tdz-ledger verify and recover from the peer's mirror"


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the log ends."""

    published: Published
    edge: TileEdge
    time_us: int
    keyring: Keyring
    sealed: bool


def recover(
    directory: str, lock: LockDatabase, signers: Sequence[NoteSigner], files: FileWriter, reserve: Reserve
) -> Recovered:
    """Bring a log's directory to the checkpoint that its lock database holds.

    Args:
        directory: absolute; this process alone writes it.
        signers: the private keys of the log that are at hand: the newest, and one that is still being replaced.
        reserve: makes room on a full disk for what is committed and not published.

    Raises:
        ContradictionError: the files contradict each other; the text names the file.
        OperationalError: a key that must sign is missing.
    """
    history = _history(directory, signers)
    verifiers = history.verifiers()
    files.sweep()
    # The lock database says what is committed.
    committed = _signed(lock.note(), verifiers, "state/lock.db")
    head = committed.checkpoint
    # `checkpoint` says what is published.
    try:
        note = read_regular_file(f"{directory}/checkpoint", MAX_NOTE_BYTES)
    except LedgerError as error:
        raise ContradictionError(error.message, remedy=_REMEDY) from error
    public = _signed(note, verifiers, "checkpoint").checkpoint
    if public.size > head.size:
        raise RolledBackError(
            f"checkpoint has size {public.size}, state/lock.db only {head.size}: it was rolled back",
            remedy=_REMEDY,
        )
    if public.size == head.size and public.text != head.text:
        raise ContradictionError(f"checkpoint and state/lock.db differ at size {head.size}", remedy=_REMEDY)
    _check_kept(directory, head, verifiers)
    staged = _staged(lock, head)
    edge = load_edge(directory, public)
    if public.size < head.size:
        whole = staged is not None and staged.old_size == public.size
        entries = staged.entries if staged and whole else _filed(directory, public, head)
        if files.free_bytes() < 4 * sum(map(len, entries)) + (1 << 24):
            reserve.give_up()  # what is committed must be published
        edge = _replay(edge, entries, committed, files)
        files.replace("checkpoint", committed.note)
    history = _mend_keys(directory, history, head.size, files)
    last = _last(directory, head.size)
    time_us = parse_time(last.time) if last else 0
    sealed = last is not None and last.kind == "log.sealed"
    return Recovered(committed, edge, time_us, Keyring.choose(history, signers), sealed)


def _history(directory: str, signers: Sequence[NoteSigner]) -> KeyHistory:
    if not os.path.lexists(f"{directory}/vkeys"):
        return KeyHistory.of(signers[0].vkey)
    try:
        history = KeyHistory.parse(read_regular_file(f"{directory}/vkeys", MAX_NOTE_BYTES).decode("utf-8"))
    except (LedgerError, UnicodeDecodeError) as error:
        raise ContradictionError(f"vkeys: {error}", remedy=_REMEDY) from error
    if not any(each.vkey in history.vkeys for each in signers):
        raise ContradictionError(
            f"the log's key is {history.current}, not {signers[0].vkey}", remedy="is this the log's own key?"
        )
    return history


def _mend_keys(directory: str, history: KeyHistory, size: int, files: FileWriter) -> KeyHistory:
    """After a crash ``vkeys`` may name a key whose entry never came to stand, and ``vkey`` the one before."""
    first = history.ranges[-1].first
    if first:
        entry = Entry.parse(next(TileReader(directory).entries(first - 1, first, size))) if first <= size else None
        rotation = rotation_in(entry, history.origin) if entry else None
        if rotation is None or rotation.new != history.current:
            history = history.without_last()
    for name, data in (("vkeys", history.encode()), ("vkey", f"{history.current}\n".encode())):
        try:
            found = read_regular_file(f"{directory}/{name}", MAX_NOTE_BYTES)
        except LedgerError:
            found = b""
        if found != data:
            files.replace(name, data)
    return history


def load_edge(directory: str, checkpoint: Checkpoint) -> TileEdge:
    """Rebuild the right edge from the tiles and check it against a checkpoint.

    Raises:
        ContradictionError: a tile or the last bundle is missing or is not as computed; the text names it.
    """
    reader, size = TileReader(directory), checkpoint.size
    try:
        levels = []
        for level, width in enumerate(edge_widths(size)):
            levels.append(reader.tile(level, size >> (8 * level + 8), width) if width else b"")
        bundle = reader.bundle(size // TILE_WIDTH, size % TILE_WIDTH) if size % TILE_WIDTH else []
        leaves = [leaf_hash(each) for each in bundle]
        if bundle and b"".join(leaves) != levels[0]:
            raise ContradictionError(f"the last bundle of size {size} is not under its tile", remedy=_REMEDY)
        if leaves:
            prev = leaves[-1]
        elif size:
            prev = reader.tile(0, size // TILE_WIDTH - 1, TILE_WIDTH)[-HASH_SIZE:]
        else:
            prev = first_prev(checkpoint.origin)
        edge = TileEdge(prev, size, levels, bundle)
    except ContradictionError:
        raise
    except LedgerError as error:
        raise ContradictionError(error.message, remedy=_REMEDY) from error
    if edge.root() != checkpoint.root:
        raise ContradictionError(
            f"the tiles under {directory}/tile do not give the root of size {size}", remedy=_REMEDY
        )
    return edge


def _staged(lock: LockDatabase, head: Checkpoint) -> Batch | None:
    """The batch that was committed last; None before the first."""
    data = lock.staged()
    if data is None:
        return None
    try:
        batch = Batch.parse(data)
    except ValueError as error:
        raise ContradictionError(f"state/lock.db: not a staged batch: {error}", remedy=_REMEDY) from error
    if (batch.size, batch.root) != (head.size, head.root):
        raise ContradictionError("state/lock.db: its staged batch is not that of its checkpoint", remedy=_REMEDY)
    return batch


def _filed(directory: str, public: Checkpoint, head: Checkpoint) -> tuple[bytes, ...]:
    """Where more than the last batch is missing, somebody put `checkpoint` back: the bundles may be there."""
    try:
        return tuple(TileReader(directory).entries(public.size, head.size, head.size))
    except LedgerError as error:
        raise ContradictionError(
            f"checkpoint has size {public.size} of {head.size}, and the tiles between are gone: {error.message}",
            remedy=_REMEDY,
        ) from error


def _replay(edge: TileEdge, entries: tuple[bytes, ...], committed: Published, files: FileWriter) -> TileEdge:
    since = edge.size
    for entry in entries:
        edge.append(entry, leaf_hash(entry))
    if (edge.size, edge.root()) != (committed.checkpoint.size, committed.checkpoint.root):
        raise ContradictionError("the entries after checkpoint do not give the root of state/lock.db", remedy=_REMEDY)
    # Each file is written anew, never compared and trusted: what is there may be in the page cache only.
    full = edge.take_full()
    files.add(full, existing="rewrite")
    files.add(edge.partials(since), existing="rewrite")
    return edge


def _check_kept(directory: str, head: Checkpoint, verifiers: Sequence[NoteVerifier]) -> None:
    """A checkpoint with our valid signature beyond the lock means that we were rolled back."""
    names = ["checkpoint.witnessed"]
    try:
        sizes = [int(name) for name in os.listdir(f"{directory}/checkpoints") if name.isdecimal()]
    except FileNotFoundError:
        sizes = []
    names += [f"checkpoints/{size}" for size in sizes if size >= head.size]
    for name in names:
        try:
            note = read_regular_file(f"{directory}/{name}", MAX_NOTE_BYTES)
            found = _signed(note, verifiers, name).checkpoint
        except LedgerError:
            continue  # damaged or foreign: verify reports it, and it proves no rollback
        if found.size > head.size or (found.size == head.size and found.root != head.root):
            raise RolledBackError(
                f"{name} holds our checkpoint of size {found.size}, state/lock.db only {head.size}",
                remedy=_REMEDY,
            )


def _signed(note: bytes, verifiers: Sequence[NoteVerifier], name: str) -> Published:
    try:
        opened = open_note(note, verifiers)
        checkpoint = Checkpoint.parse(opened.text)
    except LedgerError as error:
        raise ContradictionError(f"{name}: {error.message}", remedy="is this the log's own key?") from error
    if checkpoint.origin != verifiers[0].vkey.name:
        raise ContradictionError(f"{name} is of the origin {checkpoint.origin}")
    return Published(checkpoint, note)


def _last(directory: str, size: int) -> Entry | None:
    if not size:
        return None
    (last,) = TileReader(directory).entries(size - 1, size, size)
    return Entry.parse(last, seq=size - 1)
