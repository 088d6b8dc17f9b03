"""A real state database and a real journal in a zone's directory, without a gateway around them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli.demo.corridor import Corridor, ZoneSpec
from gateway.config import GatewaySettings, load_settings
from gateway.journal import Journal
from gateway.state import StateStore


@dataclass
class Rooms:
    """What a flow writes to; closed and opened again as a restart does."""

    settings: GatewaySettings
    state: StateStore
    journal: Journal

    @classmethod
    async def open(cls, root: Path) -> Rooms:
        settings = load_settings(root)
        layout = settings.layout
        state = await StateStore.open(layout.state)
        journal = await Journal.open(
            layout.ledger, origin=settings.origin, log_key=layout.log_key, mirror_key=layout.mirror_key
        )
        return cls(settings, state, journal)

    async def close(self) -> None:
        await self.journal.close()
        await self.state.close()

    async def restart(self) -> None:
        """Close everything and open it again."""
        await self.close()
        again = await Rooms.open(self.settings.layout.root)
        self.state, self.journal = again.state, again.journal


@pytest.fixture(scope="session")
def fresh_zone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zone's directory as it is made, to be copied."""
    directory = tmp_path_factory.mktemp("fresh")
    Corridor.make(directory, (ZoneSpec("lingang", "CN"),))
    return directory / "lingang"


@pytest.fixture
async def rooms(fresh_zone: Path, tmp_path: Path) -> AsyncIterator[Rooms]:
    shutil.copytree(fresh_zone, tmp_path / "lingang")
    made = await Rooms.open(tmp_path / "lingang")
    yield made
    await made.close()
