"""Placement, whatever the fleet: never an undersized shard, zones kept, loads alike, nobody moved who need not.

Shards are judged by the oracle of `support.shard_oracle`, which shares no code with what makes them.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.shard_oracle import faults, spread

from controlplane.domain.placement.bounds import most_shards
from controlplane.domain.placement.changes import Change, join, leave, repack
from controlplane.domain.placement.families import families
from controlplane.domain.placement.fresh import TooManyTenantsError, assign
from controlplane.domain.placement.occupancy import Held, Occupancy
from controlplane.domain.placement.values import Broker, DoesNotFitError, Fleet, Shard, ShardRule, even_fleet, shape

few = settings(max_examples=25)


@st.composite
def fleets(draw: st.DrawFn, *, weighted: bool = False) -> Fleet:
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    weights = st.sampled_from([0.5, 1.0, 2.0, 3.0]) if weighted else st.just(1.0)
    ids = iter(draw(st.permutations(range(sum(sizes)))))
    return Fleet(
        tuple(Broker(next(ids), f"z{at}", draw(weights)) for at, size in enumerate(sizes) for _ in range(size))
    )


@st.composite
def rules(draw: st.DrawFn, fleet: Fleet) -> ShardRule:
    size = draw(st.integers(1, min(5, len(fleet.brokers))))
    rule = ShardRule(size, draw(st.integers(0, size - 1)))
    try:
        shape(fleet, size)
    except DoesNotFitError:
        assume(False)
    return rule


def zone_of(fleet: Fleet) -> dict[int, str]:
    return {broker.id: broker.zone for broker in fleet.brokers}


def wrong(fleet: Fleet, shards: list[Shard], size: int, overlap: int) -> list[str]:
    """Beyond the oracle's word: zones too small for an even share give all they have, which it does not know."""
    roomy = min(len(ids) for ids in fleet.zones.values()) >= -(-size // len(fleet.zones))
    return faults(shards, size=size, overlap=overlap, brokers=fleet.by_id, zone_of=zone_of(fleet) if roomy else None)


@given(st.data())
@few
def test_fresh_shards_keep_size_zones_and_overlap(data: st.DataObject) -> None:
    fleet = data.draw(fleets(weighted=data.draw(st.booleans())))
    rule = data.draw(rules(fleet))
    tenants = [f"t{at}" for at in range(data.draw(st.integers(1, 40)))]
    bound = most_shards(shape(fleet, rule.size), rule.size, rule.max_overlap)
    try:
        found = assign(fleet, rule, tenants)
    except TooManyTenantsError as refused:
        error = refused
    else:
        assert list(found.shards) == tenants
        assert wrong(fleet, list(found.shards.values()), rule.size, rule.max_overlap) == []
        assert len(tenants) <= found.capacity <= found.bound == bound
        assert assign(fleet, rule, tenants) == found, "the same question has the same answer"
        return
    assert error.fit < len(tenants)
    assert error.fit <= error.bound == bound
    again = assign(fleet, rule, tenants[: error.fit])
    assert wrong(fleet, list(again.shards.values()), rule.size, rule.max_overlap) == [], "as many as it says do fit"


@given(st.data())
@few
def test_with_overlap_allowed_everybody_is_placed(data: st.DataObject) -> None:
    fleet = data.draw(fleets())
    rule = data.draw(rules(fleet))
    tenants = [f"t{at}" for at in range(data.draw(st.integers(1, 60)))]
    found = assign(fleet, rule, tenants, allow_overlap=True)
    assert len(found.shards) == len(tenants)
    assert wrong(fleet, list(found.shards.values()), rule.size, rule.size) == []
    assert wrong(fleet, list(found.shards.values()), rule.size, found.least_worst - 1) != [] or not found.least_worst


@given(zones=st.sampled_from([1, 3]), per_zone=st.integers(2, 9), data=st.data())
@few
def test_even_fleets_are_level_within_one(zones: int, per_zone: int, data: st.DataObject) -> None:
    """For shards of three, on one zone or three, and any number of tenants that fits."""
    fleet = even_fleet(zones, per_zone if zones == 3 else 2 * per_zone)
    most = families(shape(fleet, 3), 3, 1)[0].count
    tenants = data.draw(st.integers(1, most))
    found = assign(fleet, ShardRule(3, 1), [str(at) for at in range(tenants)])
    assert wrong(fleet, list(found.shards.values()), 3, 1) == []
    assert spread(found.shards.values(), fleet.by_id) <= 1


@given(st.data())
@few
def test_weights_get_their_share(data: st.DataObject) -> None:
    """A broker of twice the weight carries twice as much, where overlap leaves the choice."""
    per_zone = data.draw(st.integers(2, 5))
    brokers = tuple(Broker(at, "abc"[at % 3], 2.0 if at < 3 else 1.0) for at in range(3 * per_zone))
    tenants = [str(at) for at in range(data.draw(st.integers(1, per_zone**3 // 3)))]
    found = assign(Fleet(brokers), ShardRule(3, 2), tenants)
    load = Counter(broker for shard in found.shards.values() for broker in shard)
    share = len(tenants) / (per_zone + 1)
    for broker in brokers:
        assert abs(load[broker.id] - broker.weight * share) < 2


def occupied(fleet: Fleet, rule: ShardRule, count: int) -> Occupancy:
    occupancy = Occupancy(fleet)
    for at in range(count):
        occupancy.place(f"t{at}", rule)
    return occupancy


def shards_of(occupancy: Occupancy) -> dict[str, Shard]:
    return {tenant: held.shard for tenant, held in occupancy.held.items()}


@given(st.data())
@few
def test_placing_moves_nobody_and_says_what_is_kept(data: st.DataObject) -> None:
    fleet = data.draw(fleets(weighted=data.draw(st.booleans())))
    occupancy = Occupancy(fleet)
    for at in range(data.draw(st.integers(1, 20))):
        rule = data.draw(rules(fleet))
        before = shards_of(occupancy)
        placed = occupancy.place(f"t{at}", rule)
        after = shards_of(occupancy)
        assert {tenant: after[tenant] for tenant in before} == before
        assert wrong(fleet, [placed.shard], rule.size, 0) == []
        kept = all(
            len({*placed.shard} & {*held.shard}) <= min(rule.max_overlap, held.rule.max_overlap)
            for held in occupancy.held.values()
            if held.tenant != placed.tenant
        )
        assert placed.within == kept
        if data.draw(st.integers(0, 4)) == 0:
            occupancy.remove(data.draw(st.sampled_from(sorted(occupancy.held))))


@pytest.mark.parametrize("fleet", [even_fleet(3, 6), even_fleet(3, 5), even_fleet(1, 13), even_fleet(4, 4)], ids=str)
def test_tenants_who_come_one_by_one_reach_the_optimum_too(fleet: Fleet) -> None:
    size = len(fleet.zones) if len(fleet.zones) > 1 else 3
    most = most_shards(shape(fleet, size), size, 1)
    occupancy = Occupancy(fleet)
    assert all(occupancy.place(f"t{at}", ShardRule(size, 1)).within for at in range(most))
    assert wrong(fleet, list(shards_of(occupancy).values()), size, 1) == []
    assert not occupancy.place("one more", ShardRule(size, 1)).within


def held_to(changes: list[Change], before: dict[str, Shard], after: dict[str, Shard]) -> None:
    """At most one broker of any shard, and nobody who is not named."""
    assert len({change.tenant for change in changes}) == len(changes)
    for tenant, shard in before.items():
        assert len(set(shard) - set(after[tenant])) <= 1
        assert len(after[tenant]) == len(shard)
    assert {tenant for tenant in before if before[tenant] != after[tenant]} == {change.tenant for change in changes}


@given(st.data())
@few
def test_a_broker_in_or_out_changes_at_most_one_of_any_shard(data: st.DataObject) -> None:
    fleet = data.draw(fleets())
    rule = data.draw(rules(fleet))
    occupancy = occupied(fleet, rule, data.draw(st.integers(1, 20)))
    for number in range(data.draw(st.integers(1, 4))):
        before = shards_of(occupancy)
        now = occupancy.fleet
        if data.draw(st.booleans()) and len(now.brokers) > 1:
            gone = data.draw(st.sampled_from(sorted(now.by_id)))
            try:
                changes = leave(occupancy, gone)
            except DoesNotFitError as refused:
                missing = refused.missing
            else:
                missing = 0
            if missing:
                assert shards_of(occupancy) == before, "nothing was changed"
                assert occupancy.fleet == now
                continue
            assert {change.tenant for change in changes} == {tenant for tenant in before if gone in before[tenant]}
            assert all(change.leaves == gone for change in changes)
        else:
            new = Broker(100 + number, data.draw(st.sampled_from(sorted(now.zones))))
            changes = join(occupancy, new, level=data.draw(st.booleans()))
            assert all(change.joins == new.id for change in changes)
        held_to(changes, before, shards_of(occupancy))
        assert wrong(occupancy.fleet, list(shards_of(occupancy).values()), rule.size, rule.size) == []


def test_a_newcomer_takes_its_share_when_asked_to() -> None:
    fleet, rule = even_fleet(3, 5), ShardRule(3, 1)
    occupancy = occupied(fleet, rule, 20)
    before = shards_of(occupancy)
    changes = join(occupancy, Broker(15, "a"), level=True)
    held_to(changes, before, shards_of(occupancy))
    assert len(changes) == 3, "20 shards on 6 brokers of the zone"
    assert all(change.within for change in changes)
    assert wrong(occupancy.fleet, list(shards_of(occupancy).values()), 3, 1) == []


def test_a_newcomer_relieves_shards_that_share_too_much() -> None:
    fleet, rule = even_fleet(3, 2), ShardRule(3, 1)
    occupancy = Occupancy(fleet, [Held("x", (0, 2, 4), rule), Held("y", (0, 2, 5), rule)])
    changes = join(occupancy, Broker(6, "a"))
    assert [(change.joins, change.leaves, change.within) for change in changes] == [(6, 0, True)]
    quiet = Occupancy(fleet, [Held("x", (0, 2, 4), rule), Held("y", (0, 3, 5), rule)])
    assert join(quiet, Broker(6, "a")) == [], "nobody shares too much: nobody moves"


@given(st.data())
@few
def test_repack_offers_and_changes_nothing(data: st.DataObject) -> None:
    fleet = data.draw(fleets())
    rule = data.draw(rules(fleet))
    occupancy = occupied(fleet, rule, data.draw(st.integers(1, 15)))
    if data.draw(st.booleans()):
        for tenant in sorted(occupancy.held)[::2]:
            occupancy.remove(tenant)
    assume(occupancy.held)
    before = shards_of(occupancy)
    offer = repack(occupancy, rule)
    assert shards_of(occupancy) == before
    assert {tenant: shard for tenant, shard, _ in offer.moves} == {
        tenant: shard for tenant, shard in before.items() if offer.assignment.shards[tenant] != shard
    }
    assert sorted(offer.assignment.shards) == sorted(before)
    assert wrong(fleet, list(offer.assignment.shards.values()), rule.size, rule.size) == []


def test_the_first_broker_of_a_new_zone_takes_its_part_of_every_shard() -> None:
    fleet, rule = even_fleet(3, 4), ShardRule(4, 2)
    occupancy = occupied(fleet, rule, 9)
    before = shards_of(occupancy)
    changes = join(occupancy, Broker(12, "d"))
    held_to(changes, before, shards_of(occupancy))
    assert len(changes) == 9
    assert wrong(occupancy.fleet, list(shards_of(occupancy).values()), 4, 4) == []


def test_a_new_zone_that_is_too_small_for_its_part_stays_out() -> None:
    occupancy = occupied(even_fleet(3, 4), ShardRule(8, 7), 2)
    before = shards_of(occupancy)
    with pytest.raises(DoesNotFitError, match="zone d has 1: 1 too few"):
        join(occupancy, Broker(12, "d"))
    assert (shards_of(occupancy), len(occupancy.fleet.brokers)) == (before, 12)


@given(st.integers(1, 8), st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 8))
@few
def test_new_zones_take_their_part_of_every_shard_and_no_more(
    size: int, zones: int, sizes: list[int], count: int
) -> None:
    fleet, rule = even_fleet(zones, 4), ShardRule(size, size - 1)
    newcomers = tuple(
        Broker(100 + 10 * at + number, f"new{at}") for at, many in enumerate(sizes) for number in range(many)
    )
    assume(size <= len(fleet.brokers))
    occupancy = occupied(fleet, rule, count)
    before = shards_of(occupancy)
    try:
        kinds = shape(Fleet((*fleet.brokers, *newcomers)), size)
    except DoesNotFitError:
        with pytest.raises(DoesNotFitError):
            join(occupancy, *newcomers)
        assert (shards_of(occupancy), occupancy.fleet) == (before, fleet)
        return
    now = dict(before)
    for change in join(occupancy, *newcomers):
        assert change.before == now[change.tenant]
        assert len(set(change.after) - set(change.before)) == 1
        assert change.joins >= 100, "nobody moves but to newcomers"
        now[change.tenant] = change.after
    assert now == shards_of(occupancy)
    zone = zone_of(occupancy.fleet)
    for shard in now.values():
        given = Counter(zone[broker] for broker in shard)
        for name, kind in zip(occupancy.fleet.zones, kinds, strict=True):
            assert kind.least <= given[name]
            assert given[name] <= kind.most or name in fleet.zones


def test_repack_leaves_an_optimal_assignment_alone() -> None:
    fleet, rule = even_fleet(3, 5), ShardRule(3, 1)
    shards = assign(fleet, rule, [f"t{at}" for at in range(25)]).shards
    offer = repack(Occupancy(fleet, [Held(tenant, shard, rule) for tenant, shard in shards.items()]), rule)
    assert (offer.moves, offer.better) == ((), False)


def test_repack_closes_the_gap_that_history_leaves() -> None:
    fleet, rule = even_fleet(3, 2), ShardRule(3, 1)
    held = [Held("x", (0, 2, 4), rule), Held("y", (0, 2, 5), rule)]
    offer = repack(Occupancy(fleet, held), rule)
    assert offer.better
    assert max(offer.overlaps_then) == 0
    assert offer.brokers_moved == 2, "one tenant moves, and keeps the broker that it may"


@given(st.integers(0, 3), st.integers(0, 5))
@settings(max_examples=10)
def test_control_an_undersized_shard_is_found(at: int, extra: int) -> None:
    shards = list(assign(even_fleet(3, 4), ShardRule(3, 1), [str(n) for n in range(8)]).shards.values())
    shards[at + extra % 4] = shards[at + extra % 4][:-1]
    assert wrong(even_fleet(3, 4), shards, 3, 1)
