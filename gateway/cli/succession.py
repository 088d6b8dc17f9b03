"""A zone's ledger after another: the old log is sealed and kept, the new one has a key and an origin of its own.

1. Nothing is half done in the state database nor left to be delivered, and no gateway runs.
2. The old log is sealed with its key, where it is not yet; a lost key seals nothing.
3. A new key is made on this machine, ``keys/successor.key``.
4. The new log is made beside the old one; its first entry names the old one's last cosigned checkpoint.
5. What is mirrored of others moves over, with what was cosigned of it: the zone's cosigner goes on with its key.
6. The old log becomes ``ledger.<label>``, the new one takes its place.
7. So do their keys: ``keys/log.<label>.key`` and ``keys/log.key``.
8. The settings name the new origin.
9. A card of higher serial names origin and key; every paired zone admits it.

Each step is whole or not there, and a repeat goes on at the first that is missing; also one behind the last, as long
as the new log holds nothing but its first entry.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, func, select

from gateway.config import GatewaySettings, ZoneLayout, load_settings, write_settings
from gateway.errors import ConfigError, LedgerError
from gateway.identity.card import SignedCard
from gateway.identity.card_file import last_card, renew_card
from gateway.server.startup import require_state
from gateway.state import StateStore
from gateway.state.schema import outbox, pending
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry
from ledger.errors import LedgerError as LedgerFailure
from ledger.errors import OperationalError, SealedError
from ledger.keys import create_key, load_key, load_signers, next_key, old_key
from ledger.lock import open_database
from ledger.note import MAX_NOTE_BYTES, Note, NoteSigner, VerifierKey
from ledger.reserve import DEFAULT_RESERVE_BYTES, chosen_size
from ledger.storage import lock_directory
from ledger.successor import label_for, last_cosigned
from ledger.tiles import TileReader, read_regular_file
from ledger.writer import LogWriter

__all__ = ["Succeeded", "succeed_zone"]


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The new log, where the old one lies, and the card that the other zones must admit now."""

    origin: str
    predecessor: str
    archive: Path
    card: SignedCard


def succeed_zone(directory: Path, *, reason: str, key_lost: bool = False, undelivered: bool = False) -> Succeeded:
    """Let another log follow the zone's; its gateway must not run.

    Args:
        directory: the zone's directory.
        reason: why the old log ends, a word in lower case, as ``superseded`` or ``compromised``.
        key_lost: the old log's key is gone: it is not sealed.
        undelivered: give up what was still to be delivered to other zones.

    Raises:
        ConfigError: something is half done or not delivered, or the settings cannot be read or written.
        LedgerError: the ledger is open elsewhere, its key is missing, or nobody cosigned what must be.
    """
    settings = load_settings(directory)
    layout = settings.layout
    try:
        if not _begun(settings):
            asyncio.run(_require_settled(settings, undelivered=undelivered))  # 1.
            if not key_lost:
                asyncio.run(_seal(settings, reason))  # 2.
            create_key(_successor_key(layout))  # 3.
        if _successor_key(layout).exists():
            old = last_card(settings).card.origin  # the last to change
            _follow(layout, settings.zone, _archive(layout, old))  # 4. to 6.
            _place_keys(layout, old)  # 7.
        origin = _origin_of(layout.ledger)
        if settings.origin != origin:
            settings = replace(settings, origin=origin)
            write_settings(settings)  # 8.
    except LedgerFailure as error:
        raise LedgerError(f"no log follows yet: {error.message}", remedy=error.remedy) from error
    except OSError as error:
        raise LedgerError(f"no log follows yet: {error.strerror}", remedy="mend that, then type it again") from error
    card = last_card(settings)
    if card.card.origin != origin:
        card = renew_card(settings)  # 9.
    predecessor = _opened(layout.ledger)[1]
    return Succeeded(origin, predecessor, _archive(layout, predecessor), card)


def _begun(settings: GatewaySettings) -> bool:
    """Whether an earlier try was cut off."""
    layout = settings.layout
    if _successor_key(layout).exists() or not layout.ledger.exists():
        return True
    if not settings.origin == _origin_of(layout.ledger) == last_card(settings).card.origin:
        return True
    size, predecessor = _opened(layout.ledger)
    return size == 1 and bool(predecessor)


