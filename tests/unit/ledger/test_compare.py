"""diff-peer: what stands on both ledgers, what differs, what stands on one, and what nobody can say yet."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ledger.checkpoint import Checkpoint
from ledger.cli.main import main
from ledger.entry import new_id
from tests.unit.ledger.twin import CYBERJAYA, LINGANG, Twin, dsse


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """The exit code and the document of a comparison of two copies."""

    def run(twin: Twin, *more: str) -> tuple[int, dict[str, Any]]:
        name = new_id()
        paths = [twin.export(zone, f"{zone}-{name}") for zone in (CYBERJAYA, LINGANG)]
        capsys.readouterr()
        code = main(["diff-peer", *map(str, paths), "--json", *more])
        return code, json.loads(capsys.readouterr().out)

    return run


async def story(twin: Twin) -> None:
    agreement = await twin.agree(new_id())
    await twin.transfer(new_id(), agreement)
    await twin.refuse(new_id())
    await twin.run(new_id())


async def test_two_ledgers_that_say_the_same_have_nothing_to_list(twin: Twin, compare: Any) -> None:
    await story(twin)
    await twin.mirrored()
    code, document = compare(twin)
    assert (code, document["ok"], document["items"]) == (0, True, [])
    assert document["counts"] == {
        "agreement": {"same": 1},
        "decision": {"same": 3},
        "negotiation": {"same": 2},
        "receipt": {"same": 2},
        "round": {"same": 2},
        "run": {"same": 1},
        "transfer": {"same": 1},
    }


@pytest.mark.parametrize("member", ["rows", "bytes", "root", "version", "view", "chunks"])
async def test_a_transfer_with_another_value_on_one_ledger_differs(twin: Twin, compare: Any, member: str) -> None:
    agreement = await twin.agree(new_id())
    identifier = new_id()
    await twin.transfer(identifier, agreement, **{member: 7 if member in {"rows", "bytes", "chunks"} else "99" * 32})
    await twin.mirrored()
    code, document = compare(twin)
    (item,) = document["items"]
    assert (code, item["standing"], item["id"]) == (1, "differs", identifier)
    assert item["text"].startswith(f"{member}: cyberjaya ")


async def test_agreements_that_were_signed_differently_differ(twin: Twin, compare: Any) -> None:
    body = await twin.agree(new_id())
    await twin.add(
        LINGANG, "agreement", f"agreements/{body['id']}", outcome="in_force",
        agreement=dsse(LINGANG, {**body, "purpose": "profit"}, 2),
    )  # fmt: skip
    await twin.mirrored()
    code, document = compare(twin)
    assert (code, document["items"][0]["standing"]) == (1, "differs")


async def test_what_the_other_ledger_must_hold_and_does_not_is_one_sided(twin: Twin, compare: Any) -> None:
    agreement = await twin.agree(new_id())
    identifier = new_id()
    receipt = twin.receipt(CYBERJAYA, identifier, agreement["id"])
    for kind, body in (("transfer.started", {"chunks": 1}), ("transfer.completed", {"receipt": receipt})):
        await twin.add(CYBERJAYA, kind, f"transfers/{identifier}", agreement=agreement["id"], **body)
    await twin.refuse(new_id())  # lingang's ledger goes on after that
    await twin.mirrored()
    code, document = compare(twin)
    standings = {item["kind"]: (item["standing"], item["text"]) for item in document["items"]}
    assert code == 1
    assert standings["transfer"] == ("one side only", "completed on cyberjaya, never begun on lingang")
    assert standings["receipt"][0] == "unfinished"


@pytest.mark.parametrize(
    ("until", "standing"),
    [("A3", "unfinished"), ("B3", "open"), ("A4", "unfinished"), ("B4", "unfinished"), ("receipt", "same")],
)
async def test_a_transfer_on_its_way_is_no_divergence(twin: Twin, compare: Any, until: str, standing: str) -> None:
    agreement = await twin.agree(new_id())
    await twin.transfer(new_id(), agreement, until=until)
    await twin.refuse(new_id())
    await twin.mirrored()
    code, document = compare(twin, "--all")
    found = {item["standing"] for item in document["items"] if item["kind"] in {"transfer", "receipt"}}
    assert standing in found
    assert code == (0 if standing in {"open", "same"} else 3)


async def test_what_is_past_the_mirrored_size_is_pending(twin: Twin, compare: Any) -> None:
    agreement = await twin.agree(new_id())
    await twin.mirrored()
    identifier = new_id()
    await twin.add(LINGANG, "transfer.started", f"transfers/{identifier}", agreement=agreement["id"], chunks=1)
    await twin.refuse(new_id())
    code, document = compare(twin)
    assert (code, [item["standing"] for item in document["items"]]) == (3, ["pending"])
    await twin.mirrored()
    code, document = compare(twin)
    assert (code, [item["standing"] for item in document["items"]]) == (1, ["one side only"])


async def test_an_older_copy_of_the_peer_is_no_divergence(twin: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    await story(twin)
    await twin.mirrored()
    old = twin.export(CYBERJAYA, "old")
    await twin.transfer(new_id(), await twin.agree(new_id()))
    await twin.mirrored()
    assert main(["diff-peer", str(twin.export(LINGANG)), str(old)]) == 3
    said = capsys.readouterr().out
    assert "the other zone has seen" in said
    assert "INCOMPLETE" in said
    assert "DIVERGENCE" not in said


async def test_a_run_whose_outcome_was_changed_on_its_way_differs(twin: Twin, compare: Any) -> None:
    await twin.run(new_id(), change="00" * 32)
    await twin.mirrored()
    code, document = compare(twin)
    assert (code, [item["kind"] for item in document["items"]]) == (1, ["round"])
    assert "what was sent is not what was taken in" in document["items"][0]["text"]


async def test_a_receipt_holds_its_signer_to_its_history(twin: Twin, zone: Any, compare: Any) -> None:
    agreement = await twin.agree(new_id())
    text = Checkpoint(zone.signer.name, 2, bytes(32)).text
    forged = f"{text}\n{zone.signer.sign(text)}\n"
    identifier = new_id()
    receipt = twin.receipt(LINGANG, identifier, agreement["id"], checkpoint=forged)
    for each in (LINGANG, CYBERJAYA):
        await twin.add(each, "receipt", f"transfers/{identifier}", receipt=receipt)
    await twin.mirrored()
    code, document = compare(twin)
    assert code == 1
    assert "another history of lingang up to size 2" in document["items"][0]["text"]


async def test_one_zones_directory_with_its_mirror_is_enough(twin: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    await story(twin)
    await twin.mirrored()
    await twin.close()
    directory = twin.zones[LINGANG].directory
    assert main(["diff-peer", str(directory)]) == 0
    said = capsys.readouterr().out
    assert "transfers: 1 same" in said
    assert said.endswith("both ledgers say the same\n")


async def test_what_cannot_be_compared_is_one_line(twin: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    copy = twin.export(LINGANG)
    for arguments in ([str(copy)], [str(copy), str(copy)], [str(copy), str(copy / "tile")]):
        assert main(["diff-peer", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("tdz-ledger: ")
        assert error.count("\n") == 1


async def test_a_changed_entry_is_found_before_anything_is_compared(
    twin: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    await story(twin)
    await twin.mirrored()
    copies = [twin.export(zone) for zone in (CYBERJAYA, LINGANG)]
    bundle = max((copies[1] / "tile/entries/000.p").iterdir(), key=lambda part: int(part.name))
    data = bundle.read_bytes()
    assert b'"rows":10' in data
    bundle.write_bytes(data.replace(b'"rows":10', b'"rows":90'))
    assert main(["diff-peer", *map(str, copies)]) == 1
    assert "was changed" in capsys.readouterr().err
