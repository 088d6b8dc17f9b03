"""The policy that decided: its files by their digest, and what the gateway adds to them before it loads them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger import canonical
from ledger.errors import IncompleteError, TamperedError
from ledger.tiles import read_regular_file

__all__ = ["ENTRYPOINT", "KeptPolicy", "load_policy"]

ENTRYPOINT: Final = "tdz/main/decision"
_POLICY_MAX: Final = 64 * 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PATH: Final = re.compile(r"(?:[A-Za-z0-9_.-]{1,64}/){0,16}[A-Za-z0-9_.-]{1,96}", re.ASCII)
# What would reach out of the machine, or show it: no policy that a gateway loads may call these.
_REACHING: Final = ("http.", "net.", "opa.", "rego.", "io.jwt.", "graphql.", "providers.", "rand.", "uuid.", "trace")


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """One zone's policy, ready to evaluate.

    Args:
        zone: that decided by it.
        digest: as decisions name it.
        modules: Rego by path, the module that names the packs' parts included.
        data: the data documents, merged, and the zone's name.
        capabilities: the document of that name, in OPA's format.
        words: each code that it explains: authority, cite and remedy.
    """

    zone: str
    digest: str
    modules: Mapping[str, str]
    data: Mapping[str, Any]
    capabilities: str
    words: Mapping[str, Mapping[str, str]]


def load_policy(path: Path, digest: str) -> KeptPolicy:
    """Read a kept policy and make sure that it is the one of a digest.

    Args:
        path: ``policy/in-force/<digest>.json`` of the zone's directory, or a copy of it.
        digest: SHA-256 over the canonical JSON of {path: SHA-256 of the file}, in hex.

    Raises:
        IncompleteError: it is not there.
        TamperedError: it is another policy, or none.
    """
    if not path.exists():
        raise IncompleteError(
            f"the policy {digest[:16]}… is not at {path}", remedy="name it with --policy, or the zone with --zone"
        )
    try:
        document = json.loads(read_regular_file(str(path), _POLICY_MAX))
        zone, files = document["zone"], document["files"]
        if not isinstance(zone, str) or not isinstance(files, dict) or not all(map(_is_file, files.items())):
            raise TamperedError(f"{path} is no kept policy")
        named = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
        if hashlib.sha256(canonical.encode(dict(named))).hexdigest() != digest:
            raise TamperedError(f"{path} is not the policy that decided ({digest[:16]}…)")
        return _loaded(zone, digest, files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TamperedError(f"{path} is no kept policy: {type(error).__name__}: {error}") from error


def _is_file(item: tuple[Any, Any]) -> bool:
    name, text = item
    return isinstance(text, str) and _PATH.fullmatch(name) is not None and ".." not in name.split("/")


def _loaded(zone: str, digest: str, files: Mapping[str, str]) -> KeptPolicy:
    modules = {name: text for name, text in files.items() if name.endswith(".rego")}
    data: dict[str, Any] = {}
    words: dict[str, Mapping[str, str]] = {}
    for name, text in files.items():
        if name.rsplit("/", 1)[-1] == "data.json":
            document = json.loads(text)
            _place(data, name.split("/")[:-1], document)
            if name.endswith("/codes/data.json"):
                words.update(document)
    data.setdefault("tdz", {})["local"] = {"zone": zone}
    name, module = _parts(zone, data, modules)
    data["tdz"]["registry"] = {
        # Of other zones an engine has the law alone: which packs they load is theirs.
        each: entry if each == zone or not isinstance(entry, dict) else {"jurisdiction": entry.get("jurisdiction")}
        for each, entry in data["tdz"]["registry"].items()
    }
    _refuse_reaching(files["capabilities.json"])
    return KeptPolicy(zone, digest, {**modules, name: module}, data, files["capabilities.json"], words)


def _place(root: dict[str, Any], folders: list[str], document: Any) -> None:
    """A document at its folder's path, as OPA places it."""
    *above, last = folders
    for folder in above:
        root = root.setdefault(folder, {})
    if not isinstance(document, dict) or root.setdefault(last, document) is not document:
        raise TamperedError(f"the data of {'/'.join(folders)} are no object, or their place is taken")


def _parts(zone: str, data: Mapping[str, Any], modules: Mapping[str, str]) -> tuple[str, str]:
    """The module that names every part of every pack with a manifest, as the gateway writes it before it loads them.

    It is a function of the files, so it is not kept with them: what is kept could not be checked by the digest.
    """
    inside = any("data.tdz.local.loaded" in text for text in modules.values())
    package = "tdz.local.loaded" if inside else "tdz.main.loaded"
    entry = data["tdz"]["registry"][zone]
    lines = [
        "# Written by the gateway from the manifests of the packs that it loads.",
        f"package {package}",
        "manifests[id] := manifest if { some id, manifest in {} }",
        "verdicts[id] := said if { some id, said in {} }",
        "findings contains finding if { some finding in set() }",
        "obligations contains obligation if { some obligation in set() }",
        "advice contains finding if { some finding in set() }",
    ]
    optional = entry.get("optional", ())
    for pack in (*entry.get("required", ()), *optional):
        manifest = data["tdz"].get("packs", {}).get(pack, {}).get("manifest")
        if _NAME.fullmatch(pack) and isinstance(manifest, dict):
            lines += _of_pack(pack, manifest, advisory=pack in optional)
    return f"{package.replace('.', '/')}.rego", "\n".join(lines) + "\n"


def _of_pack(pack: str, manifest: Mapping[str, Any], *, advisory: bool) -> Iterator[str]:
    parts = manifest.get("parts")
    named = (
        [each for each in parts if isinstance(each, str) and _NAME.fullmatch(each)] if isinstance(parts, list) else []
    )
    places = [f'data.tdz.packs["{pack}"]["{part}"]' for part in named]
    verdicts = ", ".join(f"{place}.verdict" for place in places)
    yield f'manifests[id] := manifest if {{ id := "{pack}"; manifest := data.tdz.packs["{pack}"].manifest }}'
    yield f'verdicts[id] := said if {{ id := "{pack}"; said := [{verdicts}] }}'
    for place in places:
        if advisory:
            yield f"advice contains finding if {{ some finding in {place}.findings }}"
            continue
        yield f"findings contains finding if {{ some finding in {place}.findings }}"
        yield f"obligations contains obligation if {{ some obligation in {place}.obligations }}"


def _refuse_reaching(capabilities: str) -> None:
    """A policy is a stranger's program: what could reach out of the auditor's machine is not evaluated."""
    document = json.loads(capabilities)
    names = [str(builtin["name"]) for builtin in document["builtins"]]
    bad = [name for name in names if name.startswith(_REACHING) or name == "time.now_ns"]
    if bad or document.get("allow_net"):
        raise TamperedError(f"the policy may call what reaches out: {', '.join(bad) or 'the network'}")
