"""From a goal to a proposal: the one entry point. Pure; the same input has the same answer, in whatever order it comes.

Takes from milliseconds to minutes: in the operator it runs in a worker process (`adapters.solver.worker`).
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.solver import FlowSolver
from controlplane.domain.rebalance.values import Assignment, Broker, Goal, Infeasible


def propose(
    assignment: Assignment, brokers: Iterable[Broker], goal: Goal, solver: FlowSolver | None
) -> Proposal | Infeasible:
    """Never raises for what the input says: input that makes no sense is Infeasible too, with all that is wrong.

    Without a solver the moves are found by augmenting search; `Proposal.gap` says what is not proven.
    """
    raise NotImplementedError
