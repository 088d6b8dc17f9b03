"""What the embedded engine says of a policy that does not compile, as people read it: file, line, one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.policy_set import ENTRYPOINT, ZonePolicy
from gateway.errors import ConfigError

_ERROR: Final = re.compile(r"\(error(?:-code)? \d+:(?P<file>[^|]+)\|(?P<at>\d+)\|\d+ \(errormsg \d+:(?P<text>[^)]*)\)")
_WORDS: Final = {"this is unclosed": "what is opened here is not closed"}
_SHOWN: Final = 4


@dataclass(frozen=True, slots=True, order=True)
class CompileError:
    """One place that does not compile.

    Args:
        file: the module's path.
        line: from 1.
        text: what is wrong.
    """

    file: str
    line: int
    text: str


def read(message: str, modules: Mapping[str, str]) -> list[CompileError]:
    """The places that an engine's message names, by file and line; none where it names none.

    Args:
        message: as the engine said it.
        modules: Rego texts by path.
    """
    found = sorted(set(_places(message, modules)))
    # A bracket that stays open leaves everything around it open, too, up to the whole module.
    inner = {each.file for each in found if each.line > _line_of_package(modules[each.file])}
    return [each for each in found if each.file not in inner or each.line > _line_of_package(modules[each.file])]


def readable(error: ConfigError, modules: Mapping[str, str]) -> ConfigError:
    """The same error, by file and line where it names any."""
    found = read(error.message, modules)
    if not found:
        return error
    places = "; ".join(f"{each.file}, line {each.line}: {each.text}" for each in found[:_SHOWN])
    remedy = "mend it there; `tdz policy check` says more, and the previous policy stays in force"
    return ConfigError(f"the policy does not compile: {places}", remedy=remedy)


async def require_compiled(files: Mapping[str, bytes]) -> None:
    """Refuse modules that the embedded engine cannot read, whatever they are loaded with.

    Args:
        files: of a bundle whose contents were checked, by path.

    Raises:
        ConfigError: names file and line.
        DecisionUnavailableError: the engine cannot be started.
    """
    modules = {name: text.decode("utf-8") for name, text in files.items() if name.endswith(".rego")}
    alone = ZonePolicy("", modules, {}, ENTRYPOINT, digest="", data_revision="", packs=())
    try:
        await EmbeddedEngine(alone).compile()
    except ConfigError as error:
        raise readable(error, modules) from error


def _places(message: str, modules: Mapping[str, str]) -> Iterator[CompileError]:
    for found in _ERROR.finditer(message):
        if (text := modules.get(found["file"])) is not None:
            before = text.encode()[: int(found["at"])].decode("utf-8", "ignore")
            said = found["text"].strip()
            yield CompileError(found["file"], before.count("\n") + 1, _WORDS.get(said, said))


def _line_of_package(text: str) -> int:
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, 1) if line.startswith("package ")), 0)
