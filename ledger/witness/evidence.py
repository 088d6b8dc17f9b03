"""Evidence against a log: two notes that it signed and that cannot both be true, as one small JSON file."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Final

from ledger.errors import ForkError, OperationalError
from ledger.storage import DiskStorage

__all__ = ["keep_evidence"]

MAX_FILES: Final = 1000


def keep_evidence(directory: Path, origin: str, error: ForkError, *, received: int) -> Path:
    """Write what shows a fork; durable when it returns. The same evidence is kept once.

    Whoever has the log's key can check it: ``held`` and ``offered`` are signed notes; ``proof`` has the hashes of a
    consistency proof that leads to the offered root and to another old one than the held, and is empty where the two
    have one size.

    Args:
        received: Unix seconds.

    Raises:
        OperationalError: it cannot be written, or a thousand files are there already.
    """
    document = {
        "v": 1,
        "kind": "fork",
        "origin": origin,
        "message": error.message,
        "received": received,
        "held": error.first_note.decode(),
        "offered": error.second_note.decode(),
        "proof": [base64.b64encode(each).decode() for each in error.proof],
    }
    log = hashlib.sha256(origin.encode()).hexdigest()[:16]
    pair = hashlib.sha256(error.first_note + b"\n" + error.second_note).hexdigest()[:16]
    path = directory / f"fork-{log}-{pair}.json"
    if path.exists():
        return path
    data = (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()
    storage = DiskStorage()
    temporary = f"{directory}/.new-{os.getpid()}-{pair}"
    try:
        if len(os.listdir(directory)) >= MAX_FILES:
            raise OperationalError(f"{directory} holds {MAX_FILES} files", remedy="move old evidence to another place")
        with contextlib.suppress(FileNotFoundError):  # what a killed process of this number left
            os.unlink(temporary)
        storage.create(temporary, data)
        storage.rename(temporary, str(path))
        storage.sync_directory(str(directory))
    except OSError as failure:
        raise OperationalError(f"cannot write {path}: {failure.strerror}", remedy="free space there") from failure
    return path
