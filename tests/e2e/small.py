"""Both gateways in this process, on this event loop, over real mTLS: for tests that need one of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from gateway.cli.demo.corridor import ADMIN, Corridor
from gateway.config import Profile, load_settings, write_file, write_profile
from gateway.flow.house import Timing
from gateway.identity.authority import make_request
from gateway.identity.card import read_card
from gateway.identity.keys import key_fingerprint, write_private_key
from gateway.journal import Journal
from gateway.model.participant import Identity, Role
from gateway.sdk import AsyncZone, connect_async
from gateway.sdk.admin import AsyncAdmin
from gateway.sdk.session import Session
from gateway.server.main import Gateway
from tests.e2e.material import (
    CYBERJAYA,
    LINGANG,
    PLANTED_LIST,
    PLANTED_NAMES,
    institution,
    measurements,
    next_id,
    open_dataset,
)

DEADLINE_S = 30.0
ADMINS = (ADMIN, "ops-2", "ops-3", "ops-4", "ops-5")  # each zone's administrators
QUICK = Timing(reaper=0.05, retry=0.05, answer=2)

Entry = dict[str, Any]


class Clock:
    """Unix seconds that a test may move."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return int(time.time()) + self.ahead


class Small:
    """A corridor of two gateways in this process; made by `small_corridor`."""

    def __init__(self, corridor: Corridor, timing: Timing) -> None:
        self.corridor = corridor
        self.timing = timing
        self.clock = Clock()
        self.gateways: dict[str, Gateway] = {}
        self.stack = AsyncExitStack()
        self._partners: dict[str, AsyncZone] = {}

    @property
    def a(self) -> Gateway:
        """The consumer's gateway."""
        return self.gateways[CYBERJAYA]

    @property
    def b(self) -> Gateway:
        """The provider's gateway."""
        return self.gateways[LINGANG]

    async def start(self, zone: str) -> Gateway:
        """Start one gateway; again after `stop` it takes up what was open."""
        gateway = Gateway(load_settings(self.corridor.zone(zone).layout.root), self.timing)
        await gateway.start()
        gateway.house.clock = self.clock
        self.gateways[zone] = gateway
        return gateway

    async def start_until_ready(self, zone: str) -> Gateway:
        """Start one gateway and wait until it may record, however long that takes; raises what it ended with."""
        gateway = await self.start(zone)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await gateway.starting
        except BaseException:
            await self.stop(zone)
            raise
        return gateway

    async def stop(self, zone: str) -> None:
        await self.gateways.pop(zone).stop()

    async def pair(self) -> None:
        for zone in (CYBERJAYA, LINGANG):
            other = LINGANG if zone == CYBERJAYA else CYBERJAYA
            card = read_card(self.corridor.zone(other).layout.card.read_bytes())
            async with self.admin(zone) as admin:
                await admin.pair(card.data, card.fingerprint)

    @contextlib.asynccontextmanager
    async def admin(self, zone: str, who: str = ADMIN) -> AsyncIterator[AsyncAdmin]:
        """A connection as one of the zone's administrators."""
        connected = AsyncAdmin(Session.open(self.corridor.zone(zone).profile(who)))
        try:
            yield connected
        finally:
            await connected.close()

    async def enrol(self, zone: str, who: str, role: Role = Role.PARTNER) -> Path:
        """Enrol an identity and write its profile."""
        process = self.corridor.zone(zone)
        directory = process.layout.identity(who)
        directory.mkdir(mode=0o700)
        signs = role is Role.PARTNER
        for signing, key_name, name in ((False, "key.pem", "cert.pem"), (True, "signing-key.pem", "signing.pem")):
            if signing and not signs:
                continue
            key, request = make_request(Identity(zone, role, who))
            write_private_key(directory / key_name, key)
            async with self.admin(zone) as admin:
                approval = await admin.approve(
                    request.decode(),
                    role=role.value,
                    id=who,
                    key_fingerprint=key_fingerprint(key.public_key()),
                    signing=signing,
                )
            if approval.certificate is None:
                raise AssertionError("the first administrator's approval is enough for this role")
            write_file(directory / name, approval.certificate.pem.encode(), mode=0o644)
        write_profile(
            process.profile(who),
            Profile(
                zone=zone,
                gateway=process.settings.endpoint,
                ca=process.layout.ca,
                cert=directory / "cert.pem",
                key=directory / "key.pem",
                signing_key=directory / "signing-key.pem" if signs else None,
                signing_certificate=directory / "signing.pem" if signs else None,
            ),
        )
        return process.profile(who)

    async def register(self, zone: str, who: str, legal_name: str = "Some University", **exporter: str) -> None:
        """Put an institution into the register, screened clear."""
        country = "MY" if zone == CYBERJAYA else "CN"
        async with self.admin(zone) as admin:
            await admin.put_participant(who, *institution(legal_name, country, **exporter))
            await admin.screen(who, list_revision=PLANTED_LIST, result="clear")

    async def partner(self, zone: str, who: str) -> AsyncZone:
        """The connection of a partner; enrolled, registered and connected when first asked for."""
        key = f"{zone}/{who}"
        if key not in self._partners:
            profile = self.corridor.zone(zone).profile(who)
            if not profile.exists():
                await self.enrol(zone, who)
                await self.register(zone, who)
            self._partners[key] = await self.stack.enter_async_context(await connect_async(profile))
        return self._partners[key]

    async def um(self) -> AsyncZone:
        """A university in cyberjaya."""
        return await self.partner(CYBERJAYA, "um")

    async def lab(self) -> AsyncZone:
        """A laboratory in lingang."""
        return await self.partner(LINGANG, "lab")

    async def offered(self, chunks: int = 1, **terms: Any) -> str:
        """A new dataset of the laboratory, offered to cyberjaya; its resource name."""
        manifest = open_dataset(next_id("data"), **terms)
        return (await (await self.lab()).publish(measurements(chunks), manifest)).name


