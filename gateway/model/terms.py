"""The owner's terms: to whom a dataset is offered, for what, and under which conditions.

Without terms a dataset is not offered, not listed and not requestable.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import InputError
from gateway.model.limits import OBLIGATIONS_MAX, ROWS_MAX
from gateway.model.obligation import OBLIGATION_KINDS, Obligation
from gateway.model.policy_facts import Action, Items, NonEmpty, Part, Purpose, UnixSeconds, ZoneName, as_tuple

PartnerUri = Annotated[
    str,
    StringConstraints(
        max_length=300,
        pattern=r"^tdz://[a-z]([a-z0-9-]{0,61}[a-z0-9])?/partner/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    ),
]
Positive = Annotated[int, Field(ge=1, le=ROWS_MAX)]


class Audience(Part):
    """To whom: every partner of these zones, and these partners; neither means nobody."""

    zones: Items[ZoneName] = ()
    participants: Items[PartnerUri] = ()

    @model_validator(mode="after")
    def _somebody(self) -> Audience:
        if not self.zones and not self.participants:
            raise PydanticCustomError("nobody", "name at least one zone or participant, or leave terms out")
        return self


class UseLimits(Part):
    """The most that one agreement gives; None: no such limit.

    Args:
        pulls: complete or partial transfers.
        rows: rows over all pulls.
        bytes: chunk bytes over all pulls.
        days: days from the agreement on.
    """

    pulls: Positive | None = None
    rows: Positive | None = None
    bytes: Positive | None = None
    days: Annotated[int, Field(ge=1, le=36_500)] | None = None


class OwnerObligation(Part):
    """An obligation that the owner adds to whatever policy asks."""

    kind: str
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> OwnerObligation:
        if self.kind not in OBLIGATION_KINDS:
            allowed = ", ".join(sorted(OBLIGATION_KINDS))
            raise PydanticCustomError(
                "obligation", "unknown kind {kind}; known: {allowed}", {"kind": self.kind, "allowed": allowed}
            )
        try:
            problem = self.obligation().unknown()
        except InputError as error:
            problem = error.message
        if problem:
            raise PydanticCustomError("obligation", "{problem}", {"problem": problem})
        return self

    def obligation(self) -> Obligation:
        """As the domain has it.

        Raises:
            InputError: parameters without a canonical form.
        """
        return Obligation.from_json({"kind": self.kind, "params": self.params})


class Terms(Part):
    """The owner's word on a dataset.

    Args:
        offered_to: zones and participants.
        purposes: the purposes of the policy input for which it is offered.
        actions: what may be done with it.
        obligations: added to those of both zones' policies.
        until: Unix seconds, the first moment at which it is offered no longer; 0: no end.
        limits: the most that one agreement gives.
        approval: ``owner`` parks each request until the publishing institution approves it.
    """

    offered_to: Audience
    purposes: NonEmpty[Purpose]
    actions: NonEmpty[Action] = ("transfer_dataset",)
    obligations: Annotated[
        tuple[OwnerObligation, ...], Field(max_length=OBLIGATIONS_MAX), BeforeValidator(as_tuple)
    ] = ()
    until: UnixSeconds = 0
    limits: UseLimits = UseLimits()
    approval: Literal["none", "owner"] = "none"

    def offers(self, *, zone: str, participant: str, now: int) -> bool:
        """Whether a partner may see and request what these terms are for.

        Args:
            zone: the partner's zone.
            participant: its URI.
            now: Unix seconds UTC.
        """
        if self.until and now >= self.until:
            return False
        return zone in self.offered_to.zones or participant in self.offered_to.participants
