"""Verify a log's directory with nothing but its public files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerError, NoteError, OperationalError, TamperedError
from ledger.merkle import HASH_SIZE
from ledger.note import MAX_NOTE_BYTES, CosignatureVerifier, NoteVerifier, Verified, open_note
from ledger.policy import TrustPolicy
from ledger.report import Report, TooManyFindingsError, Witnessed
from ledger.scan import Progress, SignedRoot, scan
from ledger.tiles import (
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    TileReader,
    encode_bundle,
    read_regular_file,
)

__all__ = ["verify_directory"]

_SIZE_NAME: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_TILE_NAME: Final = re.compile(r"tile/(0|[1-9]\d?|entries)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


def verify_directory(
    path: Path,
    *,
    vkey: str | None = None,
    witness_vkeys: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Check every entry, the chain, every tile, the checkpoint, the kept ones and the cosignatures of known keys.

    Args:
        path: the log's directory; ``state/`` is not needed and not read.
        vkey: the log's key from a trusted place; without it the directory's own is taken, and the report says so.
        witness_vkeys: keys of witnesses from a trusted place; with them only these count as witnesses.
        progress: called with entries done and entries in all.

    Raises:
        OperationalError: there is no log to verify, or it cannot be read.
        NoteError: a key that was handed in is not one.
    """
    if not path.is_dir() or not any(os.path.lexists(path / name) for name in ("checkpoint", "vkey", "tile")):
        raise OperationalError(f"{path} is not a ledger's directory", remedy="name the folder that holds checkpoint")
    verification = _Verification(Report(str(path)), list(map(CosignatureVerifier, witness_vkeys)))
    try:
        verification.run(NoteVerifier(vkey) if vkey is not None else None, progress)
    except TooManyFindingsError:
        verification.report.notices.append("stopped: more findings would say nothing new")
    return verification.report


