"""The pinned description of a training app: what a run's agreement holds of it, without floats."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import InputError
from gateway.model import limits
from gateway.model.decimals import DecimalText, PositiveDecimalText
from gateway.model.policy_facts import Digest, Part, Text, as_tuple

Task = Literal["regression", "classification"]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Features = Annotated[tuple[Text, ...], Field(min_length=1, max_length=limits.FEATURES_MAX), BeforeValidator(as_tuple)]
Classes = Annotated[tuple[ClassName, ...], Field(max_length=limits.CLASSES_MAX), BeforeValidator(as_tuple)]
Layers = Annotated[tuple[Annotated[int, Field(ge=1, le=8_192)], ...], Field(max_length=16), BeforeValidator(as_tuple)]


class _Pinned(Part):
    """What every app's description has.

    Args:
        version: the app's version.
        code_digest: `gateway.compute.apps.code_digest` of the code that both zones run.
        task: what is predicted.
        features: columns of numbers, in the order of the parameters' rows.
        target: the column that is predicted.
        classes: the target's values as texts, in the order of the outputs; empty for a regression.
        learning_rate: the step's length (eta), above 0.
        l2: weight of (l2 / 2) * ||W||^2 in the loss; biases are left out of it.
    """

    version: Literal["1"]
    code_digest: Digest
    task: Task
    features: Features
    target: Text
    classes: Classes = ()
    learning_rate: PositiveDecimalText
    l2: DecimalText = "0"

    @model_validator(mode="after")
    def _fits_together(self) -> _Pinned:
        if len(set(self.features)) != len(self.features) or self.target in self.features:
            raise PydanticCustomError("features", "name each feature once, and not the target among them")
        if len(set(self.classes)) != len(self.classes):
            raise PydanticCustomError("classes", "name each class once")
        if (self.task == "classification") != (len(self.classes) >= 2):
            raise PydanticCustomError("classes", "a classification names at least two classes, a regression none")
        return self

    @property
    def outputs(self) -> int:
        """Columns of the output: one for a regression or two classes (a logit), else one for each class."""
        return 1 if len(self.classes) <= 2 else len(self.classes)


class LinearSpec(_Pinned):
    """Linear regression, or logistic regression (multinomial past two classes)."""

    app: Literal["linear"] = "linear"


class MlpSpec(_Pinned):
    """A multilayer perceptron with ReLU between its layers; `hidden` are the widths between input and output."""

    app: Literal["mlp"] = "mlp"
    hidden: Layers = (64,)


AppSpec = Annotated[LinearSpec | MlpSpec, Field(discriminator="app")]
_SPEC: TypeAdapter[LinearSpec | MlpSpec] = TypeAdapter(AppSpec)


def parse_spec(document: object) -> LinearSpec | MlpSpec:
    """Read an app's description from JSON values.

    Raises:
        InputError: unknown app or name, a float, or a value out of bounds; the text names the field.
    """
    try:
        return _SPEC.validate_python(document)
    except ValidationError as error:
        raise invalid("the app's description", error) from error


def invalid(what: str, error: ValidationError) -> InputError:
    """The first thing that does not validate, by its field; never its value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or "the document"
    return InputError(f"{what}: {place}: {first['msg'].lower()}", remedy=f"mend {place}")
