"""Tenants on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.api.conditions import PLACED, READY, WITHIN_LIMITS, find_condition
from controlplane.api.group import GROUP
from controlplane.api.kafka_tenant import KafkaTenant, TenantCellStatus, TenantUsage
from controlplane.cli.render import Column, View, age, table
from controlplane.cli.sections import conditions_text, event_documents, events_text, indent
from controlplane.domain.tenants.ranges import write_ranges
from controlplane.domain.tenants.usage import readable
from controlplane.ports import Object

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Description:
    """`events` are the API server's, newest last; None when we may not read them."""

    tenant: KafkaTenant
    events: Sequence[Object] | None


def tenant_id(tenant: KafkaTenant) -> str:
    return f"kafkatenant.{GROUP}/{tenant.metadata.name}"


def _status(tenant: KafkaTenant, condition: str) -> str:
    found = find_condition(tenant.status.conditions, condition)
    return found.status if found is not None else "Unknown"


def _reason(tenant: KafkaTenant) -> str:
    found = find_condition(tenant.status.conditions, READY)
    return found.reason if found is not None else "Unreported"


def _usage(tenant: KafkaTenant) -> TenantUsage:
    return tenant.status.usage or TenantUsage()


def _shards(tenant: KafkaTenant) -> str:
    return " ".join(f"{cell.name}:{write_ranges(cell.target or cell.shard) or NOTHING}" for cell in tenant.status.cells)


def _row(tenant: KafkaTenant) -> dict[str, Any]:
    spec = tenant.spec
    return {
        "name": tenant.metadata.name,
        "team": spec.owner.team,
        "topicPrefix": spec.topic_prefix,
        "priority": spec.priority.value,
        "namespaces": list(spec.namespaces),
        "ready": _status(tenant, READY),
        "reason": _reason(tenant),
        "placed": _status(tenant, PLACED),
        "withinLimits": _status(tenant, WITHIN_LIMITS),
        "usage": _usage(tenant).to_object(),
        "cells": [cell.to_object() for cell in tenant.status.cells],
    }


def view(now: float) -> View[KafkaTenant]:
    return View[KafkaTenant](
        "Tenant",
        (
            Column("name", lambda row: row.metadata.name),
            Column("team", lambda row: row.spec.owner.team),
            Column("prefix", lambda row: row.spec.topic_prefix),
            Column("priority", lambda row: row.spec.priority.value),
            Column("placed", lambda row: _status(row, PLACED)),
            Column("within", lambda row: _status(row, WITHIN_LIMITS)),
            Column("reason", _reason),
            Column("shards", lambda row: _shards(row) or NOTHING, wide=True),
            Column("topics", lambda row: _usage(row).topics, wide=True),
            Column("partitions", lambda row: _usage(row).partitions, wide=True),
            Column("storage", lambda row: readable(_usage(row).storage), wide=True),
            Column("age", lambda row: age(row.metadata.creation_timestamp, now)),
        ),
        tenant_id,
        _row,
    )


def _document(row: Description) -> dict[str, Any]:
    tenant = row.tenant
    return _row(tenant) | {
        "owner": tenant.spec.owner.to_object(),
        "shard": tenant.spec.shard.to_object(),
        "quotas": tenant.spec.quotas.to_object(),
        "limits": tenant.spec.limits.to_object(),
        "conditions": [condition.to_object() for condition in tenant.status.conditions],
        "events": event_documents(row.events),
    }


DESCRIPTION = View[Description]("TenantDescription", (), lambda row: tenant_id(row.tenant), _document)


def description_text(row: Description, now: float) -> str:
    """Sections as `kubectl describe` has them, those that are empty left out."""
    tenant, spec = row.tenant, row.tenant.spec
    shard = spec.shard
    facts = [
        ("Name", tenant.metadata.name),
        ("Team", f"{spec.owner.team} ({spec.owner.contact})" if spec.owner.contact else spec.owner.team),
        ("Namespaces", ", ".join(spec.namespaces)),
        ("Prefix", spec.topic_prefix),
        ("Priority", spec.priority.value),
        ("Shard", f"{shard.size} brokers a cell, {shard.max_overlap} shared with another tenant at most"),
        ("State", _state_line(tenant)),
        ("Created", f"{age(tenant.metadata.creation_timestamp, now)} ago"),
    ]
    parts = ["\n".join(f"{f'{name}:':<12}{value}" for name, value in facts)]
    if tenant.status.cells:
        rows = [_cell(cell) for cell in tenant.status.cells]
        head = ("cell", "brokers", "moves to", "overlap", "gap", "down", "topics", "partitions", "storage", "reason")
        parts.append("Cells\n" + indent(table(head, rows)))
    if limits := _limits(tenant):
        parts.append("Limits\n" + indent(table(("", "used", "limit"), limits)))
    granted = [
        (f"{cell.namespace}/{cell.name}", key, value)
        for cell in tenant.status.cells
        if cell.quota is not None
        for key, value in sorted(cell.quota.values.items())
    ]
    if granted:
        parts.append("Quotas\n" + indent(table(("cell", "quota", "of one user on each broker"), granted)))
    if tenant.status.conditions:
        parts.append("Conditions\n" + indent(conditions_text(tenant.status.conditions, now)))
    if row.events:
        parts.append("Events\n" + indent(events_text(row.events, now)))
    return "\n\n".join(parts)


def _cell(cell: TenantCellStatus) -> tuple[object, ...]:
    return (
        f"{cell.namespace}/{cell.name}",
        write_ranges(cell.shard) or NOTHING,
        write_ranges(cell.target) if cell.target else NOTHING,
        cell.overlap,
        cell.gap,
        write_ranges(one.broker for one in cell.away) or NOTHING,
        cell.usage.topics,
        cell.usage.partitions,
        readable(cell.usage.storage),
        cell.reason,
    )


def _limits(tenant: KafkaTenant) -> list[tuple[str, object, object]]:
    limits, usage = tenant.spec.limits, _usage(tenant)
    rows: list[tuple[str, object, object]] = []
    if limits.topics is not None:
        rows.append(("topics", usage.topics, limits.topics))
    if limits.partitions is not None:
        rows.append(("partitions", usage.partitions, limits.partitions))
    if limits.storage is not None:
        rows.append(("storage", readable(usage.storage), limits.storage))
    return rows


def _state_line(tenant: KafkaTenant) -> str:
    ready = find_condition(tenant.status.conditions, READY)
    if ready is None:
        return "Unreported"
    return ready.reason if ready.status == "True" else f"{ready.reason}: {' '.join(ready.message.split())}"
