"""Files of a log and of its state, mangled in every way that comes to mind: no command ever ends in a traceback.

Which mutation is made is drawn from a seed that is printed; ``TDZ_MANGLED_SEED`` sets it, and ``TDZ_MANGLED`` how
many are made.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from story import COSIGNER, SIGNER, open_mirror, push

from ledger.cli.main import main
from ledger.entry import new_id
from ledger.writer import LogWriter

pytestmark = pytest.mark.faults

MUTATIONS = int(os.environ.get("TDZ_MANGLED", "150"))
INSERTED = (
    b"\n",
    b"\0" * 70_000,
    b"\xff\xfe",
    b"[" * 2000,
    b'"',
    b"\xed\xa0\x80",
    b"\x1b[2J",
    b"\xe2\x80\x94 x AAAAAAAA\n",
)
REPLACED = (
    (b"3", b"9" * 30),
    (b"2", b""),
    (b"0", b"-1"),
    (b"tdz", b"1e5"),
    (b'"n":1', b'"n":1.5'),
    (b"\n", b"\xc3\xa9"),
)
LINKS = ("/etc/passwd", "/", "/dev/zero", "nowhere")


async def _make(base: Path) -> None:
    for name in ("log", "peer"):
        LogWriter.create(base / name, origin=SIGNER.name, signer=SIGNER, reserve_bytes=10)
    writer = await LogWriter.open(base / "log", SIGNER)
    mirror = await open_mirror(base / "peer")
    await writer.set_policy(f"log {SIGNER.vkey}\nwitness peer {COSIGNER.vkey}\nquorum peer\n")
    for number in range(2):
        await writer.append(id=new_id(), kind="decision", subject=f"transfers/{number}", body={"n": number})
        await writer.add_cosignature(writer.published.checkpoint.text, await push(writer, mirror))
    await writer.close()
    await mirror.close()


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        asyncio.run(_make(Path(name)))
        yield Path(name)


def _mangle(path: Path, others: list[Path], draw: random.Random) -> str:
    """Mangle one file; returns how."""
    data = path.read_bytes()
    at = draw.randrange(len(data) + 1)
    how = draw.choice(["overwrite", "cut", "double", "noise", "swap", "insert", "replace", "remove", "link"])
    path.unlink()
    if how == "remove":
        return how
    if how == "link":
        path.symlink_to(draw.choice([*LINKS, str(others[0])]))
        return how
    old, new = draw.choice(REPLACED)
    path.write_bytes(
        {
            "overwrite": data[:at] + draw.randbytes(draw.randrange(60)) + data[at + draw.randrange(50) :],
            "cut": data[:at],
            "double": data + data,
            "noise": draw.randbytes(draw.randrange(5000)),
            "swap": others[draw.randrange(len(others))].read_bytes(),
            "insert": data[:at] + draw.choice(INSERTED) + data[at:],
            "replace": data.replace(old, new),
        }[how]
    )
    return how


def test_mangled_files_never_end_a_command_in_a_traceback(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("TDZ_MANGLED_SEED", random.randrange(1 << 32)))
    draw = random.Random(seed)
    log, peer, key = str(base / "log"), str(base / "peer"), ["--vkey", SIGNER.vkey]
    names = [path.relative_to(base) for path in base.rglob("*") if path.is_file() and path.name != "reserve"]
    work = tmp_path / "work"
    codes: Counter[tuple[str, int]] = Counter()
    for number in range(MUTATIONS):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(base, work)
        name = draw.choice(names)
        others = [work / each for each in names if each != name]
        said = f"seed {seed}, mutation {number}: {_mangle(work / name, others, draw)} {name}"
        here = [each.replace(str(base), str(work)) for each in (log, peer)]
        for command in (
            ["verify", here[0], *key, "--workers", "1"],
            ["verify", here[0], "--workers", "1"],
            ["fsck", here[0], "--against-peer", here[1], "--workers", "1"],
            ["fsck", here[1], *key, "--workers", "1"],
            ["prove", "inclusion", "1", here[0]],
            ["prove", "consistency", "2", "3", here[0]],
            ["prove", "subject", "transfers/0", here[0]],
            ["export", str(work / "out"), here[0], "--mirrors"],
            ["monitor", here[0], *key, "--once"],
            ["head", here[0]],
            ["show", "1", here[0]],
            ["show", "transfers", here[0]],
        ):
            try:
                code = main(command)
            except BaseException as error:
                raise AssertionError(f"{said}: {command[0]} raised {error!r}") from error
            assert code in (0, 1, 2, 3), said
            assert capsys.readouterr().err.count("\n") <= 1, said
            codes[command[0], code] += 1
        # Neither reads what is not in its own public files; a mutation of these is found or changes nothing.
        if name.parts[0] == "log" and name.parts[1] != "state":
            assert main(["verify", here[0], *key, "--workers", "1"]) != 0 or _same(base / name, work / name), said
    assert codes["verify", 1] > 0
    assert codes["fsck", 1] > 0
    with capsys.disabled():
        sys.stderr.write(f"\n{MUTATIONS} mangled files (seed {seed}), no traceback: {dict(sorted(codes.items()))}\n")


def _same(one: Path, other: Path) -> bool:
    """Whether both say the same, or the file is gone: one that later ones replaced may be.

    A checkpoint says its first lines: the mirror's copy of it, with one signature more, is as good. The witnessed one
    may be behind, so each that witnesses have seen is.
    """
    if not os.path.lexists(other):
        return True
    before, now = (b"" if path.is_symlink() else path.read_bytes() for path in (one, other))
    if one.name == "checkpoint":
        return before.partition(b"\n\n")[0] == now.partition(b"\n\n")[0]
    if one.name == "checkpoint.witnessed":
        return now in {path.read_bytes() for path in (one.parent / "checkpoints").iterdir()}
    return before == now
