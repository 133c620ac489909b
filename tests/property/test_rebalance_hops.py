"""Hops and batches of any proposal keep what domain/rebalance/hops promises, and steps say the same again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.rebalance.hops import BATCH_HOPS, Hop, NoRoomError, at_once, batches, hops
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal
from controlplane.domain.rebalance.steps import MOVE_REPLICAS, ORDER_REPLICAS, batch_of, steps

BROKERS = range(1, 10)
RACKS = {broker: "abc"[broker % 3] for broker in BROKERS}
replicas = st.lists(st.sampled_from(BROKERS), min_size=1, max_size=5, unique=True).map(tuple)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    pairs = draw(st.lists(st.tuples(replicas, replicas, st.integers(0, 10**12)), max_size=12))
    found = [
        PartitionMove("t", number, before, after, size)
        for number, (before, after, size) in enumerate(pairs)
        if before != after
    ]
    return Proposal(tuple(found), bound=0)


def complaints(line: Sequence[Hop], move: PartitionMove) -> list[str]:
    """What of the invariants of one partition's hops does not hold."""
    found = []
    ends = [move.before, *(hop.after for hop in line)]
    if [hop.before for hop in line] != ends[:-1] or ends[-1] != move.after:
        found.append("they do not lead from before to after")
    least = min(len(move.before), len(move.after))
    rack_count = [len({RACKS[broker] for broker in on}) for on in ends]
    for hop in line:
        if len(hop.adding) > 1:
            found.append(f"{hop}: more than one copy")
        if len(hop.after) < least:
            found.append(f"{hop}: fewer replicas than before and after")
        if len(set(hop.after)) < len(hop.after):
            found.append(f"{hop}: a broker twice")
    if min(rack_count) < min(rack_count[0], rack_count[-1]):
        found.append(f"{ends}: fewer racks on the way")
    return found


