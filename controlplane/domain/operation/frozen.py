"""How a frozen operation moves on: a pure function of its status, its plan and what the verbs saw. Pure.

Invariants, each with a property test:
1. Forward, the steps of the plan are begun in order, each after the one before it was seen done; nothing else is.
2. An intent is in the operation that `advance` returns whenever it says to act, for that step and attempt.
3. Back, every step that was begun, has an inverse and was not found done already is undone, last one first, and nothing
   else. Once back, an operation never goes forward again, and neither pause nor cancel stops it.
4. While somebody else has the cell nothing moves.
5. A plan that is not what the hash says is not followed: no step of it is begun; of what was begun only those steps are
   undone that can be proven to be of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from controlplane.api.conditions import timestamp
from controlplane.api.operation import (
    ALREADY_DONE_RANGES,
    Operation,
    OperationEnding,
    OperationIntent,
    OperationStep,
    Outcome,
    StepCheck,
)
from controlplane.domain.check import Check, explain
from controlplane.domain.operation.permit import DELETED, JOURNAL_FULL, PAUSED, Permit
from controlplane.domain.operation.position import contains, extended, leaves_something, standing_at, undo_id
from controlplane.domain.operation.progress import entry_of, finished, journalled
from controlplane.domain.operation.verb import Doing, Done, Failed, Look, Pending, Traits, UnderWay

RETRY_SECONDS = (1.0, 60.0)
"""Pause before the second attempt at a step, doubled for each further one, and the longest pause."""
UNDO_ENTRIES = 8
"""Attempts at undoing a step that all stay in the journal; of later ones the newest takes the place of the one before
it that the ledger does not have, so that no outage fills the journal."""
_NOT_FOR_URGENT = frozenset({PAUSED.name, JOURNAL_FULL})

Place = tuple[int, int]
"""(step id, attempt)"""


@dataclass(frozen=True, slots=True)
class FrozenSteps:
    """The steps of a plan of `count` by number; all of them unless `lost` says what is wrong with the others."""

    count: int
    steps: Mapping[int, OperationStep]
    lost: Check | None = None

    @staticmethod
    def of(steps: tuple[OperationStep, ...]) -> FrozenSteps:
        return FrozenSteps(len(steps), {step.id: step for step in steps})

    def undone_by(self, number: int) -> OperationStep | None:
        """The step that undoes step `number`; None when nothing does or it is lost."""
        step = self.steps.get(number)
        if step is None or not step.inverse:
            return None
        return OperationStep(
            id=undo_id(number, self.count),
            verb=step.inverse,
            target=step.target,
            why=f"undoes step {number}",
            risk=step.risk,
            parameters=step.parameters,
        )


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything `advance` looks at. `looks` are what the verbs saw, by place; what has none is seen in the next pass.

    `gates` are failed checks of the world: nothing new is begun, and an urgent step is nothing new. `abandon`: the
    whole namespace is going, and what cannot be undone by now is left.
    """

    plan: FrozenSteps
    looks: Mapping[Place, Look]
    permit: Permit
    now: float
    verbs: Mapping[str, Traits] = field(default_factory=dict)
    gates: tuple[Check, ...] = ()
    abandon: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """The operation to write, `operation.outcome` set when it is over, and what to do after that was written.

    `begun`: something is under way in the world. `moving`: there is more to look at, at once.
    """

    operation: Operation
    act: Doing | None = None
    begun: bool = False
    moving: bool = False


def doing(operation: Operation, plan: FrozenSteps) -> Doing | None:
    """What the operation is at, from its plan and not from the copy in its status; None when that is lost or over."""
    at = standing_at(operation, plan.count)
    step = plan.steps.get(at) if operation.direction == "Forward" else plan.undone_by(at)
    if step is None or operation.outcome is not None:
        return None
    return Doing(operation.id, step, operation.attempt, operation.intent)


def advance(operation: Operation, situation: Situation) -> Move:
    """As far as what was seen goes: to an action, to a wait, or to the end."""
    if situation.permit.locked:
        here = doing(operation, situation.plan)
        return _waiting(operation, here, situation.permit.holds, explain(situation.permit.holds), begun=False)
    moved = Move(operation, moving=True)
    while moved.moving:
        following = _once(moved.operation, situation)
        if following is None:
            at = moved.operation
            return replace(moved, begun=at.direction == "Back" or at.intent is not None)
        moved = following
    return moved


