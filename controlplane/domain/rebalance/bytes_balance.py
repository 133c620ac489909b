"""Every broker's bytes within a tolerance of its fair share, with few bytes moved. Pure.

NP-hard (one broker more and it is number partitioning). The bound is the flow in which replicas may be split: a
relaxation, so nothing moves less. The plan is found by local search, and exactly where the problem is small; the gap
between both is in the proposal.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

from controlplane.domain.rebalance.capacity import ENDLESS, Planned, gib, names_of, unfit
from controlplane.domain.rebalance.choice import Program, is_small
from controlplane.domain.rebalance.network import Network
from controlplane.domain.rebalance.placement import Placement, mend
from controlplane.domain.rebalance.plans import EXACT_ARCS
from controlplane.domain.rebalance.problem import Problem
from controlplane.domain.rebalance.search import Limits, moves_bound
from controlplane.domain.rebalance.settle import Settling
from controlplane.domain.rebalance.shares import byte_groups, fair_shares, unfed, unplaced
from controlplane.domain.rebalance.solver import Solver
from controlplane.domain.rebalance.values import Constraint, Infeasible, Shortage

FLOW_TOTAL = 1 << 40
"""Bytes are counted in units so large that there are no more of them than this: costs stay within 64 bits."""


def plan_bytes(problem: Problem, tolerance: float, solver: Solver | None) -> Planned | Infeasible:
    sizes = [slot.size for slot in problem.slots]
    shares = fair_shares(byte_groups(problem), problem.weights)
    if not any(sizes):
        message = "sizes: every partition has 0 bytes, so there is nothing to balance: give their sizes"
        return Infeasible((Shortage(Constraint.INPUT, "sizes", message),))
    limits = _limits(problem, shares, tolerance)
    if empty := _empty(problem, limits, tolerance):
        return Infeasible(empty)
    bound = moves_bound(problem, limits, sizes)
    if solver is not None and Network.size(problem, pooled=True) <= EXACT_ARCS:
        relaxed = _relaxed(problem, limits, sizes, solver)
        if relaxed is None:
            return Infeasible((_crowded(problem, limits, tolerance),))
        bound = max(bound, relaxed)
    placement = Placement(problem)
    mend(placement)
    settling = Settling(placement, limits)
    met = settling.run()
    if met:
        settling.take_back()
    if solver is not None and is_small(problem) and not (met and placement.bytes_moved() == bound):
        program = Program(placement, limits, sizes)
        choice = solver.solve_choice(program.choice)
        if choice.bound is None:
            return Infeasible((_too_tight(placement, shares, tolerance),))
        bound = max(bound, choice.bound)
        if choice.chosen is not None:
            placement, met = Placement.at(problem, program.read(choice.chosen)), True
    if not met:
        return Infeasible((_too_tight(placement, shares, tolerance),), proven=False)
    return Planned(placement, _fewest_replicas(problem, limits), bound)


def _limits(problem: Problem, shares: Sequence[Fraction], tolerance: float) -> Limits:
    part = Fraction(repr(tolerance))
    most = [
        min(int(share * (1 + part)), ENDLESS if capacity is None else capacity)
        for share, capacity in zip(shares, problem.capacities, strict=True)
    ]
    return [max(0, ceil(share * (1 - part))) for share in shares], most


def _empty(problem: Problem, limits: Limits, tolerance: float) -> tuple[Shortage, ...]:
    """Brokers that no number of bytes is right for."""
    found = []
    for broker, low, high in zip(problem.brokers, *limits, strict=True):
        if low > high:
            message = (
                f"bytes: broker {broker.id}: to be within {tolerance:g} of its share it has to hold {low} bytes, and "
                f"may hold {high}: allow a larger tolerance, lower its weight, or give it a larger disk"
            )
            found.append(Shortage(Constraint.CAPACITY, f"broker {broker.id}", message, low, high))
    return tuple(found)


def _relaxed(problem: Problem, limits: Limits, sizes: Sequence[int], solver: Solver) -> int | None:
    """Bytes that move at least, whole units of them rounded down; None: not even split replicas fit."""
    unit = max(1, -(-sum(slot.want * slot.size for slot in problem.slots) // FLOW_TOTAL))
    slack = len(problem.slots) if unit > 1 else 0
    whole = [size // unit for size in sizes]
    low = [max(0, lower // unit - slack) for lower in limits[0]]
    high = [upper // unit for upper in limits[1]]
    network = Network(problem, (low, high), amounts=whole)
    flow = solver.solve_flow(network.flow)
    return None if flow is None else network.moved(flow.amounts) * unit


def _fewest_replicas(problem: Problem, limits: Limits) -> int:
    """A broker that has too much gives at least so many of its largest, one that has too little gets so many."""
    held: list[list[int]] = [[] for _ in problem.brokers]
    for slot in problem.slots:
        for broker in slot.current:
            held[broker].append(slot.size)
    largest = max(slot.size for slot in problem.slots)
    give = get = 0
    for broker, sizes in enumerate(held):
        over = sum(sizes) - limits[1][broker]
        for size in sorted(sizes, reverse=True):
            if over <= 0:
                break
            over -= size
            give += 1
        get += max(0, -(-(limits[0][broker] - sum(sizes)) // largest))
    return max(give, get, sum(problem.fewest(slot) for slot in problem.slots))


def _crowded(problem: Problem, limits: Limits, tolerance: float) -> Shortage:
    groups = byte_groups(problem)
    left, full = unplaced(groups, dict(enumerate(limits[1])))
    if not left:
        fed, least = {at for cell, _, _ in groups for at in cell.brokers}, limits[0]
        short, needed = unfed(groups, {at: least[at] for at in sorted(fed)}), sum(least)
        short = max(1, short)  # whole units of bytes said no; whole bytes may miss it by less than one
        message = (
            f"bytes: to be within {tolerance:g} of their shares all brokers together have to hold {needed} bytes, "
            f"{short} more than they can be given: allow a larger tolerance"
        )
        return Shortage(Constraint.CAPACITY, "bytes", message, needed, needed - short)
    names, held = names_of(problem, full), sum(limits[1][at] for at in full)
    message = (
        f"bytes: {gib(left)} more than brokers {names} can hold within their capacities and {tolerance:g} of their "
        f"shares ({gib(held)} all together), even if replicas could be split: add disks, or allow a larger tolerance"
    )
    return Shortage(Constraint.CAPACITY, f"brokers {names}", message, held + left, held)


def _too_tight(placement: Placement, shares: Sequence[Fraction], tolerance: float) -> Shortage:
    """What the nearest placement that was found says: who is furthest from its share, or over its capacity."""
    problem = placement.problem
    if placement.over_capacity():
        return unfit(placement, proven=False)
    off = [
        (abs(load - share) / share, at)
        for at, (load, share) in enumerate(zip(placement.bytes, shares, strict=True))
        if share
    ]
    far, at = max(off)
    name = f"broker {problem.brokers[at].id}"
    message = (
        f"bytes: not every broker can be within {tolerance:g} of its share: in the nearest plan that was found {name} "
        f"has {placement.bytes[at]} bytes of {int(shares[at])}: allow a tolerance of {ceil(far * 1000) / 1000:g}, or "
        "split its largest partitions"
    )
    part = Fraction(repr(tolerance))
    needed, available = ceil(abs(placement.bytes[at] - shares[at])), floor(shares[at] * part)
    return Shortage(Constraint.CAPACITY, name, message, needed, available)
