"""A zone's ledger taken up again after the loss of its directory: from what the paired zones' mirrors hold of it."""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from gateway.config import GatewaySettings, load_settings, write_file, write_settings
from gateway.errors import ConfigError, IntegrityError, LedgerError, PeerUnavailableError, TdzError
from gateway.identity.card import LOG_KEY_TYPE, SignedCard, ZoneCard, make_vkey, read_card
from gateway.identity.card_file import renew_card
from gateway.identity.keys import load_statement_key, new_statement_key, private_pem, raw_public
from gateway.identity.tables import Pairing
from gateway.server.startup import marker_folder, require_state
from gateway.state import StateStore
from gateway.state.schema import pairings
from gateway.v1 import ledger_pb2, ledger_pb2_grpc
from gateway.wire.channel import ClientIdentity, call, open_channel, stream
from ledger.entry import MAX_ENTRY_BYTES
from ledger.errors import LedgerError as LedgerFailure
from ledger.errors import TamperedError
from ledger.marker import Marker
from ledger.note import NoteSigner
from ledger.rebuild import EntriesLostError, Rebuilt, Source, rebuild, write_copy

_ANSWER_S: Final = 30.0
_FETCH_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was made, of whom, and the card that the other zones must admit now."""

    rebuilt: Rebuilt
    source: str
    settings: GatewaySettings
    card: SignedCard


@dataclass(frozen=True, slots=True)
class _Held:
    """What one zone's mirror holds of ours."""

    zone: str
    note: bytes
    pending: bytes
    frozen: str
    source: Source | None


def recover_zone(directory: Path, *, cards: Sequence[Path] = (), new_origin: bool = False) -> Recovered:
    """Make the lost ledger of a zone anew; its gateway must not run.

    1. Ask every paired zone what it holds, and fetch the entries.
    2. Make the ledger from the copy with the most entries, or a new origin where entries are lost.
    3. Take a new cosigner key: what the old one had signed of others is not known any more.
    4. Write a new card, which the other zones admit.

    Args:
        directory: the zone's directory; its keys, card and state database are there.
        cards: of zones to ask, where the state database does not know them.
        new_origin: open a new origin where the old one cannot go on.

    Raises:
        ConfigError: a ledger is there, or what is needed is not.
        PeerUnavailableError: a paired zone did not answer, or none holds anything.
        LedgerError: entries are lost and no new origin may be opened, or the ledger cannot be made.
        IntegrityError: a copy is not what this zone's ledger signed.
    """
    settings = load_settings(directory)
    layout = settings.layout
    if layout.ledger.exists() and any(layout.ledger.iterdir()):
        raise ConfigError(
            f"{layout.ledger} is there already",
            remedy="move it away first; never delete it, it may hold entries that nobody else has",
        )
    peers = [read_card(path.read_bytes()).card for path in cards] or asyncio.run(_paired(settings))
    if not peers:
        raise ConfigError("this zone is paired with nobody who could hold its ledger", remedy="name one with --card")
    vkey = make_vkey(settings.origin, load_statement_key(layout.log_key).public_key(), LOG_KEY_TYPE)
    with tempfile.TemporaryDirectory(prefix=".recovering-", dir=layout.root) as scratch:
        held = asyncio.run(_ask_all(settings, peers, vkey, Path(scratch)))
        copies = [(each.source.checkpoint.size, each) for each in held if each.source is not None]
        if not copies:
            raise PeerUnavailableError(
                "nobody holds anything of this zone's ledger", remedy="recover it from an export: tdz-ledger recover"
            )
        best = max(copies, key=lambda each: each[0])[1]
        notes = [note for each in held for note in (each.note, each.pending) if note] + _remembered(settings, vkey)
        made, successor = _make(settings, best, notes, any(each.frozen for each in held), new_origin)
    # The ledger stands; keys, settings and card follow. Where this breaks off, the ledger is moved away and it is
    # done again: nothing of it has left the machine.
    write_file(layout.mirror_key, private_pem(new_statement_key()), mode=0o600)
    if successor is not None:
        write_file(layout.log_key, private_pem(successor[1]), mode=0o600)
        settings = replace(settings, origin=successor[0])
        write_settings(settings)
    return Recovered(made, best.zone, settings, renew_card(settings))


