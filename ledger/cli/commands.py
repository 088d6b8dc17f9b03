"""Every command of ``tdz-ledger`` by its name; what a command needs is imported where it is the one that is run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["COMMANDS", "add"]


def add(wanted: str, commands: Any, common: argparse.ArgumentParser) -> None:
    """Add one command, or all of them where no command has that name.

    Args:
        wanted: the command's name.
        commands: the sub-parsers.
        common: options that the reading commands share.
    """
    chosen = [COMMANDS[wanted]] if wanted in COMMANDS else dict.fromkeys(COMMANDS.values())
    for each in chosen:
        each(commands, common)


def _head(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.head import head
    from ledger.cli.trust import add_trust

    command = commands.add_parser("head", parents=[common], help="what the log says about itself, and who saw it")
    _directory(command)
    add_trust(command)
    command.set_defaults(command=head)


def _show(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.show import add_filters, show
    from ledger.cli.trust import add_trust

    command = commands.add_parser("show", parents=[common], help="one entry by number, or all of a subject")
    command.add_argument("what", metavar="SEQ|SUBJECT", help="an entry's number, a subject or its first parts, or all")
    _directory(command)
    add_trust(command)
    add_filters(command)
    command.set_defaults(command=show)


def _prove(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.prove import add_prove

    text = "a small file that proves an entry, or a checkpoint from another"
    add_prove(commands.add_parser("prove", help=text), common)


def _verify(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.verify import add_verify

    text = "every entry, chain, tile and signature; or a proof"
    add_verify(commands.add_parser("verify", parents=[common], help=text))


def _fsck(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.fsck import add_fsck

    text = "the operator's: private files and statements too"
    add_fsck(commands.add_parser("fsck", parents=[common], help=text))


def _export(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.export import add_export

    add_export(commands.add_parser("export", parents=[common], help="a self-contained copy, verified"))


def _monitor(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.monitor import add_monitor

    add_monitor(commands.add_parser("monitor", parents=[common], help="follow a log, verify what is new, alert"))


def _operate(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.operate import register

    register(commands)


def _disclose(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.disclose import register

    register(commands)


def _recover(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.recover import add_recover

    add_recover(commands, common)


def _timestamp(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.timestamp import register

    register(commands)


def _witness(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.witness import register

    register(commands)


def _sql(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.sql import add_sql

    add_sql(commands, common)


def _index(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.sql import add_index

    add_index(commands, common)


def _diff_peer(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.diff_peer import add_diff_peer

    add_diff_peer(commands, common)


def _lineage(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.lineage import add_lineage

    add_lineage(commands, common)


def _report(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.report import add_report

    add_report(commands, common)


def _replay(commands: Any, common: argparse.ArgumentParser) -> None:
    from ledger.cli.replay import add_replay

    add_replay(commands, common)


def _directory(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder; default: here"
    )


COMMANDS: Final[dict[str, Callable[[Any, argparse.ArgumentParser], None]]] = {
    "head": _head,
    "show": _show,
    "verify": _verify,
    "prove": _prove,
    "disclose": _disclose,
    "export": _export,
    "monitor": _monitor,
    "diff-peer": _diff_peer,
    "lineage": _lineage,
    "report": _report,
    "replay": _replay,
    "sql": _sql,
    "index": _index,
    "timestamp": _timestamp,
    "witness": _witness,
    "fsck": _fsck,
    "recover": _recover,
    **dict.fromkeys(("keys", "seal", "clock", "erase", "freeze", "succeed"), _operate),
}
"""In the order of the help. A reader's commands come first."""
