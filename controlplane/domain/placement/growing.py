"""What every construction does in the end: its family as a value, and filling it up where there is still room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from controlplane.domain.placement.values import Shard

FILLED = 60_000
"""Families are filled up one shard at a time where there are up to this many shards to try."""
LISTED = 400_000
"""A family of more shards than this is not listed only to see what could be made of it."""
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


def fill(shards: Iterable[Shard], candidates: Iterable[Shard], overlap: int) -> list[Shard]:
    """As they are, and every candidate after them that goes with all that are there by then."""
    found = list(shards)
    taken = set(chain.from_iterable(parts(shard, overlap) for shard in found))
    for candidate in candidates:
        its = parts(candidate, overlap)
        if taken.isdisjoint(its):
            taken.update(its)
            found.append(candidate)
    return found


def filled(family: Family, candidates: Iterable[Shard], overlap: int) -> Family:
    """The family filled up, if that makes it larger."""
    shards = fill(family.shards(), candidates, overlap)
    if len(shards) == family.count:
        return family
    mark = ", filled up"
    return listed(family.name.removesuffix(mark) + mark if family.count else family.name, shards)
