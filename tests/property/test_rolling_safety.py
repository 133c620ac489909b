"""Invariants 1 and 2 for every stop that the planner emits, over thousands of generated observations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import find, given, settings
from property.evaluator import harm
from property.strategies import batches_of_passes, passes

from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.planner import plan_roll
from controlplane.domain.rolling.values import (
    AwaitNode,
    Blocked,
    Done,
    Finalise,
    RollProgress,
    RollTarget,
    Soak,
    StopNode,
    UnprotectedPolicy,
)

Pass = tuple[ClusterObservation, RollTarget, RollProgress]


def to_do(case: Pass) -> set[int]:
    """Nodes whose pod was not made from its target."""
    hashes = {node.node: node.spec_hash for node in case[1].nodes}
    return {n.id for n in case[0].nodes if n.pod and n.pod.spec_hash != hashes[n.id]}


def up(observation: ClusterObservation) -> set[int]:
    """Nodes that are ready and, for brokers, registered as far as that is known."""
    live = {b.id for b in observation.kafka.brokers} if observation.kafka else {n.id for n in observation.nodes}
    return {
        n.id
        for n in observation.nodes
        if n.pod and n.pod.ready and not n.pod.terminating and (n.id in live or not n.is_broker)
    }


thousands = settings(max_examples=120, deadline=None)
"""Examples of 25 cases each."""


def stops(case: Pass) -> Iterator[StopNode]:
    action = plan_roll(*case).action
    if isinstance(action, StopNode):
        yield action


def harm_of(case: Pass, batch: set[int]) -> list[str]:
    observation, target, _ = case
    return harm(observation, batch, accept=target.unprotected is UnprotectedPolicy.ACCEPT)


@thousands
@given(batches_of_passes)
def test_no_stop_takes_writes_or_quorum_away(cases: list[Pass]) -> None:
    for case in cases:
        for stop in stops(case):
            assert harm_of(case, {stop.node}) == []


@thousands
@given(batches_of_passes)
def test_only_pods_that_differ_from_their_target_are_stopped_and_by_uid(cases: list[Pass]) -> None:
    for case in cases:
        for stop in stops(case):
            node = case[0].node(stop.node)
            assert node
            assert node.pod
            assert stop.node in to_do(case)
            assert (node.pod.uid, node.pod.terminating) == (stop.pod_uid, False)


@thousands
@given(batches_of_passes)
def test_a_ready_node_waits_for_unready_ones_and_for_reassignments(cases: list[Pass]) -> None:
    for case in cases:
        observation, _, progress = case
        for stop in stops(case):
            if stop.node not in up(observation) or stop.node in progress.replicas_out_before:
                continue
            assert observation.kafka is not None
            assert observation.kafka.reassigning == ()
            assert up(observation) == {n.id for n in observation.nodes}


@thousands
@given(batches_of_passes)
def test_ready_controllers_go_before_brokers_and_the_active_one_last_of_them(cases: list[Pass]) -> None:
    for case in cases:
        observation, _, progress = case
        leader = observation.quorum.leader if observation.quorum else None
        left = {n.id for n in observation.nodes if n.is_controller} & to_do(case)
        for stop in stops(case):
            if stop.node not in up(observation) or stop.node in progress.replicas_out_before:
                continue
            assert stop.node in left or not left
            assert stop.node != leader or left == {leader}


@thousands
@given(batches_of_passes)
def test_every_block_says_why_and_every_end_is_one(cases: list[Pass]) -> None:
    for case in cases:
        action = plan_roll(*case).action
        if isinstance(action, Blocked | AwaitNode):
            assert action.checks
            assert all(not c.ok and c.name.isalpha() and c.evidence and c.remedy for c in action.checks)
        if isinstance(action, Soak | Finalise | Done):
            assert to_do(case) == set()
            assert up(case[0]) == {n.id for n in case[0].nodes}


@settings(max_examples=20, deadline=None)
@given(batches_of_passes)
def test_observations_survive_json_and_plan_the_same(cases: list[Pass]) -> None:
    for observation, target, progress in cases:
        copy = ClusterObservation.from_json(json.loads(json.dumps(observation.to_json())))
        assert copy == observation
        assert plan_roll(copy, target, progress) == plan_roll(observation, target, progress)


def test_control_a_judge_that_lets_everything_pass_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "judge", lambda *_args, **_kwargs: safety.Verdict())
    caught = find(passes, lambda case: any(harm_of(case, {stop.node}) for stop in stops(case)))
    assert any(harm_of(caught, {stop.node}) for stop in stops(caught))


def test_control_a_batch_that_is_stopped_without_asking_is_caught() -> None:
    def doubled(case: Pass) -> bool:
        """The planner's own stop together with any other ready node."""
        others = {n.id for n in case[0].nodes if n.pod and n.pod.ready}
        return any(harm_of(case, {stop.node, other}) for stop in stops(case) for other in others - {stop.node})

    assert doubled(find(passes, doubled))


def test_control_a_planner_that_ignores_lagging_voters_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = safety.judge

    def optimist(observation: ClusterObservation, *args: object, **kwargs: object) -> safety.Verdict:
        quorum = observation.quorum
        if quorum is not None:
            voters = tuple(replace(voter, caught_up=True) for voter in quorum.voters)
            observation = replace(observation, quorum=replace(quorum, voters=voters))
        return real(observation, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(safety, "judge", optimist)
    find(passes, lambda case: any("majority" in p for stop in stops(case) for p in harm_of(case, {stop.node})))
