"""Logs and keys for the ledger's unit tests."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.entry import new_id
from ledger.mirror import Mirror
from ledger.note import CosignatureSigner, NoteSigner
from ledger.writer import Appended, LogWriter
from tests.unit.ledger.twin import CYBERJAYA, LINGANG, Twin

ORIGIN = "tdz/lingang/2026-00ff"
PEER = "tdz/cyberjaya/2026-00aa"


def _raise(error: BaseException) -> None:
    raise AssertionError("the writer must not end here") from error


@dataclass
class Zone:
    """One zone's keys and directory."""

    directory: Path
    signer: NoteSigner
    cosigner: CosignatureSigner

    async def open(self, **options: object) -> LogWriter:
        return await LogWriter.open(self.directory, self.signer, **{"fatal": _raise, **options})  # type: ignore[arg-type]

    async def mirror(self, peer: Zone, **options: object) -> Mirror:
        arguments = {"peer_vkey": peer.signer.vkey, "cosigner": self.cosigner, "fatal": _raise, **options}
        return await Mirror.open(self.directory, **arguments)  # type: ignore[arg-type]


async def append(writer: LogWriter, count: int = 1, **body: int) -> list[Appended]:
    """Append entries one after another."""
    return [
        await writer.append(id=new_id(), kind="decision", subject=f"transfers/{n}", body={"n": n, **body})
        for n in range(count)
    ]


async def push(writer: LogWriter, mirror: Mirror) -> str:
    """Push everything published to a mirror; returns its cosignature."""
    head = writer.published
    size = head.checkpoint.size
    await mirror.begin(head.note, mirror.size, await writer.consistency_proof(mirror.size, size))
    while mirror.have < size:
        await mirror.receive(await writer.read(mirror.have, size, 1 << 20))
    return await mirror.finish()


@pytest.fixture
def make_zone(tmp_path: Path) -> Callable[[str], Zone]:
    def make(origin: str) -> Zone:
        zone = origin.split("/")[1]
        signer = NoteSigner(origin, Ed25519PrivateKey.generate())
        cosigner = CosignatureSigner(f"tdz/{zone}/mirror", Ed25519PrivateKey.generate())
        directory = tmp_path / zone / "ledger"
        LogWriter.create(directory, origin=origin, signer=signer, reserve_bytes=4096)
        return Zone(directory, signer, cosigner)

    return make


@pytest.fixture
def zone(make_zone: Callable[[str], Zone]) -> Zone:
    return make_zone(ORIGIN)


@pytest.fixture
def peer(make_zone: Callable[[str], Zone]) -> Zone:
    return make_zone(PEER)


@pytest.fixture
async def writer(zone: Zone) -> AsyncIterator[LogWriter]:
    opened = await zone.open()
    yield opened
    await opened.close()


@pytest.fixture
async def mirror(zone: Zone, peer: Zone) -> AsyncIterator[Mirror]:
    """The peer's mirror of the zone's log."""
    opened = await peer.mirror(zone)
    yield opened
    await opened.close()


@pytest.fixture
async def whole(zone: Zone, peer: Zone) -> Path:
    """A log of 600 entries, witnessed to 300, with everything that its gateway has."""
    writer = await zone.open()
    mirror = await peer.mirror(zone)
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    for count in (9, 290, 300):
        if count == 300:
            head = writer.published.checkpoint
            await writer.add_cosignature(head.text, await push(writer, mirror))
        await asyncio.gather(*(append(writer) for _ in range(count)))
    await writer.close()
    await mirror.close()
    return zone.directory


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """An auditor's copy of it, without ``state/``."""
    target = tmp_path / "copy"
    shutil.copytree(whole, target, ignore=shutil.ignore_patterns("state"))
    return target


@pytest.fixture
def helpers() -> Helpers:
    return Helpers()


class Helpers:
    """The functions above, for tests that cannot import a conftest."""

    append = staticmethod(append)
    push = staticmethod(push)


@pytest.fixture
async def twin(zone: Zone, peer: Zone, tmp_path: Path) -> AsyncIterator[Twin]:
    """Both zones' ledgers, with entries as gateways write them."""
    opened = await Twin({LINGANG: zone, CYBERJAYA: peer}, tmp_path, push).open()
    yield opened
    await opened.close()
