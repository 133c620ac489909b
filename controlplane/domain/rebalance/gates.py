"""What keeps a rebalance from beginning another batch: a cluster that is not well or sheds load, or a roll that wants
the cell. Pure.

A batch that has begun goes on whatever these say: adding replicas takes nothing from anybody, and a batch is bounded.
A Drain does not wait for the brokers that it empties, nor for nodes that are to leave: nobody may bring them back, and
what they had is copied from where else it is. Nor does ChangeReplicas, which those may wait for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

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
    observation: ClusterObservation,
    operation: Operation | None,
    shedding: LoadSheddingStatus | None = None,
    *,
    emptied: Collection[int] = (),
) -> tuple[Check, ...]:
    """The failed ones. `operation` is what the KafkaCluster itself has under way, `shedding` what it sheds, `emptied`
    are nodes that need not be up."""
    return tuple(_gates(observation, operation, shedding, emptied))


def _gates(
    observation: ClusterObservation,
    operation: Operation | None,
    shedding: LoadSheddingStatus | None,
    emptied: Collection[int],
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
    down = {node.id: found for node in observation.nodes if (found := health.unhealthy(observation, node))}
    for node, found in down.items():
        if node not in emptied:
            yield from found
    if observation.kafka is None:
        yield health.unreachable(observation)
        return
    yield from _unwell(observation.kafka, down.keys() & set(emptied))
    if moving := observation.kafka.reassigning:
        yield Check(
            "ReassignmentInFlight",
            ok=False,
            evidence=f"{len(moving)} partitions are being reassigned: {listing(sorted(moving))}.",
            remedy="Wait until the reassignment is complete, or cancel it.",
        )


def _unwell(kafka: KafkaObservation, left_behind: Collection[int]) -> Iterator[Check]:
    """Partitions that serve nobody, or refuse acks=all writes though they have replicas enough: more of them is what a
    rebalance can give to those that do not. What is missing on brokers that are `left_behind` it gives elsewhere."""
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
        if one.leader is not None
        and len({*one.isr, *(set(one.replicas) & set(left_behind))}) < min(one.min_isr, len(one.replicas))
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
