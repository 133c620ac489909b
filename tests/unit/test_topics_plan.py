"""Plain topics: what is created, changed, refused, and in whose name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.domain.topics.config import kafka_text, same_value
from controlplane.domain.topics.planner import plan_topics
from controlplane.domain.topics.values import ConfigValue, DesiredTopic, Growth, NewTopic, TopicDescription

ORDERS = DesiredTopic("shop/orders", "orders", 3, 3, {"retention.ms": 604800000}, created_at=10.0)


def described(name: str = "orders", partitions: int = 3, factor: int = 3, **config: str) -> TopicDescription:
    replicas = tuple(tuple(range(factor)) for _ in range(partitions))
    return TopicDescription(name, "id", replicas, {key.replace("_", "."): value for key, value in config.items()})


def test_a_new_topic_is_created_and_its_keys_are_recorded() -> None:
    plan = plan_topics([ORDERS], {}, brokers=3)
    assert plan.creates == (NewTopic("orders", 3, 3, {"retention.ms": "604800000"}),)
    assert plan.owned == {"shop/orders": ("retention.ms",)}
    assert (plan.grow, plan.config, plan.unchanged, plan.refusals) == ({}, {}, (), {})


def test_an_existing_topic_is_adopted_and_only_declared_keys_change() -> None:
    observed = {"orders": described(retention_ms="1000", max_message_bytes="7")}
    plan = plan_topics([replace(ORDERS, partitions=5)], observed, brokers=3)
    assert plan.creates == ()
    assert plan.grow == {"orders": Growth(5)}
    assert plan.config == {"orders": {"retention.ms": "604800000"}}


def test_a_key_no_longer_declared_is_reset_and_stays_owned_until_it_is() -> None:
    topic = replace(ORDERS, config={}, owned_keys=frozenset({"retention.ms", "segment.ms"}))
    plan = plan_topics([topic], {"orders": described(retention_ms="1000", max_message_bytes="7")}, brokers=3)
    assert plan.config == {"orders": {"retention.ms": None}}
    assert plan.owned == {"shop/orders": ("retention.ms",)}
    after = plan_topics([topic], {"orders": described(max_message_bytes="7")}, brokers=3)
    assert (after.config, after.owned, after.unchanged) == ({}, {"shop/orders": ()}, ("shop/orders",))


@pytest.mark.parametrize(
    ("change", "observed", "name", "said"),
    [
        ({"partitions": 2}, described(), "PartitionsCannotShrink", "spec.partitions: 2 is fewer than the 3"),
        ({"replicas": 2}, described(), "ReplicaChangeUnsupported", "spec.replicas: 2 is not the 3"),
        ({"replicas": 4}, None, "ReplicationFactorTooLarge", "spec.replicas: 4 replicas do not fit on 3 brokers"),
        ({"partitions": 0}, None, "InvalidTopic", "spec.partitions: 0"),
        ({"name": "a b"}, None, "InvalidTopicName", "'a b' has characters other than"),
        ({"name": ".."}, None, "InvalidTopicName", "'..' is not a name"),
        ({"name": "x" * 250}, None, "InvalidTopicName", "250 characters, Kafka takes 249"),
        ({"name": "__consumer_offsets"}, None, "InvalidTopicName", "Kafka's own"),
        ({"config": {"min.insync.replicas": 4}}, None, "MinIsrTooLarge", "4 exceeds the 3 replicas"),
        ({"config": {"retention.ms": float("inf")}}, None, "InvalidConfig", "spec.config[retention.ms]: inf"),
    ],
)
def test_refusals_say_what_and_touch_nothing(
    change: dict[str, object], observed: TopicDescription | None, name: str, said: str
) -> None:
    topic = replace(ORDERS, **change)  # type: ignore[arg-type]
    plan = plan_topics([topic], {observed.name: observed} if observed else {}, brokers=3)
    refusal = plan.refusals["shop/orders"]
    assert (refusal.name, refusal.ok) == (name, False)
    assert said in refusal.evidence
    assert refusal.remedy
    assert (plan.creates, plan.grow, plan.config, plan.unchanged, plan.owned) == ((), {}, {}, (), {})


def test_the_oldest_object_wins_a_name_even_when_it_is_refused() -> None:
    younger = replace(ORDERS, key="shop/copy", created_at=11.0)
    plan = plan_topics([younger, ORDERS], {}, brokers=3)
    assert [new.name for new in plan.creates] == ["orders"]
    assert plan.refusals["shop/copy"].name == "TopicNameTaken"
    assert "belongs to shop/orders, which is older" in plan.refusals["shop/copy"].evidence
    refused = plan_topics([younger, replace(ORDERS, replicas=9)], {}, brokers=3)
    assert refused.creates == ()
    assert set(refused.refusals) == {"shop/orders", "shop/copy"}


def test_names_that_collide_in_metrics_are_refused_for_new_topics_only() -> None:
    dotted = replace(ORDERS, key="shop/dotted", name="a.b")
    scored = replace(ORDERS, key="shop/scored", name="a_b", created_at=11.0)
    assert plan_topics([dotted, scored], {}, brokers=3).refusals["shop/scored"].name == "TopicNameCollides"
    both = {"a.b": described("a.b", retention_ms="604800000"), "a_b": described("a_b", retention_ms="604800000")}
    assert plan_topics([dotted, scored], both, brokers=3).unchanged == ("shop/dotted", "shop/scored")


def test_a_reassignment_in_flight_is_no_replica_change() -> None:
    moving = TopicDescription("orders", "id", ((0, 1, 2, 3), (0, 1, 2), (0, 1, 2)), {"retention.ms": "604800000"})
    assert plan_topics([ORDERS], {"orders": moving}, brokers=4).unchanged == ("shop/orders",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (604800000, "604800000"),
        (604800000.0, "604800000"),
        (0.5, "0.5"),
        (1e-7, "0.0000001"),
        ("compact", "compact"),
    ],
)
def test_values_are_written_as_kafka_prints_them(value: ConfigValue, text: str) -> None:
    assert kafka_text(value) == text


@pytest.mark.parametrize(
    ("declared", "observed", "same"),
    [
        ("0.50", "0.5", True),
        ("TRUE", "true", True),
        ("compact, delete", "compact,delete", True),
        ("delete,compact", "compact,delete", False),
        ("1000", "1001", False),
        ("NaN", "NaN", True),
        ("", "0", False),
    ],
)
def test_spellings_of_one_value_are_no_change(declared: str, observed: str, *, same: bool) -> None:
    assert same_value(declared, observed) is same