@dataclass(slots=True)
class _Verification:
    report: Report
    given: list[CosignatureVerifier]
    log: NoteVerifier | None = None
    policy: TrustPolicy | None = None
    kept: list[int] = field(default_factory=list)
    head: Checkpoint | None = None
    unknown: int = 0

    def run(self, key: NoteVerifier | None, progress: Progress | None) -> None:
        report = self.report
        # 1. Whose log it is.
        self._load_keys(key)
        if self.log is None:
            return
        report.vkey, report.origin = str(self.log.vkey), self.log.vkey.name
        self._load_policy()
        # 2. What it says about itself; checkpoint last, since a running writer moves it on before the others.
        self.kept = sorted(self._kept_sizes())
        witnessed = self._signed("checkpoint.witnessed", "checkpoint.witnessed", needed=False)
        newest = self._signed("checkpoint", "checkpoint")
        if witnessed and newest and witnessed[0].size > newest[0].size:
            report.find("checkpoint", f"it is older than checkpoint.witnessed of size {witnessed[0].size}")
        if witnessed and self.policy and not self.policy.satisfied(witnessed[1]):
            report.find("checkpoint.witnessed", "it lacks cosignatures that policy.tlog asks for")
        head = newest or witnessed
        if head is None:
            return
        self.head = head[0]
        report.size, report.root = self.head.size, self.head.root
        for size in self.kept:
            if size > self.head.size:
                report.find(f"checkpoints/{size}", f"the log signed it, and checkpoint has size {self.head.size} only")
        # 3. Every entry, the chain, every tile, every signed root as a prefix.
        reader = TileReader(report.directory)
        scan(report, reader, self._roots(newest, witnessed), progress)
        # 4. What else lies there.
        _Leftovers(report, reader, self.head.size).check()
        if self.unknown:
            report.notices.append(f"{self.unknown} signatures of unknown keys")

    def _roots(
        self, newest: tuple[Checkpoint, list[Verified]] | None, witnessed: tuple[Checkpoint, list[Verified]] | None
    ) -> Iterator[SignedRoot]:
        """Every signed root by ascending size; the kept files are read when their turn comes."""
        named = [("checkpoint", newest), ("checkpoint.witnessed", witnessed)]
        rest = sorted(((found[0].size, file, found) for file, found in named if found), key=lambda each: each[0])
        for size in self.kept:
            while rest and rest[0][0] < size:
                yield self._signed_root(rest[0][1], rest[0][2])
                rest.pop(0)
            file = f"checkpoints/{size}"
            found = self._signed(file, file)
            if found is None:
                continue
            if found[0].size != size:
                self.report.find(file, f"it holds a checkpoint of size {found[0].size}")
                continue
            if not found[1]:
                self.report.incomplete.append(f"{file} carries no cosignature of a known key")
            yield self._signed_root(file, found)
        for _, file, found in rest:
            yield self._signed_root(file, found)

    def _signed_root(self, file: str, found: tuple[Checkpoint, list[Verified]]) -> SignedRoot:
        checkpoint, cosignatures = found
        given = {str(each.vkey) for each in self.given}
        counted = [each for each in cosignatures if not given or each.vkey in given]
        enough = self.policy.satisfied(cosignatures) if self.policy else bool(cosignatures)
        best = self.report.witnessed
        if counted and enough and (best is None or checkpoint.size >= best.size):
            self.report.witnessed = Witnessed(checkpoint.size, tuple(counted))
        times = [each.time for each in cosignatures if each.time is not None]
        return SignedRoot(file, checkpoint.size, checkpoint.root, min(times, default=None))

    def _signed(self, path: str, file: str, *, needed: bool = True) -> tuple[Checkpoint, list[Verified]] | None:
        """A checkpoint that the log signed, with the cosignatures of known keys."""
        if self.log is None or (not needed and not os.path.lexists(f"{self.report.directory}/{path}")):
            return None
        witnesses = [*self.given, *(self.policy.witnesses.values() if self.policy else ())]
        try:
            note = read_regular_file(f"{self.report.directory}/{path}", MAX_NOTE_BYTES)
            opened = open_note(note, [self.log, *witnesses])
            checkpoint = Checkpoint.parse(opened.text)
            if checkpoint.origin != self.report.origin:
                raise NoteError(f"it is of the origin {checkpoint.origin}")
            if not any(each.vkey == str(self.log.vkey) for each in opened.verified):
                raise NoteError("the log did not sign it")
        except (TamperedError, LedgerError) as error:
            if isinstance(error, OperationalError):
                raise
            self.report.find(file, error.message)
            return None
        self.unknown += len(opened.unknown)
        return checkpoint, [each for each in opened.verified if each.time is not None]

    def _load_keys(self, key: NoteVerifier | None) -> None:
        own = None
        there = os.path.lexists(f"{self.report.directory}/vkey")
        if key is None and not there:
            raise OperationalError(f"{self.report.directory} holds no vkey", remedy="give the log's key with --vkey")
        try:
            text = self._text("vkey")
            own = NoteVerifier(text.removesuffix("\n"))
            if text != f"{own.vkey}\n":
                raise NoteError("it is not one verifier key and a newline")
        except (TamperedError, NoteError) as error:
            if there:
                self.report.find("vkey", error.message)
        if key is not None and own is not None and own.vkey != key.vkey:
            self.report.find("vkey", "it is another key than the one that was given")
        self.log = key or own
        if key is None:
            self.report.keys_from_directory = ("the log",)
        if self.log is not None and os.path.lexists(f"{self.report.directory}/vkeys"):
            self._check_vkeys(str(self.log.vkey))

    def _check_vkeys(self, vkey: str) -> None:
        """``vkeys``: a line per key with its first and last size; the newest is the log's key."""
        try:
            text = self._text("vkeys")
        except TamperedError as error:
            self.report.find("vkeys", error.message)
            return
        first = 0
        lines = text.split("\n")
        for number, line in enumerate(lines[:-1]):
            start, _, rest = line.partition(" ")
            last, _, key = rest.partition(" ")
            newest = number == len(lines) - 2
            try:
                NoteVerifier(key)
                ordered = start == str(first) and (last == "-" if newest else last == str(int(last)))
                ordered = ordered and (newest or int(last) >= first)
                first = 0 if newest else int(last) + 1
            except (NoteError, ValueError):
                ordered = False
            if not ordered or (newest and key != vkey):
                self.report.find("vkeys", f"line {number + 1} is not the next key with its range of sizes")
                return
        if len(lines) < 2 or lines[-1]:
            self.report.find("vkeys", "it does not end with a newline")

    def _load_policy(self) -> None:
        if not os.path.lexists(f"{self.report.directory}/policy.tlog"):
            return
        try:
            self.policy = TrustPolicy(self._text("policy.tlog"))
            if self.policy.logs and self.report.vkey not in {str(each.vkey) for each in self.policy.logs}:
                raise NoteError("its log lines do not name this log's key")
        except (TamperedError, NoteError) as error:
            self.report.find("policy.tlog", error.message)
            return
        if self.policy.witnesses and not self.given:
            self.report.keys_from_directory += ("the witnesses",)

    def _kept_sizes(self) -> Iterator[int]:
        directory = f"{self.report.directory}/checkpoints"
        if os.path.islink(directory):
            self.report.find("checkpoints", "it is a symbolic link")
            return
        if os.path.isdir(directory):
            for name in os.listdir(directory):
                if _SIZE_NAME.fullmatch(name):
                    yield int(name)
                else:
                    self.report.notices.append(f"unexpected file checkpoints/{name!r}")

    def _text(self, name: str) -> str:
        data = read_regular_file(f"{self.report.directory}/{name}", MAX_NOTE_BYTES)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TamperedError(f"{name} is not UTF-8") from error


