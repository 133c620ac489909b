"""Quantities, durations and conditions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.conditions import MESSAGE_LIMIT, READY, Condition, find_condition, set_condition
from controlplane.api.duration import DurationError, parse_seconds
from controlplane.api.quantity import QuantityError, parse_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10Gi", 10 * 2**30),
        ("1.5Gi", 3 * 2**29),
        ("500M", 500_000_000),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1Ei", 2**60),
        ("1E", 10**18),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1e-3", Fraction(1, 1000)),
        ("250m", Fraction(1, 4)),
        ("100n", Fraction(1, 10**7)),
        (".5", Fraction(1, 2)),
        ("1.", 1),
        ("+2", 2),
        ("-1Gi", -(2**30)),
        (1, 1),
        (0.5, Fraction(1, 2)),
    ],
)
def test_quantity(text: str | float, value: Fraction | int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "Gi", "1 Gi", "1gi", "1GB", "1KI", "0x10", "1e", "1e99", "--1", "1Gi\n", "\u0661Gi"]
)
def test_not_a_quantity(text: str) -> None:
    with pytest.raises(QuantityError, match="is not a quantity"):
        parse_quantity(text)


def test_bytes_are_whole_and_never_negative() -> None:
    assert parse_bytes("1100m") == 2
    with pytest.raises(QuantityError, match="negative"):
        parse_bytes("-1Gi")


@given(st.integers(0, 2**50), st.sampled_from(["", "k", "M", "Ki", "Mi", "Gi"]))
def test_quantities_are_exact(number: int, suffix: str) -> None:
    factor = {"": 1, "k": 1000, "M": 10**6, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[suffix]
    assert parse_bytes(f"{number}{suffix}") == number * factor


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("500ms", 0.5), ("0s", 0), ("1h0m1s", 3601)]
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "15", "m", "-15m", "1d", "1m1h", "1.5h", "15 m", "15m\n"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(DurationError, match="is not a duration"):
        parse_seconds(text)


def _ready(conditions: tuple[Condition, ...]) -> Condition:
    found = find_condition(conditions, READY)
    assert found is not None
    return found


def test_transition_time_moves_only_with_the_status() -> None:
    first = set_condition((), READY, False, "Starting", "wait", observed_generation=1, now=0)
    second = set_condition(first, READY, False, "Blocked", "fix it", observed_generation=2, now=100)
    assert _ready(second).last_transition_time == "1970-01-01T00:00:00Z"
    assert _ready(second).reason == "Blocked"
    assert _ready(second).observed_generation == 2
    third = set_condition(second, READY, True, "Running", observed_generation=2, now=100)
    assert _ready(third).last_transition_time == "1970-01-01T00:01:40Z"
    assert set_condition(third, READY, True, "Running", observed_generation=2, now=500) == third


def test_other_conditions_keep_their_place() -> None:
    conditions = set_condition((), "Available", "Unknown", "Starting", observed_generation=1, now=0)
    conditions = set_condition(conditions, READY, True, "Running", observed_generation=1, now=0)
    conditions = set_condition(conditions, "Available", True, "Serving", observed_generation=1, now=5)
    assert [(item.type, item.status) for item in conditions] == [("Available", "True"), ("Ready", "True")]


def test_long_messages_are_cut_to_what_the_schema_takes() -> None:
    conditions = set_condition((), READY, False, "Blocked", "x" * 10_000, observed_generation=1, now=0)
    assert len(_ready(conditions).message) == MESSAGE_LIMIT
    assert _ready(conditions).message.endswith("...")
