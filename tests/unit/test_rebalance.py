"""Rebalances by example: known optima, shares, the order of replicas, what a worker process is given; and the judge of
the property tests shown to find what is wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.evidence import EVIDENCE, ROOT, problems
from support.rebalance_judge import Court, fewest
from support.rebalance_layouts import Layout, outcome, with_tables

from controlplane.adapters.solver.exact import OrTools
from controlplane.adapters.solver.worker import plan_rebalance
from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.effect import Load, effects
from controlplane.domain.rebalance.network import Network
from controlplane.domain.rebalance.order import arranged
from controlplane.domain.rebalance.problem import Problem, whole_weights
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal
from controlplane.domain.rebalance.propose import propose
from controlplane.domain.rebalance.search import limits_of, moves_bound
from controlplane.domain.rebalance.shares import fair_shares, replica_groups
from controlplane.domain.rebalance.solver import ChoiceProblem, FlowProblem
from controlplane.domain.rebalance.values import (
    Assignment,
    Balance,
    BalanceBytes,
    Broker,
    ChangeReplicas,
    Constraint,
    Drain,
    Goal,
    Infeasible,
    Leaders,
    MoveAway,
    MoveTo,
    Partition,
    Racks,
)

SOLVER = OrTools()
both = pytest.mark.parametrize("solver", [SOLVER, None], ids=["exact", "search"])


def assigned(*replicas: tuple[int, ...], size: int = 1) -> Assignment:
    return Assignment.of(Partition("t", at, one, size) for at, one in enumerate(replicas))


def planned(assignment: Assignment, brokers: tuple[Broker, ...], goal: Goal, solver: OrTools | None = None) -> Proposal:
    answer = propose(assignment, brokers, goal, solver)
    assert isinstance(answer, Proposal), answer
    return answer


def racked(count: int, racks: int) -> tuple[Broker, ...]:
    return tuple(Broker(at, f"rack-{at % racks}") for at in range(count))


@both
@pytest.mark.parametrize(
    ("partitions", "brokers", "used", "racks"), [(300, 12, 9, 3), (1000, 24, 24, 3), (90, 10, 8, 5)]
)
def test_a_balance_moves_what_each_broker_has_too_much_and_no_more(
    solver: OrTools | None, partitions: int, brokers: int, used: int, racks: int
) -> None:
    """Rack-aware already: the optimum is the sum over brokers of what is above (or below) its rounded share."""
    layout = Layout("", partitions, brokers, racks, used)
    before = layout.replicas(1)
    proposal = planned(assigned(*before), racked(brokers, racks), Balance(), solver)
    held = Counter(one for replicas in before for one in replicas)
    whole, most = divmod(3 * partitions, brokers)
    assert proposal.gap == 0
    assert proposal.bound >= sum(max(0, held[one] - whole - (most > 0)) for one in range(brokers))
    after = {move.partition: move.after for move in proposal.moves}
    found = outcome(layout, before, [after.get(at, one) for at, one in enumerate(before)])
    assert found == {"moves": proposal.replicas_moved, "spread": found["spread"], "narrow": 0}
    assert found["spread"] <= 2


@pytest.mark.parametrize(
    ("wants", "brokers", "shares"),
    [
        ([(1, 0)], [("a", 1), ("a", 1)], ["1/2", "1/2"]),
        ([(2, 0)] * 2, [(None, 1), (None, 1), (None, 2)], ["1", "1", "2"]),
        ([(2, 0)] * 2, [(None, 1), (None, 1), (None, 9)], ["1", "1", "2"]),
        ([(2, 2)] * 6, [("a", 1), ("b", 1), ("b", 1), ("b", 1)], ["6", "2", "2", "2"]),
        ([(1, 1)] * 6 + [(2, 2)] * 6, [("a", 1), ("b", 1), ("b", 1), ("b", 1)], ["6", "4", "4", "4"]),
        ([(3, 2)] * 4, [("a", 1), ("b", 1), ("b", 1), ("b", 1)], ["4", "8/3", "8/3", "8/3"]),
    ],
)
def test_fair_shares(wants: list[tuple[int, int]], brokers: list[tuple[str, float]], shares: list[str]) -> None:
    """(replicas, spread) of partitions; (rack, weight) of brokers. A rack's only broker takes what its rack must."""
    problem = Problem([Broker(at, rack, weight) for at, (rack, weight) in enumerate(brokers)])
    for at, (want, spread) in enumerate(wants):
        cell = problem.cell(frozenset(range(len(brokers))))
        problem.choose(Partition("t", at, tuple(range(want))), want, spread, cell)
    assert fair_shares(replica_groups(problem), problem.weights) == [Fraction(share) for share in shares]


