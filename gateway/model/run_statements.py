"""The bodies of what two gateways sign for each other in a federated run; see `gateway.model.statements`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.model import limits
from gateway.model.decision import Decision
from gateway.model.policy_facts import (
    Device,
    Digest,
    Identifier,
    Part,
    Recipient,
    Text,
    UnixSeconds,
    ZoneName,
    as_tuple,
)
from gateway.model.run import DatasetName, MeasuredText, RunSpec
from gateway.model.statements import Count, Statement, Uuid7

Ids = Annotated[tuple[Uuid7, ...], BeforeValidator(as_tuple), Field(max_length=limits.RUN_DECISIONS_MAX)]


class RunDataset(Part):
    """One dataset of a run, in its home zone; `rows` are those of the version's manifest."""

    resource: DatasetName
    zone: ZoneName
    owner: Identifier
    version: Digest
    rows: Count


Datasets = Annotated[
    tuple[RunDataset, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=limits.RUN_DATASETS_MAX)
]


class JobDecision(Part):
    """One zone's decision, in its border-safe form, on one dataset of a run for one recipient."""

    resource: DatasetName
    recipient: Identifier
    decision: dict[str, Any]

    def read(self) -> Decision:
        """The decision inside.

        Raises:
            InputError: it is malformed.
        """
        return Decision.from_json(self.decision)


class RunDecisions(Statement):
    """All decisions of one zone on a run; they go onto both ledgers."""

    kind = "run-decisions"

    run: Uuid7
    effect: Literal["allow", "review", "deny"]
    decisions: Annotated[tuple[JobDecision, ...], BeforeValidator(as_tuple), Field(max_length=limits.RUN_DECISIONS_MAX)]


class RunProposal(Statement):
    """The coordinator's proposal: what shall run, on what, and its register's facts on who asks.

    Its decisions and its own datasets' cards come beside it, each signed by itself: together they would be longer
    than a statement may be.

    Args:
        cards: SHA-256 of the envelopes of the coordinator's cards.
        attempt: how often the run was decided anew before, after persons had approved something of it.
    """

    kind = "run-proposal"

    id: Uuid7
    participant: Identifier
    recipient: Recipient
    spec: RunSpec
    app_digest: Digest
    datasets: Datasets
    cards: Annotated[tuple[Digest, ...], BeforeValidator(as_tuple), Field(max_length=limits.RUN_DATASETS_MAX)]
    attempt: Count = 0


class RunAnswer(Statement):
    """The participant's institutions that would receive what leaves the coordinator; its decisions come beside it.

    Args:
        held_by: `admin` or `owner` after the participant's zone, where persons of it have to look first; else empty.
        deadline: until when they may; 0 where they need not.
    """

    kind = "run-answer"

    run: Uuid7
    held_by: Annotated[str, Field(max_length=100)] = ""
    deadline: UnixSeconds = 0
    recipients: Annotated[tuple[Recipient, ...], BeforeValidator(as_tuple), Field(max_length=limits.RUN_DATASETS_MAX)]


class RunDecisionIds(Part):
    """Both zones' decisions."""

    coordinator: Ids
    participant: Ids


class RunAgreement(Statement):
    """What a run is bound to: in force once the participant has recorded it with both signatures.

    Its `spec` is without the texts that the partner wrote freely; `spec_digest` is over the whole.
    """

    kind = "run-agreement"

    id: Uuid7
    participant: Identifier
    coordinator_zone: ZoneName
    participant_zone: ZoneName
    spec: RunSpec
    spec_digest: Digest
    app_digest: Digest
    datasets: Datasets
    decisions: RunDecisionIds
    confirm_before: UnixSeconds
    expires_at: UnixSeconds

    @model_validator(mode="after")
    def _belongs_together(self) -> RunAgreement:
        if tuple(each.resource for each in self.datasets) != self.spec.datasets:
            raise PydanticCustomError("datasets", "the datasets are not those of the run")
        zones = {self.coordinator_zone, self.participant_zone}
        if len(zones) != 2 or not {each.zone for each in self.datasets} <= zones:
            raise PydanticCustomError("zones", "the datasets are of other zones than the run's two")
        if not set(self.spec.result.zones) <= zones:
            raise PydanticCustomError("zones", "the result goes to a zone that takes no part")
        return self

    def of_zone(self, zone: str) -> tuple[RunDataset, ...]:
        """The datasets of one zone."""
        return tuple(each for each in self.datasets if each.zone == zone)


class Metric(Part):
    """One number about a zone's training, over all of its rows."""

    name: Text
    value: MeasuredText


class RunUpdate(Statement):
    """What one zone releases in a run: sums for scaling, parameters to start a round from, an update, the outcome.

    Args:
        round: 0 for the sums; the round that the parameters open or that the update closes; rounds + 1 for the outcome.
        digest: SHA-256 of the bytes that follow.
        bytes: how many follow.
        examples: rows of the sender's zone that it was computed from; 0: none, as with the initial parameters.
        smallest_group: rows of the smallest of the sender's datasets.
        devices: what it was computed on; empty where nothing was trained.
        decisions: the sender's decisions on this release.
    """

    kind = "run-update"

    run: Uuid7
    round: Annotated[int, Field(ge=0, le=limits.RUN_ROUNDS_MAX + 1)]
    what: Literal["sums", "parameters", "update", "outcome"]
    digest: Digest
    bytes: Annotated[int, Field(ge=1, le=limits.RUN_PARAMETERS_MAX + limits.RUN_UPDATE_SLACK)]
    examples: Count
    smallest_group: Count
    metrics: Annotated[tuple[Metric, ...], BeforeValidator(as_tuple), Field(max_length=limits.RUN_METRICS_MAX)]
    devices: Annotated[tuple[Device, ...], BeforeValidator(as_tuple), Field(max_length=limits.RUN_DEVICES_MAX)]
    decisions: Ids
