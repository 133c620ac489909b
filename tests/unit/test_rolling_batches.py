"""How a batch is chosen, gone on with and given up, one situation a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from property.model import ModelCluster, everywhere
from property.strategies import Shape, crashing, pod, starting, terminating, unscheduled

from controlplane.api.rollout import Rollout
from controlplane.domain.check import Check
from controlplane.domain.observation import ClusterObservation, PartitionObservation, PodObservation, TopicPartition
from controlplane.domain.rolling import colouring
from controlplane.domain.rolling.batches import as_if_back, plan_batches, unavailable_limit
from controlplane.domain.rolling.colouring import Conflicts, colour
from controlplane.domain.rolling.operation import PARAMETER_LIMIT, from_operation, plan_of, to_operation
from controlplane.domain.rolling.planner import plan_roll
from controlplane.domain.rolling.values import (
    Action,
    AwaitNode,
    Blocked,
    ElectLeaders,
    Intent,
    RollProgress,
    RollTarget,
    StartNode,
    Step,
    StopNode,
    UnprotectedPolicy,
)

SHAPE = Shape((20, 21, 22), tuple(range(9)))
"""Brokers 0, 3, 6 are in rack a, 1, 4, 7 in b, 2, 5, 8 in c."""
RACK_A = (0, 3, 6)


def partition(
    number: int, *replicas: int, isr: tuple[int, ...] | None = None, minimum: int = 2
) -> PartitionObservation:
    in_sync = replicas if isr is None else isr
    return PartitionObservation("t", number, in_sync[0] if in_sync else None, replicas, in_sync, minimum)


AWARE = (partition(0, 0, 1, 2), partition(1, 3, 4, 5), partition(2, 6, 7, 8))


def calm(*partitions: PartitionObservation) -> ClusterObservation:
    made = ModelCluster.healthy(SHAPE, Random(3), topics=0)
    made.active = 20
    made.partitions = list(partitions or AWARE)
    return made.observe()


def brokers_only(limit: int = 3) -> RollTarget:
    target = everywhere(SHAPE, "new")
    nodes = tuple(replace(n, spec_hash="old") if n.node in SHAPE.controllers else n for n in target.nodes)
    return replace(target, nodes=nodes, max_unavailable=limit)


def with_pods(observation: ClusterObservation, pods: dict[int, PodObservation | None]) -> ClusterObservation:
    nodes = tuple(replace(n, pod=pods[n.id]) if n.id in pods else n for n in observation.nodes)
    return replace(observation, nodes=nodes)


def down(observation: ClusterObservation, *brokers: int, pods: PodObservation | None = None) -> ClusterObservation:
    """These brokers out of every ISR and unregistered, their old pods stopping or as given."""
    kafka = observation.kafka
    assert kafka
    partitions = tuple(
        replace(p, isr=left, leader=p.leader if p.leader in left else next(iter(left), None))
        for p in kafka.partitions
        if (left := tuple(b for b in p.isr if b not in brokers)) or True
    )
    kafka = replace(kafka, brokers=tuple(b for b in kafka.brokers if b.id not in brokers), partitions=partitions)
    given = {b: replace(pods, name=f"demo-{b}") if pods else terminating(replace(pod(b), ready=False)) for b in brokers}
    return with_pods(replace(observation, kafka=kafka), dict(given))


def under_way(*stopped: int, batch: tuple[int, ...] = RACK_A, limit: int = 3) -> RollProgress:
    return RollProgress(
        "roll-1",
        "",
        Step.STOPPING,
        Intent(Step.STOPPING, stopped[-1], f"uid-{stopped[-1]}-gone"),
        {node: frozenset() for node in stopped},
        batches=(batch, (1, 4, 7), (2, 5, 8)),
        batch_limit=limit,
    )


def act(observation: ClusterObservation, progress: RollProgress, target: RollTarget | None = None) -> Action:
    return plan_roll(observation, target or brokers_only(), progress).action


def test_the_batches_are_written_down_with_the_first_stop() -> None:
    transition = plan_roll(calm(), brokers_only(), RollProgress("roll-1", ""))
    assert transition.action == StopNode(0, "demo-0", "uid-0-old")
    assert transition.progress.batches == (RACK_A, (1, 4, 7), (2, 5, 8))
    assert transition.progress.batch_limit == 3


def test_the_next_member_is_stopped_while_the_first_is_stopping_or_starting() -> None:
    assert act(down(calm(), 0), under_way(0)) == StopNode(3, "demo-3", "uid-3-old")
    assert act(with_pods(down(calm(), 0), {0: None}), under_way(0)) == StartNode(0)
    fresh = starting(pod(0, spec_hash="new"))
    assert act(down(calm(), 0, pods=fresh), under_way(0)) == StopNode(3, "demo-3", "uid-3-old")


def test_a_batch_that_is_all_down_is_awaited_and_its_leaders_return_together() -> None:
    assert isinstance(act(down(calm(), 0, 3, 6), under_way(*RACK_A)), AwaitNode)
    back = with_pods(calm(), {b: pod(b, spec_hash="new") for b in RACK_A})
    kafka = back.kafka
    assert kafka
    led = tuple(replace(p, leader=p.replicas[1]) for p in kafka.partitions)
    action = act(replace(back, kafka=replace(kafka, partitions=led)), under_way(*RACK_A))
    assert action == ElectLeaders(tuple(p.id for p in led))
    following = plan_roll(back, brokers_only(), under_way(*RACK_A))
    assert isinstance(following.action, StopNode)
    assert following.action.node == 1
    assert following.progress.batches == ((1, 4, 7), (2, 5, 8)), "as it was planned"


@pytest.mark.parametrize(
    "trouble",
    [
        crashing,
        unscheduled,
        lambda p: replace(starting(p), waiting_reason="ImagePullBackOff"),
        lambda p: replace(starting(p), restarts=1),
        lambda p: replace(starting(p), ended=True),
        lambda p: replace(starting(p), format_message="DiskLost: empty"),
    ],
    ids=["crash loop", "no place", "no image", "restarted once", "ended", "refuses to format"],
)
def test_a_symptom_of_one_member_holds_the_others(trouble: Callable[[PodObservation], PodObservation]) -> None:
    action = act(down(calm(), 0, pods=trouble(pod(0, spec_hash="new"))), under_way(0))
    assert isinstance(action, AwaitNode)
    assert action.node == 0


def test_what_is_normal_in_a_start_is_no_symptom() -> None:
    fresh = replace(
        starting(pod(0, spec_hash="new")), waiting_reason="PodInitializing", format_message='{"directoryIds": {}}'
    )
    action = act(down(calm(), 0, pods=fresh), under_way(0))
    assert isinstance(action, StopNode)


@pytest.mark.parametrize(
    ("partitions", "why"),
    [
        ((partition(0, 0, 3, 1),), "they share a partition that can lose one"),
        ((partition(0, 3, 1, 2, isr=(3, 1)),), "another replica has fallen out"),
        ((*AWARE, partition(3, 0, isr=(), minimum=1)), "a partition of theirs has no leader"),
    ],
)
def test_each_stop_is_judged_again_with_all_that_is_down(
    partitions: tuple[PartitionObservation, ...], why: str
) -> None:
    assert isinstance(act(down(calm(*partitions), 0), under_way(0, batch=(0, 3))), AwaitNode), why


def test_a_member_that_may_not_go_does_not_keep_the_others() -> None:
    action = act(down(calm(partition(0, 0, 3, 1)), 0), under_way(0))
    assert isinstance(action, StopNode)
    assert action.node == 6


def test_a_member_that_is_out_of_sync_for_what_is_down_waits_so_that_its_record_is_true() -> None:
    observation = calm(partition(0, 0, 3, 1, 2, isr=(0, 1, 2)))
    action = act(down(observation, 0), under_way(0, batch=(0, 3)))
    assert isinstance(action, AwaitNode)


def test_trouble_elsewhere_a_reassignment_or_a_hold_stops_a_batch_between_nodes() -> None:
    observation = down(calm(), 0)
    assert isinstance(act(with_pods(observation, {5: starting(pod(5, spec_hash="new"))}), under_way(0)), AwaitNode)
    assert observation.kafka
    moving = replace(observation, kafka=replace(observation.kafka, reassigning=(TopicPartition("t", 0),)))
    assert isinstance(act(moving, under_way(0)), AwaitNode)
    held = replace(brokers_only(), holds=(Check("Paused", ok=False, evidence="e", remedy="r"),))
    assert isinstance(act(observation, under_way(0), held), AwaitNode)
    assert isinstance(act(replace(observation, kafka=None), under_way(0)), AwaitNode)


def test_controllers_that_a_new_spec_reaches_go_before_the_rest_of_a_batch() -> None:
    everything = replace(everywhere(SHAPE, "newer"), max_unavailable=3)
    assert isinstance(act(down(calm(), 0), under_way(0), everything), AwaitNode)


def test_a_lower_limit_counts_at_once_and_one_ends_the_batches() -> None:
    observation = down(calm(), 0, 3)
    assert isinstance(act(observation, under_way(0, 3)), StopNode)
    for limit in (2, 1):
        transition = plan_roll(observation, brokers_only(limit), under_way(0, 3))
        assert isinstance(transition.action, AwaitNode)
        assert transition.progress.batches[0] == (RACK_A if limit == 2 else (0, 3))


def test_another_limit_plans_the_rest_anew() -> None:
    progress = replace(under_way(0, batch=(0,), limit=1), replicas_out_before={}, intent=None)
    transition = plan_roll(calm(), brokers_only(), progress)
    assert transition.progress.batches[0] == RACK_A


def test_a_stop_that_did_not_happen_comes_before_the_other_members() -> None:
    progress = replace(under_way(0, 3), intent=Intent(Step.STOPPING, 6, "uid-6-old"))
    action = act(down(calm(), 0, 3), progress)
    assert action == StopNode(6, "demo-6", "uid-6-old")
    progress = replace(under_way(0), intent=Intent(Step.STOPPING, 6, "uid-6-old"))
    assert act(down(calm(), 0), progress) == StopNode(6, "demo-6", "uid-6-old")


def test_controllers_combined_nodes_and_brokers_without_a_rack_go_alone() -> None:
    combined = Shape((0, 1, 2), (0, 1, 2, 3, 4, 5))
    made = ModelCluster.healthy(combined, Random(1), topics=0)
    made.active = 1
    found = plan_batches(made.observe(), combined.ids, 5, UnprotectedPolicy.BLOCK)
    assert found.batches == ((0,), (2,), (1,), (3,), (4,), (5,))
    nowhere = {b: replace(pod(b), rack=None) for b in SHAPE.brokers}
    found = plan_batches(with_pods(calm(), dict(nowhere)), SHAPE.brokers, 9, UnprotectedPolicy.BLOCK)
    assert (len(found.batches), found.lower_bound) == (9, 9)


def test_what_is_down_for_this_roll_is_shown_as_if_it_were_back() -> None:
    out = TopicPartition("t", 1)
    whole = calm(partition(0, 0, 1, 2), partition(1, 0, 4, 5, 8, isr=(4, 5, 8)))
    broken = with_pods(down(whole, 0), {0: None})
    seen = as_if_back(broken, {0: frozenset({out})})
    assert seen.kafka
    assert whole.kafka
    assert [set(p.isr) for p in seen.kafka.partitions] == [{0, 1, 2}, {4, 5, 8}]
    assert {b.id for b in seen.kafka.brokers} == {b.id for b in whole.kafka.brokers}
    left = tuple(b for b in SHAPE.brokers if b != 0)
    assert plan_batches(broken, left, 3, UnprotectedPolicy.BLOCK).held == (1, 2)
    assert plan_batches(seen, left, 3, UnprotectedPolicy.BLOCK) == plan_batches(whole, left, 3, UnprotectedPolicy.BLOCK)
    assert as_if_back(broken, {}) is broken


def test_who_may_not_be_stopped_now_is_held_and_blocks_only_when_nobody_else_may_go() -> None:
    low = calm(partition(0, 0, 1, 2, isr=(0, 1)))
    found = plan_batches(low, SHAPE.brokers, 3, UnprotectedPolicy.BLOCK)
    assert (found.held, found.lower_bound) == ((0, 1), 3)
    action = act(low, RollProgress("roll-1", ""))
    assert isinstance(action, StopNode)
    assert action.node == 3
    rest = replace(brokers_only(), nodes=tuple(n for n in brokers_only().nodes if n.node in {0, 1}))
    assert isinstance(act(low, RollProgress("roll-1", ""), rest), Blocked)


def test_a_partition_that_can_lose_two_allows_two_of_three() -> None:
    found = plan_batches(calm(partition(0, 0, 3, 6, 1, minimum=2)), RACK_A, 3, UnprotectedPolicy.BLOCK)
    assert sorted(map(len, found.batches)) == [1, 2]
    assert found.exact


@pytest.mark.parametrize(
    ("declared", "brokers", "limit"),
    [(1, 9, 1), (3, 9, 3), ("25%", 9, 2), ("10%", 9, 1), ("1%", 5, 1), ("100%", 9, 9), ("34%", 3, 1)],
)
def test_a_percentage_is_of_the_brokers_rounded_down_and_at_least_one(
    declared: int | str, brokers: int, limit: int
) -> None:
    assert Rollout(max_unavailable=declared).max_unavailable == declared
    assert unavailable_limit(declared, brokers) == limit


@pytest.mark.parametrize("declared", [0, -1, True, "0%", "101%", "3", "25 %", "-5%", "%", "25%\n", 2.5])
def test_what_is_no_limit_is_refused_by_its_path(declared: object) -> None:
    with pytest.raises(ValueError, match="maxUnavailable"):
        Rollout.model_validate({"maxUnavailable": declared})


def test_the_limit_is_part_of_what_is_approved_and_one_changes_no_hash() -> None:
    before = everywhere(SHAPE, "new")
    assert "maxUnavailable" not in plan_of(before).constraints
    assert plan_of(brokers_only(2)).hash != plan_of(brokers_only(3)).hash


def test_batches_survive_the_status_and_what_does_not_fit_is_left_for_later() -> None:
    transition = plan_roll(calm(), brokers_only(), RollProgress("roll-1", ""))
    read = from_operation(to_operation(transition, brokers_only(), None, message="", now=0.0))
    assert read.batches == transition.progress.batches
    assert read.batch_limit == 3
    many = tuple(tuple(range(start, start + 30)) for start in range(1000, 1600, 30))
    long = replace(transition, progress=replace(transition.progress, batches=many))
    operation = to_operation(long, brokers_only(), None, message="", now=0.0)
    assert operation.step
    assert len(operation.step.parameters["batches"]) <= PARAMETER_LIMIT
    kept = from_operation(operation).batches
    assert kept[:-1] == many[: len(kept) - 1]
    assert kept[-1] == many[len(kept) - 1][: len(kept[-1])]
    assert len(kept) > 1


def ring(count: int) -> Conflicts:
    return Conflicts(count, tuple((1 << (v + 1) % count) | (1 << (v - 1) % count) for v in range(count)))


@pytest.mark.parametrize(
    ("conflicts", "classes"),
    [
        (Conflicts(3, ()), 0),
        (Conflicts(3, (0,) * 7), 3),
        (ring(6), 2),
        (ring(7), 3),
        (Conflicts(5, tuple(0b11111 & ~(1 << v) for v in range(5))), 5),
        (Conflicts(9, (0,) * 4, ((0b1111, 2),)), 2),
    ],
    ids=["nothing", "capacity", "even ring", "odd ring", "clique", "crowd"],
)
def test_known_optima_are_found_and_proven(conflicts: Conflicts, classes: int) -> None:
    found = colour(conflicts)
    assert (len(found.classes), found.lower_bound) == (classes, classes)


def test_a_search_that_runs_out_of_steps_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd ring needs three; its clique is two, and only the largest class or the search shows the third."""
    monkeypatch.setattr(colouring, "SEARCH_STEPS", 1)
    found = colour(ring(7))
    assert (len(found.classes), found.lower_bound) == (3, 1)


