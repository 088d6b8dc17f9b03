"""The policy files in force: read, bounded, checked against the capabilities, and digested."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.decisions import capabilities, reach, variables
from gateway.errors import ConfigError
from gateway.model import canonical
from gateway.model.canonical import CanonicalError

ENTRYPOINT: Final = "tdz/main/decision"
CAPABILITIES: Final = "capabilities.json"
LOADED: Final = "tdz/local/loaded.rego"
MANIFESTS: Final = ".manifests/"
"""Where a policy that came in bundles has their manifests: their dates are part of what it decides."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILES_MAX: Final = 2_000
_FILE_MAX: Final = 1024 * 1024
_TOTAL_MAX: Final = 12 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A pack's manifest: revision (a dated serial number that only goes up) and legal dates, Unix seconds UTC."""

    id: str
    revision: str
    legal_as_of: int
    valid_until: int


@dataclass(frozen=True, slots=True)
class ZonePolicy:
    """What one zone's engine loads.

    Args:
        zone: the zone that decides.
        modules: Rego texts by path, tests left out, and the one that names the packs' parts.
        data: the data documents, merged, `tdz.local.zone` included.
        entrypoint: the rule to evaluate.
        digest: SHA-256 over paths and contents of the files of modules, data, capabilities and bundles' manifests.
        data_revision: SHA-256 over paths and contents of the data documents alone.
        packs: the packs among it, required and optional.
        until: when the first of the bundles that it came in is out of date, Unix seconds UTC; 0 where none was.
        files: all of it as files of a policy directory, from which it can be made again.
    """

    zone: str
    modules: Mapping[str, str]
    data: Mapping[str, Any]
    entrypoint: str
    digest: str
    data_revision: str
    packs: tuple[PackInfo, ...]
    until: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def valid_until(self) -> int:
        """The earliest end of a pack, Unix seconds UTC; 0 where there is no pack."""
        return min((pack.valid_until for pack in self.packs), default=0)


def shipped() -> Path:
    """Where the policy that comes with this package stands."""
    packaged = Path(__file__).resolve().parent / "shipped"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "policy"


def shipped_capabilities() -> bytes:
    """What policy may call here, in OPA's format: this gateway's own word, which no bundle can widen.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return (shipped() / CAPABILITIES).read_bytes()
    except OSError as error:
        raise ConfigError(f"the shipped capabilities cannot be read: {error}") from error


class PolicySet:
    """A policy directory in the layout of `policy/`, read once.

    Args:
        files: contents by path relative to the directory: `.rego` (tests left out), `data.json`,
            `capabilities.json`, and the manifests of bundles below `.manifests/`.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(sorted(files.items()))
        try:
            self._modules = {n: b.decode("utf-8") for n, b in self._files.items() if n.endswith(".rego")}
        except UnicodeDecodeError as error:
            raise ConfigError("a policy module is not UTF-8") from error
        self._data = {n: b for n, b in self._files.items() if n.rsplit("/", 1)[-1] == "data.json"}
        if CAPABILITIES not in self._files:
            raise ConfigError("the policy directory has no capabilities.json", remedy="copy it from the shipped policy")
        capabilities.check(self._modules, capabilities.allowed_builtins(self._files[CAPABILITIES]))
        reach.check(self._modules)
        variables.check(self._modules)

    @classmethod
    def load(cls, directory: Path | None = None) -> PolicySet:
        """Read a policy directory; the shipped one where none is named.

        Raises:
            ConfigError: unreadable, too large, with links in it, or beyond the capabilities.
        """
        root = shipped() if directory is None else directory
        if not root.is_dir():
            raise ConfigError(f"no policy directory at {root}", remedy="name a directory in the layout of policy/")
        files: dict[str, bytes] = {}
        total = 0
        try:
            for folder, _, names in os.walk(root):
                for name in sorted(names):
                    if not _counts(name):
                        continue
                    path = Path(folder, name)
                    if path.is_symlink():
                        raise ConfigError(f"{path} is a link", remedy="policy directories hold plain files only")
                    size = path.stat().st_size
                    total += size
                    if size > _FILE_MAX or total > _TOTAL_MAX or len(files) >= _FILES_MAX:
                        raise ConfigError(f"{path}: the policy directory is too large")
                    files[path.relative_to(root).as_posix()] = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"the policy cannot be read: {error}") from error
        return cls(files)

    @property
    def digest(self) -> str:
        """SHA-256 over paths and contents of every file, all zones' own rules included."""
        return _digest(self._files)

    def registry_of(self, zone: str) -> Mapping[str, Any]:
        """What the policy's registry says of a zone: jurisdiction, required and optional packs.

        Raises:
            ConfigError: it does not name the zone.
        """
        registry = self._merged({n: b for n, b in self._data.items() if n.startswith("tdz/registry/")})
        entry = registry.get("tdz", {}).get("registry", {}).get(zone)
        if not isinstance(entry, dict):
            raise ConfigError(
                f"the policy's registry does not know the zone {zone}", remedy="add it to tdz/registry/data.json"
            )
        return entry

    def for_zone(self, zone: str) -> ZonePolicy:
        """What the engine of one zone loads: the house's rules, its packs, their lists, its own rules.

        Raises:
            ConfigError: the registry does not name the zone, or a data document is wrong.
        """
        entry = self.registry_of(zone)
        packs = [str(name) for name in (*entry.get("required", ()), *entry.get("optional", ()))]
        rooms = ["tdz/main/", "tdz/lib/", "tdz/registry/", f"tdz/zone/{zone}/", MANIFESTS]
        rooms += [f"tdz/{room}/{pack}/" for pack in packs for room in ("packs", "lists")]
        files = {n: b for n, b in self._files.items() if n.startswith(tuple(rooms))}
        data_files = {n: b for n, b in files.items() if n in self._data}
        data = self._merged(data_files)
        data.setdefault("tdz", {})["local"] = {"zone": zone}
        data["tdz"]["registry"] = _of_others(data["tdz"]["registry"], zone)
        files[CAPABILITIES] = self._files[CAPABILITIES]
        modules = {n: self._modules[n] for n in files if n in self._modules}
        optional = tuple(entry.get("optional", ()))
        return ZonePolicy(
            zone=zone,
            modules={**modules, LOADED: _loaded(packs, data, advisory=optional)},
            data=data,
            entrypoint=ENTRYPOINT,
            digest=_digest(files),
            data_revision=_digest(data_files),
            packs=tuple(info for pack in packs if (info := _pack_info(pack, data)) is not None),
            until=min((_until(n, b) for n, b in files.items() if _decides(n, optional)), default=0),
            files=dict(sorted(files.items())),
        )

    def without(self, packs: Collection[str]) -> PolicySet:
        """The same policy where packs, with their lists, are not there."""
        gone = tuple(f"tdz/{room}/{pack}/" for pack in packs for room in ("packs", "lists"))
        return PolicySet({n: b for n, b in self._files.items() if not n.startswith(gone)}) if gone else self

    @staticmethod
    def _merged(files: Mapping[str, bytes]) -> dict[str, Any]:
        """Each document at its folder's path, as OPA places them."""
        root: dict[str, Any] = {}
        for name, content in files.items():
            try:
                document = json.loads(content)
                canonical.encode(document)
            except (ValueError, CanonicalError, RecursionError) as error:
                raise ConfigError(f"{name}: {error}") from error
            place = root
            *folders, last = name.split("/")[:-1] or [""]
            for folder in folders:
                place = place.setdefault(folder, {})
            if not isinstance(document, dict) or place.setdefault(last, document) is not document:
                raise ConfigError(f"{name}: not an object, or its place is taken")
        return root


