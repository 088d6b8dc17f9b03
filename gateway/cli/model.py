"""`tdz model`: publish, list, show, verify, trust."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import JsonOption, console, emit
from gateway.cli.progress import report
from gateway.errors import ConfigError, InputError

if TYPE_CHECKING:
    from gateway.sdk.resources import Model

app = typer.Typer(no_args_is_help=True, help="Models: your own, and what the other zone offers you.")

trust = typer.Typer(no_args_is_help=True, help="Outside signers whose signatures count in this zone.")
app.add_typer(trust, name="trust")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="models/ID or ID")]


@app.command()
def publish(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The model's files: weights and text only.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="YAML: what you say of it, provenance, terms.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a directory with your signing key and publish it; the same files again store nothing twice.

    Example: tdz model publish ./minilm --manifest minilm.yaml
    """
    with connection.zone(profile, as_json=as_json) as zone:
        begun = time.monotonic()
        with report(directory.name, quiet=as_json) as progress:
            done = zone.publish_model(directory, manifest, progress=progress)
        seconds = time.monotonic() - begun

        def human() -> None:
            console.print(
                f"[green]published[/]  {done.name}  {show.size(done.bytes)}, {done.chunks} chunks in {seconds:.1f} s"
            )
            console.print(f"  [dim]version[/] {done.version}")

        emit({**done.document(), "seconds": round(seconds, 3)}, human, as_json=as_json)


