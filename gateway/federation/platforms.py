"""What the zones of a run computed on, as their signed updates said."""

from __future__ import annotations

from gateway.federation import rows
from gateway.federation.house import House
from gateway.model.canonical import JsonValue

__all__ = ["recorded_platforms"]

_SAID = ("sku", "vendor", "vendor_country", "eccn", "count")


async def recorded_platforms(house: House, row: rows.RunRow) -> list[JsonValue]:
    """The platforms as the ledger has them, so that years later it shows on what a model was trained."""
    history = await rows.rounds(house.state, row.id)
    platforms: list[JsonValue] = []
    for zone in sorted({each.zone for each in row.datasets}):
        site = house.site() if zone == house.zone else house.peer_site(zone)
        devices: list[JsonValue] = [
            {name: value for name, value in device.document().items() if name in _SAID}
            for device in rows.devices_of(history, zone)
        ]
        if devices:
            platforms.append({"zone": zone, "country": site.jurisdiction, "devices": devices})
    return platforms
