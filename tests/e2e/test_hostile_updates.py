"""A zone that releases what it may not: refused by name, recorded on both ledgers, and the run ends."""

from __future__ import annotations

import numpy as np
import pytest
import pytest_asyncio

from gateway.errors import RunEndedError
from gateway.federation.parameters import Parameters, decode_parameters
from gateway.identity.keys import new_statement_key
from gateway.identity.statements import StatementSigner
from gateway.model.ids import uuid7
from tests.e2e.faulty_run_peer import RunFaults
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.runs import run_of, two_zones
from tests.e2e.small import entries, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def datasets(shared):
    return await two_zones(shared)


@pytest_asyncio.fixture(loop_scope="module")
async def faults(shared):
    """cyberjaya's gateway sees a lingang that is corrupt: it signs what it forges."""
    made = RunFaults(shared.a.corridor, shared.b.house, CYBERJAYA)
    shared.a.house.connect(made)
    yield made
    shared.a.house.connect(shared.a.corridor)


@pytest_asyncio.fixture(loop_scope="module")
async def sent(shared):
    """lingang's gateway is sent what a corrupt cyberjaya signs."""
    made = RunFaults(shared.a.corridor, shared.a.house, LINGANG)
    shared.a.house.connect(made)
    yield made
    shared.a.house.connect(shared.a.corridor)


def changed(change):
    """Forge an update's arrays; sums stay as they are."""

    def forge(update, data):
        if update.what == "sums" or (update.what == "parameters" and update.round == 1):
            return {}, data
        arrays = {name: np.array(array) for name, array in decode_parameters(data).items()}
        return {}, Parameters(change(arrays)).encode()

    return forge


def said(members, rounds=(1, 2, 3)):
    """Forge an update's statement alone."""
    return lambda update, data: (members if update.round in rounds else {}, data)


def nan(arrays):
    arrays["weight"][3, 0] = np.nan
    return arrays


def infinite(arrays):
    arrays["bias"][0] = -np.inf
    return arrays


def wider(arrays):
    return arrays | {"weight": np.zeros((31, 1))}


def renamed(arrays):
    return {"weights" if name == "weight" else name: array for name, array in arrays.items()}


def narrower(arrays):
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def one_less(arrays):
    return {"weight": arrays["weight"]}


def one_more(arrays):
    return arrays | {"rows": np.arange(40.0)}


def far(arrays):
    return {name: array + 1_000.0 for name, array in arrays.items()}


def a_little_too_far(arrays):
    step = np.zeros_like(arrays["weight"])
    step[0, 0] = 25.0
    return arrays | {"weight": arrays["weight"] + step}


def garbage(update, data):
    return ({}, data) if update.what == "sums" else ({}, bytes(len(data)))


def cut_header(update, data):
    return ({}, data) if update.what == "sums" else ({}, data[:40])


def too_long(update, data):
    return ({}, data) if update.what == "sums" else ({}, data + bytes(100_000))


def other_digest(update, data):
    return ({}, data) if update.what == "sums" else ({"digest": "0" * 64}, data)


def nan_sums(update, data):
    if update.what != "sums":
        return {}, data
    arrays = {name: np.array(array) for name, array in decode_parameters(data).items()}
    arrays["total"][0] = np.nan
    return {}, Parameters(arrays).encode()


def impossible_sums(update, data):
    if update.what != "sums":
        return {}, data
    arrays = {name: np.array(array) for name, array in decode_parameters(data).items()}
    return {}, Parameters(arrays | {"squares": arrays["squares"] * 0}).encode()


