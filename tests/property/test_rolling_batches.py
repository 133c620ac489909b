"""Batches: safe, few, no fewer than proven, and carried out as planned whatever is killed on the way.

What is safe is the evaluator's word, and what is fewest is found by trying every way to cut a small rack: neither
shares code with the planner. Both are shown to catch a planted fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from random import Random

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from property.evaluator import harm
from property.model import ModelCluster, emptied, everywhere
from property.strategies import RACKS, Shape, batches_of_passes
from property.test_rolling_replay import Run
from property.test_rolling_safety import to_do, up

from controlplane.domain.observation import ClusterObservation, PartitionObservation
from controlplane.domain.rolling import planner, safety
from controlplane.domain.rolling.batches import BatchPlan, plan_batches
from controlplane.domain.rolling.values import (
    Action,
    Done,
    RollProgress,
    RollTarget,
    StopNode,
    UnprotectedPolicy,
)

CONTROLLERS = (20, 21, 22)
seeds = st.integers(0, 2**32)
limits = st.integers(2, 5)
few = settings(max_examples=12, deadline=None)
CASES = 4


def rack(node: int) -> str:
    return RACKS[node % 3]


def cluster(seed: int, *, brokers: int = 9, topics: int = 8, aware: bool = False) -> ModelCluster:
    """All well: RF 2 to 5 with any min ISR below it, placed at random, or RF 3 with one replica a rack."""
    rng = Random(seed)
    made = ModelCluster.healthy(Shape(CONTROLLERS, tuple(range(brokers))), rng, topics=0)
    for number in range(topics):
        factor = min(brokers, 3 if aware else rng.choice((2, 3, 3, 3, 4, 5)))
        replicas = tuple(rng.sample(range(brokers), factor))
        if aware:
            replicas = tuple(rng.choice([b for b in range(brokers) if b % 3 == at]) for at in range(3))
        minimum = rng.randint(1, factor - 1)
        made.partitions.append(PartitionObservation("t", number, replicas[0], replicas, replicas, minimum))
    return made


def brokers_of(observation: ClusterObservation) -> list[int]:
    return [node.id for node in observation.nodes if not node.is_controller]


def plan(observation: ClusterObservation, limit: int) -> BatchPlan:
    return plan_batches(observation, brokers_of(observation), limit, UnprotectedPolicy.BLOCK)


def fewest(observation: ClusterObservation, limit: int) -> int:
    """The optimum, by trying everything."""

    def in_rack(members: tuple[int, ...]) -> int:
        @cache
        def allowed(mask: int) -> bool:
            return mask.bit_count() <= limit and not harm(
                observation, {b for at, b in enumerate(members) if mask >> at & 1}, accept=False
            )

        @cache
        def cuts(left: int) -> int:
            if not left:
                return 0
            first, rest = left & -left, left & (left - 1)
            best, extra = len(members), rest
            while True:
                if allowed(first | extra):
                    best = min(best, 1 + cuts(left ^ first ^ extra))
                if not extra:
                    return best
                extra = (extra - 1) & rest

        return cuts((1 << len(members)) - 1)

    brokers = brokers_of(observation)
    return sum(in_rack(tuple(b for b in brokers if rack(b) == name)) for name in RACKS)


def assert_safe(observation: ClusterObservation, found: BatchPlan, limit: int) -> None:
    for batch in found.batches:
        assert len(batch) <= limit
        assert len({rack(node) for node in batch}) == 1
        assert harm(observation, set(batch), accept=False) == []


@few
@given(seeds, limits)
def test_batches_are_safe_and_their_number_lies_between_the_bound_and_the_optimum(seed: int, limit: int) -> None:
    for case in range(CASES):
        observation = cluster(seed + case, brokers=15, topics=12).observe()
        found = plan(observation, limit)
        assert_safe(observation, found, limit)
        assert sorted(node for batch in found.batches for node in batch) == brokers_of(observation)
        optimum = fewest(observation, limit)
        assert found.lower_bound <= optimum <= len(found.batches)
        assert found.exact, "five brokers a rack are small enough"
        assert optimum == len(found.batches)


@few
@given(batches_of_passes, st.sampled_from(tuple(UnprotectedPolicy)), limits)
def test_in_any_trouble_a_batch_is_what_the_judge_allows_and_what_is_held_is_what_it_refuses(
    cases: list[tuple[ClusterObservation, RollTarget, RollProgress]], policy: UnprotectedPolicy, limit: int
) -> None:
    for observation, _, _ in cases:
        found = plan_batches(observation, brokers_of(observation), limit, policy)
        for batch in found.batches:
            seen = emptied(observation, batch) if policy is UnprotectedPolicy.MOVE_AWAY else observation
            assert safety.judge(seen, frozenset(batch), policy).failed == ()
            assert harm(seen, set(batch), accept=policy is UnprotectedPolicy.ACCEPT) == []
        for node in found.held:
            assert safety.judge(observation, frozenset({node}), policy).failed
        named = [node for batch in found.batches for node in batch] + list(found.held)
        assert sorted(named) == brokers_of(observation)


def in_batches(case: tuple[ClusterObservation, RollTarget, RollProgress], rng: Random, limit: int) -> RollProgress:
    """The case's progress with batches that may or may not fit what is seen, of one rack or not."""
    left = brokers_of(case[0])
    rng.shuffle(left)
    cut = rng.randint(0, len(left))
    recorded = tuple(batch for batch in (tuple(left[:cut]), tuple(left[cut:])) if batch)
    return replace(case[2], batches=rng.choice(((), recorded)), batch_limit=rng.choice((1, limit)))


