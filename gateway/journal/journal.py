"""The one way from a flow to the ledger.

Durability: `record` returns when the entry is committed, that is durable on this machine under a signed checkpoint
and never undone; tiles and the file `checkpoint` follow within milliseconds, or at the next start (ledger.md,
section 4). Retry: the entry's id is chosen before the append; recording an id again with the same content returns
the first entry. A caller that is cancelled does not undo its entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.errors import (
    ForkError,
    LedgerError,
    PeerError,
    PeerUnavailableError,
    RolledBackError,
    TdzError,
    UncosignedError,
)
from gateway.journal import policy_entry
from gateway.journal.gate import GOES_ON, Bounds, Gate
from gateway.journal.heads import KIND, Heads
from gateway.journal.operations import OperatedLog
from gateway.journal.own_log import Recorded
from gateway.journal.peer_mirror import PeerMirror, refusals
from gateway.model import limits
from gateway.model.canonical import JsonValue
from gateway.model.ids import uuid7
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry, parse_time
from ledger.errors import ContradictedError
from ledger.errors import LedgerError as LedgerFailure
from ledger.errors import RolledBackError as RolledBack
from ledger.keys import load_key, load_signers
from ledger.marker import Marker
from ledger.mirror import Mirror
from ledger.note import CosignatureSigner, Note
from ledger.writer import Appended, LogWriter

__all__ = ["Journal", "Recorded"]

_log = structlog.get_logger()
_RECOVER: Final = "stop the gateway, move its ledger away, and recover it: see the operator's guide, recovery"


class Journal(OperatedLog):
    """This zone's own log, and the mirrors of the paired zones' logs.

    Raises (from every method that writes): LedgerError when the entry could not be made durable.
    """

    def __init__(
        self,
        directory: Path,
        writer: LogWriter,
        cosigner: CosignatureSigner,
        bounds: Bounds,
        mirror_bytes: int,
    ) -> None:
        super().__init__(writer, Gate(bounds))
        self._directory = directory
        self._cosigner = cosigner
        self._mirror_bytes = mirror_bytes
        self._mirrors: dict[str, PeerMirror] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.heads = Heads(self._mirrors)

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        origin: str,
        log_key: Path,
        mirror_key: Path,
        marker: Path | None = None,
        ask: bool = False,
        bounds: Bounds | None = None,
        mirror_bytes: int = limits.MIRROR_BYTES,
    ) -> Journal:
        """Open the ledger in `directory`, recovering what a crash left.

        Args:
            marker: a folder in memory that remembers what was committed last; None keeps none.
            ask: nothing is recorded before `vouch`, unless the marker vouches for the ledger.
            bounds: of what is not cosigned.
            mirror_bytes: how many bytes of entries the mirror of each paired zone's log may hold.

        Raises:
            RolledBackError: this machine remembers more of the ledger than is there.
            LedgerError: the ledger is missing, contradictory or held by another process.
        """
        zone = origin.split("/")[1]
        try:
            signer, *others = await asyncio.to_thread(load_signers, log_key, origin)
            cosigner = CosignatureSigner(f"tdz/{zone}/mirror", await asyncio.to_thread(load_key, mirror_key))
            remembers = None if marker is None else Marker(marker, signer.vkey)
            writer = await LogWriter.open(directory, signer, others=others, marker=remembers, ask=ask)
        except RolledBack as error:
            raise RolledBackError(error.message, remedy=_RECOVER) from error
        except LedgerFailure as error:
            raise LedgerError(str(error), remedy="see the ledger section of the operator's guide") from error
        return cls(directory, writer, cosigner, bounds or Bounds(), mirror_bytes)

    # --- before the first signature -----------------------------------------------------------------------

    @property
    def asked(self) -> bool:
        """Whether entries may be recorded, as far as paired zones and witnesses must be asked before."""
        return self.writer.asked

    def vouch(self) -> None:
        """Those who must have said what they hold, and nothing of it contradicts this ledger."""
        self.writer.vouch()

    async def check_held(self, who: str, note: bytes) -> bool:
        """Compare what a paired zone or a witness holds of ours; whether it says anything of it.

        An empty note or one of another origin says nothing.

        Args:
            who: holds it, for the error's text.

        Raises:
            RolledBackError: we signed it, and it is not in this ledger; from now on nothing is signed.
            PeerError: it is none of ours.
        """
        if not note:
            return False
        try:
            if Checkpoint.parse(Note.parse(note).text).origin != self.writer.origin:
                return False
            await self.writer.check_held(note, who)
            return True
        except RolledBack as error:
            self._wake()
            raise RolledBackError(error.message, remedy=_RECOVER) from error
        except LedgerFailure as error:
            raise PeerError(f"{who} says that it holds what we did not sign: {error.message}") from error

    def frozen_by(self, zone: str, why: str) -> None:
        """A paired zone takes nothing more of our ledger."""
        self.gate.refused(zone, why)
        self._wake()

    def mirror_full(self, zone: str, why: str) -> None:
        """A paired zone's mirror has no room for more of our ledger now."""
        self.gate.full(zone, why)
        self._wake()

    # --- entries ------------------------------------------------------------------------------------------

    async def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, JsonValue],
        *,
        entry_id: str,
        closing: bool = False,
        values: Mapping[str, JsonValue] | None = None,
    ) -> Recorded:
        """Append an entry and wait until it is durable.

        A value that is personal data goes into `values`: the entry has a salted commitment in its place, and value and
        salt are durable in the private vault before. It can be shown to somebody, and erased for good. Here too the
        same id with the same content doubles nothing; once a value was erased, the id is taken.

        Args:
            kind: one of the ledger's kinds.
            subject: resource name such as transfers/ID.
            body: canonical JSON; no personal data.
            entry_id: UUIDv7 of the event, chosen before.
            closing: the entry ends something: it may use the disk reserve.
            values: by field, as `note` or the JSON pointer `/body/note`; `body` lacks these members.

        Raises:
            UncosignedError: too much of the ledger is not cosigned, and the entry closes nothing.
            RolledBackError: another holds what this ledger signed and does not have.
            LedgerError: it could not be made durable, or the id stands with another content.
        """
        if not closing and kind not in GOES_ON and (full := self.full()) is not None:
            raise full
        try:
            if values:
                appended = await self.writer.append_committed(
                    id=entry_id,
                    kind=kind,
                    subject=subject,
                    body=dict(body),
                    values=values,
                    closing=closing,
                    committed=True,
                )
            else:
                appended = await self.writer.append(
                    id=entry_id, kind=kind, subject=subject, body=dict(body), closing=closing, committed=True
                )
        except ContradictedError as error:
            raise RolledBackError(error.message, remedy=_RECOVER) from error
        except LedgerFailure as error:
            raise LedgerError(f"the ledger refused an entry: {error}", remedy="see the gateway's log") from error
        self.gate.grew(appended.seq + 1)
        if kind != KIND and self.heads.may_ride():
            self._begin(self.record_heads(alone=False), "peer-checkpoint")
        return _recorded(entry_id, appended)

    def full(self) -> UncosignedError | None:
        """Why nothing may be opened: too much of the ledger is not cosigned by those that are paired."""
        if not self._mirrors:
            return None
        try:
            self.gate.require_room(self.committed_size, self.held_size)
        except UncosignedError as error:
            return error
        return None

    def _policy_changed(self) -> None:
        if self.asked:  # else the gateway says it once it may
            self._begin(self.record_policy(), "policy")

    async def record_policy(self) -> None:
        """Say on the log who must cosign it; recorded once, whenever this is called again."""
        if (said := policy_entry.of(self.writer.policy.text)) is not None:
            await self.record(policy_entry.KIND, "log", said[1], entry_id=said[0], closing=True)

    async def record_heads(self, *, alone: bool) -> int:
        """Record what was seen of the paired zones' ledgers, where that is due; the count of them."""
        due = await (self.heads.alone() if alone else self.heads.riding())
        for subject, body in due:
            await self.record(KIND, subject, body, entry_id=uuid7())
        return len(due)

    async def find(self, entry_id: str) -> Recorded | None:
        """The entry of an id, if it was appended.

        Raises:
            LedgerError: the log has ended, so nobody knows before the next start.
        """
        with refusals("the log cannot be read"):
            appended = await self.writer.find(entry_id)
        return None if appended is None else _recorded(entry_id, appended)

    # --- the paired zones' ledgers ------------------------------------------------------------------------

    async def open_mirror(
        self, zone: str, vkey: str, mirror_vkeys: Mapping[str, str], *, paired_at: float | None = None
    ) -> None:
        """Start or take up the mirror of a paired zone's log, and let its mirror witness ours.

        Args:
            zone: the peer's zone.
            vkey: the peer log's key.
            mirror_vkeys: cosigner keys by zone of all paired zones: who must cosign our log.
            paired_at: since when it is paired, Unix seconds; what is older need not be cosigned since then.
        """
        try:
            mirror = await Mirror.open(
                self._directory, peer_vkey=vkey, cosigner=self._cosigner, quota_bytes=self._mirror_bytes
            )
            await self._set_policy(mirror_vkeys, self._witnesses)
        except LedgerFailure as error:
            raise LedgerError(f"the mirror of {zone} cannot be opened: {error}") from error
        self._mirrors[zone] = PeerMirror(mirror, lambda: self._begin(self.record_forks(), f"fork-{zone}"))
        await self._mark(paired_at)

    async def _mark(self, paired_at: float | None) -> None:
        """From when on what is not cosigned yet counts as old."""
        first, size = self.held_size, self.size
        if first < size:
            (entry,) = await self.entries(first, first + 1, 1)
            made = parse_time(Entry.parse(entry, seq=first).time) / 1e6
            self.gate.grew(first + 1, made if paired_at is None else max(made, paired_at))

    async def close_mirror(self, zone: str, mirror_vkeys: Mapping[str, str]) -> None:
        """Stop mirroring a zone that is no longer paired; what was mirrored stays."""
        mirror = self._mirrors.pop(zone, None)
        if mirror is not None:
            await mirror.close()
        self.gate.forget(zone)
        await self._set_policy(mirror_vkeys, self._witnesses)

    async def record_forks(self) -> None:
        """Say of each log that is frozen here that it is; recorded once, whenever this is called again."""
        for zone, mirror in list(self._mirrors.items()):
            if (frozen := mirror.frozen) is None:
                continue
            self._wake()
            _log.error("a paired zone's ledger is frozen", zone=zone, why=frozen.reason, evidence=frozen.evidence)
            body: dict[str, JsonValue] = {"zone": zone, "origin": mirror.origin, "evidence": await mirror.told()}
            await self.record("fork.detected", f"zones/{zone}", body, entry_id=frozen.entry_id, closing=True)

    def require_open(self, zone: str) -> None:
        """Refuse to open anything with a zone whose ledger, or ours as it has it, contradicts itself.

        Raises:
            ForkError: the other zone's is frozen here, or ours is frozen there.
            RolledBackError: ours is not what others hold of it.
            MirrorFullError: the mirror here of its ledger, or there of ours, has no room for more.
            PeerUnavailableError: the zone is not paired.
        """
        self.mirror(zone).require_open()
        if (contradiction := self.writer.contradiction) is not None:
            raise RolledBackError(contradiction.message, remedy=_RECOVER)
        self.gate.require_held_by(zone)

    def mirror(self, zone: str) -> PeerMirror:
        """The mirror of a paired zone's log.

        Raises:
            PeerUnavailableError: the zone is not paired.
        """
        try:
            return self._mirrors[zone]
        except KeyError:
            raise PeerUnavailableError(f"zone {zone} is not paired", remedy="tdz zone pair CARD") from None

    async def wait_mirrored(self, zone: str, size: int, within: float, *, closing: bool = False) -> None:
        """Wait until our mirror of the zone's log holds `size` entries, verified and durable.

        Args:
            closing: what waits only closes something, and goes on where the zone's log is frozen, or its mirror full.

        Raises:
            ForkError: the zone's log is frozen here, or ours there: nothing is opened.
            MirrorFullError: there is no room for it.
            PeerUnavailableError: it did not within so many seconds.
        """
        mirror = self.mirror(zone)
        if closing and (mirror.frozen is not None or mirror.full):
            return
        if not closing:
            self.require_open(zone)
        try:
            await mirror.wait(size, within)
        except TimeoutError as error:
            if mirror.full:
                if closing:
                    return
                mirror.require_open()
            raise PeerUnavailableError(
                f"the ledger of {zone} did not reach entry {size} here in {within:g} s",
                remedy="check the link between the gateways, then try again",
            ) from error
        except ForkError:
            if not closing:
                raise

    async def wait_held(self, zone: str, size: int, within: float) -> None:
        """Wait until a paired zone holds our first `size` entries, by its cosignature: what opens waits for this.

        Raises:
            ForkError: its log is frozen here, or ours there.
            PeerUnavailableError: it did not within so many seconds.
        """
        try:
            async with asyncio.timeout(within):
                self.require_open(zone)
                while self.gate.held(zone) < size:
                    await self._cosigned.wait()
                    self.require_open(zone)
        except TimeoutError as error:
            raise PeerUnavailableError(
                f"{zone} did not cosign our ledger to entry {size} in {within:g} s",
                remedy="check the link between the gateways, then try again",
            ) from error

    def _begin(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Record something beside what goes on; what fails is recorded at the next start or the next time."""

        async def run() -> None:
            try:
                await work
            except TdzError as error:
                _log.warning("not recorded yet", what=name, reason=error.reason, error=str(error))

        task = asyncio.create_task(run(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Finish what is queued and let the directory go."""
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for mirror in self._mirrors.values():
                await mirror.close()
            self._mirrors.clear()
        finally:
            await self.writer.close()


def _recorded(entry_id: str, appended: Appended) -> Recorded:
    return Recorded(entry_id=entry_id, seq=appended.seq, size=appended.seq + 1)
