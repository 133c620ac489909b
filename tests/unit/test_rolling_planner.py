"""The planner's answers, one situation a test: what it does, and what it tells the person who waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from property.model import ModelCluster, everywhere
from property.strategies import NOW, Shape, crashing, pod, starting, terminating

from controlplane.domain.check import Check
from controlplane.domain.observation import (
    ClusterObservation,
    KafkaObservation,
    PartitionObservation,
    PodObservation,
    QuorumObservation,
    TopicPartition,
    VoterObservation,
)
from controlplane.domain.rolling.planner import plan_roll, to_restart
from controlplane.domain.rolling.values import (
    Action,
    AwaitNode,
    Blocked,
    Done,
    ElectLeaders,
    Finalise,
    Intent,
    RollProgress,
    RollTarget,
    Soak,
    StartNode,
    Step,
    StopNode,
    UnprotectedPolicy,
)

COMBINED = Shape((0, 1, 2), (0, 1, 2))
APART = Shape((10, 11, 12), (0, 1, 2))
SINGLE = Shape((0,), (0,))
FRESH = RollProgress("roll-1", "")


def calm(shape: Shape, *, active: int | None = None) -> ClusterObservation:
    cluster = ModelCluster.healthy(shape, Random(3))
    cluster.active = active if active is not None else shape.controllers[0]
    cluster.partitions = [partition(0, replicas=shape.brokers[:3])]
    return cluster.observe()


def partition(
    number: int, *, replicas: tuple[int, ...], isr: tuple[int, ...] | None = None, min_isr: int = 2
) -> PartitionObservation:
    in_sync = replicas if isr is None else isr
    return PartitionObservation("t", number, in_sync[0] if in_sync else None, replicas, in_sync, min_isr)


def with_pods(observation: ClusterObservation, pods: dict[int, PodObservation | None]) -> ClusterObservation:
    nodes = tuple(replace(n, pod=pods[n.id]) if n.id in pods else n for n in observation.nodes)
    return replace(observation, nodes=nodes)


def kafka(observation: ClusterObservation) -> KafkaObservation:
    assert observation.kafka
    return observation.kafka


def quorum(observation: ClusterObservation) -> QuorumObservation:
    assert observation.quorum
    return observation.quorum


def with_partitions(observation: ClusterObservation, *partitions: PartitionObservation) -> ClusterObservation:
    return replace(observation, kafka=replace(kafka(observation), partitions=partitions))


def lagging(observation: ClusterObservation, *nodes: int) -> ClusterObservation:
    voters = tuple(
        VoterObservation(v.id, v.directory_id, 9, 40, caught_up=False) if v.id in nodes else v
        for v in quorum(observation).voters
    )
    return replace(observation, quorum=replace(quorum(observation), voters=voters))


def reasons(action: Action) -> list[str]:
    assert isinstance(action, Blocked | AwaitNode)
    return [check.name for check in action.checks]


def plan(observation: ClusterObservation, target: RollTarget, progress: RollProgress = FRESH) -> Action:
    return plan_roll(observation, target, progress).action


def stopped(node: int, out: frozenset[TopicPartition] = frozenset()) -> RollProgress:
    return replace(FRESH, step=Step.AWAITING, intent=Intent(Step.AWAITING, node), replicas_out_before={node: out})


def test_controllers_go_first_by_rack_and_the_active_one_last() -> None:
    assert to_restart(calm(APART, active=11), everywhere(APART, "new")) == (12, 10, 11, 0, 1, 2)
    assert to_restart(calm(COMBINED, active=0), everywhere(COMBINED, "new")) == (1, 2, 0)
    assert to_restart(calm(COMBINED), everywhere(COMBINED, "old")) == ()


def test_the_intent_is_written_with_the_uid_and_what_was_out_before() -> None:
    observation = with_partitions(
        calm(COMBINED, active=0),
        partition(0, replicas=(0, 1, 2)),
        partition(1, replicas=(0, 1, 2), isr=(0, 2)),
    )
    transition = plan_roll(observation, everywhere(COMBINED, "new"), FRESH)
    out = TopicPartition("t", 1)
    assert transition.action == StopNode(1, "demo-1", "uid-1-old", (out,))
    assert transition.progress.step is Step.STOPPING
    assert transition.progress.intent == Intent(Step.STOPPING, 1, "uid-1-old")
    assert transition.progress.replicas_out_before == {1: frozenset({out})}


def test_a_stopped_node_is_started_then_awaited_until_every_replica_but_those_is_in_sync() -> None:
    out = TopicPartition("t", 1)
    observation, target = calm(COMBINED, active=0), everywhere(COMBINED, "new")
    assert plan(with_pods(observation, {1: None}), target, stopped(1)) == StartNode(1)
    back = with_pods(observation, {1: pod(1, spec_hash="new")})
    behind = with_partitions(back, *(partition(n, replicas=(0, 1, 2), isr=(0, 2)) for n in (0, 1)))
    waiting = plan(behind, target, stopped(1, frozenset({out})))
    assert isinstance(waiting, AwaitNode)
    assert waiting.node == 1
    assert "1 of its replicas are not in sync (t-0)" in waiting.checks[0].evidence
    assert reasons(plan(lagging(back, 1), target, stopped(1))) == ["VoterBehind"]
    assert plan(back, target, stopped(1)) == StopNode(2, "demo-2", "uid-2-old")


def test_leaders_return_before_the_next_stop() -> None:
    back = with_pods(calm(COMBINED, active=0), {1: pod(1, spec_hash="new")})
    moved = replace(partition(0, replicas=(1, 0, 2)), leader=0)
    target = everywhere(COMBINED, "new")
    assert plan(with_partitions(back, moved), target, stopped(1)) == ElectLeaders((TopicPartition("t", 0),))
    assert isinstance(plan(with_partitions(back, replace(moved, leader=1)), target, stopped(1)), StopNode)


def test_an_intended_stop_that_did_not_happen_is_gone_on_with() -> None:
    intended = replace(stopped(2), step=Step.STOPPING, intent=Intent(Step.STOPPING, 2, "uid-2-old"))
    assert plan(calm(COMBINED, active=0), everywhere(COMBINED, "new"), intended) == StopNode(2, "demo-2", "uid-2-old")


def test_a_reassignment_blocks() -> None:
    observation = calm(COMBINED)
    observation = replace(observation, kafka=replace(kafka(observation), reassigning=(TopicPartition("t", 0),)))
    action = plan(observation, everywhere(COMBINED, "new"))
    assert reasons(action) == ["ReassignmentInFlight"]


def test_too_small_an_isr_blocks_and_names_the_partitions() -> None:
    low = with_partitions(calm(COMBINED), *(partition(n, replicas=(0, 1, 2), isr=(1, 2)) for n in range(7)))
    action = plan(low, replace(everywhere(COMBINED, "new"), nodes=everywhere(COMBINED, "new").nodes[1:]))
    assert isinstance(action, Blocked)
    assert reasons(action) == ["WouldStopWrites", "WouldStopWrites"]
    assert "7 partitions" in action.checks[0].evidence
    assert action.checks[0].evidence.endswith("t-0, t-1, t-2, t-3, t-4 and 2 more.")


def test_the_node_that_is_not_in_the_isr_may_go() -> None:
    low = with_partitions(calm(COMBINED, active=0), partition(0, replicas=(0, 1, 2), isr=(0, 1)))
    action = plan(low, everywhere(COMBINED, "new"))
    assert isinstance(action, StopNode)
    assert action.node == 2


@pytest.mark.parametrize("replicas", [(1,), (1, 2)], ids=["RF 1", "RF 2, min ISR 2"])
def test_partitions_that_no_restart_can_keep_block_before_anything_is_stopped_or_are_accepted_by_name(
    replicas: tuple[int, ...],
) -> None:
    observation = with_partitions(calm(APART), partition(0, replicas=replicas))
    target = everywhere(APART, "new")
    blocked = plan(observation, target)
    assert reasons(blocked) == ["UnprotectedPartitions"]
    assert isinstance(blocked, Blocked)
    assert "t-0" in blocked.checks[0].evidence
    assert "spec.rollout.unprotectedPartitions to Accept" in blocked.checks[0].remedy
    accepting = replace(target, nodes=target.nodes[:3], unprotected=UnprotectedPolicy.ACCEPT)
    action = plan(with_pods(observation, {0: pod(0, spec_hash="new")}), accepting)
    assert isinstance(action, StopNode)
    assert action.node == 1
    assert [check.name for check in action.accepted] == ["UnprotectedPartitions"]


def test_accepting_does_not_extend_to_the_last_replica_of_two() -> None:
    target = replace(everywhere(APART, "new"), unprotected=UnprotectedPolicy.ACCEPT)
    target = replace(target, nodes=target.nodes[1:2])
    observation = with_partitions(calm(APART), partition(0, replicas=(1, 2), isr=(1,)))
    assert reasons(plan(observation, target)) == ["WouldStopWrites"]


def test_a_lagging_voter_blocks_the_others() -> None:
    observation = with_pods(calm(APART, active=10), {12: pod(12, spec_hash="new")})
    action = plan(lagging(observation, 12), everywhere(APART, "new"))
    assert isinstance(action, Blocked)
    assert set(reasons(action)) == {"WouldLoseQuorum"}
    assert "2 are needed" in action.checks[0].evidence


def test_a_single_controller_restarts_only_if_that_is_accepted() -> None:
    observation, target = with_partitions(calm(SINGLE)), everywhere(SINGLE, "new")
    assert reasons(plan(observation, target)) == ["UnprotectedQuorum"]
    action = plan(observation, replace(target, unprotected=UnprotectedPolicy.ACCEPT))
    assert isinstance(action, StopNode)
    assert [check.name for check in action.accepted] == ["UnprotectedQuorum"]


@pytest.mark.parametrize("trouble", [starting, crashing, terminating], ids=lambda t: t.__name__)
def test_an_unready_node_at_its_target_holds_up_the_rest(
    trouble: Callable[[PodObservation], PodObservation],
) -> None:
    observation = with_pods(calm(COMBINED), {1: trouble(pod(1, spec_hash="new"))})
    action = plan(observation, everywhere(COMBINED, "new"))
    assert isinstance(action, AwaitNode)
    assert action.node == 1


def test_a_node_that_crashes_is_awaited_with_evidence_and_first_to_get_a_corrected_spec() -> None:
    crashed = with_pods(calm(COMBINED, active=1), {1: crashing(pod(1, spec_hash="new"))})
    without = replace(kafka(crashed), brokers=tuple(b for b in kafka(crashed).brokers if b.id != 1))
    crashed = replace(crashed, kafka=replace(without, partitions=(partition(0, replicas=(0, 1, 2), isr=(0, 2)),)))
    kept = frozenset({TopicPartition("t", 9)})
    waiting = plan(crashed, everywhere(COMBINED, "new"), stopped(1, kept))
    assert isinstance(waiting, AwaitNode)
    assert "CrashLoopBackOff; exit code 1; restarted 4 times" in waiting.checks[0].evidence
    corrected = plan(crashed, everywhere(COMBINED, "newer"), stopped(1, kept))
    assert corrected == StopNode(1, "demo-1", "uid-1-new", tuple(kept)), "the first record is kept"


def test_nothing_answers_so_only_nodes_that_do_not_run_are_replaced() -> None:
    silent = replace(calm(COMBINED), kafka=None, quorum=None)
    target = everywhere(COMBINED, "new")
    assert reasons(plan(silent, target)) == ["ClusterUnreachable"]
    one_crashed = with_pods(silent, {2: crashing(pod(2))})
    action = plan(one_crashed, target)
    assert isinstance(action, StopNode)
    assert action.node == 2
    one_starting = with_pods(silent, {2: starting(pod(2))})
    assert reasons(plan(one_starting, target)) == ["NodeNotReady", "ClusterUnreachable"]


def test_in_the_dark_every_unready_node_may_be_replaced() -> None:
    dark = with_pods(replace(calm(APART), kafka=None, quorum=None), {n: starting(pod(n)) for n in APART.ids})
    action = plan(dark, everywhere(APART, "new"))
    assert isinstance(action, StopNode)
    assert action.node in APART.controllers


def test_the_soak_starts_over_when_a_node_is_lost() -> None:
    target = everywhere(COMBINED, "old", soak=30.0, finalise={"metadata.version": 30})
    begun = plan_roll(calm(COMBINED), target, FRESH)
    assert begun.action == Soak(NOW + 30)
    assert begun.progress.all_back_since == NOW
    later = replace(calm(COMBINED), as_of=NOW + 20)
    assert plan(later, target, begun.progress) == Soak(NOW + 30)
    lost = plan_roll(with_pods(later, {2: starting(pod(2))}), target, begun.progress)
    assert isinstance(lost.action, AwaitNode)
    assert lost.progress.all_back_since is None


def test_after_the_soak_explicit_levels_are_finalised_and_then_it_is_done() -> None:
    target = everywhere(COMBINED, "old", soak=30.0, finalise={"metadata.version": 30})
    soaked = replace(FRESH, all_back_since=NOW - 30)
    assert plan(calm(COMBINED), target, soaked) == Finalise({"metadata.version": 30})
    finalised = calm(COMBINED)
    finalised = replace(finalised, kafka=replace(kafka(finalised), features={"metadata.version": 30}))
    assert plan(finalised, target, soaked) == Done()


def test_kraft_version_can_not_even_be_asked_for() -> None:
    with pytest.raises(ValueError, match="KAFKA-21426"):
        RollTarget("g", (), finalise={"kraft.version": 1})


CLOSED = Check("OutsideWindow", ok=False)


def test_a_guard_bars_ready_nodes_and_finalising_and_no_node_that_is_not_up() -> None:
    target = replace(everywhere(COMBINED, "new"), guards=(CLOSED,))
    observation = calm(COMBINED, active=0)
    assert reasons(plan(observation, target)) == ["OutsideWindow"]
    broken = with_pods(observation, {2: starting(pod(2))})
    action = plan(broken, target)
    assert isinstance(action, StopNode)
    assert action.node == 2
    assert plan(broken, replace(target, holds=(Check("Paused", ok=False),))) != action, "people hold that one too"
    raised = replace(everywhere(COMBINED, "old"), guards=(CLOSED,), finalise={"metadata.version": 30})
    transition = plan_roll(observation, raised, replace(FRESH, all_back_since=observation.as_of - 60))
    assert reasons(transition.action) == ["OutsideWindow"]
    assert transition.progress.all_back_since == observation.as_of - 60, "a soak that is over stays over"
    paused = replace(raised, holds=(Check("Paused", ok=False),))
    again = plan_roll(observation, paused, replace(FRESH, all_back_since=observation.as_of - 60))
    assert again.progress.all_back_since is None


def test_a_guard_takes_nothing_from_what_must_stay_up() -> None:
    """Not even an unready node is stopped where that would cost min ISR."""
    observation = with_partitions(calm(COMBINED, active=0), partition(0, replicas=(0, 1, 2), isr=(0, 2)))
    broken = with_pods(observation, {2: starting(pod(2))})
    action = plan(broken, replace(everywhere(COMBINED, "new"), guards=(CLOSED,)))
    assert not isinstance(action, StopNode)
