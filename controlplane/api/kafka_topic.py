"""KafkaTopic: one topic, of a cluster in the same namespace or of the namespace's tenant.

The source of the CRD and docs/reference/kafkatopic.md."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from controlplane.api.base import ApiModel, Metadata
from controlplane.api.conditions import Condition
from controlplane.api.group import API_VERSION
from controlplane.api.kafka_cluster import MAX_CLUSTER_NAME, MAX_CONFIG_KEYS, DeletionPolicy
from controlplane.api.rules import SET_LIST, immutable_optional, map_list, rule, rules
from controlplane.api.tenant_ref import TenantRef

KIND = "KafkaTopic"
PLURAL = "kafkatopics"
SHORT_NAME = "kft"

MAX_TOPIC_NAME = 249
"""org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH"""
MAX_PARTITIONS = 10_000
MAX_REPLICAS = 32
TOPIC_NAME_PATTERN = r"^[a-zA-Z0-9._-]+$"

BAD_TOPIC_NAME = (
    "spec.topicName: must not be '.', '..' or begin with '__' (Kafka's own topics are not declared as resources)"
)
NAME_TOO_LONG = f"metadata.name: longer than the {MAX_TOPIC_NAME} characters of a Kafka topic name; give spec.topicName"
ONE_HOME = (
    "spec.clusterRef: exactly one of clusterRef (a cluster in this namespace) and tenantRef (the namespace's tenant)"
)
STAYS = "a topic does not move; create another"
SHRINKING = "spec.partitions: cannot be reduced: Kafka has no way to remove partitions; create another topic"


class ClusterKind(StrEnum):
    KAFKA_CLUSTER = "KafkaCluster"


class ClusterRef(ApiModel):
    """The cluster that holds the topic, in the topic's namespace."""

    kind: ClusterKind = Field(ClusterKind.KAFKA_CLUSTER, description="Kind of the object named.")
    name: str = Field(min_length=1, max_length=MAX_CLUSTER_NAME, description="Its name, in this namespace.")


class KafkaTopicSpec(ApiModel):
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.clusterRef) != has(self.tenantRef)", ONE_HOME),
            immutable_optional("spec.clusterRef", "clusterRef", STAYS),
            immutable_optional("spec.tenantRef", "tenantRef", STAYS),
            immutable_optional("spec.topicName", "topicName", "Kafka cannot rename a topic; create another"),
        )
    )
    cluster_ref: ClusterRef | None = Field(
        None,
        description="The cluster that holds the topic, in the same namespace. Kafka places it on all brokers. "
        "Immutable.",
    )
    tenant_ref: TenantRef | None = Field(
        None, description="The tenant whose the topic is, instead of clusterRef: it lives on its shard. Immutable."
    )
    topic_name: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_TOPIC_NAME,
        pattern=TOPIC_NAME_PATTERN,
        description="The topic's name in Kafka; metadata.name if absent. Immutable.",
        json_schema_extra=rules(
            rule("self != '.' && self != '..' && !self.startsWith('__')", BAD_TOPIC_NAME),
        ),
    )
    partitions: int = Field(
        ge=1,
        le=MAX_PARTITIONS,
        description="Number of partitions; grows only.",
        json_schema_extra=rules(rule("self >= oldSelf", SHRINKING)),
    )
    replicas: int = Field(ge=1, le=MAX_REPLICAS, description="Replication factor.")
    config: dict[str, Any] = Field(
        default_factory=dict,
        max_length=MAX_CONFIG_KEYS,
        description="Kafka topic settings: text, numbers and booleans. Settings not named here are left alone.",
    )
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN, description="Retain: deleting this object keeps the topic and its data."
    )


class KafkaTopicStatus(ApiModel):
    conditions: tuple[Condition, ...] = Field(
        (), max_length=16, description="Ready, Drifted, Reconciling, Stalled.", json_schema_extra=map_list("type")
    )
    observed_generation: int | None = Field(None, ge=0, description="The generation this status is about.")
    topic_name: str | None = Field(None, max_length=MAX_TOPIC_NAME, description="The topic's name in Kafka.")
    cell: str | None = Field(
        None,
        max_length=128,
        description="The cluster that holds it, as namespace/name; a tenant's topic stays there for life.",
    )
    topic_id: str | None = Field(None, max_length=64, description="Kafka's topic id; it tells a recreated topic apart.")
    partitions: int | None = Field(None, ge=0, description="Partitions in Kafka.")
    replicas: int | None = Field(None, ge=0, description="Replication factor in Kafka.")
    config_keys: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        (),
        max_length=MAX_CONFIG_KEYS,
        description="Settings that kfleet has set on the topic, so that one no longer declared is reset.",
        json_schema_extra=SET_LIST,
    )


class KafkaTopic(ApiModel):
    """A topic of a Kafka cluster. `model_validate(obj)` reads an object as the API server sends it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"has(self.spec.topicName) || size(self.metadata.name) <= {MAX_TOPIC_NAME}", NAME_TOO_LONG)
        )
    )
    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: KafkaTopicSpec = Field(description="What shall be.")
    status: KafkaTopicStatus = Field(KafkaTopicStatus(), description="What is.")

    @property
    def topic_name(self) -> str:
        """The topic's name in Kafka."""
        return self.spec.topic_name or self.metadata.name
