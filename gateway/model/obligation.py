"""Obligations: what must be done where a decision allows or parks, and how those of several decisions add up.

Kinds and parameters are closed: what this gateway does not know it cannot fulfil, so it denies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import InputError
from gateway.model import canonical
from gateway.model.canonical import CanonicalError, JsonValue

MASKS: Final = ("generalise", "keyed_hash", "null", "drop")
"""From the mildest to the strictest; where two decisions mask one column the stricter counts."""


@dataclass(frozen=True, slots=True)
class Obligation:
    """One obligation.

    Args:
        kind: one of `OBLIGATION_KINDS`, else the decision that carries it denies.
        params: values that have a canonical JSON form.
    """

    kind: str
    params: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The obligation as plain JSON values."""
        return {"kind": self.kind, "params": dict(self.params)}

    @classmethod
    def from_json(cls, value: object) -> Obligation:
        """Read an obligation; its kind may be unknown, its shape may not.

        Raises:
            InputError: members missing or extra, or parameters without a canonical form.
        """
        if not isinstance(value, dict) or set(value) != {"kind", "params"}:
            raise InputError("an obligation has exactly the members kind and params")
        kind, params = value["kind"], value["params"]
        if not isinstance(kind, str) or not 0 < len(kind) <= 64 or not isinstance(params, dict):
            raise InputError("an obligation's kind is a short text and its params an object")
        try:
            canonical.encode(params)
        except CanonicalError as error:
            raise InputError(f"obligation {kind}: {error}") from error
        return cls(kind, params)

    def unknown(self) -> str:
        """Why this gateway cannot understand the obligation; empty where it can."""
        check = _CHECKS.get(self.kind)
        if check is None:
            return f"unknown obligation {self.kind}"
        return "" if check(self.params) else f"obligation {self.kind} has parameters that are not known here"


def _texts(name: str) -> Callable[[Mapping[str, JsonValue]], bool]:
    def check(params: Mapping[str, JsonValue]) -> bool:
        value = params.get(name)
        return (
            set(params) == {name}
            and isinstance(value, list)
            and bool(value)
            and all(isinstance(item, str) and item for item in value)
        )

    return check


def _positive(name: str) -> Callable[[Mapping[str, JsonValue]], bool]:
    def check(params: Mapping[str, JsonValue]) -> bool:
        value = params.get(name)
        return set(params) == {name} and type(value) is int and value > 0

    return check


def _masks(params: Mapping[str, JsonValue]) -> bool:
    columns = params.get("columns")
    return (
        set(params) == {"columns"}
        and isinstance(columns, dict)
        and bool(columns)
        and all(mask in MASKS for mask in columns.values())
    )


def _filters(params: Mapping[str, JsonValue]) -> bool:
    terms = params.get("all")
    return (
        set(params) == {"all"} and isinstance(terms, list) and bool(terms) and all(isinstance(t, dict) for t in terms)
    )


def _usage(params: Mapping[str, JsonValue]) -> bool:
    year = params.get("year")
    return set(params) == {"jurisdiction", "year"} and params["jurisdiction"] == "CN" and type(year) is int


def _none(params: Mapping[str, JsonValue]) -> bool:
    return not params


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, JsonValue]], bool]]] = {
    "mask_columns": _masks,
    "row_filter": _filters,
    "aggregate_only": _positive("min_group"),
    "require_approval": _texts("by"),
    "no_onward": _none,
    "delete_by": _positive("at"),
    "notify": _texts("who"),
    "label": _texts("labels"),
    "ledger_add": _usage,
}

OBLIGATION_KINDS: Final = frozenset(_CHECKS)


def combine(obligations: Iterable[Obligation]) -> tuple[Obligation, ...]:
    """Add obligations up: filters AND, the strictest mask per column, the largest group, the earliest date.

    The result has each known kind at most once, except `ledger_add`; it is sorted and free of doubles, so
    that the order of the arguments does not show. An obligation that is not understood is kept as it is.
    """
    texts: dict[str, set[str]] = {}
    kept: dict[bytes, Obligation] = {}
    masks: dict[str, str] = {}
    terms: dict[bytes, JsonValue] = {}
    group = 0
    delete_at = 0
    for obligation in obligations:
        params: Mapping[str, Any] = obligation.params
        if obligation.unknown():
            kept[canonical.encode(obligation.to_json())] = obligation
        elif obligation.kind in _LISTS:
            texts.setdefault(obligation.kind, set()).update(params[_LISTS[obligation.kind]])
        elif obligation.kind == "mask_columns":
            for column, mask in params["columns"].items():
                masks[column] = max(mask, masks.get(column, MASKS[0]), key=MASKS.index)
        elif obligation.kind == "row_filter":
            terms.update({canonical.encode(term): term for term in params["all"]})
        elif obligation.kind == "aggregate_only":
            group = max(group, params["min_group"])
        elif obligation.kind == "delete_by":
            delete_at = min(delete_at or params["at"], params["at"])
        else:
            kept[canonical.encode(obligation.to_json())] = obligation
    result = list(kept.values())
    result.extend(Obligation(kind, {_LISTS[kind]: [*sorted(names)]}) for kind, names in texts.items())
    if masks:
        result.append(Obligation("mask_columns", {"columns": dict(sorted(masks.items()))}))
    if terms:
        result.append(Obligation("row_filter", {"all": [terms[key] for key in sorted(terms)]}))
    if group:
        result.append(Obligation("aggregate_only", {"min_group": group}))
    if delete_at:
        result.append(Obligation("delete_by", {"at": delete_at}))
    return tuple(sorted(result, key=lambda o: canonical.encode(o.to_json())))


_LISTS: Final = {"require_approval": "by", "notify": "who", "label": "labels"}
