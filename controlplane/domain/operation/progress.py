"""How an operation's status changes: outcomes go to the journal, the journal is the ledger's outbox. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from controlplane.api.conditions import timestamp
from controlplane.api.operation import (
    JOURNAL_KEPT,
    JOURNAL_LIMIT,
    JournalEntry,
    Operation,
    OperationStatus,
    OperationStep,
    Outcome,
    Recorded,
    StepCheck,
)

EntryKey = tuple[int, int]
"""(step, attempt): together with the object's uid and the operation's id the ledger's unique key."""

S = TypeVar("S", bound=OperationStatus)


def entry_key(entry: JournalEntry) -> EntryKey:
    return entry.step, entry.attempt


def entry_of(step: OperationStep, attempt: int, outcome: str, *, now: float, message: str = "") -> JournalEntry:
    return JournalEntry(
        step=step.id,
        attempt=attempt,
        verb=step.verb,
        target=step.target,
        outcome=outcome,
        at=timestamp(now),
        message=message[:1024],
        risk=step.risk,
    )


def journalled(journal: tuple[JournalEntry, ...], entry: JournalEntry) -> tuple[JournalEntry, ...]:
    """The journal with one more entry; what the ledger has taken makes room, what it has not stays."""
    return trimmed((*journal, entry))


def trimmed(journal: tuple[JournalEntry, ...]) -> tuple[JournalEntry, ...]:
    """Every undelivered entry and the newest JOURNAL_KEPT delivered ones, in order; at most JOURNAL_LIMIT.

    Beyond the limit the oldest go. `JournalFull` keeps an operation from coming that far: only a node that goes up and
    down without end, with the ledger away, can still fill it.
    """
    delivered = [entry for entry in journal if entry.delivered]
    dropped = {id(entry) for entry in delivered[: max(len(delivered) - JOURNAL_KEPT, 0)]}
    return tuple(entry for entry in journal if id(entry) not in dropped)[-JOURNAL_LIMIT:]


def undelivered(operation: Operation) -> tuple[JournalEntry, ...]:
    return tuple(entry for entry in operation.journal if not entry.delivered)


def finished(operation: Operation, outcome: Outcome, *, message: str, now: float) -> Operation:
    """The operation as `lastOperation`: nothing is intended any more."""
    return operation.model_copy(
        update={"outcome": outcome, "ended_at": timestamp(now), "message": message[:4096], "intent": None}
    )


def recorded(operation: Operation, taken: Collection[EntryKey], state: Recorded) -> Operation:
    """The operation with what the ledger has confirmed marked as delivered, and trimmed."""
    journal = tuple(
        entry.model_copy(update={"delivered": True}) if entry_key(entry) in taken else entry
        for entry in operation.journal
    )
    return operation.model_copy(update={"journal": trimmed(journal), "recorded": state})


def fully_recorded(operation: Operation) -> bool:
    """Whether the ledger knows all there is to know of it as it stands."""
    wanted: Recorded = "Ended" if operation.outcome else "Begun"
    return operation.recorded == wanted and not undelivered(operation)


def wordless(operation: Operation | None) -> Operation | None:
    """The operation without what only people read: messages, and how far that has come which a step waits for."""
    if operation is None:
        return None
    step = operation.step
    if step is not None:
        step = step.model_copy(update={"checks": tuple(StepCheck(name=check.name) for check in step.checks)})
    return operation.model_copy(update={"message": "", "step": step})
