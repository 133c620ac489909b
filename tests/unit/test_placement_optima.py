"""Every optimum that is known is reached, by shards that a checker of definitions finds nothing wrong with; and the
checker finds what is planted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import pytest
from support.shard_oracle import faults, most, spread

from controlplane.domain.placement.array_data import DIFFERENCE_MATRICES, QUASI_DIFFERENCES
from controlplane.domain.placement.arrays import transversal
from controlplane.domain.placement.bounds import least_worst_overlap, most_shards
from controlplane.domain.placement.families import count_shards, every_shard, families
from controlplane.domain.placement.fields import field, next_prime_power, prime_powers
from controlplane.domain.placement.fresh import TooManyTenantsError, assign
from controlplane.domain.placement.orbits import TABLE
from controlplane.domain.placement.packings import largest_packing
from controlplane.domain.placement.triples import most_triples
from controlplane.domain.placement.values import Broker, Fleet, ShardRule, ZoneShape, even_fleet, shape

A_N_4_3 = {9: 12, 12: 20, 13: 26, 15: 35, 18: 48, 21: 70, 24: 88, 27: 117, 30: 140}
A_N_6_4 = {13: 13, 16: 20, 25: 50, 28: 63}
A_N_4_4 = {8: 14, 10: 30, 14: 91, 16: 140, 20: 285}
PLAIN = [
    *((n, 3, 1, count) for n, count in A_N_4_3.items()),
    *((n, 4, 1, count) for n, count in A_N_6_4.items()),
    *((n, 4, 2, count) for n, count in A_N_4_4.items()),
]


def assigned(fleet: Fleet, size: int, overlap: int, tenants: int) -> list[tuple[int, ...]]:
    found = assign(fleet, ShardRule(size, overlap), [f"t{at}" for at in range(tenants)])
    zone_of = {broker.id: broker.zone for broker in fleet.brokers}
    shards = list(found.shards.values())
    assert len(shards) == tenants
    assert faults(shards, size=size, overlap=overlap, brokers=fleet.by_id, zone_of=zone_of) == []
    return shards


@pytest.mark.parametrize(("brokers", "size", "overlap", "optimum"), PLAIN)
def test_plain_subsets_reach_the_optimum(brokers: int, size: int, overlap: int, optimum: int) -> None:
    fleet = even_fleet(1, brokers)
    assert spread(assigned(fleet, size, overlap, optimum), fleet.by_id) <= 1
    assert most_shards(shape(fleet, size), size, overlap) == optimum
    with pytest.raises(TooManyTenantsError) as refused:
        assigned(fleet, size, overlap, optimum + 1)
    assert (refused.value.fit, refused.value.bound) == (optimum, optimum)
    assert str(optimum) in str(refused.value)


@pytest.mark.parametrize("per_zone", range(1, 25))
def test_one_broker_in_each_of_three_zones_is_a_latin_square(per_zone: int) -> None:
    fleet = even_fleet(3, per_zone)
    shards = assigned(fleet, 3, 1, per_zone**2)
    assert spread(shards, fleet.by_id) == 0
    assert most_shards(shape(fleet, 3), 3, 1) == per_zone**2


@pytest.mark.parametrize(
    ("zones", "per_zone", "overlap"),
    [
        *((zones, q, 1) for q in (3, 4, 5, 7, 8, 9) for zones in range(4, q + 2)),
        *((zones, q, 2) for q in (3, 4, 5) for zones in range(4, q + 2)),
        *((4, g, 1) for g in (10, 12, 14, 15, 18, 20, 21, 22)),
        *((zones, 12, 1) for zones in (5, 6, 7)),
        (6, 4, 2),
        (5, 15, 1),
        (4, 6, 2),
        (5, 6, 3),
        (6, 5, 3),
    ],
)
def test_more_zones_are_orthogonal_arrays(zones: int, per_zone: int, overlap: int) -> None:
    """As many as Singleton's bound, where a field has room for the zones, and for four zones."""
    fleet = even_fleet(zones, per_zone)
    kinds = shape(fleet, zones)
    optimum = per_zone ** (overlap + 1)
    assert most_shards(kinds, zones, overlap) == optimum
    shards = list(families(kinds, zones, overlap)[0].shards())
    assert len(shards) == optimum
    zone_of = {broker.id: broker.zone for broker in fleet.brokers}
    assert faults(shards, size=zones, overlap=overlap, brokers=fleet.by_id, zone_of=zone_of) == []


def test_four_zones_are_known_for_every_number_but_two_and_six() -> None:
    """Bose, Shrikhande, Parker 1960."""
    without = [g for g in range(1, 120) if transversal(4, g) is None]
    assert without == [2, 6]


