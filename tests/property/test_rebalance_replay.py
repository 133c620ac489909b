"""A rebalance that is killed anywhere, held, cancelled or overtaken by others: it ends as approved or as it began.

The cluster is in memory, everything else is what the operator runs: hops, steps, verbs, the engine's transitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_kafka import FakeKafka, FakeKafkaAdmin
from support.rebalancing import CANCEL, Deaths, Rebalancing, cluster, moves, placed, settings_of

from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.operation.permit import FREE, PAUSED, Permit
from controlplane.domain.rebalance.steps import LIFT_THROTTLE, MOVE_BACK, MOVE_REPLICAS, PER_BROKER, SET_THROTTLE
from controlplane.services.rebalance.verbs import ABSENT_SECONDS

Placements = dict[str, list[tuple[int, ...]]]
BEFORE: Placements = {"a": [(1, 2, 3), (2, 3, 1), (3, 1, 2)], "b": [(1, 2), (2, 3)], "still": [(1, 2)]}
AFTER: Placements = {"a": [(4, 5, 3), (2, 3, 4), (1, 3, 2)], "b": [(5, 2), (2,)], "still": [(1, 2)]}
"""Two exchanges in one partition, one replica, an order alone, a replica less, and one that stays."""
NODES = 6
GATE = Check("CellWanted", ok=False, evidence="a roll")
THEIRS = {"leader.replication.throttled.replicas": "7:1", "retention.ms": "1000"}

placements = st.lists(
    st.lists(st.sampled_from(range(1, NODES + 1)), min_size=1, max_size=3, unique=True).map(tuple),
    min_size=1,
    max_size=5,
)


def world() -> FakeKafka:
    kafka = cluster(BEFORE, NODES)
    kafka.topics["a"].config |= THEIRS
    return kafka


def leaders(kafka: FakeKafka) -> dict[str, list[int | None]]:
    return {name: [one.leader for one in topic.partitions] for name, topic in kafka.topics.items()}


def assert_as(kafka: FakeKafka, wanted: Placements, settings_before: Any) -> None:
    """What is left: replicas and leaders as wanted, nothing in flight, no throttle, no harm."""
    assert kafka.harms == []
    assert placed(kafka) == wanted
    assert leaders(kafka) == {name: [on[0] for on in partitions] for name, partitions in wanted.items()}
    assert kafka.in_flight() == {}
    assert settings_of(kafka) == settings_before


def test_it_ends_as_approved() -> None:
    kafka = world()
    run = Rebalancing(kafka, moves(BEFORE, AFTER))
    before = settings_of(kafka)
    operation = run.to_the_end()
    assert (operation.outcome, operation.already_done) == ("Succeeded", ())
    assert_as(kafka, AFTER, before)


def walked(permits: Callable[[int], Permit] = lambda _: FREE) -> Callable[[Deaths], Rebalancing]:
    return lambda deaths: Rebalancing(world(), moves(BEFORE, AFTER), deaths=deaths, permits=permits)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_before_and_after_each_call_it_ends_as_approved(when: str) -> None:
    number = 1
    while True:
        run = walked()(Deaths(number, when))
        before = settings_of(run.kafka)
        assert run.to_the_end().outcome == "Succeeded"
        assert_as(run.kafka, AFTER, before)
        if run.deaths.number > 0:
            assert number > 8, "every call of the plan was walked"
            return
        number += 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [2, 4, 6, 8, 9])
def test_cancelled_and_killed_at_each_call_it_ends_as_it_began(at: int, when: str) -> None:
    number = 1
    while True:
        run = walked(lambda passes: CANCEL if passes >= at else FREE)(Deaths(number, when))
        before = settings_of(run.kafka)
        assert run.to_the_end().outcome == "Cancelled"
        assert_as(run.kafka, BEFORE, before)
        if run.deaths.number > 0:
            return
        number += 1


kills = st.lists(st.sampled_from(("", "", "before the write", "before the act")), max_size=60)


@settings(max_examples=60, deadline=None)
@given(placements, st.data(), kills, st.integers(0, 3))
def test_any_proposal_ends_as_approved(
    before: list[tuple[int, ...]], data: st.DataObject, killed: list[str], copying: int
) -> None:
    after = [tuple(data.draw(st.permutations(range(1, NODES + 1)))[: len(on)]) for on in before]
    kafka = cluster({"t": before}, NODES)
    kafka.copying = copying
    run = Rebalancing(kafka, moves({"t": before}, {"t": after}))
    settings_before = settings_of(kafka)
    assert run.to_the_end(killed).outcome == "Succeeded"
    assert_as(kafka, {"t": after}, settings_before)


@settings(max_examples=60, deadline=None)
@given(placements, st.data(), kills, st.integers(0, 30), st.integers(0, 3))
def test_any_proposal_that_is_cancelled_ends_as_it_began_or_as_approved(
    before: list[tuple[int, ...]], data: st.DataObject, killed: list[str], at: int, copying: int
) -> None:
    after = [tuple(data.draw(st.permutations(range(1, NODES + 1)))[: len(on)]) for on in before]
    kafka = cluster({"t": before}, NODES)
    kafka.copying = copying
    run = Rebalancing(kafka, moves({"t": before}, {"t": after}), permits=lambda n: CANCEL if n >= at else FREE)
    settings_before = settings_of(kafka)
    outcome = run.to_the_end(killed).outcome
    assert_as(kafka, {"t": after} if outcome == "Succeeded" else {"t": before}, settings_before)


@pytest.mark.parametrize("held", [PAUSED, None], ids=["paused", "a gate"])
def test_what_holds_it_comes_between_batches_only(held: Check | None) -> None:
    """From any pass on: nothing stays throttled or in flight, and it goes on afterwards."""
    for at in range(9):

        def permits(passes: int, at: int = at) -> Permit:
            return Permit((PAUSED,)) if held and at <= passes < at + 12 else FREE

        def gates(passes: int, at: int = at) -> tuple[Check, ...]:
            return (GATE,) if not held and at <= passes < at + 12 else ()

        run = Rebalancing(world(), moves(BEFORE, AFTER), permits=permits, gates=gates)
        before = settings_of(run.kafka)
        for _ in range(at + 11):
            run.one_pass()
        assert run.operation.outcome is None
        assert settings_of(run.kafka) == before, "throttled while it waits"
        assert run.kafka.in_flight() == {}
        assert run.to_the_end().outcome == "Succeeded"
        assert_as(run.kafka, AFTER, before)


def moved_by_hand(run: Rebalancing, at: int, one: TopicPartition, to: tuple[int, ...]) -> None:
    def change(passes: int) -> None:
        found = run.kafka.partition(one)
        if passes == at and found is not None:
            found.place(to)
            found.isr, found.leader = to, to[0]

    run.before_pass = change


def test_a_plan_that_is_stale_from_the_start_touches_nothing() -> None:
    run = walked()(Deaths())
    moved_by_hand(run, 0, TopicPartition("a", 1), (2, 6, 1))
    before = settings_of(run.kafka)
    operation = run.to_the_end()
    assert (operation.outcome, operation.ending.why.name if operation.ending else "") == ("Failed", "PlanStale")
    assert "a-1 was to go from 2,3,1 to 2,3,4 and is 2,6,1 now" in operation.message
    assert run.deaths.calls == 0
    assert_as(run.kafka, {**BEFORE, "a": [(1, 2, 3), (2, 6, 1), (3, 1, 2)]}, before)


def test_a_plan_that_becomes_stale_is_undone_and_what_others_moved_is_left() -> None:
    run = walked()(Deaths())
    moved_by_hand(run, 5, TopicPartition("a", 0), (6, 2, 3))
    before = settings_of(run.kafka)
    operation = run.to_the_end()
    assert operation.outcome == "RolledBack"
    assert operation.ending is not None
    assert operation.ending.why.name == "PlanStale"
    assert_as(run.kafka, {**BEFORE, "a": [(6, 2, 3), (2, 3, 1), (3, 1, 2)]}, before)
    assert any("left there: a-0" in entry.message for entry in operation.journal)


@pytest.mark.parametrize("ends", ["Cancelled", "RolledBack"])
def test_a_batch_that_somebody_else_has_moved_already_leaves_no_throttle(ends: str) -> None:
    """It copies nothing, and its throttle comes and goes all the same when what follows is undone."""
    kafka = cluster({"t": [(1, 2), (1, 2)]}, NODES)
    run = Rebalancing(kafka, moves({"t": [(1, 2), (1, 2)]}, {"t": [(1, 3), (1, 3)]}), per_broker=1)
    kafka.copying, before = 1000, settings_of(kafka)
    first, second = kafka.topics["t"].partitions[1], kafka.topics["t"].partitions[0]
    first.place((1, 3))
    first.isr = (1, 3)

    def others(_: int) -> None:
        if ends == "RolledBack" and second.in_flight:
            second.place((5, 6))
            second.isr, second.leader = (5, 6), 5

    run.before_pass = others
    run.permits = lambda _: CANCEL if ends == "Cancelled" and second.in_flight else FREE
    assert run.to_the_end().outcome == ends
    assert_as(kafka, {"t": [(1, 2) if ends == "Cancelled" else (5, 6), (1, 3)]}, before)


def test_a_broker_that_left_for_good_makes_it_stale_and_one_that_is_down_is_awaited() -> None:
    run = walked()(Deaths())
    run.kafka.stop_broker(4)
    run.before_pass = lambda passes: run.kafka.start_broker(4) if passes == 10 else None
    assert run.to_the_end().outcome == "Succeeded"
    assert "BrokerNotRegistered" in run.waited
    run = walked()(Deaths())
    run.kafka.stop_broker(4)
    run.kafka.unregistered.add(4)
    operation = run.to_the_end()
    assert operation.outcome == "Failed"
    assert "not in the cluster any more" in operation.message


def test_a_broker_that_dies_under_a_batch_and_stays_away_gives_the_cell_back() -> None:
    run = walked()(Deaths())
    run.before_pass = lambda _: run.kafka.stop_broker(4) if run.kafka.in_flight() else None
    before = settings_of(run.kafka)
    operation = run.to_the_end()
    assert (operation.outcome, operation.ending.why.name if operation.ending else "") == (
        "RolledBack",
        "BrokerNotRegistered",
    )
    assert run.passes * 3 > ABSENT_SECONDS
    assert_as(run.kafka, BEFORE, before)


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("order", [(1, 2, 3), (2, 3, 1)])
def test_a_way_back_to_a_broker_that_is_gone_is_given_up_and_named(order: tuple[int, ...], registered: bool) -> None:  # noqa: FBT001 - pytest
    """Of two that have arrived, the one whose old broker is dead stays where it is; the other goes back."""
    before, after = [order, (3, 1)], [tuple(4 if one == 2 else one for one in order), (3, 5)]
    kafka = cluster({"t": before}, NODES)
    run = Rebalancing(kafka, moves({"t": before}, {"t": after}), per_broker=5)
    settings_before = settings_of(kafka)

    def dies(_: int) -> None:
        if run.operation.direction == "Back" and 2 in kafka.up:
            kafka.stop_broker(2)
            kafka.unregistered |= set() if registered else {2}

    run.before_pass = dies
    run.permits = lambda _: CANCEL if placed(kafka) == {"t": after} else FREE
    operation = run.to_the_end()
    assert operation.outcome == "Cancelled"
    left, back = placed(kafka)["t"]
    assert (set(left), back) == (set(after[0]), before[1])
    assert kafka.in_flight() == {}
    assert settings_of(kafka) == settings_before
    assert any("left there: t-0 (broker 2 is gone)" in entry.message for entry in operation.journal)
    assert (run.passes * 3 > ABSENT_SECONDS) is registered


def test_a_way_back_waits_for_a_broker_that_is_only_restarted() -> None:
    run = walked()(Deaths())
    before = settings_of(run.kafka)
    down: list[int] = []

    def restarts(passes: int) -> None:
        if run.operation.direction == "Back" and not down:
            run.kafka.stop_broker(2)
            down.append(passes)
        elif down and passes == down[0] + 20:
            run.kafka.start_broker(2)

    run.before_pass = restarts
    run.permits = lambda passes: CANCEL if passes >= 9 else FREE
    assert run.to_the_end().outcome == "Cancelled"
    assert down
    assert placed(run.kafka) == BEFORE
    assert settings_of(run.kafka) == before


def test_a_broker_that_dies_before_the_batch_is_begun_leaves_no_throttle_to_the_next_in_the_cell() -> None:
    run = walked()(Deaths())
    before = settings_of(run.kafka)
    run.before_pass = lambda _: run.kafka.stop_broker(4) if settings_of(run.kafka) != before else None
    operation = run.to_the_end()
    assert operation.outcome in {"Failed", "RolledBack"}
    assert operation.ending is not None
    assert operation.ending.why.name == "BrokerNotRegistered"
    assert_as(run.kafka, BEFORE, before)


def test_a_batch_whose_source_is_lost_gives_the_cell_back() -> None:
    """Nobody is left to copy from: it does not end by itself."""
    kafka = cluster({"t": [(1,), (2, 3)]}, NODES)
    run = Rebalancing(kafka, moves({"t": [(1,), (2, 3)]}, {"t": [(4,), (2, 5)]}))
    kafka.copying, before = 1000, settings_of(kafka)
    run.before_pass = lambda _: kafka.stop_broker(1) if kafka.in_flight() else None
    operation = run.to_the_end()
    assert (operation.outcome, operation.ending.why.name if operation.ending else "") == (
        "RolledBack",
        "PartitionsOffline",
    )
    assert placed(kafka) == {"t": [(1,), (2, 3)]}
    assert (kafka.in_flight(), settings_of(kafka)) == ({}, before)


@pytest.mark.parametrize("catches_up", [True, False])
def test_fewer_replicas_never_mean_fewer_in_sync_than_writes_need(catches_up: bool) -> None:  # noqa: FBT001 - pytest
    """Min ISR is 2 and one of the two that stay lags: it has to catch up first, or the batch is given up."""
    kafka = cluster({"t": [(1, 2, 3)]}, NODES)
    one = kafka.topics["t"].partitions[0]
    one.isr, before = (1, 3), settings_of(kafka)
    run = Rebalancing(kafka, moves({"t": [(1, 2, 3)]}, {"t": [(1, 2)]}))

    def checked(passes: int) -> None:
        if passes == 20 and catches_up:
            one.isr = (1, 3, 2)
        assert len(one.replicas) == 3 or 2 in one.isr

    run.before_pass = checked
    operation = run.to_the_end()
    assert "UnderMinIsr" in run.waited
    assert operation.outcome == ("Succeeded" if catches_up else "RolledBack"), operation.message
    assert placed(kafka) == {"t": [(1, 2) if catches_up else (1, 2, 3)]}
    assert settings_of(kafka) == before


def test_fewer_replicas_than_min_isr_asks_for_all_of_them_in_sync() -> None:
    kafka = cluster({"t": [(1, 2, 3)]}, NODES)
    assert Rebalancing(kafka, moves({"t": [(1, 2, 3)]}, {"t": [(1,)]})).to_the_end().outcome == "Succeeded"


def test_a_topic_that_is_deleted_keeps_nobody_from_the_others() -> None:
    run = walked()(Deaths())
    run.before_pass = lambda passes: run.kafka.topics.pop("b", None) if passes == 4 else None
    before = settings_of(run.kafka)
    assert run.to_the_end().outcome == "Succeeded"
    rest = {name: partitions for name, partitions in AFTER.items() if name != "b"}
    assert_as(run.kafka, rest, ({name: config for name, config in before[0].items() if name != "b"}, before[1]))


def test_a_broker_that_is_a_moment_behind_is_not_believed_too_soon() -> None:
    """Where replicas are is told late; nobody takes that for somebody else's doing, and nothing is left."""

    class Behind(FakeKafkaAdmin):
        """Metadata and topics' settings as they were a few looks ago."""

        def __init__(self, inner: FakeKafkaAdmin) -> None:
            super().__init__(inner.kafka)
            self._inner = inner
            self._seen: list[Any] = []
            self._settings: list[Any] = []

        def __getattribute__(self, name: str) -> Any:
            mine = {"observe", "settings", "_inner", "_seen", "_settings"}
            return super().__getattribute__(name) if name in mine else getattr(self._inner, name)

        async def observe(self) -> Any:
            self._seen = [*self._seen[-2:], await self._inner.observe()]
            return self._seen[0]

        async def settings(self, topics: Any) -> Any:
            self._settings = [*self._settings[-1:], await self._inner.settings(list(self.kafka.topics))]
            of_topics, of_brokers = self._settings[0]
            return {name: config for name, config in of_topics.items() if name in topics}, of_brokers

    for permits in (lambda _: FREE, lambda passes: CANCEL if passes >= 9 else FREE):
        kafka = world()
        run = Rebalancing(kafka, moves(BEFORE, AFTER), wrap=Behind, permits=permits)
        before = settings_of(kafka)
        outcome = run.to_the_end().outcome
        assert outcome in {"Succeeded", "Cancelled"}
        assert_as(kafka, AFTER if outcome == "Succeeded" else BEFORE, before)


