"""Exact search for shards by CP-SAT: set packing over the candidates, every set of t+1 brokers in at most one of those
chosen.

One thread, a fixed seed and a limit in CP-SAT's own deterministic time: the same question has the same answer on every
machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from ortools.sat.python import cp_model

from controlplane.domain.placement.values import Searched, Shard

EFFORT = 6.0
"""Deterministic seconds of one search; about as many real ones on an idle machine."""
PARTS = 500_000
"""Sets of brokers in a model at most: a larger one is not made."""


class CpSatShardSearch:
    """`controlplane.domain.placement.values.ShardSearch`."""

    def __init__(self, effort: float = EFFORT) -> None:
        self._effort = effort

    def __call__(self, candidates: Sequence[Shard], max_overlap: int, want: int) -> Searched:
        packed, overlap = _packed(candidates, max_overlap)
        size = len(packed[0]) if packed else 0
        if overlap < 0 or not packed:  # any two of them share too many
            alone = tuple(candidates[: min(want, 1)])
            return Searched(alone, len(alone))
        if len(packed) * math.comb(size, overlap + 1) > PARTS:
            return Searched((), want)
        model = cp_model.CpModel()
        chosen = [model.new_bool_var("") for _ in candidates]
        meeting: dict[Shard, list[cp_model.IntVar]] = {}
        using: dict[int, list[cp_model.IntVar]] = {}
        for variable, shard, mine in zip(chosen, candidates, packed, strict=True):
            for part in combinations(mine, overlap + 1):
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
            return Searched((), want)
        shards = tuple(shard for variable, shard in zip(chosen, candidates, strict=True) if solver.value(variable))
        # count * (want + 1) - most is at most the bound, and most at most `want`.
        proven = (math.floor(solver.best_objective_bound + 1e-6) + want) // (want + 1)
        return Searched(shards, max(len(shards), min(want, proven)))


def _packed(candidates: Sequence[Shard], max_overlap: int) -> tuple[Sequence[Shard], int]:
    """Sets that meet in at most so many elements where the candidates do in `max_overlap`: these, or what they leave
    out of all brokers if that is less. Two of k out of n that share i leave out n - 2k + i in common."""
    size = len(candidates[0]) if candidates else 0
    brokers = {broker for shard in candidates for broker in shard}
    if len(brokers) >= 2 * size:
        return candidates, max_overlap
    left = [tuple(sorted(brokers.difference(shard))) for shard in candidates]
    return left, len(brokers) - 2 * size + max_overlap
