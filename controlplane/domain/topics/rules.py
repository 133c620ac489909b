"""What a topic may be called and how many replicas it may have: refusals that need no call to Kafka.

Names after org.apache.kafka.common.internals.Topic. Kafka refuses a new topic whose name equals an existing one's once
'.' and '_' are taken for the same, because their metrics would collide (Topic.hasCollision); so do we, with the other
topic's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from controlplane.domain.check import Check
from controlplane.domain.topics.config import kafka_text
from controlplane.domain.topics.values import DesiredTopic, TopicDescription

MIN_ISR = "min.insync.replicas"
MAX_NAME_LENGTH = 249
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")


def metric_name(name: str) -> str:
    """Names that share this collide in Kafka's metrics."""
    return name.replace(".", "_")


def illegal_name(name: str) -> str | None:
    """Why Kafka has no topic of this name, its own ones included."""
    if not name:
        return "is empty"
    if name in {".", ".."}:
        return "is not a name"
    if len(name) > MAX_NAME_LENGTH:
        return f"has {len(name)} characters, Kafka takes {MAX_NAME_LENGTH}"
    if not _LEGAL.fullmatch(name):
        return "has characters other than letters, digits, '.', '_' and '-'"
    return None


def check_name(name: str) -> Check | None:
    problem = illegal_name(name)
    if problem is None and name.startswith("__"):
        problem = "begins with '__', which is Kafka's own"
    if problem is None:
        return None
    shown = name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "..."
    return Check(
        "InvalidTopicName",
        ok=False,
        evidence=f"spec.topicName: {shown!r} {problem}.",
        remedy="Give spec.topicName a name that Kafka takes.",
    )


def check_config(topic: DesiredTopic) -> Check | None:
    """Values that Kafka would refuse, or take and never accept a write with."""
    for key, value in sorted(topic.config.items()):
        if isinstance(value, float) and not math.isfinite(value):
            return Check(
                "InvalidConfig",
                ok=False,
                evidence=f"spec.config[{key}]: {value} is not a number that Kafka takes.",
                remedy="Give a number, or take the key out for Kafka's default.",
            )
    min_isr = kafka_text(topic.config.get(MIN_ISR, ""))
    if min_isr.isdecimal() and int(min_isr) > topic.replicas:
        return Check(
            "MinIsrTooLarge",
            ok=False,
            evidence=f"spec.config[{MIN_ISR}]: {min_isr} exceeds the {topic.replicas} replicas, so that no acks=all "
            "write would ever succeed.",
            remedy=f"Set it to at most {topic.replicas}.",
        )
    return None


def check_sizes(topic: DesiredTopic, brokers: int) -> Check | None:
    """What is asked of a topic that does not exist yet."""
    for field, value in (("partitions", topic.partitions), ("replicas", topic.replicas)):
        if value < 1:
            return Check("InvalidTopic", ok=False, evidence=f"spec.{field}: {value} is below 1.", remedy="Raise it.")
    if topic.replicas > brokers:
        return Check(
            "ReplicationFactorTooLarge",
            ok=False,
            evidence=f"spec.replicas: {topic.replicas} replicas do not fit on {brokers} brokers.",
            remedy=f"Set it to at most {brokers} or add brokers.",
        )
    return None


def check_existing(topic: DesiredTopic, observed: TopicDescription) -> Check | None:
    """What Kafka cannot do to a topic that exists."""
    if topic.partitions < observed.partitions:
        return Check(
            "PartitionsCannotShrink",
            ok=False,
            evidence=f"spec.partitions: {topic.partitions} is fewer than the {observed.partitions} that topic "
            f"{observed.name} has; partitions only grow.",
            remedy=f"Set it to {observed.partitions} or more, or create another topic.",
        )
    if topic.replicas != observed.replication_factor:
        return Check(
            "ReplicaChangeUnsupported",
            ok=False,
            evidence=f"spec.replicas: {topic.replicas} is not the {observed.replication_factor} that topic "
            f"{observed.name} has; a replica change is a rebalance.",
            remedy=f"Set it to {observed.replication_factor}; or create a KafkaRebalance with goal ChangeReplicas, "
            f"topics [{observed.name}] and replicas {topic.replicas}, and it goes on.",
        )
    return None


def check_collision(topic: DesiredTopic, others: Iterable[str]) -> Check | None:
    """`others` are names of other topics that share this one's metric name."""
    other = min((name for name in others if name != topic.name), default=None)
    if other is None:
        return None
    return Check(
        "TopicNameCollides",
        ok=False,
        evidence=f"spec.topicName: {topic.name!r} collides with topic {other!r}: Kafka takes '.' and '_' for the same.",
        remedy="Choose another name.",
    )


def name_taken(topic: DesiredTopic, winner: DesiredTopic) -> Check:
    return Check(
        "TopicNameTaken",
        ok=False,
        evidence=f"spec.topicName: {topic.name!r} belongs to {winner.key}, which is older.",
        remedy="Choose another name, or delete that object; its topic is retained and this object then adopts it.",
    )
