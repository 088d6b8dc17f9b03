"""How many persons an institution has exported in a calendar year: counted here, never taken from a requester.

Order 16 of the CAC (22 Mar 2024) counts persons from 1 January, each once. What has left is recorded in the very
transaction that records a transfer's start; what agreements in force may still take is counted as if it had left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from gateway.decisions.inputs import Persons, Subject, own_persons
from gateway.exchange.house import House
from gateway.flow.locks import KeyedLocks
from gateway.model.negotiation import NegotiationState as State
from gateway.model.policy_facts import DatasetFacts
from gateway.model.policy_input import china_year
from gateway.state.schema import agreements, exports

__all__ = ["Usage", "counted"]

_LEFT: Final = select(exports.c.version, exports.c.non_sensitive, exports.c.sensitive).where(
    exports.c.exporter == bindparam("owner"), exports.c.year == bindparam("year")
)
_MAY_LEAVE: Final = select(
    agreements.c.version, agreements.c.persons_non_sensitive, agreements.c.persons_sensitive
).where(
    agreements.c.side == "provider",
    agreements.c.provider == bindparam("owner"),
    agreements.c.state == State.FINALIZED,
    agreements.c.expires_at > bindparam("now"),
    agreements.c.persons_non_sensitive + agreements.c.persons_sensitive > 0,
)


def counted(subject: Subject) -> Persons:
    """The persons that a transfer adds to its year; none where it is exempt (Order 16, art 4 and 5(1) to (3)).

    The same as the pack's rule: what the manifest claims is not enough. Transit is foreign and nothing else, and
    important data knows no exemption.
    """
    if not isinstance(subject, DatasetFacts) or _exempt(subject):
        return Persons(0, 0)
    return own_persons(subject)


def _exempt(subject: DatasetFacts) -> bool:
    if subject.cn.class_ == "core" or subject.cn.notified_important != "no":
        return False
    if subject.cn.exemption == "transit":
        return subject.origin == "foreign_in_transit" and not {"CN", "unknown"} & set(subject.origin_jurisdictions)
    return subject.cn.exemption != "none"


class Usage:
    """The counters of this zone's institutions."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.turns = KeyedLocks()
        """Who decides on an export of persons and then starts it holds its exporter's: no two pass one threshold."""

    async def after(self, owner: str, version: str, subject: Subject) -> Persons:
        """Persons that an exporter has exported in this year, a request counted in.

        The union by keyed hash where the datasets say who their persons are, else the sum (policy-facts D).

        Args:
            owner: the exporter's URI.
            version: of what is asked for.
            subject: what is asked for.

        Raises:
            StorageError: the persons cannot be counted.
        """
        now = self._house.clock()
        bound = {"owner": owner, "year": china_year(now), "now": now}

        def read(connection: Connection) -> dict[str, Persons]:
            found: dict[str, Persons] = {}
            for query in (_LEFT, _MAY_LEAVE):
                found.update({name: Persons(*persons) for name, *persons in connection.execute(query, bound)})
            return found

        versions = await self._house.state.read(read)
        own, adds = own_persons(subject), counted(subject)
        versions.pop(version, None)
        if adds != Persons(0, 0):
            versions[version] = adds
        known, united = await asyncio.to_thread(self._united, versions) if versions else (frozenset(), Persons(0, 0))
        rest = [persons for each, persons in versions.items() if each not in known]
        if adds != own:  # an exempt request is not counted in the year, and yet stands in its own input
            rest.append(own)
        return Persons(
            united.non_sensitive + sum(each.non_sensitive for each in rest),
            united.sensitive + sum(each.sensitive for each in rest),
        )

    def _united(self, versions: Collection[str]) -> tuple[frozenset[str], Persons]:
        """Those of the versions whose persons are known one by one, and how many they are together."""
        known = frozenset(each for each in versions if self._house.subjects.has(each))
        return known, Persons(*self._house.subjects.count(known))

    def row(self, owner: str, version: str, transfer: str, subject: Subject, now: int) -> dict[str, Any] | None:
        """What a start adds to `exports`; None where it adds nobody."""
        persons = counted(subject)
        if persons == Persons(0, 0):
            return None
        return {
            "exporter": owner,
            "year": china_year(now),
            "version": version,
            "non_sensitive": persons.non_sensitive,
            "sensitive": persons.sensitive,
            "transfer_id": transfer,
        }
