"""Reconcile all KafkaTenants of one cluster in one pass: no two are ever placed by different knowledge.

The order is the safety: what a tenant may use is written to its status first, with its resourceVersion; only what was
written is then acted upon. A status that moved under us is left for the next pass, which plans from what is there.
Nothing but statuses and KafkaRebalances is ever written, and nothing when a tenant goes: its topics stay. Last of all,
KafkaRebalances that were over long ago, and those for which there is no plan and no use, are deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from controlplane.api import conditions as c
from controlplane.api.conditions import MESSAGE_LIMIT
from controlplane.api.kafka_tenant import KafkaTenant, QuotaGranted, TenantCellKind, TenantCellStatus
from controlplane.api.tenant_ref import CELL_PATH
from controlplane.domain.check import Check
from controlplane.domain.tenants.directory import Cell, Directory, cell_status
from controlplane.domain.tenants.granted import granted
from controlplane.domain.tenants.planner import is_quick, plan_cell
from controlplane.domain.tenants.status import WAITING, tenant_status
from controlplane.domain.tenants.values import CellView, Outcome
from controlplane.ports import (
    Clock,
    ConflictError,
    ForbiddenError,
    InvalidError,
    KafkaAdmins,
    KubeApi,
    NotFoundError,
    Object,
    PlanningError,
    TenantPlanner,
)
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key
from controlplane.services.rebalance.asked import operator_user
from controlplane.services.rebalance.cells import Cells
from controlplane.services.rebalance.history import History
from controlplane.services.tenants.moves import create_move, read_moves, tenant_of
from controlplane.services.tenants.read import KAFKA_TENANTS, read_tenants
from controlplane.services.tenants.view import Seen, look
from controlplane.services.users.residents import readable as readable_user
from controlplane.settings import OperatorSettings

log = logging.getLogger(__name__)

STATUS_WRITES = 16
"""Status writes at the same time."""


class TenantService:
    def __init__(
        self,
        kube: KubeApi,
        admins: KafkaAdmins,
        clock: Clock,
        events: EventRecorder,
        settings: OperatorSettings,
        *,
        planner: TenantPlanner,
    ) -> None:
        """`planner` plans cells that are too large to be planned between other work."""
        self._kube, self._clock, self._events, self._settings = kube, clock, events, settings
        self._planner = planner
        self._cells = Cells(kube, admins, clock, by_name=settings.addressing == "DNS")
        self._user = operator_user(settings)
        self._history = History(kube, keep=settings.rebalance_history)
        self._weighed: dict[Cell, float] = {}
        self._refused: dict[Cell, dict[str, str]] = {}
        """Why a KafkaRebalance could not be created, by its name: said in the next pass."""

    async def reconcile(self, key: Key) -> float | None:
        """`key` names the cluster. None when it has no tenants: an event will wake us."""
        cell = Cell(key.namespace, key.name)
        objects, tenants = await read_tenants(self._kube)
        if not tenants.in_cell(cell):
            await self._history.prune(await read_moves(self._kube, cell), owner=tenant_of)
            return None
        weigh = self._is_due(cell)
        seen = await look(self._kube, self._cells, cell, self._refused.get(cell, {}), weigh=weigh)
        if isinstance(seen, Check):
            await self._write_all(cell, tenants, objects, unseen(tenants, cell, seen))
            return self._settings.resync_interval if seen.name == "ClusterNotFound" else self._settings.busy_interval
        if weigh:
            self._weighed[cell] = self._clock.monotonic()
        now = self._clock.now()
        try:
            planned = await self._planned(tenants, seen.view, now)
        except PlanningError as error:
            why = Check("PlanningFailed", ok=False, evidence=f"{error}.", remedy="It is tried again.")
            await self._write_all(cell, tenants, objects, unseen(tenants, cell, why))
            return self._settings.resync_interval
        outcomes = with_quotas(planned, await self._granted(cell))
        written = await self._write_all(cell, tenants, objects, outcomes)
        await self._create(cell, seen, {name: outcomes[name] for name in written})
        await self._history.prune(seen.moves, owner=tenant_of, needed=_told(tenants, outcomes))
        if len(written) < len(outcomes):
            return self._settings.busy_interval
        due = (one.look_at - now for one in outcomes.values() if one.look_at is not None)
        return max(self._settings.busy_interval, min((self._settings.resync_interval, *due)))

    async def _planned(self, tenants: Directory, view: CellView, now: float) -> dict[str, Outcome]:
        """Raises PlanningError."""
        if is_quick(tenants, view):
            return plan_cell(tenants, view, now)
        return await self._planner.plan_cell(tenants, view, now)

    async def _granted(self, cell: Cell) -> dict[str, QuotaGranted]:
        """By tenant, what the users' pass gave to its users."""
        found = await self._kube.list(KAFKA_USERS, fields=f"{CELL_PATH[1:]}={cell}")
        return granted(user for obj in found if (user := readable_user(obj)) is not None)

    def _is_due(self, cell: Cell) -> bool:
        """Sizes take a look at every log dir: figures move at most every `usage_interval`."""
        last = self._weighed.get(cell)
        return last is None or self._clock.monotonic() - last >= self._settings.usage_interval

    async def _create(self, cell: Cell, seen: Seen, outcomes: Mapping[str, Outcome]) -> None:
        refused: dict[str, str] = {}
        for outcome in outcomes.values():
            if outcome.create is not None:
                why = await create_move(self._kube, seen.cluster, outcome.create, user=self._user)
                if why is not None:
                    log.warning("KafkaRebalance %s/%s refused: %s", cell.namespace, outcome.create.name, why)
                    refused[outcome.create.name] = why
        self._refused[cell] = refused

    async def _write_all(
        self, cell: Cell, tenants: Directory, objects: Mapping[str, Object], outcomes: Mapping[str, Outcome]
    ) -> set[str]:
        """Tenants whose outcome stands in their status now."""
        limit = asyncio.Semaphore(STATUS_WRITES)
        written: set[str] = set()

        async def write(name: str) -> None:
            async with limit:
                if await self._write(cell, tenants, tenants.by_name[name], objects[name], outcomes[name]):
                    written.add(name)

        async with asyncio.TaskGroup() as group:
            for name in outcomes:
                group.create_task(write(name))
        return written

    async def _write(self, cell: Cell, tenants: Directory, tenant: KafkaTenant, obj: Object, outcome: Outcome) -> bool:
        here = self._with_unwatched(tenant, outcome.status)
        status = tenant_status(tenant, {cell: here}, tenants.conflicts(tenant), now=self._clock.now())
        if status == tenant.status:
            return True
        try:
            await self._kube.replace(KAFKA_TENANTS, obj | {"status": status.to_object()}, subresource="status")
        except (ConflictError, NotFoundError):
            return False
        except (InvalidError, ForbiddenError) as error:
            log.warning("KafkaTenant %s: its status was refused: %s", tenant.metadata.name, error.message)
            return False
        before = c.find_condition(tenant.status.conditions, c.READY)
        after = c.find_condition(status.conditions, c.READY)
        if after is not None and _is_news(before, after):
            kind: Literal["Normal", "Warning"] = (
                "Normal" if after.status == "True" or after.reason in WAITING else "Warning"
            )
            await self._events.record(obj, kind, after.reason, after.message)
        return True

    def _with_unwatched(self, tenant: KafkaTenant, status: TenantCellStatus | None) -> TenantCellStatus | None:
        if status is None:
            return None
        unwatched = tuple(one for one in tenant.spec.namespaces if not self._settings.watches(one))
        return status.model_copy(update={"unwatched": unwatched})


