"""The command tree of `tdz`, put together from one file per group.

Groups import what they need inside their commands, so that `tdz --help` costs typer and rich alone. The groups
that import more are loaded when they are first named.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gateway.cli import (
    accelerators,
    agreement,
    approvals,
    dataset,
    mechanism,
    model,
    participant,
    pull,
    request,
    run,
    transfer,
)
from gateway.cli.demo import command

_GROUPS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "zone": (
        "Make, pair, run and watch a zone's gateway.",
        (
            "gateway.cli.zone",
            "gateway.cli.zone_keys",
            "gateway.cli.zone_ledger",
            "gateway.cli.zone_online",
            "gateway.cli.zone_witness",
        ),
    ),
    "identity": (
        "Keys and certificates: request, approve, renew, revoke.",
        ("gateway.cli.identity", "gateway.cli.identity_online"),
    ),
    "policy": (
        "Policy: write, test, explain, compare and activate it.",
        (
            "gateway.cli.policy",
            "gateway.cli.policy_check",
            "gateway.cli.policy_cases",
            "gateway.cli.policy_explain",
            "gateway.cli.policy_log",
            "gateway.cli.policy_compare",
            "gateway.cli.policy_new",
            "gateway.cli.policy_bundles",
            "gateway.cli.policy_activation",
        ),
    ),
}
_ORDER: Final = (
    "demo",
    "zone",
    "identity",
    "participant",
    "mechanism",
    "dataset",
    "model",
    "request",
    "pull",
    "agreement",
    "approvals",
    "transfer",
    "run",
    "policy",
    "accelerators",
)


class _Root(TyperGroup):
    """Loads the groups of `_GROUPS` when they are named; help lists them without loading."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All commands, in the order in which people meet them."""
        known = {*self.commands, *_GROUPS}
        return [name for name in _ORDER if name in known]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; a group that is not loaded yet stands in with its help text."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in _GROUPS:
            found = get_command(_group(_GROUPS[cmd_name][0]))
            found.name = cmd_name
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the group that is about to run."""
        if args and args[0] in _GROUPS and args[0] not in self.commands:
            self.commands[args[0]] = _loaded(args[0], *_GROUPS[args[0]])
        return super().resolve_command(ctx, args)


def _group(text: str) -> typer.Typer:
    group = typer.Typer(help=text, no_args_is_help=True)
    group.callback()(lambda: None)
    return group


def _loaded(name: str, text: str, modules: tuple[str, ...]) -> Any:
    group = _group(text)
    for module in modules:
        group.add_typer(importlib.import_module(module).app)
    command = get_command(group)
    command.name = name
    return command


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("tdz-gateway"))
        raise typer.Exit


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trusted Data Zones: datasets across a border under two policies, with a ledger each side can prove.",
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Nothing but options that stand before a command."""


app.command("demo")(command.demo)
app.add_typer(participant.app, name="participant")
app.add_typer(mechanism.app, name="mechanism")
app.add_typer(dataset.app, name="dataset")
app.add_typer(model.app, name="model")
app.add_typer(request.app, name="request")
app.command("pull")(pull.pull)
app.add_typer(agreement.app, name="agreement")
app.add_typer(approvals.app, name="approvals")
app.add_typer(transfer.app, name="transfer")
app.add_typer(run.app, name="run")
app.command("accelerators")(accelerators.accelerators)
