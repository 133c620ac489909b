"""What a cluster follows in this pass, and where its roll has got to: the spec, or the version before it. Pure.

An upgrade is looked at before anything is planned: its faults hold it or begin the way back (`way_back`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from controlplane.api import names
from controlplane.api.duration import parse_seconds
from controlplane.api.kafka_cluster import RolledBack
from controlplane.api.roles import Role
from controlplane.domain import versions
from controlplane.domain.check import Check, explain
from controlplane.domain.cluster import away, checks, drain, external, manifests, way_back
from controlplane.domain.cluster.guards import GUARDS
from controlplane.domain.cluster.layout import Layout
from controlplane.domain.cluster.manifests import Placement
from controlplane.domain.cluster.reasons import claim_gate, leaving, restart_reasons, version_gate, volume_gate
from controlplane.domain.cluster.world import World
from controlplane.domain.hazards.values import number
from controlplane.domain.operation.permit import Permit
from controlplane.domain.rolling import operation as operations
from controlplane.domain.rolling import values as rolling
from controlplane.domain.rolling.batches import unavailable_limit


@dataclass(frozen=True, slots=True)
class Course:
    """What is followed in this pass: the spec as declared, or, with `back`, on the version before."""

    world: World
    target: rolling.RollTarget
    progress: rolling.RollProgress
    back: RolledBack | None = None
    learning_since: int | None = None
    learning: tuple[Check, ...] = ()
    """What the first stop waits for once nothing else holds it; a guard of the target then."""

    @property
    def instead_of(self) -> str:
        """Hash of the plan that is being rolled back; empty while nothing is."""
        return self.back.plan_hash if self.back is not None and way_back.under_way(self.world, self.back) else ""


def plot(
    world: World, layout: Layout, placement: Placement, permit: Permit, *, back: RolledBack | None, now: float
) -> Course:
    """An upgrade is looked at before anything is planned: its faults hold it or begin the way back."""
    target = roll_target(world, layout, placement, permit.holds, back)
    progress = _progress(world, target, back)
    watch = way_back.watch_of(world, target, progress) if back is None else None
    if watch is None:
        return Course(world, target, replace(progress, watch=None), back)
    findings = way_back.look(world, watch, progress)
    why = way_back.why_not(world, findings, held=not only_guards(permit.holds)) if findings.faults else ""
    if findings.faults and not why:
        record = way_back.record_of(world.cluster, findings, operations.plan_of(target).hash, now)
        before = way_back.on(world, record)
        refused = checks.spec_checks(before, layout)
        if not refused:
            target = roll_target(before, layout, placement, permit.holds, record)
            return Course(before, target, replace(_progress(before, target, record), watch=None), record)
        why = f"the spec is refused on Kafka {record.version} ({explain(refused)})"
    target = way_back.with_findings(target, findings, why)
    progress = replace(progress, watch=findings.watch)
    since = way_back.learning_since(world, watch, progress)
    learning = way_back.learning(world, watch, since)
    if permit.holds:
        return Course(world, target, progress, learning=learning)
    return Course(world, replace(target, guards=(*target.guards, *learning)), progress, None, since, learning)


def only_guards(holds: Iterable[Check]) -> bool:
    """Volumes and settings that restart nothing wait for people's word, and for no window or hazard."""
    return all(check.name in GUARDS for check in holds)


def roll_target(
    world: World,
    layout: Layout,
    placement: Placement,
    holds: tuple[Check, ...] = (),
    back: RolledBack | None = None,
) -> rolling.RollTarget:
    """Where the cluster as it is followed has to get to. Nothing is finalised on a version that was gone back to."""
    cluster, kafka = world.cluster, world.observation.kafka
    nodes = []
    running: set[str] = set()
    for wanted in layout.nodes:
        observed = world.observation.node(wanted.id)
        pod = observed.pod if observed else None
        digest = manifests.spec_hash(cluster, wanted, layout, placement)
        reasons: tuple[rolling.RestartReason, ...] = ()
        if pod is not None and pod.spec_hash != digest:
            reasons = restart_reasons(world, cluster, wanted, layout, placement, pod=pod)
        left = leaving(world, observed) if observed is not None else ()
        if pod is not None:
            running.add(pod.version)
        uid = pod.uid if pod is not None and left else None
        nodes.append(rolling.NodeTarget(wanted.id, digest, cluster.spec.version, (*reasons, *left), uid))
    finalise = versions.finalisation_target(
        cluster.spec.version, cluster.spec.metadata_version, kafka.features if kafka and back is None else None
    )
    older = sorted(running - {cluster.spec.version})
    if older and back is not None:
        goal = f"Version {older[-1]} back to {back.version}"
    elif older:
        goal = f"Version {older[0]} to {cluster.spec.version}"
    elif finalise:
        goal = f"Version {cluster.spec.version}"
    else:
        goal = f"Restart for generation {cluster.metadata.generation}"
    certificates = ",".join(f"{node}={digest}" for node, digest in sorted(world.certificates.items()))
    advertised = external.epochs(world)
    return rolling.RollTarget(
        goal=goal,
        nodes=tuple(nodes),
        unprotected=rolling.UnprotectedPolicy(cluster.spec.rollout.unprotected_partitions.value),
        soak_seconds=parse_seconds(cluster.spec.rollout.soak) if finalise else 0.0,
        watch_seconds=parse_seconds(cluster.spec.rollout.fault_after),
        finalise=finalise,
        constraints={
            "version": cluster.spec.version,
            "metadataVersion": cluster.spec.metadata_version or "",
            "soak": cluster.spec.rollout.soak,
            **({"certificates": certificates} if certificates else {}),
            **({"advertised": advertised} if advertised else {}),
        },
        holds=tuple(check for check in holds if check.name not in GUARDS),
        guards=(
            *(check for check in holds if check.name in GUARDS),
            *(volume_gate(world.observation, tuple(nodes)) if back is None else ()),
            *(claim_gate(world, layout, tuple(nodes)) if back is None else ()),
            *(version_gate(world, layout, tuple(nodes)) if back is None else ()),
            *external.gate(world, layout, tuple(nodes)),
            *drain.bars_stops(world.observation, nodes),
            *away.guard(world),
        ),
        max_unavailable=unavailable_limit(
            cluster.spec.rollout.max_unavailable, sum(Role.BROKER in node.roles for node in layout.nodes)
        ),
        back=any(number(version) > number(cluster.spec.version) for version in older),
    )


def _progress(world: World, target: rolling.RollTarget, back: RolledBack | None) -> rolling.RollProgress:
    """What the status remembers, under a new id once the spec asks for something else. The way back is the operation of
    the upgrade that it undoes. What was seen of one plan is nothing against the next."""
    meta, operation = world.cluster.metadata, world.cluster.status.operation
    instead_of = back.plan_hash if back is not None and way_back.under_way(world, back) else ""
    fresh = operations.new_progress(
        target,
        object_uid=meta.uid,
        generation=meta.generation,
        last=world.cluster.status.last_operation,
        cancelled=meta.annotations.get(names.CANCEL, ""),
        instead_of=instead_of,
    )
    if operation is None:
        return fresh
    progress = operations.from_operation(operation)
    if operation.plan_hash == (instead_of or operations.plan_of(target).hash):
        return progress
    watch = replace(progress.watch, sightings={}) if progress.watch is not None else None
    return replace(progress, id=fresh.id, goal=fresh.goal, watch=watch)
