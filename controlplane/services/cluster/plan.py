"""What the operator would do with a cluster next, without doing it: the answer of `kfleet cluster plan`."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.operation import Operation, OperationStep
from controlplane.domain.check import Check
from controlplane.domain.cluster.decide import decide, roll_target
from controlplane.domain.cluster.manifests import Placement
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.operation.permit import Permit, from_words
from controlplane.domain.operation.plan import Plan
from controlplane.domain.rolling.operation import plan_of
from controlplane.domain.rolling.planner import to_restart
from controlplane.domain.rolling.values import RollTarget
from controlplane.ports import Clock, KafkaAdmins, KubeApi
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import observe_world


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """`plan` is the roll's, with the steps that it takes if nothing surprises it; None when nothing is to be rolled.

    `operation` is the operation as the next pass would write it. `preparations` are what is done besides, by name.
    `refused` and `blocked` are failed checks: a spec that is not followed, and what the roll waits for.
    """

    observation: ClusterObservation
    plan: Plan | None
    operation: Operation | None
    preparations: tuple[str, ...]
    refused: tuple[Check, ...]
    blocked: tuple[Check, ...]


async def cluster_plan(
    kube: KubeApi, admins: KafkaAdmins, clock: Clock, placement: Placement, *, namespace: str, name: str
) -> ClusterPlan:
    """Reads only. Raises KubeError; a spec that cannot be read is a pydantic.ValidationError."""
    obj = await kube.get(KAFKA_CLUSTERS, name, namespace)
    world = await observe_world(kube, admins, clock, KafkaCluster.model_validate(obj))
    return plan_next(world, placement, clock.now())


def plan_next(world: World, placement: Placement, now: float) -> ClusterPlan:
    """Pure. The cell's lock and approvals are not asked; what the object's annotations say is."""
    decision = decide(world, placement, Permit(), now)
    if operation := decision.verdict.operation:
        permit = from_words(operation, world.cluster.metadata.annotations, deleting=False)
        decision = decide(world, placement, permit, now)
    verdict = decision.verdict
    plan = None
    if verdict.operation is not None and not verdict.refused:
        plan = _foreseen(world, roll_target(world, decision.layout, placement))
    return ClusterPlan(
        observation=world.observation,
        plan=plan,
        operation=verdict.operation,
        preparations=tuple(type(step).__name__ for step in decision.setup),
        refused=verdict.refused,
        blocked=verdict.blocked,
    )


def _foreseen(world: World, target: RollTarget) -> Plan:
    """The roll's plan with the steps of a roll without surprises; its hash does not cover them."""
    steps = []
    for number, node in enumerate(to_restart(world.observation, target), start=1):
        wanted = target.node(node)
        why = ", ".join(wanted.reasons) if wanted else ""
        steps.append(OperationStep(id=number, verb="RestartNode", target=f"node {node}", why=why, risk="Disruptive"))
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
