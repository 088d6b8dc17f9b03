"""`tdz policy`: example inputs and decisions by hand. Needs no server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from gateway.cli.output import ExitCode, JsonOption, console, emit, failures
from gateway.decisions.example import example as example_input
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet
from gateway.errors import InputError
from gateway.model.decision import OBLIGATION_KINDS, Decision
from gateway.model.limits import DECISION_INPUT_MAX
from gateway.model.policy_facts import Action, Jurisdiction
from gateway.model.policy_input import read_json

app = typer.Typer(no_args_is_help=True, help="Try policy by hand: example inputs and their decisions.")

DecidingOption = Annotated[
    str | None,
    typer.Option(help="The zone that decides: cyberjaya or lingang. By default the one that the data leaves."),
]

EXIT = {"allow": ExitCode.OK, "deny": ExitCode.REFUSED, "review": ExitCode.INCOMPLETE}
COLOUR = {"allow": "green", "review": "yellow", "deny": "red", "warn": "yellow", "info": "blue"}


@app.command()
def example(
    action: Annotated[str, typer.Option(help=f"One of {', '.join(get_args(Action))}.")] = "transfer_dataset",
    origin: Annotated[str, typer.Option("--from", help="The jurisdiction that the data leaves.")] = "CN",
    destination: Annotated[str, typer.Option("--to", help="The jurisdiction that it enters.")] = "MY",
) -> None:
    """Print a complete valid policy input that the shipped packs allow, to start from.

    Example: tdz policy example --action run_job --from CN --to MY > input.json
    """
    with failures():
        for value, allowed, option in (
            (action, get_args(Action), "--action"),
            (origin, get_args(Jurisdiction), "--from"),
            (destination, get_args(Jurisdiction), "--to"),
        ):
            if value not in allowed:
                raise InputError(f"{option} {value} is unknown", remedy=f"use one of {', '.join(allowed)}")
        document = example_input(action, origin, destination)  # type: ignore[arg-type]  # checked above
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@app.command("eval")
def evaluate(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A policy input in JSON; - reads standard input.")],
    gateway: DecidingOption = None,
    policy: Annotated[Path | None, typer.Option(help="A policy directory; the shipped one where left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a zone's decision on a policy input. Exits 0 on allow, 1 on deny, 3 on review.

    Example: tdz policy eval input.json --gateway lingang --policy policy
    """
    with failures(as_json=as_json):
        document = read_document(source)
        decision = asyncio.run(_decide(PolicySet.load(policy), deciding_zone(gateway, document), document))
        emit(decision.to_json(), lambda: print_decision(decision), as_json=as_json)
    raise typer.Exit(EXIT[decision.effect])


def deciding_zone(named: str | None, document: dict[str, Any]) -> str:
    """The zone whose decision is asked for.

    Args:
        named: by the user.
        document: names the zone that the data leaves, where it is a policy input.

    Raises:
        InputError: nobody names a zone.
    """
    try:
        zone = named or document["request"]["flow"]["from"]["zone"]
    except (KeyError, TypeError):
        zone = None
    if not isinstance(zone, str):
        raise InputError("the input does not say which zone the data leaves", remedy="name one: --gateway lingang")
    return zone


async def _decide(policy_set: PolicySet, zone: str, document: dict[str, Any]) -> Decision:
    # What the policy says; whether a gateway can fulfil each obligation is another question.
    point = DecisionPoint(policy_set, zone, enforces=OBLIGATION_KINDS)
    await point.start()
    try:
        return await point.decide(document)
    finally:
        await point.close()


def read_document(source: str) -> dict[str, Any]:
    """A policy input, or what claims to be one, from a file or - for standard input.

    Raises:
        InputError: unreadable, no JSON, or no object.
    """
    document = read_json(_read(source))
    if not isinstance(document, dict):
        raise InputError(f"{source} holds no JSON object", remedy="start from `tdz policy example`")
    return document


def _read(source: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read(DECISION_INPUT_MAX + 1)
        with Path(source).open("rb") as file:
            return file.read(DECISION_INPUT_MAX + 1)
    except OSError as error:
        raise InputError(
            f"{source} cannot be read: {error.strerror}", remedy="name a file, or - for standard input"
        ) from error


def print_decision(decision: Decision) -> None:
    """Print a decision for people: findings with citation and remedy, obligations, packs."""
    console.print(
        f"[bold {COLOUR[decision.effect]}]{decision.effect}[/] by {decision.zone}, decision {decision.decision_id}"
    )
    for finding in decision.findings:
        console.print(
            f"  [bold {COLOUR[finding.effect]}]{finding.code}[/] {finding.effect}, {finding.authority}: ", end=""
        )
        console.print(finding.cite, markup=False)
        if finding.remedy:
            console.print(f"    remedy: {finding.remedy}", markup=False)
        if finding.fields:
            console.print(f"    fields: {', '.join(finding.fields)}", markup=False)
    for obligation in decision.obligations:
        params = json.dumps(dict(obligation.params), ensure_ascii=False) if obligation.params else ""
        console.print(f"  obligation {obligation.kind} {params}".rstrip(), markup=False)
    for pack in decision.packs:
        console.print(f"  pack {pack.id} revision {pack.revision}: {pack.verdict}", markup=False)