@app.command("list")
def list_(
    query: Annotated[str, typer.Argument(metavar="[WORDS]", help="Words that must all occur.")] = "",
    own: Annotated[bool, typer.Option("--own", help="Only this zone's.")] = False,
    peer: Annotated[bool, typer.Option("--peer", help="Only what the other zone offers.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List models, own and offered, each as its terms show it to you.

    Example: tdz model list --peer
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.models(query, scope="own" if own and not peer else "peer" if peer and not own else "")

        def human() -> None:
            show.table(
                ("name", "zone", "title", "format", "provenance", ">bytes", "purposes"),
                (
                    (
                        each.name,
                        each.zone,
                        escape(each.title),
                        facts["format"],
                        facts["provenance"],
                        show.size(each.bytes),
                        ", ".join(each.purposes),
                    )
                    for each in found
                    for facts in [each.lineage()]
                ),
                empty="no models: nothing is published here or offered to you",
            )

        emit({"models": [each.document() for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(name: NameArgument, profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show one model: its files, what it was made from, and what its provenance is worth here.

    Example: tdz model show models/minilm
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.model(name)
        emit(found.document(), lambda: _human(found), as_json=as_json)


def _human(found: Model) -> None:
    facts = found.lineage()
    base = facts["base"]
    show.pairs(
        {
            "zone": found.zone,
            "owner": found.owner,
            "title": escape(found.title),
            "description": escape(found.description),
            "licence": escape(found.licence),
            "artifact": found.artifact,
            "version": found.version,
            "format": facts["format"],
            "bytes": f"{show.size(found.bytes)} in {found.chunks} chunks",
            "openness": facts["openness"],
            "end use": facts["end_use"],
            "provenance": facts["provenance"],
            "base": " ".join(part for part in (base["id"], base["licence"], base["licence_version"]) if part),
            "purposes": ", ".join(found.purposes),
            "published": show.moment(found.published_at),
            "offered until": show.moment(found.offered_until) if found.offered_until else "",
        },
        title=found.name,
    )
    show.table(
        ("trained on", "class", ">persons"),
        ((each["digest"], each["class"], show.number(each["subjects"])) for each in facts["training"]["data"]),
        empty="no dataset is named",
    )
    show.table(
        ("trained at", "country", "devices", ">device hours", "attestation"),
        (_run(each) for each in facts["training"]["runs"]),
        empty="no training run is named",
    )
    show.table(
        ("file", ">bytes", "sha-256"),
        ((escape(each.name), show.size(each.bytes), each.digest) for each in found.files),
        empty="no files",
    )


@trust.command("add")
def trust_add(
    file: Annotated[Path, typer.Argument(metavar="KEY", help="The signer's public key, ECDSA on P-256, PEM.")],
    name: Annotated[str, typer.Option("--name", help="Whose key it is; it stays in your zone's register.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trust an outside signer of models and provenance from now on (administrators).

    Example: tdz model trust add openlab.pem --name "Open Lab"
    """
    with connection.admin(profile, as_json=as_json) as admin:
        try:
            text = file.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read as PEM", remedy="give the signer's public key") from error
        found = admin.add_signer(text, name)
        emit(found.document(), lambda: console.print(f"[green]trusted[/]  {found.fingerprint}"), as_json=as_json)


@trust.command("list")
def trust_list(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List outside signers, those that were removed too.

    Example: tdz model trust list
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.signers()

        def human() -> None:
            show.table(
                ("fingerprint", "name", "since", "removed"),
                (
                    (
                        each.fingerprint,
                        escape(each.name),
                        show.moment(each.added_at),
                        show.moment(each.removed_at) if each.removed_at else "",
                    )
                    for each in found
                ),
                empty="no outside signers are trusted",
            )

        emit({"signers": [each.document() for each in found]}, human, as_json=as_json)


@trust.command("remove")
def trust_remove(
    fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="As `tdz model trust list` shows it.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trust an outside signer no longer; what was published before stays verified (administrators).

    Example: tdz model trust remove 9f86d081…
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.remove_signer(fingerprint)
        emit(found.document(), lambda: console.print(f"[green]removed[/]  {found.fingerprint}"), as_json=as_json)


def _run(run: dict[str, Any]) -> tuple[str, str, str, str, str]:
    devices = ", ".join(f"{each['count']} x {escape(each['sku'])}" for each in run["devices"])
    return escape(run["site"]), run["country"], devices, show.number(run["device_hours"]), run["attestation"]


def _whose(profile: Path | None, key: Path | None, ca: Path | None) -> Path | None:
    """The profile whose zone is trusted where neither key nor CA is given; None where there is none."""
    if key is not None or ca is not None:
        return None
    try:
        return connection.profile_path(profile)
    except ConfigError:
        return None


@app.command()
def verify(
    what: Annotated[str, typer.Argument(metavar="DIR|NAME", help="A directory with model.sig, or an own model.")],
    key: Annotated[Path | None, typer.Option("--key", help="The signer's public key (PEM), for a directory.")] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="The zone CA's certificate (PEM) that vouches for the signer.")
    ] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a model's files against its signature; exit code 1 where one differs.

    A directory is checked here, offline: every file, the signature, and the signer by --key or --ca, else by the
    profile's own zone. A name has your gateway hash every stored chunk again.

    Example: tdz model verify ./minilm --ca lingang-ca.pem
    """
    if "/" not in what.removeprefix("models/") and not Path(what).is_dir():
        with connection.zone(profile, as_json=as_json) as zone:
            name = what if what.startswith("models/") else f"models/{what}"
            with report(name, quiet=as_json) as progress:
                root = zone.verify(name, progress=progress)
            emit(
                {"outcome": "verified", "name": name, "root": root},
                lambda: console.print(f"[green]verified[/]  {name}  root {root}"),
                as_json=as_json,
            )
        return
    with connection.speaking(as_json=as_json):
        from gateway.sdk.models import verify_directory

        begun = time.monotonic()
        with report(what, quiet=as_json) as progress:
            found = verify_directory(Path(what), key=key, ca=ca, profile=_whose(profile, key, ca), progress=progress)
        seconds = time.monotonic() - begun

        def human() -> None:
            console.print(
                f"[green]verified[/]  {what}  {found.files} files, {show.size(found.bytes)} in {seconds:.1f} s"
            )
            console.print(f"  [dim]artifact[/] {found.artifact}")
            console.print(f"  [dim]signed by[/] {escape(found.signer)}")

        emit({"outcome": "verified", **found.document(), "seconds": round(seconds, 3)}, human, as_json=as_json)
