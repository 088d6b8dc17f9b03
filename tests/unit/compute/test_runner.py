"""A real training process: its rounds, its end in every way, and what it is not given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from gateway.compute.apps import app_of
from gateway.compute.files import load_parameters
from gateway.compute.runner import Runner
from gateway.compute.scaling import ScalingSums, scaling_from, scaling_sums
from gateway.compute.training import (
    DatasetFile,
    EvaluateOrder,
    ParametersFile,
    Progress,
    Result,
    ScalingOrder,
    TrainOrder,
    metrics_document,
)
from gateway.errors import (
    ComputeError,
    DataFileError,
    InputError,
    IntegrityError,
    StorageError,
    TdzError,
    TooFewRowsError,
    TrainingError,
    UpdateShapeError,
)
from gateway.federation.checks import check_update
from gateway.federation.parameters import Parameters
from gateway.federation.strategies import Contribution, Strategy, aggregate
from gateway.federation.updates import Update, update_norm
from tests.unit.compute.views import (
    FEATURES,
    RUN,
    linear_spec,
    mlp_spec,
    saved,
    some_rows,
    train_order,
    write_table,
    write_view,
)

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 60.0
FOREVER = Strategy(name="FedAvg", epochs=1_000, batch_size=1)


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    async with Runner(threads=1) as found:
        yield found


@pytest.fixture
def views(tmp_path: Path) -> dict[str, Path]:
    return {f"datasets/{i}": write_view(tmp_path / f"view{i}", some_rows(100 + 40 * i, i)) for i in range(3)}


def update_of(order: TrainOrder, result: Result) -> Parameters:
    return load_parameters(order.output, digest=result.digest)


async def test_a_round_is_trained_aggregated_and_written(
    runner: Runner, views: dict[str, Path], tmp_path: Path
) -> None:
    heard: list[Progress] = []
    order = train_order(tmp_path, views)
    result = await runner.run(order, DEADLINE_S, heard.append)
    assert result.examples == 100 + 140 + 180
    assert [(each.dataset, each.examples) for each in result.datasets] == [
        ("datasets/0", 100),
        ("datasets/1", 140),
        ("datasets/2", 180),
    ]
    assert set(result.metrics) == {"loss", "steps"}
    assert (result.device, result.clipped) == ("cpu", False)
    assert 0 < result.training_seconds < result.seconds
    assert result.bytes == Path(order.output).stat().st_size
    assert [(each.dataset, each.epoch) for each in heard if each.epoch == each.epochs] == [
        (name, 2) for name in sorted(views)
    ]
    reference = load_parameters(order.reference.path, digest=order.reference.digest)
    update = Update(RUN, 1, "lingang", update_of(order, result), result.examples)
    norm = check_update(update, run=RUN, round_number=1, zone="lingang", reference=reference, norm_bound=100.0)
    assert norm == pytest.approx(result.norm)
    assert metrics_document(result.metrics)["loss"].startswith("0.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["global", "update", "view0", "view1", "view2"]


async def test_the_same_order_writes_the_same_bytes_also_in_another_process(
    runner: Runner, views: dict[str, Path], tmp_path: Path
) -> None:
    first = await runner.run(train_order(tmp_path, views), DEADLINE_S)
    async with Runner(threads=1) as other:
        turned = dict(reversed(views.items()))
        again = await other.run(train_order(tmp_path, turned, output=str(tmp_path / "again")), DEADLINE_S)
    assert again.digest == first.digest
    assert (await runner.run(train_order(tmp_path, views, seed=8), DEADLINE_S)).digest != first.digest
    assert (await runner.run(train_order(tmp_path, views, round=2), DEADLINE_S)).digest != first.digest


async def test_fedsgd_with_full_participation_is_gradient_descent_on_the_pooled_table(
    runner: Runner, tmp_path: Path
) -> None:
    """Two zones with two datasets each, scaled by sums that the zones exchange, against one table in plain numpy."""
    rows = [some_rows(count, seed, classes=3) for seed, count in enumerate((40, 110, 75, 20))]
    classes = ("a", "b", "c")
    spec = linear_spec(classes=classes, l2="0.01", learning_rate="0.5")
    views = [
        {f"d{i}": write_view(tmp_path / f"v{i}", rows[i], classes=classes, stream=bool(i % 2)) for i in pair}
        for pair in ((0, 1), (2, 3))
    ]
    sums: list[ScalingSums] = []
    for zone, view in zip("xy", views, strict=True):
        datasets = tuple(DatasetFile(dataset=name, path=str(path)) for name, path in view.items())
        asked = ScalingOrder(run=RUN, zone=zone, spec=spec, datasets=datasets, output=str(tmp_path / zone))
        result = await runner.run(asked, DEADLINE_S)
        sums.append(ScalingSums.of(load_parameters(asked.output, digest=result.digest), result.examples))
    scaling = scaling_from(sums)
    scaled_by = saved(scaling.parameters(), tmp_path / "scaling")

    pooled = np.concatenate([features for features, _ in rows])
    pooled = (pooled - pooled.mean(axis=0)) / pooled.std(axis=0)
    wanted = np.eye(3)[np.concatenate([target for _, target in rows])]
    weight, bias = np.zeros((3, 3)), np.zeros(3)
    parameters = app_of("linear").initial(spec, 0)
    for round_number in range(1, 31):
        likely = np.exp(pooled @ weight + bias)
        error = likely / likely.sum(axis=1, keepdims=True) - wanted
        weight, bias = (
            weight - 0.5 * (pooled.T @ error / len(pooled) + 0.01 * weight),
            bias - 0.5 * error.mean(axis=0),
        )
        reference = saved(parameters, tmp_path / "global")
        contributions = []
        for zone, view in zip("xy", views, strict=True):
            order = train_order(
                tmp_path,
                view,
                spec,
                zone=zone,
                round=round_number,
                reference=reference,
                scaling=scaled_by,
                strategy=Strategy(name="FedSGD"),
                output=str(tmp_path / f"update-{zone}"),
            )
            result = await runner.run(order, DEADLINE_S)
            contributions.append(Contribution(zone, update_of(order, result), result.examples))
        parameters = aggregate(contributions, source="run").parameters
    apart = max(np.abs(parameters["weight"] - weight).max(), np.abs(parameters["bias"] - bias).max())
    assert np.abs(weight).max() > 0.5
    assert apart < 1e-9


async def test_the_update_is_clipped_to_the_declared_bound(
    runner: Runner, views: dict[str, Path], tmp_path: Path
) -> None:
    order = train_order(tmp_path, views, norm_bound="0.05")
    result = await runner.run(order, DEADLINE_S)
    assert result.clipped
    assert result.norm > 0.05
    reference = load_parameters(order.reference.path, digest=order.reference.digest)
    assert update_norm(update_of(order, result), reference) == pytest.approx(0.05, rel=1e-9)


async def test_scaling_and_evaluation_agree_with_the_rows(
    runner: Runner, views: dict[str, Path], tmp_path: Path
) -> None:
    spec = linear_spec()
    datasets = tuple(DatasetFile(dataset=name, path=str(path)) for name, path in views.items())
    order = ScalingOrder(
        run=RUN, zone="lingang", spec=spec, datasets=datasets, rows_min=100, output=str(tmp_path / "sums")
    )
    result = await runner.run(order, DEADLINE_S)
    found = ScalingSums.of(load_parameters(order.output, digest=result.digest), result.examples)
    rows = np.concatenate([some_rows(100 + 40 * i, i)[0] for i in range(3)])
    np.testing.assert_allclose(found.total, scaling_sums(rows).total)
    assert result.examples == len(rows)
    trained = await runner.run(train_order(tmp_path, views), DEADLINE_S)
    measured = await runner.run(
        EvaluateOrder(
            run=RUN,
            zone="lingang",
            spec=spec,
            datasets=datasets,
            parameters=ParametersFile(path=str(tmp_path / "update"), digest=trained.digest),
        ),
        DEADLINE_S,
    )
    parameters = load_parameters(tmp_path / "update", digest=trained.digest)
    target = np.concatenate([some_rows(100 + 40 * i, i)[1] for i in range(3)])
    expected = app_of("linear").evaluate(parameters, rows, target, spec)
    assert measured.metrics == pytest.approx(expected)
    assert (measured.digest, measured.bytes) == ("", 0)


async def test_the_app_in_torch_trains_in_the_process(runner: Runner, views: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra `compute` is not installed")
    order = train_order(
        tmp_path, views, mlp_spec(), strategy=Strategy(name="FedProx", epochs=5, batch_size=16, proximal_mu="0.1")
    )
    first = await runner.run(order, DEADLINE_S)
    assert (await runner.run(order, DEADLINE_S)).digest == first.digest
    assert update_of(order, first).layout == app_of("mlp").initial(mlp_spec(), 0).layout


async def killed_in_the_middle(runner: Runner, order: TrainOrder, how: signal.Signals) -> TdzError:
    """Train until the first progress report, then kill the process."""
    started = asyncio.Event()
    task = asyncio.create_task(runner.run(order, DEADLINE_S, lambda _heard: started.set()))
    await asyncio.wait_for(started.wait(), DEADLINE_S)
    os.kill(runner.pid, how)
    with pytest.raises(ComputeError) as caught:
        await task
    return caught.value


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_process_killed_in_the_middle_costs_its_order_and_the_next_goes_on(
    runner: Runner, views: dict[str, Path], tmp_path: Path, how: signal.Signals
) -> None:
    expected = await runner.run(train_order(tmp_path, views, output=str(tmp_path / "expected")), DEADLINE_S)
    before = runner.pid
    error = await killed_in_the_middle(runner, train_order(tmp_path, views, strategy=FOREVER), how)
    assert how.name in str(error)
    assert error.reason == "TDZ-COMPUTE"
    assert not (tmp_path / "update").exists()
    again = await runner.run(train_order(tmp_path, views), DEADLINE_S)
    assert again.digest == expected.digest
    assert runner.pid not in {0, before}
    assert not psutil.pid_exists(before)


async def test_a_process_that_died_between_orders_is_replaced(
    runner: Runner, views: dict[str, Path], tmp_path: Path
) -> None:
    process = psutil.Process(runner.pid)
    process.kill()
    await asyncio.to_thread(psutil.wait_procs, [process], DEADLINE_S)
    try:
        await runner.run(train_order(tmp_path, views), DEADLINE_S)
    except ComputeError:  # the loop had not heard of its end yet
        await runner.run(train_order(tmp_path, views), DEADLINE_S)


async def test_past_its_deadline_an_order_is_killed(runner: Runner, views: dict[str, Path], tmp_path: Path) -> None:
    before = runner.pid
    with pytest.raises(ComputeError, match=r"not done in 0\.3 s"):
        await runner.run(train_order(tmp_path, views, strategy=FOREVER), 0.3)
    await runner.run(train_order(tmp_path, views), DEADLINE_S)
    assert not psutil.pid_exists(before)


async def test_past_its_memory_an_order_is_killed(views: dict[str, Path], tmp_path: Path) -> None:
    async with Runner(threads=1, memory_max=1 << 20) as small:
        with pytest.raises(ComputeError, match="memory"):
            await small.run(train_order(tmp_path, views, strategy=FOREVER), DEADLINE_S)


async def test_cancellation_kills_the_process(runner: Runner, views: dict[str, Path], tmp_path: Path) -> None:
    before, started = runner.pid, asyncio.Event()
    task = asyncio.create_task(
        runner.run(train_order(tmp_path, views, strategy=FOREVER), DEADLINE_S, lambda _heard: started.set())
    )
    await asyncio.wait_for(started.wait(), DEADLINE_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await runner.run(train_order(tmp_path, views), DEADLINE_S)
    assert not psutil.pid_exists(before)


async def test_orders_wait_for_each_other(runner: Runner, views: dict[str, Path], tmp_path: Path) -> None:
    orders = [train_order(tmp_path, views, output=str(tmp_path / f"update{i}")) for i in range(4)]
    results = await asyncio.gather(*(runner.run(order, DEADLINE_S) for order in orders))
    assert len({result.digest for result in results}) == 1


async def test_a_closed_runner_leaves_no_process_and_takes_no_order(views: dict[str, Path], tmp_path: Path) -> None:
    async with Runner(threads=1) as runner:
        pid = runner.pid
    assert not psutil.pid_exists(pid)
    with pytest.raises(ComputeError, match="closed"):
        await runner.run(train_order(tmp_path, views), DEADLINE_S)


async def test_closing_ends_what_is_under_way_and_what_waits(views: dict[str, Path], tmp_path: Path) -> None:
    runner, started = Runner(threads=1), asyncio.Event()
    order = train_order(tmp_path, views, strategy=FOREVER)
    tasks = [
        asyncio.create_task(runner.run(order, DEADLINE_S, lambda _heard: started.set())),
        asyncio.create_task(runner.run(order, DEADLINE_S)),
    ]
    await asyncio.wait_for(started.wait(), DEADLINE_S)
    pid = runner.pid
    await asyncio.wait_for(runner.close(), 10)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [ComputeError, ComputeError]
    assert not psutil.pid_exists(pid)


FALSE_WORKER = """#!{python}
import json, struct, sys, time
out = sys.stdout.buffer
def frame(document):
    body = json.dumps(document).encode()
    out.write(struct.pack(">I", len(body)) + body)
