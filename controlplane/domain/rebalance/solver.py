"""What planners of this package ask of an exact solver, as values; `adapters.solver` has it from OR-tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class FlowProblem:
    """A minimum-cost flow. Arc i goes from `tails[i]` to `heads[i]`, carries 0 to `capacities[i]` and costs `costs[i]`
    a unit; `supplies[v]` is what node v puts in (negative: takes out), all together 0. Integers only."""

    tails: list[int] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    capacities: list[int] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    supplies: list[int] = field(default_factory=list)

    def node(self, supply: int = 0) -> int:
        self.supplies.append(supply)
        return len(self.supplies) - 1

    def arc(self, tail: int, head: int, capacity: int, cost: int = 0) -> int:
        self.tails.append(tail)
        self.heads.append(head)
        self.capacities.append(capacity)
        self.costs.append(cost)
        return len(self.tails) - 1


@dataclass(frozen=True, slots=True)
class Flow:
    """`amounts[i]` is what arc i carries; no flow costs less than `cost`."""

    amounts: Sequence[int]
    cost: int


class FlowSolver(Protocol):
    """Exact and deterministic: the same problem has the same answer."""

    def solve_flow(self, problem: FlowProblem) -> Flow | None:
        """None: there is no flow that meets all supplies."""
