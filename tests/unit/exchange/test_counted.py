"""Who counts in the year is the pack's rule, on the gateway's side and in Rego alike."""

from __future__ import annotations

import pytest

from gateway.decisions.example import example
from gateway.decisions.inputs import Persons
from gateway.decisions.policy_set import PolicySet
from gateway.decisions.worker import Evaluator, compiled
from gateway.exchange.usage import counted
from gateway.model.policy_facts import DatasetFacts


@pytest.fixture(scope="module")
def rego():
    policy = PolicySet.load().for_zone("lingang")
    entrypoint = "tdz/packs/cn/personal_information/exempt"
    bundle = compiled({"modules": policy.modules, "data": policy.data, "entrypoint": entrypoint})
    return Evaluator(bundle, entrypoint)


@pytest.mark.parametrize("exemption", ["none", "contract", "hr", "emergency", "transit"])
@pytest.mark.parametrize("origin", ["domestic", "foreign_in_transit", "mixed"])
@pytest.mark.parametrize("jurisdictions", [["CN"], ["SG"], ["SG", "CN"], ["unknown"]], ids="-".join)
@pytest.mark.parametrize(("class_", "notified"), [("general", "no"), ("general", "unknown"), ("important", "yes")])
def test_an_exemption_counts_where_the_pack_grants_it(rego, exemption, origin, jurisdictions, class_, notified):
    document = example()
    document["dataset"] |= {"origin": origin, "origin_jurisdictions": jurisdictions}
    document["dataset"]["cn"] |= {"exemption": exemption, "class": class_, "notified_important": notified}
    exempt = rego.evaluate(document) == b'{"result":true}'
    persons = counted(DatasetFacts.model_validate(document["dataset"]))
    assert persons == (Persons(0, 0) if exempt else Persons(60_000, 0))