class _Leftovers:
    """The files under ``tile/`` that the scan had no need of: superseded partials, and what lies beyond."""

    def __init__(self, report: Report, reader: TileReader, size: int) -> None:
        self._report = report
        self._reader = reader
        self._size = size
        self._beyond = 0
        self._strange: list[str] = []

    def check(self) -> None:
        """Judge every file under ``tile/``."""
        for path in self._walk("tile"):
            match = _TILE_NAME.fullmatch(path)
            if match is None or int(match[3] or 1) >= TILE_WIDTH:
                self._strange.append(path)
            else:
                self._judge(path, match[1], int(match[2].replace("/", "").replace("x", "")), int(match[3] or 0))
        if self._beyond:
            self._report.notices.append(f"{self._beyond} files beyond the checkpoint, tolerated")
        if self._strange:
            self._report.notices.append(f"{len(self._strange)} files that are no tiles, as {self._strange[0]!r}")

    def _judge(self, path: str, level: str, index: int, width: int) -> None:
        """A superseded partial must be a prefix of its tile."""
        count = self._size if level == "entries" else self._size >> (8 * int(level))
        if index * TILE_WIDTH + (width or TILE_WIDTH) > count:
            self._beyond += 1
            return
        known = min(TILE_WIDTH, count - index * TILE_WIDTH)
        if not width or width == known:
            return  # the scan read it
        try:
            found = read_regular_file(f"{self._report.directory}/{path}", MAX_BUNDLE_BYTES)
            if level == "entries":
                same = found == encode_bundle(self._reader.bundle(index, known)[:width])
            else:
                same = found == self._reader.tile(int(level), index, known)[: width * HASH_SIZE]
        except TamperedError as error:
            if os.path.lexists(f"{self._report.directory}/{path}"):
                self._report.find(path, error.message)
            return
        if not same:
            self._report.find(path, "the partial file is not a prefix of what replaced it")

    def _walk(self, path: str) -> Iterator[str]:
        """The regular files below a folder; never through a symbolic link."""
        try:
            with os.scandir(f"{self._report.directory}/{path}") as listing:
                items = sorted(listing, key=lambda each: each.name)
        except FileNotFoundError:
            return  # a running writer removes superseded partials; what the scan needs it has read
        except OSError as error:
            self._report.find(path, f"it cannot be listed: {error.strerror}")
            return
        for item in items:
            below = f"{path}/{item.name}"
            try:
                mode = item.stat(follow_symlinks=False).st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode):
                yield from self._walk(below)
            elif stat.S_ISREG(mode):
                yield below
            else:
                self._report.find(below, "it is neither a file nor a folder")
