"""A zone's own computation in a run, as `gateway.federation.trainer` asks for it: views, orders, one process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gateway.compute.accelerators import Accelerator, choose
from gateway.compute.apps import LinearSpec, MlpSpec, app_of, code_digest, parse_spec
from gateway.compute.files import save_parameters
from gateway.compute.runner import Runner
from gateway.compute.scaling import ScalingSums, scaling_from, sums_layout
from gateway.compute.training import DatasetFile, EvaluateOrder, ParametersFile, Result, ScalingOrder, TrainOrder
from gateway.compute.views import write_view
from gateway.errors import InputError, PeerError
from gateway.federation.parameters import read_parameters
from gateway.federation.strategies import Strategy
from gateway.federation.trainer import Done, Work
from gateway.flow.locks import settled
from gateway.model.decimals import measured_text
from gateway.model.policy_facts import Device
from gateway.model.run import RunSpec
from gateway.storage.chunks import ChunkStore
from gateway.storage.durable import storage_errors
from gateway.storage.versions import VersionStore

_PINNED: Final = frozenset({"app", "version", "code_digest", "task", "features", "target", "classes", "learning_rate"})


class ZoneTrainer:
    """Trains on this zone's datasets in a process beside the gateway.

    Args:
        chunks: where the zone's chunks lie.
        versions: where its dataset versions lie.
        runner: the training process.
    """

    def __init__(self, chunks: ChunkStore, versions: VersionStore, runner: Runner) -> None:
        self._chunks = chunks
        self._versions = versions
        self._runner = runner
        self._devices: dict[str, Accelerator] = {}

    def pin(self, spec: RunSpec) -> str:
        """Check the app's settings; its code digest.

        Raises:
            InputError: a setting that the app does not take.
        """
        return app_spec(spec).code_digest

    async def prepare(self, work: Work) -> None:
        """Write the governed views that are not there yet."""
        columns = (*work.spec.features, work.spec.target)
        for place, dataset in enumerate(work.datasets):
            path = _view(work, place)
            if path.exists():  # whole, or it would not have its name
                continue
            found = await settled(
                self._chunks.run(
                    lambda of=dataset, to=path: write_view(  # type: ignore[misc]
                        self._chunks, self._versions, of.version, columns, to, name=of.resource
                    )
                )
            )
            if found != dataset.rows:
                raise PeerError(f"{dataset.resource} has other rows than were agreed on")

    async def initial(self, spec: RunSpec, out: Path) -> Done:
        """The parameters that the first round opens with."""
        pinned = app_spec(spec)

        def compute() -> Done:
            parameters = app_of(pinned.app).initial(pinned, spec.seed)
            digest, size = save_parameters(parameters, out)
            return Done(digest, size, 0, 0)

        return await settled(asyncio.to_thread(compute))

    async def sums(self, work: Work, out: Path, deadline_s: float) -> Done:
        """Count, sum and sum of squares of each feature."""
        order = ScalingOrder(
            run=work.run,
            zone=work.zone,
            spec=app_spec(work.spec),
            datasets=_files(work),
            rows_min=work.spec.min_rows,
            output=str(out),
        )
        return _done(await self._runner.run(order, deadline_s))

    async def total(self, spec: RunSpec, sums: Sequence[tuple[Path, int]], out: Path) -> None:
        """Mean and deviation of each feature over all zones."""
        layout = sums_layout(len(spec.features))

        def compute() -> None:
            found = []
            for path, examples in sums:
                with storage_errors("cannot read the sums of a run"), path.open("rb") as file:
                    parameters = read_parameters(file.read, size=path.stat().st_size, expected=layout)
                found.append(ScalingSums.of(parameters, examples))
            save_parameters(scaling_from(found).parameters(), out)

        await settled(asyncio.to_thread(compute))

    async def train(
        self, work: Work, round_: int, reference: tuple[Path, str], scaling: Path | None, out: Path, deadline_s: float
    ) -> Done:
        """One round of this zone."""
        spec = work.spec
        device = await self.device(spec)
        order = TrainOrder(
            run=work.run,
            round=round_,
            zone=work.zone,
            spec=app_spec(spec),
            strategy=Strategy(
                name=spec.strategy,
                epochs=spec.local.epochs,
                batch_size=spec.local.batch,
                proximal_mu=spec.local.proximal,
            ),
            datasets=_files(work),
            reference=ParametersFile(path=str(reference[0]), digest=reference[1]),
            scaling=None if scaling is None else await asyncio.to_thread(_file, scaling),
            norm_bound=spec.norm_bound,
            seed=spec.seed,
            rows_min=spec.min_rows,
            device=device.device,
            output=str(out),
        )
        trained = await self._runner.run(order, deadline_s)
        measured = await self._evaluate(work, order, trained)
        metrics = {**measured.metrics, "seconds": trained.seconds + measured.seconds}
        return _done(trained, metrics, (device.facts(),))

    async def _evaluate(self, work: Work, order: TrainOrder, trained: Result) -> Result:
        """Loss and quality of the zone's update on the zone's own rows."""
        asked = EvaluateOrder(
            run=order.run,
            zone=order.zone,
            spec=order.spec,
            datasets=order.datasets,
            parameters=ParametersFile(path=order.output, digest=trained.digest),
            scaling=order.scaling,
            rows_min=order.rows_min,
            device=order.device,
        )
        return await self._runner.run(asked, float(work.spec.round_deadline_s))

    async def evaluate(self, work: Work, parameters: tuple[Path, str], scaling: Path | None) -> Mapping[str, str]:
        """Loss and quality of given parameters on the zone's own rows: names and decimal texts.

        Args:
            work: the zone's part.
            parameters: file and digest.
            scaling: what `total` wrote; None leaves features as they are.
        """
        order = EvaluateOrder(
            run=work.run,
            zone=work.zone,
            spec=app_spec(work.spec),
            datasets=_files(work),
            parameters=ParametersFile(path=str(parameters[0]), digest=parameters[1]),
            scaling=None if scaling is None else await asyncio.to_thread(_file, scaling),
            rows_min=work.spec.min_rows,
            device=(await self.device(work.spec)).device,
        )
        result = await self._runner.run(order, float(work.spec.round_deadline_s))
        return {name: measured_text(value) for name, value in sorted(result.metrics.items())}

    async def device(self, spec: RunSpec) -> Accelerator:
        """The accelerator that a run trains on here; numpy apps take the CPU."""
        wanted = "cpu" if spec.app.name == "linear" else {"auto": "any"}.get(spec.device, spec.device)
        if wanted not in self._devices:
            self._devices[wanted] = await asyncio.to_thread(choose, wanted)
        return self._devices[wanted]

    async def close(self) -> None:
        """End the process."""
        await self._runner.close()


def app_spec(spec: RunSpec) -> LinearSpec | MlpSpec:
    """The pinned description of a run's app.

    Raises:
        InputError: a setting that the app does not take; the text names it.
    """
    if wrong := sorted(_PINNED & set(spec.app.hyperparameters)):
        raise InputError(
            f"app.hyperparameters: {wrong[0]} is set elsewhere in the run", remedy=f"leave {wrong[0]} out there"
        )
    return parse_spec(
        {
            **spec.app.hyperparameters,
            "app": spec.app.name,
            "version": spec.app.version,
            "code_digest": code_digest(spec.app.name),
            "task": "classification" if spec.classes else "regression",
            "features": list(spec.features),
            "target": spec.target,
            "classes": list(spec.classes),
            "learning_rate": spec.local.rate,
        }
    )


def _view(work: Work, place: int) -> Path:
    return work.scratch / f"{place:02d}.arrow"


def _files(work: Work) -> tuple[DatasetFile, ...]:
    return tuple(
        DatasetFile(dataset=dataset.resource, path=str(_view(work, place)))
        for place, dataset in enumerate(work.datasets)
    )


def _file(path: Path) -> ParametersFile:
    with storage_errors("cannot read the scaling of a run"):
        return ParametersFile(path=str(path), digest=hashlib.sha256(path.read_bytes()).hexdigest())


def _done(result: Result, measured: Mapping[str, float] | None = None, devices: tuple[Device, ...] = ()) -> Done:
    metrics = {**result.metrics, **(measured or {})}
    return Done(
        digest=result.digest,
        bytes=result.bytes,
        examples=result.examples,
        smallest=min(each.examples for each in result.datasets),
        metrics=tuple((name, measured_text(value)) for name, value in sorted(metrics.items())),
        devices=devices,
    )
