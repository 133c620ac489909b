"""New partitions of a tenant: never outside of the shard, in as many racks as can be, as even as can be.

The oracle is exhaustive: on small shards every way to give out replicas, and every choice of leaders, is tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.topics.spread import Load, Replicas, spread

racked = st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(lambda racks: dict(enumerate(racks, start=3)))


@st.composite
def asked(draw: st.DrawFn, most: int = 24) -> tuple[dict[int, str], int, int, tuple[Replicas, ...], Load]:
    """(racks, partitions, replicas, what the topic has, what its tenant has)."""
    racks = draw(racked)
    replicas = draw(st.integers(1, min(5, len(racks))))
    places = st.permutations(sorted(racks)).map(lambda ids: tuple(ids[:replicas]))
    topic = tuple(draw(st.lists(places, max_size=6)))
    load = Load()
    load.add([*topic, *draw(st.lists(places, max_size=12))])
    return racks, draw(st.integers(1, most)), replicas, topic, load


def replicas_of(placed: Sequence[Replicas]) -> Counter[int]:
    return Counter(broker for partition in placed for broker in partition)


def leaders_of(placed: Sequence[Replicas]) -> Counter[int]:
    return Counter(partition[0] for partition in placed)


def squares(counts: Mapping[int, int], racks: Mapping[int, str]) -> int:
    return sum(counts.get(broker, 0) ** 2 for broker in racks)


@given(asked())
@settings(max_examples=300, deadline=None)
def test_every_partition_is_on_the_shard_and_in_as_many_racks_as_can_be(
    case: tuple[dict[int, str], int, int, tuple[Replicas, ...], Load],
) -> None:
    racks, partitions, replicas, topic, load = case
    placed = spread(racks, partitions, replicas, topic, load)
    assert len(placed) == partitions
    for partition in placed:
        assert len(partition) == len(set(partition)) == replicas
        assert set(partition) <= racks.keys()
        assert len({racks[broker] for broker in partition}) == min(replicas, len(set(racks.values())))
    assert placed == spread(dict(reversed(racks.items())), partitions, replicas, topic, load), "no order counts"


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 40), st.data())
@settings(max_examples=200, deadline=None)
def test_on_racks_of_one_size_everything_is_within_one(
    zones: int, each: int, partitions: int, data: st.DataObject
) -> None:
    racks = {broker: "abcd"[broker % zones] for broker in range(zones * each)}
    replicas = data.draw(st.integers(1, len(racks)))
    first = spread(racks, partitions, replicas)
    grown = (*first, *spread(racks, data.draw(st.integers(1, 20)), replicas, first))
    for counts in (replicas_of(first), leaders_of(first), replicas_of(grown)):
        found = [counts[broker] for broker in racks]
        assert max(found) - min(found) <= 1, (first, grown)


@given(st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 3), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_many_small_topics_of_a_tenant_are_even_too(zones: int, each: int, topics: list[int]) -> None:
    """Were each topic placed by itself, the same brokers would have the rest of every one."""
    racks = {broker: "abc"[broker % zones] for broker in range(zones * each)}
    load = Load()
    for partitions in topics:
        load.add(spread(racks, partitions, zones, tenant=load))
    found = [load.replicas[broker] for broker in racks]
    assert max(found) - min(found) <= 1
    if each == 1:  # else where replicas are bounds what can be chosen
        leaders = [load.leaders[broker] for broker in racks]
        assert max(leaders) - min(leaders) <= 1


@given(asked(most=3).filter(lambda case: len(case[0]) <= 5 and case[2] <= 3))
@settings(max_examples=60, deadline=None)
def test_nothing_is_more_even(case: tuple[dict[int, str], int, int, tuple[Replicas, ...], Load]) -> None:
    racks, partitions, replicas, topic, load = case
    placed = spread(racks, partitions, replicas, topic, load)
    assert cost(placed, racks, topic, load) == min(cost(one, racks, topic, load) for one in ways(racks, *case[1:3]))
    led = min(leading(one, racks, topic, load) for one in product(*(rotations(partition) for partition in placed)))
    assert leading(placed, racks, topic, load) == led


def ways(racks: Mapping[int, str], partitions: int, replicas: int) -> Iterator[tuple[Replicas, ...]]:
    most = min(replicas, len(set(racks.values())))
    sets = [one for one in combinations(sorted(racks), replicas) if len({racks[broker] for broker in one}) == most]
    return product(sets, repeat=partitions)


def rotations(partition: Replicas) -> list[Replicas]:
    return [partition[at:] + partition[:at] for at in range(len(partition))]


def cost(
    placed: Sequence[Replicas], racks: Mapping[int, str], topic: Sequence[Replicas], load: Load
) -> tuple[int, int]:
    new = replicas_of(placed)
    return squares(replicas_of(topic) + new, racks), squares(load.replicas + new, racks)


def leading(
    placed: Sequence[Replicas], racks: Mapping[int, str], topic: Sequence[Replicas], load: Load
) -> tuple[int, int]:
    new = leaders_of(placed)
    return squares(leaders_of(topic) + new, racks), squares(load.leaders + new, racks)


def test_the_oracle_finds_what_is_uneven() -> None:
    """The control: one more even than another is told."""
    racks = {1: "a", 2: "b"}
    assert cost([(1,), (1,)], racks, (), Load()) > cost([(1,), (2,)], racks, (), Load())


def test_too_few_brokers_are_no_shard() -> None:
    with pytest.raises(ValueError, match="3 replicas do not fit on 2 brokers"):
        spread({1: "a", 2: "b"}, 1, 3)


def test_brokers_of_different_racks_meet_in_all_combinations() -> None:
    """When one is down, what it led goes to as many others as can be."""
    racks = {broker: "abc"[broker % 3] for broker in range(6)}
    placed = spread(racks, 8, 3)
    assert len({frozenset(partition) for partition in placed}) == 8


def test_a_large_topic_is_placed_at_once() -> None:
    racks = {broker: "abc"[broker % 3] for broker in range(60)}
    placed = spread(racks, 10_000, 3)
    assert sorted(set(replicas_of(placed).values())) == [500]
    assert set(leaders_of(placed).values()) <= {166, 167}
