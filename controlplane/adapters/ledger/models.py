"""The ledger's tables. alembic/versions makes them; a test compares the two on both databases.

Every table has a natural unique key, which is what makes recording something twice the same as once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Double, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from controlplane.adapters.ledger.columns import Document, Moment, RowId, Words


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Words,
        datetime: Moment,
        dict[str, Any]: Document,
        list[Any]: Document,
        float: Double,
    }

    id: Mapped[int] = mapped_column(RowId, primary_key=True, sort_order=-1)


class OperationRow(Base):
    """One operation, as the newest status that was delivered has it. `operation` is its id.

    `started_at` is part of the key because an operation that was cancelled begins again under the same id.
    """

    __tablename__ = "operations"
    __table_args__ = (
        UniqueConstraint("uid", "operation", "started_at"),
        Index(None, "operation"),
        Index(None, "cell", "started_at"),
        Index(None, "started_at"),
        Index(None, "ended_at"),
    )

    uid: Mapped[str]
    operation: Mapped[str]
    kind: Mapped[str]
    mode: Mapped[str]
    subject: Mapped[str]
    cell: Mapped[str]
    plan_hash: Mapped[str]
    goal: Mapped[str]
    approval: Mapped[str]
    direction: Mapped[str]
    step: Mapped[int | None]
    attempt: Mapped[int]
    outcome: Mapped[str | None]
    message: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class StepRow(Base):
    """The outcome of one attempt at one step: a journal entry."""

    __tablename__ = "steps"
    __table_args__ = (UniqueConstraint("operation_id", "step", "attempt"), Index(None, "at"))

    operation_id: Mapped[int] = mapped_column(RowId, ForeignKey("operations.id", ondelete="CASCADE"))
    step: Mapped[int]
    attempt: Mapped[int]
    verb: Mapped[str]
    target: Mapped[str]
    outcome: Mapped[str]
    message: Mapped[str]
    at: Mapped[datetime]


class ApprovalRow(Base):
    """An Approval object, which is immutable: as it was when an operator first saw it."""

    __tablename__ = "approvals"
    __table_args__ = (UniqueConstraint("uid"), Index(None, "target_uid", "plan_hash"), Index(None, "at"))

    uid: Mapped[str]
    name: Mapped[str]
    namespace: Mapped[str]
    target: Mapped[str]
    target_uid: Mapped[str]
    plan_hash: Mapped[str]
    decision: Mapped[str]
    approver: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]


class EventRow(Base):
    """Who did what to what. `cell` and `operation` are "" where it was about neither."""

    __tablename__ = "audit_events"
    __table_args__ = (
        UniqueConstraint("event_id"),
        Index(None, "at"),
        Index(None, "cell", "at"),
        Index(None, "operation"),
    )

    event_id: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    cell: Mapped[str]
    operation: Mapped[str]
    detail: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class PlacementRow(Base):
    """The brokers that a tenant was given on a cell, and why; the newest one counts."""

    __tablename__ = "placements"
    __table_args__ = (UniqueConstraint("uid", "cell", "at"), Index(None, "cell", "at"))

    uid: Mapped[str]
    tenant: Mapped[str]
    cell: Mapped[str]
    brokers: Mapped[list[Any]]
    reason: Mapped[str]
    operation: Mapped[str]
    at: Mapped[datetime]


class DrillMeasurementRow(Base):
    """One figure of one drill run, such as RpoSeconds or RtoSeconds, with the objective it was held against."""

    __tablename__ = "drill_measurements"
    __table_args__ = (UniqueConstraint("uid", "disruption", "measurement", "client"), Index(None, "at"))

    uid: Mapped[str]
    drill: Mapped[str]
    failover_group: Mapped[str]
    disruption: Mapped[str]
    measurement: Mapped[str]
    client: Mapped[str]
    value: Mapped[float | None]
    unit: Mapped[str]
    objective: Mapped[float | None]
    verdict: Mapped[str]
    at: Mapped[datetime]


class IncidentRow(Base):
    """Something that was wrong, from when a detector found it until it was over."""

    __tablename__ = "incidents"
    __table_args__ = (UniqueConstraint("incident"), Index(None, "cell", "opened_at"), Index(None, "closed_at"))

    incident: Mapped[str]
    detector: Mapped[str]
    cell: Mapped[str]
    subject: Mapped[str]
    severity: Mapped[str]
    summary: Mapped[str]
    detail: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class CapacitySampleRow(Base):
    """One value of one metric of a cell, or of a part of it (`subject`, such as a broker), for forecasts."""

    __tablename__ = "capacity_samples"
    __table_args__ = (UniqueConstraint("cell", "subject", "metric", "at"), Index(None, "at"))

    cell: Mapped[str]
    subject: Mapped[str]
    metric: Mapped[str]
    value: Mapped[float]
    at: Mapped[datetime]
