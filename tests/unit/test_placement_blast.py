"""The blast radius: closed formulas against published figures and against trying everything; measured ones against
counting."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from itertools import combinations, product

import pytest
from support.shard_oracle import faults

from controlplane.domain.placement.blast import always_survived, measured_blast, random_blast, random_overlap
from controlplane.domain.placement.fresh import assign
from controlplane.domain.placement.measure import mean_overlap, overlap_histogram, worst_overlap
from controlplane.domain.placement.values import Fleet, ShardRule, ZoneShape, even_fleet, shape

PRIORITY_AND_FAIRNESS = [
    (12, 32, 1, 4.428838398950118e-09),
    (12, 32, 4, 0.11431348830099144),
    (12, 32, 16, 0.9935089607656024),
    (10, 64, 1, 6.601827268370426e-12),
    (10, 64, 4, 0.00045571320990370776),
    (10, 64, 16, 0.49999929150089345),
    (8, 128, 16, 0.02746173137155063),
    (6, 256, 4, 2.9516464018476436e-07),
    (6, 1024, 1, 6.337324016514285e-16),
]
"""(handSize, queues, elephants) to the probability that a mouse is squished: Kubernetes' documentation of API Priority
and Fairness."""


@pytest.mark.parametrize(("size", "brokers", "bad", "squished"), PRIORITY_AND_FAIRNESS)
def test_the_table_of_api_priority_and_fairness(size: int, brokers: int, bad: int, squished: float) -> None:
    assert random_blast([ZoneShape(brokers, size, size)], size, bad).covered == pytest.approx(squished, rel=1e-6)


def every(zones: list[ZoneShape]) -> list[frozenset[int]]:
    start, parts = 0, []
    for zone in zones:
        parts.append(list(combinations(range(start, start + zone.brokers), zone.least)))
        start += zone.brokers
    return [frozenset(broker for part in choice for broker in part) for choice in product(*parts)]


@pytest.mark.parametrize(
    "zones", [[ZoneShape(5, 2, 2)], [ZoneShape(3, 1, 1)] * 2, [ZoneShape(3, 2, 2), ZoneShape(2, 1, 1)]]
)
def test_the_formulas_against_trying_everything(zones: list[ZoneShape]) -> None:
    size = sum(zone.least for zone in zones)
    shards = every(zones)
    mine = shards[0]
    shared = [sum(len(mine & other) == i for other in shards) / len(shards) for i in range(size + 1)]
    assert random_overlap(zones, size) == pytest.approx(shared)
    for bad in (1, 2, 3):
        draws = list(product(shards, repeat=bad))
        hit = sum(bool(mine & frozenset().union(*draw)) for draw in draws) / len(draws)
        gone = sum(mine <= frozenset().union(*draw) for draw in draws) / len(draws)
        blast = random_blast(zones, size, bad)
        assert (blast.touched, blast.covered) == pytest.approx((hit, gone))


@pytest.mark.parametrize("bad", [1, 7, 300])
@pytest.mark.parametrize(("brokers", "size"), [(1000, 40), (60, 30), (12, 11)])
def test_the_formulas_against_exact_fractions(brokers: int, size: int, bad: int) -> None:
    missed = [Fraction(math.comb(brokers - j, size), math.comb(brokers, size)) for j in range(size + 1)]
    covered = sum((-1) ** j * math.comb(size, j) * missed[j] ** bad for j in range(size + 1))
    blast = random_blast([ZoneShape(brokers, size, size)], size, bad)
    assert blast.covered == pytest.approx(float(covered), rel=1e-12, abs=0)
    assert blast.touched == pytest.approx(float(1 - missed[size] ** bad), rel=1e-12, abs=0)


def test_many_misbehaving_take_no_longer() -> None:
    began = time.process_time()
    assert random_blast([ZoneShape(1000, 10, 10)], 10, 500_000).covered == pytest.approx(1)
    rows = even_fleet(3, 60)
    shards = list(assign(rows, ShardRule(3, 1), [str(at) for at in range(3600)]).shards.values())
    found = measured_blast(shards, 1800)
    assert found is not None
    assert found.covered == pytest.approx(1, abs=1e-9)
    assert time.process_time() - began < 10


def test_zones_that_give_no_fixed_number_have_no_formula() -> None:
    with pytest.raises(ValueError, match="no closed formula"):
        random_blast(shape(even_fleet(3, 4), 4), 4, 1)


MEASURED = [
    (even_fleet(3, 4), ShardRule(3, 1), 13),
    (even_fleet(1, 8), ShardRule(4, 2), 14),
    (even_fleet(3, 2), ShardRule(3, 2), 8),
]


@pytest.mark.parametrize("bad", [1, 2, 3])
@pytest.mark.parametrize(("fleet", "rule", "tenants"), MEASURED)
def test_what_is_measured_is_what_is_counted(fleet: Fleet, rule: ShardRule, tenants: int, bad: int) -> None:
    shards = list(assign(fleet, rule, [str(at) for at in range(tenants)]).shards.values())
    hit = gone = total = 0
    for at, shard in enumerate(shards):
        others = [set(other) for number, other in enumerate(shards) if number != at]
        for group in combinations(others, bad):
            union = set().union(*group)
            total += 1
            hit += bool(union & set(shard))
            gone += set(shard) <= union
    blast = measured_blast(shards, bad)
    assert blast is not None
    assert (blast.touched, blast.covered) == pytest.approx((hit / total, gone / total))


def test_what_no_overlap_can_cover_is_never_covered() -> None:
    shards = list(assign(even_fleet(3, 6), ShardRule(3, 1), [str(at) for at in range(36)]).shards.values())
    assert always_survived(3, worst_overlap(shards)) == 2
    two, three = measured_blast(shards, 2), measured_blast(shards, 3)
    assert two is not None
    assert two.covered == 0
    assert three is not None
    assert three.covered > 0, "control: three can"
    assert always_survived(3, 0) is None


def test_nobody_is_left_to_be_hit() -> None:
    assert measured_blast([(0, 1)], 1) is None
    assert measured_blast([tuple(range(11)), tuple(range(11))], 1) is None


@pytest.mark.parametrize("shards", [[(0, 1, 2)], [(0, 1), (1, 2, 3), (1, 2, 4), (0, 1)], [(0,), (1,)], []])
def test_the_histogram_is_what_comparing_pairs_gives(shards: list[tuple[int, ...]]) -> None:
    counted: dict[int, int] = {}
    for one, other in combinations(shards, 2):
        shared = len(set(one) & set(other))
        counted[shared] = counted.get(shared, 0) + 1
    found = overlap_histogram(shards)
    assert {shared: pairs for shared, pairs in found.items() if pairs} == counted
    assert worst_overlap(shards) == max(counted, default=0)
    pairs = sum(counted.values())
    assert mean_overlap(found) == pytest.approx(sum(i * n for i, n in counted.items()) / pairs if pairs else 0)
    assert bool(faults(shards, size=3, overlap=9, brokers=range(5))) == any(len(shard) != 3 for shard in shards)
