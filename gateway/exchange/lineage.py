"""What the ledger says of a model's making when another zone asks for it: what its verified provenance says.

The asking zone has it already, with the model's card; on the ledger it can be read years later. Names and digests
only: nothing of a person.
"""

from __future__ import annotations

from typing import Final

from gateway.catalog.register import Published
from gateway.decisions.inputs import Subject
from gateway.model.artifact import ModelDescription
from gateway.model.canonical import JsonValue
from gateway.model.policy_facts import ModelFacts

__all__ = ["lineage"]

MAX_DATASETS: Final = 100
"""An entry has at most 65,535 bytes; the model's provenance names all."""
MAX_SITES: Final = 20
MAX_DEVICES: Final = 20
_SAID: Final = ("sku", "vendor", "vendor_country", "eccn", "count")


def lineage(published: Published, subject: Subject) -> dict[str, JsonValue]:
    """The member `lineage` of a decision on a model; nothing of a dataset.

    Args:
        published: what is asked for.
        subject: what policy heard of it.
    """
    description = published.description
    if not isinstance(subject, ModelFacts) or not isinstance(description, ModelDescription):
        return {}
    training = subject.training
    runs: list[JsonValue] = []
    for run in training.runs[:MAX_SITES]:
        devices: list[JsonValue] = [
            {name: value for name, value in device.document().items() if name in _SAID}
            for device in run.devices[:MAX_DEVICES]
        ]
        runs.append({"site": run.site, "country": run.country, "devices": devices})
    return {
        "lineage": {
            "artifact": description.artifact,
            "provenance": subject.provenance,
            "base": {"id": subject.base.id, "licence": subject.base.licence},
            "data": [{"digest": each.digest} for each in training.data[:MAX_DATASETS]],
            "data_count": len(training.data),
            "runs": runs,
        }
    }
