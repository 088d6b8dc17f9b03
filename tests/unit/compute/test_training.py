"""Orders and results are read strictly, and come back from JSON as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.compute.training import (
    DatasetResult,
    Result,
    mean_metrics,
    metrics_document,
    parse_order,
    parse_progress,
    parse_result,
)
from gateway.errors import ComputeError, InputError
from tests.unit.compute.views import linear_spec, mlp_spec, train_order

RESULT = Result(
    order="train",
    digest="ab" * 32,
    bytes=100,
    examples=3,
    metrics={"loss": 0.5},
    datasets=(DatasetResult(dataset="a", examples=3, metrics={"loss": 0.5}),),
    seconds=0.1,
    device="cpu",
)


@pytest.mark.parametrize("spec", [linear_spec(), mlp_spec()], ids=["linear", "mlp"])
def test_an_order_comes_back_from_json(tmp_path: Path, spec: Any) -> None:
    order = train_order(tmp_path, {"a": tmp_path / "v"}, spec)
    assert parse_order(json.loads(json.dumps(order.document()))) == order
    assert parse_result(json.loads(json.dumps(RESULT.document()))) == RESULT


@pytest.mark.parametrize(
    "changes",
    [
        {"order": "delete"},
        {"run": ""},
        {"round": 0},
        {"round": "1"},
        {"zone": "Lingang"},
        {"datasets": []},
        {"datasets": [{"dataset": "a", "path": "relative"}]},
        {"datasets": [{"dataset": "a", "path": "/x\0y"}]},
        {"datasets": [{"dataset": "a", "path": "/x"}] * 65},
        {"norm_bound": 1.0},
        {"norm_bound": "0"},
        {"seed": -1},
        {"seed": 1 << 60},
        {"rows_min": 0},
        {"device": "cuda"},
        {"device": "gpu:0"},
        {"device": "cuda:0; rm"},
        {"output": ""},
        {"strategy": {"name": "FedSGD", "epochs": 2}},
        {"reference": {"path": "/x"}},
        {"surprise": 1},
    ],
    ids=str,
)
def test_an_order_is_read_strictly(tmp_path: Path, changes: dict[str, Any]) -> None:
    document = train_order(tmp_path, {"a": tmp_path / "v"}).document()
    with pytest.raises(InputError):
        parse_order({**document, **changes})


@pytest.mark.parametrize(
    "document", [None, [], {}, {**RESULT.document(), "seconds": float("nan")}, {**RESULT.document(), "x": 1}]
)
def test_an_answer_that_is_no_result_is_an_error(document: object) -> None:
    with pytest.raises(ComputeError):
        parse_result(document)
    with pytest.raises(ComputeError):
        parse_progress(document)


def test_means_are_weighted_by_rows_and_leave_out_what_has_no_mean() -> None:
    datasets = [
        DatasetResult(dataset="a", examples=3, metrics={"loss": 1.0, "r2": 0.5}),
        DatasetResult(dataset="b", examples=1, metrics={"loss": 5.0, "r2": 0.5, "other": 1.0}),
    ]
    assert mean_metrics(datasets) == {"loss": 2.0}
    assert mean_metrics(datasets[:1]) == {"loss": 1.0, "r2": 0.5}
    assert mean_metrics([]) == {}


def test_figures_become_texts_for_what_is_signed() -> None:
    assert metrics_document({"loss": 1 / 3, "accuracy": 1.0, "r2": -0.25}) == {
        "accuracy": "1",
        "loss": "0.333333",
        "r2": "-0.25",
    }
    with pytest.raises(InputError):
        metrics_document({"loss": float("inf")})
