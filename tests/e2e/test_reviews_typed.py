"""`tdz approvals` and `tdz request appeal`, as administrators and partners type them: text, JSON and exit codes."""

from __future__ import annotations

import json
import re
import time

import pytest

from gateway.cli.demo.corridor import ADMIN
from tests.e2e.material import next_id, open_dataset
from tests.e2e.runs import TRAINING, breast_cancer, halves, run_of

pytestmark = pytest.mark.e2e


def test_a_review_is_listed_shown_denied_and_appealed_against_at_the_prompt(scene):
    with scene.connect("lab") as lab:
        name = lab.publish(scene.table.slice(0, 20), open_dataset(next_id("odd"), purposes=["unknown"])).name
    admin = ("--profile", scene.cyberjaya.profile(ADMIN))
    dry = scene.run("request", name, "--purpose", "unknown", "--dry-run", as_="um")
    assert (dry.code, "would wait for a person" in dry.out, dry.err) == (3, True, "")
    asked = scene.run("request", name, "--purpose", "unknown", "--json", as_="um")
    assert (asked.code, asked.document["outcome"]) == (3, "review")
    request = asked.document["request"]
    listed = scene.run("approvals", "list", *admin)
    assert (listed.code, name in listed.out, "TDZ-PURPOSE" in listed.out) == (0, True, True)
    shown = scene.run("approvals", "show", request, *admin, "--json").document
    assert (shown["lifts"], shown["needed"], shown["facts"]["request"]["purpose"]) == (["TDZ-PURPOSE"], 2, "unknown")
    assert "0 of 2" in scene.run("approvals", "show", request, *admin).out
    stale = scene.run("approvals", "approve", request, "--basis", "0" * 64, *admin)
    assert (stale.code, stale.out) == (2, "")
    assert "changed since you looked" in stale.err
    assert scene.run("approvals", "deny", request, *admin).code == 2  # a denial says why
    first = scene.run("approvals", "approve", request, "--note", "fine", *admin)
    assert (first.code, "1 more administrator" in first.out) == (3, True)
    again = scene.run("approvals", "approve", request, *admin)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "another administrator must" in again.err


def test_a_denial_ends_it_and_who_denied_cannot_answer_the_appeal(scene):
    with scene.connect("lab") as lab:
        name = lab.publish(scene.table.slice(0, 20), open_dataset(next_id("odd"), purposes=["unknown"])).name
    admin = ("--profile", scene.cyberjaya.profile(ADMIN))
    request = scene.run("request", name, "--purpose", "unknown", "--json", as_="um").document["request"]
    denied = scene.run("approvals", "deny", request, "--note", "no", *admin, "--json")
    assert (denied.code, denied.document["state"]) == (0, "DENIED")
    ended = scene.run("request", "show", request, "--json", as_="um")
    assert (ended.code, ended.document["denied_by"], ended.document["appeal"]) == (1, "cyberjaya/admin", "")
    taken = scene.run("request", "appeal", request, "--note", "look again", as_="um")
    assert (taken.code, "cyberjaya answers until" in taken.out) == (0, True)
    assert scene.run("request", "appeal", request, "--note", "again", as_="um").code == 2
    refused = scene.run("approvals", "deny", request, "--note", "no", *admin)
    assert (refused.code, "took part" in refused.err) == (2, True)
    shown = scene.run("request", "show", request, as_="um").out
    assert "open until" in shown
    told = scene.run("transfer", "explain", f"requests/{request}", "--json", as_="um")
    until = time.monotonic() + 30
    while "took the appeal" not in json.dumps(told.document):  # the files follow the entry
        assert time.monotonic() < until
        told = scene.run("transfer", "explain", f"requests/{request}", "--json", as_="um")
    assert "cyberjaya/admin denied: the request ends" in json.dumps(told.document)


def test_an_own_agreement_is_revoked_and_anothers_does_not_exist(scene):
    agreement = scene.agreement()
    assert scene.run("agreement", "revoke", agreement, "--note", "x", as_="uitm").code == 2
    done = scene.run("agreement", "revoke", agreement, "--note", "done", as_="um")
    assert (done.code, "revoked" in done.out) == (0, True)
    assert scene.run("pull", agreement, "-o", scene.directory / "none.parquet", as_="um").code == 2


def test_a_run_that_waits_for_persons_says_for_whom_and_goes_on_at_the_prompt(scene):
    tables = [table.select(["f00", "f01", "diagnosis"]) for table in halves(breast_cancer())]
    with scene.connect("um") as um, scene.connect("lab") as lab:
        ours = um.publish(tables[0], open_dataset(next_id("ours"), to="lingang", **TRAINING)).name
        theirs = lab.publish(tables[1], open_dataset(next_id("theirs"), approval="owner", **TRAINING)).name
    file = scene.directory / "held.yaml"
    file.write_text(json.dumps(run_of((ours, theirs), rounds=1, features=["f00", "f01"])))  # JSON is YAML
    started = scene.run("run", "start", file, as_="um")
    assert (started.code, started.err.count("lingang/owner") >= 1) == (3, True)
    assert "waits for" in started.out
    run = re.search(r"runs/([0-9a-f-]{36})", started.out).group(1)
    shown = scene.run("run", "show", run, "--json", as_="um")
    assert (shown.code, shown.document["state"], shown.document["held_by"]) == (3, "SUBMITTED", "lingang/owner")
    (review,) = [
        each
        for each in scene.run("approvals", "list", "--json", as_="lab").document["reviews"]
        if each["about"] == f"runs/{run}"
    ]
    assert f"runs/{run}" in scene.run("approvals", "show", review["id"], as_="lab").out
    approved = scene.run("approvals", "approve", run, "--note", "a known university", as_="lab")
    assert (approved.code, "approved" in approved.out) == (0, True)
    followed = scene.run("run", "show", run, "--follow", "--json", as_="um")
    assert (followed.code, followed.document["state"]) == (0, "RELEASED")
