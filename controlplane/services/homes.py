"""Which cell each topic and each user of a tenant lives in: decided once, for life, and recorded in its status before
anything is made there.

Until then it is nobody's: one pass looks after all of these, so that a tenant that does not exist, a namespace that it
does not list and a cell that it does not have are told; it looks again now and then, since what other tenants claim
matters too. Once an object has its cell, the status that says so wakes the pass over that cell's objects of its kind.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from controlplane.api import names
from controlplane.api.tenant_ref import CELL_PATH, TenantRef
from controlplane.domain.check import Check, explain
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.tenants.homes import elsewhere, home
from controlplane.ports import (
    Clock,
    ConflictError,
    KubeApi,
    KubeError,
    NotFoundError,
    Object,
    Resource,
    UnreachableError,
)
from controlplane.services.at_once import each
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key
from controlplane.services.tenants.read import read_directory
from controlplane.services.topic_status import KAFKA_TOPICS, StatusWriter
from controlplane.services.topic_status import readable as readable_topic
from controlplane.services.users.entry import Entry
from controlplane.services.users.report import Reporter
from controlplane.services.users.residents import invalid
from controlplane.services.users.residents import readable as readable_user
from controlplane.services.users.status import Standing
from controlplane.settings import OperatorSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Homeless:
    """An object of a tenant that has no cell, as it was read. `refusal`: why it can have none, whatever its tenant is
    like; `tell` writes why it is not ready, and its cell if it has one now."""

    ref: TenantRef
    refusal: Check | None
    tell: Callable[[Check, str | None], Awaitable[None]]


class Kind(Protocol):
    """Of objects that may name a tenant."""

    resource: Resource

    def read(self, obj: Object) -> Homeless | None:
        """None for one that names none, and for one that this version cannot read."""
        ...


class Topics:
    resource = KAFKA_TOPICS

    def __init__(self, kube: KubeApi, clock: Clock, events: EventRecorder) -> None:
        self._statuses = StatusWriter(kube, clock, events)

    def read(self, obj: Object) -> Homeless | None:
        entry = readable_topic(obj)
        if entry is None or (ref := entry.topic.spec.tenant_ref) is None or entry.topic.spec.cluster_ref is not None:
            return None

        async def tell(why: Check, cell: str | None) -> None:
            await self._statuses.write(entry, (False, why.name, explain([why])), None, cell=cell)

        return Homeless(ref, None, tell)


class Users:
    resource = KAFKA_USERS

    def __init__(self, kube: KubeApi, clock: Clock, events: EventRecorder) -> None:
        self._report = Reporter(kube, clock, events)

    def read(self, obj: Object) -> Homeless | None:
        user = readable_user(obj)
        if user is None or (ref := user.spec.tenant_ref) is None or user.spec.cluster_ref is not None:
            return None

        async def tell(why: Check, cell: str | None) -> None:
            standing = Standing(ok=False, reason=why.name, message=explain([why]))
            housed = user.model_copy(update={"status": user.status.model_copy(update={"cell": cell})})
            await self._report.write(Entry(obj, housed), standing, None, None)

        return Homeless(ref, invalid(user), tell)


class Homes:
    def __init__(self, kube: KubeApi, clock: Clock, events: EventRecorder, settings: OperatorSettings) -> None:
        self._kube, self._settings = kube, settings
        self._kinds: tuple[Kind, ...] = (Topics(kube, clock, events), Users(kube, clock, events))

    async def reconcile(self, key: Key) -> float | None:  # noqa: ARG002 - there is one
        """None once every object of a tenant has its cell: an event will wake us."""
        waiting = [(kind, obj) for kind in self._kinds for obj in await self._waiting(kind)]
        if not waiting:
            return None
        known = await read_directory(self._kube)
        left: list[Object] = []

        async def settle(one: tuple[Kind, Object]) -> None:
            if not await self._guarded(*one, known):
                left.append(one[1])

        await each(waiting, settle)
        return self._settings.resync_interval if left else None

    async def _waiting(self, kind: Kind) -> list[Object]:
        """Those without a cell, where this operator looks. Who is paused waits for an event."""
        everywhere: list[str | None] = [None]
        found: list[Object] = []
        for namespace in self._settings.watch_namespaces or everywhere:
            listed = await self._kube.list(kind.resource, namespace, fields=f"{CELL_PATH[1:]}=")
            found += [obj for obj in listed if obj["spec"].get("tenantRef") and not _is_paused(obj)]
        return found

    async def _guarded(self, kind: Kind, obj: Object, known: Directory) -> bool:
        """As `_settle`; one object holds up nobody else. Raises UnreachableError."""
        try:
            return await self._settle(kind, obj, known)
        except UnreachableError:
            raise
        except (ConflictError, NotFoundError):  # it has moved, or gone: its event wakes another pass
            return True
        except KubeError as error:
            meta = obj["metadata"]
            log.warning("%s %s/%s: %s", kind.resource.kind, meta["namespace"], meta["name"], error.message)
            return False

    async def _settle(self, kind: Kind, obj: Object, known: Directory) -> bool:
        """Whether nothing is left to be done for it here. Raises KubeError."""
        meta = obj["metadata"]
        if "deletionTimestamp" in meta:
            await self._let_go(kind, obj)
            return True
        if (one := kind.read(obj)) is None:
            return True
        found = one.refusal or home(known, one.ref, meta["namespace"])
        if isinstance(found, Check):
            await one.tell(found, None)
            return False
        if not self._settings.watches(found.namespace):
            await one.tell(elsewhere(meta["namespace"], found), str(found))
            return True
        status = (obj.get("status") or {}) | {"cell": str(found)}
        await self._kube.replace(kind.resource, obj | {"status": status}, subresource="status")
        return True

    async def _let_go(self, kind: Kind, obj: Object) -> None:
        """Nothing was ever made for it."""
        meta = obj["metadata"]
        finalizers = meta.get("finalizers", [])
        if names.USER_FINALIZER in finalizers:
            left = [one for one in finalizers if one != names.USER_FINALIZER]
            change = {"metadata": {"finalizers": left, "resourceVersion": meta["resourceVersion"]}}
            await self._kube.patch(kind.resource, meta["name"], meta["namespace"], change)


def _is_paused(obj: Object) -> bool:
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    return annotations.get(names.PAUSED) == "true"
