"""What the commands share that read two zones' ledgers: which ones, and their tables."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ledger.cli.output import open_log
from ledger.cli.progress import progress_line
from ledger.cli.trust import add_trust, given
from ledger.compare.sides import Side, measure, mirrors_of
from ledger.errors import OperationalError
from ledger.facts.merged import merge
from ledger.facts.store import FactStore
from ledger.proof import Trust
from ledger.workers import processors

__all__ = ["add_peer", "fill", "loaded", "one_or_two", "trusts", "two"]


def add_peer(command: argparse.ArgumentParser) -> None:
    """The second ledger of a command that reads two, and whose keys they are judged by."""
    command.add_argument(
        "peer", metavar="PEER_DIR", type=Path, nargs="?", help="the other zone's; default: DIR's mirror of it"
    )
    command.add_argument("--peer-vkey", metavar="KEY", help="the other log's verifier key, or a file that holds it")
    add_trust(command)


def trusts(arguments: argparse.Namespace) -> tuple[Trust, Trust]:
    """Whose keys count for the first ledger, and for the other: each its own ``vkey``, the cards for both."""
    return given(arguments).trust, given(arguments, vkey="peer_vkey").trust


def one_or_two(arguments: argparse.Namespace) -> list[Side]:
    """The ledgers that a command names; one alone where it has no mirror and no other is named.

    Raises:
        OperationalError: both are of one zone, or there is more than one mirror.
    """
    peer: Path | None = arguments.peer
    if peer is None:
        mirrors = mirrors_of(arguments.directory)
        if len(mirrors) > 1:
            text = f"{arguments.directory} holds the mirrors of {len(mirrors)} ledgers"
            raise OperationalError(text, remedy="name one folder below mirror/, or the other zone's ledger")
        peer = mirrors[0] if mirrors else None
    ours, theirs = trusts(arguments)
    one = Side(open_log(arguments.directory, ours))
    if peer is None:
        return [one]
    other = Side(open_log(peer, theirs))
    if one.zone == other.zone:
        raise OperationalError(f"both directories are ledgers of {one.zone}", remedy="name one of each zone")
    measure(one, other)
    return [one, other]


def two(arguments: argparse.Namespace) -> tuple[Side, Side]:
    """The two ledgers that a command names.

    Raises:
        OperationalError: there is no second one, or both are of one zone.
    """
    sides = one_or_two(arguments)
    if len(sides) == 1:
        raise OperationalError(f"{arguments.directory} holds no mirror", remedy="name the other zone's ledger too")
    return sides[0], sides[1]


def fill(store: FactStore, sides: Sequence[Side]) -> None:
    """Read ledgers into tables, proving them.

    Raises:
        TamperedError: one is not as it was signed.
    """
    for side in sides:
        with progress_line(f"reading {side.zone}") as progress:
            store.load(side.log.reader, side.log.checkpoint, progress, workers=processors())
    store.ready()


@contextmanager
def loaded(arguments: argparse.Namespace) -> Iterator[tuple[FactStore, list[str]]]:
    """Tables of one or both ledgers, merged, with the zones' names."""
    sides = one_or_two(arguments)
    with FactStore() as store:
        fill(store, sides)
        merge(store)
        yield store, [side.zone for side in sides]