def test_batches_none_of_which_may_go_any_more_are_planned_anew() -> None:
    """A partition made since: what was planned together shares it, and would else go one by one to the end."""
    since = calm(partition(0, 0, 3, 1), partition(1, 1, 4, 2), partition(2, 2, 5, 0))
    planned = ((0, 3), (1, 4), (2, 5))
    left = [n for batch in planned for n in batch]
    rest = tuple(n if n.node in left else replace(n, spec_hash="old") for n in brokers_only().nodes)
    progress = RollProgress("roll-1", "", batches=planned, batch_limit=3)
    transition = plan_roll(since, replace(brokers_only(), nodes=rest), progress)
    assert isinstance(transition.action, StopNode)
    assert transition.progress.batches == plan_batches(since, left, 3, UnprotectedPolicy.BLOCK).batches
    # One that may still go is gone on with: what else was planned keeps until it has.
    some = calm(partition(0, 0, 3, 1), partition(1, 1, 4, 2))
    transition = plan_roll(some, replace(brokers_only(), nodes=rest), progress)
    assert transition.progress.batches == ((2, 5), (0, 3), (1, 4))


def test_batches_that_cannot_be_planned_any_better_stay_as_they_are() -> None:
    low = calm(*(partition(b, b, 8, 7, isr=(b, 8)) for b in range(7)))
    progress = RollProgress("roll-1", "", batches=(RACK_A,), batch_limit=3)
    target = brokers_only()
    rest = tuple(n if n.node in RACK_A else replace(n, spec_hash="old") for n in target.nodes)
    transition = plan_roll(low, replace(target, nodes=rest), progress)
    assert isinstance(transition.action, Blocked)
    assert transition.progress.batches == (RACK_A,)


