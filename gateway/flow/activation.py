"""Activating policy: verified, tried, asked for by enough administrators, on the ledger, then in force."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import structlog

from gateway.decisions.bundles import bundle as bundles
from gateway.decisions.bundles.bundle import Bundle
from gateway.decisions.bundles.composition import composed
from gateway.decisions.bundles.store import PolicyStore
from gateway.decisions.bundles.trust import trusted_keys
from gateway.decisions.loaded import LoadedPolicy
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_register import Activation, Approval, PolicyRegister, Withdrawal
from gateway.decisions.policy_set import ZonePolicy
from gateway.decisions.trial import trials
from gateway.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    LimitError,
    NotFoundError,
    PermissionDeniedError,
)
from gateway.flow.policy_entries import PolicyEntries
from gateway.flow.policy_history import UNNAMED, PolicyHistory
from gateway.flow.steps import Steps
from gateway.identity.enrolment import Actor
from gateway.identity.registry import Registry
from gateway.journal import Journal
from gateway.model import limits
from gateway.state import StateStore

T = TypeVar("T")
_log = structlog.get_logger()
_REFUSED: Final = (InputError, IntegrityError, LimitError, PermissionDeniedError, ConflictError)
"""What is wrong with a bundle, as opposed to what failed here (`ConfigError` is an InputError)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a bundle stands after an administrator asked for it.

    Args:
        bundle: the verified bundle.
        policy: digest of the whole policy in force now.
        active: whether the bundle is in force.
        missing: so many more administrators must ask for it.
        expires_at: until then, Unix seconds UTC; 0 where nothing is missing.
    """

    bundle: Bundle
    policy: str
    active: bool
    missing: int = 0
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What is done about a bundle at this moment: so many of its examples are tried (0 while nobody knows)."""

    digest: str
    step: Literal["verify", "compile", "try", "record"] = "verify"
    tried: int = 0
    examples: int = 0


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """What is in force, how its engine is, what is asked for, what was taken back, and what is done right now."""

    policy: ZonePolicy
    engine: str
    parts: list[Activation]
    proposals: list[Approval]
    withdrawals: list[Withdrawal]
    needed: int
    withheld: str
    work: Work | None