def _counts(name: str) -> bool:
    return (name.endswith(".rego") and not name.endswith("_test.rego")) or name in {"data.json", CAPABILITIES}


def _digest(files: Mapping[str, bytes]) -> str:
    return canonical.digest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})


def _decides(name: str, advisory: Sequence[str]) -> bool:
    """Whether a file is the manifest of a bundle whose end ends the policy: advice that is over is none, no denial."""
    return name.startswith(MANIFESTS) and name not in {f"{MANIFESTS}packs.{pack}.json" for pack in advisory}


def _until(name: str, content: bytes) -> int:
    try:
        until = json.loads(content)["metadata"]["valid_until"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{name} is no bundle's manifest") from error
    if type(until) is not int or until <= 0:
        raise ConfigError(f"{name} has no valid_until")
    return until


def _of_others(registry: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """The registry as one zone's engine has it: of other zones the law alone, for which packs they load is theirs."""
    return {
        name: entry if name == zone or not isinstance(entry, dict) else {"jurisdiction": entry.get("jurisdiction")}
        for name, entry in registry.items()
    }


def _pack_info(pack: str, data: Mapping[str, Any]) -> PackInfo | None:
    manifest = data.get("tdz", {}).get("packs", {}).get(pack, {}).get("manifest")
    if manifest is None:
        return None
    try:
        info = PackInfo(manifest["id"], manifest["revision"], manifest["legal_as_of"], manifest["valid_until"])
    except (KeyError, TypeError) as error:
        raise ConfigError(f"the manifest of pack {pack} lacks {error}") from error
    if info.id != pack or not str(info.revision).isdigit() or type(info.valid_until) is not int:
        raise ConfigError(f"the manifest of pack {pack} has a wrong id, revision or date")
    return info


def _loaded(packs: Iterable[str], data: Mapping[str, Any], *, advisory: Sequence[str]) -> str:
    """The module that names every part of every pack with a manifest, for `tdz/main`.

    Rego could look them up by the names in the manifests, but for each such look-up the embedded engine builds a
    document of all that the packs hold, which came to a quarter of a decision. A name that could be more than a
    name is left out, and the pack so without an answer. In its array a verdict that is missing leaves none.
    """
    lines = [
        "# Written by the gateway from the manifests of the packs that it loads.",
        "package tdz.local.loaded",
        "manifests[id] := manifest if { some id, manifest in {} }",
        "verdicts[id] := said if { some id, said in {} }",
        "findings contains finding if { some finding in set() }",
        "obligations contains obligation if { some obligation in set() }",
        "advice contains finding if { some finding in set() }",
    ]
    for pack in packs:
        manifest = data.get("tdz", {}).get("packs", {}).get(pack, {}).get("manifest")
        if not _NAME.fullmatch(pack) or not isinstance(manifest, dict):
            continue
        parts = manifest.get("parts")
        named = (
            [part for part in parts if isinstance(part, str) and _NAME.fullmatch(part)]
            if isinstance(parts, list)
            else []
        )
        places = [f'data.tdz.packs["{pack}"]["{part}"]' for part in named]
        verdicts = ", ".join(f"{place}.verdict" for place in places)
        lines.append(
            f'manifests[id] := manifest if {{ id := "{pack}"; manifest := data.tdz.packs["{pack}"].manifest }}'
        )
        lines.append(f'verdicts[id] := said if {{ id := "{pack}"; said := [{verdicts}] }}')
        for place in places:
            if pack in advisory:
                lines.append(f"advice contains finding if {{ some finding in {place}.findings }}")
                continue
            lines.append(f"findings contains finding if {{ some finding in {place}.findings }}")
            lines.append(f"obligations contains obligation if {{ some obligation in {place}.obligations }}")
    return "\n".join(lines) + "\n"
