"""Shards from geometries over finite fields: Steiner systems S(t+1, k, n), in which every t+1 brokers are in exactly
one shard, so that no more shards can be. Each function gives the shards over 0 .. n-1, ascending.

Sources: Bose 1939 (affine and projective lines), Witt 1938 (circles, S(5,8,24)), Bose 1958 (unitals), Hanani 1960
(doubling of quadruple systems); all of them stand in Colbourn, Dinitz, "Handbook of Combinatorial Designs".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

from controlplane.domain.placement.fields import Field, field, points
from controlplane.domain.placement.triples import one_factors
from controlplane.domain.placement.values import Shard


def affine_lines(order: int, dimension: int) -> Iterator[Shard]:
    """Lines of AG(dimension, order): n = order^dimension, k = order, t = 1; one class of parallel lines after the
    other."""
    over = field(order)
    for direction in points(order, dimension - 1):
        seen = bytearray(order**dimension)
        for start in product(range(order), repeat=dimension):
            if seen[_number(start, order)]:
                continue
            line = sorted(
                _number([over.add[a][over.multiply[step][b]] for a, b in zip(start, direction, strict=True)], order)
                for step in range(order)
            )
            for point in line:
                seen[point] = 1
            yield tuple(line)


def projective_lines(order: int, dimension: int) -> Iterator[Shard]:
    """Lines of PG(dimension, order): n = 1 + order + ... + order^dimension, k = order + 1, t = 1."""
    over = field(order)
    numbers = {point: at for at, point in enumerate(points(order, dimension))}
    seen: set[Shard] = set()
    for one, other in combinations(numbers, 2):
        line = tuple(sorted(numbers[point] for point in _span(over, one, other)))
        if line not in seen:
            seen.add(line)
            yield line


def _span(over: Field, one: Sequence[int], other: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The points of the line through two points."""
    yield tuple(one)
    for times in range(over.order):
        vector = [over.add[over.multiply[times][a]][b] for a, b in zip(one, other, strict=True)]
        first = next(entry for entry in vector if entry)
        inverse = over.multiply[first].index(1)
        yield tuple(over.multiply[inverse][entry] for entry in vector)


def unital(order: int) -> Iterator[Shard]:
    """Points of a Hermitian curve, and lines that meet it in more than one: n = order^3 + 1, k = order + 1, t = 1."""
    over = field(order * order)
    curve = [point for point in points(order * order, 2) if not _sum(over, [over.power(x, order + 1) for x in point])]
    numbers = {point: at for at, point in enumerate(curve)}
    seen: set[Shard] = set()
    for one, other in combinations(curve, 2):
        line = tuple(sorted(numbers[point] for point in _span(over, one, other) if point in numbers))
        if line not in seen:
            seen.add(line)
            yield line


def planes_of_two(dimension: int) -> Iterator[Shard]:
    """Planes of AG(dimension, 2), four numbers whose exclusive or is 0: n = 2^dimension, k = 4, t = 2; in classes."""
    size = 1 << dimension
    directions = {frozenset((a, b, a ^ b)) for a, b in combinations(range(1, size), 2)}
    for direction in sorted(sorted(three) for three in directions):
        seen = bytearray(size)
        for start in range(size):
            if not seen[start]:
                plane = sorted((start, *(start ^ step for step in direction)))
                for point in plane:
                    seen[point] = 1
                yield tuple(plane)


def circles(order: int, dimension: int) -> Iterator[Shard]:
    """Images of the line over GF(order) in the line over GF(order^dimension): n = order^dimension + 1, k = order + 1,
    t = 2.

    Element x is number x, infinity the last number.
    """
    over = field(order**dimension)
    infinite = over.order
    small = [x for x in range(over.order) if over.power(x, order) == x]
    negative = [row.index(0) for row in over.add]
    seen: set[Shard] = set()
    for triple in combinations(range(infinite + 1), 3):
        circle = tuple(sorted(_image(over, negative, infinite, triple, x) for x in [*small, infinite]))
        if circle not in seen:
            seen.add(circle)
            yield circle


def _image(over: Field, negative: Sequence[int], infinite: int, images: tuple[int, int, int], x: int) -> int:
    """Where x goes under the map of the projective line that takes 0, 1, infinity to `images`."""
    zero, one, far = images
    if x == infinite:
        return far
    times, add = over.multiply, over.add

    def minus(a: int, b: int) -> int:
        return add[a][negative[b]]

    if far == infinite:
        return add[zero][times[x][minus(one, zero)]]
    # x -> (far (one - zero) x + zero (far - one)) / ((one - zero) x + (far - one)); only `far` can be infinite
    top = add[times[times[far][minus(one, zero)]][x]][times[zero][minus(far, one)]]
    bottom = add[times[minus(one, zero)][x]][minus(far, one)]
    return infinite if not bottom else times[top][times[bottom].index(1)]


def doubled(elements: int, quadruples: Sequence[Shard]) -> list[Shard]:
    """Quadruples that share at most two, on twice as many elements (an even number): both copies, and pairs of one
    copy with pairs of the other whose classes have the same number. A quadruple system becomes one."""
    found = [*quadruples, *(tuple(at + elements for at in block) for block in quadruples)]
    for pairs in one_factors(elements):
        found += [(a, b, c + elements, d + elements) for (a, b), (c, d) in product(pairs, pairs)]
    return found


def golay_octads() -> list[Shard]:
    """The 759 words of weight 8 of the extended binary Golay code, S(5, 8, 24): n = 24, k = 8, t = 4.

    The code: the quadratic residues modulo 23, shifted, and a parity bit.
    """
    residues = {x * x % 23 for x in range(1, 23)}
    parity = 1 << 23
    rows = []
    for shift in range(12):
        row = sum(1 << (shift + x) % 23 for x in residues)
        rows.append(row | (parity if row.bit_count() % 2 else 0))
    words = [0]
    for row in rows:
        words += [word ^ row for word in words]
    octads = {word for word in words if word.bit_count() == 8}
    return sorted(tuple(at for at in range(24) if word >> at & 1) for word in octads)


def _number(vector: Sequence[int], base: int) -> int:
    found = 0
    for coordinate in vector:
        found = found * base + coordinate
    return found


def _sum(over: Field, elements: Sequence[int]) -> int:
    found = 0
    for element in elements:
        found = over.add[found][element]
    return found
