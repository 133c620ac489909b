"""The status of a KafkaTenant from how it stands in each of its cells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.api import conditions as c
from controlplane.api.kafka_tenant import KafkaTenant, KafkaTenantStatus, TenantCellStatus, TenantUsage
from controlplane.domain.check import Check, explain
from controlplane.domain.tenants.directory import Cell
from controlplane.domain.tenants.usage import beyond

WAITING = frozenset({"Placing", "Moving", "ClusterNotReady", "KafkaUnavailable"})
"""Reasons that go away by themselves."""


def tenant_status(
    tenant: KafkaTenant,
    changed: Mapping[Cell, TenantCellStatus | None],
    conflicts: tuple[Check, ...],
    *,
    now: float,
) -> KafkaTenantStatus:
    """`changed` are cells that were looked at; None forgets one. Cells that are not named there stay as they are."""
    cells = {Cell(one.namespace, one.name): one for one in tenant.status.cells}
    for cell, status in changed.items():
        if status is None:
            cells.pop(cell, None)
        else:
            cells[cell] = status
    usage = sum((one.usage for one in cells.values()), TenantUsage())
    placed = _placed(tenant, cells)
    ready = Check(conflicts[0].name, ok=False, evidence=explain(conflicts)) if conflicts else placed
    over = beyond(tenant.spec.limits, usage)
    within = over[0].name if over else "WithinLimits"
    waits = not ready.ok and ready.name in WAITING
    watched = _watched(tenant, cells)
    conditions = tenant.status.conditions
    for kind, value, reason, message in (
        (c.READY, ready.ok, ready.name, _words(ready)),
        (c.PLACED, placed.ok, placed.name, _words(placed)),
        (c.WITHIN_LIMITS, not over, within, explain(over)),
        (c.NAMESPACES_WATCHED, watched.ok, watched.name, _words(watched)),
        (c.RECONCILING, waits, ready.name, _words(ready) if waits else ""),
        (c.STALLED, not ready.ok and not waits, ready.name, "" if ready.ok or waits else _words(ready)),
    ):
        conditions = c.set_condition(
            conditions, kind, value, reason, message, observed_generation=tenant.metadata.generation, now=now
        )
    return KafkaTenantStatus(
        conditions=conditions,
        observed_generation=tenant.metadata.generation,
        cells=tuple(cells[cell] for cell in sorted(cells)),
        usage=usage,
    )


def _placed(tenant: KafkaTenant, cells: Mapping[Cell, TenantCellStatus]) -> Check:
    """Of the cells that it names: the first that is not as it shall be, else what is best to know."""
    named = [Cell(one.namespace, one.name) for one in tenant.spec.cells]
    missing = Check("Placing", ok=False, evidence="It has not been looked at yet.")
    verdicts = {cell: _verdict(cells[cell]) if cell in cells else missing for cell in named}
    shown = [(cell, one) for cell, one in verdicts.items() if not one.ok] or [
        (cell, one) for cell, one in verdicts.items() if one.name != "Placed"
    ]
    if not shown:
        return Check("Placed", ok=True, evidence=_each(verdicts.items()))
    return Check(shown[0][1].name, ok=shown[0][1].ok, evidence=_each(shown))


def _watched(tenant: KafkaTenant, cells: Mapping[Cell, TenantCellStatus]) -> Check:
    """Whether its topics and users are looked after wherever they may be."""
    named = {Cell(one.namespace, one.name) for one in tenant.spec.cells}
    missing = [
        f"{cell}: {', '.join(one.unwatched)}." for cell, one in sorted(cells.items()) if cell in named and one.unwatched
    ]
    if not missing:
        return Check("NamespacesWatched", ok=True)
    return Check(
        "NamespaceNotWatched",
        ok=False,
        evidence="spec.namespaces: some are not watched by the operator of a cell, which looks after no topic and no "
        f"user in them. {' '.join(missing)}",
        remedy="Add them to KFLEET_WATCH_NAMESPACES of that operator.",
    )


def _verdict(status: TenantCellStatus) -> Check:
    return Check(status.reason, ok=status.placed, evidence=status.message)


def _each(verdicts: Iterable[tuple[Cell, Check]]) -> str:
    return " ".join(f"{cell}: {verdict.evidence}" for cell, verdict in verdicts)


def _words(check: Check) -> str:
    return " ".join(part for part in (check.evidence, check.remedy) if part)
