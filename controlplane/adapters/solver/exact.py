"""OR-tools behind `domain.rebalance.solver`: SimpleMinCostFlow (cost scaling, Goldberg and Tarjan) and CP-SAT.

One thread, a fixed seed and work that is counted instead of timed, so that the same problem has the same answer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from math import floor, isfinite
from typing import Any

from controlplane.domain.rebalance.solver import Choice, ChoiceProblem, Flow, FlowProblem

INSTALL = "pip install 'kfleet[solver]'"
CHOICE_WORK = 20.0
"""CP-SAT's deterministic time, in its own unit: about so many seconds of one core."""


class SolverFailedError(Exception):
    """The solver did not answer as it promises: a bug here or there, never a property of the problem."""


def is_installed() -> bool:
    """Without importing it: that takes half a second and 100 MB."""
    return importlib.util.find_spec("ortools") is not None


class OrTools:
    """A `Solver`. Raises ImportError when a problem is given to it and OR-tools is not there."""

    def solve_flow(self, problem: FlowProblem) -> Flow | None:
        import numpy as np  # noqa: PLC0415 - it comes with OR-tools, and with it only
        from ortools.graph.python import min_cost_flow  # noqa: PLC0415 - half a second that only solving needs

        solver = min_cost_flow.SimpleMinCostFlow()
        arcs = solver.add_arcs_with_capacity_and_unit_cost(
            np.frombuffer(problem.tails, dtype=np.int64),
            np.frombuffer(problem.heads, dtype=np.int64),
            np.frombuffer(problem.capacities, dtype=np.int64),
            np.frombuffer(problem.costs, dtype=np.int64),
        )
        nodes = np.arange(len(problem.supplies), dtype=np.int64)
        solver.set_nodes_supplies(nodes, np.frombuffer(problem.supplies, dtype=np.int64))
        status = solver.solve()
        if status == solver.INFEASIBLE:
            return None
        if status != solver.OPTIMAL:
            raise SolverFailedError(f"SimpleMinCostFlow: status {status} for {len(problem.tails)} arcs")
        return Flow(_ints(solver.flows(arcs)), int(solver.optimal_cost()))

    def solve_choice(self, problem: ChoiceProblem) -> Choice:
        from ortools.sat.python import cp_model  # noqa: PLC0415 - as above

        model = cp_model.CpModel()
        variables = [model.new_bool_var("") for _ in problem.costs]
        for low, high, terms in problem.rows:
            total = cp_model.LinearExpr.weighted_sum([variables[at] for at, _ in terms], [by for _, by in terms])
            model.add_linear_constraint(total, low, high)
        for variable, hint in zip(variables, problem.hints, strict=True):
            model.add_hint(variable, hint)
        model.minimize(cp_model.LinearExpr.weighted_sum(variables, problem.costs))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 1
        solver.parameters.max_deterministic_time = CHOICE_WORK
        status = solver.solve(model)
        if status == cp_model.INFEASIBLE:
            return Choice(None, None)
        if status in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
            chosen = [solver.boolean_value(variable) for variable in variables]
            cost = sum(cost for cost, taken in zip(problem.costs, chosen, strict=True) if taken)
            return Choice(chosen, cost if status == cp_model.OPTIMAL else min(cost, _proven(solver)))
        if status != cp_model.UNKNOWN:
            raise SolverFailedError(f"CP-SAT: {solver.status_name(status)}")
        return Choice(None, _proven(solver))


def _proven(solver: Any) -> int:
    """CP-SAT's bound, a float, as an integer that is certainly no higher. Costs are not negative."""
    bound = float(solver.best_objective_bound)
    return max(0, floor(bound - abs(bound) * 1e-9)) if isfinite(bound) else 0


def _ints(values: Any) -> Sequence[int]:
    """Python's own integers, which is what a domain that knows no numpy counts with."""
    found: list[int] = values.tolist()
    return found
