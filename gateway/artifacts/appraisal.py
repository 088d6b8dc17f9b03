"""What policy hears of a model: from its verified signature and provenance, and never from who asks for it.

Nothing here raises for hostile content. What does not hold makes the provenance ``unverified``, and then nothing
that it says is believed: the facts hold the empty parts, and policy sends the request to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from gateway.artifacts.provenance import PlatformReport, TrainingRecord, read_provenance
from gateway.artifacts.signing import read_bundle, verify_model
from gateway.artifacts.statement import StatementEnvelope, read_envelope
from gateway.artifacts.trust import Signer, Trust, untrusted
from gateway.errors import IntegrityError
from gateway.model.artifact import ModelDescription
from gateway.model.policy_facts import BaseWeights, ModelFacts, Training, TrainingData, TrainingRun

_NO_BASE: Final = BaseWeights(id="", licence="", licence_version="")
_NO_TRAINING: Final = Training(runs=(), data=())


def appraise(description: ModelDescription, *, version: str, published_at: int, trust: Trust) -> ModelFacts:
    """The policy input's ``model``.

    1. The model's signature is that of its files, of the artifact that the description names, and of a key that
       was trusted when it was published. Else nothing is believed, the publisher's declaration neither.
    2. Without provenance: ``missing``.
    3. Each statement is about the artifact and signed by a key that was trusted then.
    4. Each training has the report of every site that it names, and no report is left over.
    5. All trainings began with the same base model, or with none.

    What a platform says of itself is signed, never attested by hardware: nothing here checks such evidence.

    Args:
        description: the descriptive part.
        version: the version digest in hex.
        published_at: when the version was published, Unix seconds UTC.
        trust: whom this gateway trusts.
    """
    # 1.
    try:
        if read_bundle(description.signature).artifact != description.artifact:
            return _facts(description, version, "unverified", believed=False)
        verify_model(description.signature, description.files, trust, published_at)
    except IntegrityError:
        return _facts(description, version, "unverified", believed=False)
    # 2.
    if not description.provenance:
        return _facts(description, version, "missing")
    # 3. to 5.
    try:
        base, training = _lineage(read_lineage(description, published_at=published_at, trust=trust))
    except IntegrityError:
        return _facts(description, version, "unverified")
    return _facts(description, version, "verified", base=base, training=training)


def read_lineage(
    description: ModelDescription, *, published_at: int, trust: Trust
) -> list[tuple[TrainingRecord | PlatformReport, Signer]]:
    """What the statements beside a model say, each with its signer, for those who want to see it.

    Raises:
        IntegrityError: one is malformed, about something else, or signed by nobody whom we trusted.
    """
    found = []
    for text in description.provenance:
        envelope = read_envelope(text)
        signer = _signer(envelope, trust, published_at)
        found.append((read_provenance(envelope.payload, description.artifact), signer))
    return found


def _signer(envelope: StatementEnvelope, trust: Trust, at: int) -> Signer:
    for item in envelope.signatures:
        if item.certificate is not None:
            key, signer = trust.certified(item.certificate, at)
            if envelope.signed_by(key):
                return signer
        for known in trust.outside(item.keyid, at):
            if envelope.signed_by(known.key):
                return Signer(known.name, known.fingerprint)
    raise untrusted("the provenance")


def _lineage(found: Sequence[tuple[TrainingRecord | PlatformReport, Signer]]) -> tuple[BaseWeights, Training]:
    records: dict[str, TrainingRecord] = {}
    reports: dict[tuple[str, str], PlatformReport] = {}
    for said, _ in found:
        if isinstance(said, TrainingRecord):
            if said.invocation in records:
                raise IntegrityError("two statements are about one training")
            records[said.invocation] = said
        else:
            key = (said.invocation, said.platform.site)
            if key in reports:
                raise IntegrityError("two reports are about one site")
            reports[key] = said
    # 4.
    wanted = {(record.invocation, site) for record in records.values() for site in record.sites}
    if not records or wanted != reports.keys():
        raise IntegrityError("a training lacks the report of a site, or a report its training")
    # 5.
    bases = {
        (record.base.id, record.base.licence, record.base.licence_version) for record in records.values() if record.base
    }
    if len(bases) > 1:
        raise IntegrityError("the trainings began with different base models")
    base = _NO_BASE
    for identifier, licence, licence_version in bases:
        base = BaseWeights(id=identifier, licence=licence, licence_version=licence_version)
    runs = [_run(reports[key]) for key in sorted(wanted)]
    data: dict[str, TrainingData] = {}
    for dataset in (dataset for record in records.values() for dataset in record.data):
        item = TrainingData.model_validate(
            {"digest": dataset.digest, "class": dataset.class_, "subjects": dataset.subjects}
        )
        if data.setdefault(dataset.digest, item) != item:
            raise IntegrityError("one dataset is described in two ways")
    return base, Training(runs=tuple(runs), data=tuple(data[digest] for digest in sorted(data)))


def _run(report: PlatformReport) -> TrainingRun:
    platform = report.platform
    return TrainingRun(
        site=platform.site,
        country=platform.country,
        hired=platform.hired,
        devices=platform.devices,
        device_hours=platform.device_hours,
        exaops=platform.exaops,
        attestation="signed",
    )


def _facts(
    description: ModelDescription,
    version: str,
    provenance: Literal["verified", "unverified", "missing"],
    *,
    base: BaseWeights = _NO_BASE,
    training: Training = _NO_TRAINING,
    believed: bool = True,
) -> ModelFacts:
    declared = description.model
    return ModelFacts(
        id=description.id,
        digest=version,
        format=declared.format,
        base=base,
        openness=declared.openness if believed else "unknown",
        provenance=provenance,
        training=training,
        end_use=declared.end_use if believed else "unknown",
        memorisation_test=declared.memorisation_test if believed else "none",
    )
