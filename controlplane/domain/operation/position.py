"""Where a frozen operation stands in its plan, from the little that its status keeps of it. Pure.

Forward, step k is under way and every step before it is done. Undoing step k of n has the id 2n + 1 - k: ids only grow,
none is used twice (it is part of the ledger's key), and k follows from the id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from controlplane.api.operation import Operation, OperationStep


class Fate(StrEnum):
    """What has become of one step of a plan."""

    TO_COME = "ToCome"
    UNDER_WAY = "UnderWay"
    WAITING = "Waiting"
    DONE = "Done"
    ALREADY_DONE = "AlreadyDone"
    """Found done before it was begun; never undone."""
    UNDONE = "Undone"
    KEPT = "Kept"
    """Done and left as it is, although the operation went back."""


def undo_id(number: int, count: int) -> int:
    """Id of undoing step `number` of a plan of `count` steps; and the other way round."""
    return 2 * count + 1 - number


def standing_at(operation: Operation, count: int) -> int:
    """Number of the plan's step that is being done or undone; 1 before anything was looked at."""
    step = operation.step
    if step is None:
        return 1
    return step.id if step.id <= count else undo_id(step.id, count)


def contains(ranges: Iterable[str], number: int) -> bool:
    """Whether `number` lies in one of the ranges such as `3` or `5-9`."""
    return any(first <= number <= last for first, last in map(_bounds, ranges))


def extended(ranges: Sequence[str], number: int) -> tuple[str, ...]:
    """The ranges with one more number, greater than all in them."""
    if ranges:
        first, last = _bounds(ranges[-1])
        if last + 1 == number:
            return (*ranges[:-1], f"{first}-{number}")
    return (*ranges, str(number))


def leaves_something(step: OperationStep) -> bool:
    """Whether a step that was done stays in effect when nothing undoes it: a Safe one without inverse does not."""
    return not step.inverse and step.risk != "Safe"


def fates(operation: Operation, steps: Sequence[OperationStep]) -> tuple[Fate, ...]:
    """What has become of each step of the operation's plan."""
    at = standing_at(operation, len(steps))
    return tuple(_fate(operation, step, at) for step in steps)


def _fate(operation: Operation, step: OperationStep, at: int) -> Fate:
    if contains(operation.already_done, step.id):
        return Fate.ALREADY_DONE
    if operation.ending is not None:
        return _fate_going_back(operation, step, at, operation.ending.turned_at)
    if step.id < at or operation.outcome == "Succeeded":
        return Fate.DONE
    return _fate_here(operation) if step.id == at and operation.outcome is None else Fate.TO_COME


def _fate_going_back(operation: Operation, step: OperationStep, at: int, turned_at: int) -> Fate:
    if step.id > turned_at:
        return Fate.TO_COME
    if not step.inverse:
        return Fate.KEPT if leaves_something(step) else Fate.DONE
    if operation.outcome is not None:
        abandoned = operation.step is not None and bool(operation.step.checks)
        return Fate.KEPT if abandoned and step.id <= at else Fate.UNDONE
    if step.id == at:
        return _fate_here(operation)
    return Fate.DONE if step.id < at else Fate.UNDONE


def _fate_here(operation: Operation) -> Fate:
    if operation.step is not None and operation.step.checks:
        return Fate.WAITING
    return Fate.TO_COME if operation.intent is None and operation.direction == "Forward" else Fate.UNDER_WAY


def _bounds(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)
