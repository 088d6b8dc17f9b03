"""What an auditor hands in and what lies beside a log: cards, time stamps, evidence, documents, hostile paths."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.cli.main import main
from ledger.disclosure import make_disclosure
from ledger.entry import new_id
from ledger.errors import ForkError
from ledger.fsck import check_everything
from ledger.key_history import KeyHistory, KeyRange
from ledger.note import NoteSigner
from tests.unit.ledger.cards import make_card, statement
from tests.unit.ledger.tsa import OPENSSL, authority
from tests.unit.ledger.twin import CYBERJAYA, LINGANG, Twin

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command's exit code, output and errors; whatever it is given, there is no second line of errors but cards."""

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(each) for each in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert sum(not line.startswith("card of ") for line in said.err.splitlines()) <= 1
        return code, said.out, said.err

    return command


@pytest.fixture
def cards(zone: Any, peer: Any, tmp_path: Path) -> list[str]:
    """Options with both zones' cards, lingang's first."""
    found = []
    for each, name in ((zone, LINGANG), (peer, CYBERJAYA)):
        path = tmp_path / f"{name}.json"
        path.write_bytes(make_card(each, Ed25519PrivateKey.generate()))
        found += ["--card", str(path)]
    return found


@pytest.mark.parametrize("command", ["diff-peer", "report", "lineage", "sql", "head", "show"])
async def test_cards_give_the_keys_of_both_ledgers(twin: Twin, cards: list[str], run: Run, command: str) -> None:
    if command == "sql":
        pytest.importorskip("duckdb", reason="the extra `sql` is not installed")
    await twin.transfer(new_id(), await twin.agree(new_id()))
    await twin.mirrored()
    one, other = (twin.export(zone) for zone in (LINGANG, CYBERJAYA))
    words: list[object] = {
        "sql": ["sql", "SELECT count(*) AS n FROM entries", one, "--peer", other],
        "lineage": ["lineage", "datasets/flights", one, other],
        "head": ["head", one],
        "show": ["show", "0", one],
    }.get(command, [command, one, other])
    code, out, err = run(*words, *cards)
    assert code == 0, err
    assert "card of lingang, serial 1" in out + err
    assert "taken from the directory itself" not in out
    wrong = cards[2:] if command in {"head", "show"} else cards[:2]  # one ledger's is not there
    code, out, err = run(*words, *wrong)
    assert code == 1
    assert "the keys that were given are of tdz/" in err
    # Another key of the same origin signed nothing here.
    forged = Path(cards[1])
    stranger = type(twin.zones[LINGANG])(
        forged, NoteSigner(twin.zones[LINGANG].signer.name, Ed25519PrivateKey.generate()), twin.zones[LINGANG].cosigner
    )
    forged.write_bytes(make_card(stranger, Ed25519PrivateKey.generate()))
    code, out, err = run(*words, *cards)
    assert code == 1


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not on the path")
async def test_verify_judges_the_time_stamps_of_a_directory(zone: Any, helpers: Any, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("rfc3161_client", reason="the extra `timestamp` is not installed")
    writer = await zone.open()
    await helpers.append(writer, 5)
    await writer.close()
    with authority(tmp_path / "tsa") as tsa, authority(tmp_path / "other") as other:
        code, *_ = run("timestamp", zone.directory, "--tsa", tsa.url, "--tsa-ca", tsa.ca, "--name", "court")
        assert code == 0
        trusted, stranger = ("--tsa-ca", tsa.ca), ("--tsa-ca", other.ca)
    log = tmp_path / "copy"
    shutil.copytree(zone.directory, log, ignore=shutil.ignore_patterns("state"))
    code, out, _ = run("verify", log)
    assert code == 0
    assert "1 time stamp over checkpoints of this log, whose signatures were not judged (give --tsa-ca FILE)" in out
    code, out, _ = run("verify", log, *trusted)
    assert code == 0
    assert "1 time stamp verified; the newest says that size 6 was there at" in out
    code, out, _ = run("verify", log, *trusted, "--json")
    (stamp,) = json.loads(out)["timestamps"]
    assert (stamp["trusted"], stamp["size"], stamp["tsa"], stamp["problem"]) == (True, 6, "court", "")
    assert run("verify", log, *stranger)[0] == 1
    assert run("verify", log, "--tsa-ca", log / "checkpoint")[0] == 2
    file = log / "timestamps" / "6-court.tsr"
    data = file.read_bytes()
    for name, change in {
        "cut": data[:-7],
        "flipped": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
        "empty": b"",
        "long": data + bytes(100_000),
    }.items():
        file.write_bytes(change)
        code, out, _ = run("verify", log, *trusted)
        assert code == 1, name
        assert "timestamps/6-court.tsr: " in out, name
    file.write_bytes(data)
    for wrong in ("5-court.tsr", "99-court.tsr", "6-COURT.tsr"):
        target = log / "timestamps" / wrong
        file.rename(target)
        assert run("verify", log)[0] == 1, wrong
        target.rename(file)
    file.unlink()
    file.symlink_to("/dev/zero")
    code, out, _ = run("verify", log)
    assert (code, "is a symbolic link" in out) == (1, True)


async def test_verify_proves_the_evidence_of_a_directory_again(
    zone: Any, peer: Any, mirror: Any, helpers: Any, run: Run
) -> None:
    writer = await zone.open()
    await helpers.append(writer, 2)
    await writer.close()
    copy = type(zone)(zone.directory.with_name("copy"), zone.signer, zone.cosigner)
    shutil.copytree(zone.directory, copy.directory)
    for each, side in ((zone, 1), (copy, 2)):
        writer = await each.open()
        await helpers.append(writer, 2, side=side)
        if side == 1:
            await helpers.push(writer, mirror)
        else:
            with pytest.raises(ForkError):
                await helpers.push(writer, mirror)
        await writer.close()
    log = peer.directory
    (file,) = (log / "evidence").iterdir()
    told = f"evidence/{file.name}: PROVED: {zone.signer.name} signed two histories, at sizes 5 and 5"
    code, out, _ = run("verify", log)
    assert (code, told in out) == (0, True)
    code, out, _ = run("verify", log, "--json")
    assert json.loads(out)["evidence"][0]["origin"] == zone.signer.name
    data = file.read_bytes()
    for change in (data[:-9], b"", data.replace(b'"old_root":"', b'"old_root":"00'), bytes(200_000), b"[" * 500):
        file.write_bytes(change)
        code, out, _ = run("verify", log)
        assert code == 1
        assert f"evidence/{file.name}: " in out
    file.unlink()
    # In the log's own folder the same file says that this log lies.
    (zone.directory / "evidence").mkdir()
    (zone.directory / "evidence" / file.name).write_bytes(data)
    code, out, _ = run("verify", zone.directory)
    assert (code, "PROVED: this log, " in out) == (1, True)


async def test_what_an_export_brings_along_is_what_it_says(copy: Path, zone: Any, peer: Any, run: Run) -> None:
    document, identity = b"a manifest", copy / "identity"
    for folder in ("documents", "identity"):
        (copy / folder).mkdir()
    file = copy / "documents" / hashlib.sha256(document).hexdigest()
    file.write_bytes(document)
    card = make_card(zone, Ed25519PrivateKey.generate())
    (identity / "card.json").write_bytes(card)
    code, out, _ = run("verify", copy)
    assert code == 0
    assert "1 document, each with the SHA-256 that is its name" in out
    assert f"its fingerprint is {hashlib.sha256(card).hexdigest()}" in out
    file.write_bytes(document + b"!")
    code, out, _ = run("verify", copy)
    assert (code, "its SHA-256 is not its name" in out) == (1, True)
    file.write_bytes(document)
    for bad, code in ((card[:-1], 1), (make_card(peer, Ed25519PrivateKey.generate()), 1)):
        (identity / "card.json").write_bytes(bad)
        assert run("verify", copy)[0] == code
    stranger = type(zone)(copy, NoteSigner(zone.signer.name, Ed25519PrivateKey.generate()), zone.cosigner)
    (identity / "card.json").write_bytes(make_card(stranger, Ed25519PrivateKey.generate()))
    code, out, _ = run("verify", copy)
    assert (code, "names a key that this copy does not know" in out) == (3, True)


@pytest.mark.parametrize("name", ["checkpoint", "vkey", "tile", "checkpoints", "evidence", "timestamps", "documents",
                                  "policy.tlog", "tile/0", "tile/entries/000"])  # fmt: skip
def test_a_link_in_a_copy_is_found_and_not_followed(copy: Path, run: Run, name: str) -> None:
    path = copy / name
    if path.is_dir() and not path.is_symlink():
        shutil.move(path, copy.with_name("moved"))
    elif path.exists():
        path.unlink()
    path.symlink_to("/etc/passwd" if "." in name or name in {"checkpoint", "vkey"} else copy.with_name("moved"))
    code, out, err = run("verify", copy)
    assert code == 1, out + err
    assert name.split("/")[0] in out


@pytest.mark.parametrize("what", ["a pipe", "a device", "a link to nothing", "no such file", "a folder of nothing"])
def test_a_path_that_is_no_ledger_and_no_file_ends_at_once(tmp_path: Path, run: Run, what: str) -> None:
    path = tmp_path / "it"
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder of nothing":
        path.mkdir()
    elif what == "a link to nothing":
        path.symlink_to("nowhere")
    elif what == "a device":
        path = Path("/dev/zero")
    for command in ("verify", "head", "diff-peer", "report", "fsck"):
        code, _, err = run(command, path)
        assert code == 2, command
        assert "not a ledger's directory" in err or "has no state/" in err


async def test_a_mangled_disclosure_is_refused_as_one(zone: Any, tmp_path: Path, run: Run) -> None:
    writer = await zone.open()
    await writer.append_committed(id=new_id(), kind="approval", subject="x", body={}, values={"approver": "Wu Lei"})
    await writer.close()
    file, data = tmp_path / "shown", make_disclosure(zone.directory, 1, "approver")
    key = ("--vkey", zone.signer.vkey)
    file.write_bytes(data)
    code, out, _ = run("verify", file, *key, "--json")
    assert (code, json.loads(out)["disclosed"]) == (0, {"field": "/body/approver", "value": "Wu Lei"})
    assert run("verify", file)[0] == 2  # no key
    assert run("verify", file, *key, "--max-age", "1h")[0] == 3
    for bad in (
        data[:-1],
        data + b" ",
        data.replace(b"Wu Lei", b"Wu Mei"),
        data.replace(b'"disclosure":1', b'"disclosure":[' + b"[" * 900),
        data.replace(b'"proof":[', b'"proof":["' + b"zz" * 32 + b'",'),
        data.replace(b"/body/approver", b"/../approver"),
        data.replace(b"tdz/lingang", b"tdz/another"),
        data + bytes(9 << 20),
    ):
        file.write_bytes(bad)
        code, out, err = run("verify", file, *key)
        if len(bad) > 1 << 20:
            assert (code, "has more than" in err) == (2, True)
            continue
        assert code == 1
        assert out.startswith("NOT VERIFIED: the disclosure: ")


async def test_a_key_speaks_for_its_zone_only_while_its_card_does(
    zone: Any, peer: Any, tmp_path: Path, run: Run
) -> None:
    first, second = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    old, new = make_card(peer, first), make_card(peer, second, serial=2)
    now = int(time.time())
    writer = await zone.open()

    async def add(kind: str, body: dict[str, Any]) -> None:
        await writer.append(id=new_id(), kind=kind, subject="zones/cyberjaya", body=body)

    def paired(card: bytes) -> dict[str, Any]:
        return {"card": hashlib.sha256(card).hexdigest(), "zone": CYBERJAYA}

    await add("zone.paired", paired(old))
    await add("decision", {"statement": statement(first, now)})
    await add("zone.paired", paired(new))
    await add("decision", {"statement": statement(second, now)})
    await add("decision", {"quoted": statement(first, now)})  # what was signed before may be quoted later
    files = []
    for serial, card in enumerate((old, new), 1):
        path = tmp_path / f"{serial}.json"
        path.write_bytes(card)
        files += ["--card", str(path)]
    key = ["--vkey", zone.signer.vkey]
    code, out, _ = run("fsck", zone.directory, *key, *files)
    assert (code, "NOT VERIFIED" in out) == (3, False)  # cyberjaya's mirror has not cosigned it
    assert "2 signatures of the zone cyberjaya (card serial 1)" in out
    assert "1 signatures of the zone cyberjaya (card serial 2)" in out
    code, out, _ = run("fsck", zone.directory, *key, *files[2:])
    assert code == 0
    assert f"entry 1 admits a card of cyberjaya that was not given, with the fingerprint {paired(old)['card']}" in out
    assert "2 signatures of the unknown key" in out
    # An ended key that goes on, and one that begins before anybody admitted it.
    await add("decision", {"statement": statement(first, now + 900)})
    await writer.close()
    code, out, _ = run("fsck", zone.directory, *key, *files)
    assert code == 1
    text = "the statement key of card serial 1 of cyberjaya signed a statement in it after entry 3 admitted another"
    assert f"entry 6, tile/entries/000: {text} card" in out


async def test_a_key_before_its_card_and_an_own_key_after_the_next_one_are_found(zone: Any, peer: Any) -> None:
    from ledger.card import Card

    theirs, ours, next_one = (Ed25519PrivateKey.generate() for _ in range(3))
    card = make_card(peer, theirs)
    now = int(time.time())
    writer = await zone.open()
    bodies = [
        ("decision", {"statement": statement(theirs, now)}),
        ("zone.paired", {"card": hashlib.sha256(card).hexdigest(), "zone": CYBERJAYA}),
        ("decision", {"statement": statement(ours, now)}),
    ]
    for kind, body in bodies:
        await writer.append(id=new_id(), kind=kind, subject="x", body=body)
    await writer.close()
    own = [
        Card.parse(make_card(zone, ours, date=now - 99_000)),
        Card.parse(make_card(zone, next_one, serial=2, date=now - 9_000)),
    ]
    check = check_everything(zone.directory, cards=[Card.parse(card), *own])
    assert [each.seq for each in check.log.findings] == [1, 3]
    assert "which entry 2 admits only later" in check.log.findings[0].text
    assert "after the date of card serial 2" in check.log.findings[1].text
    assert check_everything(zone.directory, cards=own[:1]).exit_code == 0


async def test_a_lock_database_is_judged_by_the_key_of_its_size(zone: Any, helpers: Any) -> None:
    """A start that was killed between writing ``vkeys`` and the entry leaves the next key there; it signed nothing."""
    writer = await zone.open()
    await helpers.append(writer, 2)
    await writer.close()
    following = NoteSigner(zone.signer.name, Ed25519PrivateKey.generate())
    history = KeyHistory((KeyRange(zone.signer.vkey, 0), KeyRange(following.vkey, 4)))
    (zone.directory / "vkeys").write_bytes(history.encode())
    check = check_everything(zone.directory)
    assert not [each for each in check.log.findings if each.file == "state/lock.db"]
    assert {each.file for each in check.log.findings} == {"vkey", "vkeys"}


async def test_what_was_asked_and_decided_is_compared(twin: Twin, run: Run) -> None:
    from tests.unit.ledger.twin import FINDING, UM, VERSION, decision, dsse

    request = {"participant": UM, "purpose": "research", "resource": "datasets/patients", "version": VERSION}
    forged, refused, behind, alone = (new_id() for _ in range(4))
    own, theirs = decision(CYBERJAYA), decision(LINGANG, "deny", [FINDING])
    heard = dsse(LINGANG, {"decision": {**theirs, "effect": "allow"}, "effect": "allow", "held_by": ""})
    # Lingang denied; cyberjaya holds a statement of the same decision that allows.
    await twin.add(CYBERJAYA, "decision", f"negotiations/{forged}", decision=own, effect="allow", request=request)
    await twin.add(
        LINGANG, "decision", f"negotiations/{forged}", decision=theirs, effect="deny", request=request,
        peer_decision=dsse(CYBERJAYA, {"decision": own}),
    )  # fmt: skip
    await twin.add(CYBERJAYA, "decision", f"negotiations/{forged}", effect="allow", peer_decision=heard)
    # Denied there before the agreement came in force here.
    await twin.agree(refused)
    await twin.add(
        CYBERJAYA, "decision", f"negotiations/{refused}", decision=decision(CYBERJAYA, "deny"), effect="deny"
    )
    # The answer has not arrived yet.
    await twin.add(CYBERJAYA, "decision", f"negotiations/{behind}", decision=own, effect="allow", request=request)
    await twin.add(
        LINGANG, "decision", f"negotiations/{behind}", decision=decision(LINGANG, "deny", [FINDING]), effect="deny",
        peer_decision=dsse(CYBERJAYA, {"decision": own}),
    )  # fmt: skip
    # A decision that its own zone never recorded.
    await twin.add(
        LINGANG, "decision", f"negotiations/{alone}", decision=decision(LINGANG), effect="allow",
        peer_decision=dsse(CYBERJAYA, {"decision": decision(CYBERJAYA)}),
    )  # fmt: skip
    await twin.add(CYBERJAYA, "policy.activated", "policy", revision="1")
    await twin.mirrored()
    paths = [twin.export(zone) for zone in (CYBERJAYA, LINGANG)]
    code, out, _ = run("diff-peer", *paths, "--json")
    found = json.loads(out)["items"]
    assert code == 1
    said = {each["id"]: (each["standing"], each["text"]) for each in found if each["kind"] == "negotiation"}
    assert said[refused][0] == "differs"
    assert "denied on cyberjaya, and an agreement from it is in force on lingang" in said[refused][1]
    assert said[behind] == ("unfinished", "denied on lingang; cyberjaya says allow")
    assert said[alone][0] == "one side only"
    decisions = {(each["standing"], each["text"]) for each in found if each["kind"] == "decision"}
    assert ("differs", "cyberjaya says allow; lingang says deny") in decisions
    assert any(
        standing == "one side only" and "never recorded that it decided so" in text for standing, text in decisions
    )


async def test_a_denial_past_the_mirrored_size_is_pending(twin: Twin, run: Run) -> None:
    from tests.unit.ledger.twin import UM, VERSION, decision

    await twin.mirrored()
    request = {"participant": UM, "purpose": "research", "resource": "datasets/patients", "version": VERSION}
    await twin.add(
        CYBERJAYA, "decision", f"negotiations/{new_id()}", decision=decision(CYBERJAYA), effect="allow", request=request
    )
    code, out, _ = run("diff-peer", *(twin.export(zone) for zone in (CYBERJAYA, LINGANG)), "--json")
    assert (code, [(each["kind"], each["standing"]) for each in json.loads(out)["items"]]) == (
        3, [("negotiation", "pending")],
    )  # fmt: skip


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated bundle": (lambda log: os.truncate(log / "tile/entries/001", 5_000), "tile/entries/001: "),
    "a truncated tile": (lambda log: os.truncate(log / "tile/0/000", 8_191), "tile/0/000"),
    "a flipped bit of an entry": (lambda log: _flip(log / "tile/entries/001", 3_000), "tile/entries/001: "),
    "a flipped bit of a hash": (lambda log: _flip(log / "tile/0/001", 77), "tile/0/001: "),
    "swapped tiles": (lambda log: _swap(log / "tile/0/000", log / "tile/0/001"), "tile/0/000: "),
    "swapped bundles": (lambda log: _swap(log / "tile/entries/000", log / "tile/entries/001"), "tile/entries/000: "),
    "a missing tile": (lambda log: (log / "tile/0/001").unlink(), "tile/0/001 is missing"),
    "a missing bundle": (lambda log: (log / "tile/entries/000").unlink(), "tile/entries/000 is missing"),
    "a wrong length of an entry": (lambda log: _flip(log / "tile/entries/000", 1), "tile/entries/000: "),
    "a bundle that holds more": (
        lambda log: (log / "tile/entries/000").write_bytes((log / "tile/entries/000").read_bytes() + b"\0\1x"),
        "tile/entries/000: it holds 257 entries, not 256",
    ),
    "an empty checkpoint": (lambda log: (log / "checkpoint").write_bytes(b""), "checkpoint: "),
    "a kept checkpoint of another name": (
        lambda log: (log / "checkpoints" / "300").rename(log / "checkpoints" / "299"), "checkpoints/299: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", [*TAMPERED])
def test_each_way_to_tamper_is_found_and_named_by_the_command(copy: Path, zone: Any, run: Run, how: str) -> None:
    change, named = TAMPERED[how]
    change(copy)
    code, out, err = run("verify", copy, "--vkey", zone.signer.vkey, "--workers", "1")
    assert (code, err) == (1, ""), out
    assert "NOT VERIFIED: " in out
    assert named in out


def test_a_foreign_signature_and_another_origin_are_named(copy: Path, zone: Any, peer: Any, run: Run) -> None:
    key = ("--vkey", zone.signer.vkey)
    note = (copy / "checkpoint").read_text()
    text = note.partition("\n\n")[0] + "\n"
    stranger = NoteSigner(zone.signer.name, Ed25519PrivateKey.generate())
    other = NoteSigner(peer.signer.name, Ed25519PrivateKey.generate())
    foreign = text.replace(zone.signer.name, other.name)
    for bad, said in (
        (f"{text}\n{stranger.sign(text)}\n", "no known key signed this note"),
        (f"{foreign}\n{other.sign(foreign)}\n", f"it is of the origin {other.name}"),
        (f"{text}\n{zone.signer.sign(text + 'x')}\n", "checkpoint: "),
    ):
        (copy / "checkpoint").write_text(bad)
        code, out, _ = run("verify", copy, *key)
        assert code == 1
        assert said in out
        code, *_ = run("sql", "SELECT 1", copy, *key)
        assert code in (1, 2)  # 2 without the extra
        assert run("head", copy, *key)[0] == 1
    (copy / "checkpoint").write_text(note)
    seen = copy.with_name("seen")
    seen.write_text(f"{foreign}\n{other.sign(foreign)}\n")
    code, out, _ = run("verify", copy, *key, "--seen", seen)
    assert (code, f"the checkpoint seen before: it is of the origin {other.name}" in out) == (1, True)


def test_proofs_with_wrong_sizes_are_refused_by_the_command(copy: Path, zone: Any, tmp_path: Path, run: Run) -> None:
    file, key = tmp_path / "proof", ("--vkey", zone.signer.vkey)
    for words in (("inclusion", "5"), ("consistency", "300", copy / "checkpoint")):
        assert run("prove", *words, copy, "-o", file)[0] == 0
        lines = file.read_bytes().split(b"\n")
        first = 3 if words[0] == "inclusion" else 1
        for bad in (
            [*lines[:first], *lines[first + 1 :]],
            [*lines[:first], lines[first], *lines[first:]],
            [*lines[:first], b"AAAA", *lines[first + 1 :]],
            [each.replace(b"index 5", b"index 299") for each in lines],
            [each.replace(b"300", b"301") for each in lines],
        ):
            if bad == lines:
                continue
            file.write_bytes(b"\n".join(bad))
            code, out, err = run("verify", file, *key)
            assert (code, err) == (1, "")
            assert out.startswith("NOT VERIFIED: ")


def test_numbers_that_are_none_are_refused_in_a_line(copy: Path, run: Run) -> None:
    for words in (("--workers", "0"), ("--workers", "-1"), ("--workers", "9" * 40), ("--max-age", "1y")):
        with pytest.raises(SystemExit) as ended:
            run("verify", copy, *words)
        assert ended.value.code == 2
