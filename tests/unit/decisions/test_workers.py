"""Workers that crash, hang, eat memory or are killed cost the decision that they were at; many decide side by side."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal

import psutil
import pytest

from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.example import example
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet
from gateway.errors import DecisionUnavailableError

_LONG_S = 60.0  # a decision here takes milliseconds; a loaded machine may take longer

# Each does its harm where the input asks for it, past the check that would refuse the first at load.
_CRASH = 'decision := strings.replace_n({"": "b"}, "abc") if input.bad\n\ndecision := input.n if not input.bad'
_HANG = """
decision := count([1 | some a in numbers.range(1, 20000); some b in numbers.range(1, 20000); a + b == 0]) if input.bad

decision := input.n if not input.bad
"""
_GROW = """
decision := count([x | some a in numbers.range(1, 20000); some b in numbers.range(1, 20000); x := [a, b]]) if input.bad

decision := input.n if not input.bad
"""


@pytest.fixture(scope="module")
def policy_set() -> PolicySet:
    return PolicySet.load()


def _policy(policy_set: PolicySet, rule: str):
    modules = {"tdz/main/main.rego": f"package tdz.main\n\n{rule}\n"}
    return dataclasses.replace(policy_set.for_zone("lingang"), modules=modules, data={"tdz": {}})


async def _asked(engine: EmbeddedEngine, n: int, *, bad: bool = False) -> object:
    return await engine.evaluate(json.dumps({"n": n, "bad": bad}).encode())


@pytest.mark.parametrize(
    ("rule", "deadline_s", "says"),
    [(_CRASH, _LONG_S, r"crashed|memory"), (_HANG, 5.0, r"no answer in 5 s|memory"), (_GROW, _LONG_S, r"memory")],
    ids=["crash", "hang", "memory"],
)
async def test_harm_costs_its_own_decision_under_load(policy_set, rule, deadline_s, says):
    engine = EmbeddedEngine(_policy(policy_set, rule), workers=2, deadline_s=deadline_s)
    await engine.start()
    try:
        await _asked(engine, 0)
        harmed = asyncio.create_task(_asked(engine, -1, bad=True))
        answered = 0
        while not harmed.done():  # the other worker goes on meanwhile
            assert await asyncio.gather(*(_asked(engine, n) for n in range(5))) == list(range(5))
            answered += 5
        with pytest.raises(DecisionUnavailableError, match=says):
            await harmed
        assert answered > 0
        assert await asyncio.gather(*(_asked(engine, n) for n in range(20))) == list(range(20))
    finally:
        await engine.close()


async def test_a_decision_that_cannot_be_made_is_a_denial_with_its_reason(policy_set):
    engine = EmbeddedEngine(
        _policy(policy_set, _CRASH.replace("input.bad", "input.request.now > 0")), deadline_s=_LONG_S
    )
    await engine.start()
    try:
        decision = await DecisionPoint(policy_set, "lingang", engine=engine).decide(example())
        assert (decision.effect, decision.findings[0].code) == ("deny", "TDZ-DECISION-UNAVAILABLE")
        assert decision.input_digest
    finally:
        await engine.close()


async def test_workers_killed_at_work_cost_no_more_than_their_decisions(policy_set):
    """kill -9 of whichever worker is at work, ten times while 400 decisions run: nothing is mixed up or lost."""
    engine = EmbeddedEngine(_policy(policy_set, "decision := input.n"), workers=2, deadline_s=_LONG_S)
    await engine.start()
    before = set(engine.worker_pids)
    try:
        asked = [asyncio.create_task(_asked(engine, n)) for n in range(400)]
        killed = 0
        while killed < 10 and not all(task.done() for task in asked):
            for worker in list(engine._busy):
                if worker.alive:
                    os.kill(worker.pid, signal.SIGKILL)
                    killed += 1
                    break
            done = sum(task.done() for task in asked)
            while sum(task.done() for task in asked) < min(done + 20, len(asked)):
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        lost = [outcome for outcome in outcomes if isinstance(outcome, DecisionUnavailableError)]
        assert killed > 0
        assert len(lost) <= killed
        assert all("crashed" in error.message for error in lost)
        assert [o for o in outcomes if isinstance(o, int)] == [n for n, o in enumerate(outcomes) if isinstance(o, int)]
        assert len(lost) + sum(isinstance(outcome, int) for outcome in outcomes) == 400
        assert set(engine.worker_pids) != before
        assert await asyncio.gather(*(_asked(engine, n) for n in range(20))) == list(range(20))
    finally:
        await engine.close()


async def test_every_worker_killed_at_rest_is_replaced(policy_set):
    engine = EmbeddedEngine(_policy(policy_set, "decision := input.n"), workers=3, deadline_s=_LONG_S)
    await engine.start()
    try:
        for _ in range(3):
            for pid in engine.worker_pids:
                os.kill(pid, signal.SIGKILL)
            while any(psutil.pid_exists(pid) and _runs(pid) for pid in engine.worker_pids):
                await asyncio.sleep(0.01)
            outcomes = [await _outcome(engine, n) for n in range(8)]
            assert outcomes[-1] == 7
    finally:
        await engine.close()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _outcome(engine: EmbeddedEngine, n: int) -> object:
    try:
        return await _asked(engine, n)
    except DecisionUnavailableError as error:
        return error


async def test_workers_work_side_by_side_and_none_is_left_over(policy_set):
    children = set(psutil.Process().children())
    engine = EmbeddedEngine(_policy(policy_set, "decision := input.n"), workers=3, deadline_s=_LONG_S)
    await engine.start()
    asked = [asyncio.create_task(_asked(engine, n)) for n in range(9)]
    while len(engine._busy) < 3:
        for worker in engine._busy:  # each is held where it is, so that the next one is needed
            os.kill(worker.pid, signal.SIGSTOP)
        await asyncio.sleep(0)
    assert not engine._idle
    for worker in engine._busy:
        os.kill(worker.pid, signal.SIGCONT)
    assert await asyncio.gather(*asked) == list(range(9))
    assert len(engine._idle) == 3
    await engine.close()
    assert [child for child in set(psutil.Process().children()) - children if child.is_running()] == []


async def test_waiting_ends_at_the_deadline_and_at_the_limit(policy_set):
    engine = EmbeddedEngine(_policy(policy_set, "decision := input.n"), workers=1, deadline_s=1.0, waiting=4)
    await engine.start()
    try:
        os.kill(engine.worker_pids[0], signal.SIGSTOP)
        outcomes = await asyncio.gather(*(_outcome(engine, n) for n in range(6)))
        assert all(isinstance(outcome, DecisionUnavailableError) for outcome in outcomes[4:])
        assert {outcome.message for outcome in outcomes[4:]} == {"4 decisions wait for the policy engine already"}
        assert "no answer in 1 s" in outcomes[0].message
    finally:
        await engine.close()


async def test_an_end_with_decisions_under_way_refuses_them_and_leaves_no_process(policy_set):
    children = set(psutil.Process().children())
    engine = EmbeddedEngine(_policy(policy_set, _HANG), workers=2, deadline_s=_LONG_S)
    await engine.start()
    asked = [asyncio.create_task(_outcome_of_hang(engine, n)) for n in range(4)]
    while len(engine._busy) < 2:
        await asyncio.sleep(0)
    await engine.close()
    outcomes = await asyncio.gather(*asked)
    assert all(isinstance(outcome, DecisionUnavailableError) for outcome in outcomes)
    assert [child for child in set(psutil.Process().children()) - children if child.is_running()] == []


async def test_an_answer_beyond_its_bound_costs_its_decision_and_its_worker_ends(policy_set):
    children = set(psutil.Process().children())
    long = f'["{"x" * 4_000}" | some _ in numbers.range(1, 1000)]'
    rule = f"decision := {long} if input.bad\n\ndecision := input.n if not input.bad"
    engine = EmbeddedEngine(_policy(policy_set, rule), deadline_s=_LONG_S)
    await engine.start()
    try:
        with pytest.raises(DecisionUnavailableError, match="too long"):
            await _asked(engine, 1, bad=True)
        assert await _asked(engine, 2) == 2
    finally:
        async with asyncio.timeout(_LONG_S):  # what nobody reads stands in the pipe of a process that is killed
            await engine.close()
    assert [child for child in set(psutil.Process().children()) - children if child.is_running()] == []


async def _outcome_of_hang(engine: EmbeddedEngine, n: int) -> object:
    try:
        return await _asked(engine, n, bad=True)
    except DecisionUnavailableError as error:
        return error
