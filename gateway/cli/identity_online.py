"""`tdz identity`: what is asked of a running gateway."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit
from gateway.errors import InputError

if TYPE_CHECKING:
    from gateway.sdk.admin import Certificate

app = typer.Typer(no_args_is_help=True)


@app.command()
def approve(
    csr: Annotated[Path, typer.Argument(metavar="CSR", help="The request that `tdz identity request` made.")],
    role: Annotated[str, typer.Option("--role", help="partner, admin or auditor.")],
    id_: Annotated[str, typer.Option("--id", help="The holder's id: a-z, 0-9 and hyphens.")],
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="The key's, as the holder told it to you over another channel.")
    ],
    renew: Annotated[bool, typer.Option("--renew", help="The live certificate stays valid beside it.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="The live certificate is revoked.")] = False,
    signing: Annotated[
        bool, typer.Option("--signing", help="For signing models, not for connecting; a partner's only.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the certificate.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a certificate for a key; an administrator's needs two administrators (exit code 3 until then).

    Example: tdz identity approve um.csr --role partner --id um --fingerprint 2c26b46b… -o cert.pem

    Example: tdz identity approve um-signing.csr --signing --role partner --id um --fingerprint 9f86d081… -o signing.pem
    """
    with connection.admin(profile, as_json=as_json) as admin:
        from gateway.sdk.admin import SecondKey

        if renew and replace:
            raise InputError("--renew and --replace exclude each other", remedy="give one of them")
        second = SecondKey.RENEW if renew else SecondKey.REPLACE if replace else SecondKey.REFUSE
        found = admin.approve(
            _read(csr), role=role, id=id_, key_fingerprint=fingerprint, second_key=second, signing=signing
        )
        certificate = found.certificate
        if certificate is not None and output is not None:
            _write(output, certificate.pem)

        def human() -> None:
            if certificate is None:
                console.print(
                    f"[yellow]recorded[/]  {found.missing} more administrator(s) must approve the same key and id "
                    f"until {show.moment(found.expires_at)}"
                )
                return
            _human("issued", certificate)
            if output is None:
                console.print(certificate.pem, end="")

        emit(found.document(), human, as_json=as_json)
        if certificate is None:
            raise typer.Exit(ExitCode.INCOMPLETE)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="URI|SERIAL", help="All of a holder, or one certificate.")],
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            help="key-compromise, affiliation-changed, superseded, cessation or privilege-withdrawn.",
        ),
    ],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke certificates at once: open calls end, new ones are refused.

    Example: tdz identity revoke tdz://cyberjaya/partner/um --reason key-compromise
    """
    with connection.admin(profile, as_json=as_json) as admin:
        from gateway.sdk.admin import Reason

        try:
            chosen = Reason(reason)
        except ValueError as error:
            raise InputError(f"{reason!r} is no reason", remedy=f"give one of {', '.join(Reason)}") from error
        found = admin.revoke(which, chosen)

        def human() -> None:
            for certificate in found:
                _human("revoked", certificate)

        emit({"certificates": [each.document() for each in found]}, human, as_json=as_json)


@app.command("list")
def list_(
    uri: Annotated[str, typer.Argument(metavar="[URI]", help="Only those of this holder.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Also those that expired or were revoked.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List certificates, newest first.

    Example: tdz identity list --all
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.certificates(uri=uri, all=all_)

        def human() -> None:
            show.table(
                ("holder", "for", "serial", "until", "revoked", "reason"),
                (
                    (c.uri, _use(c), c.serial, show.moment(c.not_after), show.moment(c.revoked_at), c.reason)
                    for c in found
                ),
                empty="no certificates",
            )

        emit({"certificates": [each.document() for each in found]}, human, as_json=as_json)


@app.command()
def renew(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Renew your own certificate for the same key, from two thirds of its life on; the old file is replaced.

    Example: tdz identity renew --profile um.toml
    """
    with connection.speaking(as_json=as_json):
        from gateway.config import load_profile, write_file
        from gateway.identity.authority import make_request_for
        from gateway.identity.keys import load_tls_key
        from gateway.identity.own import check_own
        from gateway.sdk.admin import connect_admin

        loaded = load_profile(connection.profile_path(profile))
        own = check_own(loaded, now=int(time.time()))
        request = make_request_for(load_tls_key(loaded.key), own.identity)
        with connect_admin(loaded) as caller:
            found = caller.renew(request.decode("ascii"))
        write_file(loaded.cert, found.pem.encode("ascii"), mode=0o644)
        emit(found.document(), lambda: _human("renewed", found), as_json=as_json)


def _use(certificate: Certificate) -> str:
    return "signing" if certificate.signing else "TLS"


def _human(what: str, certificate: Certificate) -> None:
    colour = "yellow" if certificate.revoked_at else "green"
    console.print(
        f"[{colour}]{what}[/]  {certificate.uri} for {_use(certificate)}  until {show.moment(certificate.not_after)}"
    )
    console.print(f"  [dim]serial[/] {certificate.serial}")


def _read(path: Path) -> str:
    from gateway.model.limits import CSR_MAX

    try:
        with path.open("rb") as file:
            return file.read(CSR_MAX + 1).decode("ascii")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as a signing request", remedy="give the .csr file") from error


def _write(path: Path, pem: str) -> None:
    from gateway.config import write_file

    write_file(path, pem.encode("ascii"), mode=0o644)
