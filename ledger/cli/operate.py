"""``tdz-ledger keys``, ``seal``, ``clock``, ``erase``, ``freeze`` and ``succeed``: what an operator does to a log.

Those that append open the log as its one writer, so the gateway must not run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ledger.canonical import JsonValue
from ledger.cli.output import print_json
from ledger.errors import OperationalError
from ledger.freezing import freeze, mirrored_origins
from ledger.key_history import KeyHistory
from ledger.keys import create_key, load_key, load_signers
from ledger.note import MAX_NOTE_BYTES, NoteSigner, VerifierKey
from ledger.successor import label_for, last_cosigned
from ledger.tiles import read_regular_file
from ledger.writer import Appended, LogWriter

__all__ = ["register"]

Commands = Any  # argparse names the type of its sub-parsers privately


def register(commands: Commands) -> None:
    """Add the operator's commands."""
    keys = commands.add_parser("keys", help="the log's keys: list them, or have another one sign from now on")
    below = keys.add_subparsers(metavar="COMMAND", required=True)
    command = _command(below, "list", _list, "all keys with their first and last sizes")
    command = _command(below, "rotate", _rotate, "another key signs from now on; the old one beside it for a while")
    _key(command)
    command.add_argument("--new-key", metavar="FILE", type=Path, required=True, help="the new key; made if missing")
    command = _command(commands, "seal", _seal, "end the log: nothing can be appended any more")
    _key(command)
    command.add_argument("--reason", default="retired", help="a word in lower case; default: retired")
    clock = commands.add_parser("clock", help="what to do when the clock is behind the last entry")
    below = clock.add_subparsers(metavar="COMMAND", required=True)
    _key(_command(below, "accept", _accept, "the clock is right and the last entry's time was wrong: go on"))
    command = _command(commands, "erase", _erase, "forget a value behind a commitment, for good", "seq", "field")
    _key(command)
    command = _command(commands, "freeze", _freeze, "cosign nothing more of a peer's log, for ever", "origin")
    command.add_argument("--reason", required=True, help="one line, as: its key was stolen")
    command = _command(commands, "succeed", _succeed, "a new log that names the last cosigned checkpoint of this one")
    command.add_argument("new", metavar="NEW", type=Path, help="the new log's folder, which must be free")
    command.add_argument("--new-key", metavar="FILE", type=Path, required=True, help="its key; made if missing")


_ARGUMENTS = {
    "seq": ("SEQ", int, "the entry's number"),
    "field": ("FIELD", str, "the member of its body, as approver or /body/approver"),
    "origin": ("ORIGIN", str, "as tdz/<zone>/<label>"),
}


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str, *positional: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text)
    for each in positional:
        metavar, kind, said = _ARGUMENTS[each]
        command.add_argument(each, metavar=metavar, type=kind, help=said)
    command.add_argument("directory", metavar="DIR", type=Path, help="the ledger's folder")
    command.add_argument("--json", action="store_true", help="print one JSON document")
    command.set_defaults(command=run)
    return command


def _key(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        action="append",
        required=True,
        help="the log's private key; the old one too while a rotation is not finished, unless it lies beside it",
    )


def _list(arguments: argparse.Namespace) -> int:
    history = _history(arguments.directory)
    retiring = history.retiring
    ranges: list[JsonValue] = [
        {"first": each.first, "last": each.last, "vkey": each.vkey, "signs": each.last is None}
        for each in history.ranges
    ]
    lines = [
        f"sizes {each.first} to {'now' if each.last is None else each.last}  {each.vkey}" for each in history.ranges
    ]
    if retiring is not None:
        lines.append("the old key signs on beside the new one: not every cosigner has seen the new one yet")
    elif len(history.ranges) > 1:
        lines.append("the old key has ended: its private half is not needed any more")
    _print(arguments, {"finished": retiring is None, "keys": ranges, "origin": history.origin}, *lines)
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    origin = _history(arguments.directory).origin
    path: Path = arguments.new_key
    new = NoteSigner(origin, load_key(path) if path.exists() else create_key(path))

    async def work(writer: LogWriter) -> Appended | None:
        # A command that was killed behind the entry finds it done.
        return None if writer.keys.current == new.vkey else await writer.rotate(new)

    appended = _with_log(arguments, work, new)
    document: dict[str, JsonValue] = {"new": new.vkey, "seq": None if appended is None else appended.seq}
    _print(
        arguments,
        document,
        f"entry {appended.seq}: from size {appended.seq + 1} on {new.vkey} signs"
        if appended
        else f"{new.vkey} signs already",
        f"start the log's writer with {path}, and with the old key too until `tdz-ledger keys list` says it has ended",
        "put the new key on a new zone card and send that to every peer",
    )
    return 0


