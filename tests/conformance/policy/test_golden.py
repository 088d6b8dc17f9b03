"""The golden rows, made from `tdz policy example` by editing a few values, as an administrator would."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway.decisions.cases import put, take
from gateway.decisions.example import NOW, example

_VEHICLE = {
    "dataset.category": "vehicle",
    "dataset.cn.list_item_id": "vehicle-after-sales",
    "dataset.columns.0": {"name": "camera", "arrow_type": "binary", "tags": ["face"]},
    "dataset.columns.1": {"name": "vin", "arrow_type": "string", "tags": ["vin"]},
    "mechanisms.1.kind": "general_list_filing",
}
_SENSITIVE = {"dataset.cn.subjects_sensitive": 1, "usage.cn.sensitive_after": 1, "mechanisms.1.kind": "certification"}
_IMPORTANT = {"dataset.cn.class": "important", "dataset.cn.notified_important": "yes"}
_TWO_YEARS, _THREE_YEARS = 1_732_233_600, 1_700_611_200  # 22 Nov 2024 and 2023, 00:00 UTC
_NO_PATHS: tuple[str, ...] = ()

# Row, action, from, to, gateway, edits, taken away: effect, codes of deny and review, warnings, one obligation.
_ROWS: list[tuple[Any, ...]] = [
    ("1", "transfer_dataset", "CN", {"usage.cn.non_sensitive_after": 99_999}, _NO_PATHS, "allow", set(), "ledger_add"),
    ("2 nothing filed", "transfer_dataset", "CN", {"usage.cn.non_sensitive_after": 110_000}, ("mechanisms.1",),
     "deny", {"CN-CBDF-MECH"}, ""),
    ("2 contract", "transfer_dataset", "CN", {"usage.cn.non_sensitive_after": 110_000}, _NO_PATHS,
     "allow", set(), "no_onward"),
    ("4 valid", "transfer_dataset", "CN", _SENSITIVE, _NO_PATHS, "allow", set(), "ledger_add"),
    ("4 expired", "transfer_dataset", "CN", {**_SENSITIVE, "mechanisms.1.expires_at": NOW}, _NO_PATHS,
     "deny", {"CN-MECH-EXPIRED"}, ""),
    ("5 rows", "transfer_dataset", "CN", _IMPORTANT, _NO_PATHS, "deny", {"CN-IMPORTANT"}, ""),
    ("5 aggregate", "run_job", "CN", _IMPORTANT, _NO_PATHS, "review", {"CN-IMPORTANT"}, "require_approval"),
    ("7 faces", "transfer_dataset", "CN", {**_VEHICLE, "dataset.deid.method": "none"}, _NO_PATHS,
     "deny", {"CN-LG-COND"}, ""),
    ("7 blurred", "transfer_dataset", "CN", {**_VEHICLE, "dataset.deid.method": "blurred"}, _NO_PATHS,
     "allow", set(), "mask_columns"),
    ("7 list expired", "transfer_dataset", "CN",
     {**_VEHICLE, "dataset.deid.method": "blurred", "dataset.cn.list_item_id": "lingang-general"}, _NO_PATHS,
     "review", {"LIST-EXPIRED"}, "require_approval"),
    ("8", "transfer_dataset", "CN", {"request.purpose": "judicial"}, _NO_PATHS, "deny", {"CN-DSL36"}, ""),
    ("10 two years", "transfer_dataset", "MY", {"mechanisms.0.issued_at": _TWO_YEARS}, _NO_PATHS,
     "allow", set(), "delete_by"),
    ("10 three years", "transfer_dataset", "MY", {"mechanisms.0.issued_at": _THREE_YEARS}, _NO_PATHS,
     "deny", {"MY-TIA-STALE"}, ""),
    ("12 not open", "transfer_dataset", "MY", {"dataset.gov_source": "federal"}, _NO_PATHS, "deny", {"MY-GOV"}, ""),
    ("12 open", "transfer_dataset", "MY", {"dataset.gov_source": "open"}, _NO_PATHS, "allow", set(), "delete_by"),
    ("13 twelve", "release_output", "CN", {"release.smallest_group": 12}, _NO_PATHS, "allow", set(), "aggregate_only"),
    ("13 seven", "release_output", "CN", {"release.smallest_group": 7}, _NO_PATHS, "deny", {"TDZ-GROUP"}, ""),
    ("13 updates", "release_output", "CN", {"job.output_kind": "model_update"}, _NO_PATHS,
     "allow", set(), "aggregate_only"),
    ("15", "transfer_model", "MY", {}, _NO_PATHS, "allow", set(), ""),
    ("15 a count missing", "transfer_model", "MY", {}, ("model.training.runs.0.devices.0.count",),
     "deny", {"TDZ-INPUT-INCOMPLETE"}, ""),
]  # fmt: skip


def _edited(action: str, origin: str, edits: dict[str, Any], taken: tuple[str, ...]) -> dict[str, Any]:
    document = copy.deepcopy(example(action, origin, "MY" if origin == "CN" else "CN"))
    for path, value in edits.items():
        put(document, path, value)
    for path in taken:
        take(document, path)
    return document


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0])
def test_a_golden_row_comes_from_the_example_by_a_few_edits(row, policy_set, embedded, real_opa):
    _, action, origin, edits, taken, effect, codes, obligation = row
    assert len(edits) + len(taken) <= 6
    policy = policy_set.for_zone("lingang" if origin == "CN" else "cyberjaya")
    document = _edited(action, origin, edits, taken)
    for (answer,) in (embedded(policy, [document]), real_opa(policy, [document])):
        assert answer["effect"] == effect
        assert {f["code"] for f in answer["findings"] if f["effect"] in {"deny", "review"}} == codes
        assert not obligation or obligation in {o["kind"] for o in answer["obligations"]}


def test_row_15_warns_at_cyberjaya_alone(policy_set, embedded, real_opa):
    document = example("transfer_model", "MY", "CN")
    for decide in (embedded, real_opa):
        (ours,) = decide(policy_set.for_zone("cyberjaya"), [document])
        (theirs,) = decide(policy_set.for_zone("lingang"), [document])
        (without,) = decide(policy_set.without({"us"}).for_zone("cyberjaya"), [document])
        assert {f["code"]: f["effect"] for f in ours["findings"]} == {"RF-DEV-PRC": "warn", "RF-HQ": "info"}
        assert ours["effect"] == theirs["effect"] == without["effect"] == "allow"
        assert theirs["findings"] == without["findings"] == []
