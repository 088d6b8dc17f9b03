"""``tdz-ledger replay``: a recorded decision made again, on the policy and the input of then."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ledger.cli.output import open_log, print_json
from ledger.cli.show import proven_entry
from ledger.replay.engine import ENGINES, evaluate
from ledger.replay.judge import Replayed, judge
from ledger.replay.policy import load_policy
from ledger.replay.record import find_record, read_record_file

__all__ = ["add_replay"]


def add_replay(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register ``replay``."""
    command = commands.add_parser(
        "replay", parents=[common], help="make a recorded decision again (needs the extra replay, or an OPA)"
    )
    command.add_argument("seq", metavar="SEQ", type=int, help="the number of an entry that records a decision")
    command.add_argument("directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder")
    command.add_argument("--zone", metavar="DIR", type=Path, help="the zone's directory; default: the one DIR is in")
    command.add_argument("--record", metavar="FILE", type=Path, help="what `tdz policy log show --json` gave")
    command.add_argument("--policy", metavar="FILE", type=Path, help="a copy of policy/in-force/<digest>.json")
    command.add_argument("--engine", choices=ENGINES, default="auto", help="default: regopy, else OPA")
    command.add_argument("--opa", metavar="PATH", default="", help="an OPA binary; default OPA_BIN or PATH")
    command.set_defaults(command=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    # 1. The entry stands under the signed checkpoint.
    entry = proven_entry(open_log(arguments.directory, arguments.vkey), arguments.seq)
    zone: Path = arguments.zone or arguments.directory.resolve().parent
    record = read_record_file(arguments.record) if arguments.record else find_record(zone / "decisions", entry.id)
    record.require_recorded(entry)  # 2. It commits to the decision.
    record.require_input()  # 3. The decision names the input's digest.
    digest = record.decision["policy_digest"]
    path = arguments.policy or zone / "policy" / "in-force" / f"{digest}.json"
    policy = load_policy(path, digest)  # 4. The decision names the policy's digest.
    answer, engine = evaluate(policy, record.input, engine=arguments.engine, opa=arguments.opa)
    found = judge(record, policy, answer)  # 5. The policy gives the same verdict.
    if arguments.json:
        print_json(
            {
                "same": found.same,
                "entry": entry.seq,
                "decision": record.id,
                "zone": policy.zone,
                "engine": engine,
                "policy_digest": digest,
                "input_digest": record.decision["input_digest"],
                "recorded": found.effect[0],
                "now": found.effect[1],
                "codes": [*found.codes],
                "gateway_codes": [*found.gateways],
                "further_obligations": [*found.further],
                "differences": [*found.differences],
            }
        )
    else:
        _print(found, f"entry {entry.seq}, decision {record.id}", digest, engine)
    return 0 if found.same else 1


def _print(found: Replayed, what: str, digest: str, engine: str) -> None:
    codes = f" ({', '.join(found.codes)})" if found.codes else ""
    if found.same:
        sys.stdout.write(f"the same verdict: {found.effect[0]}{codes}\n")
    else:
        sys.stdout.write(f"ANOTHER VERDICT: recorded {found.effect[0]}, now {found.effect[1]}\n")
        sys.stdout.writelines(f"  {line}\n" for line in found.differences)
    sys.stdout.write(f"  {what}; policy {digest[:16]}…; evaluated by {engine}\n")
    if found.gateways:
        sys.stdout.write(f"  the gateway itself added {', '.join(found.gateways)}\n")
    if found.further:
        sys.stdout.write(f"  the owner's terms may have added {', '.join(found.further)}\n")
