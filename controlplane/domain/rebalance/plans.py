"""How replica goals are planned: all brokers balanced, or only what must move moved. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controlplane.domain.rebalance.capacity import Planned, fit
from controlplane.domain.rebalance.network import Network
from controlplane.domain.rebalance.placement import Placement, even_out, mend
from controlplane.domain.rebalance.problem import Problem
from controlplane.domain.rebalance.search import Limits, level, limits_of, moves_bound
from controlplane.domain.rebalance.shares import fair_shares, replica_groups
from controlplane.domain.rebalance.solver import Solver
from controlplane.domain.rebalance.values import Constraint, Infeasible, Shortage

EXACT_ARCS = 3_000_000
"""Networks up to this size are solved exactly: in about a minute and 1 GB."""
WIDE_ARCS = 300_000
"""Where pools would be a relaxation, arcs to every broker are drawn instead up to this, beyond only if pools fail."""


def plan_fewest(
    narrow: Problem, widen: Callable[[], Problem | Infeasible], solver: Solver | None
) -> Planned | Infeasible:
    """Each partition that the goal speaks of with its own fewest moves; others move only if that makes room needed.

    `widen`: the same goal with everything free to move.
    """
    bound = sum(narrow.fewest(slot) for slot in narrow.slots)
    placement = Placement(narrow)
    mend(placement)
    even_out(placement)
    found = fit(placement, None, None, bound)
    if isinstance(found, Planned) and found.placement.moved() == bound:
        return found
    wide = widen()
    if isinstance(wide, Infeasible):
        return found if isinstance(found, Planned) else wide
    placement = Placement(wide)
    mend(placement)
    wider = fit(placement, None, solver, bound)
    if isinstance(found, Infeasible):
        return wider
    if isinstance(wider, Infeasible):
        return found
    return replace(min(found, wider, key=lambda one: one.placement.moved()), bound=max(found.bound, wider.bound))


def plan_balance(problem: Problem, solver: Solver | None) -> Planned | Infeasible:
    """Every broker's replicas within one of its share."""
    limits = limits_of(fair_shares(replica_groups(problem), problem.weights))
    bound, places = moves_bound(problem, limits), None
    if solver is not None:
        bound, places = _exact(problem, limits, solver, bound)
    if places is not None:
        placement = Placement.at(problem, places)
    else:
        placement = Placement(problem)
        mend(placement)
        if not level(placement, limits):
            return Infeasible((_LOST,), proven=False)
    return fit(placement, limits, solver, bound)


def _exact(problem: Problem, limits: Limits, solver: Solver, bound: int) -> tuple[int, list[list[int]] | None]:
    """A bound that is at least as good, and the brokers of every slot where the optimum was found."""
    wide = Network.size(problem, pooled=False)
    for pooled in (False,) if wide <= WIDE_ARCS else (True, False):
        if Network.size(problem, pooled=pooled) > EXACT_ARCS:
            continue
        network = Network(problem, limits, pooled=pooled)
        flow = solver.solve_flow(network.flow)
        if flow is None:  # the limits are rounded shares: they can always be met
            continue
        bound = max(bound, network.moved(flow.amounts))
        places = network.read(flow.amounts)
        if places is not None:
            return bound, places
    return bound, None


_LOST = Shortage(
    Constraint.REPLICAS,
    "balance",
    "balance: the search found no plan, though there is one: plan with the exact solver (pip install 'kfleet[solver]')",
)
