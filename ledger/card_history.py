"""Which statement key spoke for which zone, and when: cards that are known, held against the entries that admit them.

A ledger records each card of another zone by its fingerprint (``zone.paired``). From that entry on the card's
statement key speaks for its zone, until another card with another key is admitted; what it signed before then may
still be quoted later. A zone's own cards stand on other zones' ledgers, so here only their dates can say when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.card import Card
from ledger.entry import parse_time
from ledger.envelope import EnvelopeCheck, KnownKey, Pairing
from ledger.origin import zone_of
from ledger.report import Report
from ledger.tiles import TILE_WIDTH, entries_path

__all__ = ["judge_cards", "statement_keys"]

_LATE_S: Final = 300
"""How far a statement's own time may lie behind the end of its key: clocks differ."""
_NAMED: Final = 20
"""Admitted cards that are not known, named one by one."""


def statement_keys(cards: Sequence[Card]) -> list[KnownKey]:
    """The keys that sign the zones' statements; of a zone with several cards each under its serial."""
    several = {each.zone for each in cards if sum(other.zone == each.zone for other in cards) > 1}
    return [
        KnownKey(
            f"the zone {each.zone}" + (f" (card serial {each.serial})" if each.zone in several else ""),
            each.statement_key,
            dated=True,
        )
        for each in sorted(cards, key=lambda each: (each.zone, each.serial), reverse=True)
    ]


@dataclass(frozen=True, slots=True)
class _Reign:
    """When a key spoke for its zone, as far as is known.

    Args:
        card: the first card that names it.
        since: the entry that admitted it; None where that is not known.
        until: Unix seconds; None while it speaks.
        ended: what ended it, in words.
    """

    card: Card
    since: int | None
    until: int | None
    ended: str


def judge_cards(report: Report, check: EnvelopeCheck, cards: Sequence[Card]) -> None:
    """Hold every signature of a known card's key against the time in which it spoke for its zone.

    Args:
        report: of the log; what is found goes there.
        check: what its envelopes gave: admissions, and when each key was used.
        cards: those that are known.

    Raises:
        TooManyFindingsError: the report is full.
    """
    known = {each.fingerprint: each for each in cards}
    _unknown(report, [each for each in check.pairings if each.card not in known])
    for reign in _reigns(check.pairings, cards, zone_of(report.origin)):
        card = reign.card
        use = check.uses.get(KnownKey("", card.statement_key).keyid)
        if use is None:
            continue
        name = f"the statement key of card serial {card.serial} of {card.zone}"
        if reign.since is not None and use.first < reign.since:
            text = f"{name} signed a statement in it, which entry {reign.since} admits only later"
            report.find(entries_path(use.first // TILE_WIDTH), text, use.first)
        if reign.until is not None and use.issued > reign.until + _LATE_S:
            file, seq = entries_path(use.issued_in // TILE_WIDTH), use.issued_in
            report.find(file, f"{name} signed a statement in it after {reign.ended}", seq)


def _unknown(report: Report, pairings: list[Pairing]) -> None:
    for each in pairings[:_NAMED]:
        report.notices.append(
            f"entry {each.seq} admits a card of {each.zone} that was not given, with the fingerprint {each.card}: "
            "what its key signed is counted as of an unknown key unless another card names it too"
        )
    if len(pairings) > _NAMED:
        report.notices.append(f"and {len(pairings) - _NAMED} more cards that were not given")


def _reigns(pairings: Sequence[Pairing], cards: Sequence[Card], own: str) -> Iterator[_Reign]:
    known = {each.fingerprint: each for each in cards}
    for zone in sorted({each.zone for each in cards}):
        named = sorted((each for each in cards if each.zone == zone), key=lambda each: each.serial)
        yield from _by_date(named) if zone == own else _by_entry(named, pairings, known)


def _by_date(cards: list[Card]) -> Iterator[_Reign]:
    """A zone's own cards, by their serials: each key until the date of the first card with another."""
    for at, card in enumerate(cards):
        later = cards[at + 1 :]
        if any(each.statement_key == card.statement_key for each in later):
            continue
        after = next(iter(later), None)
        until, ended = (after.date, f"the date of card serial {after.serial}") if after else (None, "")
        yield _Reign(card, None, until, ended)


def _by_entry(cards: list[Card], pairings: Sequence[Pairing], known: dict[str, Card]) -> Iterator[_Reign]:
    """Another zone's cards, by the entries that admit them."""
    done = set()
    for card in cards:
        if card.statement_key in done:
            continue
        done.add(card.statement_key)
        mine = [each for each in pairings if each.zone == card.zone]
        same = [at for at, each in enumerate(mine) if _names(known, each, card)]
        if not same:
            yield _Reign(card, None, None, "")
            continue
        # An admitted card that is not known may name the same key: it neither begins nor ends a reign.
        unsure = any(each.card not in known for each in mine[: same[0]])
        end = next((each for each in mine[same[-1] + 1 :] if each.card in known), None)
        yield _Reign(
            card,
            None if unsure else mine[same[0]].seq,
            parse_time(end.time) // 1_000_000 if end else None,
            f"entry {end.seq} admitted another card" if end else "",
        )


def _names(known: dict[str, Card], pairing: Pairing, card: Card) -> bool:
    found = known.get(pairing.card)
    return found is not None and found.statement_key == card.statement_key
