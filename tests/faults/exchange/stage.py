"""Two zones whose gateways die and come back, and the partners that go on meanwhile; made by `stage`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from gateway.cli.demo.corridor import Corridor, ZoneProcess
from gateway.config import ZoneLayout
from gateway.errors import PeerUnavailableError
from gateway.flow.house import Timing
from gateway.sdk import AsyncZone, connect_async
from gateway.sdk.access import AsyncAccess
from ledger.marker import marker_folder
from tests.e2e.material import CYBERJAYA, LINGANG, institution, measurements, next_id, open_dataset
from tests.e2e.small import ADMINS, directory_entries

DEADLINE_S = 40.0
TIMING = Timing(retry=0.05, reaper=0.1, answer=20.0, lease=30, confirm=30)

Found = dict[str, Any]


async def eventually(look: Callable[[], Awaitable[Any]], what: str, within: float = DEADLINE_S) -> Any:
    """What `look` gives as soon as it is not false."""
    until = time.monotonic() + within
    while not (found := await look()):
        if time.monotonic() > until:
            raise AssertionError(f"it did not come to this in {within:g} s: {what}")
        await asyncio.sleep(0.02)
    return found


async def insist(ask: Any) -> Any:
    """Ask again while the gateway is away."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return await ask()
        except PeerUnavailableError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.02)  # it starts beside us, and needs the core


