"""The parts that a policy input is made of; manifests, registers and dataset cards are made of them too.

Each part is closed, frozen and without coercion. Integers only: times are Unix seconds UTC, 0 for "none";
persons 0 to 10,000,000,000. `"unknown"` never helps the requester. `gateway.model.policy_input` puts the
parts together and re-exports them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import ErrorDetails

from gateway.model.limits import COLUMNS_MAX

PERSONS_MAX: Final = 10_000_000_000
TIME_MAX_S: Final = 7_258_118_400  # 2200-01-01; in nanoseconds, and with years added, it still fits 64 bits
COUNT_MAX: Final = 1_000_000_000_000_000
LIST_MAX: Final = 256

Jurisdiction = Literal["CN", "MY"]
Yes = Literal["yes", "no", "unknown"]
Action = Literal["transfer_dataset", "transfer_model", "run_job", "release_output"]
Purpose = Literal[
    "research",
    "product_improvement",
    "service_delivery",
    "regulatory_reporting",
    "public_health",
    "judicial",
    "law_enforcement",
    "military",
    "unknown",
]
InstitutionKind = Literal["company", "university", "hospital", "statutory_body", "government", "unknown"]
DataClass = Literal["general", "important", "core", "unknown"]
Category = Literal["none", "personal", "health", "genetic", "vehicle", "geo", "financial", "industrial"]
SpiType = Literal[
    "biometric", "religion", "specific_identity", "health", "financial_account", "location_track", "under_14"
]
ColumnTag = Literal[
    "direct_identifier", "quasi_identifier", "sensitive", "face", "plate", "vin", "location", "free_text"
]
CnMechanismKind = Literal[
    "standard_contract",
    "security_assessment",
    "certification",
    "pipia",
    "separate_consent",
    "hgr_report",
    "hgr_security_review",
    "general_list_filing",
    "dsl36_approval",
]
MyMechanismKind = Literal[
    "tia",
    "consent",
    "explicit_consent",
    "s40_ground",
    "my_clauses",
    "my_bcr",
    "my_certification",
    "contract",
    "legal_proceedings",
    "vital_interest",
    "public_interest",
    "sta_permit",
]
MechanismKind = Literal[CnMechanismKind, MyMechanismKind]
ModelFormat = Literal["safetensors", "onnx", "gguf"]
Openness = Literal["closed", "gated", "published", "unknown"]
EndUse = Literal["civil", "military", "military_intelligence", "wmd", "unknown"]
MemorisationTest = Literal["passed", "failed", "none"]
VerifiedBy = Literal["regulator_register", "certification_body", "zone_admin", "self", "unknown"]

_T = TypeVar("_T")


def as_tuple(value: object) -> object:
    """JSON and YAML have arrays, frozen models have tuples; nothing else becomes one."""
    return tuple(value) if isinstance(value, list) else value


# The bounds stand before the conversion, so that they reach the tuple's own schema.
Items = Annotated[tuple[_T, ...], Field(max_length=LIST_MAX), BeforeValidator(as_tuple)]
NonEmpty = Annotated[tuple[_T, ...], Field(min_length=1, max_length=LIST_MAX), BeforeValidator(as_tuple)]

Persons = Annotated[int, Field(ge=0, le=PERSONS_MAX)]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
UnixSeconds = Annotated[int, Field(ge=0, le=TIME_MAX_S)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")]
OptionalIdentifier = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199})?$")]
ZoneName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
OptionalDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
Country = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}|unknown)$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
OptionalText = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
# What rules read: the embedded engine takes a quotation mark and a backslash for two characters each, so that a rule
# about a text's length or beginning would say one thing on it and another on OPA.
_FACT: Final = r'^[^\x00-\x1f\x7f"\\]*$'
FactText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_FACT)]
OptionalFactText = Annotated[str, StringConstraints(max_length=200, pattern=_FACT)]
TypeText = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=_FACT)]


def in_words(problem: ErrorDetails) -> str:
    """What is wrong with a value, as a person can mend it."""
    if problem["type"] == "string_pattern_mismatch" and problem["ctx"]["pattern"] == _FACT:
        return "quotation marks, backslashes and control characters are not allowed here"
    return problem["msg"]


class Part(BaseModel):
    """Base of every part: closed, frozen, without coercion."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", serialize_by_alias=True)

    def document(self) -> dict[str, Any]:
        """The part as plain JSON values, under the field names of the published schema."""
        return self.model_dump(mode="json", by_alias=True)


class Site(Part):
    """One end of the flow."""

    jurisdiction: Jurisdiction
    zone: ZoneName
    gateway_id: Identifier


class Flow(Part):
    """Which zone the data leaves and which it enters."""

    from_: Site = Field(alias="from")
    to: Site


class Request(Part):
    """What is asked; purpose comes from the partner, the rest from the gateway."""

    schema_: Literal["tdz.input/1"] = Field(alias="schema")
    now: Annotated[int, Field(ge=1, le=TIME_MAX_S)]
    action: Action
    flow: Flow
    purpose: Purpose


class Exporter(Part):
    """The institution that the data leaves, from the register of its zone."""

    id: Identifier
    legal_name: FactText
    kind: InstitutionKind
    sector: FactText
    ciio: Yes
    ftz_registered: Yes
    lingang_activity: Yes
    dpo_required: Yes
    dpo_ref: OptionalFactText


class Owner(Part):
    """A direct or indirect owner of the recipient; `pct` in whole per cent."""

    id: Identifier
    pct: Annotated[int, Field(ge=0, le=100)]
    listed: Yes


