"""A self-contained copy of a log at its newest witnessed checkpoint: what leaves the machine, and no more."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ledger import canonical
from ledger.canonical import JsonValue
from ledger.card import MAX_CARD_BYTES, Card
from ledger.checkpoint import Checkpoint
from ledger.edge import edge_widths
from ledger.entry import first_prev
from ledger.errors import LedgerError, OperationalError, TamperedError
from ledger.key_history import KeyHistory
from ledger.merkle import HASH_SIZE
from ledger.note import MAX_NOTE_BYTES, Note
from ledger.prove import Prover
from ledger.scan import Progress
from ledger.tiles import TILE_WIDTH, TileReader, encode_bundle, entries_path, read_regular_file, tile_path

__all__ = ["Export", "export_log"]

MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
MAX_DOCUMENTS: Final = 1_000_000
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")
_SIZED: Final = re.compile(r"(0|[1-9][0-9]{0,18})(?:-.*\.tsr)?", re.ASCII)
_IDENTITY: Final = ("card.json", "ca.pem")
"""What lies beside a gateway's ledger and says whose it is."""


@dataclass(slots=True)
class Export:
    """What was copied.

    ``documents`` has the first entry that names each, by its SHA-256.
    """

    target: Path
    origin: str
    size: int
    documents: dict[str, int] = field(default_factory=dict)
    identity: list[str] = field(default_factory=list)
    mirrors: list[str] = field(default_factory=list)


