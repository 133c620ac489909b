"""What is made of starts of either kind."""

from __future__ import annotations

from typing import Any

import pytest
from support.start_bench import OPEN, ROLES, better, medians, table


def rows(*after: float) -> list[dict[str, Any]]:
    """Pairs in which it is ready after 3 s, and otherwise after so many; processor time is half of it."""
    return [
        {"pair": pair, "side": side, "role": role, "ready_s": s, "ready_cpu_s": s / 2}
        | ({"in_sync_s": s + 1, "in_sync_cpu_s": s / 2 + 1} if role != "controller" else {})
        for pair, new in enumerate(after, start=1)
        for side, s in (("before", 3.0), ("after", new))
        for role in ROLES
    ]


def test_the_table_has_the_medians_of_each_role() -> None:
    found = medians(rows(2.0, 1.0, 9.0))
    assert found["broker"]["after"] == {"ready_s": 2.0, "ready_cpu_s": 1.0, "in_sync_s": 3.0, "in_sync_cpu_s": 2.0}
    assert found["controller"]["before"] == {"ready_s": 3.0, "ready_cpu_s": 1.5}
    assert table(rows(2.0, 1.0, 9.0)).splitlines()[2:8] == [
        "| broker | until it has started, s | 3.00 | 2.00 |",
        "| broker | processor time until it has started, s | 1.50 | 1.00 |",
        "| broker | until it is in sync, s | 4.00 | 3.00 |",
        "| broker | processor time until it is in sync, s | 2.50 | 2.00 |",
        "| controller | until it has started, s | 3.00 | 2.00 |",
        "| controller | processor time until it has started, s | 1.50 | 1.00 |",
    ]


@pytest.mark.parametrize("after", [(3.0, 3.0, 3.0), (3.1, 3.1, 1.0), (4.0, 4.0, 4.0)])
def test_control_what_is_not_better_does_not_pass(after: tuple[float, ...]) -> None:
    assert better(rows(2.9, 2.9, 4.0))
    assert not better(rows(*after))


WORSE = [*((role, figure) for role in ("broker", "controller") for figure in ("ready_s", "ready_cpu_s"))]


@pytest.mark.parametrize(("role", "figure"), [*WORSE, (OPEN, "ready_cpu_s")])
def test_control_one_role_or_figure_that_is_worse_does_not_pass(role: str, figure: str) -> None:
    worse = [row | ({figure: 5.0} if (row["role"], row["side"]) == (role, "after") else {}) for row in rows(2.0, 2.0)]
    assert not better(worse)


def test_a_node_without_tls_may_stay_as_it_is() -> None:
    same = [row | ({"ready_cpu_s": 1.5} if row["role"] == OPEN else {}) for row in rows(2.0, 2.0)]
    assert better(same)
