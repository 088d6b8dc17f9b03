"""The end of a log, its clock, and what follows after a compromise."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ledger.cli.main import main
from ledger.entry import Entry, new_id
from ledger.errors import ClockError, EntryError, FrozenError, OperationalError, SealedError, TamperedError
from ledger.freezing import freeze
from ledger.note import NoteSigner
from ledger.successor import last_cosigned
from ledger.verify import verify_directory
from ledger.writer import LogWriter

if TYPE_CHECKING:
    from ledger.mirror import Mirror

SECOND = 1_000_000_000


class Clock:
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.now = int(time.time()) * SECOND

    def __call__(self) -> int:
        return self.now


async def test_a_sealed_log_takes_nothing_more_and_is_read_and_cosigned_still(
    zone: Any, peer: Any, helpers: Any
) -> None:
    writer = await zone.open()
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    entry: dict[str, Any] = {"id": new_id(), "kind": "decision", "subject": "x", "body": {}}
    first = await writer.append(**entry)
    with pytest.raises(EntryError, match="reason"):
        await writer.seal("Because of Tan")
    sealed = await writer.seal("superseded")
    assert (sealed.seq, sealed.size) == (2, 3)
    for _ in range(2):
        assert writer.sealed
        with pytest.raises(SealedError):
            await helpers.append(writer)
        with pytest.raises(SealedError):
            await writer.rotate(NoteSigner(zone.signer.name, Ed25519PrivateKey.generate()))
        with pytest.raises(SealedError):
            await writer.seal("retired")
        assert await writer.append(**entry) == first
        await writer.close()
        writer = await zone.open()
    mirror = await peer.mirror(zone)
    assert await writer.add_cosignature(writer.published.checkpoint.text, await helpers.push(writer, mirror))
    await mirror.close()
    await writer.close()
    assert verify_directory(zone.directory, vkey=zone.signer.vkey).findings == []


async def test_entries_that_wait_with_a_seal_stand_before_it_or_fail(zone: Any, helpers: Any) -> None:
    import asyncio

    writer = await zone.open()
    results = await asyncio.gather(
        *(helpers.append(writer) for _ in range(30)),
        writer.seal("retired"),
        *(helpers.append(writer) for _ in range(30)),
        return_exceptions=True,
    )
    sealed = next(each for each in results if not isinstance(each, (list, BaseException)))
    standing = [each[0].seq for each in results if isinstance(each, list)]
    assert sorted(standing) == list(range(1, sealed.seq))
    assert all(isinstance(each, SealedError) for each in results if isinstance(each, BaseException))
    assert writer.published.checkpoint.size == sealed.seq + 1
    await writer.close()


async def test_a_clock_that_was_wrong_in_the_last_entry_is_corrected_by_the_operator_s_word(
    zone: Any, helpers: Any
) -> None:
    clock = Clock()
    true = clock.now
    writer = await zone.open(clock=clock)
    with pytest.raises(OperationalError, match="nothing to accept"):
        await writer.accept_clock()
    clock.now = true + 400 * 86_400 * SECOND
    await helpers.append(writer)
    clock.now = true
    with pytest.raises(ClockError, match="clock accept"):
        await helpers.append(writer)
    corrected = await writer.accept_clock()
    (after,) = await helpers.append(writer)
    assert after.time == corrected.time
    entries = [Entry.parse(each) for each in await writer.read(0, 9, 1 << 20)]
    assert entries[corrected.seq].kind == "clock.corrected"
    assert entries[corrected.seq].body == {"before": entries[corrected.seq - 1].time}
    assert corrected.time < entries[corrected.seq - 1].time
    await writer.close()
    writer = await zone.open(clock=clock)
    await helpers.append(writer)
    clock.now -= 3 * SECOND
    with pytest.raises(ClockError, match="behind"):
        await helpers.append(writer)
    await writer.close()
    report = verify_directory(zone.directory, vkey=zone.signer.vkey)
    assert report.findings == []
    assert any("corrected" in each for each in report.notices)


async def test_a_clock_before_a_cosignature_is_not_accepted(zone: Any, peer: Any, helpers: Any) -> None:
    clock = Clock()
    writer = await zone.open(clock=clock)
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    await helpers.append(writer)
    head = writer.published.checkpoint
    await writer.add_cosignature(head.text, peer.cosigner.cosign(head.text, clock.now // SECOND))
    await writer.keep()
    await writer.close()
    clock.now -= 301 * SECOND
    writer = await zone.open(clock=clock)
    with pytest.raises(ClockError, match="301 s before a cosignature"):
        await writer.accept_clock()
    clock.now += 10 * SECOND
    assert await writer.accept_clock()
    await writer.close()


async def test_after_a_compromise_the_peer_freezes_the_origin_and_takes_the_new_log(
    writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any, tmp_path: Path
) -> None:
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    await helpers.append(writer, 3)
    head = writer.published.checkpoint
    await writer.add_cosignature(head.text, await helpers.push(writer, mirror))
    await writer.keep()
    await helpers.append(writer)  # the thief's: nobody cosigns it any more
    # In force at once in a mirror that runs, and after its next start.
    assert freeze(peer.directory, zone.signer.name, "its key was stolen")
    assert not freeze(peer.directory, zone.signer.name, "again")
    for _ in range(2):
        with pytest.raises(FrozenError, match="its key was stolen"):
            await helpers.push(writer, mirror)
        assert mirror.size == 4 or mirror.note
        await mirror.close()
        mirror = await peer.mirror(zone)
    await mirror.close()
    last = last_cosigned(zone.directory)
    assert (last.checkpoint, last.cosigned) == (head, True)
    signer = NoteSigner("tdz/lingang/2026-beef", Ed25519PrivateKey.generate())
    LogWriter.create(tmp_path / "new", origin=signer.name, signer=signer, predecessor=last.body(), reserve_bytes=4096)
    follower = await LogWriter.open(tmp_path / "new", signer)
    opened = Entry.parse((await follower.read(0, 1, 1))[0]).body["predecessor"]
    assert opened == last.body()
    other = await peer.mirror(type(zone)(tmp_path / "new", signer, None))
    await helpers.push(follower, other)
    assert other.size == 1
    await other.close()
    await follower.close()
    assert verify_directory(tmp_path / "new", vkey=signer.vkey).findings == []


async def test_a_log_is_followed_from_a_checkpoint_that_satisfies_its_policy_only(
    zone: Any, peer: Any, helpers: Any, tmp_path: Path
) -> None:
    assert not last_cosigned(zone.directory).cosigned
    with pytest.raises(OperationalError):
        last_cosigned(tmp_path)
    writer = await zone.open()
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    await writer.close()
    with pytest.raises(OperationalError, match="policy"):
        last_cosigned(zone.directory)
    (zone.directory / "checkpoint.witnessed").write_text("nonsense")
    with pytest.raises(TamperedError):
        last_cosigned(zone.directory)


def _write_key(path: Path, key: Ed25519PrivateKey) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_the_operator_s_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import asyncio

    def run(*words: object, code: int = 0) -> Any:
        assert main([str(each) for each in words]) == code, capsys.readouterr()
        said = capsys.readouterr()
        if code:
            assert said.err.startswith("tdz-ledger: ")
            assert said.err.count("\n") == 1
            return said.err
        return json.loads(said.out) if "--json" in words else said.out

    key = Ed25519PrivateKey.generate()
    old, new, log = _write_key(tmp_path / "old.pem", key), tmp_path / "new.pem", tmp_path / "log"
    signer = NoteSigner("tdz/lingang/2026-00ff", key)
    LogWriter.create(log, origin=signer.name, signer=signer, reserve_bytes=4096)

    async def fill() -> None:
        writer = await LogWriter.open(log, signer)
        await writer.append_committed(
            id=new_id(), kind="approval", subject="transfers/1", body={}, values={"approver": "Wu Lei"}
        )
        await writer.close()

    asyncio.run(fill())
    assert "sizes 0 to now" in run("keys", "list", log)
    file = tmp_path / "shown.json"
    assert "discloses approver" in run("disclose", 1, "approver", log, "-o", file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "there already" in run("disclose", 1, "approver", log, "-o", file, code=2)
    assert 'discloses /body/approver: "Wu Lei"' in run("verify", file, "--vkey", log / "vkey")
    shown = run("verify", file, "--vkey", signer.vkey, "--json")
    assert (shown["disclosed"]["value"], shown["entry"]["seq"], shown["kind"]) == ("Wu Lei", 1, "disclosure")
    file.write_text(file.read_text().replace("Wu Lei", "Wu Mei"))
    assert main(["verify", str(file), "--vkey", signer.vkey]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("NOT VERIFIED: the disclosure: the disclosure does not hold: entry 1 does not commit")
    assert said.err == ""
    assert "nothing to accept" in run("clock", "accept", log, "--key", old, code=2)
    assert run("keys", "rotate", log, "--key", old, "--new-key", new, "--json")["seq"] == 2
    assert new.stat().st_mode & 0o777 == 0o600
    again = run("keys", "rotate", log, "--key", old, "--new-key", new)
    assert "signs already" in again
    assert "at hand" in run("erase", 1, "approver", log, "--key", old, code=2)
    assert "is erased" in run("erase", 1, "approver", log, "--key", new, "--key", old)
    assert "nothing is kept" in run("disclose", 1, "approver", log, code=2)
    listed = run("keys", "list", log, "--json")
    assert [(each["first"], each["last"]) for each in listed["keys"]] == [(0, 3), (3, None)]
    assert "sealed at size 5" in run("seal", log, "--key", new, "--reason", "superseded")
    assert "sealed" in run("seal", log, "--key", new, code=2)
    done = run("succeed", log, tmp_path / "next", "--new-key", tmp_path / "next.pem", "--json")
    assert (done["predecessor"], done["cosigned"]) == (signer.name, False)
    assert done["origin"].startswith("tdz/lingang/2")
    assert main(["freeze", signer.name, str(tmp_path / "next"), "--reason", "its key was stolen"]) == 0
    said = capsys.readouterr()
    assert "frozen" in said.out
    assert "no log of that name is mirrored here" in said.err
    assert run("freeze", signer.name, tmp_path / "next", "--reason", "x", "--json")["was_frozen"] is True
    for words in (
        ("keys", "list", tmp_path),
        ("seal", tmp_path, "--key", new),
        ("erase", 1, "x", log, "--key", tmp_path / "none.pem"),
        ("disclose", 99, "approver", log),
        ("freeze", signer.name, tmp_path, "--reason", "x"),
        ("freeze", signer.name, tmp_path / "next", "--reason", "a\nb"),
        ("succeed", tmp_path, tmp_path / "other", "--new-key", new),
    ):
        assert main([str(each) for each in words]) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err
