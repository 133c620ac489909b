"""What the canary does when answers come late. Its whole runs against a broker: tests/integration/test_canary.py."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from controlplane.adapters.journal import JournalWriter
from controlplane.adapters.kafka import canary as canary_module
from controlplane.adapters.kafka import canary_writer
from controlplane.adapters.kafka.canary import Canary
from controlplane.adapters.kafka.canary_writer import RecordWriter
from controlplane.domain.canary import NEW_EPOCH, CanaryError, CanaryOptions
from controlplane.domain.journal import JournalReader

ABSENT = SimpleNamespace(
    error=SimpleNamespace(code=lambda: KafkaError.UNKNOWN_TOPIC_OR_PART, str=lambda: "unknown topic"), partitions={}
)
THERE = SimpleNamespace(error=None, partitions={0: None, 1: None})


class AskedClient:
    """Answers about its topic what it is told to, the last for ever; what it is `told` besides comes with a poll."""

    told: tuple[KafkaError, ...] = ()

    def __init__(self, config: dict[str, Any], *answers: Any) -> None:
        self.config, self.answers = config, list(answers)

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, KafkaException):
            raise answer
        return SimpleNamespace(topics={topic: answer})

    def poll(self, timeout: float) -> None:
        assert timeout == 0
        for error in self.told:
            self.config["error_cb"](error)


def find_topic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *answers: Any, patience: float, login: dict[str, str] | None = None
) -> int:
    monkeypatch.setattr(canary_module, "AdminClient", lambda config: AskedClient(config, *answers))
    monkeypatch.setattr(canary_module, "ASK_AGAIN_S", 0.001)
    options = CanaryOptions(bootstrap="b:1", topic="t", run="r", connect_timeout=patience, login=login or {})
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


LOGIN = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "app"} | {
    "sasl.password": "a-password-that-nobody-may-see"
}
DENIED = SimpleNamespace(
    error=SimpleNamespace(code=lambda: KafkaError.TOPIC_AUTHORIZATION_FAILED, str=lambda: "not authorized"),
    partitions={},
)


def granted(*operations: str) -> Any:
    return lambda *_: ({"t": frozenset(operations)}, frozenset())


@pytest.mark.parametrize(
    ("found", "operations", "says"),
    [
        (DENIED, (), "not authorized; allow its user Read and Write"),
        (THERE, ("Describe", "Write"), "Read not allowed; allow its user"),
        (THERE, ("Describe",), "Read and Write not allowed; allow its user"),
    ],
    ids=["not even seen", "not read", "neither"],
)
def test_a_user_who_may_not_is_told_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Any, operations: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr(canary_module, "allowed_on_topics", granted(*operations))
    with pytest.raises(CanaryError, match=says):
        find_topic(monkeypatch, tmp_path, found, patience=0.01, login=LOGIN)


def test_a_user_whose_rules_reach_a_broker_a_moment_later_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(canary_module, "allowed_on_topics", granted("Describe", "Read", "Write"))
    assert find_topic(monkeypatch, tmp_path, DENIED, THERE, patience=60, login=LOGIN) == 2


def test_what_brokers_do_not_tell_about_a_user_is_not_held_against_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(canary_module, "allowed_on_topics", lambda *_: ({}, frozenset()))
    assert find_topic(monkeypatch, tmp_path, THERE, patience=0.01, login=LOGIN) == 2


@pytest.mark.parametrize(
    ("told", "login", "says"),
    [
        ((KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN), LOGIN, "does not let it in"),
        ((KafkaError._SSL, KafkaError._TRANSPORT), LOGIN, "does not let it in"),
        ((KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN), {}, "whether it wants a login"),
        ((KafkaError._TRANSPORT,), LOGIN, "within 1 s .*Broker transport failure"),
        ((), LOGIN, "Local: Timed out"),
    ],
)
def test_why_nobody_answered_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: tuple[int, ...], login: dict[str, str], says: str
) -> None:
    monkeypatch.setattr(AskedClient, "told", tuple(KafkaError(code) for code in told))
    silence = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    with pytest.raises(CanaryError, match=says) as refusal:
        find_topic(monkeypatch, tmp_path, silence, patience=1, login=login)
    assert "b:1" in str(refusal.value)
    assert not (tmp_path / "run.jsonl").exists(), "nothing was begun"


def test_settings_that_librdkafka_does_not_take_are_named_and_not_quoted(tmp_path: Path) -> None:
    login = LOGIN | {"ssl.ca.pem": "no certificate, but a secret all the same"}
    journal = JournalWriter(tmp_path / "run.jsonl")
    options = CanaryOptions(bootstrap="b:1", topic="t", run="r", login=login)
    with pytest.raises(CanaryError) as refusal:
        Canary(options, journal, print)._find_topic()
    journal.close()
    assert "ssl.ca.pem" in str(refusal.value)
    said = f"{refusal.value}{options!r}"
    assert not [key for key in ("sasl.password", "ssl.ca.pem") if login[key] in said]


def test_what_was_noted_before_the_first_line_stands_behind_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.jsonl"
    journal = JournalWriter(path)
    canary = Canary(CanaryOptions(bootstrap="b:1", topic="t", run="r", login=LOGIN), journal, print)
    canary._note("a broker was down")
    canary._begin([0, 7])
    canary._note("it is back")
    journal.close()
    reader = JournalReader("run")
    assert list(reader.events(path.read_text().splitlines(keepends=True))) == []
    assert reader.notes == ["a broker was down", "it is back"]
    assert reader.header is not None
    assert (reader.header.protocol, reader.header.start_offsets) == ("SASL_SSL", (0, 7))
    assert LOGIN["sasl.password"] not in path.read_text()


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
