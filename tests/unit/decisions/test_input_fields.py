"""What rules read of the input: one check, for authors of a policy directory and for bundles at the gate alike."""

from __future__ import annotations

import pytest

from gateway.decisions.input_fields import check_fields, unknown_fields
from gateway.decisions.policy_set import PolicySet
from gateway.errors import ConfigError

NAME = "tdz/zone/lingang/own.rego"


def found(rule: str) -> list[tuple[int, str]]:
    return [(each.line, each.path) for each in unknown_fields({NAME: f"package tdz.zone.lingang\n\n{rule}\n"})]


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("input.nothing", "nothing"),
        ("input.request.nowe", "request.nowe"),
        ('input["reqest"].now', "reqest"),
        ('input.request["nowe"]', "request.nowe"),
        ("input.request.now.year", "request.now.year"),
        ("input.mechanisms[_].kid", "mechanisms[_].kid"),
        ("input.mechanisms[i].scope.datasets", "mechanisms[i].scope.datasets"),
        ("input.mechanisms.kind", "mechanisms.kind"),
        ("input.dataset.cn.basis_of", "dataset.cn.basis_of"),
        ("input.model.training.runs[_].devices[_].sku_no", "model.training.runs[_].devices[_].sku_no"),
        ("input.request.now[0]", "request.now[0]"),
    ],
)
def test_what_no_input_has_is_named_with_its_line(reference: str, path: str) -> None:
    assert found(f"x if {reference} == 1") == [(3, path)]
    with pytest.raises(ConfigError, match=r"own\.rego, line 4: no input has the field") as refused:
        check_fields({NAME: f"package tdz.zone.lingang\n\n\nx if {reference} == 1\n"})
    assert f"no input has the field {path}," in refused.value.message
    assert "tdz policy example" in refused.value.remedy


@pytest.mark.parametrize(
    "rule",
    [
        "x if input.request.now == 1",
        'x if input["request"]["now"] == 1',
        "x if input.mechanisms[_].scope.dataset_ids[_] == 1",
        "x if input.mechanisms[0].kind == 1",
        "x if input.dataset[name] == 1",
        "x if input.dataset[name].anything == 1",
        "x if input.dataset.cn.hgr.special == 1",
        "x := input",
        "x := myinput.nothing",
        "x := data.input.nothing",
        'x := "input.nothing"',
        "x := `input.nothing`",
        "x := 1 # input.nothing",
    ],
)
def test_what_an_input_may_have_and_what_is_no_reference_is_let_be(rule: str) -> None:
    assert found(rule) == []


def test_every_one_is_found_not_the_first_alone() -> None:
    assert found("x if input.a == 1\n\ny if input.request.b == 1") == [(3, "a"), (5, "request.b")]


def test_the_shipped_policy_asks_for_nothing_that_no_input_has() -> None:
    for zone in ("lingang", "cyberjaya"):
        check_fields(PolicySet.load().for_zone(zone).modules)
