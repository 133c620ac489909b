"""How a KafkaRebalance that moves a tenant's topics is read: by how it stands, whatever else people wrote into it."""

from __future__ import annotations

import pytest
from support.tenants import CELL, cell_of

from controlplane.api import names
from controlplane.domain.observation import KafkaObservation, PartitionObservation
from controlplane.domain.rebalance.asked import MoveState
from controlplane.domain.rebalance.bounds import Bounds
from controlplane.domain.rebalance.values import Broker
from controlplane.ports import Object
from controlplane.services.rebalance.recipe import assignment_of
from controlplane.services.tenants.moves import move_of

AT = "2026-01-01T00:00:00Z"


def made(generation: str | None = "3", **conditions: tuple[str, str]) -> Object:
    """Conditions by type: (status, reason)."""
    found = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "why",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind, (status, reason) in conditions.items()
    ]
    annotations = {} if generation is None else {names.TENANT_GENERATION: generation}
    meta = {"name": "tenant-t-1", "labels": {names.TENANT: "t"}, "annotations": annotations}
    return {"metadata": meta, "status": {"conditions": found}}


@pytest.mark.parametrize("written", ["x", "-1", "\u0663", "1e3", "", None])
def test_what_people_write_into_its_annotation_stops_nothing(written: str | None) -> None:
    assert move_of(made(written)).generation == 0
    assert move_of(made("3")).generation == 3


def test_one_that_cannot_be_planned_any_more_is_not_waited_for() -> None:
    """A topic of it is gone, or one of its brokers: nothing but another plan ends that."""
    waits = {"Complete": ("False", "Waiting")}
    assert move_of(made("3", **waits, Proposed=("False", "NodesDown"))).state is MoveState.UNDER_WAY
    assert move_of(made("3", **waits, Proposed=("True", "Proposed"))).state is MoveState.UNDER_WAY
    stuck = move_of(made("3", **waits, Proposed=("False", "GoalInfeasible")))
    assert (stuck.state, stuck.reason, stuck.message) == (MoveState.FAILED, "GoalInfeasible", "why")


def test_a_topic_with_more_replicas_than_its_shard_may_stay_so_that_others_can_be_planned() -> None:
    cell = cell_of(1, 6)
    cell.add("t", shard={"size": 3})
    cell.settle()
    shard = cell.status("t").shard
    outside = next(broker for broker in range(6) if broker not in shard)
    four = (*shard, outside)
    partitions = (
        PartitionObservation("t.four", 0, four[0], four, four, 1),
        PartitionObservation("t.three", 0, outside, (outside, *shard[:2]), shard[:2], 1),
        PartitionObservation("other", 0, 0, (0, 1, 2), (0, 1, 2), 1),
    )
    brokers = [Broker(broker) for broker in range(6)]
    found = assignment_of(KafkaObservation(0.0, "id", (), partitions), {}, brokers, Bounds(cell.directory, CELL))
    allowed = {one.topic: one.allowed for one in found.partitions}
    assert allowed == {"t.four": frozenset(four), "t.three": frozenset(shard), "other": None}
