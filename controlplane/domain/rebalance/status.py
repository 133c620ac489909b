"""What a KafkaRebalance says of itself beside its operation: what the plan costs, how far it has come, whether there is
a plan and who lets it begin. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.api import conditions as c
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_rebalance import KafkaRebalanceStatus, ProposalSummary, RebalanceProgress
from controlplane.api.operation import Operation
from controlplane.api.rollout import ApprovalPolicy
from controlplane.domain.operation.plan import Plan
from controlplane.domain.operation.position import contains, standing_at
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.steps import human


@dataclass(frozen=True, slots=True)
class RebalancePlan(Plan):
    """A frozen plan, and what it costs: not hashed, for people."""

    summary: ProposalSummary | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """A plan of `count` steps, and the replicas that steps copy, by step."""

    count: int = 0
    copies: Mapping[int, int] = field(default_factory=dict)


def summary_of(proposal: Proposal, rate: int) -> ProposalSummary:
    return ProposalSummary(
        replicas_moved=proposal.replicas_moved,
        bytes_moved=proposal.bytes_moved,
        partitions=len(proposal.moves),
        bound=proposal.bound,
        gap=proposal.gap,
        bytes_bound=proposal.bytes_bound,
        throttle_bytes=rate,
    )


def how_good(summary: ProposalSummary) -> str:
    """Whether there may be a cheaper plan: what the goal counts is replicas, or bytes."""
    if summary.bytes_bound is not None:
        best = summary.bytes_moved <= summary.bytes_bound
        return "no plan copies fewer bytes" if best else f"no plan copies fewer than {human(summary.bytes_bound)}"
    return "no plan copies fewer" if not summary.gap else f"no plan copies fewer than {summary.bound}"


def described(
    status: KafkaRebalanceStatus,
    approval: ApprovalPolicy,
    plan: Plan | None,
    pace: Pace | None,
    *,
    generation: int,
    now: float,
) -> KafkaRebalanceStatus:
    """`plan` is the one that has just been made; `pace` is None where its steps were not looked at, as after its end:
    what was said of the progress stays."""
    proposal = plan.summary if isinstance(plan, RebalancePlan) else status.proposal
    operation = status.operation or status.last_operation
    status = status.model_copy(update={"proposal": proposal})
    if operation is not None and pace is not None:
        status = status.model_copy(update={"progress": _progress(status, operation, pace, now)})
    conditions = status.conditions
    for kind, value, reason, message in (_proposed(status, operation), _approved(operation, approval)):
        conditions = c.set_condition(conditions, kind, value, reason, message, observed_generation=generation, now=now)
    return status.model_copy(update={"conditions": conditions})


def _progress(status: KafkaRebalanceStatus, operation: Operation, pace: Pace, now: float) -> RebalanceProgress | None:
    """Moves only when a batch is done: a status is not written for the clock's sake."""
    before = status.progress
    if before is None and operation.intent is None:
        return None
    moved = _moved(operation, pace)
    if before is not None and before.replicas_moved == moved and _ahead(operation) == (before.seconds_left is not None):
        return before
    since = before.since if before is not None else timestamp(now)
    left = _seconds_left(status.proposal, moved, now - datetime.fromisoformat(since).timestamp())
    return RebalanceProgress(replicas_moved=moved, since=since, seconds_left=left if _ahead(operation) else None)


def _ahead(operation: Operation) -> bool:
    return operation.direction == "Forward" and operation.outcome is None


def _moved(operation: Operation, pace: Pace) -> int:
    """Replicas that are on their new brokers by our doing."""
    ours = {step: number for step, number in pace.copies.items() if not contains(operation.already_done, step)}
    if operation.outcome == "Succeeded":
        return sum(ours.values())
    if operation.outcome is not None and operation.direction == "Back":
        return 0
    return sum(number for step, number in ours.items() if step < standing_at(operation, pace.count))


def _seconds_left(proposal: ProposalSummary | None, moved: int, elapsed: float) -> int | None:
    """By the pace so far; before there is one, by the throttle, as if one broker after the other copied."""
    if proposal is None:
        return None
    if not moved:
        return math.ceil(proposal.bytes_moved / proposal.throttle_bytes) if proposal.throttle_bytes else None
    return math.ceil(max(elapsed, 0.0) / moved * max(proposal.replicas_moved - moved, 0))


def _proposed(status: KafkaRebalanceStatus, operation: Operation | None) -> tuple[str, bool, str, str]:
    if operation is not None:
        return c.PROPOSED, True, "PlanMade", _cost(status.proposal)
    ready = c.find_condition(status.conditions, c.READY)
    return c.PROPOSED, False, ready.reason if ready else "Planning", ready.message if ready else ""


def _cost(proposal: ProposalSummary | None) -> str:
    if proposal is None:
        return ""
    counted = f"{proposal.partitions} partitions change, {proposal.replicas_moved} replicas are copied"
    return f"{counted}, {human(proposal.bytes_moved)}; {how_good(proposal)}."


def _approved(operation: Operation | None, approval: ApprovalPolicy) -> tuple[str, bool, str, str]:
    if operation is None:
        return c.APPROVED, False, "Planning", ""
    if operation.approval:
        return c.APPROVED, True, "PlanApproved", f"Approval {operation.approval}"
    if approval is ApprovalPolicy.NOT_REQUIRED:
        return c.APPROVED, True, "ApprovalNotRequired", ""
    if operation.outcome == "Denied":
        return c.APPROVED, False, "Denied", operation.message
    return c.APPROVED, False, "AwaitingApproval", ""
