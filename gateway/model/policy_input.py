"""The policy input: one closed document of facts on which a zone decides.

Every field is present, nothing is extra, nothing is coerced: a count sent as text, `"cn"` in lower case or a
missing field is an error, never a default. Facts that contradict each other are an error too. Rego checks the
same document again, so a caller that passes this model by gains nothing.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import InputError
from gateway.model import canonical
from gateway.model.limits import DECISION_INPUT_MAX, MECHANISMS_PER_REQUEST
from gateway.model.policy_facts import (
    Action,
    Category,
    CnFacts,
    CnUsage,
    Column,
    DataClass,
    DatasetFacts,
    Deidentification,
    Device,
    Exporter,
    Flow,
    Hgr,
    JobFacts,
    Jurisdiction,
    Mechanism,
    MechanismKind,
    ModelFacts,
    MyFacts,
    Onward,
    Owner,
    Part,
    PrivacyBudget,
    Purpose,
    Recipient,
    ReleaseFacts,
    Request,
    Scope,
    Screening,
    Site,
    Training,
    TrainingData,
    TrainingRun,
    Usage,
    VerifiedBy,
    Yes,
    as_tuple,
    in_words,
)

__all__ = [
    "SCHEMA_ID",
    "Action",
    "Category",
    "CnFacts",
    "CnUsage",
    "Column",
    "DataClass",
    "DatasetFacts",
    "Deidentification",
    "Device",
    "Exporter",
    "Flow",
    "Hgr",
    "JobFacts",
    "Jurisdiction",
    "Mechanism",
    "MechanismKind",
    "ModelFacts",
    "MyFacts",
    "Onward",
    "Owner",
    "PolicyInput",
    "PrivacyBudget",
    "Problem",
    "Purpose",
    "Recipient",
    "ReleaseFacts",
    "Request",
    "Scope",
    "Screening",
    "Site",
    "Training",
    "TrainingData",
    "TrainingRun",
    "Usage",
    "VerifiedBy",
    "Yes",
    "china_year",
    "dataset_contradictions",
    "json_schema",
    "parse",
    "problems",
    "read_json",
]

SCHEMA_ID: Final = "tdz.input/1"

_PARTS_OF_ACTION: Final[Mapping[str, frozenset[str]]] = {
    "transfer_dataset": frozenset({"dataset"}),
    "transfer_model": frozenset({"model"}),
    "run_job": frozenset({"dataset", "job"}),
    "release_output": frozenset({"dataset", "job", "release"}),
}
_CHINA: Final = datetime.timezone(datetime.timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document is no policy input: the fields at fault as dotted paths, and one line of text."""

    fields: tuple[str, ...]
    text: str


class PolicyInput(Part):
    """All the facts on which a zone decides one request."""

    request: Request
    exporter: Exporter
    recipient: Recipient
    dataset: DatasetFacts | None
    mechanisms: Annotated[tuple[Mechanism, ...], Field(max_length=MECHANISMS_PER_REQUEST), BeforeValidator(as_tuple)]
    usage: Usage
    model: ModelFacts | None
    job: JobFacts | None
    release: ReleaseFacts | None

    @model_validator(mode="after")
    def _facts_agree(self) -> PolicyInput:
        found = tuple(_contradictions(self))
        if found:
            raise PydanticCustomError(
                "contradiction",
                "{text}",
                {"text": "; ".join(problem.text for problem in found), "problems": found},
            )
        return self

    def digest(self) -> str:
        """SHA-256 in hex over the canonical JSON of the document."""
        return canonical.digest(self.document())


def china_year(now: int) -> int:
    """The calendar year in which persons are counted (from 1 January, UTC+8; Order 16).

    Args:
        now: Unix seconds UTC.
    """
    return datetime.datetime.fromtimestamp(now, tz=_CHINA).year