def half_back(limit: int, *stopped: int) -> tuple[ClusterObservation, RollTarget, RollProgress]:
    """These run again and are in sync, and not ready yet; node 1 has crashed on what it ran and waits for the spec."""
    observation = calm(partition(0, 0, 1, 2))
    fresh = {b: starting(pod(b, spec_hash="new")) for b in stopped}
    observation = with_pods(observation, {**fresh, 1: starting(pod(1))})
    return observation, brokers_only(limit), under_way(*stopped)


@pytest.mark.parametrize("limit", [3, 2, 1])
def test_several_that_are_down_are_not_counted_upon_whatever_the_limit_is_now(limit: int) -> None:
    transition = plan_roll(*half_back(limit, 0, 3))
    assert isinstance(transition.action, AwaitNode)
    assert transition.action.node == 0
    assert transition.progress.batches == (RACK_A, (1, 4, 7), (2, 5, 8)) if limit > 1 else ((0, 3),)
    # The status carries that they are several, so the next pass knows it as well.
    operation = to_operation(transition, brokers_only(limit), None, message="", now=0.0)
    observation, target, _ = half_back(limit, 0, 3)
    assert isinstance(act(observation, from_operation(operation), target), AwaitNode)


def test_one_node_at_a_time_judges_what_is_not_up_as_it_always_has() -> None:
    """Without a batch on record two nodes that had crashed and were stopped count as soon as they run."""
    observation, target, progress = half_back(1, 0, 3)
    never = replace(progress, batches=(), batch_limit=1)
    assert plan_roll(observation, target, never).action == StopNode(1, "demo-1", "uid-1-old")
    assert plan_roll(*half_back(1, 0)).action == StopNode(1, "demo-1", "uid-1-old"), "one is no batch"
