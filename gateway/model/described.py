"""The descriptive part of a version, of whichever kind: a dataset's or a model's."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field, TypeAdapter

from gateway.errors import IntegrityError
from gateway.model import canonical, limits
from gateway.model.artifact import ModelDescription
from gateway.model.canonical import CanonicalError
from gateway.model.dataset import Description

AnyDescription: TypeAlias = Annotated[Description | ModelDescription, Field(discriminator="kind")]

_ANY: Final[TypeAdapter[Description | ModelDescription]] = TypeAdapter(AnyDescription)


def description_of(document: Any) -> Description | ModelDescription:
    """A descriptive part from a document that this gateway stored."""
    return _ANY.validate_python(document)


def parse_description(data: bytes) -> Description | ModelDescription:
    """Read the descriptive part of a version.

    Raises:
        IntegrityError: too long, not canonical, or not a descriptive part.
    """
    if len(data) > limits.MANIFEST_MAX:
        raise IntegrityError(f"a descriptive part of {len(data)} bytes; the limit is {limits.MANIFEST_MAX}")
    try:
        document = canonical.decode(data)
    except CanonicalError as error:
        raise IntegrityError(f"the descriptive part is not canonical JSON: {error}") from error
    model = isinstance(document, dict) and document.get("kind") == "model"
    return ModelDescription.parse(data) if model else Description.parse(data)


def resource_of(description: Description | ModelDescription) -> str:
    """The resource name: `datasets/{id}` or `models/{id}`."""
    return f"{description.kind}s/{description.id}"
