"""A disclosure: one small file that shows a value behind a commitment, and proves that the log holds the commitment.

Canonical JSON with the members ``disclosure`` (1), ``entry`` (the entry as it stands in the log), ``field`` (JSON
pointer), ``note`` (a signed checkpoint), ``proof`` (the audit path, hex), ``salt`` (hex) and ``value``. Whoever has it
and the log's key needs nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.checkpoint import Checkpoint
from ledger.commitment import SALT_BYTES, field_pointer, require_commitment
from ledger.entry import MAX_ENTRY_BYTES, Entry
from ledger.errors import FormatError, LedgerError, OperationalError, TamperedError
from ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion
from ledger.note import MAX_NOTE_BYTES
from ledger.proof import SignedCheckpoint, Trust
from ledger.storage import DiskStorage
from ledger.tiles import TileReader, read_regular_file
from ledger.vault import Vault

__all__ = ["Disclosed", "is_disclosure", "make_disclosure", "verify_disclosure"]

MAX_DISCLOSURE_BYTES: Final = MAX_NOTE_BYTES + 8 * MAX_ENTRY_BYTES
_BEGINS: Final = b'{"disclosure":'
_MEMBERS: Final = {"disclosure", "entry", "field", "note", "proof", "salt", "value"}
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_HASHES: Final = 64


@dataclass(frozen=True, slots=True)
class Disclosed:
    """A value that was disclosed and holds: the entry commits to it, and stands under the signed checkpoint."""

    entry: Entry
    field: str
    value: JsonValue
    signed: SignedCheckpoint


def make_disclosure(directory: Path, seq: int, field: str) -> bytes:
    """Disclose a value to whoever gets the file. The log may be open in another process.

    Args:
        directory: the log's, with its ``state/``.
        seq: the entry's number.
        field: as ``approver`` or the JSON pointer ``/body/approver``.

    Raises:
        OperationalError: there is no such entry, or nothing is kept for the field.
    """
    pointer = field_pointer(field)
    note, checkpoint = _newest(directory, seq)
    reader = TileReader(directory)
    (data,) = reader.entries(seq, seq + 1, checkpoint.size)
    entry = Entry.parse(data, seq=seq)
    vault = Vault(directory / "state" / "vault.db", DiskStorage(), create=False)
    try:
        secret = vault.get(entry.id, pointer)
    finally:
        vault.close()
    if secret is None:
        raise OperationalError(
            f"nothing is kept for {pointer} of entry {seq}", remedy="it was erased, or the entry never committed to it"
        )
    require_commitment(entry, pointer, secret.salt, secret.value)
    proof: list[JsonValue] = [
        each.hex() for each in inclusion_proof(reader.nodes(checkpoint.size), seq, checkpoint.size)
    ]
    return canonical.encode(
        {
            "disclosure": 1,
            "entry": data.decode(),
            "field": pointer,
            "note": note.decode(),
            "proof": proof,
            "salt": secret.salt.hex(),
            "value": secret.value,
        }
    )


def is_disclosure(data: bytes) -> bool:
    """Whether a file says that it is a disclosure."""
    return data.startswith(_BEGINS)


def verify_disclosure(data: bytes, trust: Trust) -> Disclosed:
    """Check a disclosure with nothing but its bytes and the keys that are trusted.

    Args:
        data: the file's bytes.
        trust: the key of the log that signed its checkpoint, and those of witnesses whose cosignatures count.

    Raises:
        TamperedError: something in it does not hold.
    """
    try:
        return _verified(data, trust)
    except (CanonicalError, LedgerError) as error:
        text = error.message if isinstance(error, LedgerError) else str(error)
        raise TamperedError(f"the disclosure does not hold: {text}") from error


def _verified(data: bytes, trust: Trust) -> Disclosed:
    if len(data) > MAX_DISCLOSURE_BYTES:
        raise FormatError(f"it has more than {MAX_DISCLOSURE_BYTES} bytes")
    document = canonical.decode(data)
    if not isinstance(document, dict) or document.keys() != _MEMBERS or type(document["disclosure"]) is not int:
        raise FormatError(f"it has exactly the members {', '.join(sorted(_MEMBERS))}")
    if document["disclosure"] != 1:
        raise FormatError(f"it is of version {document['disclosure']}, not 1")
    entry_text, field, note = (_text(document[name], name) for name in ("entry", "field", "note"))
    salt, hashes = _text(document["salt"], "salt"), document["proof"]
    if not re.fullmatch(rf"[0-9a-f]{{{2 * SALT_BYTES}}}", salt):
        raise FormatError(f"a salt is {SALT_BYTES} bytes in lower-case hex")
    if not isinstance(hashes, list) or len(hashes) > _MAX_HASHES:
        raise FormatError("its proof is not a list of hashes")
    path = [_text(each, "proof") for each in hashes]
    if not all(_HASH.fullmatch(each) for each in path):
        raise FormatError("a hash of its proof is not SHA-256 in lower-case hex")
    # 1. The log signed the checkpoint.
    signed = trust.open(note.encode())
    checkpoint = signed.checkpoint
    # 2. The entry stands under it.
    entry = Entry.parse(entry_text.encode())
    leaf = leaf_hash(entry_text.encode())
    verify_inclusion(leaf, entry.seq, checkpoint.size, [bytes.fromhex(each) for each in path], checkpoint.root)
    # 3. The entry commits to the value.
    if field_pointer(field) != field:
        raise FormatError("its field is not a JSON pointer into the body")
    require_commitment(entry, field, bytes.fromhex(salt), document["value"])
    return Disclosed(entry, field, document["value"], signed)


def _newest(directory: Path, seq: int) -> tuple[bytes, Checkpoint]:
    """The newest witnessed checkpoint that covers an entry, or else the newest one."""
    for name in ("checkpoint.witnessed", "checkpoint"):
        try:
            note = read_regular_file(str(directory / name), MAX_NOTE_BYTES)
        except TamperedError:
            continue
        checkpoint = Checkpoint.parse(note.decode().partition("\n\n")[0] + "\n")
        if 0 <= seq < checkpoint.size:
            return note, checkpoint
    raise OperationalError(f"{directory} has no entry {seq}", remedy="name a ledger's folder and an entry of it")


def _text(value: JsonValue, name: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"its {name} is no text")
    return value
