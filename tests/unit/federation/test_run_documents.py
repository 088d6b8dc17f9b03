"""RUN.yaml, a run's states, and what may stand on a ledger: read strictly, told with line and remedy."""

from __future__ import annotations

import itertools

import pytest

from gateway.errors import REASON_STATUS, ConflictError, ManifestError
from gateway.model import limits, run
from gateway.model.run import END_REASONS, RunEnd, RunEvent, RunSpec, RunState, end_reason, load_run_spec
from tests.e2e.runs import run_of

YAML = """
name: screening
app: {name: linear, hyperparameters: {l2: 0.001}}
strategy: FedAvg
rounds: 3
local: {epochs: 2, batch: 32, rate: 0.05}
datasets: [datasets/ours, datasets/theirs]
features: [age, size]
target: diagnosis
classes: [0, 1]
norm_bound: 10
purpose: research
result: {model: screening, title: Screening, licence: CC0-1.0, zones: [cyberjaya]}
"""


def written(tmp_path, text):
    path = tmp_path / "RUN.yaml"
    path.write_text(text)
    return path


def test_numbers_as_people_write_them_become_the_texts_that_are_signed(tmp_path):
    spec = load_run_spec(written(tmp_path, YAML))
    assert (spec.local.rate, spec.norm_bound, spec.app.hyperparameters) == ("0.05", "10", {"l2": "0.001"})
    assert spec.classes == ("0", "1")
    assert RunSpec.parse(spec.encode()) == spec
    assert RunSpec.of(spec.document()) == spec


@pytest.mark.parametrize(
    ("old", "new", "field", "remedy"),
    [
        ("strategy: FedAvg", "strategy: FedAgv", "strategy", "FedAvg"),
        ("rounds: 3", "rounds: 0", "rounds", ""),
        ("rounds: 3", f"rounds: {limits.RUN_ROUNDS_MAX + 1}", "rounds", ""),
        ("target: diagnosis", "taget: diagnosis", "taget", "target"),
        ("datasets/ours", "models/ours", "datasets", ""),
        ("norm_bound: 10", "norm_bound: -1", "norm_bound", ""),
        ("norm_bound: 10", "norm_bound: .nan", "norm_bound", ""),
        ("rate: 0.05", "rate: 1e-30", "local.rate", ""),
        ("purpose: research", "purpose: profit", "purpose", ""),
        ("purpose: research", "purpose: research\nmin_rows: 1", "min_rows", ""),
    ],
)
def test_what_is_wrong_is_told_with_file_line_field_and_remedy(tmp_path, old, new, field, remedy):
    path = written(tmp_path, YAML.replace(old, new))
    with pytest.raises(ManifestError) as caught:
        load_run_spec(path)
    line = 1 + path.read_text()[: path.read_text().index(new.split("\n")[-1].split("/")[0])].count("\n")
    assert f"{path}:{line}: {field}" in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": "f00"}, "among the features"),
        ({"features": ["f00", "f00"]}, "features names one twice"),
        ({"classes": ["a", "a"]}, "classes names one twice"),
        ({"classes": ["only"]}, "at least two"),
        ({"strategy": "FedProx"}, "proximal"),
        ({"local": {"rate": "0.1", "proximal": "1"}}, "proximal"),
        ({"strategy": "FedSGD"}, "one step"),
        ({"norm_bound": "0"}, "greater than zero"),
        ({"seed": -1}, "seed"),
        ({"round_deadline_s": 0}, "round_deadline_s"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_run_that_contradicts_itself_is_refused(changes, says):
    with pytest.raises(ManifestError, match=says):
        RunSpec.of(run_of(("datasets/a", "datasets/b"), **changes))


def test_what_comes_over_the_wire_is_bounded_and_canonical():
    data = RunSpec.of(run_of(("datasets/a",))).encode()
    with pytest.raises(ManifestError, match="limit"):
        RunSpec.parse(data + b" " * limits.RUN_SPEC_MAX)
    with pytest.raises(ManifestError, match="canonical"):
        RunSpec.parse(data + b" ")


def test_free_texts_stay_off_the_ledger():
    result = run_of(())["result"] | {"title": "Free", "description": "words of a person"}
    plain = RunSpec.of(run_of(("datasets/a",), result=result)).without_texts()
    assert (plain.result.title, plain.result.description, plain.result.terms) == ("screening", "", None)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(RunState, RunEvent)))
def test_every_pair_of_state_and_event_is_in_the_table_or_raises(state, event):
    if (state, event) in run.TRANSITIONS:
        assert run.advance(state, event) is run.TRANSITIONS[state, event]
    else:
        with pytest.raises(ConflictError, match=f"{state} cannot {event}"):
            run.advance(state, event)


def test_nothing_leads_out_of_an_end_and_every_open_state_can_end():
    assert not [pair for pair in run.TRANSITIONS if pair[0] in run.FINAL]
    for state in set(RunState) - run.FINAL:
        assert (state, RunEvent.FAIL) in run.TRANSITIONS
        assert (state, RunEvent.CANCEL) in run.TRANSITIONS


def test_only_known_reasons_stand_on_a_ledger():
    assert end_reason("Mr Smith was ill") == RunEnd.OTHER
    assert all(end_reason(reason) == reason for reason in END_REASONS)
    assert set(REASON_STATUS) < END_REASONS
