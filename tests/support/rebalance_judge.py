"""What is wrong with a rebalance's answer, judged from its definition: shares no code with the planners.

`breaches` are broken promises of any goal; `shares` the fair shares by their definition, over all sets of brokers (so
for few brokers only); `fewest` the optimum by a program over every replica and broker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

from ortools.sat.python import cp_model

from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.values import (
    Assignment,
    Balance,
    BalanceBytes,
    Broker,
    ChangeReplicas,
    Drain,
    Goal,
    Leaders,
    MoveAway,
    MoveTo,
    Partition,
    Racks,
)


class Court:
    """The question, and what its words mean."""

    def __init__(self, assignment: Assignment, brokers: Sequence[Broker], goal: Goal) -> None:
        self.goal = goal
        self.partitions = {partition.id: partition for partition in assignment.partitions}
        self.brokers = {broker.id: broker for broker in brokers}
        self.leaving = goal.leaving if isinstance(goal, ChangeReplicas) else frozenset()
        """They get nothing more, and what is not spoken of stays there."""

    def is_meant(self, p: Partition) -> bool:
        goal = self.goal
        if isinstance(goal, Drain | MoveAway) and not goal.brokers & set(p.replicas):
            return False
        if isinstance(goal, MoveAway):
            return len(p.replicas) <= p.min_isr
        if isinstance(goal, MoveTo):
            return p.topic in goal.topics
        if isinstance(goal, ChangeReplicas):
            return len(p.replicas) != goal.replicas and (goal.topics is None or p.topic in goal.topics)
        return True

    def cell(self, p: Partition) -> set[int]:
        goal = self.goal
        cell = set(self.brokers) if p.allowed is None else set(p.allowed) & set(self.brokers)
        cell -= self.leaving
        if isinstance(goal, MoveTo) and self.is_meant(p):
            return cell & goal.brokers
        if not self.is_meant(p):
            cell |= set(p.replicas) & set(self.brokers)
        if isinstance(goal, Drain) or (isinstance(goal, MoveAway) and self.is_meant(p)):
            return cell - goal.brokers
        return cell

    def want(self, p: Partition) -> int:
        return self.goal.replicas if isinstance(self.goal, ChangeReplicas) and self.is_meant(p) else len(p.replicas)

    def racks(self, ids: Iterable[int]) -> int:
        return len({self.brokers[one].rack for one in ids})

    def spread(self, p: Partition) -> int:
        """The racks that it has to be in."""
        most = min(self.want(p), self.racks(self.cell(p)))
        if isinstance(self.goal, Balance | BalanceBytes) or (
            isinstance(self.goal, Racks | MoveTo) and self.is_meant(p)
        ):
            return most
        return min(most, self.racks(p.replicas) + max(0, self.want(p) - len(p.replicas)))

    def sets(self, p: Partition) -> Iterator[frozenset[int]]:
        """Every set of brokers that it may be on."""
        for chosen in combinations(sorted(self.cell(p)), self.want(p)):
            if self.racks(chosen) >= self.spread(p):
                yield frozenset(chosen)

    def fewest_of(self, p: Partition) -> int:
        return min(len(chosen - set(p.replicas)) for chosen in self.sets(p))

    def after(self, proposal: Proposal) -> dict[TopicPartition, tuple[int, ...]]:
        return {name: p.replicas for name, p in self.partitions.items()} | {m.id: m.after for m in proposal.moves}

    def breaches(self, proposal: Proposal) -> list[str]:
        found = []
        names = [move.id for move in proposal.moves]
        if names != sorted(set(names)):
            found.append("moves are not one a partition, in order")
        if not 0 <= proposal.bound <= proposal.replicas_moved:
            found.append(f"a bound of {proposal.bound} on {proposal.replicas_moved} moves")
        if proposal.bytes_bound is not None and not 0 <= proposal.bytes_bound <= proposal.bytes_moved:
            found.append(f"a bound of {proposal.bytes_bound} on {proposal.bytes_moved} bytes")
        for move in proposal.moves:
            p = self.partitions.get(move.id)
            if p is None or move.before != p.replicas or move.size != p.size:
                found.append(f"{move.id}: it is not as the move says")
            elif move.before == move.after:
                found.append(f"{move.id}: a move that changes nothing")
            elif isinstance(self.goal, Leaders):
                if set(move.after) != set(move.before) or len(move.after) != len(move.before):
                    found.append(f"{move.id}: data moves for a leader")
            else:
                found += self._breaches_of(p, move.after)
        return found + self._goal_unmet(self.after(proposal))

    def _breaches_of(self, p: Partition, after: tuple[int, ...]) -> list[str]:
        found = []
        if len(set(after)) != len(after):
            found.append(f"{p.id}: two replicas on one broker")
        if len(after) != self.want(p):
            found.append(f"{p.id}: {len(after)} replicas, not {self.want(p)}")
        if outside := set(after) - self.cell(p):
            found.append(f"{p.id}: on {sorted(outside)}, where it may not be")
        elif self.racks(after) < self.spread(p):
            found.append(f"{p.id}: in {self.racks(after)} racks, not {self.spread(p)}")
        return found

    def _goal_unmet(self, after: Mapping[TopicPartition, tuple[int, ...]]) -> list[str]:
        found = []
        held: Counter[int] = Counter()
        for name, p in self.partitions.items():
            for one in after[name]:
                held[one] += p.size
            if not isinstance(self.goal, Leaders) and self.is_meant(p):
                found += self._breaches_of(p, after[name])
        if not isinstance(self.goal, Leaders):
            found += [
                f"broker {one}: {held[one]} bytes are more than its {broker.capacity}"
                for one, broker in self.brokers.items()
                if broker.capacity is not None and held[one] > broker.capacity and one not in self.leaving
            ]
        return found

    def possible(self, p: Partition, brokers: frozenset[int]) -> int:
        """The most replicas of it that can be on these."""
        return max(len(chosen & brokers) for chosen in self.sets(p))

    def shares(self, *, bytes_: bool = False) -> dict[int, Fraction]:
        """By definition of max-min fairness: the set with the least load for its weight gets all that it can take; then
        the others. Over all sets of brokers."""
        weights = {one: Fraction(repr(broker.weight)) for one, broker in self.brokers.items()}

        def most(brokers: frozenset[int]) -> int:
            return sum((p.size if bytes_ else 1) * self.possible(p, brokers) for p in self.partitions.values())

        found: dict[int, Fraction] = {}
        while left := sorted(weights.keys() - found.keys()):
            taken = frozenset(found)
            base = most(taken) if taken else 0
            sets = [frozenset(some) for size in range(1, len(left) + 1) for some in combinations(left, size)]
            ratio, _, tight = min(
                (
                    (most(taken | some) - base) / sum((weights[one] for one in some), Fraction()),
                    -len(some),
                    sorted(some),
                )
                for some in sets
            )
            found |= {one: ratio * weights[one] for one in tight}
        return found


def fewest(court: Court, limits: Mapping[int, tuple[int, int]], *, bytes_: bool = False) -> int | None:
    """The least that moves with every broker's replicas (or bytes) within its limits: None if there is no way."""
    model = cp_model.CpModel()
    cost: list[Any] = []
    held: dict[int, list[Any]] = {one: [] for one in court.brokers}
    for p in court.partitions.values():
        on = {one: model.new_bool_var("") for one in sorted(court.cell(p))}
        model.add(sum(on.values()) == court.want(p))
        racks = []
        for rack in {court.brokers[one].rack for one in on}:
            used = model.new_bool_var("")
            model.add(used <= sum(on[one] for one in on if court.brokers[one].rack == rack))
            racks.append(used)
        model.add(sum(racks) >= court.spread(p))
        each = p.size if bytes_ else 1
        for one, variable in on.items():
            held[one].append(each * variable)
            if one not in p.replicas:
                cost.append(each * variable)
    for one, (low, high) in limits.items():
        total = sum(held[one])
        model.add(total >= low)
        model.add(total <= high)
    model.minimize(sum(cost))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    assert status in {cp_model.OPTIMAL, cp_model.INFEASIBLE}
    return round(solver.objective_value) if status == cp_model.OPTIMAL else None
