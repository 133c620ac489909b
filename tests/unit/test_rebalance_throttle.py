"""Throttles come and go, and what others have set stays as it was."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.hops import Hop
from controlplane.domain.rebalance.throttle import (
    SIDES,
    Throttle,
    growth,
    kept,
    rate_key,
    replicas_key,
    spare,
    told_apart,
)

HOPS = (Hop("a", 0, (1, 2), (1, 3)), Hop("a", 1, (2, 3), (2, 1)), Hop("b", 0, (1, 2), (3, 2)))
RATE = 1_000_000
LEADER, FOLLOWER = replicas_key("leader"), replicas_key("follower")
Configs = dict[str, dict[str, str]]


def applied(configs: Mapping[str, Mapping[str, str]], changes: Mapping[str, Mapping[str, str | None]]) -> Configs:
    found = {name: dict(config) for name, config in configs.items()}
    for name, wanted in changes.items():
        for key, value in wanted.items():
            found[name].pop(key, None)
            if value is not None:
                found[name][key] = value
    return found


def on_and_off(topics: Configs, brokers: dict[str, str]) -> tuple[Configs, dict[str, str]]:
    """As a plan made now would set it and lift it again."""
    throttle = Throttle(HOPS, RATE, kept(HOPS, RATE, topics, brokers))
    put = throttle.put(topics, brokers)
    there, rates = applied(topics, put.topics), applied({"": brokers}, {"": put.brokers})[""]
    assert throttle.is_on(there, rates)
    assert throttle.put(there, rates) == put or applied(there, throttle.put(there, rates).topics) == there
    lifted = throttle.lifted(there, rates)
    rest, rates = applied(there, lifted.topics), applied({"": rates}, {"": lifted.brokers})[""]
    assert throttle.is_off(rest, rates)
    return rest, rates


def test_both_sides_of_a_copy_and_of_its_way_back_are_listed() -> None:
    changes = Throttle(HOPS, RATE).put({"a": {}, "b": {}}, {})
    assert changes.topics == {
        "a": {LEADER: "0:1,0:2,0:3,1:1,1:2,1:3", FOLLOWER: "0:2,0:3,1:1,1:3"},
        "b": {LEADER: "0:1,0:2,0:3", FOLLOWER: "0:1,0:3"},
    }
    assert changes.brokers == {rate_key(side): "1000000" for side in SIDES}


entries = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 4)).map(lambda pair: f"{pair[0]}:{pair[1]}"), max_size=5, unique=True
)
lists = st.one_of(st.just("*"), entries.map(",".join))


@given(st.dictionaries(st.sampled_from((LEADER, FOLLOWER)), lists.filter(bool)), st.booleans())
def test_it_is_lifted_without_a_trace(config: dict[str, str], rated: bool) -> None:  # noqa: FBT001 - hypothesis
    topics: Configs = {"a": config | {"retention.ms": "1"}, "b": {}}
    brokers = {"num.io.threads": "8"} | ({rate_key("leader"): "77"} if rated else {})
    assert on_and_off(topics, brokers) == (topics, brokers)


def test_a_rate_that_somebody_sets_meanwhile_stays() -> None:
    throttle = Throttle(HOPS, RATE)
    theirs = {rate_key("leader"): "5", rate_key("follower"): str(RATE)}
    assert throttle.put({"a": {}, "b": {}}, theirs).brokers == {rate_key("follower"): str(RATE)}
    assert throttle.lifted({"a": {}, "b": {}}, theirs).brokers == {rate_key("follower"): None}


@pytest.mark.parametrize("theirs", ["5", str(RATE)])
def test_a_rate_that_was_there_and_went_is_waited_for_by_nobody(theirs: str) -> None:
    """Another rebalance had it when the plan was made. It is ours then, and lifted; nobody keeps what is like ours."""
    topics: Configs = {"a": {}, "b": {}}
    throttle = Throttle(HOPS, RATE, kept(HOPS, RATE, topics, {rate_key(side): theirs for side in SIDES}))
    put = throttle.put(topics, {})
    there, rates = applied(topics, put.topics), applied({"": {}}, {"": put.brokers})[""]
    assert throttle.is_on(there, rates)
    lifted = throttle.lifted(there, rates)
    rest, rates = applied(there, lifted.topics), applied({"": rates}, {"": lifted.brokers})[""]
    assert throttle.is_off(rest, rates)
    assert (rest, rates) == (topics, {})


def test_control_a_rate_of_ours_that_is_missing_is_not_on() -> None:
    theirs = {rate_key(side): "5" for side in SIDES}
    throttle = Throttle(HOPS, RATE, kept(HOPS, RATE, {}, theirs))
    there = applied({"a": {}, "b": {}}, throttle.put({"a": {}, "b": {}}, {}).topics)
    assert throttle.is_on(there, theirs)
    assert not throttle.is_on(there, {})
    assert throttle.put(there, {}).brokers == {rate_key(side): str(RATE) for side in SIDES}


def test_a_rate_is_never_one_that_somebody_else_has_set() -> None:
    assert told_apart(RATE, {rate_key("leader"): str(RATE), rate_key("follower"): str(RATE - 1)}) == RATE - 2
    assert told_apart(RATE, {rate_key("leader"): "5", "num.io.threads": str(RATE)}) == RATE
    assert told_apart(1, {rate_key("leader"): "1"}) == 2


def test_a_wildcard_covers_everything_and_stays() -> None:
    topics = {"a": {LEADER: "*", FOLLOWER: "*"}, "b": {LEADER: "*"}}
    changes = Throttle(HOPS, RATE).put(topics, {})
    assert changes.topics == {"b": {FOLLOWER: "0:1,0:3"}}


def test_it_is_lifted_also_where_it_is_not_seen() -> None:
    """Who answers may be behind: what may be there is removed."""
    changes = Throttle(HOPS, RATE).lifted({"a": {}, "b": {}}, {})
    assert changes.topics == {name: {LEADER: None, FOLLOWER: None} for name in ("a", "b")}
    assert changes.brokers == {rate_key(side): None for side in SIDES}


def test_a_topic_that_is_gone_needs_nothing() -> None:
    throttle = Throttle(HOPS, RATE)
    assert set(throttle.put({"b": {}}, {}).topics) == {"b"}
    assert throttle.is_off({}, {})


def test_control_one_entry_that_is_left_is_found() -> None:
    throttle = Throttle(HOPS, RATE)
    assert not throttle.is_off({"a": {FOLLOWER: "0:3"}, "b": {}}, {})
    assert not throttle.is_off({"a": {}, "b": {}}, {rate_key("leader"): str(RATE)})
    assert not throttle.is_on({"a": {LEADER: "0:1,0:2,0:3"}, "b": {}}, {})


def test_half_of_what_the_busiest_broker_has_left() -> None:
    a, b = TopicPartition("a", 0), TopicPartition("b", 0)
    grown = growth({a: 100, b: 500}, {a: 2100, b: 400}, [(a, (1, 2)), (b, (2, 3))], 2.0)
    assert grown == {1: 1000.0, 2: 1000.0, 3: 0.0}
    mib = 1024 * 1024
    assert spare(100 * mib, {1: 20.0 * mib}, floor=mib) == 40 * mib
    assert spare(10 * mib, {1: 12.0 * mib}, floor=mib) == mib
    with pytest.raises(ValueError, match="one moment"):
        growth({}, {}, [], 0.0)
