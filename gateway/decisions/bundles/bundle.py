"""One bundle: built and signed from a directory, or read and verified from bytes that anybody sent."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from gateway.decisions import capabilities, codes
from gateway.decisions.bundles import archive, signature
from gateway.decisions.bundles.contents import files_of
from gateway.decisions.bundles.manifest import MANIFEST, BundleManifest, Party, require_owner, within
from gateway.decisions.bundles.signature import PrivateKey
from gateway.decisions.bundles.trust import TrustedKey, by_id
from gateway.decisions.policy_set import PolicySet, shipped_capabilities
from gateway.errors import ConfigError, InputError, IntegrityError
from gateway.model.limits import BUNDLE_FILE_MAX, BUNDLE_FILES_MAX

__all__ = ["Bundle", "Party", "build", "read_directory", "verify"]

Files: TypeAlias = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature, roots and contents were verified.

    Args:
        sha256: of its bytes, hex; its name everywhere.
        manifest: what it says of itself.
        key: who signed it.
        files: modules and data by path, as a policy directory has them.
        size: of its bytes.
    """

    sha256: str
    manifest: BundleManifest
    key: TrustedKey
    files: Files = field(repr=False)
    size: int

    @property
    def slot(self) -> str:
        """Which part of a zone's policy it is."""
        return self.manifest.slot

    def document(self) -> dict[str, Any]:
        """What people are told of it."""
        return {
            "digest": self.sha256,
            "part": self.slot,
            "revision": str(self.manifest.revision),
            "roots": list(self.manifest.roots),
            "legal_as_of": self.manifest.legal_as_of,
            "valid_until": self.manifest.valid_until,
            "keyid": self.key.keyid,
            "signed_by": self.key.party,
            "files": len(self.files),
            "bytes": self.size,
        }


def read_directory(directory: Path, roots: tuple[str, ...]) -> dict[str, bytes]:
    """The modules and data of a policy directory that lie within roots, tests left out.

    The documents that join reason codes to the METADATA of their rules are made where they are not there.

    Raises:
        ConfigError: a file cannot be read, is a link or too large, or METADATA says two things of a code.
        InputError: there is none.
    """
    found: dict[str, bytes] = {}
    try:
        for root in roots:
            for path in sorted((directory / root).rglob("*")):
                name = path.relative_to(directory).as_posix()
                wanted = path.name == "data.json" or (path.suffix == ".rego" and not path.name.endswith("_test.rego"))
                if not wanted or path.is_dir():
                    continue
                if path.is_symlink() or path.stat().st_size > BUNDLE_FILE_MAX or len(found) >= BUNDLE_FILES_MAX:
                    raise ConfigError(f"{path} is a link, too large, or one file too many")
                found[name] = path.read_bytes()
        for name, document in codes.documents(directory).items():
            if any(within(name, root) for root in roots):
                found.setdefault(name, codes.render(document).encode())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the policy cannot be read: {error}") from error
    if not found:
        raise InputError(
            f"{directory} has nothing in {', '.join(roots)}", remedy="name a directory laid out as policy/"
        )
    return found


def build(files: Files, manifest: BundleManifest, key: PrivateKey, keyid: str) -> bytes:
    """A signed bundle; the same files, manifest and key give the same bytes.

    Args:
        files: modules and data by path, as a policy directory has them.
        manifest: its manifest.
        key: signs it.
        keyid: the key's name.

    Raises:
        IntegrityError, PermissionDeniedError, ConfigError, LimitError: it would be refused where it is read.
    """
    _ = manifest.slot
    files_of(files, manifest, capabilities.allowed_builtins(shipped_capabilities()))
    whole = {**files, MANIFEST: manifest.encode()}
    return archive.pack({**whole, signature.SIGNATURES: signature.sign(whole, key, keyid)})


def verify(data: bytes, keys: Mapping[str, TrustedKey], *, zone: str, now: int) -> Bundle:
    """Read a bundle that anybody may have sent.

    1. It is a bounded archive of plain files.
    2. A trusted key signed exactly these files.
    3. The manifest is complete; its roots are those of one part of a zone's policy.
    4. The roots are the signer's to write in.
    5. Every package and all data lie within the roots; modules call what both engines agree on, and ask for
       fields that inputs have.
    6. It is in date.

    Args:
        data: the .tar.gz.
        keys: those that count, by id.
        zone: for which it would be in force.
        now: Unix seconds UTC.

    Raises:
        LimitError, IntegrityError, PermissionDeniedError, ConfigError: what does not hold, with its remedy.
    """
    files = archive.unpack(data)  # 1
    trusted = keys[signature.verify(files, by_id(keys))]  # 2
    if MANIFEST not in files:
        raise IntegrityError("the bundle has no .manifest", remedy="build it again: tdz policy bundle")
    manifest = BundleManifest.parse(files[MANIFEST])  # 3
    _ = manifest.slot
    require_owner(manifest, trusted.party, zone)  # 4
    contents = files_of(files, manifest, capabilities.allowed_builtins(shipped_capabilities()))  # 5
    require_in_date(manifest, now)  # 6
    return Bundle(hashlib.sha256(data).hexdigest(), manifest, trusted, contents, len(data))


def require_in_date(manifest: BundleManifest, now: int) -> None:
    """Refuse what is out of date.

    Raises:
        IntegrityError: its last day is over.
    """
    if now >= manifest.valid_until:
        day = datetime.datetime.fromtimestamp(manifest.valid_until, tz=datetime.UTC).date().isoformat()
        raise IntegrityError(
            f"the bundle of revision {manifest.revision} is out of date since {day}",
            remedy="ask its signer for a current one",
        )


def baseline_roots(policy: Path, zone: str) -> tuple[str, ...]:
    """The roots of a zone's baseline: the house's rules, and the packs and lists that the registry requires.

    Raises:
        ConfigError: the registry does not know the zone.
    """
    required = PolicySet.load(policy).registry_of(zone).get("required", ())
    packs = [f"tdz/{room}/{pack}" for pack in required for room in ("packs", "lists")]
    return tuple(sorted(("tdz/main", "tdz/lib", "tdz/registry", *packs)))


def part_roots(policy: Path, part: str, zone: str) -> tuple[str, ...]:
    """The roots of a part: `baseline`, `zone`, or `packs/<id>`.

    Raises:
        InputError: there is no such part.
    """
    if part == "baseline":
        return baseline_roots(policy, zone)
    if part == "zone":
        return (f"tdz/zone/{zone}",)
    if part.startswith("packs/"):
        return tuple(root for root in (f"tdz/{part}", f"tdz/lists/{part[6:]}") if root.count("/") == 2)
    raise InputError(f"{part!r} is no part of a policy", remedy="name baseline, zone or packs/<id>")