def test_weights_are_what_people_have_written() -> None:
    assert whole_weights([0.1, 0.3, 1.0]) == [1, 3, 10]
    assert whole_weights([2.0, 4.0]) == [1, 2]
    assert whole_weights([]) == []


@pytest.mark.parametrize(
    ("before", "after", "order"),
    [
        ((1, 2, 3), {1, 2, 4}, [1, 2, 4]),
        ((1, 2, 3), {2, 3, 4}, [4, 2, 3]),
        ((1, 2, 3), {2}, [2]),
        ((1, 2), {1, 2, 5, 4}, [1, 2, 4, 5]),
        ((1, 2, 3), {4, 5, 6}, [4, 5, 6]),
    ],
)
def test_what_stays_keeps_its_place(before: tuple[int, ...], after: set[int], order: list[int]) -> None:
    assert arranged(before, sorted(after)) == order


def test_a_leader_that_stays_leads_and_the_others_are_spread() -> None:
    brokers = tuple(Broker(one) for one in range(6))
    proposal = planned(assigned(*[(0, 1, 2)] * 6, *[(1, 0, 2)] * 3), brokers, Drain(frozenset({0})))
    leaders = [move.after[0] for move in proposal.moves]
    assert leaders[6:] == [1, 1, 1]
    assert max(Counter(leaders[:6]).values()) <= 2


def test_a_proposal_is_kafkas_json() -> None:
    proposal = planned(assigned((0, 1), (0, 1), (1, 0)), (Broker(0), Broker(1), Broker(2)), Drain(frozenset({0})))
    document = json.loads(json.dumps(proposal.reassignment()))
    assert document["version"] == 1
    assert [entry["partition"] for entry in document["partitions"]] == [0, 1, 2]
    assert all(sorted(entry["replicas"]) == [1, 2] for entry in document["partitions"])


def test_what_a_proposal_does_to_brokers_adds_up() -> None:
    assignment, brokers = assigned((0, 1), (0, 2), (1, 2), size=10), (Broker(1), Broker(2), Broker(3))
    found = effects(assignment, brokers, planned(assignment, brokers, Drain(frozenset({0}))))
    assert [one.broker.id for one in found] == [0, 1, 2, 3]
    assert (found[0].before, found[0].after, found[0].leaving) == (Load(2, 2, 20), Load(), 2)
    assert (found[3].before, found[3].after, found[3].arriving) == (Load(), Load(2, found[3].after.leaders, 20), 2)
    assert sum(one.after.leaders for one in found) == 3


def test_unprotected_partitions_move_away_and_others_stay() -> None:
    assignment = Assignment.of(
        [Partition("one", 0, (0,)), Partition("two", 0, (0, 1), min_isr=2), Partition("safe", 0, (0, 1), min_isr=1)]
    )
    proposal = planned(assignment, racked(3, 3), MoveAway(frozenset({0})))
    assert [str(move.id) for move in proposal.moves] == ["one-0", "two-0"]
    assert proposal.replicas_moved == proposal.bound == 2


def test_room_is_never_made_by_moving_what_the_goal_speaks_of_elsewhere() -> None:
    """The tenant's other partition is in its shard already and must not be pushed out of it to make room."""
    brokers = tuple(Broker(one, capacity=100) for one in range(3))
    assignment = Assignment.of(
        [Partition("t", 0, (2,), 60), Partition("t", 1, (0,), 60), Partition("other", 0, (1,), 50)]
    )
    proposal = planned(assignment, brokers, MoveTo(frozenset({0, 1}), frozenset({"t"})), SOLVER)
    after = {str(move.id): move.after for move in proposal.moves}
    assert after == {"t-0": (1,), "other-0": (2,)}
    assert (proposal.replicas_moved, proposal.gap) == (2, 0)


