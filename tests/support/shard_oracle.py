"""What shards must be, by definition: every pair compared, nothing shared with the code that makes them.

Also the largest family there can be, by trying everything: for very small fleets only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations


def faults(
    shards: Iterable[Sequence[int]],
    *,
    size: int,
    overlap: int,
    brokers: Iterable[int],
    zone_of: Mapping[int, str] | None = None,
) -> list[str]:
    """What is wrong with them; empty when nothing is."""
    sets = [frozenset(shard) for shard in shards]
    known = frozenset(brokers)
    found = [f"shard {at} has {len(shard)} brokers, not {size}" for at, shard in enumerate(sets) if len(shard) != size]
    found += [f"shard {at} uses {sorted(shard - known)}" for at, shard in enumerate(sets) if not shard <= known]
    for (one, first), (other, second) in combinations(enumerate(sets), 2):
        if len(first & second) > overlap:
            found.append(f"shards {one} and {other} share {sorted(first & second)}")
    if zone_of is not None:
        zones = sorted({zone_of[broker] for broker in known})
        for at, shard in enumerate(sets):
            given = [sum(zone_of.get(broker) == zone for broker in shard) for zone in zones]
            if max(given) - min(given) > 1:
                found.append(f"shard {at} takes {given} from zones {zones}")
    return found


def spread(shards: Iterable[Sequence[int]], brokers: Iterable[int]) -> int:
    """Load of the fullest of these brokers less that of the emptiest."""
    load = dict.fromkeys(brokers, 0)
    for shard in shards:
        for broker in shard:
            if broker in load:
                load[broker] += 1
    return max(load.values()) - min(load.values())


def most(candidates: Sequence[Sequence[int]], overlap: int) -> int:
    """The largest number of candidates any two of which share at most `overlap`: a largest clique, by branching."""
    sets = [frozenset(candidate) for candidate in candidates]
    goes_with = [
        sum(1 << other for other, second in enumerate(sets) if other != at and len(first & second) <= overlap)
        for at, first in enumerate(sets)
    ]

    def largest(left: int, least: int) -> int:
        """The largest clique inside `left`, or anything smaller if there is none above `least`."""
        best = 0
        while left:
            if left.bit_count() <= max(least, best):
                return best
            at = (left & -left).bit_length() - 1
            left ^= 1 << at
            best = max(best, 1 + largest(left & goes_with[at], max(least, best) - 1))
        return best

    return largest((1 << len(sets)) - 1, 0)
