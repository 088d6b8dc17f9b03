"""How commands show things to people: sizes, times, tables, pairs of name and value."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.cli.output import console

_PIPE_WIDTH: Final = 200  # where nobody reads along, nothing is cut to a screen's width
_STATES: Final = {
    "FINALIZED": "green",
    "RELEASED": "green",
    "RUNNING": "cyan",
    "QUEUED": "yellow",
    "SUBMITTED": "yellow",
    "DECIDED": "yellow",
    "REFUSED": "red",
    "FAILED": "red",
    "CANCELLED": "red",
    "COMPLETED": "green",
    "allow": "green",
    "OPEN": "yellow",
    "APPROVED": "green",
    "DENIED": "red",
    "STARTED": "cyan",
    "REQUESTED": "yellow",
    "SUSPENDED": "yellow",
    "review": "yellow",
    "TERMINATED": "red",
    "deny": "red",
}


def size(count: int) -> str:
    """Bytes for people; a dash where they are not known."""
    if count < 0:
        return "–"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def number(count: int) -> str:
    """A count with thousands set apart; a dash where it is not known."""
    return "–" if count < 0 else f"{count:,}"


def moment(seconds: int) -> str:
    """A time in UTC; a dash for none."""
    if not seconds:
        return "–"
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def state(name: str) -> str:
    """A state or effect in its colour."""
    colour = _STATES.get(name, "")
    return f"[{colour}]{name}[/]" if colour else escape(name)


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, empty: str) -> None:
    """Print rows under headings, or one line where there are none.

    Args:
        columns: headings; one that begins with `>` is set to the right.
        rows: cells, rich markup allowed.
        empty: what to say where there are no rows.
    """
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        shown.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    if not shown.row_count:
        console.print(f"[dim]{empty}[/]")
        return
    whole(shown)


def whole(shown: Table) -> None:
    """Print a table, cut to the screen's width only where there is a screen."""
    target = console if console.is_terminal else Console(width=_PIPE_WIDTH, highlight=False)
    target.print(shown, soft_wrap=False)


def pairs(values: Mapping[str, Any], *, title: str = "") -> None:
    """Print names and values one under the other; empty values are left out."""
    if title:
        console.print(f"[bold]{escape(title)}[/]")
    width = max((len(name) for name, value in values.items() if value not in ("", None)), default=0)
    for name, value in values.items():
        if value not in ("", None):
            console.print(f"  [dim]{name:<{width}}[/]  {value}")