def without(verb: str, change: dict[str, Any]) -> Rebalancing:
    """A plan with every step of one verb made another one."""
    run = walked()(Deaths())
    steps = {
        number: step.model_copy(update=change) if step.verb == verb else step for number, step in run.plan.steps.items()
    }
    run.plan = type(run.plan)(run.plan.count, steps)
    return run


def test_control_a_throttle_that_is_not_lifted_is_found() -> None:
    run = without(LIFT_THROTTLE, {"verb": "ElectLeaders"})
    before = settings_of(run.kafka)
    run.to_the_end()
    with pytest.raises(AssertionError):
        assert_as(run.kafka, AFTER, before)


def test_control_copies_without_a_throttle_are_found() -> None:
    run = without(SET_THROTTLE, {"verb": "ElectLeaders"})
    run.to_the_end()
    assert any("copied without a throttle" in harm for harm in run.kafka.harms)


def test_control_more_than_a_broker_may_get_is_found() -> None:
    kafka = world()
    run = Rebalancing(kafka, moves(BEFORE, AFTER), per_broker=5)
    run.per_broker = 1
    run._live()
    run.to_the_end()
    assert any("copies to broker" in harm for harm in kafka.harms)


def test_control_a_way_back_that_forgets_a_partition_is_found() -> None:
    run = walked(lambda passes: CANCEL if passes >= 9 else FREE)(Deaths())
    before = settings_of(run.kafka)
    forgetful = run.verbs[MOVE_BACK]
    run.verbs = {**run.verbs, MOVE_BACK: run.verbs["ElectLeaders"]}
    assert forgetful is not run.verbs[MOVE_BACK]
    run.to_the_end()
    with pytest.raises(AssertionError):
        assert_as(run.kafka, BEFORE, before)


