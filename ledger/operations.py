"""What the operator does to a log beside appending: another key, its end, its clock, and values that may be erased."""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from ledger.canonical import JsonValue
from ledger.commit import CLOCK_TOLERANCE_US, Appended, Committer
from ledger.commitment import MAX_VALUES, commitment, field_pointer, with_commitments
from ledger.committing import Fatal, stopped
from ledger.entry import Draft, Entry, LoneDraft, new_id
from ledger.errors import ClockError, EntryError, LedgerError, OperationalError, StorageFullError
from ledger.key_history import KeyHistory, Rotation
from ledger.lock import LockDatabase
from ledger.note import NoteSigner
from ledger.reads import LogReads
from ledger.reserve import Reserve
from ledger.storage import Storage
from ledger.tiles import TileReader
from ledger.vault import Vault, erasure_in
from ledger.witnessed import CosignatureStore

__all__ = ["LogOperations", "take_up_vault"]

CLOCK_BEFORE_COSIGNATURE_S: Final = 300
_REASON: Final = re.compile(r"[a-z][a-z-]{0,39}", re.ASCII)
_ERASURE: Final = b'"kind":"erasure"'
_SCAN_AGAIN: Final = 65_536
"""Entries that a start would rather read again than write down that they hold no erasure."""

_T = TypeVar("_T")