def with_quotas(outcomes: Mapping[str, Outcome], quotas: Mapping[str, QuotaGranted]) -> dict[str, Outcome]:
    """What was granted there, beside where it is."""
    return {
        name: replace(one, status=one.status.model_copy(update={"quota": quotas.get(name)}))
        if one.status is not None
        else one
        for name, one in outcomes.items()
    }


def _told(tenants: Directory, outcomes: Mapping[str, Outcome]) -> set[str]:
    """The KafkaRebalances that a status tells of, or is about to."""
    recorded = [one for tenant in tenants.tenants for one in tenant.status.cells]
    recorded += [one.status for one in outcomes.values() if one.status is not None]
    return {one.rebalance for one in recorded if one.rebalance}


def unseen(tenants: Directory, cell: Cell, why: Check) -> dict[str, Outcome]:
    """While a cluster does not answer, shards that are in effect stay so. Of one that is not there nothing is kept that
    nobody names."""
    gone = why.name == "ClusterNotFound"
    found: dict[str, Outcome] = {}
    for tenant in tenants.in_cell(cell):
        record = cell_status(tenant, cell)
        named = any((one.namespace, one.name) == (cell.namespace, cell.name) for one in tenant.spec.cells)
        if not named and gone:
            found[tenant.metadata.name] = Outcome(None)
        elif record is not None and record.shard and not gone:
            found[tenant.metadata.name] = Outcome(record)
        else:
            words = " ".join(part for part in (why.evidence, why.remedy) if part)[:MESSAGE_LIMIT]
            told = {"placed": False, "reason": why.name, "message": words}
            empty = TenantCellStatus(kind=TenantCellKind.KAFKA_CLUSTER, namespace=cell.namespace, name=cell.name)
            found[tenant.metadata.name] = Outcome((record or empty).model_copy(update=told))
    return found


def _is_news(before: c.Condition | None, after: c.Condition) -> bool:
    """Whoever has paused it knows."""
    if after.reason == "Paused":
        return False
    return before is None or (before.status, before.reason) != (after.status, after.reason)
