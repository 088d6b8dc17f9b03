"""A peer that sends what it may not, or goes away: a clear error, an entry, nothing half-landed, and later it works."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json

import pyarrow as pa
import pytest
import pytest_asyncio

from gateway.errors import ConflictError, DeniedError, NotFoundError, PeerUnavailableError, ReviewError, TdzError
from gateway.exchange.peer import Answer, ChunkMark, PeerFrame
from gateway.flow.house import parse_envelope, text
from gateway.identity.dsse import Envelope
from gateway.identity.keys import new_statement_key
from gateway.identity.statements import StatementSigner, read_unverified
from gateway.model import limits
from gateway.model.ids import uuid7
from gateway.model.statements import Agreement, ResourceCard, StreamEnd, ZoneDecision
from gateway.storage.ipc_frames import PREFIX_BYTES
from tests.e2e.faulty_peer import Faults, answer_lost, gone
from tests.e2e.material import CYBERJAYA, LINGANG, measurements, next_id, open_dataset
from tests.e2e.small import entries, eventually, of_subject, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_faults(shared):
    """cyberjaya's gateway sees a faulty lingang, through the real one."""
    faults = Faults(shared.a.corridor)
    shared.a.house.connect(faults)
    yield faults
    shared.a.house.connect(shared.a.corridor)


@pytest.fixture
def faults(module_faults):
    module_faults.heal()
    yield module_faults
    module_faults.heal()


async def agreed(shared, chunks=2):
    """An agreement on a new dataset, and its version."""
    um = await shared.um()
    access = await um.request(await shared.offered(chunks), purpose="research")
    return access, (await access.show()).version


async def landed(shared, version):
    """Whether anything of a version is visible in the consumer's zone."""
    return await shared.a.house.chunks.run(lambda: shared.a.house.versions.has(version))


# --- streams that are not what was agreed on ----------------------------------------------------------------


async def wrong_schema(frames):
    first = True
    async for frame in frames:
        if first:
            other = pa.schema([("x", pa.float64()), ("y", pa.float64()), ("secret", pa.float64())])
            header = memoryview(other.serialize().to_pybytes())[PREFIX_BYTES:]
            frame, first = dataclasses.replace(frame, header=header), False
        yield frame


async def no_schema(frames):
    await anext(frames)
    async for frame in frames:
        yield frame


async def nothing(frames):
    return
    yield


async def malformed_opening(frames):
    first = True
    async for frame in frames:
        if first:
            frame, first = dataclasses.replace(frame, metadata=b'{"ledger_size":"many"}'), False
        yield frame


async def short_list(frames):
    async for frame in frames:
        if not frame.header and len(frame.metadata) % 32 == 0:
            frame = PeerFrame(metadata=bytes(frame.metadata)[:-32])
        yield frame


async def long_list(frames):
    async for frame in frames:
        if not frame.header and len(frame.metadata) % 32 == 0:
            frame = PeerFrame(metadata=bytes(frame.metadata) + bytes(32))
        yield frame


async def other_list(frames):
    async for frame in frames:
        if not frame.header and len(frame.metadata) % 32 == 0:
            frame = PeerFrame(metadata=bytes(len(frame.metadata)))
        yield frame