@few
@given(batches_of_passes, seeds, limits)
def test_whatever_was_written_down_no_stop_does_harm_to_what_is_seen(
    cases: list[tuple[ClusterObservation, RollTarget, RollProgress]], seed: int, limit: int
) -> None:
    rng = Random(seed)
    for case in cases:
        observation, target = case[0], replace(case[1], max_unavailable=limit)
        progress = in_batches(case, rng, limit)
        transition = planner.plan_roll(observation, target, progress)
        if not isinstance(transition.action, StopNode):
            continue
        stop = transition.action
        accept = target.unprotected is UnprotectedPolicy.ACCEPT
        assert harm(observation, {stop.node}, accept=accept) == []
        others = {n.id for n in observation.nodes} - up(observation)
        if stop.node in up(observation) and stop.node not in progress.replicas_out_before and others:
            assert others <= set(progress.replicas_out_before), "only what this roll has stopped may be down beside it"
            together = others | {stop.node}
            assert together <= set(progress.batches[0])
            assert len(together) <= limit
            assert len({rack(node) for node in together}) == 1
            assert observation.kafka
            assert observation.kafka.reassigning == ()
            assert not {n.id for n in observation.nodes if n.is_controller} & to_do((observation, target, progress))


def test_control_an_unsafe_batch_is_refused_by_the_evaluator() -> None:
    def planted(seed: int) -> bool:
        observation = cluster(seed).observe()
        together = tuple(b for b in brokers_of(observation) if rack(b) == "a")
        return bool(harm(observation, set(together), accept=False))

    seed = find(seeds, planted)
    observation = cluster(seed).observe()
    with pytest.raises(AssertionError):
        assert_safe(observation, BatchPlan(((0, 3, 6),), 1), 3)
    with pytest.raises(AssertionError):
        assert_safe(observation, BatchPlan(((0, 1),), 1), 3)


def ready(observation: ClusterObservation, node: int) -> bool:
    found = observation.node(node)
    return found is not None and found.pod is not None and found.pod.ready


