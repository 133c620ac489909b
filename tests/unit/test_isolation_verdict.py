"""The verdict on tenants beside a noisy one: what it lets pass, and what it does not."""

from __future__ import annotations

import pytest
from support.isolation import Outcome
from support.latencies import Figures

CALM = Figures(100, 0, 6.0, 30.0, 60.0)
HURT = Figures(100, 0, 300.0, 700.0, 900.0)
SLOWER = Figures(100, 0, 20.0, 150.0, 400.0)
"""A busy machine."""


def outcome(apart: Figures, overlapping: Figures) -> Outcome:
    return Outcome(CALM, apart, CALM, overlapping, {"machine": 50.0, "test": 40.0})


@pytest.mark.parametrize(
    ("apart", "overlapping", "unhurt", "hurt"),
    [
        (CALM, HURT, True, True),
        (SLOWER, HURT, True, True),
        (HURT, HURT, False, True),
        (CALM, CALM, False, False),
        (CALM, SLOWER, False, False),
    ],
    ids=["apart", "apart on a busy machine", "not apart at all", "nothing was saturated", "nobody but the machine"],
)
def test_verdicts(apart: Figures, overlapping: Figures, unhurt: bool, hurt: bool) -> None:  # noqa: FBT001
    found = outcome(apart, overlapping)
    assert (found.apart_is_unhurt, found.overlapping_is_hurt) == (unhurt, hurt)


def test_figures_are_in_milliseconds() -> None:
    found = Figures.of([number / 1000 for number in range(1, 101)], failed=2)
    assert (found.count, found.failed, found.median, found.p99, found.worst) == (100, 2, 50.0, 99.0, 100.0)