def test_leaders_of_topics_that_move_are_spread_over_where_they_come() -> None:
    """All six keep a replica on broker 1, which led them all."""
    proposal = planned(assigned(*[(1, 2)] * 6), racked(4, 1), MoveTo(frozenset({1, 3}), frozenset({"t"})), SOLVER)
    assert proposal.replicas_moved == 6
    assert Counter(move.after[0] for move in proposal.moves) == {1: 3, 3: 3}
    drained = planned(assigned(*[(1, 2)] * 6), racked(4, 1), Drain(frozenset({2})), SOLVER)
    assert {move.after[0] for move in drained.moves} == {1}, "elsewhere who leads goes on"


def test_nothing_of_what_is_impossible_is_proposed() -> None:
    answer = propose(assigned((0, 1), (1, 2)), racked(3, 3), Drain(frozenset({0, 1})), SOLVER)
    assert isinstance(answer, Infeasible)
    assert [(s.constraint, s.needed, s.available, s.missing) for s in answer.shortages] == [
        (Constraint.REPLICAS, 2, 1, 1)
    ] * 2
    assert "t-0: 2 replicas need 2 brokers, 1 may have them (2): 1 too few" in str(answer)


@pytest.mark.parametrize("topics", [None, frozenset({"t"})])
def test_fewer_replicas_than_min_isr_are_refused(topics: frozenset[str] | None) -> None:
    partitions = [Partition("t", 0, (0, 1, 2), min_isr=2), Partition("t", 1, (0,), min_isr=2)]
    answer = propose(Assignment.of(partitions), racked(3, 3), ChangeReplicas(1, topics), SOLVER)
    assert isinstance(answer, Infeasible)
    assert [(s.constraint, s.subject, s.needed, s.available) for s in answer.shortages] == [
        (Constraint.REPLICAS, "t-0", 2, 1)
    ]
    assert "t-0: 1 replica is 1 fewer than its min ISR 2" in str(answer)


def test_replicas_are_not_refused_where_they_help_or_are_not_asked_of() -> None:
    more = planned(Assignment.of([Partition("t", 0, (0,), min_isr=3)]), racked(3, 3), ChangeReplicas(2))
    assert more.replicas_moved == 1
    both = Assignment.of([Partition("t", 0, (0, 1), min_isr=1), Partition("u", 0, (0, 1), min_isr=2)])
    assert [move.topic for move in planned(both, racked(3, 3), ChangeReplicas(1, frozenset({"t"}))).moves] == ["t"]


def test_a_dead_broker_that_is_not_listed_can_be_drained() -> None:
    proposal = planned(assigned((9, 0), (0, 1)), racked(3, 3), Drain(frozenset({9})))
    assert [move.removing for move in proposal.moves] == [frozenset({9})]
    assert isinstance(propose(assigned((9, 0)), racked(3, 3), Balance(), None), Infeasible)


def test_another_number_of_replicas_lets_brokers_leave_whether_they_are_up_or_not() -> None:
    """Broker 4 is listed, 9 is not. What has the number already is no business of this goal, wherever it is."""
    given = assigned((9, 4, 0, 1), (4, 1, 2), (0, 1, 2, 3))
    proposal = planned(given, racked(5, 5), ChangeReplicas(3, leaving=frozenset({4, 9})))
    (first, last) = proposal.moves
    assert (first.partition, first.removing, len(first.adding)) == (0, frozenset({4, 9}), 1)
    assert (last.partition, len(last.removing), last.adding) == (2, 1, frozenset())
    few = propose(given, racked(5, 5), ChangeReplicas(4, leaving=frozenset({2, 3, 4, 9})), None)
    assert isinstance(few, Infeasible)
    assert "4 replicas need 4 brokers, 2 may have them (0, 1)" in str(few)


@pytest.mark.parametrize("goal", [Balance(), BalanceBytes(), Leaders(), Racks(), Drain(frozenset({0}))])
def test_an_empty_cluster_has_nothing_to_move(goal: Goal) -> None:
    answer = propose(Assignment(()), racked(3, 3), goal, SOLVER)
    assert answer == Proposal((), 0) or isinstance(goal, BalanceBytes | Drain)
    if isinstance(goal, BalanceBytes):
        assert isinstance(answer, Infeasible)
        assert "nothing to balance" in str(answer)


