"""Every campaign's record is there and passed; the verifier itself is shown to fail."""

import json

import pytest
from support.evidence import EVIDENCE, problems

CAMPAIGNS = ["campaign-crash"]


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_the_campaign_was_run_and_passed(name: str) -> None:
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
