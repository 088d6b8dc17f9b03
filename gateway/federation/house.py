"""The house as a run sees it."""

from __future__ import annotations

from typing import TypeAlias

from gateway.federation.peer import RunPeer
from gateway.flow.house import ZoneHouse

House: TypeAlias = ZoneHouse[RunPeer]
