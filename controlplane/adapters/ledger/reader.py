"""LedgerReader: the ledger as people read it, one entry after the other from all tables. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from pydantic.alias_generators import to_camel
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    Select,
    Text,
    and_,
    cast,
    exists,
    false,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)

from controlplane.adapters.ledger.columns import Document
from controlplane.adapters.ledger.database import Database, Deadline
from controlplane.adapters.ledger.models import ApprovalRow, EventRow, OperationRow, StepRow
from controlplane.adapters.ledger.rows import RANKS, Entry, History, LedgerOperation, Place, Source, Wanted
from controlplane.adapters.ledger.schema import require_current

ROW_DIGITS = 18
PAGE = 500
"""Entries that one query of `stream` fetches."""
OPERATOR = "kfleet"
"""The actor of what an operator did: an approval and an event say who wanted it."""


class LedgerReader:
    """Raises LedgerError: not reachable, not there, or a schema that is too old or too new (with what to run)."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self._database = Database(url, timeout=timeout)

    @property
    def place(self) -> str:
        """Where it is, for people; no password in it."""
        return self._database.place

    def newest(self, wanted: Wanted, *, limit: int, before: Place | None = None) -> list[Entry]:
        """The newest entries first; the next page is what stands `before` the last one's place."""
        with self._reading() as (connection, _):
            return _entries(connection, wanted, limit=limit, newest_first=True, beyond=before)

    def stream(self, wanted: Wanted) -> Iterator[Entry]:
        """Every entry, oldest first, from one snapshot: what is written meanwhile is not in it."""
        with self._reading() as (connection, deadline):
            last: Place | None = None
            while page := _entries(connection, wanted, limit=PAGE, newest_first=False, beyond=last):
                yield from page
                last = page[-1].place
                deadline.again()

    def operations(self, wanted: Wanted, *, limit: int) -> list[LedgerOperation]:
        """The ones that began last first; `actor` of `wanted` is not looked at."""
        query = select(*OperationRow.__table__.columns).where(*_about(OperationRow.started_at, wanted))
        if wanted.cell:
            query = query.where(OperationRow.cell == wanted.cell)
        if wanted.operation:
            query = query.where(OperationRow.operation == wanted.operation)
        with self._reading() as (connection, _):
            rows = connection.execute(
                query.order_by(OperationRow.started_at.desc(), OperationRow.id.desc()).limit(limit)
            ).mappings()
            return [_operation(row) for row in rows]

    def history(self, operation: str) -> History | None:
        """The operation of that id with all that is known of it; None when there is none."""
        found = self.operations(Wanted(operation=operation), limit=1)
        if not found:
            return None
        return History(found[0], tuple(self.stream(Wanted(operation=operation))))

    def entry(self, id_: str) -> Entry | None:
        """The entry that people know as `id_`, such as step-17."""
        name, _, number = id_.rpartition("-")
        if name not in set(Source) or not number.isdecimal() or len(number) > ROW_DIGITS:
            return None
        with self._reading() as (connection, _):
            query = _SOURCES[Source(name)](Wanted()).subquery()
            row = connection.execute(select(query).where(query.c.row == int(number))).mappings().first()
            return _entry(row) if row is not None else None

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[tuple[Connection, Deadline]]:
        with self._database.reading() as (connection, deadline):
            require_current(connection, self.place)
            yield connection, deadline


def _entries(
    connection: Connection, wanted: Wanted, *, limit: int, newest_first: bool, beyond: Place | None
) -> list[Entry]:
    """The first `limit` entries `beyond` a place. Each table gives its first `limit` by its index on time."""
    parts = []
    for source, query in _SOURCES.items():
        part = query(wanted).subquery()
        order = [part.c.at, part.c.row]
        chosen = select(part)
        if beyond is not None:
            chosen = chosen.where(_beyond(part.c, beyond, RANKS[source], newest_first=newest_first))
        chosen = chosen.order_by(*(column.desc() for column in order) if newest_first else order).limit(limit)
        parts.append(select(chosen.subquery()))
    together = union_all(*parts).subquery()
    order = [together.c.at, together.c.rank, together.c.row]
    ordered = select(together).order_by(*(column.desc() for column in order) if newest_first else order).limit(limit)
    return [_entry(row) for row in connection.execute(ordered).mappings()]


def _beyond(columns: Any, place: Place, rank: int, *, newest_first: bool) -> ColumnElement[bool]:
    """Strictly after `place` in reading order, for a table whose entries have this rank."""
    at, row = columns.at, columns.row
    if newest_first:
        later, same = at < place.at, row < place.row
    else:
        later, same = at > place.at, row > place.row
    if rank == place.rank:
        return or_(later, and_(at == place.at, same))
    if (rank < place.rank) == newest_first:
        return or_(later, at == place.at)
    condition: ColumnElement[bool] = later
    return condition


def _events(wanted: Wanted) -> Select[Any]:
    return _columns(
        Source.EVENT,
        row=EventRow.id,
        at=EventRow.at,
        actor=EventRow.actor,
        action=EventRow.action,
        subject=EventRow.subject,
        cell=EventRow.cell,
        operation=EventRow.operation,
        detail=EventRow.detail,
    ).where(
        *_about(EventRow.at, wanted),
        *_equal(EventRow.cell, wanted.cell),
        *_equal(EventRow.operation, wanted.operation),
        *_equal(EventRow.actor, wanted.actor),
    )