def _once(operation: Operation, situation: Situation) -> Move | None:
    """One transition; None when the next one takes a look that nobody has taken yet."""
    plan = situation.plan
    if operation.direction == "Back":
        return _back(operation, situation)
    if plan.lost is not None:
        return _turn(operation, situation, "Failed", plan.lost, _last_begun(operation, plan))
    if plan.count == 0:
        return _ended(operation, "Succeeded", "nothing was to be done", situation.now)
    return _forward(operation, situation)


def _forward(operation: Operation, situation: Situation) -> Move | None:
    plan, permit = situation.plan, situation.permit
    here = doing(operation, plan)
    if here is None:
        lost = Check("PlanChanged", ok=False, evidence=f"The plan has no step {standing_at(operation, plan.count)}.")
        return _turn(operation, situation, "Failed", lost, plan.count)
    number, look = here.step.id, situation.looks.get(here.place)
    if permit.stop is not None and (_not_begun(operation) or here.step.inverse):
        return _stop(operation, situation, _last_begun(operation, plan))
    holds = (*permit.holds, *situation.gates)
    if permit.stop is None and holds and number == 1 and _not_begun(operation) and not operation.journal:
        # It may not begin: not even what is done already is counted before somebody has agreed.
        return _waiting(operation, here, holds, explain(holds), begun=False)
    if look is None:
        return None
    if isinstance(look, Done):
        return _done(operation, here, look, situation)
    if isinstance(look, Failed):
        return _failed(operation, here, look, situation)
    if isinstance(look, UnderWay):
        return _waiting(operation, here, permit.refused, look.message, begun=operation.intent is not None)
    if permit.stop is not None:
        return _stop(operation, situation, number)
    traits = situation.verbs.get(here.step.verb, Traits())
    if traits.urgent and number > 1:
        holds = tuple(hold for hold in permit.holds if hold.name not in _NOT_FOR_URGENT)
    return _act(operation, here, look, (*holds, *look.checks), situation)


def _back(operation: Operation, situation: Situation) -> Move | None:
    here = doing(operation, situation.plan)
    if here is None:
        return _next_undo(operation, situation, standing_at(operation, situation.plan.count))
    look = situation.looks.get(here.place)
    if look is None:
        return None
    if isinstance(look, Done):
        outcome = "NothingToUndo" if _not_begun(operation) else "Undone"
        entry = entry_of(here.step, operation.attempt, outcome, now=situation.now, message=look.message)
        journal = journalled(operation.journal, entry)
        undone = operation.model_copy(update={"journal": journal, "intent": None, "attempt": 1})
        return _next_undo(undone, situation, standing_at(operation, situation.plan.count))
    if situation.abandon:
        return _abandoned(operation, here, look, situation.now)
    if isinstance(look, Failed):
        return _undo_again(operation, here, look, situation.now)
    if isinstance(look, UnderWay):
        return _waiting(operation, here, situation.permit.refused, look.message, begun=True)
    return _act(operation, here, look, look.checks, situation)


def _act(operation: Operation, here: Doing, look: Pending, waits: tuple[Check, ...], situation: Situation) -> Move:
    """The intent and the action; or what keeps it from being done. Undoing is under way until it is over."""
    back = operation.direction == "Back"
    if any(not check.ok for check in waits):
        return _waiting(operation, here, waits, explain(waits), begun=back)
    if operation.intent is None and (pause := _pause_left(operation, situation.now)) > 0:
        return _waiting(operation, here, (), f"attempt {operation.attempt} in {pause:.0f} s", begun=back)
    before = operation.intent
    at = before.at if before is not None else timestamp(situation.now)
    intent = OperationIntent(uid=look.uid, resource_version=look.resource_version, at=at)
    message = explain(situation.permit.refused)
    written = _shown(operation, here.step, situation.permit.refused, message).model_copy(update={"intent": intent})
    return Move(written, act=replace(here, intent=intent), begun=True)


