"""What each goal asks of which partitions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from controlplane.domain.rebalance.problem import Problem
from controlplane.domain.rebalance.values import (
    Assignment,
    BalanceBytes,
    Broker,
    ChangeReplicas,
    Constraint,
    Drain,
    Goal,
    Infeasible,
    MoveAway,
    MoveTo,
    Partition,
    Racks,
    Shortage,
)

Ids = frozenset[int]


class Asked:
    """The part of a cluster that a goal speaks of: for each partition with a choice its brokers, its number of replicas
    and of racks."""

    def __init__(self, assignment: Assignment, brokers: Sequence[Broker], goal: Goal) -> None:
        self._goal = goal
        self.partitions = sorted(assignment.partitions, key=lambda partition: partition.id)
        self._away = not_planned_with(goal)
        self.brokers = [broker for broker in brokers if broker.id not in self._away]
        self._everybody: Ids = frozenset(broker.id for broker in self.brokers)
        self._rack = {broker.id: broker.rack for broker in brokers}

    def problem(self, *, everything: bool = False) -> Problem | Infeasible:
        """`everything`: the partitions that the goal leaves alone may move too, to make room."""
        problem = Problem(self.brokers)
        short: list[Shortage] = []
        for partition in self.partitions:
            changes, meant = self._has_to_change(partition), self._is_meant(partition)
            if not changes and (not everything or not self._away.isdisjoint(partition.replicas)):
                problem.fix(partition)
                continue
            cell, want = self._cell(partition, meant=meant), self._want(partition, meant=meant)
            if not changes:  # it may stay where it is, even where it is not allowed any more
                cell |= self._everybody.intersection(partition.replicas)
            if len(cell) < want:
                short.append(_too_few(partition, want, cell))
            else:
                problem.choose(partition, want, self._spread(partition, want, cell, meant=meant), problem.cell(cell))
        return Infeasible(tuple(short)) if short else problem

    def _is_meant(self, partition: Partition) -> bool:
        """Whether the goal says anything of it, were it met or not."""
        goal = self._goal
        if isinstance(goal, MoveAway):
            return len(partition.replicas) <= partition.min_isr
        return not isinstance(goal, MoveTo | ChangeReplicas) or goal.topics is None or partition.topic in goal.topics

    def _has_to_change(self, partition: Partition) -> bool:
        goal, held = self._goal, frozenset(partition.replicas)
        if not self._is_meant(partition):
            return False
        if isinstance(goal, Drain | MoveAway):
            return not held.isdisjoint(goal.brokers)
        if isinstance(goal, ChangeReplicas):
            return len(held) != goal.replicas
        if isinstance(goal, MoveTo | Racks):
            return self._could_be_better(partition, self._cell(partition, meant=True))
        return True

    def _could_be_better(self, partition: Partition, cell: Ids) -> bool:
        held = frozenset(partition.replicas)
        return not held <= cell or self._racks(held) < min(len(held), self._racks(cell))

    def _cell(self, partition: Partition, *, meant: bool) -> Ids:
        goal = self._goal
        cell = self._everybody if partition.allowed is None else partition.allowed & self._everybody
        if isinstance(goal, MoveTo) and meant:
            return cell & goal.brokers
        return cell - goal.brokers if isinstance(goal, MoveAway) and meant else cell

    def _want(self, partition: Partition, *, meant: bool) -> int:
        return self._goal.replicas if isinstance(self._goal, ChangeReplicas) and meant else len(partition.replicas)

    def _spread(self, partition: Partition, want: int, cell: Ids, *, meant: bool) -> int:
        """Racks: as many as it has (and one more for each replica that it gets on top), or as many as there can be."""
        most = min(want, self._racks(cell))
        if not meant or isinstance(self._goal, Drain | MoveAway | ChangeReplicas):
            more = max(0, want - len(partition.replicas))
            return min(most, self._racks(frozenset(partition.replicas)) + more)
        return most

    def _racks(self, ids: Ids) -> int:
        return len({self._rack.get(one) for one in ids})


def not_planned_with(goal: Goal) -> Ids:
    """Brokers that get nothing, whether they are there or not."""
    if isinstance(goal, ChangeReplicas):
        return goal.leaving
    return goal.brokers if isinstance(goal, Drain) else frozenset()


def _too_few(partition: Partition, want: int, cell: Ids) -> Shortage:
    have = ", ".join(str(one) for one in sorted(cell)) or "none"
    return Shortage(
        Constraint.REPLICAS,
        str(partition.id),
        f"{partition.id}: {want} replicas need {want} brokers, {len(cell)} may have them ({have}): "
        f"{want - len(cell)} too few. Allow it more brokers, or lower its replication factor",
        want,
        len(cell),
    )


def problems_of(assignment: Assignment, brokers: Iterable[Broker], goal: Goal) -> tuple[Shortage, ...]:
    """What in the input makes no sense, all of it."""
    brokers = list(brokers)
    known = {broker.id for broker in brokers}
    away = not_planned_with(goal)
    found: list[Shortage] = []

    def wrong(subject: str, message: str) -> None:
        found.append(Shortage(Constraint.INPUT, subject, f"{subject}: {message}"))

    _check_brokers(brokers, wrong)
    seen = set()
    for partition in assignment.partitions:
        name = str(partition.id)
        if partition.id in seen:
            wrong(name, "it is there twice: leave one")
        seen.add(partition.id)
        if len(set(partition.replicas)) < len(partition.replicas):
            wrong(name, f"a broker is there twice in its replicas {list(partition.replicas)}: a broker has one at most")
        if not partition.replicas:
            wrong(name, "it has no replicas: list the brokers that hold it")
        if partition.size < 0:
            wrong(name, f"its size {partition.size} is below zero: give the bytes of one replica")
        strangers = sorted(frozenset(partition.replicas) - known - away)
        if strangers:
            wrong(name, f"replicas on brokers that are not listed ({_list(strangers)}): list them among the brokers")
        if partition.allowed is not None and (strangers := sorted(partition.allowed - known - away)):
            wrong(name, f"allowed on brokers that are not listed ({_list(strangers)}): list them, or do not allow them")
    _check_goal(assignment, known, goal, wrong)
    if isinstance(goal, ChangeReplicas) and not found:
        found += _below_min_isr(assignment, goal)
    return tuple(found)


def _below_min_isr(assignment: Assignment, goal: ChangeReplicas) -> Iterator[Shortage]:
    """Partitions that would lose replicas until they refuse acks=all writes."""
    for partition in assignment.partitions:
        meant = goal.topics is None or partition.topic in goal.topics
        if meant and goal.replicas < min(partition.min_isr, len(partition.replicas)):
            yield Shortage(
                Constraint.REPLICAS,
                str(partition.id),
                f"{partition.id}: {goal.replicas} replica{' is' if goal.replicas == 1 else 's are'} "
                f"{partition.min_isr - goal.replicas} fewer than its min ISR {partition.min_isr}, and acks=all writes "
                "would be refused. Ask for more, or lower its min ISR first",
                partition.min_isr,
                goal.replicas,
            )


def _check_brokers(brokers: list[Broker], wrong: Callable[[str, str], None]) -> None:
    if not brokers:
        wrong("brokers", "there are none: list those that may have replicas")
    ids = [broker.id for broker in brokers]
    for one in sorted({one for one in ids if ids.count(one) > 1}):
        wrong(f"broker {one}", "it is listed twice: leave one")
    for broker in brokers:
        if not 0 < broker.weight < float("inf"):
            wrong(
                f"broker {broker.id}",
                f"its weight {broker.weight:g} is not above zero: give it one, or drain the broker to take it out",
            )
        if broker.capacity is not None and broker.capacity < 0:
            wrong(f"broker {broker.id}", f"its capacity {broker.capacity} is below zero: give its bytes")
    bare = [broker.id for broker in brokers if not broker.rack]
    if bare and len(bare) < len(brokers):
        wrong("brokers", f"some have a rack and {_list(bare)} none: give a rack to all of them, or to none")


def _check_goal(assignment: Assignment, known: set[int], goal: Goal, wrong: Callable[[str, str], None]) -> None:
    match goal:
        case Drain(brokers):
            held = {one for partition in assignment.partitions for one in partition.replicas}
            if strangers := sorted(brokers - known - held):
                wrong("drain", f"no such brokers: {_list(strangers)}; there are {_list(sorted(known | held))}")
            if not brokers:
                wrong("drain", "it names no brokers")
            elif known <= brokers:
                wrong("drain", "no broker is left to take what they hold: leave at least one out of the drain")
        case MoveAway(brokers) | MoveTo(brokers):
            name = "move-away" if isinstance(goal, MoveAway) else "move-to"
            if strangers := sorted(brokers - known):
                wrong(name, f"no such brokers: {_list(strangers)}; there are {_list(sorted(known))}")
            if not brokers:
                wrong(name, "it names no brokers")
    if isinstance(goal, BalanceBytes) and not 0 <= goal.tolerance <= 1:
        wrong("tolerance", f"{goal.tolerance:g} is not from 0 to 1: 0.1 is ten per cent")
    if isinstance(goal, ChangeReplicas) and goal.replicas < 1:
        wrong("replicas", f"{goal.replicas} is below 1: a partition has at least one")
    topics = getattr(goal, "topics", None)
    if topics is not None:
        there = {partition.topic for partition in assignment.partitions}
        if strange := sorted(topics - there):
            wrong("topics", f"no partitions of {', '.join(strange)}: name topics of the assignment")
        if not topics:
            wrong("topics", "none is named: name topics of the assignment")


def _list(ids: Iterable[int]) -> str:
    return ", ".join(str(one) for one in ids)
