"""What a start finds out about policy: the ledger says what is in force, the zone's folder has it, or nobody has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.decisions.bundles.store import PolicyStore
from gateway.decisions.policy_register import Activation, PolicyRegister
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.errors import IntegrityError, NotFoundError
from gateway.journal import Journal
from gateway.model import limits
from gateway.state import StateStore
from ledger.entry import parse_time

ACTIVATED: Final = "policy.activated"
WITHDRAWN: Final = "policy.withdrawn"
UNNAMED: Final = "packs"
"""The part of an entry that names none: a pack that one zone alone loads."""

_log = structlog.get_logger()
_MARKS: Final = tuple(f'"kind":"{kind}"'.encode() for kind in (ACTIVATED, WITHDRAWN))
_READ: Final = 4 * limits.MIB


class PolicyHistory:
    """The activations of one zone, as ledger, rows and folder have them.

    Args:
        register: the rows.
        store: the folder.
        journal: the ledger.
        clock: Unix seconds UTC.
    """

    def __init__(
        self, register: PolicyRegister, store: PolicyStore, journal: Journal, clock: Callable[[], int]
    ) -> None:
        self._register = register
        self._store = store
        self._journal = journal
        self._clock = clock

    async def follow(self) -> None:
        """Read the ledger on from where the last start ended, and take over what no row says.

        A state database that was restored from a backup so hears what was activated and taken back since.

        Raises:
            StorageError, LedgerError: rows or ledger cannot be read.
        """
        at, size = await self._register.cursor(), self._journal.size
        while at < size:
            read = await self._journal.entries(at, size, _READ)
            for seq, data in enumerate(read, at):
                if any(mark in data for mark in _MARKS):
                    entry = json.loads(data)
                    if entry["kind"] == ACTIVATED and not await self._register.knows(entry["id"]):
                        await self._register.adopt(await self._adopted(seq, entry))
                    elif entry["kind"] == WITHDRAWN:
                        until = parse_time(entry["time"]) // 1_000_000
                        await self._register.forget(await self._withdrawn(entry), until)
            at += len(read)
        await self._register.move_cursor(size)

    async def newest_policy(self) -> ZonePolicy | None:
        """The policy of the newest activation that can be loaded; None where there is none."""
        return await newest_policy(self._register, self._store)

    async def lost(self) -> dict[str, Activation]:
        """Parts whose last activation is not in the folder, by part."""
        found: dict[str, Activation] = {}
        for each in await self._register.parts():
            if not each.policy or await _loaded(self._store, each.policy) is None:
                found[each.part] = each
        unnamed = found.get(UNNAMED)
        if unnamed is not None:  # a pack that was activated since takes its place
            since = [e for e in await self._register.activations() if e.part.startswith(f"{UNNAMED}/")]
            if any(each.seq > unnamed.seq for each in since):
                del found[UNNAMED]
        return found

    async def _withdrawn(self, entry: Mapping[str, Any]) -> str:
        """The bundle that was taken back; "" where nobody knows any more which."""
        body = entry["body"]
        if "bundle" in body:
            return str(body["bundle"])
        try:
            record = await asyncio.to_thread(self._store.record, entry["id"], body["commitment"])
        except (NotFoundError, IntegrityError) as error:
            _log.error("the ledger says that a bundle was taken back, and not which", error=str(error))
            return ""
        return str(record["bundle"]["digest"])

    async def _adopted(self, seq: int, entry: Mapping[str, Any]) -> Activation:
        body = entry["body"]
        try:
            record = await asyncio.to_thread(self._store.record, entry["id"], body["commitment"])
        except (NotFoundError, IntegrityError) as error:
            _log.error("the ledger names a policy that is not here", entry=seq, error=str(error))
            return Activation(
                seq=seq,
                entry_id=entry["id"],
                policy="",
                part=body.get("part", UNNAMED),
                bundle=body.get("bundle", ""),
                revision=int(body.get("revision", "0")),
                document={},
                activated_at=self._clock(),
            )
        fields = {name: record[name] for name in Activation.__dataclass_fields__ if name != "seq"}
        return Activation(seq=seq, **fields)


async def policy_at_start(state: StateStore, store: PolicyStore, policy: Path | None, zone: str) -> ZonePolicy:
    """What decides until the ledger was read: what was last activated, else the configured or shipped policy.

    Raises:
        ConfigError: it cannot be loaded.
    """
    found = await newest_policy(PolicyRegister(state), store)
    if found is not None:
        return found
    return await asyncio.to_thread(lambda: PolicySet.load(policy).for_zone(zone))


async def newest_policy(register: PolicyRegister, store: PolicyStore) -> ZonePolicy | None:
    """The policy of the newest activation that can be loaded; None where there is none."""
    for each in await register.activations():
        if each.policy and (found := await _loaded(store, each.policy)) is not None:
            return found
    return None


async def _loaded(store: PolicyStore, digest: str) -> ZonePolicy | None:
    try:
        return await asyncio.to_thread(store.zone_policy, digest)
    except (NotFoundError, IntegrityError) as error:
        _log.error("a policy that was in force cannot be loaded", policy=digest, error=str(error))
        return None
