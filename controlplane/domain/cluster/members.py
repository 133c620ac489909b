"""A cluster's change of members in one pass: what it leads to, and whether it or the roll has this pass. Pure.

A roll and a change of members never run at once. A change waits while the roll has a node down, other than the very
node that changes, and while a roll that was begun can go on; a node that is not up gets its corrected spec first. A
roll waits while a change goes on. Both are planned from each observation, so the one that waits loses nothing by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_cluster import Replacement
from controlplane.api.operation import Operation, OperationStep
from controlplane.domain.check import Check, explain
from controlplane.domain.cluster import lost, manifests, properties
from controlplane.domain.cluster.guards import GUARDS
from controlplane.domain.cluster.layout import Layout
from controlplane.domain.cluster.manifests import Placement
from controlplane.domain.cluster.setup import directory_ids
from controlplane.domain.cluster.world import World
from controlplane.domain.membership import operation as operations
from controlplane.domain.membership.brokers import known, living_on
from controlplane.domain.membership.planner import joining, plan_change
from controlplane.domain.membership.values import (
    WAITING,
    Action,
    AddVoter,
    Change,
    DrainBrokers,
    FinishReplacement,
    Refused,
    RemoveVoter,
    RenewVolume,
    RetireNode,
    StopMember,
    Target,
)
from controlplane.domain.observation import ClusterObservation, NodeObservation
from controlplane.domain.operation.permit import Permit
from controlplane.domain.operation.plan import Plan
from controlplane.domain.rolling import health
from controlplane.domain.rolling import values as rolling
from controlplane.domain.rolling.health import listing
from controlplane.domain.rolling.operation import from_operation


@dataclass(frozen=True, slots=True)
class Turn:
    """A change that is wanted, and the operation it belongs to."""

    change: Change
    target: Target
    id: str
    cancelled: bool = False

    @property
    def withheld(self) -> frozenset[int]:
        return self.change.withheld


def look(world: World, layout: Layout, placement: Placement, holds: tuple[Check, ...]) -> Turn | None:
    """None while the members are as wanted, and before the first voters are settled."""
    if not world.formed:
        return None
    return _turn_of(world, target_of(world, layout, placement, holds))


def unfinished(
    world: World, layout: Layout, placement: Placement, holds: tuple[Check, ...], refused: tuple[Check, ...]
) -> Turn | None:
    """What goes on although the spec is refused: a node that has given up its vote or its disk is made whole.

    Nothing begins: what the spec is refused for counts as a hold. No node leaves, since who leaves is the spec's word.
    """
    before = world.cluster.status.operation
    if not world.formed or world.replacement is None or (before is not None and not is_change(before)):
        return None
    target = replace(target_of(world, layout, placement, holds), leaving=())
    found = _turn_of(world, replace(target, holds=(*target.holds, *refused)))
    if found is None or not found.change.begun or found.change.node != world.replacement.node:
        return None
    return replace(found, id=before.id) if before is not None else found


def _turn_of(world: World, target: Target) -> Turn | None:
    change = plan_change(world.observation, target)
    if change is None:
        return None
    meta, status = world.cluster.metadata, world.cluster.status
    cancelled = meta.annotations.get(names.CANCEL, "")
    found = operations.identity(
        target,
        uid=meta.uid,
        generation=meta.generation,
        under_way=status.operation,
        last=status.last_operation,
        cancelled=cancelled,
    )
    return Turn(change, target, found, cancelled=found == cancelled)


def target_of(world: World, layout: Layout, placement: Placement, holds: tuple[Check, ...] = ()) -> Target:
    found: dict[int, str] = {}
    addresses: dict[int, tuple[str, int]] = {}
    for wanted in layout.controllers:
        node = world.observation.node(wanted.id)
        if node is None or node.pod is None:
            continue
        metadata = min((volume.volume_id for volume in node.volumes), default=None)
        directory = directory_ids(node).get(metadata) if metadata is not None else None
        if directory is not None:
            found[wanted.id] = directory
        host = manifests.dns_name(world.cluster, wanted) if placement.addressing == "DNS" else node.pod.ip
        if host is not None:
            addresses[wanted.id] = (host, properties.CONTROLLER_PORT)
    return Target(
        members={node.id: node.roles for node in layout.nodes},
        leaving=layout.leaving,
        request=world.replacement,
        lost_volumes=lost.requested(world),
        set_aside=lost.set_aside(world, layout),
        addresses=addresses,
        directories=found,
        holds=tuple(check for check in holds if check.name not in GUARDS),
        guards=tuple(check for check in holds if check.name in GUARDS),
    )


def is_change(operation: Operation | None) -> bool:
    return operation is not None and operation.kind == operations.KIND


def aside(world: World) -> World:
    """The world as a roll sees it: an operation that is a change of members is none of its own."""
    if not is_change(world.cluster.status.operation):
        return world
    status = world.cluster.status.model_copy(update={"operation": None})
    return replace(world, cluster=world.cluster.model_copy(update={"status": status}))


def takes_turn(
    world: World, turn: Turn, action: rolling.Action, progress: rolling.RollProgress, target: rolling.RollTarget
) -> bool:
    """Whether the change has this pass. `action` is what the roll would do, `progress` what it would write.

    `world` is `aside`: its operation is a roll's, if any. Asked as if people held nothing: what is held was judged for
    the operation that comes out of that, and a change that awaits its approval would lose the pass by awaiting it.
    """
    change, observation = turn.change, world.observation
    if turn.cancelled and not change.begun:
        return False
    if _down(world, progress) - {change.node}:
        return False
    if isinstance(action, rolling.StopNode) and _is_down(observation, action.node):
        return False
    if world.cluster.status.operation is None:
        # A change that cannot begin holds up no roll that can.
        return change.begun or not isinstance(change.action, Refused) or not _acts(action)
    if not isinstance(action, rolling.Blocked | rolling.AwaitNode) or isinstance(change.action, Refused):
        return False
    return change.begun or _is_down(observation, change.node) or not _upgrade_begun(observation, target)


def _down(world: World, progress: rolling.RollProgress) -> frozenset[int]:
    """Nodes that the roll under way has stopped and that are not back; not the one that it would stop next.

    One that is whole and only does not lead again is back here: its leaders may wait for the very node that changes.
    """
    operation = world.cluster.status.operation
    written = from_operation(operation).replicas_out_before if operation is not None else {}
    found = {id_: world.observation.node(id_) for id_ in written.keys() & progress.replicas_out_before.keys()}
    return frozenset(
        id_ for id_, node in found.items() if node is None or health.not_back(world.observation, node, written[id_])
    )


def acts(change: Change) -> bool:
    """Whether there is something to carry out, rather than to wait for."""
    return not isinstance(change.action, WAITING)


def _acts(action: rolling.Action) -> bool:
    return isinstance(action, rolling.StopNode | rolling.ElectLeaders | rolling.Soak | rolling.Finalise)


def _is_down(observation: ClusterObservation, node_id: int) -> bool:
    node = observation.node(node_id)
    return node is None or bool(health.unhealthy(observation, node))


def _upgrade_begun(observation: ClusterObservation, target: rolling.RollTarget) -> bool:
    """Some node runs the new version, and it is not final yet: the upgrade is watched, and may have to go back."""
    wanted = {node.version for node in target.nodes}
    return bool(target.finalise) and any(node.pod and node.pod.version in wanted for node in observation.nodes)


def operation_of(
    world: World, turn: Turn, permit: Permit, now: float
) -> tuple[Operation | None, Operation | None, Action | None]:
    """(the operation under way, the one that has just ended, what to carry out) in a pass that the change has."""
    before = world.cluster.status.operation
    ended = None
    if before is not None and before.id != turn.id:
        message = f"by {turn.change.goal}"
        ended = operations.ended(before, "Superseded", message=message, now=now)
        before = None
    if permit.stop is not None and not turn.change.begun:
        if before is not None:
            ended = operations.ended(before, permit.stop, message=explain(permit.holds), now=now)
        return None, ended, None
    finishes = isinstance(turn.change.action, FinishReplacement)
    if finishes and before is None:
        return None, ended, None
    written = operations.to_operation(
        turn.change,
        turn.target,
        before,
        id=turn.id,
        now=now,
        approval=permit.approval,
        requested_by=world.cluster.metadata.annotations.get(names.REQUESTED_BY, ""),
    )
    if finishes:
        return None, operations.ended(written, "Succeeded", message=written.message, now=now), None
    return written, ended, turn.change.action


def met(world: World, turn: Turn, now: float) -> Replacement | None:
    """The request that is met with this pass: the operation ends and is answered in one write of the status."""
    if world.replacement is None or not isinstance(turn.change.action, FinishReplacement):
        return None
    return Replacement(request=world.replacement.text, at=timestamp(now))


def over(world: World, turn: Turn | None, permit: Permit, now: float) -> Operation | None:
    """The change that was under way, ended, in a pass that the roll has; None if none was."""
    before = world.cluster.status.operation
    if before is None or not is_change(before):
        return None
    if turn is None:
        return operations.ended(before, "Succeeded", message="the members are as wanted", now=now)
    if turn.cancelled or permit.stop is not None:
        words = explain(permit.holds) or f"{before.id} was cancelled"
        return operations.ended(before, permit.stop or "Cancelled", message=words, now=now)
    return operations.ended(before, "Superseded", message="a node that is not up is restarted first", now=now)


def foreseen(observation: ClusterObservation, target: Target, goal: str) -> Plan:
    """The change's plan with the steps of one without surprises; its hash does not cover them."""
    steps: list[OperationStep] = []

    def add(action: type[object], node: int | str, why: str, *, disruptive: bool = False) -> None:
        risk, to = "Disruptive" if disruptive else "Safe", f"node {node}"[:253]
        steps.append(
            OperationStep.model_validate(
                {"id": len(steps) + 1, "verb": action.__name__, "target": to, "why": why[:1024], "risk": risk}
            )
        )

    replaced = target.request.node if target.request is not None else None
    voters = {one.id for one in observation.quorum.voters} if observation.quorum is not None else set()
    if replaced is not None and replaced in target.members:
        if replaced in voters:
            add(RemoveVoter, replaced, "its old directory must not vote any more", disruptive=True)
        add(RenewVolume, replaced, "its disk is lost; it is formatted again", disruptive=True)
        if replaced in target.controllers:
            add(AddVoter, replaced, "once it has caught up", disruptive=True)
        add(FinishReplacement, replaced, "once every replica is in sync")
    for node in joining(observation, target):
        if node != replaced:
            add(AddVoter, node, "once it has caught up", disruptive=True)
    kafka = observation.kafka
    if kafka is not None and (living := living_on(kafka, target.leaving)):
        why = f"a KafkaRebalance moves {len(living)} partitions to brokers that stay: {listing(living)}"
        add(DrainBrokers, listing(known(kafka, target.leaving)), why)
    for node in target.leaving:
        if node in voters:
            add(RemoveVoter, node, "it leaves", disruptive=True)
        if _has_pod(observation.node(node)):
            add(StopMember, node, "it leaves; nothing is assigned to it", disruptive=True)
        add(RetireNode, node, "its volumes stay")
    plan = operations.plan_of(target, goal)
    return Plan(plan.kind, plan.mode, plan.goal, tuple(steps), plan.constraints, plan.gates)


def _has_pod(node: NodeObservation | None) -> bool:
    return node is not None and node.pod is not None
