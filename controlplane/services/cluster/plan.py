"""What the operator would do with a cluster next, without doing it: the answer of `kfleet cluster plan`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controlplane.api.kafka_cluster import KafkaCluster, RolledBack
from controlplane.api.operation import Operation, OperationStep
from controlplane.api.rollout import UnprotectedPartitions
from controlplane.domain import versions
from controlplane.domain.check import Check
from controlplane.domain.cluster import members
from controlplane.domain.cluster.decide import decide
from controlplane.domain.cluster.guards import guards
from controlplane.domain.cluster.manifests import Placement
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.operation.permit import Permit, Waivable, from_words
from controlplane.domain.operation.plan import Plan
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.batches import BatchPlan, as_if_back, plan_batches, unavailable_limit
from controlplane.domain.rolling.health import listing
from controlplane.domain.rolling.operation import from_operation, plan_of
from controlplane.domain.rolling.planner import plan_roll, to_restart
from controlplane.domain.rolling.values import (
    AwaitNode,
    Blocked,
    NodeTarget,
    RestartReason,
    RollProgress,
    RollTarget,
    UnprotectedPolicy,
)
from controlplane.ports import Clock, KafkaAdmins, KubeApi
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import observe_world


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """`plan` is the roll's, with the steps that it takes if nothing surprises it; None when nothing is to be rolled.

    `operation` is the operation as the next pass would write it. `preparations` are what is done besides, by name.
    `refused` and `blocked` are failed checks: a spec that is not followed, and what the roll waits for. `batches` are
    the roll's when it may go in batches, else None. `rolled_back` is the upgrade that the cluster is kept from.
    """

    observation: ClusterObservation
    plan: Plan | None
    operation: Operation | None
    preparations: tuple[str, ...]
    refused: tuple[Check, ...]
    blocked: tuple[Check, ...]
    batches: BatchPlan | None = None
    rolled_back: RolledBack | None = None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Parts of a spec as they might be: `version` is a known release, `max_unavailable` as the field of that name."""

    version: str | None = None
    max_unavailable: int | str | None = None
    unprotected: UnprotectedPartitions | None = None

    def applied(self, cluster: KafkaCluster) -> KafkaCluster:
        wanted = {"max_unavailable": self.max_unavailable, "unprotected_partitions": self.unprotected}
        rollout = cluster.spec.rollout.model_copy(update={key: value for key, value in wanted.items() if value})
        version = self.version or cluster.spec.version
        spec = cluster.spec.model_copy(update={"rollout": rollout, "version": version})
        if spec == cluster.spec:
            return cluster
        asked = cluster.metadata.model_copy(update={"generation": cluster.metadata.generation + 1})
        return cluster.model_copy(update={"spec": spec, "metadata": asked})


NOTHING_ELSE = WhatIf()
MOVE_AWAY = "MoveAway"
"""Verb of a foreseen step: a KafkaRebalance with that goal."""
ANOTHER_SPEC = "what-if"
"""Stands for the spec hash of a pod that is to be made anew."""


async def cluster_plan(
    kube: KubeApi,
    admins: KafkaAdmins,
    clock: Clock,
    placement: Placement,
    *,
    namespace: str,
    name: str,
    what_if: WhatIf = NOTHING_ELSE,
) -> ClusterPlan:
    """Reads only. Raises KubeError; a spec that cannot be read is a pydantic.ValidationError."""
    obj = await kube.get(KAFKA_CLUSTERS, name, namespace)
    cluster = what_if.applied(KafkaCluster.model_validate(obj))
    world = await observe_world(kube, admins, clock, cluster, by_name=placement.addressing == "DNS")
    return plan_next(world, placement, clock.now())


def plan_next(world: World, placement: Placement, now: float) -> ClusterPlan:
    """Pure. The cell's lock and approvals are not asked; what the object's annotations say, windows and hazards are."""
    decision = decide(world, placement, Permit(), now)
    if operation := decision.verdict.operation:
        permit = from_words(operation, world.cluster.metadata.annotations, deleting=False)
        for waivable in guards(world):
            if waivable.bars(operation):
                permit = permit.with_hold(_unread(waivable))
        decision = decide(world, placement, permit, now)
    verdict = decision.verdict
    plan, batches = None, None
    target = decision.target
    if verdict.operation is not None and not verdict.refused and target is not None:
        stopped = from_operation(verdict.operation).replicas_out_before
        batches = _batches(as_if_back(world.observation, stopped), target)
        plan = _foreseen(world.observation, target, batches)
    elif verdict.operation is not None and members.is_change(verdict.operation) and not verdict.refused:
        wanted = members.target_of(world, decision.layout, placement)
        plan = members.foreseen(world.observation, wanted, verdict.operation.goal)
    return ClusterPlan(
        observation=world.observation,
        plan=plan,
        operation=verdict.operation,
        preparations=tuple(type(step).__name__ for step in decision.setup),
        refused=verdict.refused,
        blocked=verdict.blocked,
        batches=batches,
        rolled_back=verdict.rolled_back,
    )


def _unread(waivable: Waivable) -> Check:
    """The hold without knowing whether an Approval sets it aside."""
    remedy = f"{waivable.check.remedy} Or an Approval of this plan sets it aside, which was not looked at."
    return replace(waivable.check, remedy=remedy.strip())


