"""Decisions on a run: for each dataset and each institution of the other zone that would receive what it gives.

What leaves a zone is computed from its datasets. It leaves the zone of the dataset and enters the other one; the
exporter is the dataset's owner. The participant's updates go to the institution that started the run; the
coordinator's part goes to the owners of the participant's datasets. Both zones decide on every such pair, and the
stricter wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.decisions.inputs import KeptDecision, own_persons, transfer_input
from gateway.errors import LimitError, NotFoundError
from gateway.federation.columns import unfit_columns
from gateway.federation.house import House
from gateway.flow import approved, findings, review_rows
from gateway.model import limits
from gateway.model.dataset import Description
from gateway.model.decision import Finding, Obligation
from gateway.model.policy_facts import DatasetFacts, JobFacts, PrivacyBudget, Recipient, ReleaseFacts
from gateway.model.review import Granted
from gateway.model.run import RunSpec
from gateway.model.run_statements import RunDataset
from gateway.model.statements import ResourceCard
from gateway.model.terms import Terms
from gateway.storage.arrow_chunks import read_schema_message

_FACTS_MAX: Final = 64  # descriptions of versions kept in memory; a version never changes

NO_OTHER_ZONE: Final = Finding(
    code="TDZ-SAME-ZONE",
    effect="deny",
    authority="house",
    cite="a federated run needs datasets of exactly one other zone",
    remedy="name at least one dataset that the other zone offers you, and none of a third",
)
OTHER_APP: Final = Finding(
    code="TDZ-APP",
    effect="deny",
    authority="house",
    cite="the two gateways do not have the same code of the training app",
    remedy="run the same version of the gateway in both zones",
)
MODEL_TAKEN: Final = Finding(
    code="TDZ-MODEL-ID",
    effect="deny",
    authority="house",
    cite="the id of the result belongs to another institution in a zone where it would be published",
    remedy="choose another id under result.model",
)
ELSEWHERE: Final = Finding(
    code="TDZ-TERMS",
    effect="deny",
    authority="house",
    cite="the result would go to a zone that takes no part in the run",
    remedy="name only zones of the run under result.zones",
)


@dataclass(frozen=True, slots=True)
class Matter:
    """What is decided on.

    Args:
        spec: the run.
        app_digest: the app's code digest.
        participant: URI of the institution that starts it; its zone coordinates.
        coordinator: the coordinating zone.
        other: the zone that is not ours.
        datasets: those of both zones.
        cards: of the other zone's datasets, by resource name.
        recipients: institutions of the other zone's register, by URI.
    """

    spec: RunSpec
    app_digest: str
    participant: str
    coordinator: str
    other: str
    datasets: tuple[RunDataset, ...]
    cards: Mapping[str, ResourceCard]
    recipients: Mapping[str, Recipient]

    def receivers(self, dataset: RunDataset) -> list[str]:
        """URIs of the institutions that receive what a dataset gives."""
        if dataset.zone != self.coordinator:
            return [self.participant]
        return sorted({each.owner for each in self.datasets if each.zone != self.coordinator})


@dataclass(frozen=True, slots=True)
class Ruling:
    """One decision: on which dataset, for whom, and the approvals that it rests on."""

    dataset: RunDataset
    recipient: str
    kept: KeptDecision
    approvals: tuple[str, ...] = ()

    def entry(self) -> dict[str, Any]:
        """What a ledger entry says of it."""
        return {
            **self.kept.entry(),
            **approved.named(self.approvals),
            "effect": self.kept.decision.effect,
            "resource": self.dataset.resource,
            "version": self.dataset.version,
            "recipient": self.recipient,
        }


class Deciding:
    """Decides for this zone."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._facts: dict[str, DatasetFacts] = {}

    async def job(self, run: str, matter: Matter, datasets: Sequence[RunDataset]) -> list[Ruling]:
        """Decide whether a run may read these datasets, with what persons approved of it.

        Raises:
            LimitError: more decisions than a run may need.
        """
        return await self._all(run, matter, datasets, "run_job", None)

    async def release(
        self, run: str, matter: Matter, datasets: Sequence[RunDataset], release: ReleaseFacts
    ) -> list[Ruling]:
        """Decide whether what was computed from these datasets may leave their zone."""
        return await self._all(run, matter, datasets, "release_output", release)

    async def _all(
        self, run: str, matter: Matter, datasets: Sequence[RunDataset], action: str, release: ReleaseFacts | None
    ) -> list[Ruling]:
        pairs = [(dataset, uri) for dataset in datasets for uri in matter.receivers(dataset)]
        if len(pairs) > limits.RUN_DECISIONS_MAX:
            raise LimitError(
                f"a run takes at most {limits.RUN_DECISIONS_MAX} decisions in each zone", remedy="name fewer datasets"
            )
        rulings = list(await asyncio.gather(*(self._one(matter, d, uri, action, release) for d, uri in pairs)))
        if all(ruling.kept.decision.effect != "review" for ruling in rulings):
            return rulings
        granted = await review_rows.granted_of(self._house.state, run)
        return [_lifted(ruling, granted) for ruling in rulings]

    async def _one(
        self, matter: Matter, dataset: RunDataset, uri: str, action: str, release: ReleaseFacts | None
    ) -> Ruling:
        house, spec = self._house, matter.spec
        home = dataset.zone == house.zone
        named = {"run": spec.name, "resource": dataset.resource, "recipient": uri}
        terms, facts, further = await (self._own(matter, dataset) if home else self._foreign(matter, dataset))
        if facts is None or terms is None:
            return Ruling(dataset, uri, house.refuse(named, further or findings.NOT_OFFERED))
        zone = matter.other if home else house.zone
        if not terms.offers(zone=zone, participant=uri, now=house.clock()):
            return Ruling(dataset, uri, house.refuse(named, findings.NOT_OFFERED))
        exporter = await house.exporter(dataset.owner) if home else matter.cards[dataset.resource].exporter
        recipient = matter.recipients.get(uri) if home else await house.recipient(uri)
        ours, theirs = house.site(), house.peer_site(matter.other)
        document = transfer_input(
            now=house.clock(),
            purpose=spec.purpose,
            leaves=ours if home else theirs,
            enters=theirs if home else ours,
            exporter=exporter,
            recipient=recipient,
            subject=facts,
            mechanisms=await house.mechanisms.serving(spec.mechanisms),
            persons=own_persons(facts),
        )
        document["request"]["action"] = action
        document["job"] = _job(matter).document()
        document["release"] = None if release is None else release.document()
        unfit = () if release else unfit_columns(spec, dataset.resource, await self._schema(matter, dataset))
        kept = await house.decide(
            document,
            *(
                replace(each, cite=f"{dataset.resource}: {each.cite}")  # a run has many datasets
                for each in findings.terms_findings(terms, spec.purpose, "run_job")
                if home or each.effect == "deny"  # the owner's own zone asks the owner
            ),
            *too_few(spec, dataset),
            *unfit,
            obligations=[each.obligation() for each in terms.obligations],
        )
        if unfulfilled := _unfulfilled(spec, kept.decision.obligations):
            kept = KeptDecision(
                findings.tighten(kept.decision, *unfulfilled), kept.document, kept.decided_at, kept.salt
            )
        return Ruling(dataset, uri, kept)

    async def _own(
        self, matter: Matter, dataset: RunDataset
    ) -> tuple[Terms | None, DatasetFacts | None, Finding | None]:
        """An own dataset: its owner's terms as they are now, and the version that was agreed on."""
        house = self._house
        try:
            published = await house.catalog.get(dataset.resource)
        except NotFoundError:
            return None, None, findings.NOT_OFFERED
        if published.owner != dataset.owner:
            return None, None, findings.NOT_OFFERED
        initiator = matter.participant
        if matter.coordinator == house.zone and not published.known_to(initiator, zone=house.zone, now=house.clock()):
            return None, None, findings.NOT_OFFERED
        return published.terms, await self.own_facts(dataset), None

    async def own_facts(self, dataset: RunDataset) -> DatasetFacts:
        """An own dataset's facts, of the version that was agreed on.

        Raises:
            NotFoundError: the version is not here.
        """
        facts = self._facts.get(dataset.version)
        if facts is None:
            house = self._house
            version = await house.chunks.run(lambda: house.versions.open(dataset.version))
            version.chunks.close()
            facts = Description.parse(version.description_bytes).facts(dataset.version)
            while len(self._facts) >= _FACTS_MAX:
                self._facts.pop(next(iter(self._facts)))
            self._facts[dataset.version] = facts
        return facts

    async def _schema(self, matter: Matter, dataset: RunDataset) -> Any:
        house = self._house
        if dataset.zone != house.zone:
            return read_schema_message(matter.cards[dataset.resource].schema_bytes())
        version = await house.chunks.run(lambda: house.versions.open(dataset.version))
        version.chunks.close()
        return version.schema

    async def _foreign(
        self, matter: Matter, dataset: RunDataset
    ) -> tuple[Terms | None, DatasetFacts | None, Finding | None]:
        card = matter.cards.get(dataset.resource)
        if card is None or not isinstance(card.description, Description):
            return None, None, findings.NOT_OFFERED
        return card.terms, card.description.facts(card.version), None


