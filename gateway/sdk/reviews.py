"""Reviews, appeals, revocation and dry runs: what partners and administrators ask alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from google.protobuf.message import Message

from gateway.sdk.resources import Agreement, Finding, Resource
from gateway.sdk.session import Session
from gateway.v1 import exchange_pb2, preview_pb2, review_pb2

Answered = Literal["approve", "deny"]
_VERDICTS = {"approve": review_pb2.VERDICT_APPROVE, "deny": review_pb2.VERDICT_DENY}


@dataclass(frozen=True, slots=True)
class ReviewFinding(Resource):
    """A finding of this zone; `fields` are the paths of the policy input that the rule looked at."""

    code: str
    effect: str
    authority: str
    cite: str
    remedy: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReviewAnswer(Resource):
    """One person's answer; `certificate` is the SHA-256 by which the ledger names them."""

    by: str
    verdict: str
    note: str
    at: int
    certificate: str

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        wire: Any = message
        verdict = "approve" if wire.verdict == review_pb2.VERDICT_APPROVE else "deny"
        return cls(wire.by, verdict, wire.note, wire.at, wire.certificate)


@dataclass(frozen=True, slots=True)
class Review(Resource):
    """A review or an appeal that this zone answers; `about` names the request or the run that waits for it.

    `lifts` are the reason codes that an approval lifts, `basis` the digest of what it is bound to. A listing leaves
    out `findings`, `facts`, `answers`, `approvals` and `basis`; `facts`, the policy input, is for administrators.
    """

    id: str
    kind: str
    request: str
    holder: str
    owner: str
    participant: str
    resource: str
    purpose: str
    state: str
    needed: int
    approvals: int
    deadline: int
    created_at: int
    lifts: tuple[str, ...]
    basis: str
    findings: tuple[ReviewFinding, ...]
    facts: str
    answers: tuple[ReviewAnswer, ...]
    note: str
    peer_zone: str
    about: str

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        wire: Any = message
        plain = (
            "id", "request", "holder", "owner", "participant", "resource", "purpose", "state", "needed", "approvals",
            "deadline", "created_at", "basis", "facts", "note", "peer_zone", "about",
        )  # fmt: skip
        return cls(
            **{name: getattr(wire, name) for name in plain},
            kind="appeal" if wire.kind == review_pb2.REVIEW_KIND_APPEAL else "review",
            lifts=tuple(wire.lifts),
            findings=tuple(ReviewFinding.of(each) for each in wire.findings),
            answers=tuple(ReviewAnswer.of(each) for each in wire.answers),
        )

    def document(self) -> dict[str, Any]:
        """As JSON values, the facts among them as a document."""
        document = Resource.document(self)
        return {**document, "facts": json.loads(self.facts) if self.facts else None}


@dataclass(frozen=True, slots=True)
class Appeal(Resource):
    """An appeal that was taken: the zone that answers it, until when."""

    zone: str
    deadline: int


@dataclass(frozen=True, slots=True)
class ZoneOutlook(Resource):
    """What one zone would say to a request; `effect` is empty where it was not asked, and `note` says why."""

    zone: str
    effect: str
    note: str
    findings: tuple[Finding, ...]
    obligations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outlook(Resource):
    """What would come of one request; `effect` is empty where a zone was not asked and none denies.

    For an own resource `recipient` names who could ask: `tdz://ZONE/partner/any` stands for any institution of that
    zone that is registered, screened clear and at home there.
    """

    recipient: str
    purpose: str
    effect: str
    zones: tuple[ZoneOutlook, ...]

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        wire: Any = message
        return cls(wire.recipient, wire.purpose, wire.effect, tuple(ZoneOutlook.of(each) for each in wire.zones))


class Answering:
    """What a connection of a partner or an administrator can do about reviews; errors are those of `gateway.errors`."""

    session: Session

    async def reviews(self, *, all: bool = False) -> list[Review]:  # noqa: A002  the option's name
        """Reviews and appeals that wait for an answer, newest first; with `all` those that were answered too."""
        request = review_pb2.ListReviewsRequest(all=all)
        found = await self.session.pages(self.session.reviews.ListReviews, request, "reviews")
        return [Review.of(each) for each in found]

    async def review(self, review: str) -> Review:
        """One review or appeal, by its id or that of the request or the run that it is about."""
        request = review_pb2.GetReviewRequest(id=_bare(review))
        return Review.of(await self.session.call(self.session.reviews.GetReview, request))

    async def answer_review(self, review: str, verdict: Answered, *, note: str = "", basis: str = "") -> Review:
        """Approve or deny; of an appeal, overturn or uphold.

        Args:
            review: its id, or that of the request or the run.
            verdict: approve or deny.
            note: why; it stays in the zone. Needed to deny, and to answer an appeal.
            basis: digest of what was looked at (`Review.basis`): where facts or policy have changed since, the answer
                is refused. Empty takes what stands.

        Raises:
            ConflictError: answered, expired or changed; or answered by the caller before.
            PermissionDeniedError: another is asked, or the caller took part in what is appealed against.
        """
        request = review_pb2.AnswerReviewRequest(id=_bare(review), verdict=_VERDICTS[verdict], note=note, basis=basis)
        return Review.of(await self.session.call(self.session.reviews.AnswerReview, request))

    async def revoke_agreement(self, agreement: str, *, note: str) -> Agreement:
        """End an agreement before its date, with all that is open under it.

        Args:
            agreement: `agreements/{id}` or its id.
            note: why; it stays in the zone.
        """
        request = exchange_pb2.RevokeAgreementRequest(id=agreement.removeprefix("agreements/"), note=note)
        return Agreement.of(await self.session.call(self.session.exchange.RevokeAgreement, request))

    async def preview(
        self, resource: str, *, purposes: Sequence[str] = (), mechanisms: Sequence[str] = ()
    ) -> list[Outlook]:
        """What would come of a request, without asking: nothing is recorded, negotiated or counted.

        Args:
            resource: `datasets/{id}` or `models/{id}`; for an own one, who could get it is told.
            purposes: none takes those of the owner's terms.
            mechanisms: references that the request would rely on.

        Raises:
            NotFoundError: nothing of this name is offered to the caller, or its own.
            PaceError: too many questions.
        """
        request = preview_pb2.PreviewAccessRequest(resource=resource, purposes=purposes, mechanisms=mechanisms)
        answer = await self.session.call(self.session.previews.PreviewAccess, request)
        return [Outlook.of(each) for each in answer.outlooks]

    async def appeal(self, request: str, *, note: str) -> Appeal:
        """Appeal against the denial of an own request: other persons look at it again.

        Args:
            request: its id.
            note: why, for those who answer.

        Raises:
            ConflictError: there is nothing to appeal against, or it was done before.
        """
        message = review_pb2.AppealRequestRequest(id=_bare(request), note=note)
        return Appeal.of(await self.session.call(self.session.reviews.AppealRequest, message))


def _bare(name: str) -> str:
    return name.rpartition("/")[2]
