"""SqlLedger: the ledger in SQL, as operators and the CLI write it (ports.LedgerWriter)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite

from controlplane.adapters.ledger.columns import at
from controlplane.adapters.ledger.database import Database
from controlplane.adapters.ledger.models import ApprovalRow, Base, EventRow, OperationRow, StepRow
from controlplane.adapters.ledger.schema import HEAD, require_current, revision_of
from controlplane.ports import ApprovalRecord, AuditEvent, LedgerError, OperationRecord

T = TypeVar("T")
BATCH = 500
"""Operations, approvals and events, each, that one call of `remove_older_than` removes at most."""


class SqlLedger:
    """Implements ports.LedgerWriter. With `migrate` the tables are made or brought up to date before the first record.

    Safe to have as often as one likes, in any number of processes: whatever arrives twice is there once.
    """

    def __init__(self, url: str, *, timeout: float, migrate: bool = False) -> None:
        self._database = Database(url, timeout=timeout, create=migrate)
        self._migrate, self._current = migrate, False

    @property
    def place(self) -> str:
        """Where it is, for people; no password in it."""
        return self._database.place

    def record_operation(self, record: OperationRecord) -> None:
        self._write(lambda connection: _record_operation(connection, record))

    def record_approval(self, approval: ApprovalRecord) -> None:
        row = {
            "uid": approval.uid,
            "name": approval.name,
            "namespace": approval.namespace,
            "target": approval.target,
            "target_uid": approval.target_uid,
            "plan_hash": approval.plan_hash,
            "decision": approval.decision,
            "approver": approval.approver,
            "reason": approval.reason,
            "at": at(approval.at),
        }
        self._write(lambda connection: _insert_once(connection, ApprovalRow, [row]))

    def record_event(self, event: AuditEvent) -> None:
        detail = dict(event.detail)
        row = {
            "event_id": event.id,
            "at": at(event.at),
            "actor": event.actor,
            "action": event.action,
            "subject": event.subject,
            "cell": str(detail.pop("cell", "")),
            "operation": str(detail.pop("operation", "")),
            "detail": detail,
        }
        self._write(lambda connection: _insert_once(connection, EventRow, [row]))

    def remove_older_than(self, seconds: float) -> int:
        return self._write(lambda connection: _remove(connection, at(seconds)))

    def close(self) -> None:
        self._database.close()

    def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            if not self._current:
                self._make_current()
                self._current = True
            return self._database.write(work)
        except LedgerError:
            self._current = False  # it may be another database by the time it is back
            raise

    def _make_current(self) -> None:
        found = self._database.write(revision_of)
        if found != HEAD and self._migrate:
            from controlplane.adapters.ledger.migrations import upgrade  # noqa: PLC0415 - Alembic, seldom needed

            upgrade(self._database)
        else:
            self._database.write(lambda connection: require_current(connection, self.place))


def _record_operation(connection: Connection, record: OperationRecord) -> None:
    operation = record.operation
    row = {
        "uid": record.uid,
        "operation": operation.id,
        "kind": operation.kind,
        "mode": operation.mode,
        "subject": record.subject,
        "cell": record.cell,
        "plan_hash": operation.plan_hash,
        "goal": operation.goal,
        "approval": operation.approval,
        "direction": operation.direction,
        "step": operation.step.id if operation.step else None,
        "attempt": operation.attempt,
        "outcome": operation.outcome,
        "message": operation.message,
        "started_at": _moment(operation.started_at),
        "ended_at": _moment(operation.ended_at) if operation.ended_at else None,
    }
    key = ("uid", "operation", "started_at")
    insert = _insert(connection, OperationRow)
    newer = OperationRow.ended_at.is_(None) | (insert.excluded.ended_at >= OperationRow.ended_at)
    changed = insert.on_conflict_do_update(
        index_elements=key, set_={name: insert.excluded[name] for name in row if name not in key}, where=newer
    )
    connection.execute(changed, [row])
    number = connection.execute(
        select(OperationRow.id).where(*(getattr(OperationRow, name) == row[name] for name in key))
    ).scalar_one()
    steps = [
        {
            "operation_id": number,
            "step": entry.step,
            "attempt": entry.attempt,
            "verb": entry.verb,
            "target": entry.target,
            "outcome": entry.outcome,
            "message": entry.message,
            "at": _moment(entry.at),
        }
        for entry in operation.journal
    ]
    _insert_once(connection, StepRow, steps)


def _remove(connection: Connection, cut: datetime) -> int:
    """An approval and an event stay as long as the operation that they are about."""
    kept = OperationRow.ended_at.is_(None) | (OperationRow.ended_at >= cut)
    ended = _oldest(connection, OperationRow, OperationRow.ended_at < cut)
    removed = connection.execute(delete(StepRow).where(StepRow.operation_id.in_(ended))).rowcount
    approved = (OperationRow.uid == ApprovalRow.target_uid) & (OperationRow.plan_hash == ApprovalRow.plan_hash)
    approvals = _oldest(connection, ApprovalRow, (ApprovalRow.at < cut) & ~exists().where(approved & kept))
    about = OperationRow.operation == EventRow.operation
    events = _oldest(connection, EventRow, (EventRow.at < cut) & ~exists().where(about & kept))
    for model, numbers in ((OperationRow, ended), (ApprovalRow, approvals), (EventRow, events)):
        removed += connection.execute(delete(model).where(model.id.in_(numbers))).rowcount
    return removed


def _oldest(connection: Connection, model: type[Base], where: ColumnElement[bool]) -> Sequence[int]:
    """At most BATCH, passing over what another sweep is removing."""
    found = select(model.id).where(where).order_by(model.id).limit(BATCH).with_for_update(skip_locked=True)
    return connection.execute(found).scalars().all()


def _insert(connection: Connection, model: type[Base]) -> postgresql.Insert | sqlite.Insert:
    return sqlite.insert(model) if connection.dialect.name == "sqlite" else postgresql.insert(model)


def _insert_once(connection: Connection, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(_insert(connection, model).on_conflict_do_nothing(), rows)


def _moment(timestamp: str) -> datetime:
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise LedgerError(f"{timestamp!r} is no point in time", retriable=False) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
