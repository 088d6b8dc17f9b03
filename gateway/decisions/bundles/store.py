"""The policies that decided here, kept so that each recorded decision can be made again.

Everything is named by its digest, written once, checked when it is read, and durable before it is named anywhere:

    policy/bundles/<sha256>.tar.gz    signed bundles as they came
    policy/in-force/<digest>.json     the files of a zone's whole policy, by its digest as decisions name it
    policy/records/<entry id>.json    what a ledger entry about policy commits to, with the salt that opens it
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.config import write_file
from gateway.decisions.kept_policy import keep_policy, load_policy
from gateway.decisions.policy_set import ZonePolicy
from gateway.errors import IntegrityError, NotFoundError, StorageError
from gateway.model import canonical
from gateway.model.ids import parse_uuid7
from gateway.model.limits import BUNDLE_MAX, MIB

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RECORD_MAX: Final = 1 * MIB
_REMEDY: Final = "restore the zone's policy folder from a backup"


class PolicyStore:
    """The policies of one zone, on disk. Blocking; callers on the event loop use a thread.

    Durability: a `keep` returns after content and name are on disk; keeping what is there already does nothing.

    Args:
        folder: `policy` of the zone's directory.
    """

    def __init__(self, folder: Path) -> None:
        self._bundles = folder / "bundles"
        self._policies = folder / "in-force"
        self._records = folder / "records"

    def prepare(self) -> None:
        """Make the folders, for the owner alone.

        Raises:
            StorageError: they cannot be made.
        """
        try:
            for each in (self._bundles, self._policies, self._records):
                each.mkdir(parents=True, mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {self._bundles.parent}: {error.strerror}") from error

    def keep_bundle(self, data: bytes) -> str:
        """Keep a bundle's bytes; their SHA-256.

        Raises:
            StorageError: they cannot be made durable.
        """
        digest = hashlib.sha256(data).hexdigest()
        self._keep(self._bundles / f"{digest}.tar.gz", data)
        return digest

    def bundle(self, digest: str) -> bytes:
        """A kept bundle's bytes.

        Raises:
            NotFoundError: it was never kept.
            IntegrityError: it is not what was kept.
        """
        data = _read(self._bundles / f"{_checked(digest)}.tar.gz", BUNDLE_MAX)
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(f"the kept bundle {digest} is damaged", remedy=_REMEDY)
        return data

    def keep_policy(self, policy: ZonePolicy) -> None:
        """Keep the files of a zone's whole policy under its digest.

        Raises:
            StorageError: they cannot be made durable.
        """
        keep_policy(self._policies, policy)

    def zone_policy(self, digest: str) -> ZonePolicy:
        """The policy that a decision names as its `policy_digest`.

        Raises:
            NotFoundError: it was never in force here.
            IntegrityError: what was kept does not have this digest.
            ConfigError: this program cannot load it any more.
        """
        policy = load_policy(self._policies, digest)
        if policy is None:
            raise NotFoundError(f"no policy {digest[:80]} was kept here", remedy=_REMEDY)
        return policy

    def keep_record(self, entry_id: str, record: Mapping[str, Any], salt: bytes) -> None:
        """Keep what an entry commits to.

        Raises:
            StorageError: it cannot be made durable.
        """
        document = canonical.encode({"record": dict(record), "salt": salt.hex()})
        self._keep(self._records / f"{parse_uuid7(entry_id)}.json", document)

    def record(self, entry_id: str, commitment: str) -> dict[str, Any]:
        """What an entry commits to, checked against it.

        Raises:
            NotFoundError: it was not kept.
            IntegrityError: it is not what the entry commits to.
        """
        data = _read(self._records / f"{parse_uuid7(entry_id)}.json", _RECORD_MAX)
        try:
            document = json.loads(data)
            record, salt = dict(document["record"]), bytes.fromhex(document["salt"])
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"the record of entry {entry_id} is damaged", remedy=_REMEDY) from error
        if not hmac.compare_digest(committed(entry_id, record, salt), commitment):
            raise IntegrityError(f"the record of entry {entry_id} is not what the ledger says", remedy=_REMEDY)
        return record

    @staticmethod
    def _keep(path: Path, data: bytes) -> None:
        if not path.is_file():
            write_file(path, data, mode=0o600)


def committed(entry_id: str, record: Mapping[str, Any], salt: bytes) -> str:
    """The commitment in an entry's body, as the ledger has it for values that its peers must not guess.

    HMAC-SHA256(salt, "tdz-commit/v1\\n" id "\\n" JSON pointer "\\n" canonical JSON).
    """
    header = f"tdz-commit/v1\n{entry_id}\n/body/policy\n".encode()
    return hmac.new(salt, header + canonical.encode(dict(record)), hashlib.sha256).hexdigest()


def _checked(digest: str) -> str:
    if _DIGEST.fullmatch(digest) is None:
        raise NotFoundError(f"{digest[:80]!r} is no digest")
    return digest


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path.parent.name} has no {path.name}", remedy=_REMEDY) from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", remedy=_REMEDY) from error
    if len(data) > most:
        raise IntegrityError(f"{path.name} is longer than anything that is kept", remedy=_REMEDY)
    return data