class Screening(Part):
    """The result of screening the recipient against the lists of its zone's register."""

    list_revision: FactText
    result: Literal["clear", "hit", "unknown"]


class Recipient(Part):
    """The institution that receives, from the register of its zone."""

    id: Identifier
    legal_name: FactText
    kind: InstitutionKind
    hq_country: Country
    ultimate_parent_country: Country
    owners: Items[Owner]
    screening: Screening


class MyFacts(Part):
    """What the Malaysian pack asks about a dataset."""

    sensitivity: Literal["none", "personal", "sensitive", "unknown"]
    subjects: Persons
    sensitive_subjects: Persons


class Hgr(Part):
    """Human genetic resources in a dataset."""

    kind: Literal["none", "sequence", "clinical", "image", "protein", "metabolic"]
    persons: Persons
    special: Literal["none", "important_family", "specific_region"]


class CnFacts(Part):
    """What the Chinese pack asks about a dataset; a person in both groups counts as sensitive."""

    class_: DataClass = Field(alias="class")
    notified_important: Yes
    basis: Literal["none", "consent", "contract", "hr", "emergency", "legal_duty"]
    exemption: Literal["none", "contract", "hr", "emergency", "transit"]
    subjects_non_sensitive: Persons
    subjects_sensitive: Persons
    spi_types: Items[SpiType]
    hgr: Hgr
    list_item_id: OptionalIdentifier


class Column(Part):
    """One column of the dataset's schema."""

    name: FactText
    arrow_type: TypeText
    tags: Items[ColumnTag]


class Deidentification(Part):
    """What was done to the data, with which strength, and when re-identification was last tried."""

    method: Literal["none", "pseudonymised", "k_anonymous", "blurred", "tokenised", "aggregated"]
    k: Count
    l: Count  # noqa: E741  the field's name in the literature (l-diversity)
    reid_tested_at: UnixSeconds


class Onward(Part):
    """A transfer onwards that the recipient plans."""

    country: Country
    recipient_id: Identifier


class DatasetFacts(Part):
    """The dataset, from the provider's signed manifest."""

    id: Identifier
    digest: Digest
    sector: FactText
    origin_jurisdictions: NonEmpty[Country]
    origin: Literal["domestic", "foreign_in_transit", "mixed"]
    controller: FactText
    gov_source: Literal["none", "federal", "state", "statutory_body", "open"]
    category: Category
    my: MyFacts
    cn: CnFacts
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=COLUMNS_MAX), BeforeValidator(as_tuple)]
    deid: Deidentification
    retention_until: UnixSeconds
    onward: Items[Onward]


class Scope(Part):
    """What a mechanism covers; for a model its id stands among the dataset ids."""

    dataset_ids: Items[Identifier]
    recipient_id: Identifier
    purposes: Items[Purpose]


class Mechanism(Part):
    """A legal mechanism, from the register of the zone whose law it serves.

    Valid: `issued_at <= now < expires_at`, the scope names dataset, recipient and purpose, and somebody
    other than the requester verified it.
    """

    kind: MechanismKind
    ref: Identifier
    scope: Scope
    issued_at: UnixSeconds
    expires_at: UnixSeconds
    verified_by: VerifiedBy


class CnUsage(Part):
    """Persons exported in the calendar year (UTC+8) with this request counted in."""

    year: Annotated[int, Field(ge=1970, le=2200)]
    non_sensitive_after: Persons
    sensitive_after: Persons


class Usage(Part):
    """The ledger of exported persons; supplied by the gateway, never by the requester."""

    cn: CnUsage


class Device(Part):
    """An accelerator type used in a training run; `tops` dense at `bits`, `die_mm2` in square millimetres."""

    sku: FactText
    vendor: FactText
    vendor_country: Country
    eccn: Literal["3A090.a", "3A090.b", "4A090", "none", "unknown"]
    count: Count
    tops: Count
    bits: Annotated[int, Field(ge=1, le=128)]
    die_mm2: Count


class TrainingRun(Part):
    """One training run; `exaops` are units of 10^18 operations."""

    site: FactText
    country: Country
    hired: Yes
    devices: Items[Device]
    device_hours: Count
    exaops: Count
    attestation: Literal["hardware", "signed", "none"]


class TrainingData(Part):
    """A dataset that a model was trained on."""

    digest: Digest
    class_: DataClass = Field(alias="class")
    subjects: Persons


class Training(Part):
    """Where, on what and with which data a model was trained."""

    runs: Items[TrainingRun]
    data: Items[TrainingData]


class BaseWeights(Part):
    """The model that this one was made from; empty texts where there is none."""

    id: OptionalIdentifier
    licence: OptionalFactText
    licence_version: OptionalFactText


class ModelFacts(Part):
    """The model, from its verified manifest and provenance."""

    id: Identifier
    digest: Digest
    format: ModelFormat
    base: BaseWeights
    openness: Openness
    provenance: Literal["verified", "unverified", "missing"]
    training: Training
    end_use: EndUse
    memorisation_test: MemorisationTest


class PrivacyBudget(Part):
    """Differential privacy in thousandths of epsilon: what this asks, and what is left before it."""

    epsilon_milli: Count
    remaining_milli: Count


class JobFacts(Part):
    """The computation that goes to the data."""

    kind: Literal["sql", "train", "algorithm"]
    algorithm_digest: OptionalDigest
    output_kind: Literal["aggregate", "model_update", "model", "rows"]
    min_group: Count
    dp: PrivacyBudget
    rounds: Count


class ReleaseFacts(Part):
    """What is about to leave a run, measured by the gateway."""

    smallest_group: Count
    suppressed: Count
    rows: Count
    bytes: Count
    digest: Digest
