"""Whose keys the caller trusts: the options that the verifying commands share."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ledger.card import MAX_CARD_BYTES, Card
from ledger.card_history import statement_keys
from ledger.cli.output import key_argument
from ledger.envelope import KnownKey
from ledger.errors import LedgerError, OperationalError
from ledger.note import MAX_NOTE_BYTES, CosignatureVerifier, NoteVerifier
from ledger.policy import TrustPolicy
from ledger.proof import Trust

__all__ = ["Given", "add_trust", "add_tsa", "duration", "given", "read_input", "tsa_authorities"]

_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])", re.ASCII)
_MAX_CA_BYTES = 1024 * 1024
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Given:
    """What the caller handed in: keys to trust, and the cards that they came from."""

    trust: Trust
    cards: tuple[Card, ...]

    @property
    def lines(self) -> list[str]:
        """What was verified of the cards."""
        return [each.line for each in self.cards]

    def tell(self) -> None:
        """The same on standard error, for commands whose answer is not about keys."""
        sys.stderr.write("".join(f"{line}\n" for line in self.lines))

    @property
    def statement_keys(self) -> list[KnownKey]:
        """The keys that sign the zones' statements."""
        return statement_keys(self.cards)


def add_trust(command: argparse.ArgumentParser) -> None:
    """Add the options."""
    command.add_argument(
        "--card",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="a zone's card, for its log's key; other zones' cards give the keys of their mirrors; may be given again",
    )
    command.add_argument(
        "--witness-vkey",
        metavar="KEY",
        action="append",
        default=[],
        help="a witness's verifier key or a file that holds it; may be given again; default: those of policy.tlog",
    )
    command.add_argument(
        "--policy", metavar="FILE", type=Path, help="a tlog-policy: keys of logs and witnesses, and who must cosign"
    )


def add_tsa(command: argparse.ArgumentParser) -> None:
    """Add the option that names authorities of time."""
    command.add_argument(
        "--tsa-ca", metavar="FILE", type=Path, help="certificates (PEM) of the RFC 3161 authorities that are trusted"
    )


def tsa_authorities(arguments: argparse.Namespace) -> bytes:
    """What that option names; empty where it was not given.

    Raises:
        OperationalError: the file cannot be read, or is empty.
    """
    path: Path | None = arguments.tsa_ca
    if path is None:
        return b""
    data = read_input(path, _MAX_CA_BYTES)
    if not data:
        raise OperationalError(f"{path} is empty", remedy="give PEM certificates")
    return data


def given(arguments: argparse.Namespace, *, vkey: str = "vkey") -> Given:
    """Read what the options name.

    Args:
        arguments: parsed.
        vkey: the option that names the log's key: a command that reads two logs has one for each.

    Raises:
        OperationalError: a file cannot be read or a key is none.
    """
    try:
        key_given = key_argument(getattr(arguments, vkey))
        cards = tuple(_card(path) for path in arguments.card)
        logs = [*([NoteVerifier(key_given)] if key_given is not None else ()), *(each.log for each in cards)]
        keys = [key for each in arguments.witness_vkey if (key := key_argument(each))]
        # Several cards: each zone's mirror is a witness of the others' logs, never of its own.
        witnesses = [*map(CosignatureVerifier, keys), *(each.mirror for each in cards if len(cards) > 1)]
        policy = None
        if arguments.policy is not None:
            policy = TrustPolicy(read_input(arguments.policy, MAX_NOTE_BYTES).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise OperationalError(f"{arguments.policy} is not UTF-8") from error
    except OperationalError:
        raise
    except LedgerError as error:
        raise OperationalError(f"a key or policy that was given: {error.message}", remedy=error.remedy) from error
    return Given(Trust(tuple(logs), tuple(witnesses), policy), cards)


def read_input(path: Path, most: int) -> bytes:
    """A file that the caller names, bounded.

    Raises:
        OperationalError: it cannot be read, or is longer than ``most`` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise OperationalError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > most:
        raise OperationalError(f"{path} has more than {most} bytes", remedy="name the right file")
    return data


def duration(text: str) -> int:
    """Seconds of a duration such as 90s, 15m, 24h or 7d.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 15m, 24h or 7d")
    return int(match[1]) * _SECONDS[match[2]]


def _card(path: Path) -> Card:
    try:
        return Card.parse(read_input(path, MAX_CARD_BYTES))
    except OperationalError:
        raise
    except LedgerError as error:
        raise OperationalError(f"{path}: {error.message}", remedy="ask its zone for the card again") from error
