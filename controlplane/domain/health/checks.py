"""Is this cluster well? One check a question, passed ones included, from its object and, where brokers can be asked,
from an observation of now. Pure.

What a roll under way has taken down is expected to be down: a cluster that rolls is well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.api import conditions as c
from controlplane.domain.check import Check
from controlplane.domain.health.summary import WAITS, ClusterSummary, broken_nodes, stopped_by_operation
from controlplane.domain.observation import ClusterObservation, KafkaObservation, QuorumObservation
from controlplane.domain.rolling.health import listing

SILENT_SECONDS = 60.0
"""An operator that has not renewed its Lease for this long is not running; a clock may differ by less."""


@dataclass(frozen=True, slots=True)
class OperatorSeen:
    """The operator's Lease: who holds it and how many seconds ago it was renewed; `holder` is empty for nobody."""

    lease: str
    holder: str
    renewed_ago: float


def cluster_checks(
    summary: ClusterSummary, *, observation: ClusterObservation | None, operator: OperatorSeen | None
) -> tuple[Check, ...]:
    """All of them, in the order in which a person would look. None for `operator` or `observation`: not asked."""
    return tuple(_all(summary, observation, operator))


def operator_check(seen: OperatorSeen) -> Check:
    """Does an operator run at all? Without one every status is old news."""
    ok = bool(seen.holder) and seen.renewed_ago < SILENT_SECONDS
    if ok:
        return Check("OperatorAlive", ok=True, evidence=f"{seen.holder} holds Lease {seen.lease}.")
    evidence = (
        f"{seen.holder} renewed Lease {seen.lease} {seen.renewed_ago:.0f} s ago."
        if seen.holder
        else f"Nobody holds Lease {seen.lease}."
    )
    return Check(
        "OperatorAlive",
        ok=False,
        evidence=evidence,
        remedy="Nothing below is kept up to date: see the operator's pod and its log "
        "(kubectl -n kfleet get pods; kubectl -n kfleet logs deploy/kfleet-operator).",
    )


def _all(
    summary: ClusterSummary, observation: ClusterObservation | None, operator: OperatorSeen | None
) -> Iterator[Check]:
    if operator is not None:
        yield operator_check(operator)
    yield _observed(summary)
    yield _nodes(summary)
    kafka = observation.kafka if observation else None
    if kafka is not None:
        yield from _partitions(summary, kafka)
    else:
        yield _available(summary)
    if observation is not None and observation.quorum is not None:
        yield _quorum(summary, observation.quorum)
    yield _blocked(summary)
    yield _as_declared(summary)


def _observed(summary: ClusterSummary) -> Check:
    wanted, seen = summary.metadata.generation, summary.status.observed_generation
    if seen == wanted:
        return Check("GenerationObserved", ok=True, evidence=f"The operator has looked at generation {wanted}.")
    return Check(
        "GenerationObserved",
        ok=False,
        evidence=f"The operator has looked at generation {seen}, the spec is at {wanted}."
        if seen is not None
        else "No operator has looked at it.",
        remedy=f"If this does not pass, see the operator's log; kfleet cluster reconcile {summary.metadata.name} asks "
        "it to look.",
    )


def _nodes(summary: ClusterSummary) -> Check:
    status = summary.status
    broken = broken_nodes(status)
    counted = f"{summary.nodes_ready} of {summary.nodes_declared} nodes are ready"
    if broken:
        what = "; ".join(f"node {node.id} {node.state}: {node.message or 'not ready'}" for node in broken)
        return Check(
            "NodesRunning",
            ok=False,
            evidence=f"{counted}: {what}.",
            remedy=f"See the pods' logs: kubectl -n {summary.metadata.namespace} logs "
            f"{summary.metadata.name}-{broken[0].pool}-{broken[0].id}.",
        )
    if expected := stopped_by_operation(status):
        counted += f"; node {listing(sorted(expected))} is being restarted"
    return Check("NodesRunning", ok=True, evidence=f"{counted}.")


