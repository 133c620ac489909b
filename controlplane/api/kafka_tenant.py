"""KafkaTenant: a team's share of one or more clusters. The source of the CRD and docs/reference/kafkatenant.md.

A tenant is cluster-scoped: it hands brokers of a platform's clusters to namespaces of its users, and neither side may
do that by itself. Its status is the record of where it may live: a shard stands there before anything uses it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from controlplane.api.base import ApiModel, CamelCase, Metadata, Timestamp
from controlplane.api.conditions import MESSAGE_LIMIT, Condition
from controlplane.api.group import API_VERSION
from controlplane.api.kafka_cluster import MAX_CLUSTER_NAME
from controlplane.api.rules import SET_LIST, Duration, PositiveQuantity, map_list, quantity_field, rule, rules

KIND = "KafkaTenant"
PLURAL = "kafkatenants"
SHORT_NAME = "kften"

MAX_TENANT_NAME = 63
"""It is the value of a label."""
MAX_NAMESPACES = 64
MAX_CELLS = 16
MAX_PREFIX = 100
MAX_SHARD = 128
MAX_IN_EFFECT = 3 * MAX_SHARD
"""What a shard was, what it becomes, and brokers that topics lay on before there was one."""
MAX_BROKER_ID = 2**31 - 1
NAMESPACE_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
PREFIX_PATTERN = r"^[a-zA-Z0-9._-]+$"

NAME_TOO_LONG = f"metadata.name: at most {MAX_TENANT_NAME} characters: objects of the tenant are labelled with it"
PREFIX_IMMUTABLE = (
    "spec.topicPrefix: immutable: topics and rules for them bear it; create another tenant with the other prefix"
)
BAD_PREFIX = "spec.topicPrefix: must not begin with '__': those are Kafka's own topics"
OVERLAP_TOO_LARGE = (
    "spec.shard.maxOverlap: must be less than spec.shard.size: tenants that share every broker are not apart (a shard "
    "of one broker takes 0)"
)


class TenantCellKind(StrEnum):
    KAFKA_CLUSTER = "KafkaCluster"


class Priority(StrEnum):
    """Whose share is cut first when brokers are short: Bulk, then Standard, and Critical never."""

    CRITICAL = "Critical"
    STANDARD = "Standard"
    BULK = "Bulk"


BrokerId = Annotated[int, Field(ge=0, le=MAX_BROKER_ID)]
Brokers = Annotated[tuple[BrokerId, ...], Field(max_length=MAX_IN_EFFECT)]


class TenantOwner(ApiModel):
    team: str = Field(min_length=1, max_length=128, description="Who the tenant is.")
    contact: str = Field("", max_length=256, description="Whom to ask or to wake.")


class TenantCell(ApiModel):
    """A cluster that the tenant has a shard of."""

    kind: TenantCellKind = Field(TenantCellKind.KAFKA_CLUSTER, description="Kind of the object named.")
    namespace: str = Field(min_length=1, max_length=63, pattern=NAMESPACE_PATTERN, description="Its namespace.")
    name: str = Field(min_length=1, max_length=MAX_CLUSTER_NAME, description="Its name.")


class ShardSpec(ApiModel):
    model_config = ConfigDict(json_schema_extra=rules(rule("self.maxOverlap < self.size", OVERLAP_TOO_LARGE)))
    size: int = Field(
        ge=1,
        le=MAX_SHARD,
        description="Brokers of each cell that the tenant uses, from all zones alike. At least as "
        "many as its topics have replicas.",
    )
    max_overlap: int = Field(
        1,
        ge=0,
        le=MAX_SHARD - 1,
        description="Brokers that it may share with any other tenant. Where brokers do not "
        "suffice it is as little as can be, and the status says by how much it is more.",
    )
    replacement_delay: Duration = Field(
        "30m",
        description="How long a broker of the shard is down before another takes its place. Short ones let a "
        "tenant whose requests kill brokers walk through the cluster.",
    )


class TenantQuotas(ApiModel):
    """Of the whole tenant in each of its cells, whatever the number of its users and brokers."""

    produce_bytes_per_second: PositiveQuantity | None = quantity_field(
        "spec.quotas.produceBytesPerSecond", "Bytes a second that all its users may write.", "50Mi", default=None
    )
    consume_bytes_per_second: PositiveQuantity | None = quantity_field(
        "spec.quotas.consumeBytesPerSecond", "Bytes a second that all its users may read.", "100Mi", default=None
    )
    request_percentage: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Share of one thread's time on each broker that all its users may take, in percent: 200 are two "
        "threads.",
    )
    controller_mutation_rate: int | None = Field(
        None, ge=1, le=100_000, description="Partitions a second that all its users may create or delete."
    )


class TenantLimits(ApiModel):
    """Of the whole tenant, all its cells together."""

    topics: int | None = Field(None, ge=1, description="Topics that begin with its prefix.")
    partitions: int | None = Field(None, ge=1, description="Partitions of these topics, replicas not counted.")
    storage: PositiveQuantity | None = quantity_field(
        "spec.limits.storage", "Bytes on the brokers' disks, every replica counted.", "2Ti", default=None
    )


class KafkaTenantSpec(ApiModel):
    owner: TenantOwner = Field(description="Whose it is.")
    namespaces: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63, pattern=NAMESPACE_PATTERN)], ...],
        Field(min_length=1, max_length=MAX_NAMESPACES),
    ] = Field(
        description="Namespaces whose topics and users may name the tenant. A namespace belongs to one tenant: the "
        "oldest that lists it.",
        json_schema_extra=SET_LIST,
    )
    topic_prefix: str = Field(
        min_length=1,
        max_length=MAX_PREFIX,
        pattern=PREFIX_PATTERN,
        description="What the names of all its topics begin with. No tenant's begins with another's. Immutable.",
        json_schema_extra=rules(rule("self == oldSelf", PREFIX_IMMUTABLE), rule("!self.startsWith('__')", BAD_PREFIX)),
    )
    priority: Priority = Field(Priority.STANDARD, description="Critical, Standard or Bulk: who gives way last.")
    cells: Annotated[tuple[TenantCell, ...], Field(min_length=1, max_length=MAX_CELLS)] = Field(
        description="The clusters it has a shard of.", json_schema_extra=map_list("kind", "namespace", "name")
    )
    shard: ShardSpec = Field(description="How much of each cell it uses.")
    quotas: TenantQuotas = Field(default_factory=TenantQuotas, description="How much it may take of these brokers.")
    limits: TenantLimits = Field(default_factory=TenantLimits, description="How much it may keep there.")


class TenantUsage(ApiModel):
    topics: int = Field(0, ge=0, description="Topics that begin with the tenant's prefix.")
    partitions: int = Field(0, ge=0, description="Their partitions.")
    storage: int = Field(0, ge=0, description="Bytes on the brokers' disks, every replica counted.")

    def __add__(self, other: TenantUsage) -> TenantUsage:
        return TenantUsage(
            topics=self.topics + other.topics,
            partitions=self.partitions + other.partitions,
            storage=self.storage + other.storage,
        )


class QuotaGranted(ApiModel):
    """What each user of the tenant gets of Kafka, which counts for each broker by itself (KIP-13, KIP-124)."""

    brokers: int = Field(ge=0, description="Brokers that lead its partitions: byte rates are divided by them.")
    users: int = Field(ge=0, description="Users of the tenant that everything is divided by.")
    values: dict[str, Annotated[str, Field(max_length=64)]] = Field(
        default_factory=dict, max_length=8, description="The quota of one user on one broker, by Kafka's key."
    )


class BrokerAway(ApiModel):
    broker: BrokerId = Field(description="Id of a broker of the shard.")
    since: Timestamp = Field(description="Since when it has been seen down.")


class TenantCellStatus(ApiModel):
    """The tenant in one cell. `shard` is where its topics may live now, `target` where they shall."""

    kind: TenantCellKind = Field(description="Kind of the object named.")
    namespace: str = Field(max_length=63, description="Its namespace.")
    name: str = Field(max_length=MAX_CLUSTER_NAME, description="Its name.")
    shard: Brokers = Field(
        (),
        description="Brokers that its topics may live on now; while it moves both the old ones and the new ones.",
        json_schema_extra=SET_LIST,
    )
    target: Brokers | None = Field(
        None, description="What the shard becomes, while it moves.", json_schema_extra=SET_LIST
    )
    previous: Brokers | None = Field(
        None, description="What the shard was, while it moves.", json_schema_extra=SET_LIST
    )
    overlap: int = Field(0, ge=0, description="Brokers shared with another tenant, with whichever they are most.")
    gap: int = Field(
        0, ge=0, description="By how many that is more than is proven to be needed for so many tenants placed afresh."
    )
    brokers: str = Field(
        "", max_length=4096, description="Brokers of the cell when its shard was last looked at, such as 0-5,8."
    )
    away: tuple[BrokerAway, ...] = Field(
        (),
        max_length=MAX_IN_EFFECT,
        description="Brokers of the shard that are down.",
        json_schema_extra=map_list("broker"),
    )
    rebalance: str | None = Field(
        None,
        max_length=253,
        description="The KafkaRebalance that moves its topics, or the one that failed to, in the cell's namespace.",
    )
    usage: TenantUsage = Field(TenantUsage(), description="What it has there.")
    quota: QuotaGranted | None = Field(None, description="What each of its users gets there.")
    unwatched: tuple[Annotated[str, Field(max_length=63)], ...] = Field(
        (),
        max_length=MAX_NAMESPACES,
        description="Namespaces of the tenant that this cell's operator does not watch: topics and users in them are "
        "not looked after here.",
        json_schema_extra=SET_LIST,
    )
    placed: bool = Field(False, description="Whether the shard is in effect and as declared.")
    reason: CamelCase = Field("Placing", description="Why it is placed or not.")
    message: str = Field("", max_length=MESSAGE_LIMIT, description="The same for people.")


class KafkaTenantStatus(ApiModel):
    conditions: tuple[Condition, ...] = Field(
        (),
        max_length=16,
        description="Ready, Placed, WithinLimits, NamespacesWatched, Reconciling, Stalled.",
        json_schema_extra=map_list("type"),
    )
    observed_generation: int | None = Field(None, ge=0, description="The generation this status is about.")
    cells: tuple[TenantCellStatus, ...] = Field(
        (),
        max_length=2 * MAX_CELLS,
        description="Where it is: the cells it names, and those it has left and still has topics in.",
        json_schema_extra=map_list("kind", "namespace", "name"),
    )
    usage: TenantUsage | None = Field(None, description="What it has in all cells together.")


class KafkaTenant(ApiModel):
    """A team's share of Kafka clusters. `model_validate(obj)` reads an object as the API server sends it."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule(f"size(self.metadata.name) <= {MAX_TENANT_NAME}", NAME_TOO_LONG))
    )
    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: KafkaTenantSpec = Field(description="What shall be.")
    status: KafkaTenantStatus = Field(KafkaTenantStatus(), description="What is.")
