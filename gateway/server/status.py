"""How the gateway stands, for `GetStatus`."""

from __future__ import annotations

from gateway.journal import Journal
from gateway.server.corridor import Corridor
from gateway.server.timestamping import Timestamping
from gateway.server.tls import ServerTls
from gateway.server.witnesses import Witnesses
from gateway.server.zone_service import Reachability
from gateway.v1 import zone_pb2


class Status:
    """Implements `gateway.server.zone_service.StatusSource` over the parts of a running gateway."""

    def __init__(
        self,
        corridor: Corridor,
        journal: Journal,
        tls: ServerTls,
        witnesses: Witnesses,
        timestamping: Timestamping | None,
    ) -> None:
        self._corridor = corridor
        self._journal = journal
        self._tls = tls
        self._witnesses = witnesses
        self._timestamping = timestamping

    async def reach(self, zone: str) -> Reachability:
        """How a paired zone's gateway stands."""
        return await self._corridor.reach(zone)

    def ledger_sizes(self) -> tuple[int, int]:
        """Entries published and witnessed."""
        return self._journal.size, self._journal.witnessed_size

    def witnesses(self) -> list[zone_pb2.Witness]:
        """Who else cosigns the ledger, by name."""
        return self._witnesses.standing()

    def timestamps(self) -> zone_pb2.TimeStamps | None:
        """How checkpoints are time-stamped; None where no authority is asked."""
        return None if self._timestamping is None else self._timestamping.standing()

    def certificate_not_after(self) -> int:
        """Until when the gateway's certificate is valid, Unix seconds UTC."""
        return self._tls.not_after
