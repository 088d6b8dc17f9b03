"""The consumer's disk is full while a transfer lands. Needs root: the zone's data directory becomes a small tmpfs."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.errors import StorageError
from tests.faults.exchange.invariants import no_landing_is_left
from tests.faults.exchange.stage import Stage

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def small_disk(corridor: Stage) -> AsyncIterator[list[str]]:
    """The consumer's data directory on a disk of 8 MiB; a command that makes it large."""
    data = corridor.a.layout.chunks.parent
    await corridor.a.stop()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(data)], capture_output=True, check=False
    )
    if mounted.returncode:
        await corridor.a.start()
        pytest.skip(f"needs root and CAP_SYS_ADMIN to mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        await corridor.a.start()
        yield ["mount", "-o", "remount,size=64m", str(data)]
    finally:
        await corridor.a.stop()
        subprocess.run(["umount", str(data)], check=True)
        await corridor.a.start()


async def test_a_full_disk_suspends_the_transfer_which_resumes_when_there_is_space(
    corridor: Stage, small_disk: list[str]
) -> None:
    access = await corridor.agreed(chunks=6)  # 12 MB
    pull = await access.pull()
    with pytest.raises(StorageError, match="space") as refused:
        await pull.to_arrow()
    assert refused.value.remedy
    assert "space" in await corridor.becomes(corridor.a, pull.transfer, "SUSPENDED")
    versions = corridor.a.layout.chunks.parent / "versions"
    assert [path for path in versions.rglob("*") if path.is_file()] == []  # nothing half-landed is visible

    other = await corridor.agreed(chunks=1)  # the ledger and what stands on it go on
    assert other.agreement

    subprocess.run(small_disk, check=True)
    again = await access.pull()
    assert again.transfer == pull.transfer
    assert (await again.to_arrow()).num_rows == pull.rows
    await corridor.receipts(pull.transfer)
    no_landing_is_left(corridor.a.layout.chunks.parent)
