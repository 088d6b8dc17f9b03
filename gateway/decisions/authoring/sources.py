"""A policy directory as its author has it: modules, tests, data and cases, read once and bounded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.decisions.authoring.problem import Problem, is_test
from gateway.decisions.policy_set import PolicySet
from gateway.errors import ConfigError

_FILES_MAX: Final = 4_000
_FILE_MAX: Final = 1024 * 1024
_TOTAL_MAX: Final = 24 * 1024 * 1024
_READ: Final = (".rego", ".json", ".yaml")


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a policy directory.

    Args:
        root: the directory.
        texts: contents by path relative to it, of what is UTF-8.
        unreadable: what could not be taken.
    """

    root: Path
    texts: Mapping[str, str]
    unreadable: tuple[Problem, ...]

    @classmethod
    def read(cls, root: Path) -> Sources:
        """Read a directory; what is wrong with a file becomes a problem.

        Raises:
            ConfigError: no such directory, or it cannot be listed.
        """
        if not root.is_dir():
            raise ConfigError(f"no policy directory at {root}", remedy="make one with `tdz policy new-pack`")
        texts: dict[str, str] = {}
        wrong: list[Problem] = []
        total = 0
        for path in _files(root):
            name = path.relative_to(root).as_posix()
            fault, text = _text(path)
            total += len(text)
            if total > _TOTAL_MAX or len(texts) >= _FILES_MAX:
                raise ConfigError(f"{root} holds too many or too large files", remedy="name a policy directory")
            if fault:
                wrong.append(Problem(name, 0, fault, "policy directories hold plain UTF-8 files up to 1 MiB", "files"))
            else:
                texts[name] = text
        return cls(root, texts, tuple(wrong))

    @property
    def rules(self) -> dict[str, str]:
        """The modules that an engine loads."""
        return {name: text for name, text in self.texts.items() if name.endswith(".rego") and not is_test(name)}

    @property
    def case_files(self) -> list[Path]:
        """The files of cases."""
        return [self.root / name for name in sorted(self.texts) if name.rsplit("/", 1)[-1] == "cases.yaml"]

    def policy_set(self) -> PolicySet:
        """What a gateway would load from it.

        Raises:
            ConfigError: it would load nothing.
        """
        return PolicySet.load(self.root)


def _files(root: Path) -> Iterator[Path]:
    try:
        for folder, folders, names in os.walk(root, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(_READ))
    except OSError as error:
        raise ConfigError(f"{root} cannot be listed: {error.strerror}", remedy="check its rights") from error


def _raise(error: OSError) -> None:
    raise error


def _text(path: Path) -> tuple[str, str]:
    """What is wrong with a file, and its text."""
    if path.is_symlink():
        return "it is a link", ""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_MAX + 1)
        if len(data) > _FILE_MAX:
            return "it is longer than 1 MiB", ""
        return "", data.decode("utf-8")
    except OSError as error:
        return f"it cannot be read: {error.strerror}", ""
    except UnicodeDecodeError:
        return "it is not UTF-8", ""
