"""A real disk that is full: what opens is refused, what closes passes, nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_disk import MIB, FillingStorage, fill, free, mounted
from story import PEER, SIGNER, open_mirror, push, push_at_once

from ledger.entry import new_id
from ledger.errors import AppendError, MirrorFullError, StoppedError, StorageFullError
from ledger.verify import verify_directory
from ledger.writer import LogWriter

pytestmark = pytest.mark.faults

RESERVE = 8 * MIB


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with mounted(request.param, tmp_path, 32) as place:
        yield place


def _create(directory: Path) -> Path:
    LogWriter.create(directory, origin=SIGNER.name, signer=SIGNER, reserve_bytes=RESERVE)
    return directory


def _entry(**more: Any) -> dict[str, Any]:
    return {"id": new_id(), "kind": "decision", "subject": "x", "body": {"x": "y" * 1000}, **more}


async def test_the_reserve_is_really_there_and_given_up_for_what_closes_alone(disk: Path) -> None:
    log = _create(disk / "log")
    reserve = log / "state/reserve"
    assert reserve.stat().st_size == RESERVE
    assert reserve.stat().st_blocks * 512 >= RESERVE
    writer = await LogWriter.open(log, SIGNER)
    await writer.append(**_entry())
    filler = fill(disk, leave=RESERVE)
    for _ in range(3):
        with pytest.raises(StorageFullError):
            await writer.append(**_entry())
    assert reserve.exists()
    with pytest.raises(StorageFullError):
        await writer.append_committed(**_entry(values={"name": "x"}))
    # Closing entries pass, first beside the reserve, then in its place.
    closed = await writer.append(**_entry(kind="revocation", closing=True))
    fill(disk, leave=64 * 1024)
    after = [await writer.append(**_entry(kind="revocation", closing=True)) for _ in range(20)]
    assert [each.seq for each in after] == list(range(closed.seq + 1, closed.seq + 21))
    assert not reserve.exists()
    sealed = await writer.seal("retired")
    await writer.close()
    report = verify_directory(log, vkey=SIGNER.vkey)
    assert (report.findings, report.size) == ([], sealed.size)
    filler.unlink()


async def test_the_reserve_comes_back_once_there_is_space(disk: Path) -> None:
    log = _create(disk / "log")
    writer = await LogWriter.open(log, SIGNER)
    filler = fill(disk, leave=64 * 1024)
    await writer.append(**_entry(kind="revocation", closing=True))
    assert not (log / "state/reserve").exists()
    with pytest.raises(StorageFullError):
        await writer.append(**_entry())
    filler.unlink()
    await writer.append(**_entry())
    assert (log / "state/reserve").stat().st_blocks * 512 >= RESERVE
    await writer.close()


async def test_a_disk_that_fills_before_the_commit_point_fails_the_batch_and_the_log_lives(disk: Path) -> None:
    log = _create(disk / "log")
    writer = await LogWriter.open(log, SIGNER, storage=FillingStorage(disk, "commit"))
    entry = _entry(body={"x": "y" * 50_000})
    with pytest.raises(StorageFullError):
        await writer.append(**entry)
    assert free(disk) < 64 * 1024
    assert writer.published.checkpoint.size == 1
    assert await writer.find(entry["id"]) is None
    (disk / "filler").unlink()
    assert (await writer.append(**entry)).seq == 1
    await writer.close()
    assert verify_directory(log, vkey=SIGNER.vkey).findings == []


async def test_a_disk_that_fills_after_the_commit_point_ends_the_process_and_a_start_replays_from_the_reserve(
    disk: Path,
) -> None:
    log = _create(disk / "log")
    ended: list[BaseException] = []
    writer = await LogWriter.open(log, SIGNER, storage=FillingStorage(disk, "create"), fatal=ended.append)
    entry = _entry(body={"x": "y" * 50_000})
    with pytest.raises(StoppedError):
        await writer.append(**entry)
    await writer.close()
    assert len(ended) == 1
    assert isinstance(ended[0], OSError)
    # The disk is as full as before: the reserve makes room for what is committed.
    writer = await LogWriter.open(log, SIGNER)
    assert not (log / "state/reserve").exists()
    found = await writer.find(entry["id"])
    assert found is not None
    assert (found.seq, writer.published.checkpoint.size) == (1, 2)
    with pytest.raises(AppendError):
        await writer.append(**_entry())
    (disk / "filler").unlink()
    await writer.append(**_entry())
    await writer.close()
    assert verify_directory(log, vkey=SIGNER.vkey).findings == []


async def test_a_peer_s_entries_never_take_the_space_of_the_own_log(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path, 96) as disk:
        LogWriter.create(disk / "log", origin=PEER.name, signer=PEER, reserve_bytes=RESERVE)
        source = _create(tmp_path / "source")
        sender, own = await LogWriter.open(source, SIGNER), await LogWriter.open(disk / "log", PEER)
        mirror = await open_mirror(disk / "log")
        await push(sender, mirror)
        filler = fill(disk, leave=60 * MIB)
        await sender.append(**_entry())
        for send in (push, push_at_once):
            with pytest.raises(MirrorFullError, match="disk"):
                await send(sender, mirror)
        assert mirror.size == 1
        await own.append(**_entry())
        filler.unlink()
        await push(sender, mirror)
        assert mirror.size == 2
        for each in (mirror, own, sender):
            await each.close()
