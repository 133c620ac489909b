"""One pass of a KafkaCluster as a value: what is refused, what is missing, and the roll's next action. Pure.

The service carries it out; tests and, later, `kfleet cluster plan` ask the same question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from controlplane.api import names
from controlplane.api.kafka_cluster import RolledBack
from controlplane.api.kafka_rebalance import GoalType
from controlplane.api.operation import Operation
from controlplane.domain.check import Check, explain
from controlplane.domain.cluster import away, checks, drain, emptying, external, lost, members, setup, way_back
from controlplane.domain.cluster.clients import CreateCanaryTopic, DeleteCanaryTopic
from controlplane.domain.cluster.course import Course, only_guards, plot, roll_target
from controlplane.domain.cluster.guards import GUARDS
from controlplane.domain.cluster.layout import Layout, lay_out
from controlplane.domain.cluster.manifests import Placement
from controlplane.domain.cluster.moves import RequestMove, leftovers
from controlplane.domain.cluster.status import CANNOT_START, CRASH_STATES, Verdict
from controlplane.domain.cluster.world import World
from controlplane.domain.membership import values as membership
from controlplane.domain.operation.approval import UNDECIDED
from controlplane.domain.operation.permit import Permit
from controlplane.domain.rolling import health
from controlplane.domain.rolling import operation as operations
from controlplane.domain.rolling import values as rolling
from controlplane.domain.rolling.planner import plan_roll


@dataclass(frozen=True)
class Decision:
    """One pass's outcome before anything was done.

    `roll` is None when nothing is to be rolled; `begun` says that a node which the roll stopped is not back yet;
    `settled` that nothing is expected to change by itself. `target` is what the roll was planned for.
    In a pass that a change of members has, `change` is what it does, and there is no roll.
    """

    layout: Layout
    verdict: Verdict
    setup: tuple[setup.SetupStep, ...] = ()
    roll: rolling.Action | None = None
    begun: bool = False
    settled: bool = False
    target: rolling.RollTarget | None = None
    change: membership.Action | None = None


def decide(world: World, placement: Placement, permit: Permit, now: float) -> Decision:
    """The pass as a value: pure, so that `kfleet cluster plan` and tests ask the same question."""
    layout = lay_out(
        world.cluster,
        world.observation.nodes,
        world.zones,
        formed=world.formed,
        known_ids=world.known_ids | world.retired,
        lost=lost.without_volumes(world),
    )
    declared, world = world, members.aside(world)
    back = way_back.standing(world, lambda: operations.plan_of(roll_target(world, layout, placement)).hash)
    if back is not None:
        world = way_back.on(world, back)
    refused = checks.spec_checks(world, layout)
    if refused:
        return _refuse(declared, layout, placement, refused, permit=permit, now=now)
    turn = members.look(declared, layout, placement, permit.holds)
    course = plot(world, layout, placement, permit, back=back, now=now)
    world, target, back = course.world, course.target, course.back
    planned = plan_roll(world.observation, target, course.progress)
    transition, request = away.answered(world, target, planned, now)
    action, begun = transition.action, bool(transition.progress.replicas_out_before)
    if turn is not None and _is_their_turn(declared, layout, placement, course, permit):
        return _change_members(
            declared, world, layout, placement, turn, transition=transition, permit=permit, back=back, now=now
        )
    operation, ended = _operation(course, transition, permit, now)
    ended = ended or members.over(declared, turn, permit, now)
    held = bool(permit.holds) and not permit.locked
    waits = isinstance(action, rolling.Done) or (
        not begun and _waits_for_people(action, permit, external.awaited(world, layout))
    )
    calm = waits and _in_sync(world)
    gate_open = calm and not drain.spares_nobody(world)
    restored = _restored(world, transition.progress, permit) if held else frozenset()
    restored |= external.unaddressed(world, layout)
    if not begun and external.gate(world, layout, target.nodes):  # nor is anybody restarted by being evicted
        restored |= frozenset(node.id for node in world.observation.nodes)
    if withheld := _withheld(world, permit, held=held):
        restored |= setup.short_of_volumes(world, layout)
    steps = setup.setup_steps(
        world,
        layout,
        placement,
        gate_open=gate_open,
        restored=restored,
        withheld=turn.withheld if turn is not None else frozenset(),
    )
    if held:  # an upgrade that waits for its window needs no canary yet
        steps = tuple(step for step in steps if not isinstance(step, CreateCanaryTopic))
    if withheld:
        steps = tuple(step for step in steps if not isinstance(step, _WITHHELD))
    stopped = (*permit.holds, *drain.kept_by(target.nodes, permit)) if permit.stop and operation is None else ()
    still = _standing_still(world, target, action, permit, external.unmade(world, layout))
    verdict = Verdict(
        blocked=tuple(dict.fromkeys((*permit.refused, *stopped, *still))),
        lacking=external.pending(world, layout),
        pending=setup.pending(steps),
        operation=operation,
        last_operation=ended,
        rolled_back=back,
    )
    settled = (calm and not steps and not verdict.lacking) or (held and not begun)
    mine = operation.id if operation is not None else None
    wanted = turn is not None and not turn.cancelled
    needed = away.needed(world, target, mine) | emptying.needed(declared, layout, wanted=wanted)
    asked = (request,) if request is not None and request.operation == mine else ()
    steps = (*steps, *leftovers(world, needed), *asked)
    # An eviction may have come through while the gate stood open: it is closed first, and the world looked at again.
    # So it is when claims are made: whether they can be bound has to be seen. And a broker goes once it is written down
    # what its successor tells clients outside.
    first = setup.ApplyDisruptionBudget | setup.CreateVolume
    waiting = isinstance(action, rolling.StopNode) and (
        any(isinstance(step, first) for step in steps) or action.node in external.unprepared(world, layout)
    )
    roll = action if operation is not None and not waiting else None
    return Decision(layout, verdict, steps, roll, begun, settled, target)


def _is_their_turn(declared: World, layout: Layout, placement: Placement, course: Course, permit: Permit) -> bool:
    """Whether the change of members, not the roll, has this pass; what people hold has no say in it."""
    guards = (*(check for check in course.target.guards if check not in permit.holds), *course.learning)
    target = replace(course.target, holds=(), guards=guards)
    turn = members.look(declared, layout, placement, ())
    roll = plan_roll(course.world.observation, target, course.progress)
    return turn is not None and members.takes_turn(course.world, turn, roll.action, roll.progress, target)


def _change_members(
    declared: World,
    world: World,
    layout: Layout,
    placement: Placement,
    turn: members.Turn,
    *,
    transition: rolling.Transition,
    permit: Permit,
    back: RolledBack | None,
    now: float,
) -> Decision:
    """A pass that the change of members has. Nobody is spared to a drain meanwhile."""
    turn, request = emptying.answered(declared, layout, turn, now)
    before, change = declared.cluster.status.operation, turn.change
    operation, ended, action = members.operation_of(declared, turn, permit, now)
    if before is not None and permit.locked:
        operation, ended, action = _standing(before, permit), None, None
    held = bool(permit.holds) and not permit.locked
    restored = _restored(world, transition.progress, permit) if held else frozenset()
    restored |= external.unaddressed(world, layout)
    if withheld := _withheld(world, permit, held=held):
        restored |= setup.short_of_volumes(world, layout)
    steps = setup.setup_steps(
        world,
        layout,
        placement,
        gate_open=False,
        restored=restored,
        withheld=turn.withheld,
        departing=frozenset({change.node}) if action is not None and members.acts(change) else frozenset(),
    )
    if withheld:
        steps = tuple(s for s in steps if not isinstance(s, _WITHHELD) or (change.begun and _is_volume_of(s, change)))
    stopped = permit.holds if permit.stop is not None and operation is None else ()
    stuck = change.action
    refused = stuck.checks if isinstance(stuck, membership.DrainBrokers | membership.Refused) else ()
    verdict = Verdict(
        blocked=tuple(dict.fromkeys((*permit.refused, *stopped, *refused))),
        lacking=external.pending(world, layout),
        pending=setup.pending(steps),
        operation=operation,
        last_operation=ended,
        rolled_back=back,
        replacement=members.met(declared, turn, now) if operation is None else None,
    )
    asked: tuple[RequestMove, ...] = (request,) if request is not None and operation is not None else ()
    needed = emptying.needed(declared, layout, wanted=permit.stop is None)
    steps = (*steps, *leftovers(declared, needed), *asked)
    # What is held was taken into account: an action that comes out all the same may be carried out.
    begun = change.begun or members.acts(change)
    return Decision(layout, verdict, steps, begun=begun, settled=held and not begun, change=action)


def _is_volume_of(step: setup.SetupStep, change: membership.Change) -> bool:
    """A node that has given up its vote gets its new volume whatever is held."""
    if not isinstance(step, setup.CreateVolume):
        return False
    return bool(step.manifest["metadata"]["labels"][names.NODE_ID] == str(change.node))


_WITHHELD = setup.CreateVolume | setup.GrowVolume | setup.AlterClusterConfig | DeleteCanaryTopic
"""What is not done while people have not agreed to the spec."""


def _withheld(world: World, permit: Permit, *, held: bool) -> bool:
    """Whether people have not agreed to the spec: windows and hazards alone hold no volume and no setting."""
    undecided = held and not only_guards(permit.holds)
    return undecided or world.cluster.metadata.annotations.get(names.PAUSED) == "true"


def _refuse(
    world: World, layout: Layout, placement: Placement, refused: tuple[Check, ...], *, permit: Permit, now: float
) -> Decision:
    """Nothing new is begun for a spec that is refused; what was begun before comes back, and may be cancelled. Brokers
    that are to leave no more, by this spec, are not drained."""
    found = frozenset(check.name for check in refused)
    needed = emptying.needed(world, layout, wanted=True) | {m.name for m in world.moves if m.goal is not GoalType.DRAIN}
    steps = (*setup.restore_steps(world, layout, found), *leftovers(world, needed))
    if not found & setup.IDENTITY_REFUSALS and (
        turn := members.unfinished(world, layout, placement, permit.holds, refused)
    ):
        return _make_whole(world, layout, placement, refused, steps, turn=turn, permit=permit, now=now)
    operation = world.cluster.status.operation
    ended: Operation | None = None
    begun = operation is not None and not members.is_change(operation) and _down(world, operation)
    if operation is not None and permit.stop is not None and not begun:
        ended = operations.ended(operation, permit.stop, message=explain(permit.holds), now=now)
        operation = None
    kept = world.cluster.status.rolled_back
    verdict = Verdict(refused=refused, operation=operation, last_operation=ended, rolled_back=kept)
    return Decision(layout, verdict, steps, begun=begun, settled=not begun)


def _make_whole(
    world: World,
    layout: Layout,
    placement: Placement,
    refused: tuple[Check, ...],
    steps: tuple[setup.SetupStep, ...],
    *,
    turn: members.Turn,
    permit: Permit,
    now: float,
) -> Decision:
    """The node that was being replaced before the spec was refused. It gets no volume that may be what is refused."""
    before = world.cluster.status.operation
    operation, ended, action = members.operation_of(world, turn, permit, now)
    if before is not None and permit.locked:
        operation, ended, action = _standing(before, permit), None, None
    if not {check.name for check in refused} & _OF_VOLUMES:
        wanted = setup.setup_steps(world, layout, placement, gate_open=False, withheld=turn.withheld)
        steps = (*(step for step in wanted if _is_volume_of(step, turn.change)), *steps)
    verdict = Verdict(
        refused=refused,
        operation=operation,
        last_operation=ended,
        rolled_back=world.cluster.status.rolled_back,
        replacement=members.met(world, turn, now) if action is None and operation is None else None,
    )
    return Decision(layout, verdict, steps, begun=True, change=action)


_OF_VOLUMES = frozenset({"InvalidSpec", "UnknownPool", "VolumeChangeUnsupported", "VolumeTerminating"})
"""Refusals under which no claim is made, not even one that is needed."""


def _down(world: World, operation: Operation) -> bool:
    """Whether a node that the roll stopped is not back, whatever it runs."""
    for node_id, out in operations.from_operation(operation).replicas_out_before.items():
        node = world.observation.node(node_id)
        if node is None or node.pod is None or health.not_back(world.observation, node, out):
            return True
    return False


def _waits_for_people(action: rolling.Action, permit: Permit, awaited: tuple[Check, ...] = ()) -> bool:
    """The roll stands still for nothing but what people have said or not said, for a machine that they cordoned, or for
    what may never come (`awaited`): until then it is the eviction's turn."""
    if not isinstance(action, rolling.Blocked) or permit.locked:
        return False
    return all(check in (*permit.holds, *awaited) or check.name in drain.STAYS for check in action.checks)


