"""Federated runs: what a partner asks for, and the states of a run with what moves between them.

A run is one of the job kinds: its states are those of every job. The table is the same on both sides; the
coordinator is the zone of the partner that starts the run, the participant is the other zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import REASON_STATUS, ConflictError, InputError, ManifestError
from gateway.model import canonical, limits, manifest_yaml
from gateway.model.canonical import CanonicalError
from gateway.model.dataset import Slug
from gateway.model.decimals import DecimalText, decimal_text
from gateway.model.policy_facts import (
    EndUse,
    Identifier,
    Openness,
    OptionalText,
    Part,
    Purpose,
    Text,
    ZoneName,
    as_tuple,
)
from gateway.model.terms import Terms

__all__ = ["RunEvent", "RunSpec", "RunState", "advance", "end_reason", "load_run_spec"]


class RunState(StrEnum):
    """Where a run stands."""

    SUBMITTED = "SUBMITTED"  # also while persons look at it: `held_by` of its row says whose
    DECIDED = "DECIDED"  # both zones allow it; the agreement is not in force yet
    QUEUED = "QUEUED"  # the agreement is in force; it waits for its turn
    RUNNING = "RUNNING"
    RELEASED = "RELEASED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class RunEvent(StrEnum):
    """What happens to a run."""

    DECIDE = "decide"
    HOLD = "hold"  # persons have to look at it; it stays where it is, or is decided anew
    REFUSE = "refuse"
    AGREE = "agree"
    START = "start"
    RELEASE = "release"
    FAIL = "fail"
    CANCEL = "cancel"


class RunEnd(StrEnum):
    """Why a run ended, where no error's own reason (`TdzError.reason`) says it."""

    POLICY = "policy"
    PEER_AWAY = "the other zone stayed away past its deadline"
    DEADLINE = "the deadline has passed"
    ENDED_THERE = "ended by the other zone"
    NOT_CONFIRMED = "not confirmed"
    CANCELLED = "cancelled by its partner"
    WITHDRAWN = "cancelled by the owner of a dataset"
    ADMINISTRATOR = "cancelled by an administrator"
    DENIED = "denied by an administrator in a review"
    DENIED_BY_OWNER = "denied by the owner in a review"
    UNREVIEWED = "nobody answered the review in time"
    OTHER = "other"


END_REASONS: Final = frozenset({*(reason.value for reason in RunEnd), *REASON_STATUS})
"""All that a ledger entry may say of an end: what another wrote could be anything, and stands for ever."""


def end_reason(said: str) -> str:
    """A reason as an entry may say it; what is none of `END_REASONS` is `other`."""
    return said if said in END_REASONS else RunEnd.OTHER.value


_S, _E = RunState, RunEvent

TRANSITIONS: Final[dict[tuple[RunState, RunEvent], RunState]] = {
    (_S.SUBMITTED, _E.DECIDE): _S.DECIDED,
    (_S.SUBMITTED, _E.HOLD): _S.SUBMITTED,
    (_S.SUBMITTED, _E.REFUSE): _S.REFUSED,
    (_S.SUBMITTED, _E.FAIL): _S.FAILED,
    (_S.SUBMITTED, _E.CANCEL): _S.CANCELLED,
    (_S.DECIDED, _E.DECIDE): _S.DECIDED,  # the participant is asked anew
    (_S.DECIDED, _E.HOLD): _S.SUBMITTED,  # the coordinator's persons look at what it alone decides on
    (_S.DECIDED, _E.AGREE): _S.QUEUED,
    (_S.DECIDED, _E.REFUSE): _S.REFUSED,  # the other zone decided on what it alone could, and refused
    (_S.DECIDED, _E.FAIL): _S.FAILED,
    (_S.DECIDED, _E.CANCEL): _S.CANCELLED,
    (_S.QUEUED, _E.HOLD): _S.QUEUED,
    (_S.QUEUED, _E.START): _S.RUNNING,
    (_S.QUEUED, _E.FAIL): _S.FAILED,
    (_S.QUEUED, _E.CANCEL): _S.CANCELLED,
    (_S.RUNNING, _E.HOLD): _S.RUNNING,  # a release of a round waits
    (_S.RUNNING, _E.RELEASE): _S.RELEASED,
    (_S.RUNNING, _E.FAIL): _S.FAILED,
    (_S.RUNNING, _E.CANCEL): _S.CANCELLED,
}

FINAL: Final = frozenset({_S.RELEASED, _S.REFUSED, _S.FAILED, _S.CANCELLED})


