"""How a tenant's shard moves: in which stages, where its topics lie already, and what a move that fails leaves."""

from __future__ import annotations

from dataclasses import replace

from support.tenants import SHARD, cell_of

from controlplane.domain.rebalance.asked import MoveState


def test_a_shard_without_topics_shrinks_at_once() -> None:
    cell = cell_of(3, 2)
    cell.add("t", shard={"size": 4})
    cell.settle()
    before = cell.status("t").shard
    cell.change("t", size=3)
    cell.settle()
    after = cell.status("t")
    assert set(after.shard) < set(before)
    assert (len(after.shard), after.target, cell.moves) == (3, None, {})


def test_a_shard_with_topics_moves_in_stages() -> None:
    cell = cell_of(3, 2)
    cell.add("t", shard={"size": 4})
    cell.settle()
    old = cell.status("t").shard
    cell.topics["t.orders"] = [tuple(old)[:3], tuple(old)[1:]]
    cell.topics["other"] = [(0, 2, 4)]
    cell.settle()
    cell.change("t", size=3)
    cell.turn()
    wide = cell.status("t")
    assert wide.target is not None
    assert (set(wide.shard), set(wide.previous or ()), len(wide.target)) == (set(old), set(old), 3)
    assert cell.ready("t") == ("False", "Moving")
    (name, request), *more = cell.requests.items()
    assert (more, name, request.topics, set(request.brokers)) == ([], wide.rebalance, ("t.orders",), set(wide.target))
    cell.turn()
    assert cell.status("t").shard == wide.shard, "nothing narrows while topics lie outside"
    cell.settle()
    narrow = cell.status("t")
    assert (set(narrow.shard), narrow.target, narrow.previous, narrow.rebalance) == (set(wide.target), None, None, None)
    assert cell.stray("t") == []
    assert cell.topics["other"] == [(0, 2, 4)]
    assert list(cell.moves) == [name], "one move, made once"


def test_a_shard_that_grows_again_takes_brokers_that_hold_its_topics() -> None:
    cell = cell_of(1, 6)
    cell.add("t", shard={"size": 4, "maxOverlap": 0})
    cell.settle()
    old = cell.status("t").shard
    cell.topics["t.x"] = [old]
    cell.settle()
    cell.topics["t.x"] = [old[:2]]
    cell.change("t", size=2)
    cell.settle()
    assert cell.status("t").shard == old[:2]
    cell.topics["t.x"] = [(old[0], old[1], old[3])]
    cell.change("t", size=3)
    cell.settle()
    assert cell.status("t").shard == (old[0], old[1], old[3])


def test_a_move_that_is_denied_leaves_everything_where_it_is_until_somebody_acts() -> None:
    cell = cell_of(3, 2)
    cell.add("t", shard={"size": 4})
    cell.settle()
    old = cell.status("t").shard
    cell.topics["t.x"] = [old]
    cell.topics["t.x"] = [old[:3], old[1:]]
    cell.change("t", size=3)
    cell.turn()
    (first,) = cell.moves
    cell.fail(first)
    cell.settle(work=False)
    status = cell.status("t")
    assert (status.shard, status.target, status.rebalance) == (old, None, first)
    assert cell.ready("t") == ("False", "MoveFailed")
    assert "Denied: bob: not now" in status.message
    cell.settle(work=False)
    assert list(cell.moves) == [first], "it is not tried again by itself"
    del cell.moves[first]
    cell.settle()
    assert len(cell.status("t").shard) == 3
    assert cell.ready("t") == ("True", "Placed")


def test_a_move_that_was_asked_for_by_annotation_and_denied_is_not_asked_for_again() -> None:
    cell = cell_of(1, 6)
    cell.add("t", shard={"size": 3})
    cell.settle()
    old = cell.status("t").shard
    cell.topics["t.x"] = [old]
    other = tuple(broker for broker in range(6) if broker not in old)
    cell.annotate("t", **{SHARD: ",".join(map(str, other))})
    cell.turn()
    (first,) = cell.moves
    cell.fail(first)
    for _ in range(3):
        cell.settle(work=False)
    assert list(cell.moves) == [first]
    assert (cell.status("t").shard, cell.ready("t")) == (old, ("False", "MoveFailed"))
    cell.annotate("t")
    cell.settle(work=False)
    assert cell.ready("t") == ("True", "Placed")


def test_a_denied_move_is_over_when_the_spec_is_as_it_was() -> None:
    cell = cell_of(3, 2)
    cell.add("t", shard={"size": 4})
    cell.settle()
    old = cell.status("t").shard
    cell.topics["t.x"] = [old[:3], old[1:]]
    cell.change("t", size=3)
    cell.turn()
    (first,) = cell.moves
    cell.fail(first)
    cell.turn()
    cell.change("t", size=4)
    cell.settle(work=False)
    assert (cell.status("t").shard, cell.ready("t")) == (old, ("True", "Placed"))


