"""What shards have in common, counted exactly, for as many tenants as there are.

The number of pairs of shards that share some j brokers, summed over all sets of j brokers, is S_j = sum over pairs of
C(overlap, j). From S_0, S_1, ... follows how many pairs share exactly i (binomial inversion). So 100,000 shards of
three take seven look-ups each and not five billion comparisons. Where the subsets are more than the pairs, or more than
memory should hold, as those of wide shards are, pairs are compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, islice

from controlplane.domain.placement.growing import mask
from controlplane.domain.placement.values import Shard

SUBSETS = 30_000_000
"""Subsets of one size are counted up to so many."""


def overlap_histogram(shards: Sequence[Shard]) -> dict[int, int]:
    """Brokers shared to the number of pairs of shards that share so many, from 0 to the most there is. Empty for one
    shard."""
    if len(shards) < 2:
        return {}
    whole = math.comb(len(shards), 2)
    moments = [whole]
    for size in range(1, max(map(len, shards)) + 1):
        if subsets(shards, size) > min(whole, SUBSETS):
            return _by_pairs(shards)
        seen = Counter(part for shard in shards for part in combinations(shard, size))
        pairs = sum(math.comb(count, 2) for count in seen.values() if count > 1)
        if not pairs:
            break
        moments.append(pairs)
    most = len(moments) - 1
    return {
        shared: sum((-1) ** (j - shared) * math.comb(j, shared) * moments[j] for j in range(shared, most + 1))
        for shared in range(most + 1)
    }


def subsets(shards: Sequence[Shard], size: int) -> int:
    """How many sets of so many brokers these shards have, each counted in every shard that has it."""
    return sum(count * math.comb(brokers, size) for brokers, count in Counter(map(len, shards)).items())


def _by_pairs(shards: Sequence[Shard]) -> dict[int, int]:
    masks = [mask(shard) for shard in shards]
    found: Counter[int] = Counter()
    for at, mine in enumerate(masks):
        found.update(map(int.bit_count, map(mine.__and__, islice(masks, at + 1, None))))
    return {shared: found[shared] for shared in range(max(found) + 1)}


def share_more(shards: Sequence[Shard], overlap: int) -> bool:
    """Whether any two share more than `overlap` brokers; all their subsets of one more are looked at."""
    seen: set[Shard] = set()
    for shard in shards:
        for part in combinations(shard, overlap + 1):
            if part in seen:
                return True
            seen.add(part)
    return False


def worst_overlap(shards: Sequence[Shard]) -> int:
    """The most brokers that any two shards share; 0 for one shard."""
    return max(overlap_histogram(shards), default=0)


def mean_overlap(histogram: dict[int, int]) -> float:
    """Brokers that two different tenants share on average: what one is to expect."""
    pairs = sum(histogram.values())
    return sum(shared * count for shared, count in histogram.items()) / pairs if pairs else 0.0
