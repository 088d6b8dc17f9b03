"""What an institution may have of a transfer afterwards: a receipt that proves it, and an account of how it went."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from gateway.errors import ConflictError, IntegrityError, LimitError, NotFoundError, PeerUnavailableError
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.exchange.timeline import Standing, TimelineStep, Told, in_time, step_of
from gateway.flow.pace import Pace
from gateway.journal.about import Noted, Proven, entries_about, proven, published
from gateway.model import limits
from gateway.model.transfer import TransferState
from ledger.entry import Entry

_KEPT: Final = frozenset({"agreement", "transfer.completed", "receipt"})
_LOOK_EVERY_S: Final = 0.1
_AT_ONCE: Final = 2  # readings of the logs; further ones wait


@dataclass(frozen=True, slots=True)
class Account:
    """One timeline from both ledgers. `peer_size` is -1 where nothing of the other zone's ledger is mirrored here."""

    told: Told
    standing: Standing
    steps: tuple[TimelineStep, ...]
    cut: bool
    own_zone: str
    own_size: int
    peer_size: int


class Accounts:
    """Reads this zone's own log and its mirrors; who may see what was checked before."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._reading = asyncio.Semaphore(_AT_ONCE)
        self.pace: Final = Pace(
            "receipts and accounts", burst=limits.ACCOUNTS_BURST, per_second=limits.ACCOUNTS_PER_S
        )  # fmt: skip

    async def receipt(self, row: rows.TransferRow) -> Proven:
        """The agreement and both receipts, proven under the newest witnessed checkpoint.

        Raises:
            ConflictError: the transfer is not completed.
            PeerUnavailableError: the other zone's receipt has not come yet, or its cosignature.
        """
        if row.state != TransferState.COMPLETED:
            raise ConflictError(
                f"transfer {row.id} is {row.state}; only a completed one has receipts",
                remedy=f"see where it stands: tdz transfer explain {row.id}",
            )
        await self._with_both(row.id)
        house, subject = self._house, f"transfers/{row.id}"
        agreement = await rows.get_agreement(house.state, row.agreement_id)
        last_kind = "receipt" if row.side == "consumer" else "transfer.completed"

        def last(entry: Entry) -> bool:
            return entry.subject == subject and entry.kind == last_kind

        async with self._reading:
            size = await published(house.journal)
            for since in (min(agreement.created_at, row.created_at), 0):  # all of it, where the clock was corrected
                found = await entries_about(
                    house.journal.entries, size, {subject, f"agreements/{agreement.id}"}, since=since, last=last
                )
                kept = [each for each in found if each.entry.kind in _KEPT]
                if not kept or not last(kept[-1].entry) or kept[0].entry.kind != "agreement":
                    continue
                made = await proven(house.journal, subject, kept, within=limits.MIRROR_WAIT_S)
                if len(made.data) > limits.RECEIPT_MAX:
                    raise LimitError(f"the receipt of {row.id} has more than {limits.RECEIPT_MAX} bytes")
                return made
        raise IntegrityError(
            f"the ledger does not hold all of {subject}", remedy="tell your zone's administrator: tdz-ledger fsck"
        )

    async def _with_both(self, identifier: str) -> None:
        """Wait for the other zone's receipt: it comes a moment after the last row."""
        house, until = self._house, time.monotonic() + limits.MIRROR_WAIT_S
        while not (await rows.get_transfer(house.state, identifier)).peer_receipt:
            if time.monotonic() > until:
                raise PeerUnavailableError(
                    "the other zone's receipt has not come yet", remedy="try again when `tdz zone status` shows it"
                )
            await house.journal.stirred(_LOOK_EVERY_S)  # its receipt comes with entries of ours that it cosigns

    async def explain(self, told: Told) -> Account:
        """Both ledgers' entries in one order, and where it stands."""
        house = self._house
        async with self._reading:
            size = await published(house.journal)
            own = await entries_about(
                house.journal.entries, size, set(told.subjects), since=told.since, until=told.until
            )
            peer_size, theirs = await self._mirrored(told)
        steps = in_time(
            [
                *(step_of(house.zone, each.entry) for each in own),
                *(step_of(told.peer_zone, each.entry) for each in theirs),
            ],
            house.zone,
        )
        most = limits.TIMELINE_STEPS_MAX
        return Account(
            told, told.standing(house.clock()), tuple(steps[-most:]), len(steps) > most, house.zone, size, peer_size
        )  # fmt: skip

    async def _mirrored(self, told: Told) -> tuple[int, list[Noted]]:
        if not told.peer_zone:
            return -1, []
        try:
            mirror = self._house.journal.mirror(told.peer_zone)
        except PeerUnavailableError:
            return -1, []
        size = mirror.size
        subjects = set(told.subjects)
        return size, await entries_about(mirror.read, size, subjects, since=told.since, until=told.until)

    # --- what belongs together ----------------------------------------------------------------------------

    async def find(self, name: str) -> Told:
        """The rows of a request, an agreement or a transfer, by `transfers/{id}` and so on or the id alone.

        Raises:
            NotFoundError: there is none.
        """
        kind, _, identifier = name.rpartition("/")
        for known, find in (
            ("transfers", self._by_transfer),
            ("agreements", self._by_agreement),
            ("requests", self._by_request),
            ("negotiations", self._by_request),
        ):
            if kind in ("", known):
                try:
                    return await find(identifier)
                except NotFoundError:
                    continue
        raise unknown(name)

    async def _by_transfer(self, identifier: str) -> Told:
        row = await rows.get_transfer(self._house.state, identifier)
        agreement = await rows.get_agreement(self._house.state, row.agreement_id)
        return Told(await self._negotiation(agreement.negotiation_id), agreement, (row,))

    async def _by_agreement(self, identifier: str) -> Told:
        agreement = await rows.get_agreement(self._house.state, identifier)
        return Told(await self._negotiation(agreement.negotiation_id), agreement, await self._transfers(agreement))

    async def _by_request(self, identifier: str) -> Told:
        row = await rows.get_negotiation(self._house.state, identifier)
        if not row.agreement_id:
            return Told(row, None)
        agreement = await rows.get_agreement(self._house.state, row.agreement_id)
        return Told(row, agreement, await self._transfers(agreement))

    async def _negotiation(self, identifier: str) -> rows.NegotiationRow | None:
        try:
            return await rows.get_negotiation(self._house.state, identifier)
        except NotFoundError:
            return None

    async def _transfers(self, agreement: rows.AgreementRow) -> tuple[rows.TransferRow, ...]:
        found = await rows.list_transfers(
            self._house.state, agreement_id=agreement.id, side=agreement.side, size=limits.TIMELINE_TRANSFERS_MAX
        )
        return tuple(found)


def unknown(name: str) -> NotFoundError:
    """What is not there, and what is another's: both answer alike."""
    return NotFoundError(f"no request, agreement or transfer {name[:80]} of yours", remedy="see `tdz transfer list`")
