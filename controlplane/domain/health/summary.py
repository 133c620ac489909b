"""A cluster in one word and one line, from what its object says. Pure: `kfleet status` shows a fleet of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.base import Metadata
from controlplane.api.kafka_cluster import KafkaClusterStatus, NodeStatus
from controlplane.api.operation import Operation
from controlplane.api.validate import explain, problems_of

FIRST_REPORT_SECONDS = 60.0
"""An object without a status for this long has no operator that looks after it."""

PAUSED = "Paused"


class State(StrEnum):
    """Worst first. Those of UNHEALTHY need somebody."""

    UNAVAILABLE = "Unavailable"
    DEGRADED = "Degraded"
    UNREPORTED = "Unreported"
    BLOCKED = "Blocked"
    ROLLED_BACK = "RolledBack"
    AWAITING_APPROVAL = "AwaitingApproval"
    OUTSIDE_WINDOW = "OutsideWindow"
    PAUSED = "Paused"
    CANCELLED = "Cancelled"
    DELETING = "Deleting"
    FORMING = "Forming"
    APPLYING = "Applying"
    ROLLING = "Rolling"
    HEALTHY = "Healthy"

    @property
    def severity(self) -> int:
        """0 is the worst."""
        return list(State).index(self)


WAITS = {
    "AwaitingApproval": State.AWAITING_APPROVAL,
    "ApprovalInvalid": State.AWAITING_APPROVAL,
    "OutsideWindow": State.OUTSIDE_WINDOW,
    PAUSED: State.PAUSED,
    "Cancelled": State.CANCELLED,
    "CellLocked": State.ROLLING,
    "LearningClientLevel": State.ROLLING,
}
"""Reasons of Blocked that are somebody's will or turn, and no illness."""

UNHEALTHY = frozenset({State.UNAVAILABLE, State.DEGRADED, State.UNREPORTED, State.BLOCKED, State.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """`why` is one line, empty when all is well; `reason` the word that `kfleet explain` knows. `nodes_declared` is of
    the spec; `version` is the declared one. `since` is when the state's condition last changed.
    """

    metadata: Metadata
    status: KafkaClusterStatus
    state: State
    reason: str
    why: str
    since: str | None
    version: str
    nodes_declared: int

    @property
    def key(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def nodes_ready(self) -> int:
        return sum(node.ready for node in self.status.nodes)

    @property
    def operation(self) -> Operation | None:
        return self.status.operation

    @property
    def healthy(self) -> bool:
        return self.state not in UNHEALTHY


def summarise(obj: Mapping[str, Any], now: float) -> ClusterSummary:
    """One KafkaCluster as the API server sends it; a spec or status that this version cannot read is no obstacle."""
    metadata = Metadata.model_validate(obj["metadata"])
    spec = obj.get("spec") or {}
    try:
        status = KafkaClusterStatus.model_validate(obj.get("status") or {})
        state, reason, why, since = _judge(metadata, status, now)
    except ValidationError as error:
        status = KafkaClusterStatus()
        why = f"its status cannot be read by this version of kfleet: {explain(problems_of(error))}"
        state, reason, since = State.UNREPORTED, "InvalidStatus", None
    return ClusterSummary(
        metadata=metadata,
        status=status,
        state=state,
        reason=reason,
        why=one_line(why),
        since=since,
        version=str(spec.get("version", "")),
        nodes_declared=sum(int(pool.get("replicas", 0)) for pool in spec.get("nodePools") or ()),
    )


def stopped_by_operation(status: KafkaClusterStatus) -> frozenset[int]:
    """Nodes that the roll under way has stopped and not yet seen back: that they are down is expected."""
    return frozenset(entry.node for entry in status.operation.replicas_out_before) if status.operation else frozenset()


def broken_nodes(status: KafkaClusterStatus) -> tuple[NodeStatus, ...]:
    """Nodes with something wrong: they say so, or they are down and nobody stopped them. Only of a cluster that has
    once been complete: while it forms, a node that starts is no news.
    """
    expected = stopped_by_operation(status)
    return tuple(
        node
        for node in status.nodes
        if node.message or (not node.ready and status.bootstrap_servers and node.id not in expected)
    )


def one_line(text: str) -> str:
    return " ".join(text.split())


Verdict = tuple[State, str, str, str | None]


def _judge(metadata: Metadata, status: KafkaClusterStatus, now: float) -> Verdict:
    if metadata.deletion_timestamp:
        return State.DELETING, "Deleted", "it is being deleted", metadata.deletion_timestamp
    ready = c.find_condition(status.conditions, c.READY)
    if ready is None:
        return _unreported(metadata, now)
    available = c.find_condition(status.conditions, c.AVAILABLE)
    if status.bootstrap_servers and available and available.status == "False":
        return State.UNAVAILABLE, available.reason, _words(available), available.last_transition_time
    if broken := broken_nodes(status):
        why = "; ".join(f"node {node.id}: {node.message or node.state}" for node in broken)
        return State.DEGRADED, broken[0].state, why, ready.last_transition_time
    blocked = c.find_condition(status.conditions, c.BLOCKED)
    if blocked and blocked.status == "True":
        state = WAITS.get(blocked.reason, State.BLOCKED)
        return state, blocked.reason, _words(blocked), blocked.last_transition_time
    if operation := status.operation:
        why = f"{operation.goal}: {operation.message}".rstrip(": ")
        return State.ROLLING, "RollInProgress", why, operation.started_at
    if ready.observed_generation < metadata.generation:
        why = f"generation {metadata.generation} is not looked at yet"
        return State.APPLYING, "NotObserved", why, ready.last_transition_time
    if metadata.annotations.get(names.PAUSED) == "true":
        return State.PAUSED, PAUSED, f"annotation {names.PAUSED}", ready.last_transition_time
    if ready.status == "True":
        return State.HEALTHY, ready.reason, "", ready.last_transition_time
    state = State.APPLYING if status.bootstrap_servers else State.FORMING
    if ready.reason == "RolledBack":
        state = State.ROLLED_BACK
    return state, ready.reason, _words(ready), ready.last_transition_time


def _words(condition: c.Condition) -> str:
    return f"{condition.reason}: {condition.message}" if condition.message else condition.reason


def _unreported(metadata: Metadata, now: float) -> Verdict:
    created = metadata.creation_timestamp
    age = now - datetime.fromisoformat(created).timestamp() if created else 0.0
    if age < FIRST_REPORT_SECONDS:
        return State.FORMING, "NotObserved", "no operator has looked at it yet", created
    return State.UNREPORTED, "NotObserved", "no operator has looked at it since it was created", created