def _seal(arguments: argparse.Namespace) -> int:
    appended = _with_log(arguments, lambda writer: writer.seal(arguments.reason))
    _print(
        arguments,
        {"reason": arguments.reason, "seq": appended.seq, "size": appended.size},
        f"entry {appended.seq}: the log is sealed at size {appended.size}",
    )
    return 0


def _accept(arguments: argparse.Namespace) -> int:
    appended = _with_log(arguments, lambda writer: writer.accept_clock())
    _print(
        arguments, {"seq": appended.seq, "time": appended.time}, f"entry {appended.seq}: times go on at {appended.time}"
    )
    return 0


def _erase(arguments: argparse.Namespace) -> int:
    appended = _with_log(arguments, lambda writer: writer.erase(arguments.seq, arguments.field))
    _print(
        arguments,
        {"erased": arguments.seq, "field": arguments.field, "seq": appended.seq},
        f"entry {appended.seq}: {arguments.field} of entry {arguments.seq} is erased; its commitment stays",
    )
    return 0


def _freeze(arguments: argparse.Namespace) -> int:
    reason: str = arguments.reason
    if not reason.isprintable() or not 1 <= len(reason) <= 200:
        raise OperationalError("a reason is one line of 1 to 200 characters")
    known = mirrored_origins(arguments.directory)
    fresh = freeze(arguments.directory, arguments.origin, reason)
    document: dict[str, JsonValue] = {"frozen": arguments.origin, "reason": reason, "was_frozen": not fresh}
    if arguments.origin not in known:
        sys.stderr.write(f"tdz-ledger: no log of that name is mirrored here; known: {', '.join(known) or 'none'}\n")
    _print(
        arguments,
        {**document, "mirrored": arguments.origin in known},
        f"{arguments.origin} is frozen{'' if fresh else ' already'}: nothing of it is cosigned any more",
        "a new key of that zone comes with a new zone card and a new origin, never through its old log",
    )
    return 0


def _succeed(arguments: argparse.Namespace) -> int:
    last = last_cosigned(arguments.directory)
    zone = last.checkpoint.origin.split("/")[1]
    path: Path = arguments.new_key
    key = load_key(path) if path.exists() else create_key(path)
    origin = f"tdz/{zone}/{label_for(VerifierKey.parse(NoteSigner(zone, key).vkey))}"
    signer = NoteSigner(origin, key)
    LogWriter.create(arguments.new, origin=origin, signer=signer, predecessor=last.body())
    seen = "last cosigned" if last.cosigned else "newest, which nobody cosigned,"
    _print(
        arguments,
        {"cosigned": last.cosigned, "origin": origin, "predecessor": last.checkpoint.origin, "vkey": signer.vkey},
        f"{origin} follows {last.checkpoint.origin} from its {seen} checkpoint of size {last.checkpoint.size}",
    )
    return 0


def _with_log(arguments: argparse.Namespace, work: Callable[[LogWriter], Awaitable[Any]], *more: NoteSigner) -> Any:
    """Open the log with the keys that were given, do the work, close it."""
    origin = _history(arguments.directory).origin
    first, *others = [signer for each in arguments.key for signer in load_signers(each, origin)]

    async def run() -> Any:
        writer = await LogWriter.open(arguments.directory, first, others=[*others, *more])
        try:
            return await work(writer)
        finally:
            await writer.close()

    return asyncio.run(run())


def _history(directory: Path) -> KeyHistory:
    if not (directory / "vkeys").is_file():
        raise OperationalError(f"{directory} is not a ledger's directory", remedy="name the folder that holds vkeys")
    try:
        return KeyHistory.parse(read_regular_file(str(directory / "vkeys"), MAX_NOTE_BYTES).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise OperationalError(f"{directory / 'vkeys'} is not UTF-8") from error


def _print(arguments: argparse.Namespace, document: dict[str, JsonValue], *lines: str) -> None:
    if arguments.json:
        print_json(document)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
