"""The values of placement: brokers in zones, the rule of a shard, and what may be wrong with them.

A *shard* is the brokers that one tenant may use. It takes its brokers from as many zones as it can and as evenly as it
can: with z zones and size k, each zone gives floor(k/z) or ceil(k/z) of them. A fleet without zones is one zone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

Shard = tuple[int, ...]
"""Broker ids, ascending."""


class PlacementError(ValueError):
    """What cannot be placed, in words for whoever asked."""


class BadInputError(PlacementError):
    """A number that means nothing: `field` is what to correct."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class DoesNotFitError(PlacementError):
    """A constraint that these brokers cannot meet: it takes `needed` of something and there are `available`."""

    def __init__(self, constraint: str, needed: int, available: int) -> None:
        super().__init__(constraint)
        self.needed, self.available = needed, available

    @property
    def missing(self) -> int:
        return self.needed - self.available


@dataclass(frozen=True, slots=True)
class Broker:
    """`weight` is its capacity relative to the others: it gets that share of the shards."""

    id: int
    zone: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Fleet:
    """The brokers of one cell. Raises BadInputError for none, an id twice, or a weight that is no positive number."""

    brokers: tuple[Broker, ...]

    def __post_init__(self) -> None:
        if not self.brokers:
            raise BadInputError("brokers", "there are none; a shard needs at least one")
        twice = [broker for broker, count in Counter(broker.id for broker in self.brokers).items() if count > 1]
        if twice:
            raise BadInputError("brokers", f"id {twice[0]} stands there twice; every broker has an id of its own")
        for broker in self.brokers:
            if not (broker.weight > 0 and math.isfinite(broker.weight)):
                problem = f"{broker.weight:g} is no weight; it is above 0 (leave a broker out that shall carry nothing)"
                raise BadInputError(f"weight of broker {broker.id}", problem)

    @cached_property
    def by_id(self) -> Mapping[int, Broker]:
        return {broker.id: broker for broker in self.brokers}

    @cached_property
    def zones(self) -> Mapping[str, tuple[int, ...]]:
        """Zone to its broker ids, ascending; zones by name."""
        found: dict[str, list[int]] = {zone: [] for zone in sorted({broker.zone for broker in self.brokers})}
        for broker in sorted(self.brokers, key=lambda broker: broker.id):
            found[broker.zone].append(broker.id)
        return {zone: tuple(ids) for zone, ids in found.items()}

    @cached_property
    def even(self) -> bool:
        """Whether all brokers weigh the same."""
        return len({broker.weight for broker in self.brokers}) == 1

    def without(self, broker: int) -> Fleet:
        return Fleet(tuple(other for other in self.brokers if other.id != broker))


def even_fleet(zones: int, brokers_per_zone: int) -> Fleet:
    """Brokers numbered from 0, zone after zone; zones are named a, b, ... z, zone27 and so on."""
    names = [chr(ord("a") + at) if at < 26 else f"zone{at + 1}" for at in range(zones)]
    ids = range(zones * brokers_per_zone)
    return Fleet(tuple(Broker(broker, names[broker // brokers_per_zone]) for broker in ids))


@dataclass(frozen=True, slots=True)
class ShardRule:
    """`size` brokers a tenant; any two tenants share at most `max_overlap` of them."""

    size: int
    max_overlap: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadInputError("shard size", f"{self.size} is less than one broker")
        if not 0 <= self.max_overlap < self.size:
            most = self.size - 1
            problem = f"{self.max_overlap} is not between 0 and {most}: a shard has {self.size} brokers, and "
            problem += "tenants that share all of them are not apart" if self.max_overlap > 0 else "none is the least"
            raise BadInputError("max overlap", problem)


@dataclass(frozen=True, slots=True)
class ZoneShape:
    """How many brokers a zone has, and how many of them a shard takes at least and at most."""

    brokers: int
    least: int
    most: int


def shape(fleet: Fleet, size: int) -> tuple[ZoneShape, ...]:
    """What a shard of `size` takes from each zone, in the order of `fleet.zones`.

    Raises DoesNotFitError when the fleet or a zone is too small for it.
    """
    zones = fleet.zones
    total = len(fleet.brokers)
    if size > total:
        words = f"a shard of {size} brokers needs {size - total} more than the {total} there are"
        raise DoesNotFitError(words, size, total)
    least, rest = divmod(size, len(zones))
    for zone, ids in zones.items():
        if len(ids) < least:
            words = (
                f"a shard of {size} takes at least {least} brokers from each of {len(zones)} zones, and zone "
                f"{zone or 'without a name'} has {len(ids)}: {least - len(ids)} too few"
            )
            raise DoesNotFitError(words, least, len(ids))
    roomy = sum(len(ids) > least for ids in zones.values())
    if roomy < rest:
        words = (
            f"a shard of {size} takes {least + 1} brokers from {rest} of {len(zones)} zones, and {roomy} have that "
            f"many: {rest - roomy} too few"
        )
        raise DoesNotFitError(words, rest, roomy)
    most = least + (1 if rest else 0)
    return tuple(ZoneShape(len(ids), least, min(most, len(ids))) for ids in zones.values())


def loads(fleet: Fleet, shards: Iterable[Shard]) -> dict[int, int]:
    """Broker id to the number of shards it is in, ascending."""
    found = dict.fromkeys(sorted(fleet.by_id), 0)
    for shard in shards:
        for broker in shard:
            found[broker] += 1
    return found


@dataclass(frozen=True, slots=True)
class Searched:
    """`bound`: more shards than this there cannot be, or were not asked for."""

    shards: tuple[Shard, ...]
    bound: int


class ShardSearch(Protocol):
    """Exact search for a family of shards: what a solver outside this package offers (adapters/solver)."""

    def __call__(self, candidates: Sequence[Shard], max_overlap: int, want: int) -> Searched:
        """As many of `candidates` as it finds, at most `want`, any two of which share at most `max_overlap`; and how
        many it proves there can be, at most `want`."""
        ...
