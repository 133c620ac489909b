"""Kafka's admin requests as kafka-python's message classes, and their answers as the port's values. No I/O here.

Requests are built anew for each broker that is asked: kafka-python fixes a request's version when it is sent, and the
brokers of one cluster differ during an upgrade. kafka-python's own KafkaAdminClient is not used: it reports errors as
text only, refuses the resource name "" and cannot choose the broker (see connections.py).
"""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from kafka.protocol.admin import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeQuorumRequest,
    ElectionType,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest,
    UpdateFeaturesRequest,
)
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest

from controlplane.adapters.kafka.errors import check, of_code
from controlplane.domain.observation import TopicPartition, VoterObservation
from controlplane.ports import Growth, KafkaError, NewTopic

T = TypeVar("T")

TOPIC, BROKER = 2, 4
"""ConfigResource.Type of Kafka."""
DYNAMIC_TOPIC_CONFIG, DYNAMIC_DEFAULT_BROKER_CONFIG = 1, 3
"""DescribeConfigsResponse.ConfigSource of Kafka."""
SET, DELETE = 0, 1
"""AlterConfigOp.OpType of Kafka."""
UPGRADE = 1
"""FeatureUpdate.UpgradeType of Kafka (KIP-778)."""
METADATA_TOPIC = "__cluster_metadata"
UNKNOWN_TOPIC = "UNKNOWN_TOPIC_OR_PARTITION"
NOT_NEEDED = "ELECTION_NOT_NEEDED"


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def kafka_uuid(value: uuid.UUID | str) -> str:
    """Topic and directory ids as Kafka writes them (org.apache.kafka.common.Uuid): base64url without padding."""
    raw = (value if isinstance(value, uuid.UUID) else uuid.UUID(value)).bytes
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def uuid_of(value: str) -> uuid.UUID:
    """The inverse of `kafka_uuid`."""
    return uuid.UUID(bytes=base64.urlsafe_b64decode(value + "=="))


def metadata(names: Sequence[str] | None) -> Any:
    """Of these topics, or of all. Never creates one."""
    topics = None if names is None else [MetadataRequest.MetadataRequestTopic(name=name) for name in names]
    return MetadataRequest(
        topics=topics,
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=False,
    )


def api_versions() -> Any:
    return ApiVersionsRequest(client_software_name="kfleet", client_software_version="0", min_version=3)


def finalized_features(answer: Any) -> dict[str, int]:
    check(answer.error_code)
    return {feature.name: feature.max_version_level for feature in answer.finalized_features or ()}


def describe_quorum() -> Any:
    topic = DescribeQuorumRequest.TopicData
    partition = topic.PartitionData(partition_index=0)
    return DescribeQuorumRequest(topics=[topic(topic_name=METADATA_TOPIC, partitions=[partition])])


def quorum_partition(answer: Any) -> Any:
    """The metadata partition's section. Raises KafkaError when the controllers have no leader."""
    check(answer.error_code, answer.error_message)
    (topic,) = answer.topics
    (partition,) = topic.partitions
    check(partition.error_code, partition.error_message)
    return partition


def replicas_of_quorum(states: Iterable[Any], leader: Any, window_seconds: float) -> tuple[VoterObservation, ...]:
    """`leader` is the leader's own state. Both timestamps are the leader's clock (KIP-836), so no clocks are compared.

    A replica is caught up if its last fetch reached the end that the leader's log had within `window_seconds`. Lag 0
    alone would not do: it is also the lag of a voter that died since the last record.
    """
    oldest = leader.last_caught_up_timestamp - window_seconds * 1000
    return tuple(
        VoterObservation(
            id=state.replica_id,
            directory_id=kafka_uuid(state.replica_directory_id),
            log_end_offset=state.log_end_offset,
            lag=max(0, leader.log_end_offset - state.log_end_offset),
            caught_up=state.replica_id == leader.replica_id or state.last_caught_up_timestamp >= oldest,
            caught_up_at=state.last_caught_up_timestamp / 1000,
        )
        for state in states
    )


def list_reassignments(timeout_ms: int) -> Any:
    return ListPartitionReassignmentsRequest(topics=None, timeout_ms=timeout_ms)


def reassigning(answer: Any) -> tuple[TopicPartition, ...]:
    check(answer.error_code, answer.error_message)
    return tuple(
        sorted(
            TopicPartition(topic.name, partition.partition_index)
            for topic in answer.topics
            for partition in topic.partitions
        )
    )


def describe_configs(kind: int, names: Iterable[str], keys: Sequence[str] | None = None) -> Any:
    resource = DescribeConfigsRequest.DescribeConfigsResource
    wanted = None if keys is None else list(keys)
    return DescribeConfigsRequest(
        resources=[resource(resource_type=kind, resource_name=name, configuration_keys=wanted) for name in names],
        include_synonyms=False,
        include_documentation=False,
    )


def configs(answer: Any, source: int | None = None) -> dict[str, dict[str, str]]:
    """Configs by resource; only those set at `source`, if given. A secret's value reads as "".

    Topics that went away since they were listed are absent; any other error is raised.
    """
    found: dict[str, dict[str, str]] = {}
    for result in answer.results:
        error = of_code(result.error_code, result.error_message)
        if error is None:
            found[result.resource_name] = {
                entry.name: entry.value or "" for entry in result.configs if source in (None, entry.config_source)
            }
        elif error.code != UNKNOWN_TOPIC:
            raise error
    return found


