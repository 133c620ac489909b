"""The plan of `kfleet rebalance plan`, and how it looks."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from controlplane.adapters.solver.exact import INSTALL, is_installed
from controlplane.adapters.solver.worker import plan_rebalance
from controlplane.cli.errors import CliError
from controlplane.cli.options import Output
from controlplane.cli.rebalance import PlanOutput
from controlplane.cli.rebalance_input import Question
from controlplane.cli.render import View, show_one, table
from controlplane.domain.rebalance.capacity import gib
from controlplane.domain.rebalance.effect import Effect, effects
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.values import BalanceBytes, Infeasible, Leaders
from controlplane.domain.rolling.health import listing

MOST_REASONS = 3


@dataclass(frozen=True)
class Plan:
    question: Question
    proposal: Proposal

    @property
    def by_bytes(self) -> bool:
        return isinstance(self.question.goal, BalanceBytes)

    @property
    def bound(self) -> int:
        """In what the goal has the least of: bytes or replicas."""
        return (self.proposal.bytes_bound or 0) if self.by_bytes else self.proposal.bound

    @property
    def gap(self) -> int:
        return self.proposal.bytes_moved - self.bound if self.by_bytes else self.proposal.gap

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        return effects(self.question.assignment, self.question.brokers, self.proposal)


def show_plan(question: Question, output: PlanOutput, *, exact: bool) -> None:
    """Raises CliError where there is no plan, or with `exact` none that is proven."""
    answer = plan_rebalance(question.assignment, question.brokers, question.goal)
    if isinstance(answer, Infeasible):
        raise CliError(_why_not(answer))
    plan = Plan(question, answer)
    if plan.gap and not is_installed():
        said = f"OR-tools is not installed, so nothing proves that this is the least ({INSTALL})"
        if exact:
            raise CliError(f"--exact: {said}: the gap is {_amount(plan, plan.gap)}")
        print(f"kfleet: {said}", file=sys.stderr)
    elif plan.gap and exact:
        raise CliError(f"--exact: the plan found moves {_amount(plan, plan.gap)} more than what is proven to be needed")
    if _unheld(question):
        print("kfleet: capacities of brokers are not looked at: give --sizes, which they have to hold", file=sys.stderr)
    if question.idle:
        said = f"--allowed {listing(question.idle)}: no topic of the assignment is meant, and nothing is kept on these"
        print(f"kfleet: {said} brokers by it", file=sys.stderr)
    if output is PlanOutput.reassignment:
        print(json.dumps(answer.reassignment(), indent=2))
    else:
        wide = output is PlanOutput.wide
        show_one(Output(output.value), VIEW, plan, text=lambda: plan_text(plan, wide=wide))


def _unheld(question: Question) -> bool:
    """Nothing is held against the capacities that were given."""
    capped = any(broker.capacity is not None for broker in question.brokers)
    return capped and not question.sized and not isinstance(question.goal, Leaders)


def _why_not(answer: Infeasible) -> str:
    reasons = [shortage.message for shortage in answer.shortages]
    more = f"; and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
    return "; ".join(reasons[:MOST_REASONS]) + more


def _document(plan: Plan) -> dict[str, Any]:
    proposal = plan.proposal
    return {
        "goal": plan.question.name,
        "moves": proposal.replicas_moved,
        "bytes": proposal.bytes_moved,
        "objective": "bytes" if plan.by_bytes else "moves",
        "bound": plan.bound,
        "gap": plan.gap,
        "brokers": [
            {
                "id": one.broker.id,
                "rack": one.broker.rack,
                "arriving": one.arriving,
                "leaving": one.leaving,
                "before": {
                    "replicas": one.before.replicas,
                    "leaders": one.before.leaders,
                    "bytes": one.before.bytes,
                },
                "after": {"replicas": one.after.replicas, "leaders": one.after.leaders, "bytes": one.after.bytes},
            }
            for one in plan.effects
        ],
        "reassignment": proposal.reassignment(),
    }


VIEW = View[Plan]("RebalancePlan", (), lambda plan: "\n".join(str(move.id) for move in plan.proposal.moves), _document)


def plan_text(plan: Plan, *, wide: bool = False) -> str:
    """For people: what it costs, whether anything costs less, and what it does to each broker."""
    parts = [_headline(plan), _brokers(plan)]
    if wide and plan.proposal.moves:
        rows = [[move.id, _list(move.before), _list(move.after)] for move in plan.proposal.moves]
        parts.append(table(["PARTITION", "REPLICAS", "AFTER"], rows))
    return "\n\n".join(parts)


def _headline(plan: Plan) -> str:
    proposal = plan.proposal
    if not proposal.moves:
        return f"{plan.question.name}: nothing to do"
    partitions = _count(len(proposal.moves), "partition")
    if not proposal.replicas_moved:
        removed = sum(len(move.removing) for move in proposal.moves)
        what = f"{_count(removed, 'replica')} of {partitions} go" if removed else f"a new order for {partitions}"
        return f"{plan.question.name}: {what}; no data moves"
    moved = f"{_count(proposal.replicas_moved, 'replica')} to be copied, {partitions}"
    if plan.question.sized:
        moved += f", {gib(proposal.bytes_moved)}"
    proven = (
        "no plan moves less"
        if not plan.gap
        else f"at least {_amount(plan, plan.bound)} must be, gap {_amount(plan, plan.gap)}"
    )
    return f"{plan.question.name}: {moved}; {proven}"


def _amount(plan: Plan, amount: int) -> str:
    return gib(amount) if plan.by_bytes else _count(amount, "replica")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _brokers(plan: Plan) -> str:
    headers = ["BROKER", "RACK", "REPLICAS", "AFTER", "IN", "OUT", "LEADERS", "AFTER"]
    rows: list[list[object]] = []
    for one in plan.effects:
        row: list[object] = [one.broker.id, one.broker.rack or "-", one.before.replicas, one.after.replicas]
        row += [one.arriving, one.leaving, one.before.leaders, one.after.leaders]
        if plan.question.sized:
            row += [gib(one.before.bytes), gib(one.after.bytes)]
        rows.append(row)
    return table([*headers, "BYTES", "AFTER"] if plan.question.sized else headers, rows)


def _list(ids: tuple[int, ...]) -> str:
    return ",".join(str(one) for one in ids)
