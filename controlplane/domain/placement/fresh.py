"""Shards for tenants that have none yet, on brokers that nobody uses: as far apart as can be, then as level as can be.

The least overlap at which a family large enough is known is taken, so that ten tenants on many brokers share nothing
at all even if they may share one broker; with weights, what the rule allows. Of the family as many shards are chosen as
there are tenants, with loads alike within one where the family comes in classes and otherwise where it can be had
(levelling.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice

from controlplane.domain.placement.bounds import least_worst_overlap, most_shards
from controlplane.domain.placement.families import count_shards, every_shard, families
from controlplane.domain.placement.growing import LISTED, Family
from controlplane.domain.placement.levelling import Leveller, choose, unevenness
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import (
    Broker,
    Fleet,
    PlacementError,
    Shard,
    ShardRule,
    ShardSearch,
    ZoneShape,
    shape,
)

SEARCHED = 2_500
"""Exact search is asked where there are up to this many shards to choose from."""
ONE_BY_ONE = 3_000
"""Where no family is large enough, up to this many tenants are placed one by one to see whether they fit."""


class TooManyTenantsError(PlacementError):
    """`fit` is the largest number that can be placed here, `bound` a number that nobody can exceed."""

    def __init__(self, tenants: int, fit: int, bound: int, rule: ShardRule) -> None:
        shards = f"shards of {rule.size} that share at most {rule.max_overlap}"
        most = "which is the most there can be" if fit == bound else f"and more than {bound} is proven impossible"
        if tenants > bound:
            words = f"{tenants} tenants do not fit: these brokers have room for {fit} {shards}, {most}"
        else:
            words = f"{tenants} tenants do not fit here: {fit} {shards} are the most that were found, {most}"
        super().__init__(f"{words}; fewer tenants, more brokers, or a larger overlap")
        self.tenants, self.fit, self.bound = tenants, fit, bound


@dataclass(frozen=True)
class Assignment:
    """`shards` by tenant. `capacity` shards can be placed here under the rule, and nobody can place more than `bound`.
    `least_worst` is proven: below it no placement of so many tenants can keep all pairs.
    """

    fleet: Fleet
    rule: ShardRule
    shards: Mapping[str, Shard]
    construction: str
    capacity: int
    bound: int
    least_worst: int

    @property
    def gap(self) -> int:
        """How many more shards there might be than can be placed here."""
        return self.bound - self.capacity


def assign(
    fleet: Fleet,
    rule: ShardRule,
    tenants: Sequence[str],
    *,
    allow_overlap: bool = False,
    search: ShardSearch | None = None,
) -> Assignment:
    """A shard for each, in their order; the same answer each time.

    Raises DoesNotFitError for a shard that the zones cannot give, and TooManyTenantsError unless `allow_overlap`: then
    the least worst overlap is taken that has room for all.
    """
    zones = shape(fleet, rule.size)
    want = len(tenants)
    bound = most_shards(zones, rule.size, rule.max_overlap)
    task = _Task(zones, rule.size, [fleet.by_id[broker].weight for broker in _order(fleet)], search)
    capacity = min(bound, families(zones, rule.size, rule.max_overlap)[0].count)
    if want > bound and not allow_overlap:
        raise TooManyTenantsError(want, capacity, bound, rule)
    found: _Found | None = None
    first = 0 if fleet.even else rule.max_overlap  # weights need the choice that less overlap would take away
    for overlap in range(first, rule.size if allow_overlap else rule.max_overlap + 1):
        if most_shards(zones, rule.size, overlap) < want:
            continue
        found = task.fit(overlap, want)
        if overlap == rule.max_overlap:
            capacity = max(capacity, len(found.shards))
        if len(found.shards) >= want:
            break
    if found is None or len(found.shards) < want:
        if not allow_overlap:
            raise TooManyTenantsError(want, capacity, bound, rule)
        found = task.repeat(want)
    ids = _order(fleet)
    shards = (tuple(sorted(ids[place] for place in shard)) for shard in found.shards)
    return Assignment(
        fleet,
        rule,
        dict(zip(tenants, shards, strict=False)),
        found.construction,
        max(capacity, want if found.overlap <= rule.max_overlap else 0),
        bound,
        least_worst_overlap(zones, rule.size, want),
    )


def _order(fleet: Fleet) -> list[int]:
    """Broker ids by place: zone after zone."""
    return list(chain.from_iterable(fleet.zones.values()))


@dataclass(frozen=True)
class _Found:
    shards: Sequence[Shard]
    construction: str
    overlap: int


@dataclass(frozen=True)
class _Task:
    """Shards over places that share at most some overlap."""

    zones: tuple[ZoneShape, ...]
    size: int
    weights: Sequence[float]
    search: ShardSearch | None

    def fit(self, overlap: int, want: int) -> _Found:
        """`want` shards, or as many as are found."""
        known = families(self.zones, self.size, overlap)
        if len(set(self.weights)) == 1:
            for family in known:
                if want in family.level:
                    return _Found(list(islice(family.shards(), want)), family.name, overlap)
        attempts: list[_Found] = []
        for found in self._attempts(known[0], overlap, want):
            if len(found.shards) < want:
                attempts.append(found)
                continue
            leveller = Leveller(found.shards, self.zones, self.weights, overlap, self._spare(known[0], found.shards))
            attempts.append(_Found(leveller.run(), found.construction, overlap))
            if leveller.level:
                return attempts[-1]
        return max(attempts, key=lambda attempt: (len(attempt.shards), -unevenness(attempt.shards, self.weights)))

    def _attempts(self, family: Family, overlap: int, want: int) -> Iterable[_Found]:
        """Each is asked for only if those before it were too few or not level."""
        if family.count <= LISTED:
            yield _Found(choose(family.shards(), want, self.weights, self.zones), family.name, overlap)
        if want <= ONE_BY_ONE or family.count > LISTED:
            yield self._one_by_one(overlap, want)
        if self.search is not None and count_shards(self.zones, self.size) <= SEARCHED:
            yield _Found(self.search(list(every_shard(self.zones, self.size)), overlap, want), "exact search", overlap)

    def _one_by_one(self, overlap: int, want: int) -> _Found:
        """Brokers that carry least first, until one tenant cannot be placed."""
        names = [str(at) for at, zone in enumerate(self.zones) for _ in range(zone.brokers)]
        brokers = tuple(
            Broker(place, name.zfill(4), weight)
            for place, (name, weight) in enumerate(zip(names, self.weights, strict=True))
        )
        occupancy, rule = Occupancy(Fleet(brokers)), ShardRule(self.size, overlap)
        for tenant in range(want):
            shard = occupancy.search(rule)
            if shard is None:
                break
            occupancy.add(Held(str(tenant), shard, rule))
        return _Found([held.shard for held in occupancy.held.values()], "one by one, least loaded first", overlap)

    def _spare(self, family: Family, used: Sequence[Shard]) -> list[Shard]:
        if family.count > SEARCHED:
            return []
        taken = set(used)
        return [shard for shard in family.shards() if shard not in taken]

    def repeat(self, want: int) -> _Found:
        """More tenants than there are shards: some share all."""
        every = choose(
            every_shard(self.zones, self.size), count_shards(self.zones, self.size), self.weights, self.zones
        )
        again = list(islice(cycle(every), want))
        leveller = Leveller(again, self.zones, self.weights, self.size)
        return _Found(leveller.run(), "all shards there are, more than once", self.size)
