"""Salted commitments: a value that is proven without being shown, and forgotten without touching the log. No I/O.

In the entry stands HMAC-SHA256(salt, "tdz-commit/v1\\n" || id || "\\n" || JSON pointer || "\\n" || canonical value) in
hex, at the pointer. Without the salt nobody can guess the value, however few there may be.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.entry import Entry
from ledger.errors import EntryError, TamperedError

__all__ = ["MAX_VALUES", "SALT_BYTES", "commitment", "field_pointer", "require_commitment", "with_commitments"]

SALT_BYTES: Final = 32
MAX_VALUES: Final = 64
"""Values that one entry may commit to."""

_POINTER: Final = re.compile(r"/body(?:/(?:[^~/\x00-\x1f]|~[01])+)+")
_MAX_POINTER: Final = 512


def commitment(salt: bytes, entry_id: str, pointer: str, value: JsonValue) -> str:
    """The commitment to a value, in hex.

    Args:
        salt: 32 random bytes, fresh for each entry and field.
        entry_id: the id of the entry that holds it.
        pointer: where in the entry (RFC 6901).

    Raises:
        EntryError: the salt has another length, or the value has no canonical form.
    """
    if len(salt) != SALT_BYTES:
        raise EntryError(f"a salt has {SALT_BYTES} bytes")
    try:
        encoded = canonical.encode(value)
    except CanonicalError as error:
        raise EntryError(f"the value of {pointer} has no canonical form: {error}") from error
    message = b"tdz-commit/v1\n%b\n%b\n%b" % (entry_id.encode(), pointer.encode(), encoded)
    return hmac.new(salt, message, hashlib.sha256).hexdigest()


def field_pointer(field: str) -> str:
    """The JSON pointer of a field as a person writes it: ``approver``, ``/approver`` or ``/body/approver``.

    Raises:
        EntryError: it cannot be one.
    """
    pointer = field if field.startswith("/") else f"/{field}"
    pointer = pointer if pointer.startswith("/body/") else f"/body{pointer}"
    if len(pointer) > _MAX_POINTER or not _POINTER.fullmatch(pointer):
        raise EntryError(f"{field!r} is not a field of a body", remedy="as approver, or a JSON pointer: /body/approver")
    return pointer


def with_commitments(body: dict[str, JsonValue], commitments: Mapping[str, str]) -> dict[str, JsonValue]:
    """A copy of a body with commitments at their pointers.

    Raises:
        EntryError: a pointer leads nowhere, or to a member that is there already.
    """
    whole: dict[str, JsonValue] = {"body": copy.deepcopy(body)}
    for pointer, text in commitments.items():
        place: JsonValue = whole
        *parents, name = _steps(pointer)
        for step in parents:
            place = place.get(step) if isinstance(place, dict) else None
        if not isinstance(place, dict) or name in place:
            raise EntryError(f"{pointer} is no free member of the body", remedy="leave the member out of the body")
        place[name] = text
    found = whole["body"]
    return found if isinstance(found, dict) else {}


def require_commitment(entry: Entry, pointer: str, salt: bytes, value: JsonValue) -> None:
    """Make sure that an entry commits to a value.

    Raises:
        TamperedError: it does not.
        EntryError: the pointer or the value is none.
    """
    place: JsonValue = {"body": entry.body}
    for step in _steps(field_pointer(pointer)):
        place = place.get(step) if isinstance(place, dict) else None
    expected = commitment(salt, entry.id, pointer, value)
    if not isinstance(place, str) or not hmac.compare_digest(place.encode(), expected.encode()):
        raise TamperedError(f"entry {entry.seq} does not commit to that value at {pointer}")


def _steps(pointer: str) -> list[str]:
    # RFC 6901 section 4: first ~1, then ~0.
    return [each.replace("~1", "/").replace("~0", "~") for each in pointer.split("/")[1:]]
