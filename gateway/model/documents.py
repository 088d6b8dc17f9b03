"""Reading the documents of the domain: as a person wrote them, as a client sent them, as they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from gateway.errors import IntegrityError, ManifestError
from gateway.model import canonical, limits, manifest_yaml
from gateway.model.canonical import CanonicalError
from gateway.model.policy_facts import Part

_T = TypeVar("_T", bound=Part)


def read_written(model: type[_T], path: Path) -> tuple[_T, manifest_yaml.Lines]:
    """Read what a person wrote.

    Args:
        model: what the file holds.
        path: a YAML file of at most ``limits.MANIFEST_MAX`` bytes.

    Returns:
        The document, and the line of each of its members.

    Raises:
        ManifestError: file, line, field, what was found and the remedy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.MANIFEST_MAX + 1)
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read: {error.strerror}", remedy="check the path and its permissions"
        ) from error
    document, lines = manifest_yaml.read_yaml(data, str(path))
    document = manifest_yaml.as_written(document, lines, str(path))
    try:
        return model.model_validate(document), lines
    except ValidationError as error:
        raise manifest_yaml.first_error(model, error, where=str(path), lines=lines) from error


def read_sent(model: type[_T], data: bytes, most: int) -> _T:
    """Read what a client sent as canonical JSON.

    Args:
        model: what was sent.
        data: the bytes.
        most: how many there may be.

    Raises:
        ManifestError: too long, not canonical JSON, or wrong; the text names the first field at fault.
    """
    if len(data) > most:
        raise ManifestError(f"the manifest has {len(data)} bytes; the limit is {most}")
    try:
        return model.model_validate(canonical.decode(data))
    except CanonicalError as error:
        raise ManifestError(f"the manifest is not canonical JSON: {error}") from error
    except ValidationError as error:
        raise manifest_yaml.first_error(model, error, where="manifest") from error


def read_stored(model: type[_T], data: bytes, most: int, what: str) -> _T:
    """Read a stored document, whose digest others hold.

    Args:
        model: what is stored.
        data: the bytes.
        most: how many there may be.
        what: its name, for errors.

    Raises:
        IntegrityError: too long, not canonical, malformed, or a member is left out.
    """
    if len(data) > most:
        raise IntegrityError(f"a {what} of {len(data)} bytes; the limit is {most}")
    try:
        parsed = model.model_validate(canonical.decode(data))
    except CanonicalError as error:
        raise IntegrityError(f"the {what} is not canonical JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(step) for step in first["loc"])
        raise IntegrityError(f"the {what} is malformed: {path}: {first['msg']}") from error
    # A member left to its default would give the same document a second digest.
    if canonical.encode(parsed.document()) != data:
        raise IntegrityError(f"the {what} leaves out members that must be written")
    return parsed
