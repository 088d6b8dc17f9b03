"""How online commands find their profile, connect, and end: one line on failure, a clean Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.output import ExitCode, failures, stderr
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.sdk import Zone
    from gateway.sdk.admin import Admin

ProfileOption = Annotated[
    Path | None,
    typer.Option("--profile", "-p", help="Profile file or its directory; else $TDZ_PROFILE, else ./profile.toml."),
]


@contextmanager
def speaking(*, as_json: bool = False) -> Iterator[None]:
    """Errors become one line and an exit code (see `failures`); Ctrl-C ends with INCOMPLETE and no traceback."""
    try:
        with failures(as_json=as_json):
            yield
    except KeyboardInterrupt:
        stderr.print("[bold yellow]interrupted[/] nothing half-done is left behind; the same command goes on")
        raise typer.Exit(ExitCode.INCOMPLETE) from None


def profile_path(option: Path | None) -> Path:
    """The profile to use: the option, $TDZ_PROFILE, or profile.toml in the working directory.

    Raises:
        ConfigError: none of them.
    """
    from gateway.config import default_profile

    if option is not None:
        return option
    try:
        return default_profile()
    except ConfigError as error:
        here = Path("profile.toml")
        if here.is_file():
            return here
        raise ConfigError(
            error.message, remedy="give --profile FILE, set TDZ_PROFILE, or go where profile.toml lies"
        ) from None


@contextmanager
def zone(option: Path | None, *, as_json: bool = False) -> Iterator[Zone]:
    """A partner's connection, errors spoken."""
    with speaking(as_json=as_json):
        from gateway import sdk

        with sdk.connect(profile_path(option)) as connected:
            yield connected


@contextmanager
def admin(option: Path | None, *, as_json: bool = False) -> Iterator[Admin]:
    """An administrator's connection, errors spoken."""
    with speaking(as_json=as_json):
        from gateway.sdk.admin import connect_admin

        with connect_admin(profile_path(option)) as connected:
            yield connected
