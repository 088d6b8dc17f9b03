"""Cases of a pack, written in YAML: what is asked, as changes to an example, and the exact findings expected.

::

    - name: the certificate ended this second
      flow: CN-MY                 # or MY-CN; action: transfer_dataset unless said otherwise
      gateway: lingang            # the exporter's unless said otherwise
      set: {dataset.cn.subjects_sensitive: 1, usage.cn.sensitive_after: 1}
      mechanisms: [{kind: pipia}, {kind: certification, expires_at: now}]
      expect: {effect: deny, codes: [CN-MECH-EXPIRED], obligations: []}

Times may be written as `now`, `now-3y`, `now+1`, `now-3y+1` (calendar years, seconds).
"""

from __future__ import annotations

import copy
import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.decisions.example import NOW, example
from gateway.errors import ConfigError

_ZONES: Final = {"CN": "lingang", "MY": "cyberjaya"}
_TIME: Final = re.compile(r"now(?P<years>[+-]\d+y)?(?P<seconds>[+-]\d+)?")
_MEMBERS: Final = frozenset({"name", "flow", "action", "gateway", "now", "set", "mechanisms", "expect", "anchor"})


@dataclass(frozen=True, slots=True)
class Case:
    """One case: the input document, the zone that decides, and what must come out, exactly."""

    name: str
    gateway: str
    document: Mapping[str, Any]
    effect: str
    codes: frozenset[str]
    obligations: frozenset[str]


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
    expect = item["expect"]
    return Case(
        name=item["name"],
        gateway=item.get("gateway", _ZONES[origin]),
        document=document,
        effect=expect["effect"],
        codes=frozenset(expect["codes"]),
        obligations=frozenset(expect["obligations"]),
    )


def put(document: Any, path: str, value: Any) -> None:
    """Set a dotted path that the document has already.

    Raises:
        KeyError: it has not.
    """
    *steps, last = path.split(".")
    for step in steps:
        document = document[int(step)] if isinstance(document, list) else document[step]
    key: Any = int(last) if isinstance(document, list) else last
    if isinstance(document, dict) and key not in document:
        raise KeyError(path)
    document[key] = value


def _mechanism(entry: Mapping[str, Any], document: Mapping[str, Any], subject: str, now: int) -> dict[str, Any]:
    scope = {
        "dataset_ids": [subject],
        "recipient_id": document["recipient"]["id"],
        "purposes": ["research", "judicial", "law_enforcement"],
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
    return int(date.replace(year=date.year + years).timestamp()) + int(found["seconds"] or 0)
