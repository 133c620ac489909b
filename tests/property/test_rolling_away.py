"""MoveAway: no batch holds a broker with a replica that its partition cannot spare; what is asked for is enough, and no
more than one move for each batch. The evaluator's word, which shares no code with the planner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property.evaluator import harm
from property.model import ModelCluster, emptied, everywhere
from property.strategies import Shape
from property.test_rolling_batches import CONTROLLERS, BatchRun, assert_rolled, brokers_of, cluster
from property.test_rolling_replay import PASSES, Run

from controlplane.domain.observation import ClusterObservation, PartitionObservation
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.batches import plan_batches
from controlplane.domain.rolling.values import Action, Blocked, Done, RollTarget, StopNode, UnprotectedPolicy

AWAY = UnprotectedPolicy.MOVE_AWAY
seeds = st.integers(0, 2**32)
limits = st.integers(1, 5)
few = settings(max_examples=8, deadline=None)


def unsparable(rng: Random, brokers: list[int], number: int, most: int) -> PartitionObservation:
    """RF from 1 on, up to `most`, and min ISR no less."""
    on = tuple(rng.sample(brokers, rng.randint(1, most)))
    return PartitionObservation("u", number, on[0], on, on, len(on) + rng.randint(0, 1))


def mixed(seed: int, *, brokers: int = 9, most: int = 3) -> ModelCluster:
    """Partitions that can spare a replica, and some that cannot."""
    made = cluster(seed, brokers=brokers)
    rng = Random(seed)
    made.partitions += [unsparable(rng, list(range(brokers)), number, most) for number in range(5)]
    return made


def without_unsparable(observation: ClusterObservation) -> ClusterObservation:
    assert observation.kafka
    left = tuple(p for p in observation.kafka.partitions if len(p.replicas) > p.min_isr)
    return replace(observation, kafka=replace(observation.kafka, partitions=left))


@few
@given(seeds, limits)
def test_batches_are_those_of_the_other_partitions_as_far_as_there_is_room_for_what_moves(
    seed: int, limit: int
) -> None:
    observation = mixed(seed, most=8).observe()
    assert observation.kafka
    found = plan_batches(observation, brokers_of(observation), limit, AWAY)
    largest = max(len(p.replicas) for p in observation.kafka.partitions if p.topic == "u")
    room = min(limit, 9 - largest)
    others = plan_batches(without_unsparable(observation), brokers_of(observation), room, UnprotectedPolicy.BLOCK)
    assert (len(found.batches), found.lower_bound, found.held) == (len(others.batches), others.lower_bound, ())
    for batch in found.batches:
        assert len(batch) <= room
        seen = emptied(observation, batch)
        assert safety.judge(seen, frozenset(batch), AWAY).failed == ()
        assert harm(seen, set(batch), accept=False) == []


@few
@given(seeds, limits)
def test_what_is_on_every_broker_holds_the_brokers_that_it_is_in_sync_on(seed: int, limit: int) -> None:
    made = mixed(seed, brokers=4)
    made.partitions.append(PartitionObservation("full", 0, 0, (0, 1, 2, 3), (0, 1, 2, 3), 4))
    found = plan_batches(made.observe(), range(4), limit, AWAY)
    assert (found.batches, found.held) == ((), (0, 1, 2, 3))


@dataclass
class AwayRun(Run):
    """What a roll asks for is done some passes later; `asked` are brokers as they were emptied."""

    asked: list[tuple[int, ...]] = field(default_factory=list)
    waited: int = 0

    def one_pass(self, *, killed: str = "") -> Action:
        action = super().one_pass(killed=killed)
        if isinstance(action, StopNode) and not killed:
            self.waited = 0
        if isinstance(action, Blocked) and action.away and not killed:
            self.waited += 1
            if self.waited > 2:
                self._empty(action.away)
        return action

    def _empty(self, brokers: tuple[int, ...]) -> None:
        self.waited = 0
        self.asked.append(brokers)
        kafka = emptied(self.cluster.observe(), brokers).kafka
        assert kafka
        self.cluster.partitions = list(kafka.partitions)


@dataclass
class BatchAwayRun(AwayRun, BatchRun):
    """Every batch is put before the evaluator as well."""


def run_of(made: ModelCluster, limit: int) -> BatchAwayRun:
    return BatchAwayRun(made, replace(everywhere(made.shape, "new"), max_unavailable=limit, unprotected=AWAY))


kills = st.lists(st.sampled_from(("", "before the write", "before the act")), max_size=60)


@few
@given(seeds, st.integers(2, 5), kills)
def test_a_roll_in_batches_asks_once_for_each_at_most_and_does_no_harm(
    seed: int, limit: int, killed: list[str]
) -> None:
    made = mixed(seed)
    planned = plan_batches(made.observe(), brokers_of(made.observe()), limit, AWAY)
    run = run_of(made, limit)
    run.to_the_end(killed)
    assert_rolled(run)
    assert sorted(run.opened) == sorted(planned.batches)
    assert len(run.asked) == len(set(run.asked))
    assert {tuple(sorted(one)) for one in run.asked} <= {tuple(sorted(batch)) for batch in planned.batches}


@few
@given(seeds, st.sampled_from((Shape((0, 1, 2), (0, 1, 2)), Shape(CONTROLLERS, (0, 1, 2, 3)))), kills)
def test_node_by_node_each_is_emptied_once_at_most(seed: int, shape: Shape, killed: list[str]) -> None:
    """Combined nodes as well, which go as controllers do."""
    rng = Random(seed)
    made = ModelCluster.healthy(shape, rng)
    made.partitions += [unsparable(rng, list(shape.brokers), number, 2) for number in range(4)]
    run = AwayRun(made, replace(everywhere(shape, "new"), unprotected=AWAY))
    for number in range(PASSES):
        if isinstance(run.one_pass(killed=killed[number] if number < len(killed) else ""), Done):
            break
    assert made.harms == []
    assert sorted(node for node, _ in made.stops) == list(shape.ids)
    assert len(run.asked) == len(set(run.asked))
    assert all(len(one) == 1 for one in run.asked)


def test_control_a_planner_that_takes_them_for_sparable_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "is_unprotected", lambda _: False)
    monkeypatch.setattr(safety, "floor", lambda p: min(p.min_isr, len(p.replicas) - 1))
    runs = [run_of(mixed(seed), 3) for seed in range(4)]
    for run in runs:
        for _ in range(120):
            run.one_pass()
    assert any(run.cluster.harms for run in runs)


def test_control_a_batch_that_was_not_emptied_is_refused_by_the_judge_and_by_the_evaluator() -> None:
    observation = mixed(1).observe()
    assert observation.kafka
    (one, *_) = [p for p in observation.kafka.partitions if len(p.replicas) == p.min_isr]
    batch = {one.replicas[0]}
    assert {check.name for check in safety.judge(observation, frozenset(batch), AWAY).failed} == {
        "UnprotectedPartitions"
    }
    assert harm(observation, batch, accept=False)
    assert harm(emptied(observation, batch), batch, accept=False) == []


def test_a_node_that_got_such_a_replica_while_it_came_back_is_over_before_its_next_restart() -> None:
    """Its target changed meanwhile: it cannot be stopped again as it is, and while its first restart counted as not
    over nothing could be moved off it either."""
    made = ModelCluster.healthy(Shape(CONTROLLERS, (0, 1, 2, 3)), Random(5))
    only = tuple(
        replace(t, spec_hash="old") if t.node in CONTROLLERS else t for t in everywhere(made.shape, "new").nodes
    )
    target: RollTarget = replace(everywhere(made.shape, "new"), nodes=only, unprotected=AWAY)
    run = AwayRun(made, target)
    while not isinstance(action := run.one_pass(), StopNode):
        pass
    made.partitions.append(PartitionObservation("u", 0, action.node, (action.node,), (action.node,), 1))
    run.target = replace(
        target, nodes=tuple(replace(t, spec_hash="newer") if t.spec_hash == "new" else t for t in only)
    )
    for _ in range(PASSES):
        if isinstance(run.one_pass(), Done):
            break
    assert made.harms == []
    assert all(p and p.ready and p.spec_hash in {"newer", "old"} for p in made.pods.values())
