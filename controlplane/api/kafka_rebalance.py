"""KafkaRebalance: replicas of one cluster are moved once. The source of the CRD and docs/reference/kafkarebalance.md.

The spec never changes: what is asked for, planned and approved is one thing. Another goal is another object.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from controlplane.api.base import ApiModel, Metadata, Timestamp
from controlplane.api.group import API_VERSION
from controlplane.api.kafka_cluster import MAX_CLUSTER_NAME
from controlplane.api.kafka_topic import MAX_REPLICAS, MAX_TOPIC_NAME, TOPIC_NAME_PATTERN
from controlplane.api.operation import OperationStatus
from controlplane.api.quantity import QuantityError, parse_bytes
from controlplane.api.rollout import ApprovalPolicy
from controlplane.api.rules import SET_LIST, rule, rules

KIND = "KafkaRebalance"
PLURAL = "kafkarebalances"
SHORT_NAME = "kfr"

MAX_BROKERS = 1000
MAX_TOPICS = 1000
MOVES_PER_BROKER = 5
AUTO = "Auto"
LEAST_RATE = 64 * 1024
"""Bytes a second. Slower than that a throttled replica may never catch up with what is written to it."""

IMMUTABLE = "spec: immutable: what was asked for is what was planned and approved; create another KafkaRebalance"
BROKERS = "spec.goal.brokers: needed by Drain, MoveTo and MoveAway, and left out with every other type"
TOPICS = "spec.goal.topics: needed by MoveTo, may limit ChangeReplicas, and is left out with every other type"
REPLICAS = "spec.goal.replicas: needed by ChangeReplicas, and left out with every other type"
TOLERANCE = "spec.goal.tolerancePercent: of BalanceBytes alone; left out with every other type"
THROTTLE = "spec.limits.throttle: must be Auto or a quantity of bytes a second from 64Ki on, such as 50Mi"


class GoalType(StrEnum):
    """What shall be true at the end; domain/rebalance/values says it exactly."""

    BALANCE = "Balance"
    BALANCE_BYTES = "BalanceBytes"
    LEADERS = "Leaders"
    DRAIN = "Drain"
    RACKS = "Racks"
    MOVE_TO = "MoveTo"
    CHANGE_REPLICAS = "ChangeReplicas"
    MOVE_AWAY = "MoveAway"


class RebalanceGoal(ApiModel):
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(self.type in ['Drain', 'MoveTo', 'MoveAway']) == (has(self.brokers) && size(self.brokers) > 0)",
                BROKERS,
            ),
            rule(
                "self.type == 'ChangeReplicas'"
                " || (self.type == 'MoveTo') == (has(self.topics) && size(self.topics) > 0)",
                TOPICS,
            ),
            rule("(self.type == 'ChangeReplicas') == has(self.replicas)", REPLICAS),
            rule("self.type == 'BalanceBytes' || !has(self.tolerancePercent)", TOLERANCE),
        )
    )
    type: GoalType = Field(
        description="Balance: as many replicas on every broker as is its share. BalanceBytes: as many bytes. Leaders: "
        "as many preferred leaders, no data moves. Drain: no replica on these brokers. Racks: partitions in as many "
        "racks as they can be. MoveTo: these topics on these brokers only. ChangeReplicas: another replication factor. "
        "MoveAway: from these brokers, replicas that their partition cannot spare."
    )
    brokers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MAX_BROKERS)] = Field(
        (), description="Ids of brokers, for Drain, MoveTo and MoveAway.", json_schema_extra=SET_LIST
    )
    topics: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=MAX_TOPIC_NAME, pattern=TOPIC_NAME_PATTERN)], ...],
        Field(max_length=MAX_TOPICS),
    ] = Field(
        (), description="Topics by their names in Kafka, for MoveTo and ChangeReplicas.", json_schema_extra=SET_LIST
    )
    replicas: int | None = Field(None, ge=1, le=MAX_REPLICAS, description="Replication factor, for ChangeReplicas.")
    tolerance_percent: int | None = Field(
        None,
        ge=1,
        le=100,
        description="How far from its share a broker's bytes may be, for BalanceBytes; 10 if absent.",
    )


class RebalanceLimits(ApiModel):
    moves_per_broker: int = Field(
        MOVES_PER_BROKER,
        ge=1,
        le=100,
        description="Replicas that are copied to or from one broker at the same time.",
    )
    throttle: str = Field(
        AUTO,
        max_length=32,
        description="Bytes a second that each broker may copy, such as 50Mi. Auto: half of what is spare, from the "
        "operator's KFLEET_BROKER_BANDWIDTH and what is written to the busiest broker.",
        json_schema_extra=rules(
            rule(
                "self == 'Auto' || (isQuantity(self) && quantity(self).compareTo(quantity('64Ki')) >= 0)",
                THROTTLE,
            )
        ),
    )


class RebalancedCluster(ApiModel):
    name: str = Field(min_length=1, max_length=MAX_CLUSTER_NAME, description="Its name, in this namespace.")


class KafkaRebalanceSpec(ApiModel):
    cluster_ref: RebalancedCluster = Field(description="The KafkaCluster, in the same namespace.")
    goal: RebalanceGoal = Field(description="What shall be true at the end.")
    limits: RebalanceLimits = Field(RebalanceLimits(), description="How fast it may go.")
    approval: ApprovalPolicy = Field(
        ApprovalPolicy.REQUIRED,
        description="Required: somebody other than who asks approves the plan before anything moves. NotRequired is "
        "not accepted for a cluster whose own changes require an approval.",
    )


class ProposalSummary(ApiModel):
    """What the plan costs."""

    replicas_moved: int = Field(ge=0, description="Replicas that are copied to a broker that had none.")
    bytes_moved: int = Field(ge=0, description="Their size when the plan was made.")
    partitions: int = Field(ge=0, description="Partitions that change, a new order of replicas included.")
    bound: int = Field(ge=0, description="No plan for this goal copies fewer replicas.")
    gap: int = Field(description="Replicas beyond the bound: 0 where no plan copies fewer.")
    bytes_bound: int | None = Field(
        None, ge=0, description="No plan for this goal copies fewer bytes; absent where the goal is not about bytes."
    )
    throttle_bytes: int = Field(ge=0, description="Bytes a second that each broker may copy.")


class RebalanceProgress(ApiModel):
    replicas_moved: int = Field(ge=0, description="Replicas that were copied so far; going back, those not moved back.")
    since: Timestamp = Field(description="When the first of them was begun.")
    seconds_left: int | None = Field(None, ge=0, description="An estimate; absent while it goes back.")


class KafkaRebalanceStatus(OperationStatus):
    proposal: ProposalSummary | None = Field(None, description="Absent before there is a plan.")
    progress: RebalanceProgress | None = Field(None, description="Absent before anything is moved.")


class KafkaRebalance(ApiModel):
    """Replicas of a Kafka cluster are moved, once. `model_validate(obj)` reads an object as the API server sends it.

    It plans, waits for an Approval of that very plan, and carries it out or undoes it: it ends in Complete or Failed.
    """

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: KafkaRebalanceSpec = Field(
        description="What was asked for. Immutable.", json_schema_extra=rules(rule("self == oldSelf", IMMUTABLE))
    )
    status: KafkaRebalanceStatus = Field(KafkaRebalanceStatus(), description="What is.")


def throttle_bytes(limits: RebalanceLimits) -> int | None:
    """Bytes a second; None for Auto. Raises QuantityError."""
    if limits.throttle == AUTO:
        return None
    rate = parse_bytes(limits.throttle)
    if rate < LEAST_RATE:
        raise QuantityError(THROTTLE.partition(": ")[2])
    return rate


_OF_BROKERS = frozenset({GoalType.DRAIN, GoalType.MOVE_TO, GoalType.MOVE_AWAY})
WRONG: tuple[tuple[str, Callable[[RebalanceGoal], bool]], ...] = (
    (BROKERS, lambda goal: (goal.type in _OF_BROKERS) != bool(goal.brokers)),
    (
        TOPICS,
        lambda goal: goal.type is not GoalType.CHANGE_REPLICAS and (goal.type is GoalType.MOVE_TO) != bool(goal.topics),
    ),
    (REPLICAS, lambda goal: (goal.type is GoalType.CHANGE_REPLICAS) != (goal.replicas is not None)),
    (TOLERANCE, lambda goal: goal.type is not GoalType.BALANCE_BYTES and goal.tolerance_percent is not None),
)
"""The rules of a goal again, for reconcile: an older CRD may have let it in."""
