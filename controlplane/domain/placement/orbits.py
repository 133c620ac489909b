"""Families of shards written as a few of them and a group that turns them into all: found by search under that group,
verified by tests.

Points are `copies` of a group, one after the other, and then `fixed` ones. The group (the direct product of Z_m for m
of `moduli`, numbered with the last digit counting ones) is added in every copy; `multiplier`, if not 1, multiplies
every copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.domain.placement.values import Shard


@dataclass(frozen=True)
class Orbits:
    """`blocks`, one of each orbit; all orbits together have `count` shards."""

    moduli: tuple[int, ...]
    count: int
    blocks: tuple[Shard, ...]
    copies: int = 1
    fixed: int = 0
    multiplier: int = 1

    @property
    def points(self) -> int:
        return math.prod(self.moduli) * self.copies + self.fixed

    def shards(self) -> Iterator[Shard]:
        """Each once, orbit after orbit."""
        for block in self.blocks:
            seen: set[Shard] = set()
            factor = 1
            while True:
                for shift in range(math.prod(self.moduli)):
                    image = tuple(sorted(self._moved(point, factor, shift) for point in block))
                    if image not in seen:
                        seen.add(image)
                        yield image
                factor = factor * self.multiplier % max(self.moduli)
                if factor == 1:
                    break

    def _moved(self, point: int, factor: int, shift: int) -> int:
        order = math.prod(self.moduli)
        copy, element = divmod(point, order)
        if copy >= self.copies:
            return point
        moved, unit = 0, 1
        for modulus in reversed(self.moduli):
            moved += (element * factor + shift) % modulus * unit
            element, shift, unit = element // modulus, shift // modulus, unit * modulus
        return copy * order + moved


TABLE: dict[tuple[int, int, int], Orbits] = {
    (25, 4, 1): Orbits((5, 5), 50, ((0, 1, 7, 21), (0, 2, 14, 17))),
    (14, 4, 1): Orbits((14,), 14, ((0, 1, 9, 11),)),
    (21, 4, 1): Orbits(
        (4,),
        31,
        (
            (0, 1, 4, 16), (0, 2, 12, 14), (0, 5, 8, 11), (0, 6, 15, 17), (0, 10, 18, 20), (4, 5, 6, 7),
            (4, 8, 12, 17), (4, 9, 14, 15), (8, 15, 18, 19),
        ),
        copies=5,
        fixed=1,
    ),
    (26, 4, 1): Orbits((13,), 52, ((0, 1, 10, 23), (0, 2, 8, 14), (0, 16, 18, 24), (0, 17, 20, 21)), copies=2),
    (49, 4, 1): Orbits((49,), 196, ((0, 1, 20, 32), (0, 2, 42, 45)), multiplier=18),
    (52, 4, 1): Orbits(
        (17,),
        221,
        (
            (0, 1, 20, 32), (0, 2, 23, 30), (0, 3, 39, 49), (0, 4, 26, 29), (0, 5, 42, 48), (0, 6, 44, 47),
            (0, 7, 35, 40), (0, 8, 18, 24), (0, 17, 34, 51), (17, 18, 39, 47), (17, 19, 43, 44), (17, 21, 35, 37),
            (17, 25, 36, 40),
        ),
        copies=3,
        fixed=1,
        multiplier=16,
    ),
    (61, 4, 1): Orbits((61,), 305, ((0, 1, 15, 49), (0, 2, 30, 37), (0, 3, 44, 53)), multiplier=13),
    (41, 5, 1): Orbits((41,), 82, ((0, 1, 17, 23, 27), (0, 2, 9, 30, 38)), multiplier=10),
    (12, 6, 4): Orbits(
        (11,),
        132,
        ((0, 1, 2, 3, 4, 9), (0, 1, 2, 3, 5, 11), (0, 1, 2, 4, 5, 7), (0, 1, 2, 6, 9, 11)),
        fixed=1,
        multiplier=3,
    ),
    (11, 4, 2): Orbits(
        (3,),
        35,
        (
            (0, 1, 2, 10), (0, 1, 4, 8), (0, 1, 5, 9), (0, 1, 6, 7), (0, 3, 5, 10), (0, 3, 8, 9), (0, 4, 5, 6),
            (0, 4, 7, 10), (0, 5, 7, 8), (0, 6, 9, 10), (3, 4, 5, 9), (3, 6, 7, 9), (3, 7, 8, 10),
        ),
        copies=3,
        fixed=2,
    ),
    (12, 4, 2): Orbits(
        (6,),
        51,
        (
            (0, 1, 2, 9), (0, 1, 3, 4), (0, 1, 6, 7), (0, 1, 10, 11), (0, 2, 6, 8), (0, 2, 7, 10), (0, 3, 6, 9),
            (0, 3, 7, 11), (0, 7, 8, 9), (6, 7, 9, 10),
        ),
        copies=2,
    ),
    (34, 4, 2): Orbits(
        (11,),
        1496,
        (
            (0, 1, 2, 31), (0, 1, 3, 19), (0, 1, 5, 12), (0, 1, 13, 33), (0, 1, 15, 32), (0, 1, 16, 23), (0, 1, 17, 22),
            (0, 1, 18, 25), (0, 1, 26, 27), (0, 1, 28, 29), (0, 11, 12, 13), (0, 11, 22, 33), (0, 11, 23, 28),
            (0, 12, 14, 23), (0, 12, 16, 17), (0, 12, 18, 29), (0, 12, 19, 28), (0, 12, 27, 32), (0, 13, 17, 31),
            (0, 13, 18, 23), (0, 13, 28, 32), (0, 22, 23, 29), (0, 23, 30, 33), (11, 12, 16, 26), (11, 12, 28, 33),
            (11, 12, 29, 30), (11, 22, 23, 30), (11, 23, 25, 32),
        ),
        copies=3,
        fixed=1,
        multiplier=3,
    ),
    (38, 4, 2): Orbits(
        (37,),
        2109,
        (
            (0, 1, 2, 13), (0, 1, 3, 9), (0, 1, 4, 24), (0, 1, 5, 29), (0, 1, 6, 33), (0, 1, 7, 31), (0, 1, 8, 15),
            (0, 1, 10, 26), (0, 1, 11, 37), (0, 1, 14, 35), (0, 1, 16, 17), (0, 1, 20, 32), (0, 1, 23, 25),
            (0, 1, 27, 34), (0, 2, 4, 32), (0, 2, 5, 21), (0, 2, 9, 23), (0, 2, 17, 31), (0, 2, 19, 24), (0, 2, 22, 37),
            (0, 2, 25, 34), (0, 3, 7, 37), (0, 3, 12, 33), (0, 5, 13, 19), (0, 5, 24, 37), (0, 6, 14, 37),
            (0, 9, 21, 37),
        ),
        fixed=1,
        multiplier=10,
    ),
    (37, 4, 1): Orbits((37,), 111, ((0, 1, 21, 24),), multiplier=26),
    (14, 4, 2): Orbits(
        (7,),
        91,
        (
            (0, 1, 2, 4), (0, 1, 5, 9), (0, 1, 7, 8), (0, 1, 10, 11), (0, 1, 12, 13), (0, 8, 9, 11), (7, 8, 9, 12),
        ),
        copies=2,
        multiplier=2,
    ),
    (22, 4, 2): Orbits(
        (7,),
        385,
        (
            (0, 1, 2, 5), (0, 1, 3, 13), (0, 1, 7, 10), (0, 1, 8, 18), (0, 1, 9, 20), (0, 1, 11, 21), (0, 1, 12, 16),
            (0, 1, 14, 19), (0, 1, 15, 17), (0, 7, 8, 15), (0, 7, 14, 21), (0, 8, 9, 11), (0, 8, 12, 20),
            (0, 8, 13, 14), (0, 10, 12, 15), (0, 10, 17, 20), (0, 15, 16, 18), (0, 15, 20, 21), (7, 8, 9, 12),
            (7, 8, 14, 16), (7, 8, 19, 21), (7, 15, 16, 17), (7, 17, 19, 20),
        ),
        copies=3,
        fixed=1,
        multiplier=2,
    ),
    (26, 4, 2): Orbits(
        (13,),
        650,
        (
            (0, 1, 2, 24), (0, 1, 3, 9), (0, 1, 4, 6), (0, 1, 5, 11), (0, 1, 7, 19), (0, 1, 8, 10), (0, 1, 13, 18),
            (0, 1, 14, 17), (0, 1, 15, 22), (0, 1, 16, 20), (0, 1, 21, 25), (0, 2, 13, 21), (0, 2, 14, 15),
            (0, 2, 16, 22), (0, 2, 18, 25), (0, 2, 20, 23), (0, 14, 18, 23), (0, 15, 20, 25), (13, 14, 16, 22),
            (13, 14, 17, 19), (13, 14, 18, 24), (13, 14, 21, 23),
        ),
        copies=2,
        multiplier=3,
    ),
    (17, 4, 1): Orbits((5,), 20, ((0, 1, 6, 8), (0, 2, 11, 12), (0, 9, 13, 16), (5, 6, 11, 13)), copies=3, fixed=2),
    (18, 4, 1): Orbits(
        (2,),
        22,
        (
            (0, 1, 16, 17), (0, 2, 7, 9), (0, 3, 11, 15), (0, 4, 13, 14), (0, 5, 8, 10), (2, 3, 4, 5), (2, 6, 12, 17),
            (2, 8, 11, 13), (4, 6, 15, 16), (4, 7, 8, 12), (6, 7, 10, 11), (8, 9, 14, 15), (10, 13, 15, 17),
        ),
        copies=9,
    ),
    (19, 4, 1): Orbits(
        (3,),
        25,
        (
            (0, 1, 10, 16), (0, 3, 6, 12), (0, 4, 5, 11), (0, 7, 8, 17), (3, 7, 14, 15), (3, 8, 11, 18),
            (6, 10, 11, 14), (9, 14, 16, 17), (12, 13, 14, 18),
        ),
        copies=6,
        fixed=1,
    ),
    (20, 4, 1): Orbits(
        (5,),
        30,
        ((0, 1, 9, 15), (0, 2, 13, 14), (0, 5, 7, 17), (0, 10, 16, 18), (5, 6, 11, 13), (5, 14, 18, 19)),
        copies=4,
    ),
}  # fmt: skip
"""(brokers, shard size, most that two share) to as many shards as there can be."""
