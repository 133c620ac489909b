"""The order of test modules that take long: what it says of them is about modules that are there."""

from __future__ import annotations

from pathlib import Path

from support.order import LAST, UNKNOWN_SECONDS, USUAL_SECONDS, rank

TESTS = Path(__file__).parents[1]


def test_every_module_that_is_named_is_there() -> None:
    assert [module for module in (*USUAL_SECONDS, *LAST) if not (TESTS / f"{module}.py").exists()] == []


def test_the_longest_come_first_and_those_that_wait_for_others_last() -> None:
    known = max(USUAL_SECONDS, key=lambda module: USUAL_SECONDS[module])
    modules = [LAST[1], "e2e/test_new", LAST[0], known]
    assert USUAL_SECONDS[known] > UNKNOWN_SECONDS
    assert sorted(modules, key=rank) == [known, "e2e/test_new", *LAST]