LED_BY_ONE = {"t": [(2, 1, 3), (4, 1, 5), (6, 1, 9)]}
TO_OTHERS = {"t": [(2, 1, 7), (4, 1, 8), (6, 1, 10)]}


def led_by_one() -> FakeKafka:
    """No partition is led by whom it was to be: broker 1 has to serve all of them."""
    kafka = cluster(LED_BY_ONE, 10)
    for partition in kafka.topics["t"].partitions:
        partition.leader = 1
    kafka.copying = 2
    return kafka


@pytest.mark.parametrize("at", [None, 3, 6, 8])
def test_a_broker_that_leads_more_than_it_was_to_serves_no_more_at_the_same_time(at: int | None) -> None:
    kafka = led_by_one()
    run = Rebalancing(
        kafka,
        moves(LED_BY_ONE, TO_OTHERS),
        per_broker=1,
        permits=lambda passes: CANCEL if at is not None and passes >= at else FREE,
    )
    assert sum(step.verb == MOVE_REPLICAS for step in run.plan.steps.values()) == 1, "one batch, by preferred leaders"
    assert run.to_the_end().outcome == ("Succeeded" if at is None else "Cancelled")
    assert kafka.harms == []
    assert placed(kafka) == (TO_OTHERS if at is None else LED_BY_ONE)


