"""Joins reason codes to their citations: METADATA annotations in, one data document per owner out.

`rego.metadata.*` is undefined on the embedded engine, so the annotations are copied into data documents that
both engines can read: `tdz/lib/codes` (house), `tdz/packs/<pack>/codes`, `tdz/zone/<zone>/codes`.
``python -m gateway.decisions.codes policy`` writes them; a test holds them equal to the annotations.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.errors import ConfigError

_TEXTS: Final = ("authority", "cite", "remedy")
_PACKAGE: Final = re.compile(r"^package tdz\.(?P<room>packs|zone)\.(?P<owner>[a-z0-9_]+)", re.MULTILINE)
_AUTHORITIES: Final = frozenset({"binding", "advisory", "house"})


def documents(root: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The code documents of a policy directory, by path relative to it.

    Raises:
        ConfigError: an annotation is no YAML, lacks a text, or says something else than another one of its code.
    """
    texts: dict[str, str] = {}
    for path in sorted(root.rglob("*.rego")):
        if not path.name.endswith("_test.rego"):
            try:
                texts[path.relative_to(root).as_posix()] = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path} cannot be read: {error}") from error
    return documents_of(texts)


def documents_of(modules: Mapping[str, str]) -> dict[str, dict[str, dict[str, str]]]:
    """The code documents of modules by path, tests left out; errors as `documents`."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for path, text in sorted(modules.items()):
        folder = owner_of(text)
        for annotation in annotation_blocks(text):
            custom = annotation.get("custom", {})
            if "code" not in custom:
                continue
            entry = {name: str(custom.get(name, "")) for name in _TEXTS}
            if not entry["cite"] or entry["authority"] not in _AUTHORITIES:
                raise ConfigError(f"{path}: {custom['code']} needs a cite and an authority")
            known = found.setdefault(f"{folder}/data.json", {}).setdefault(custom["code"], entry)
            if known != entry:
                raise ConfigError(f"{path}: {custom['code']} is explained in two ways")
    return found


def owner_of(text: str) -> str:
    """The folder of the code document that a module's codes belong into: a pack's, a zone's, or the house's."""
    owner = _PACKAGE.search(text)
    return f"tdz/{owner['room']}/{owner['owner']}/codes" if owner else "tdz/lib/codes"


def annotation_blocks(text: str) -> Iterator[dict[str, Any]]:
    """The METADATA blocks of a Rego module.

    Raises:
        ConfigError: a block is no YAML mapping.
    """
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip() != "# METADATA":
            continue
        block: list[str] = []
        for comment in lines:
            if not comment.startswith("#"):
                break
            block.append(comment.removeprefix("#").removeprefix(" "))
        try:
            value = yaml.safe_load("\n".join(block))
        except yaml.YAMLError as error:
            raise ConfigError(f"METADATA is no YAML: {error}") from error
        if not isinstance(value, dict):
            raise ConfigError("METADATA is no mapping")
        yield value


def render(document: dict[str, dict[str, str]]) -> str:
    """The text of a code document."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(root: Path) -> None:
    """Write the code documents below a policy directory."""
    for name, document in documents(root).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(document), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
