"""Exact search: it reaches what constructions miss, and gives the same answer each time."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
from support.shard_oracle import faults, most, spread

from controlplane.adapters.solver.shard_search import CpSatShardSearch
from controlplane.domain.placement.bounds import most_shards
from controlplane.domain.placement.families import every_shard, families
from controlplane.domain.placement.fresh import TooManyTenantsError, assign, room
from controlplane.domain.placement.values import Broker, Fleet, ShardRule, even_fleet, shape

SEARCH = CpSatShardSearch(effort=2.0)


@pytest.mark.parametrize(
    ("zones", "per_zone", "size", "overlap"), [(3, 2, 4, 2), (1, 7, 3, 1), (3, 3, 3, 1), (2, 3, 4, 2), (1, 6, 4, 2)]
)
def test_it_finds_the_most_there_are(zones: int, per_zone: int, size: int, overlap: int) -> None:
    fleet = even_fleet(zones, per_zone)
    candidates = list(every_shard(shape(fleet, size), size))
    searched = SEARCH(candidates, overlap, len(candidates))
    found = searched.shards
    assert len(found) == searched.bound == most(candidates, overlap)
    assert set(found) <= set(candidates)
    assert faults(found, size=size, overlap=overlap, brokers=fleet.by_id) == []
    assert SEARCH(candidates, overlap, len(candidates)) == searched


def test_as_many_as_wanted_and_level() -> None:
    fleet = even_fleet(4, 3)
    found = SEARCH(list(every_shard(shape(fleet, 4), 4)), 1, 6).shards
    assert len(found) == 6
    assert spread(found, fleet.by_id) == 0, "six of the nine words would not be: these are others"


def test_where_constructions_end_it_is_asked() -> None:
    fleet, rule = even_fleet(3, 2), ShardRule(4, 2)
    assert families(shape(fleet, 4), 4, 2)[0].count == 2
    with pytest.raises(TooManyTenantsError) as without:
        assign(fleet, rule, ["a", "b", "c"])
    assert (without.value.fit, without.value.bound) == (2, 3)
    found = assign(fleet, rule, ["a", "b", "c"], search=SEARCH)
    assert found.construction == "exact search"
    assert (found.capacity, found.bound) == (3, 3)
    assert faults(found.shards.values(), size=4, overlap=2, brokers=fleet.by_id) == []


@pytest.mark.parametrize(
    ("sizes", "size", "overlap", "optimum"),
    [((4, 3), 3, 1, 6), ((3, 2, 2), 4, 2, 5), ((8,), 5, 3, 8), ((3, 3, 2), 4, 2, 9)],
)
def test_an_optimum_that_is_proven_has_no_gap(sizes: tuple[int, ...], size: int, overlap: int, optimum: int) -> None:
    """The arguments of `bounds` leave one; trying everything proves it away."""
    fleet, rule = zoned(sizes), ShardRule(size, overlap)
    kinds = shape(fleet, size)
    assert most(list(every_shard(kinds, size)), overlap) == optimum < most_shards(kinds, size, overlap)
    there = room(fleet, rule, SEARCH)
    assert (there.capacity, there.bound) == (optimum, optimum)
    assert there.least_worst(optimum + 1) == overlap + 1


@pytest.mark.parametrize(
    ("sizes", "size", "overlap", "fits"),
    [((2, 2, 2, 2), 3, 1, 8), ((5, 5), 4, 2, 20), ((2, 2, 2), 4, 2, 3), ((4, 3, 3), 5, 2, 6)],
)
def test_the_number_that_fits_is_the_same_whatever_number_is_asked(
    sizes: tuple[int, ...], size: int, overlap: int, fits: int
) -> None:
    """Though the family for these zones is smaller."""
    fleet, rule = zoned(sizes), ShardRule(size, overlap)
    assert families(shape(fleet, size), size, overlap)[0].count < fits
    for tenants in (1, fits - 1, fits):
        found = assign(fleet, rule, [str(at) for at in range(tenants)], search=SEARCH)
        assert (len(found.shards), found.capacity, found.bound) == (tenants, fits, fits)
        assert faults(found.shards.values(), size=size, overlap=overlap, brokers=fleet.by_id) == []
    for tenants in (fits + 1, 10 * fits):
        with pytest.raises(TooManyTenantsError) as refused:
            assign(fleet, rule, [str(at) for at in range(tenants)], search=SEARCH)
        assert (refused.value.fit, refused.value.bound) == (fits, fits)


def test_a_search_that_finds_too_few_says_how_many() -> None:
    """One broker in each of five zones of two: words of five bits that differ in three places, of which there are
    four."""
    fleet = even_fleet(5, 2)
    assert most(list(every_shard(shape(fleet, 5), 5)), 2) == 4
    with pytest.raises(TooManyTenantsError) as refused:
        assign(fleet, ShardRule(5, 2), [str(at) for at in range(7)], allow_overlap=False, search=SEARCH)
    assert refused.value.fit == 4


@pytest.mark.parametrize("at", range(-1, 3))
def test_of_wide_shards_those_left_out_are_compared(at: int) -> None:
    """Sixteen brokers, all but two of them a shard: any two share 12 at least, and eight pairs are apart."""
    every = list(combinations(range(16), 14))
    searched = SEARCH(every, 12 + at, 20)
    assert len(searched.shards) == searched.bound == {-1: 1, 0: 8, 1: 20, 2: 20}[at]
    assert faults(searched.shards, size=14, overlap=12 + at, brokers=range(16)) == []


def test_past_the_rule_the_worst_overlap_is_the_least_there_is() -> None:
    """Against the largest number for each overlap, by trying everything. Of the overlap on average nothing more is
    promised than what level loads give: within one in twenty of the least that any loads allow."""
    for sizes, size in (((2, 2, 2), 4), ((4, 3), 3), ((2, 2, 2, 2), 3), ((3, 2, 2), 4), ((6,), 4)):
        fleet = zoned(sizes)
        every = list(every_shard(shape(fleet, size), size))
        room_for = [most(every, overlap) for overlap in range(size)]
        for tenants in sorted({count + more for count in room_for for more in (0, 1)}):
            found = assign(
                fleet, ShardRule(size, 1), [str(at) for at in range(tenants)], allow_overlap=True, search=SEARCH
            )
            shards = list(found.shards.values())
            shared = [len({*one} & {*other}) for one, other in combinations(shards, 2)]
            least = next((overlap for overlap, count in enumerate(room_for) if count >= tenants), size)
            assert max(shared, default=0) == least, (sizes, size, tenants)
            load, rest = divmod(size * tenants, len(fleet.brokers))
            meeting = rest * comb(load + 1, 2) + (len(fleet.brokers) - rest) * comb(load, 2)
            assert sum(shared) <= 1.05 * meeting, (sizes, size, tenants)


def zoned(sizes: tuple[int, ...]) -> Fleet:
    zones = [chr(ord("a") + zone) for zone, count in enumerate(sizes) for _ in range(count)]
    return Fleet(tuple(Broker(at, zone) for at, zone in enumerate(zones)))