class Forks:
    """The process that forks gateways."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.exchange.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # threads do not survive a fork
        )
        self._one = threading.Lock()  # of two threads in one readline, the second throws the first's read-ahead away
        self._read()

    def fork(self, zone: Path, timing: Timing) -> int:
        """Fork a gateway; its process id."""
        assert self._process.stdin is not None
        with self._one:
            self._process.stdin.write(json.dumps({"zone": str(zone), "timing": asdict(timing)}).encode() + b"\n")
            self._process.stdin.flush()
            return int(self._read()["pid"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _read(self) -> Found:
        assert self._process.stdout is not None
        found: Found = json.loads(self._process.stdout.readline())
        return found


class Gate:
    """One zone's gateway as a process that may die.

    Args:
        process: the zone; its own process stays unused.
        forks: what starts the gateway.
        timing: its deadlines.
    """

    def __init__(self, process: ZoneProcess, forks: Forks, timing: Timing) -> None:
        self.zone = process
        self.timing = timing
        self._forks = forks
        self._pidfd = -1
        self.pid = 0

    @property
    def layout(self) -> ZoneLayout:
        return self.zone.layout

    @property
    def running(self) -> bool:
        if self._pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    async def start(self) -> Self:
        """Start it and wait until it serves."""
        assert not self.running
        await asyncio.to_thread(self._launch)
        await asyncio.to_thread(self._wait_ready)
        return self

    def _launch(self) -> None:
        self._forget()
        self.pid = self._forks.fork(self.layout.root, self.timing)
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(self.pid)

    def _wait_ready(self) -> None:
        until = time.monotonic() + DEADLINE_S
        with self.zone.admin() as admin:
            while True:
                try:
                    admin.wait_ready(1.0)
                    return
                except PeerUnavailableError:
                    if not self.running or time.monotonic() > until:
                        raise AssertionError(f"did not start: {self.last_words()}") from None

    def last_words(self) -> str:
        return "\n".join(self.layout.log.read_text("utf-8", "replace").splitlines()[-40:])

    def send(self, number: signal.Signals) -> None:
        """Signal this process and no other: a dead one's number is soon given to somebody else's thread."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def ended(self, within: float = DEADLINE_S) -> None:
        """Wait until the process is gone."""

        async def gone() -> bool:
            return not self.running

        await eventually(gone, f"the gateway of {self.zone.name} ends", within)
        self._forget()

    async def kill(self) -> None:
        """End it as a power cut would."""
        if self.running:
            self.send(signal.SIGKILL)
            await self.ended()

    async def stop(self) -> None:
        """Ask it to end."""
        if self.running:
            self.send(signal.SIGTERM)
            await self.ended()

    async def arm(self, **fault: Any) -> list[tuple[str, str]]:
        """Arm a fault, or with none only begin to count; what was counted until now."""
        found = await self._set(fault)
        assert found is not None, f"the gateway of {self.zone.name} has ended: {self.last_words()}"
        return [(label, when) for label, when in found["seen"]]

    async def disarm(self) -> None:
        """Take the fault back, unless the gateway has died of it."""
        await self._set({})

    async def _set(self, fault: Found) -> Found | None:
        token = str(uuid.uuid4())
        (self.layout.root / "fault.json").write_text(json.dumps({"token": token, **fault}))
        self.send(signal.SIGUSR2)

        async def answered() -> list[Found | None]:
            if not self.running:
                return [None]
            with contextlib.suppress(FileNotFoundError):
                found: Found = json.loads((self.layout.root / "fault.armed").read_text())
                return [found] if found["token"] == token else []
            return []

        (found,) = await eventually(answered, "the fault is armed")
        return found

    def forget(self) -> None:
        """Forget what the machine remembers of the ledger, as a reboot does: the next start must ask the other zone."""
        folder = marker_folder()
        if folder is not None:
            key = (self.layout.ledger / "vkey").read_text().strip()
            (folder / hashlib.sha256(key.encode()).hexdigest()).unlink(missing_ok=True)

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """What the state database says, read beside the gateway."""
        with contextlib.closing(sqlite3.connect(f"file:{self.layout.state}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(query, arguments).fetchall()

    def entries(self) -> list[Found]:
        """The ledger's entries as its directory shows them; all that are committed, where the gateway runs."""
        wanted = self._committed() if self.running else 0
        until = time.monotonic() + DEADLINE_S
        while len(found := list(directory_entries(self.layout.ledger))) < wanted:  # an effect may precede the files
            assert time.monotonic() < until, f"{wanted} entries are committed, {len(found)} are published"
            time.sleep(0.005)
        return found

    def _committed(self) -> int:
        lock = self.layout.ledger / "state" / "lock.db"
        with contextlib.closing(sqlite3.connect(f"file:{lock}?mode=ro", uri=True, timeout=10)) as database:
            ((note,),) = database.execute("SELECT note FROM lock")
        return int(bytes(note).split(b"\n")[1])

    def _forget(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


class Stage:
    """Both zones, a university and a laboratory."""

    def __init__(self, corridor: Corridor, forks: Forks, timing: Timing) -> None:
        self.a = Gate(corridor.zone(CYBERJAYA), forks, timing)
        self.b = Gate(corridor.zone(LINGANG), forks, timing)
        self.timing = timing
        self.um: AsyncZone
        self.lab: AsyncZone

    def gate(self, side: str) -> Gate:
        return self.a if side == "consumer" else self.b

    async def offered(self, chunks: int = 6) -> tuple[str, Any]:
        """A new dataset of the laboratory and its rows."""
        table = measurements(chunks)
        return (await self.lab.publish(table, open_dataset(next_id("data")))).name, table

    async def agreed(self, chunks: int = 6) -> AsyncAccess:
        """An agreement in force on a new dataset."""
        resource, _ = await self.offered(chunks)
        return await self.um.request(resource, purpose="research")

    async def transfer_of(self, agreement: str) -> str:
        """The one transfer of an agreement, as soon as it began at the consumer's side."""

        async def begun() -> Any:
            return self.a.rows("SELECT id FROM transfers WHERE agreement_id=?", agreement)

        ((transfer,),) = await eventually(begun, f"a transfer of {agreement} begins")
        return str(transfer)

    async def becomes(self, gate: Gate, transfer: str, state: str, within: float = DEADLINE_S) -> str:
        """Wait until a transfer is in a state on one side; its reason."""

        async def there() -> Any:
            return gate.rows("SELECT reason FROM transfers WHERE id=? AND state=?", transfer, state)

        ((reason,),) = await eventually(there, f"{transfer} becomes {state} in {gate.zone.name}", within)
        return str(reason)

    async def outlives(self, gate: Gate, transfer: str) -> str:
        """Let a gateway's clock run until it gives a transfer up; why it did. The clock stays ahead."""
        for leases in range(1, 10):
            await gate.arm(ahead=leases * (self.timing.lease + 1))
            with contextlib.suppress(AssertionError):
                return await self.becomes(gate, transfer, "TERMINATED", within=2)
        raise AssertionError(f"{gate.zone.name} does not give {transfer} up")

    async def quiet(self) -> None:
        """Wait until nothing is left to be delivered, then end both gateways."""

        async def empty() -> bool:
            return not any(gate.rows("SELECT 1 FROM outbox") for gate in (self.a, self.b))

        await eventually(empty, "both outboxes are empty")
        await asyncio.gather(self.a.stop(), self.b.stop())

    async def receipts(self, transfer: str) -> None:
        """Wait until both receipts are on both sides."""

        async def both() -> bool:
            rows = [
                g.rows("SELECT receipt, peer_receipt FROM transfers WHERE id=?", transfer) for g in (self.a, self.b)
            ]
            return all(row and all(row[0]) for row in rows)

        await eventually(both, f"both receipts of {transfer} on both sides")


@contextlib.asynccontextmanager
async def stage(directory: Path, timing: Timing = TIMING) -> AsyncIterator[Stage]:
    """Two gateways, started and paired."""
    async with AsyncExitStack() as stack:
        corridor = await asyncio.to_thread(Corridor.make, directory, admins=ADMINS)
        forks = Forks()
        stack.callback(forks.close)
        made = Stage(corridor, forks, timing)
        for gate in (made.a, made.b):
            stack.push_async_callback(gate.kill)
        await asyncio.gather(made.a.start(), made.b.start())
        await asyncio.to_thread(corridor.pair)
        for gate, who, country in ((made.a, "um", "MY"), (made.b, "lab", "CN")):
            await asyncio.to_thread(gate.zone.enrol, who)
            await asyncio.to_thread(gate.zone.register, who, *institution(f"Institute {who}", country))
        made.um = await stack.enter_async_context(await connect_async(made.a.zone.profile("um")))
        made.lab = await stack.enter_async_context(await connect_async(made.b.zone.profile("lab")))
        yield made
