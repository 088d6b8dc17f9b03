"""What one administrator asked for and another, or the same, takes back; and what is told while a policy is tried."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.cli.demo.corridor import ADMIN
from gateway.decisions.bundles.store import PolicyStore
from gateway.decisions.trial import trials
from gateway.errors import ConflictError, InputError, NotFoundError, PermissionDeniedError
from gateway.model.limits import REVIEW_TTL_S
from gateway.model.participant import Role
from gateway.sdk.admin import AsyncAdmin, PolicyWork
from gateway.sdk.session import Session
from tests.e2e.material import CYBERJAYA, LINGANG, next_id
from tests.e2e.policies import SECOND, activate, decided, next_revision, policy_entries, propose
from tests.e2e.small import DEADLINE_S, Small, entries, eventually, small_corridor
from tests.unit.decisions.bundles import material

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Small]:
    async with small_corridor(tmp_path_factory.mktemp("policy")) as made:
        material.trust(made.a.settings.layout.policy_trust)
        yield made


async def new_bundle(small: Small) -> tuple[bytes, str]:
    data = material.forbidding(CYBERJAYA, await next_revision(small), "public_health")
    return data, hashlib.sha256(data).hexdigest()


async def tdz(small: Small, who: str, *arguments: str) -> tuple[int, str, str]:
    """A command as it is typed: exit code, standard output, standard error."""
    profile = small.corridor.zone(CYBERJAYA).profile(who)
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli.main", *arguments, "--profile", str(profile)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(2 * DEADLINE_S):
        out, err = await run.communicate()
    return run.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize("who", [ADMIN, SECOND], ids=["by who asked", "by another"])
async def test_what_is_taken_back_counts_no_more_and_stands_on_the_ledger(shared: Small, who: str) -> None:
    data, digest = await new_bundle(shared)
    before, size = await decided(shared.a), len(await entries(shared.a))
    await propose(shared, data)
    async with shared.admin(CYBERJAYA, who) as admin:
        withdrawn = await admin.withdraw_policy(digest)
        status = await admin.policy_status()
    assert (withdrawn.bundle.digest, withdrawn.withdrawn_by) == (digest, f"tdz://{CYBERJAYA}/admin/{who}")
    assert status.proposals == ()
    assert status.withdrawals[-1] == withdrawn
    asked, taken = policy_entries(await entries(shared.a, size))
    assert (asked["kind"], taken["kind"]) == ("approval", "policy.withdrawn")
    assert set(taken["body"]) == {"by", "part", "bundle", "revision", "commitment"}
    assert taken["body"]["bundle"] == digest
    assert who not in json.dumps(taken["body"])
    record = PolicyStore(shared.a.settings.layout.policy).record(taken["id"], taken["body"]["commitment"])
    assert record["by"] == withdrawn.withdrawn_by

    again = await propose(shared, data, SECOND)  # one word, not the second one
    assert (again.active, again.missing) == (False, 1)
    assert await decided(shared.a) == before
    async with shared.admin(CYBERJAYA) as admin:
        assert digest not in {each.bundle.digest for each in (await admin.policy_status()).withdrawals}
    standing = await propose(shared, data, ADMIN)
    assert standing.active


async def test_only_what_waits_can_be_taken_back_and_only_by_administrators(shared: Small) -> None:
    data, digest = await new_bundle(shared)
    size = len(await entries(shared.a))
    async with shared.admin(CYBERJAYA) as admin:
        with pytest.raises(NotFoundError, match="no bundle of this digest waits") as unknown:
            await admin.withdraw_policy(digest)
        assert "tdz policy status" in unknown.value.remedy
        for wrong in ("", "x", digest.upper(), digest + "0"):
            with pytest.raises(InputError, match="64 hex digits"):
                await admin.withdraw_policy(wrong)
    await propose(shared, data)
    for role in (Role.AUDITOR, Role.PARTNER):
        profile = await shared.enrol(CYBERJAYA, next_id(role.value), role)
        other = AsyncAdmin(Session.open(profile))
        try:
            with pytest.raises(PermissionDeniedError):
                await other.withdraw_policy(digest)
        finally:
            await other.close()
    await propose(shared, data, SECOND)
    async with shared.admin(CYBERJAYA) as admin:
        with pytest.raises(ConflictError, match="in force"):
            await admin.withdraw_policy(digest)
    assert "policy.withdrawn" not in {e["kind"] for e in policy_entries(await entries(shared.a, size))}


async def test_a_pack_that_one_zone_alone_loads_is_not_named_when_it_is_taken_back(shared: Small) -> None:
    size = len(await entries(shared.a))
    data = material.advisory(await next_revision(shared, part="packs/us"))
    digest = hashlib.sha256(data).hexdigest()
    await propose(shared, data)
    async with shared.admin(CYBERJAYA, SECOND) as admin:
        await admin.withdraw_policy(digest)
    (_, taken) = policy_entries(await entries(shared.a, size))
    assert set(taken["body"]) == {"by", "commitment"}


async def test_a_withdrawal_is_shown_as_long_as_the_words_would_have_counted(shared: Small) -> None:
    data, digest = await new_bundle(shared)
    await propose(shared, data)
    async with shared.admin(CYBERJAYA) as admin:
        await admin.withdraw_policy(digest)
        shared.clock.ahead = REVIEW_TTL_S + 60
        try:
            assert (await admin.policy_status()).withdrawals == ()
        finally:
            shared.clock.ahead = 0


async def test_a_restart_hears_of_a_withdrawal_once_and_lets_later_words_stand(shared: Small) -> None:
    data, digest = await new_bundle(shared)
    await propose(shared, data)
    async with shared.admin(CYBERJAYA) as admin:
        await admin.withdraw_policy(digest)
    shared.clock.ahead = 2  # later than the entry: words have times of whole seconds
    try:
        await propose(shared, data, SECOND)
    finally:
        shared.clock.ahead = 0
    await shared.stop(CYBERJAYA)
    await shared.start_until_ready(CYBERJAYA)
    async with shared.admin(CYBERJAYA) as admin:
        (proposal,) = (await admin.policy_status()).proposals
        assert (proposal.bundle.digest, proposal.missing) == (digest, 1)
        await admin.withdraw_policy(digest)


async def test_the_commands_say_who_took_what_back_and_how(shared: Small) -> None:
    data, digest = await new_bundle(shared)
    file = shared.corridor.zone(CYBERJAYA).layout.root / "rules.tar.gz"
    file.write_bytes(data)
    code, out, _ = await tdz(shared, ADMIN, "policy", "activate", str(file))
    assert code == 3
    assert f"taken back by tdz policy withdraw {digest}" in out
    code, out, err = await tdz(shared, SECOND, "policy", "withdraw", str(file))
    assert (code, err) == (0, "")
    assert out.startswith("withdrawn  zone revision ")
    code, out, _ = await tdz(shared, ADMIN, "policy", "status")
    assert code == 0
    assert f"withdrawn  zone revision {await next_revision(shared)} {digest} by tdz://cyberjaya/admin/ops-2 on" in out
    assert "proposed" not in out
    assert "engine " in out
    code, _, err = await tdz(shared, ADMIN, "policy", "withdraw", digest)
    assert code == 2
    assert err.startswith("error TDZ-NOT-FOUND: no bundle of this digest waits for approval → see tdz policy status")
    assert len(err.splitlines()) == 1
    code, _, err = await tdz(shared, ADMIN, "policy", "withdraw", "nowhere.tar.gz")
    assert (code, len(err.splitlines())) == (2, 1)
    code, out, _ = await tdz(shared, ADMIN, "policy", "activate", str(file), "--json")
    assert (code, json.loads(out)["missing"]) == (3, 1)
    code, out, _ = await tdz(shared, ADMIN, "policy", "withdraw", digest, "--json")
    assert (code, json.loads(out)["bundle"]["digest"]) == (0, digest)


async def test_what_is_done_about_a_bundle_is_told_while_it_is_done(
    shared: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on = threading.Event(), threading.Event()
    keep = PolicyStore.keep_bundle

    def keeping(store: PolicyStore, data: bytes) -> str:
        held.set()
        go_on.wait(DEADLINE_S)
        return keep(store, data)

    monkeypatch.setattr(PolicyStore, "keep_bundle", keeping)
    data, digest = await new_bundle(shared)
    other = material.zone_bundle(CYBERJAYA, await next_revision(shared) + 1)
    seen, heard, waiting = list[PolicyWork](), list[PolicyWork](), list[PolicyWork]()
    asked: list[asyncio.Task[object]] = []
    async with shared.admin(CYBERJAYA) as admin, shared.admin(CYBERJAYA, SECOND) as second:
        try:
            asked.append(asyncio.create_task(admin.propose_policy(data, progress=heard.append)))
            while not held.is_set():
                if (work := (await second.policy_status()).work) is not None:
                    seen.append(work)
            asked.append(asyncio.create_task(second.propose_policy(other, progress=waiting.append)))

            async def told() -> bool:
                return bool(waiting) and heard[-1:] == [PolicyWork(digest, "record", 0, 0)]

            await eventually(told)
        finally:
            go_on.set()
            await asyncio.gather(*asked)
        assert {work.digest for work in (*seen, *heard, *waiting[:1])} == {digest}
        examples = len(trials(shared.a.house._decisions.policy, material.NOW))
        assert {work.examples for work in seen if work.step in ("compile", "try")} == {examples}
        assert all(work.tried < work.examples for work in seen if work.step == "try")
        assert (await admin.policy_status()).work is None
        for each in (digest, hashlib.sha256(other).hexdigest()):
            await admin.withdraw_policy(each)


async def test_a_zone_that_was_never_asked_for_a_bundle_shows_none(shared: Small) -> None:
    async with shared.admin(LINGANG) as admin:
        status = await admin.policy_status()
    assert (status.proposals, status.withdrawals, status.work) == ((), (), None)
    assert "workers" in status.engine
    assert (await activate(shared, material.zone_bundle(CYBERJAYA, await next_revision(shared)))).active
