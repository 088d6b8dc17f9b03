"""What stands on both ledgers of one transfer, in which order, and what never stands there."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from gateway.errors import DeniedError
from gateway.model.participant import Identity
from gateway.server.main import Gateway
from ledger.cli.main import main
from ledger.verify import verify_directory
from tests.e2e.material import (
    CYBERJAYA,
    LINGANG,
    PLANTED_LIST,
    PLANTED_NAMES,
    PLANTED_OWNER,
    measurements,
    next_id,
    open_dataset,
    patients,
)
from tests.e2e.small import directory_entries, entries, eventually, held, of_subject, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


def ledger(shared, zone) -> Path:
    return shared.corridor.zone(zone).layout.ledger


def mirror_of(shared, holder, of) -> list[dict]:
    """What one zone mirrored of the other's log, read from its files."""
    (directory,) = (ledger(shared, holder) / "mirror").iterdir()
    assert directory.name == hashlib.sha256(shared.gateways[of].settings.origin.encode()).hexdigest()
    return list(directory_entries(directory))


async def one_transfer(shared, name):
    um = await shared.um()
    access = await um.request(name, purpose="research")
    pull = await access.pull()
    await pull.to_arrow()
    await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "receipt"))
    return access, pull


def size_named(gateway: Gateway) -> int:
    return gateway.house.journal.size


async def test_the_entries_of_one_allowed_transfer_stand_in_the_order_of_the_table(shared):
    name = await shared.offered(chunks=3)
    starts = len(await entries(shared.a)), len(await entries(shared.b))
    access, pull = await one_transfer(shared, name)
    about = {
        f"negotiations/{access.request.id}",
        f"agreements/{access.agreement}",
        f"transfers/{pull.transfer}",
    }
    a = [entry for entry in await entries(shared.a, starts[0]) if entry["subject"] in about]
    b = [entry for entry in await entries(shared.b, starts[1]) if entry["subject"] in about]
    a1, a2, a3, a4, a5 = a
    b1, b2, b3, b4 = b
    assert [entry["kind"] for entry in a] == [
        "decision", "agreement", "transfer.started", "transfer.completed", "receipt",
    ]  # fmt: skip
    assert [entry["kind"] for entry in b] == ["decision", "agreement", "transfer.started", "transfer.completed"]
    # In time: A1 before B1 before A2 before B2 and so on, since each waits until it holds the other's.
    in_turn = [a1, b1, a2, b2, a3, b3, a4, b4, a5]
    assert [entry["time"] for entry in in_turn] == sorted(entry["time"] for entry in in_turn)
    # B1 carries A's decision and the signed offer; A2 the countersigned one; B2 the same payload in force.
    assert b1["body"]["peer_decision"]["payloadType"] == "application/vnd.tdz.decision.v1+json"
    offer, countersigned, in_force = b1["body"]["offer"], a2["body"]["agreement"], b2["body"]["agreement"]
    assert offer["payload"] == countersigned["payload"] == in_force["payload"]
    assert [len(e["signatures"]) for e in (offer, countersigned, in_force)] == [1, 2, 2]
    assert (a2["body"]["outcome"], b2["body"]["outcome"]) == ("countersigned", "in_force")
    # Both starts name the same agreement, version, view and chunks.
    for member in ("agreement", "version", "view", "first_chunk", "chunks"):
        assert a3["body"][member] == b3["body"][member]
    assert a3["body"]["agreement"] == access.agreement
    # Both ends say the same of what crossed, and B's holds both receipts, A's the one it sent.
    for member in ("agreement", "version", "view", "chunks", "rows", "bytes", "root"):
        assert a4["body"][member] == b4["body"][member]
    assert b4["body"]["receipts"][0] == a4["body"]["receipt"]
    assert b4["body"]["receipts"][1] == a5["body"]["receipt"]


async def test_each_decision_waits_for_the_others_entry_and_each_start_too(shared):
    """The sizes that the receiver had mirrored when it wrote: `seq` of the other's entry is below them."""
    access, _ = await one_transfer(shared, await shared.offered())
    (a1,) = [e for e in await entries(shared.a) if e["subject"] == f"negotiations/{access.request.id}"]
    (b1,) = [e for e in await entries(shared.b) if e["subject"] == f"negotiations/{access.request.id}"]
    for holder, of, entry in ((LINGANG, CYBERJAYA, a1), (CYBERJAYA, LINGANG, b1)):

        async def filed(holder=holder, of=of, entry=entry):
            return entry in mirror_of(shared, holder, of)

        assert await eventually(filed)
    shown = await (await shared.um()).show_request(access.request.id)
    own = next(decision for decision in shown.decisions if decision.zone == CYBERJAYA)
    assert own.ledger_seq == a1["seq"]


