"""The one engine: observe, decide, write what is about to be done, do it under the cell's lock, be called again.

A pass writes the status once, before it acts, with the object's resourceVersion: that write is the intent, and a
conflict means the object moved and nothing is done. Killed anywhere, the next pass finds the intent in the status and
the truth in the world. Rolls, rebalances, failovers, drills and runbooks are Kinds; none has a loop of its own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.operation import Operation, OperationStatus
from controlplane.api.validate import explain as explain_problems
from controlplane.api.validate import problems_of
from controlplane.domain.check import Check
from controlplane.domain.operation.permit import Permit, from_words
from controlplane.ports import (
    Clock,
    ConflictError,
    KafkaError,
    KubeApi,
    KubeError,
    NotFoundError,
    Object,
    UnreachableError,
)
from controlplane.services.operation.approvals import Approvals
from controlplane.services.operation.kind import Decision, Kind
from controlplane.services.operation.lock import CellLocks, LockLostError
from controlplane.services.operation.outbox import Outbox
from controlplane.services.queue import Key
from controlplane.settings import OperatorSettings

log = logging.getLogger(__name__)

_BRIEF_GROWTH = 1.25
"""Each look for something brief waits so much longer than the one before; five seconds on, a whole busy_interval."""
_BRIEF_LOOKS = 100
"""Beyond any busy_interval, and no number overflows."""
_LOOK_AGAIN = -1.0
"""The cell has only just become ours: what was observed is older than that."""


class _TheirsError(Exception):
    """Another operator is carrying out this very operation: its status is that one's to write."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every kind's engine shares in one operator."""

    kube: KubeApi
    clock: Clock
    locks: CellLocks
    approvals: Approvals
    outbox: Outbox
    settings: OperatorSettings


class Engine:
    """Runs passes for one Kind. What must be remembered between passes is in the object's status."""

    def __init__(self, kind: Kind[Any, Any], around: Surroundings) -> None:
        self._kind, self._around = kind, around
        self._kube, self._settings = around.kube, around.settings
        self._refused: dict[Key, tuple[Check, ...]] = {}
        self._told: dict[Key, float] = {}
        self._brief: dict[Key, int] = {}
        self._started = around.clock.monotonic()

    async def reconcile(self, key: Key) -> float | None:
        """One pass; seconds until the next one, None to wait for an event.

        A pass that takes the cell looks once more: what it saw before it had the cell may be what another left.
        """
        again = await self._look(key)
        if again == _LOOK_AGAIN:
            again = await self._look(key)
        return self._settings.settle_interval if again == _LOOK_AGAIN else again

    async def _look(self, key: Key) -> float | None:
        moment = self._around.locks.tick()
        try:
            obj = await self._kube.get(self._kind.resource, key.name, key.namespace)
        except NotFoundError:
            self._refused.pop(key, None)
            self._told.pop(key, None)
            self._brief.pop(key, None)
            self._around.outbox.gone(str(key), now=self._around.clock.now())
            await self._kind.forget(key.namespace, key.name)
            return None
        if _deleting(obj) and names.CELL_FINALIZER not in obj["metadata"].get("finalizers", []):
            return None
        try:
            world = await self._kind.observe(obj)
        except ValidationError as error:
            await self._refuse_unreadable(key, obj, explain_problems(problems_of(error)))
            return self._settings.resync_interval
        return await self._pass(key, obj, world, moment)

    async def _pass(self, key: Key, obj: Object, world: Any, moment: int) -> float | None:
        before = self._kind.status_of(obj)
        try:
            decision, idle = await self._decide(key, obj, world, before)
        except _TheirsError:
            return self._settings.busy_interval
        cell = self._kind.cell(obj)
        if decision.action is not None and not self._had_before(moment, cell, decision):
            return _LOOK_AGAIN
        after = self._around.outbox.deliver(obj, cell, decision.status)
        try:
            if decision.protect:
                await self._protect(obj)
            await self._write(key, obj, before, after)
            self._around.outbox.hand_over(obj, cell)
            await self._kind.tell(obj, before, after)
            if idle:
                await self._around.locks.release(cell, obj, before.operation.id if before.operation else None)
            if after.operation is None and not decision.farewell:
                await self._let_go(obj)
                if _deleting(obj):
                    return None
        except (ConflictError, NotFoundError):  # it has moved, or gone, since it was read: the next look says which
            return self._settings.settle_interval
        acted, refused = await self._act(obj, world, decision)
        self._refused[key] = refused
        if acted and not refused:
            return self._settings.settle_interval
        calm = decision.settled and not refused and self._around.outbox.idle(after)
        return self._settings.resync_interval if calm else self._pause(key, brief=decision.brief)

    def _pause(self, key: Key, *, brief: bool) -> float:
        """Until the next look while something is under way. What stays away is looked for ever less often."""
        if not brief:
            self._brief.pop(key, None)
            return self._settings.busy_interval
        looks = self._brief[key] = self._brief.get(key, 0) + 1
        often: float = self._settings.settle_interval * _BRIEF_GROWTH ** min(looks, _BRIEF_LOOKS)
        return min(often, self._settings.busy_interval)

    async def _decide(self, key: Key, obj: Object, world: Any, before: OperationStatus) -> tuple[Decision[Any], bool]:
        """(the decision under what the operation that comes out of it is permitted, whether the cell is not needed).

        The cell is taken before anything is written that presumes it, and given back after the status was written.
        Raises _TheirsError.
        """
        now, cell = self._around.clock.now(), self._kind.cell(obj)
        refused = self._refused.get(key, ())
        asked = Permit(refused=refused)
        decision = self._kind.decide(world, asked, now)
        operation = decision.operation
        if operation is None:
            return decision, True
        permit = from_words(
            operation, obj["metadata"].get("annotations") or {}, deleting=_deleting(obj), refused=refused
        )
        permit = await self._around.approvals.judge(permit, operation, self._kind.request(world), obj)
        if permit != asked:  # of the same world and moment nothing else can come out under the same permit
            decision = self._kind.decide(world, permit, now)
        operation = decision.operation
        if operation is None or ((permit.holds or decision.yields) and not decision.begun):
            return replace(decision, action=None), True
        retired = {old.id for old in (before.operation, before.last_operation) if old} - {operation.id}
        elsewhere = await self._around.locks.take(cell, obj, operation.id, retired=retired)
        if elsewhere is None:
            return decision, False
        if elsewhere.operation == operation.id:
            raise _TheirsError
        return replace(self._kind.decide(world, permit.with_hold(elsewhere.check), now), action=None), False

    def _had_before(self, moment: int, cell: str, decision: Decision[Any]) -> bool:
        operation = decision.operation
        return operation is not None and self._around.locks.had_before(moment, cell, operation.id)

    async def _act(self, obj: Object, world: Any, decision: Decision[Any]) -> tuple[bool, tuple[Check, ...]]:
        """(whether anything was done, what was refused). One action's failure keeps no other from being taken.

        Raises UnreachableError: without an API server nothing further can be done.
        """
        acted = False
        refused: list[Check] = []
        for action in (*decision.farewell, *decision.preparations):
            acted = await self._try(action, world, refused) or acted
        operation = decision.operation
        if decision.action is not None and operation is not None:
            with self._around.locks.guarding(self._kind.cell(obj), operation.id):
                acted = await self._try(decision.action, world, refused) or acted
        return acted, tuple(refused)

    async def _try(self, action: Any, world: Any, refused: list[Check]) -> bool:
        try:
            return await self._kind.act(action, world)
        except UnreachableError:
            raise
        except LockLostError as error:
            log.warning("%s", error)
        except (KubeError, KafkaError) as error:
            refused.append(self._kind.explain(action, error))
        return False

    async def _write(self, key: Key, obj: Object, before: OperationStatus, after: OperationStatus) -> None:
        """Raises ConflictError when the object has moved since it was read."""
        if before == after:
            return
        now = self._around.clock.monotonic()
        if self._essence(before) == self._essence(after):
            if now - self._told.get(key, self._started) < self._settings.status_interval:
                return
            self._told[key] = now
        body = {name: value for name, value in obj.items() if name != "status"} | {"status": after.to_object()}
        written = await self._kube.replace(self._kind.resource, body, subresource="status")
        obj["metadata"]["resourceVersion"] = written["metadata"]["resourceVersion"]
        obj["status"] = body["status"]

    def _essence(self, status: OperationStatus) -> OperationStatus:
        """What is worth a write at once. Words are not, nor is what the ledger has taken."""
        bare = self._kind.without_words(status)
        return bare.model_copy(
            update={
                "operation": _without_records(bare.operation),
                "last_operation": _without_records(bare.last_operation),
            }
        )

    async def _refuse_unreadable(self, key: Key, obj: Object, why: str) -> None:
        """A spec that an older CRD let in: say what is wrong and touch nothing, the rest of the status included."""
        meta = obj["metadata"]
        try:
            before = self._kind.status_of(obj)
        except ValidationError as error:
            log.error("%s: neither spec nor status can be read: %s; %s", key, why, explain_problems(problems_of(error)))  # noqa: TRY400
            return
        conditions = before.conditions
        for kind, value in ((c.READY, False), (c.STALLED, True)):
            conditions = c.set_condition(
                conditions,
                kind,
                value,
                "InvalidSpec",
                why,
                observed_generation=meta["generation"],
                now=self._around.clock.now(),
            )
        after = before.model_copy(update={"conditions": conditions, "observed_generation": meta["generation"]})
        await self._write(key, obj, before, after)

    async def _protect(self, obj: Object) -> None:
        """The object stays until what its operation began is undone."""
        finalizers = obj["metadata"].get("finalizers", [])
        if names.CELL_FINALIZER not in finalizers and not _deleting(obj):
            await self._set_finalizers(obj, [*finalizers, names.CELL_FINALIZER])

    async def _let_go(self, obj: Object) -> None:
        """Nothing is left to be undone: the object may go whenever somebody deletes it, operator or not."""
        finalizers = obj["metadata"].get("finalizers", [])
        if names.CELL_FINALIZER in finalizers:
            await self._set_finalizers(obj, [name for name in finalizers if name != names.CELL_FINALIZER])

    async def _set_finalizers(self, obj: Object, finalizers: list[str]) -> None:
        meta = obj["metadata"]
        change = {"metadata": {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}}
        written = await self._kube.patch(self._kind.resource, meta["name"], meta.get("namespace"), change)
        obj["metadata"] |= {"finalizers": finalizers, "resourceVersion": written["metadata"]["resourceVersion"]}


def _deleting(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def _without_records(operation: Operation | None) -> Operation | None:
    return operation.model_copy(update={"journal": (), "recorded": "No"}) if operation is not None else None
