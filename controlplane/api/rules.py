"""Helpers that put Kubernetes' own validation words into a pydantic field or model.

A CEL rule on a parent reports only the parent's path, so every message starts with the field path it is about; the same
text then serves `kubectl`, the reference documents and reconcile.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from controlplane.api.duration import PATTERN as DURATION_PATTERN
from controlplane.api.duration import parse_seconds
from controlplane.api.quantity import PATTERN as QUANTITY_PATTERN
from controlplane.api.quantity import parse_quantity

Schema = dict[str, Any]
VALIDATIONS = "x-kubernetes-validations"


def rule(cel: str, message: str) -> Schema:
    """One entry of x-kubernetes-validations. `message` begins with the field path."""
    return {"rule": cel, "message": message}


def immutable_optional(path: str, field: str, why: str) -> Schema:
    """A parent's rule that an optional field never changes: `self == oldSelf` on the field alone is escaped by removing
    and adding it again."""
    return rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{path}: immutable, and cannot be added or removed later: {why}",
    )


def rules(*entries: Schema, **extra: Any) -> Schema:
    """json_schema_extra with these rules and other schema words (list_type -> x-kubernetes-list-type)."""
    words = {f"x-kubernetes-{key.replace('_', '-')}": value for key, value in extra.items()}
    return ({VALIDATIONS: list(entries)} if entries else {}) | words


def map_list(*keys: str) -> Schema:
    """A list of named things: merged by key by server-side apply, and no key twice."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


SET_LIST: Schema = {"x-kubernetes-list-type": "set"}


def _positive(text: str) -> str:
    if parse_quantity(text) <= 0:
        raise ValueError(f"{text!r} must be above zero")
    return text


def quantity_field(path: str, description: str, example: str, *, default: Any = ...) -> Any:
    """A string field that holds a quantity above zero; optional with `default=None`.

    The schema has no pattern: CEL's own quantity parser says what is wrong in words, and with the field's path.
    """
    return Field(
        default,
        max_length=32,
        description=description,
        json_schema_extra=rules(
            rule(
                'isQuantity(self) && quantity(self).isGreaterThan(quantity("0"))',
                f"{path}: must be a Kubernetes quantity above zero, such as {example}",
            )
        ),
    )


PositiveQuantity = Annotated[str, AfterValidator(_positive)]


def _positive_cpu(value: int | str) -> int | str:
    _positive(str(value))
    return value


CpuQuantity = Annotated[
    int | str,
    Field(json_schema_extra={"pattern": QUANTITY_PATTERN, "minimum": 1}),
    AfterValidator(_positive_cpu),
]
"""Kubernetes users write `cpu: 1` as often as `cpu: "1"`: an integer or a quantity."""


def _duration(text: str) -> str:
    parse_seconds(text)
    return text


Duration = Annotated[str, Field(min_length=2, max_length=24, pattern=DURATION_PATTERN), AfterValidator(_duration)]
