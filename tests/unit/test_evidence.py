"""The records that have to be there are, and passed; the verifier itself is shown to fail."""

import json

import pytest
from support import access_verdict
from support.campaign_verdict import SCENARIOS, scenario_problems
from support.evidence import EVIDENCE, problems

RECORDS = ["bench-isolation", "campaign-access", "campaign-crash", "campaign-rolling"]


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_to_be_shown_by_a_record_was_run_and_passed(name: str) -> None:
    path = EVIDENCE / f"{name}.json"
    assert path.exists(), f"run `make {name}` and commit its record"
    assert problems(json.loads(path.read_text())) == []


def good() -> dict[str, object]:
    return {"name": "x", "passed": True, "at": "t", "commit": "c", "machine": {"cores": 2}, "outcomes": {"lost": 0}}


@pytest.mark.parametrize(
    "bad",
    [
        {},
        None,
        good() | {"passed": False},
        good() | {"passed": "yes"},
        good() | {"outcomes": {}},
        good() | {"commit": ""},
    ],
)
def test_control_a_record_that_failed_or_is_hollow_does_not_count(bad: object) -> None:
    assert problems(good()) == []
    assert problems(bad)


def test_every_scenario_of_the_rolling_campaign_passed() -> None:
    record = json.loads((EVIDENCE / "campaign-rolling.json").read_text())
    assert scenario_problems(record["outcomes"]) == []


def test_every_scenario_of_the_access_campaign_passed() -> None:
    """Its controls are in test_access_verdict.py."""
    record = json.loads((EVIDENCE / "campaign-access.json").read_text())
    assert access_verdict.scenario_problems(record["outcomes"]) == []


def whole() -> list[dict[str, object]]:
    return [
        {"name": name, "outcome": "Ended", "passed": True, "figures": {"canary": {"lost": 0}}} for name in SCENARIOS
    ]


@pytest.mark.parametrize(
    "scenarios",
    [
        None,
        [],
        ["Ended"],
        whole()[1:],
        [*whole(), whole()[0]],
        [whole()[0] | {"passed": False}, *whole()[1:]],
        [whole()[0] | {"passed": 1}, *whole()[1:]],
        [whole()[0] | {"outcome": ""}, *whole()[1:]],
        [whole()[0] | {"figures": {}}, *whole()[1:]],
        [whole()[0] | {"figures": {"canary": {"lost": 1}}}, *whole()[1:]],
    ],
)
def test_control_a_campaign_with_a_scenario_missing_or_failed_does_not_count(scenarios: object) -> None:
    assert scenario_problems({"scenarios": whole()}) == []
    assert scenario_problems({"scenarios": scenarios})
    assert scenario_problems(None)