def _restored(world: World, progress: rolling.RollProgress, permit: Permit) -> frozenset[int]:
    """Nodes that must not get what they are wanted to be: all while nobody has agreed to it, else those not begun."""
    agreed = (
        frozenset(progress.replicas_out_before) if not any(c.name in UNDECIDED for c in permit.holds) else frozenset()
    )
    return frozenset(node.id for node in world.observation.nodes) - agreed


def _operation(
    course: Course, transition: rolling.Transition, permit: Permit, now: float
) -> tuple[Operation | None, Operation | None]:
    """(the roll under way, the roll that has just ended)."""
    world, target = course.world, course.target
    before, action = world.cluster.status.operation, transition.action
    if before is not None and permit.locked:
        return _standing(before, permit), None
    superseded = None
    if before is not None and before.id != transition.progress.id:
        superseded = operations.ended(before, "Superseded", message=f"by {target.goal}", now=now)
    mine = before if superseded is None else None
    if isinstance(action, rolling.Done):
        if mine is not None:
            if course.back is not None and course.instead_of:
                message = f"every node is back on Kafka {course.back.version}: {course.back.evidence}"
                return None, operations.ended(mine, "RolledBack", message=message, now=now)
            return None, operations.ended(mine, "Succeeded", message="every node is back", now=now)
        return None, superseded
    if permit.stop is not None and not transition.progress.replicas_out_before:
        if mine is not None:
            return None, operations.ended(mine, permit.stop, message=explain(permit.holds), now=now)
        return None, superseded
    if before is None and not _disruptive(world, target, action, permit):
        return None, None
    message = describe(action)
    written = operations.to_operation(
        transition,
        target,
        before,
        message=message,
        now=now,
        approval=permit.approval,
        requested_by=world.cluster.metadata.annotations.get(names.REQUESTED_BY, ""),
        instead_of=course.instead_of,
    )
    if course.learning_since is None or written.step is None or isinstance(action, rolling.StopNode):
        return written, superseded
    noted = {way_back.LEARNING_SINCE: str(course.learning_since)}
    step = written.step.model_copy(update={"parameters": {**written.step.parameters, **noted}})
    return written.model_copy(update={"step": step}), superseded


