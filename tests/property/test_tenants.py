"""Tenants of a cell, whatever happens to it: never an undersized shard, never a replica where none may be, one broker
of a shard for one that comes or goes, and the same end however often the operator dies."""

from __future__ import annotations

import copy
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from support.tenants import START, TenantCell

from controlplane.domain.placement.values import DoesNotFitError, shape

few = settings(max_examples=40, deadline=None)
PLACED = {"Placed", "OverlapExceeded"}


@st.composite
def cells(draw: st.DrawFn) -> TenantCell:
    """One to three zones of one to four brokers, one to seven tenants, some with topics, all settled."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    zones = [zone for zone, size in zip("abc", sizes, strict=False) for _ in range(size)]
    cell = TenantCell(dict(enumerate(zones)))
    for number in range(draw(st.integers(1, 7))):
        size = draw(st.integers(1, 4))
        overlap = draw(st.integers(0, size - 1))
        cell.add(f"t{number}", at=START + number, shard={"size": size, "maxOverlap": overlap})
    cell.settle()
    for name in cell.tenants:
        populate(cell, name, draw(st.integers(0, 2)))
    cell.settle()
    return cell


def populate(cell: TenantCell, name: str, topics: int) -> None:
    """Topics on its shard, as they are created."""
    shard = cell.directory.shard(cell.tenants[name], cell.view().cell)
    for number in range(topics if shard is not None else 0):
        assert shard is not None
        replicas = tuple(shard.target[number % len(shard.target) :]) or shard.target
        cell.topics[f"{name}.x{number}"] = [replicas[:1], replicas[:3]]


def faults(cell: TenantCell) -> list[str]:
    """What may never be, at any moment."""
    found = []
    for name, one in cell.tenants.items():
        if not any((c.namespace, c.name) == ("kafka", "cell") for c in one.status.cells):
            continue
        status, size = cell.status(name), one.spec.shard.size
        if stray := cell.stray(name):
            found.append(f"{name}: {stray} outside {status.shard}")
        if status.placed:
            if len(status.shard) != size or status.target is not None:
                found.append(f"{name}: {status.shard} is not {size}")
            if uneven(cell, status.shard, size):
                found.append(f"{name}: {status.shard} is not spread over zones")
        if status.target is not None and not set(status.target) <= set(status.shard):
            found.append(f"{name}: {status.target} is to be, and may not be used")
    return found


def uneven(cell: TenantCell, shard: tuple[int, ...], size: int) -> bool:
    try:
        kinds = dict(zip(cell.fleet.zones, shape(cell.fleet, size), strict=True))
    except DoesNotFitError:
        return True
    given_ = Counter(cell.brokers[broker] for broker in shard if broker in cell.brokers)
    return any(not kind.least <= given_[zone] <= kind.most for zone, kind in kinds.items())


@st.composite
def events(draw: st.DrawFn, cell: TenantCell) -> str:
    """Something happens; what, in words."""
    what = draw(st.sampled_from(["down", "up", "time", "gone", "joins", "resize", "tenant", "leaves"]))
    name = draw(st.sampled_from(sorted(cell.tenants)))
    broker = draw(st.sampled_from(sorted(cell.brokers)))
    match what:
        case "down":
            cell.down.add(broker)
        case "up":
            cell.down.discard(broker)
        case "time":
            cell.now += draw(st.sampled_from([10, 600]))
        case "gone" if len(cell.brokers) > 1:
            del cell.brokers[broker]
            cell.down.discard(broker)
        case "joins":
            cell.brokers[max(cell.brokers) + 1] = draw(st.sampled_from("abcd"))
        case "resize":
            cell.change(name, size=draw(st.integers(cell.tenants[name].spec.shard.max_overlap + 1, 4)))
        case "tenant":
            number = max(int(one[1:]) for one in cell.tenants) + 1
            cell.add(f"t{number}", at=START + number, shard={"size": draw(st.integers(1, 4)), "maxOverlap": 0})
        case "leaves" if len(cell.tenants) > 1:
            del cell.tenants[name]
    return f"{what} {broker if what in {'down', 'up', 'gone'} else name}"


@given(st.data())
@few
def test_whatever_happens_shards_are_whole_and_hold_their_topics(data: st.DataObject) -> None:
    cell = data.draw(cells())
    assert faults(cell) == []
    for _ in range(data.draw(st.integers(1, 4))):
        data.draw(events(cell))
        for _ in range(4):
            cell.turn()
            assert faults(cell) == []
        cell.settle()
        assert faults(cell) == []


@given(st.data())
@few
def test_an_operator_that_dies_between_any_two_writes_ends_where_another_does(data: st.DataObject) -> None:
    cell = data.draw(cells())
    data.draw(events(cell))
    steady, dying = copy.deepcopy(cell), copy.deepcopy(cell)
    steady.writes = 0
    steady.settle()
    dying.writes, dying.die_at = 0, data.draw(st.integers(1, max(1, steady.writes)))
    dying.settle()
    assert dying.shards() == steady.shards()
    assert set(dying.moves) == set(steady.moves), "no move is made twice, or left out"
    assert faults(dying) == []


@given(st.data())
@few
def test_one_broker_that_goes_or_comes_changes_at_most_one_of_a_shard(data: st.DataObject) -> None:
    cell = data.draw(cells())
    before, zones = cell.shards(), set(cell.brokers.values())
    if data.draw(st.booleans()) and len(cell.brokers) > 1:
        gone = data.draw(st.sampled_from(sorted(cell.brokers)))
        del cell.brokers[gone]
        if set(cell.brokers.values()) != zones:
            return  # a zone goes with it, and every shard's parts change
        kept = gone
    else:
        cell.brokers[max(cell.brokers) + 1] = data.draw(st.sampled_from(sorted(zones)))
        kept = None
    cell.settle()
    for name, shard in cell.shards().items():
        if cell.status(name).placed and before.get(name):
            assert len(set(before[name]) - set(shard)) <= 1
            if kept is not None and kept not in before[name]:
                assert shard == before[name]


@given(st.data())
@few
def test_a_tenant_that_comes_moves_nobody(data: st.DataObject) -> None:
    cell = data.draw(cells())
    before = cell.shards()
    cell.add("late", at=START + 1000, shard={"size": data.draw(st.integers(1, 4)), "maxOverlap": 0})
    cell.settle()
    assert {name: shard for name, shard in cell.shards().items() if name != "late"} == before


@given(st.data())
@few
def test_planning_again_what_has_been_recorded_changes_nothing(data: st.DataObject) -> None:
    cell = data.draw(cells())
    data.draw(events(cell))
    cell.settle()
    writes = cell.writes
    cell.turn()
    assert cell.writes == writes
