"""The blast radius: what m misbehaving tenants take from one that behaves, if a tenant can harm all brokers of its
shard.

For shards drawn at random the closed formulas, of which each zone is a factor of its own:
- two shards of k out of n share i brokers with probability C(k,i) C(n-k,k-i) / C(n,k) (hypergeometric);
- m random shards cover all k brokers of one with probability sum_j (-1)^j C(k,j) [C(n-j,k) / C(n,k)]^m (inclusion and
  exclusion over the brokers that are missed); the table of Kubernetes' API Priority and Fairness (KEP-1040) is made of
  these.

For given shards the same question is answered exactly: over all sets of m other tenants, by the same inclusion and
exclusion, from how many tenants use each subset of a shard.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from controlplane.domain.placement.values import Shard, ZoneShape

LARGEST = 10
"""Shards of up to this many brokers are measured: each has 2^size subsets."""
SUBSETS = 10_000_000
"""So many subsets of all shards together at most: they are held in memory."""


@dataclass(frozen=True, slots=True)
class Blast:
    """Probabilities for a tenant that behaves when `bad` others, any of them alike, do not: some of its brokers is
    hit, and all of them are."""

    bad: int
    touched: float
    covered: float


def random_overlap(zones: Sequence[ZoneShape], size: int) -> tuple[float, ...]:
    """P(i) for i = 0 .. size: how many brokers two random shards share. Raises ValueError where zones give no fixed
    number."""
    whole = [Fraction(1)]
    for brokers, taken in _fixed(zones, size):
        here = [
            Fraction(math.comb(taken, i) * math.comb(brokers - taken, taken - i), math.comb(brokers, taken))
            for i in range(taken + 1)
        ]
        whole = [
            sum((whole[total - i] * here[i] for i in range(len(here)) if 0 <= total - i < len(whole)), Fraction(0))
            for total in range(len(whole) + taken)
        ]
    return tuple(map(float, whole))


def random_blast(zones: Sequence[ZoneShape], size: int, bad: int) -> Blast:
    """For random shards. Raises ValueError where zones give no fixed number of brokers."""
    covered, spared = Fraction(1), Fraction(1)  # the terms of the sum cancel to the last digits of a float
    for brokers, taken in _fixed(zones, size):
        whole = math.comb(brokers, taken)
        ways = sum((-1) ** j * math.comb(taken, j) * math.comb(brokers - j, taken) ** bad for j in range(taken + 1))
        covered *= Fraction(ways, whole**bad)
        spared *= Fraction(math.comb(brokers - taken, taken) ** bad, whole**bad)
    return Blast(bad, float(1 - spared), float(covered))


def _fixed(zones: Sequence[ZoneShape], size: int) -> list[tuple[int, int]]:
    """(brokers, brokers taken) of each zone. Zones of one broker each are one zone."""
    if all(zone.brokers == 1 for zone in zones):
        return [(len(zones), size)]
    if any(zone.least != zone.most for zone in zones):
        raise ValueError(
            f"a shard of {size} takes more from some of {len(zones)} zones than from others: no closed formula"
        )
    return [(zone.brokers, zone.least) for zone in zones]


def measured_blast(shards: Sequence[Shard], bad: int) -> Blast | None:
    """For these shards, the mean over all tenants and all sets of `bad` others. None for fewer than `bad` others,
    shards of more than LARGEST brokers, and more than SUBSETS subsets."""
    others = len(shards) - 1
    largest = max(map(len, shards), default=0)
    if bad > others or largest > LARGEST or len(shards) << largest > SUBSETS:
        return None
    using = Counter(part for shard in shards for size in range(1, len(shard) + 1) for part in combinations(shard, size))
    ways = math.comb(others, bad)
    touched = covered = 0
    for shard in shards:
        within = {part: using[part] - 1 for size in range(1, len(shard) + 1) for part in combinations(shard, size)}
        missing = {part: _missing(part, within, others) for part in within}
        touched += ways - math.comb(missing[shard], bad)
        covered += ways + sum((-1) ** len(part) * math.comb(count, bad) for part, count in missing.items())
    return Blast(bad, touched / ways / len(shards), covered / ways / len(shards))


def _missing(part: Shard, within: dict[Shard, int], others: int) -> int:
    """How many others use none of these brokers."""
    found = others
    for size in range(1, len(part) + 1):
        for some in combinations(part, size):
            found += within[some] if size % 2 == 0 else -within[some]
    return found


def always_survived(size: int, worst: int) -> int | None:
    """How many bad tenants, whoever they are, leave a shard at least one broker; None for any number of them."""
    return (size - 1) // worst if worst else None
