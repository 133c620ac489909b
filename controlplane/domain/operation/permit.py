"""What an operation may do now, from what people have said about it: pause, cancel, approve, deny, delete. Pure.

A wait (`holds`) lets what was begun finish and begins nothing new. A stop (`stop`) ends the operation as soon as
nothing is begun any more, and keeps it from beginning again until somebody takes the word back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controlplane.api import names
from controlplane.api.approval import OverrideType
from controlplane.api.operation import JOURNAL_LIMIT, Operation, Outcome
from controlplane.domain.check import Check
from controlplane.domain.operation.progress import undelivered

JOURNAL_MARGIN = 16
"""What an operation that has begun a step may still need to write before that step is over."""

Waiver = tuple[str, str]
"""Type and id of an Approval's override: ("Hazard", "KAFKA-20732"), ("Window", "")."""

CELL_LOCKED = "CellLocked"
DELETED = "Deleted"
JOURNAL_FULL = "JournalFull"

PAUSED = Check(
    "Paused",
    ok=False,
    evidence=f"The object is paused (annotation {names.PAUSED}).",
    remedy="Remove the annotation and it goes on.",
)


@dataclass(frozen=True, slots=True)
class Waivable:
    """A failed check that an Approval of the plan can set aside by naming `override`, (type, id).

    `unless` are verbs of steps that it does not bar: what the operation is at then needs no such leave. `forward_only`:
    nor does it bar an operation that undoes what was done.
    """

    check: Check
    override: Waiver
    unless: frozenset[str] = frozenset()
    forward_only: bool = False

    def bars(self, operation: Operation) -> bool:
        if self.forward_only and operation.direction == "Back":
            return False
        return operation.step is None or operation.step.verb not in self.unless

    @property
    def option(self) -> str:
        """How `kfleet approve` is told."""
        kind, name = self.override
        return f"--accept-hazard {name}" if kind == OverrideType.HAZARD else "--waive-window"


@dataclass(frozen=True, slots=True)
class Permit:
    """`holds` are failed checks, each a reason to begin nothing new; `stop` is how the operation has to end.

    `approval` names the Approval that it goes on under. `refused` is what the last pass's actions were refused for.
    """

    holds: tuple[Check, ...] = ()
    stop: Outcome | None = None
    approval: str = ""
    refused: tuple[Check, ...] = ()

    @property
    def locked(self) -> bool:
        """Whether somebody else has the cell: nothing may be done to it, not even undone."""
        return any(check.name == CELL_LOCKED for check in self.holds)

    def with_hold(self, check: Check) -> Permit:
        return replace(self, holds=(*self.holds, check))


FREE = Permit()


def from_words(
    operation: Operation, annotations: Mapping[str, str], *, deleting: bool, refused: tuple[Check, ...] = ()
) -> Permit:
    """What the object's annotations and its deletion say about this operation; approvals come on top."""
    holds: list[Check] = []
    stop: Outcome | None = None
    if deleting:
        stop = "Cancelled"
        holds.append(Check(DELETED, ok=False, evidence="The object is being deleted."))
    elif annotations.get(names.CANCEL) == operation.id:
        stop = "Cancelled"
        remedy = f"`kfleet op resume {operation.id}` takes that back; so does a spec that asks for something else."
        if operation.mode == "Frozen":
            remedy = "What was begun is undone; a new spec or a new object asks for it again."
        holds.append(Check("Cancelled", ok=False, evidence=f"{operation.id} was cancelled.", remedy=remedy))
    if annotations.get(names.PAUSED) == "true":
        holds.append(PAUSED)
    if len(undelivered(operation)) > JOURNAL_LIMIT - JOURNAL_MARGIN:
        holds.append(
            Check(
                JOURNAL_FULL,
                ok=False,
                evidence="The ledger has not taken what was done so far, and the status can hold no more of it.",
                remedy="Bring the ledger's database back (operator log); it goes on by itself.",
            )
        )
    return Permit(tuple(holds), stop, refused=refused)