def test_pools_that_cannot_be_dealt_are_drawn_in_full() -> None:
    """Two racks, RF 3: a pool may hand one partition the same broker twice. Either way the optimum is the same."""
    rng = Random(7)
    brokers = racked(9, 2)
    problem = Problem(brokers)
    for at in range(60):
        old = tuple(rng.sample(range(7), 3))
        problem.choose(Partition("t", at, old), 3, 2, problem.cell(frozenset(range(9))))
    limits = limits_of(fair_shares(replica_groups(problem), problem.weights))
    moved = []
    for pooled in (True, False):
        network = Network(problem, limits, pooled=pooled)
        flow = SOLVER.solve_flow(network.flow)
        assert flow is not None
        moved.append(network.moved(flow.amounts))
        places = network.read(flow.amounts)
        if places is not None:
            assert all(len(set(one)) == 3 for one in places)
    assert moved[0] <= moved[1]
    assert moves_bound(problem, limits) <= moved[0]
    assert places is not None


def test_the_solver_says_what_cannot_be() -> None:
    flow = FlowProblem()
    flow.arc(flow.node(2), flow.node(-2), 1)
    assert SOLVER.solve_flow(flow) is None
    choice = ChoiceProblem()
    choice.row(2, 2, [(choice.variable(1), 1)])
    answer = SOLVER.solve_choice(choice)
    assert (answer.chosen, answer.bound) == (None, None)
    choice = ChoiceProblem()
    pair = [choice.variable(3), choice.variable(2)]
    choice.row(1, 2, [(one, 1) for one in pair])
    answer = SOLVER.solve_choice(choice)
    assert (answer.chosen, answer.bound) == ([False, True], 2)


def test_a_worker_process_plans_what_this_one_does() -> None:
    assignment, brokers = assigned(*Layout("", 60, 9, 3, 6).replicas(1)), racked(9, 3)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for goal in (Balance(), Drain(frozenset({0})), ChangeReplicas(9), Drain(frozenset(range(9)))):
            there = pool.submit(plan_rebalance, assignment, brokers, goal).result(60)
            assert there == plan_rebalance(assignment, brokers, goal)


def test_processes_with_other_hash_seeds_propose_the_same() -> None:
    files = ROOT / "examples" / "rebalance"
    options = [
        word for name in ("assignment", "brokers", "sizes") for word in (f"--{name}", str(files / f"{name}.json"))
    ]
    said = set()
    for seed in ("0", "1", "77"):
        for goal in ("balance", "drain:1"):
            done = subprocess.run(
                [Path(sys.executable).parent / "kfleet", "rebalance", "plan", *options, "--goal", goal, "-o", "json"],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"PYTHONHASHSEED": seed},
            )
            said.add(done.stdout)
    assert len(said) == 2


BROKERS = (Broker(0, "a"), Broker(1, "b"), Broker(2, "a"), Broker(3, "b", capacity=15))
QUESTION = assigned((0, 1), (0, 1), (2, 1), (2, 3), size=10)


def move(at: int, *after: int) -> PartitionMove:
    partition = QUESTION.partitions[at]
    return PartitionMove("t", at, partition.replicas, after, partition.size)


