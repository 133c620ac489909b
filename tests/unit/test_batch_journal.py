"""A batch and the journal: with the ledger away, nothing that was done is forgotten, however many nodes are down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest
from property.model import ModelCluster, everywhere
from property.strategies import Shape
from property.test_rolling_replay import Run

from controlplane.api.operation import JOURNAL_LIMIT, JournalEntry
from controlplane.domain.observation import PartitionObservation
from controlplane.domain.operation.permit import JOURNAL_FULL, from_words
from controlplane.domain.operation.progress import undelivered
from controlplane.domain.rolling import planner
from controlplane.domain.rolling.values import Action, Blocked, RollTarget, StopNode

CONTROLLERS = (100, 101, 102)
A_RACK = 16


@dataclass
class SlowCluster(ModelCluster):
    """Stops come before anything else happens; then the nodes that are down go and come one after the other, with a
    pass in between in which nothing happens. That leaves as many steps behind as there can be."""

    hasty: bool = False

    def tick(self) -> None:
        self.now += 1.0
        if self.hasty or int(self.now) % 2:
            return
        pods = [(node, pod) for node, pod in self.pods.items() if pod]
        out = {node for p in self.partitions for node in p.replicas if node not in p.isr}
        ending = [node for node, pod in pods if pod.terminating]
        for node in (ending or [node for node, pod in pods if not pod.ready or node in out])[:1]:
            self._step(node)


@dataclass
class LedgerAway(Run):
    """Nothing is delivered, and `JournalFull` is asked before every pass, as the engine does."""

    def one_pass(self, *, killed: str = "") -> Action:
        holds = from_words(self.operation, {}, deleting=False).holds if self.operation else ()
        self.target = replace(self.target, holds=holds)
        made = self.cluster
        assert isinstance(made, SlowCluster)
        planned = self.planner(made.observe(), self.target, self.written)
        made.hasty = isinstance(planned.action, StopNode)
        return super().one_pass(killed=killed)


def run_until_full(entries: int, limit: int) -> LedgerAway:
    """A roll of brokers whose journal already holds so many entries, until it may begin nothing more."""
    made = SlowCluster.healthy(Shape(CONTROLLERS, tuple(range(3 * A_RACK))), Random(1), topics=0)
    assert isinstance(made, SlowCluster)
    for first in range(0, 3 * A_RACK, 3):
        replicas = (first, first + 1, first + 2)
        made.partitions.append(PartitionObservation("t", first, first, replicas, replicas, 2))
    run = LedgerAway(made, brokers_only(made.shape, limit))
    run.one_pass()
    assert run.operation
    run.operation = run.operation.model_copy(update={"journal": tuple(map(entry, range(1, entries + 1)))})
    for _ in range(1500):
        action = run.one_pass()
        if isinstance(action, Blocked):
            assert [check.name for check in action.checks] == [JOURNAL_FULL]
            return run
    pytest.fail(f"never full: {run.actions[-1]}")


def brokers_only(shape: Shape, limit: int) -> RollTarget:
    target = everywhere(shape, "new")
    nodes = tuple(replace(node, spec_hash="old") if node.node in CONTROLLERS else node for node in target.nodes)
    return replace(target, nodes=nodes, max_unavailable=limit)


def entry(number: int) -> JournalEntry:
    return JournalEntry(step=number, attempt=99, verb="Planted", target="0", outcome="Done", at="2026-01-01T00:00:00Z")


def planted(run: LedgerAway) -> int:
    assert run.operation
    assert len(undelivered(run.operation)) <= JOURNAL_LIMIT
    return sum(one.verb == "Planted" for one in run.operation.journal)


@pytest.mark.parametrize("entries", [150, 170, 190, 205, 215, 225, 230, 235, 240])
def test_with_the_ledger_away_a_batch_drops_no_entry(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "ELECTION_BATCH", 1)
    run = run_until_full(entries, A_RACK)
    assert planted(run) == entries
    assert run.operation
    assert all(pod and pod.ready for pod in run.cluster.pods.values())


def test_a_batch_goes_on_while_there_is_room_for_all_it_will_write() -> None:
    assert run_until_full(150, A_RACK).cluster.most_down == A_RACK
    assert run_until_full(230, A_RACK).cluster.most_down < A_RACK


def test_control_a_batch_that_asks_for_less_room_drops_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "ELECTION_BATCH", 1)
    monkeypatch.setattr(planner, "ENTRIES_OF_A_RESTART", 3)
    assert planted(run_until_full(215, A_RACK)) < 215
