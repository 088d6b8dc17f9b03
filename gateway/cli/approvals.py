"""`tdz approvals`: what waits for a person, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit

if TYPE_CHECKING:
    from gateway.sdk.reviews import Review

app = typer.Typer(
    no_args_is_help=True,
    help="What waits for a person: reviews and appeals for administrators, what asks for the own data for owners.",
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The review's id, or that of the request or run.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why. It stays in your zone; the ledger has a commitment.")]
BasisOption = Annotated[
    str,
    typer.Option("--basis", help="What you looked at, as `show` prints it: refused where it has changed since."),
]


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also what was answered or has expired.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what waits, newest first: an administrator sees the zone's, an institution what it published.

    Example: tdz approvals list
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.reviews(all=all_)

        def human() -> None:
            show.table(
                ("review", "kind", "asked", "institution", "resource", "purpose", "for", "state", "until"),
                (
                    (
                        r.id,
                        r.kind,
                        r.holder,
                        escape(r.participant),
                        r.resource,
                        r.purpose,
                        ", ".join(r.lifts),
                        show.state(r.state),
                        show.moment(r.deadline),
                    )
                    for r in found
                ),
                empty="nothing waits for you",
            )

        emit({"reviews": [each.document() for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(review: IdArgument, profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show one: who asks for what, which findings an approval lifts, what was answered so far.

    Example: tdz approvals show 0197a3bf-…
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.review(review)
        emit(found.document(), lambda: _human(found), as_json=as_json)


@app.command()
def approve(
    review: IdArgument,
    note: NoteOption = "",
    basis: BasisOption = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve; of an appeal: overturn the denial. Exit code 3 while other administrators must approve too.

    Example: tdz approvals approve 0197a3bf-… --note "checked with the ministry"
    """
    _answer(review, "approve", note, basis, profile, as_json=as_json)


@app.command()
def deny(
    review: IdArgument,
    note: NoteOption = "",
    basis: BasisOption = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deny; of an appeal: uphold the denial. One answer is enough.

    Example: tdz approvals deny 0197a3bf-… --note "not for this purpose"
    """
    _answer(review, "deny", note, basis, profile, as_json=as_json)


def _answer(review: str, verdict: str, note: str, basis: str, profile: ProfileOption, *, as_json: bool) -> None:
    with connection.zone(profile, as_json=as_json) as zone:
        # What stands now is what is answered: had it changed while this ran, the gateway would refuse.
        seen = basis or zone.review(review).basis
        found = zone.answer_review(review, "approve" if verdict == "approve" else "deny", note=note, basis=seen)
        missing = found.needed - found.approvals if found.state == "OPEN" else 0

        def human() -> None:
            if missing:
                console.print(f"[yellow]recorded[/]  {missing} more administrator(s) must approve {found.id}")
                return
            words = ("overturned", "upheld") if found.kind == "appeal" else ("approved", "denied")
            word = words[0] if found.state == "APPROVED" else words[1]
            colour = "green" if found.state == "APPROVED" else "red"
            console.print(f"[{colour}]{word}[/]  {found.resource} for {escape(found.participant)}")

        emit(found.document(), human, as_json=as_json)
        if missing:
            raise typer.Exit(ExitCode.INCOMPLETE)


def _human(review: Review) -> None:
    show.pairs(
        {
            "kind": review.kind,
            "asked": review.holder + (f" {escape(review.owner)}" if review.owner else ""),
            "about": review.about,
            "institution": escape(review.participant),
            "resource": review.resource,
            "purpose": review.purpose,
            "state": show.state(review.state),
            "approvals": f"{review.approvals} of {review.needed}",
            "lifts": ", ".join(review.lifts) or "nothing: the request would be decided anew",
            "until": show.moment(review.deadline),
            "basis": review.basis,
            "appeal says": escape(review.note),
        },
        title=f"reviews/{review.id}",
    )
    for finding in review.findings:
        mark = "lifted by an approval" if finding.code in review.lifts else finding.effect
        console.print(f"  [bold]{finding.code}[/] ({mark}, {finding.authority}) {escape(finding.cite)}")
        if finding.fields:
            console.print(f"    [dim]looked at[/] {escape(', '.join(finding.fields))}")
    for answer in review.answers:
        console.print(f"  [dim]{show.moment(answer.at)}[/] {escape(answer.by)} {answer.verdict}  {escape(answer.note)}")
    if review.facts:
        console.print("  [dim]the facts that were decided on: --json[/]")
