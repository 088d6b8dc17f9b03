"""What the tests of models publish: small weights, what is said of them, and who signed where they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.artifacts.directory import ModelDirectory
from gateway.artifacts.provenance import (
    BaseModelUsed,
    CodeUsed,
    DatasetUsed,
    Platform,
    PlatformReport,
    TrainingRecord,
    platform_statement,
    training_statement,
)
from gateway.artifacts.statement import artifact_id, model_statement, sign_statement
from gateway.config import load_profile
from gateway.model.policy_facts import Device
from gateway.sdk.credentials import load_signing_identity
from tests.e2e.material import CYBERJAYA

TRAINED_ON = {"digest": "d" * 64, "class": "general", "subjects": 0}


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """A safetensors file, written here by hand from the format's description."""
    header: dict[str, Any] = {}
    body = b""
    for name, values in tensors.items():
        data = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def model_files(directory: Path, *, seed: int = 1, size: int = 1_000_000) -> Path:
    """A directory with weights of about 4 MB and 40 KB, a config and a README."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(seed)
    tensors = {"encoder.weight": random.random((size,)), "head.bias": random.random((10_000,))}
    (directory / "model.safetensors").write_bytes(safetensors(tensors))
    (directory / "nested").mkdir()
    (directory / "nested" / "config.json").write_text('{"layers": 2}')
    (directory / "README.md").write_text("# Weights of a test\n")
    return directory


def publication(model_id: str, **changed: Any) -> dict[str, Any]:
    """A manifest of weights that are offered to cyberjaya for research."""
    return {
        "id": model_id,
        "title": f"Model {model_id}",
        "licence": "Apache-2.0",
        "model": {"format": "safetensors", "openness": "closed", "end_use": "civil", "memorisation_test": "passed"},
        "terms": {"offered_to": {"zones": [CYBERJAYA]}, "purposes": ["research"]},
        **changed,
    }


def statements(artifact: str, model_id: str, base: BaseModelUsed | None = None) -> list[bytes]:
    """Provenance: trained on one dataset, on one CPU in lingang."""
    builder, run = "tdz://lingang/partner/lab", "run-1"
    record = TrainingRecord(
        builder=builder,
        invocation=run,
        started=1_790_000_000,
        finished=1_790_000_600,
        code=CodeUsed(name="train", digest="c" * 64),
        base=base,
        data=(DatasetUsed.model_validate({"name": "datasets/cells", **TRAINED_ON}),),
        sites=("lingang",),
    )
    device = Device(sku="EPYC", vendor="AMD", vendor_country="US", eccn="none", count=2, tops=0, bits=64, die_mm2=0)
    platform = Platform(site="lingang", country="CN", hired="no", devices=(device,), device_hours=1, exaops=0)
    report = PlatformReport(builder=builder, invocation=run, platform=platform)
    return [
        training_statement(record, name=model_id, artifact=artifact),
        platform_statement(report, name=model_id, artifact=artifact),
    ]


def provenance(
    directory: Path,
    model_id: str,
    into: Path,
    *,
    key: Any,
    chain: Sequence[Any] = (),
    base: BaseModelUsed | None = None,
) -> list[str]:
    """Signed statements about a directory's files; the names of the files that hold them."""
    artifact = artifact_id(model_statement(model_id, ModelDirectory(directory).scan()))
    names = []
    for number, payload in enumerate(statements(artifact, model_id, base)):
        names.append(f"statement-{number}.json")
        (into / names[-1]).write_text(sign_statement(payload, key=key, chain=chain))
    return names


def own_provenance(
    profile: Path, directory: Path, model_id: str, into: Path, *, base: BaseModelUsed | None = None
) -> list[str]:
    """The same, signed with the signing key that a partner's profile names."""
    signing = load_signing_identity(load_profile(profile))
    return provenance(directory, model_id, into, key=signing.key, chain=signing.chain, base=base)