def _available(summary: ClusterSummary) -> Check:
    """What the operator saw, where brokers cannot be asked from here."""
    condition = c.find_condition(summary.status.conditions, c.AVAILABLE)
    if condition is None or condition.status != "True":
        return Check(
            "PartitionsServe",
            ok=False,
            evidence=condition.message if condition else "No operator has said whether brokers answer.",
            remedy="See the brokers' logs.",
        )
    evidence = "The operator saw every partition with a leader and at least min ISR."
    return Check("PartitionsServe", ok=True, evidence=evidence)


def _partitions(summary: ClusterSummary, kafka: KafkaObservation) -> Iterator[Check]:
    count = len(kafka.partitions)
    offline = [p for p in kafka.partitions if p.leader is None]
    short = [p for p in kafka.partitions if p.leader is not None and len(p.isr) < min(p.min_isr, len(p.replicas))]
    if offline or short:
        parts = [
            f"{len(found)} of {count} partitions {what} ({listing(p.id for p in found)})"
            for found, what in ((offline, "have no leader"), (short, "are below min ISR and refuse acks=all writes"))
            if found
        ]
        remedy = "Bring the nodes back that hold their replicas."
        yield Check("PartitionsServe", ok=False, evidence="; ".join(parts) + ".", remedy=remedy)
    else:
        evidence = f"All {count} partitions have a leader and at least min ISR."
        yield Check("PartitionsServe", ok=True, evidence=evidence)
    expected = stopped_by_operation(summary.status)
    behind = [p.id for p in kafka.partitions if set(p.replicas) - set(p.isr) - expected]
    if behind:
        yield Check(
            "ReplicasInSync",
            ok=False,
            evidence=f"{len(behind)} of {count} partitions have replicas out of sync ({listing(behind)}).",
            remedy="Wait; if it does not end, look at those brokers' disks and at replication traffic.",
        )
    else:
        passed_over = f", not counting node {listing(sorted(expected))}" if expected else ""
        yield Check("ReplicasInSync", ok=True, evidence=f"Every replica is in sync{passed_over}.")


def _quorum(summary: ClusterSummary, quorum: QuorumObservation) -> Check:
    expected = stopped_by_operation(summary.status)
    behind = [voter for voter in quorum.voters if not voter.caught_up and voter.id not in expected]
    if quorum.leader is None or behind:
        evidence = (
            "The metadata quorum has no leader."
            if quorum.leader is None
            else "; ".join(f"controller {voter.id} is {voter.lag} records behind" for voter in behind) + "."
        )
        return Check("QuorumCaughtUp", ok=False, evidence=evidence, remedy="See the logs of those controllers.")
    evidence = f"Controller {quorum.leader} leads {len(quorum.voters)} voters."
    return Check("QuorumCaughtUp", ok=True, evidence=evidence)


def _blocked(summary: ClusterSummary) -> Check:
    condition = c.find_condition(summary.status.conditions, c.BLOCKED)
    if condition is None or condition.status != "True":
        return Check("NothingBlocked", ok=True, evidence="Nothing stands in the way.")
    return Check(
        "NothingBlocked",
        ok=condition.reason in WAITS,
        evidence=f"{condition.reason}: {condition.message}",
        remedy=f"kfleet explain {condition.reason}",
    )


def _as_declared(summary: ClusterSummary) -> Check:
    """Ready, or on the way there with nothing in between: what is in between is the other checks' business."""
    ready = c.find_condition(summary.status.conditions, c.READY)
    if ready is not None and ready.status == "True" and ready.observed_generation == summary.metadata.generation:
        evidence = f"Generation {summary.metadata.generation} is fully in effect."
        return Check("AsDeclared", ok=True, evidence=evidence)
    if summary.operation is not None:
        operation = summary.operation
        evidence = f"{operation.id} is under way: {operation.goal}. {operation.message}".strip()
        return Check("AsDeclared", ok=True, evidence=evidence, remedy=f"kfleet op watch {operation.id}")
    evidence = f"Not yet: {ready.reason}. {ready.message}".strip() if ready else "Not yet."
    return Check("AsDeclared", ok=summary.healthy, evidence=evidence, remedy="Wait, or see what does not pass above.")
