"""`tdz policy log`: what this zone decided on what, for its administrators, on the gateway's machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from gateway.cli.output import JsonOption, console, emit, failures
from gateway.cli.times import since as time_since

if TYPE_CHECKING:
    from gateway.decisions.log.record import Record
    from gateway.decisions.log.segments import Segments

app = typer.Typer(no_args_is_help=True)
group = typer.Typer(no_args_is_help=True, help="The zone's decision log: what was decided on what.")
app.add_typer(group, name="log")

ZoneArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The zone's directory; the gateway may run.")]
_COLOURS = {"allow": "green", "review": "yellow", "deny": "red"}


@group.command("list")
def list_records(
    directory: ZoneArgument,
    since: Annotated[str, typer.Option(help="From when on: 7d, 12h, or a day.")] = "7d",
    effect: Annotated[str, typer.Option(help="Only allow, review or deny.")] = "",
    code: Annotated[str, typer.Option(help="Only with this finding, such as CN-CBDF-MECH.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List decisions, the newest last. Inputs are shown by `show` alone.

    Example: tdz policy log list /srv/lingang --effect deny --since 30d
    """
    with failures(as_json=as_json):
        from collections import deque

        records = opened(directory).records(time_since(since))
        chosen = deque(_chosen(records, effect, code), maxlen=limit)
        document = {"decisions": [_line(record) for record in chosen]}
        emit(document, lambda: _print(document["decisions"]), as_json=as_json)


@group.command()
def show(
    directory: ZoneArgument,
    decision: Annotated[str, typer.Argument(metavar="ID", help="A decision's id.")],
    as_json: JsonOption = False,
) -> None:
    """Show one decision with its input as far as the mask left it. With --json: what `tdz-ledger replay` takes.

    Example: tdz policy log show /srv/lingang 0199…
    """
    with failures(as_json=as_json):
        record = opened(directory).find(decision)
        emit(record.to_json(), lambda: _show(record), as_json=as_json)


def opened(directory: Path) -> Segments:
    """The decision log of a zone's directory.

    Raises:
        ConfigError: it is no zone's directory.
    """
    from gateway.config import load_settings
    from gateway.decisions.log.segments import Segments

    return Segments(load_settings(directory).layout.decisions)


def _chosen(records: Iterator[Record], effect: str, code: str) -> Iterator[Record]:
    for record in records:
        codes = {finding.code for finding in record.decision.findings}
        if (not effect or record.decision.effect == effect) and (not code or code in codes):
            yield record


def _line(record: Record) -> dict[str, Any]:
    decision = record.decision
    request = (record.input or {}).get("request", {})
    return {
        "id": record.id,
        "at": record.at,
        "effect": decision.effect,
        "codes": sorted({finding.code for finding in decision.findings}),
        "action": str(request.get("action", "")) if isinstance(request, dict) else "",
        "input_digest": decision.input_digest,
        "policy_digest": decision.policy_digest,
        "erased": dict(record.erased),
    }


def _print(lines: list[dict[str, Any]]) -> None:
    from gateway.cli.show import moment

    for line in lines:
        codes = ", ".join(line["codes"])
        masked = "  masked" if line["erased"] else ""
        console.print(
            f"{line['id']}  {moment(line['at'])}  [{_COLOURS[line['effect']]}]{line['effect']:<6}[/]  "
            f"{escape(line['action']):<16}  {codes}{masked}".rstrip()
        )
    if not lines:
        console.print("no decision")


def _show(record: Record) -> None:
    from gateway.cli.policy import print_decision

    print_decision(record.decision)
    console.print(f"  policy {record.decision.policy_digest or 'none: the gateway refused by itself'}", markup=False)
    for pointer, count in record.erased.items():
        console.print(f"  masked {pointer or 'the whole input'}: {count} erased; it cannot be replayed", markup=False)
    console.print(json.dumps(record.input, indent=2, ensure_ascii=False, sort_keys=True), markup=False)
