"""Reason codes: each has a citation, a remedy and an authority, and belongs to one owner."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from gateway.decisions import codes, input_fields
from gateway.decisions.authoring.problem import Problem, line_of, without_comments
from gateway.decisions.authoring.sources import Sources
from gateway.decisions.capabilities import code_of
from gateway.errors import ConfigError, InputError
from gateway.model.decision import OBLIGATION_KINDS, Finding

_NAMED: Final = re.compile(r'"code"\s*:\s*"([^"\n]*)"')
_FIELDS: Final = re.compile(r'"fields"\s*:\s*\[([^\[\]]*)\]')
_PATH: Final = re.compile(r'"([^"\n]*)"')
_EFFECT: Final = re.compile(r'"effect"\s*:\s*"([^"\n]*)"')
_FINDING: Final = re.compile(r"^findings contains ", re.MULTILINE)
_OBLIGATION: Final = re.compile(r'^obligations contains \{\s*"kind"\s*:\s*"([^"\n]*)"', re.MULTILINE)
_BLOCK: Final = re.compile(r"^# METADATA *\n((?:#.*\n?)*)", re.MULTILINE)
_TEXTS: Final = ("cite", "remedy", "authority")
_EFFECTS: Final = ("info", "warn", "review", "deny")
_WRITE: Final = "run `tdz policy check --fix`, which writes it from the METADATA"


def problems(sources: Sources) -> Iterator[Problem]:
    """Codes that are not explained, explained badly, or explained by two owners."""
    owners: dict[str, str] = {}
    explained: dict[str, set[str]] = {}
    broken = False
    for name, text in sources.rules.items():
        for line, annotation, fault in _annotations(text):
            if fault:
                broken = True
                yield _at(name, line, fault, "write METADATA as YAML, each line after `# `")
                continue
            custom = annotation.get("custom")
            if not isinstance(custom, dict) or "code" not in custom:
                continue
            code, owner = str(custom["code"]), codes.owner_of(text)
            explained.setdefault(owner, set()).add(code)
            yield from _explanation(name, line, code, custom)
            if owners.setdefault(code, owner) != owner:
                text_of_it = f"{code} belongs to {owners[code]} already; its words would stand for this rule too"
                yield _at(name, line, text_of_it, "give your rule a code of its own")
    for name, text in sources.rules.items():
        yield from _rules(name, text, explained.get(codes.owner_of(text), set()), set(owners))
    if not broken:
        yield from _documents(sources)


def _annotations(text: str) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Line, value and fault of each METADATA block."""
    for found in _BLOCK.finditer(text):
        line = line_of(text, found.start())
        block = "\n".join(each.removeprefix("#").removeprefix(" ") for each in found[1].splitlines())
        try:
            value = yaml.safe_load(block)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            yield line + 1 + (mark.line if mark else 0), {}, f"METADATA is no YAML: {getattr(error, 'problem', error)}"
            continue
        yield (
            line,
            value if isinstance(value, dict) else {},
            "" if isinstance(value, dict) else "METADATA is no mapping",
        )


def _explanation(name: str, line: int, code: str, custom: Mapping[str, Any]) -> Iterator[Problem]:
    missing = [each for each in _TEXTS if not str(custom.get(each) or "").strip()]
    if missing:
        yield _at(name, line, f"{code} has no {' and no '.join(missing)}", "add it to custom: in its METADATA")
        return
    try:
        Finding.from_json(
            {"code": code, "effect": "info", "fields": [], **{each: str(custom[each]) for each in _TEXTS}}
        )
    except InputError as error:
        known = "a code as ZONE-WORD, an authority of binding, advisory, house"
        yield _at(name, line, f"{code}: {error.message}", f"write {known}")


def _rules(name: str, text: str, own: set[str], all_codes: set[str]) -> Iterator[Problem]:
    code = code_of(text)
    for found in _NAMED.finditer(without_comments(text)):
        if found[1] in own:
            continue
        line = line_of(text, found.start())
        whose = "another owner explains it" if found[1] in all_codes else "nothing explains it"
        yield _at(name, line, f"{found[1] or 'a code'} has no METADATA here: {whose}", "write cite, remedy, authority")
    for found in _FIELDS.finditer(without_comments(text)):
        for path in _PATH.finditer(found[1]):
            if unknown := input_fields.unknown_path(path[1]):
                line = line_of(text, found.start(1) + path.start())
                yield _at(name, line, f"fields names {unknown}, which no input has", input_fields.REMEDY)
    for place in _FINDING.finditer(code):
        head = text[place.start() : _end(code, place.end())]
        if (effect := _EFFECT.search(head)) is not None and effect[1] not in _EFFECTS:
            line = line_of(text, place.start())
            yield _at(name, line, f"the effect {effect[1]!r} denies everything", f"use one of {', '.join(_EFFECTS)}")
    for found in _OBLIGATION.finditer(text):
        if found[1] not in OBLIGATION_KINDS:
            known = ", ".join(sorted(OBLIGATION_KINDS))
            line = line_of(text, found.start())
            yield _at(name, line, f"the obligation {found[1]!r} is unknown, so it denies", f"use one of {known}")


def _end(code: str, start: int) -> int:
    """Where the rule that begins before `start` has its body, or the next rule begins."""
    found = re.compile(r" if\b|^\S", re.MULTILINE).search(code, start)
    return found.start() if found else len(code)


def _documents(sources: Sources) -> Iterator[Problem]:
    """The code documents, which both engines read, held equal to the annotations."""
    try:
        expected = codes.documents_of(sources.rules)
    except ConfigError as error:
        yield _at("", 0, error.message, error.remedy or "mend the METADATA")
        return
    written = {name for name in sources.texts if name.endswith("/codes/data.json")}
    for name in sorted(written - set(expected)):
        yield _at(name, 0, "no rule names these codes any more", "take the file away")
    for name, document in expected.items():
        if name not in written:
            yield _at(name, 0, "it is missing: the codes of these rules have no words", _WRITE)
            continue
        try:
            same = json.loads(sources.texts[name]) == document
        except ValueError:
            same = False
        if not same:
            yield _at(name, 0, "it says something else than the METADATA of the rules", _WRITE)


def _at(file: str, line: int, text: str, remedy: str) -> Problem:
    return Problem(file, line, text, remedy, "metadata")
