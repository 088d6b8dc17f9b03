"""A zone's part of a round as bytes: taken in under its signed statement, checked, and combined with the own one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.errors import UpdateExamplesError, UpdateShapeError
from gateway.federation import rows
from gateway.federation.checks import check_finite, check_update
from gateway.federation.files import IN, INITIAL, OUT, OWN, TOTAL, RunFiles
from gateway.federation.house import House
from gateway.federation.parameters import Layout, Parameters, read_parameters
from gateway.federation.peer import Part
from gateway.federation.releases import read_update
from gateway.federation.strategies import Contribution, aggregate
from gateway.federation.trainer import Trainer, Work
from gateway.federation.updates import Update
from gateway.flow.locks import settled
from gateway.model import limits
from gateway.model.run_statements import RunUpdate
from gateway.storage.durable import storage_errors, sync_directory, write_new

FIRST: Final = 1


class Parts:
    """Takes in and checks what the other zone released."""

    def __init__(self, house: House, files: RunFiles, trainer: Trainer) -> None:
        self._house = house
        self._files = files
        self._trainer = trainer

    def work(self, row: rows.RunRow) -> Work:
        """This zone's part in a run."""
        own = row.of_zone(self._house.zone)
        return Work(row.id, self._house.zone, row.spec, own, self._files.views(row.id))

    async def announced(self, row: rows.RunRow, part: Part, *, what: str, round_: int) -> RunUpdate:
        """The statement that goes before what the other zone released, checked before a byte is taken.

        1. It is the other zone's, of this run, round and kind; the size is within bounds.
        2. Our mirror holds the sender's entry of the release.
        3. It counts the rows that its datasets have.

        Raises:
            PeerError, IntegrityError: it is something else.
            UpdateRunError, UpdateExamplesError: of another round, or other rows.
            PeerUnavailableError: our mirror did not reach the sender's size.
        """
        house = self._house
        most = await self.bound(row, what)
        update = read_update(house, row, part.statement, what=what, round_=round_, most=most)  # 1
        await house.journal.wait_mirrored(row.peer_zone, part.ledger_size, house.timing.mirror)  # 2
        theirs = row.of_zone(row.peer_zone)
        silent = not theirs or (what == "parameters" and round_ == FIRST)
        due = (0, 0) if silent else (sum(each.rows for each in theirs), min(each.rows for each in theirs))
        if (update.examples, update.smallest_group) != due:  # 3
            raise UpdateExamplesError(
                f"{row.peer_zone} counts other rows than its datasets have",
                remedy="count the rows of the run's versions",
            )
        return update

    async def take(self, row: rows.RunRow, part: Part, update: RunUpdate) -> None:
        """Store what was announced and hold it against what it follows from; errors as `store` and `verify`."""
        await self.store(row, part, update)
        await self.verify(row, update)

    async def store(self, row: rows.RunRow, part: Part, update: RunUpdate) -> None:
        """Store what was announced, once it is all there.

        Raises:
            IntegrityError: of another size or digest.
            LimitError: more bytes than announced.
        """
        path = self._files.path(row.id, IN, update.round)
        await self._files.atake(path, part.data, size=update.bytes, digest=update.digest)

    async def initial(self, row: rows.RunRow) -> tuple[Path, str, int]:
        """The parameters that the run's app and seed give, in a file of their own: path, digest and size."""
        path = self._files.path(row.id, INITIAL)
        if not await self._house.chunks.run(path.exists):
            await self._trainer.initial(row.spec, path)
        digest, size = await self._house.chunks.run(lambda: self._files.measure(path))
        return path, digest, size

    async def bound(self, row: rows.RunRow, what: str) -> int:
        """The most bytes that a part may have: those of the run's initial parameters, and a little for the header."""
        if what == "sums":
            return limits.RUN_SUMS_MAX
        path = self._files.path(row.id, INITIAL)
        if not await self._house.chunks.run(path.exists):
            await self.initial(row)
        return (await self._house.chunks.run(path.stat)).st_size + limits.RUN_UPDATE_SLACK

    async def verify(self, row: rows.RunRow, update: RunUpdate) -> None:
        """Hold what was stored against what it follows from; each refusal has a reason of its own.

        Raises:
            UpdateError: NaN, another shape or name, above the norm bound, no rows, sums that no values have, or a
                first round that opens with something else than the run's app and seed give.
            IntegrityError: not a container.
        """
        path = self._files.path(row.id, IN, update.round)
        if update.what == "sums":
            await self._verify_sums(row, update, path)
        elif update.what == "parameters" and update.round == FIRST:
            await self._verify_initial(row, update)
        else:
            before = update.round if update.what == "update" else update.round - 1
            await asyncio.to_thread(self._verify_step, row, update, path, self.global_(row, before))

    def _verify_step(self, row: rows.RunRow, update: RunUpdate, path: Path, reference: Path) -> None:
        """One round's step away from the parameters that opened it."""
        before = read(reference)
        check_update(
            Update(update.run, update.round, row.peer_zone, read(path, before.layout), max(update.examples, 1)),
            run=row.id,
            round_number=update.round,
            zone=row.peer_zone,
            reference=before,
            norm_bound=float(row.spec.norm_bound),
        )

    async def _verify_sums(self, row: rows.RunRow, update: RunUpdate, path: Path) -> None:
        scratch = self._files.path(row.id, "checked")
        await self._trainer.total(row.spec, [(path, update.examples)], scratch)
        await asyncio.to_thread(scratch.unlink, missing_ok=True)

    async def _verify_initial(self, row: rows.RunRow, update: RunUpdate) -> None:
        _, digest, _ = await self.initial(row)
        if digest != update.digest:
            raise UpdateShapeError(
                "the first parameters are not those of the run's app and seed",
                remedy="both zones run the app that the run pins",
            )

    async def aggregate(self, row: rows.RunRow, round_: int, parts: Sequence[tuple[str, Path, int]]) -> tuple[str, int]:
        """The parameters after a round, whole and durable as the next round's: digest and size.

        Args:
            parts: zone, file and rows of each zone's update.
        """
        out = self._files.path(row.id, OUT, round_ + 1)

        def combine() -> tuple[str, int]:
            found = [Contribution(zone, read(path), examples) for zone, path, examples in parts]
            parameters = aggregate(found, source=row.id).parameters
            check_finite(parameters)
            write(parameters, out)
            return parameters.digest, parameters.nbytes

        return await settled(asyncio.to_thread(combine))

    async def scaling(self, row: rows.RunRow) -> Path | None:
        """What features are scaled with; None where the run leaves them as they are.

        Made of both zones' sums as they were released; the same bytes on both sides.
        """
        if row.spec.scaling == "none":
            return None
        total = self._files.path(row.id, TOTAL)
        if not await self._house.chunks.run(total.exists):
            found = []
            for direction, zone in ((OUT, self._house.zone), (IN, row.peer_zone)):
                if row.of_zone(zone):
                    examples = sum(each.rows for each in row.of_zone(zone))
                    found.append((zone, self._files.path(row.id, direction, 0), examples))
            await self._trainer.total(row.spec, [(path, count) for _, path, count in sorted(found)], total)
        return total

    def own(self, row: rows.RunRow, round_: int) -> Path:
        """Where this zone's update of a round lies: the participant sends it, the coordinator keeps it."""
        return self._files.path(row.id, OWN if row.side == "coordinator" else OUT, round_)

    def global_(self, row: rows.RunRow, round_: int) -> Path:
        """Where the parameters that open a round lie."""
        return self._files.path(row.id, OUT if row.side == "coordinator" else IN, round_)


def read(path: Path, expected: Layout | None = None) -> Parameters:
    """The parameters in a file.

    Raises:
        IntegrityError, UpdateShapeError, LimitError: it is no container, or holds other arrays.
    """
    with storage_errors(f"cannot read {path.name} of a run"), path.open("rb") as file:
        return read_parameters(file.read, size=path.stat().st_size, expected=expected)


def write(parameters: Parameters, path: Path) -> None:
    """Parameters as a file, whole and durable or not at all."""
    staged = path.with_name(f".{path.name}.new")
    with storage_errors(f"cannot write {path.name} of a run"):
        staged.unlink(missing_ok=True)
        write_new(staged, list(parameters.parts()))
        staged.rename(path)
        sync_directory(path.parent)
