"""What keeps a rebalance from beginning another batch: a cluster that is not well or sheds load, or a roll that wants
the cell. Pure.

A batch that has begun goes on whatever these say: adding replicas takes nothing from anybody, and a batch is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.api.load_shedding import LoadSheddingStatus
from controlplane.api.operation import Operation
from controlplane.domain.check import Check
from controlplane.domain.observation import ClusterObservation, KafkaObservation
from controlplane.domain.operation.permit import CELL_LOCKED
from controlplane.domain.rolling import health
from controlplane.domain.rolling.health import listing
from controlplane.domain.shedding.ladder import Level

GATES = ("BrokersSaturated", "CellWanted", "MinIsr", "NodesUp", "ReassignmentInFlight")
"""What a plan names; each stands for the checks below."""


def gates(
    observation: ClusterObservation, operation: Operation | None, shedding: LoadSheddingStatus | None = None
) -> tuple[Check, ...]:
    """The failed ones. `operation` is what the KafkaCluster itself has under way, `shedding` what it sheds."""
    return tuple(_gates(observation, operation, shedding))


def _gates(
    observation: ClusterObservation, operation: Operation | None, shedding: LoadSheddingStatus | None
) -> Iterator[Check]:
    if shedding is not None and shedding.level >= Level.REBALANCES:
        yield Check(
            "BrokersSaturated",
            ok=False,
            evidence=f"The cluster sheds load (level {shedding.level}). {shedding.message}",
            remedy="It goes on by itself once the cluster is relaxed.",
        )
    if operation is not None and _wants_the_cell(operation):
        yield Check(
            "CellWanted",
            ok=False,
            evidence=f"{operation.id} of the cluster waits for the cell ({operation.goal}).",
            remedy="It goes first; the rebalance goes on afterwards.",
        )
    for node in observation.nodes:
        yield from health.unhealthy(observation, node)
    if observation.kafka is None:
        yield health.unreachable(observation)
        return
    yield from unwell(observation.kafka)
    if moving := observation.kafka.reassigning:
        yield Check(
            "ReassignmentInFlight",
            ok=False,
            evidence=f"{len(moving)} partitions are being reassigned: {listing(sorted(moving))}.",
            remedy="Wait until the reassignment is complete, or cancel it.",
        )


def unwell(kafka: KafkaObservation) -> Iterator[Check]:
    """Partitions that serve nobody, or refuse acks=all writes though they have replicas enough: more of them is what a
    rebalance can give to those that do not."""
    offline = sorted(one.id for one in kafka.partitions if one.leader is None)
    if offline:
        yield Check(
            "PartitionsOffline",
            ok=False,
            evidence=f"{len(offline)} partitions have no leader: {listing(offline)}.",
            remedy="Bring the brokers of their replicas back.",
        )
    short = sorted(
        one.id
        for one in kafka.partitions
        if one.leader is not None and len(one.isr) < min(one.min_isr, len(one.replicas))
    )
    if short:
        yield Check(
            "UnderMinIsr",
            ok=False,
            evidence=f"{len(short)} partitions have fewer replicas in sync than min ISR: {listing(short)}.",
            remedy="Wait for their replicas to catch up, or bring the brokers back.",
        )


def _wants_the_cell(operation: Operation) -> bool:
    return operation.step is not None and any(check.name == CELL_LOCKED for check in operation.step.checks)
