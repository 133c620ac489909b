"""Plans under the brokers' capacities in bytes. Pure.

Whether replicas of different sizes fit is a packing problem (NP-hard). Replicas that move anyway are tried first, then
the others; small problems are solved exactly; and where even replicas that could be split would find no place, that is
said as proven, with how much is too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.domain.rebalance.choice import Program, is_small
from controlplane.domain.rebalance.placement import Placement
from controlplane.domain.rebalance.problem import Problem
from controlplane.domain.rebalance.search import Limits
from controlplane.domain.rebalance.settle import Settling
from controlplane.domain.rebalance.shares import byte_groups, unplaced
from controlplane.domain.rebalance.solver import Solver
from controlplane.domain.rebalance.values import Constraint, Infeasible, Shortage

ENDLESS = 1 << 60
"""Bytes of a broker whose capacity is not known."""


@dataclass(frozen=True, slots=True)
class Planned:
    """`bound` and `bytes_bound` as in `Proposal`."""

    placement: Placement
    bound: int
    bytes_bound: int | None = None


def fit(placement: Placement, counts: Limits | None, solver: Solver | None, bound: int) -> Planned | Infeasible:
    """The placement with every broker within its capacity, and its replicas within `counts` where given; no plan for
    this has fewer moves than `bound`."""
    problem = placement.problem
    if not placement.over_capacity():
        return Planned(placement, bound)
    limits = _limits(problem)
    fits = Settling(placement, limits, counts, placement.is_guest).run() or Settling(placement, limits, counts).run()
    if fits and placement.moved() == bound:
        return Planned(placement, bound)
    if not fits and (short := _shortages(problem)):
        return Infeasible(short)
    if solver is not None and is_small(problem):
        program = Program(placement, limits, [1] * len(problem.slots), counts)
        choice = solver.solve_choice(program.choice)
        if choice.bound is None:
            return Infeasible((unfit(placement, proven=True),))
        bound = max(bound, choice.bound)
        if choice.chosen is not None:
            placement = Placement.at(problem, program.read(choice.chosen))
            fits = True
    return Planned(placement, bound) if fits else Infeasible((unfit(placement, proven=False),), proven=False)


def gib(amount: int) -> str:
    """Bytes for people; whole bytes where they are few."""
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} bytes"


def _limits(problem: Problem) -> Limits:
    return [0] * len(problem.brokers), [ENDLESS if most is None else most for most in problem.capacities]


def _shortages(problem: Problem) -> tuple[Shortage, ...]:
    """Why it can never fit: a partition that is too large for its brokers, or all of them together."""
    for slot in problem.slots:
        able = [b for b in slot.cell.brokers if slot.size <= _capacity(problem, b)]
        if len(able) < slot.want:
            name = str(slot.partition.id)
            message = (
                f"{name}: each of its {slot.want} replicas has {gib(slot.size)}, and only {len(able)} brokers that may "
                f"have one have that capacity: give {slot.want - len(able)} more of them larger disks"
            )
            return (Shortage(Constraint.CAPACITY, name, message, slot.want, len(able)),)
    room = {at: _capacity(problem, at) - problem.fixed_bytes[at] for at in range(len(problem.brokers))}
    over = sum(-most for most in room.values() if most < 0)
    left, full = unplaced(byte_groups(problem), {at: max(0, most) for at, most in room.items()})
    if not left + over:
        return ()
    brokers = full or tuple(at for at, most in room.items() if most < 0)
    names = names_of(problem, brokers)
    held = sum(_capacity(problem, at) for at in brokers)
    message = (
        f"capacity: {gib(left + over)} more than brokers {names} can hold ({gib(held)} all together): add brokers or "
        "disks, or shorten retention"
    )
    return (Shortage(Constraint.CAPACITY, f"brokers {names}", message, held + left + over, held),)


def unfit(placement: Placement, *, proven: bool) -> Shortage:
    problem = placement.problem
    over = placement.over_capacity()
    needed = sum(placement.bytes[at] for at in over)
    held = sum(_capacity(problem, at) for at in over)
    said = "no plan fits" if proven else "no plan that fits was found"
    return Shortage(
        Constraint.CAPACITY,
        f"brokers {names_of(problem, over)}",
        f"capacity: {said}; the nearest has {gib(needed - held)} too much on brokers {names_of(problem, over)}: add "
        "brokers or disks, or shorten retention",
        needed,
        held,
    )


def _capacity(problem: Problem, broker: int) -> int:
    capacity = problem.capacities[broker]
    return ENDLESS if capacity is None else capacity


def names_of(problem: Problem, brokers: Sequence[int]) -> str:
    return ", ".join(str(problem.brokers[at].id) for at in brokers)
