"""No verdict differs: generated inputs, valid and invalid, on the embedded engine and on a real OPA server.

A slice runs with the other tests; `make policy-differential` runs 20,000, or `TDZ_DIFFERENTIAL=N` as many as wanted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections import Counter
from itertools import islice

import pytest

from gateway.decisions.opa import OpaEngine
from gateway.errors import DecisionUnavailableError
from gateway.model.policy_input import PolicyInput
from tests.conformance.policy.generated import documents

_COUNT = int(os.environ.get("TDZ_DIFFERENTIAL", "1500"))
_SEED = int(os.environ.get("TDZ_DIFFERENTIAL_SEED", "20261122"))
_BATCH = 250
_AT_ONCE = 8
_NONE = ("no answer",)


def _verdict(answer: object) -> tuple:
    """Effect, findings with their fields, obligations with their parameters, and each pack's verdict."""
    if not isinstance(answer, dict):
        return _NONE

    def parts(name: str) -> list[str]:
        return sorted(json.dumps(part, sort_keys=True) for part in answer[name])

    return answer["effect"], parts("findings"), parts("obligations"), parts("packs")


@pytest.mark.parametrize("zone", ["lingang", "cyberjaya"])
async def test_no_generated_input_gets_another_verdict_from_the_other_engine(zone, policy_set, embedded, opa_servers):
    policy = policy_set.for_zone(zone)
    server = opa_servers(policy)
    engine = OpaEngine(policy, dataclasses.replace(server.settings, bundle=None), deadline_s=120.0)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def theirs(document: object) -> tuple:
        async with turns:
            try:
                return _verdict(await engine.evaluate(json.dumps(document, ensure_ascii=False).encode()))
            except DecisionUnavailableError as error:
                if "no result" in error.message or "failed in OPA" in error.message:
                    return _NONE
                raise

    drawn = documents(_SEED + len(zone), _COUNT // 2)
    effects, codes, valid, asked = Counter(), Counter(), 0, 0
    try:
        await engine.in_force(120.0)
        while batch := list(islice(drawn, _BATCH)):
            under_way = asyncio.gather(*(theirs(document) for document in batch))
            ours = await asyncio.to_thread(lambda batch=batch: [_verdict(answer) for answer in embedded(policy, batch)])
            for document, our, their in zip(batch, ours, await under_way, strict=True):
                assert our == their, json.dumps(document)
                asked += 1
                effects[our[0]] += 1
                is_valid = _valid(document)
                valid += is_valid
                if our is not _NONE:
                    codes.update(json.loads(finding)["code"] for finding in our[1])
    finally:
        await engine.close()
    print(f"\n{zone}: {asked} inputs, {valid} valid; {dict(effects)}; {len(codes)} codes: {dict(codes.most_common())}")
    assert 0.2 * asked < valid < 0.8 * asked
    assert {"allow", "deny"} <= set(effects)
    assert len(codes) >= 10


def _valid(document: object) -> bool:
    try:
        PolicyInput.model_validate(document)
    except ValueError:
        return False
    return True
