"""The provider's answer to a receipt: what both sides say crossed, on the ledger, once."""

from __future__ import annotations

from gateway.errors import IntegrityError, LimitError, NotFoundError
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.flow.house import parse_envelope
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.dataset import DatasetManifest
from gateway.model.statements import Receipt


class Receipts:
    """Takes consumers' receipts."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def take(self, zone: str, envelope: str, ledger_size: int) -> tuple[str, int]:
        """Record a consumer's receipt and answer with ours; the same receipt again gets the same answer.

        A receipt that comes after the transfer was given up prevails.

        Returns:
            Our receipt's envelope, and our ledger size that covers it.

        Raises:
            NotFoundError: the transfer is not this peer's.
            IntegrityError: it says something else than what was agreed on.
            PeerUnavailableError: our mirror did not reach the peer's size.
        """
        house = self._house
        if len(envelope) > limits.STATEMENT_MAX:
            raise LimitError(f"a receipt has at most {limits.STATEMENT_MAX} bytes")
        theirs = house.read(Receipt, envelope, of=zone)
        async with house.transfers.hold(theirs.transfer):
            row = await rows.get_transfer(house.state, theirs.transfer)
            if row.side != "provider" or row.peer_zone != zone:
                raise NotFoundError(f"no transfer {theirs.transfer}")
            if row.receipt and row.peer_receipt:
                if not house.read(Receipt, row.peer_receipt, of=zone).same_outcome(theirs):
                    raise IntegrityError("another receipt for this transfer was recorded before")
                return row.receipt, house.journal.committed_size
            ours = self._ours(row)
            if theirs.side != "consumer" or not ours.same_outcome(theirs):
                raise IntegrityError("the receipt says something else than what was agreed on and sent")
            await house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror, closing=True)
            signed = house.sign(ours, to=zone, process=row.id, ttl=house.timing.agreement)
            recorded = await house.steps.run(
                Step(
                    kind="transfer.completed",
                    subject=f"transfers/{row.id}",
                    body={
                        "agreement": row.agreement_id,
                        "version": row.version,
                        "view": row.view,
                        "chunks": ours.chunks,
                        "rows": ours.rows,
                        "bytes": ours.bytes,
                        "root": ours.root,
                        "receipts": [parse_envelope(envelope).to_json(), parse_envelope(signed).to_json()],
                    },
                    effect="provider.completed",
                    arguments={
                        "id": row.id,
                        "chunks": ours.chunks,
                        "rows": ours.rows,
                        "bytes": ours.bytes,
                        "receipt": signed,
                        "peer_receipt": envelope,
                        "now": house.clock(),
                    },
                    closing=True,
                )
            )
        return signed, recorded.size

    def _ours(self, row: rows.TransferRow) -> Receipt:
        manifest = DatasetManifest.parse(row.manifest.encode())
        return Receipt(
            transfer=row.id,
            agreement=row.agreement_id,
            side="provider",
            version=row.version,
            view=row.view,
            chunks=manifest.chunks,
            rows=manifest.rows,
            bytes=manifest.bytes,
            root=manifest.root,
            started_at=row.created_at,
            ended_at=self._house.clock(),
            checkpoint=self._house.journal.head(),
        )