def advance(state: RunState, event: RunEvent) -> RunState:
    """The state after an event.

    Raises:
        ConflictError: the event does not fit the state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ConflictError(f"a run in state {state} cannot {event}") from None


# --- what a partner asks for ----------------------------------------------------------------------------

MeasuredText = Annotated[str, StringConstraints(max_length=400, pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$")]
"""A measured figure as `gateway.model.decimals.measured_text` writes it."""

DatasetName = Annotated[str, StringConstraints(pattern=r"^datasets/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
ColumnName = Text
Hyperparameters = Annotated[
    dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")], Any], Field(max_length=32)
]


class AppSpec(Part):
    """The training program: its name and version, and what it is set to (checked by the program itself)."""

    name: Literal["linear", "mlp"]
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){0,2}$")] = "1"
    hyperparameters: Hyperparameters = Field(default_factory=dict)

    @model_validator(mode="after")
    def _canonical(self) -> AppSpec:
        try:
            canonical.encode(self.hyperparameters)
        except CanonicalError as error:
            raise PydanticCustomError("hyperparameters", "{text}", {"text": str(error)}) from None
        return self


class Local(Part):
    """What a zone does in one round."""

    epochs: Annotated[int, Field(ge=1, le=limits.RUN_EPOCHS_MAX)] = 1
    batch: Annotated[int, Field(ge=0, le=limits.RUN_BATCH_MAX)] = 0  # rows; 0: all of them at once
    rate: DecimalText = "0.1"
    proximal: DecimalText = "0"  # mu of FedProx


class Result(Part):
    """The model that comes out, and where it may go.

    Args:
        model: its id, in each zone that it is published in.
        zones: where it is published: the run's own zones, one or both.
        terms: to whom it is offered there; the action is `transfer_model` where none is written.
        openness: who may have the weights.
        end_use: what the model is for; `unknown` never helps.
    """

    model: Slug
    title: Text
    description: OptionalText = ""
    licence: Text
    zones: Annotated[tuple[ZoneName, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=2)]
    terms: Annotated[Terms | None, BeforeValidator(lambda value: _for_models(value))] = None
    openness: Openness = "closed"
    end_use: EndUse = "unknown"


def _for_models(value: object) -> object:
    return {"actions": ["transfer_model"], **value} if isinstance(value, dict) else value


class RunSpec(Part):
    """A federated run as a partner writes it (RUN.yaml) and as it stands in the run's agreement.

    Args:
        strategy: the aggregation by its name in the literature.
        datasets: names, of either zone.
        target: the column that is learned; with `classes` a classification, without a regression.
        classes: every value that the target may have, as text.
        scaling: `standard` subtracts the mean and divides by the deviation, both from sums alone.
        norm_bound: the largest L2 norm of a round's update; the sender clips, the receiver checks.
        round_deadline_s: how long one round may take, the other zone's absence included.
        min_rows: a dataset with fewer rows is refused.
    """

    v: Literal[1] = 1
    name: Slug
    app: AppSpec
    strategy: Literal["FedSGD", "FedAvg", "FedProx"]
    rounds: Annotated[int, Field(ge=1, le=limits.RUN_ROUNDS_MAX)]
    local: Local = Local()
    datasets: Annotated[
        tuple[DatasetName, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=limits.RUN_DATASETS_MAX)
    ]
    features: Annotated[
        tuple[ColumnName, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=limits.RUN_FEATURES_MAX)
    ]
    target: ColumnName
    classes: Annotated[tuple[Text, ...], BeforeValidator(as_tuple), Field(max_length=limits.RUN_CLASSES_MAX)] = ()
    scaling: Literal["none", "standard"] = "standard"
    norm_bound: DecimalText
    seed: Annotated[int, Field(ge=0, le=(1 << 32) - 1)] = 0
    device: Literal["auto", "cpu", "cuda", "npu"] = "auto"
    round_deadline_s: Annotated[int, Field(ge=limits.RUN_ROUND_DEADLINE_MIN_S, le=limits.RUN_ROUND_DEADLINE_MAX_S)] = (
        600
    )
    min_rows: Annotated[int, Field(ge=limits.RUN_MIN_ROWS, le=limits.ROWS_MAX)] = 30
    purpose: Purpose
    mechanisms: Annotated[
        tuple[Identifier, ...], BeforeValidator(as_tuple), Field(max_length=limits.MECHANISMS_PER_REQUEST)
    ] = ()
    result: Result

    @model_validator(mode="after")
    def _agrees(self) -> RunSpec:
        for name, values in (
            ("datasets", self.datasets),
            ("features", self.features),
            ("classes", self.classes),
            ("mechanisms", self.mechanisms),
            ("result.zones", self.result.zones),
        ):
            if len(set(values)) != len(values):
                raise PydanticCustomError("twice", "{name} names one twice", {"name": name})
        if self.target in self.features:
            raise PydanticCustomError("target", "the target is among the features")
        if len(self.classes) == 1:
            raise PydanticCustomError("classes", "classes: none for a regression, else at least two")
        if "0" in {self.norm_bound, self.local.rate}:
            raise PydanticCustomError("positive", "norm_bound and local.rate are greater than zero")
        if (self.local.proximal != "0") != (self.strategy == "FedProx"):
            raise PydanticCustomError("proximal", "local.proximal is greater than zero for FedProx, and for it alone")
        if self.strategy == "FedSGD" and (self.local.epochs, self.local.batch) != (1, 0):
            raise PydanticCustomError("fedsgd", "FedSGD takes one step on all rows: local.epochs 1, local.batch 0")
        return self

    def encode(self) -> bytes:
        """The canonical JSON that `parse` reads."""
        return canonical.encode(self.document())

    def without_texts(self) -> Self:
        """The run without what its partner wrote freely: so it may stand on a ledger."""
        plain = self.result.model_copy(update={"title": self.name, "description": "", "terms": None})
        return self.model_copy(update={"result": plain})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what a partner sent.

        Raises:
            ManifestError: too long, not canonical JSON, or wrong; the text names the first field at fault.
        """
        if len(data) > limits.RUN_SPEC_MAX:
            raise ManifestError(f"the run has {len(data)} bytes; the limit is {limits.RUN_SPEC_MAX}")
        try:
            return cls.model_validate(canonical.decode(data))
        except CanonicalError as error:
            raise ManifestError(f"the run is not canonical JSON: {error}") from error
        except ValidationError as error:
            raise manifest_yaml.first_error(cls, error, where="run") from error

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read a document as people write it in Python: numbers may be floats.

        Raises:
            ManifestError: wrong; the text names the first field at fault.
        """
        try:
            return cls.model_validate(_numbers_as_text(dict(document)))
        except ValidationError as error:
            raise manifest_yaml.first_error(cls, error, where="run") from error


def load_run_spec(path: Path) -> RunSpec:
    """Read the RUN.yaml that a person wrote.

    Args:
        path: a YAML file of at most `limits.RUN_SPEC_MAX` bytes.

    Raises:
        ManifestError: file, line, field, what was found and the remedy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.RUN_SPEC_MAX + 1)
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read: {error.strerror}", remedy="check the path and its permissions"
        ) from error
    if len(data) > limits.RUN_SPEC_MAX:
        raise ManifestError(f"{path}: more than {limits.RUN_SPEC_MAX} bytes", remedy="shorten it")
    document, lines = manifest_yaml.read_yaml(data, str(path))
    document = manifest_yaml.as_written(document, lines, str(path))
    try:
        return RunSpec.model_validate(_numbers_as_text(document))
    except ValidationError as error:
        raise manifest_yaml.first_error(RunSpec, error, where=str(path), lines=lines) from error