frame({{"ready": True}})
out.flush()
sys.stdin.buffer.read(4)
{answer}
out.flush()
time.sleep(60)
"""


@pytest.mark.parametrize(
    "answer",
    [
        'out.write(b"\\xff" * 64)',
        'out.write(struct.pack(">I", 4) + b"\\xff\\xff\\xff\\xff")',
        "frame([])",
        "frame({})",
        'frame({"result": {}})',
        'frame({"result": None})',
        'frame({"error": "text"})',
        'frame({"error": {"reason": "TDZ-INPUT"}})',
        'frame({"progress": {"epoch": -1}})',
        'frame({"result": {"order": "evaluate", "digest": "", "bytes": 0, "examples": 1, "metrics": {}, "datasets": '
        '[{"dataset": "datasets/0", "examples": 1, "metrics": {}}], "seconds": 0.1, "device": "cpu"}})',
        'frame({"error": {"reason": "TDZ-DENIED", "message": "m", "remedy": ""}})',
        "import os; os.close(1); time.sleep(60)",
        'out.write(b"\\xff" * (1 << 22))',  # more than is asked for, which nobody reads any more
    ],
)
async def test_whatever_a_broken_process_answers_is_a_compute_error(
    answer: str, views: dict[str, Path], tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(FALSE_WORKER.format(python=sys.executable, answer=answer))
    program.chmod(0o700)
    async with Runner(python=str(program)) as runner:
        with pytest.raises(ComputeError) as caught:
            await runner.run(train_order(tmp_path, views), DEADLINE_S)
    assert caught.value.reason == "TDZ-COMPUTE"
    assert "ended with" not in str(caught.value)  # it answered, and did not merely stop


async def test_a_program_that_is_no_training_process_is_an_error() -> None:
    for program in ("/bin/true", "/nonexistent/python"):
        with pytest.raises(ComputeError):
            async with Runner(python=program):
                pass


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"spec": linear_spec(code_digest="0" * 64)}, IntegrityError, "not the code that the run pins"),
        ({"rows_min": 120}, TooFewRowsError, "datasets/0 has fewer rows than the minimum of 120"),
        ({"spec": linear_spec(features=("height", "shoe"))}, InputError, "parameters|arrays|shoe"),
        ({"spec": linear_spec(target="cured")}, DataFileError, "datasets/0: column 'cured'"),
        ({"spec": linear_spec(classes=("no", "perhaps"))}, DataFileError, "none of the 2 classes"),
        ({"device": "cuda:0"}, ComputeError, "CPU"),
        ({"output": "/nonexistent/update"}, StorageError, "cannot write"),
        ({"reference": ParametersFile(path="/nonexistent", digest="0" * 64)}, InputError, "cannot be opened"),
        ({"datasets": (DatasetFile(dataset="a", path="/nonexistent"),)}, InputError, "cannot be opened"),
        ({"datasets": (DatasetFile(dataset="a", path="/x"), DatasetFile(dataset="a", path="/y"))}, InputError, "twice"),
    ],
)
async def test_an_order_that_cannot_be_carried_out_says_why_and_costs_no_process(
    runner: Runner, views: dict[str, Path], tmp_path: Path, changes: dict[str, Any], error: type[TdzError], text: str
) -> None:
    pid = runner.pid
    if "shoe" in text:
        changes = {**changes, "reference": saved(app_of("linear").initial(changes["spec"], 0), tmp_path / "other")}
    with pytest.raises(error, match=text):
        await runner.run(train_order(tmp_path, views, **changes), DEADLINE_S)
    await runner.run(train_order(tmp_path, views), DEADLINE_S)
    assert runner.pid == pid


async def test_global_parameters_are_held_against_digest_and_app(
    runner: Runner, views: dict[str, Path], tmp_path: Path
) -> None:
    wide = saved(app_of("linear").initial(linear_spec(classes=("a", "b", "c")), 0), tmp_path / "wide")
    with pytest.raises(UpdateShapeError):
        await runner.run(train_order(tmp_path, views, reference=wide), DEADLINE_S)
    order = train_order(tmp_path, views)
    with pytest.raises(IntegrityError, match="digest"):
        forged = order.reference.model_copy(update={"digest": "0" * 64})
        await runner.run(order.model_copy(update={"reference": forged}), DEADLINE_S)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "global")
    with pytest.raises(InputError):
        linked = order.reference.model_copy(update={"path": str(link)})
        await runner.run(order.model_copy(update={"reference": linked}), DEADLINE_S)


async def test_training_that_diverges_writes_nothing_and_is_not_to_be_tried_again(
    runner: Runner, tmp_path: Path
) -> None:
    rows = some_rows(50, 1)
    view = write_view(tmp_path / "v", (rows[0] * 1e12, rows[0][:, 0] * 1e12), classes=())
    spec = linear_spec(task="regression", classes=(), learning_rate="999")
    order = train_order(tmp_path, {"a": view}, spec, strategy=Strategy(name="FedAvg", epochs=100))
    with pytest.raises(TrainingError) as caught:
        await runner.run(order, DEADLINE_S)
    assert caught.value.reason == "TDZ-TRAINING"
    assert not Path(order.output).exists()


async def test_no_value_of_a_row_is_in_an_error_from_the_process(runner: Runner, tmp_path: Path) -> None:
    secret = "4929-1111-2222-3333"
    columns = {**{name: [1.0] for name in FEATURES}, "ill": [secret]}
    view = write_table(tmp_path / "v", pa.table(columns))
    with pytest.raises(DataFileError) as caught:
        await runner.run(train_order(tmp_path, {"a": view}), DEADLINE_S)
    assert secret not in str(caught.value)


async def test_the_process_is_given_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDZ_PLANTED", "a secret")
    given = {"CUDA_VISIBLE_DEVICES": "0", "TDZ_PLANTED": "a secret"}
    process = await asyncio.create_subprocess_exec(  # the same environment, in a process that can be looked into
        sys.executable,
        "-c",
        "import os; print(*sorted(os.environ))",
        env=Runner(environment=given)._environment,
        stdout=asyncio.subprocess.PIPE,
    )
    names = (await process.communicate())[0].decode().split()
    assert "CUDA_VISIBLE_DEVICES" in names
    assert "TDZ_PLANTED" not in names
    assert len(names) <= 10
    async with Runner(threads=1) as runner:
        worker = psutil.Process(runner.pid)
        assert worker.nice() > psutil.Process().nice() or psutil.Process().nice() >= 10
        if os.geteuid() == 0:  # the process hides its own from others of its user
            assert worker.net_connections() == []
            assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
            assert worker.environ().keys() <= {*Runner()._environment, "LC_CTYPE"}


def test_the_process_imports_neither_grpc_nor_what_it_may_not_need() -> None:
    code = (
        "import sys, gateway.compute.worker\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'grpc', 'torch', 'pyarrow', 'sqlalchemy', 'duckdb', 'cryptography', 'regopy', 'asyncio'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


ORPHAN = """
import asyncio, os, sys
from gateway.compute.runner import Runner

