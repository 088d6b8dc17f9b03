"""The owner's word as findings, the gateway's own findings, and how they tighten a decision."""

from __future__ import annotations

import itertools

import pytest

from gateway.errors import DeniedError, ReviewError
from gateway.flow import findings
from gateway.model.decision import EFFECTS, Decision, Finding, PackVerdict
from gateway.model.ids import uuid7
from gateway.model.terms import Terms

HOUSE = [
    findings.NOT_OFFERED, findings.STALE, findings.SAME_ZONE, findings.PEER, findings.BROKEN, findings.CLOCK,
]  # fmt: skip


def terms(**members):
    return Terms.model_validate({"offered_to": {"zones": ["cyberjaya"]}, "purposes": ["research"], **members})


def decision(effect="allow", *found):
    packs = (PackVerdict("my", "2026-1", 0, "pass"),)
    return Decision(effect, tuple(found), (), packs, "", uuid7(), "lingang", "", "")


def finding(effect):
    return Finding(code="TDZ-TEST", effect=effect, authority="house", cite="", remedy="")


def test_terms_that_offer_it_for_the_purpose_say_nothing():
    assert findings.terms_findings(terms(), "research", "transfer_dataset") == []


def test_another_purpose_is_denied_and_the_offered_ones_named():
    (found,) = findings.terms_findings(terms(purposes=["research", "public_health"]), "judicial", "transfer_dataset")
    assert (found.code, found.effect) == ("TDZ-TERMS", "deny")
    assert "research, public_health" in found.cite
    assert found.remedy


def test_terms_for_jobs_alone_deny_a_transfer():
    (found,) = findings.terms_findings(terms(actions=["run_job"]), "research", "transfer_dataset")
    assert found.effect == "deny"


def test_an_owner_who_approves_each_request_makes_it_a_review_and_never_lifts_a_denial():
    owned = terms(approval="owner")
    assert [f.effect for f in findings.terms_findings(owned, "research", "transfer_dataset")] == ["review"]
    both = findings.terms_findings(owned, "judicial", "transfer_dataset")
    assert findings.tighten(decision(), *both).effect == "deny"


@pytest.mark.parametrize(("before", "further"), list(itertools.product(EFFECTS, ("info", "warn", "review", "deny"))))
def test_a_further_finding_only_ever_tightens(before, further):
    tightened = findings.tighten(decision(before), finding(further))
    order = list(EFFECTS)
    assert order.index(tightened.effect) >= order.index(before)
    assert tightened.findings[-1].effect == further
    if further in {"review", "deny"}:
        assert order.index(tightened.effect) >= order.index(further)


@pytest.mark.parametrize("found", HOUSE, ids=lambda found: found.cite[:30])
def test_every_finding_of_the_gateway_denies_and_says_what_would_mend_it(found):
    assert found.effect == "deny"
    assert found.authority == "house"
    assert found.cite
    assert found.remedy
    assert found.fields == ()
    refused = findings.refusal("lingang", found)
    assert (refused.effect, refused.findings, refused.packs) == ("deny", (found,), ())
    assert Decision.from_json(refused.to_json()) == refused


def test_a_partner_is_told_what_denies_or_waits_and_not_what_only_informs():
    told = findings.raised("deny", [finding("info"), finding("deny")], decision_id="d", request_id="r")
    assert isinstance(told, DeniedError)
    assert [f[1] for f in told.findings] == ["deny"]
    assert (told.decision_id, told.request_id) == ("d", "r")
    waits = findings.raised("review", [finding("review")], decision_id="d", request_id="r", held_by="lingang/admin")
    assert isinstance(waits, ReviewError)
    assert "lingang/admin" in waits.message
    assert "tdz request show r" in waits.remedy


@pytest.mark.parametrize(
    ("offered", "until", "zone", "participant", "now", "wanted"),
    [
        ({"zones": ["cyberjaya"]}, 0, "cyberjaya", "tdz://cyberjaya/partner/um", 5, True),
        ({"zones": ["cyberjaya"]}, 0, "lingang", "tdz://lingang/partner/lab", 5, False),
        ({"participants": ["tdz://cyberjaya/partner/um"]}, 0, "cyberjaya", "tdz://cyberjaya/partner/um", 5, True),
        ({"participants": ["tdz://cyberjaya/partner/um"]}, 0, "cyberjaya", "tdz://cyberjaya/partner/um2", 5, False),
        ({"zones": ["cyberjaya"]}, 6, "cyberjaya", "tdz://cyberjaya/partner/um", 5, True),
        ({"zones": ["cyberjaya"]}, 5, "cyberjaya", "tdz://cyberjaya/partner/um", 5, False),
    ],
)
def test_terms_offer_to_whom_they_name_until_their_date(offered, until, zone, participant, now, wanted):
    assert terms(offered_to=offered, until=until).offers(zone=zone, participant=participant, now=now) is wanted
