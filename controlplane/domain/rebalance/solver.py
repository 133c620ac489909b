"""What planners of this package ask of an exact solver, as values; `adapters.solver` has it from OR-tools."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


def _integers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class FlowProblem:
    """A minimum-cost flow. Arc i goes from `tails[i]` to `heads[i]`, carries 0 to `capacities[i]` and costs `costs[i]`
    a unit; `supplies[v]` is what node v puts in (negative: takes out), all together 0. 64-bit integers."""

    tails: array[int] = field(default_factory=_integers)
    heads: array[int] = field(default_factory=_integers)
    capacities: array[int] = field(default_factory=_integers)
    costs: array[int] = field(default_factory=_integers)
    supplies: array[int] = field(default_factory=_integers)

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


@dataclass(slots=True)
class ChoiceProblem:
    """A linear program over yes or no: every row keeps `low` <= sum of coefficient x variable <= `high`; the variables
    that are chosen cost `costs`, and as little of it as possible is wanted. `hints` are a choice to start from."""

    costs: list[int] = field(default_factory=list)
    hints: list[bool] = field(default_factory=list)
    rows: list[tuple[int, int, list[tuple[int, int]]]] = field(default_factory=list)

    def variable(self, cost: int = 0, *, hint: bool = False) -> int:
        self.costs.append(cost)
        self.hints.append(hint)
        return len(self.costs) - 1

    def row(self, low: int, high: int, terms: Iterable[tuple[int, int]]) -> None:
        """`terms`: (variable, coefficient)."""
        self.rows.append((low, high, list(terms)))


@dataclass(frozen=True, slots=True)
class Choice:
    """`chosen` is None where none was found; `bound`: no choice costs less, None where none exists at all."""

    chosen: Sequence[bool] | None
    bound: int | None


class Solver(Protocol):
    """Deterministic: the same problem has the same answer."""

    def solve_flow(self, problem: FlowProblem) -> Flow | None:
        """An optimal flow; None: no flow meets all supplies."""

    def solve_choice(self, problem: ChoiceProblem) -> Choice:
        """The best that a fixed amount of work finds, with what that work has proven."""
