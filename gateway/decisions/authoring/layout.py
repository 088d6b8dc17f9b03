"""Where packages and packs may stand: package = path, a zone's rules under their zone alone, registry and parts.

An engine merges whatever it loads; a package at another place could add to, or take from, what another owner decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.decisions.authoring.problem import Problem, is_test, line_of
from gateway.decisions.authoring.sources import Sources
from gateway.decisions.capabilities import code_of

_PACKAGE: Final = re.compile(r"^package[ \t]+([\w.]+)[ \t]*$", re.MULTILINE)
_VERDICT: Final = re.compile(r"^(?:default[ \t]+)?verdict\b", re.MULTILINE)
_SAY_VERDICT: Final = 'write `default verdict := "incomplete"` and when it is another, as `tdz policy new-pack` does'
_ROOMS: Final = ("main", "lib", "registry", "zone", "packs", "lists")
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
REGISTRY: Final = "tdz/registry/data.json"


def problems(sources: Sources) -> Iterator[Problem]:
    """What stands at a wrong place, or is named and not there."""
    if "capabilities.json" not in sources.texts:
        yield _at("capabilities.json", "it is missing", "copy it from the shipped policy")
    for name, text in sources.texts.items():
        parts = name.split("/")
        if name == "capabilities.json" or parts[-1] == "cases.yaml":
            continue
        if name.endswith(".json") and parts[-1] != "data.json":
            yield _at(name, "it is not loaded: data stands in files named data.json", "rename it, or take it away")
            continue
        if name.endswith(".yaml"):
            continue
        if parts[0] != "tdz" or len(parts) < 4 - (parts[1:2] in (["main"], ["registry"])) or parts[1] not in _ROOMS:
            rooms = ", ".join(f"tdz/{room}/" for room in _ROOMS)
            yield _at(name, "it stands outside of the roots of a policy", f"move it below one of {rooms}")
            continue
        if name.endswith(".rego"):
            yield from _package(name, text)
    registry, found = document(sources, REGISTRY)
    yield from found
    yield from _registered(sources, registry)


def _package(name: str, text: str) -> Iterator[Problem]:
    """OPA's style guide: package = path. Here it also says whose rules they are."""
    found = _PACKAGE.search(code_of(text))
    expected = ".".join(name.split("/")[:-1]).replace("-", "_")
    if found is None:
        yield _at(name, "it has no package", f"begin it with: package {expected}", line=1)
        return
    allowed = {expected, f"{expected}_test"} if is_test(name) else {expected}
    if found[1] not in allowed:
        where = "a zone's own rules stand only under tdz.zone.<zone>; " if found[1].startswith("tdz.zone") else ""
        yield _at(
            name,
            f"its package is {found[1]}, at this place it is {expected}",
            f"{where}write package {expected}, or move the file to {found[1].replace('.', '/')}/",
            line=line_of(text, found.start()),
        )


def _registered(sources: Sources, registry: Mapping[str, Any]) -> Iterator[Problem]:
    file = REGISTRY
    packs = {name.split("/")[2] for name in sources.texts if name.startswith("tdz/packs/")}
    zones = {name.split("/")[2] for name in sources.texts if name.startswith("tdz/zone/")}
    for zone in sorted(zones - set(registry)):
        yield _at(file, f"it does not name the zone {zone}, which has rules", "add the zone, or take its rules away")
    loaded: set[str] = set()
    for zone, entry in registry.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("required"), list):
            yield _at(file, f"{zone} needs jurisdiction, required and optional", "write it as the other zones")
            continue
        required, optional = entry["required"], entry.get("optional", [])
        loaded |= {str(each) for each in (*required, *optional)}
        for pack in required:
            if pack not in packs:
                yield _at(file, f"{zone} requires the pack {pack}, which is not here", f"add tdz/packs/{pack}/")
    for pack in sorted(packs):
        if pack not in loaded:
            yield _at(file, f"no zone loads the pack {pack}", "add it to a zone's required or optional packs")
        yield from _pack(sources, pack)


def _pack(sources: Sources, pack: str) -> Iterator[Problem]:
    name = f"tdz/packs/{pack}/manifest/data.json"
    if name not in sources.texts:
        yield _at(name, "the pack has no manifest, and so never an answer", "write id, revision, dates and parts")
        return
    manifest, found = document(sources, name)
    yield from found
    if found:
        return
    if manifest.get("id") != pack:
        yield _at(name, f"its id is {manifest.get('id')!r}", f"write {json.dumps(pack)}")
    if not re.fullmatch(r"\d{8,20}", str(manifest.get("revision", ""))):
        yield _at(name, "its revision is no dated serial number", 'write it as "2026112201"; it only goes up')
    parts = manifest.get("parts")
    if not isinstance(parts, list) or not parts or not all(isinstance(p, str) and _NAME.fullmatch(p) for p in parts):
        yield _at(name, "its parts are no list of names", 'write it as "parts": ["personal_data"]')
        return
    folders = {each.split("/")[3] for each in sources.rules if each.startswith(f"tdz/packs/{pack}/")}
    for part in parts:
        rules = f"tdz/packs/{pack}/{part}/rules.rego"
        if part not in folders:
            yield _at(name, f"it names the part {part}, which has no rules", f"add {rules}")
        elif not any(_VERDICT.search(code_of(text)) for text in _of_folder(sources, rules.rpartition("/")[0])):
            yield _at(rules, "the part has no verdict, so that its pack never lets anything pass", _SAY_VERDICT)
    for folder in sorted(folders - set(parts)):
        yield _at(name, f"the part {folder} has rules and is not named: they never count", "add it to parts")


def _of_folder(sources: Sources, folder: str) -> list[str]:
    return [text for name, text in sources.rules.items() if name.rpartition("/")[0] == folder]


def document(sources: Sources, name: str) -> tuple[Mapping[str, Any], list[Problem]]:
    """A data document that is an object; what is wrong with it."""
    if name not in sources.texts:
        return {}, [_at(name, "it is missing", "copy it from the shipped policy")]
    try:
        value = json.loads(sources.texts[name])
    except ValueError as error:
        return {}, [_at(name, f"it is not JSON: {error}", "mend it", line=getattr(error, "lineno", 0))]
    if not isinstance(value, dict):
        return {}, [_at(name, "it is no JSON object", "write { … }")]
    return value, []


def _at(file: str, text: str, remedy: str, *, line: int = 0) -> Problem:
    return Problem(file, line, text, remedy, "roots")
