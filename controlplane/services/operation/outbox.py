"""The status journal is the ledger's outbox: entries go to SQL and are trimmed once they have been taken.

What is handed over is what the API server already has, never what a pass has only decided: an entry in the ledger is an
entry that some status held. A crash loses nothing, because the next process finds in the status what was not marked
and hands it over again, and the ledger's unique keys make twice the same as once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from controlplane.api.operation import Operation, OperationStatus, Recorded
from controlplane.domain.operation.progress import EntryKey, entry_key, finished, fully_recorded, recorded
from controlplane.ports import ApprovalRecord, LedgerError, LedgerWriter, Object, OperationRecord

log = logging.getLogger(__name__)

S = TypeVar("S", bound=OperationStatus)
K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 4096
"""Operations, and as many approvals, kept in memory at most. What finds no room stays in its status and is handed over
by a later pass."""

OperationKey = tuple[str, str, str]
"""uid of the object, id of the operation, when it began: an operation that was cancelled may begin again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the ledger has confirmed of one operation, or refused for good, and its status may not say yet."""

    entries: frozenset[EntryKey]
    state: Recorded


class Outbox:
    """Delivers in the background (`run`): no pass ever waits for the ledger. Without one everything counts as taken.

    Belongs to one event loop; only the ledger's own calls run in a thread, one at a time.
    """

    def __init__(self, ledger: LedgerWriter | None, *, retry: float = 5.0) -> None:
        self._ledger, self._retry = ledger, retry
        self._operations: dict[OperationKey, OperationRecord] = {}
        self._approvals: dict[str, ApprovalRecord] = {}
        self._sending: OperationRecord | None = None
        self._open: OrderedDict[str, OperationRecord] = OrderedDict()
        self._taken: OrderedDict[OperationKey, Taken] = OrderedDict()
        self._approvals_taken: OrderedDict[str, None] = OrderedDict()
        self._rejected: OrderedDict[OperationKey, OperationRecord] = OrderedDict()
        self._work = asyncio.Event()
        self.trouble = ""
        """Why nothing is delivered at present; empty while all goes well."""

    def deliver(self, obj: Object, cell: str, status: S) -> S:
        """Hand over what `obj`, as it was read, holds and the ledger lacks; `status` with what is confirmed marked."""
        if self._ledger is None:
            return _with_marks(status, lambda operation: Taken(_entries(operation), _state(operation)))
        self.hand_over(obj, cell)
        uid = obj["metadata"]["uid"]
        return _with_marks(status, lambda operation: self._taken.get(_key(uid, operation)))

    def hand_over(self, obj: Object, cell: str) -> None:
        """As `deliver`, for an object that was just written: nobody may read it again before it is deleted."""
        if self._ledger is None:
            return
        for operation in _operations_of(OperationStatus.model_validate(obj.get("status") or {})):
            record = OperationRecord(obj["metadata"]["uid"], _subject(obj), cell, operation)
            self._offer(record)
            self._follow(record)

    def gone(self, subject: str, *, now: float) -> None:
        """The object (`KafkaCluster kafka/orders`) is no more; what it had under way has ended with it."""
        record = self._open.pop(subject, None)
        if record is not None:
            over = finished(record.operation, "Cancelled", message=f"{subject} was deleted.", now=now)
            self._offer(replace(record, operation=over))

    def record_approval(self, approval: ApprovalRecord) -> None:
        """Hand over an Approval that was seen; seeing it again costs nothing."""
        if self._ledger is None or approval.uid in self._approvals_taken or approval.uid in self._approvals:
            return
        if len(self._approvals) >= REMEMBERED:
            log.warning("ledger: no room for Approval %s/%s before it is back", approval.namespace, approval.name)
            return
        self._approvals[approval.uid] = approval
        self._work.set()

    def idle(self, status: OperationStatus) -> bool:
        """Nothing of this status is expected to be marked soon: all of it is, or the ledger does not take it now."""
        if self._ledger is None or self.trouble:
            return True
        rejected = {key[1:] for key in self._rejected}
        return all(
            fully_recorded(operation) or (operation.id, operation.started_at) in rejected
            for operation in _operations_of(status)
        )

    async def run(self) -> None:
        """Deliver until cancelled. After a failure the ledger is left alone for `retry` seconds."""
        if self._ledger is None:
            return
        while True:
            await self._work.wait()
            self._work.clear()
            if not await self._deliver_waiting(self._ledger):
                await asyncio.sleep(self._retry)
                self._work.set()

    async def _deliver_waiting(self, ledger: LedgerWriter) -> bool:
        """Everything that waits now, each once. False when the ledger is not there and it is better to wait."""
        for uid, approval in list(self._approvals.items()):
            what = f"Approval {approval.namespace}/{approval.name}"
            if await self._try(ledger.record_approval, approval, what) is False:
                return False
            del self._approvals[uid]
            _remember(self._approvals_taken, uid, None)
        for key in list(self._operations):
            record = self._sending = self._operations.pop(key)
            try:
                sent = await self._try(ledger.record_operation, record, f"{record.subject} {record.operation.id}")
            finally:
                self._sending = None
            if sent is None:
                _remember(self._rejected, key, record)
            elif sent:
                _remember(self._taken, key, Taken(_entries(record.operation), _state(record.operation)))
            else:
                self._operations.setdefault(key, record)
                return False
        return True

    async def _try(self, call: Callable[[V], None], record: V, what: str) -> bool | None:
        """True: taken, or never to be taken and said so: no operation waits for that. False: try again later. None: it
        met a defect, and said so; it is tried again with what is new in it, and by the next process."""
        try:
            await asyncio.to_thread(call, record)
        except LedgerError as error:
            if not error.retriable:
                log.error("ledger: %s is not recorded: %s", what, error.message)  # noqa: TRY400 - the line says it all
                return True
            if error.message != self.trouble:
                log.warning("ledger: %s; nothing is lost, trying again every %g s", error.message, self._retry)
            self.trouble = error.message
            return False
        except Exception:  # the ledger is a copy: a defect in it must not end the operator
            log.exception("ledger: %s is not recorded", what)
            return None
        if self.trouble:
            log.info("ledger: taking records again")
            self.trouble = ""
        return True

    def _offer(self, record: OperationRecord) -> None:
        operation, key = record.operation, _key(record.uid, record.operation)
        taken = self._taken.get(key)
        if fully_recorded(operation):
            self._taken.pop(key, None)
            return
        if taken is not None and fully_recorded(recorded(operation, taken.entries, taken.state)):
            return
        if record in (self._sending, self._rejected.get(key)):
            return
        if key in self._operations or len(self._operations) < REMEMBERED:
            self._operations[key] = record
            self._work.set()

    def _follow(self, record: OperationRecord) -> None:
        """Remember what is under way, for when its object vanishes."""
        if record.operation.outcome is None:
            _remember(self._open, record.subject, record)
        elif (known := self._open.get(record.subject)) and known.operation.id == record.operation.id:
            del self._open[record.subject]


def _operations_of(status: OperationStatus) -> Iterator[Operation]:
    return (operation for operation in (status.operation, status.last_operation) if operation is not None)


def _with_marks(status: S, taken: Callable[[Operation], Taken | None]) -> S:
    changes: dict[str, Operation] = {}
    for name in ("operation", "last_operation"):
        operation: Operation | None = getattr(status, name)
        if operation is not None and (known := taken(operation)) is not None:
            changes[name] = recorded(operation, known.entries, known.state)
    return status.model_copy(update=changes) if changes else status


def _entries(operation: Operation) -> frozenset[EntryKey]:
    return frozenset(entry_key(entry) for entry in operation.journal)


def _state(operation: Operation) -> Recorded:
    return "Ended" if operation.outcome else "Begun"


def _key(uid: str, operation: Operation) -> OperationKey:
    return uid, operation.id, operation.started_at


def _subject(obj: Object) -> str:
    meta = obj["metadata"]
    return f"{obj['kind']} {meta['namespace']}/{meta['name']}"


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    """The newest REMEMBERED entries. What is forgotten is handed over once more, and taken once."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