class Activations:
    """The one way to another policy.

    Args:
        zone: this zone.
        decisions: what decides on the policy in force.
        store: the policies on disk.
        trust: the folder of keys that may sign.
        state: the state database.
        registry: whose certificates are live.
        needed: so many different administrators.
        clock: Unix seconds UTC.
    """

    def __init__(
        self,
        *,
        zone: str,
        decisions: DecisionPoint,
        store: PolicyStore,
        trust: Path,
        state: StateStore,
        registry: Registry,
        journal: Journal,
        steps: Steps,
        needed: int,
        clock: Callable[[], int],
    ) -> None:
        self._zone = zone
        self._decisions = decisions
        self._store = store
        self._trust = trust
        self._register = PolicyRegister(state)
        self._history = PolicyHistory(self._register, store, journal, clock)
        self._registry = registry
        self._entries = PolicyEntries(zone, store, steps)
        self._needed = needed
        self._clock = clock
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost: dict[str, Activation] = {}
        self._work: Work | None = None
        self._heard: Callable[[], None] = lambda: None

    def on_activated(self, heard: Callable[[], None]) -> None:
        """Say who hears, on the event loop, that another policy is in force."""
        self._heard = heard

    async def propose(self, data: bytes, *, by: Actor) -> Standing:
        """An administrator asks for a bundle; the last one needed activates it.

        1. The bundle is verified, and newer than any of its part that was in force: no replay.
        2. The policy with it in its place is made, compiled and tried.
        3. Bundle, policy and what the entry will commit to are on disk.
        4. Too few have asked: the approval is recorded, and that is all.
        5. The activation is recorded, then its effect on the rows, then decisions are made with it.

        What is refused at 1 or 2 is recorded too; the policy in force stays. A caller that goes away does not stop
        what was begun.

        Args:
            data: the signed bundle.
            by: the administrator, as their certificate proves.

        Raises:
            BundleError: it is refused; the text says why and what would mend it.
            LimitError: too many bundles wait for approval.
            DecisionUnavailableError: the engine could not be started.
            LedgerError, StorageError: it could not be recorded; the policy in force stays.
        """
        return await self._owned(lambda: self._propose(data, by))

    async def withdraw(self, digest: str, *, by: Actor) -> Withdrawal:
        """An administrator takes back what is asked for: as with reviews, one no is enough.

        Args:
            digest: SHA-256 of the bundle's bytes, hex.
            by: the administrator, as their certificate proves.

        Raises:
            NotFoundError: nobody's word for it counts now.
            ConflictError: it is in force.
            LedgerError, StorageError: it could not be recorded; the bundle still waits.
        """
        return await self._owned(lambda: self._withdraw(digest, by))

    async def status(self) -> PolicyStatus:
        """What is in force, what is asked for, and what is done about it; does not wait for that."""
        now = self._clock()
        return PolicyStatus(
            policy=self._decisions.policy,
            engine=self._decisions.engine_state,
            parts=await self._register.parts(),
            proposals=[each for each in await self._register.approvals(now) if await self._counts(each, now)],
            withdrawals=await self._register.withdrawals(now),
            needed=self._needed,
            withheld=self._why_withheld(),
            work=self._work,
        )

    async def take_up(self) -> None:
        """After a start, once interrupted steps are finished: what the ledger says is in force.

        An entry without its row is taken from what it commits to. Where that is not on this disk, nobody knows what
        is in force, so everything is denied until an activation says it.

        Raises:
            StorageError, LedgerError: the rows or the ledger cannot be read.
            ConfigError, IntegrityError, DecisionUnavailableError: the policy in force cannot be loaded.
        """

        async def work() -> None:
            await self._history.follow()
            policy = await self._history.newest_policy()
            if policy is None:
                await asyncio.to_thread(self._store.keep_policy, self._decisions.policy)
            elif policy.digest != self._decisions.policy.digest:
                self._decisions.switch(await self._decisions.prepare(policy))
            await self._withhold_lost()

        await self._owned(work)

    async def close(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _owned(self, work: Callable[[], Awaitable[T]]) -> T:
        """One at a time, outliving its caller."""

        async def run() -> T:
            async with self._lock:
                try:
                    return await work()
                finally:
                    self._work = None

        task = asyncio.create_task(run(), name="policy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _withhold_lost(self) -> None:
        self._lost = await self._history.lost()
        if self._lost:
            _log.error("no policy is in force", why=self._why_withheld())
            self._decisions.withhold(self._why_withheld())

    def _why_withheld(self) -> str:
        if not self._lost:
            return ""
        named = ", ".join(f"{part} (entry {each.seq})" for part, each in sorted(self._lost.items()))
        return (
            f"the ledger says that another policy is in force, and it is not in the zone's policy folder: {named}; "
            "restore the folder, or activate those parts again"
        )

    def _lost_with(self, bundle: Bundle) -> str | None:
        """The lost part that a bundle would mend."""
        if bundle.slot in self._lost:
            return bundle.slot
        return UNNAMED if UNNAMED in self._lost and bundle.slot.startswith(f"{UNNAMED}/") else None

    # --- the steps of propose -----------------------------------------------------------------------------

    async def _propose(self, data: bytes, by: Actor) -> Standing:
        now = self._clock()
        loaded: LoadedPolicy | None = None
        self._work = work = Work(hashlib.sha256(data).hexdigest())
        try:
            bundle = await self._verified(data, now)  # 1
            in_force = await self._register.of_part(bundle.slot)
            lost = self._lost_with(bundle) is not None
            if in_force is not None and in_force.bundle == bundle.sha256 and not lost:
                return Standing(bundle, self._decisions.policy.digest, active=True)
            _require_newer(bundle, in_force, again=lost)
            policy = await asyncio.to_thread(composed, self._decisions.policy, bundle)  # 2
            loaded = await self._tried(work, policy, now)
        except _REFUSED as error:
            raise await self._entries.refusal(data, by, error) from error
        try:
            self._work = replace(work, step="record")
            await asyncio.to_thread(self._store.keep_bundle, data)  # 3
            others = await self._others(bundle.sha256, by, now)
            if (missing := self._needed - 1 - len(others)) > 0:  # 4
                until = await self._approve(bundle, by, now, missing)
                return Standing(bundle, self._decisions.policy.digest, False, missing, until)
            await asyncio.to_thread(self._store.keep_policy, policy)
            words = [*(each.fingerprint for each in others), by.fingerprint]
            await self._entries.activation(bundle, policy, self._decisions.policy, words, now)  # 5
            self._decisions.switch(loaded)
            loaded = None
            if (part := self._lost_with(bundle)) is not None:
                del self._lost[part]
            if self._lost:
                self._decisions.withhold(self._why_withheld())
        finally:
            if loaded is not None:
                await loaded.engine.close()
        _log.info("policy activated", part=bundle.slot, revision=bundle.manifest.revision, policy=policy.digest)
        self._heard()
        return Standing(bundle, policy.digest, active=True)

    async def _verified(self, data: bytes, now: int) -> Bundle:
        def work() -> Bundle:
            return bundles.verify(data, trusted_keys(self._trust), zone=self._zone, now=now)

        return await asyncio.to_thread(work)

    async def _tried(self, work: Work, policy: ZonePolicy, now: int) -> LoadedPolicy:
        examples = trials(policy, now)
        self._work = replace(work, step="compile", examples=len(examples))

        def trying(tried: int) -> None:
            self._work = replace(work, step="try", tried=tried, examples=len(examples))

        return await self._decisions.prepare(policy, examples, trying)

    async def _others(self, sha256: str, by: Actor, now: int) -> list[Approval]:
        """Approvals of other administrators who still are."""
        found = await self._register.approvals(now, sha256)
        return [each for each in found if each.approver != by.identity.uri and await self._counts(each, now)]

    async def _counts(self, approval: Approval, now: int) -> bool:
        held = await self._registry.of_holder(approval.approver)
        return any(certificate.live(now) for certificate in held)

    async def _approve(self, bundle: Bundle, by: Actor, now: int, missing: int) -> int:
        """Record an approval that is not there yet; until when it counts."""
        approvals = await self._register.approvals(now)
        for each in approvals:
            if (each.bundle, each.approver) == (bundle.sha256, by.identity.uri):
                return each.expires_at
        waiting = {each.bundle for each in approvals}
        if len(waiting | {bundle.sha256}) > limits.BUNDLE_PROPOSALS_MAX:
            raise LimitError(
                f"{limits.BUNDLE_PROPOSALS_MAX} bundles wait for approval",
                remedy="activate one, or take one back with `tdz policy withdraw`",
            )
        await self._entries.approval(bundle, by, now, missing=missing)
        return now + limits.REVIEW_TTL_S

    async def _withdraw(self, digest: str, by: Actor) -> Withdrawal:
        now = self._clock()
        found = await self._register.approvals(now, digest)
        if not found:
            if any(each.bundle == digest for each in await self._register.parts()):
                raise ConflictError(
                    "the bundle is in force, and no longer asked for",
                    remedy="activate another one with a higher revision",
                )
            raise NotFoundError("no bundle of this digest waits for approval", remedy="see tdz policy status")
        await self._entries.withdrawal(found[0].document, by, now)
        return Withdrawal(digest, by.identity.uri, found[0].document, now)


def _require_newer(bundle: Bundle, in_force: Activation | None, *, again: bool) -> None:
    """Revisions only go up; where what is in force is lost, its bundle may come once more.

    Raises:
        ConflictError: it is a replay.
    """
    if in_force is None or (again and bundle.sha256 == in_force.bundle):
        return
    if bundle.manifest.revision <= in_force.revision:
        raise ConflictError(
            f"revision {bundle.manifest.revision} is not newer than {in_force.revision}, which is in force",
            remedy="build the bundle again with a higher revision",
        )
