"""Complete, valid policy inputs to start from, one for each action and direction.

The facts are invented; the parties are those of the demo. Each document is allowed by the shipped packs in
both zones as it stands.
"""

from __future__ import annotations

import datetime
from typing import Any, Final

from gateway.errors import InputError
from gateway.model.policy_facts import Action, Jurisdiction
from gateway.model.policy_input import SCHEMA_ID, PolicyInput, china_year

NOW: Final = 1_795_305_600  # 2026-11-22T00:00:00Z: an example is the same text on every day
_YEAR_S: Final = 365 * 86_400
_DIGEST: Final = "5f" * 32
PURPOSES: Final = (
    "research",
    "product_improvement",
    "service_delivery",
    "regulatory_reporting",
    "public_health",
    "judicial",
    "law_enforcement",
    "military",
)
_SITES: Final[dict[str, dict[str, Any]]] = {
    "CN": {"jurisdiction": "CN", "zone": "lingang", "gateway_id": "gateway"},
    "MY": {"jurisdiction": "MY", "zone": "cyberjaya", "gateway_id": "gateway"},
}
_PARTIES: Final[dict[str, tuple[str, str, str]]] = {
    "CN": ("lingang-mobility", "Lingang Mobility Research Co., Ltd.", "company"),
    "MY": ("um", "Universiti Malaya", "university"),
}


def example(
    action: Action = "transfer_dataset",
    origin: Jurisdiction = "CN",
    destination: Jurisdiction = "MY",
    *,
    now: int = NOW,
) -> dict[str, Any]:
    """A complete valid policy input as plain JSON values.

    Args:
        action: what is asked.
        origin: the jurisdiction that the data leaves.
        destination: the jurisdiction that it enters.
        now: the time of the decision, Unix seconds UTC; dates of mechanisms stand around it.

    Raises:
        InputError: both jurisdictions are the same.
    """
    if origin == destination:
        raise InputError("a flow has two ends", remedy="name another jurisdiction with --to")
    issued = int((datetime.datetime.fromtimestamp(now, tz=datetime.UTC) - datetime.timedelta(days=180)).timestamp())
    recipient = _PARTIES[destination][0]
    moves_model = action == "transfer_model"
    subject = "models/traffic-forecast" if moves_model else "datasets/traffic-survey"
    computes = action in {"run_job", "release_output"}
    document = {
        "request": {
            "schema": SCHEMA_ID,
            "now": now,
            "action": action,
            "flow": {"from": dict(_SITES[origin]), "to": dict(_SITES[destination])},
            "purpose": "research",
        },
        "exporter": _exporter(origin),
        "recipient": _recipient(destination),
        "dataset": None if moves_model else _dataset(subject, origin, now),
        "mechanisms": [
            _mechanism(kind, subject, recipient, issued, now) for kind in _MECHANISMS[origin] if not moves_model
        ],
        "usage": {"cn": {"year": china_year(now), "non_sensitive_after": 60_000, "sensitive_after": 0}},
        "model": _model(subject) if moves_model else None,
        "job": _job() if computes else None,
        "release": _release() if action == "release_output" else None,
    }
    return PolicyInput.model_validate(document).document()


_MECHANISMS: Final = {"CN": ("pipia", "standard_contract"), "MY": ("tia",)}


def _exporter(jurisdiction: str) -> dict[str, Any]:
    identity, name, kind = _PARTIES[jurisdiction]
    return {
        "id": identity,
        "legal_name": name,
        "kind": kind,
        "sector": "mobility",
        "ciio": "no",
        "ftz_registered": "yes" if jurisdiction == "CN" else "no",
        "lingang_activity": "yes" if jurisdiction == "CN" else "no",
        "dpo_required": "yes",
        "dpo_ref": "dpo-register-17",
    }


def _recipient(jurisdiction: str) -> dict[str, Any]:
    identity, name, kind = _PARTIES[jurisdiction]
    return {
        "id": identity,
        "legal_name": name,
        "kind": kind,
        "hq_country": jurisdiction,
        "ultimate_parent_country": jurisdiction,
        "owners": [],
        "screening": {"list_revision": "2026-11-15", "result": "clear"},
    }


def _dataset(identity: str, origin: str, now: int) -> dict[str, Any]:
    return {
        "id": identity,
        "digest": _DIGEST,
        "sector": "mobility",
        "origin_jurisdictions": [origin],
        "origin": "domestic",
        "controller": _PARTIES[origin][0],
        "gov_source": "none",
        "category": "personal",
        "my": {"sensitivity": "personal", "subjects": 60_000, "sensitive_subjects": 0},
        "cn": {
            "class": "general",
            "notified_important": "no",
            "basis": "contract",
            "exemption": "none",
            "subjects_non_sensitive": 60_000,
            "subjects_sensitive": 0,
            "spi_types": [],
            "hgr": {"kind": "none", "persons": 0, "special": "none"},
            "list_item_id": "",
        },
        "columns": [
            {"name": "person", "arrow_type": "string", "tags": ["quasi_identifier"]},
            {"name": "district", "arrow_type": "string", "tags": ["quasi_identifier"]},
            {"name": "trips", "arrow_type": "int64", "tags": []},
        ],
        "deid": {"method": "pseudonymised", "k": 0, "l": 0, "reid_tested_at": 0},
        "retention_until": now + _YEAR_S,
        "onward": [],
    }


def _mechanism(kind: str, subject: str, recipient: str, issued: int, now: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "ref": f"{kind.replace('_', '-')}-1",
        "scope": {"dataset_ids": [subject], "recipient_id": recipient, "purposes": list(PURPOSES)},
        "issued_at": issued,
        "expires_at": now + 2 * _YEAR_S,
        "verified_by": "zone_admin",
    }


def _model(identity: str) -> dict[str, Any]:
    device = {
        "sku": "Ascend 910C",
        "vendor": "Huawei",
        "vendor_country": "CN",
        "eccn": "none",
        "count": 8,
        "tops": 800,
        "bits": 16,
        "die_mm2": 1_300,
    }
    run = {
        "site": "cyberjaya-1",
        "country": "MY",
        "hired": "no",
        "devices": [device],
        "device_hours": 8_000,
        "exaops": 9_000,
        "attestation": "signed",
    }
    return {
        "id": identity,
        "digest": _DIGEST,
        "format": "safetensors",
        "base": {"id": "", "licence": "", "licence_version": ""},
        "openness": "closed",
        "provenance": "verified",
        "training": {
            "runs": [run],
            "data": [{"digest": "6a" * 32, "class": "general", "subjects": 0}],
        },
        "end_use": "civil",
        "memorisation_test": "passed",
    }


def _job() -> dict[str, Any]:
    return {
        "kind": "sql",
        "algorithm_digest": "",
        "output_kind": "aggregate",
        "min_group": 10,
        "dp": {"epsilon_milli": 0, "remaining_milli": 1_000},
        "rounds": 1,
    }


def _release() -> dict[str, Any]:
    return {"smallest_group": 12, "suppressed": 0, "rows": 24, "bytes": 1_536, "digest": "7b" * 32}