class LogOperations(LogReads):
    """The operator's half of a :class:`~ledger.writer.LogWriter`."""

    _committer: Committer
    _cosignatures: CosignatureStore
    _vault: Vault
    _rows: LockDatabase
    _clock: Callable[[], int]
    _fatal: Fatal

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._erasing = asyncio.Lock()
        self._erasures: dict[tuple[str, str], Appended] = {}  # in the log, and not carried out yet
        self._running: set[asyncio.Task[Appended]] = set()

    @abstractmethod
    async def append_draft(self, draft: Draft, *, closing: bool = False, committed: bool = False) -> Appended:
        """Append a draft and wait for it."""

    @property
    def keys(self) -> KeyHistory:
        """The log's keys."""
        return self._committer.keyring.history

    @property
    def sealed(self) -> bool:
        """Whether the log has ended."""
        return self._committer.sealed

    def require_rotatable(self) -> None:
        """Refuse another key while the last rotation is not finished.

        Raises:
            OperationalError: it is not.
        """
        ring = self._committer.keyring
        if ring.retiring is not None and not self._cosignatures.seen_by_all(ring.history.ranges[-1].first):
            raise OperationalError(
                "the last rotation is not finished: not every cosigner has seen its key",
                remedy="wait until each of policy.tlog has cosigned, or take those out that are gone",
            )

    async def rotate(self, new: NoteSigner) -> Appended:
        """Have another key sign from here on; the old one signs beside it until every cosigner has seen the new one.

        Durability: when it returns, the entry ``key.rotated`` is published under a checkpoint that both signed.
        Until :attr:`keys` says that the old one has ended, every start needs both.

        Raises:
            OperationalError: it is no fresh key of this log, or the last rotation is not finished.
        """
        ring = self._committer.keyring
        old = ring.current
        if new.name != ring.origin or new.vkey in ring.history.vkeys:
            raise OperationalError(f"{new.vkey} is no fresh key of {ring.origin}", remedy="make a new key file")
        self.require_rotatable()
        self._committer.next_key = new

        def body(seq: int, _: str) -> dict[str, JsonValue]:
            return Rotation(ring.origin, old.vkey, new.vkey, seq + 1).body(old, new)

        retried: dict[str, JsonValue] = {"new": new.vkey, "old": old.vkey}
        appended = await self.append_draft(LoneDraft(new_id(self._clock()), "key.rotated", "log", retried, body))
        await self._guarded(self._cosignatures.name_key)
        return appended

    async def seal(self, reason: str) -> Appended:
        """End the log: nothing can be appended any more. What was committed can still be cosigned and read.

        Args:
            reason: a word in lower case, as ``retired`` or ``compromised``; no personal data.

        Raises:
            EntryError: the reason is none.
            SealedError: it has ended already.
        """
        if not _REASON.fullmatch(reason):
            raise EntryError("a reason is a word in lower case", remedy="as retired, superseded or compromised")
        return await self.append_draft(
            LoneDraft(new_id(self._clock()), "log.sealed", "log", {"reason": reason}), closing=True
        )

    async def accept_clock(self) -> Appended:
        """Go on by the clock as it is, although the last entry says a later time: that one was wrong.

        Raises:
            OperationalError: the clock is not behind the last entry.
            ClockError: a cosignature, which others dated, shows that it is the clock that is wrong.
        """
        now = self._clock() // 1000
        if now > self._committer.time_us - CLOCK_TOLERANCE_US:
            raise OperationalError("the clock is not behind the last entry", remedy="there is nothing to accept")
        witnessed = self._cosignatures.witnessed_at()
        if witnessed is not None and now / 1e6 < witnessed - CLOCK_BEFORE_COSIGNATURE_S:
            raise ClockError(
                f"the clock is {witnessed - now / 1e6:.0f} s before a cosignature of this log",
                remedy="set the clock right: it was not the last entry's that was wrong",
            )

        def body(_: int, before: str) -> dict[str, JsonValue]:
            return {"before": before}

        return await self.append_draft(LoneDraft(new_id(self._clock()), "clock.corrected", "log", {}, body))

    async def append_committed(
        self,
        *,
        id: str,  # noqa: A002
        kind: str,
        subject: str,
        body: dict[str, JsonValue],
        values: Mapping[str, JsonValue],
        closing: bool = False,
        committed: bool = False,
    ) -> Appended:
        """Append an entry with commitments in the place of values that may have to be erased.

        Durability: values and salts are in ``state/vault.db`` before the entry is staged. Retry: as ``append``.

        Args:
            body: without the members that ``values`` names.
            values: by field, as ``approver`` or the JSON pointer ``/body/approver``.

        Raises:
            EntryError: a field is no free member of the body, or a value has no canonical form.
            ConflictingEntryError: the id is recorded or kept with other values, or they were erased since.
            StorageFullError: nothing was recorded.
        """
        pointers = {field_pointer(field): value for field, value in values.items()}
        if not 1 <= len(pointers) <= MAX_VALUES or len(pointers) != len(values):
            raise EntryError(f"an entry commits to 1 to {MAX_VALUES} values, each in a place of its own")
        with_commitments(body, dict.fromkeys(pointers, "0" * 64))  # before anything is kept
        Draft(id, kind, subject, body)

        def keep() -> dict[str, bytes]:
            return self._vault.keep(id, pointers, recorded=bool(self._rows.find([id])))

        salts = await self._guarded(keep)
        texts = {pointer: commitment(salt, id, pointer, pointers[pointer]) for pointer, salt in salts.items()}
        draft = Draft(id, kind, subject, with_commitments(body, texts))
        return await self.append_draft(draft, closing=closing, committed=committed)

    async def holder(self, seq: int, field: str) -> Entry | None:
        """The entry that commits to a value which is still kept here; None where nothing is kept for that field."""
        pointer = field_pointer(field)
        if not 0 <= seq < self.committed.checkpoint.size:
            return None
        await self.changed(seq)  # what is committed is published in a moment
        entries = await self.read(seq, seq + 1, 1)
        entry = Entry.parse(entries[0], seq=seq)
        kept = await self._guarded(lambda: self._vault.get(entry.id, pointer))
        return None if kept is None else entry

    async def erase(self, seq: int, field: str) -> Appended:
        """Forget a value that an entry commits to: first the log says so, then the value goes, for good.

        A caller that is cancelled does not tear it.

        Args:
            seq: the entry's number.
            field: as ``approver`` or the JSON pointer ``/body/approver``.

        Returns:
            The entry ``erasure``.

        Raises:
            OperationalError: there is no such entry, or nothing is kept for that field.
        """
        task = asyncio.create_task(self._erase(seq, field_pointer(field)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _erase(self, seq: int, pointer: str) -> Appended:
        async with self._erasing:
            entries = await self.read(seq, seq + 1, 1) if 0 <= seq < self._published.checkpoint.size else []
            if not entries:
                raise OperationalError(f"the log has no entry {seq}", remedy="give an entry's number")
            entry = Entry.parse(entries[0], seq=seq)
            name = entry.id, pointer
            if await self._guarded(lambda: self._vault.get(*name)) is None:
                raise OperationalError(
                    f"nothing is kept for {pointer} of entry {seq}", remedy="it was erased before, or never committed"
                )
            appended = self._erasures.get(name)
            if appended is None:
                body: dict[str, JsonValue] = {"field": pointer, "id": entry.id, "seq": seq}
                draft = Draft(new_id(self._clock()), "erasure", entry.subject, body)
                appended = self._erasures[name] = await self.append_draft(draft, closing=True)
            waiting = [each for each in self._erasures if each != name]
            to = None if waiting else appended.seq + 1
            await self._guarded(lambda: self._vault.erase([name], erased_to=to))
            del self._erasures[name]
            return appended

    async def _guarded(self, work: Callable[[], _T]) -> _T:
        """Run a step that writes; where what is on disk is not known then, the process ends."""

        def guarded() -> _T:
            try:
                return work()
            except LedgerError:
                raise
            except BaseException as error:
                self._fail_from_thread(error)
                self._fatal(error)
                raise stopped(error) from error

        return await self._run(guarded)

    @abstractmethod
    def _fail_from_thread(self, error: BaseException) -> None: ...


def take_up_vault(directory: str, storage: Storage, rows: LockDatabase, size: int, reserve: Reserve) -> Vault:
    """Open the vault at a start: forget what never came to stand, and carry out the erasures of the log.

    These are there after a crash, or with an older vault. Where the disk is full, the reserve makes room for them.

    Args:
        directory: the log's directory.
        rows: says which ids stand.
        size: the number of the log's entries.
        reserve: makes room on a full disk.

    Raises:
        StorageFullError: a value that must go cannot be deleted.
    """
    vault = Vault(Path(directory) / "state" / "vault.db", storage)
    try:
        for attempt in (1, 2):
            try:
                vault.settle(rows.find)
                _finish_erasures(directory, vault, size)
                break
            except StorageFullError:
                if attempt == 2 or not reserve.give_up():
                    raise
    except BaseException:
        vault.close()
        raise
    return vault


def _finish_erasures(directory: str, vault: Vault, size: int) -> None:
    start = vault.erased_to
    if start >= size or not vault.holds_any():
        return
    found: list[tuple[str, str]] = []
    for seq, data in enumerate(TileReader(directory).entries(start, size, size), start):
        erasure = erasure_in(Entry.parse(data, seq=seq)) if _ERASURE in data else None
        if erasure is not None:
            found.append(erasure)
    if found or size - start > _SCAN_AGAIN:
        vault.erase(found, erased_to=size)
