"""What would come of a request, for people: each zone's findings and what would mend them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from gateway.cli import show
from gateway.cli.output import ExitCode, console

if TYPE_CHECKING:
    from gateway.sdk.reviews import Outlook

_CODES = {"allow": ExitCode.OK, "deny": ExitCode.REFUSED}
_WORDS = {"allow": "would be allowed", "review": "would wait for a person", "deny": "would be denied"}


def code_of(outlook: Outlook) -> ExitCode:
    """The exit code of a dry run: as the request's would be, 3 also where a zone was not asked."""
    return _CODES.get(outlook.effect, ExitCode.INCOMPLETE)


def print_outlooks(found: Sequence[Outlook]) -> None:
    """Print each with what both zones say; nothing of it was asked for or recorded."""
    for outlook in found:
        word = _WORDS.get(outlook.effect, "cannot be told")
        colour = {"allow": "green", "deny": "red"}.get(outlook.effect, "yellow")
        console.print(f"[{colour}]{word}[/]  {outlook.purpose}  [dim]{escape(outlook.recipient)}[/]")
        for view in outlook.zones:
            says = show.state(view.effect) if view.effect else f"[dim]{escape(view.note)}[/]"
            obligations = f"  [dim]with[/] {', '.join(view.obligations)}" if view.obligations else ""
            console.print(f"  {view.zone}  {says}{obligations}")
            for finding in view.findings:
                console.print(
                    f"    [bold]{finding.code}[/] ({finding.effect}, {finding.authority}) {escape(finding.cite)}"
                )
                if finding.remedy:
                    console.print(f"      [dim]remedy[/] {escape(finding.remedy)}")