@settings(max_examples=500)
@given(replicas, replicas)
def test_a_partition_goes_replica_by_replica(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    move = PartitionMove("t", 0, before, after)
    line = hops(move, RACKS)
    assert complaints(line, move) == []
    assert len(line) == max(len(move.adding), 1)


@settings(max_examples=200)
@given(replicas, replicas, st.sets(st.sampled_from(sorted(RACKS)), max_size=2))
def test_replicas_on_brokers_that_are_down_go_first(
    before: tuple[int, ...], after: tuple[int, ...], down: set[int]
) -> None:
    move = PartitionMove("t", 0, before, after)
    going = [
        next(iter(hop.removing & down), None) for hop in hops(move, {b: r for b, r in RACKS.items() if b not in down})
    ]
    swaps = going[: min(len(move.removing), len(move.adding) - 1)]
    dead = len(move.removing & down)
    assert all(one is not None for one in swaps[:dead]), (move, going)


def test_control_what_breaks_the_rules_is_found() -> None:
    move = PartitionMove("t", 0, (1, 2, 3), (4, 5, 6))
    assert complaints([Hop("t", 0, (1, 2, 3), (4, 5, 6))], move)
    assert complaints([Hop("t", 0, (1, 2, 3), (4, 2, 3))], move) == ["they do not lead from before to after"]
    thin = PartitionMove("t", 0, (1, 2, 3), (4, 5, 3))
    assert complaints([Hop("t", 0, (1, 2, 3), (1, 4, 3)), Hop("t", 0, (1, 4, 3), (4, 5, 3))], thin), "1 and 4: one rack"


@settings(max_examples=300)
@given(proposals(), st.integers(1, 4))
def test_batches_are_bounded_and_complete(proposal: Proposal, per_broker: int) -> None:
    found = batches(proposal, RACKS, per_broker=per_broker)
    assert found == batches(Proposal(proposal.moves[::-1], 0), RACKS, per_broker=per_broker), "in any order"
    lines: dict[int, list[Hop]] = {}
    for batch in found:
        load = Counter(broker for hop in batch for broker in hop.busy)
        assert max(load.values(), default=0) <= per_broker
        assert len({hop.id for hop in batch}) == len(batch) <= BATCH_HOPS
        assert len({hop.only_order for hop in batch}) == 1, "orders are batches of their own"
        for hop in batch:
            lines.setdefault(hop.partition, []).append(hop)
    assert {move.partition: list(hops(move, RACKS)) for move in proposal.moves} == lines


@given(proposals(), st.integers(1, 4))
def test_steps_say_what_the_batches_say(proposal: Proposal, per_broker: int) -> None:
    found = batches(proposal, RACKS, per_broker=per_broker)
    plan = steps("ns/cell", found, 10**6, lambda _: frozenset(), per_broker=per_broker)
    read = [batch_of(step) for step in plan if step.verb in (MOVE_REPLICAS, ORDER_REPLICAS)]
    bare = [tuple(Hop(hop.topic, hop.partition, hop.before, hop.after) for hop in batch) for batch in found]
    assert [batch.hops for batch in read] == bare
    assert {batch.cluster for batch in read} <= {"ns/cell"}


def test_thousands_of_moves_fit_and_long_names_too() -> None:
    name = "n" * 249
    wide = [PartitionMove(name, number, tuple(range(100, 132)), tuple(range(200, 232))) for number in range(30)]
    wide_batches = batches(Proposal(tuple(wide), 0), {}, per_broker=100)
    plan = steps("ns/cell", wide_batches, 10**6, lambda _: frozenset(), per_broker=100)
    assert all(len(value) <= 1024 for step in plan for value in step.parameters.values())
    many = [PartitionMove(f"t{n % 50}", n, (n % 60, 61 + n % 30), (n % 60, 91 + n % 30)) for n in range(20_000)]
    found = batches(Proposal(tuple(many), 0), {}, per_broker=5)
    assert sum(map(len, found)) == 20_000


def test_nobody_may_be_given_nothing_at_all() -> None:
    with pytest.raises(ValueError, match="one copy at least"):
        batches(Proposal((), 0), {}, per_broker=0)


def overfull(found: Sequence[Sequence[Hop]], left: Mapping[int, int]) -> list[str]:
    """Brokers that would hold more than they can at some moment of a batch, or of its way back."""
    room, complaints = dict(left), []
    for number, batch in enumerate(found):
        gets: Counter[int] = Counter()
        for hop in batch:
            gets.update(dict.fromkeys(hop.adding, hop.size))
        complaints += [f"batch {number}: broker {b}" for b, size in gets.items() if size and size > room.get(b, size)]
        for hop in batch:
            for broker in room:
                room[broker] += hop.size * ((broker in hop.removing) - (broker in hop.adding))
    return complaints


@settings(max_examples=300)
@given(proposals(), st.integers(1, 4), st.dictionaries(st.sampled_from(BROKERS), st.integers(0, 3 * 10**12)))
def test_what_a_broker_gets_in_a_batch_fits_beside_all_that_it_has(
    proposal: Proposal, per_broker: int, left: dict[int, int]
) -> None:
    try:
        found = batches(proposal, RACKS, per_broker=per_broker, room=left)
    except NoRoomError:
        return
    assert overfull(found, left) == []
    plain = batches(proposal, RACKS, per_broker=per_broker)
    assert sorted(map(repr, sum(found, ()))) == sorted(map(repr, sum(plain, ())))
    if not overfull(plain, left):
        assert found == plain, "room that is there changes nothing"


def test_control_a_batch_that_does_not_fit_is_found_and_the_order_follows_the_room() -> None:
    """Broker 3 has room for the one once it has given up the other."""
    goes, comes = PartitionMove("t", 0, (1, 3), (1, 4), 10), PartitionMove("t", 1, (1, 2), (1, 3), 15)
    proposal, left = Proposal((goes, comes), 0), {3: 8}
    assert overfull(batches(proposal, {}, per_broker=9), left) == ["batch 0: broker 3"]
    found = batches(proposal, {}, per_broker=9, room=left)
    assert [[hop.partition for hop in batch] for batch in found] == [[0], [1]]


def test_brokers_that_are_full_and_would_exchange_replicas_are_told_by_how_much() -> None:
    gib = 1 << 30
    there, back = PartitionMove("t", 0, (1,), (2,), 30 * gib), PartitionMove("u", 0, (2,), (1,), 20 * gib)
    with pytest.raises(NoRoomError, match=r"u-0 cannot move. Broker 1 would get 20.0 GiB .* 5.0 GiB too much"):
        batches(Proposal((there, back), 0), {}, per_broker=5, room={1: 15 * gib, 2: 20 * gib})
    assert len(batches(Proposal((there, back), 0), {}, per_broker=5, room={1: 20 * gib, 2: 20 * gib})) == 2


@given(st.lists(st.tuples(replicas, replicas, st.sampled_from([*BROKERS, None])), max_size=12), st.integers(1, 4))
def test_of_hops_no_more_are_taken_at_once_than_their_leaders_may_serve(
    pairs: list[tuple[tuple[int, ...], tuple[int, ...], int | None]], per_broker: int
) -> None:
    hops_ = [Hop("t", number, before, after) for number, (before, after, _) in enumerate(pairs)]
    leaders = {hop.id: leader for hop, (_, _, leader) in zip(hops_, pairs, strict=True)}
    left, rounds = list(hops_), 0
    while left:
        found = at_once(left, leaders, per_broker)
        assert found, "something goes on"
        for count in (
            Counter(leaders[hop.id] for hop in found if hop.adding and leaders[hop.id] is not None),
            Counter(broker for hop in found for broker in hop.adding),
        ):
            assert max(count.values(), default=0) <= per_broker
        left = [hop for hop in left if hop not in found]
        rounds += 1
    assert rounds <= len(hops_)
