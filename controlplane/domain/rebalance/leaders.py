"""Preferred leaders spread over brokers by weight, by a new order of replicas alone: no data moves. Pure.

A flow of its own: every partition's lead goes to one of its replicas, free to the one that leads now, else for 1. Each
broker's limits are its share rounded down and up. Which brokers can lead depends on where the replicas are, so these
limits may be out of reach: each unit outside of them costs more than all changes of order, and the further out the
more. So brokers come as near as they can, and of all ways to be there the one with the fewest new orders is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from controlplane.domain.rebalance.placement import Placement, mend
from controlplane.domain.rebalance.problem import Problem
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal
from controlplane.domain.rebalance.search import Limits, level, limits_of
from controlplane.domain.rebalance.solver import FlowProblem, Solver
from controlplane.domain.rebalance.values import Assignment, Broker


def plan_leaders(assignment: Assignment, brokers: Iterable[Broker], solver: Solver | None) -> Proposal:
    problem = Problem(brokers)
    for partition in sorted(assignment.partitions, key=lambda partition: partition.id):
        problem.choose(partition, 1, 1, problem.cell(frozenset(partition.replicas)))
    whole = sum(problem.weights)
    limits = limits_of([Fraction(len(problem.slots) * weight, whole) for weight in problem.weights])
    leaders = _exact(problem, limits, solver) if solver is not None else None
    if leaders is None:
        leaders = _searched(problem, limits)
    moves = []
    for slot, chosen in zip(problem.slots, leaders, strict=True):
        partition, leader = slot.partition, problem.brokers[chosen].id
        if leader != partition.replicas[0]:
            after = (leader, *(one for one in partition.replicas if one != leader))
            moves.append(PartitionMove(partition.topic, partition.partition, partition.replicas, after, partition.size))
    return Proposal(tuple(moves), 0)


def _searched(problem: Problem, limits: Limits) -> list[int]:
    """As `level` finds them: near to the limits, without a proof that it is the nearest."""
    leads = _leads_only(problem)
    placement = Placement(leads)
    mend(placement)
    level(placement, limits)
    return [places[0] for places in placement.where]


def _leads_only(problem: Problem) -> Problem:
    """The same with the lead as a partition's only replica: what it has now is where it leads."""
    found = Problem(problem.brokers)
    for slot in problem.slots:
        found.slots.append(replace(slot, current=slot.current[:1]))
    return found


def _exact(problem: Problem, limits: Limits, solver: Solver) -> list[int] | None:
    flow = FlowProblem()
    brokers = [flow.node() for _ in problem.brokers]
    sink = flow.node(-len(problem.slots))
    outside = 2 * (len(brokers) + 2)  # a cycle passes every broker once: what it gains in orders is less
    for node, low, high in zip(brokers, *limits, strict=True):
        _convex(flow, node, sink, (low, high, len(problem.slots)), outside)
    alike: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for at, slot in enumerate(problem.slots):
        alike[slot.current[0], slot.cell.brokers].append(at)
    arcs: list[tuple[list[int], list[tuple[int, int]]]] = []
    for (leader, able), members in alike.items():
        node = flow.node(len(members))
        arcs.append((members, [(flow.arc(node, brokers[b], len(members), int(b != leader)), b) for b in able]))
    answer = solver.solve_flow(flow)
    return None if answer is None else _read(problem, arcs, answer.amounts)


def _read(
    problem: Problem, arcs: Sequence[tuple[list[int], list[tuple[int, int]]]], amounts: Sequence[int]
) -> list[int]:
    leaders = [0] * len(problem.slots)
    for members, choices in arcs:
        left = iter(members)
        for arc, broker in choices:
            for _ in range(amounts[arc]):
                leaders[next(left)] = broker
    return leaders


def _convex(flow: FlowProblem, node: int, sink: int, amounts: tuple[int, int, int], outside: int) -> None:
    """Arcs that carry `low` to `high` for nothing; below they earn, above they cost, in steps that double."""
    low, high, most = amounts
    if high > low:
        flow.arc(node, sink, high - low)
    for sign, total in ((-1, low), (1, max(0, most - high))):
        step, width, left = 1, 1, total
        while left > 0:
            flow.arc(node, sink, min(width, left), sign * step * outside)
            left -= width
            step, width = step + 1, width * 2 if step > 1 else 1