def _standing(operation: Operation, permit: Permit) -> Operation:
    """The operation while somebody else has the cell: what it intends stays written, and nothing is concluded."""
    if operation.step is None:
        return operation
    checks = operations.step_checks(rolling.Blocked(permit.holds))
    step = operation.step.model_copy(update={"checks": checks})
    return operation.model_copy(update={"step": step, "message": f"blocked: {explain(permit.holds)}"[:4096]})


def _in_sync(world: World) -> bool:
    """Nothing is out, moving or behind: taking one node harms nobody."""
    kafka, quorum = world.observation.kafka, world.observation.quorum
    return (
        kafka is not None
        and quorum is not None
        and not kafka.reassigning
        and all(set(partition.replicas) <= set(partition.isr) for partition in kafka.partitions)
        and all(voter.caught_up for voter in quorum.voters)
        and all(node.pod and node.pod.ready and not node.pod.terminating for node in world.observation.nodes)
    )


def _disruptive(world: World, target: rolling.RollTarget, action: rolling.Action, permit: Permit) -> bool:
    """A roll exists once a running pod differs from its target or features are to be raised; not while nodes start.

    One that waits for an Approval exists too, or there would be no plan to approve.
    """
    if any(node.reasons for node in target.nodes):
        return True
    if target.finalise and _waits_for_people(action, permit):
        return any(check.name in UNDECIDED | GUARDS for check in permit.holds)
    return isinstance(action, rolling.Soak | rolling.Finalise) and bool(world.observation.kafka)


