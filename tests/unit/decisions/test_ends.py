"""When what a decision rests on ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.decisions.ends import ends_of
from gateway.decisions.example import NOW, example
from gateway.decisions.inputs import KeptDecision
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.model.decision import Decision, PackVerdict

PACK_END = NOW + 400


@pytest.fixture(scope="module")
def policy() -> ZonePolicy:
    return PolicySet.load().for_zone("lingang")


def kept(document: dict[str, Any]) -> KeptDecision:
    packs = (PackVerdict("cn", "1", PACK_END, "pass"),)
    return KeptDecision(Decision("allow", (), (), packs, "", "id", "lingang", "", ""), document, NOW)


def named(list_item: str) -> dict[str, Any]:
    document = example()
    document["dataset"]["cn"]["list_item_id"] = list_item
    return document


def test_packs_and_mechanisms_end_it(policy: ZonePolicy) -> None:
    document = example()
    document["mechanisms"][0]["expires_at"] = NOW + 300
    document["mechanisms"][1]["expires_at"] = NOW + 500
    assert sorted(ends_of(policy, kept(document))) == [NOW + 300, PACK_END, NOW + 500]


def test_the_list_that_the_dataset_names_ends_it(policy: ZonePolicy) -> None:
    end = policy.data["tdz"]["lists"]["cn"]["vehicle-after-sales"]["valid_until"]
    assert end > NOW
    for item in ("vehicle-after-sales", "vehicle-after-sales/repair-history"):
        assert end in ends_of(policy, kept(named(item)))
    for item in ("", "no-such-list", "lingang-general"):  # the last is over already: review, not a past end
        assert end not in ends_of(policy, kept(named(item)))
        assert all(each > NOW for each in ends_of(policy, kept(named(item))))


def test_the_bundles_that_the_policy_came_in_end_it(policy: ZonePolicy) -> None:
    assert NOW + 50 in ends_of(replace(policy, until=NOW + 50), kept(example()))
    assert min(ends_of(policy, kept(example()))) > NOW


def test_a_model_has_neither_mechanisms_nor_lists(policy: ZonePolicy) -> None:
    assert ends_of(policy, kept(example("transfer_model"))) == [PACK_END]
