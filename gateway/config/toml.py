"""Reading TOML strictly: what is unknown, missing or of another type is an error that names file and key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from gateway.config.address import Address
from gateway.errors import ConfigError, InputError
from gateway.model import limits

SETTINGS_MAX: Final = 64 * limits.KIB


class Document:
    """One TOML file; each key that is read is ticked off, and `finish` refuses what is left.

    Args:
        path: the file.
        remedy: what to do where it does not exist.

    Raises:
        ConfigError: it cannot be read, is longer than 64 KiB, or is not TOML.
    """

    def __init__(self, path: Path, *, remedy: str) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                data = file.read(SETTINGS_MAX + 1)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", remedy=remedy) from error
        if len(data) > SETTINGS_MAX:
            raise ConfigError(f"{path} is longer than {SETTINGS_MAX} bytes", remedy="it is no settings file")
        try:
            self._content = tomllib.loads(data.decode())
        except ValueError as error:
            raise ConfigError(f"{path} is not TOML: {error}", remedy="mend the file at that place") from error
        self._sections: dict[str, Section] = {}

    def section(self, name: str, *, optional: bool = False) -> Section:
        """A table of the file; the empty name is the file's top level."""
        value: Any = self._content if not name else self._content.get(name, {} if optional else None)
        if not isinstance(value, dict):
            raise ConfigError(f"{self.path}: [{name}] is missing", remedy=f"add the table [{name}]")
        return self._sections.setdefault(name, Section(self.path, name, value))

    def finish(self) -> None:
        """Refuse what nobody asked for.

        Raises:
            ConfigError: a key or table is unknown.
        """
        if "" not in self._sections:
            for name in self._content:
                if name not in self._sections:
                    raise ConfigError(f"{self.path}: {name} is unknown", remedy="remove it or mend it")
        for section in self._sections.values():
            section.finish()


class Section:
    """One table; every method raises ConfigError that names the file, the key and the remedy."""

    def __init__(self, path: Path, name: str, content: dict[str, Any]) -> None:
        self._path = path
        self._name = name
        self._content = content
        self._known: set[str] = set()

    def text(self, key: str, *, default: str | None = None) -> str:
        """A string."""
        value = self._take(key, default)
        if not isinstance(value, str) or (not value and default is None):
            self.refuse(key, "is not a text", 'write it as key = "text"')
        return value

    def texts(self, key: str, *, default: Sequence[str]) -> tuple[str, ...]:
        """An array of strings."""
        value = self._take(key, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.refuse(key, "is not a list of texts", 'write it as key = ["a", "b"]')
        return tuple(value)

    def integer(self, key: str, lowest: int, highest: int, *, default: int) -> int:
        """An integer within bounds."""
        value = self._take(key, default)
        if type(value) is not int or not lowest <= value <= highest:
            self.refuse(key, "is out of bounds", f"write an integer from {lowest} to {highest}")
        return value

    def choice(self, key: str, allowed: Sequence[str]) -> str:
        """One of some strings."""
        value = self.text(key)
        if value not in allowed:
            self.refuse(key, f"is {value[:80]!r}", f"write one of {', '.join(allowed)}")
        return value

    def address(self, key: str, *, any_port: bool = False) -> Address:
        """A host:port."""
        value = self.text(key)
        try:
            return Address.parse(value, any_port=any_port)
        except InputError as error:
            self.refuse(key, error.message, error.remedy)

    def checked(self, key: str, check: Callable[[str], str], value: str) -> str:
        """A string that a parser accepts."""
        try:
            return check(value)
        except InputError as error:
            self.refuse(key, error.message, error.remedy)

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._content:
            if key not in self._known:
                self.refuse(key, "is unknown", "remove it or mend it")

    def refuse(self, key: str, problem: str, remedy: str) -> NoReturn:
        """Say what is wrong with a key."""
        name = f"{self._name}.{key}" if self._name else key
        raise ConfigError(f"{self._path}: {name} {problem}", remedy=remedy)

    def _take(self, key: str, default: Any) -> Any:
        self._known.add(key)
        value = self._content.get(key, default)
        if value is None:
            self.refuse(key, "is missing", f"add {key} to the file")
        return value
