"""What entries say of the log itself and of its times, several processes, and what was seen before."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoint import Checkpoint
from ledger.cli.main import main
from ledger.edge import TileEdge
from ledger.entry import Draft, Entry, first_prev, format_time, new_id
from ledger.key_history import Rotation
from ledger.merkle import leaf_hash
from ledger.note import CosignatureSigner, Note, NoteSigner, Signature
from ledger.report import Report
from ledger.tiles import encode_bundle, split_bundle
from ledger.verify import verify_directory

LOG = NoteSigner("tdz/lingang/2026-00ff", Ed25519PrivateKey.generate())
NEXT = NoteSigner(LOG.name, Ed25519PrivateKey.generate())
WITNESS = CosignatureSigner("tdz/cyberjaya/mirror", Ed25519PrivateKey.generate())
START = 1_790_000_000
OPENED: tuple[str, dict[str, Any]] = ("log.opened", {"origin": LOG.name, "vkey": LOG.vkey})
OTHER: tuple[str, dict[str, Any]] = ("decision", {})


def _build(
    directory: Path,
    entries: Iterable[tuple[str, dict[str, Any]]],
    *,
    seconds: dict[int, int] | None = None,
    kept: dict[int, int] | None = None,
    signers: tuple[NoteSigner, ...] = (LOG,),
) -> None:
    """A log's public files.

    Args:
        seconds: the times of some entries, in seconds after the start; each is a second after the one before.
        kept: the sizes that are kept, with the seconds after the start at which they were cosigned.
    """
    edge, time = TileEdge(first_prev(LOG.name)), 0
    files: list[tuple[str, bytes]] = []
    for seq, (kind, body) in enumerate(entries):
        time = (seconds or {}).get(seq, time + 1)
        draft = Draft(new_id(), kind, "log" if kind.startswith("log.") else "transfers/x", body)
        data = draft.place(seq, edge.prev, format_time((START + time) * 1_000_000))
        edge.append(data, leaf_hash(data))
        files += edge.take_full()
        if edge.size in (kept or {}):
            note = _note(edge, signers[:1], (kept or {})[edge.size])
            files += [(f"checkpoints/{edge.size}", note), ("checkpoint.witnessed", note)]
    files += [*edge.partials(0), ("checkpoint", _note(edge, signers)), ("vkey", f"{signers[-1].vkey}\n".encode())]
    for name, content in files:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _note(edge: TileEdge, signers: tuple[NoteSigner, ...], cosigned: int | None = None) -> bytes:
    text = Checkpoint(LOG.name, edge.size, edge.root()).text
    lines = [each.sign(text) for each in signers]
    if cosigned is not None:
        lines.append(WITNESS.cosign(text, START + cosigned))
    return Note(text, tuple(map(Signature.parse, lines))).encode()


def _verify(directory: Path, **options: Any) -> Report:
    return verify_directory(directory, **{"vkey": LOG.vkey, "witness_vkeys": [WITNESS.vkey], **options})


def _texts(report: Report) -> str:
    return "\n".join(report.lines())


@pytest.mark.parametrize(
    ("cosigned", "found"),
    [
        (300 - 299, ""),
        (300 - 301, "was cosigned before entry 299 says it was made"),
        (301 + 3599, ""),
        (301 + 3601, "was cosigned long after entry 300, which it does not hold, says it was made"),
    ],
)
@pytest.mark.parametrize("size", [299, 512])
def test_entry_times_lie_between_the_cosignatures_around_them(
    tmp_path: Path, cosigned: int, found: str, size: int
) -> None:
    shift = size - 300
    _build(tmp_path, [OPENED, *[OTHER] * 600], kept={size: cosigned + shift})
    report = _verify(tmp_path)
    names = found.replace("299", str(size - 1)).replace("300", str(size))
    assert (names in _texts(report)) if found else (report.exit_code == 0), _texts(report)
    assert report.exit_code == (1 if found else 0)


def test_an_entry_that_says_that_it_is_older_than_the_one_before_is_found(tmp_path: Path) -> None:
    _build(tmp_path, [OPENED, *[OTHER] * 20], seconds={10: 5})
    report = _verify(tmp_path, witness_vkeys=[])
    assert report.first_bad_entry == 10
    assert "is before that of an earlier entry" in _texts(report)


def test_what_a_corrected_clock_explains_is_a_note(tmp_path: Path) -> None:
    entries = [OPENED, *[OTHER] * 20]
    entries[15] = ("clock.corrected", {"before": format_time((START + 90_014) * 1_000_000)})
    _build(tmp_path, entries, seconds={10: 90_000, 15: 20}, kept={12: 15})
    report = _verify(tmp_path)
    assert report.exit_code == 0, _texts(report)
    assert "times from entry 11 on are odd; entry 15 says that the clock was corrected" in _texts(report)


@pytest.mark.parametrize(
    ("entries", "match", "seq"),
    [
        ([OTHER, OTHER], "entry 0 is not log.opened", 0),
        ([("log.opened", {"origin": "tdz/x/y", "vkey": LOG.vkey}), OTHER], "it opens another log than this", 0),
        ([OPENED, OTHER, OPENED], "it opens another log than this", 2),
        ([OPENED, ("log.sealed", {"reason": "moved"}), OTHER, OTHER], "sealed at entry 1 and goes on", 2),
    ],
)
@pytest.mark.parametrize("tail", [0, 300])
def test_a_log_is_opened_once_and_ends_where_it_was_sealed(
    tmp_path: Path, entries: Any, match: str, seq: int, tail: int
) -> None:
    _build(tmp_path, [*entries, *[OTHER] * tail])
    report = _verify(tmp_path, witness_vkeys=[])
    assert (report.exit_code, report.first_bad_entry) == (1, seq)
    assert match in _texts(report)


def test_a_key_is_followed_through_the_entry_that_both_keys_signed(tmp_path: Path) -> None:
    rotation = Rotation(LOG.name, LOG.vkey, NEXT.vkey, 6)
    rotated = ("key.rotated", rotation.body(LOG, NEXT))
    _build(tmp_path, [OPENED, *[OTHER] * 4, rotated, OTHER], kept={3: 3}, signers=(LOG, NEXT))
    (tmp_path / "vkeys").write_text(f"0 - {LOG.vkey}\n6 - {NEXT.vkey}\n")
    for vkey in (LOG.vkey, NEXT.vkey):
        report = _verify(tmp_path, vkey=vkey)
        assert (report.findings, report.vkey) == ([], NEXT.vkey)
    (tmp_path / "vkeys").write_text(f"0 - {LOG.vkey}\n5 - {NEXT.vkey}\n")
    assert "no entry that both keys signed introduces the key from size 5 on" in _texts(_verify(tmp_path))
    (tmp_path / "vkeys").unlink()
    assert "vkeys: it does not name the key that entry 5 introduces" in _texts(_verify(tmp_path))
    stranger = NoteSigner(LOG.name, Ed25519PrivateKey.generate())
    (tmp_path / "vkeys").write_text(f"0 - {LOG.vkey}\n6 - {NEXT.vkey}\n")
    assert "vkeys: it does not name the key that was given" in _texts(_verify(tmp_path, vkey=stranger.vkey))


def test_a_key_that_only_the_new_one_signed_for_is_not_followed(tmp_path: Path) -> None:
    rotation = Rotation(LOG.name, LOG.vkey, NEXT.vkey, 6)
    rotated = ("key.rotated", rotation.body(NEXT, NEXT))
    _build(tmp_path, [OPENED, *[OTHER] * 4, rotated, OTHER], kept={3: 3}, signers=(LOG, NEXT))
    (tmp_path / "vkeys").write_text(f"0 - {LOG.vkey}\n6 - {NEXT.vkey}\n")
    report = _verify(tmp_path)
    assert report.first_bad_entry == 5
    assert "introduces the key from size 6 on" in _texts(report)


def _large(directory: Path) -> Path:
    _build(directory, [OPENED, *[OTHER] * 9000], kept={6000: 6100, 8192: 8200})
    return directory


def test_several_processes_find_what_one_finds(tmp_path: Path) -> None:
    whole = _large(tmp_path / "log")
    one, many = _verify(whole), _verify(whole, workers=2)
    assert (one.exit_code, one.as_json()) == (0, many.as_json())
    assert one.entries == 9001
    bundle = whole / "tile/entries/020"
    entries, _ = split_bundle(bundle.read_bytes())
    changed = Entry.parse(entries[99])
    entries[99] = Entry(changed.id, changed.seq, changed.prev, changed.time, "receipt", "x", {}).encode()
    bundle.write_bytes(encode_bundle(entries))
    (whole / "tile/0/030").unlink()
    tile = whole / "tile/1/000.p/35"
    tile.write_bytes(tile.read_bytes()[::-1])
    (whole / "checkpoints/6000").unlink()
    one, many = _verify(whole), _verify(whole, workers=3)
    assert one.as_json() == many.as_json()
    assert one.first_bad_entry == 20 * 256 + 99
    assert {each.file for each in one.findings} == {"tile/entries/020", "tile/0/030", "tile/1/000.p/35"}


def test_a_checkpoint_that_was_seen_before_must_be_a_prefix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _build(tmp_path / "log", [OPENED, *[OTHER] * 20], kept={9: 9})
    seen = tmp_path / "seen"

    def judged(text: str, signer: NoteSigner = LOG) -> tuple[int, str]:
        seen.write_text(f"{text}\n{signer.sign(text)}\n")
        code = main(["verify", str(tmp_path / "log"), "--vkey", LOG.vkey, "--seen", str(seen)])
        return code, capsys.readouterr().out

    text = Note.parse((tmp_path / "log/checkpoints/9").read_bytes()).text
    assert judged(text)[0] == 3  # the kept checkpoint's cosigner is not known here
    code, out = judged(text.replace("\n9\n", "\n8\n"))
    assert (code, "the checkpoint seen before: its root is not that of the first 8 entries" in out) == (1, True)
    code, out = judged(Checkpoint(LOG.name, 22, bytes(32)).text)
    assert (code, "has size 21 only; the checkpoint seen before has 22: entries are gone" in out) == (1, True)
    code, out = judged(text, NoteSigner(LOG.name, Ed25519PrivateKey.generate()))
    assert (code, "the checkpoint seen before: no known key signed" in out) == (1, True)


def test_a_cosignature_that_is_too_old_leaves_the_verdict_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _build(tmp_path, [OPENED, *[OTHER] * 20], kept={9: 9})
    assert _verify(tmp_path, max_age=60, now=START + 69).exit_code == 0
    report = _verify(tmp_path, max_age=60, now=START + 70)
    assert (report.exit_code, "it is 61 s old" in _texts(report)) == (3, True)
    for bad in ("0s", "1", "1w", "-1s", "1.5h", ""):
        with pytest.raises(SystemExit) as ended:
            main(["verify", str(tmp_path), f"--max-age={bad}"])
        assert ended.value.code == 2
    assert "no duration such as 90s" in capsys.readouterr().err


def test_a_folder_of_links_is_found(tmp_path: Path) -> None:
    _build(tmp_path / "log", [OPENED, *[OTHER] * 20])
    shutil.move(tmp_path / "log/tile", tmp_path / "elsewhere")
    (tmp_path / "log/tile").symlink_to(tmp_path / "elsewhere")
    report = _verify(tmp_path / "log", witness_vkeys=[])
    assert [(each.file, each.text) for each in report.findings] == [("tile", "it is a symbolic link")]
