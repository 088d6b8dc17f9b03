"""``tdz-ledger witness``: a witness of one's own, for any log that speaks C2SP tlog-witness."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ledger.canonical import JsonValue
from ledger.cli.output import key_argument, print_json, printable
from ledger.errors import OperationalError
from ledger.witness.store import KnownLog, WitnessStore, create_witness

__all__ = ["register"]

DEFAULT_LISTEN: Final = "127.0.0.1:7380"
_log = logging.getLogger("ledger.witness")
_Parser = Callable[..., argparse.ArgumentParser]


def register(commands: Any) -> None:
    """Put the group into the command tree.

    Args:
        commands: the subparsers of ``tdz-ledger``.
    """
    group = commands.add_parser("witness", help="cosign logs over HTTP (C2SP tlog-witness), and see what was cosigned")
    actions = group.add_subparsers(metavar="ACTION", required=True)
    add: _Parser = actions.add_parser

    command = _command(add, "init", _init, "make a witness: key, database, list of logs")
    command.add_argument("--name", required=True, help="its key's name, as witness.example/w1; unique in the world")

    _command(add, "keys", _keys, "the key that others add to their policy")
    _command(add, "logs", _logs, "the logs that are followed, and what was cosigned last")

    command = _command(add, "add-log", _add_log, "follow a log", "vkey", "KEY", "its verifier key, or a file with it")
    command.add_argument("--origin", default="", help="its origin line, where that is not the key's name")
    other = command.add_mutually_exclusive_group()
    other.add_argument("--also", action="store_true", help="trust this key beside the present one, while it is rotated")
    other.add_argument("--replace", action="store_true", help="trust this key in place of all others of the origin")

    command = _command(add, "freeze", _freeze, "trust a log's keys no more", "origin", "ORIGIN", "the log's origin")
    command.add_argument("--reason", default="frozen by its operator", help="one line, kept with the log")
    command.add_argument("--lift", action="store_true", help="trust them again")

    command = _command(add, "serve", _serve, "answer logs over HTTP until SIGTERM or Ctrl-C")
    command.add_argument("--listen", default=DEFAULT_LISTEN, metavar="HOST:PORT", help=f"default: {DEFAULT_LISTEN}")
    command.add_argument("--prefix", default="", help="what stands before each path, as /witness")
    command.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve HTTPS with this certificate chain (PEM)")
    command.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")


def _command(
    add: _Parser, name: str, run: Callable[[argparse.Namespace], int], text: str, *argument: str
) -> argparse.ArgumentParser:
    command = add(name, help=text)
    command.add_argument("--json", action="store_true", help="print one JSON document")
    if argument:
        dest, metavar, meaning = argument
        command.add_argument(dest, metavar=metavar, help=meaning)
    command.add_argument("directory", metavar="DIR", type=Path, help="the witness's directory")
    command.set_defaults(command=run)
    return command


@contextmanager
def _opened(directory: Path) -> Iterator[WitnessStore]:
    store = WitnessStore(directory)
    try:
        yield store
    finally:
        store.close()


def _init(arguments: argparse.Namespace) -> int:
    vkey = create_witness(arguments.directory, arguments.name)
    if arguments.json:
        print_json({"directory": str(arguments.directory), "vkey": vkey})
    else:
        sys.stdout.write(f"made a witness in {arguments.directory}\n{vkey}\n")
        sys.stdout.write("next: tdz-ledger witness add-log KEY DIR, then tdz-ledger witness serve DIR\n")
    return 0


def _keys(arguments: argparse.Namespace) -> int:
    with _opened(arguments.directory) as store:
        if arguments.json:
            print_json({"keys": [store.vkey]})
        else:
            sys.stdout.write(f"{store.vkey}\n")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    with _opened(arguments.directory) as store:
        logs = store.logs()
    if arguments.json:
        print_json({"logs": [_document(each) for each in logs]})
    for log in [] if arguments.json else logs:
        _print(log)
    if not logs and not arguments.json:
        sys.stdout.write("follows no log: tdz-ledger witness add-log KEY DIR\n")
    return 0


def _add_log(arguments: argparse.Namespace) -> int:
    other = "keep" if arguments.also else "replace" if arguments.replace else "refuse"
    with _opened(arguments.directory) as store:
        log = store.add_log(key_argument(arguments.vkey) or "", origin=arguments.origin, other_keys=other)
    return _show(arguments, log)


def _freeze(arguments: argparse.Namespace) -> int:
    if not arguments.lift and not arguments.reason.strip():
        raise OperationalError("a freeze has a reason", remedy="give --reason")
    with _opened(arguments.directory) as store:
        log = store.freeze(arguments.origin, "" if arguments.lift else arguments.reason)
    return _show(arguments, log)


def _show(arguments: argparse.Namespace, log: KnownLog) -> int:
    if arguments.json:
        print_json(_document(log))
    else:
        _print(log)
    return 0


def _document(log: KnownLog) -> dict[str, JsonValue]:
    return {
        "origin": log.origin,
        "vkeys": list(log.vkeys),
        "size": log.size,
        "cosigned": log.cosigned,
        "frozen": log.frozen,
    }


def _print(log: KnownLog) -> None:
    seen = f"cosigned size {log.size} at {datetime.fromtimestamp(log.cosigned, UTC):%Y-%m-%d %H:%M:%S} UTC"
    state = f"FROZEN: {log.frozen}" if log.frozen else "followed"
    sys.stdout.write(printable((log.origin, seen if log.cosigned else "never cosigned", state)) + "\n")


# --- serve ------------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from ledger.witness.server import WitnessServer
    except ModuleNotFoundError as error:
        raise OperationalError(f"{error.name} is not installed", remedy="pip install 'tdz-gateway[witness]'") from error
    host, port = _address(arguments.listen)
    tls = _tls(arguments.tls_cert, arguments.tls_key)
    _configure_logging(as_json=arguments.json)
    if tls is None and host not in ("127.0.0.1", "::1", "localhost"):
        _log.warning("%s is open to other machines without HTTPS: gateways ask over HTTPS only", host)
    store = WitnessStore(arguments.directory)

    async def run() -> int:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stopping.set)
        server = WitnessServer(store, host=host, port=port, prefix=arguments.prefix, tls=tls)
        try:
            await server.start()
            _ready(
                arguments, store, f"{'https' if tls else 'http'}://{_url_host(host)}:{server.port}{arguments.prefix}"
            )
            waiting = [asyncio.create_task(event.wait()) for event in (stopping, server.failed)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
        finally:
            await server.stop()
        return 2 if server.failed.is_set() else 0

    return asyncio.run(run())


def _ready(arguments: argparse.Namespace, store: WitnessStore, url: str) -> None:
    logs = len(store.logs())
    if arguments.json:
        sys.stdout.write(json.dumps({"url": url, "vkey": store.vkey, "logs": logs}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"serving {url}\n{store.vkey}\nfollows {logs} logs\n")
    sys.stdout.flush()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise OperationalError(f"{text!r} is no address", remedy=f"write it as {DEFAULT_LISTEN}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise OperationalError("HTTPS needs a certificate and its key", remedy="give --tls-cert and --tls-key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise OperationalError(f"cannot use {certificate} with {key}", remedy="give a PEM chain and its key") from error
    return context


class _Lines(logging.Formatter):
    """One line an event, in UTC; as JSON where the command was asked for it."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level, event = record.levelname.lower(), record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            event += f": {record.exc_info[1]!r}"
        if self._as_json:
            return json.dumps({"time": when, "level": level, "event": event}, ensure_ascii=False)
        return f"{when} {level} {event}"


def _configure_logging(*, as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(as_json=as_json))
    for name, level in (("ledger", logging.INFO), ("aiohttp", logging.WARNING), ("asyncio", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
