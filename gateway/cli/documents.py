"""Reading the YAML or JSON documents that administrators hand to commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.errors import InputError
from gateway.model import limits


def read_document(path: Path) -> dict[str, Any]:
    """One YAML or JSON object from a file.

    Raises:
        InputError: unreadable, too long, not YAML, or no object; the text names file and place.
    """
    import yaml

    try:
        with path.open("rb") as file:
            data = file.read(limits.CARD_MAX + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", remedy="check the path") from error
    if len(data) > limits.CARD_MAX:
        raise InputError(f"{path} is longer than {limits.CARD_MAX} bytes", remedy="it is no such document")
    try:
        value = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}", remedy="mend that place") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no object", remedy="write names and values")
    return {name: _as_written(each) for name, each in value.items()}


def _as_written(value: Any) -> Any:
    """YAML 1.1 reads a bare yes or no as a truth value; the registers know texts."""
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return {name: _as_written(each) for name, each in value.items()}
        case list():
            return [_as_written(each) for each in value]
        case _:
            return value
