"""What a KafkaRebalance says beside its operation: cost, progress with an estimate, conditions; its goals as values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controlplane.api.conditions import find_condition, timestamp
from controlplane.api.kafka_rebalance import GoalType, KafkaRebalanceStatus, RebalanceGoal
from controlplane.api.operation import Operation, OperationIntent, OperationStep
from controlplane.api.rollout import ApprovalPolicy
from controlplane.domain.rebalance import values
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal
from controlplane.domain.rebalance.status import Pace, described, how_good, summary_of
from controlplane.services.rebalance.recipe import goal_of, words_of

BEGAN = 1_700_000_000.0
MOVES = tuple(PartitionMove("t", number, (1, 2), (1, 3), 1024 * 1024) for number in range(8))
PROPOSAL = Proposal(MOVES, bound=8)
PACE = Pace(7, {2: 4, 5: 4})
"""Two batches of four replicas each, then an election."""


def operation(step: int, **changes: Any) -> Operation:
    at = OperationStep(id=step, verb="MoveReplicas", target="1/2")
    intent = OperationIntent(at=timestamp(BEGAN))
    known = {"id": "rebalance-1-a", "kind": "Rebalance", "goal": "g", "started_at": timestamp(BEGAN), "intent": intent}
    return Operation.model_validate(known | {"step": at} | changes)


def after(seconds: float, status: KafkaRebalanceStatus, step: int, **changes: Any) -> KafkaRebalanceStatus:
    status = status.model_copy(update={"operation": operation(step, **changes)})
    return described(status, ApprovalPolicy.REQUIRED, None, PACE, generation=1, now=BEGAN + seconds)


BEFORE = KafkaRebalanceStatus(proposal=summary_of(PROPOSAL, 1024 * 1024))


def test_the_estimate_is_the_throttles_first_and_then_that_of_the_pace() -> None:
    status = after(0, BEFORE, 2)
    assert status.progress is not None
    assert (status.progress.replicas_moved, status.progress.seconds_left) == (0, 8)
    later = after(30, status, 2)
    assert later.progress == status.progress, "nothing is written for the clock's sake"
    half = after(60, later, 3)
    assert half.progress is not None
    assert (half.progress.replicas_moved, half.progress.seconds_left) == (4, 60)
    assert half.progress.since == timestamp(BEGAN)


def test_going_back_there_is_no_estimate() -> None:
    status = after(60, after(0, BEFORE, 2), 3)
    back = after(70, status, 2 * 7 + 1 - 2, direction="Back")
    assert back.progress is not None
    assert (back.progress.replicas_moved, back.progress.seconds_left) == (0, None)


def test_nothing_is_told_of_progress_before_anything_was_begun() -> None:
    assert after(0, BEFORE, 1, intent=None).progress is None


def test_what_somebody_else_had_done_is_not_counted() -> None:
    status = after(60, after(0, BEFORE, 2), 4, already_done=("2",))
    assert status.progress is not None
    assert status.progress.replicas_moved == 0


@pytest.mark.parametrize(
    ("changes", "policy", "wanted"),
    [
        ({}, ApprovalPolicy.REQUIRED, ("False", "AwaitingApproval")),
        ({"approval": "a"}, ApprovalPolicy.REQUIRED, ("True", "PlanApproved")),
        ({}, ApprovalPolicy.NOT_REQUIRED, ("True", "ApprovalNotRequired")),
        ({"outcome": "Denied"}, ApprovalPolicy.REQUIRED, ("False", "Denied")),
    ],
)
def test_approved(changes: dict[str, Any], policy: ApprovalPolicy, wanted: tuple[str, str]) -> None:
    status = BEFORE.model_copy(update={"operation": operation(1, **changes)})
    found = find_condition(described(status, policy, None, PACE, generation=1, now=BEGAN).conditions, "Approved")
    assert found is not None
    assert (found.status, found.reason) == wanted


def test_how_good_a_plan_is_in_what_its_goal_counts() -> None:
    assert how_good(summary_of(PROPOSAL, 1)) == "no plan copies fewer"
    assert how_good(summary_of(replace(PROPOSAL, bound=6), 1)) == "no plan copies fewer than 6"
    by_bytes = replace(PROPOSAL, bound=0, bytes_bound=8 * 1024 * 1024)
    assert how_good(summary_of(by_bytes, 1)) == "no plan copies fewer bytes"
    assert how_good(summary_of(replace(by_bytes, bytes_bound=1024 * 1024), 1)) == "no plan copies fewer than 1.0 MiB"
    goal = RebalanceGoal(type=GoalType.DRAIN, brokers=(4,))
    assert words_of(goal, summary_of(PROPOSAL, 1)) == (
        "Drain brokers 4: copies 8 replicas, 8.0 MiB (no plan copies fewer)"
    )
    assert words_of(goal, summary_of(Proposal((), 0), 1)) == "Drain brokers 4: nothing has to move"


GOALS: dict[GoalType, tuple[dict[str, Any], values.Goal]] = {
    GoalType.BALANCE: ({}, values.Balance()),
    GoalType.BALANCE_BYTES: ({"tolerance_percent": 5}, values.BalanceBytes(0.05)),
    GoalType.LEADERS: ({}, values.Leaders()),
    GoalType.DRAIN: ({"brokers": (4,)}, values.Drain(frozenset({4}))),
    GoalType.RACKS: ({}, values.Racks()),
    GoalType.MOVE_TO: (
        {"brokers": (1, 2), "topics": ("t",)},
        values.MoveTo(frozenset({1, 2}), frozenset({"t"})),
    ),
    GoalType.CHANGE_REPLICAS: ({"replicas": 3}, values.ChangeReplicas(3, None)),
    GoalType.MOVE_AWAY: ({"brokers": (1,)}, values.MoveAway(frozenset({1}))),
}


@pytest.mark.parametrize("kind", GoalType)
def test_every_goal_is_one_of_the_domains(kind: GoalType) -> None:
    spec, wanted = GOALS[kind]
    assert goal_of(RebalanceGoal(type=kind, **spec)) == wanted
