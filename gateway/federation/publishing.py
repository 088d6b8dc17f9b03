"""The outcome of a run as a model artifact, in each zone that its agreement names.

The artifact is the same in both zones: the parameters, what features are scaled with, and what it takes to use them,
all functions of the run. Each gateway signs it with its own signing key and writes beside it where it comes from:
datasets, rounds, code, accelerators of both zones, metrics.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.artifacts.directory import ModelDirectory
from gateway.artifacts.provenance import (
    CodeUsed,
    DatasetUsed,
    Platform,
    PlatformReport,
    TrainingRecord,
    platform_statement,
    training_statement,
)
from gateway.artifacts.publishing import ModelPublishSession
from gateway.artifacts.signing import SignedModel, sign_model
from gateway.artifacts.statement import sign_statement
from gateway.artifacts.trust import Trust
from gateway.catalog.register import Published as CatalogEntry
from gateway.errors import ConflictError, NotFoundError
from gateway.federation import rows
from gateway.federation.deciding import Deciding
from gateway.federation.files import RunFiles
from gateway.federation.house import House
from gateway.federation.parts import Parts
from gateway.federation.platforms import devices_of
from gateway.federation.trainer import Trainer
from gateway.flow.locks import settled
from gateway.identity.signing import SigningIdentity
from gateway.model import canonical
from gateway.model.artifact import ModelDeclaration, ModelDescription
from gateway.model.dataset import Description
from gateway.model.described import parse_description
from gateway.model.policy_facts import DatasetFacts, Device
from gateway.model.run_statements import RunDataset
from gateway.model.statements import ResourceCard
from gateway.model.submission import ModelAnnouncement, ModelPublication, ModelSeal, seal_of
from gateway.storage.durable import storage_errors, write_new
from gateway.storage.publishing import Published

PARAMETERS: Final = "model.safetensors"
SCALING: Final = "scaling.safetensors"
CONFIG: Final = "config.json"
_SCRATCH: Final = "model"
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was published in this zone; empty texts where nothing was."""

    resource: str = ""
    version: str = ""
    artifact: str = ""


