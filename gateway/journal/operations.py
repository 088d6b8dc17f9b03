"""What administrators do to this zone's own log while its gateway runs: another key, erasures, its clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import ConflictError, InputError, LedgerError, NotFoundError
from gateway.journal.cosigners import CosignedLog
from gateway.journal.own_log import Recorded
from ledger.commitment import field_pointer
from ledger.entry import Entry
from ledger.errors import ClockError, EntryError, OperationalError
from ledger.errors import LedgerError as LedgerFailure
from ledger.note import NoteSigner
from ledger.writer import Appended

__all__ = ["OperatedLog"]


class OperatedLog(CosignedLog):
    """The half of a :class:`~gateway.journal.Journal` that the operator's acts go through.

    Raises (from every method): ConflictError where the log's state forbids the act, LedgerError where its entry could
        not be made durable.
    """

    @property
    def finished(self) -> bool:
        """Whether the log's newest key signs alone: every cosigner has seen it."""
        return self.writer.keys.retiring is None

    def require_rotatable(self) -> None:
        """Refuse another key while the last rotation is not finished."""
        with _acting("the ledger's key is not rotated"):
            self.writer.require_rotatable()

    async def rotate(self, new: NoteSigner) -> None:
        """Have another key sign from here on; the old one beside it until every cosigner has seen the new one.

        Durability: when it returns, `key.rotated` is published under a checkpoint that both signed.
        """
        with _acting("the ledger's key is not rotated"):
            appended = await self.writer.rotate(new)
        self.gate.grew(appended.seq + 1)

    async def kept(self, seq: int, field: str) -> tuple[Entry, str]:
        """The entry whose field is committed and can still be erased, and the field's JSON pointer.

        Raises:
            InputError: the field is none.
            NotFoundError: there is no such entry, or nothing is kept for the field.
        """
        with _acting("the value cannot be looked for"):
            pointer = field_pointer(field)
            entry = await self.writer.holder(seq, pointer)
        if entry is None:
            raise NotFoundError(
                f"nothing is kept for {pointer} of entry {seq}", remedy="it was erased before, or never committed"
            )
        return entry, pointer

    async def erase(self, seq: int, field: str) -> Recorded:
        """Forget a value that an entry commits to: the log says so, then the value goes for good."""
        with _acting("the value is not erased"):
            appended = await self.writer.erase(seq, field)
        return self._grown(appended)

    async def accept_clock(self) -> Recorded:
        """Go on by the clock as it is, although the last entry says a later time."""
        with _acting("the clock is not accepted"):
            appended = await self.writer.accept_clock()
        return self._grown(appended)

    def _grown(self, appended: Appended) -> Recorded:
        self.gate.grew(appended.seq + 1)
        return Recorded(entry_id="", seq=appended.seq, size=appended.seq + 1)


@contextmanager
def _acting(what: str) -> Iterator[None]:
    try:
        yield
    except (OperationalError, ClockError) as error:
        raise ConflictError(f"{what}: {error.message}", remedy=error.remedy) from error
    except EntryError as error:
        raise InputError(f"{what}: {error.message}", remedy=error.remedy) from error
    except LedgerFailure as error:
        raise LedgerError(f"{what}: {error}", remedy="see the gateway's log") from error