def _done(operation: Operation, here: Doing, look: Done, situation: Situation) -> Move:
    plan, number, found = situation.plan, here.step.id, _not_begun(operation)
    already = operation.already_done
    if found:
        already = extended(already, number)
        if len(already) > ALREADY_DONE_RANGES:
            stale = Check(
                "PlanStale",
                ok=False,
                evidence="So much of the plan had been done by somebody else that it is not worth following.",
                remedy="Ask for a new plan.",
            )
            return _turn(operation, situation, "Failed", stale, number - 1)
    outcome = "AlreadyDone" if found else "Done"
    entry = entry_of(here.step, operation.attempt, outcome, now=situation.now, message=look.message)
    following = plan.steps.get(number + 1)
    step = following or here.step
    moved = operation.model_copy(
        update={
            "journal": journalled(operation.journal, entry),
            "already_done": already,
            "step": step.model_copy(update={"checks": ()}),
            "attempt": 1,
            "intent": None,
            "message": "",
        }
    )
    if number == plan.count:
        return _ended(moved, "Succeeded", f"{plan.count} step{'' if plan.count == 1 else 's'} done", situation.now)
    return Move(moved, moving=True)


def _failed(operation: Operation, here: Doing, look: Failed, situation: Situation) -> Move:
    why = explain([look.check])
    entry = entry_of(here.step, operation.attempt, "Failed", now=situation.now, message=why)
    noted = operation.model_copy(update={"journal": journalled(operation.journal, entry)})
    attempts = situation.verbs.get(here.step.verb, Traits()).attempts
    tried = operation.intent is not None
    if tried and look.again and operation.attempt < attempts and situation.permit.stop is None:
        again = noted.model_copy(update={"attempt": operation.attempt + 1, "intent": None})
        words = f"attempt {operation.attempt} of {attempts} failed: {why}"
        return _waiting(again, here, (), words, begun=False)
    turned_at = _last_begun(operation, situation.plan)
    noted = noted.model_copy(update={"intent": None})
    return _turn(noted, situation, "Failed", look.check, turned_at)


def _stop(operation: Operation, situation: Situation, turned_at: int) -> Move:
    """What somebody said ends the operation; the step that was begun is undone or left."""
    permit = situation.permit
    said = [hold for hold in permit.holds if hold.name in (permit.stop, DELETED)]
    why = said[0] if said else Check(permit.stop or "Cancelled", ok=False)
    here = doing(operation, situation.plan)
    if here is not None and operation.intent is not None:
        entry = entry_of(here.step, operation.attempt, "Interrupted", now=situation.now, message=explain([why]))
        operation = operation.model_copy(update={"journal": journalled(operation.journal, entry)})
    return _turn(operation, situation, permit.stop or "Cancelled", why, turned_at)


def _turn(operation: Operation, situation: Situation, outcome: Outcome, why: Check, turned_at: int) -> Move:
    """Back from here. `turned_at` is the last step that was begun. Without anything to undo it is the end."""
    plan = situation.plan
    begun = [number for number in range(1, turned_at + 1) if not contains(operation.already_done, number)]
    steps = {number: plan.steps.get(number) for number in begun}
    kept = [number for number, step in steps.items() if step is None or leaves_something(step)]
    if outcome == "Failed" and not kept and any(step is not None and step.inverse for step in steps.values()):
        outcome = "RolledBack"
    ending = OperationEnding(outcome=outcome, why=_step_check(why), turned_at=turned_at)
    turned = operation.model_copy(update={"ending": ending, "attempt": 1, "intent": None})
    return _next_undo(turned, situation, turned_at + 1)


def _next_undo(operation: Operation, situation: Situation, after: int) -> Move:
    """On to the next lower step that is to be undone, or to the end."""
    plan = situation.plan
    for number in range(after - 1, 0, -1):
        step = plan.undone_by(number)
        if step is not None and not contains(operation.already_done, number):
            update = {"direction": "Back", "step": step, "attempt": 1, "intent": None, "message": ""}
            return Move(operation.model_copy(update=update), moving=True)
    ending = operation.ending
    if ending is None:
        raise ValueError(f"{operation.id}: goes back without saying why")
    bare = _shown(operation, operation.step, (), "") if operation.step is not None else operation
    return _ended(bare, ending.outcome, _how_it_ended(operation, plan, ending), situation.now)


