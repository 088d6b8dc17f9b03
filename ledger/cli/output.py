"""What the commands share: keys from the command line, JSON, and one log to read from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerError, OperationalError, TamperedError
from ledger.note import MAX_NOTE_BYTES, CosignatureVerifier, Note, NoteVerifier, Verified, open_note
from ledger.policy import TrustPolicy
from ledger.proof import Trust, own_mirror
from ledger.tiles import TileReader, read_regular_file

__all__ = ["OpenedLog", "key_argument", "open_log", "print_json", "printable"]


@dataclass(frozen=True, slots=True)
class OpenedLog:
    """A log whose checkpoint was verified against its key."""

    directory: Path
    vkey: str
    own_key: bool
    checkpoint: Checkpoint
    witnesses: tuple[CosignatureVerifier, ...]
    reader: TileReader

    def cosigned(self) -> tuple[Checkpoint, list[Verified]] | None:
        """``checkpoint.witnessed``, or the checkpoint itself where it carries cosignatures of known witnesses."""
        for name in ("checkpoint.witnessed", "checkpoint"):
            try:
                note = read_regular_file(str(self.directory / name), MAX_NOTE_BYTES)
                opened = open_note(note, [NoteVerifier(self.vkey), *self.witnesses])
                checkpoint = Checkpoint.parse(opened.text)
            except TamperedError:
                continue
            except LedgerError as error:
                raise TamperedError(f"{name}: {error.message}", remedy="run tdz-ledger verify") from error
            cosignatures = [each for each in opened.verified if each.time is not None]
            if cosignatures and len(cosignatures) < len(opened.verified):
                return checkpoint, cosignatures
        return None


def open_log(directory: Path, trust: Trust | None = None) -> OpenedLog:
    """Open a log for reading.

    Args:
        directory: the log's.
        trust: keys from a trusted place. Without a log's the directory's own is taken, without a witness's those of
            its ``policy.tlog``.

    Raises:
        OperationalError: there is none.
        TamperedError: its checkpoint is not signed by its key, or it is of an origin whose key was not given.
    """
    if not (directory / "checkpoint").is_file():
        raise OperationalError(
            f"{directory} is not a ledger's directory", remedy="name the folder that holds checkpoint"
        )
    given = trust.all_logs if trust is not None else ()
    logs = [*given] or [_own_key(directory)]
    try:
        note = read_regular_file(str(directory / "checkpoint"), MAX_NOTE_BYTES)
        origin = Checkpoint.parse(Note.parse(note).text).origin
        known = [each for each in logs if each.vkey.name == origin]
        if not known:
            names = ", ".join(sorted({each.vkey.name for each in logs}))
            text = f"it is of the origin {origin[:80]}; the keys that were given are of {names}"
            raise TamperedError(text, remedy="give its zone's --card too" if given else "run tdz-ledger verify")
        opened = open_note(note, known)
        checkpoint = Checkpoint.parse(opened.text)
    except OperationalError:
        raise
    except LedgerError as error:
        remedy = error.remedy or "run tdz-ledger verify"
        raise TamperedError(f"{directory / 'checkpoint'}: {error.message}", remedy=remedy) from error
    witnesses = trust.all_witnesses if trust is not None else ()
    witnesses = tuple(each for each in witnesses if each.vkey.name != own_mirror(origin))
    return OpenedLog(
        directory,
        opened.verified[0].vkey,
        not given,
        checkpoint,
        witnesses or _witnesses(directory),
        TileReader(directory),
    )


def key_argument(value: str | None) -> str | None:
    """A verifier key as it stands on the command line, or the first line of the file that is named.

    Raises:
        OperationalError: neither a key nor a readable file.
    """
    if value is None or "+" in value:
        return value
    try:
        return Path(value).read_text(encoding="utf-8").split("\n", 1)[0]
    except (OSError, UnicodeDecodeError) as error:
        raise OperationalError(f"{value} is neither a key nor a file that holds one") from error


def print_json(value: JsonValue) -> None:
    """Print one JSON document."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, sort_keys=True)
    sys.stdout.write("\n")


def printable(parts: Iterable[str]) -> str:
    """A line for a terminal: a log's text must not move its cursor."""
    return "  ".join("".join(each if each.isprintable() else "\ufffd" for each in part) for part in parts)


def _own_key(directory: Path) -> NoteVerifier:
    try:
        return NoteVerifier(read_regular_file(str(directory / "vkey"), MAX_NOTE_BYTES).decode("utf-8").strip())
    except (LedgerError, UnicodeDecodeError) as error:
        raise OperationalError(f"no usable key: {error}", remedy="give the log's key with --vkey or --card") from error


def _witnesses(directory: Path) -> tuple[CosignatureVerifier, ...]:
    try:
        text = read_regular_file(str(directory / "policy.tlog"), MAX_NOTE_BYTES).decode("utf-8")
        return tuple(TrustPolicy(text).witnesses.values())
    except (LedgerError, UnicodeDecodeError):
        return ()
