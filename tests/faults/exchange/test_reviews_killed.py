"""A gateway dies before and after each operation of a review that both zones and the owner hold; it comes to one end.

By default one occurrence of each kind of operation of the reviews, before it and after it in turn; TDZ_FAULTS=all
takes every operation. What a story shares with any other request is killed in `test_kill_points`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConflictError, PeerUnavailableError, ReviewError
from gateway.sdk import AsyncZone
from gateway.sdk.admin import AsyncAdmin
from gateway.sdk.reviews import Answered
from gateway.sdk.session import Session
from ledger.verify import verify_directory
from tests.e2e.material import measurements, next_id, open_dataset
from tests.e2e.small import ADMINS, directory_entries
from tests.faults.exchange.killing import (
    ALL,
    Point,
    approved_before_what_rests_on_it,
    killed_at_each,
    one_of_each_kind,
    points,
)
from tests.faults.exchange.stage import DEADLINE_S, Gate, Stage, eventually, insist, stage

pytestmark = pytest.mark.faults

_OF_REVIEWS = ("review", "approval", "_go_on", "appeal", "revo", "end_agreement")
_OF_APPEALS = (
    "append appeal",
    "append approval",
    "append revocation",
    "review.",
    "revoked",
    "_go_on",
    "ask ",
    "answer ",
)
_BESIDE = (
    "get_card",
    "hello",
    "keep",
    "mirror begin",
    "mirror receive",
    "take cosignature",
    "Tickets.issue",
    "Steps._whole",
    "chunk",
    "landing",
    "add version",
)
Tale = Callable[[Stage, str], Awaitable[str]]
_HOLDERS = ("cyberjaya/admin", "lingang/owner", "lingang/admin")


async def offered(made: Stage, approval: str = "owner") -> str:
    """A dataset whose owner may be asked, for a purpose that both zones' policies review."""
    manifest = open_dataset(next_id("held"), purposes=["unknown"], approval=approval)
    return (await made.lab.publish(measurements().slice(0, 50), manifest)).name


async def answer(zone: AsyncZone | AsyncAdmin, request: str, verdict: Answered = "approve") -> None:
    """Answer, again while the gateway is away; what was recorded before its answer was lost is done."""

    async def once() -> None:
        try:
            await zone.answer_review(request, verdict, note="seen")
        except ConflictError as error:
            if not any(word in error.message for word in ("already", "APPROVED", "SUPERSEDED", "DENIED")):
                raise

    await insist(once)


async def administrators(gate: Gate, request: str, who: Iterable[str], verdict: Answered = "approve") -> None:
    """Some of a zone's administrators answer, one after the other."""
    for each in who:
        admin = AsyncAdmin(Session.open(gate.zone.profile(each)))
        try:
            await answer(admin, request, verdict)
        finally:
            await admin.close()


async def waits(made: Stage, request: str, holder: str) -> bool:
    """Wait until it waits for a holder; False where it is beyond that."""
    order = (*_HOLDERS, "")

    async def there() -> list[bool]:
        shown = await insist(lambda: made.um.show_request(request))
        assert shown.state in {"REQUESTED", "ACCEPTED", "FINALIZED"}, (shown.state, shown.reason)
        if shown.state == "FINALIZED":
            return [False]
        if shown.held_by == holder:
            return [True]
        beyond = shown.held_by and order.index(shown.held_by) > order.index(holder)
        return [False] if beyond else []

    (found,) = await eventually(there, f"{request} waits for {holder}")
    return bool(found)


async def story(made: Stage, resource: str) -> str:
    """A request that three holders let go on, one after the other; its id."""
    request_id = str(uuid.uuid4())
    try:
        await insist(lambda: made.um.request(resource, purpose="unknown", request_id=request_id))
        raise AssertionError("it was not held")
    except ReviewError as error:
        request = error.request_id
    for holder in _HOLDERS:
        await waits(made, request, holder)
        if holder.endswith("/owner"):
            await answer(made.lab, request)
            continue
        gate = made.a if holder.startswith("cyberjaya") else made.b
        await administrators(gate, request, ADMINS[:2])
    await agreed(made, request)
    return request


async def agreed(made: Stage, request: str) -> str:
    """Wait until a request has become an agreement; its id."""

    async def final() -> str:
        return str((await insist(lambda: made.um.show_request(request))).agreement)

    return str(await eventually(final, f"{request} becomes an agreement"))