async def test_each_mirror_holds_the_others_entries_byte_for_byte(shared):
    await one_transfer(shared, await shared.offered())
    for holder, of in ((CYBERJAYA, LINGANG), (LINGANG, CYBERJAYA)):
        wanted = await entries(shared.gateways[of])

        async def held(holder=holder, of=of, wanted=wanted):
            return len(mirror_of(shared, holder, of)) >= len(wanted)

        await eventually(held)
        assert mirror_of(shared, holder, of)[: len(wanted)] == wanted


async def test_both_directories_verify_and_the_witnessed_checkpoint_covers_the_receipts(shared):
    _, pull = await one_transfer(shared, await shared.offered())
    last = {
        CYBERJAYA: await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "receipt")),
        LINGANG: await recorded(shared.b, of_subject(f"transfers/{pull.transfer}", "transfer.completed")),
    }
    for zone, entry in last.items():
        journal = shared.gateways[zone].house.journal
        await held(journal, entry["seq"] + 1)
        await journal.writer.keep()
        note = (ledger(shared, zone) / "checkpoint.witnessed").read_text()
        assert int(note.splitlines()[1]) > entry["seq"]
        other = shared.gateways[LINGANG if zone == CYBERJAYA else CYBERJAYA]
        (card,) = [p.signed.card for p in shared.gateways[zone].registry.peers()]
        report = verify_directory(ledger(shared, zone), vkey=journal.vkey, witness_vkeys=[card.mirror])
        assert (report.findings, report.incomplete, report.exit_code) == ([], [], 0)
        assert report.origin == shared.gateways[zone].settings.origin != other.settings.origin
        assert report.witnessed is not None
        assert report.size > entry["seq"]
        (directory,) = (ledger(shared, zone) / "mirror").iterdir()
        mirrored = verify_directory(directory, vkey=other.house.journal.vkey)
        assert mirrored.findings == []


