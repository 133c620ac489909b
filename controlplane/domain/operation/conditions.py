"""Conditions of an object that runs one frozen operation: it ends in Complete or in Failed. Pure."""

from __future__ import annotations

from controlplane.api import conditions as c
from controlplane.api.operation import Operation
from controlplane.domain.check import Check, explain

Conditions = tuple[c.Condition, ...]


def under_way(before: Conditions, operation: Operation, *, generation: int, now: float) -> Conditions:
    """While the operation waits, is carried out or is undone."""
    checks = operation.step.checks if operation.step is not None else ()
    reason = "Undoing" if operation.direction == "Back" else "UnderWay"
    words = " ".join(" ".join(part for part in (check.evidence, check.remedy) if part) for check in checks)
    message = words or operation.message or operation.goal
    waits = checks[0].name if checks else ""
    return _set(
        before,
        (c.READY, False, waits or reason, message),
        (c.COMPLETE, False, waits or reason, message),
        (c.FAILED, False, reason, ""),
        (c.BLOCKED, bool(waits), waits or "NotBlocked", words),
        (c.RECONCILING, True, reason, message),
        (c.STALLED, False, reason, ""),
        generation=generation,
        now=now,
    )


def over(before: Conditions, operation: Operation, *, generation: int, now: float) -> Conditions:
    """The operation of this generation has ended."""
    well, outcome = operation.outcome == "Succeeded", operation.outcome or "Failed"
    return _set(
        before,
        (c.READY, well, outcome, operation.message),
        (c.COMPLETE, well, outcome, operation.message),
        (c.FAILED, not well, outcome, "" if well else operation.message),
        (c.BLOCKED, False, "NotBlocked", ""),
        (c.RECONCILING, False, outcome, ""),
        (c.STALLED, not well, outcome, "" if well else operation.message),
        generation=generation,
        now=now,
    )


def unplanned(before: Conditions, refused: tuple[Check, ...], *, generation: int, now: float) -> Conditions:
    """There is no plan yet: one is being made, or `refused` says why there can be none."""
    reason, message = (refused[0].name, explain(refused)) if refused else ("Planning", "A plan is being made.")
    return _set(
        before,
        (c.READY, False, reason, message),
        (c.COMPLETE, False, reason, message),
        (c.FAILED, False, reason, ""),
        (c.BLOCKED, bool(refused), reason if refused else "NotBlocked", message if refused else ""),
        (c.RECONCILING, not refused, reason, message),
        (c.STALLED, bool(refused), reason, message if refused else ""),
        generation=generation,
        now=now,
    )


def _set(before: Conditions, *wanted: tuple[str, bool, str, str], generation: int, now: float) -> Conditions:
    conditions = before
    for kind, status, reason, message in wanted:
        conditions = c.set_condition(conditions, kind, status, reason, message, observed_generation=generation, now=now)
    return conditions
