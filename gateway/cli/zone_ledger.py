"""`tdz zone ledger`: what an administrator does to the zone's ledger while its gateway runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit

app = typer.Typer(no_args_is_help=True)
ledger = typer.Typer(
    no_args_is_help=True,
    help="The ledger of a running gateway: another key, erasures, its clock. For one that stands still: tdz-ledger.",
)
app.add_typer(ledger, name="ledger")

NoteOption = Annotated[
    str, typer.Option("--note", help="Why, in one line. The ledger only commits to it: it can be shown, and erased.")
]


@ledger.command("rotate-key")
def rotate_key(
    replaces: Annotated[
        str, typer.Option("--replaces", help="The vkey that signs now: with it a repeat rotates once.")
    ] = "",
    note: NoteOption = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the new card.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have another key sign the ledger from now on; the gateway makes it, and nothing pauses.

    Example: tdz zone ledger rotate-key -o lingang.card.json
    """
    with connection.admin(profile, as_json=as_json) as admin:
        rotated = admin.rotate_ledger_key(replaces=replaces, note=note)
        if output is not None:
            from gateway.config import write_file

            write_file(output, rotated.card, mode=0o644)

        def human() -> None:
            console.print(f"[green]rotated[/]  {escape(rotated.vkey)}")
            if output is not None:
                console.print(f"  [dim]card[/]         {escape(str(output))}")
            console.print(f"  [dim]fingerprint[/]  {rotated.fingerprint}")
            console.print("next: send the card to every paired zone; they follow the ledger meanwhile")
            if not rotated.finished:
                console.print(
                    "on the gateway's machine keep keys/log.old.key until `tdz-ledger keys list` says that it has ended"
                )

        emit(rotated.document(), human, as_json=as_json)


@ledger.command()
def erase(
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="The entry's number.")],
    field: Annotated[str, typer.Argument(metavar="FIELD", help="The member of its body, as note or /body/note.")],
    note: NoteOption = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a value behind a commitment, for good; two administrators must ask (exit code 3 until then).

    Example: tdz zone ledger erase 17 note --note "asked for by the person on 3 May"
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.erase_value(seq, field, note=note)

        def human() -> None:
            if found.erasure is None:
                console.print(
                    f"[yellow]recorded[/]  {found.missing} more administrator(s) must ask for the same "
                    f"until {show.moment(found.expires_at)}"
                )
                return
            console.print(f"[green]erased[/]  {escape(field)} of entry {seq}, by entry {found.erasure}")
            console.print(
                "  [dim]its commitment stays; copies that were disclosed, and of the disk, are out of reach[/]"
            )

        emit({"seq": seq, "field": field, **found.document()}, human, as_json=as_json)
        if found.erasure is None:
            raise typer.Exit(ExitCode.INCOMPLETE)


@ledger.command("accept-clock")
def accept_clock(note: NoteOption = "", profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """The clock is right and the last entry's time was wrong: times go on from the clock.

    Example: tdz zone ledger accept-clock
    """
    with connection.admin(profile, as_json=as_json) as admin:
        seq = admin.accept_clock(note=note)
        emit({"seq": seq}, lambda: console.print(f"[green]accepted[/]  by entry {seq}"), as_json=as_json)