@dataclass
class BatchRun(Run):
    """`opened`: every batch as it was written down at its first stop. `harms`: what its whole absence would have
    done to the cluster at that moment, by the evaluator."""

    opened: list[tuple[int, ...]] = field(default_factory=list)
    harms: list[str] = field(default_factory=list)

    def one_pass(self, *, killed: str = "") -> Action:
        before = self.cluster.observe()
        action = super().one_pass(killed=killed)
        if isinstance(action, StopNode) and not killed and action.node not in CONTROLLERS:
            batch = next(iter(self.written.batches), ())
            if action.node not in batch:
                assert not ready(before, action.node), "only what is not up goes outside a batch"
            elif not self.opened or not set(batch) <= set(self.opened[-1]):
                self.opened.append(batch)
                self.harms += harm(before, set(batch), accept=False)
            self.harms += harm(before, {action.node} | self.down(before), accept=False)
        return action

    def down(self, before: ClusterObservation) -> set[int]:
        """What this roll has stopped and has not seen back, this stop left out."""
        return {n for n in self.written.replicas_out_before if (p := self.cluster.pods[n]) is None or not p.ready}


def run_of(seed: int, limit: int, *, aware: bool = False, brokers: int = 9) -> BatchRun:
    made = cluster(seed, aware=aware, brokers=brokers)
    return BatchRun(made, replace(everywhere(made.shape, "new"), max_unavailable=limit))


def assert_rolled(run: BatchRun) -> None:
    made = run.cluster
    assert made.harms == []
    assert run.harms == []
    assert all(p and p.ready and p.spec_hash == "new" for p in made.pods.values())
    assert all(set(p.isr) == set(p.replicas) and p.leader == p.replicas[0] for p in made.partitions)
    assert sorted(node for node, _ in made.stops) == list(made.shape.ids)
    assert made.most_down <= run.target.max_unavailable
    assert all(len({rack(node) for node in batch}) == 1 for batch in run.opened)
    assert run.written.batches == ()


@few
@given(seeds, limits, st.booleans())
def test_as_many_batches_are_used_as_planned(seed: int, limit: int, aware: bool) -> None:  # noqa: FBT001 - drawn
    run = run_of(seed, limit, aware=aware)
    planned = plan(run.cluster.observe(), limit)
    run.to_the_end()
    assert_rolled(run)
    assert sorted(run.opened) == sorted(planned.batches)


@few
@given(seeds, limits, st.lists(st.sampled_from(("", "before the write", "before the act")), max_size=80))
def test_killed_at_random_it_ends_in_the_same_place(seed: int, limit: int, kills: list[str]) -> None:
    run = run_of(seed, limit)
    run.to_the_end(kills)
    assert_rolled(run)


@pytest.mark.parametrize("killed", ["before the write", "before the act"])
def test_killed_at_each_pass_of_one_roll(killed: str) -> None:
    whole = run_of(7, 2, aware=True, brokers=6)
    whole.to_the_end()
    assert max(len(batch) for batch in whole.opened) == 2
    for at in range(len(whole.actions) + 1):
        run = run_of(7, 2, aware=True, brokers=6)
        run.to_the_end([""] * at + [killed])
        assert_rolled(run)
        assert sorted(run.opened) == sorted(whole.opened)


@few
@given(seeds, limits)
def test_trouble_elsewhere_delays_batches_and_does_no_harm(seed: int, limit: int) -> None:
    run = run_of(seed, limit)
    for _ in range(40):
        run.one_pass()
        if run.cluster.rng.random() < 0.15:
            run.cluster.hiccup()
    run.to_the_end()
    assert run.cluster.harms == []
    assert sorted(node for node, _ in run.cluster.stops) == list(run.cluster.shape.ids)
    assert all(len({rack(node) for node in batch}) == 1 for batch in run.opened)


