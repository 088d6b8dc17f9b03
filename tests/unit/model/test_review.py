"""An approval lifts exactly the findings it was given for, on the facts and under the policy it was given for."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from gateway.model.decision import Decision, Finding
from gateway.model.ids import uuid7
from gateway.model.review import (
    Basis,
    Granted,
    Holder,
    Process,
    basis_of,
    by_policy,
    denial,
    facts_digest,
    lift,
    waits_for,
)

REVIEW = Finding("CN-IMPORTANT", "review", "house", "rule", "remedy", ("dataset.cn.class",))
OTHER = replace(REVIEW, code="LIST-EXPIRED")
TERMS = Finding("TDZ-TERMS", "review", "house", "the owner approves each request", "wait")
DENY = Finding("CN-CORE", "deny", "binding", "rule", "")
WARN = Finding("RF-HQ", "warn", "advisory", "rule", "")


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "request": {"now": 1, "purpose": "research"},
        "recipient": {"id": "a", "screening": {"list_revision": "r1", "result": "clear"}},
        "usage": {"cn": {"non_sensitive_after": 5}},
        "mechanisms": [],
        **changes,
    }


def decision(*findings: Finding, effect: Any = "review") -> Decision:
    return Decision(effect, findings, (), (), "0" * 64, uuid7(), "lingang", "a" * 64, "b" * 64)


def granted(made: Decision, document: dict[str, Any], holder: Holder = Holder.ADMIN) -> Granted:
    return Granted(uuid7(), holder, basis_of(made, document, holder))


def test_what_was_approved_is_lifted_and_names_its_approval() -> None:
    made = decision(REVIEW, WARN)
    grant = granted(made, facts())
    lifted, used = lift(made, facts(), [grant])
    assert (lifted.effect, used) == ("allow", (grant.id,))
    assert [(each.code, each.effect) for each in lifted.findings] == [("CN-IMPORTANT", "warn"), ("RF-HQ", "warn")]
    assert grant.id in lifted.findings[0].remedy
    assert Decision.from_json(lifted.to_json()) == lifted


def test_a_finding_that_came_later_keeps_it_in_review() -> None:
    lifted, used = lift(decision(REVIEW, OTHER), facts(), [granted(decision(REVIEW), facts())])
    assert lifted.effect == "review"
    assert len(used) == 1
    reworded = replace(REVIEW, cite="another rule")
    assert lift(decision(reworded), facts(), [granted(decision(REVIEW), facts())])[0].effect == "review"


@pytest.mark.parametrize(
    "made",
    [
        decision(REVIEW, DENY, effect="deny"),
        decision(REVIEW, effect="deny"),  # stricter than its findings
        decision(effect="review"),  # a review that no finding asks for
    ],
    ids=["a finding denies", "no finding says why", "nothing to lift"],
)
def test_where_anything_is_stricter_nothing_is_lifted(made: Decision) -> None:
    assert lift(made, facts(), [granted(decision(REVIEW), facts())]) == (made, ())


@pytest.mark.parametrize("member", ["policy_digest", "data_revision"])
def test_another_policy_is_not_covered_but_the_owners_word_is(member: str) -> None:
    grants = [granted(decision(REVIEW), facts()), granted(decision(TERMS), facts(), Holder.OWNER)]
    changed: dict[str, Any] = {member: "c" * 64}
    lifted, used = lift(replace(decision(REVIEW, TERMS), **changed), facts(), grants)
    assert lifted.effect == "review"
    assert used == (grants[1].id,)


def test_an_administrator_does_not_speak_for_the_owner_nor_the_owner_for_them() -> None:
    made = decision(REVIEW, TERMS)
    forged = basis_of(made, facts(), Holder.ADMIN), basis_of(made, facts(), Holder.OWNER)
    both = tuple(sorted({*forged[0].findings, *forged[1].findings}))
    for holder, basis in zip((Holder.ADMIN, Holder.OWNER), forged, strict=True):
        lifted, _ = lift(made, facts(), [Granted(uuid7(), holder, replace(basis, findings=both))])
        assert lifted.effect == "review"
    assert waits_for(made) is Holder.OWNER
    assert waits_for(decision(REVIEW)) is Holder.ADMIN


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"usage": {"cn": {"non_sensitive_after": 9}}}, True),
        ({"request": {"now": 99, "purpose": "research"}}, True),
        ({"recipient": {"id": "a", "screening": {"list_revision": "r2", "result": "clear"}}}, True),
        ({"recipient": {"id": "a", "screening": {"list_revision": "r1", "result": "hit"}}}, False),
        ({"recipient": {"id": "b", "screening": {"list_revision": "r1", "result": "clear"}}}, False),
        ({"request": {"now": 1, "purpose": "unknown"}}, False),
        ({"mechanisms": [{"ref": "m"}]}, False),
    ],
)
def test_what_moves_by_itself_is_no_other_fact_and_everything_else_is(change: dict[str, Any], same: bool) -> None:
    before = copy.deepcopy(facts())
    assert (facts_digest(facts(**change)) == facts_digest(facts())) is same
    assert (lift(decision(REVIEW), facts(**change), [granted(decision(REVIEW), facts())])[0].effect == "allow") is same
    assert facts() == before


def test_a_basis_reads_back_and_its_digest_covers_every_member() -> None:
    basis = basis_of(decision(REVIEW, OTHER), facts(), Holder.ADMIN)
    assert Basis.decode(basis.encode()) == basis
    assert basis.codes == ("CN-IMPORTANT", "LIST-EXPIRED")
    others = [
        replace(basis, facts="x"),
        replace(basis, policy="x"),
        replace(basis, data="x"),
        replace(basis, findings=()),
        replace(basis, codes=()),
    ]
    assert len({basis.digest, *(each.digest for each in others)}) == 6


def test_who_can_be_appealed_against() -> None:
    terms = replace(TERMS, effect="deny")
    assert by_policy([DENY])
    assert by_policy([DENY, terms])
    assert by_policy([denial("lingang", Holder.ADMIN)])
    assert not by_policy([terms])
    assert not by_policy([replace(DENY, code="TDZ-PEER")])
    assert not by_policy([REVIEW])
    assert denial("lingang", Holder.OWNER).code == "TDZ-TERMS"


def released(**measured: Any) -> dict[str, Any]:
    """A release of the run that `run_facts` are of."""
    document = run_facts()
    return {
        **document,
        "request": {**document["request"], "action": "release_output"},
        "release": {"smallest_group": 100, "digest": "d1", **measured},
    }


def run_facts() -> dict[str, Any]:
    return {**facts(), "request": {"now": 1, "purpose": "research", "action": "run_job"}, "release": None}


def test_what_was_approved_of_a_run_is_lifted_from_its_releases_where_the_same_is_found() -> None:
    grant = granted(decision(REVIEW), run_facts())
    for document in (run_facts(), released(), released(digest="d2")):
        lifted, used = lift(decision(REVIEW), document, [grant])
        assert (lifted.effect, used) == ("allow", (grant.id,))
    assert lift(decision(REVIEW, OTHER), released(), [grant])[0].effect == "review"
    assert lift(decision(REVIEW), {**released(), "mechanisms": ["another"]}, [grant])[0].effect == "review"


def test_what_was_approved_of_a_release_holds_for_that_one_alone() -> None:
    grant = granted(decision(OTHER), released())
    assert lift(decision(OTHER), released(), [grant])[0].effect == "allow"
    for document in (released(digest="d2"), released(smallest_group=99), run_facts()):
        assert lift(decision(OTHER), document, [grant])[0].effect == "review"


def test_a_denied_run_is_not_told_to_appeal() -> None:
    assert "appeal" in denial("lingang", Holder.ADMIN).remedy
    for holder in Holder:
        assert "appeal" not in denial("lingang", holder, process=Process.RUN).remedy
