"""What the institutions of the tests are, what they publish, and the tables behind it; nothing here starts anything."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pyarrow as pa

CYBERJAYA, LINGANG = "cyberjaya", "lingang"
CHUNK_ROWS = 80_000  # three columns of random doubles: a little less than a chunk of 2 MiB

# Names that must never cross the border or stand on a ledger.
PLANTED_NAMES = ("Planted Legal Name One", "Planted Legal Name Two", "Planted Legal Name Three")
PLANTED_OWNER = "planted-owner-4711"
PLANTED_LIST = "planted-list-revision-9"

_numbers = itertools.count(1)


def institution(legal_name: str, country: str, **exporter: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts `exporter` and `recipient` of the register."""
    yes = "yes" if country == "CN" else "no"
    return (
        {
            "legal_name": legal_name,
            "kind": "university",
            "sector": "research",
            "ciio": "no",
            "ftz_registered": yes,
            "lingang_activity": yes,
            "dpo_required": "no",
            "dpo_ref": "",
            **exporter,
        },
        {
            "legal_name": legal_name,
            "kind": "university",
            "hq_country": country,
            "ultimate_parent_country": country,
            "owners": [{"id": PLANTED_OWNER, "pct": 7, "listed": "no"}],
        },
    )


def open_dataset(dataset_id: str, to: str = CYBERJAYA, **terms: Any) -> dict[str, Any]:
    """A manifest without persons in it, offered for research."""
    country = "CN" if to == CYBERJAYA else "MY"
    return {
        "id": dataset_id,
        "title": f"Open measurements {dataset_id}",
        "description": "numbers that say nothing about anybody",
        "licence": "CC0-1.0",
        "dataset": {
            "sector": "transport",
            "origin_jurisdictions": [country],
            "origin": "domestic",
            "controller": "Test Laboratory",
            "gov_source": "none",
            "category": "none",
            "my": {"sensitivity": "none", "subjects": 0, "sensitive_subjects": 0},
            "cn": _cn(),
        },
        "terms": {"offered_to": {"zones": [to]}, "purposes": ["research"], **terms},
    }


def hidden_dataset(dataset_id: str) -> dict[str, Any]:
    """A manifest that is offered to nobody."""
    document = open_dataset(dataset_id)
    del document["terms"]
    return document


def patients(dataset_id: str, subjects: int = 300) -> dict[str, Any]:
    """A Malaysian hospital's table: every row a patient, offered by its owner; the law says otherwise."""
    document = open_dataset(dataset_id, to=LINGANG)
    document["dataset"] |= {
        "sector": "health",
        "category": "health",
        "my": {"sensitivity": "sensitive", "subjects": subjects, "sensitive_subjects": subjects},
        "cn": {**_cn(), "subjects_sensitive": subjects, "spi_types": ["health"]},
        "columns": [{"name": "site", "tags": ["sensitive"]}],
    }
    return document


def personal_dataset(dataset_id: str, to: str, subjects: int = 200_000) -> dict[str, Any]:
    """A Chinese table of persons, so many that law asks for a mechanism."""
    document = open_dataset(dataset_id, to=to)
    document["dataset"] |= {"category": "personal", "cn": {**_cn(), "basis": "contract"}}
    document["dataset"]["cn"]["subjects_non_sensitive"] = subjects
    document["dataset"]["my"] = {"sensitivity": "personal", "subjects": subjects, "sensitive_subjects": 0}
    return document


def mechanism(kind: str, ref: str, dataset: str, recipient: str) -> dict[str, Any]:
    """A registered legal mechanism that covers one dataset, one recipient and research."""
    now = int(time.time())
    return {
        "kind": kind,
        "ref": ref,
        "scope": {"dataset_ids": [dataset], "recipient_id": recipient, "purposes": ["research"]},
        "issued_at": now - 86_400,
        "expires_at": now + 90 * 86_400,
        "verified_by": "regulator_register",
    }


def measurements(chunks: int = 1, seed: int | None = None) -> pa.Table:
    """Random doubles, other ones each time unless a seed is given: about so many chunks of 2 MiB."""
    random = np.random.default_rng(next(_numbers) if seed is None else seed)
    rows = chunks * CHUNK_ROWS
    return pa.table({name: random.random(rows) for name in ("x", "y", "z")})


def mixed(rows: int = 200_000) -> pa.Table:
    """Many types, nulls, and a dictionary column that fits no single chunk's range."""
    random = np.random.default_rng(7)
    sites = [f"site-{i:03d}" for i in range(300)]
    picked = random.integers(0, len(sites), rows).astype(np.int32)
    absent = random.random(rows) < 0.05
    return pa.table(
        {
            "n": np.arange(rows),
            "value": pa.array(random.random(rows), mask=absent),
            "site": pa.DictionaryArray.from_arrays(pa.array(picked, mask=absent), pa.array(sites)),
            "word": pa.array([f"w{i % 977}" for i in range(rows)]),
            "at": pa.array(np.arange(rows) * 1_000, pa.timestamp("us", tz="UTC")),
            "pair": pa.array(np.arange(2 * rows, dtype=np.int16).reshape(-1, 2).tolist(), pa.list_(pa.int16(), 2)),
        }
    )


def next_id(stem: str) -> str:
    """A dataset id that nobody used before in this run."""
    return f"{stem}-{next(_numbers)}"


def _cn() -> dict[str, Any]:
    return {
        "class": "general",
        "notified_important": "no",
        "basis": "none",
        "exemption": "none",
        "subjects_non_sensitive": 0,
        "subjects_sensitive": 0,
        "spi_types": [],
        "hgr": {"kind": "none", "persons": 0, "special": "none"},
        "list_item_id": "",
    }