def _opened(ledger: Path) -> tuple[int, str]:
    """The size of a log, and the origin that it follows; empty where it follows none."""
    note = read_regular_file(str(ledger / "checkpoint"), MAX_NOTE_BYTES)
    size = Checkpoint.parse(Note.parse(note).text).size
    (first,) = TileReader(str(ledger)).entries(0, 1, size)
    predecessor = Entry.parse(first, seq=0).body.get("predecessor")
    origin = predecessor.get("origin") if isinstance(predecessor, dict) else ""
    return size, origin if isinstance(origin, str) else ""


def _archive(layout: ZoneLayout, origin: str) -> Path:
    """Where a log that was followed lies."""
    return layout.root / f"ledger.{origin.split('/')[-1]}"


def _successor_key(layout: ZoneLayout) -> Path:
    return layout.keys / "successor.key"


def _origin_of(ledger: Path) -> str:
    try:
        return VerifierKey.parse((ledger / "vkey").read_text("ascii").strip()).name
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{ledger} is no ledger", remedy="see the operator's guide, recovery") from error


async def _require_settled(settings: GatewaySettings, *, undelivered: bool) -> None:
    """What a crash left is looked for in the old log, and what is to be delivered names it: both must end before."""
    require_state(settings)
    state = await StateStore.open(settings.layout.state)

    def count(connection: Connection) -> tuple[int, int]:
        steps, mails = (
            connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (pending, outbox)
        )
        return int(steps), int(mails)

    try:
        steps, mails = await state.read(count)
    finally:
        await state.close()
    if steps:
        raise ConfigError(
            f"{steps} steps are half done", remedy="start the gateway once, and stop it when it serves; then again"
        )
    if mails and not undelivered:
        raise ConfigError(
            f"{mails} receipts or ends of transfers are not delivered yet, and name the old log",
            remedy="start the gateway until the other zone has them; --undelivered gives them up",
        )


async def _seal(settings: GatewaySettings, reason: str) -> None:
    signer, *others = load_signers(settings.layout.log_key, settings.origin)
    writer = await LogWriter.open(settings.layout.ledger, signer, others=others)
    try:
        await writer.seal(reason)
    except SealedError:
        return  # before, by hand: then its end may be cosigned already
    finally:
        await writer.close()


def _follow(layout: ZoneLayout, zone: str, archive: Path) -> None:
    """Steps 4 to 6."""
    fresh = layout.root / "ledger.next"
    if not archive.exists():
        held = lock_directory(str(layout.ledger / "state"))
        try:
            if not fresh.exists():
                key = load_key(_successor_key(layout))
                origin = f"tdz/{zone}/{label_for(VerifierKey.parse(NoteSigner(zone, key).vkey))}"
                if origin == _origin_of(layout.ledger):
                    raise OperationalError(
                        f"the new key gives the old label {origin}",
                        remedy=f"remove {_successor_key(layout)}, try again",
                    )
                last = last_cosigned(layout.ledger)
                LogWriter.create(  # 4.
                    fresh,
                    origin=origin,
                    signer=NoteSigner(origin, key),
                    predecessor=last.body(),
                    reserve_bytes=chosen_size(str(layout.ledger)) or DEFAULT_RESERVE_BYTES,
                )
            _take_over(layout.ledger, fresh)  # 5.
            _move(layout.ledger, archive)  # 6.
        finally:
            os.close(held)
    if fresh.exists():
        _move(fresh, layout.ledger)


def _take_over(old: Path, new: Path) -> None:
    """Step 5: mirrors and evidence, then the database that says what was cosigned: moved, never copied."""
    for name in ("mirror", "evidence"):
        if (old / name).is_dir():
            (new / name).mkdir(exist_ok=True)
            for each in sorted((old / name).iterdir()):
                _move(each, new / name / each.name)
    database = old / "state" / "witness.db"
    if database.exists():
        db = open_database(database, OperationalError)
        try:
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            db.close()
        if busy or any(Path(f"{database}{end}").exists() for end in ("-wal", "-shm")):
            raise OperationalError(f"another process has {database} open", remedy="stop it first")
        _move(database, new / "state" / "witness.db")


def _place_keys(layout: ZoneLayout, old: str) -> None:
    """Step 7; the new key last, since its name says that this is not done."""
    label = old.split("/")[2]
    for path in (next_key(layout.log_key), old_key(layout.log_key), layout.log_key):
        kept = path.with_name(f"log.{label}{path.name.removeprefix('log')}")
        if path.exists() and not kept.exists():
            _move(path, kept)
    _move(_successor_key(layout), layout.log_key)


def _move(source: Path, target: Path) -> None:
    os.rename(source, target)
    _sync({source.parent, target.parent})


def _sync(folders: Iterable[Path]) -> None:
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
