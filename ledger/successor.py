"""A log after another: a new origin that names its predecessor's last cosigned checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerError, OperationalError, TamperedError
from ledger.key_history import KeyHistory
from ledger.note import MAX_NOTE_BYTES, CosignatureVerifier, VerifierKey, open_note
from ledger.policy import TrustPolicy
from ledger.tiles import read_regular_file

__all__ = ["Predecessor", "label_for", "last_cosigned"]


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The checkpoint at which a log ended, as others have seen it.

    ``cosigned`` is False where nobody witnessed that log: then it is its own newest one.
    """

    checkpoint: Checkpoint
    note: bytes
    cosigned: bool

    def body(self) -> JsonValue:
        """What ``log.opened`` says of it."""
        return {
            "note": self.note.decode(),
            "origin": self.checkpoint.origin,
            "root": self.checkpoint.root.hex(),
            "size": self.checkpoint.size,
        }


def last_cosigned(directory: Path) -> Predecessor:
    """The last checkpoint of a log that satisfies its policy; its own newest one where that asks for nobody.

    Raises:
        OperationalError: there is none.
        TamperedError: it is not signed as the log's files say.
    """
    try:
        history = KeyHistory.parse(_read(directory, "vkeys"))
        policy = TrustPolicy(_read(directory, "policy.tlog"))
    except LedgerError as error:
        raise OperationalError(f"{directory} is no ledger that can be followed: {error.message}") from error
    witnessed = (directory / "checkpoint.witnessed").exists()
    if not witnessed and policy.quorum != "none":
        raise OperationalError(
            f"no checkpoint of {directory} satisfies its policy", remedy="have the log cosigned once more, then go on"
        )
    name = "checkpoint.witnessed" if witnessed else "checkpoint"
    note = read_regular_file(str(directory / name), MAX_NOTE_BYTES)
    witnesses: list[CosignatureVerifier] = list(policy.witnesses.values())
    try:
        opened = open_note(note, [*history.verifiers(), *witnesses])
        checkpoint = Checkpoint.parse(opened.text)
        history.require_signed({each.vkey for each in opened.verified}, checkpoint.size)
    except LedgerError as error:
        raise TamperedError(f"{directory / name}: {error.message}", remedy="run tdz-ledger verify") from error
    if checkpoint.origin != history.origin:
        raise TamperedError(f"{directory / name} is of the origin {checkpoint.origin}")
    cosignatures = [each for each in opened.verified if each.time is not None]
    return Predecessor(checkpoint, note, witnessed and policy.satisfied(cosignatures))


def label_for(vkey: VerifierKey, unix_seconds: float | None = None) -> str:
    """The label of a new origin: the year and four hex digits of its key."""
    moment = datetime.fromtimestamp(time.time() if unix_seconds is None else unix_seconds, UTC)
    return f"{moment:%Y}-{vkey.key.hex()[:4]}"


def _read(directory: Path, name: str) -> str:
    try:
        return read_regular_file(str(directory / name), MAX_NOTE_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TamperedError(f"{name} is not UTF-8") from error
