"""Write the golden vectors of models: ``python tests/vectors/models/generate.py DIRECTORY``.

Where files are cut, the statement that a publisher signs, and the two statements of provenance: all of them
functions of what is given here. The bundles in ``signed/`` are of another program's making; see its NOTICE.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

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
from gateway.artifacts.statement import artifact_id, model_statement
from gateway.model.artifact import FileEntry
from gateway.model.policy_facts import Device
from gateway.storage.model_chunks import cut

MIB = 1024 * 1024

FILES = (
    FileEntry(name="a.txt", bytes=2, digest="1" * 64, chunks=1),
    FileEntry(name="a/b.txt", bytes=2, digest="2" * 64, chunks=1),
    FileEntry(name="model.safetensors", bytes=70, digest="3" * 64, chunks=2),
)
CUTS: dict[str, tuple[int, list[int]]] = {
    "a plain file": (0, [5 * MIB + 1]),
    "no tensors": (10, []),
    "one small tensor": (64, [50]),
    "small tensors share a run until 256 KiB": (64, [100_000, 100_000, 100_000, 50, 50]),
    "a run takes no tensor that does not fit": (64, [200_000, 2 * MIB - 1, 7]),
    "a tensor of a whole run stands alone": (64, [50, 2 * MIB, 50, 5 * MIB, 3]),
    "empty tensors": (64, [0, 10, 0, 2 * MIB, 0]),
    "a long header": (3 * MIB, [1]),
}
RECORD = TrainingRecord(
    builder="tdz://cyberjaya/gateway/gateway",
    invocation="0190f5fe-7c00-7a00-8000-000000000001",
    started=1_800_000_000,
    finished=1_800_000_600,
    code=CodeUsed(name="linear", digest="4" * 64),
    parameters={"strategy": "FedAvg", "rounds": 3},
    base=BaseModelUsed(id="org/base", digest="5" * 64, licence="Apache-2.0", licence_version="2.0"),
    data=(DatasetUsed.model_validate({"name": "datasets/x", "digest": "6" * 64, "class": "general", "subjects": 569}),),
    sites=("cyberjaya", "lingang"),
    metrics={"accuracy": "0.9649"},
)
REPORT = PlatformReport(
    builder="tdz://lingang/gateway/gateway",
    invocation=RECORD.invocation,
    platform=Platform(
        site="lingang",
        country="CN",
        hired="no",
        devices=(
            Device(
                sku="Ascend 910B",
                vendor="Huawei",
                vendor_country="CN",
                eccn="unknown",
                count=8,
                tops=400,
                bits=16,
                die_mm2=665,
            ),
        ),
        device_hours=16,
        exaops=3,
    ),
)


def generate(directory: Path) -> None:
    """Write all vectors into a directory."""
    cases = []
    for name, (header, tensors) in CUTS.items():
        size = sum(tensors) + header
        given = tensors if header else []
        cases.append(
            {"name": name, "size": size, "header": header, "tensors": given, "cuts": list(cut(size, header, given))}
        )
    (directory / "cuts.json").write_text(json.dumps(cases, indent=1) + "\n")
    statement = model_statement("example", FILES)
    artifact = artifact_id(statement)
    (directory / "statement.json").write_bytes(statement)
    (directory / "artifact").write_text(artifact + "\n")
    (directory / "training.json").write_bytes(training_statement(RECORD, name="example", artifact=artifact))
    (directory / "platform.json").write_bytes(platform_statement(REPORT, name="example", artifact=artifact))


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
