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
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations

from controlplane.domain.placement.values import Shard, ZoneShape

LARGEST = 10
"""Shards of up to this many brokers are measured: each has 2^size subsets."""
STEPS = 40_000_000
"""And so many of them that each is taken up in so many steps at most: one for each subset and broker."""


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
    covered, spared = Decimal(1), Decimal(1)
    with localcontext() as context:
        for brokers, taken in _fixed(zones, size):
            whole = math.comb(brokers, taken)
            # Terms cancel down to 1 / whole, the least that can come out: so long, and as long again with what is left.
            context.prec = 50 + taken + 2 * len(str(whole))
            missed = [Decimal(math.comb(brokers - j, taken)) / whole for j in range(taken + 1)]
            covered *= sum((-1) ** j * math.comb(taken, j) * missed[j] ** bad for j in range(taken + 1))
            spared *= missed[taken] ** bad
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
    shards of more than LARGEST brokers, and more than STEPS."""
    others = len(shards) - 1
    largest = max(map(len, shards), default=0)
    if bad > others or largest > LARGEST or len(shards) * largest << largest > STEPS:
        return None
    using = Counter(part for shard in shards for size in range(1, len(shard) + 1) for part in combinations(shard, size))
    hit: Counter[int] = Counter()
    spared: Counter[int] = Counter()
    for shard in shards:
        missing = _missing(shard, using, others)
        spared[missing[-1]] += 1
        for part, count in enumerate(missing):
            hit[count] += -1 if part.bit_count() % 2 else 1
    ways = chosen = math.comb(others, bad)
    touched, covered = ways * len(shards), 0
    for count in range(others, min(hit, default=others) - 1, -1):  # `chosen`: sets of `bad` out of so many
        touched -= spared[count] * chosen
        covered += hit[count] * chosen
        chosen = chosen * (count - bad) // count if count else 0
    return Blast(bad, touched / ways / len(shards), covered / ways / len(shards))


def _missing(shard: Shard, using: Counter[Shard], others: int) -> list[int]:
    """How many others use none of a part of this shard: by part, bit i for its i-th broker. Inclusion and exclusion,
    one broker after the other."""
    found = [others]
    for subset in range(1, 1 << len(shard)):
        part = tuple(broker for at, broker in enumerate(shard) if subset >> at & 1)
        found.append((using[part] - 1) * (-1 if len(part) % 2 else 1))
    for at in range(len(shard)):
        for subset in range(1 << len(shard)):
            if subset >> at & 1:
                found[subset] += found[subset ^ 1 << at]
    return found


def always_survived(size: int, worst: int) -> int | None:
    """How many bad tenants, whoever they are, leave a shard at least one broker; None for any number of them."""
    return (size - 1) // worst if worst else None
