"""What a comparison says of one negotiation, decision, agreement, transfer, receipt, run or round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from ledger.canonical import JsonValue

__all__ = ["Item", "Standing", "Tally"]


class Standing(StrEnum):
    """How a thing stands on the two ledgers."""

    SAME = "same"
    """On both, with the same digests."""
    OPEN = "open"
    """On both, the same so far, and ended on neither."""
    ENDED_ALONE = "ended alone"
    """On one, or further on one, and ended there without effect: refused, aborted, not confirmed."""
    UNFINISHED = "unfinished"
    """One ledger is a step behind, as it may be while a message is on its way."""
    PENDING = "pending"
    """Past what the zones have mirrored of each other, or younger than the other copy: nobody can say yet."""
    ONE_SIDE = "one side only"
    """On one ledger only, though the other zone must have recorded it before."""
    DIFFERS = "differs"
    """On both, and they contradict each other."""

    @property
    def bad(self) -> bool:
        """Whether it is a divergence."""
        return self in (Standing.ONE_SIDE, Standing.DIFFERS)

    @property
    def undecided(self) -> bool:
        """Whether it could not be judged to the end."""
        return self in (Standing.UNFINISHED, Standing.PENDING)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing compared.

    Args:
        kind: negotiation, decision, agreement, transfer, receipt, run or round.
        id: its id; a receipt's has the signer's zone behind it, a decision's the deciding zone before it, a round's its
            number.
        standing: how it stands.
        text: what differs or lacks, in words; empty where nothing does.
        seqs: the entry that says it, by zone.
        entry: the first entry in doubt, as zone and number.
    """

    kind: str
    id: str
    standing: Standing
    text: str = ""
    seqs: dict[str, int] = field(default_factory=dict)
    entry: tuple[str, int] | None = None

    def as_json(self) -> JsonValue:
        """As one document."""
        return {
            "entries": dict(sorted(self.seqs.items())),
            "id": self.id,
            "kind": self.kind,
            "standing": self.standing.value,
            "text": self.text,
        }


@dataclass(slots=True)
class Tally:
    """Counts by kind and standing."""

    counts: dict[str, Counter[Standing]] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        """Count one more."""
        self.counts.setdefault(item.kind, Counter())[item.standing] += 1

    def total(self, standing: Standing) -> int:
        """How many stand so, of every kind."""
        return sum(counts[standing] for counts in self.counts.values())

    @property
    def exit_code(self) -> int:
        """0 the same, 1 divergence, 3 something could not be judged."""
        standings = {standing for counts in self.counts.values() for standing in counts}
        if any(each.bad for each in standings):
            return 1
        return 3 if any(each.undecided for each in standings) else 0

    def as_json(self) -> JsonValue:
        """As one document."""
        return {
            kind: {standing.value: count for standing, count in sorted(counts.items())}
            for kind, counts in sorted(self.counts.items())
        }