def _approvals(wanted: Wanted) -> Select[Any]:
    """The operation and the cell of an approval are those of the operations it was for."""
    of_object = OperationRow.uid == ApprovalRow.target_uid
    of_plan = of_object & (OperationRow.plan_hash == ApprovalRow.plan_hash)
    query = _columns(
        Source.APPROVAL,
        row=ApprovalRow.id,
        at=ApprovalRow.at,
        actor=ApprovalRow.approver,
        action=ApprovalRow.decision,
        subject=ApprovalRow.target,
        cell=select(func.max(OperationRow.cell)).where(of_object).scalar_subquery(),
        operation=select(func.max(OperationRow.operation)).where(of_plan).scalar_subquery(),
        message=ApprovalRow.reason,
        approval=ApprovalRow.namespace + "/" + ApprovalRow.name,
        plan_hash=ApprovalRow.plan_hash,
    ).where(*_about(ApprovalRow.at, wanted), *_equal(ApprovalRow.approver, wanted.actor))
    if wanted.cell:
        theirs = exists().where(of_object & (OperationRow.cell == wanted.cell))
        query = query.where((ApprovalRow.target == f"KafkaCluster {wanted.cell}") | theirs)
    if wanted.operation:
        query = query.where(exists().where(of_plan & (OperationRow.operation == wanted.operation)))
    return query


def _begins(wanted: Wanted) -> Select[Any]:
    return _columns(
        Source.BEGIN,
        row=OperationRow.id,
        at=OperationRow.started_at,
        action="Begin",
        subject=OperationRow.subject,
        cell=OperationRow.cell,
        operation=OperationRow.operation,
        message=OperationRow.goal,
        approval=OperationRow.approval,
        plan_hash=OperationRow.plan_hash,
        mode=OperationRow.mode,
    ).where(*_about(OperationRow.started_at, wanted), *_of_operator(wanted))


def _steps(wanted: Wanted) -> Select[Any]:
    query = _columns(
        Source.STEP,
        row=StepRow.id,
        at=StepRow.at,
        action=StepRow.verb,
        subject=OperationRow.subject,
        cell=OperationRow.cell,
        operation=OperationRow.operation,
        outcome=StepRow.outcome,
        message=StepRow.message,
        target=StepRow.target,
        step=StepRow.step,
        attempt=StepRow.attempt,
    ).join(OperationRow, OperationRow.id == StepRow.operation_id)
    return query.where(*_about(StepRow.at, wanted), *_of_operator(wanted))


def _ends(wanted: Wanted) -> Select[Any]:
    return _columns(
        Source.END,
        row=OperationRow.id,
        at=OperationRow.ended_at,
        action="End",
        subject=OperationRow.subject,
        cell=OperationRow.cell,
        operation=OperationRow.operation,
        outcome=OperationRow.outcome,
        message=OperationRow.message,
    ).where(OperationRow.ended_at.is_not(None), *_about(OperationRow.ended_at, wanted), *_of_operator(wanted))


_SOURCES: dict[Source, Callable[[Wanted], Select[Any]]] = {
    Source.EVENT: _events,
    Source.APPROVAL: _approvals,
    Source.BEGIN: _begins,
    Source.STEP: _steps,
    Source.END: _ends,
}
_TEXTS = ("action", "subject", "cell", "operation", "outcome", "message", "target", "approval", "plan_hash", "mode")
_NUMBERS = ("step", "attempt")


def _columns(
    source: Source, *, row: Any, at: Any, actor: Any = OPERATOR, detail: Any = None, **others: Any
) -> Select[Any]:
    """The same columns from every table, NULL where it has none; PostgreSQL wants each NULL's type."""
    return select(
        at.label("at"),
        literal(RANKS[source], Integer).label("rank"),
        cast(row, BigInteger).label("row"),
        _as_text(actor).label("actor"),
        *(_as_text(others.get(name)).label(name) for name in _TEXTS),
        *(cast(others.get(name, null()), Integer).label(name) for name in _NUMBERS),
        type_coerce(cast(null(), JSON) if detail is None else detail, Document).label("detail"),
    )


def _as_text(value: Any) -> ColumnElement[Any]:
    return literal(value, Text) if isinstance(value, str) else cast(null() if value is None else value, Text)


def _about(moment: Any, wanted: Wanted) -> list[ColumnElement[bool]]:
    found = []
    if wanted.since is not None:
        found.append(moment >= wanted.since)
    if wanted.until is not None:
        found.append(moment < wanted.until)
    return found


def _equal(column: Any, value: str) -> list[ColumnElement[bool]]:
    return [column == value] if value else []


def _of_operator(wanted: Wanted) -> list[ColumnElement[bool]]:
    found = [*_equal(OperationRow.cell, wanted.cell), *_equal(OperationRow.operation, wanted.operation)]
    return [*found, false()] if wanted.actor not in ("", OPERATOR) else found


def _entry(row: RowMapping) -> Entry:
    source = list(Source)[row["rank"]]
    detail: dict[str, Any] = dict(row["detail"] or {})
    known = ("target", "step", "attempt", "approval", "plan_hash", "mode")
    detail |= {to_camel(name): row[name] for name in known if row[name] not in (None, "")}
    return Entry(
        place=Place(row["at"], row["rank"], row["row"]),
        source=source,
        detail=detail,
        **{name: row[name] or "" for name in ("actor", "action", "subject", "cell", "operation", "outcome", "message")},
    )


def _operation(row: RowMapping) -> LedgerOperation:
    return LedgerOperation(**{field.name: row[field.name] for field in fields(LedgerOperation)})
