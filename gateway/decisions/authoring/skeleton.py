"""Skeletons that pass `check` and `test`: a pack, or a zone's own rule. What they say is an example to be replaced."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.decisions import codes
from gateway.decisions.authoring.layout import REGISTRY
from gateway.decisions.policy_set import PolicySet, shipped
from gateway.errors import ConfigError, InputError

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_YEAR_S: Final = 365 * 86_400
_EMPTY: Final = re.compile(r"^findings := set\(\)\n+", re.MULTILINE)

_EXPLAINED: Final = """\
# METADATA
# title: {title}
# custom:
#   code: {code}
#   authority: house
#   cite: House rule; say here where the rule stands
#   remedy: Say here what would mend it
"""

_FINDING: Final = """\
findings contains {{"code": "{code}", "effect": "review", "fields": ["dataset.sector"]}} if {{
\tinput.dataset.sector == "{name}"
}}
"""

_PACK_RULES: Final = """\
# METADATA
# title: {title}
# description: What leaves {jurisdiction}; say here which law this part reads.
package tdz.packs.{pack}.{part}

import data.tdz.lib.flow
import data.tdz.lib.shape
import data.tdz.lib.verdict as judged

default verdict := "incomplete"

verdict := "not_applicable" if {{
\tshape.complete
\tflow.only_enters("{jurisdiction}")
}}

verdict := judged.of(findings) if {{
\tshape.complete
\tflow.leaves("{jurisdiction}")
}}

{explained}findings contains {{"code": "{code}", "effect": "review", "fields": ["dataset.sector"]}} if {{
\tflow.leaves("{jurisdiction}")
\tinput.dataset.sector == "{name}"
}}

obligations := set()
"""

_PACK_TEST: Final = """\
package tdz.packs.{pack}.{part}_test

import data.tdz.packs.{pack}.{part} as rules

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {{}}
"""

_ZONE_TEST: Final = """\
package tdz.zone.{zone}_test

import data.tdz.zone.{zone} as rules

test_{name}_is_reviewed if {{
\tsome finding in rules.findings with input as {{"dataset": {{"sector": "{name}"}}}}
\tfinding.code == "{code}"
}}
"""

_ZONE_RULES: Final = """\
# METADATA
# title: Rules of the zone {zone}'s administrators
package tdz.zone.{zone}

"""

_CASES: Final = """\
- name: a dataset of the sector {name} is reviewed
  flow: {flow}
  gateway: {gateway}
  absent: {absent}
  set: {{dataset.sector: {name}}}
  expect: {{effect: review, codes: [{code}], obligations: {bound}}}
- name: a dataset of another sector is not the matter of {name}
  flow: {flow}
  gateway: {gateway}
  absent: {absent}
  set: {{dataset.sector: mobility}}
  expect: {{effect: allow, codes: [], obligations: {free}}}