async def wrong_bytes(frames):
    async for frame in frames:
        if frame.header and frame.body:
            body = bytearray(frame.body)
            body[len(body) // 2] ^= 1
            frame = dataclasses.replace(frame, body=bytes(body))
        yield frame


async def wrong_index(frames):
    async for frame in frames:
        if frame.header and frame.body:
            mark = ChunkMark.decode(frame.metadata)
            frame = dataclasses.replace(frame, metadata=ChunkMark(mark.index + 1, mark.digest).encode())
        yield frame


async def malformed_mark(frames):
    async for frame in frames:
        if frame.header and frame.body:
            frame = dataclasses.replace(frame, metadata=b"{}")
        yield frame


async def oversize(frames):
    async for frame in frames:
        if frame.header and frame.body:
            frame = dataclasses.replace(frame, body=bytes(limits.CHUNK_MAX + 8))
        yield frame


async def never_ending_chunk(frames):
    async for frame in frames:
        if frame.header and frame.body:
            while True:
                yield dataclasses.replace(frame, metadata=b"")
        yield frame


async def chunk_left_out(frames):
    left_out = False
    async for frame in frames:
        if frame.header and frame.body and not left_out:
            left_out = True
            continue
        yield frame


async def chunk_sent_twice(frames):
    async for frame in frames:
        yield frame
        if frame.header and frame.body:
            yield frame


async def without_end(frames):
    async for frame in frames:
        if frame.header or len(frame.metadata) % 32 == 0:
            yield frame


async def end_too_early(frames):
    kept = [frame async for frame in frames]
    for frame in [*kept[:3], kept[-1]]:
        yield frame


async def end_is_noise(frames):
    async for frame in frames:
        if not frame.header and len(frame.metadata) % 32:
            frame = PeerFrame(metadata=b'{"payload":"","payloadType":"x","signatures":[]}')
        yield frame


STREAMS = [
    (wrong_schema, "another schema"),
    (no_schema, "does not begin with a schema"),
    (nothing, "does not begin with a schema"),
    (malformed_opening, "opening is malformed"),
    (short_list, "chunk list|has no chunk list"),
    (long_list, "another length"),
    (other_list, "chunk list"),
    (wrong_bytes, "is not the one that the manifest names"),
    (wrong_index, "chunk 1 came where 0 was due"),
    (malformed_mark, "metadata has other members"),
    (oversize, "larger than|length differs"),
    (never_ending_chunk, "larger than"),
    (chunk_left_out, "chunk 1 came where 0 was due"),
    (chunk_sent_twice, "chunk 0 came where 1 was due"),
    (without_end, "without its signed end"),
    (end_too_early, "ends before its last chunk"),
    (end_is_noise, "none of ours"),
]


@pytest.mark.parametrize(("tamper", "said"), STREAMS, ids=[tamper.__name__ for tamper, _ in STREAMS])
async def test_a_stream_that_is_not_what_was_agreed_on_is_aborted_on_both_ledgers(shared, faults, tamper, said):
    access, version = await agreed(shared)
    faults.frames = tamper
    pull = await access.pull()
    with pytest.raises(TdzError, match=said) as caught:
        await pull.to_arrow()
    assert caught.value.reason in {"TDZ-PEER", "TDZ-INTEGRITY", "TDZ-LIMIT"}
    # A provider whose stream nobody began has nothing to abort.
    for gateway in (shared.a, shared.b) if tamper is not nothing else (shared.a,):
        entry = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
        said_by = "" if gateway is shared.a else "consumer: "
        assert entry["body"]["reason"] == said_by + caught.value.reason
    assert not await landed(shared, version)
    faults.heal()
    again = await access.pull()
    assert again.transfer != pull.transfer
    assert (await again.to_arrow()).num_rows == again.rows
    assert await landed(shared, version)


async def forged(shared, house, body, process):
    signer = StatementSigner(house.card(LINGANG).party, new_statement_key())
    now = house.clock()
    envelope = signer.sign(
        body.kind,
        body.document(),
        audience=shared.a.house._signer.issuer,
        process=process,
        issued_at=now,
        expires_at=now + 300,
    )
    return text(envelope)


async def test_an_end_that_another_key_signed_is_aborted(shared, faults):
    access, version = await agreed(shared)
    pull = await access.pull()

    async def tampered(frames):
        async for frame in frames:
            if not frame.header and len(frame.metadata) % 32:
                end = StreamEnd.parse(read_unverified(parse_envelope(bytes(frame.metadata).decode())).body)
                frame = PeerFrame(metadata=(await forged(shared, shared.a.house, end, pull.transfer)).encode())
            yield frame

    faults.frames = tampered
    with pytest.raises(TdzError) as caught:
        await pull.to_arrow()
    assert caught.value.reason == "TDZ-INTEGRITY"
    await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
    assert not await landed(shared, version)


@pytest.mark.parametrize("member", ["transfer", "version", "chunks", "rows", "bytes", "root"])
async def test_an_end_that_the_peer_signed_itself_yet_says_something_else_is_aborted(shared, faults, member):
    access, version = await agreed(shared, chunks=1)
    pull = await access.pull()
    other = {"transfer": uuid7(), "version": "a" * 64, "root": "b" * 64}

    async def tampered(frames):
        async for frame in frames:
            if not frame.header and len(frame.metadata) % 32:
                end = StreamEnd.parse(read_unverified(parse_envelope(bytes(frame.metadata).decode())).body)
                changed = end.model_copy(update={member: other.get(member, 7)})
                frame = PeerFrame(metadata=shared.b.house.sign(changed, to=CYBERJAYA, process=pull.transfer).encode())
            yield frame

    faults.frames = tampered
    with pytest.raises(TdzError, match="something else than the manifest"):
        await pull.to_arrow()
    entry = await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
    assert entry["body"]["reason"] == "TDZ-INTEGRITY"
    assert not await landed(shared, version)


# --- what a peer writes, and no ledger may say --------------------------------------------------------------

PERSON = "Zhang San, 1979-03-01"


async def test_what_a_peer_writes_in_a_refusal_is_told_to_the_partner_and_stands_on_no_ledger(shared, faults):
    access, _ = await agreed(shared)

    before = len(await entries(shared.a)), len(await entries(shared.b))
    pull = await access.pull()

    async def cut(frames):
        async for frame in frames:
            yield frame
            raise ConflictError(f"we do not like {PERSON}")

    faults.frames = cut
    with pytest.raises(ConflictError, match=PERSON):
        await pull.to_arrow()
    for gateway, start, said in (
        (shared.a, before[0], "TDZ-CONFLICT"),
        (shared.b, before[1], "consumer: TDZ-CONFLICT"),
    ):
        aborted = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"), start=start)
        assert aborted["body"]["reason"] == said
        assert PERSON not in json.dumps(await entries(gateway, start))
    assert PERSON in (await (await shared.um()).transfer(pull.transfer)).reason


async def test_a_reason_that_a_peer_made_up_is_recorded_as_other(shared, faults):
    access, _ = await agreed(shared)

    async def cut(frames):
        async for frame in frames:
            yield frame
            raise ConflictError("no")

    async def made_up(real, transfer, reason, size):
        await real.abort(transfer, f"policy of {PERSON}", size)

    faults.frames = cut
    faults.stand_ins["abort"] = made_up
    pull = await access.pull()
    with pytest.raises(ConflictError):
        await pull.to_arrow()
    aborted = await recorded(shared.b, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
    assert aborted["body"]["reason"] == "consumer: other"


async def test_a_reviewer_that_a_peer_made_up_is_its_administrator(shared, faults):
    async def negotiate(real, envelope, size):
        answer = await real.negotiate(envelope, size)
        body = ZoneDecision.parse(read_unverified(parse_envelope(answer.decision)).body)
        changed = body.model_copy(update={"held_by": PERSON})
        signed = shared.b.house.sign(changed, to=CYBERJAYA, process=body.negotiation)
        return dataclasses.replace(answer, decision=signed)

    name = await shared.offered(approval="owner")
    faults.stand_ins["negotiate"] = negotiate
    um = await shared.um()
    with pytest.raises(ReviewError) as caught:
        await um.request(name, purpose="research")
    assert (await um.show_request(caught.value.request_id)).held_by == "lingang/admin"


# --- answers that are not what was asked for ----------------------------------------------------------------


def offering(change):
    """The peer answers with an offer that `change` made of its own."""

    async def negotiate(real, envelope, size):
        answer = await real.negotiate(envelope, size)
        body = Agreement.parse(read_unverified(parse_envelope(answer.offer)).body)
        return await change(answer, body)

    return negotiate


def signed_by_itself(shared, **members):
    async def change(answer, body):
        document = json.loads(json.dumps(body.document()))
        for path, value in members.items():
            place = document
            *steps, last = path.split("__")
            for step in steps:
                place = place[step]
            place[last] = value
        changed = Agreement.parse(document)
        return dataclasses.replace(
            answer, offer=shared.b.house.sign(changed, to=CYBERJAYA, process=body.negotiation, ttl=3_600)
        )

    return change


OTHER_TERMS = [
    {"version": "c" * 64},
    {"view": "d" * 64},
    {"resource": "datasets/another"},
    {"purpose": "product_improvement"},
    {"consumer": "tdz://cyberjaya/partner/uitm"},
    {"provider": "tdz://lingang/partner/ai-lab"},
    {"negotiation": uuid7()},
    {"provider_zone": "elsewhere"},
    {"mechanisms": ["one-more"]},
    {"decisions__consumer": uuid7()},
    {"decisions__provider": uuid7()},
    {"limits__expires_at": 1_000_000_000},
    {"obligations": [{"kind": "dance", "params": {}}]},
]


async def denied(shared, name):
    """A request that must come to a recorded denial by cyberjaya; the error and the entry."""
    um = await shared.um()
    start = len(await entries(shared.a))
    with pytest.raises(DeniedError) as caught:
        await um.request(name, purpose="research")
    entry = await recorded(
        shared.a,
        lambda e: e["kind"] == "decision" and e["body"].get("effect") == "deny",
        start=start,
    )
    assert entry["subject"] == f"negotiations/{caught.value.request_id}"
    shown = await um.show_request(caught.value.request_id)
    assert (shown.state, shown.agreement) == ("TERMINATED", "")
    assert {finding[0] for finding in caught.value.findings} == {"TDZ-PEER"}
    assert caught.value.remedy
    return caught.value, entry


@pytest.mark.parametrize("members", OTHER_TERMS, ids=[next(iter(members)) for members in OTHER_TERMS])
async def test_an_offer_of_something_else_than_was_asked_is_never_countersigned(shared, faults, members):
    name = await shared.offered()
    faults.stand_ins["negotiate"] = offering(signed_by_itself(shared, **members))
    error, _ = await denied(shared, name)
    countersigned = [
        e for e in await entries(shared.a) if e["kind"] == "agreement" and error.request_id in json.dumps(e)
    ]
    assert countersigned == []
    faults.heal()
    access = await (await shared.um()).request(name, purpose="research")
    assert (await (await access.pull()).to_arrow()).num_rows > 0


async def test_an_offer_that_leaves_out_an_obligation_is_never_countersigned(shared, faults):
    """Both zones' policies let it go for a date; the offer forgets the date."""
    from tests.e2e.material import mechanism, personal_dataset

    dataset_id = next_id("obliged")
    await (await shared.lab()).publish(measurements().slice(0, 20), personal_dataset(dataset_id, CYBERJAYA))
    refs = [f"{dataset_id}-sc", f"{dataset_id}-pipia"]
    async with shared.admin(LINGANG) as admin:
        for kind, ref in zip(("standard_contract", "pipia"), refs, strict=True):
            await admin.add_mechanism(mechanism(kind, ref, dataset_id, "tdz://cyberjaya/partner/um"))
    um = await shared.um()
    faults.stand_ins["negotiate"] = offering(signed_by_itself(shared, obligations=[]))
    with pytest.raises(TdzError):
        await um.request(f"datasets/{dataset_id}", purpose="research", mechanisms=refs)
    faults.heal()
    access = await um.request(f"datasets/{dataset_id}", purpose="research", mechanisms=refs)
    assert set((await access.show()).obligations) >= {"ledger_add", "no_onward"}


async def test_an_offer_signed_by_a_stranger_is_never_countersigned(shared, faults):
    async def change(answer, body):
        return dataclasses.replace(answer, offer=await forged(shared, shared.a.house, body, body.negotiation))

    faults.stand_ins["negotiate"] = offering(change)
    await denied(shared, await shared.offered())


async def test_an_offer_that_was_meant_for_another_zone_or_changed_after_signing_is_never_countersigned(shared, faults):
    async def for_itself(answer, body):
        return dataclasses.replace(answer, offer=shared.b.house.sign(body, to=LINGANG, process=body.negotiation))

    async def changed(answer, body):
        document = json.loads(answer.offer)
        payload = base64.b64decode(document["payload"]).replace(b'"pulls":0', b'"pulls":9')
        document["payload"] = base64.b64encode(payload).decode()
        return dataclasses.replace(answer, offer=text(Envelope.from_json(document)))

    for change in (for_itself, changed):
        faults.stand_ins["negotiate"] = offering(change)
        await denied(shared, await shared.offered())


async def test_an_offer_or_a_decision_of_an_earlier_negotiation_is_never_taken_for_this_one(shared, faults):
    kept: list[Answer] = []

    async def keeping(real, envelope, size):
        kept.append(await real.negotiate(envelope, size))
        return kept[-1]

    async def replaying(real, envelope, size):
        answer = await real.negotiate(envelope, size)
        return dataclasses.replace(answer, offer=kept[0].offer)

    async def replaying_all(real, envelope, size):
        answer = await real.negotiate(envelope, size)
        return dataclasses.replace(kept[0], ledger_size=answer.ledger_size)

    name = await shared.offered()
    faults.stand_ins["negotiate"] = keeping
    await (await shared.um()).request(name, purpose="research")
    for stand_in in (replaying, replaying_all):
        faults.stand_ins["negotiate"] = stand_in
        await denied(shared, name)


@pytest.mark.parametrize("noise", ["", "no json", "{}", '{"payload":"AA==","payloadType":"x","signatures":[]}'])
async def test_an_answer_that_is_no_statement_is_a_recorded_denial(shared, faults, noise):
    async def negotiate(real, envelope, size):
        answer = await real.negotiate(envelope, size)
        return dataclasses.replace(answer, decision=noise)

    faults.stand_ins["negotiate"] = negotiate
    await denied(shared, await shared.offered())


async def test_a_card_of_another_signer_is_never_decided_on(shared, faults):
    name = (await (await shared.lab()).publish(measurements().slice(0, 9), open_dataset(next_id("card")))).name

    async def get_card(real, resource):
        body = ResourceCard.parse(read_unverified(parse_envelope(await real.get_card(resource))).body)
        return await forged(shared, shared.a.house, body, resource)

    faults.stand_ins["get_card"] = get_card
    with pytest.raises(TdzError):
        await (await shared.um()).request(name, purpose="research")
    faults.heal()
    assert (await (await shared.um()).request(name, purpose="research")).agreement


# --- a peer that goes away at each step ---------------------------------------------------------------------


async def test_a_peer_that_is_away_when_it_should_decide_denies(shared, faults):
    name = await shared.offered()
    await (await shared.um()).dataset(name)  # its card is kept
    faults.stand_ins["negotiate"] = gone
    error, entry = await denied(shared, name)
    assert entry["body"]["reason"] == "peer unreachable"
    assert "try again" in error.remedy
    faults.heal()
    assert (await (await shared.um()).request(name, purpose="research")).agreement


async def test_a_peer_that_is_away_before_its_card_is_known_denies(shared, faults):
    faults.stand_ins["get_card"] = faults.stand_ins["list_cards"] = gone
    await denied(shared, "datasets/never-seen-before")


async def test_an_answer_to_confirm_that_is_lost_comes_to_the_same_agreement(shared, faults):
    name = await shared.offered()
    faults.stand_ins["confirm"] = answer_lost("confirm")
    access = await (await shared.um()).request(name, purpose="research")
    assert faults.calls.count("confirm") == 2
    in_force = [e for e in await entries(shared.b) if e["subject"] == f"agreements/{access.agreement}"]
    assert len(in_force) == 1
    assert (await (await access.pull()).to_arrow()).num_rows > 0


async def test_an_offer_that_is_never_confirmed_ends_as_not_confirmed_on_both_ledgers(shared, faults):
    name = await shared.offered()
    um = await shared.um()
    start = len(await entries(shared.a))
    faults.stand_ins["confirm"] = gone
    asking = asyncio.create_task(um.request(name, purpose="research"))
    countersigned = await recorded(shared.a, lambda e: e["kind"] == "agreement", start=start)
    assert countersigned["body"]["outcome"] == "countersigned"
    shared.clock.ahead = shared.timing.confirm + limits.CLOCK_LEEWAY_S + 5
    try:
        with pytest.raises(DeniedError) as caught:
            await asking
        assert {finding[0] for finding in caught.value.findings} == {"TDZ-PEER"}
        for gateway in (shared.a, shared.b):
            entry = await recorded(
                gateway,
                lambda e: e["subject"] == countersigned["subject"] and e["body"]["outcome"] == "not_confirmed",
            )
            assert entry["kind"] == "agreement"
    finally:
        shared.clock.ahead = 0
    agreement = countersigned["subject"].removeprefix("agreements/")
    with pytest.raises(TdzError, match="not in force"):
        await um.pull(f"agreements/{agreement}")


async def test_a_stream_that_is_cut_goes_on_at_the_first_chunk_that_is_missing(shared, faults):
    access, version = await agreed(shared, chunks=4)

    async def cut_once(frames):
        chunks = 0
        async for frame in frames:
            yield frame
            chunks += bool(frame.header and frame.body)
            if chunks == 2:
                faults.frames = None
                raise PeerUnavailableError("cut")

    faults.frames = cut_once
    pull = await access.pull()
    assert (await pull.to_arrow()).num_rows == pull.rows
    assert faults.reads == [0, 2]
    for gateway in (shared.a, shared.b):
        resumed = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.resumed"))
        assert resumed["body"]["first_chunk"] == 2
    assert await landed(shared, version)


async def test_a_peer_that_stays_away_while_streaming_is_aborted_when_the_lease_ends(shared, faults):
    access, version = await agreed(shared)

    async def cut(frames):
        async for frame in frames:
            yield frame
            if frame.header and frame.body:
                raise PeerUnavailableError("cut")

    faults.frames = cut
    faults.stand_ins["issue_ticket"] = gone
    pull = await access.pull(stall_s=30)
    reading = asyncio.create_task(pull.to_arrow())

    async def suspended():
        try:
            return (await (await shared.um()).transfer(pull.transfer)).state == "SUSPENDED"
        except NotFoundError:
            return False

    async def ended():
        # Further ahead each time: progress that was verified after the cut renews the lease once more.
        shared.clock.ahead += shared.timing.lease + 2
        return (await (await shared.um()).transfer(pull.transfer)).state == "TERMINATED"

    await eventually(suspended)
    try:
        await eventually(ended, every=0.3)
        for gateway in (shared.a, shared.b):
            entry = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
            given = "no progress before the lease ended"  # the provider gives up by itself, or hears it first
            assert entry["body"]["reason"] in ({given} if gateway is shared.a else {f"consumer: {given}", "no receipt"})
        with pytest.raises(TdzError):
            await reading
    finally:
        shared.clock.ahead = 0
        reading.cancel()
    assert not await landed(shared, version)


async def test_a_receipt_whose_answer_is_lost_is_delivered_again_and_recorded_once(shared, faults):
    access, _ = await agreed(shared, chunks=1)
    faults.stand_ins["deliver_receipt"] = answer_lost("deliver_receipt")
    pull = await access.pull()
    await pull.to_arrow()
    await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "receipt"))
    completed = [
        e
        for e in await entries(shared.b)
        if e["subject"] == f"transfers/{pull.transfer}" and e["kind"] == "transfer.completed"
    ]
    assert len(completed) == 1
    assert faults.calls.count("deliver_receipt") >= 2