def _abandoned(operation: Operation, here: Doing, look: Pending | UnderWay | Failed, now: float) -> Move:
    checks = (look.check,) if isinstance(look, Failed) else look.checks if isinstance(look, Pending) else ()
    left = Check("CleanUpAbandoned", ok=False, evidence="The namespace goes; this and what was before it stays.")
    shown = _shown(operation, here.step, (left, *checks), "")
    message = f"{here.step.verb} {here.step.target} could not be undone before the namespace went: {explain(checks)}"
    entry = entry_of(here.step, operation.attempt, "Abandoned", now=now, message=message)
    shown = shown.model_copy(update={"journal": journalled(shown.journal, entry)})
    return _ended(shown, "Failed", message, now)


def _undo_again(operation: Operation, here: Doing, look: Failed, now: float) -> Move:
    journal = operation.journal
    newest = journal[-1] if journal else None
    if operation.attempt > UNDO_ENTRIES and newest is not None and newest.step == here.step.id and not newest.delivered:
        journal = journal[:-1]
    entry = entry_of(here.step, operation.attempt, "Failed", now=now, message=explain([look.check]))
    update = {"journal": journalled(journal, entry), "intent": None, "attempt": operation.attempt + 1}
    return _waiting(operation.model_copy(update=update), here, (look.check,), "It is tried again.", begun=True)


def _ended(operation: Operation, outcome: Outcome, message: str, now: float) -> Move:
    return Move(finished(operation, outcome, message=message, now=now))


def _how_it_ended(operation: Operation, plan: FrozenSteps, ending: OperationEnding) -> str:
    words = [" ".join(part for part in (ending.why.evidence, ending.why.remedy) if part) or ending.why.name]
    lost = [
        number
        for number in range(1, ending.turned_at + 1)
        if number not in plan.steps and not contains(operation.already_done, number)
    ]
    kept = [
        number
        for number, step in plan.steps.items()
        if number <= ending.turned_at and leaves_something(step) and not contains(operation.already_done, number)
    ]
    if kept:
        words.append(f"Done and not undone: step {_numbers(kept)}.")
    if lost:
        words.append(f"What step {_numbers(lost)} did is to be looked at by hand.")
    return " ".join(words)


def _numbers(numbers: list[int]) -> str:
    ranges: tuple[str, ...] = ()
    for number in sorted(numbers):
        ranges = extended(ranges, number)
    return ", ".join(ranges)


def _waiting(operation: Operation, here: Doing | None, checks: tuple[Check, ...], message: str, *, begun: bool) -> Move:
    step = here.step if here is not None else operation.step
    shown = _shown(operation, step, checks, message) if step is not None else operation
    return Move(shown, begun=begun)


def _shown(operation: Operation, step: OperationStep | None, checks: tuple[Check, ...], message: str) -> Operation:
    """The operation with the step it is at, what that waits for, and words."""
    shown = tuple(_step_check(check) for check in checks if not check.ok)[:16]
    at = step.model_copy(update={"checks": shown}) if step is not None else None
    return operation.model_copy(update={"step": at, "message": message[:4096]})


def _step_check(check: Check) -> StepCheck:
    return StepCheck(name=check.name, evidence=check.evidence[:1024], remedy=check.remedy[:512])


def _not_begun(operation: Operation) -> bool:
    """Nothing of the step at hand was ever tried: what is seen done is somebody else's doing."""
    return operation.intent is None and operation.attempt == 1


def _last_begun(operation: Operation, plan: FrozenSteps) -> int:
    at = standing_at(operation, plan.count)
    return at - 1 if _not_begun(operation) else at


def _pause_left(operation: Operation, now: float) -> float:
    """Seconds until the next attempt; the journal's newest entry is the failure before it."""
    if operation.attempt == 1 or not operation.journal:
        return 0.0
    first, longest = RETRY_SECONDS
    pause = min(first * float(2 ** min(operation.attempt - 2, 16)), longest)
    return datetime.fromisoformat(operation.journal[-1].at).timestamp() + pause - now