def _make(
    settings: GatewaySettings, best: _Held, notes: list[bytes], frozen: bool, new_origin: bool
) -> tuple[Rebuilt, tuple[str, Any] | None]:
    successor: tuple[str, Any] | None = None
    signer = None
    if new_origin:
        key = new_statement_key()
        label = f"{datetime.datetime.now(datetime.UTC):%Y}-{raw_public(key.public_key()).hex()[:4]}"
        successor = f"tdz/{settings.zone}/{label}", key
        signer = NoteSigner(successor[0], key)
    if best.source is None:
        raise PeerUnavailableError(f"{best.zone} holds nothing")
    try:
        made = rebuild(settings.layout.ledger, best.source, held=notes, successor=signer, ended=frozen)
    except EntriesLostError as error:
        raise LedgerError(
            error.message,
            remedy="look for another copy (tdz-ledger recover); or open a new origin: --new-origin",
        ) from error
    except TamperedError as error:
        raise IntegrityError(f"the copy of {best.zone}: {error}") from error
    except LedgerFailure as error:
        raise LedgerError(f"the ledger cannot be made: {error}", remedy="--new-origin" if frozen else "") from error
    return made, successor if made.predecessor else None


async def _paired(settings: GatewaySettings) -> list[ZoneCard]:
    """The cards of the zones that this one is paired with."""
    require_state(settings)
    state = await StateStore.open(settings.layout.state)
    try:
        rows = await state.read(lambda connection: connection.execute(select(pairings)).all())
    finally:
        await state.close()
    return [found.signed.card for found in map(Pairing.of_row, rows) if not found.unpaired_at]


async def _ask_all(settings: GatewaySettings, peers: list[ZoneCard], vkey: str, scratch: Path) -> list[_Held]:
    return [await _ask(settings, card, vkey, scratch / card.zone) for card in peers]


async def _ask(settings: GatewaySettings, card: ZoneCard, vkey: str, scratch: Path) -> _Held:
    """What one zone holds, with all its entries, judged."""
    layout = settings.layout
    identity = ClientIdentity(
        ca=card.ca.encode(), certificate=layout.gateway_certificate.read_bytes(), key=layout.gateway_key.read_bytes()
    )
    channel = open_channel(card.endpoint, identity)
    try:
        stub: Any = ledger_pb2_grpc.MirrorServiceStub(channel)
        held = await call(stub.GetHeld(ledger_pb2.GetHeldRequest(), timeout=_ANSWER_S))
        if not held.note:
            return _Held(card.zone, b"", held.pending, held.frozen, None)
        spool = scratch.with_name(f"{card.zone}.entries")
        await _fetch(stub, spool)
        try:
            source = await asyncio.to_thread(write_copy, scratch, vkey, held.note, _spooled(spool))
        except LedgerFailure as error:
            raise IntegrityError(f"what {card.zone} holds is not this zone's ledger: {error}") from error
        return _Held(card.zone, held.note, held.pending, held.frozen, source)
    except TdzError as error:
        if isinstance(error, IntegrityError):
            raise
        raise PeerUnavailableError(
            f"{card.zone} does not say what it holds: {error.message}",
            remedy="start its gateway: what it holds may not be signed anew",
        ) from error
    finally:
        await channel.close()


async def _fetch(stub: Any, spool: Path) -> None:
    """Every entry into one file, each behind its length: a ledger may be larger than the memory."""
    due = 0
    with spool.open("wb") as file:
        async for answer in stream(stub.Fetch(ledger_pb2.FetchRequest(start=0), timeout=_FETCH_S)):
            if answer.start != due:
                raise IntegrityError(f"entries from {answer.start} on came where {due} was due")
            for entry in answer.entries:
                if len(entry) > MAX_ENTRY_BYTES:
                    raise IntegrityError(f"an entry has at most {MAX_ENTRY_BYTES} bytes")
                file.write(len(entry).to_bytes(2, "big") + entry)
            due += len(answer.entries)


def _spooled(spool: Path) -> Iterator[bytes]:
    with spool.open("rb") as file:
        while length := file.read(2):
            yield file.read(int.from_bytes(length, "big"))


def _remembered(settings: GatewaySettings, vkey: str) -> list[bytes]:
    """What this machine remembers of the ledger since it booted."""
    folder = marker_folder(settings)
    if folder is None:
        return []
    try:
        note = Marker(folder, vkey).read()
    except LedgerFailure:
        return []
    return [] if note is None else [note]