def export_log(
    directory: Path,
    target: Path,
    *,
    vkey: str | None = None,
    unwitnessed: bool = False,
    with_mirrors: bool = False,
    documents: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Export:
    """Copy a log's public files up to the newest witnessed checkpoint.

    The copy is put in place by one rename, complete or not at all. What is copied is not judged: verify the copy.

    Args:
        directory: the log's.
        target: must not exist, or be empty.
        vkey: the log's key; by default the directory's own.
        unwitnessed: up to the newest checkpoint, though nobody cosigned it.
        with_mirrors: the mirrored logs of peers too.
        documents: files and folders; what an entry names by its SHA-256 goes to ``documents/<digest>``.
        progress: called with entries done and entries in all.

    Raises:
        IncompleteError: nobody has cosigned the log yet.
        OperationalError: there is no log, the target is not free, or a file cannot be written.
        TamperedError: a file that was signed is missing or cut.
    """
    prover = Prover(directory, vkey=vkey, unwitnessed=unwitnessed)
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OperationalError(f"{target} is there already", remedy="name another folder")
    known = _digests(documents)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        try:
            copy = _Copy(directory, work, prover)
            copy.log(known, progress)
            export = Export(target, copy.origin, copy.size, copy.named, copy.identity())
            for digest in export.documents:
                copy.write(f"documents/{digest}", _document(known[digest], digest))
            if with_mirrors:
                export.mirrors = _mirrors(directory, work, progress)
            copy.write("export.json", canonical.encode(_described(export)) + b"\n")
            os.chmod(work, 0o755)  # noqa: S103 (the log is public)
            work.rename(target)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as error:
        raise OperationalError(f"cannot write {error.filename or target}: {error.strerror}") from error
    return export


class _Copy:
    """Copies one log; the source is read as bytes that may be anything, never through symbolic links."""

    def __init__(self, source: Path, target: Path, prover: Prover) -> None:
        self._source = source
        self._target = target
        self._note = prover.note
        self._unwitnessed = prover.unwitnessed
        checkpoint = prover.newest.checkpoint
        self.origin = checkpoint.origin
        self.size = checkpoint.size
        self._head = prover.head_size
        self._reader = TileReader(source)
        self.named: dict[str, int] = {}

    def log(self, documents: dict[str, Path], progress: Progress | None) -> None:
        """Copy what makes it a log; the checkpoint last."""
        for level, width in enumerate(edge_widths(self.size)):
            count = self.size >> (8 * level + 8)
            for index in range(count + (width > 0)):
                self._tile(level, index, TILE_WIDTH if index < count else width)
        for index in range((self.size + TILE_WIDTH - 1) // TILE_WIDTH):
            self._bundle(index, min(TILE_WIDTH, self.size - index * TILE_WIDTH), documents)
            if progress is not None:
                progress(min(self.size, (index + 1) * TILE_WIDTH), self.size)
        self._keys()
        if os.path.lexists(self._source / "policy.tlog"):
            self.write("policy.tlog", self._read("policy.tlog", MAX_NOTE_BYTES))
        for folder in ("checkpoints", "timestamps"):
            for name in self._listed(folder):
                match = _SIZED.fullmatch(name)
                if match and int(match[1]) <= self.size:
                    self.write(f"{folder}/{name}", self._read(f"{folder}/{name}", MAX_NOTE_BYTES))
        for name in self._listed("evidence"):
            self.write(f"evidence/{name}", self._read(f"evidence/{name}", MAX_DOCUMENT_BYTES))
        witnessed = self._witnessed()
        if witnessed:
            self.write("checkpoint.witnessed", witnessed)
        self.write("checkpoint", self._note)

    def identity(self) -> list[str]:
        """Copy the zone's card and CA, where they lie beside the ledger and are this log's."""
        beside = self._source.absolute().parent
        try:
            card = Card.parse(read_regular_file(str(beside / "card.json"), MAX_CARD_BYTES))
        except LedgerError:
            return []
        if card.origin != self.origin:
            return []
        found = []
        for name in _IDENTITY:
            try:
                self.write(f"identity/{name}", read_regular_file(str(beside / name), MAX_CARD_BYTES))
            except TamperedError:
                continue
            found.append(f"identity/{name}")
        return found

    def write(self, name: str, data: bytes) -> None:
        """Write a new file."""
        path = self._target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)

    def _tile(self, level: int, index: int, width: int) -> None:
        there = min(TILE_WIDTH, (self._head >> (8 * level)) - index * TILE_WIDTH)
        data = self._reader.tile(level, index, there)[: width * HASH_SIZE]
        self.write(tile_path(level, index, width), data)

    def _bundle(self, index: int, width: int, documents: dict[str, Path]) -> None:
        there = min(TILE_WIDTH, self._head - index * TILE_WIDTH)
        entries = self._reader.bundle(index, there)[:width]
        self.write(entries_path(index, width), encode_bundle(entries))
        for seq, entry in enumerate(entries if documents else (), index * TILE_WIDTH):
            for digest in _DIGEST.findall(entry):
                name = digest.decode()
                if name in documents:
                    self.named.setdefault(name, seq)

    def _witnessed(self) -> bytes:
        """The newest checkpoint that was cosigned; empty where none was up to this size."""
        if not self._unwitnessed:
            return self._note
        if not os.path.lexists(self._source / "checkpoint.witnessed"):
            return b""
        note = self._read("checkpoint.witnessed", MAX_NOTE_BYTES)
        return note if Checkpoint.parse(Note.parse(note).text).size <= self.size else b""

    def _keys(self) -> None:
        """The keys up to the copied size: one that came later would have no entry here."""
        if not os.path.lexists(self._source / "vkeys"):
            self.write("vkey", self._read("vkey", MAX_NOTE_BYTES))
            return
        try:
            history = KeyHistory.parse(self._read("vkeys", MAX_NOTE_BYTES).decode())
        except (LedgerError, UnicodeDecodeError) as error:
            raise TamperedError(f"vkeys: {error}", remedy="run tdz-ledger verify") from error
        ranges = [each for each in history.ranges if each.first <= self.size]
        ranges[-1] = replace(ranges[-1], last=None)
        cut = KeyHistory(tuple(ranges))
        self.write("vkeys", cut.encode())
        self.write("vkey", f"{cut.current}\n".encode())

    def _read(self, name: str, most: int) -> bytes:
        return read_regular_file(str(self._source / name), most)

    def _listed(self, folder: str) -> list[str]:
        """The regular files of a folder."""
        path = self._source / folder
        if path.is_symlink() or not path.is_dir():
            return []
        return sorted(each.name for each in os.scandir(path) if each.is_file(follow_symlinks=False))


def _mirrors(directory: Path, work: Path, progress: Progress | None) -> list[str]:
    """Copy the logs of others that are mirrored here, each at its newest checkpoint."""
    base = directory / "mirror"
    origins = []
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if not (path / "checkpoint").is_file():
            continue
        prover = Prover(path, unwitnessed=True)
        if path.name != first_prev(prover.newest.checkpoint.origin).hex():
            raise TamperedError(f"mirror/{path.name} holds another log than its name says")
        copy = _Copy(path, work / "mirror" / path.name, prover)
        copy.log({}, progress)
        origins.append(copy.origin)
    return origins


def _digests(paths: Sequence[Path]) -> dict[str, Path]:
    """The documents that may be named, by their SHA-256; what is larger than a document is passed over."""
    found: dict[str, Path] = {}
    for path in _files(paths):
        if path.stat().st_size <= MAX_DOCUMENT_BYTES:
            with path.open("rb") as file:
                found[hashlib.file_digest(file, "sha256").hexdigest()] = path
        if len(found) > MAX_DOCUMENTS:
            raise OperationalError(f"more than {MAX_DOCUMENTS} documents", remedy="name fewer folders")
    return found


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir():
            for folder, _, names in os.walk(path):
                yield from (each for name in names if (each := Path(folder, name)).is_file() and not each.is_symlink())
        else:
            raise OperationalError(f"{path} is neither a file nor a folder", remedy="name where the documents lie")


def _document(path: Path, digest: str) -> bytes:
    data = read_regular_file(str(path.resolve()), MAX_DOCUMENT_BYTES)
    if hashlib.sha256(data).hexdigest() != digest:
        raise OperationalError(f"{path} was changed meanwhile", remedy="export again")
    return data


def _described(export: Export) -> JsonValue:
    return {
        "documents": dict(export.documents),
        "identity": [*export.identity],
        "mirrors": [*export.mirrors],
        "origin": export.origin,
        "size": export.size,
        "v": 1,
    }
