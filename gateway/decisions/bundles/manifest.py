"""`.manifest` of a bundle, and roots: who may write where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.decisions.bundles.signature import strict_json
from gateway.errors import IntegrityError, PermissionDeniedError
from gateway.model import canonical
from gateway.model.limits import BUNDLE_ROOTS_MAX

MANIFEST: Final = ".manifest"
Party = Literal["vendor", "zone"]

_ROOT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,7}", re.ASCII)
_REVISION: Final = re.compile(r"[1-9][0-9]{0,14}", re.ASCII)
_MEMBERS: Final = frozenset({"revision", "roots", "rego_version", "metadata"})
_METADATA: Final = frozenset({"legal_as_of", "valid_until"})
_SECONDS_MAX: Final = 1 << 40
_VENDOR_ROOTS: Final = ("tdz/main", "tdz/lib", "tdz/registry", "tdz/packs", "tdz/lists")
_MAIN: Final = "tdz/main"
_REMEDY: Final = "see the page on policy bundles for what a .manifest holds"


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """What a bundle says of itself.

    Args:
        revision: a serial number that only goes up, such as 2026112601.
        roots: the paths that the bundle owns, sorted; none lies in another.
        legal_as_of: the law as of when, Unix seconds UTC.
        valid_until: from then on it decides nothing, Unix seconds UTC.
    """

    revision: int
    roots: tuple[str, ...]
    legal_as_of: int
    valid_until: int

    @classmethod
    def parse(cls, content: bytes) -> BundleManifest:
        """Read a `.manifest` strictly.

        Raises:
            IntegrityError: a member is missing, unknown or wrong.
        """
        document = strict_json(content, MANIFEST)
        if not isinstance(document, dict) or set(document) != _MEMBERS:
            odd = sorted(set(document) ^ _MEMBERS) if isinstance(document, dict) else []
            raise _wrong(f"members missing or unknown: {', '.join(map(str, odd))[:200]}")
        revision, roots, metadata = document["revision"], document["roots"], document["metadata"]
        if not isinstance(revision, str) or _REVISION.fullmatch(revision) is None:
            raise _wrong("revision is not a serial number in a text, such as 2026112601")
        if type(document["rego_version"]) is not int or document["rego_version"] != 1:
            raise _wrong("rego_version is not 1")
        if not isinstance(roots, list) or not 0 < len(roots) <= BUNDLE_ROOTS_MAX:
            raise _wrong(f"roots is not a list of 1 to {BUNDLE_ROOTS_MAX}")
        if not all(isinstance(root, str) and _ROOT.fullmatch(root) for root in roots):
            raise _wrong("a root is not a path such as tdz/zone/cyberjaya")
        if (pair := overlap(roots, roots)) is not None or len(set(roots)) != len(roots):
            raise _wrong(f"the roots overlap: {pair[0]} and {pair[1]}" if pair else "a root stands twice")
        if not isinstance(metadata, dict) or set(metadata) != _METADATA:
            raise _wrong("metadata has legal_as_of and valid_until, no more and no less")
        dates = metadata["legal_as_of"], metadata["valid_until"]
        if not all(type(date) is int and 0 < date < _SECONDS_MAX for date in dates) or dates[0] >= dates[1]:
            raise _wrong("legal_as_of and valid_until are Unix seconds, the first before the second")
        return cls(int(revision), tuple(sorted(roots)), *dates)

    def document(self) -> dict[str, Any]:
        """As `.manifest` has it."""
        return {
            "revision": str(self.revision),
            "roots": list(self.roots),
            "rego_version": 1,
            "metadata": {"legal_as_of": self.legal_as_of, "valid_until": self.valid_until},
        }

    def encode(self) -> bytes:
        """The canonical bytes of `.manifest`."""
        return canonical.encode(self.document())

    def owns(self, path: str) -> bool:
        """Whether a path lies in one of the roots."""
        return any(within(path, root) for root in self.roots)

    @property
    def slot(self) -> str:
        """Which part of a zone's policy the bundle is: `baseline`, `zone`, or `packs/<id>` of a pack that comes alone.

        Raises:
            IntegrityError: the roots are those of no part.
        """
        if _MAIN in self.roots:
            return "baseline"
        kinds = {tuple(root.split("/")[:2]) for root in self.roots}
        if kinds == {("tdz", "zone")} and len(self.roots) == 1 and self.roots[0].count("/") == 2:
            return "zone"
        names = {root.split("/")[2] for root in self.roots if root.count("/") == 2}
        alone = kinds <= {("tdz", "packs"), ("tdz", "lists")} and all(root.count("/") == 2 for root in self.roots)
        if alone and len(names) == 1 and ("tdz", "packs") in kinds:
            return f"packs/{names.pop()}"
        raise IntegrityError(
            f"roots {', '.join(self.roots)[:200]} are no part of a zone's policy",
            remedy="a baseline owns tdz/main, a zone's own part tdz/zone/<zone>, a single pack tdz/packs/<id>",
        )


def require_owner(manifest: BundleManifest, party: Party, zone: str) -> None:
    """Refuse roots that are not the signer's: the vendor's key signs the baseline and packs, the zone's its own rules.

    Raises:
        PermissionDeniedError: a root is foreign.
    """
    own = (f"tdz/zone/{zone}",) if party == "zone" else _VENDOR_ROOTS
    for root in manifest.roots:
        if not any(within(root, mine) for mine in own) or (party == "zone" and root not in own):
            raise PermissionDeniedError(
                f"the {party}'s key may not sign {root}",
                remedy=f"the {party}'s key signs {', '.join(own)}; have the rest signed by whose it is",
            )


def within(path: str, root: str) -> bool:
    """Whether a path is a root or lies below it."""
    return path == root or path.startswith(f"{root}/")


def overlap(some: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """Two different roots of which one lies in the other, if there are any."""
    others = tuple(others)
    for one in some:
        for other in others:
            if one != other and within(one, other):
                return one, other
            if one != other and within(other, one):
                return other, one
    return None


def manifests_overlap(manifests: Mapping[str, BundleManifest]) -> tuple[str, str, str] | None:
    """Two parts that own one path, and the path; OPA does not look across bundles that it did not load itself."""
    named = sorted(manifests.items())
    for index, (name, manifest) in enumerate(named):
        for other, beside in named[index + 1 :]:
            shared = [root for root in manifest.roots if beside.owns(root)]
            shared += [root for root in beside.roots if manifest.owns(root)]
            if shared:
                return name, other, shared[0]
    return None


def _wrong(what: str) -> IntegrityError:
    return IntegrityError(f"{MANIFEST}: {what}", remedy=_REMEDY)