_DECIMALS: Final = (("norm_bound",), ("local", "rate"), ("local", "proximal"))


def _numbers_as_text(document: Any) -> Any:
    """People write 0.05 where the closed document has "0.05"."""
    if not isinstance(document, dict):
        return document
    found = dict(document)
    for path in _DECIMALS:
        holder: Any = found
        for step in path[:-1]:
            if isinstance(holder.get(step), dict):
                holder[step] = dict(holder[step])
            holder = holder.get(step)
            if not isinstance(holder, dict):
                break
        else:
            if path[-1] in holder:
                holder[path[-1]] = _text(holder[path[-1]])
    app = found.get("app")
    if isinstance(app, dict):
        app = {**app, "version": str(app["version"])} if isinstance(app.get("version"), int | float) else dict(app)
        if isinstance(app.get("hyperparameters"), dict):
            parameters = app["hyperparameters"].items()
            app["hyperparameters"] = {k: _text(v) if isinstance(v, float) else v for k, v in parameters}
        found["app"] = app
    if isinstance(found.get("classes"), list):
        found["classes"] = [str(c) if type(c) is int else c for c in found["classes"]]
    return found


def _text(value: Any) -> Any:
    """A number as documents hold it; what cannot be held stays as it is, and the model says what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return decimal_text(value)
    except InputError:
        return value
