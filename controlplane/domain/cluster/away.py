"""Replicas that partitions cannot spare are moved off brokers before these are restarted (MoveAway). Pure.

The roll says which brokers are next (`rolling.Blocked.away`); a KafkaRebalance with goal MoveAway moves them (`moves`).
What was denied or cancelled is not asked for again by the same roll, whatever the brokers.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.api.kafka_rebalance import GoalType
from controlplane.domain.check import Check
from controlplane.domain.cluster.moves import UNAPPROVABLE, Purpose, RequestMove, Wish, answer, standing
from controlplane.domain.cluster.world import World
from controlplane.domain.rebalance.asked import AskedMove, MoveState
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.health import listing
from controlplane.domain.rolling.values import Blocked, RollTarget, Transition

AWAITS_APPROVAL = "MoveAwaitsApproval"
IMPOSSIBLE = "MoveAwayImpossible"
FAILED = "MoveAwayFailed"
REFUSED = "MoveAwayRefused"
AWAY = Purpose(
    goal=GoalType.MOVE_AWAY,
    prefix="roll",
    waiting=safety.MOVING_AWAY,
    unapproved=AWAITS_APPROVAL,
    impossible=IMPOSSIBLE,
    failed=FAILED,
    refused=REFUSED,
    what="replicas that their partitions cannot spare",
    afterwards="The roll goes on when it has",
    denied="by this roll",
    if_impossible="Change what stands in the way (add brokers, lower rollout.maxUnavailable or a replication factor), "
    f"or {safety.ACCEPT_REMEDY}",
    if_failed=f"raise their replication factor, or {safety.ACCEPT_REMEDY}",
)
_FOR_OWNERS = frozenset({safety.UNPROTECTED_PARTITIONS, IMPOSSIBLE, FAILED})


def guard(world: World) -> tuple[Check, ...]:
    """No ready node is stopped while a KafkaRebalance of a roll is moving replicas."""
    return tuple(standing(world, AWAY, move) for move in _asked(world) if move.begun and not move.standing.over)


def answered(
    world: World, target: RollTarget, transition: Transition, now: float
) -> tuple[Transition, RequestMove | None]:
    """The roll that needs brokers emptied, with how that stands; what is to be asked for, if nothing was yet."""
    action, request = transition.action, None
    if not isinstance(action, Blocked):
        return transition, None
    if action.away:
        operation, uid = transition.progress.id, world.cluster.metadata.uid
        key = f"{uid}/{operation}/{','.join(map(str, action.away))}"
        mine = [move for move in _asked(world) if move.operation == operation]
        waiting = [move for move in mine if not move.standing.over and _serves(world, target, move)]
        wish = Wish(AWAY, operation, key, action.away, action.checks[0].evidence)
        check, request = answer(world, wish, mine, waiting, now)
        action = replace(action, checks=(check,))
    owned = tuple(_owned(world, target, check) for check in action.checks)
    return replace(transition, action=replace(action, checks=owned)), request


def _owned(world: World, target: RollTarget, check: Check) -> Check:
    """What people have to see to, with those whose topics it is about."""
    if check.name not in _FOR_OWNERS or not world.owners:
        return check
    pending = frozenset(node.node for node in target.nodes if node.reasons)
    topics = {one.topic for one in safety.unprotected_partitions(world.observation, pending)}
    owned = sorted({f"{topic} is {world.owners[topic]}'s" for topic in topics & world.owners.keys()})
    return replace(check, evidence=f"{check.evidence} {listing(owned)}.") if owned else check


def needed(world: World, target: RollTarget, operation: str | None) -> frozenset[str]:
    """Names of those that the roll under way has a use for, or by which it knows not to ask again. `operation` is that
    roll, None if there is none."""
    return frozenset(
        move.name
        for move in _asked(world)
        if move.operation == operation
        and (move.standing.state is MoveState.FAILED if move.standing.over else _serves(world, target, move))
    )


def _asked(world: World) -> list[AskedMove]:
    return [move for move in world.moves if move.operation and move.goal is GoalType.MOVE_AWAY]


def _serves(world: World, target: RollTarget, move: AskedMove) -> bool:
    """Whether what it would move is still there, on brokers that are still to be restarted. While brokers do not answer
    it is. One that was made before the cluster required approvals is of no use."""
    if move.standing.reason == UNAPPROVABLE:
        return False
    if world.observation.kafka is None:
        return True
    nodes = {node.node: node for node in target.nodes}
    pods = {node.id: node.pod for node in world.observation.nodes}
    for broker in move.brokers:
        node, pod = nodes.get(broker), pods.get(broker)
        if node is None or (pod is not None and pod.spec_hash == node.spec_hash and pod.uid != node.leaving):
            return False
    return bool(safety.unprotected_partitions(world.observation, frozenset(move.brokers)))