def plan_snapshot(observation: ClusterObservation, what_if: WhatIf) -> ClusterPlan:
    """The roll of a cluster of which nothing is at hand but a snapshot: of every node, or, to another version, of those
    that do not run it. Pure; raises UnknownVersionError."""
    if what_if.version is not None:
        versions.release(what_if.version)
    target = _snapshot_target(observation, what_if)
    batches = _batches(observation, target, always=True)
    action = plan_roll(observation, target, RollProgress("", "")).action
    rolls = any(node.reasons for node in target.nodes) or bool(target.finalise)
    return ClusterPlan(
        observation=observation,
        plan=_foreseen(observation, target, batches) if rolls else None,
        operation=None,
        preparations=(),
        refused=(),
        blocked=action.checks if isinstance(action, Blocked | AwaitNode) else (),
        batches=batches,
    )


def _snapshot_target(observation: ClusterObservation, what_if: WhatIf) -> RollTarget:
    nodes = []
    for node in observation.nodes:
        pod, wanted = node.pod, what_if.version
        done = pod is not None and wanted is not None and pod.version == wanted
        reason = RestartReason.VERSION_CHANGED if wanted else RestartReason.CONFIG_CHANGED
        made_from = pod.spec_hash if pod and done else ANOTHER_SPEC
        version = wanted or (pod.version if pod else "")
        nodes.append(NodeTarget(node.id, made_from, version, () if done else (reason,)))
    features = observation.kafka.features if observation.kafka else None
    finalise = versions.finalisation_target(what_if.version, None, features) if what_if.version else None
    brokers = sum(node.is_broker for node in observation.nodes)
    return RollTarget(
        goal=f"Version {what_if.version}" if what_if.version else "Restart",
        nodes=tuple(nodes),
        unprotected=UnprotectedPolicy((what_if.unprotected or UnprotectedPartitions.BLOCK).value),
        finalise=finalise,
        max_unavailable=unavailable_limit(what_if.max_unavailable or 1, brokers),
    )


def _batches(observation: ClusterObservation, target: RollTarget, *, always: bool = False) -> BatchPlan | None:
    """None for a roll that goes node by node, unless asked for."""
    if target.max_unavailable <= 1 and not always:
        return None
    return plan_batches(observation, to_restart(observation, target), target.max_unavailable, target.unprotected)


def _restarts(observation: ClusterObservation, target: RollTarget, batches: BatchPlan | None) -> list[OperationStep]:
    """A step for each batch; nodes that are held now go one by one at the end, when they may. Under MoveAway batches
    that nothing has to be moved off go first."""
    groups: list[tuple[int, ...]] = [(node,) for node in to_restart(observation, target)]
    if batches is not None:
        groups = [*batches.batches, *((node,) for node in batches.held)]
    controllers = {node.id for node in observation.nodes if node.is_controller}
    moving = target.unprotected is UnprotectedPolicy.MOVE_AWAY
    occupied = safety.occupied(observation) if moving else frozenset[int]()
    groups.sort(key=lambda group: controllers.isdisjoint(group) and not occupied.isdisjoint(group))
    if target.back:
        groups.sort(key=lambda group: not controllers.isdisjoint(group))
    racks = {node.id: node.rack for node in observation.nodes}
    steps: list[OperationStep] = []
    for group in groups:
        if not occupied.isdisjoint(group):
            away = safety.unprotected_partitions(observation, frozenset(group))
            why = f"{len(away)} partitions cannot spare a replica there: {listing(away)}"
            to = f"off broker {listing(group)}"
            steps.append(OperationStep(id=len(steps) + 1, verb=MOVE_AWAY, target=to[:253], why=why[:1024]))
        number = len(steps) + 1
        reasons = {reason for node in group if (wanted := target.node(node)) for reason in wanted.reasons}
        why = ", ".join(sorted(reasons))
        if len(group) == 1:
            step = OperationStep(id=number, verb="RestartNode", target=f"node {group[0]}", why=why, risk="Disruptive")
        else:
            words = f"{len(group)} nodes of rack {racks[group[0]]}: {listing(group)}"
            step = OperationStep(id=number, verb="RestartBatch", target=words[:253], why=why, risk="Disruptive")
        steps.append(step)
    return steps


def _foreseen(observation: ClusterObservation, target: RollTarget, batches: BatchPlan | None) -> Plan:
    """The roll's plan with the steps of a roll without surprises; its hash does not cover them."""
    steps = _restarts(observation, target, batches)
    if target.soak_seconds:
        steps.append(
            OperationStep(id=len(steps) + 1, verb="Soak", why=f"{target.soak_seconds:g} s with every node back")
        )
    if target.finalise:
        levels = ", ".join(f"{name} {level}" for name, level in sorted(target.finalise.items()))
        steps.append(
            OperationStep(
                id=len(steps) + 1,
                verb="FinaliseFeatures",
                target=levels,
                why="there is no way back to the old version after it",
                risk="Disruptive",
            )
        )
    plan = plan_of(target)
    return Plan(plan.kind, plan.mode, plan.goal, tuple(steps), plan.constraints, plan.gates)
