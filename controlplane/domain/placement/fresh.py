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

SEARCH = "exact search"
SEARCHED = 2_500
"""Exact search is asked where there are up to this many shards to choose from."""
ONE_BY_ONE = "one by one, least loaded first"
PLACED = 3_000
"""Where no family is large enough, up to this many tenants are placed one by one to see whether they fit."""
LOOKS = 12_000_000
"""Fewer where shards are so wide and brokers so many that these would be looked at more often than that."""


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
    task = _Task(zones, rule.size, [fleet.by_id[broker].weight for broker in _order(fleet)], search)
    there = task.room(rule.max_overlap)
    if want > there.capacity and not allow_overlap:
        raise TooManyTenantsError(want, there.capacity, there.bound, rule)
    found: _Found | None = None
    first = 0 if fleet.even else rule.max_overlap  # weights need the choice that less overlap would take away
    for overlap in range(first, rule.size if allow_overlap else rule.max_overlap + 1):
        if overlap == rule.max_overlap:
            if want > there.capacity:
                continue
            found = task.fit(overlap, want, there.found)
        elif most_shards(zones, rule.size, overlap) >= want:
            found = task.fit(overlap, want)
        if found is not None and len(found.shards) >= want:
            break
    if found is None or len(found.shards) < want:
        found = task.repeat(want)
    ids = _order(fleet)
    shards = (tuple(sorted(ids[place] for place in shard)) for shard in found.shards)
    return Assignment(
        fleet,
        rule,
        dict(zip(tenants, shards, strict=False)),
        found.construction,
        there.capacity,
        there.bound,
        there.least_worst(want),
    )


def room(fleet: Fleet, rule: ShardRule, search: ShardSearch | None = None) -> Room:
    """What a fresh assignment of these brokers can reach, and nobody can exceed. Raises DoesNotFitError as `shape`
    does."""
    zones = shape(fleet, rule.size)
    return _Task(zones, rule.size, [fleet.by_id[broker].weight for broker in _order(fleet)], search).room(
        rule.max_overlap
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
class Room:
    """`capacity` shards can be placed here under the rule, whatever number is asked for, and nobody can place more than
    `bound`. `found`: the most that were found where no family is as large."""

    zones: tuple[ZoneShape, ...]
    rule: ShardRule
    capacity: int
    bound: int
    found: tuple[_Found, ...]

    def least_worst(self, tenants: int) -> int:
        """Proven: below it no placement of so many tenants can keep all pairs."""
        least = least_worst_overlap(self.zones, self.rule.size, tenants)
        return max(least, self.rule.max_overlap + 1) if tenants > self.bound else least


@dataclass(frozen=True)
class _Task:
    """Shards over places that share at most some overlap."""

    zones: tuple[ZoneShape, ...]
    size: int
    weights: Sequence[float]
    search: ShardSearch | None

    def room(self, overlap: int) -> Room:
        """The same for every number of tenants. Where no family is as large as the bound, as many are placed one by one
        as can be, and exact search is asked for the most: both of them in bounded effort."""
        bound = most_shards(self.zones, self.size, overlap)
        family = families(self.zones, self.size, overlap)[0]
        capacity = min(bound, family.count)
        found: list[_Found] = []
        if capacity < min(bound, self._placed):
            found.append(self._one_by_one(overlap, min(bound, self._placed)))
            capacity = max(capacity, len(found[0].shards))
        if capacity < bound and self.search is not None and count_shards(self.zones, self.size) <= SEARCHED:
            searched = self.search(list(every_shard(self.zones, self.size)), overlap, bound)
            bound = min(bound, searched.bound)
            found.append(_Found(searched.shards, SEARCH, overlap))
            capacity = max(capacity, len(searched.shards))
        return Room(self.zones, ShardRule(self.size, overlap), capacity, bound, tuple(found))

    def fit(self, overlap: int, want: int, known_to_fit: Sequence[_Found] = ()) -> _Found:
        """`want` shards, or as many as are found; as many as of those that are known to fit."""
        known = families(self.zones, self.size, overlap)
        if len(set(self.weights)) == 1:
            for family in known:
                if want in family.level:
                    return _Found(list(islice(family.shards(), want)), family.name, overlap)
        attempts: list[_Found] = []
        for found in self._attempts(known[0], overlap, want, known_to_fit):
            if len(found.shards) < want:
                attempts.append(found)
                continue
            leveller = Leveller(found.shards, self.zones, self.weights, overlap, self._spare(known[0], found.shards))
            attempts.append(_Found(leveller.run(), found.construction, overlap))
            if leveller.level:
                return attempts[-1]
        return max(attempts, key=lambda attempt: (len(attempt.shards), -unevenness(attempt.shards, self.weights)))

    def _attempts(self, family: Family, overlap: int, want: int, known: Sequence[_Found]) -> Iterable[_Found]:
        """Each is asked for only if those before it were too few or not level."""
        if family.count <= LISTED:
            yield _Found(choose(family.shards(), want, self.weights, self.zones), family.name, overlap)
        if want <= self._placed or family.count > LISTED:
            placed = next((one for one in known if one.construction == ONE_BY_ONE), None)
            if placed is None:
                placed = self._one_by_one(overlap, want)
            yield _Found(placed.shards[:want], placed.construction, overlap)
        if self.search is not None and count_shards(self.zones, self.size) <= SEARCHED:
            searched = self.search(list(every_shard(self.zones, self.size)), overlap, want)
            yield _Found(searched.shards, SEARCH, overlap)
        for one in known:
            yield _Found(choose(one.shards, want, self.weights, self.zones), one.construction, overlap)
        if LISTED < family.count >= want:
            yield _Found(list(islice(family.shards(), want)), family.name, overlap)

    @property
    def _placed(self) -> int:
        return max(1, min(PLACED, LOOKS // (self.size * len(self.weights))))

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
        return _Found([held.shard for held in occupancy.held.values()], ONE_BY_ONE, overlap)

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
