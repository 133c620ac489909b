"""Planning as one call that a worker process can be given: plain values in, plain values out, all of them picklable.

pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
answer = await loop.run_in_executor(pool, plan_rebalance, assignment, brokers, goal)
"""

from __future__ import annotations

from controlplane.adapters.solver.exact import OrTools, is_installed
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.propose import propose
from controlplane.domain.rebalance.values import Assignment, Broker, Goal, Infeasible


def plan_rebalance(assignment: Assignment, brokers: tuple[Broker, ...], goal: Goal) -> Proposal | Infeasible:
    """`propose` with OR-tools where it is installed, else without: the gap says what that leaves open."""
    return propose(assignment, brokers, goal, OrTools() if is_installed() else None)
