"""The decision log: masks, segments, retention, and the follower that carries decisions over."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from gateway.config.decision_log import DecisionLogSettings
from gateway.decisions.example import example
from gateway.decisions.inputs import KeptDecision
from gateway.decisions.kept_policy import keep_policy, load_policy, words_of
from gateway.decisions.log.follower import LogFollower
from gateway.decisions.log.mask import EVERYTHING, Mask
from gateway.decisions.log.record import Record
from gateway.decisions.log.segments import Segments
from gateway.decisions.policy_set import PolicySet
from gateway.errors import ConfigError, InputError, IntegrityError, NotFoundError, StorageError
from gateway.model import canonical
from gateway.model.decision import Decision
from gateway.model.ids import uuid7
from gateway.model.limits import DECISION_KEPT_S
from gateway.state import StateStore
from gateway.state.schema import decision_inputs, decision_log_due

NOW = 1_795_305_600
DAY = 86_400
ROOT = Path(__file__).resolve().parents[4]


def decision(at: int = NOW, effect: str = "allow") -> Decision:
    return Decision(
        effect=effect,
        findings=(),
        obligations=(),
        packs=(),
        input_digest=canonical.digest(example()),
        decision_id=uuid7(unix_ms=at * 1_000),
        zone="lingang",
        policy_digest="0" * 64,
        data_revision="1" * 64,
    )


def record(at: int = NOW) -> Record:
    return Record(at, decision(at), os.urandom(32), example(), {})


# --- masks --------------------------------------------------------------------------------------------------


def test_a_mask_erases_what_it_names_and_counts_it():
    document = example()
    mask = Mask.parse({"mask": ["/recipient/screening", "/mechanisms/*/ref", "/dataset/columns/0", "/no/such"]})
    left, erased = mask.erase(document)
    assert erased == {"/recipient/screening": 1, "/mechanisms/*/ref": 2, "/dataset/columns/0": 1}
    assert "screening" not in left["recipient"]
    assert all("ref" not in each for each in left["mechanisms"])
    assert left["dataset"]["columns"][0] is None
    assert len(left["dataset"]["columns"]) == 3
    assert document == example()  # the one that was decided on stays as it is


@pytest.mark.parametrize("wrong", [[], {"masks": []}, {"mask": "x"}, {"mask": ["x"]}, {"mask": [1]}, {"mask": [""]}])
def test_a_mask_that_cannot_be_understood_erases_everything(wrong):
    with pytest.raises(ConfigError):
        Mask.parse(wrong)
    mask = Mask.of({"tdz": {"zone": {"lingang": {"log": wrong}}}}, "lingang")
    assert mask.erase(example()) == (None, {EVERYTHING: 1})


def test_escapes_of_pointers_are_read_and_no_mask_is_none():
    assert Mask(("/a~1b/c~0d",)).erase({"a/b": {"c~d": 1, "e": 2}}) == ({"a/b": {"e": 2}}, {"/a~1b/c~0d": 1})
    assert Mask.of({}, "lingang").erase({"a": 1}) == ({"a": 1}, {})


@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_a_mask_leaves_no_mask_erases_again(document):
    mask = Mask(("/*/*", "/a", "/0"))
    left, _ = mask.erase(document)
    if isinstance(left, dict):
        assert "a" not in left


# --- segments -----------------------------------------------------------------------------------------------


def test_records_come_back_by_id_and_in_their_order(tmp_path):
    segments = Segments(tmp_path / "decisions")
    written = [record(NOW + each * DAY // 2) for each in range(6)]
    segments.append(written[:2])
    segments.append(written[2:])
    assert [each.to_json() for each in segments.records()] == [each.to_json() for each in written]
    assert [each.id for each in segments.records(NOW + DAY)] == [each.id for each in written[2:]]
    assert segments.find(written[3].id).to_json() == written[3].to_json()
    assert segments.known([written[0].id, uuid7(unix_ms=NOW * 1_000)]) == {written[0].id}
    with pytest.raises(NotFoundError):
        segments.find(uuid7(unix_ms=NOW * 1_000))
    with pytest.raises(InputError):
        segments.find("x")


def test_the_folder_and_the_files_are_their_owners_alone(tmp_path):
    segments = Segments(tmp_path / "decisions")
    segments.append([record()])
    assert stat.S_IMODE((tmp_path / "decisions").stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in segments.files()] == [0o600]


def test_a_line_that_a_crash_tore_is_cut_off_and_the_next_stands_whole(tmp_path):
    segments = Segments(tmp_path)
    first, second = record(), record()
    segments.append([first])
    (path,) = segments.files()
    with path.open("ab") as file:
        file.write(second.encode()[:200])
    assert [each.id for each in segments.records()] == [first.id]
    segments.append([second])
    assert [each.id for each in segments.records()] == [first.id, second.id]
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(IntegrityError):
        list(segments.records())


def test_a_day_has_many_segments_where_one_would_grow_too_large(tmp_path):
    segments = Segments(tmp_path, segment_max=10_000)
    written = [record() for _ in range(10)]
    for each in written:
        segments.append([each])
    assert len(segments.files()) > 2
    assert [each.id for each in segments.records()] == [each.id for each in written]


def test_retention_takes_days_that_are_over_and_then_the_oldest_beyond_the_bound(tmp_path):
    segments = Segments(tmp_path)
    written = [record(NOW + each * DAY) for each in range(10)]
    segments.append(written)
    size = segments.files()[0].stat().st_size
    assert segments.retain(days=5, most=1 << 40, now=NOW + 9 * DAY) == 4
    assert [each.id for each in segments.records()] == [each.id for each in written[4:]]
    assert segments.retain(days=5, most=3 * size + size // 2, now=NOW + 9 * DAY) == 3
    assert segments.retain(days=1, most=1, now=NOW + 900 * DAY) == 2
    assert [each.id for each in segments.records()] == [written[-1].id]  # the newest segment always stays


def test_a_link_in_the_place_of_a_segment_is_not_followed(tmp_path):
    segments = Segments(tmp_path / "decisions")
    one = record()
    segments.append([one])
    (path,) = segments.files()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        segments.append([record()])
    with pytest.raises(StorageError):
        list(segments.records())


# --- the follower -------------------------------------------------------------------------------------------


@pytest.fixture
async def state(tmp_path):
    store = await StateStore.open(tmp_path / "state.db")
    yield store
    await store.close()


async def keep(state: StateStore, count: int, at: int = NOW) -> list[KeptDecision]:
    kept = [KeptDecision(decision(at), example(), at) for _ in range(count)]

    def work(connection):
        for each in kept:
            each.keep(connection)

    await state.write(work)
    return kept


async def rows(state: StateStore, table) -> int:
    return await state.read(lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.fixture(scope="module")
def policy():
    return PolicySet.load(ROOT / "policy").for_zone("lingang")


def follower(state, segments, policy, now=NOW) -> LogFollower:
    return LogFollower(state, segments, lambda: policy, days=30, most=1 << 40, clock=lambda: now)


async def test_what_a_step_kept_is_carried_over_once_with_its_salt_and_stays_in_the_state(state, tmp_path, policy):
    segments = Segments(tmp_path / "decisions")
    kept = await keep(state, 3)
    following = follower(state, segments, policy)
    assert await following.carry() == 3
    assert await following.carry() == 0
    found = {each.id: each for each in segments.records()}
    assert set(found) == {each.decision.decision_id for each in kept}
    for each in kept:
        logged = found[each.decision.decision_id]
        assert (logged.salt, logged.input, logged.decision) == (each.salt, example(), each.decision)
        assert logged.replayable
    assert await rows(state, decision_log_due) == 0
    assert await rows(state, decision_inputs) == 3


async def test_a_crash_between_the_two_writes_doubles_nothing(state, tmp_path, policy):
    segments = Segments(tmp_path / "decisions")
    kept = await keep(state, 2)
    # What the follower does up to the crash: the lines stand, the queue still has their places.
    segments.append([Record(each.decided_at, each.decision, each.salt, each.document, {}) for each in kept])
    await keep(state, 1)
    assert await follower(state, segments, policy).carry() == 3
    ids = [each.id for each in segments.records()]
    assert len(ids) == len(set(ids)) == 3


async def test_a_log_that_cannot_be_written_loses_nothing(state, tmp_path, policy):
    folder = tmp_path / "decisions"
    folder.write_text("in the way")
    following = follower(state, Segments(folder), policy)
    await keep(state, 2)
    with pytest.raises(StorageError):
        await following.carry()
    assert await rows(state, decision_log_due) == 2
    folder.unlink()
    assert await following.carry() == 2
    assert len(list(Segments(folder).records())) == 2


async def test_the_zones_mask_is_applied_to_the_log_and_not_to_what_the_gateway_needs(state, tmp_path, policy):
    data = json.loads(json.dumps(policy.data))
    data["tdz"].setdefault("zone", {})["lingang"] = {"log": {"mask": ["/recipient/screening"]}}
    masked = replace(policy, data=data, digest="f" * 64)
    segments = Segments(tmp_path / "decisions")
    await keep(state, 1)
    await follower(state, segments, masked).carry()
    (found,) = segments.records()
    assert (found.erased, found.replayable) == ({"/recipient/screening": 1}, False)
    stored = await state.read(lambda connection: connection.execute(select(decision_inputs.c.input)).scalar_one())
    assert json.loads(stored) == example()


async def test_retention_deletes_from_the_state_only_what_is_old_and_logged(state, tmp_path, policy):
    segments = Segments(tmp_path / "decisions")
    await keep(state, 2, at=NOW - DECISION_KEPT_S - 10)
    following = follower(state, segments, policy)
    await following.retain()
    assert await rows(state, decision_inputs) == 2  # not in the log yet
    await following.carry()
    await keep(state, 1)
    await following.carry()
    await following.retain()
    assert await rows(state, decision_inputs) == 1


async def test_the_follower_ends_when_it_is_cancelled(state, tmp_path, policy):
    segments = Segments(tmp_path / "decisions")
    kept = await keep(state, 1)
    task = asyncio.create_task(follower(state, segments, policy).run())
    async with asyncio.timeout(30):
        while not list(segments.records()):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each.id for each in segments.records()] == [kept[0].decision.decision_id]


# --- kept policies ------------------------------------------------------------------------------------------


def test_a_kept_policy_is_the_one_of_its_digest_or_none(tmp_path, policy):
    path = keep_policy(tmp_path / "in-force", policy)
    assert keep_policy(tmp_path / "in-force", policy) == path
    again = load_policy(tmp_path / "in-force", policy.digest)
    assert again is not None
    assert (again.modules, again.data, again.digest) == (policy.modules, policy.data, policy.digest)
    assert words_of(again)["CN-CBDF-MECH"].startswith("Order 16")
    assert load_policy(tmp_path / "in-force", "0" * 64) is None
    assert load_policy(tmp_path / "in-force", "../x") is None
    other = tmp_path / "in-force" / f"{'0' * 64}.json"
    shutil.copy(path, other)
    with pytest.raises(IntegrityError):
        load_policy(tmp_path / "in-force", "0" * 64)
    other.write_text("{")
    with pytest.raises(IntegrityError):
        load_policy(tmp_path / "in-force", "0" * 64)


def test_the_defaults_are_bounded():
    assert 0 < DecisionLogSettings().days <= 36_600
    assert DecisionLogSettings().bytes >= 1 << 30
