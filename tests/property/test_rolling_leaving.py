"""Pods that have to go whatever they were made from (a drain, other certificates): each once, killed anywhere."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property.model import ModelCluster, everywhere
from property.strategies import Shape
from property.test_rolling_replay import APART, COMBINED, Run, assert_complete, replays, seeds, shapes

from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling.planner import plan_roll
from controlplane.domain.rolling.values import (
    RestartReason,
    RollProgress,
    RollTarget,
    Soak,
    StopNode,
    Transition,
)


def uid(node: int, cluster: ModelCluster) -> str:
    found = cluster.pods[node]
    assert found is not None
    return found.uid


def leaving(cluster: ModelCluster, spec_hash: str, nodes: frozenset[int]) -> RollTarget:
    """Where everything else is as wanted when `spec_hash` is the pods' own."""
    target = everywhere(cluster.shape, spec_hash)
    wanted = tuple(
        replace(node, leaving=uid(node.node, cluster), reasons=(RestartReason.DRAIN,)) if node.node in nodes else node
        for node in target.nodes
    )
    return replace(target, nodes=wanted)


def renew(cluster: ModelCluster) -> None:
    """Successors of a stopped pod get a uid of their own, as everywhere but in the model."""
    for node, found in cluster.pods.items():
        if found is not None and any(stopped == node for stopped, _ in cluster.stops):
            cluster.pods[node] = replace(found, uid=f"successor-{node}")


class Renewing:
    """The planner, after pods that were made since have got their own uids."""

    def __init__(self, cluster: ModelCluster) -> None:
        self.cluster = cluster

    def __call__(self, _: ClusterObservation, target: RollTarget, progress: RollProgress) -> Transition:
        renew(self.cluster)
        return plan_roll(self.cluster.observe(), target, progress)


@replays
@given(shapes, seeds, st.lists(st.sampled_from(("", "before the write", "before the act")), max_size=40))
def test_exactly_those_that_leave_are_stopped_once(shape: Shape, seed: int, kills: list[str]) -> None:
    rng = Random(seed)
    cluster = ModelCluster.healthy(shape, rng, spec_hash="same")
    nodes = frozenset(rng.sample(shape.ids, rng.randint(1, len(shape.ids))))
    run = Run(cluster, leaving(cluster, "same", nodes), planner=Renewing(cluster))
    run.to_the_end(kills)
    assert_complete(run, spec_hash="same", stopped_once=False)
    assert sorted(node for node, _ in cluster.stops) == sorted(nodes)
    assert cluster.most_down == 1


@pytest.mark.parametrize("shape", [COMBINED, APART], ids=["combined", "apart"])
def test_one_that_leaves_and_is_out_of_date_is_stopped_once_for_both(shape: Shape) -> None:
    cluster = ModelCluster.healthy(shape, Random(3))
    run = Run(cluster, leaving(cluster, "new", frozenset(shape.ids)), planner=Renewing(cluster))
    run.to_the_end()
    assert_complete(run, spec_hash="new")


def test_nobody_leaves_who_is_not_named() -> None:
    """The control: without the uid the same target has nothing to do, and with another pod's uid neither."""
    cluster = ModelCluster.healthy(COMBINED, Random(3), spec_hash="same")
    plain = everywhere(COMBINED, "same")
    strange = replace(plain, nodes=tuple(replace(node, leaving="gone-long-ago") for node in plain.nodes))
    for target in (plain, strange):
        assert isinstance(plan_roll(cluster.observe(), target, RollProgress("r", "")).action, Soak)
    named = leaving(cluster, "same", frozenset({1}))
    assert isinstance(plan_roll(cluster.observe(), named, RollProgress("r", "")).action, StopNode)
