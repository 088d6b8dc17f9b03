"""`tdz policy`: keys that sign, and signed bundles. Needs no server."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from gateway.cli import show
from gateway.cli.output import JsonOption, console, emit, failures
from gateway.errors import BundleError, InputError, TdzError

if TYPE_CHECKING:
    from gateway.decisions.bundles.manifest import BundleManifest, Party
    from gateway.decisions.bundles.trust import TrustedKey

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
        write_file(folder / f"{keyid}.pem", read_file(pem, "public key"), mode=0o644)
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
    """Build and sign a bundle in OPA's format, of rules that compile; the same files and key give the same bytes.

    Example: tdz policy bundle policy -o zone.tar.gz --part zone --zone cyberjaya --revision 1
    --legal-as-of 2026-11-22 --valid-until 2027-12-31 --key zone-2026.key --keyid zone-2026
    """
    with failures(as_json=as_json):
        from gateway.config import write_file
        from gateway.decisions.bundles.bundle import build, read_directory
        from gateway.decisions.bundles.trust import private_key, require_keyid
        from gateway.decisions.compile_errors import require_compiled

        signing = private_key(key)
        options = (part, zone, revision, legal_as_of, valid_until)
        manifest = _manifest(directory, *options)
        with _refusals():
            files = read_directory(directory, manifest.roots)
            data = build(files, manifest, signing, require_keyid(keyid))
            asyncio.run(require_compiled(files))
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
    """Verify a bundle as a gateway would: signature, roots, contents, dates, rules that compile. Needs no server.

    Example: tdz policy verify zone.tar.gz -d /srv/cyberjaya
    """
    with failures(as_json=as_json):
        import time

        from gateway.decisions.bundles import bundle as bundles
        from gateway.decisions.compile_errors import require_compiled

        keys, of = _keys(zone, name, pem, keyid, party)
        data = read_file(file, "bundle")
        with _refusals():
            found = bundles.verify(data, keys, zone=of, now=int(time.time()))
            asyncio.run(require_compiled(found.files))
        emit(found.document(), lambda: print_bundle("verified", found.document()), as_json=as_json)


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
            return BundleManifest.parse(read_file(file, "manifest"))
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

    return public_key(read_file(pem, "public key"), str(pem))


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


def read_file(path: Path, what: str) -> bytes:
    """A file as long as a bundle may be, and one byte more.

    Raises:
        InputError: it cannot be read.
    """
    from gateway.model.limits import BUNDLE_MAX

    try:
        with path.open("rb") as file:
            return file.read(BUNDLE_MAX + 1)
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}", remedy="name its file") from error


def print_bundle(what: str, found: dict[str, Any]) -> None:
    """Print what became of a bundle, and what it says of itself."""
    colour = "yellow" if what in ("proposed", "withdrawn") else "green"
    console.print(
        f"[{colour}]{what}[/]  {found['part']} revision {found['revision']}, "
        f"signed by the {found['signed_by']}'s key {found['keyid']}"
    )
    console.print(f"  [dim]digest[/] {found['digest']}")
    console.print(
        f"  [dim]law as of[/] {show.moment(found['legal_as_of'])}  [dim]valid until[/] "
        f"{show.moment(found['valid_until'])}"
    )
