"""What one name means that kfleet says in a status, an Event, a plan or on the screen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Sort(StrEnum):
    """Where a name turns up. One name may turn up in several places, always with the one meaning."""

    CONDITION = "condition"
    REASON = "reason"
    """Of a condition, where no failed check is behind it."""
    CHECK = "check"
    """A failed check is also the reason of Ready, Blocked or Stalled, and of an Event."""
    STEP = "step"
    """Verb of an operation's step, in status.operation and in the journal."""
    ACTION = "action"
    """What a pass carries out, in the message of Ready=Applying and of StepFailed."""
    CAUSE = "restart reason"
    OUTCOME = "outcome"
    """Of an operation, or of a step in its journal."""
    EVENT = "event"
    STATE = "node state"
    CLUSTER_STATE = "cluster state"
    """In `kfleet status` and `kfleet cluster get`."""
    OPERATION_STATE = "operation state"
    """In `kfleet op list`; an operation that has ended shows its outcome there."""
    REFUSAL = "refusal"
    """First word of a node's init container (kafka-node-format) when it leaves log dirs alone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`means` says what is the case, `does` what kfleet does about it, `remedy` what a person can do.

    `see` are command lines to go on with; words in capitals stand for the reader's own names.
    """

    name: str
    sorts: tuple[Sort, ...]
    means: str
    does: str
    remedy: str = "Nothing."
    see: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sorts or not self.means or not self.does or not self.remedy:
            raise ValueError(f"{self.name}: an entry says what it means, what kfleet does and what to do")
