"""`tdz policy`: keys, bundles, and what is in force at a running gateway."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit, failures
from gateway.errors import BundleError, InputError, TdzError

if TYPE_CHECKING:
    from gateway.decisions.bundles.manifest import BundleManifest, Party
    from gateway.decisions.bundles.trust import TrustedKey
    from gateway.sdk.admin import PolicyBundle, PolicyStatus

app = typer.Typer(no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A signed bundle, .tar.gz.")]
PartyOption = Annotated[str, typer.Option("--for", help="Whose key it is: vendor or zone.")]


@app.command()
def keygen(
    keyid: Annotated[str, typer.Argument(metavar="KEYID", help="The key's name in signatures, such as zone-2026.")],
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where both files go.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make a key that signs policy bundles (P-256): KEYID.key stays with its owner, KEYID.pem is trusted by gateways.

    Example: tdz policy keygen zone-2026
    """
    with failures(as_json=as_json):
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

        from gateway.config import write_file
        from gateway.decisions.bundles.trust import require_keyid

        require_keyid(keyid)
        if not directory.is_dir():
            raise InputError(f"there is no directory {directory}", remedy="make it first")
        key = ec.generate_private_key(ec.SECP256R1())
        private, public = directory / f"{keyid}.key", directory / f"{keyid}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_file(private, secret, mode=0o600, replace=False)
        told = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_file(public, told, mode=0o644, replace=False)
        document = {"keyid": keyid, "private": str(private), "public": str(public)}
        emit(document, lambda: console.print(f"[green]made[/]  {private} (keep it) and {public}"), as_json=as_json)


