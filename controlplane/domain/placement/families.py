"""The largest family known here for any shape of zones and shard: which construction fits which shape.

Places are numbered zone after zone. One zone, or zones of one broker each: `packings`. As many brokers from every
zone: each zone is cut into as many parts as it gives brokers, and `codes` take one from each part. Fewer brokers than
zones: a packing says which zones, a code which of their brokers (Wilson's fundamental construction, 1972). Any other
shape: zones that give one more are the same ones for all shards. All of them are filled up where there are few enough
shards to try.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate, chain, combinations, islice, zip_longest

from controlplane.domain.placement.codes import largest_code
from controlplane.domain.placement.growing import FILLED, NEVER, Family, filled, listed
from controlplane.domain.placement.packings import largest_packing
from controlplane.domain.placement.values import Shard, ZoneShape


@lru_cache(maxsize=1024)
def families(zones: tuple[ZoneShape, ...], size: int, overlap: int) -> tuple[Family, ...]:
    """The largest family, `overlap` < `size`; several of the same size where each is level for other numbers of
    shards."""
    if len(zones) == 1 or all(zone.brokers == 1 for zone in zones):
        return (largest_packing(sum(zone.brokers for zone in zones), size, overlap),)
    if overlap == size - 1:
        count = count_shards(zones, size)
        return (Family("all combinations", count, lambda: every_shard(zones, size)),)
    if all(zone.least == zone.most == 1 for zone in zones):
        return largest_code(tuple(zone.brokers for zone in zones), overlap)
    found = _by_blocks(zones, size, overlap) if zones[0].least == 0 else _by_parts(zones, overlap, size)
    if count_shards(zones, size) <= FILLED:
        every = list(every_shard(zones, size))
        found = max((filled(start, every, overlap) for start in (found, listed("first fit", ()))), key=_count)
    return (found,)


def _count(family: Family) -> int:
    return family.count


def count_shards(zones: Sequence[ZoneShape], size: int) -> int:
    """How many different shards there are."""
    ways = [1, *[0] * size]
    for zone in zones:
        ways = [
            sum(
                ways[total - taken] * math.comb(zone.brokers, taken)
                for taken in range(zone.least, zone.most + 1)
                if taken <= total
            )
            for total in range(size + 1)
        ]
    return ways[size]


def every_shard(zones: Sequence[ZoneShape], size: int) -> Iterator[Shard]:
    """All of them, each once."""
    starts = _starts([zone.brokers for zone in zones])
    left_most = [*accumulate((zone.most for zone in reversed(zones)), initial=0)][::-1]
    left_least = [*accumulate((zone.least for zone in reversed(zones)), initial=0)][::-1]

    def extend(at: int, left: int) -> Iterator[Shard]:
        if not left:
            yield ()
            return
        owing = next((zone for zone in range(at, len(zones)) if zones[zone].least), len(zones) - 1)
        for first in range(owing, at - 1, -1):  # the next zone that gives any: this goes no deeper than a shard is wide
            low = max(1, zones[first].least, left - left_most[first + 1])
            high = min(zones[first].most, left - left_least[first + 1])
            for taken in range(low, high + 1):
                for mine in combinations(range(starts[first], starts[first] + zones[first].brokers), taken):
                    for rest in extend(first + 1, left - taken):
                        yield mine + rest

    return extend(0, size)


def _starts(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(accumulate(sizes[:-1], initial=0))


def _by_parts(zones: Sequence[ZoneShape], overlap: int, size: int) -> Family:
    """Every zone cut into as many parts as it gives brokers; the largest zones give what is owed beyond the least.

    Parts stand one after the other as zones do, so that places of the code are places of the fleet.
    """
    given = [zone.least for zone in zones]
    for at in sorted(range(len(zones)), key=lambda at: (-zones[at].brokers, at)):
        if sum(given) < size and zones[at].most > given[at]:
            given[at] += 1
    sizes: list[int] = []
    for zone, taken in zip(zones, given, strict=True):
        small, larger = divmod(zone.brokers, taken)
        sizes += [small + (part < larger) for part in range(taken)]
    code = largest_code(tuple(sizes), overlap)[0]
    even = len(set(sizes)) == 1 and len(set(given)) == 1
    return Family(code.name, code.count, code.shards, code.level if even else NEVER)


def _by_blocks(zones: Sequence[ZoneShape], size: int, overlap: int) -> Family:
    """A family of sets of zones, any two sharing at most t of them, and a code in each set."""
    sizes = [zone.brokers for zone in zones]
    starts = _starts(sizes)
    blocks = largest_packing(len(zones), size, overlap)
    inner: list[tuple[Family, Callable[[Shard], Shard]]] = []
    for block in blocks.shards():
        chosen = tuple(sizes[zone] for zone in block)
        code = largest_code(chosen, overlap)[0]
        moves = [starts[zone] - first for zone, first in zip(block, _starts(chosen), strict=True)]
        inner.append((code, partial(_moved, moves)))

    def shards() -> Iterator[Shard]:
        """One class of every block in turn, so that zones fill up together."""
        turns = [_chunks(map(move, code.shards()), min(sizes)) for code, move in inner]
        for round_ in zip_longest(*turns, fillvalue=()):
            yield from chain.from_iterable(round_)

    count = sum(code.count for code, _ in inner)
    name = f"{blocks.name} of zones, with {inner[0][0].name} in each" if inner else "nothing fits"
    return Family(name, count, shards)


def _moved(moves: Sequence[int], shard: Shard) -> Shard:
    return tuple(place + by for place, by in zip(shard, moves, strict=True))


def _chunks(shards: Iterator[Shard], size: int) -> Iterator[list[Shard]]:
    while chunk := list(islice(shards, size)):
        yield chunk
