"""What an agreement lets through of a dataset: the view and its id.

Obligations that change what is sent (masks, filters) are not served yet; `gateway.decisions` denies a transfer that
carries one. So every view is the stored version, and its id binds obligations and schema all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.model import canonical
from gateway.model.dataset import DatasetManifest
from gateway.model.obligation import Obligation


def view_id(manifest: DatasetManifest, obligations: Sequence[Obligation], *, key_id: str = "") -> str:
    """SHA-256 of canonical {version, obligations, schema, key}: the id of a governed view (hex).

    Args:
        manifest: the stored version's manifest.
        obligations: the agreement's, in their canonical order.
        key_id: the agreement's hash key's id; empty where nothing is hashed.
    """
    return canonical.digest(
        {
            "version": manifest.version,
            "obligations": [obligation.to_json() for obligation in obligations],
            "schema": manifest.schema_digest,
            "key": key_id,
        }
    )
