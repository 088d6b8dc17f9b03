"""What an OPA server loads for one zone: the zone's policy, and one rule that says which policy it is."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.decisions.policy_set import ZonePolicy
from gateway.model import canonical

ANSWER_PACKAGE: Final = "tdz.served"
ANSWER_RULE: Final = "answer"
_SERVED: Final = "tdz/served/served.rego"
_ROOT: Final = "tdz"


@dataclass(frozen=True, slots=True)
class OpaBundle:
    """One zone's policy in OPA's bundle format; the same policy gives the same bytes.

    `data.tdz.served.answer` holds the decision and, computed in the same evaluation, the seal of the policy that
    made it. A seal is the bundle's revision, too, so that OPA's status and provenance show it. The root `tdz`
    keeps everybody else from changing anything below it through OPA's REST API.

    Args:
        seal: SHA-256 over all modules, the data and the entrypoint.
        modules: Rego texts by path.
        data: the merged data documents.
    """

    seal: str
    modules: Mapping[str, str]
    data: Mapping[str, Any]

    @classmethod
    def of(cls, policy: ZonePolicy) -> OpaBundle:
        """The bundle of one zone's policy."""
        stated: dict[str, canonical.JsonValue] = {
            "modules": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in policy.modules.items()},
            "data": canonical.digest(dict(policy.data)),
            "entrypoint": policy.entrypoint,
        }
        seal = canonical.digest(stated)
        return cls(seal, {**policy.modules, _SERVED: _served(policy.entrypoint, seal)}, policy.data)

    def archive(self) -> bytes:
        """A gzipped tar file as `opa run --bundle` reads it."""
        manifest = {"revision": self.seal, "roots": [_ROOT], "rego_version": 1}
        files = {
            ".manifest": json.dumps(manifest, sort_keys=True).encode(),
            "data.json": canonical.encode(dict(self.data)),
            **{name: text.encode() for name, text in self.modules.items()},
        }
        packed = io.BytesIO()
        # Neither times nor names of this machine, so that the bytes depend on the policy alone.
        with (
            gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for name, content in sorted(files.items()):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.mode = 0o644
                archive.addfile(member, io.BytesIO(content))
        return packed.getvalue()

    def differs(self, texts: list[str], document: object) -> str:
        """How what an OPA server has loaded differs from this; empty where it does not.

        Args:
            texts: of all modules whose package is `tdz` or below it.
            document: the value of `data.tdz`, rules evaluated without an input.
        """
        ours, theirs = sorted(self.modules.values()), sorted(texts)
        if ours != theirs:
            missing = sum(text not in theirs for text in ours)
            return f"its modules are others: {missing} of ours missing, {len(theirs)} there instead of {len(ours)}"
        packages = {_package(text) for text in self.modules.values()}
        return _compare(self.data.get(_ROOT, {}), document, (_ROOT,), packages)


def _served(entrypoint: str, seal: str) -> str:
    rule = "data." + entrypoint.replace("/", ".")
    return (
        "# Written by the gateway: which policy this is, said in the evaluation that decides.\n"
        f"package {ANSWER_PACKAGE}\n\n"
        f'policy := "{seal}"\n\n'
        f'{ANSWER_RULE} := {{"policy": policy, "decisions": [decision | decision := {rule}]}}\n'
    )


def _package(text: str) -> tuple[str, ...]:
    """The package of a module of ours, whose text has passed the policy set's checks."""
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if words[:1] == ["package"] and len(words) == 2:
            return tuple(words[1].replace('["', ".").replace('"]', "").split("."))
    return ()


def _compare(ours: object, theirs: object, path: tuple[str, ...], packages: set[tuple[str, ...]]) -> str:
    """Where base documents differ. Below a package's own path its rules stand beside them, and are passed over."""
    if not any(package[: len(path)] == path for package in packages):
        return "" if ours == theirs else f"its data differs at {'.'.join(path)}"
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return f"its data differs at {'.'.join(path)}"
    below = {package[len(path)] for package in packages if len(package) > len(path) and package[: len(path)] == path}
    if path not in packages and (extra := set(theirs) - set(ours) - below):
        return f"it has data of its own at {'.'.join((*path, str(min(extra))))}"
    for name in sorted(set(ours) | below):
        if name in below and name not in theirs and name not in ours:
            continue  # a package whose rules are all undefined without an input
        if name not in theirs:
            return f"it has no data at {'.'.join((*path, name))}"
        if found := _compare(ours.get(name, {}), theirs[name], (*path, name), packages):
            return found
    return ""
