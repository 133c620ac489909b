"""From a goal to a proposal: the one entry point. Pure; the same input has the same answer, in whatever order it comes.

Takes from milliseconds to minutes: in the operator it runs in a worker process (`adapters.solver.worker`).
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.domain.rebalance.bytes_balance import plan_bytes
from controlplane.domain.rebalance.goals import Asked, problems_of
from controlplane.domain.rebalance.leaders import plan_leaders
from controlplane.domain.rebalance.order import led
from controlplane.domain.rebalance.plans import plan_balance, plan_fewest
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.solver import Solver
from controlplane.domain.rebalance.values import (
    Assignment,
    Balance,
    BalanceBytes,
    Broker,
    Goal,
    Infeasible,
    Leaders,
    MoveTo,
)


def propose(
    assignment: Assignment, brokers: Iterable[Broker], goal: Goal, solver: Solver | None
) -> Proposal | Infeasible:
    """Never raises for what the input says: input that makes no sense is Infeasible too, with all that is wrong.

    Without a solver the moves are found by augmenting search; `Proposal.gap` says what is not proven.
    """
    brokers = tuple(brokers)
    if wrong := problems_of(assignment, brokers, goal):
        return Infeasible(wrong)
    if isinstance(goal, Leaders):
        return plan_leaders(assignment, brokers, solver)
    asked = Asked(assignment, brokers, goal)
    problem = asked.problem()
    if isinstance(problem, Infeasible):
        return problem
    if isinstance(goal, Balance):
        planned = plan_balance(problem, solver)
    elif isinstance(goal, BalanceBytes):
        planned = plan_bytes(problem, goal.tolerance, solver)
    else:
        planned = plan_fewest(problem, lambda: asked.problem(everything=True), solver)
    if isinstance(planned, Infeasible):
        return planned
    placement = planned.placement
    changed = {
        slot.partition.id: [placement.problem.brokers[at].id for at in places]
        for slot, places in zip(placement.problem.slots, placement.where, strict=True)
        if set(slot.partition.replicas) != {placement.problem.brokers[at].id for at in places}
    }
    moves = led(asked.partitions, changed, asked.brokers, keep_leaders=not isinstance(goal, MoveTo))
    return Proposal(tuple(moves), planned.bound, planned.bytes_bound)
