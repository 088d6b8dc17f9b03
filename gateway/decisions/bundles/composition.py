"""A zone's policy as it would be with a bundle in its place: what it owns is replaced, the rest stays as it is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.decisions.bundles.bundle import Bundle
from gateway.decisions.bundles.manifest import BundleManifest, manifests_overlap
from gateway.decisions.policy_set import CAPABILITIES, MANIFESTS, PolicySet, ZonePolicy, shipped_capabilities
from gateway.errors import ConflictError


def composed(current: ZonePolicy, bundle: Bundle) -> ZonePolicy:
    """The policy in force with one of its parts replaced.

    Files that the part had before and has no more are gone. What never came in a bundle (the shipped policy's other
    parts) stays byte for byte, whatever a newer gateway ships.

    Args:
        current: the policy in force.
        bundle: the verified part.

    Raises:
        ConflictError: another part in force owns one of its roots.
        ConfigError: the parts together are no policy.
    """
    slot = bundle.slot
    manifests = parts_of(current)
    before = manifests.pop(slot, None)
    if (shared := manifests_overlap({**manifests, slot: bundle.manifest})) is not None:
        one, other, root = shared
        raise ConflictError(
            f"both {one} and {other} would own {root}", remedy="build the bundle without the other part's roots"
        )
    files = {
        name: content
        for name, content in current.files.items()
        if not bundle.manifest.owns(_folder(name))
        and not (before is not None and before.owns(_folder(name)))
        and name != manifest_name(slot)
    }
    files.update(bundle.files)
    files[manifest_name(slot)] = bundle.manifest.encode()
    files[CAPABILITIES] = shipped_capabilities()
    return PolicySet(files).for_zone(current.zone)


def parts_of(policy: ZonePolicy) -> dict[str, BundleManifest]:
    """The manifests of the bundles that a policy came in, by part."""
    return manifests_of(policy.files)


def manifests_of(files: Mapping[str, bytes]) -> dict[str, BundleManifest]:
    """The manifests of bundles among a policy's files, by part.

    Raises:
        IntegrityError: one is damaged.
    """
    found = (BundleManifest.parse(content) for name, content in files.items() if name.startswith(MANIFESTS))
    return {manifest.slot: manifest for manifest in found}


def manifest_name(slot: str) -> str:
    """Where a part's manifest stands among a policy's files."""
    return f"{MANIFESTS}{slot.replace('/', '.')}.json"


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
