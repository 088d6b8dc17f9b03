"""Training apps by name, and the digest of the code that each one is."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from gateway.compute.apps.linear import LinearApp
from gateway.compute.apps.mlp import MlpApp
from gateway.compute.apps.protocol import App, Local
from gateway.compute.apps.spec import AppSpec, LinearSpec, MlpSpec, parse_spec
from gateway.errors import InputError

__all__ = [
    "App",
    "AppSpec",
    "LinearSpec",
    "Local",
    "MlpSpec",
    "app_of",
    "code_digest",
    "code_listing",
    "parse_spec",
]

_PACKAGE: Final = Path(__file__).resolve().parents[2]
# What turns rows into an update, besides the app itself; a change in any of these is another computation.
_COMMON: Final = (
    "compute/apps/protocol.py",
    "compute/apps/spec.py",
    "compute/rounds.py",
    "compute/scaling.py",
    "compute/tables.py",
    "federation/checks.py",
    "federation/parameters.py",
    "federation/strategies.py",
    "federation/updates.py",
)
_APPS: Final[dict[str, tuple[App, str]]] = {
    "linear": (LinearApp(), "compute/apps/linear.py"),
    "mlp": (MlpApp(), "compute/apps/mlp.py"),
}


def app_of(name: str) -> App:
    """An app by its name.

    Raises:
        InputError: there is none of this name.
    """
    return _find(name)[0]


@cache
def code_listing(name: str) -> str:
    """The app's source files, one line each as `sha256sum` prints them, in the order of their names.

    Raises:
        InputError: there is no app of this name.
    """
    files = sorted((_find(name)[1], *_COMMON))
    return "".join(f"{hashlib.sha256((_PACKAGE / file).read_bytes()).hexdigest()}  {file}\n" for file in files)


def code_digest(name: str) -> str:
    """SHA-256 of `code_listing`: `cd gateway && sha256sum FILES | sha256sum` gives the same without this code.

    Raises:
        InputError: there is no app of this name.
    """
    return hashlib.sha256(code_listing(name).encode()).hexdigest()


def _find(name: str) -> tuple[App, str]:
    found = _APPS.get(name)
    if found is None:
        raise InputError("no app of this name", remedy=f"choose one of: {', '.join(_APPS)}")
    return found