def alter_configs(kind: int, changes: Mapping[str, Mapping[str, str | None]]) -> Any:
    """Incremental (KIP-339): None removes a key."""
    return alter_configs_of((kind, name, wanted) for name, wanted in changes.items())


def alter_configs_of(changes: Iterable[tuple[int, str, Mapping[str, str | None]]]) -> Any:
    """As `alter_configs`, of resources of several kinds: (kind, name, changes)."""
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    return IncrementalAlterConfigsRequest(
        resources=[
            resource(
                resource_type=kind,
                resource_name=name,
                configs=[
                    resource.AlterableConfig(name=key, config_operation=DELETE if value is None else SET, value=value)
                    for key, value in wanted.items()
                ],
            )
            for kind, name, wanted in changes
        ],
        validate_only=False,
    )


def altered(answer: Any) -> dict[str, KafkaError | None]:
    return {item.resource_name: of_code(item.error_code, item.error_message) for item in answer.responses}


def create_topics(topics: Sequence[NewTopic], timeout_ms: int) -> Any:
    """Numbers of -1 stand for what explicit assignments say."""
    topic = CreateTopicsRequest.CreatableTopic
    assignment = topic.CreatableReplicaAssignment
    return CreateTopicsRequest(
        topics=[
            topic(
                name=new.name,
                num_partitions=-1 if new.assignments else new.partitions,
                replication_factor=-1 if new.assignments else new.replicas,
                assignments=[
                    assignment(partition_index=number, broker_ids=list(replicas))
                    for number, replicas in enumerate(new.assignments)
                ],
                configs=[topic.CreatableTopicConfig(name=key, value=value) for key, value in new.config.items()],
            )
            for new in topics
        ],
        timeout_ms=timeout_ms,
        validate_only=False,
    )


def created(answer: Any) -> dict[str, KafkaError | None]:
    return {topic.name: of_code(topic.error_code, topic.error_message) for topic in answer.topics}


def delete_topics(ids: Iterable[str], timeout_ms: int) -> Any:
    """By topic id (KIP-516): a topic made anew under the same name meanwhile is another one."""
    topic = DeleteTopicsRequest.DeleteTopicState
    return DeleteTopicsRequest(
        topics=[topic(name=None, topic_id=uuid_of(kafka_id)) for kafka_id in ids], timeout_ms=timeout_ms, min_version=6
    )


def deleted(answer: Any) -> dict[str, KafkaError | None]:
    """By topic id."""
    return {kafka_uuid(one.topic_id): of_code(one.error_code, one.error_message) for one in answer.responses}


def create_partitions(topics: Mapping[str, Growth], timeout_ms: int) -> Any:
    """No assignments leave it to Kafka."""
    topic = CreatePartitionsRequest.CreatePartitionsTopic
    assignment = topic.CreatePartitionsAssignment
    return CreatePartitionsRequest(
        topics=[
            topic(
                name=name,
                count=growth.partitions,
                assignments=[assignment(broker_ids=list(replicas)) for replicas in growth.assignments] or None,
            )
            for name, growth in topics.items()
        ],
        timeout_ms=timeout_ms,
        validate_only=False,
    )


def partitions_created(answer: Any) -> dict[str, KafkaError | None]:
    return {topic.name: of_code(topic.error_code, topic.error_message) for topic in answer.results}


def elect_preferred(partitions: Sequence[TopicPartition], timeout_ms: int) -> Any:
    topics: dict[str, list[int]] = {}
    for partition in partitions:
        topics.setdefault(partition.topic, []).append(partition.partition)
    return ElectLeadersRequest(
        election_type=ElectionType.PREFERRED,
        topic_partitions=[
            ElectLeadersRequest.TopicPartitions(topic=topic, partitions=numbers) for topic, numbers in topics.items()
        ],
        timeout_ms=timeout_ms,
    )


def failed_elections(answer: Any) -> dict[TopicPartition, KafkaError]:
    """Elections that did not end with the preferred leader. Raises KafkaError if the whole request failed."""
    check(answer.error_code)
    failures: dict[TopicPartition, KafkaError] = {}
    for topic in answer.replica_election_results:
        for result in topic.partition_result:
            error = of_code(result.error_code, result.error_message)
            if error is not None and error.code != NOT_NEEDED:
                failures[TopicPartition(topic.topic, result.partition_id)] = error
    return failures


def upgrade_features(levels: Mapping[str, int], timeout_ms: int) -> Any:
    """An upgrade whatever the level: Kafka refuses a lower one (KIP-584)."""
    update = UpdateFeaturesRequest.FeatureUpdateKey
    return UpdateFeaturesRequest(
        timeout_ms=timeout_ms,
        feature_updates=[
            update(feature=name, max_version_level=level, upgrade_type=UPGRADE) for name, level in levels.items()
        ],
        validate_only=False,
        min_version=1,
    )


def check_features(answer: Any) -> None:
    """Raises KafkaError: the request's own, or that of the first feature refused."""
    check(answer.error_code, answer.error_message)
    for result in answer.results or ():
        check(result.error_code, result.error_message)
