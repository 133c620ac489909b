"""Exact search for shards by CP-SAT: set packing over the candidates, every set of t+1 brokers in at most one of those
chosen.

One thread, a fixed seed and a limit in CP-SAT's own deterministic time: the same question has the same answer on every
machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ortools.sat.python import cp_model

from controlplane.domain.placement.values import Shard

EFFORT = 6.0
"""Deterministic seconds of one search; about as many real ones on an idle machine."""


class CpSatShardSearch:
    """`controlplane.domain.placement.values.ShardSearch`."""

    def __init__(self, effort: float = EFFORT) -> None:
        self._effort = effort

    def __call__(self, candidates: Sequence[Shard], max_overlap: int, want: int) -> tuple[Shard, ...]:
        model = cp_model.CpModel()
        chosen = [model.new_bool_var("") for _ in candidates]
        meeting: dict[Shard, list[cp_model.IntVar]] = {}
        using: dict[int, list[cp_model.IntVar]] = {}
        for variable, shard in zip(chosen, candidates, strict=True):
            for part in combinations(shard, max_overlap + 1):
                meeting.setdefault(part, []).append(variable)
            for broker in shard:
                using.setdefault(broker, []).append(variable)
        for variables in meeting.values():
            model.add_at_most_one(variables)
        count = sum(chosen)
        model.add(count <= want)
        most = model.new_int_var(0, want, "")
        for variables in using.values():
            model.add(sum(variables) <= most)
        # As many as wanted first; of equally many, those whose fullest broker carries least.
        model.maximize(count * (want + 1) - most)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 1
        solver.parameters.max_deterministic_time = self._effort
        if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return ()
        return tuple(shard for variable, shard in zip(chosen, candidates, strict=True) if solver.value(variable))
