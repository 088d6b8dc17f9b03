"""RFC 3161 time stamps against a real authority: `openssl ts` behind HTTP."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.checkpoint import Checkpoint
from ledger.cli.main import main
from ledger.note import Note
from ledger.timestamps import verify_timestamps
from tests.unit.ledger.tsa import OPENSSL, Authority, authority

pytest.importorskip("rfc3161_client", reason="the extra `timestamp` is not installed")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not on the path")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with authority(tmp_path_factory.mktemp("tsa") / "tsa") as made:
        yield made


@pytest.fixture
def tsa(shared: Authority) -> Iterator[Authority]:
    change = shared.change
    yield shared
    shared.change = change
    shared.queries.clear()


@pytest.fixture
async def log(zone: Any, helpers: Any) -> Path:
    writer = await zone.open()
    await helpers.append(writer, 9)
    await writer.close()
    directory: Path = zone.directory
    return directory


def head(log: Path) -> Checkpoint:
    return Checkpoint.parse(Note.parse((log / "checkpoint").read_bytes()).text)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["timestamp", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_stamp_is_kept_as_it_came_and_openssl_verifies_it_too(
    log: Path, tsa: Authority, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, said = run(capsys, log, "--tsa", tsa.url, "--tsa-ca", tsa.ca, "--json")
    assert code == 0
    (stamp,) = json.loads(said)["timestamps"]
    assert (stamp["file"], stamp["size"], stamp["trusted"]) == ("timestamps/10-127.0.0.1.tsr", 10, True)
    (tmp_path / "text").write_text(head(log).text)
    done = subprocess.run(
        ["openssl", "ts", "-verify", "-in", log / stamp["file"], "-data", tmp_path / "text", "-CAfile", tsa.ca],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Verification: OK" in done.stdout + done.stderr
    assert hashlib.sha256(head(log).text.encode()).digest() in tsa.queries[0]
    # Asked again: it is there already.
    before = (log / stamp["file"]).read_bytes()
    assert run(capsys, log, "--tsa", tsa.url, "--tsa-ca", tsa.ca)[0] == 0
    assert ((log / stamp["file"]).read_bytes(), len(tsa.queries)) == (before, 1)
    assert run(capsys, log, "--verify", "--tsa-ca", tsa.ca) == (
        0,
        f"timestamps/10-127.0.0.1.tsr  {stamp['time'].replace('T', ' ')[:19]} UTC  verified\nverified: 1 time stamps\n",
    )
    assert list(log.glob("timestamps/.*")) == []


async def test_a_stamp_of_a_smaller_size_verifies_after_the_log_has_grown(
    log: Path, zone: Any, helpers: Any, tsa: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (1, 300):
        assert run(capsys, log, "--tsa", tsa.url, "--tsa-ca", tsa.ca, "--name", "tsa.example")[0] == 0
        writer = await zone.open()
        await helpers.append(writer, count)
        await writer.close()
    stamps = list(verify_timestamps(log, head(log), ca=tsa.ca.read_bytes()))
    assert [(each.size, each.tsa, each.problem, each.trusted) for each in stamps] == [
        (10, "tsa.example", "", True),
        (11, "tsa.example", "", True),
    ]


def test_without_an_authority_to_trust_nothing_is_called_verified(
    log: Path, tsa: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, log, "--verify")
    assert (code, "no time stamps" in said) == (3, True)
    code, said = run(capsys, log, "--tsa", tsa.url)
    assert (code, "was not judged" in said) == (3, True)
    code, said = run(capsys, log, "--verify")
    assert (code, "was not judged" in said) == (3, True)


def test_another_authority_another_log_and_another_size_are_found(
    log: Path, tsa: Authority, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(capsys, log, "--tsa", tsa.url, "--tsa-ca", tsa.ca)[0] == 0
    stamp = log / "timestamps/10-127.0.0.1.tsr"
    with authority(tmp_path / "other") as other:
        code, said = run(capsys, log, "--verify", "--tsa-ca", other.ca)
        assert (code, "does not lead to a trusted authority" in said) == (1, True)
    stamp.rename(stamp.with_name("9-127.0.0.1.tsr"))
    code, said = run(capsys, log, "--verify", "--tsa-ca", tsa.ca)
    assert (code, "not over the text of our checkpoint of size 9" in said) == (1, True)
    stamp.with_name("9-127.0.0.1.tsr").rename(stamp.with_name("11-127.0.0.1.tsr"))
    code, said = run(capsys, log, "--verify", "--tsa-ca", tsa.ca)
    assert (code, "the log has 10 entries only" in said) == (1, True)
    stamp.with_name("11-127.0.0.1.tsr").rename(stamp.with_name("10.tsr"))
    code, said = run(capsys, log, "--verify", "--tsa-ca", tsa.ca)
    assert (code, "it is not named" in said) == (1, True)
    stamp.with_name("10.tsr").unlink()
    stamp.symlink_to(tsa.ca)
    code, said = run(capsys, log, "--verify", "--tsa-ca", tsa.ca)
    assert (code, "symbolic link" in said) == (1, True)


def test_each_flipped_bit_is_found_or_changes_neither_time_nor_digest(
    log: Path, tsa: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, log, "--tsa", tsa.url, "--tsa-ca", tsa.ca)[0] == 0
    stamp, ca, newest = log / "timestamps/10-127.0.0.1.tsr", tsa.ca.read_bytes(), head(log)
    good = stamp.read_bytes()
    (true,) = verify_timestamps(log, newest, ca=ca)
    found = 0
    for at in range(len(good)):
        for bit in (0, 5):
            changed = bytearray(good)
            changed[at] ^= 1 << bit
            stamp.write_bytes(changed)
            (seen,) = verify_timestamps(log, newest, ca=ca)
            found += bool(seen.problem)
            assert seen.problem or seen == true
    assert found > 1.9 * len(good)  # what is left are names of algorithms outside the signature
    for end in (0, 1, 100, len(good) - 1):
        stamp.write_bytes(good[:end])
        (seen,) = verify_timestamps(log, newest, ca=ca)
        assert seen.problem
    stamp.write_bytes(good + b"\0")
    (seen,) = verify_timestamps(log, newest, ca=ca)
    assert seen.problem


def test_answers_that_are_no_stamp_of_the_request_are_refused_and_not_kept(
    log: Path, tsa: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tsa.reply(_query(tsa, head(log).text.encode()))
    foreign = tsa.reply(_query(tsa, b"another text"))
    for change, said_wanted in (
        (lambda status, body: (200, old), "another nonce"),
        (lambda status, body: (200, foreign), "another nonce"),
        (lambda status, body: (200, b"hello"), "no time stamp"),
        (lambda status, body: (200, bytes.fromhex("30053003020102")), "refused, with status 2"),
        (lambda status, body: (200, body + bytes(70_000)), "more than 65536 bytes"),
        (lambda status, body: (500, body), "HTTP 500"),
        (lambda status, body: (302, body), "HTTP 302"),
    ):
        tsa.change = change  # type: ignore[assignment]
        code, said = run(capsys, log, "--tsa", tsa.url, "--tsa-ca", tsa.ca)
        assert (code, said_wanted in said, "Traceback" in said) == (2, True, False), said
    tsa.change = lambda status, body: (status, body)
    code, said = run(capsys, log, "--tsa", "http://127.0.0.1:1/")
    assert (code, "cannot be reached" in said) == (2, True)
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/", "nonsense"):
        code, said = run(capsys, log, "--tsa", url)
        assert (code, "no authority's URL" in said) == (2, True)
    assert not list(log.glob("timestamps/*"))


def _query(tsa: Authority, data: bytes) -> bytes:
    (tsa.directory / "data").write_bytes(data)
    tsa.openssl("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "own.tsq")
    return (tsa.directory / "own.tsq").read_bytes()
