"""What is said of where a model comes from: written by a run, read from anybody who signed it.

Two in-toto statements, both about the artifact (subject: the model's id, and the artifact's id as SHA-256, which
covers names and digests of all files where the subject digest of OpenSSF Model Signing covers no names):

- SLSA provenance v1 for one training: base model, datasets, code, parameters, metrics (slsa.dev/spec/v1.0);
- for each site of that training, a SCAI report of the compute platform: the devices and how long they ran
  (in-toto/attestation, spec/predicates/scai.md, v0.3).

Statements are joined by the training's invocation id. Integers and texts alone: a metric is the text of a decimal.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, ValidationError

from gateway.artifacts.statement import STATEMENT_TYPE, is_digest, malformed, member, read_json
from gateway.errors import InputError
from gateway.model import canonical, limits
from gateway.model.canonical import CanonicalError, JsonValue
from gateway.model.policy_facts import (
    Count,
    Country,
    DataClass,
    Device,
    Digest,
    Identifier,
    Items,
    NonEmpty,
    OptionalDigest,
    OptionalText,
    Part,
    Persons,
    Text,
    UnixSeconds,
    Yes,
)

SLSA: Final = "https://slsa.dev/provenance/v1"
SCAI: Final = "https://in-toto.io/attestation/scai/v0.3"
BUILD_TYPE: Final = "tdz:build-type/training/v1"
ACCELERATOR: Final = "ACCELERATOR"

_ANNOTATED_MAX: Final = 300  # resolved dependencies: datasets, the base model, the code

Uri = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[a-z][a-z0-9+.-]*:[!-~]*$")]
Metrics = Annotated[dict[str, OptionalText], Field(max_length=64)]


class BaseModelUsed(Part):
    """The model that the training began with; the digest is empty where it is not known."""

    id: Identifier
    digest: OptionalDigest = ""
    licence: OptionalText
    licence_version: OptionalText


class DatasetUsed(Part):
    """A dataset version that the training read.

    Args:
        name: as its zone names it, ``datasets/{id}``.
        digest: the version digest.
        class_: its class under Chinese law.
        subjects: persons in it.
    """

    name: Text
    digest: Digest
    class_: DataClass = Field(alias="class")
    subjects: Persons


class CodeUsed(Part):
    """The training app and its digest."""

    name: Text
    digest: Digest


class Platform(Part):
    """What one site of a training computed on; ``exaops`` are units of 10^18 operations."""

    site: Text
    country: Country
    hired: Yes
    devices: NonEmpty[Device]
    device_hours: Count
    exaops: Count


class TrainingRecord(Part):
    """What a training says of itself.

    Args:
        builder: URI of who ran it; for a gateway its identity.
        invocation: the run's id.
        started: Unix seconds UTC.
        finished: Unix seconds UTC.
        code: what was run.
        parameters: strategy, rounds and whatever else was chosen; JSON without floats.
        base: what it began with, None where nothing.
        data: the datasets of all sites.
        sites: the sites whose platforms are reported; every one has a report.
        metrics: name to decimal text.
    """

    builder: Uri
    invocation: Identifier
    started: UnixSeconds
    finished: UnixSeconds
    code: CodeUsed
    parameters: dict[str, Any] = Field(default_factory=dict)
    base: BaseModelUsed | None = None
    data: Items[DatasetUsed]
    sites: NonEmpty[Text]
    metrics: Metrics = Field(default_factory=dict)


class PlatformReport(Part):
    """A platform, and the training that it is of."""

    builder: Uri
    invocation: Identifier
    platform: Platform


class _DatasetNote(Part):
    kind: Literal["dataset"]
    class_: DataClass = Field(alias="class")
    subjects: Persons


class _BaseNote(Part):
    kind: Literal["base_model"]
    licence: OptionalText
    licence_version: OptionalText


class _SiteNote(Part):
    invocation: Identifier
    country: Country
    hired: Yes
    device_hours: Count
    exaops: Count


def training_statement(record: TrainingRecord, *, name: str, artifact: str) -> bytes:
    """The SLSA provenance of a training, to be signed with ``sign_statement``.

    Args:
        record: what the training says of itself.
        name: the model's id.
        artifact: the artifact's id in hex.

    Raises:
        InputError: parameters or metrics without a canonical form, or the whole is too long.
    """
    dependencies: list[JsonValue] = [
        {"name": record.code.name, "digest": {"sha256": record.code.digest}, "annotations": {"kind": "code"}}
    ]
    for dataset in record.data:
        note: dict[str, JsonValue] = {"kind": "dataset", "class": dataset.class_, "subjects": dataset.subjects}
        dependencies.append({"name": dataset.name, "digest": {"sha256": dataset.digest}, "annotations": note})
    base = record.base
    if base is not None:
        described: dict[str, JsonValue] = {"name": base.id, "uri": f"tdz:models/{base.id}"}
        described |= {"digest": {"sha256": base.digest}} if base.digest else {}
        described["annotations"] = {
            "kind": "base_model",
            "licence": base.licence,
            "licence_version": base.licence_version,
        }
        dependencies.append(described)
    metrics: dict[str, JsonValue] = dict(record.metrics)
    return _statement(
        SLSA,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {**record.parameters, "sites": list(record.sites)},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": record.builder},
                "metadata": {
                    "invocationId": record.invocation,
                    "startedOn": _moment(record.started),
                    "finishedOn": _moment(record.finished),
                },
                "byproducts": [{"name": "metrics", "uri": "tdz:metrics", "annotations": metrics}],
            },
        },
        name,
        artifact,
    )


def platform_statement(report: PlatformReport, *, name: str, artifact: str) -> bytes:
    """The SCAI report of one site's platform, to be signed with ``sign_statement``.

    Raises:
        InputError: it is too long.
    """
    platform = report.platform
    attributes: list[JsonValue] = [
        {"attribute": ACCELERATOR, "conditions": device.document()} for device in platform.devices
    ]
    producer: dict[str, JsonValue] = {
        "uri": report.builder,
        "name": platform.site,
        "annotations": {
            "invocation": report.invocation,
            "country": platform.country,
            "hired": platform.hired,
            "device_hours": platform.device_hours,
            "exaops": platform.exaops,
        },
    }
    return _statement(SCAI, {"attributes": attributes, "producer": producer}, name, artifact)


def _statement(kind: str, predicate: dict[str, Any], name: str, artifact: str) -> bytes:
    subject: list[JsonValue] = [{"name": name, "digest": {"sha256": artifact}}]
    try:
        data = canonical.encode(
            {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": kind, "predicate": predicate}
        )
    except CanonicalError as error:
        raise InputError(f"the provenance cannot be written: {error}", remedy="write numbers as texts") from error
    # Base64 and the certificate come on top.
    if len(data) > limits.PROVENANCE_ENVELOPE_MAX // 2:
        raise InputError("the provenance is too long", remedy="name fewer datasets or parameters")
    return data


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_provenance(payload: bytes, artifact: str) -> TrainingRecord | PlatformReport:
    """Read a statement about an artifact; its signature is the caller's to verify, before.

    Args:
        payload: the statement's bytes.
        artifact: the artifact that it must be about.

    Raises:
        IntegrityError: malformed, about something else, or of a type that says nothing here.
    """
    document = read_json(payload, limits.PROVENANCE_ENVELOPE_MAX)
    if member(document, "_type", str) != STATEMENT_TYPE:
        malformed("it is no in-toto statement v1")
    subjects = member(document, "subject", list)
    if len(subjects) != 1 or member(member(subjects[0], "digest", dict), "sha256", str) != artifact:
        malformed("the statement is about another artifact")
    kind, predicate = member(document, "predicateType", str), member(document, "predicate", dict)
    if kind not in (SLSA, SCAI):
        malformed(f"a statement of the type {kind[:80]!r} says nothing of a training")
    try:
        return _training(predicate) if kind == SLSA else _platform(predicate)
    except (ValidationError, ValueError) as error:
        malformed(f"the statement does not say what it must: {type(error).__name__}")


def _training(predicate: dict[str, Any]) -> TrainingRecord:
    definition, details = member(predicate, "buildDefinition", dict), member(predicate, "runDetails", dict)
    if member(definition, "buildType", str) != BUILD_TYPE:
        malformed("the build type is not that of a training")
    parameters = dict(member(definition, "externalParameters", dict))
    metadata = member(details, "metadata", dict)
    found = member(definition, "resolvedDependencies", list)
    if len(found) > _ANNOTATED_MAX:
        malformed("it has too many dependencies")
    code: list[CodeUsed] = []
    base: list[BaseModelUsed] = []
    data: list[DatasetUsed] = []
    for item in found:
        name, note = member(item, "name", str), member(item, "annotations", dict)
        digest = member(item.get("digest", {"sha256": ""}), "sha256", str)
        if digest and not is_digest(digest):
            malformed("a digest is not SHA-256 in hex")
        match note.get("kind"):
            case "dataset":
                facts = _DatasetNote.model_validate(note).document()
                data.append(
                    DatasetUsed.model_validate(
                        {"name": name, "digest": digest, "class": facts["class"], "subjects": facts["subjects"]}
                    )
                )
            case "base_model":
                licence = _BaseNote.model_validate(note)
                base.append(
                    BaseModelUsed(
                        id=name, digest=digest, licence=licence.licence, licence_version=licence.licence_version
                    )
                )
            case "code":
                code.append(CodeUsed(name=name, digest=digest))
            case _:
                malformed("a dependency is neither dataset, base model nor code")
    if len(code) != 1 or len(base) > 1:
        malformed("it has not one code, or more than one base model")
    return TrainingRecord(
        builder=member(member(details, "builder", dict), "id", str),
        invocation=member(metadata, "invocationId", str),
        started=_seconds(member(metadata, "startedOn", str)),
        finished=_seconds(member(metadata, "finishedOn", str)),
        code=code[0],
        base=base[0] if base else None,
        data=tuple(data),
        sites=tuple(_texts(parameters.pop("sites", None))),
        parameters=parameters,
        metrics=_metrics(details),
    )


def _metrics(details: dict[str, Any]) -> dict[str, str]:
    byproducts = details.get("byproducts", [])
    for item in byproducts if isinstance(byproducts, list) else []:
        if isinstance(item, dict) and item.get("name") == "metrics":
            return dict(member(item, "annotations", dict))
    return {}


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        malformed("sites is not a list of names")
    return value


def _seconds(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        malformed("a time has no time zone")
    return int(moment.timestamp())


def _platform(predicate: dict[str, Any]) -> PlatformReport:
    producer = member(predicate, "producer", dict)
    note = _SiteNote.model_validate(member(producer, "annotations", dict))
    devices = []
    for item in member(predicate, "attributes", list):
        if member(item, "attribute", str) == ACCELERATOR:
            devices.append(Device.model_validate(member(item, "conditions", dict)))
    platform = Platform(
        site=member(producer, "name", str),
        country=note.country,
        hired=note.hired,
        devices=tuple(devices),
        device_hours=note.device_hours,
        exaops=note.exaops,
    )
    return PlatformReport(builder=member(producer, "uri", str), invocation=note.invocation, platform=platform)
