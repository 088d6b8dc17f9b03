"""Every byte between the gateways during a run, searched for the rows that it trained on."""

from __future__ import annotations

import string
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from gateway.server.access.roles import METHOD_ROLES
from tests.e2e.material import CYBERJAYA, LINGANG, next_id, open_dataset
from tests.e2e.recorder import Recorder, patterns, record, search
from tests.e2e.runs import run_of
from tests.e2e.small import eventually, held, recorded, small_corridor

pytestmark = pytest.mark.e2e

ROWS = 400


def planted(seed):
    """A table whose every value is searched for, and its columns and texts."""
    random = np.random.default_rng(seed)
    columns = {
        "i8": random.integers(-128, 127, ROWS, dtype=np.int8),
        "i16": random.integers(-(2**15), 2**15 - 1, ROWS, dtype=np.int16),
        "i32": random.integers(-(2**31), 2**31 - 1, ROWS, dtype=np.int32),
        "i64": random.integers(-(2**52), 2**52, ROWS, dtype=np.int64),
        "f32": random.normal(0, 1e3, ROWS).astype(np.float32),
        "f64": random.normal(0, 1e3, ROWS),
        **{f"f64-{i}": random.normal(0, 1e3, ROWS) for i in range(6)},
    }
    texts = ["".join(random.choice(list(string.ascii_letters + string.digits + "+-*/!?"), 14)) for _ in range(ROWS)]
    label = (columns["f64"] + columns["i8"] > 0).astype(np.int8)  # hardly more than noise: chunks stay as they are
    table = pa.table({**columns, "name": texts, "label": label})
    return table, list(patterns(columns, texts))


async def test_nothing_of_a_row_crosses_in_a_run_and_the_search_finds_what_a_transfer_carries(
    tmp_path, monkeypatch, capsys
):
    recorder = Recorder()
    record(monkeypatch, recorder)
    async with small_corridor(tmp_path / "small") as made:
        um, lab = await made.um(), await made.lab()
        both = {"actions": ["run_job", "transfer_dataset"]}
        (ours, in_ours), (theirs, in_theirs) = planted(11), planted(12)
        here = (await um.publish(ours, open_dataset(next_id("here"), to=LINGANG, **both))).name
        there = (await lab.publish(theirs, open_dataset(next_id("there"), **both))).name
        statutory = open_dataset(next_id("statutory"), to=LINGANG, **both)  # of which a query from abroad is reviewed
        statutory["dataset"]["gov_source"] = "statutory_body"
        reviewed = (await um.publish(ours, statutory)).name
        wanted = in_ours + in_theirs
        assert len(wanted) > 20_000

        recorder.clear()
        finished = run_of((here, there), features=ours.column_names[:12], target="label", classes=["0", "1"], rounds=4)
        run = await um.run(finished)
        assert (await run.wait()).state == "RELEASED"
        _end_after_a_refusal(made.b.corridor.get(CYBERJAYA), recorder, monkeypatch)
        refused = await um.run(finished | {"min_rows": 10_000})
        await eventually(lambda: _ended(refused))
        broken = await um.run(finished | {"datasets": [there], "classes": ["0", "2"], "scaling": "none"})
        await eventually(lambda: _ended(broken))
        waiting = await um.run(finished | {"datasets": [reviewed, there]})
        await recorded(made.b, lambda e: e["subject"] == f"runs/{waiting.id}" and e["kind"] == "run.held")
        await waiting.cancel()
        for each in (run, broken, waiting):
            await recorded(made.b, lambda e, of=each: e["subject"] == f"runs/{of.id}" and e["kind"].startswith("run."))
        await _mirrored(made)

        sent = Counter(recorder.bytes)
        counts = Counter(recorder.counts)
        haystack = recorder.haystack()
        found = search(haystack, wanted)
        with capsys.disabled():
            print(f"\n{sum(counts.values())} messages, {sum(sent.values()):,} bytes between the gateways:")
            for method, count in sorted(counts.items()):
                print(f"  {method:<45} {count:>5} messages {sent[method]:>9,} bytes")
            kinds = Counter(kind for kind, _ in wanted)
            print(f"searched with what their base64 says, {len(haystack):,} bytes, for {len(wanted):,} patterns")
            print(f"  ({', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))})")
            print(f"found in the run: {sum(found.values())}")
        assert not found
        peers = {m for m in METHOD_ROLES if "RunPeerService" in m} | {"/gateway.v1.MirrorService/Push", "(status)"}
        assert peers <= set(counts), "every method of a run was recorded, and the mirrors' streams"

        # The control: where rows may cross, and do, the same search finds them.
        recorder.clear()
        await (await (await um.request(there, purpose="research")).pull()).to_arrow()
        await (await (await lab.request(here, purpose="research")).pull()).to_arrow()
        control = search(recorder.haystack(), wanted)
        with capsys.disabled():
            print(f"found in transfers of the same tables: {sum(control.values()):,} ({dict(control)})")
        assert {"text", "i64 as <i8", "f64 as <f8", "i8 as <i1", "i16 as <i2", "i32 as <i4", "f32 as <f4"} <= set(
            control
        )
        assert control["f64 as <f8"] >= 2 * ROWS * 0.99
        assert control["text"] >= 2 * ROWS * 0.99


def _end_after_a_refusal(peer, recorder, monkeypatch):
    """Let a zone tell the end of a run once a status has crossed: told first, nobody waits for the call it refuses."""
    tell, before = peer.end_run, recorder.counts["(status)"]

    async def refused():
        return recorder.counts["(status)"] > before

    async def end_run(*arguments):
        await eventually(refused)
        return await tell(*arguments)

    monkeypatch.setattr(peer, "end_run", end_run)


async def _ended(run):
    return (await run.status()).ended


async def _mirrored(made):
    """Both ledgers are mirrored to their ends, so that all that crosses has crossed."""
    for gateway, other in ((made.a, LINGANG), (made.b, CYBERJAYA)):
        journal = gateway.house.journal
        await held(journal, journal.committed_size)
        assert other