@pytest.mark.parametrize("brokers", range(3, 45))
def test_triples_are_as_many_as_can_be_for_every_number(brokers: int) -> None:
    triples = most_triples(brokers)
    assert faults(triples, size=3, overlap=1, brokers=range(brokers)) == []
    assert len(triples) == most_shards([ZoneShape(brokers, 3, 3)], 3, 1)


@pytest.mark.parametrize("key", TABLE)
def test_the_families_stored_as_orbits_are_what_they_say(key: tuple[int, int, int]) -> None:
    brokers, size, overlap = key
    shards = list(TABLE[key].shards())
    assert TABLE[key].points == brokers
    assert len(shards) == TABLE[key].count == most_shards([ZoneShape(brokers, size, size)], size, overlap)
    assert faults(shards, size=size, overlap=overlap, brokers=range(brokers)) == []


@pytest.mark.parametrize(
    ("size", "overlap", "brokers"),
    [
        (4, 1, [*range(4, 22), *range(24, 29), 36, 37, 39, 40]),
        (4, 2, [*range(4, 17), *range(19, 23), *range(25, 29), *range(31, 35), *range(37, 41)]),
    ],
)
def test_the_fleets_of_which_docs_say_that_they_reach_the_optimum(size: int, overlap: int, brokers: list[int]) -> None:
    for count in brokers:
        family = largest_packing(count, size, overlap)
        assert family.count == most_shards([ZoneShape(count, size, size)], size, overlap), count
        if count <= 28:
            assert faults(family.shards(), size=size, overlap=overlap, brokers=range(count)) == []


@pytest.mark.parametrize(
    ("brokers", "size", "overlap", "count"),
    [
        (24, 8, 4, 759),
        (23, 7, 3, 253),
        (22, 6, 2, 77),
        (12, 6, 4, 132),
        (11, 5, 3, 66),
        (17, 5, 2, 68),
        (26, 6, 2, 130),
        (65, 5, 1, 208),
    ],
)
def test_other_steiner_systems(brokers: int, size: int, overlap: int, count: int) -> None:
    shards = list(largest_packing(brokers, size, overlap).shards())
    assert len(shards) == count == most_shards([ZoneShape(brokers, size, size)], size, overlap)
    assert faults(shards, size=size, overlap=overlap, brokers=range(brokers)) == []


@pytest.mark.parametrize(
    ("sizes", "size", "overlap"),
    [
        ((2, 2, 2), 3, 1), ((1, 2, 3), 3, 1), ((2, 3, 3), 3, 1), ((3, 3), 2, 1), ((2, 2, 2, 2), 4, 1),
        ((2, 2, 2, 2), 4, 2),
        ((2, 2, 2), 2, 1), ((3, 3), 4, 2), ((7,), 3, 1), ((8,), 4, 1), ((6,), 3, 1), ((7,), 4, 2), ((2, 1, 2), 3, 1),
    ],
)  # fmt: skip
def test_small_fleets_against_trying_everything(sizes: tuple[int, ...], size: int, overlap: int) -> None:
    """The bound is never below the truth, and what is built never above it; here all three are one."""
    zones = [str(zone) for zone, count in enumerate(sizes) for _ in range(count)]
    brokers = [Broker(at, zone) for at, zone in enumerate(zones)]
    kinds = shape(Fleet(tuple(brokers)), size)
    truth = most(list(every_shard(kinds, size)), overlap)
    assert families(kinds, size, overlap)[0].count == truth
    assert most_shards(kinds, size, overlap) >= truth