async def main():
    async with Runner(threads=1) as runner:
        print(runner.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_the_process_dies_with_its_gateway() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=ROOT, stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        worker = psutil.Process(int(gateway.stdout.readline()))
        gateway.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        worker.wait(timeout=10)
    assert not worker.is_running()


@pytest.mark.parametrize(
    "sent",
    [b"\xff\xff\xff\xff", b"\0\0\0\x02{", b"\0\0\0\x02[]", b"\0\0\0\x01x", b"\0\0\0\x04\xff\xff\xff\xff"],
    ids=["vast", "cut", "no object", "no JSON", "no text"],
)
def test_a_process_that_is_sent_garbage_ends(sent: bytes) -> None:
    command = [sys.executable, "-m", "gateway.compute.worker", str(os.getpid())]
    done = subprocess.run(command, cwd=ROOT, input=sent, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout == b'\0\0\0\x0e{"ready":true}'


async def test_round_after_round_is_carried_out_by_one_process(
    runner: Runner, views: dict[str, Path], tmp_path: Path
) -> None:
    order = train_order(tmp_path, views, strategy=Strategy(name="FedSGD"))
    await runner.run(order, DEADLINE_S)
    process = psutil.Process(runner.pid)
    for _ in range(10):
        await runner.run(order, DEADLINE_S)
    assert runner.pid == process.pid
    assert process.is_running()  # it is the same one, not another under the same id
