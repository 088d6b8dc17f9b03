"""The third bundle, for an OPA server: what a gateway itself says of its zone. It is written here and never sent.

A vendor's and a zone's bundle load in OPA as they were signed. What the embedded engine is given besides, the zone's
name and the module that names the parts of its packs, has a root of its own, `tdz/local`, which neither may sign.
"""

from __future__ import annotations

from typing import Final

from gateway.decisions.bundles import archive
from gateway.decisions.bundles.manifest import MANIFEST
from gateway.decisions.policy_set import LOADED, ZonePolicy
from gateway.model import canonical

LOCAL_ROOT: Final = "tdz/local"


def local_files(policy: ZonePolicy) -> dict[str, bytes]:
    """The files of the local bundle, its manifest included; the revision is the policy's digest."""
    return {
        LOADED: policy.modules[LOADED].encode(),
        f"{LOCAL_ROOT}/data.json": canonical.encode({"zone": policy.zone}),
        MANIFEST: canonical.encode(
            {"revision": policy.digest, "roots": [LOCAL_ROOT], "rego_version": 1, "metadata": {}}
        ),
    }


def local_bundle(policy: ZonePolicy) -> bytes:
    """The local bundle, unsigned: whoever may write it into an OPA's folder may write its configuration too."""
    return archive.pack(local_files(policy))
