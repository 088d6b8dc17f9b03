"""`tdz policy backtest` over a generated decision log: `python -m benchmarks.backtest [INPUTS]`.

The log is one that a gateway of lingang would write in thirty days: the actions and directions of `tdz policy example`
with varied counts and mechanisms, one dataset in twenty of 200 columns, each decided by the shipped policy. It is then
put to a policy with one rule more. Printed: inputs, bytes, seconds, inputs per second, flips.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.zone_init import init_zone
from gateway.config import Address, load_settings
from gateway.decisions.example import example
from gateway.decisions.kept_policy import keep_policy
from gateway.decisions.log.record import Record
from gateway.decisions.log.segments import Segments
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet, shipped
from gateway.model.ids import uuid7

DAYS = 30
KINDS = 400  # different inputs, each decided once; the log repeats them at other times


async def decided(kinds: int) -> list[tuple[Any, dict[str, Any]]]:
    """So many different inputs with lingang's decisions."""
    point = DecisionPoint(PolicySet.load(), "lingang")
    await point.start()
    try:
        return [(await point.decide(document), document) for document in itertools.islice(inputs(), kinds)]
    finally:
        await point.close()


def inputs() -> Iterator[dict[str, Any]]:
    """Different inputs, for ever; the same ones in each run."""
    chance = random.Random(7)
    now = int(time.time())
    while True:
        action = chance.choice(["transfer_dataset", "transfer_dataset", "transfer_model", "run_job"])
        ends = chance.choice([("CN", "MY"), ("MY", "CN")])
        document = example(action, *ends, now=now)
        if document["dataset"] is not None:
            document["usage"]["cn"]["non_sensitive_after"] = chance.randrange(60_000, 1_200_000)
            if chance.random() < 0.05:
                document["dataset"]["columns"] = [
                    {"name": f"column_{n}", "arrow_type": "int64", "tags": []} for n in range(200)
                ]
        if document["mechanisms"] and chance.random() < 0.3:
            document["mechanisms"].pop()
        yield document


def write_log(segments: Segments, kinds: list[tuple[Any, dict[str, Any]]], count: int) -> None:
    """A log of so many records over thirty days."""
    from dataclasses import replace

    begun = int(time.time()) - DAYS * 86_400 + 3_600
    batch: list[Record] = []
    for number in range(count):
        at = begun + number * (DAYS * 86_400 - 7_200) // count
        decision, document = kinds[number % len(kinds)]
        batch.append(Record(at, replace(decision, decision_id=uuid7(unix_ms=at * 1_000)), os.urandom(32), document, {}))
        if len(batch) == 5_000 or number == count - 1:
            segments.append(batch)
            batch = []


def stricter(directory: Path) -> Path:
    """The shipped policy with one rule more for lingang."""
    import shutil

    shutil.copytree(shipped(), directory)
    rules = directory / "tdz/zone/lingang/rules.rego"
    text = rules.read_text().replace("findings := set()", "")
    rules.write_text(
        text + '\nfindings contains {"code": "ZL-MANY", "effect": "review", "fields": []} if '
        "input.usage.cn.non_sensitive_after > 500000\n"
    )
    return directory


def main() -> None:
    """Make the log, run the command, print its figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        zone = Path(folder, "lingang")
        listen = Address.parse("127.0.0.1:7443")
        init_zone(
            zone, zone="lingang", jurisdiction="CN", listen=listen, endpoint=listen, names=["127.0.0.1"], admins=["a"]
        )
        layout = load_settings(zone).layout
        keep_policy(layout.policies, PolicySet.load().for_zone("lingang"))
        write_log(Segments(layout.decisions), asyncio.run(decided(KINDS)), count)
        size = sum(path.stat().st_size for path in layout.decisions.iterdir())
        for name, policy in (("the same policy", shipped()), ("one rule more", stricter(Path(folder, "new")))):
            command = [sys.executable, "-m", "gateway.cli.main", "policy", "backtest", str(policy)]
            begun = time.monotonic()
            done = subprocess.run(
                [*command, "--log", str(zone), "--json"], stdout=subprocess.PIPE, check=False, text=True
            )
            took = time.monotonic() - begun
            found = json.loads(done.stdout)
            print(
                f"{name}: {found['compared']:,} inputs of {size / 1e6:,.0f} MB in {took:,.1f} s, "
                f"{found['compared'] / took:,.0f}/s, {found['flipped']:,} flips, {os.cpu_count()} cores"
            )


if __name__ == "__main__":
    main()
