"""The Drain of brokers that are to leave, asked for pass after pass, whatever people and rebalances do meanwhile: never
two, never beside a person's own, none for what is not wanted, and none that has begun is taken away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cell import combined_cluster

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_rebalance import GoalType
from controlplane.domain.cluster import emptying
from controlplane.domain.cluster.layout import Layout
from controlplane.domain.cluster.members import Turn
from controlplane.domain.cluster.moves import ATTEMPTS, KEPT, UNAPPROVABLE, leftovers
from controlplane.domain.cluster.world import World
from controlplane.domain.membership.brokers import cannot_leave, known
from controlplane.domain.membership.values import Change, DrainBrokers, Target
from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    KafkaObservation,
    NodeObservation,
    PartitionObservation,
    Role,
)
from controlplane.domain.rebalance.asked import SETTLE_SECONDS, AskedMove, MoveStanding, MoveState

BROKERS = range(6)
LEAST = 3
CLUSTER = KafkaCluster.model_validate(combined_cluster() | {"metadata": {"name": "cell", "namespace": "k", "uid": "u"}})


@dataclass
class Play:
    """`places` are replicas by partition; `wanted` is False while somebody has cancelled the change."""

    replicas: int = len(BROKERS)
    wanted: bool = True
    places: list[set[int]] = field(default_factory=lambda: [{0, 4, 5}, {1, 2, 3}, {3, 4, 0}])
    moves: dict[str, AskedMove] = field(default_factory=dict)
    now: float = 1e9
    made: list[str] = field(default_factory=list)

    @property
    def leaving(self) -> tuple[int, ...]:
        return tuple(reversed(BROKERS[self.replicas :]))

    def world(self) -> World:
        partitions = tuple(
            PartitionObservation("t", number, min(on), tuple(sorted(on)), tuple(sorted(on)), 2)
            for number, on in enumerate(self.places)
        )
        brokers = tuple(BrokerObservation(one, None, "", 0) for one in BROKERS)
        nodes = tuple(NodeObservation(one, "nodes", frozenset({Role.BROKER}), None) for one in BROKERS)
        kafka = KafkaObservation(self.now, "", brokers, partitions)
        seen = ClusterObservation(self.now, "k", "cell", nodes, kafka=kafka)
        return World(CLUSTER, seen, {}, {}, None, {}, moves=tuple(self.moves.values()))

    def one_pass(self) -> bool:
        """As `decide` puts it together; whether anything was made or deleted."""
        world, layout, request = self.world(), Layout("", (), self.leaving), None
        kafka = world.observation.kafka
        assert kafka
        if self.wanted and (filled := cannot_leave(kafka, self.leaving)):
            emptied = known(kafka, self.leaving)
            turn = Turn(Change(DrainBrokers(emptied[-1], emptied, filled), ""), Target({}), "membership-1")
            turn, request = emptying.answered(world, layout, turn, self.now)
            assert isinstance(turn.change.action, DrainBrokers)
            (check,) = turn.change.action.checks
            assert check.name in emptying.EMPTYING.waits
        gone = leftovers(world, emptying.needed(world, layout, wanted=self.wanted))
        for drop in gone:
            move = self.moves.pop(drop.name)
            assert move.operation, "a person's is a person's to delete"
            assert move.standing.over or not move.begun, "what has begun is finished"
        if request is not None:
            assert request.name not in self.moves
            self.made.append(request.name)
            self.add(request.name, request.operation, request.brokers)
        return bool(gone) or request is not None

    def add(self, name: str, operation: str, brokers: tuple[int, ...]) -> None:
        self.moves[name] = AskedMove(
            name, operation, GoalType.DRAIN, brokers, MoveStanding(MoveState.UNDER_WAY), f"uid-{name}", "1"
        )

    def event(self, kind: str, pick: int) -> None:
        alive = [move for move in self.moves.values() if not move.standing.over]
        move = alive[pick % len(alive)] if alive else None
        match kind:
            case "number":
                self.replicas = LEAST + pick % (len(BROKERS) - LEAST + 1)
            case "cancel":
                self.wanted = not self.wanted
            case "person":
                self.add(f"person-{len(self.moves)}-{pick}", "", tuple(BROKERS[LEAST + pick % 3 :]))
            case "lands":
                self.places.append({0, 1, pick % len(BROKERS)} | {2})
            case "later":
                self.now += pick
            case "begins" if move and move.standing.reason != UNAPPROVABLE:
                self.moves[move.name] = replace(move, begun=True)
            case "does" if move and move.begun:
                for on in self.places:
                    lost = on & set(move.brokers)
                    on.difference_update(lost)
                    on.update(sorted(set(BROKERS[:LEAST]) - on)[: len(lost)])
                self._end(move, MoveState.COMPLETE, "Succeeded")
            case "fails" if move:
                self._end(move, MoveState.FAILED, "Failed")
            case "denied" if move:
                self._end(move, MoveState.FAILED, "Denied")
            case "infeasible" if move and not move.begun:
                self.moves[move.name] = replace(move, standing=MoveStanding(MoveState.INFEASIBLE, "GoalInfeasible"))
            case "unapprovable" if move and not move.begun:
                self.moves[move.name] = replace(move, standing=MoveStanding(MoveState.UNDER_WAY, UNAPPROVABLE))

    def _end(self, move: AskedMove, state: MoveState, reason: str) -> None:
        self.moves[move.name] = replace(move, standing=MoveStanding(state, reason, "", self.now))

    def breaches(self) -> list[str]:
        """After a pass."""
        found = []
        alive = [move for move in self.moves.values() if not move.standing.over]
        ours = [move for move in alive if move.operation]
        useful = [
            move
            for move in alive
            if not move.operation
            and move.standing.reason != UNAPPROVABLE
            and (move.standing.state is not MoveState.INFEASIBLE or set(move.brokers) == set(self.leaving))
        ]
        if len(ours) > 1:
            found.append(f"two drains: {sorted(move.name for move in ours)}")
        waiting = [move for move in ours if not move.begun]
        if waiting and (not self.wanted or not self.leaving):
            found.append("one that nobody wants")
        if waiting and any(set(self.leaving) <= set(move.brokers) for move in useful):
            found.append("one beside a person's own")
        if any(not set(move.brokers) <= set(self.leaving) for move in waiting):
            found.append("one that empties a broker that stays")
        ended = [move for move in self.moves.values() if move.operation and move.standing.over]
        if len(ended) > KEPT + ATTEMPTS * (len(BROKERS) - LEAST):
            found.append(f"{len(ended)} are kept")
        return found


KINDS = (
    *("number", "cancel", "person", "lands", "later", "begins", "does", "fails", "denied", "infeasible"),
    "unapprovable",
)
events = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 11)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(events)
def test_never_two_never_beside_a_persons_and_none_that_is_not_wanted(told: list[tuple[str, int]]) -> None:
    play = Play()
    for kind, pick in (("number", 1), *told):
        play.event(kind, pick)
        play.one_pass()
        assert play.breaches() == []
        assert not play.one_pass(), "a pass that found all as it shall be does nothing"


@settings(max_examples=60, deadline=None)
@given(events)
def test_a_denial_stands_as_long_as_the_wish(told: list[tuple[str, int]]) -> None:
    play = Play()
    play.event("number", 1)
    play.one_pass()
    play.event("denied", 0)
    for kind, pick in told:
        if kind != "number":
            play.event(kind, pick)
        play.one_pass()
    assert len(play.made) == 1
    play.event("number", 3)
    play.one_pass()
    assert play.made[0] not in play.moves
    play.wanted = True
    play.event("number", 1)
    play.event("lands", 5)
    play.event("later", int(SETTLE_SECONDS) + 1)
    useful = [m for m in play.moves.values() if not m.standing.over and m.standing.reason != UNAPPROVABLE]
    play.one_pass()
    assert useful or len(play.made) == 2, "the same wish again is another one"


def test_what_fails_by_itself_is_asked_for_three_times() -> None:
    play = Play()
    play.event("number", 1)
    for _ in range(ATTEMPTS + 2):
        play.one_pass()
        play.event("fails", 0)
    assert len(play.made) == ATTEMPTS
    assert len(play.moves) == ATTEMPTS, "they are the memory of it"


@pytest.mark.parametrize(
    ("spoilt", "told"), [("_of_people", [("number", 1), ("person", 0)]), ("_is_for", [("number", 1), ("number", 2)])]
)
def test_the_control_a_plan_that_does_not_look_is_caught(
    spoilt: str, told: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blind for what people have asked for, or for whom one was made."""
    blind = {"_of_people": lambda *_: [], "_is_for": lambda *_: True}
    monkeypatch.setattr(emptying, spoilt, blind[spoilt])
    play = Play()
    for kind, pick in told:
        play.event(kind, pick)
        play.one_pass()
    assert play.breaches()
