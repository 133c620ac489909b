"""What the canary does when answers come late. Its whole runs against a broker: tests/integration/test_canary.py."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.adapters.journal import JournalWriter
from controlplane.adapters.kafka import canary as canary_module
from controlplane.adapters.kafka import canary_writer
from controlplane.adapters.kafka.canary import Canary
from controlplane.adapters.kafka.canary_writer import RecordWriter
from controlplane.domain.canary import NEW_EPOCH, CanaryError, CanaryOptions

ABSENT = SimpleNamespace(error=SimpleNamespace(str=lambda: "unknown topic"), partitions={})
THERE = SimpleNamespace(error=None, partitions={0: None, 1: None})


class AskedProducer:
    """Answers about its topic what it is told to, the last for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(topics={topic: self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]})


def find_topic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *answers: Any, patience: float) -> int:
    monkeypatch.setattr(canary_module, "Producer", lambda _: AskedProducer(*answers))
    monkeypatch.setattr(canary_module, "ASK_AGAIN_S", 0.001)
    options = CanaryOptions(bootstrap="b:1", topic="t", run="r", connect_timeout=patience)
    journal = JournalWriter(tmp_path / "run.jsonl")
    try:
        return Canary(options, journal, print)._find_topic()
    finally:
        journal.close()


def test_a_topic_of_which_a_broker_has_not_heard_yet_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert find_topic(monkeypatch, tmp_path, ABSENT, ABSENT, THERE, patience=60) == 2


def test_a_topic_that_does_not_come_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(CanaryError, match="unknown topic; create the topic first"):
        find_topic(monkeypatch, tmp_path, ABSENT, patience=0.01)


class ScriptedProducer:
    """Every poll brings the next of these (id, epoch) as statistics; None brings nothing."""

    def __init__(self, config: dict[str, Any], script: list[tuple[int, int] | None]) -> None:
        self._look, self._script = config["stats_cb"], script

    def poll(self, timeout: float) -> None:
        if found := self._script.pop(0):
            self._look(json.dumps({"eos": {"producer_id": found[0], "producer_epoch": found[1]}}))


@pytest.mark.parametrize(
    ("script", "notes"),
    [
        ([(7, 0)], []),
        ([(-1, -1)], []),
        ([None, None, (7, 1)], [NEW_EPOCH]),
        ([(7, 3)], [NEW_EPOCH]),
    ],
    ids=["first", "none yet", "taken for the last answers", "taken before the first look"],
)
def test_no_epoch_goes_unnoticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: list[tuple[int, int] | None], notes: list[str]
) -> None:
    monkeypatch.setattr(canary_writer, "Producer", lambda config: ScriptedProducer(config, script))
    journal = JournalWriter(tmp_path / "run.jsonl")
    said: list[str] = []
    writer = RecordWriter(CanaryOptions(bootstrap="b:1", topic="t", run="r"), 1, journal, said.append)
    assert writer.flush(float("inf"))
    assert (said, script) == (notes, [])
    journal.close()
