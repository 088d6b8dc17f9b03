"""Verify a log's directory with nothing but its public files."""

from __future__ import annotations

import os
import re
import time as _time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from ledger.bundle import BundleChecker
from ledger.checkpoint import Checkpoint
from ledger.companions import Companions
from ledger.errors import LedgerError, NoteError, OperationalError, SignatureError, TamperedError
from ledger.key_history import KeyHistory, Rotation
from ledger.leftovers import Leftovers
from ledger.note import MAX_NOTE_BYTES, CosignatureVerifier, Note, NoteVerifier, Verified, open_note
from ledger.policy import TrustPolicy
from ledger.proof import Trust, own_mirror
from ledger.report import Report, TooManyFindingsError, Witnessed
from ledger.scan import Progress, Scanned, SignedRoot, scan
from ledger.tiles import TileReader, read_regular_file

__all__ = ["SEEN", "claimed_origin", "verify_directory"]

SEEN: Final = "the checkpoint seen before"
_SIZE_NAME: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

_NAMED: Final = 10
"""Kept checkpoints without a known cosignature that are named one by one."""

_Signed = tuple[Checkpoint, list[Verified]]


def verify_directory(
    path: Path,
    *,
    vkey: str | None = None,
    witness_vkeys: Sequence[str] = (),
    trust: Trust | None = None,
    seen: bytes | None = None,
    max_age: int | None = None,
    now: int | None = None,
    progress: Progress | None = None,
    workers: int = 1,
    checker: BundleChecker | None = None,
    tsa_ca: bytes = b"",
) -> Report:
    """Check every entry, the chain, every tile, the checkpoint, the kept ones and the cosignatures of known keys.

    Args:
        path: the log's directory; ``state/`` is not needed and not read.
        vkey: the log's key from a trusted place; without one the directory's own is taken, and the report says so.
        witness_vkeys: keys of witnesses from a trusted place; with them only these count as witnesses.
        trust: keys of logs and witnesses from a trusted place, beside those; the log is found by its origin. Its
            policy stands in for the directory's own.
        seen: a signed checkpoint of this log that was seen before: it must be a prefix.
        max_age: seconds that the newest cosignature may be old.
        now: Unix seconds for ``max_age``; by default the clock's.
        progress: called with entries done and entries in all.
        workers: how many processes judge bundles.
        checker: judges the bundles, where more than the public files counts.
        tsa_ca: certificates of time-stamping authorities (PEM); without any no stamp's signature is judged.

    Raises:
        OperationalError: there is no log to verify, or it cannot be read.
        NoteError: a key that was handed in is not one.
    """
    if not path.is_dir() or not any(os.path.lexists(path / name) for name in ("checkpoint", "vkey", "tile")):
        raise OperationalError(f"{path} is not a ledger's directory", remedy="name the folder that holds checkpoint")
    given = trust or Trust(())
    logs = [*([NoteVerifier(vkey)] if vkey is not None else ()), *given.all_logs]
    witnesses = [*map(CosignatureVerifier, witness_vkeys), *given.all_witnesses]
    verification = _Verification(Report(str(path)), logs, witnesses, given.policy, seen, tsa_ca)
    try:
        verification.run(checker or BundleChecker(str(path)), workers, progress)
        if max_age is not None:
            verification.check_age(max_age, int(_time.time()) if now is None else now)
    except TooManyFindingsError:
        verification.report.notices.append("stopped: more findings would say nothing new")
    return verification.report


def claimed_origin(directory: str) -> str:
    """Whose log a folder says that it is, unverified; empty where it says nothing."""
    try:
        return Checkpoint.parse(Note.parse(read_regular_file(f"{directory}/checkpoint", MAX_NOTE_BYTES)).text).origin
    except LedgerError:
        return ""


