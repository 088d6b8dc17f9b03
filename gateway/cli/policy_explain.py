"""`tdz policy explain`: which rule, on which values, and what would change the verdict. Needs no server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli.output import JsonOption, console, emit, failures
from gateway.cli.policy import COLOUR, EXIT, DecidingOption, deciding_zone, read_document

if TYPE_CHECKING:
    from gateway.decisions.authoring.explaining import Explanation, Reason
    from gateway.decisions.authoring.what_if import Near

app = typer.Typer(no_args_is_help=True)


@app.command()
def explain(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A policy input in JSON; - reads standard input.")],
    gateway: DecidingOption = None,
    policy: Annotated[Path | None, typer.Option(help="A policy directory; the shipped one where left out.")] = None,
    try_changes: Annotated[
        bool, typer.Option("--try/--no-try", help="Try single changes of the input and say what would come of them.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Explain a zone's decision on a policy input. Exits as `eval`: 0 on allow, 1 on deny, 3 on review.

    Example: tdz policy explain input.json
    """
    with failures(as_json=as_json):
        from gateway.decisions.authoring.explaining import explain as explained
        from gateway.decisions.policy_set import PolicySet

        document = read_document(source)
        told = asyncio.run(
            explained(PolicySet.load(policy), deciding_zone(gateway, document), document, try_changes=try_changes)
        )
        emit(told.to_json(), lambda: _print(told, tried=try_changes), as_json=as_json)
    raise typer.Exit(EXIT[told.decision.effect])


def _print(told: Explanation, *, tried: bool) -> None:
    decision = told.decision
    console.print(f"[bold {COLOUR[decision.effect]}]{decision.effect}[/] by {decision.zone}", end="")
    if not told.reasons:
        packs = ", ".join(f"{pack.id} {pack.revision} ({pack.verdict})" for pack in decision.packs)
        console.print(f": no rule has anything against it. Packs: {escape(packs)}")
    else:
        console.print(f", for {len(told.reasons)} {'reason' if len(told.reasons) == 1 else 'reasons'}")
    for number, reason in enumerate(told.reasons, 1):
        _reason(number, reason, tried=tried, colour=COLOUR[reason.finding.effect])
    for obligation in decision.obligations:
        params = json.dumps(dict(obligation.params), ensure_ascii=False) if obligation.params else ""
        console.print(f"bound to {obligation.kind} {params}".rstrip(), markup=False)
    for near in told.near:
        console.print(_near(near), markup=False)


def _reason(number: int, reason: Reason, *, tried: bool, colour: str) -> None:
    finding = reason.finding
    console.print(f"{number}. [bold {colour}]{finding.code}[/] asks to {finding.effect} ({finding.authority})")
    if reason.rule is not None:
        console.print(f"   rule       {reason.rule.title}; {reason.rule.file} line {reason.rule.line}", markup=False)
    console.print(f"   because    {finding.cite}", markup=False)
    for path, value in reason.values:
        console.print(f"   looked at  {path} = {value}", markup=False)
    if finding.remedy:
        console.print(f"   remedy     {finding.remedy}", markup=False)
    for mend in reason.mends:
        left = f" ({', '.join(mend.codes)} left)" if mend.codes else ""
        console.print(f"   would not stand if {mend.change}; then {mend.effect}{left}", markup=False)
    # Changes of an input that is none are not tried.
    if tried and not reason.mends and finding.effect in {"deny", "review"} and finding.code != "TDZ-INPUT-INCOMPLETE":
        console.print("   no single change of these facts does away with it")


def _near(near: Near) -> str:
    from gateway.decisions.authoring.what_if import day

    codes = f" ({', '.join(near.codes)})" if near.codes else ""
    if near.path == "request.now":
        return f"near: from {day(near.at)} on: {near.effect}{codes}"
    word = "from" if near.at > near.value else "down from"
    return f"near: {near.path} is {near.value:,}; {word} {near.at:,} on: {near.effect}{codes}"
