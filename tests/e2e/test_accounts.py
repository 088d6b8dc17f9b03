"""The receipt that an institution keeps, and the timeline of both ledgers: over two real gateways."""

from __future__ import annotations

import json

import pytest

from gateway.errors import ConflictError, DeniedError, NotFoundError, PeerUnavailableError, ReviewError
from gateway.journal.about import Noted, proven
from gateway.model.ids import uuid7
from gateway.model.participant import Role
from gateway.sdk import connect_async
from ledger.cli.main import main
from ledger.entry import Entry
from ledger.proof_set import ProofSet
from tests.e2e.material import CYBERJAYA, LINGANG, measurements, next_id, open_dataset
from tests.e2e.small import of_subject, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


def cards(shared, *zones) -> list[str]:
    return [part for zone in zones for part in ("--card", str(shared.corridor.zone(zone).layout.card))]


async def pulled(shared, zone, name):
    """A completed transfer: access and transfer id."""
    access = await zone.request(name, purpose="research")
    pull = await access.pull()
    await pull.to_arrow()
    return access, pull.transfer


async def test_a_receipt_verifies_offline_with_both_cards_and_holds_agreement_and_both_receipts(
    shared, tmp_path, capsys
):
    um = await shared.um()
    access, transfer = await pulled(shared, um, await shared.offered(chunks=2))
    receipt = await um.transfer_receipt(f"transfers/{transfer}")
    file = tmp_path / "kept.receipt"
    file.write_bytes(receipt.proofs)
    assert main(["verify", str(file), "--json", *cards(shared, CYBERJAYA, LINGANG)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["subject"] == f"transfers/{transfer}"
    entries = [proof["entry"] for proof in report["proofs"]]
    assert [entry["kind"] for entry in entries] == ["agreement", "transfer.completed", "receipt"]
    assert entries[0]["subject"] == f"agreements/{access.agreement}"
    assert len(entries[0]["body"]["agreement"]["signatures"]) == 2
    shown = await um.transfer(transfer)
    assert entries[1]["body"]["receipt"] == json.loads(shown.receipt)
    assert entries[2]["body"]["receipt"] == json.loads(shown.peer_receipt)
    for proof in report["proofs"]:
        assert proof["witnessed"]["by"] == [f"tdz/{LINGANG}/mirror"]
        assert proof["size"] == receipt.size
        assert proof["findings"] == proof["incomplete"] == []
    # The other zone's card alone has not the key of the log that they stand in.
    assert main(["verify", str(file), *cards(shared, LINGANG)]) == 1


async def test_no_byte_of_a_receipt_can_be_changed(shared, tmp_path, capsys):
    um = await shared.um()
    _, transfer = await pulled(shared, um, await shared.offered())
    whole = (await um.transfer_receipt(transfer)).proofs
    file, trust = tmp_path / "changed.receipt", cards(shared, CYBERJAYA, LINGANG)
    codes = {0: 0, 1: 0, 2: 0, 3: 0}
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        changed = bytearray(whole)
        changed[at] ^= 1
        file.write_bytes(changed)
        code = main(["verify", str(file), *trust])
        codes[code] += 1
        line = whole[whole.rfind(b"\\n", 0, at) + 2 : whole.find(b"\\n", at)]
        # A line of a signature by a key that nobody named says nothing: then it is not cosigned.
        assert code == 1 or (code == 3 and f" tdz/{LINGANG}/mirror ".encode() in line), f"byte {at}: {code} {line!r}"
    assert codes[1] > 130
    file.write_bytes(whole)
    assert main(["verify", str(file), *trust]) == 0
    # Nor can a proof be taken from another transfer's receipt.
    _, other = await pulled(shared, um, await shared.offered())
    first, second = (ProofSet.parse(each) for each in (whole, (await um.transfer_receipt(other)).proofs))
    file.write_bytes(ProofSet(first.subject, (*first.proofs[:2], second.proofs[2])).encode())
    assert main(["verify", str(file), *trust]) == 1
    assert "NOT VERIFIED" in capsys.readouterr().out


async def test_receipts_and_timelines_are_the_institutions_own_and_those_who_oversee_the_zone(shared):
    um, uitm, lab = await shared.um(), await shared.partner(CYBERJAYA, "uitm"), await shared.lab()
    access, transfer = await pulled(shared, um, await shared.offered())
    missing = next_id("nothing")
    for stranger in (uitm, lab):
        for ask in (stranger.transfer_receipt, stranger.explain):
            with pytest.raises(NotFoundError) as hidden:
                await ask(transfer)
            with pytest.raises(NotFoundError) as unknown:
                await ask(missing)
            assert hidden.value.message.replace(transfer, missing) == unknown.value.message
        for name in (f"agreements/{access.agreement}", f"requests/{access.request.id}"):
            with pytest.raises(NotFoundError):
                await stranger.explain(name)
    profile = await shared.enrol(LINGANG, "auditor", Role.AUDITOR)
    async with await connect_async(profile) as auditor:
        theirs = await auditor.transfer_receipt(transfer)
        assert theirs.origin == shared.b.settings.origin
        kinds = [json.loads(proof.extra)["kind"] for proof in ProofSet.parse(theirs.proofs).proofs]
        assert kinds == ["agreement", "transfer.completed"], "the provider's end holds both receipts"
        told = await auditor.explain(transfer)
        assert (told.own_zone, told.peer_zone, told.next) == (LINGANG, CYBERJAYA, "")


async def test_a_completed_transfer_is_told_from_both_ledgers_in_order(shared):
    um = await shared.um()
    access, transfer = await pulled(shared, um, await shared.offered())
    await um.transfer_receipt(transfer)  # both receipts are there
    told = await um.explain(transfer)
    assert [(step.zone, step.kind) for step in told.steps] == [
        (CYBERJAYA, "decision"), (LINGANG, "decision"),
        (CYBERJAYA, "agreement"), (LINGANG, "agreement"),
        (CYBERJAYA, "transfer.started"), (LINGANG, "transfer.started"),
        (CYBERJAYA, "transfer.completed"), (LINGANG, "transfer.completed"),
        (CYBERJAYA, "receipt"),
    ]  # fmt: skip
    assert [step.time for step in told.steps] == sorted(step.time for step in told.steps)
    assert (told.state, told.waiting_for, told.deadline) == ("COMPLETED", "", 0)
    assert told.next == f"tdz transfer receipt {transfer} -o {transfer}.receipt"
    assert told.steps[0].ledger_seq == access.request.decisions[0].ledger_seq
    own = json.loads((await shared.a.house.journal.entries(told.steps[-1].ledger_seq, told.own_size, 1))[0])
    assert (own["kind"], own["subject"], own["time"]) == ("receipt", f"transfers/{transfer}", told.steps[-1].time)
    for name in (access.agreement, f"agreements/{access.agreement}", f"requests/{access.request.id}"):
        assert (await um.explain(name)).steps == told.steps


async def test_an_agreement_that_nobody_has_pulled_under_says_so(shared):
    um = await shared.um()
    access = await um.request(await shared.offered(), purpose="research")
    told = await um.explain(access.agreement)
    assert (told.state, told.waiting_for) == ("FINALIZED", "tdz://cyberjaya/partner/um")
    assert told.deadline == (await access.show()).expires_at
    assert told.next == f"tdz pull {access.agreement} -o FILE"


async def test_a_refused_request_names_rule_remedy_and_what_to_type(shared):
    um = await shared.um()
    name = await shared.offered()
    with pytest.raises(DeniedError) as refused:
        await um.request(name, purpose="public_health")
    told = await um.explain(f"requests/{refused.value.request_id}")
    assert (told.state, told.waiting_for) == ("TERMINATED", "")
    assert told.next == f"tdz request {name} --purpose public_health"
    assert [(step.zone, step.effect) for step in told.steps] == [
        (CYBERJAYA, "allow"), (LINGANG, "deny"), (CYBERJAYA, "deny"),
    ]  # fmt: skip
    theirs = told.steps[1]
    assert ("TDZ-TERMS", "deny") in {(finding.code, finding.effect) for finding in theirs.findings}
    assert all(finding.cite for finding in theirs.findings)
    assert any(finding.remedy for finding in theirs.findings)
    assert "refused" in theirs.said


async def test_a_request_that_is_held_says_who_decides_until_when(shared):
    lab, um = await shared.lab(), await shared.um()
    manifest = open_dataset(next_id("owned"), approval="owner")
    name = (await lab.publish(measurements().slice(0, 50), manifest)).name
    with pytest.raises(ReviewError) as held:
        await um.request(name, purpose="research")
    asked = await um.show_request(held.value.request_id)
    told = await um.explain(asked.id)
    assert (told.state, told.waiting_for, told.deadline) == ("REQUESTED", "lingang/owner", asked.deadline)
    assert told.next == f"tdz request show {asked.id}"
    assert (told.steps[-1].waiting_for, told.steps[-1].zone) == ("lingang/owner", CYBERJAYA)
    assert told.steps[-1].deadline > 0


async def test_what_the_peer_did_is_told_as_its_mirrored_entries_say_and_no_further(shared):
    um = await shared.um()
    _, transfer = await pulled(shared, um, await shared.offered())
    await um.transfer_receipt(transfer)
    told = await um.explain(transfer)
    mirror = shared.a.house.journal.mirror(LINGANG)
    assert told.peer_size <= mirror.size
    for step in told.steps:
        if step.zone == LINGANG:
            (entry,) = (await mirror.read(step.ledger_seq, step.ledger_seq + 1, 1))[:1]
            document = json.loads(entry)
            assert (document["subject"], document["time"]) == (step.subject, step.time)
            said = json.dumps(document, ensure_ascii=False)
            assert all(finding.cite in said and finding.code in said for finding in step.findings)
            assert not any(finding.document().get("fields") for finding in step.findings)


async def test_only_a_completed_transfer_has_a_receipt(shared):
    um = await shared.um()
    access = await um.request(await shared.offered(chunks=4), purpose="research")
    async with shared.admin(CYBERJAYA) as admin:
        who = await shared.partner(CYBERJAYA, "hit-later")
        theirs = await who.request(access.request.resource, purpose="research")
        await admin.screen("hit-later", list_revision="lists-9", result="hit")
    pull = await theirs.pull()
    with pytest.raises(DeniedError):
        await pull.to_arrow()
    await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "decision"))
    with pytest.raises((NotFoundError, ConflictError)):
        await who.transfer_receipt(pull.transfer)
    told = await who.explain(theirs.agreement)
    assert told.state == "FINALIZED"


async def test_without_the_other_zone_nothing_is_proven_that_it_has_not_cosigned(small):
    async with small() as own:
        um = await own.um()
        _, transfer = await pulled(own, um, await own.offered())
        before = await um.transfer_receipt(transfer)
        await own.stop(LINGANG)
        again = await um.transfer_receipt(transfer)  # what was cosigned before stays proven
        assert [p.index for p in ProofSet.parse(again.proofs).proofs] == [
            p.index for p in ProofSet.parse(before.proofs).proofs
        ]
        journal = own.a.house.journal
        alone = await journal.record("approval", f"transfers/{transfer}", {}, entry_id=uuid7(), closing=True)
        await journal.writer.changed(alone.seq)
        (data,) = await journal.entries(alone.seq, alone.seq + 1, 1)
        noted = Noted(Entry.parse(data, seq=alone.seq), data)
        with pytest.raises(PeerUnavailableError, match="not everything"):
            await proven(journal, f"transfers/{transfer}", [noted], within=0.2)
