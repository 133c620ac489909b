"""The ledger in memory: what the contract suite holds the SQL one against, and one that tests can break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from controlplane.adapters.ledger.columns import at
from controlplane.adapters.ledger.rows import RANKS, Entry, Place, Source, Wanted
from controlplane.api.operation import JournalEntry, Operation
from controlplane.ports import ApprovalRecord, AuditEvent, LedgerError, OperationRecord

Run = tuple[str, str, str]


@dataclass
class FakeLedger:
    """`down` is what every call fails with, if anything. `calls` counts those that came through."""

    down: LedgerError | None = None
    calls: int = 0
    operations: dict[Run, OperationRecord] = field(default_factory=dict)
    steps: dict[tuple[Run, int, int], JournalEntry] = field(default_factory=dict)
    approvals: dict[str, ApprovalRecord] = field(default_factory=dict)
    events: dict[str, AuditEvent] = field(default_factory=dict)

    def record_operation(self, record: OperationRecord) -> None:
        self._called()
        new = record.operation
        run = (record.uid, new.id, new.started_at)
        old = self.operations.get(run)
        ended = old.operation.ended_at if old else None
        if ended is None or (new.ended_at is not None and _moment(new.ended_at) >= _moment(ended)):
            self.operations[run] = record
        for entry in new.journal:
            self.steps.setdefault((run, entry.step, entry.attempt), entry)

    def record_approval(self, approval: ApprovalRecord) -> None:
        self._called()
        self.approvals.setdefault(approval.uid, approval)

    def record_event(self, event: AuditEvent) -> None:
        self._called()
        self.events.setdefault(event.id, event)

    def remove_older_than(self, seconds: float) -> int:
        self._called()
        before = self._rows()
        cut = at(seconds)
        gone = [run for run, record in self.operations.items() if _ended_before(record.operation, cut)]
        for run in gone:
            del self.operations[run]
        self.steps = {key: entry for key, entry in self.steps.items() if key[0] not in gone}
        kept = list(self.operations.values())
        plans = {(record.uid, record.operation.plan_hash) for record in kept}
        ids = {record.operation.id for record in kept}
        self.approvals = {
            uid: one
            for uid, one in self.approvals.items()
            if at(one.at) >= cut or (one.target_uid, one.plan_hash) in plans
        }
        self.events = {
            id_: one for id_, one in self.events.items() if at(one.at) >= cut or one.detail.get("operation") in ids
        }
        return before - self._rows()

    def stream(self, wanted: Wanted) -> Iterator[Entry]:
        """As LedgerReader.stream; rows are numbered in the order in which they came."""
        found = [*self._events(), *self._approvals(), *self._of_operations(), *self._of_steps()]
        return iter(sorted((entry for entry in found if self._fits(entry, wanted)), key=lambda entry: entry.place))

    def newest(self, wanted: Wanted, *, limit: int, before: Place | None = None) -> list[Entry]:
        found = [entry for entry in self.stream(wanted) if before is None or entry.place < before]
        return found[::-1][:limit]

    def _called(self) -> None:
        if self.down is not None:
            raise self.down
        self.calls += 1

    def _rows(self) -> int:
        return len(self.operations) + len(self.steps) + len(self.approvals) + len(self.events)

    def _fits(self, entry: Entry, wanted: Wanted) -> bool:
        of_cell = entry.cell == wanted.cell
        if entry.source is Source.APPROVAL:
            of_cell = of_cell or entry.subject == f"KafkaCluster {wanted.cell}"
        return (
            (not wanted.cell or of_cell)
            and (not wanted.operation or entry.operation == wanted.operation)
            and (not wanted.actor or entry.actor == wanted.actor)
            and (wanted.since is None or entry.at >= wanted.since)
            and (wanted.until is None or entry.at < wanted.until)
        )

    def _events(self) -> Iterator[Entry]:
        for row, event in enumerate(self.events.values(), 1):
            detail = dict(event.detail)
            cell, operation = detail.pop("cell", ""), detail.pop("operation", "")
            base = _entry(Source.EVENT, at(event.at), row, actor=event.actor, action=event.action)
            yield replace(base, subject=event.subject, cell=cell, operation=operation, detail=detail)

    def _approvals(self) -> Iterator[Entry]:
        for row, one in enumerate(self.approvals.values(), 1):
            theirs = [record for record in self.operations.values() if record.uid == one.target_uid]
            ids = [r.operation.id for r in theirs if r.operation.plan_hash == one.plan_hash]
            yield replace(
                _entry(Source.APPROVAL, at(one.at), row, actor=one.approver, action=one.decision),
                subject=one.target,
                cell=max((record.cell for record in theirs), default=""),
                operation=max(ids, default=""),
                message=one.reason,
                detail={"approval": f"{one.namespace}/{one.name}", "planHash": one.plan_hash},
            )

    def _of_operations(self) -> Iterator[Entry]:
        for row, record in enumerate(self.operations.values(), 1):
            operation = record.operation
            known = {"approval": operation.approval, "planHash": operation.plan_hash, "mode": operation.mode}
            begun = replace(
                _entry(Source.BEGIN, _moment(operation.started_at), row, action="Begin"),
                subject=record.subject,
                cell=record.cell,
                operation=operation.id,
                message=operation.goal,
            )
            yield replace(begun, detail={name: value for name, value in known.items() if value})
            if operation.ended_at is not None:
                ended = replace(begun, place=Place(_moment(operation.ended_at), RANKS[Source.END], row), detail={})
                ended = replace(ended, source=Source.END, action="End", message=operation.message)
                yield replace(ended, outcome=operation.outcome or "")

    def _of_steps(self) -> Iterator[Entry]:
        for row, ((run, step, attempt), entry) in enumerate(self.steps.items(), 1):
            record = self.operations[run]
            known: dict[str, Any] = {"target": entry.target, "step": step, "attempt": attempt}
            yield replace(
                _entry(Source.STEP, _moment(entry.at), row, action=entry.verb),
                subject=record.subject,
                cell=record.cell,
                operation=record.operation.id,
                outcome=entry.outcome,
                message=entry.message,
                detail={name: value for name, value in known.items() if value != ""},
            )


def _entry(source: Source, moment: datetime, row: int, *, action: str, actor: str = "kfleet") -> Entry:
    return Entry(Place(moment, RANKS[source], row), source, actor, action, "", "", "", "", "")


def _moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp)


def _ended_before(operation: Operation, cut: datetime) -> bool:
    return operation.ended_at is not None and _moment(operation.ended_at) < cut
