"""A new log: made aside, complete with its first entry, then put in place by one rename."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint, Published
from ledger.commit import Appended, Committer
from ledger.edge import TileEdge
from ledger.entry import Draft, first_prev, new_id
from ledger.errors import LedgerError, OperationalError
from ledger.files import FileWriter
from ledger.key_history import KeyHistory
from ledger.keyring import Keyring
from ledger.lock import LockDatabase, create_database
from ledger.merkle import EMPTY_ROOT
from ledger.note import NoteSigner
from ledger.policy import default_policy
from ledger.reserve import DEFAULT_RESERVE_BYTES, Reserve
from ledger.staging import TEMPORARY
from ledger.storage import Storage, refuse_remote_filesystem

__all__ = ["DEFAULT_RESERVE_BYTES", "create_log"]

_ORIGIN: Final = re.compile(r"tdz/[a-z0-9-]+/[a-z0-9-]+", re.ASCII)

# `note` is what was mirrored and may be cosigned; `filed` is what the files cover; `held` has the entries between;
# `keys` are those that the mirrored entries introduced, as `vkeys` has them, and `vkey` is the newest.
WITNESS_SCHEMA: Final = """
CREATE TABLE mirror (
    origin TEXT PRIMARY KEY, vkey TEXT NOT NULL,
    size INTEGER NOT NULL, bytes INTEGER NOT NULL, note BLOB NOT NULL, filed BLOB NOT NULL, pending BLOB,
    keys TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE held (
    origin TEXT NOT NULL, seq INTEGER NOT NULL, entry BLOB NOT NULL, PRIMARY KEY (origin, seq)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def create_log(
    directory: Path,
    *,
    origin: str,
    signer: NoteSigner,
    predecessor: JsonValue,
    reserve_bytes: int,
    storage: Storage,
    clock: Callable[[], int],
) -> Appended:
    """Make a log whose entry 0 is ``log.opened``.

    Durability: when it returns, the log is on disk; after a crash the directory is there complete or not at all.

    Args:
        directory: must not exist, or be empty.
        origin: ``tdz/<zone>/<label>``; stored, never computed again.
        predecessor: the last cosigned checkpoint of the log that this one follows, or None.

    Raises:
        OperationalError: the directory is not free, or its file system will not do.
    """
    if not _ORIGIN.fullmatch(origin) or signer.name != origin:
        raise OperationalError(
            f"{origin!r} is no origin for the key {signer.name}",
            remedy="use tdz/<zone>/<label> in [a-z0-9-], and a key of that name",
        )
    target = directory.absolute()
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OperationalError(f"{target} is there already", remedy="name another directory")
        target.parent.mkdir(parents=True, exist_ok=True)
        refuse_remote_filesystem(str(target.parent))
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        appended = _fill(work, origin, signer, predecessor, reserve_bytes, storage, clock)
        os.chmod(work, 0o755)  # noqa: S103 (the log is public; state/ is not)
        storage.sync_directory(str(work))
        storage.rename(str(work), str(target))
        storage.sync_directory(str(target.parent))
    except OSError as error:
        raise OperationalError(f"cannot make a ledger at {target}: {error.strerror}") from error
    return appended


def _fill(
    work: Path,
    origin: str,
    signer: NoteSigner,
    predecessor: JsonValue,
    reserve_bytes: int,
    storage: Storage,
    clock: Callable[[], int],
) -> Appended:
    state = work / "state"
    for path in (work / "tile", work / "checkpoints", work / "mirror"):
        path.mkdir(mode=0o755)
    for path in (state, state / "staging"):
        path.mkdir(mode=0o700)
    empty = Checkpoint(origin, 0, EMPTY_ROOT)
    keyring = Keyring(KeyHistory.of(signer.vkey), signer)
    note = keyring.note(empty)
    files = FileWriter(storage, str(work), str(state / "staging"), f"{TEMPORARY}commit-")
    files.replace("vkey", f"{signer.vkey}\n".encode())
    files.replace("vkeys", keyring.history.encode())
    files.replace("policy.tlog", default_policy(signer.vkey).encode())
    reserve = Reserve.make(str(work), reserve_bytes, storage, files)
    files.replace("checkpoint", note)
    create_database(state / "witness.db", WITNESS_SCHEMA)
    LockDatabase.create(state / "lock.db", origin, note)
    lock = LockDatabase(state / "lock.db", origin)
    try:
        committer = Committer(
            str(work),
            storage=storage,
            lock=lock,
            keyring=keyring,
            files=files,
            published=Published(empty, note),
            edge=TileEdge(first_prev(origin)),
            time_us=0,
            sealed=False,
            clock=clock,
            reserve=reserve,
        )
        body: dict[str, JsonValue] = {"origin": origin, "vkey": signer.vkey}
        if predecessor is not None:
            body["predecessor"] = predecessor
        (appended,) = committer.commit_now([Draft(new_id(clock()), "log.opened", "log", body)])
    except LedgerError as error:
        raise OperationalError(error.message, remedy=error.remedy) from error
    finally:
        lock.close()
    for path in (work / "tile", state / "staging", state):
        storage.sync_directory(str(path))
    return appended