UPDATES = [
    (changed(nan), "TDZ-UPDATE-VALUE"),
    (changed(infinite), "TDZ-UPDATE-VALUE"),
    (changed(wider), "TDZ-UPDATE-SHAPE"),
    (changed(renamed), "TDZ-UPDATE-SHAPE"),
    (changed(narrower), "TDZ-UPDATE-SHAPE"),
    (changed(one_less), "TDZ-UPDATE-SHAPE"),
    (changed(one_more), "TDZ-UPDATE-SHAPE"),
    (changed(far), "TDZ-UPDATE-NORM"),
    (changed(a_little_too_far), "TDZ-UPDATE-NORM"),
    (said({"round": 2}, rounds=(1,)), "TDZ-UPDATE-RUN"),
    (said({"what": "outcome"}), "TDZ-UPDATE-RUN"),
    (said({"examples": 1_000_000}), "TDZ-UPDATE-EXAMPLES"),
    (said({"examples": 0}), "TDZ-UPDATE-EXAMPLES"),
    (said({"smallest_group": 1}), "TDZ-UPDATE-EXAMPLES"),
    (said({"run": uuid7()}), "TDZ-UPDATE-RUN"),
    (garbage, "TDZ-INTEGRITY"),
    (cut_header, "TDZ-INTEGRITY"),
    (other_digest, "TDZ-INTEGRITY"),
    (too_long, "TDZ-LIMIT"),
    (nan_sums, "TDZ-UPDATE-VALUE"),
    (impossible_sums, "TDZ-UPDATE-VALUE"),
]
NAMES = [
    "nan", "infinite", "wider", "renamed", "narrower", "one-less", "one-more", "far", "a-little-too-far",
    "another-round", "another-kind", "too-many-rows", "no-rows", "a-smaller-group", "another-run", "garbage",
    "cut-header", "other-digest", "too-long", "nan-sums", "impossible-sums",
]  # fmt: skip


async def ended(shared, datasets, **changes):
    """A run that must end; the error that its partner hears."""
    run = await (await shared.um()).run(run_of(datasets, **changes))
    with pytest.raises(RunEndedError) as caught:
        await run.wait()
    return run, caught.value


@pytest.mark.parametrize(("forge", "reason"), UPDATES, ids=NAMES)
async def test_a_forged_update_ends_the_run_by_name_on_both_ledgers(shared, datasets, faults, forge, reason):
    faults.forge = forge
    run, error = await ended(shared, datasets)
    assert reason in error.message
    subject = f"runs/{run.id}"
    refused = await recorded(shared.a, lambda e: e["subject"] == subject and e["kind"] == "round.refused")
    assert (refused["body"]["zone"], refused["body"]["reason"]) == (LINGANG, reason)
    failed = await recorded(shared.a, lambda e: e["subject"] == subject and e["kind"] == "run.failed")
    assert (failed["body"]["by"], failed["body"]["reason"]) == (LINGANG, reason)
    there = await recorded(shared.b, lambda e: e["subject"] == subject and e["kind"] == "run.failed")
    assert (there["body"]["reason"], there["body"]["heard"]) == (reason, True)
    accepted = [e for e in await entries(shared.a) if e["subject"] == subject and e["kind"] == "round.completed"]
    assert not accepted


async def test_an_update_that_another_key_signed_is_no_update(shared, datasets, faults):
    real = shared.b.house
    impostor = StatementSigner(real._signer.issuer, new_statement_key())

    class Impostor:
        def sign(self, body, *, to, process):
            kept, real._signer = real._signer, impostor
            try:
                return real.sign(body, to=to, process=process)
            finally:
                real._signer = kept

    faults.sender, faults.forge = Impostor(), lambda update, data: ({}, data)
    _, error = await ended(shared, datasets)
    assert "TDZ-INTEGRITY" in error.message


GLOBALS = [
    (changed(nan), "TDZ-UPDATE-VALUE"),
    (changed(far), "TDZ-UPDATE-NORM"),
    (changed(wider), "TDZ-UPDATE-SHAPE"),
    (
        lambda update, data: (
            ({}, Parameters({"weight": np.ones((30, 1)), "bias": np.ones(1)}).encode())
            if update.what == "parameters"
            else ({}, data)
        ),
        "TDZ-UPDATE-SHAPE",
    ),
    (nan_sums, "TDZ-UPDATE-VALUE"),
    (said({"examples": 3}), "TDZ-UPDATE-EXAMPLES"),
]


@pytest.mark.parametrize(
    ("forge", "reason"), GLOBALS, ids=["nan", "far", "wider", "another-start", "nan-sums", "other-rows"]
)
async def test_a_coordinator_that_sends_forged_parameters_is_refused_too(shared, datasets, sent, forge, reason):
    sent.forge_sent = forge
    run, error = await ended(shared, datasets)
    assert reason in error.message or "ended by the other zone" in error.message
    there = await recorded(shared.b, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "run.failed")
    assert (there["body"]["by"], there["body"]["reason"]) == (CYBERJAYA, reason)
