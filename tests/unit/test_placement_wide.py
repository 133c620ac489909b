"""Shards of every size the API allows are planned in bounded work: sets of brokers are listed only where they are few.

What is counted is the sets of brokers that a shard is taken apart into, so that a loaded machine sees what an idle
one does.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from support.shard_oracle import faults
from support.tenants import START, TenantCell

from controlplane.adapters.solver import shard_search
from controlplane.adapters.solver.shard_search import CpSatShardSearch
from controlplane.api.kafka_tenant import MAX_SHARD
from controlplane.domain.placement import fresh, growing, measure
from controlplane.domain.placement.bounds import most_shards
from controlplane.domain.placement.changes import join
from controlplane.domain.placement.fresh import TooManyTenantsError, assign
from controlplane.domain.placement.measure import overlap_histogram
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import Broker, ShardRule, even_fleet, shape

MOST_SETS = 3_000_000
SIZES = [1, 3, 5, 17, 40, MAX_SHARD]


class TooMuchWorkError(Exception):
    pass


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No shard is taken apart into more sets of brokers than that."""

    def counted(places: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
        if math.comb(len(places), size) > MOST_SETS:
            raise TooMuchWorkError(f"sets of {size} out of {len(places)} brokers")
        return itertools.combinations(places, size)

    for module in (growing, measure, shard_search):
        monkeypatch.setattr(module, "combinations", counted)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("size", SIZES)
def test_shards_of_every_size_are_placed_and_a_broker_joins(size: int) -> None:
    """Half the brokers of a cell each, with any overlap between; then one that has them all, which holds every set
    that others have."""
    for zones in (1, 3):
        fleet = even_fleet(zones, max(2 * size // zones, 1) + 1)
        for overlap in sorted({0, size // 2, size - 1}):
            occupancy = Occupancy(fleet)
            for tenant in range(4):
                occupancy.place(f"t{tenant}", ShardRule(size, overlap))
            whole = len(fleet.brokers)
            occupancy.add(Held("wide", tuple(range(whole)), ShardRule(whole, whole - 1)))
            assert "t0" in occupancy.exceeding() or overlap >= size - 1
            moved = join(occupancy, Broker(1000, "a"))
            assert {change.tenant for change in moved} <= {f"t{tenant}" for tenant in range(4)}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("brokers", "size", "overlap"), [(60, 40, 20), (30, 28, 27), (41, 20, 10), (26, 24, 23), (22, 11, 5), (50, 49, 48)]
)
def test_wide_shards_are_assigned_afresh(brokers: int, size: int, overlap: int) -> None:
    fleet = even_fleet(1, brokers)
    found = assign(fleet, ShardRule(size, overlap), ["a", "b"], allow_overlap=True, search=CpSatShardSearch(0.5))
    shards = list(found.shards.values())
    assert faults(shards, size=size, overlap=max(overlap, 2 * size - brokers), brokers=fleet.by_id) == []
    assert overlap_histogram(shards) == {
        shared: int(shared == len({*shards[0]} & {*shards[1]}))
        for shared in range(len({*shards[0]} & {*shards[1]}) + 1)
    }


@pytest.mark.usefixtures("bounded")
def test_a_broker_joins_a_cell_with_a_tenant_that_has_all_of_it() -> None:
    cell = TenantCell(dict(enumerate("abc" * 16)))
    cell.add("wide", at=START, shard={"size": 48, "maxOverlap": 47})
    for at in range(3):
        cell.add(f"t{at}", at=START + 1 + at, shard={"size": 5, "maxOverlap": 1})
    cell.settle()
    cell.brokers[48] = "a"
    cell.settle()
    assert [len(cell.status(name).shard) for name in cell.tenants] == [48, 5, 5, 5]


@pytest.mark.parametrize("brokers", [7, 10])
def test_pairs_compared_and_subsets_counted_are_the_same(brokers: int) -> None:
    for size in range(1, brokers):
        shards = list(itertools.combinations(range(brokers), size))[::3]
        pairs = Counter(len({*one} & {*other}) for one, other in itertools.combinations(shards, 2))
        counted = overlap_histogram(shards)
        assert {shared: count for shared, count in counted.items() if count} == dict(pairs)
        assert list(counted) == list(range(len(counted)))


@pytest.mark.parametrize("size", [4, 5, 6])
def test_shards_compared_with_each_other_are_filled_up_as_by_their_parts(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = list(itertools.combinations(range(9), size))
    by_parts = [growing.fill((), every, overlap) for overlap in range(size)]
    monkeypatch.setattr(growing, "NARROW", 0)
    assert [growing.fill((), every, overlap) for overlap in range(size)] == by_parts


def test_bounds_of_many_zones_and_a_large_overlap_are_there_at_once() -> None:
    """Zones that are alike at first differ in all ways once brokers are taken out of them."""
    fleet = even_fleet(6, 32)
    started = time.process_time()
    assert most_shards(shape(fleet, 126), 126, 100) >= 1
    assert time.process_time() - started < 20


def test_control_work_without_bound_is_seen(bounded: None) -> None:
    with pytest.raises(TooMuchWorkError):
        growing.parts(tuple(range(40)), 19)


def test_wide_shards_on_many_brokers_are_tried_one_by_one_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is brokers looked at, for each broker of a shard all there are."""
    asked: list[int] = []
    search = Occupancy.search

    def counted(occupancy: Occupancy, rule: ShardRule) -> tuple[int, ...] | None:
        asked.append(rule.size * len(occupancy.fleet.brokers))
        return search(occupancy, rule)

    monkeypatch.setattr(Occupancy, "search", counted)
    monkeypatch.setattr(fresh, "LOOKS", 50_000)
    there = fresh.room(even_fleet(1, 200), ShardRule(40, 20))
    assert there.capacity < there.bound, "there might be more"
    assert 0 < sum(asked) <= 50_000


def test_a_wide_shard_too_many_is_refused_with_the_number() -> None:
    with pytest.raises(TooManyTenantsError) as refused:
        assign(even_fleet(1, 60), ShardRule(40, 20), ["a", "b", "c", "d"])
    assert (refused.value.fit, refused.value.bound) == (3, 3)
