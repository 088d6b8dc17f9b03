"""A recorded step: intent, entry, effect, in this order, once each, also through a crash at any place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import insert, select

from gateway.errors import LedgerError, StorageError
from gateway.flow.steps import Step, Steps
from gateway.model.ids import uuid7
from gateway.state.schema import pending, tickets


class Crash(BaseException):
    """The process died here."""


def effect(connection, arguments, recorded):
    """Writes a row that says which entry it belongs to."""
    connection.execute(
        insert(tickets).values(
            digest=arguments["name"],
            holder=recorded.entry_id,
            fingerprint="",
            agreement_id="",
            transfer_id="",
            view="",
            first_chunk=recorded.seq,
            expires_at=0,
            spent_at=0,
        )
    )


def steps_of(rooms, done=effect):
    return Steps(rooms.state, rooms.journal, {"test.effect": done})


def step(name="one"):
    return Step(kind="test", subject="tests/1", body={"name": name}, effect="test.effect", arguments={"name": name})


async def effects(rooms):
    return await rooms.state.read(
        lambda c: {row.digest: (row.holder, row.first_chunk) for row in c.execute(select(tickets))}
    )


async def intents(rooms):
    return await rooms.state.read(lambda c: [row.entry_id for row in c.execute(select(pending))])


async def test_a_step_leaves_its_entry_and_its_effect_and_no_intent(rooms):
    wanted = step()
    recorded = await steps_of(rooms).run(wanted)
    assert recorded == await rooms.journal.find(wanted.entry_id)
    assert await effects(rooms) == {"one": (wanted.entry_id, recorded.seq)}
    assert await intents(rooms) == []


async def test_a_crash_before_the_entry_is_finished_at_the_next_start(rooms, monkeypatch):
    wanted, size = step(), rooms.journal.committed_size

    async def dies(*_arguments, **_named):
        raise Crash

    monkeypatch.setattr(rooms.journal, "record", dies)
    with pytest.raises(Crash):
        await steps_of(rooms).run(wanted)
    assert (await intents(rooms), await effects(rooms)) == ([wanted.entry_id], {})
    await rooms.restart()
    assert rooms.journal.committed_size == size
    assert await steps_of(rooms).recover() == 1
    assert rooms.journal.committed_size == size + 1
    assert await effects(rooms) == {"one": (wanted.entry_id, size)}
    assert await intents(rooms) == []


def fails(*_arguments):
    raise OSError("the database is gone")


async def run_in_vain(rooms, *wanted):
    """Steps whose effects fail, so that only their entries stand."""
    steps = steps_of(rooms, fails)
    for one in wanted:
        await steps.run(replace(one, closing=True))
    await steps.close()


async def test_a_crash_between_entry_and_effect_doubles_no_entry(rooms):
    wanted, size = step(), rooms.journal.committed_size
    await run_in_vain(rooms, wanted)
    assert rooms.journal.committed_size == size + 1
    assert await effects(rooms) == {}
    await rooms.restart()
    assert await steps_of(rooms).recover() == 1
    assert rooms.journal.committed_size == size + 1
    assert await effects(rooms) == {"one": (wanted.entry_id, size)}
    assert await steps_of(rooms).recover() == 0


async def test_steps_are_finished_oldest_first(rooms):
    ids = {name: f"0197a3bf-000{n}-7000-8000-000000000000" for n, name in enumerate("abc")}
    wanted = [replace(step(name), entry_id=ids[name]) for name in ("b", "c", "a")]
    await run_in_vain(rooms, *wanted)
    order = []
    again = steps_of(rooms, lambda connection, arguments, recorded: order.append(arguments["name"]))
    assert await again.recover() == 3
    assert order == ["a", "b", "c"]


async def test_an_entry_that_the_ledger_refuses_takes_its_intent_back_and_has_no_effect(rooms):
    size = rooms.journal.committed_size
    odd = Step(kind="no such kind of this length" * 20, subject="x" * 70_000, body={}, effect="test.effect")
    with pytest.raises(LedgerError):
        await steps_of(rooms).run(odd)
    assert (await intents(rooms), await effects(rooms), rooms.journal.committed_size) == ([], {}, size)


async def test_an_effect_that_the_database_refuses_is_done_at_the_next_start(rooms):
    await steps_of(rooms).run(step("same"))
    wanted = step("same")  # its effect meets a row of the same key
    steps = steps_of(rooms)
    await steps.run(wanted)
    await steps.close()
    assert await intents(rooms) == [wanted.entry_id]
    assert await rooms.journal.find(wanted.entry_id) is not None
    done = []
    assert await steps_of(rooms, lambda *given: done.append(given[1]["name"])).recover() == 1
    assert done == ["same"]


async def test_the_same_event_again_gives_the_same_entry_and_another_body_is_refused(rooms):
    name = uuid7()
    first = Step(kind="test", subject="tests/1", body={"a": 1}, entry_id=name)
    steps = steps_of(rooms)
    assert await steps.run(first) == await steps.run(first)
    with pytest.raises(LedgerError):
        await steps.run(Step(kind="test", subject="tests/1", body={"a": 2}, entry_id=name))


async def test_steps_of_another_flow_are_left_for_it(rooms):
    await run_in_vain(rooms, step())
    assert await Steps(rooms.state, rooms.journal, {}).recover() == 0
    assert len(await intents(rooms)) == 1


async def test_nothing_is_opened_while_an_effect_is_owed_and_what_closes_goes_on(rooms):
    working = []

    def effects_once_mended(connection, arguments, recorded):
        if not working:
            fails()
        effect(connection, arguments, recorded)

    steps = steps_of(rooms, effects_once_mended)
    first, size = step("first"), rooms.journal.committed_size
    await steps.run(first)
    while await effects(rooms) == {} and not steps._owed:
        await steps.close()
    with pytest.raises(OSError, match="gone"):
        await steps.run(step("second"))
    assert rooms.journal.committed_size == size + 1
    await steps.run(replace(step("third"), closing=True))
    await steps.close()
    assert rooms.journal.committed_size == size + 2
    working.append(True)
    await steps.run(step("fourth"))
    await steps.close()
    assert set(await effects(rooms)) == {"first", "third", "fourth"}
    assert await intents(rooms) == []


async def test_what_has_ended_and_is_recorded_only_owes_that_its_intent_be_struck_out(rooms, monkeypatch):
    steps = steps_of(rooms, lambda *given: None)
    wanted, real, writes = step(), rooms.state.write, []

    async def fails_the_second_time(work):
        writes.append(work)
        if len(writes) == 2:
            raise StorageError("gone")
        return await real(work)

    monkeypatch.setattr(rooms.state, "write", fails_the_second_time)
    assert await steps.end(wanted) == await rooms.journal.find(wanted.entry_id)
    assert await intents(rooms) == [wanted.entry_id]
    assert await steps.finish_owed() == 1
    assert await intents(rooms) == []


async def test_what_is_read_after_a_step_has_its_effect(rooms):
    steps = steps_of(rooms)
    for number in range(20):
        await steps.run(step(str(number)))
        assert str(number) in await effects(rooms)


async def test_steps_that_belong_together_leave_every_entry_and_every_effect(rooms):
    wanted = [step(name) for name in ("a", "b", "c")]
    steps = steps_of(rooms)
    recorded = await steps.run_all(wanted)
    assert [each.entry_id for each in recorded] == [one.entry_id for one in wanted]
    assert await effects(rooms) == {
        one.arguments["name"]: (one.entry_id, each.seq) for one, each in zip(wanted, recorded, strict=True)
    }
    assert await intents(rooms) == []


async def test_one_entry_that_fails_takes_back_its_own_step_and_no_other(rooms, monkeypatch):
    wanted, real = [step(name) for name in ("a", "b", "c")], rooms.journal.record

    async def fails_for_b(kind, subject, body, **named):
        if body["name"] == "b":
            raise LedgerError("no")
        return await real(kind, subject, body, **named)

    monkeypatch.setattr(rooms.journal, "record", fails_for_b)
    with pytest.raises(LedgerError):
        await steps_of(rooms).run_all(wanted)
    assert set(await effects(rooms)) == {"a", "c"}
    assert await intents(rooms) == []
    assert await rooms.journal.find(wanted[1].entry_id) is None


async def test_steps_that_die_together_are_each_finished_at_the_next_start(rooms, monkeypatch):
    wanted, size = [step(name) for name in ("a", "b")], rooms.journal.committed_size

    async def dies(*_arguments, **_named):
        raise Crash

    monkeypatch.setattr(rooms.journal, "record", dies)
    with pytest.raises(Crash):
        await steps_of(rooms).run_all(wanted)
    assert sorted(await intents(rooms)) == sorted(one.entry_id for one in wanted)
    await rooms.restart()
    assert await steps_of(rooms).recover() == 2
    assert rooms.journal.committed_size == size + 2
    assert set(await effects(rooms)) == {"a", "b"}


async def test_effects_that_fail_together_are_all_owed(rooms):
    steps = steps_of(rooms, fails)
    await steps.run_all([step("a"), step("b")])
    await steps.close()
    assert await effects(rooms) == {}
    with pytest.raises(OSError, match="gone"):
        await steps.run_all([step("c")])