async def test_what_one_keeps_of_a_transfer_verifies_by_the_two_cards_alone(shared, tmp_path, capsys):
    """Every entry about it on both ledgers, each proven and with the zones' signed statements inside."""
    _, pull = await one_transfer(shared, await shared.offered())
    wanted = {CYBERJAYA: "receipt", LINGANG: "transfer.completed"}
    cards = []
    for zone in wanted:
        cards += ["--card", str(shared.corridor.zone(zone).layout.card)]
    for zone, kind in wanted.items():
        gateway = shared.a if zone == CYBERJAYA else shared.b
        entry = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", kind))
        await held(gateway.house.journal, entry["seq"] + 1)
        await gateway.house.journal.writer.keep()
        file = str(tmp_path / f"{zone}.proofs")
        assert main(["prove", "subject", f"transfers/{pull.transfer}", str(ledger(shared, zone)), "-o", file]) == 0
        capsys.readouterr()
        assert main(["verify", file, *cards, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert {"agreement", "transfer.started", "transfer.completed"} <= {
            each["entry"]["kind"] for each in document["proofs"]
        }
        signed = [each["envelopes"] for each in document["proofs"]]
        names = {name for each in signed for name in each["verified_signatures"]}
        assert names == {"the zone cyberjaya", "the zone lingang"}
        assert [each["unknown_signatures"] for each in signed if each["unknown_signatures"]] == []
        assert main(["fsck", str(ledger(shared, zone)), *cards, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["envelopes"]["unknown_signatures"] == {}
        assert set(document["envelopes"]["verified_signatures"]) == names
        assert len(document["mirrors"]) == 1


async def test_a_receipt_names_a_witnessed_checkpoint_of_its_own_log(shared):
    _, pull = await one_transfer(shared, await shared.offered())
    um = await shared.um()

    async def with_both():
        transfer = await um.transfer(pull.transfer)
        return transfer if transfer.peer_receipt else None

    found = await eventually(with_both)
    for receipt, gateway in ((found.receipt, shared.a), (found.peer_receipt, shared.b)):
        body = json.loads(base64.b64decode(json.loads(receipt)["payload"]))["body"]
        origin, size, *_ = body["checkpoint"].splitlines()
        assert origin == gateway.settings.origin
        assert 0 < int(size) <= size_named(gateway)
        assert body["checkpoint"].count("\n— ") >= 2  # the log's own signature and the other zone's


async def test_nothing_personal_and_nothing_of_policys_inside_crosses_or_stands_on_a_ledger(shared):
    """Allowed and denied, in both directions, with planted names, owners and a screening hit."""
    await one_transfer(shared, await shared.offered())
    hospital = await shared.partner(CYBERJAYA, "hospital")
    rows = measurements().slice(0, 40).append_column("site", pa.array(["a"] * 40))
    name = (await hospital.publish(rows, patients(next_id("patients")))).name
    with pytest.raises(DeniedError):
        await (await shared.lab()).request(name, purpose="research")
    await shared.enrol(CYBERJAYA, "flagged")
    await shared.register(CYBERJAYA, "flagged", PLANTED_NAMES[2])
    flagged = await shared.partner(CYBERJAYA, "flagged")
    async with shared.admin(CYBERJAYA) as admin:
        await admin.screen("flagged", list_revision="planted-hit-list", result="hit")
    with pytest.raises(DeniedError):
        await flagged.request(await shared.offered(), purpose="research")
    screened = [e for e in await entries(shared.a) if "TDZ-NOT-ELIGIBLE" in json.dumps(e)]
    assert screened, "the denial is recorded under the name that says nothing"

    forbidden = [
        *PLANTED_NAMES, PLANTED_OWNER, PLANTED_LIST, "planted-hit-list", "TDZ-SCREENING", "legal_name",
        "hq_country", "owners", '"screening"', "subjects_sensitive", "input.", "ultimate_parent_country",
    ]  # fmt: skip
    for gateway in (shared.a, shared.b):
        for entry in await entries(gateway):
            text = json.dumps(_opened(entry), ensure_ascii=False)
            assert [word for word in forbidden if word in text] == [], entry["kind"]
            for finding in _findings(_opened(entry)):
                assert finding["fields"] == [], finding["code"]
                assert not finding["code"].startswith("US-")
            assert '"us' not in json.dumps([pack["id"] for pack in _packs(_opened(entry))])


def _opened(value):
    """A document with every DSSE payload in it decoded beside it, nested ones too."""
    if isinstance(value, dict):
        opened = {name: _opened(member) for name, member in value.items()}
        if "payloadType" in value and "payload" in value:
            opened["payload"] = _opened(json.loads(base64.b64decode(value["payload"])))
        return opened
    if isinstance(value, list):
        return [_opened(member) for member in value]
    if isinstance(value, str) and value.startswith("{"):
        try:
            return _opened(json.loads(value))
        except ValueError:
            return value
    return value


def _walk(value):
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from _walk(member)
    elif isinstance(value, list):
        for member in value:
            yield from _walk(member)


def _findings(entry):
    return [found for found in _walk(entry) if {"code", "effect", "cite", "fields"} <= found.keys()]


def _packs(entry):
    return [found for found in _walk(entry) if {"id", "revision", "verdict"} <= found.keys()]


async def test_people_stand_on_the_ledger_as_certificates_never_as_names(shared):
    for gateway in (shared.a, shared.b):
        for entry in await entries(gateway):
            if entry["kind"].startswith(("identity.", "mechanism.", "participant.")):
                assert "operator" not in json.dumps(entry["body"].get("by", ""))


async def test_who_asked_is_named_by_the_identity_of_the_certificate(shared):
    access, _ = await one_transfer(shared, await shared.offered())
    (b1,) = [e for e in await entries(shared.b) if e["subject"] == f"negotiations/{access.request.id}"]
    assert Identity.parse(b1["body"]["request"]["participant"]).uri == "tdz://cyberjaya/partner/um"


async def test_a_listing_of_what_is_offered_tells_a_partner_nothing_of_the_facts_behind_it(shared):
    name = (await (await shared.lab()).publish(measurements().slice(0, 9), open_dataset(next_id("told")))).name
    shown = (await (await shared.um()).dataset(name)).document()
    assert not {"dataset", "terms", "exporter", "cn", "my", "controller"} & shown.keys()
    assert PLANTED_NAMES[1] not in json.dumps(shown)
