"""Where the replicas of a problem's slots are while a plan is made, and what that does to the brokers' loads.

A replica that stands where its partition had none is a **guest**: it is what a move makes. `may` keeps the constraints
of one partition (one replica on a broker, its cell, its spread); loads are everybody's and kept by who moves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from controlplane.domain.rebalance.problem import Problem, Slot


class Placement:
    """`where[i]` are the brokers of slot i in the order of its replicas; empty until it is placed. `replicas` and
    `bytes` are what each broker has, of the slots and of what is fixed."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.where: list[list[int]] = [[] for _ in problem.slots]
        self.replicas = list(problem.fixed_replicas)
        self.bytes = list(problem.fixed_bytes)

    @classmethod
    def at(cls, problem: Problem, places: Iterable[Iterable[int]]) -> Placement:
        placement = cls(problem)
        for number, brokers in enumerate(places):
            placement.put(number, brokers)
        return placement

    def put(self, at: int, brokers: Iterable[int]) -> None:
        """All replicas of slot `at`, which has none yet."""
        slot = self.problem.slots[at]
        self.where[at] = list(brokers)
        for broker in self.where[at]:
            self.replicas[broker] += 1
            self.bytes[broker] += slot.size

    def move(self, at: int, source: int, target: int) -> None:
        size = self.problem.slots[at].size
        places = self.where[at]
        places[places.index(source)] = target
        self.replicas[source] -= 1
        self.replicas[target] += 1
        self.bytes[source] -= size
        self.bytes[target] += size

    def may(self, at: int, source: int, target: int) -> bool:
        """Whether a replica of slot `at` may go from `source` to `target` as far as its own partition is concerned."""
        if target in self.where[at] or target not in self.problem.slots[at].cell.members:
            return False
        return self.problem.rack_of[target] in self.racks_open(at, source)

    def racks_open(self, at: int, source: int) -> Collection[int]:
        """The racks that the replica on `source` may go to without leaving its partition in too few of them."""
        slot, rack_of = self.problem.slots[at], self.problem.rack_of
        everywhere = slot.cell.by_rack
        if slot.spread == 1:
            return everywhere
        if slot.want == slot.spread == len(everywhere):
            return (rack_of[source],)
        others = {rack_of[one] for one in self.where[at] if one != source}
        return everywhere if len(others) >= slot.spread else [rack for rack in everywhere if rack not in others]

    def is_guest(self, at: int, broker: int) -> bool:
        return broker not in self.problem.slots[at].current

    def moved(self) -> int:
        """Replicas that are copied to a broker that has none."""
        return sum(len(set(places).difference(slot.current)) for slot, places in self._placed())

    def bytes_moved(self) -> int:
        return sum(slot.size * len(set(places).difference(slot.current)) for slot, places in self._placed())

    def _placed(self) -> Iterable[tuple[Slot, list[int]]]:
        return zip(self.problem.slots, self.where, strict=True)

    def over_capacity(self) -> list[int]:
        """Brokers that would hold more bytes than they can."""
        capacities = self.problem.capacities
        return [at for at, most in enumerate(capacities) if most is not None and self.bytes[at] > most]


def mend(placement: Placement) -> None:
    """Place every slot with its own fewest moves, on the brokers that have least.

    Large partitions first where capacities are known: what is small still fits later.
    """
    problem = placement.problem
    order: Iterable[int] = range(len(problem.slots))
    if any(capacity is not None for capacity in problem.capacities):
        order = sorted(order, key=lambda at: -problem.slots[at].size)
    for slot in problem.slots:  # what stays for certain weighs before anybody chooses
        for broker in slot.current:
            placement.replicas[broker] += 1
            placement.bytes[broker] += slot.size
    for at in order:
        slot = problem.slots[at]
        for broker in slot.current:
            placement.replicas[broker] -= 1
            placement.bytes[broker] -= slot.size
        kept = _kept(placement, slot, slot.want - problem.fewest(slot))
        placement.put(at, _filled(placement, slot, kept))


def even_out(placement: Placement, rounds: int = 4) -> None:
    """Let guests change to brokers that have less, as long as that helps: nothing moves that has not moved anyway."""
    problem = placement.problem
    guests = [
        (at, slot)
        for at, slot in enumerate(problem.slots)
        if any(broker not in slot.current for broker in placement.where[at])
    ]
    for _ in range(rounds):
        changed = False
        for at, slot in guests:
            for source in [one for one in placement.where[at] if one not in slot.current]:
                target = _emptier(placement, at, source)
                if target is not None:
                    placement.move(at, source, target)
                    changed = True
        if not changed:
            return


def _emptier(placement: Placement, at: int, source: int) -> int | None:
    """The broker with least that this guest may change to, if it is better off there than `source` is with it."""
    problem, loads, weights = placement.problem, placement.replicas, placement.problem.weights
    slot, places = problem.slots[at], placement.where[at]
    best, best_load = None, loads[source] / weights[source]
    for rack in placement.racks_open(at, source):
        for broker in slot.cell.by_rack[rack]:
            load = (loads[broker] + 1) / weights[broker]
            taken = broker in places or broker in slot.current
            if load < best_load and not taken and _fits(placement, broker, slot.size):
                best, best_load = broker, load
    return best


def _kept(placement: Placement, slot: Slot, count: int) -> list[int]:
    """`count` of the replicas that it has: in as many racks as can be, the leader if it can stay, then those on brokers
    that have least."""
    problem = placement.problem
    leader = slot.current[0] if slot.current else None
    ranked = sorted(
        slot.current, key=lambda b: (b != leader, placement.replicas[b] / problem.weights[b], slot.current.index(b))
    )
    kept: list[int] = []
    seen: set[int] = set()
    for broker in ranked:
        if len(kept) < count and problem.rack_of[broker] not in seen:
            seen.add(problem.rack_of[broker])
            kept.append(broker)
    kept += [broker for broker in ranked if broker not in kept][: count - len(kept)]
    return sorted(kept, key=slot.current.index)


def _filled(placement: Placement, slot: Slot, kept: list[int]) -> list[int]:
    """With new replicas: in new racks first, then where least is. What it had and does not keep comes last."""
    problem = placement.problem
    places = list(kept)
    while len(places) < slot.want:
        racks = {problem.rack_of[broker] for broker in places}
        places.append(
            min(
                (broker for broker in slot.cell.brokers if broker not in places),
                key=lambda b: (
                    b in slot.current,
                    problem.rack_of[b] in racks,
                    not _fits(placement, b, slot.size),
                    (placement.replicas[b] + 1) / problem.weights[b],
                    placement.bytes[b] / problem.weights[b],
                    b,
                ),
            )
        )
    return places


def _fits(placement: Placement, broker: int, size: int) -> bool:
    capacity = placement.problem.capacities[broker]
    return capacity is None or placement.bytes[broker] + size <= capacity
