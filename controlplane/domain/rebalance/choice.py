"""Small problems with bytes, exactly: a replica on a broker or not, as a program over yes and no. Pure.

The oracle of what `settle` finds by search, for as many variables as a solver can do in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.domain.rebalance.placement import Placement
from controlplane.domain.rebalance.problem import Problem, Slot
from controlplane.domain.rebalance.search import Limits
from controlplane.domain.rebalance.solver import ChoiceProblem

MOST_VARIABLES = 2000
"""Beyond that a solver proves little in the work it is given."""


def is_small(problem: Problem) -> bool:
    return sum(len(slot.cell.brokers) for slot in problem.slots) <= MOST_VARIABLES


class Program:
    """`limits` in bytes, `counts` in replicas where given; a move costs what `costs` says of its slot."""

    def __init__(self, hint: Placement, limits: Limits, costs: Sequence[int], counts: Limits | None = None) -> None:
        problem = hint.problem
        self.choice = ChoiceProblem()
        self._places: list[dict[int, int]] = []
        on: list[list[tuple[int, int]]] = [[] for _ in problem.brokers]
        for at, slot in enumerate(problem.slots):
            places = {
                broker: self.choice.variable(0 if broker in slot.current else costs[at], hint=broker in hint.where[at])
                for broker in slot.cell.brokers
            }
            self._places.append(places)
            self.choice.row(slot.want, slot.want, ((variable, 1) for variable in places.values()))
            self._spread(slot, places, {problem.rack_of[broker] for broker in hint.where[at]})
            for broker, variable in places.items():
                on[broker].append((variable, slot.size))
        for broker, terms in enumerate(on):
            held = problem.fixed_bytes[broker]
            self.choice.row(limits[0][broker] - held, limits[1][broker] - held, terms)
            if counts is not None:
                self.choice.row(counts[0][broker], counts[1][broker], ((variable, 1) for variable, _ in terms))

    def read(self, chosen: Sequence[bool]) -> list[list[int]]:
        return [[broker for broker, variable in places.items() if chosen[variable]] for places in self._places]

    def _spread(self, slot: Slot, places: dict[int, int], hinted: set[int]) -> None:
        if slot.spread == 1:
            return
        racks = slot.cell.by_rack
        if slot.spread == slot.want:
            for members in racks.values():
                self.choice.row(0, 1, ((places[broker], 1) for broker in members))
            return
        seen = []
        for rack, members in racks.items():
            used = self.choice.variable(hint=rack in hinted)
            self.choice.row(0, len(members), [(used, -1), *((places[broker], 1) for broker in members)])
            seen.append((used, 1))
        self.choice.row(slot.spread, len(seen), seen)