@contextlib.asynccontextmanager
async def small_corridor(
    directory: Path,
    timing: Timing = QUICK,
    prepare: Callable[[Small], None] | None = None,
) -> AsyncIterator[Small]:
    """Two gateways, started and paired, with a university and a laboratory; `prepare` runs before they start."""
    small = Small(await asyncio.to_thread(Corridor.make, directory, admins=ADMINS), timing)
    if prepare is not None:
        prepare(small)
    async with small.stack:
        for zone in (CYBERJAYA, LINGANG):
            await small.start(zone)
        small.stack.push_async_callback(_stop_all, small)
        await small.pair()
        for zone, who, legal in ((CYBERJAYA, "um", PLANTED_NAMES[0]), (LINGANG, "lab", PLANTED_NAMES[1])):
            await small.enrol(zone, who)
            await small.register(zone, who, legal)
        yield small


async def _stop_all(small: Small) -> None:
    for zone in list(small.gateways):
        await small.stop(zone)


async def entries(gateway: Gateway, start: int = 0) -> list[Entry]:
    """The gateway's own ledger from an entry on."""
    found: list[Entry] = []
    journal = gateway.house.journal
    await journal.writer.changed(journal.committed_size - 1)  # what was told is published in a moment
    while start + len(found) < journal.size:
        found += [json.loads(e) for e in await journal.entries(start + len(found), journal.size, 1 << 20)]
    return found


async def held(journal: Journal, size: int) -> None:
    """Wait until the paired zones' mirrors hold so many entries of a log."""

    async def cosigned() -> bool:
        return journal.held_size >= size

    await eventually(cosigned)


async def recorded(gateway: Gateway, wanted: Callable[[Entry], Any], *, start: int = 0) -> Entry:
    """The first entry from `start` on that is wanted, as soon as it is published."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await entries(gateway, start)
            for entry in found:
                if wanted(entry):
                    return entry
            start += len(found)
            await gateway.house.journal.writer.changed(start)


async def eventually(look: Callable[[], Awaitable[Any]], *, every: float = 0.02) -> Any:
    """What `look` gives as soon as it is not false; for conditions that nothing announces."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(every)


def of_subject(subject: str, *kinds: str) -> Callable[[Entry], bool]:
    """Whether an entry is about something, and of one of the kinds."""
    return lambda entry: entry["subject"] == subject and (not kinds or entry["kind"] in kinds)


def directory_entries(ledger: Path) -> Iterator[Entry]:
    """A ledger's entries as its directory shows them, without the project's code."""
    bundles = sorted(path for path in (ledger / "tile" / "entries").rglob("*") if path.is_file())
    widest: dict[str, Path] = {}
    for path in bundles:
        name = str(path.relative_to(ledger / "tile" / "entries")).split(".p/")[0]
        kept = widest.get(name)
        if kept is None or path.stat().st_size > kept.stat().st_size:
            widest[name] = path
    for name in sorted(widest):
        data, at = widest[name].read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big")
            yield json.loads(data[at + 2 : at + 2 + length])
            at += 2 + length
