"""`tdz identity`: what needs no running gateway: making a key and the request for its certificate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from gateway.cli.output import JsonOption, console, emit, failures
from gateway.errors import InputError, StorageError

app = typer.Typer(no_args_is_help=True)


class _Files(NamedTuple):
    """The names of one identity's files in its directory."""

    key: str
    request: str
    certificate: str


_TLS: Final = _Files("key.pem", "request.csr", "cert.pem")
_SIGNING: Final = _Files("signing-key.pem", "signing.csr", "signing.pem")


@app.command()
def request(
    zone: Annotated[str, typer.Option("--zone", help="The zone's name.")],
    id_: Annotated[str, typer.Option("--id", help="Your id: a-z, 0-9 and hyphens.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where key.pem and request.csr go.")],
    role: Annotated[str, typer.Option("--role", help="partner, admin or auditor.")] = "partner",
    gateway: Annotated[
        str, typer.Option("--gateway", help="host:port of the zone's gateway; writes profile.toml too.")
    ] = "",
    signing: Annotated[
        bool, typer.Option("--signing", help="A key for signing models, beside the one for connecting.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a private key, which stays here, and the request that an administrator approves.

    Example: tdz identity request --zone cyberjaya --id um -o um

    Example: tdz identity request --signing --zone cyberjaya --id um -o um
    """
    with failures(as_json=as_json):
        from gateway.config import Address, Profile, load_profile, write_file, write_profile
        from gateway.identity.authority import make_request
        from gateway.identity.keys import key_fingerprint, write_private_key
        from gateway.model.participant import Identity, Role

        if role not in ("partner", "admin", "auditor"):
            raise InputError(f"{role!r} is no role of a person or institution", remedy="partner, admin or auditor")
        if signing and (role != "partner" or gateway):
            raise InputError("a signing key is a partner's, and connects to no gateway", remedy="leave the others out")
        identity = Identity(zone, Role(role), id_)
        address = Address.parse(gateway) if gateway else None
        try:
            output.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {output}: {error.strerror}", remedy="name another place") from error
        key, csr = make_request(identity)
        names = _SIGNING if signing else _TLS
        key_file, request_file = output / names.key, output / names.request
        write_private_key(key_file, key)
        write_file(request_file, csr, mode=0o644)
        if signing and (output / "profile.toml").exists():
            standing = load_profile(output)
            named = replace(standing, signing_key=key_file, signing_certificate=output / names.certificate)
            write_profile(output / "profile.toml", named)
        if address is not None:
            profile = Profile(
                zone=zone,
                gateway=address,
                ca=output / "ca.pem",
                cert=output / "cert.pem",
                key=output / "key.pem",
            )
            write_profile(output / "profile.toml", profile)
        fingerprint = key_fingerprint(key.public_key())
        document = {
            "identity": identity.uri,
            "request": str(request_file),
            "key": str(key_file),
            "fingerprint": fingerprint,
        }

        def human() -> None:
            console.print(f"[green]made[/]  a key for {identity.uri}")
            console.print(f"  [dim]key[/]          {key_file} (never leaves you)")
            console.print(f"  [dim]request[/]      {request_file} (send it to an administrator)")
            console.print(f"  [dim]fingerprint[/]  {fingerprint}")
            console.print(
                "Tell the administrator the fingerprint over another channel. "
                f"You get {names.certificate} and ca.pem back."
            )

        emit(document, human, as_json=as_json)
