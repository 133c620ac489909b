"""Shards on brokers without zones: subsets of size k of n brokers, any two sharing at most t. The best family known
here.

Where a Steiner system or a packing of known best size is at hand it is taken; elsewhere what a smaller or larger one
leaves: points deleted from a larger system, transversal designs with smaller families inside their groups (Wilson
1972), and shards added one by one where there is room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate, combinations

from controlplane.domain.placement import geometry
from controlplane.domain.placement.bounds import most_shards
from controlplane.domain.placement.codes import largest_code
from controlplane.domain.placement.fields import prime_powers
from controlplane.domain.placement.growing import FILLED, LISTED, Family, always_level, filled, listed
from controlplane.domain.placement.orbits import TABLE
from controlplane.domain.placement.triples import most_triples
from controlplane.domain.placement.values import Shard, ZoneShape

DELETED = 3
"""Up to this many points are deleted from a larger system."""
NEAR = 50
"""Of fleets that are smaller by more brokers than this those are looked at that fall into groups alike."""


@lru_cache(maxsize=1024)
def largest_packing(brokers: int, size: int, overlap: int) -> Family:
    """The largest family there is here; `overlap` < `size`."""
    exact = _system(brokers, size, overlap)
    if exact is not None:
        return exact
    if math.comb(brokers, size) > FILLED:
        return _of_many(brokers, size, overlap)
    smaller = largest_packing(brokers - 1, size, overlap) if brokers > size else listed("one", [tuple(range(size))])
    every = list(combinations(range(brokers), size))
    starts = (smaller, *_others(brokers, size, overlap), listed("first fit", ()))
    return max((filled(family, every, overlap) for family in starts), key=_count)


def _of_many(brokers: int, size: int, overlap: int) -> Family:
    """Of so many that no family is filled up: on all of them, or on fewer while there could be more shards on these."""
    found = max(_others(brokers, size, overlap), key=_count)
    for fewer in range(brokers - 1, size, -1):
        if most_shards((ZoneShape(fewer, size, size),), size, overlap) <= found.count:
            break
        if math.comb(fewer, size) <= FILLED:
            return max(found, largest_packing(fewer, size, overlap), key=_count)
        if (system := _system(fewer, size, overlap)) is not None:
            return max(found, system, key=_count)
        if fewer >= brokers - NEAR or fewer % size in (0, 1):
            found = max((found, *_grouped(fewer, size, overlap, beyond=found.count)), key=_count)
    return found


def _count(family: Family) -> int:
    return family.count


def _system(brokers: int, size: int, overlap: int) -> Family | None:
    """A family that is known to be as large as can be."""
    if size > brokers:
        return Family("nothing fits", 0, lambda: ())
    if overlap == 0:
        count = brokers // size
        return Family(
            "disjoint",
            count,
            lambda: (tuple(range(at * size, at * size + size)) for at in range(count)),
            always_level(count),
        )
    if overlap == size - 1:
        return Family("all subsets", math.comb(brokers, size), lambda: combinations(range(brokers), size))
    if (orbits := TABLE.get((brokers, size, overlap))) is not None:
        return Family(f"orbits under a group of {'x'.join(map(str, orbits.moduli))}", orbits.count, orbits.shards)
    if (size, overlap) == (3, 1):
        name = "Steiner triple system" if brokers % 6 in (1, 3) else "triples of the largest packing"
        return Family(name, _triples(brokers), lambda: most_triples(brokers))
    if (size, overlap) == (4, 2):
        return _quadruples(brokers)
    if (derived := _derived(brokers, size, overlap)) is not None:
        return derived
    return _lines(brokers, size) if overlap == 1 else _circles(brokers, size) if overlap == 2 else None


def _triples(brokers: int) -> int:
    return brokers * ((brokers - 1) // 2) // 3 - (brokers % 6 == 5)


def _steiner(brokers: int, size: int, overlap: int) -> int:
    return math.comb(brokers, overlap + 1) // math.comb(size, overlap + 1)


def _lines(brokers: int, size: int) -> Family | None:
    """Affine lines (k a prime power), projective lines and unitals (k one more than a prime power)."""
    count = _steiner(brokers, size, 1)
    if len(prime_powers(size)) == 1 and (dimension := _dimension(size, brokers)):
        name = f"lines of AG({dimension},{size})"
        return Family(name, count, lambda: geometry.affine_lines(size, dimension), always_level(count))
    order = size - 1
    if len(prime_powers(order)) != 1:
        return None
    if dimension := _dimension(order, brokers * (order - 1) + 1):
        name = f"lines of PG({dimension - 1},{order})"
        return Family(name, count, lambda: geometry.projective_lines(order, dimension - 1))
    if brokers == order**3 + 1:
        return Family(f"Hermitian unital over GF({order}^2)", count, lambda: geometry.unital(order))
    return None


def _circles(brokers: int, size: int) -> Family | None:
    order = size - 1
    if len(prime_powers(order)) != 1 or not (dimension := _dimension(order, brokers - 1)):
        return None
    name = f"circles over GF({order}^{dimension})"
    return Family(name, _steiner(brokers, size, 2), lambda: geometry.circles(order, dimension))


def _quadruples(brokers: int) -> Family | None:
    """Steiner quadruple systems: planes over two elements, circles over three, doubled ones (Hanani 1960)."""
    count = _steiner(brokers, 4, 2)
    if dimension := _dimension(2, brokers):
        return Family(
            f"planes of AG({dimension},2)", count, lambda: geometry.planes_of_two(dimension), always_level(count)
        )
    if (round_ := _circles(brokers, 4)) is not None:
        return round_
    if brokers % 4 == 0 and brokers // 2 % 6 in (2, 4) and (half := _system(brokers // 2, 4, 2)) is not None:
        return Family(f"({half.name}) doubled", count, lambda: geometry.doubled(brokers // 2, list(half.shards())))
    return None


def _dimension(base: int, number: int) -> int:
    """The d >= 2 with base^d = number, else 0."""
    dimension = 2
    while base**dimension < number:
        dimension += 1
    return dimension if base > 1 and base**dimension == number else 0


def _derived(brokers: int, size: int, overlap: int) -> Family | None:
    """Witt's S(5, 8, 24) and S(5, 6, 12), and what is left of their blocks through one, two or three points."""
    taken = 4 - overlap
    if not 0 <= taken <= 3 or (brokers + taken, size + taken) not in ((24, 8), (12, 6)):
        return None
    blocks = geometry.golay_octads() if size + taken == 8 else list(TABLE[12, 6, 4].shards())
    gone = set(range(brokers, brokers + taken))
    shards = [tuple(point for point in block if point not in gone) for block in blocks if gone <= set(block)]
    return listed(f"blocks of S(5, {size + taken}, {brokers + taken})", shards)


