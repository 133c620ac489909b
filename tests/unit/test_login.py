"""log_in on a client that answers what a test says: what was not answered is neither granted nor left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation

from controlplane.adapters.kafka import login

GONE = KafkaException(KafkaError(KafkaError._TRANSPORT, "the broker is gone"))


def failed(code: int, words: str) -> KafkaException:
    return KafkaException(KafkaError(code, words))


def answered(*operations: AclOperation) -> SimpleNamespace:
    return SimpleNamespace(authorized_operations=list(operations))


def future(answer: Any) -> Future[Any]:
    """A list has one for each time that it is asked for."""
    if isinstance(answer, list):
        answer = answer.pop(0)
    found: Future[Any] = Future()
    if isinstance(answer, Exception):
        found.set_exception(answer)
    elif answer is not None:
        found.set_result(answer)
    return found


class Answering:
    """In place of AdminClient. `lists` are what list_topics comes to, one call after the other, by server."""

    def __init__(self, settings: Mapping[str, Any], lists: dict[str, list[Any]], known: Mapping[str, Any]) -> None:
        self._lists, self._known = lists[settings["bootstrap.servers"]], known

    def list_topics(self, timeout: float) -> Any:
        found = self._lists.pop(0)
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(topics=dict.fromkeys(found))

    def poll(self, seconds: float) -> None:
        """Nothing comes by itself."""

    def describe_topics(self, topics: Any, **_: Any) -> dict[str, Future[Any]]:
        return {name: future(self._known[name]) for name in topics.topic_names}

    def describe_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Future[Any]]:
        return {name: future(self._known[name]) for name in groups}


@pytest.fixture(name="answers")
def in_place_of_librdkafka(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def answer(lists: dict[str, list[Any]], **known: Any) -> None:
        monkeypatch.setattr(login, "AdminClient", lambda settings: Answering(settings, lists, known))

    return answer


def test_what_is_there_refused_missing_and_silent_is_told_apart(answers: Callable[..., None]) -> None:
    answers(
        {"a:1": [[], ["orders"]]},
        orders=answered(AclOperation.READ, AclOperation.DESCRIBE),
        closed=failed(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"),
        later=failed(KafkaError.UNKNOWN_TOPIC_OR_PART, "none"),
        odd=failed(KafkaError.TOPIC_EXCEPTION, "bad name"),
        slow=None,
        billing=failed(KafkaError.GROUP_ID_NOT_FOUND, "none"),
        mine=failed(KafkaError.COORDINATOR_NOT_AVAILABLE, "none yet"),
    )
    topics, groups = ["closed", "later", "odd", "slow"], ["billing", "mine"]
    found = login.log_in({"bootstrap.servers": "a:1"}, topics, groups, 0.1, 0.1)
    assert [attempt.error for attempt in found.attempts] == [""]
    assert found.topics == {"orders": {"Read", "Describe"}}
    assert found.refused_topics == {"closed"}
    assert found.silent_topics == {"odd": "TOPIC_EXCEPTION: bad name", "slow": "no answer within 0.1 s"}
    assert (found.groups, found.silent_groups) == ({}, {"mine": "COORDINATOR_NOT_AVAILABLE: none yet"})


@pytest.mark.parametrize(
    "code", [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError._TIMED_OUT]
)
def test_a_group_is_asked_about_again_until_it_has_a_coordinator(answers: Callable[..., None], code: int) -> None:
    """As after the first question about a group of a new cluster; librdkafka calls it a timeout when a question's own
    time ends before."""
    mine = [failed(code, ""), failed(code, ""), answered(AclOperation.READ)]
    answers({"a:1": [[], []]}, mine=mine, closed=failed(KafkaError.GROUP_AUTHORIZATION_FAILED, "no"))
    found = login.log_in({"bootstrap.servers": "a:1"}, [], ["mine", "closed"], 0.1, 60.0)
    mine_may = {"mine": frozenset({"Read"})}
    assert (found.groups, found.refused_groups, found.silent_groups) == (mine_may, frozenset({"closed"}), {})
    assert mine == []


def test_a_group_that_stays_without_one_is_told_of_in_time(answers: Callable[..., None]) -> None:
    answers({"a:1": [[], []]}, mine=failed(KafkaError._TIMED_OUT, "Local: Timed out"))
    found = login.log_in({"bootstrap.servers": "a:1"}, [], ["mine"], 0.1, 0.3)
    assert found.silent_groups == {"mine": "_TIMED_OUT: Local: Timed out"}


def test_a_broker_that_goes_after_the_login_is_told_of_and_another_one_asked(answers: Callable[..., None]) -> None:
    orders = answered(AclOperation.READ)
    answers({"a:1": [[], GONE], "b:1": [[], ["orders"]]}, orders=orders)
    found = login.log_in({"bootstrap.servers": "a:1,b:1"}, ["orders"], [], 5.0, 5.0)
    gone, there = found.attempts
    assert (gone.error, there.error) == ("it let the user in and did not answer then: the broker is gone", "")
    assert found.topics == {"orders": {"Read"}}
    answers({"a:1": [[], GONE]}, orders=orders)
    found = login.log_in({"bootstrap.servers": "a:1"}, ["orders"], [], 5.0, 5.0)
    assert (found.topics, "did not answer then" in found.attempts[0].error) == ({}, True)
