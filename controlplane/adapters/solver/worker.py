"""Planning as calls that a worker process can be given: plain values in, plain values out, all of them picklable."""

from __future__ import annotations

from controlplane.adapters.solver.exact import OrTools, is_installed
from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.propose import propose
from controlplane.domain.rebalance.values import Assignment, Broker, Goal, Infeasible
from controlplane.domain.tenants.directory import directory
from controlplane.domain.tenants.planner import plan_cell
from controlplane.domain.tenants.values import CellView, Outcome


def plan_rebalance(assignment: Assignment, brokers: tuple[Broker, ...], goal: Goal) -> Proposal | Infeasible:
    """`propose` with OR-tools where it is installed, else without: the gap says what that leaves open."""
    return propose(assignment, brokers, goal, OrTools() if is_installed() else None)


def plan_tenants(tenants: tuple[KafkaTenant, ...], view: CellView, now: float) -> dict[str, Outcome]:
    """`plan_cell`; a Directory would bring along all that has been looked up in it."""
    return plan_cell(directory(tenants), view, now)