@dataclass(slots=True)
class _Verification:
    report: Report
    logs: list[NoteVerifier]
    witnesses: list[CosignatureVerifier]
    given_policy: TrustPolicy | None
    seen: bytes | None
    tsa_ca: bytes
    keys: KeyHistory | None = None
    policy: TrustPolicy | None = None
    kept: list[int] = field(default_factory=list)
    unknown: int = 0
    uncosigned: int = 0

    def run(self, checker: BundleChecker, workers: int, progress: Progress | None) -> None:
        report = self.report
        if os.path.islink(f"{report.directory}/tile"):
            report.find("tile", "it is a symbolic link")
        # 1. Whose log it is.
        self._load_keys()
        if self.keys is None:
            return
        report.keys, report.vkey, report.origin = self.keys, self.keys.current, self.keys.origin
        self.witnesses = [each for each in self.witnesses if each.vkey.name != own_mirror(report.origin)]
        self._load_policy()
        # 2. What it says about itself; checkpoint last, since a running writer moves it on before the others.
        self.kept = sorted(self._kept_sizes())
        witnessed = self._signed("checkpoint.witnessed", needed=False)
        newest = self._signed("checkpoint")
        if witnessed and newest and witnessed[0].size > newest[0].size:
            report.find("checkpoint", f"it is older than checkpoint.witnessed of size {witnessed[0].size}")
        if witnessed and self.policy and not self.policy.satisfied(witnessed[1]):
            report.find("checkpoint.witnessed", "it lacks cosignatures that policy.tlog asks for")
        seen = self._seen()
        head = newest or witnessed
        if head is None:
            return
        report.size, report.root = head[0].size, head[0].root
        for size in self.kept:
            if size > report.size:
                report.find(f"checkpoints/{size}", f"the log signed it, and checkpoint has size {report.size} only")
        if seen and seen[0].size > report.size:
            report.find("checkpoint", f"it has size {report.size} only; {SEEN} has {seen[0].size}: entries are gone")
        # 3. Every entry, the chain, every tile, every signed root as a prefix.
        reader = TileReader(report.directory)
        named = [("checkpoint", newest), ("checkpoint.witnessed", witnessed), (SEEN, seen)]
        sizes = sorted({*self.kept, *(each[0].size for _, each in named if each)})
        roots = self._roots([(file, each) for file, each in named if each])
        scanned = scan(report, reader, roots, progress, checker=checker, sizes=sizes, workers=workers)
        self._check_rotations(scanned)
        # 4. What else lies there.
        Leftovers(report, reader, report.size).check()
        Companions(report, self.keys.vkeys, [str(each.vkey) for each in self.logs], self.tsa_ca).check()
        if self.unknown:
            report.notices.append(f"{self.unknown} signatures of unknown keys")
        if self.witnesses and report.witnessed is None:
            report.incomplete.append("no cosignature of a witness whose key was given")

    def check_age(self, most: int, now: int) -> None:
        """The newest cosignature must not be older than so many seconds: a log can be frozen by withholding news."""
        witnessed = self.report.witnessed
        if witnessed is None or witnessed.seconds < now - most:
            age = "there is none" if witnessed is None else f"it is {now - witnessed.seconds} s old"
            self.report.incomplete.append(f"the newest cosignature may be {most} s old: {age}")

    # --- signed checkpoints -------------------------------------------------------------------------------

    def _roots(self, named: list[tuple[str, _Signed]]) -> Iterator[SignedRoot]:
        """Every signed root by ascending size; the kept files are read when their turn comes."""
        rest = sorted(named, key=lambda each: each[1][0].size)
        for size in self.kept:
            while rest and rest[0][1][0].size < size:
                yield self._signed_root(*rest.pop(0))
            file = f"checkpoints/{size}"
            found = self._signed(file)
            if found is None:
                continue
            if found[0].size != size:
                self.report.find(file, f"it holds a checkpoint of size {found[0].size}")
                continue
            if not found[1]:
                self._uncosigned(file)
            yield self._signed_root(file, found)
        for each in rest:
            yield self._signed_root(*each)

    def _uncosigned(self, file: str) -> None:
        self.uncosigned += 1
        if self.uncosigned <= _NAMED:
            self.report.incomplete.append(f"{file} carries no cosignature of a known key")
        elif self.uncosigned == _NAMED + 1:
            self.report.incomplete.append("and more kept checkpoints")

    def _signed_root(self, file: str, found: _Signed) -> SignedRoot:
        checkpoint, cosignatures = found
        given = {str(each.vkey) for each in self.witnesses}
        counted = [each for each in cosignatures if not given or each.vkey in given]
        enough = self.policy.satisfied(cosignatures) if self.policy else bool(cosignatures)
        best = self.report.witnessed
        if file != SEEN and counted and enough and (best is None or checkpoint.size >= best.size):
            self.report.witnessed = Witnessed(checkpoint.size, tuple(counted))
        times = [each.time for each in cosignatures if each.time is not None]
        return SignedRoot(file, checkpoint.size, checkpoint.root, min(times, default=None))

    def _signed(self, file: str, *, needed: bool = True) -> _Signed | None:
        """A checkpoint that the log signed, with the cosignatures of known keys."""
        path = f"{self.report.directory}/{file}"
        if not needed and not os.path.lexists(path):
            return None
        try:
            return self._open(read_regular_file(path, MAX_NOTE_BYTES))
        except OperationalError:
            raise
        except LedgerError as error:
            self.report.find(file, error.message)
            return None

    def _seen(self) -> _Signed | None:
        if self.seen is None:
            return None
        try:
            return self._open(self.seen)
        except LedgerError as error:
            self.report.find(SEEN, error.message)
            return None

    def _open(self, note: bytes) -> _Signed:
        keys = self.keys
        if keys is None:
            raise NoteError("the log's key is not known")
        policy = self.policy.witnesses.values() if self.policy else ()
        # Whose it says that it is comes first, so that another log's is called that.
        origin = Checkpoint.parse(Note.parse(note).text).origin
        if origin != self.report.origin:
            raise NoteError(f"it is of the origin {origin}")
        opened = open_note(note, [*keys.verifiers(), *self.witnesses, *policy])
        checkpoint = Checkpoint.parse(opened.text)
        signers = {each.vkey for each in opened.verified if each.time is None}
        if not signers:
            raise SignatureError("the log did not sign it")
        keys.require_signed(signers, checkpoint.size)
        self.unknown += len(opened.unknown)
        mirror = own_mirror(checkpoint.origin)
        return checkpoint, [each for each in opened.verified if each.time is not None and each.name != mirror]

    # --- keys ---------------------------------------------------------------------------------------------

    def _load_keys(self) -> None:
        own = self._own_key()
        candidates = self._of_this_origin(own) if self.logs else [own] if own else []
        if not self.logs:
            self.report.keys_from_directory = ("the log",)
        if not candidates:
            return
        keys = [str(each.vkey) for each in candidates]
        history = self._history() or KeyHistory.of(str(own.vkey) if own and str(own.vkey) in keys else keys[0])
        if own is not None and str(own.vkey) != history.current:
            self.report.find("vkey", "it is another key than the one that vkeys or the caller gives")
        if not any(key in history.vkeys for key in keys):
            self.report.find("vkeys", "it does not name the key that was given")
            history = KeyHistory.of(keys[0])
        self.keys = history

    def _own_key(self) -> NoteVerifier | None:
        there = os.path.lexists(f"{self.report.directory}/vkey")
        if not self.logs and not there:
            raise OperationalError(f"{self.report.directory} holds no vkey", remedy="give the log's key with --vkey")
        try:
            text = self._text("vkey")
            own = NoteVerifier(text.removesuffix("\n"))
            if text != f"{own.vkey}\n":
                raise NoteError("it is not one verifier key and a newline")
        except (TamperedError, NoteError) as error:
            if there:
                self.report.find("vkey", error.message)
            return None
        return own

    def _of_this_origin(self, own: NoteVerifier | None) -> list[NoteVerifier]:
        """The given keys that are this log's."""
        names = sorted({each.vkey.name for each in self.logs})
        origin = claimed_origin(self.report.directory) or (own.vkey.name if own and len(names) > 1 else names[0])
        found = [each for each in self.logs if each.vkey.name == origin]
        if not found:
            text = f"it is of the origin {origin[:80]}; the keys that were given are of {', '.join(names)}"
            self.report.find("checkpoint", text)
        return found

    def _history(self) -> KeyHistory | None:
        if not os.path.lexists(f"{self.report.directory}/vkeys"):
            return None
        try:
            return KeyHistory.parse(self._text("vkeys"))
        except (TamperedError, LedgerError) as error:
            self.report.find("vkeys", error.message)
            return None

    def _check_rotations(self, scanned: Scanned) -> None:
        """Each key after the first one was introduced by an entry that it and the one before signed."""
        if self.keys is None:
            return
        found: set[tuple[str, str, int]] = set()
        for entry in scanned.rotations:
            try:
                rotation = Rotation.of(entry, self.report.origin)
            except LedgerError as error:
                self.report.find("vkeys", f"entry {entry.seq}: {error.message}", entry.seq)
                continue
            found.add((rotation.old, rotation.new, rotation.first))
        ranges = self.keys.ranges
        named = {(old.vkey, new.vkey, new.first) for old, new in pairwise(ranges)}
        for _, _, first in sorted(named - found, key=lambda each: each[2]):
            self.report.find("vkeys", f"no entry that both keys signed introduces the key from size {first} on")
        for _, _, first in sorted(found - named, key=lambda each: each[2]):
            self.report.find("vkeys", f"it does not name the key that entry {first - 1} introduces", first - 1)

    def _load_policy(self) -> None:
        given = self.given_policy
        if os.path.lexists(f"{self.report.directory}/policy.tlog"):
            try:
                self.policy = TrustPolicy(self._text("policy.tlog"))
                keys = set(self.keys.vkeys) if self.keys else set()
                if self.policy.logs and not keys & {str(each.vkey) for each in self.policy.logs}:
                    raise NoteError("its log lines do not name this log's key")
            except (TamperedError, NoteError) as error:
                self.report.find("policy.tlog", error.message)
                self.policy = None
        if given is not None and (given.witnesses or given.quorum != "none"):
            self.policy = given
        elif self.policy and self.policy.witnesses and not self.witnesses:
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
