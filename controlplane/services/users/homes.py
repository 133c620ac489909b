"""Give each user of a tenant its cell: recorded once, for life, and nothing is made for the user before.

The cell's users are reconciled together (UserService), wherever their objects are; here are only those that have no
cell yet. Why one cannot have any is said in its status, and looked at again: what other tenants claim matters too.
"""

from __future__ import annotations

from collections.abc import Callable

from controlplane.api import names
from controlplane.api.kafka_user import KafkaUser
from controlplane.domain.check import Check, explain
from controlplane.domain.tenants.directory import Cell, Directory
from controlplane.domain.tenants.homes import home
from controlplane.domain.users.tenancy import cell_of
from controlplane.ports import Clock, ConflictError, KubeApi, NotFoundError, Object
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.keys import users_key
from controlplane.services.queue import Key
from controlplane.services.tenants.read import read_directory
from controlplane.services.users.credentials import each
from controlplane.services.users.entry import Entry
from controlplane.services.users.report import Reporter
from controlplane.services.users.residents import invalid, readable
from controlplane.services.users.status import Standing
from controlplane.settings import OperatorSettings


class UserHomes:
    """`wake` has a key reconciled soon."""

    def __init__(
        self,
        kube: KubeApi,
        clock: Clock,
        events: EventRecorder,
        settings: OperatorSettings,
        *,
        wake: Callable[[Key], None],
    ) -> None:
        self._kube, self._settings, self._wake = kube, settings, wake
        self._report = Reporter(kube, clock, events)

    async def reconcile(self, key: Key) -> float | None:
        """`key` names a namespace, and a tenant that users there refer to. None once each of them has a cell."""
        waiting = []
        for obj in await self._kube.list(KAFKA_USERS, key.namespace):
            if (obj["spec"].get("tenantRef") or {}).get("name") != key.name:
                continue
            if cell := obj.get("status", {}).get("cell"):
                self._wake_cell(cell_of(cell))
            elif (user := readable(obj)) is not None and user.metadata.annotations.get(names.PAUSED) != "true":
                waiting.append((obj, user))
        if not waiting:
            return None
        directory = await read_directory(self._kube)
        homeless: list[Entry] = []
        await each(waiting, lambda one: self._settle(*one, directory, homeless))
        return self._settings.resync_interval if homeless else None

    async def _settle(self, obj: Object, user: KafkaUser, directory: Directory, homeless: list[Entry]) -> None:
        entry = Entry(obj, user, refusal=invalid(user))
        ref = user.spec.tenant_ref
        if ref is None:
            raise AssertionError("a user of a cluster is not homeless")
        found = entry.refusal or home(directory, ref, user.metadata.namespace)
        if isinstance(found, Cell):
            status = user.status.model_copy(update={"cell": str(found)})
            try:
                await self._kube.replace(KAFKA_USERS, obj | {"status": status.to_object()}, subresource="status")
            except (ConflictError, NotFoundError):
                return
            self._wake_cell(found)
        elif entry.deleting:
            await self._let_go(entry)
        else:
            homeless.append(entry)
            await self._report.write(entry, _refused(found), None, None)

    async def _let_go(self, entry: Entry) -> None:
        """Nothing was ever made for it."""
        if not entry.held_back:
            return
        meta = entry.obj["metadata"]
        left = [one for one in meta.get("finalizers", ()) if one != names.USER_FINALIZER]
        change = {"metadata": {"finalizers": left, "resourceVersion": meta["resourceVersion"]}}
        try:
            await self._kube.patch(KAFKA_USERS, meta["name"], meta["namespace"], change)
        except (ConflictError, NotFoundError):
            return

    def _wake_cell(self, cell: Cell) -> None:
        self._wake(users_key(cell.namespace, cell.name))


def _refused(check: Check) -> Standing:
    return Standing(ok=False, reason=check.name, message=explain([check]))
