"""Manifests as people write them: YAML with line numbers, and errors that say what to write instead."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError

from gateway.errors import ManifestError
from gateway.model import limits
from gateway.model.policy_facts import in_words

Path = tuple[str | int, ...]
Lines = dict[Path, int]

_NODES_MAX: Final = 200_000
_DEPTH_MAX: Final = 32
_PLAIN_TAGS: Final = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_QUOTED: Final = re.compile(r"'([^']*)'")


def read_yaml(data: bytes, where: str) -> tuple[Any, Lines]:
    """Read one YAML document as ``yaml.safe_load`` does, but refuse a name that stands twice.

    Args:
        data: UTF-8, at most ``limits.MANIFEST_MAX`` bytes.
        where: the file, for errors.

    Returns:
        The value, and the line (from 1) of each member by its path.

    Raises:
        ManifestError: too long, not UTF-8, not YAML, a name twice, or nested without bound.
    """
    if len(data) > limits.MANIFEST_MAX:
        raise ManifestError(
            f"{where}: {len(data)} bytes; the limit is {limits.MANIFEST_MAX}", remedy="shorten the manifest"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ManifestError(f"{where}:{line}: not UTF-8", remedy="save the manifest as UTF-8") from error
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise ManifestError(f"{where}:1: the manifest is empty", remedy="write at least id and title")
        lines: Lines = {}
        return _Reader(loader, where, lines).value(node, ()), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ManifestError(
            f"{where}:{line}: not YAML: {error.problem or error.context}", remedy="mind indentation and colons"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: not YAML: {str(error)[:200]}") from error
    finally:
        loader.dispose()


class _Reader:
    def __init__(self, loader: yaml.SafeLoader, where: str, lines: Lines) -> None:
        self._loader = loader
        self._where = where
        self._lines = lines
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        line = node.start_mark.line + 1
        # Aliases are expanded by this walk, so their number is bounded too.
        if self._nodes > _NODES_MAX or len(path) > _DEPTH_MAX:
            raise ManifestError(f"{self._where}:{line}: too many values or too deep", remedy="write it without aliases")
        self._lines.setdefault(path, line)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            raise ManifestError(f"{self._where}:{line}: {dotted(path)}: tag {node.tag}", remedy="write plain YAML")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return self._loader.construct_object(node)
        members: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise ManifestError(f"{self._where}:{line}: {dotted(path)}: a name is not a text")
            if key in members:
                raise ManifestError(
                    f"{self._where}:{line}: {dotted((*path, key))} stands twice", remedy="keep one of the two"
                )
            self._lines[(*path, key)] = line
            members[key] = self.value(value_node, (*path, key))
        return members


def dotted(path: Iterable[str | int]) -> str:
    """A path as people read it."""
    return ".".join(str(step) for step in path) or "the manifest"


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of a member, or of the nearest one around it that was written."""
    for end in range(len(path), -1, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def nearest(found: str, known: Iterable[str]) -> str:
    """A did-you-mean, empty where nothing is near."""
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(found.lower(), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[close[0]]!r}?" if close else ""


def as_written(document: Any, lines: Lines, where: str) -> Any:
    """Turn what people write into what the closed models hold: dates into Unix seconds, yes and no into texts.

    Raises:
        ManifestError: a date that is none.
    """
    for path in (("terms", "until"), ("dataset", "retention_until"), ("dataset", "deid", "reid_tested_at")):
        holder = _holder(document, path)
        if holder is not None and not isinstance(holder[path[-1]], int):
            holder[path[-1]] = _seconds(holder[path[-1]], path, lines, where)
    # YAML 1.1 reads a bare yes or no as a truth value.
    holder = _holder(document, ("dataset", "cn", "notified_important"))
    if holder is not None and isinstance(holder["notified_important"], bool):
        holder["notified_important"] = "yes" if holder["notified_important"] else "no"
    return document


def _holder(document: Any, path: tuple[str, ...]) -> dict[str, Any] | None:
    for step in path[:-1]:
        document = document.get(step) if isinstance(document, dict) else None
    return document if isinstance(document, dict) and path[-1] in document else None


def _seconds(value: Any, path: Path, lines: Lines, where: str) -> int:
    remedy = "write a date (2027-12-31) or RFC 3339 (2027-12-31T00:00:00Z)"
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise at(where, lines, path, f"{value[:60]!r} is not a date", remedy) from error
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.UTC)
    elif isinstance(value, datetime.date):
        value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    else:
        raise at(where, lines, path, f"{value!r} is not a date", remedy)
    if value.microsecond:
        raise at(where, lines, path, "fractions of a second are not kept", remedy)
    return int(value.timestamp())


def at(where: str, lines: Mapping[Path, int], path: Path, problem: str, remedy: str) -> ManifestError:
    """An error at a member: file, line, dotted field, what was found, and the remedy."""
    line = line_of(lines, path)
    place = where if line is None else f"{where}:{line}"
    if line is None and not path:
        return ManifestError(f"{where}: {problem}", remedy=remedy)
    return ManifestError(f"{place}: {dotted(path)}: {problem}", remedy=remedy)


def first_error(
    model: type[BaseModel], error: ValidationError, *, where: str, lines: Mapping[Path, int] | None = None
) -> ManifestError:
    """The first validation error, as a person can mend it.

    Args:
        model: what was validated.
        where: the file.
        lines: the line of each member, where the source has lines.
    """
    # A misspelt name is behind most missing ones: name it first.
    found = error.errors(include_url=False)
    item = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    path = tuple(item["loc"])
    kind, value = item["type"], item.get("input")
    found_there = "" if isinstance(value, dict) else f"found {_shown(value)}: "
    problem, remedy = found_there + item["msg"].lower(), f"mend {dotted(path)}"
    if kind == "extra_forbidden":
        names = _members(model, path[:-1])
        problem = "unknown name"
        remedy = nearest(str(path[-1]), names) or f"known here: {', '.join(names)}"
    elif kind == "missing":
        problem, remedy = "is missing", f"add {path[-1]}"
    elif kind == "literal_error":
        allowed = _QUOTED.findall(item["ctx"]["expected"])
        problem = f"found {_shown(value)}"
        hint = nearest(value, allowed) if isinstance(value, str) else ""
        remedy = f"{hint} allowed: {', '.join(allowed)}".strip()
    elif kind == "string_pattern_mismatch":
        problem = f"found {_shown(value)}"
        words = in_words(item)
        remedy = words if words != item["msg"] else f"write it as {item['ctx']['pattern']}"
    elif kind in {"model_type", "dict_type"}:
        problem, remedy = f"found {_shown(value)}", "write names and values"
    elif kind.startswith("int_") or kind == "string_type":
        problem, remedy = f"found {_shown(value)}", item["msg"].removeprefix("Input ").capitalize()
    return at(where, lines or {}, path, problem, remedy)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _members(model: type[BaseModel], path: Path) -> list[str]:
    """The names that the model has at a path."""
    current: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, int) or current is None:
            continue
        field = next((f for n, f in current.model_fields.items() if step in (n, f.alias)), None)
        current = _model_in(field.annotation) if field is not None else None
    return [f.alias or name for name, f in current.model_fields.items()] if current is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
