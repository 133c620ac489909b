"""The one renderer of plans and progress: lines of text with a tone, for the CLI, for reports and for messages. Pure.

Lines carry no colour: whoever prints to a terminal may map `Tone` to one. Marks are ASCII: a log shows them too.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controlplane.api.operation import JournalEntry, Operation, OperationStep, StepCheck
from controlplane.domain.operation.plan import HASH_PREFIX, Plan
from controlplane.domain.operation.position import Fate, fates, standing_at

WIDTH = 100
SHOWN_STEPS = 40
"""Of a longer plan the steps around the one under way are shown; `every=True` shows all."""
SHOWN_HASH = len(HASH_PREFIX) + 12


class Tone(StrEnum):
    """What a line is about, for whoever wants to colour it."""

    PLAIN = "Plain"
    HEADING = "Heading"
    FAINT = "Faint"
    DONE = "Done"
    ACTIVE = "Active"
    WAITING = "Waiting"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    tone: Tone = Tone.PLAIN


MARKS: dict[Fate, tuple[str, Tone]] = {
    Fate.TO_COME: ("[ ]", Tone.PLAIN),
    Fate.UNDER_WAY: ("[>]", Tone.ACTIVE),
    Fate.WAITING: ("[!]", Tone.WAITING),
    Fate.DONE: ("[x]", Tone.DONE),
    Fate.ALREADY_DONE: ("[=]", Tone.FAINT),
    Fate.UNDONE: ("[<]", Tone.FAINT),
    Fate.KEPT: ("[k]", Tone.WAITING),
}
LEGEND = "[x] done  [>] under way  [!] waiting  [ ] to come  [=] was done before  [<] undone  [k] not undone"
_OUTCOMES = {"Succeeded": Tone.DONE, "Superseded": Tone.FAINT, "Cancelled": Tone.WAITING}


def text(lines: Iterable[Line]) -> str:
    return "\n".join(line.text for line in lines)


def plan_lines(plan: Plan, *, notes: Sequence[str] = (), every: bool = False, width: int = WIDTH) -> tuple[Line, ...]:
    """A plan before anything of it is done. `notes` are what its kind adds, such as a lower bound."""
    shown = plan.steps if every else plan.steps[:SHOWN_STEPS]
    return (
        Line(f"{plan.kind}: {plan.goal}", Tone.HEADING),
        *_facts(_hash_words(plan.mode, plan.hash), _gates(plan.gates), *notes, width=width),
        *_heading(plan.mode, plan.steps),
        *(line for step in shown for line in _step_lines(step, Fate.TO_COME, (), width)),
        *_left_out(len(plan.steps) - len(shown), "more follow"),
    )


def operation_lines(
    operation: Operation,
    steps: Sequence[OperationStep] = (),
    *,
    notes: Sequence[str] = (),
    every: bool = False,
    width: int = WIDTH,
) -> tuple[Line, ...]:
    """An operation under way or over. `steps`: those of a frozen plan that does not fit into a status (`planRef`)."""
    steps = steps or operation.steps
    approval = f"approved by Approval {operation.approval}" if operation.approval else ""
    words = (_hash_words(operation.mode, operation.plan_hash), _gates(operation.gates), approval, *notes)
    head = (
        Line(f"{operation.id}: {operation.goal}", Tone.HEADING),
        *_facts(*words, width=width),
        *_state_lines(operation, width),
    )
    if operation.mode == "Frozen" and steps:
        return (*head, *_heading(operation.mode, steps), *_frozen_lines(operation, steps, every=every, width=width))
    return (*head, *_journal_lines(operation, every=every, width=width))


def summary(operation: Operation, *, width: int = WIDTH) -> str:
    """One line: which operation, where it stands, what it waits for or how it ended."""
    if operation.outcome is not None:
        return _cut(": ".join(part for part in (operation.id, operation.outcome, operation.message) if part), width)
    step = operation.step
    if step is None:
        return _cut(": ".join(part for part in (operation.id, operation.message) if part), width)
    where = f"{'undoing, ' if operation.direction == 'Back' else ''}step {step.id} {step_words(step)}"
    attempt = f" (attempt {operation.attempt})" if operation.attempt > 1 else ""
    waits = f"waits for {', '.join(check.name for check in step.checks)}" if step.checks else operation.message
    return _cut(": ".join(part for part in (operation.id, where + attempt, waits) if part), width)


def step_words(step: OperationStep) -> str:
    """`MoveReplica orders-3`"""
    return f"{step.verb} {step.target}" if step.target else step.verb


def journal_line(entry: JournalEntry) -> str:
    """One outcome, as `op watch` and logs print it."""
    attempt = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
    words = f"{entry.verb} {entry.target}" if entry.target else entry.verb
    message = f": {entry.message}" if entry.message else ""
    return f"{entry.at}  {entry.step:>4}  {entry.outcome:<12} {words}{attempt}{message}"


def _facts(*words: str, width: int) -> tuple[Line, ...]:
    return tuple(line for word in words if word for line in _wrapped(word, "  ", Tone.FAINT, width))


def _hash_words(mode: str, plan_hash: str) -> str:
    covers = "these steps or none" if mode == "Frozen" else "each step is planned from a new observation"
    return f"{mode}: {covers}; plan {plan_hash[:SHOWN_HASH]}" if plan_hash else f"{mode}: {covers}"


def _gates(gates: Sequence[str]) -> str:
    return f"stops for {', '.join(gates)}" if gates else ""


def _heading(mode: str, steps: Sequence[OperationStep]) -> tuple[Line, ...]:
    if not steps:
        return (Line("Nothing is to be done.", Tone.PLAIN),) if mode == "Frozen" else ()
    risks = Counter(step.risk for step in steps)
    kinds = [f"{risks[risk]} {risk.lower()}" for risk in ("Disruptive", "Destructive") if risks[risk]]
    foreseen = " foreseen" if mode == "Replanned" else ""
    count = f"{len(steps)} step{'' if len(steps) == 1 else 's'}{foreseen}"
    return (Line(""), Line(f"{count}{', ' + ', '.join(kinds) if kinds else ''}:", Tone.HEADING))


def _step_lines(step: OperationStep, fate: Fate, checks: Sequence[StepCheck], width: int) -> list[Line]:
    mark, tone = MARKS[fate]
    risk = f" ({step.risk.lower()})" if step.risk != "Safe" else ""
    lines = [Line(_cut(f"  {mark} {step.id:>3} {step_words(step)}{risk}", width), tone)]
    if step.why:
        lines += _wrapped(step.why, " " * 10, Tone.FAINT, width)
    return lines + _check_lines(checks, " " * 10, width)


def _check_lines(checks: Sequence[StepCheck], indent: str, width: int) -> list[Line]:
    return [
        line
        for check in checks
        for line in _wrapped(
            f"{check.name}: {' '.join(part for part in (check.evidence, check.remedy) if part)}".rstrip(": "),
            indent,
            Tone.WAITING,
            width,
        )
    ]


def _state_lines(operation: Operation, width: int) -> list[Line]:
    """How it stands as a whole: since when, which way, and how it ended."""
    lines = [Line(f"  since {operation.started_at}", Tone.FAINT)]
    if (ending := operation.ending) is not None:
        why = f"{ending.why.name}: {ending.why.evidence}" if ending.why.evidence else ending.why.name
        lines += _wrapped(f"turned back after step {ending.turned_at}: {why}", "  ", Tone.FAILED, width)
    if operation.outcome is not None:
        words = f"{operation.outcome} at {operation.ended_at}"
        tone = _OUTCOMES.get(operation.outcome, Tone.FAILED)
        return lines + _wrapped(f"{words}: {operation.message}" if operation.message else words, "  ", tone, width)
    if operation.message:
        lines += _wrapped(operation.message, "  ", Tone.PLAIN, width)
    return lines


def _frozen_lines(operation: Operation, steps: Sequence[OperationStep], *, every: bool, width: int) -> list[Line]:
    at, first, last = standing_at(operation, len(steps)), 0, len(steps)
    if not every and len(steps) > SHOWN_STEPS:
        first = max(min(at - SHOWN_STEPS // 2, len(steps) - SHOWN_STEPS), 0)
        last = first + SHOWN_STEPS
    found = fates(operation, steps)
    lines = [*_left_out(first, _counted(found[:first], "before"))]
    for step, fate in zip(steps[first:last], found[first:last], strict=True):
        current = operation.step is not None and step.id == at and operation.step.checks
        lines += _step_lines(step, fate, current or (), width)
    lines += _left_out(len(steps) - last, _counted(found[last:], "after"))
    return [*lines, *_wrapped(LEGEND, "  ", Tone.FAINT, width)]


def _journal_lines(operation: Operation, *, every: bool, width: int) -> list[Line]:
    """What a plan without fixed steps has done so far, and what it is at."""
    shown = operation.journal if every else operation.journal[-SHOWN_STEPS:]
    lines = [Line("")] if shown or operation.step else []
    lines += _left_out(len(operation.journal) - len(shown), "before")
    lines += [Line(f"  [x] {_cut(journal_line(entry), width - 6)}", Tone.DONE) for entry in shown]
    if operation.step is not None and operation.outcome is None:
        fate = Fate.WAITING if operation.step.checks else Fate.UNDER_WAY
        lines += _step_lines(operation.step, fate, operation.step.checks, width)
    if (ref := operation.plan_ref) is not None:
        words = f"its {ref.steps} steps lie in ConfigMap {', '.join(ref.config_maps)}"
        lines += _wrapped(words, "  ", Tone.FAINT, width)
    return lines


def _left_out(count: int, words: str) -> tuple[Line, ...]:
    return (Line(f"  ... {count} {words}", Tone.FAINT),) if count > 0 else ()


def _counted(found: Sequence[Fate], where: str) -> str:
    """`12 before (11 done, 1 was done before)`: the words after the number."""
    counts = Counter(MARKS[fate][0] for fate in found)
    return f"{where} ({', '.join(f'{mark} {count}' for mark, count in counts.items())})"


def _wrapped(words: str, indent: str, tone: Tone, width: int) -> list[Line]:
    lines = textwrap.wrap(words, max(width - len(indent), 20), break_on_hyphens=False)
    return [Line(indent + line, tone) for line in lines]


def _cut(words: str, width: int) -> str:
    return words if len(words) <= width else words[: width - 3] + "..."
