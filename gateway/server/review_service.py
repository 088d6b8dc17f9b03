"""ReviewService and PreviewService: what waits for a person, appeals, and questions that ask for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

from gateway.errors import InputError
from gateway.exchange.appealing import Appeals
from gateway.exchange.house import House
from gateway.exchange.previewing import Outlook, Previews
from gateway.flow.review_rows import ReviewRow, list_reviews
from gateway.flow.reviewing import Desk, Shown, Voter
from gateway.model import canonical, limits
from gateway.model.decision import Finding
from gateway.model.participant import Role
from gateway.model.policy_facts import Purpose
from gateway.model.review import ReviewKind, Verdict
from gateway.server.access import caller
from gateway.server.paging import newest_first, page_size
from gateway.v1 import common_pb2, preview_pb2, preview_pb2_grpc, review_pb2, review_pb2_grpc

_RESOURCE_MAX_CHARS: Final = 100
_PURPOSES: Final = frozenset(get_args(Purpose))
_KINDS: Final = {
    ReviewKind.REVIEW: review_pb2.REVIEW_KIND_REVIEW,
    ReviewKind.APPEAL: review_pb2.REVIEW_KIND_APPEAL,
}
_VERDICTS: Final[dict[int, Verdict]] = {review_pb2.VERDICT_APPROVE: "approve", review_pb2.VERDICT_DENY: "deny"}


class ReviewService(review_pb2_grpc.ReviewServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, house: House, desk: Desk, appeals: Appeals) -> None:
        self._house = house
        self._desk = desk
        self._appeals = appeals

    async def ListReviews(self, request: review_pb2.ListReviewsRequest, context: Any) -> review_pb2.ListReviewsResponse:
        """List what this zone answers."""
        who = caller(context).identity
        size = page_size(request.page)
        found = await list_reviews(
            self._house.state,
            owner=who.uri if who.role is Role.PARTNER else "",
            open_only=not request.all,
            before=request.page.token,
            size=size + 1,
        )
        page, token = newest_first(found, size, key=lambda row: row.id)
        return review_pb2.ListReviewsResponse(reviews=[_row(row) for row in page], next_page_token=token)

    async def GetReview(self, request: review_pb2.GetReviewRequest, context: Any) -> review_pb2.Review:
        """Show one."""
        return _shown(await self._desk.show(caller(context).identity, request.id))

    async def AnswerReview(self, request: review_pb2.AnswerReviewRequest, context: Any) -> review_pb2.Review:
        """Approve or deny."""
        who = caller(context)
        verdict = _VERDICTS.get(request.verdict)
        if verdict is None:
            raise InputError("the answer is missing", remedy="approve or deny")
        self._house.paces.requests.take(who.identity.uri)
        voter = Voter(who.identity, who.fingerprint)
        row = await self._desk.answer(voter, request.id, verdict, request.note, basis=request.basis)
        return _shown(await self._desk.show(who.identity, row.id))

    async def AppealRequest(
        self, request: review_pb2.AppealRequestRequest, context: Any
    ) -> review_pb2.AppealRequestResponse:
        """Appeal against a denial."""
        who = caller(context).identity
        self._house.paces.requests.take(who.uri)
        row = await self._appeals.file(who, request.id, request.note)
        appeal = row.document["appeal"]
        return review_pb2.AppealRequestResponse(zone=appeal["zone"], deadline=appeal["deadline"])


class PreviewService(preview_pb2_grpc.PreviewServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, previews: Previews) -> None:
        self._previews = previews

    async def PreviewAccess(
        self, request: preview_pb2.PreviewAccessRequest, context: Any
    ) -> preview_pb2.PreviewAccessResponse:
        """What would come of a request."""
        if not request.resource.startswith(("datasets/", "models/")) or len(request.resource) > _RESOURCE_MAX_CHARS:
            raise InputError(f"resource {request.resource[:80]!r} is no name", remedy="write datasets/ID or models/ID")
        purposes: Any = tuple(dict.fromkeys(request.purposes))
        if unknown := [each for each in purposes if each not in _PURPOSES]:
            raise InputError(
                f"purpose {unknown[0][:40]!r} is unknown", remedy=f"use one of {', '.join(sorted(_PURPOSES))}"
            )
        refs = tuple(sorted(set(request.mechanisms)))
        if len(refs) > limits.MECHANISMS_PER_REQUEST or any(
            not 0 < len(ref) <= limits.REQUEST_ID_MAX_CHARS for ref in refs
        ):
            raise InputError(f"mechanisms: at most {limits.MECHANISMS_PER_REQUEST} references of 1 to 128 characters")
        found = await self._previews.ask(caller(context).identity, request.resource, purposes, refs)
        return preview_pb2.PreviewAccessResponse(outlooks=[_outlook(each) for each in found])


def _row(row: ReviewRow) -> review_pb2.Review:
    return review_pb2.Review(
        id=row.id,
        kind=_KINDS[ReviewKind(row.kind)],
        request=row.process_id,
        holder=row.holder,
        owner=row.owner,
        participant=row.participant,
        resource=row.resource,
        purpose=row.purpose,
        state=row.state,
        needed=row.needed,
        deadline=row.deadline,
        created_at=row.created_at,
        lifts=row.bound_to.codes,
        peer_zone=row.peer_zone,
        about=row.about,
    )


def _shown(shown: Shown) -> review_pb2.Review:
    message = _row(shown.row)
    message.approvals = shown.counted
    message.basis = shown.row.bound_to.digest
    message.note = shown.row.note
    if shown.decision is not None:
        message.findings.extend(_findings(shown.decision.findings))
    if shown.facts is not None:
        message.facts = canonical.encode(shown.facts).decode()
    for vote in shown.votes:
        verdict = review_pb2.VERDICT_APPROVE if vote.verdict == "approve" else review_pb2.VERDICT_DENY
        message.answers.add(by=vote.by, verdict=verdict, note=vote.note, at=vote.at, certificate=vote.fingerprint)
    return message


def _outlook(outlook: Outlook) -> preview_pb2.Outlook:
    message = preview_pb2.Outlook(recipient=outlook.recipient, purpose=outlook.purpose, effect=outlook.effect)
    for view in outlook.views:
        decision = view.decision
        message.zones.add(
            zone=view.zone,
            effect="" if decision is None else decision.effect,
            note=view.note,
            findings=[] if decision is None else _findings(decision.findings),
            obligations=[] if decision is None else [each.kind for each in decision.obligations],
        )
    return message


def _findings(found: Sequence[Finding]) -> list[common_pb2.Finding]:
    return [
        common_pb2.Finding(
            code=each.code,
            effect=each.effect,
            authority=each.authority,
            cite=each.cite,
            remedy=each.remedy,
            fields=list(each.fields),
        )
        for each in found
    ]
