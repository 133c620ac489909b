"""The verdict of `make campaign-access` is shown to fail."""

from __future__ import annotations

from typing import Any

import pytest
from support.access_verdict import SCENARIOS, UNDER_TRAFFIC, account_of, complaints, scenario_problems

GOOD = account_of((f"r{number}" for number in range(300)), {f"r{number}": 1 for number in range(300)}) | {
    "failed": 0,
    "errors": {"_TRANSPORT": 7, "_ALL_BROKERS_DOWN": 1},
}


def whole() -> list[dict[str, Any]]:
    figures: dict[str, Any] = {"seconds": 1.0}
    return [
        {"name": name, "outcome": "Ended", "passed": True}
        | {"figures": figures | ({"traffic": {"app": dict(GOOD)}} if name in UNDER_TRAFFIC else {})}
        for name in SCENARIOS
    ]


def test_retried_requests_are_nothing_against_a_client() -> None:
    assert complaints(GOOD) == []
    assert complaints(GOOD | {"duplicated": 3}) == [], "it retried what it had no answer for"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lost": 1}, "1 records lost"),
        ({"failed": 2}, "2 records failed"),
        ({"acknowledged": 3}, "only 3 records acknowledged: no traffic to speak of"),
        ({"errors": {"_SSL": 2}}, "2 times _SSL"),
        ({"errors": {"_AUTHENTICATION": 1}}, "1 times _AUTHENTICATION"),
        ({"errors": {"TOPIC_AUTHORIZATION_FAILED": 1}}, "1 times TOPIC_AUTHORIZATION_FAILED"),
    ],
)
def test_control_everything_else_is(change: dict[str, Any], says: str) -> None:
    assert complaints(GOOD | change) == [says]


def test_control_a_record_that_stands_in_no_log_is_lost() -> None:
    assert account_of(["a", "b", "b"], {"a": 2, "c": 1}) == {"acknowledged": 2, "lost": 1, "duplicated": 1}


def test_control_a_campaign_with_a_scenario_missing_failed_or_without_traffic_does_not_count() -> None:
    assert scenario_problems({"scenarios": whole()}) == []
    assert scenario_problems({"scenarios": whole()[1:]})
    assert scenario_problems({"scenarios": [*whole(), whole()[0]]})
    for number, entry in enumerate(whole()):
        broken: tuple[dict[str, Any], ...] = ({"passed": False}, {"outcome": ""}, {"figures": {}})
        for change in broken:
            changed = whole()
            changed[number] = entry | change
            assert scenario_problems({"scenarios": changed}), (entry["name"], change)
        if entry["name"] in UNDER_TRAFFIC:
            for traffic in ({}, {"app": GOOD | {"lost": 1}}):
                changed = whole()
                changed[number] = entry | {"figures": {"seconds": 1.0, "traffic": traffic}}
                assert scenario_problems({"scenarios": changed}), (entry["name"], traffic)
