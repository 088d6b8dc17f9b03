"""Cases of a pack, written in YAML: what is asked, as changes to an example, and the exact findings expected.

::

    - name: the certificate ended this second
      flow: CN-MY                 # or MY-CN; action: transfer_dataset unless said otherwise
      gateway: lingang            # the exporter's unless said otherwise
      set: {dataset.cn.subjects_sensitive: 1, usage.cn.sensitive_after: 1}
      remove: [exporter.ciio]     # members taken out of the example
      mechanisms: [{kind: pipia}, {kind: certification, expires_at: now}]
      absent: [us]                # packs that are not loaded
      expect: {effect: deny, codes: [CN-MECH-EXPIRED], obligations: []}

Times may be written as `now`, `now-3y`, `now+1`, `now-3y+1` (calendar years, seconds; 29 February becomes 1 March).
A case is evaluated on `case.policy(policy_set)`.
"""

from __future__ import annotations

import calendar
import copy
import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.decisions.example import NOW, PURPOSES, example
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.errors import ConfigError

_ZONES: Final = {"CN": "lingang", "MY": "cyberjaya"}
_TIME: Final = re.compile(r"now(?P<years>[+-]\d+y)?(?P<seconds>[+-]\d+)?")
_MEMBERS: Final = frozenset(
    {"name", "flow", "action", "gateway", "now", "set", "remove", "mechanisms", "absent", "expect"}
)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: the input document, the zone that decides, and what must come out, exactly."""

    name: str
    gateway: str
    document: Mapping[str, Any]
    effect: str
    codes: frozenset[str]
    obligations: frozenset[str]
    absent: frozenset[str] = frozenset()

    def policy(self, policy_set: PolicySet) -> ZonePolicy:
        """What the deciding zone loads of a policy directory, without the packs that the case takes away.

        Raises:
            ConfigError: the registry does not name the zone, or a data document is wrong.
        """
        return policy_set.without(self.absent).for_zone(self.gateway)


def load(path: Path) -> Iterator[Case]:
    """The cases of one file.

    Raises:
        ConfigError: a case has members that are not known, or sets a path that the example does not have.
    """
    for item in yaml.safe_load(path.read_text("utf-8")):
        unknown = set(item) - _MEMBERS
        if unknown:
            raise ConfigError(f"{path}: {item.get('name')}: unknown members {sorted(unknown)}")
        try:
            yield _case(item)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: {item.get('name')}: {error!r}") from error


def _case(item: Mapping[str, Any]) -> Case:
    origin, destination = item.get("flow", "CN-MY").split("-")
    now = item.get("now", NOW)
    document = copy.deepcopy(example(item.get("action", "transfer_dataset"), origin, destination, now=now))
    if "mechanisms" in item:
        subject = (document["dataset"] or document["model"])["id"]
        document["mechanisms"] = [_mechanism(entry, document, subject, now) for entry in item["mechanisms"]]
    for path, value in item.get("set", {}).items():
        put(document, path, _time(value, now))
    for path in item.get("remove", ()):
        take(document, path)
    expect = item["expect"]
    return Case(
        name=item["name"],
        gateway=item.get("gateway", _ZONES[origin]),
        document=document,
        effect=expect["effect"],
        codes=frozenset(expect["codes"]),
        obligations=frozenset(expect["obligations"]),
        absent=frozenset(item.get("absent", ())),
    )


def put(document: Any, path: str, value: Any) -> None:
    """Set a dotted path that the document has already.

    Raises:
        KeyError: it has not.
    """
    place, key = _place(document, path)
    place[key] = value


def take(document: Any, path: str) -> None:
    """Take the member at a dotted path out of a document.

    Raises:
        KeyError: it is not there.
    """
    place, key = _place(document, path)
    del place[key]


def _place(document: Any, path: str) -> tuple[Any, Any]:
    *steps, last = path.split(".")
    for step in steps:
        document = document[int(step)] if isinstance(document, list) else document[step]
    key: Any = int(last) if isinstance(document, list) else last
    if isinstance(document, dict) and key not in document:
        raise KeyError(path)
    return document, key


def _mechanism(entry: Mapping[str, Any], document: Mapping[str, Any], subject: str, now: int) -> dict[str, Any]:
    scope = {
        "dataset_ids": [subject],
        "recipient_id": document["recipient"]["id"],
        "purposes": list(PURPOSES),
    }
    made = {
        "kind": entry["kind"],
        "ref": f"{entry['kind'].replace('_', '-')}-1",
        "scope": scope | entry.get("scope", {}),
        "issued_at": "now-1y",
        "expires_at": "now+1y",
        "verified_by": "zone_admin",
    }
    made.update({name: value for name, value in entry.items() if name != "scope"})
    return {name: _time(value, now) for name, value in made.items()}


def _time(value: object, now: int) -> object:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    date = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    years = int((found["years"] or "0y")[:-1])
    leap = (date.month, date.day) == (2, 29) and not calendar.isleap(date.year + years)
    moved = date.replace(year=date.year + years, month=3, day=1) if leap else date.replace(year=date.year + years)
    return int(moved.timestamp()) + int(found["seconds"] or 0)
