"""Replicas that partitions cannot spare are moved off brokers before these are restarted (MoveAway). Pure.

The roll says which brokers are next (`rolling.Blocked.away`); a KafkaRebalance with goal MoveAway moves them. It is an
operation of its own, with its own plan and approval, and works under the cell, which the roll leaves to it: a roll that
waits for one holds no Lease.

- Its name is a function of the roll, the brokers and the attempt, so that an operator that is killed makes no second.
- What has begun is waited for to its end, whoever asked; what has not begun goes when the roll has no use for it.
- Denied or cancelled it is not asked for again by the same roll, whatever the brokers; failed, a few times.
- Of those that are over the newest are kept, and those that tell a roll not to ask again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from controlplane.domain.check import Check
from controlplane.domain.cluster.world import World
from controlplane.domain.operation.approval import AWAITING, INVALID
from controlplane.domain.rebalance.asked import SETTLE_SECONDS, AskedMove, MoveState
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.health import listing
from controlplane.domain.rolling.values import Blocked, RollTarget, Transition

ATTEMPTS = 3
"""How often one roll asks for the same brokers to be emptied, if that fails by itself."""
KEPT = 2
"""How many that are over stay in a cluster, as a record for people; the ledger has all of them."""
BY_PEOPLE = frozenset({"Denied", "Cancelled"})
UNAPPROVABLE = "ApprovalNeeded"
"""Reason of one that asks for no approval in a cluster that requires them; its spec never changes."""

AWAITS_APPROVAL = "MoveAwaitsApproval"
IMPOSSIBLE = "MoveAwayImpossible"
FAILED = "MoveAwayFailed"
REFUSED = "MoveAwayRefused"
WAITS = frozenset({safety.MOVING_AWAY, AWAITS_APPROVAL, IMPOSSIBLE, FAILED, REFUSED})
"""Names of checks of a roll that leaves the cell to its KafkaRebalance."""
_FOR_OWNERS = frozenset({safety.UNPROTECTED_PARTITIONS, IMPOSSIBLE, FAILED})


@dataclass(frozen=True, slots=True)
class RequestMove:
    """Create a KafkaRebalance with goal MoveAway and these brokers, for the roll `operation`."""

    name: str
    operation: str
    brokers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DropMove:
    """Delete a KafkaRebalance as it was read: one that has begun meanwhile stays."""

    name: str
    uid: str
    resource_version: str


def guard(world: World) -> tuple[Check, ...]:
    """No ready node is stopped while a KafkaRebalance of a roll is moving replicas."""
    return tuple(_moving(world, move) for move in world.moves if move.begun and not move.standing.over)


def answered(
    world: World, target: RollTarget, transition: Transition, now: float
) -> tuple[Transition, RequestMove | None]:
    """The roll that needs brokers emptied, with how that stands; what is to be asked for, if nothing was yet."""
    action, request = transition.action, None
    if not isinstance(action, Blocked):
        return transition, None
    if action.away:
        check, request = _answer(world, target, transition.progress.id, action, now)
        action = replace(action, checks=(check,))
    owned = tuple(_owned(world, target, check) for check in action.checks)
    return replace(transition, action=replace(action, checks=owned)), request


def _answer(
    world: World, target: RollTarget, operation: str, action: Blocked, now: float
) -> tuple[Check, RequestMove | None]:
    mine = [move for move in world.moves if move.operation == operation]
    if waiting := [move for move in mine if not move.standing.over and _serves(world, target, move)]:
        return _moving(world, waiting[0]), None
    ended = [move for move in mine if move.standing.state is MoveState.FAILED]
    if denied := [move for move in ended if move.standing.reason in BY_PEOPLE]:
        return _failed(world, denied[0], action.away), None
    stem = _stem(world, operation, action.away)
    tried = [move for move in ended if move.name.startswith(stem)]
    if len(tried) >= ATTEMPTS:
        return _failed(world, tried[-1], action.away), None
    for move in mine:
        settles = move.standing.state is MoveState.COMPLETE and now < move.standing.ended_at + SETTLE_SECONDS
        if settles and set(move.brokers) & set(action.away):
            told = f"KafkaRebalance {move.name} has moved replicas off broker {listing(action.away)}."
            return Check(safety.MOVING_AWAY, ok=False, evidence=told, remedy="Brokers are about to know it."), None
    taken = {move.name for move in world.moves}
    name = next(name for attempt in range(1, len(taken) + 2) if (name := f"{stem}{attempt}") not in taken)
    evidence = f"{action.checks[0].evidence} KafkaRebalance {name} is made to move them."
    asked = Check(safety.MOVING_AWAY, ok=False, evidence=evidence, remedy="The roll goes on when it has.")
    return asked, RequestMove(name, operation, action.away)


def _owned(world: World, target: RollTarget, check: Check) -> Check:
    """What people have to see to, with those whose topics it is about."""
    if check.name not in _FOR_OWNERS or not world.owners:
        return check
    pending = frozenset(node.node for node in target.nodes if node.reasons)
    topics = {one.topic for one in safety.unprotected_partitions(world.observation, pending)}
    owned = sorted({f"{topic} is {world.owners[topic]}'s" for topic in topics & world.owners.keys()})
    return replace(check, evidence=f"{check.evidence} {listing(owned)}.") if owned else check


def leftovers(world: World, target: RollTarget, operation: str | None) -> tuple[DropMove, ...]:
    """What is to go: what has not begun and serves no roll any more; of those that are over all but the newest, and but
    those by which the roll under way knows not to ask again. `operation` is that roll, None if there is none."""
    over = sorted((m for m in world.moves if m.standing.over), key=lambda m: (-m.standing.ended_at, m.name))
    useless = [move for move in world.moves if not move.standing.over and not move.begun]
    gone = [
        *(m for m in useless if m.operation != operation or not _serves(world, target, m)),
        *(m for m in over[KEPT:] if m.operation != operation or m.standing.state is not MoveState.FAILED),
    ]
    return tuple(DropMove(move.name, move.uid, move.resource_version) for move in gone)


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


def _stem(world: World, operation: str, brokers: tuple[int, ...]) -> str:
    meta = world.cluster.metadata
    purpose = f"{meta.uid}/{operation}/{','.join(map(str, brokers))}"
    return f"roll-{meta.name}-{hashlib.sha256(purpose.encode()).hexdigest()[:8]}-"


def _moving(world: World, move: AskedMove) -> Check:
    """One that is not over: what it waits for, and who could help."""
    brokers, reason = listing(move.brokers), move.standing.reason
    does = f"KafkaRebalance {move.name} is to move replicas that their partitions cannot spare off broker {brokers}"
    on = f"-n {world.cluster.metadata.namespace}"
    if reason in {AWAITING, INVALID}:
        return Check(
            AWAITS_APPROVAL,
            ok=False,
            evidence=f"{does}, and waits for an approval of its own plan.",
            remedy=f"kfleet approve kafkarebalance/{move.name} {on}; denied, it is not asked for again by this roll.",
        )
    if move.standing.state is MoveState.INFEASIBLE:
        return Check(
            IMPOSSIBLE,
            ok=False,
            evidence=f"{does}, and there is no plan for that: {move.standing.message}",
            remedy="Change what stands in the way (add brokers, lower rollout.maxUnavailable or a replication factor), "
            f"or {safety.ACCEPT_REMEDY}.",
        )
    state = f" It says {reason}: {move.standing.message}" if reason else ""
    return Check(
        safety.MOVING_AWAY,
        ok=False,
        evidence=f"{does}.{state}",
        remedy=f"The roll goes on when it has; kfleet op watch kafkarebalance/{move.name} {on} follows it.",
    )


def _failed(world: World, move: AskedMove, brokers: tuple[int, ...]) -> Check:
    partitions = safety.unprotected_partitions(world.observation, frozenset(brokers))
    return Check(
        FAILED,
        ok=False,
        evidence=f"{len(partitions)} partitions have a replica on broker {listing(brokers)} that they cannot spare: "
        f"{listing(partitions)}. KafkaRebalance {move.name} ended as {move.standing.reason}: {move.standing.message}",
        remedy="This roll does not ask again. Delete that KafkaRebalance to have it asked for once more, raise their "
        f"replication factor, or {safety.ACCEPT_REMEDY}.",
    )