class Outcomes:
    """Publishes what runs come to.

    Args:
        house: this zone.
        files: the runs' directories.
        parts: where parameters and scaling lie.
        trainer: measures the outcome on this zone's rows.
        deciding: knows the facts of own datasets.
        signing: this gateway's signing key, read when it is needed.
        builder: this gateway's URI.
    """

    def __init__(
        self,
        house: House,
        files: RunFiles,
        parts: Parts,
        trainer: Trainer,
        deciding: Deciding,
        signing: Callable[[], SigningIdentity],
        builder: str,
    ) -> None:
        self._house = house
        self._files = files
        self._parts = parts
        self._trainer = trainer
        self._deciding = deciding
        self._signing = signing
        self._builder = builder

    async def publish(self, row: rows.RunRow, parameters: Path, digest: str) -> Outcome:
        """Publish the final parameters in this zone; again changes nothing.

        Args:
            row: the run, with every round completed.
            parameters: the container of the final parameters.
            digest: its SHA-256.

        Raises:
            ConflictError: the model's id belongs to another institution here.
            CertificateError, ConfigError: the gateway's signing key does not serve.
            StorageError: the disk is full or failed.
        """
        house = self._house
        owner = owner_here(row, house.zone)
        resource = f"models/{row.spec.result.model}"
        await house.catalog.check_owner(resource, owner)
        scaling = await self._parts.scaling(row)
        metrics = await self._metrics(row, parameters, digest, scaling)
        data = await self._data(row)
        history = await rows.rounds(house.state, row.id)
        signing, trust = await asyncio.to_thread(self._signing), await house.trust()
        scratch = self._files.directory(row.id) / _SCRATCH

        def work() -> tuple[Published | None, SignedModel]:
            _lay_out(row, scratch, parameters, scaling)
            try:
                files = ModelDirectory(scratch)
                entries = files.scan()
                signed = sign_model(entries, name=row.spec.result.model, key=signing.key, chain=signing.chain)
                if signed.artifact == standing:
                    return None, signed
                record = self._record(row, data, metrics)
                reports = [self._report(row, zone, history) for zone in record.sites]
                statements = [training_statement(record, name=row.spec.result.model, artifact=signed.artifact)]
                statements += [
                    platform_statement(report, name=row.spec.result.model, artifact=signed.artifact)
                    for report in reports
                ]
                texts = [sign_statement(each, key=signing.key, chain=signing.chain) for each in statements]
                seal = seal_of(signed.artifact, entries, signed.bundle, texts)
                return self._store(_publication(row).announce(entries), seal, files, trust), signed
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

        standing = await self._standing(resource)
        published, signed = await settled(asyncio.to_thread(work))
        if published is None:
            entry = await house.catalog.get(resource)
            return Outcome(resource, entry.version, signed.artifact)
        version = await house.chunks.run(lambda: house.versions.open(published.version))
        version.chunks.close()
        await house.catalog.put(
            CatalogEntry(
                owner=owner,
                manifest=published.manifest,
                description=parse_description(version.description_bytes),
                terms=row.spec.result.terms,
                published_at=house.clock(),
            )
        )
        return Outcome(resource, published.version, signed.artifact)

    async def _standing(self, resource: str) -> str:
        """The artifact that stands under the name, where there is one: published before a crash."""
        try:
            described = (await self._house.catalog.get(resource)).description
        except NotFoundError:
            return ""
        return described.artifact if isinstance(described, ModelDescription) else ""

    def _store(
        self, announcement: ModelAnnouncement, seal: ModelSeal, files: ModelDirectory, trust: Trust
    ) -> Published:
        house = self._house
        session = ModelPublishSession(house.chunks, house.versions, announcement)
        try:
            for run in files.runs([]):
                session.write(bytes(run))  # a run is good until the next is asked for
            session.seal(seal, trust, house.clock())
            return session.finish()
        finally:
            session.abort()

    # --- where it comes from ----------------------------------------------------------------------------

    async def _metrics(self, row: rows.RunRow, parameters: Path, digest: str, scaling: Path | None) -> dict[str, str]:
        """The outcome on this zone's rows, and what each zone said of its last round."""
        found: dict[str, str] = {"rounds": str(row.round)}
        for each in (await rows.rounds(self._house.state, row.id, 1))[-1:]:
            for zone in each.document["zones"]:
                found |= {f"last_round.{zone['zone']}.{name}": value for name, value in zone["metrics"]}
        work = self._parts.work(row)
        if work.datasets:
            await self._trainer.prepare(work)
            measured = await self._trainer.evaluate(work, (parameters, digest), scaling)
            found |= {f"outcome.{self._house.zone}.{name}": value for name, value in measured.items()}
        return found

    async def _data(self, row: rows.RunRow) -> list[DatasetUsed]:
        """The datasets of both zones, as the policy input knows them."""
        used = []
        for dataset in row.datasets:
            facts = await self._facts(row, dataset)
            subjects = max(facts.my.subjects, facts.cn.subjects_non_sensitive + facts.cn.subjects_sensitive)
            used.append(
                DatasetUsed.model_validate(
                    {
                        "name": dataset.resource,
                        "digest": dataset.version,
                        "class": facts.cn.class_,
                        "subjects": subjects,
                    }
                )
            )
        return used

    async def _facts(self, row: rows.RunRow, dataset: RunDataset) -> DatasetFacts:
        if dataset.zone == self._house.zone:
            return await self._deciding.own_facts(dataset)
        card = next(c for c in map(ResourceCard.parse, row.document["cards"]) if c.resource == dataset.resource)
        if not isinstance(card.description, Description):
            raise NotFoundError(f"{dataset.resource} is no dataset")
        return card.description.facts(card.version)

    def _record(self, row: rows.RunRow, data: Sequence[DatasetUsed], metrics: dict[str, str]) -> TrainingRecord:
        spec = row.spec
        return TrainingRecord(
            builder=self._builder,
            invocation=row.id,
            started=row.created_at,
            finished=max(row.updated_at, row.created_at),
            code=CodeUsed(name=spec.app.name, digest=row.document["app_digest"]),
            parameters=spec.without_texts().document(),
            base=None,
            data=tuple(data),
            sites=tuple(sorted({each.zone for each in row.datasets})),
            metrics=metrics,
        )

    def _report(self, row: rows.RunRow, zone: str, history: Sequence[rows.RoundRow]) -> PlatformReport:
        """What one zone trained on, as its signed updates said."""
        milliseconds = sum(each.milliseconds for each in history)
        house = self._house
        site = house.site() if zone == house.zone else house.peer_site(zone)
        return PlatformReport(
            builder=self._builder,
            invocation=row.id,
            platform=Platform(
                site=zone,
                country=site.jurisdiction,
                hired="unknown",
                devices=devices_of(zone, history) or (_UNSAID,),
                device_hours=-(-milliseconds // _HOUR_MS),
                exaops=0,
            ),
        )


_UNSAID: Final = Device(
    sku="unknown", vendor="unknown", vendor_country="unknown", eccn="unknown", count=0, tops=0, bits=1, die_mm2=0
)


def owner_here(row: rows.RunRow, zone: str) -> str:
    """Whose the model is in a zone: of the institution that started the run, or of the first owner of a dataset."""
    if row.side == "coordinator":
        return row.participant
    owners = sorted({each.owner for each in row.of_zone(zone)})
    if not owners:
        raise ConflictError("nobody of this zone takes part in the run")
    return owners[0]


def _lay_out(row: rows.RunRow, scratch: Path, parameters: Path, scaling: Path | None) -> None:
    """The artifact's files; the same bytes in both zones."""
    spec = row.spec
    config: dict[str, Any] = {
        "format": "tdz.model/1",
        "app": spec.app.document(),
        "code_digest": row.document["app_digest"],
        "features": list(spec.features),
        "target": spec.target,
        "classes": list(spec.classes),
        "parameters": PARAMETERS,
        "scaling": "" if scaling is None else SCALING,
    }
    with storage_errors("cannot lay out a model"):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        shutil.copyfile(parameters, scratch / PARAMETERS)
        if scaling is not None:
            shutil.copyfile(scaling, scratch / SCALING)
        write_new(scratch / CONFIG, [canonical.encode(config)])


def _publication(row: rows.RunRow) -> ModelPublication:
    result = row.spec.result
    return ModelPublication(
        id=result.model,
        title=result.title,
        description=result.description,
        licence=result.licence,
        model=ModelDeclaration(
            format="safetensors", openness=result.openness, end_use=result.end_use, memorisation_test="none"
        ),
        provenance=(),
        terms=result.terms,
    )
