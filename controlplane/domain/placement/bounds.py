"""How many shards there can be at most: proven, whatever anybody constructs.

Two arguments, each taken at every level of the recursion.

Through a point (Johnson 1962 for subsets; with one broker a zone it is Singleton's bound 1964): the shards through one
broker, that broker taken out, are shards of size k-1 on the other brokers which overlap in at most t-1. If there can
be M' of them, a zone of n brokers that gives at least c to each shard has room for floor(n M' / c) shards, and the
whole fleet for floor(sum of M' over its brokers / k).

By pairs (Plotkin 1960, Johnson's second bound): M shards put kM broker places on n brokers. The pairs of shards that
meet at a broker of load l are l(l-1)/2; spread as evenly as can be, that sum may not exceed t M(M-1)/2. Once an M
breaks this, so does every larger one, since any M of its shards would be a counterexample.

For subsets without zones that share at most one broker the answer is known: Johnson's bound, one less for triples when
n is 5 modulo 6 (Schoenheim 1966), one less for quadruples when n is 7 or 10 modulo 12, and six small exceptions
(Brouwer 1979).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from controlplane.domain.placement.values import ZoneShape

_QUADRUPLES = {8: 2, 9: 3, 10: 5, 11: 6, 17: 20, 19: 25}
STATES = 20_000
"""Levels of the recursion are remembered up to this many; zones of very many different sizes would make more."""


def most_shards(zones: Sequence[ZoneShape], size: int, overlap: int) -> int:
    """No family of shards has more; sizes and zones as in `values.shape`, any two sharing at most `overlap`."""
    if overlap >= size:
        raise ValueError(f"shards of {size} overlap in {overlap}: they need not differ, and there is no bound")
    if _states(zones, overlap) > STATES:
        zones = (ZoneShape(sum(zone.brokers for zone in zones), size, size),)
    return _most(tuple(sorted(zones, key=_key)), size, overlap)


def least_worst_overlap(zones: Sequence[ZoneShape], size: int, tenants: int) -> int:
    """Below which no placement of so many tenants can keep every pair; `size` when two must share everything."""
    return next((t for t in range(size) if most_shards(zones, size, t) >= tenants), size)


def _states(zones: Sequence[ZoneShape], overlap: int) -> int:
    """How many ways there are to take up to `overlap` brokers out of zones, like zones in any order: as many levels
    the recursion has at most."""
    ways = [1, *[0] * overlap]
    for alike in Counter(zones).values():
        for size in range(1, min(alike, overlap) + 1):
            for taken in range(size, overlap + 1):
                ways[taken] += ways[taken - size]
    return sum(ways)


def _key(zone: ZoneShape) -> tuple[int, int, int]:
    return zone.brokers, zone.least, zone.most


@lru_cache(maxsize=STATES * 2)
def _most(zones: tuple[ZoneShape, ...], size: int, overlap: int) -> int:
    if overlap < 0:
        return 1
    through = {zone: _through(zones, zone, size, overlap) for zone in set(zones)}
    bound = sum(zone.brokers * through[zone] for zone in zones) // size
    for zone in zones:
        if zone.least:
            bound = min(bound, zone.brokers * through[zone] // zone.least)
    bound = min(bound, _by_pairs(zones, size, overlap, bound))
    return min(bound, _known(zones[0].brokers, size)) if len(zones) == 1 and overlap == 1 and size in (3, 4) else bound


def _known(brokers: int, size: int) -> int:
    """Exactly how many triples or quadruples of `brokers` there can be that share at most one."""
    johnson = brokers * ((brokers - 1) // (size - 1)) // size
    if size == 3:
        return johnson - (brokers % 6 == 5)
    return _QUADRUPLES.get(brokers, johnson - (brokers % 12 in (7, 10)))


def _through(zones: tuple[ZoneShape, ...], zone: ZoneShape, size: int, overlap: int) -> int:
    """How many shards can meet in one broker of `zone`."""
    if not zone.most:
        return 0
    rest = list(zones)
    rest.remove(zone)
    if zone.brokers > 1 and zone.most > 1:
        rest.append(ZoneShape(zone.brokers - 1, max(zone.least - 1, 0), min(zone.most - 1, zone.brokers - 1)))
    if sum(other.most for other in rest) < size - 1:
        return 0
    return _most(tuple(sorted(rest, key=_key)), size - 1, overlap - 1)


def _by_pairs(zones: tuple[ZoneShape, ...], size: int, overlap: int, bound: int) -> int:
    """The largest M up to `bound` that does not break the count of pairs; it is looked for only where it can bite."""
    fixed = all(zone.least == zone.most for zone in zones)
    groups = Counter((zone.brokers, zone.least) for zone in zones if zone.most) if fixed else Counter()
    if not fixed:
        groups[sum(zone.brokers for zone in zones), size] = 1
    dense = sum(count * taken**2 / brokers for (brokers, taken), count in groups.items())
    if dense <= overlap:
        return bound
    largest = min(bound, math.ceil((size - overlap) / (dense - overlap)) + sum(b for b, _ in groups) + 1)
    for shards in range(2, largest + 1):
        pairs = 0
        for (brokers, taken), count in groups.items():
            load, rest = divmod(taken * shards, brokers)
            pairs += count * (brokers * math.comb(load, 2) + rest * load)
        if pairs > overlap * math.comb(shards, 2):
            return shards - 1
    return bound
