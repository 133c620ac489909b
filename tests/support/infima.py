"""The baseline of placement: Infima's StatefulSearchingShuffleSharder (AWS, 2013), re-derived from what its
documentation says.

A shard is searched for by recursion over the cells (zones), in random order: some endpoints of a cell, in random
order, and whatever the rest of the search returns for the other cells. A choice is passed over if it holds a
*fragment*, t+1 endpoints together, that an earlier shard has used. What the rest returns may be less than a whole
shard: where every endpoint of a cell is used up, the search returns nothing for that cell and the shard is issued
without it. Only an empty shard is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from random import Random

Cells = Sequence[Sequence[int]]


class Infima:
    """Shards one after the other; each takes `per_cell` of each cell and shares at most `overlap` with those before
    it."""

    def __init__(self, cells: Cells, per_cell: int, overlap: int, seed: int) -> None:
        self.cells, self.per_cell, self.overlap = cells, per_cell, overlap
        self.rng = Random(seed)
        self.used: set[tuple[int, ...]] = set()

    def next(self) -> tuple[int, ...]:
        """The next shard, whole or not; empty when there is none."""
        shard = self._search(list(self.cells))
        self.used.update(combinations(sorted(shard), self.overlap + 1))
        return tuple(sorted(shard))

    def _search(self, cells: list[Sequence[int]]) -> list[int]:
        order = list(range(len(cells)))
        self.rng.shuffle(order)
        for at in order:
            others = [cell for number, cell in enumerate(cells) if number != at]
            endpoints = list(cells[at])
            self.rng.shuffle(endpoints)
            for chosen in combinations(endpoints, self.per_cell):
                if self._collides(chosen):
                    continue
                shard = [*chosen, *self._search(others)]
                if not self._collides(shard):
                    return shard
        return []

    def _collides(self, endpoints: Sequence[int]) -> bool:
        return any(fragment in self.used for fragment in combinations(sorted(endpoints), self.overlap + 1))


def run_until_empty(infima: Infima, size: int, most: int) -> tuple[int, int]:
    """(whole shards before the first that is not, undersized shards issued) until none is left or `most` are there."""
    whole, undersized = 0, 0
    for _ in range(most):
        shard = infima.next()
        if not shard:
            break
        if len(shard) < size:
            undersized += 1
        elif not undersized:
            whole += 1
    return whole, undersized