async def test_a_receipt_that_comes_after_the_provider_gave_up_prevails(shared, faults):
    access, _ = await agreed(shared, chunks=1)
    faults.stand_ins["deliver_receipt"] = gone
    pull = await access.pull()
    await pull.to_arrow()
    shared.clock.ahead = shared.timing.lease + 2
    try:
        aborted = await recorded(shared.b, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
        assert aborted["body"]["reason"] == "no receipt"
        faults.heal()
        shared.a.outbox.wake()
        completed = await recorded(shared.b, of_subject(f"transfers/{pull.transfer}", "transfer.completed"))
        assert completed["seq"] > aborted["seq"]
    finally:
        shared.clock.ahead = 0


async def test_a_receipt_that_says_something_else_than_ours_is_not_recorded(shared, faults):
    from gateway.model.statements import Receipt

    access, _ = await agreed(shared, chunks=1)

    async def lying(real, receipt, size):
        answer, size = await real.deliver_receipt(receipt, size)
        body = Receipt.parse(read_unverified(parse_envelope(answer)).body).model_copy(update={"rows": 1})
        return shared.b.house.sign(body, to=CYBERJAYA, process=body.transfer), size

    faults.stand_ins["deliver_receipt"] = lying
    pull = await access.pull()
    await pull.to_arrow()
    await recorded(shared.b, of_subject(f"transfers/{pull.transfer}", "transfer.completed"))

    async def asked():
        return "deliver_receipt" in faults.calls

    await eventually(asked)
    about = of_subject(f"transfers/{pull.transfer}", "receipt")
    assert [e for e in await entries(shared.a) if about(e)] == []
