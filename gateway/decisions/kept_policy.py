"""Each policy that was in force, kept as files under its digest, so that what it decided can be decided again.

    policy/in-force/<digest>.json     {"zone": …, "digest": …, "files": {path: text}}

The digest is SHA-256 over the canonical JSON of {path: SHA-256 of the file}, as decisions name it, so that whoever
reads the file can check it without this program.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from gateway.config import write_file
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.errors import IntegrityError, StorageError
from gateway.model import canonical
from gateway.model.limits import MIB

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_POLICY_MAX: Final = 64 * MIB
_REMEDY: Final = "restore the zone's policy folder from a backup"


def keep_policy(folder: Path, policy: ZonePolicy) -> Path:
    """Keep a policy's files; where they are kept already nothing is done.

    Args:
        folder: `policy/in-force` of the zone's directory.
        policy: as it comes into force.

    Raises:
        StorageError: they cannot be made durable.
    """
    path = folder / f"{policy.digest}.json"
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}", remedy="check the zone's directory") from error
    if not path.is_file():
        files: dict[str, canonical.JsonValue] = {name: text.decode("utf-8") for name, text in policy.files.items()}
        document = canonical.encode({"zone": policy.zone, "digest": policy.digest, "files": files})
        write_file(path, document, mode=0o600)
    return path


def load_policy(folder: Path, digest: str) -> ZonePolicy | None:
    """The policy that a decision names as its `policy_digest`; None where it was not kept.

    Raises:
        IntegrityError: what was kept is not what decided.
        ConfigError: this program cannot load it any more.
    """
    path = folder / f"{digest}.json"
    if _DIGEST.fullmatch(digest) is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_POLICY_MAX))
        files = {str(name): text.encode("utf-8") for name, text in document["files"].items()}
        policy = PolicySet(files).for_zone(str(document["zone"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} is damaged", remedy=_REMEDY) from error
    if policy.digest != digest:
        raise IntegrityError(f"{path} is not the policy of this digest", remedy=_REMEDY)
    return policy


def words_of(policy: ZonePolicy) -> dict[str, str]:
    """Each code that a policy explains, with its citation, by which its findings are told from the gateway's own."""
    found: dict[str, str] = {}
    for name, content in policy.files.items():
        if name.endswith("/codes/data.json"):
            found.update({code: str(text["cite"]) for code, text in json.loads(content).items()})
    return found