@few
@given(seeds)
def test_a_bad_spec_halts_within_its_first_batch_and_a_corrected_one_mends_it(seed: int) -> None:
    run = run_of(seed, 3, aware=True)
    run.cluster.bad = frozenset({"bad"})
    bad = everywhere(run.cluster.shape, "bad")
    only_brokers = tuple(replace(t, spec_hash="old") if t.node in CONTROLLERS else t for t in bad.nodes)
    run.target = replace(bad, nodes=only_brokers, max_unavailable=3)
    for _ in range(60):
        run.one_pass()
    stopped = {node for node, _ in run.cluster.stops}
    assert len(run.opened) == 1
    assert stopped <= set(run.opened[0])
    run.target = replace(everywhere(run.cluster.shape, "new"), max_unavailable=3)
    run.to_the_end()
    assert run.cluster.harms == []
    assert all(p and p.ready and p.spec_hash == "new" for p in run.cluster.pods.values())


@dataclass
class WatchedRun(Run):
    """Every stop of a node that is up is put before the evaluator with all that is not up beside it."""

    together: int = 0

    def one_pass(self, *, killed: str = "") -> Action:
        before, stopped = self.cluster.observe(), self.written.replicas_out_before
        action = super().one_pass(killed=killed)
        if isinstance(action, StopNode) and not killed and action.node in up(before) and action.node not in stopped:
            others = {node.id for node in before.nodes} - up(before)
            assert others <= stopped.keys()
            batch = others | {action.node}
            assert harm(before, batch, accept=False) == []
            if others:
                self.together += 1
                assert not batch & set(CONTROLLERS)
                assert len({rack(node) for node in batch}) == 1
                assert len(batch) <= self.target.max_unavailable
        return action


@few
@given(seeds)
def test_spec_and_limit_may_change_at_any_moment(seed: int) -> None:
    """Bad specs among them, kills and trouble: in the end every node runs the last spec, and no stop did harm."""
    made = cluster(seed)
    run, rng = WatchedRun(made, replace(everywhere(made.shape, "new"), max_unavailable=3)), Random(seed)
    for number in range(3):
        for _ in range(rng.randint(3, 60)):
            run.one_pass(killed=rng.choice(("", "", "", "before the write", "before the act")))
            if rng.random() < 0.03:
                made.hiccup()
        if rng.random() < 0.3:
            made.bad = frozenset({f"spec-{number}"})
        run.target = replace(everywhere(made.shape, f"spec-{number}"), max_unavailable=rng.randint(1, 6))
    run.target = replace(everywhere(made.shape, "last"), max_unavailable=rng.randint(1, 6))
    run.to_the_end()
    assert made.harms == []
    assert all(p and p.ready and p.spec_hash == "last" for p in made.pods.values())


@few
@given(seeds)
def test_with_one_at_a_time_nothing_is_recorded(seed: int) -> None:
    made = cluster(seed)
    run = Run(made, everywhere(made.shape, "new"))
    for _ in range(600):
        action = run.one_pass()
        assert run.written.batches == ()
        assert run.operation
        assert run.operation.step
        assert run.operation.step.parameters == {}
        if isinstance(action, Done):
            break
    assert made.most_down == 1


def reckless(_: ClusterObservation, pending: set[int], *_limits: object) -> BatchPlan:
    """Whole racks, without asking."""
    racks = [tuple(sorted(n for n in pending if rack(n) == name)) for name in RACKS]
    return BatchPlan(tuple(batch for batch in racks if batch), 1)


def test_control_whole_racks_without_asking_are_refused_by_the_judge_and_caught_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planner, "plan_batches", reckless)

    assert not any(_lets_harm_through(seed) for seed in range(8))
    monkeypatch.setattr(safety, "judge", lambda *_args, **_kwargs: safety.Verdict())
    assert any(_lets_harm_through(seed) for seed in range(8))


def _lets_harm_through(seed: int) -> bool:
    run = run_of(seed, 5)
    for _ in range(120):
        run.one_pass()
    return bool(run.cluster.harms)