@app.command()
def trust(
    pem: Annotated[Path, typer.Argument(metavar="PEM", help="The public key's file.")],
    keyid: Annotated[str, typer.Option(help="The key's name in signatures.")],
    party: PartyOption,
    zone: Annotated[Path, typer.Option("--directory", "-d", help="The zone's directory.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Let a key sign this zone's policy: the vendor's signs baseline and packs, the zone's its own rules.

    It counts from the next activation on; take the file away and it counts no more.

    Example: tdz policy trust vendor-2026.pem --keyid vendor-2026 --for vendor -d /srv/cyberjaya
    """
    with failures(as_json=as_json):
        from gateway.config import load_settings, write_file
        from gateway.decisions.bundles.trust import TrustedKey, require_keyid, trusted_keys

        layout = load_settings(zone).layout
        key = TrustedKey(require_keyid(keyid), _party(party), _public_key(pem))
        standing = trusted_keys(layout.policy_trust).get(keyid)
        if standing is not None and (standing.fingerprint, standing.party) != (key.fingerprint, key.party):
            raise InputError(
                f"{keyid} is trusted already, as another key or for another party", remedy="choose another key id"
            )
        folder = layout.policy_trust / key.party
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        write_file(folder / f"{keyid}.pem", _read(pem, "public key"), mode=0o644)
        document = {"keyid": keyid, "for": key.party, "fingerprint": key.fingerprint}
        emit(
            document,
            lambda: console.print(f"[green]trusted[/]  {keyid} for the {key.party}, {key.fingerprint}"),
            as_json=as_json,
        )


@app.command()
def bundle(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A policy directory, laid out as policy/ is.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The bundle to write.")],
    key: Annotated[Path, typer.Option(help="The private key that signs it, PEM.")],
    keyid: Annotated[str, typer.Option(help="The key's name.")],
    part: Annotated[str, typer.Option(help="baseline, zone, or packs/ID; where DIR has no .manifest.")] = "",
    zone: Annotated[str, typer.Option(help="For which zone; where DIR has no .manifest.")] = "",
    revision: Annotated[int, typer.Option(help="A serial number that only goes up, such as 2026112601.")] = 0,
    legal_as_of: Annotated[str, typer.Option(help="The law as of which day, YYYY-MM-DD.")] = "",
    valid_until: Annotated[str, typer.Option(help="From which day on it decides nothing, YYYY-MM-DD.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Build and sign a bundle in OPA's format; the same files and key give the same bytes.

    Example: tdz policy bundle policy -o zone.tar.gz --part zone --zone cyberjaya --revision 1
    --legal-as-of 2026-11-22 --valid-until 2027-12-31 --key zone-2026.key --keyid zone-2026
    """
    with failures(as_json=as_json):
        import hashlib

        from gateway.config import write_file
        from gateway.decisions.bundles.bundle import build, read_directory
        from gateway.decisions.bundles.trust import private_key, require_keyid

        signing = private_key(key)
        options = (part, zone, revision, legal_as_of, valid_until)
        manifest = _manifest(directory, *options)
        with _refusals():
            data = build(read_directory(directory, manifest.roots), manifest, signing, require_keyid(keyid))
        write_file(output, data, mode=0o644)
        digest = hashlib.sha256(data).hexdigest()
        document = {"file": str(output), "digest": digest, "bytes": len(data), **manifest.document()}

        def human() -> None:
            console.print(f"[green]signed[/]  {manifest.slot} revision {manifest.revision} by {keyid}: {output}")
            console.print(f"  [dim]digest[/] {digest}  {show.size(len(data))}")

        emit(document, human, as_json=as_json)


@app.command()
def verify(
    file: FileArgument,
    zone: Annotated[
        Path | None, typer.Option("--directory", "-d", help="A zone's directory: its trusted keys, its name.")
    ] = None,
    name: Annotated[str, typer.Option("--zone", help="The zone's name, where no directory is named.")] = "",
    pem: Annotated[Path | None, typer.Option("--key", help="The signer's public key, PEM.")] = None,
    keyid: Annotated[str, typer.Option(help="The key's name in signatures.")] = "",
    party: PartyOption = "zone",
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle as a gateway would: signature, roots, contents, dates. Needs no server.

    Example: tdz policy verify zone.tar.gz -d /srv/cyberjaya
    """
    with failures(as_json=as_json):
        import time

        from gateway.decisions.bundles import bundle as bundles

        keys, of = _keys(zone, name, pem, keyid, party)
        data = _read(file, "bundle")
        with _refusals():
            found = bundles.verify(data, keys, zone=of, now=int(time.time()))
        emit(found.document(), lambda: _print_bundle("verified", found.document()), as_json=as_json)


@app.command()
def activate(file: FileArgument, profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Ask the gateway to put a bundle in force. Exits 3 while another administrator must ask for the same file.

    It is verified and tried first; whatever is refused leaves the policy in force.

    Example: tdz policy activate zone.tar.gz --profile alice.toml
    """
    with connection.admin(profile, as_json=as_json) as admin:
        standing = admin.propose_policy(_read(file, "bundle"))

        def human() -> None:
            if standing.active:
                _print_bundle("in force", standing.bundle.document())
                console.print(f"  [dim]policy[/] {standing.policy_digest}")
                return
            _print_bundle("proposed", standing.bundle.document())
            console.print(
                f"  {standing.missing} more administrator{'s' * (standing.missing > 1)} must activate the same file "
                f"until {show.moment(standing.expires_at)} UTC"
            )

        emit(standing.document(), human, as_json=as_json)
    if not standing.active:
        raise typer.Exit(ExitCode.INCOMPLETE)


@app.command()
def status(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show what a gateway decides on: digests, revisions, dates, and what is asked for, by whom, until when.

    Example: tdz policy status
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.policy_status()
        emit(found.document(), lambda: _print_status(found), as_json=as_json)
    if found.withheld:
        raise typer.Exit(ExitCode.REFUSED)


def _manifest(
    directory: Path, part: str, zone: str, revision: int, legal_as_of: str, valid_until: str
) -> BundleManifest:
    """The directory's own `.manifest`, or one from the options."""
    from gateway.decisions.bundles.bundle import part_roots
    from gateway.decisions.bundles.manifest import MANIFEST, BundleManifest

    file = directory / MANIFEST
    given = (part, zone, revision, legal_as_of, valid_until)
    if file.is_file():
        if any(given):
            raise InputError(
                f"{file} says what the bundle is, and so do the options", remedy="leave the options out, or the file"
            )
        with _refusals():
            return BundleManifest.parse(_read(file, "manifest"))
    if not all(given):
        raise InputError(
            f"{directory} has no .manifest", remedy="give --part, --zone, --revision, --legal-as-of and --valid-until"
        )
    dates = _day(legal_as_of, "--legal-as-of"), _day(valid_until, "--valid-until")
    made = BundleManifest(revision, part_roots(directory, part, zone), *dates)
    with _refusals():
        return BundleManifest.parse(made.encode())


def _day(text: str, option: str) -> int:
    try:
        day = datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise InputError(f"{option} {text[:40]!r} is no day", remedy="write it as 2027-12-31") from error
    return int(day.timestamp())


def _keys(
    directory: Path | None, name: str, pem: Path | None, keyid: str, party: str
) -> tuple[dict[str, TrustedKey], str]:
    """The keys that count, and the zone's name."""
    from gateway.config import load_settings
    from gateway.decisions.bundles.trust import TrustedKey, require_keyid, trusted_keys

    if directory is not None:
        if name or pem or keyid:
            raise InputError("-d names the zone and its keys already", remedy="leave --zone, --key and --keyid out")
        settings = load_settings(directory)
        return trusted_keys(settings.layout.policy_trust), settings.zone
    if not (name and pem and keyid):
        raise InputError("no keys to verify with", remedy="give -d DIRECTORY, or --zone, --key and --keyid")
    return {keyid: TrustedKey(require_keyid(keyid), _party(party), _public_key(pem))}, name


def _public_key(pem: Path) -> Any:
    from gateway.decisions.bundles.trust import public_key

    return public_key(_read(pem, "public key"), str(pem))


def _party(text: str) -> Party:
    if text not in ("vendor", "zone"):
        raise InputError(f"--for {text[:40]} is unknown", remedy="use vendor or zone")
    return cast("Literal['vendor', 'zone']", text)


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong with a bundle ends a command with 1, whatever kind of wrong it is."""
    try:
        yield
    except BundleError:
        raise
    except TdzError as error:
        raise BundleError(error.message, remedy=error.remedy) from error


def _read(path: Path, what: str) -> bytes:
    from gateway.model.limits import BUNDLE_MAX

    try:
        with path.open("rb") as file:
            return file.read(BUNDLE_MAX + 1)
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}", remedy="name its file") from error


def _print_bundle(what: str, found: dict[str, Any]) -> None:
    colour = "yellow" if what == "proposed" else "green"
    console.print(
        f"[{colour}]{what}[/]  {found['part']} revision {found['revision']}, "
        f"signed by the {found['signed_by']}'s key {found['keyid']}"
    )
    console.print(f"  [dim]digest[/] {found['digest']}")
    console.print(
        f"  [dim]law as of[/] {show.moment(found['legal_as_of'])}  [dim]valid until[/] "
        f"{show.moment(found['valid_until'])}"
    )


def _print_status(found: PolicyStatus) -> None:
    if found.withheld:
        console.print(f"[bold red]everything is denied[/]: {found.withheld}")
    console.print(f"[bold]{found.zone}[/]  policy {found.policy_digest}")
    console.print(f"  [dim]data revision[/] {found.data_revision}")
    if found.parts:
        names = ("part", "revision", "law as of", "valid until", "key", "entry", "digest")
        show.table(names, (_row(each) for each in found.parts), empty="")
    else:
        console.print("  the policy that the gateway started with; nothing was activated yet")
    for pack in found.packs:
        console.print(f"  pack {pack.id} revision {pack.revision}, valid until {show.moment(pack.valid_until)}")
    for each in found.proposals:
        console.print(
            f"[yellow]proposed[/]  {each.bundle.part} revision {each.bundle.revision} {each.bundle.digest} "
            f"by {', '.join(each.approved_by)}; {each.missing} more until {show.moment(each.expires_at)}"
        )
    console.print(f"  [dim]administrators for an activation[/] {found.administrators}")


def _row(part: PolicyBundle) -> tuple[str, ...]:
    return (
        part.part,
        part.revision,
        show.moment(part.legal_as_of),
        show.moment(part.valid_until),
        part.keyid,
        str(part.ledger_seq),
        part.digest,
    )
