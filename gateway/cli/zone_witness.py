"""`tdz zone witness`: who cosigns the zone's ledger besides the paired zones, and how many of them must."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from gateway.cli import show
from gateway.cli.output import JsonOption, console, emit, failures
from gateway.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(no_args_is_help=True)
witness = typer.Typer(no_args_is_help=True, help="Who else cosigns the zone's ledger, and how many must.")
app.add_typer(witness, name="witness")

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The zone's directory.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The witness's name in this zone's policy.")]
_POLICY_MAX = 256 * 1024


@witness.command()
def add(
    directory: DirectoryArgument,
    name: NameArgument,
    vkey: Annotated[str, typer.Option("--vkey", help="Its verifier key, from a source that you trust.")],
    url: Annotated[str, typer.Option("--url", help="Its submission prefix, such as https://witness.example/.")],
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Certificate of the authority of its server (PEM), if a private one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let a witness cosign the ledger. A running gateway takes it up within seconds.

    Example: tdz zone witness add /srv/lingang ministry --vkey witness.example/w1+… --url https://witness.example/
    """
    with failures(as_json=as_json):
        from gateway.config import ZoneLayout, checked_url, write_file
        from ledger.policy_edit import add_witness

        checked_url(url)
        layout = ZoneLayout(directory)
        changed = _changed(directory, lambda text: add_witness(text, name, vkey, url))
        if ca is not None:
            known = _read(layout.witness_ca) if layout.witness_ca.exists() else ""
            pem = _certificates(ca)
            if pem not in known:
                write_file(layout.witness_ca, (known + pem).encode(), mode=0o644)
        _write(directory, changed)
        _emit(changed, as_json=as_json)


@witness.command("list")
def list_witnesses(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """List the witnesses and the quorum. How each stands now is in tdz zone status.

    Example: tdz zone witness list /srv/lingang
    """
    with failures(as_json=as_json):
        _emit(_changed(directory, lambda text: text), as_json=as_json)


@witness.command()
def remove(directory: DirectoryArgument, name: NameArgument, as_json: JsonOption = False) -> None:
    """Ask a witness no more.

    Example: tdz zone witness remove /srv/lingang ministry
    """
    with failures(as_json=as_json):
        from ledger.policy_edit import remove_witness

        changed = _changed(directory, lambda text: remove_witness(text, name))
        _write(directory, changed)
        _emit(changed, as_json=as_json)


@witness.command()
def quorum(
    directory: DirectoryArgument,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="all, any, none, or how many of them.")],
    as_json: JsonOption = False,
) -> None:
    """Say how many of the witnesses must cosign; every paired zone's mirror must besides.

    Example: tdz zone witness quorum /srv/lingang 2
    """
    with failures(as_json=as_json):
        from ledger.policy_edit import set_quorum

        changed = _changed(directory, lambda text: set_quorum(text, rule))
        _write(directory, changed)
        _emit(changed, as_json=as_json)


def _changed(directory: Path, change: Callable[[str], str]) -> str:
    """The policy of the zone's witnesses with a change; it is not written."""
    from gateway.config import ZoneLayout, load_settings
    from ledger.errors import LedgerError
    from ledger.policy import TrustPolicy
    from ledger.policy_edit import EMPTY_POLICY

    load_settings(directory)
    file = ZoneLayout(directory).witness_policy
    text = _read(file) if file.exists() else EMPTY_POLICY
    try:
        TrustPolicy(text)
    except LedgerError as error:
        raise ConfigError(f"{file}: {error}", remedy="mend it at that line; it is a C2SP tlog-policy") from error
    try:
        return change(text)
    except LedgerError as error:
        raise InputError(str(error), remedy="see tdz zone witness list") from error


def _write(directory: Path, text: str) -> None:
    from gateway.config import ZoneLayout, write_file

    write_file(ZoneLayout(directory).witness_policy, text.encode(), mode=0o644)


def _emit(text: str, *, as_json: bool) -> None:
    from ledger.policy import TrustPolicy
    from ledger.policy_edit import quorum_rule

    policy = TrustPolicy(text)
    witnesses = [
        {
            "name": name,
            "key": key.vkey.name,
            "vkey": str(key.vkey),
            "url": policy.urls.get(name, ""),
            "needed": policy.needs(name),
        }
        for name, key in policy.witnesses.items()
    ]
    document: dict[str, Any] = {"quorum": quorum_rule(text) or policy.quorum, "witnesses": witnesses}

    def human() -> None:
        show.table(
            ("witness", "key", "url", "needed"),
            (
                (*(escape(str(w[each])) for each in ("name", "key", "url")), "yes" if w["needed"] else "no")
                for w in witnesses
            ),
            empty="no witnesses besides the paired zones: tdz zone witness add DIR NAME --vkey KEY --url URL",
        )
        console.print(f"[dim]quorum[/] {document['quorum']}")

    emit(document, human, as_json=as_json)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_POLICY_MAX + 1)
        if len(data) > _POLICY_MAX:
            raise ConfigError(f"{file} is longer than {_POLICY_MAX} bytes")
        return data.decode()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8") from error


def _certificates(file: Path) -> str:
    from cryptography.x509 import load_pem_x509_certificates

    text = _read(file)
    try:
        load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise InputError(f"{file} holds no certificate", remedy="give the authority's certificate as PEM") from error
    return text if text.endswith("\n") else f"{text}\n"
