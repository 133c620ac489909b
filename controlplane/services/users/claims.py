"""What a pass writes into a user's object before it does anything for it, and takes out when it goes: finalizer and
record. An object that moved meanwhile is left to the next pass (`Entry.skip`)."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.api import names
from controlplane.api.kafka_user import AnnouncedStatus, KafkaUserStatus
from controlplane.domain.users.layers import CellState
from controlplane.domain.users.planner import UserPlan
from controlplane.ports import Clock, ConflictError, KubeApi, NotFoundError
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.users.entry import Entry
from controlplane.services.users.status import is_recorded, no_longer_revoked, owned_status, says_revoked


class Claims:
    def __init__(self, kube: KubeApi, clock: Clock) -> None:
        self._kube, self._clock = kube, clock

    async def claim(self, entry: Entry, plan: UserPlan | None, cell: CellState) -> None:
        """Finalizer and record, before anything is done for the user."""
        if plan is None or entry.deleting:
            return
        entry.unrecorded = True
        try:
            if not entry.held_back and (plan.may_log_in or plan.acls.create or plan.quotas.changes):
                await self._set_finalizers(entry, [*entry.user.metadata.finalizers, names.USER_FINALIZER])
            layers = entry.layers_to_claim(cell) if plan.quotas.changes else None
            if not plan.is_empty and not is_recorded(entry.user, plan, layers):
                await self._record(entry, owned_status(entry.user, plan, layers))
            if plan.may_log_in and not entry.out and says_revoked(entry.user.status):
                await self._record(entry, no_longer_revoked(entry.user, self._clock.now()))
        except (ConflictError, NotFoundError):
            entry.skip = True
        else:
            entry.unrecorded = False

    async def settle(self, entry: Entry, plan: UserPlan | None, cell: CellState) -> None:
        """Of a paused user: nothing is shed from it any more, and its status says that, and nothing else anew."""
        if plan is None or not plan.is_empty or entry.skip:
            return
        try:
            await self._record(entry, owned_status(entry.user, plan, entry.layer_status(cell)))
        except (ConflictError, NotFoundError):
            entry.skip = True

    async def announce(self, entry: Entry, announced: AnnouncedStatus) -> bool:
        """First credentials, before they are made: whether the object says so now."""
        if entry.user.status.announced == announced:
            return True
        try:
            await self._record(entry, entry.user.status.model_copy(update={"announced": announced}))
        except (ConflictError, NotFoundError):
            entry.skip = True
        return not entry.skip

    async def let_go(self, entry: Entry) -> None:
        if not entry.held_back:
            return
        try:
            await self._set_finalizers(
                entry, [one for one in entry.user.metadata.finalizers if one != names.USER_FINALIZER]
            )
        except (ConflictError, NotFoundError):
            entry.skip = True

    async def _record(self, entry: Entry, status: KafkaUserStatus) -> None:
        """Raises ConflictError, NotFoundError."""
        written = await self._kube.replace(
            KAFKA_USERS, entry.obj | {"status": status.to_object()}, subresource="status"
        )
        entry.obj["metadata"]["resourceVersion"] = written["metadata"]["resourceVersion"]
        entry.user = entry.user.model_copy(update={"status": status})

    async def _set_finalizers(self, entry: Entry, finalizers: Sequence[str]) -> None:
        """Raises ConflictError, NotFoundError."""
        meta = entry.obj["metadata"]
        change = {"metadata": {"finalizers": list(finalizers), "resourceVersion": meta["resourceVersion"]}}
        written = await self._kube.patch(KAFKA_USERS, meta["name"], meta["namespace"], change)
        meta |= {"finalizers": list(finalizers), "resourceVersion": written["metadata"]["resourceVersion"]}
        entry.user = entry.user.model_copy(
            update={"metadata": entry.user.metadata.model_copy(update={"finalizers": tuple(finalizers)})}
        )
