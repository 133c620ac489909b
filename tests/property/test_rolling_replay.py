"""A roll carried out on a model cluster, killed anywhere: it ends, stops each pod once and does no harm on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property.model import ModelCluster, everywhere
from property.strategies import Shape

from controlplane.api.operation import Operation
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling.operation import from_operation, to_operation
from controlplane.domain.rolling.planner import plan_roll
from controlplane.domain.rolling.values import (
    Action,
    AwaitNode,
    Done,
    ElectLeaders,
    Finalise,
    RollProgress,
    RollTarget,
    StopNode,
    Transition,
)

COMBINED = Shape((0, 1, 2), (0, 1, 2))
APART = Shape((10, 11, 12), (0, 1, 2))
WIDE = Shape((10, 11, 12, 13, 14), (0, 1, 2, 3, 4))
PASSES = 600
"""More than any roll here needs; one that takes longer does not end."""

shapes = st.sampled_from((COMBINED, APART, WIDE))
seeds = st.integers(0, 2**32)
replays = settings(max_examples=30, deadline=None)
Planner = Callable[[ClusterObservation, RollTarget, RollProgress], Transition]


@dataclass
class Run:
    """Passes of the operator over one cluster. Only `written` survives a kill, as the status carries it."""

    cluster: ModelCluster
    target: RollTarget
    planner: Planner = plan_roll
    written: RollProgress = field(default_factory=lambda: RollProgress("roll-1", ""))
    operation: Operation | None = None
    actions: list[Action] = field(default_factory=list)

    def one_pass(self, *, killed: str = "") -> Action:
        """`killed`: "" for a whole pass, "before the write", or "before the act"."""
        transition = self.planner(self.cluster.observe(), self.target, self.written)
        if killed != "before the write":
            self.operation = to_operation(transition, self.target, self.operation, message="", now=self.cluster.now)
            self.written = from_operation(self.operation)
            if not killed:
                self.actions.append(transition.action)
                self.cluster.act(transition.action, self.target)
        self.cluster.tick()
        return transition.action

    def to_the_end(self, kills: Iterable[str] = ()) -> None:
        left = iter(kills)
        for _ in range(PASSES):
            if isinstance(self.one_pass(killed=next(left, "")), Done):
                return
        pytest.fail(f"not done after {PASSES} passes: {self.actions[-1]}")


def assert_complete(run: Run, *, spec_hash: str, stopped_once: bool = True) -> None:
    cluster = run.cluster
    assert cluster.harms == []
    assert all(p and p.ready and p.spec_hash == spec_hash for p in cluster.pods.values())
    assert all(set(p.isr) == set(p.replicas) and p.leader == p.replicas[0] for p in cluster.partitions)
    assert len(cluster.stops) == len(set(cluster.stops))
    if stopped_once:
        assert sorted(node for node, _ in cluster.stops) == list(cluster.shape.ids)
        assert cluster.most_down == 1


@replays
@given(shapes, seeds)
def test_a_roll_ends_and_finalises_last(shape: Shape, seed: int) -> None:
    run = Run(ModelCluster.healthy(shape, Random(seed)), everywhere(shape, "new", finalise={"metadata.version": 30}))
    run.to_the_end()
    assert_complete(run, spec_hash="new")
    assert run.cluster.features == {"metadata.version": 30, "kraft.version": 1}
    kinds = [type(action) for action in run.actions]
    assert kinds.count(Finalise) == 1
    assert kinds.index(Finalise) > max(i for i, kind in enumerate(kinds) if kind in {StopNode, ElectLeaders})


@replays
@given(shapes, seeds, st.lists(st.sampled_from(("", "before the write", "before the act")), max_size=80))
def test_killed_at_random_it_ends_in_the_same_place(shape: Shape, seed: int, kills: list[str]) -> None:
    run = Run(ModelCluster.healthy(shape, Random(seed)), everywhere(shape, "new", finalise={"metadata.version": 30}))
    run.to_the_end(kills)
    assert_complete(run, spec_hash="new")
    assert run.cluster.features["metadata.version"] == 30


@pytest.mark.parametrize("shape", [COMBINED, APART], ids=["combined", "apart"])
@pytest.mark.parametrize("killed", ["before the write", "before the act"])
def test_killed_at_each_pass_of_one_roll(shape: Shape, killed: str) -> None:
    at = 0
    while True:
        run = Run(ModelCluster.healthy(shape, Random(7)), everywhere(shape, "new"))
        run.to_the_end([""] * at + [killed])
        assert_complete(run, spec_hash="new")
        if len(run.actions) < at:
            return
        at += 1


@replays
@given(shapes, seeds)
def test_trouble_elsewhere_delays_a_roll_and_does_no_harm(shape: Shape, seed: int) -> None:
    run = Run(ModelCluster.healthy(shape, Random(seed)), everywhere(shape, "new"))
    for _ in range(40):
        run.one_pass()
        if run.cluster.rng.random() < 0.15:
            run.cluster.hiccup()
    run.to_the_end()
    assert run.cluster.harms == []
    assert sorted(node for node, _ in run.cluster.stops) == list(shape.ids)


@replays
@given(shapes, seeds)
def test_a_bad_spec_halts_at_one_node_and_a_corrected_one_starts_there(shape: Shape, seed: int) -> None:
    cluster = ModelCluster.healthy(shape, Random(seed))
    cluster.bad = frozenset({"bad"})
    run = Run(cluster, everywhere(shape, "bad"))
    for _ in range(50):
        action = run.one_pass()
    assert isinstance(action, AwaitNode)
    assert [c.name for c in action.checks] == ["NodeNotReady"]
    assert "CrashLoopBackOff" in action.checks[0].evidence
    assert [node for node, _ in cluster.stops] == [action.node]
    run.target = everywhere(shape, "good")
    run.to_the_end()
    assert [node for node, _ in cluster.stops][:2] == [action.node, action.node]
    assert sorted(node for node, _ in cluster.stops[1:]) == list(shape.ids)
    assert_complete(run, spec_hash="good", stopped_once=False)


@replays
@given(shapes, seeds)
def test_a_cluster_whose_nodes_all_crash_is_mended_by_a_corrected_spec(shape: Shape, seed: int) -> None:
    cluster = ModelCluster.healthy(shape, Random(seed), spec_hash="bad")
    cluster.bad = frozenset({"bad"})
    for _ in range(30):
        cluster.tick()
    assert cluster.observe().kafka is None
    run = Run(cluster, everywhere(shape, "good"))
    run.to_the_end()
    assert_complete(run, spec_hash="good", stopped_once=False)
    assert sorted(node for node, _ in cluster.stops) == list(shape.ids)


def test_control_a_planner_that_forgets_what_it_stopped_is_caught() -> None:
    """Stopping ready nodes one after the other without asking loses writes, and the model says so."""

    def reckless(observation: ClusterObservation, target: RollTarget, progress: RollProgress) -> Transition:
        planned = plan_roll(observation, target, progress)
        for node in observation.nodes:
            if node.pod and node.pod.ready and node.pod.spec_hash == "old":
                return Transition(StopNode(node.id, node.pod.name, node.pod.uid), planned.progress)
        return planned

    run = Run(ModelCluster.healthy(COMBINED, Random(1)), everywhere(COMBINED, "new"), planner=reckless)
    for _ in range(40):
        run.one_pass()
    assert run.cluster.harms
    assert run.cluster.most_down > 1
