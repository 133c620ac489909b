"""Brokers that are to leave are emptied first: the cluster asks for that Drain by itself. Pure.

The change of members says which (`membership.DrainBrokers`); a KafkaRebalance with goal Drain moves their replicas to
those that stay (`moves`). It is asked for by no operation alone but by the number of replicas in the spec: one that was
made for the same brokers serves whatever operation comes to wait for it, and is forgotten when they are not to leave.

- A person's own Drain of these brokers is left to do it, and none is made beside it, unless it names others too and
  cannot be done for them.
- What lands on them afterwards is drained once more.
- Nobody leaves before a Drain that has begun is over: with its last replica it has leaders to elect yet, and whoever
  cancels it gets back what it moved. While one of those that leave is not well it would wait for it, and they go.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from controlplane.api.kafka_rebalance import GoalType
from controlplane.domain.cluster.layout import Layout, replicas_asked
from controlplane.domain.cluster.members import Turn
from controlplane.domain.cluster.moves import UNAPPROVABLE, Purpose, RequestMove, Wish, answer, standing
from controlplane.domain.cluster.world import World
from controlplane.domain.membership.brokers import known, living_on
from controlplane.domain.membership.values import DrainBrokers, RemoveVoter, StopMember
from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.asked import AskedMove, MoveState
from controlplane.domain.rolling import canary, health
from controlplane.domain.rolling.health import listing

DRAINING = "BrokersDraining"
AWAITS_APPROVAL = "DrainAwaitsApproval"
IMPOSSIBLE = "ScaleDownRefused"
FAILED = "DrainFailed"
REFUSED = "DrainRefused"
EMPTYING = Purpose(
    goal=GoalType.DRAIN,
    prefix="drain",
    waiting=DRAINING,
    unapproved=AWAITS_APPROVAL,
    impossible=IMPOSSIBLE,
    failed=FAILED,
    refused=REFUSED,
    what="every replica",
    afterwards="They leave when it has",
    denied="while these brokers are to leave",
    if_impossible="Change what stands in the way (a tenant's shard, a replication factor, the size of volumes), or set "
    "the number of replicas back",
    if_failed="move the replicas yourself, or set the number of replicas back",
)


def answered(world: World, layout: Layout, turn: Turn, now: float) -> tuple[Turn, RequestMove | None]:
    """The change that waits for brokers to be emptied, with how that stands; what is to be asked for, if nothing was.

    The canary's topic needs no moving: where it is in the way it is deleted.
    """
    action = turn.change.action
    if isinstance(action, RemoveVoter | StopMember) and (last := _unfinished(world, layout, action.node)) is not None:
        emptied = DrainBrokers(action.node, _leaving(world, layout), (standing(world, EMPTYING, last),))
        return replace(turn, change=replace(turn.change, action=emptied)), None
    if not isinstance(action, DrainBrokers) or not (living := _to_move(world, action.brokers)):
        return turn, None
    wish = Wish(
        EMPTYING,
        turn.id,
        f"{world.cluster.metadata.uid}/{GoalType.DRAIN}/{','.join(map(str, action.brokers))}",
        action.brokers,
        why_of(world, action.brokers, living),
    )
    mine = [move for move in _asked(world) if _is_for(world, layout, move)]
    theirs = _of_people(world, action.brokers)
    begun = [move for move in _asked(world) if move.begun]  # for whatever brokers: one Drain at a time
    waiting = [move for move in (*theirs, *begun, *mine) if _may_do_it(move)]
    done = [move for move in theirs if move.standing.state is MoveState.COMPLETE]
    check, request = answer(world, wish, (*mine, *done), waiting, now, told=wish.why)
    return replace(turn, change=replace(turn.change, action=replace(action, checks=(check,)))), request


def _unfinished(world: World, layout: Layout, node: int) -> AskedMove | None:
    """The Drain that has begun and is waited for before this node leaves, whoever asked for it."""
    leaving = set(_leaving(world, layout))
    unwell = [one for one in world.observation.nodes if one.id in leaving and health.unhealthy(world.observation, one)]
    if node not in leaving or unwell:
        return None
    begun = [move for move in world.moves if move.goal is GoalType.DRAIN and move.begun and not move.standing.over]
    return next((move for move in begun if leaving & set(move.brokers)), None)


def why_of(world: World, brokers: tuple[int, ...], living: tuple[TopicPartition, ...]) -> str:
    """What the spec asks for, and what stands against it."""
    asked = replicas_asked(world.cluster, {node.pool for node in world.observation.nodes if node.id in brokers})
    return (
        f"{asked} takes away broker {listing(brokers)}, and {len(living)} partitions have a replica there: "
        f"{listing(living)}."
    )


def needed(world: World, layout: Layout, *, wanted: bool) -> frozenset[str]:
    """Names of those that brokers which are to leave have a use for, or by which it is known not to ask again.
    `wanted`: the change has not been cancelled or denied. While brokers do not answer what was asked for stays."""
    leaving = _leaving(world, layout)
    if world.observation.kafka is not None:
        by_people = any(_may_do_it(move) for move in _of_people(world, leaving))
        wanted = wanted and not by_people and bool(_to_move(world, leaving))
    found = [move for move in _asked(world) if _is_for(world, layout, move)]
    return frozenset(
        move.name
        for move in found
        if (move.standing.state is MoveState.FAILED if move.standing.over else wanted and _may_do_it(move))
    )


def _leaving(world: World, layout: Layout) -> tuple[int, ...]:
    """Brokers that are to leave, of which Kafka knows."""
    return known(world.observation.kafka, layout.leaving) if world.observation.kafka is not None else ()


def _is_for(world: World, layout: Layout, move: AskedMove) -> bool:
    """Whether it is of those brokers that are to leave: of all that Kafka knows, and of none that stays."""
    return set(_leaving(world, layout)) <= set(move.brokers) <= set(layout.leaving)


def _may_do_it(move: AskedMove) -> bool:
    return not move.standing.over and move.standing.reason != UNAPPROVABLE


def _to_move(world: World, brokers: Collection[int]) -> tuple[TopicPartition, ...]:
    living = living_on(world.observation.kafka, brokers) if world.observation.kafka is not None else ()
    return tuple(one for one in living if one.topic != canary.TOPIC or not world.canary_is_ours)


def _asked(world: World) -> list[AskedMove]:
    return [move for move in world.moves if move.operation and move.goal is GoalType.DRAIN]


def _of_people(world: World, brokers: Collection[int]) -> list[AskedMove]:
    """Theirs of all these brokers, and of others or not: but not one of others too for which there is no plan, since
    that says nothing of these."""
    theirs = [move for move in world.moves if not move.operation and set(brokers) <= set(move.brokers)]
    return [
        move for move in theirs if move.standing.state is not MoveState.INFEASIBLE or set(move.brokers) == set(brokers)
    ]
