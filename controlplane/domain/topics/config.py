"""Topic config values: how Kafka prints them, and when two spellings mean the same.

Kafka answers DescribeConfigs with the parsed value printed again (ConfigDef.convertToString): booleans in lower case,
whole numbers without a fraction, lists joined by commas without blanks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from controlplane.domain.topics.values import ConfigValue


def kafka_text(value: ConfigValue) -> str:
    """The value as Kafka prints it. Raises ValueError for NaN and infinities, which no Kafka setting takes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number that Kafka takes")
        # YAML and JSON do not tell 604800000.0 from 604800000, and Kafka reads no fraction where it wants a long.
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    return str(value)


def declared_text(declared: Mapping[str, ConfigValue]) -> dict[str, str]:
    """Every declared value as Kafka prints it, by key in order. Raises ValueError as `kafka_text` does."""
    return {key: kafka_text(value) for key, value in sorted(declared.items())}


def same_value(declared: str, observed: str) -> bool:
    """Whether Kafka would take both for the same value: equal numbers, booleans in any case, lists with blanks."""
    return declared == observed or _canonical(declared) == _canonical(observed)


def changes(
    declared: Mapping[str, str], observed: Mapping[str, str], owned_before: frozenset[str]
) -> dict[str, str | None]:
    """Keys to set, and to reset (None): those owned before, no longer declared and still set on the topic."""
    edits: dict[str, str | None] = {
        key: value
        for key, value in sorted(declared.items())
        if key not in observed or not same_value(value, observed[key])
    }
    edits.update({key: None for key in sorted(owned_before - declared.keys()) if key in observed})
    return edits


def _canonical(text: str) -> tuple[object, ...]:
    return tuple(_scalar(part.strip()) for part in text.split(","))


def _scalar(text: str) -> object:
    if text.lower() in {"true", "false"}:
        return text.lower()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return number if number.is_finite() else text
