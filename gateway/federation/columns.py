"""Whether a dataset has the columns that a run reads: known from its schema, before anything is agreed on.

Who starts a run sees the columns of what is offered to it, so the finding may name them. What stands in the rows
(nulls, values that are no class) shows only when the run reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pyarrow import types

from gateway.model.decision import Finding
from gateway.model.run import RunSpec

_SHOWN_CHARS: Final = 80
_NUMBERS: Final = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
_CLASSES: Final = (types.is_integer, types.is_boolean, types.is_string, types.is_large_string, types.is_string_view)


def unfit_columns(spec: RunSpec, resource: str, schema: Any) -> list[Finding]:
    """The denial of a dataset that lacks a column of the run, or has it in a type that cannot be trained on.

    Args:
        spec: the run.
        resource: the dataset's name.
        schema: its `pyarrow.Schema`.
    """
    problem = next(_problems(spec, schema), "")
    if not problem:
        return []
    return [
        Finding(
            code="TDZ-COLUMNS",
            effect="deny",
            authority="house",
            cite=f"House rule; a run reads columns that every dataset has: {resource} {problem}",
            remedy="name columns as `tdz dataset show` lists them, or leave the dataset out",
        )
    ]


def _problems(spec: RunSpec, schema: Any) -> Iterator[str]:
    for name in (*spec.features, spec.target):
        shown = repr(name[:_SHOWN_CHARS])
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            yield f"has the column {shown} twice" if places else f"has no column {shown}"
            continue
        found = schema.field(places[0]).type
        plain = found.value_type if types.is_dictionary(found) else found
        labels = name == spec.target and bool(spec.classes)
        if not any(is_one(plain) for is_one in (_CLASSES if labels else _NUMBERS)):
            yield f"has the column {shown} of type {str(plain)[:_SHOWN_CHARS]}, no {'classes' if labels else 'numbers'}"
