"""Where replicas are: AlterPartitionReassignments, ListPartitionReassignments (KIP-455) and DescribeLogDirs (KIP-113).

Requests are built and answers read here; no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kafka.protocol.admin import AlterPartitionReassignmentsRequest, DescribeLogDirsRequest

from controlplane.adapters.kafka.errors import check, of_code
from controlplane.domain.observation import Reassignment, TopicPartition
from controlplane.ports import KafkaError

Targets = Iterable[tuple[TopicPartition, Sequence[int] | None]]


def alter_reassignments(targets: Targets, timeout_ms: int) -> Any:
    """None cancels. The number of replicas may change: whoever plans says what shall be."""
    topic = AlterPartitionReassignmentsRequest.ReassignableTopic
    partitions: dict[str, list[Any]] = {}
    for one, replicas in targets:
        wanted = topic.ReassignablePartition(
            partition_index=one.partition, replicas=None if replicas is None else list(replicas)
        )
        partitions.setdefault(one.topic, []).append(wanted)
    return AlterPartitionReassignmentsRequest(
        timeout_ms=timeout_ms, topics=[topic(name=name, partitions=of_topic) for name, of_topic in partitions.items()]
    )


def altered_reassignments(answer: Any) -> dict[TopicPartition, KafkaError | None]:
    """Raises KafkaError if the whole request failed."""
    check(answer.error_code, answer.error_message)
    return {
        TopicPartition(topic.name, partition.partition_index): of_code(partition.error_code, partition.error_message)
        for topic in answer.responses
        for partition in topic.partitions
    }


def reassignments(answer: Any) -> dict[TopicPartition, Reassignment]:
    check(answer.error_code, answer.error_message)
    return {
        TopicPartition(topic.name, partition.partition_index): Reassignment(
            tuple(partition.replicas), frozenset(partition.adding_replicas), frozenset(partition.removing_replicas)
        )
        for topic in answer.topics
        for partition in topic.partitions
    }


def describe_log_dirs() -> Any:
    """All topics of the broker that is asked, which answers for itself only."""
    return DescribeLogDirsRequest(topics=None)


def sizes(answer: Any) -> dict[TopicPartition, int]:
    """Bytes of one broker's replicas. A dir that is offline says nothing; a copy between dirs (`future`) is no replica.

    Raises KafkaError if the broker refused (versions 3 and up say so).
    """
    check(getattr(answer, "error_code", None) or 0)
    return {
        TopicPartition(topic.name, partition.partition_index): partition.partition_size
        for result in answer.results
        if of_code(result.error_code) is None
        for topic in result.topics
        for partition in topic.partitions
        if not partition.is_future_key
    }


def largest(answers: Iterable[Mapping[TopicPartition, int]]) -> dict[TopicPartition, int]:
    """A partition's size is that of its largest replica: one that is catching up is smaller."""
    found: dict[TopicPartition, int] = {}
    for answer in answers:
        for partition, size in answer.items():
            found[partition] = max(size, found.get(partition, 0))
    return found
