"""What the zones of a run computed on, as their signed updates said."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.federation import rows
from gateway.federation.house import House
from gateway.model import canonical
from gateway.model.canonical import JsonValue
from gateway.model.policy_facts import Device

__all__ = ["devices_of", "recorded_platforms"]

_SAID = ("sku", "vendor", "vendor_country", "eccn", "count")


def devices_of(zone: str, history: Sequence[rows.RoundRow]) -> tuple[Device, ...]:
    """The devices that a zone named in any round, each once; none of the other zone where it names them to nobody."""
    devices: dict[bytes, Device] = {}
    for each in history:
        for part in each.document["zones"]:
            if part["zone"] == zone:
                devices |= {canonical.encode(d): Device.model_validate(d) for d in part["devices"]}
    return tuple(devices[key] for key in sorted(devices))


async def recorded_platforms(house: House, row: rows.RunRow) -> list[JsonValue]:
    """The platforms as the ledger has them, so that years later it shows on what a model was trained."""
    history = await rows.rounds(house.state, row.id)
    platforms: list[JsonValue] = []
    for zone in sorted({each.zone for each in row.datasets}):
        site = house.site() if zone == house.zone else house.peer_site(zone)
        devices: list[JsonValue] = [
            {name: value for name, value in device.document().items() if name in _SAID}
            for device in devices_of(zone, history)
        ]
        if devices:
            platforms.append({"zone": zone, "country": site.jurisdiction, "devices": devices})
    return platforms