@pytest.mark.parametrize(
    ("goal", "proposal", "finds"),
    [
        (Drain(frozenset({0})), Proposal((move(0, 2, 1),), 1), "t-1: on [0], where it may not be"),
        (Drain(frozenset({0})), Proposal((move(0, 2, 1), move(1, 2, 2)), 2), "t-1: two replicas on one broker"),
        (Drain(frozenset({0})), Proposal((move(0, 2, 1), move(1, 3, 1)), 2), "t-1: in 1 racks, not 2"),
        (Drain(frozenset({0})), Proposal((move(0, 2, 1), move(1, 2)), 1), "t-1: 1 replicas, not 2"),
        (Drain(frozenset({0})), Proposal((move(1, 2, 1), move(0, 2, 1)), 2), "not one a partition, in order"),
        (Drain(frozenset({0})), Proposal((move(0, 2, 1), move(0, 2, 1)), 2), "not one a partition, in order"),
        (Drain(frozenset({0})), Proposal((move(0, 2, 1), move(1, 2, 1)), 3), "a bound of 3 on 2 moves"),
        (Drain(frozenset({0})), Proposal((move(0, 2, 1), move(1, 2, 1)), 2, 99), "a bound of 99 on 20 bytes"),
        (Drain(frozenset({0})), Proposal((move(0, 2, 3), move(1, 2, 1)), 2), "broker 3: 20 bytes are more than its 15"),
        (Drain(frozenset({0})), Proposal((move(0, 7, 1), move(1, 2, 1)), 2), "t-0: on [7]"),
        (Balance(), Proposal((move(0, 0, 1),), 0), "t-0: a move that changes nothing"),
        (Balance(), Proposal((replace(move(0, 2, 1), before=(1, 0)),), 1), "t-0: it is not as the move says"),
        (Balance(), Proposal((replace(move(0, 2, 1), size=7),), 1), "t-0: it is not as the move says"),
        (Leaders(), Proposal((move(0, 2, 1),), 0), "t-0: data moves for a leader"),
    ],
)
def test_control_the_judge_finds_what_is_wrong(goal: Goal, proposal: Proposal, finds: str) -> None:
    found = Court(QUESTION, BROKERS, goal).breaches(proposal)
    assert any(finds in text for text in found), found


def test_control_the_judge_accepts_what_is_right() -> None:
    assert Court(QUESTION, BROKERS, Drain(frozenset({0}))).breaches(Proposal((move(0, 2, 1), move(1, 2, 1)), 2)) == []
    assert Court(QUESTION, BROKERS, Leaders()).breaches(Proposal((move(0, 1, 0),), 0)) == []


def test_control_the_oracle_sees_a_dearer_optimum_and_an_impossible_one() -> None:
    court = Court(QUESTION, BROKERS, Balance())
    assert fewest(court, dict.fromkeys(range(4), (0, 4))) == 0
    assert fewest(court, {0: (0, 1), 1: (0, 4), 2: (0, 4), 3: (0, 4)}) == 1
    assert fewest(court, dict.fromkeys(range(4), (3, 4))) is None
    assert TopicPartition("t", 0) in court.partitions


def test_the_page_has_the_tables_of_its_record() -> None:
    record = json.loads((EVIDENCE / "bench-rebalance.json").read_text())
    assert problems(record) == []
    page = (ROOT / "docs" / "rebalancing.md").read_text()
    assert page == with_tables(page, record), "run: make bench-rebalance"
    for part, name in (("tool", "moves"), ("scale", "peak_mib")):
        planted = json.loads(json.dumps(record))
        for row in planted["outcomes"][part]:
            row[name] += 7
        assert page != with_tables(page, planted)


def misses(record: dict[str, Any]) -> list[str]:
    """What of a record is short of the targets: a proven optimum but for bytes, seconds and minutes, 4 GiB."""
    found = []
    for row in record["outcomes"]["scale"]:
        name = f"{row['partitions']} {row['goal']}"
        if row["gap"] > (row["bound"] // 100_000 if row["objective"] == "bytes" else 0):
            found.append(f"{name}: gap")
        if row["seconds"] > (30 if row["partitions"] == 20_000 else 300):
            found.append(f"{name}: seconds")
        if row["peak_mib"] > 4096:
            found.append(f"{name}: memory")
    if {row["partitions"] for row in record["outcomes"]["scale"]} != {20_000, 333_334}:
        found.append("sizes")
    return found


def test_the_record_is_within_what_is_promised() -> None:
    record = json.loads((EVIDENCE / "bench-rebalance.json").read_text())
    assert misses(record) == []
    assert record["outcomes"]["executed"]["equal"]
    row = record["outcomes"]["scale"][0]
    row |= {"gap": 1 + row["bound"], "seconds": 1000.0, "peak_mib": 10_000}
    name = f"{row['partitions']} {row['goal']}"
    assert misses(record) == [f"{name}: {what}" for what in ("gap", "seconds", "memory")], "control"


@pytest.mark.parametrize("tolerance", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_tolerance_that_makes_no_sense_is_refused(tolerance: float) -> None:
    answer = propose(assigned((0, 1)), racked(3, 3), BalanceBytes(tolerance), None)
    assert isinstance(answer, Infeasible)
    assert "is not from 0 to 1" in str(answer)
