"""KafkaRebalances that a cluster asks for by itself: before restarts (`away`), before brokers leave (`emptying`). Pure.

Each is an operation of its own, with its own plan and approval, and works under the cell, which whoever asked leaves to
it: an operation that waits for one holds no Lease.

- Its name is a function of what it is for and of the attempt, so that an operator that is killed makes no second.
- What has begun is waited for to its end, whoever asked; what has not begun goes when nobody has a use for it.
- Denied or cancelled it is not asked for again for the same wish; failed, a few times.
- Of those that are over the newest are kept, and those that say not to ask again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from controlplane.api.kafka_rebalance import GoalType
from controlplane.domain.check import Check
from controlplane.domain.cluster.world import World
from controlplane.domain.operation.approval import AWAITING, INVALID
from controlplane.domain.rebalance.asked import SETTLE_SECONDS, AskedMove, MoveState
from controlplane.domain.rebalance.history import Made, outlived
from controlplane.domain.rolling.health import listing

ATTEMPTS = 3
"""How often the same is asked for, if it fails by itself."""
KEPT = 2
"""How many that are over stay in a cluster, as a record for people; the ledger has all of them."""
BY_PEOPLE = frozenset({"Denied", "Cancelled"})
UNAPPROVABLE = "ApprovalNeeded"
"""Reason of one that asks for no approval in a cluster that requires them; its spec never changes."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What those for one purpose have in common: the goal, how their names begin, and what is said of them.

    `waiting`, `unapproved`, `impossible`, `failed` and `refused` are names of checks; the others are words: what they
    move, what comes afterwards, for how long a denial stands, and what helps against the second and third last.
    """

    goal: GoalType
    prefix: str
    waiting: str
    unapproved: str
    impossible: str
    failed: str
    refused: str
    what: str
    afterwards: str
    denied: str
    if_impossible: str
    if_failed: str

    @property
    def waits(self) -> frozenset[str]:
        """Names of checks of an operation that leaves the cell to its KafkaRebalance."""
        return frozenset({self.waiting, self.unapproved, self.impossible, self.failed, self.refused})


@dataclass(frozen=True, slots=True)
class Wish:
    """These brokers are to be emptied, which the operation `operation` waits for. `key` is what the name is a function
    of, `why` a sentence."""

    purpose: Purpose
    operation: str
    key: str
    brokers: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class RequestMove:
    """Create a KafkaRebalance with that purpose's goal and these brokers, for the operation `operation`."""

    name: str
    operation: str
    brokers: tuple[int, ...]
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class DropMove:
    """Delete a KafkaRebalance as it was read: one that has begun meanwhile stays."""

    name: str
    uid: str
    resource_version: str


def answer(
    world: World, wish: Wish, mine: Sequence[AskedMove], waiting: Sequence[AskedMove], now: float, *, told: str = ""
) -> tuple[Check, RequestMove | None]:
    """How the wish stands, and what is to be asked for if nothing was yet.

    `mine` were made for it, or did what it asks for; `waiting` are not over and may still do it. `told` comes before
    what is said of the latter.
    """
    purpose = wish.purpose
    if waiting:
        return standing(world, purpose, waiting[0], told), None
    ended = [move for move in mine if move.standing.state is MoveState.FAILED]
    if denied := [move for move in ended if move.standing.reason in BY_PEOPLE]:
        return _failed(wish, denied[0]), None
    tried = [move for move in ended if move.brokers == wish.brokers]
    if len(tried) >= ATTEMPTS:
        return _failed(wish, tried[-1]), None
    for move in mine:
        settles = move.standing.state is MoveState.COMPLETE and now < move.standing.ended_at + SETTLE_SECONDS
        if settles and set(move.brokers) & set(wish.brokers):
            evidence = f"KafkaRebalance {move.name} has moved replicas off broker {listing(wish.brokers)}."
            return Check(purpose.waiting, ok=False, evidence=evidence, remedy="Brokers are about to know it."), None
    stem = f"{purpose.prefix}-{world.cluster.metadata.name}-{hashlib.sha256(wish.key.encode()).hexdigest()[:8]}-"
    taken = {move.name for move in world.moves}
    name = next(name for attempt in range(1, len(taken) + 2) if (name := f"{stem}{attempt}") not in taken)
    evidence = f"{wish.why} KafkaRebalance {name} is made to move them."
    asked = Check(purpose.waiting, ok=False, evidence=evidence, remedy=f"{purpose.afterwards}.")
    return asked, RequestMove(name, wish.operation, wish.brokers, purpose)


def standing(world: World, purpose: Purpose, move: AskedMove, told: str = "") -> Check:
    """One that is not over: what it waits for, and who could help."""
    reason, on = move.standing.reason, f"-n {world.cluster.metadata.namespace}"
    does = f"{told} KafkaRebalance {move.name} is to move {purpose.what} off broker {listing(move.brokers)}".strip()
    if reason in {AWAITING, INVALID}:
        again = f"; denied, it is not asked for again {purpose.denied}" if move.operation else ""
        return Check(
            purpose.unapproved,
            ok=False,
            evidence=f"{does}, and waits for an approval of its own plan.",
            remedy=f"kfleet approve kafkarebalance/{move.name} {on}{again}.",
        )
    if move.standing.state is MoveState.INFEASIBLE:
        return Check(
            purpose.impossible,
            ok=False,
            evidence=f"{does}, and there is no plan for that: {move.standing.message}",
            remedy=f"{purpose.if_impossible}.",
        )
    state = f" It says {reason}: {move.standing.message}" if reason else ""
    return Check(
        purpose.waiting,
        ok=False,
        evidence=f"{does}.{state}",
        remedy=f"{purpose.afterwards}; kfleet op watch kafkarebalance/{move.name} {on} follows it.",
    )


def _failed(wish: Wish, move: AskedMove) -> Check:
    return Check(
        wish.purpose.failed,
        ok=False,
        evidence=f"{wish.why} KafkaRebalance {move.name} ended as {move.standing.reason}: {move.standing.message}",
        remedy=f"It is not asked for again {wish.purpose.denied}. Delete that KafkaRebalance to have it asked for once "
        f"more, or {wish.purpose.if_failed}.",
    )


def leftovers(world: World, needed: Collection[str]) -> tuple[DropMove, ...]:
    """What is to go of those that were asked for: what has not begun and is not `needed` (names); of those that are
    over all but the newest, and but those needed. A drain that failed is forgotten with the wish it was made for."""
    asked = {move.name: move for move in world.moves if move.operation}
    ended = [Made(move.name, "", move.standing.ended_at) for move in asked.values() if move.standing.over]
    useless = [
        move.name
        for move in asked.values()
        if move.name not in needed and (_forgotten(move) if move.standing.over else not move.begun)
    ]
    gone = dict.fromkeys((*useless, *outlived(ended, KEPT, needed)))
    return tuple(DropMove(name, asked[name].uid, asked[name].resource_version) for name in gone)


def _forgotten(move: AskedMove) -> bool:
    return move.goal is GoalType.DRAIN and move.standing.state is MoveState.FAILED
