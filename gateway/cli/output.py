"""How every `tdz` command speaks: one JSON document or readable lines, one-line errors, stable exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from gateway.errors import DeniedError, IntegrityError, PolicyError, ReviewError, TdzError


class ExitCode(IntEnum):
    """Stable exit codes: scripts depend on them."""

    OK = 0
    REFUSED = 1  # refused by policy, or a verification failed
    OPERATIONAL = 2
    INCOMPLETE = 3  # try again, or wait for a person


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

console = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def emit(document: Any, human: Callable[[], None], *, as_json: bool) -> None:
    """Print a result: the document as JSON, or the human form."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=False) + "\n")
        sys.stdout.flush()
    else:
        human()


def exit_code(error: TdzError) -> ExitCode:
    """The exit code that an error ends a command with."""
    if isinstance(error, ReviewError):
        return ExitCode.INCOMPLETE
    if isinstance(error, DeniedError | IntegrityError | PolicyError):
        return ExitCode.REFUSED
    return ExitCode.OPERATIONAL


def complain(error: TdzError) -> None:
    """Say an error in one line on standard error, with its remedy."""
    stderr.print(f"[bold red]error[/] {error.reason}: {_plain(error.message)}", end="")
    stderr.print(f" [dim]→[/] {_plain(error.remedy)}" if error.remedy else "")


@contextmanager
def failures(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error of the tree into one line on standard error and the right exit code.

    With `--json` a policy refusal also prints its findings as the document on standard output.
    """
    try:
        yield
    except TdzError as error:
        code = exit_code(error)
        complain(error)
        if isinstance(error, PolicyError):
            document = refusal(error)
            if as_json:
                sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
            else:
                for finding in document["findings"]:
                    stderr.print(
                        f"  [bold]{finding['code']}[/] ({finding['effect']}, {finding['authority']}) "
                        f"{_plain(finding['cite'])}"
                    )
                    if finding["remedy"]:
                        stderr.print(f"    remedy: {_plain(finding['remedy'])}")
        raise typer.Exit(code) from error


def refusal(error: PolicyError) -> dict[str, Any]:
    """A policy refusal as a JSON document."""
    names = ("code", "effect", "authority", "cite", "remedy")
    return {
        "outcome": "review" if isinstance(error, ReviewError) else "denied",
        "reason": error.reason,
        "message": error.message,
        "remedy": error.remedy,
        "request": error.request_id,
        "decision_id": error.decision_id,
        "findings": [dict(zip(names, finding, strict=True)) for finding in error.findings],
    }


def _plain(text: str) -> str:
    """Escape what rich would read as markup."""
    return text.replace("[", "\\[")
