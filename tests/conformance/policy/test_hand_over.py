"""From one policy to the next with a real OPA: decided at every moment, under the right policy, and nothing left."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import EngineSettings
from gateway.decisions.engines import engines_of
from gateway.decisions.example import example
from gateway.decisions.opa_bundle import OpaBundle
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.model.decision import Decision
from tests.opa_server import OpaServer, make_server

ZONE = "lingang"
_LONG_S = 60.0
_SHORT_S = 1.0


@pytest.fixture
def policy(policy_set: PolicySet) -> ZonePolicy:
    return policy_set.for_zone(ZONE)


@pytest.fixture
def server(policy: ZonePolicy, tmp_path: Path):
    """A server of the test's own, with the first policy."""
    made = make_server(tmp_path / "opa")
    made.load(policy)
    made.start()
    yield made
    made.stop()


def revised(policy: ZonePolicy, code: str) -> ZonePolicy:
    """A policy whose every decision says which one it is."""
    rule = (
        f'package tdz.zone.{ZONE}\n\nfindings contains {{"code": "{code}", "effect": "info", "fields": []}} if true\n'
    )
    name = f"tdz/zone/{ZONE}/rules.rego"
    texts = {**policy.files, name: (rule + "\nobligations := set()\n").encode()}
    return PolicySet(texts).for_zone(ZONE)


@asynccontextmanager
async def point_of(
    policy: ZonePolicy, server: OpaServer, *, loads_s: float = _LONG_S, **changes: object
) -> AsyncIterator[DecisionPoint]:
    """What decides with OPA, started; closed in the end, with no task and no process left of it."""
    opa = dataclasses.replace(server.settings, rest_s=0.01, **changes)  # type: ignore[arg-type]
    settings = EngineSettings(kind="opa", workers=1, opa=opa)
    before = asyncio.all_tasks()
    point = DecisionPoint(policy, ZONE, engines=engines_of(settings, deadline_s=_LONG_S, loads_s=loads_s))
    try:
        await point.start()
        await point.in_force(_LONG_S)
        yield point
    finally:
        await point.close()
    assert asyncio.all_tasks() == before


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LONG_S):
        while not what():
            await asyncio.sleep(0.01)


def codes(decision: Decision) -> set[str]:
    return {finding.code for finding in decision.findings}


async def unavailable(point: DecisionPoint) -> str:
    """Why nothing is decided."""
    decision = await point.decide(example())
    assert decision.effect == "deny"
    (finding,) = decision.findings
    assert finding.code == "TDZ-DECISION-UNAVAILABLE"
    return finding.cite