def _lifted(ruling: Ruling, granted: Iterable[Granted]) -> Ruling:
    kept, used = approved.lifted(ruling.kept, granted)
    return replace(ruling, kept=kept, approvals=used)


def _job(matter: Matter) -> JobFacts:
    return JobFacts(
        kind="train",
        algorithm_digest=matter.app_digest,
        output_kind="model_update",
        min_group=matter.spec.min_rows,
        dp=PrivacyBudget(epsilon_milli=0, remaining_milli=0),
        rounds=matter.spec.rounds,
    )


def too_few(spec: RunSpec, dataset: RunDataset) -> list[Finding]:
    """The denial of a dataset with fewer rows than the run's minimum; the dataset is named, its rows are not told."""
    if dataset.rows >= spec.min_rows:
        return []
    return [
        Finding(
            code="TDZ-GROUP",
            effect="deny",
            authority="house",
            cite=f"House rule; {dataset.resource} has fewer rows than the run's minimum",
            remedy="leave the dataset out, or publish it with more rows",
        )
    ]


def _unfulfilled(spec: RunSpec, obligations: Iterable[Obligation]) -> list[Finding]:
    """What a run cannot do to rows that it reads: it denies. Columns that the run does not read need no mask."""
    read = {*spec.features, spec.target}
    found = []
    for each in obligations:
        params: Mapping[str, Any] = each.params
        broken = (
            each.kind == "row_filter"
            or (each.kind == "mask_columns" and not read.isdisjoint(params["columns"]))
            or (each.kind == "aggregate_only" and params["min_group"] > spec.min_rows)
        )
        if broken:
            found.append(
                Finding(
                    code="TDZ-OBLIGATION",
                    effect="deny",
                    authority="house",
                    cite=f"House rule; what cannot be fulfilled is not allowed: {each.kind} in a run",
                    remedy="leave the masked columns out, or raise min_rows to the group that is asked for",
                )
            )
    return found