def test_every_shard_is_every_shard() -> None:
    kinds = shape(even_fleet(3, 2), 4)
    wanted = [
        shard
        for shard in combinations(range(6), 4)
        if max(sum(broker // 2 == zone for broker in shard) for zone in range(3)) <= 2
        and min(sum(broker // 2 == zone for broker in shard) for zone in range(3)) >= 1
    ]
    assert sorted(every_shard(kinds, 4)) == wanted
    assert count_shards(kinds, 4) == len(wanted)


@pytest.mark.parametrize(
    ("sizes", "size"), [((2, 3, 1), 2), ((1,) * 5, 3), ((3, 1, 2), 4), ((2, 2), 3), ((4,), 2), ((2, 1, 1), 1)]
)
def test_every_shard_of_uneven_zones(sizes: tuple[int, ...], size: int) -> None:
    zones = [at for at, count in enumerate(sizes) for _ in range(count)]
    kinds = shape(Fleet(tuple(Broker(at, str(zone)) for at, zone in enumerate(zones))), size)
    wanted = [
        shard
        for shard in combinations(range(len(zones)), size)
        if all(kind.least <= [zones[one] for one in shard].count(at) <= kind.most for at, kind in enumerate(kinds))
    ]
    found = list(every_shard(kinds, size))
    assert sorted(found) == wanted
    assert len(found) == count_shards(kinds, size)


@pytest.mark.parametrize(("size", "overlap", "most"), [(4, 1, 150), (5, 1, 120), (5, 2, 60), (6, 3, 40), (7, 1, 100)])
def test_one_more_broker_never_leaves_room_for_less(size: int, overlap: int, most: int) -> None:
    counts = [largest_packing(brokers, size, overlap).count for brokers in range(size, most)]
    assert counts == sorted(counts)


def test_a_thousand_brokers_without_zones() -> None:
    """No system is near; the quadruples are within one in a hundred of Johnson's bound."""
    family = largest_packing(1000, 4, 1)
    assert 0.99 * most_shards([ZoneShape(1000, 4, 4)], 4, 1) < family.count


def test_overlap_that_nobody_can_avoid() -> None:
    kinds = shape(even_fleet(3, 6), 3)
    assert [least_worst_overlap(kinds, 3, tenants) for tenants in (1, 6, 7, 36, 37, 216, 217)] == [0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("order", [2, 3, 4, 5, 7, 8, 9, 16, 25, 27])
def test_fields_are_fields(order: int) -> None:
    over = field(order)
    elements = range(order)
    for a in elements:
        assert sorted(over.add[a]) == list(elements)
        assert a == 0 or sorted(over.multiply[a]) == list(elements)
    for a, b, c in product(range(min(order, 9)), repeat=3):
        assert over.multiply[a][over.add[b][c]] == over.add[over.multiply[a][b]][over.multiply[a][c]]
        assert over.multiply[a][over.multiply[b][c]] == over.multiply[over.multiply[a][b]][c]


def test_there_is_no_field_of_six() -> None:
    assert prime_powers(360) == ((2, 3), (3, 2), (5, 1))
    assert next_prime_power(14) == 16
    with pytest.raises(ValueError, match="no prime power"):
        field(6)


def differences(columns: Sequence[tuple[int | None, ...]], one: int, other: int, modulus: int) -> list[int]:
    pairs = [(column[one], column[other]) for column in columns]
    return sorted((a - b) % modulus for a, b in pairs if a is not None and b is not None)


def test_the_difference_matrices_are_ones() -> None:
    columns = list(DIFFERENCE_MATRICES[15])
    assert all(differences(columns, a, b, 15) == list(range(15)) for a, b in combinations(range(4), 2))
    twelve = DIFFERENCE_MATRICES[12]
    for a, b in combinations(range(6), 2):
        found = {((column[a] // 6) ^ (column[b] // 6), (column[a] - column[b]) % 6) for column in twelve}
        assert len(found) == 12


@pytest.mark.parametrize("symbols", QUASI_DIFFERENCES)
def test_the_quasi_difference_matrices_are_ones(symbols: int) -> None:
    modulus, columns = QUASI_DIFFERENCES[symbols]
    for a, b in combinations(range(4), 2):
        assert differences(list(columns), a, b, modulus) == list(range(1, modulus))


GOOD = [(0, 1, 2), (0, 3, 4), (1, 3, 5)]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([*GOOD, (2, 4)], "has 2 brokers"),
        ([*GOOD, (2, 4, 4)], "has 2 brokers"),
        ([*GOOD, (0, 1, 5)], "share"),
        ([*GOOD, GOOD[0]], "share"),
        ([*GOOD, (2, 4, 6)], "uses [6]"),
    ],
)
def test_control_the_checker_finds_what_is_planted(bad: list[tuple[int, ...]], says: str) -> None:
    assert faults(GOOD, size=3, overlap=1, brokers=range(6)) == []
    assert any(says in fault for fault in faults(bad, size=3, overlap=1, brokers=range(6)))


def test_control_the_checker_sees_zones_and_loads() -> None:
    zone_of = dict(enumerate("aabbcc"))
    assert faults([(0, 2, 4)], size=3, overlap=1, brokers=range(6), zone_of=zone_of) == []
    assert faults([(0, 1, 2)], size=3, overlap=1, brokers=range(6), zone_of=zone_of)
    assert spread([(0, 2), (0, 3)], range(4)) == 2


def test_control_a_family_with_one_shard_too_many_is_found() -> None:
    shards = list(families(shape(even_fleet(3, 5), 3), 3, 1)[0].shards())
    extra = next(shard for shard in every_shard(shape(even_fleet(3, 5), 3), 3) if shard not in shards)
    assert faults([*shards, extra], size=3, overlap=1, brokers=range(15))


def test_control_trying_everything_finds_the_known() -> None:
    assert most(list(combinations(range(7), 3)), 1) == 7
    assert most(list(combinations(range(6), 3)), 1) == 4
    assert most(list(product((0, 1), (2, 3), (4, 5))), 1) == 4
