"""How the demo tells its story to people: a line for each step, and what is worth reading below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape

from gateway.cli import show
from gateway.cli.demo import material
from gateway.cli.demo.story import Step
from gateway.cli.output import console


def tell(step: Step) -> None:
    """Print one step."""
    mark, colour = ("✓", "green") if step.ok else ("✗", "red")
    console.print(f"[{colour}]{mark}[/] {step.name:<34} [bold]{step.outcome:<9}[/] [dim]{step.seconds:6.1f} s[/]")
    for line in _lines(step):
        console.print(f"    {line}")


def _lines(step: Step) -> list[str]:
    detail = step.detail
    match step.outcome:
        case "failed":
            return [f"[red]{escape(detail['error'])}[/]"]
        case "made":
            return [f"{name} ({each['jurisdiction']}) at {each['endpoint']}" for name, each in detail.items()]
        case "paired":
            return [f"{name}'s card [dim]{each['card'][:32]}…[/]" for name, each in detail.items()]
        case "enrolled":
            return [f"{uri}  [dim]{name}[/]" for uri, name in detail["institutions"].items()]
        case "published":
            return [
                f"{name}  {show.number(each['rows'])} rows, {show.size(each['bytes'])} in {each['chunks']} chunk(s)"
                for name, each in detail.items()
            ]
        case "allowed":
            return _allowed(detail)
        case "refused":
            return _refused(detail)
        case "resumed":
            return [
                f"SIGKILL at chunk {detail['killed_at_chunk']} of {detail['chunks']}, back after "
                f"{detail['down_seconds']:.1f} s, resumed at chunk {detail['resumed_at_chunk']}",
                f"{show.number(detail['rows'])} rows, {show.size(detail['bytes'])}; the reader never had to ask again",
                f"[dim]the same transfer {detail['transfer']}[/]",
            ]
        case "trained":
            return _trained(detail)
        case "pulled":
            return [
                f"{detail['model']}  {show.size(detail['bytes'])} in {detail['chunks']} chunks, every file as signed",
                f"provenance {detail['provenance']}: {len(detail['trained_on'])} datasets "
                f"({', '.join(digest[:12] + '…' for digest in detail['trained_on'])})",
                *(
                    f"trained in {each['site']} ({each['country']}) on {escape(', '.join(each['devices']))}"
                    for each in detail["sites"]
                ),
            ]
        case "compared":
            return [f"{name:<16} {accuracy:7.1%} right" for name, accuracy in detail.items()]
        case "held":
            return [
                f"{detail['resource']}: {escape(detail['message'])}",
                *(f"[yellow]{each['code']}[/]  {escape(each['cite'])}" for each in detail["findings"]),
                *(_decision(each) for each in detail["decisions"]),
            ]
        case "verified":
            return [
                f"{name}: {each['entries']} entries, {each['witnessed']} cosigned by {', '.join(each['witnesses'])}"
                for name, each in detail.items()
            ]
        case "detected":
            return [
                f"rows in entry {detail['entry']} ({detail['kind']}): "
                f"first digit {detail['before']} changed to {detail['after']}",
                f"the verifier names entry [bold]{detail['named_by_verifier']}[/]",
            ]
        case _:
            return []


def _allowed(detail: dict[str, Any]) -> list[str]:
    rate = show.size(int(detail["bytes"] / max(detail["pull_seconds"], 1e-9)))
    return [
        *(_decision(each) for each in detail["decisions"]),
        f"agreement after {detail['request_seconds'] * 1000:.0f} ms; {show.number(detail['rows'])} rows, "
        f"{show.size(detail['bytes'])} in {detail['pull_seconds']:.1f} s ({rate}/s), every chunk verified",
    ]


def _trained(detail: dict[str, Any]) -> list[str]:
    middle = sorted(detail["milliseconds"])[len(detail["milliseconds"]) // 2]
    losses = ", ".join(f"{zone} {float(loss):.3f}" for zone, loss in detail["loss"].items())
    return [
        *(_decision(each) for each in detail["decisions"]),
        f"{detail['rounds']} rounds of FedAvg, {middle} ms each; last loss {losses}",
        f"over the border {show.size(detail['bytes_out'])} out and {show.size(detail['bytes_in'])} in: "
        "sums and parameters, no row",
        f"[dim]{detail['run']}, its model {detail['model']}[/]",
    ]


def _refused(detail: dict[str, Any]) -> list[str]:
    lines = [f"{detail['resource']}: {escape(detail['message'])}"]
    for finding in detail["findings"]:
        lines.append(f"[red]{finding['code']}[/]  {escape(finding['cite'])}")
        if finding["remedy"]:
            lines.append(f"    [dim]remedy[/] {escape(finding['remedy'])}")
    return [*lines, *(_decision(each) for each in detail["decisions"])]


def _decision(each: dict[str, Any]) -> str:
    entry = f", ledger entry {each['ledger_seq']}" if each["ledger_seq"] >= 0 else ""
    return f"{each['zone']} {show.state(each['effect'])}  [dim]decision {each['decision_id']}{entry}[/]"


def conclude(steps: list[Step], seconds: float, kept: Path | None) -> None:
    """Print the last lines: the result, and where to look next."""
    bad = [step for step in steps if not step.ok]
    if bad:
        console.print(f"\n[bold red]failed[/] at: {bad[0].name}" + (f"; what there is lies in {kept}" if kept else ""))
        if kept is not None:
            console.print(f"  [bold]tail {kept}/*/gateway.log[/]")
        return
    console.print(f"\n[bold green]all {len(steps)} steps as they should be[/] in {seconds:.1f} s")
    if kept is None:
        console.print("next: [bold]tdz demo --keep DIR[/], then [bold]tdz demo --resume DIR[/] to try things by hand")
        return
    console.print("where to look next:")
    console.print(f"  [bold]tdz-ledger verify {kept}/lingang/ledger[/]")
    console.print(f"  [bold]tdz-ledger verify {kept}/tampered-copy-of-lingang-ledger[/]  [dim](exit code 1)[/]")
    console.print(f"  [bold]tdz demo --resume {kept}[/]  [dim]starts both gateways again[/]")


def commands(directory: Path) -> list[str]:
    """Three commands for a partner of a kept directory to type."""
    profile = directory / "cyberjaya" / "identities" / material.UM / "profile.toml"
    return [
        f"tdz dataset list --profile {profile}",
        f"tdz request {material.FLIGHTS} --purpose research --profile {profile}",
        f"tdz pull {material.FLIGHTS} -o flights.parquet --profile {profile}",
    ]
