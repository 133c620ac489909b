"""Exact search: it reaches what constructions miss, and gives the same answer each time."""

from __future__ import annotations

import pytest
from support.shard_oracle import faults, most, spread

from controlplane.adapters.solver.shard_search import CpSatShardSearch
from controlplane.domain.placement.families import every_shard, families
from controlplane.domain.placement.fresh import TooManyTenantsError, assign
from controlplane.domain.placement.values import ShardRule, even_fleet, shape

SEARCH = CpSatShardSearch(effort=2.0)


@pytest.mark.parametrize(
    ("zones", "per_zone", "size", "overlap"), [(3, 2, 4, 2), (1, 7, 3, 1), (3, 3, 3, 1), (2, 3, 4, 2), (1, 6, 4, 2)]
)
def test_it_finds_the_most_there_are(zones: int, per_zone: int, size: int, overlap: int) -> None:
    fleet = even_fleet(zones, per_zone)
    candidates = list(every_shard(shape(fleet, size), size))
    found = SEARCH(candidates, overlap, len(candidates))
    assert len(found) == most(candidates, overlap)
    assert set(found) <= set(candidates)
    assert faults(found, size=size, overlap=overlap, brokers=fleet.by_id) == []
    assert SEARCH(candidates, overlap, len(candidates)) == found


def test_as_many_as_wanted_and_level() -> None:
    fleet = even_fleet(4, 3)
    found = SEARCH(list(every_shard(shape(fleet, 4), 4)), 1, 6)
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


def test_a_search_that_finds_too_few_says_how_many() -> None:
    fleet = even_fleet(5, 2)
    with pytest.raises(TooManyTenantsError) as refused:
        assign(fleet, ShardRule(5, 2), [str(at) for at in range(7)], allow_overlap=False, search=SEARCH)
    assert refused.value.fit < 7