async def appealed_and_revoked(made: Stage, resource: str) -> str:
    """A denial by the other zone's administrator is appealed against and overturned; what came of it is revoked."""
    request_id = str(uuid.uuid4())
    try:
        await insist(lambda: made.um.request(resource, purpose="unknown", request_id=request_id))
        raise AssertionError("it was not held")
    except ReviewError as error:
        request = error.request_id
    await administrators(made.a, request, ADMINS[:2])
    await waits(made, request, "lingang/admin")
    await administrators(made.b, request, ADMINS[:1], "deny")

    async def denied() -> bool:
        return (await insist(lambda: made.um.show_request(request))).state == "TERMINATED"

    await eventually(denied, f"{request} is denied")

    async def appeal() -> bool:
        try:
            await made.um.appeal(request, note="look again")
        except PeerUnavailableError:
            return False
        except ConflictError as error:
            if "before" not in error.message:
                raise
        return True

    await eventually(appeal, f"{request} is appealed against")
    await administrators(made.b, request, ADMINS[1:3])

    async def anew() -> str:
        return str((await insist(lambda: made.um.show_request(request))).anew)

    agreement = await agreed(made, str(await eventually(anew, f"{request} is decided anew")))
    await insist(lambda: made.lab.revoke_agreement(agreement, note="no more"))

    async def ended() -> bool:
        if (await insist(lambda: made.um.agreement(agreement))).state != "TERMINATED":
            return False
        # It takes effect before it is recorded; until then its intent stands.
        owed = "SELECT 1 FROM pending WHERE flow='agreement.revoked'"
        return not any(gate.rows(owed) for gate in (made.a, made.b))

    await eventually(ended, f"{agreement} has ended in both zones, and both ledgers say so")
    return request


def chosen(found: list[Point]) -> list[Point]:
    """Operations of the reviews; what the story has with every other one is left out."""
    found = [point for point in found if not any(word in point[0] for word in _BESIDE)]
    return found if ALL else one_of_each_kind(found, _OF_REVIEWS)


def check(made: Stage) -> None:
    """Whatever died when: both ledgers verify, nothing is half done, and nothing went on before it was approved."""
    ledgers = {}
    for gate in (made.a, made.b):
        report = verify_directory(gate.layout.ledger)
        assert not report.findings, report.findings
        assert gate.rows("SELECT * FROM pending") == []
        assert gate.rows("SELECT * FROM outbox") == []
        assert gate.rows("SELECT id FROM reviews WHERE state='OPEN'") == []
        ledgers[gate.zone.name] = gate.entries()
        assert len({entry["id"] for entry in ledgers[gate.zone.name]}) == len(ledgers[gate.zone.name])
    for gate, other in ((made.a, made.b), (made.b, made.a)):
        origin = other.zone.settings.origin
        mirror = gate.layout.ledger / "mirror" / hashlib.sha256(origin.encode()).hexdigest()
        copy = list(directory_entries(mirror))
        assert copy == ledgers[other.zone.name][: len(copy)]
    for zone, entries in ledgers.items():
        approved_before_what_rests_on_it(entries, zone, {"decision", "transfer.started"})
    for negotiation, agreement, state in made.a.rows(
        "SELECT n.id, n.agreement_id, a.state FROM negotiations n JOIN agreements a ON a.id=n.agreement_id"
    ):
        for gate in (made.a, made.b):
            found = gate.rows("SELECT id, state FROM agreements WHERE negotiation_id=?", negotiation)
            assert found == [(agreement, state)], (gate.zone.name, negotiation, found)
            revoked = [e for e in ledgers[gate.zone.name] if e["subject"] == f"agreements/{agreement}"]
            kinds = [entry["kind"] for entry in revoked]
            assert kinds == ["agreement", *(["revocation"] if state == "TERMINATED" else [])]


@pytest.mark.parametrize("side", ["consumer", "provider"])
@pytest.mark.parametrize(
    ("tale", "approval"), [(story, "owner"), (appealed_and_revoked, "none")], ids=["held", "appeal"]
)
async def test_a_gateway_killed_at_any_operation_of_persons_answers_comes_back_to_one_outcome(
    side: str, tale: Tale, approval: str, tmp_path: Path, record_property: Any
) -> None:
    async with stage(tmp_path) as made:
        gate = made.gate(side)
        resource = await offered(made, approval)
        await gate.arm()
        await tale(made, resource)
        taken = chosen(points(await gate.arm()))
        if approval == "none":  # what the other story has not
            taken = [point for point in taken if any(word in point[0] for word in _OF_APPEALS)]
        assert [point for point in taken if "append a" in point[0]]

        async def anew() -> str:
            return await tale(made, await offered(made, approval))

        kills = await killed_at_each(gate, taken, anew)

        async def told() -> bool:
            return not any(each.rows("SELECT 1 FROM outbox") for each in (made.a, made.b))

        await eventually(told, "all is told", within=4 * DEADLINE_S)  # what met a dead gateway is told a minute later
        await made.quiet()
        check(made)
    record_property("kill_points", len(taken))
    record_property("not_reached", kills.missed)
    assert len(kills.missed) <= len(taken) // 10, f"the story does not come to {kills.missed}"
