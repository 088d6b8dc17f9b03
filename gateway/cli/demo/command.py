"""`tdz demo`: the command itself."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import connection
from gateway.cli.output import ExitCode, JsonOption, console
from gateway.errors import ConfigError, InputError

if TYPE_CHECKING:
    from gateway.cli.demo.corridor import Corridor, ZoneProcess

_LOOK_S: Final = 0.5


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Leave both zones there; must not exist, or be empty.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Start the gateways of a kept directory again.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show both zones on this machine: allowed, refused, killed and resumed, proved. Real data, real mTLS.

    Example: tdz demo --keep /tmp/corridor
    """
    with connection.speaking(as_json=as_json), _terminable() as ending:
        if keep is not None and resume is not None:
            raise InputError("--keep and --resume exclude each other", remedy="give one of them")
        if resume is not None:
            _resume(resume.absolute(), ending, as_json=as_json)
        else:
            _tell(keep.absolute() if keep is not None else None, ending, as_json=as_json)


def _tell(keep: Path | None, ending: threading.Event, *, as_json: bool) -> None:
    from gateway.cli.demo import account
    from gateway.cli.demo.story import Step, Story

    directory = _fresh(keep)
    begun = time.monotonic()
    kept: Path | None = directory
    try:
        if not as_json:
            console.print("[bold]two zones, two laws, one corridor[/]  [dim]on this machine, real data, mTLS[/]\n")

        def tell(step: Step) -> None:
            if not as_json:
                account.tell(step)
            if ending.is_set():
                raise KeyboardInterrupt

        steps = Story(directory, tell).run()
        seconds = time.monotonic() - begun
        ok = all(step.ok for step in steps)
        if ok and keep is None:
            kept = None
        if as_json:
            document: dict[str, Any] = {
                "ok": ok,
                "seconds": round(seconds, 3),
                "directory": str(kept) if kept else "",
                "steps": [step.document() for step in steps],
            }
            _write(document)
        else:
            account.conclude(steps, seconds, kept)
    except BaseException:
        kept = keep
        raise
    finally:
        if kept is None:
            shutil.rmtree(directory, ignore_errors=True)
    if not ok:
        raise typer.Exit(ExitCode.REFUSED)


def _resume(directory: Path, ending: threading.Event, *, as_json: bool) -> None:
    from gateway.cli.demo import account
    from gateway.cli.demo.corridor import Corridor

    if not directory.is_dir():
        raise ConfigError(f"there is no {directory}", remedy="make it with `tdz demo --keep DIR`")
    with Corridor.open(directory) as corridor:
        corridor.start()
        document = {
            "ok": True,
            "directory": str(directory),
            "zones": [_zone(zone) for zone in corridor.zones],
            "commands": account.commands(directory),
        }
        if as_json:
            _write(document)
        else:
            _print(document)
        signal.signal(signal.SIGINT, lambda *_: ending.set())
        _stay(corridor, ending)


def _stay(corridor: Corridor, ending: threading.Event) -> None:
    """Wait for SIGTERM or Ctrl-C, or for a gateway to end by itself."""
    while not ending.wait(_LOOK_S):
        for zone in corridor.zones:
            if not zone.running:
                raise ConfigError(f"the gateway of {zone.name} ended", remedy=f"see {zone.layout.log}")


def _zone(zone: ZoneProcess) -> dict[str, Any]:
    layout = zone.layout
    return {
        "zone": zone.name,
        "jurisdiction": zone.settings.jurisdiction,
        "endpoint": str(zone.settings.endpoint),
        "ca": str(layout.ca),
        "card": str(layout.card),
        "ledger": str(layout.ledger),
        "log": str(layout.log),
        "identities": {
            path.parent.name: {
                "profile": str(path),
                "cert": str(path.parent / "cert.pem"),
                "key": str(path.parent / "key.pem"),
            }
            for path in sorted(layout.identities.glob("*/profile.toml"))
        },
    }


def _print(document: dict[str, Any]) -> None:
    for zone in document["zones"]:
        console.print(f"[green]serving[/]  [bold]{zone['zone']}[/] ({zone['jurisdiction']}) at {zone['endpoint']}")
        for name, files in zone["identities"].items():
            console.print(f"  [dim]{name:<20}[/] {files['profile']}")
    console.print("\nto type in another terminal:")
    for command in document["commands"]:
        console.print(f"  [bold]{command}[/]")
    console.print("\n[dim]Ctrl-C ends both gateways[/]")


def _fresh(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="tdz-demo-"))
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise ConfigError(f"{keep} is not empty", remedy="name another directory, or `tdz demo --resume` this one")
    except OSError as error:
        raise ConfigError(f"cannot make {keep}: {error.strerror}", remedy="name a writable place") from error
    return keep


@contextlib.contextmanager
def _terminable() -> Iterator[threading.Event]:
    """SIGTERM ends the story after its present step, so that no child process is left.

    It raises nothing by itself: an exception at any place could be swallowed by a destructor or a callback.
    """
    ending = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: ending.set())
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()