def test_another_size_after_a_failed_move_is_another_move() -> None:
    cell = cell_of(1, 6)
    cell.add("t", shard={"size": 5})
    cell.settle()
    old = cell.status("t").shard
    cell.topics["t.x"] = [old[:2], old[2:4], old[3:]]
    cell.change("t", size=4)
    cell.turn()
    (first,) = cell.moves
    cell.fail(first, "RolledBack")
    cell.settle(work=False)
    cell.change("t", size=3)
    cell.settle()
    assert len(cell.status("t").shard) == 3
    assert len(cell.moves) == 2


def test_a_topic_that_strays_is_brought_back() -> None:
    """Somebody made it with Kafka's own tools."""
    cell = cell_of(3, 2)
    cell.add("t")
    cell.settle()
    shard = cell.status("t").shard
    outside = next(broker for broker in cell.brokers if broker not in shard)
    cell.topics["t.x"] = [(outside, *shard[1:])]
    cell.turn()
    assert set(cell.status("t").shard) == {outside, *shard}
    cell.settle()
    assert (cell.status("t").shard, cell.stray("t")) == (shard, [])


def test_a_tenant_whose_topics_are_there_already_is_placed_where_they_lie() -> None:
    cell = cell_of(3, 2)
    cell.topics["t.x"] = [(1, 2, 5)]
    cell.add("t")
    cell.settle()
    assert (cell.status("t").shard, cell.moves) == ((1, 2, 5), {})


def test_topics_all_over_the_place_are_drawn_together() -> None:
    cell = cell_of(3, 2)
    cell.topics |= {"t.x": [(0, 2, 4)], "t.y": [(1, 3, 5)]}
    cell.add("t")
    cell.turn()
    assert cell.status("t").shard == (0, 1, 2, 3, 4, 5), "where they lie they may be"
    cell.settle()
    assert len(cell.status("t").shard) == 3
    assert cell.stray("t") == []


def test_a_thousand_topics_at_a_time() -> None:
    cell = cell_of(1, 3)
    cell.add("t", shard={"size": 2})
    cell.settle()
    shard = cell.status("t").shard
    other = next(broker for broker in cell.brokers if broker not in shard)
    cell.topics |= {f"t.{number:04}": [(other,)] for number in range(1200)}
    cell.settle()
    assert sorted(len(request.topics) for request in cell.requests.values()) == [200, 1000]
    assert cell.stray("t") == []


def test_a_rebalance_that_says_it_is_done_is_believed_for_a_moment() -> None:
    cell = cell_of(1, 3)
    cell.add("t", shard={"size": 2})
    cell.settle()
    other = next(broker for broker in cell.brokers if broker not in cell.status("t").shard)
    cell.topics["t.x"] = [(other,)]
    cell.turn()
    (name,) = cell.moves
    cell.moves[name] = replace(cell.moves[name], state=MoveState.COMPLETE, ended_at=cell.now)
    outcome = cell.turn()["t"]
    assert (outcome.create, outcome.look_at) == (None, cell.now + 5)
    cell.now += 5
    assert cell.plan()["t"].create is not None, "it was not done after all"


def test_attempts_count_on_where_the_first_ones_have_been_deleted() -> None:
    """Of two that were tried before, the later one alone is left: it is waited for, or another number follows."""
    cell = cell_of(3, 2)
    cell.add("t", shard={"size": 3})
    cell.settle()
    outside = next(broker for broker in cell.brokers if broker not in cell.status("t").shard)
    cell.topics["t.orders"] = [(outside,)]
    cell.turn()
    (name,) = cell.requests
    first = cell.moves.pop(name)
    stem, number = name.rpartition("-")[::2]
    assert number == "1"
    for state, next_one in ((MoveState.UNDER_WAY, f"{stem}-2"), (MoveState.COMPLETE, f"{stem}-3")):
        cell.moves = {f"{stem}-2": replace(first, name=f"{stem}-2", state=state)}
        assert cell.plan()["t"].status.rebalance == next_one  # type: ignore[union-attr]
    recent = replace(first, name=f"{stem}-2", state=MoveState.COMPLETE, ended_at=cell.now)
    cell.moves = {recent.name: recent, f"{stem}-x": replace(recent, name=f"{stem}-x")}
    outcome = cell.plan()["t"]
    assert (outcome.create, outcome.status.rebalance) == (None, recent.name)  # type: ignore[union-attr]
