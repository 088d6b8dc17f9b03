"""Federated runs between two real gateways: what is agreed, trained, released and recorded."""

from __future__ import annotations

import pytest

from tests.e2e.runs import run_of, two_zones
from tests.e2e.small import entries

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


def kinds(found, run):
    return [entry["kind"] for entry in found if entry["subject"] == f"runs/{run}"]


async def test_a_run_trains_on_both_zones_and_both_ledgers_say_the_same(shared):
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names))
    states = [status async for status in run.watch()]
    print([s.state for s in states], states[-1].reason, states[-1].findings)
    last = await run.wait()
    assert last.round == 3
    print(last.history)
    for gateway in (shared.a, shared.b):
        print(kinds(await entries(gateway), run.id))
