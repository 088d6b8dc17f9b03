"""What a report is about: everything, or one institution, dataset, model or period."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from ledger.errors import OperationalError

__all__ = ["Scope"]

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """The filters of a report; an empty one lets everything pass.

    Args:
        participant: an institution's URI, or its id alone.
        resource: ``datasets/ID`` or ``models/ID``.
        since: first day, ``YYYY-MM-DD``, UTC.
        until: last day, ``YYYY-MM-DD``, UTC.

    Raises:
        OperationalError: a day that is none.
    """

    participant: str = ""
    resource: str = ""
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        for day in (self.since, self.until):
            try:
                if day and not (_DATE.fullmatch(day) and date.fromisoformat(day)):
                    raise ValueError(day)
            except ValueError as error:
                raise OperationalError(f"{day!r} is no day", remedy="as 2026-03-31") from error

    def where(self, *, who: tuple[str, ...], what: str, when: str) -> tuple[str, list[str]]:
        """A condition in SQL, with its parameters.

        Args:
            who: columns that hold URIs of institutions.
            what: the column that holds the resource.
            when: the column that holds the time.
        """
        parts, values = ["1"], list[str]()
        if self.participant:
            # A URI is itself; an id is what stands behind the last slash.
            named = self.participant if "/" in self.participant else f"/{self.participant}"
            parts.append("(" + " OR ".join(f"substr({column}, -length(?)) = ?" for column in who) + ")")
            values += [named, named] * len(who)
        if self.resource:
            parts.append(f"{what} = ?")
            values.append(self.resource)
        if self.since:
            parts.append(f"{when} >= ?")
            values.append(self.since)
        if self.until:
            parts.append(f"substr({when}, 1, 10) <= ?")
            values.append(self.until)
        return " AND ".join(parts), values

    def words(self) -> str:
        """The scope as people say it; empty where it is everything."""
        parts = []
        if self.participant:
            parts.append(f"institution {self.participant}")
        if self.resource:
            parts.append(self.resource)
        if self.since or self.until:
            parts.append(f"{self.since or 'the beginning'} to {self.until or 'the end'}")
        return ", ".join(parts)