def _standing_still(
    world: World, target: rolling.RollTarget, action: rolling.Action, permit: Permit, unmade: tuple[Check, ...]
) -> tuple[Check, ...]:
    """The faults of an upgrade first, and nothing that they already say. What this pass makes blocks nobody: where it
    is refused, that is told."""
    told = " ".join(fault.evidence for fault in target.faults)
    found = [check for check in blocking(world, action, permit) if check not in unmade]
    return (*target.faults, *(check for check in found if check.evidence not in told or not told))


def blocking(world: World, action: rolling.Action, permit: Permit) -> tuple[Check, ...]:
    """Why a roll stands still, as checks: its own block, or a node that cannot come up."""
    if isinstance(action, rolling.Blocked):
        formed = bool(world.cluster.status.bootstrap_servers)
        return action.checks if formed or set(permit.holds) & set(action.checks) else ()
    if isinstance(action, rolling.AwaitNode):
        node = world.observation.node(action.node)
        pod = node.pod if node else None
        if node and (nowhere := drain.stranded(node)):
            return (*nowhere, *action.checks)
        if pod and not pod.ready and (pod.restarts or pod.waiting_reason in CANNOT_START | CRASH_STATES):
            return action.checks
    return ()


def describe(action: rolling.Action) -> str:
    """What an operation waits for or does next, for people."""
    match action:
        case rolling.StopNode(node=node, accepted=accepted, reasons=reasons):
            drained = "Its machine is cordoned, which is in no plan. " if rolling.RestartReason.DRAIN in reasons else ""
            return f"restarting node {node}. {drained}{explain(accepted)}".strip()
        case rolling.StartNode(node):
            return f"starting node {node}"
        case rolling.AwaitNode(node, failed):
            return f"waiting for node {node}: {explain(failed)}"
        case rolling.ElectLeaders(partitions):
            return f"returning the leaders of {len(partitions)} partitions"
        case rolling.Soak():
            return "soaking before metadata.version is finalised"
        case rolling.Finalise(levels):
            return "finalising " + ", ".join(f"{name} {level}" for name, level in sorted(levels.items()))
        case rolling.Blocked(failed):
            return f"blocked: {explain(failed)}"
        case _:
            return ""
