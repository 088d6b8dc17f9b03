"""`tdz identity`: what needs no running gateway: making a key and the request for its certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import JsonOption, console, emit, failures
from gateway.errors import InputError, StorageError

app = typer.Typer(no_args_is_help=True)


@app.command()
def request(
    zone: Annotated[str, typer.Option("--zone", help="The zone's name.")],
    id_: Annotated[str, typer.Option("--id", help="Your id: a-z, 0-9 and hyphens.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where key.pem and request.csr go.")],
    role: Annotated[str, typer.Option("--role", help="partner, admin or auditor.")] = "partner",
    gateway: Annotated[
        str, typer.Option("--gateway", help="host:port of the zone's gateway; writes profile.toml too.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a private key, which stays here, and the request that an administrator approves.

    Example: tdz identity request --zone cyberjaya --id um -o um
    """
    with failures(as_json=as_json):
        from gateway.config import Address, Profile, write_file, write_profile
        from gateway.identity.authority import make_request
        from gateway.identity.keys import key_fingerprint, write_private_key
        from gateway.model.participant import Identity, Role

        if role not in ("partner", "admin", "auditor"):
            raise InputError(f"{role!r} is no role of a person or institution", remedy="partner, admin or auditor")
        identity = Identity(zone, Role(role), id_)
        address = Address.parse(gateway) if gateway else None
        try:
            output.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {output}: {error.strerror}", remedy="name another place") from error
        key, csr = make_request(identity)
        write_private_key(output / "key.pem", key)
        write_file(output / "request.csr", csr, mode=0o644)
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
            "request": str(output / "request.csr"),
            "key": str(output / "key.pem"),
            "fingerprint": fingerprint,
        }

        def human() -> None:
            console.print(f"[green]made[/]  a key for {identity.uri}")
            console.print(f"  [dim]key[/]          {output / 'key.pem'} (never leaves you)")
            console.print(f"  [dim]request[/]      {output / 'request.csr'} (send it to an administrator)")
            console.print(f"  [dim]fingerprint[/]  {fingerprint}")
            console.print(
                "Tell the administrator the fingerprint over another channel. You get cert.pem and ca.pem back."
            )

        emit(document, human, as_json=as_json)