def dataset_contradictions(facts: DatasetFacts, *, path: str = "dataset") -> Iterator[Problem]:
    """What a dataset's facts say against each other; a manifest is checked with the same function.

    Args:
        facts: the facts.
        path: what the field names start with.
    """
    cn, my = facts.cn, facts.my
    counts = {
        f"{path}.my.subjects": my.subjects,
        f"{path}.my.sensitive_subjects": my.sensitive_subjects,
        f"{path}.cn.subjects_non_sensitive": cn.subjects_non_sensitive,
        f"{path}.cn.subjects_sensitive": cn.subjects_sensitive,
        f"{path}.cn.hgr.persons": cn.hgr.persons,
    }
    counted = tuple(name for name, persons in counts.items() if persons)
    if facts.category == "none" and counted:
        yield Problem((f"{path}.category", *counted), "category none, yet persons are counted")
    if facts.category == "personal" and not counted:
        yield Problem((f"{path}.category", *counts), "category personal, yet no persons are counted")
    if facts.category == "none" and my.sensitivity in {"personal", "sensitive"}:
        yield Problem((f"{path}.category", f"{path}.my.sensitivity"), "category none, yet sensitivity is stated")
    if my.sensitivity == "none" and (my.subjects or my.sensitive_subjects):
        yield Problem((f"{path}.my.sensitivity", f"{path}.my.subjects"), "sensitivity none, yet subjects are counted")
    if my.sensitive_subjects > my.subjects:
        yield Problem((f"{path}.my.sensitive_subjects", f"{path}.my.subjects"), "more sensitive subjects than subjects")
    if cn.class_ == "general" and cn.notified_important == "yes":
        yield Problem((f"{path}.cn.class", f"{path}.cn.notified_important"), "class general, yet notified as important")
    if cn.spi_types and not cn.subjects_sensitive:
        yield Problem(
            (f"{path}.cn.spi_types", f"{path}.cn.subjects_sensitive"),
            "sensitive information is listed, yet no sensitive persons are counted",
        )
    if cn.hgr.kind == "none" and (cn.hgr.persons or cn.hgr.special != "none"):
        yield Problem(
            (f"{path}.cn.hgr.kind", f"{path}.cn.hgr.persons"),
            "no genetic resources, yet persons or a special group",
        )


def _contradictions(document: PolicyInput) -> Iterator[Problem]:
    request, usage = document.request, document.usage.cn
    needed = _PARTS_OF_ACTION[request.action]
    for part in ("dataset", "model", "job", "release"):
        present = getattr(document, part) is not None
        if present != (part in needed):
            state = "is null" if not present else "must be null"
            yield Problem((part, "request.action"), f"{part} {state} for {request.action}")
    flow = request.flow
    if flow.from_.jurisdiction == flow.to.jurisdiction or flow.from_.zone == flow.to.zone:
        yield Problem(("request.flow.from", "request.flow.to"), "both ends of the flow are the same")
    if usage.year != china_year(request.now):
        yield Problem(("usage.cn.year", "request.now"), "the usage is that of another year")
    if document.dataset is None:
        return
    yield from dataset_contradictions(document.dataset)
    # The request's own count is nobody's where an aggregate or a model update leaves a job.
    if document.job is None or document.job.output_kind not in {"aggregate", "model_update"}:
        own = document.dataset.cn
        # A person who moved from the one group to the other in the year is counted as sensitive only.
        total = usage.non_sensitive_after + usage.sensitive_after
        if (
            usage.sensitive_after < own.subjects_sensitive
            or total < own.subjects_sensitive + own.subjects_non_sensitive
        ):
            yield Problem(
                ("usage.cn.non_sensitive_after", "usage.cn.sensitive_after"),
                "the year's persons are fewer than the request's own",
            )


def problems(error: ValidationError) -> tuple[Problem, ...]:
    """The problems behind a validation error, with dotted paths as in the published schema."""
    found: list[Problem] = []
    for item in error.errors(include_url=False, include_input=False):
        if item["type"] == "contradiction":
            found.extend(item["ctx"]["problems"])
            continue
        path = ".".join(str(step) for step in item["loc"])
        found.append(Problem((path,) if path else (), in_words(item)))
    return tuple(found)


def read_json(data: bytes | str) -> Any:
    """Read JSON text as strictly as the gateway does: no duplicate members, no NaN, bounded.

    Args:
        data: UTF-8 JSON, at most `DECISION_INPUT_MAX` bytes.

    Raises:
        InputError: not JSON, duplicate members, or too long.
    """
    if len(data) > DECISION_INPUT_MAX:
        raise InputError(f"the policy input is longer than {DECISION_INPUT_MAX} bytes")
    try:
        return json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", remedy="start from `tdz policy example`") from error


def parse(data: bytes | str) -> PolicyInput:
    """Read a policy input from JSON text.

    Args:
        data: UTF-8 JSON, at most `DECISION_INPUT_MAX` bytes.

    Raises:
        InputError: not JSON, duplicate members, too long, or not a policy input; the text names the fields.
    """
    try:
        return PolicyInput.model_validate(read_json(data))
    except ValidationError as error:
        raise InputError(
            "; ".join(f"{', '.join(p.fields)}: {p.text}" for p in problems(error)),
            remedy="start from `tdz policy example`",
        ) from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of the policy input."""
    schema = PolicyInput.model_json_schema(by_alias=True)
    schema["$id"] = SCHEMA_ID
    return schema
