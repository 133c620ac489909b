"""What every construction does in the end: its family as a value, and filling it up where there is still room."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from controlplane.domain.placement.values import Shard

FILLED = 60_000
"""Families are filled up one shard at a time where there are up to this many shards to try."""
LISTED = 400_000
"""A family of more shards than this is not listed only to see what could be made of it."""
NARROW = 256
"""Shards of up to so many parts are compared by these, wider ones with each other: a shard of 40 that may share 19 has
138 billion parts."""
NEVER = range(0)


@dataclass(frozen=True)
class Family:
    """`count` shards over places 0 .. n-1 by `shards()`, each ascending, the same ones in the same order each time.

    `level`: for these numbers M, the first M of them load every place of a zone (without zones: every place) alike
    within one. `name` says where they come from.
    """

    name: str
    count: int
    shards: Callable[[], Iterable[Shard]]
    level: range = NEVER


def always_level(count: int) -> range:
    return range(count + 1)


def listed(name: str, shards: Sequence[Shard], level: range = NEVER) -> Family:
    return Family(name, len(shards), lambda: shards, level)


def parts(shard: Shard, overlap: int) -> list[Shard]:
    """What no two shards may both have: its subsets of `overlap` + 1 places."""
    return list(combinations(shard, overlap + 1))


def narrow(size: int, overlap: int) -> bool:
    """Whether shards of this size have few enough parts to list them."""
    return math.comb(size, overlap + 1) <= NARROW


def mask(shard: Iterable[int]) -> int:
    """A bit for every place."""
    found = 0
    for place in shard:
        found |= 1 << place
    return found


class Apart:
    """Shards that are there, and whether one more of `size` would share at most `overlap` with each of them."""

    def __init__(self, shards: Iterable[Shard], size: int, overlap: int) -> None:
        self._size, self._overlap = size, overlap
        self._parts: set[Shard] = set()
        self._wide: list[int] = []
        for shard in shards:
            self.add(shard)

    def add(self, shard: Shard) -> None:
        if narrow(max(self._size, len(shard)), self._overlap):
            self._parts.update(parts(shard, self._overlap))
        else:
            self._wide.append(mask(shard))

    def allows(self, shard: Shard) -> bool:
        if self._parts and not self._parts.isdisjoint(combinations(shard, self._overlap + 1)):
            return False
        if not self._wide:
            return True
        mine = mask(shard)
        return all((mine & other).bit_count() <= self._overlap for other in self._wide)


def fill(shards: Iterable[Shard], candidates: Iterable[Shard], overlap: int) -> list[Shard]:
    """As they are, and every candidate after them that goes with all that are there by then."""
    found = list(shards)
    apart: Apart | None = None
    for candidate in candidates:
        if apart is None:
            apart = Apart(found, len(candidate), overlap)
        if apart.allows(candidate):
            apart.add(candidate)
            found.append(candidate)
    return found


def filled(family: Family, candidates: Iterable[Shard], overlap: int) -> Family:
    """The family filled up, if that makes it larger."""
    shards = fill(family.shards(), candidates, overlap)
    if len(shards) == family.count:
        return family
    mark = ", filled up"
    return listed(family.name.removesuffix(mark) + mark if family.count else family.name, shards)
