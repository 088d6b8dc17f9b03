"""What the ledger says of policy: who asked for a bundle, who took it back, what was refused, what is in force.

The peer mirrors the ledger, and which packs a zone loads is not its business: an entry commits to the whole with a
salt (see `gateway.decisions.bundles.store`), and names the digest of a bundle only where that says nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from gateway.decisions import policy_register
from gateway.decisions.bundles.bundle import Bundle
from gateway.decisions.bundles.store import PolicyStore, committed
from gateway.decisions.policy_set import ZonePolicy
from gateway.errors import BundleError, TdzError
from gateway.flow.policy_history import ACTIVATED, WITHDRAWN
from gateway.flow.steps import Effect, Step, Steps
from gateway.identity.enrolment import Actor
from gateway.journal import Recorded
from gateway.model.ids import uuid7

_log = structlog.get_logger()
_OPEN_PARTS: Final = frozenset({"baseline", "zone"})
"""Parts whose digest tells the other zone nothing: each gateway has them."""


def _approved(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    policy_register.approve(connection, arguments)


def _withdrawn(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    policy_register.withdraw(connection, arguments)


def _activated(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    policy_register.activate(connection, arguments, recorded.seq)


EFFECTS: Final[Mapping[str, Effect]] = {
    "policy.approved": _approved,
    "policy.withdrawn": _withdrawn,
    "policy.activated": _activated,
}


class PolicyEntries:
    """Records each step with its effect on the rows.

    Args:
        zone: this zone.
        store: what an entry commits to, on disk before the entry is.
        steps: of this gateway.
    """

    def __init__(self, zone: str, store: PolicyStore, steps: Steps) -> None:
        self._zone = zone
        self._store = store
        self._steps = steps

    async def approval(self, bundle: Bundle, by: Actor, now: int, *, missing: int) -> None:
        """An administrator asked for a bundle, and so many more must.

        Raises:
            LedgerError, StorageError: it could not be recorded; the same of the methods below.
        """
        document = bundle.document()
        await self._record(
            "approval",
            uuid7(),
            {"bundle": document, "by": by.identity.uri, "missing": missing},
            {"what": "policy", "by": by.fingerprint, **_named(document)},
            effect="policy.approved",
            arguments={
                "bundle": bundle.sha256,
                "approver": by.identity.uri,
                "fingerprint": by.fingerprint,
                "document": document,
                "approved_at": now,
            },
        )

    async def withdrawal(self, document: Mapping[str, Any], by: Actor, now: int) -> None:
        """An administrator took a bundle back; `document` is what it says of itself."""
        await self._record(
            WITHDRAWN,
            uuid7(),
            {"bundle": document, "by": by.identity.uri},
            {"by": by.fingerprint, **_named(document)},
            effect="policy.withdrawn",
            arguments={
                "bundle": document["digest"],
                "withdrawn_by": by.identity.uri,
                "document": document,
                "withdrawn_at": now,
            },
        )

    async def activation(
        self, bundle: Bundle, policy: ZonePolicy, before: ZonePolicy, approved_by: Sequence[str], now: int
    ) -> None:
        """A policy comes into force, by the word of certificates of these fingerprints."""
        entry_id, document = uuid7(), bundle.document()
        activation = {
            "entry_id": entry_id,
            "policy": policy.digest,
            "part": bundle.slot,
            "bundle": bundle.sha256,
            "revision": bundle.manifest.revision,
            "document": document,
            "activated_at": now,
        }
        record = {**activation, "data": policy.data_revision, "previous": before.digest, "key": bundle.key.fingerprint}
        await self._record(
            ACTIVATED,
            entry_id,
            record,
            {"by": approved_by[-1], "approved_by": list(approved_by), **_named(document)},
            effect="policy.activated",
            arguments=activation,
        )

    async def refusal(self, data: bytes, by: Actor, error: TdzError) -> BundleError:
        """A bundle was refused: the reason for both ledgers, its text in this zone alone. Gives what is raised."""
        _log.warning("a bundle was refused", reason=error.reason, error=str(error))
        record = {"bundle": hashlib.sha256(data).hexdigest(), "why": str(error)[:2_000], "by": by.identity.uri}
        await self._record("policy.refused", uuid7(), record, {"reason": error.reason, "by": by.fingerprint})
        return BundleError(error.message, remedy=error.remedy)

    async def _record(
        self,
        kind: str,
        entry_id: str,
        record: Mapping[str, Any],
        body: Mapping[str, Any],
        *,
        effect: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        salt = secrets.token_bytes(32)
        await asyncio.to_thread(self._store.keep_record, entry_id, record, salt)
        await self._steps.run(
            Step(
                kind=kind,
                subject=f"policies/{self._zone}",
                body={**body, "commitment": committed(entry_id, record, salt)},
                effect=effect,
                arguments=arguments or {},
                entry_id=entry_id,
            )
        )


def _named(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says of a bundle in the open: nothing of a pack that only one zone loads."""
    if document["part"] not in _OPEN_PARTS:
        return {}
    return {"part": document["part"], "bundle": document["digest"], "revision": document["revision"]}