"""


def ready(directory: Path) -> bool:
    """Make a copy of the shipped policy where there is no directory yet; whether one was made.

    Raises:
        ConfigError: it cannot be made.
    """
    if directory.exists():
        return False
    try:
        shutil.copytree(shipped(), directory)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be made: {error.strerror}", remedy="choose a writable place") from error
    return True


def new_pack(directory: Path, pack: str, *, title: str, zone: str, now: int) -> list[str]:
    """Write a pack with one part, and have a zone require it.

    Args:
        directory: a policy directory.
        pack: the pack's id, such as `my_health`.
        title: of the pack.
        zone: that will require it; its jurisdiction is whose law the pack reads.
        now: Unix seconds UTC.

    Returns:
        The files that were written, relative to the directory.

    Raises:
        InputError: the name is none, or taken; the zone is unknown.
        ConfigError: the directory cannot be read or written.
    """
    _checked(pack)
    registry = _registry(directory)
    jurisdiction = str(_zone(registry, zone)["jurisdiction"])
    room = f"tdz/packs/{pack}"
    if (directory / room).exists():
        raise InputError(f"there is a pack {pack} already", remedy="choose another id")
    part, code = "rules", f"{_prefix(pack)}-SECTOR"
    named = {"name": pack, "pack": pack, "part": part, "code": code, "title": title, "jurisdiction": jurisdiction}
    explained = _EXPLAINED.format(title="A sector that is looked at by a person", code=code)
    manifest = {
        "id": pack,
        "revision": f"{_day(now)}01",
        "title": title,
        "legal_as_of": now,
        "valid_until": max(now + _YEAR_S, _until(directory, zone)),
        "parts": [part],
    }
    registry[zone] = {**_zone(registry, zone), "required": [*_zone(registry, zone)["required"], pack]}
    files = {
        f"{room}/manifest/data.json": json.dumps(manifest, indent=2, ensure_ascii=False) + "\n",
        f"{room}/{part}/rules.rego": _PACK_RULES.format(explained=explained, **named),
        f"{room}/{part}/rules_test.rego": _PACK_TEST.format(**named),
        f"{room}/{part}/cases.yaml": _cases(zone, jurisdiction, pack, code),
        REGISTRY: _registry_text(registry),
    }
    return _write(directory, files)


def new_zone_rule(directory: Path, rule: str, *, zone: str) -> list[str]:
    """Write a rule of a zone's own, which can only tighten.

    Args:
        directory: a policy directory.
        rule: the rule's name, and its file's.
        zone: whose rule it is.

    Returns:
        The files that were written, relative to the directory.

    Raises:
        InputError: the name is none, or taken; the zone is unknown.
        ConfigError: the directory cannot be read or written.
    """
    _checked(rule)
    entry = _zone(_registry(directory), zone)
    room = f"tdz/zone/{zone}"
    if rule == "rules" or (directory / room / f"{rule}.rego").exists():
        raise InputError(f"there is a rule {rule} already", remedy="choose another name")
    code = f"{_prefix(zone)}-{_prefix(rule, most=16)}"
    explained = _EXPLAINED.format(title="A sector that is looked at by a person", code=code)
    files = {
        f"{room}/{rule}.rego": f"package tdz.zone.{zone}\n\n{explained}{_FINDING.format(code=code, name=rule)}",
        f"{room}/{rule}_test.rego": _ZONE_TEST.format(zone=zone, code=code, name=rule),
    }
    rules, cases = directory / room / "rules.rego", directory / room / "cases.yaml"
    # A name is either one value or a set that rules add to: the empty value that is shipped has to go.
    if rules.is_file() and _EMPTY.search(text := rules.read_text("utf-8")):
        files[f"{room}/rules.rego"] = _EMPTY.sub("", text)
    elif not rules.is_file():
        files[f"{room}/rules.rego"] = f"{_ZONE_RULES.format(zone=zone)}obligations := set()\n"
    before = cases.read_text("utf-8") if cases.is_file() else f"# The own rules of {zone}.\n"
    files[f"{room}/cases.yaml"] = before + _cases(zone, str(entry["jurisdiction"]), rule, code)
    return _write(directory, files)


def _cases(zone: str, jurisdiction: str, name: str, code: str) -> str:
    """Two cases on the flow that leaves the zone; obligations as the shipped packs have them for it."""
    leaves_cn = jurisdiction == "CN"
    bound = "ledger_add" if leaves_cn else "delete_by"
    return _CASES.format(
        name=name,
        gateway=zone,
        code=code,
        flow="CN-MY" if leaves_cn else "MY-CN",
        absent="[]" if leaves_cn else "[us]",  # the advisory pack has something to say to most
        bound=f"[{bound}, require_approval]",
        free=f"[{bound}]",
    )


def _write(directory: Path, files: Mapping[str, str]) -> list[str]:
    try:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        codes.write(directory)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error.strerror}", remedy="check its rights") from error
    PolicySet.load(directory)
    return sorted(files)


def _registry(directory: Path) -> dict[str, Any]:
    try:
        document = json.loads((directory / REGISTRY).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{directory / REGISTRY} cannot be read: {error}", remedy="name a policy directory"
        ) from error
    if not isinstance(document, dict):
        raise ConfigError(f"{directory / REGISTRY} is no object", remedy="copy it from the shipped policy")
    return document


def _zone(registry: Mapping[str, Any], zone: str) -> Mapping[str, Any]:
    entry = registry.get(zone)
    if not isinstance(entry, dict) or not {"jurisdiction", "required"} <= set(entry):
        raise InputError(f"the registry does not know the zone {zone}", remedy=f"it knows {', '.join(registry)}")
    return entry


def _registry_text(registry: Mapping[str, Any]) -> str:
    lines = [f"  {json.dumps(zone)}: {json.dumps(entry)}" for zone, entry in registry.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _until(directory: Path, zone: str) -> int:
    """Until when the zone's packs are valid: a new one should not be the first to end."""
    return PolicySet.load(directory).for_zone(zone).valid_until


def _checked(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise InputError(f"{name!r} is no name", remedy="use lower-case letters, digits and _, a letter first")


def _prefix(name: str, *, most: int = 8) -> str:
    """The part of a reason code that a name gives."""
    letters = re.sub(r"[^A-Z0-9]" if most > 8 else r"[^A-Z]", "", name.upper())
    return letters[:most] if len(letters) > 1 else f"{letters}X"


def _day(now: int) -> str:
    return datetime.datetime.fromtimestamp(now, tz=datetime.UTC).strftime("%Y%m%d")