def test_control_a_plan_that_does_not_say_how_many_has_them_served_at_once() -> None:
    kafka = led_by_one()
    run = Rebalancing(kafka, moves(LED_BY_ONE, TO_OTHERS), per_broker=1)
    run.forget(PER_BROKER)
    run.to_the_end()
    assert kafka.harms == ["3 copies from broker 1"]


def test_a_batch_waits_for_room_on_the_brokers_that_it_goes_to() -> None:
    """Replicas have grown since the plan was made: broker 4 has no room for both any more."""
    before, after = {"t": [(1, 2), (3, 2)]}, {"t": [(1, 4), (3, 4)]}
    kafka = cluster(before, 4)
    run = Rebalancing(kafka, moves(before, after), room={4: 3000}, capacities={4: 3000})
    for partition in kafka.topics["t"].partitions:
        partition.size = 2000
    for _ in range(20):
        run.one_pass()
    assert run.operation.step is not None
    (check,) = run.operation.step.checks
    assert check.name == "CapacityShort"
    assert "Broker 4 would get 4000 bytes" in check.evidence
    assert "1000 bytes too much" in check.evidence
    assert (placed(kafka), kafka.in_flight(), settings_of(kafka)[1]) == (before, {}, {})
    run.capacities[4] = 4000
    assert run.to_the_end().outcome == "Succeeded"
    assert placed(kafka) == after
