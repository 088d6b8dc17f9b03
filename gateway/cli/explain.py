"""A refusal explained: rule, citation, remedy, decision and the ledger entry that records it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from gateway.cli.output import refusal, stderr
from gateway.errors import PolicyError, ReviewError, TdzError

if TYPE_CHECKING:
    from gateway.sdk import AccessRequest, Zone


def explanation(error: PolicyError, request: AccessRequest | None) -> dict[str, Any]:
    """A refusal as a document: what the error carries, and where both zones' decisions stand on the own ledger."""
    document = refusal(error)
    document["decisions"] = [decision.document() for decision in request.decisions] if request else []
    document["held_by"] = request.held_by if request else ""
    return document


def look_up(zone: Zone, error: PolicyError) -> AccessRequest | None:
    """The request behind a refusal, where the gateway recorded one and answers."""
    if not error.request_id:
        return None
    try:
        return zone.show_request(error.request_id)
    except TdzError:  # the refusal itself is what matters
        return None


def print_refusal(error: PolicyError, document: dict[str, Any], *, as_json: bool) -> None:
    """Print a refusal: the explanation for people on standard error, or the document as JSON."""
    review = isinstance(error, ReviewError)
    title = "[bold yellow]review[/]" if review else "[bold red]denied[/]"
    stderr.print(f"{title} {escape(error.message)}" + (f" [dim]→[/] {escape(error.remedy)}" if error.remedy else ""))
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    for finding in document["findings"]:
        colour = "red" if finding["effect"] == "deny" else "yellow"
        stderr.print(f"  [bold {colour}]{escape(finding['code'])}[/]  {finding['effect']}, {finding['authority']}")
        stderr.print(f"    [dim]rule  [/]  {escape(finding['cite'])}")
        if finding["remedy"]:
            stderr.print(f"    [dim]remedy[/]  {escape(finding['remedy'])}")
    for decision in document["decisions"]:
        where = f", entry {decision['ledger_seq']} of your zone's ledger" if decision["ledger_seq"] >= 0 else ""
        stderr.print(f"  [dim]{decision['zone']}[/] {decision['effect']}  decision {decision['decision_id']}{where}")
    if not document["decisions"] and document["decision_id"]:
        stderr.print(f"  [dim]decision[/] {document['decision_id']}")
    if document["request"]:
        stderr.print(f"  [dim]request [/] {document['request']}")