def gone(pids: tuple[int, ...]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def written(server: OpaServer, policy: ZonePolicy) -> bool:
    return server.bundle.read_bytes() == OpaBundle.of(policy).archive()


async def test_while_opa_loads_a_policy_there_is_no_moment_without_one(policy: ZonePolicy, server: OpaServer) -> None:
    seen: list[Decision] = []
    stopping = asyncio.Event()
    async with point_of(policy, server) as point:

        async def deciding() -> None:
            while not stopping.is_set():
                seen.append(await point.decide(example()))
                await asyncio.sleep(0)  # a decision that waits for nothing lets nobody else run

        working = [asyncio.create_task(deciding()) for _ in range(4)]
        await until(lambda: len(seen) > 20)
        following = [revised(policy, f"LG-{n}{n}") for n in "ABC"]
        for each in following:
            point.switch(await point.prepare(each, [example()]))
            pids = point.worker_pids
            assert pids, "the engine that tried it decides"
            at = len(seen)
            await until(lambda: not point.worker_pids)  # OPA does from here on
            assert written(server, each)
            await until(lambda at=at: len(seen) > at + 20)
            await until(lambda pids=pids: gone(pids))
        stopping.set()
        await asyncio.gather(*working)
    assert {decision.effect for decision in seen} == {"allow"}
    assert not any("TDZ-DECISION-UNAVAILABLE" in codes(decision) for decision in seen)
    said = {policy.digest: set[str](), **{p.digest: {f"LG-{n}{n}"} for n, p in zip("ABC", following, strict=True)}}
    for decision in seen:
        assert codes(decision) & {"LG-AA", "LG-BB", "LG-CC"} == said[decision.policy_digest]


async def test_decisions_are_under_the_new_policy_from_the_switch_on(policy: ZonePolicy, server: OpaServer) -> None:
    async with point_of(policy, server) as point:
        server.signal(signal.SIGSTOP)  # it answers nothing until it goes on
        try:
            following = revised(policy, "LG-NEW")
            point.switch(await point.prepare(following))
            decision = await point.decide(example())
            assert (decision.policy_digest, codes(decision)) == (following.digest, {"LG-NEW"})
            await until(lambda: written(server, following))
            assert "until the server has the policy" in point.engine_state
            assert codes(await point.decide(example())) == {"LG-NEW"}
        finally:
            server.signal(signal.SIGCONT)
        await until(lambda: not point.worker_pids)
        assert codes(await point.decide(example())) == {"LG-NEW"}
        assert "until" not in point.engine_state


async def test_what_is_at_work_finishes_on_the_policy_before_and_only_then_opa_loads_the_next(
    policy: ZonePolicy, server: OpaServer
) -> None:
    async with point_of(policy, server) as point:
        server.signal(signal.SIGSTOP)
        try:
            asked = asyncio.create_task(point.decide(example()))
            await asyncio.sleep(0)
            following = revised(policy, "LG-NEW")
            point.switch(await point.prepare(following))
            assert codes(await point.decide(example())) == {"LG-NEW"}
            assert written(server, policy)
            assert not asked.done()
        finally:
            server.signal(signal.SIGCONT)
        before = await asked
        assert (before.effect, before.policy_digest, codes(before)) == ("allow", policy.digest, set())
        await until(lambda: not point.worker_pids)


async def test_opa_that_never_loads_denies_once_its_time_is_over_and_decides_when_it_has_it_after_all(
    policy: ZonePolicy, server: OpaServer, tmp_path: Path
) -> None:
    async with point_of(policy, server, loads_s=_SHORT_S, bundle=tmp_path / "elsewhere.tar.gz") as point:
        following = revised(policy, "LG-NEW")
        point.switch(await point.prepare(following))
        pids = point.worker_pids
        assert codes(await point.decide(example())) == {"LG-NEW"}
        await until(lambda: not point.worker_pids)
        assert "another policy loaded than the one in force" in await unavailable(point)
        assert "another policy loaded than the one in force" in point.engine_state
        await until(lambda: gone(pids))
        server.load(following)
        await point.in_force(_LONG_S)
        assert codes(await point.decide(example())) == {"LG-NEW"}


async def test_opa_that_is_away_when_it_should_load_denies_once_its_time_is_over(
    policy: ZonePolicy, server: OpaServer
) -> None:
    async with point_of(policy, server, loads_s=_SHORT_S) as point:
        server.signal(signal.SIGKILL)
        server.stop()
        following = revised(policy, "LG-NEW")
        point.switch(await point.prepare(following))
        assert codes(await point.decide(example())) == {"LG-NEW"}
        await until(lambda: not point.worker_pids)
        assert "cannot be reached" in await unavailable(point)
        server.start()  # with what the gateway wrote meanwhile
        await point.in_force(_LONG_S)
        assert codes(await point.decide(example())) == {"LG-NEW"}


async def test_opa_that_starts_anew_while_it_should_load_is_waited_for(policy: ZonePolicy, server: OpaServer) -> None:
    async with point_of(policy, server) as point:
        server.stop()
        following = revised(policy, "LG-NEW")
        point.switch(await point.prepare(following))
        await until(lambda: written(server, following))
        assert codes(await point.decide(example())) == {"LG-NEW"}
        server.start()
        await until(lambda: not point.worker_pids)
        assert codes(await point.decide(example())) == {"LG-NEW"}


async def test_a_bundle_that_cannot_be_written_denies_and_leaves_no_engine_behind(
    policy: ZonePolicy, server: OpaServer, tmp_path: Path
) -> None:
    folder = tmp_path / "bundles"
    folder.mkdir()
    async with point_of(policy, server, bundle=folder / "zone.tar.gz") as point:
        (folder / "zone.tar.gz").unlink()
        folder.rmdir()
        folder.write_bytes(b"")  # no folder any more
        point.switch(await point.prepare(revised(policy, "LG-NEW")))
        pids = point.worker_pids
        await until(lambda: not point.worker_pids)
        assert "the bundle for OPA cannot be written" in await unavailable(point)
        await until(lambda: gone(pids))


async def test_a_second_switch_takes_over_from_one_whose_server_has_not_loaded_it_yet(
    policy: ZonePolicy, server: OpaServer
) -> None:
    async with point_of(policy, server) as point:
        server.signal(signal.SIGSTOP)
        try:
            first, second, third = (revised(policy, f"LG-{n}{n}") for n in "ABC")
            point.switch(await point.prepare(first))
            await until(lambda: written(server, first))
            pids = point.worker_pids
            point.switch(await point.prepare(second))
            assert codes(await point.decide(example())) == {"LG-BB"}
            await until(lambda: written(server, second))
            await until(lambda: gone(pids))
            prepared = await point.prepare(third), await point.prepare(first)
            for each in prepared:  # two at once: the last one counts, and is what is written last
                point.switch(each)
            assert codes(await point.decide(example())) == {"LG-AA"}
            await until(lambda: written(server, first))
        finally:
            server.signal(signal.SIGCONT)
        await until(lambda: not point.worker_pids)
        assert written(server, first)
        assert codes(await point.decide(example())) == {"LG-AA"}


async def test_what_is_withheld_while_opa_loads_stays_withheld(policy: ZonePolicy, server: OpaServer) -> None:
    async with point_of(policy, server) as point:
        server.signal(signal.SIGSTOP)
        try:
            following, last = revised(policy, "LG-NEW"), revised(policy, "LG-LAST")
            point.switch(await point.prepare(following))
            await until(lambda: written(server, following))
            point.withhold("nobody knows which policy is in force")
            assert "nobody knows" in await unavailable(point)
        finally:
            server.signal(signal.SIGCONT)
        assert "nobody knows" in await unavailable(point)
        point.switch(await point.prepare(last))
        await until(lambda: not point.worker_pids)
        assert codes(await point.decide(example())) == {"LG-LAST"}


@pytest.mark.parametrize("moment", ["at once", "written"])
async def test_a_close_while_opa_loads_leaves_no_process_and_no_task(
    policy: ZonePolicy, server: OpaServer, moment: str
) -> None:
    loop = asyncio.get_running_loop()
    async with point_of(policy, server) as point:  # holds that no task is left
        server.signal(signal.SIGSTOP)
        try:
            following = revised(policy, "LG-NEW")
            point.switch(await point.prepare(following))
            pids = point.worker_pids
            if moment == "written":
                await until(lambda: written(server, following))
            began = loop.time()
            await point.close()
            assert loop.time() - began < _LONG_S / 2, "it does not wait for a server that stands still"
            assert gone(pids)
            assert "closed" in await unavailable(point)
        finally:
            server.signal(signal.SIGCONT)
    assert os.getpid() not in pids
