"""Where a ledger may lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ledger import storage
from ledger.errors import OperationalError
from ledger.storage import refuse_remote_filesystem


def _mounts(path: Path, kind: str) -> str:
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return (
        f"21 1 0:5 / /proc rw - proc proc rw\n36 35 {number} / /mnt rw,noatime shared:1 master:2 - {kind} source rw\n"
    )


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "fuse", "fuse.sshfs", "fuseblk", "cifs", "smb3", "9p", "ceph"])
def test_a_file_system_whose_syncs_and_locks_mean_something_else_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    real: Any = open

    def opened(path: Any, *arguments: Any, **options: Any) -> Any:
        return real(table if str(path) == "/proc/self/mountinfo" else path, *arguments, **options)

    monkeypatch.setattr(storage, "open", opened, raising=False)
    table.write_text(_mounts(tmp_path, kind))
    with pytest.raises(OperationalError, match=f"lies on {kind}"):
        refuse_remote_filesystem(str(tmp_path))
    for local in ("ext4", "xfs", "btrfs", "tmpfs"):
        table.write_text(_mounts(tmp_path, local))
        refuse_remote_filesystem(str(tmp_path))
