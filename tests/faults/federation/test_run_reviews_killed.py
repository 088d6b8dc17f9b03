"""A gateway dies before or after each kind of operation by which a run is held and let go on; it comes to one end.

By default one occurrence of each kind, before it and after it in turn; TDZ_FAULTS=all takes every occurrence.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from gateway.sdk.admin import AsyncAdmin
from gateway.sdk.session import Session
from ledger.verify import verify_directory
from tests.e2e.material import LINGANG, next_id, open_dataset
from tests.e2e.runs import TRAINING, breast_cancer, halves, run_of
from tests.e2e.small import ADMINS
from tests.faults.exchange.stage import DEADLINE_S, Found, Gate, Stage, eventually, insist, stage
from tests.faults.exchange.test_kill_points import Point, _points
from tests.faults.exchange.test_reviews_killed import answer

_log = logging.getLogger(__name__)
pytestmark = pytest.mark.faults

_ALL = os.environ.get("TDZ_FAULTS") == "all"
_OF_REVIEWS = (
    "append approval", "append run.held", "append job.answered", "append job.proposed", "append run.agreed",
    "run.held", "run.answered", "run.reviewed", "run.proposed", "_go_on", "told", "propose", "hold_run",
)  # fmt: skip


async def tables(made: Stage) -> tuple[str, str]:
    """A table in each zone, for a purpose that both zones' policies review."""
    ours, theirs = halves(breast_cancer())
    purposes = {"purposes": ["unknown"], **TRAINING}
    here = await made.um.publish(ours, open_dataset(next_id("ours"), to=LINGANG, **purposes))
    there = await made.lab.publish(theirs, open_dataset(next_id("theirs"), **purposes))
    return here.name, there.name


async def approve(gate: Gate, run: str) -> None:
    """Two administrators approve whatever the run waits for in a zone."""
    for who in ADMINS[:2]:
        admin = AsyncAdmin(Session.open(gate.zone.profile(who)))
        try:
            for review in await insist(admin.reviews):
                if review.about == f"runs/{run}":
                    await answer(admin, review.id)
        finally:
            await admin.close()


async def story(made: Stage, names: tuple[str, str]) -> str:
    """A run that both zones' administrators let go on, wherever it waits, to its end; its id."""
    request_id = str(uuid.uuid4())
    run = await insist(lambda: made.um.run(run_of(names, purpose="unknown", rounds=1), request_id=request_id))
    until = time.monotonic() + 3 * DEADLINE_S
    while not (status := await insist(run.status)).ended:
        assert time.monotonic() < until, (status.state, status.held_by)
        if status.held_by:
            await approve(made.a if status.held_by.startswith("cyberjaya/") else made.b, run.id)
        await asyncio.sleep(0.05)
    assert (status.state, status.reason) == ("RELEASED", "")
    return str(run.id)


def chosen(found: list[Point]) -> list[Point]:
    """Of each kind of operation one: after its first occurrence, or before its last, in turn."""
    found = [point for point in found if any(word in point[0] for word in _OF_REVIEWS)]
    if _ALL:
        return found
    picked: list[Point] = []
    for number, label in enumerate(dict.fromkeys(label for label, _, _ in found)):
        last = max(occurrence for name, occurrence, _ in found if name == label)
        picked.append((label, last, "before") if number % 2 else (label, 1, "after"))
    return [point for point in picked if point in found]


async def dies_and_comes_back(made: Stage, gate: Gate, point: Point, names: tuple[str, str]) -> tuple[str, bool]:
    """One story during which the gateway dies at the point and is started again; its run, and whether it died."""
    label, occurrence, when = point
    await gate.arm(label=label, occurrence=occurrence, when=when)
    telling = asyncio.create_task(story(made, names))
    died = False
    while not telling.done():
        await asyncio.wait({telling}, timeout=0.05)
        if not gate.running:
            died = True
            await gate.ended()
            await gate.start()
    run = await telling
    if not died:
        await gate.disarm()
    return run, died


def check(made: Stage, runs: list[str]) -> None:
    """Whatever died when: both ledgers verify, nothing is half done, and no run went on before it was approved."""
    for gate in (made.a, made.b):
        report = verify_directory(gate.layout.ledger)
        assert not report.findings, report.findings
        assert gate.rows("SELECT * FROM pending") == []
        assert gate.rows("SELECT id FROM reviews WHERE state='OPEN'") == []
        assert {(state, by) for state, by in gate.rows("SELECT state, held_by FROM runs")} == {("RELEASED", "")}
        entries = gate.entries()
        assert len({entry["id"] for entry in entries}) == len(entries)
        for run in runs:
            _approved_before_it_goes_on([e for e in entries if e["subject"] == f"runs/{run}"], gate.zone.name)


def _approved_before_it_goes_on(entries: list[Found], zone: str) -> None:
    approved: dict[str, int] = {}
    persons: dict[str, list[str]] = {}
    for entry in entries:
        body = entry["body"]
        if entry["kind"] == "approval":
            persons.setdefault(body["review"], []).append(body["by"])
            if body["outcome"] == "APPROVED":
                assert body["review"] not in approved, f"{zone} approved {body['review']} twice"
                assert body["approvals"] == body["needed"] == len(set(persons[body["review"]])) == 2
                approved[body["review"]] = entry["seq"]
        for review in body.get("approvals", []) if entry["kind"] in {"job.decided", "release"} else []:
            assert approved[review] < entry["seq"], f"{zone} rests on {review} before it was approved"
    assert approved, f"{zone} approved nothing"
    assert len([e for e in entries if e["kind"] == "run.completed"]) == 1
    assert len([e for e in entries if e["kind"] == "run.agreed" and e["body"]["outcome"] == "in_force"]) <= 1


@pytest.mark.parametrize("side", ["consumer", "provider"])
async def test_a_gateway_killed_at_any_operation_of_a_held_run_comes_back_to_its_outcome(
    side: str, tmp_path: Path, record_property: Any
) -> None:
    missed: list[Point] = []
    async with stage(tmp_path) as made:
        gate = made.gate(side)
        names = await tables(made)
        await gate.arm()
        runs = [await story(made, names)]
        taken = chosen(list(_points(await gate.arm())))
        assert [point for point in taken if "append approval" in point[0]]
        for point in taken:
            started = time.monotonic()
            try:
                run, died = await dies_and_comes_back(made, gate, point, names)
            except Exception as error:
                raise AssertionError(f"{side} killed at {point}: {error}\n{gate.last_words()}") from error
            runs.append(run)
            missed += [] if died else [point]
            _log.info("%s killed at %s: %.1f s", side, point, time.monotonic() - started)

        async def told() -> bool:
            return not any(
                each.rows("SELECT 1 FROM runs WHERE told=0 OR state<>'RELEASED'") for each in (made.a, made.b)
            )

        await eventually(told, "both zones know of every end")
        await made.quiet()
        check(made, runs)
    record_property("kill_points", len(taken))
    record_property("not_reached", missed)
    # The word that a run is held need not be heard where it is approved at once.
    always = [point for point in missed if "run.held" not in point[0]]
    assert len(always) <= len(taken) // 10, f"the story does not come to {always}"