def _others(brokers: int, size: int, overlap: int) -> Iterator[Family]:
    """What a larger family leaves, and groups."""
    for more in range(1, DELETED + 1):
        larger = _system(brokers + more, size, overlap)
        if larger is not None and larger.count <= LISTED:
            left = _without_points(list(larger.shards()), brokers + more, brokers)
            yield listed(f"{larger.name} less {more} of {brokers + more} brokers", left)
    yield from _grouped(brokers, size, overlap)


def _without_points(shards: list[Shard], brokers: int, wanted: int) -> list[Shard]:
    """Shards of a larger family that use none of the points which lose least, numbered anew."""
    left = list(range(brokers))
    while len(left) > wanted:
        degree = dict.fromkeys(left, 0)
        for shard in shards:
            for point in shard:
                degree[point] += 1
        lost = min(left, key=lambda point: (degree[point], -point))
        left.remove(lost)
        shards = [shard for shard in shards if lost not in shard]
    number = {point: at for at, point in enumerate(left)}
    return [tuple(number[point] for point in shard) for shard in shards]


def _grouped(brokers: int, size: int, overlap: int, *, beyond: int = 0) -> Iterator[Family]:
    """k groups with a code across them. With t = 1 a shard inside a group meets one across in one broker at most, so
    each group may have a family of its own; where one broker is left over, all of them may use it too. Nothing where
    there cannot be more than `beyond`."""
    small, rest = divmod(brokers, size)
    sizes = tuple(small + (at < rest) for at in range(size))
    if overlap > 1 and math.prod(sorted(sizes)[: overlap + 1]) <= beyond:
        return
    code = largest_code(sizes, overlap)[0]
    yield Family(f"{size} groups: {code.name}", code.count, code.shards)
    if overlap != 1:
        return
    layouts = [(sizes, ())] + ([((small,) * size, (brokers - 1,))] if rest == 1 else [])
    for groups, common in layouts:
        starts = accumulate(groups[:-1], initial=0)
        inner = [
            (largest_packing(count + len(common), size, 1), (*range(start, start + count), *common))
            for start, count in zip(starts, groups, strict=True)
        ]
        across = largest_code(groups, 1)[0]
        yield Family(
            f"{size} groups: {across.name}, and {inner[0][0].name} in each",
            across.count + sum(family.count for family, _ in inner),
            partial(_across_and_inside, across, inner),
        )


def _across_and_inside(across: Family, inner: Sequence[tuple[Family, Shard]]) -> Iterator[Shard]:
    yield from across.shards()
    for family, places in inner:
        for shard in family.shards():
            yield tuple(places[at] for at in shard)
