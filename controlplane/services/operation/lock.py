"""CellLock: one operation at a time on a cell, by a Lease in the cell's namespace.

The holder is `<operation id>/<operator>`: another operation of this operator and the same operation of another operator
are both somebody else. As with the operator's own Lease a holder is sure of it only until `duration` after it sent its
last renewal, on its own monotonic clock; that is asked before every mutation made under it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_cluster import KIND, PLURAL
from controlplane.domain.check import Check
from controlplane.domain.operation.permit import CELL_LOCKED
from controlplane.ports import NAMESPACE_TERMINATING, Clock, KubeApi, KubeError, NotFoundError, Object, Resource
from controlplane.services.lease import LeaseHolder

LEASE_SUFFIX = "cell"
CLUSTER = Resource(GROUP, VERSION, PLURAL, KIND)
Claim = tuple[str, str]
"""(cell, operation)"""
_guarded: ContextVar[LeaseHolder | None] = ContextVar("cell lock", default=None)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Somebody else has the cell: `operation` is theirs ("" when it is not known), `check` the failed check."""

    operation: str
    check: Check


class LockLostError(Exception):
    """The cell's Lease is no longer surely ours; the mutation was not made."""


def lease_name(cluster: str) -> str:
    return f"{cluster}-{LEASE_SUFFIX}"


class CellLocks:
    """`take` before anything is done, `guarding` around it, `release` when nothing is begun any more.

    One holder for each operation: several of one operator may want the same cell, and only one of them has it.
    """

    def __init__(self, kube: KubeApi, clock: Clock, *, identity: str, duration: float) -> None:
        self._kube, self._clock, self._identity, self._duration = kube, clock, identity, duration
        self._held: dict[Claim, LeaseHolder] = {}
        self._owners: dict[Claim, str] = {}
        self._since: dict[Claim, int] = {}
        self._released: dict[str, str] = {}
        self._ticks = 0

    def tick(self) -> int:
        """A moment to compare with `had_before`."""
        self._ticks += 1
        return self._ticks

    def had_before(self, moment: int, cell: str, operation: str) -> bool:
        """Whether the cell has been surely ours without a gap since before that moment.

        Only then is what was observed after it what the action will meet: whoever had the cell meanwhile may have acted
        between our look and our taking it.
        """
        return self._since.get((cell, operation), moment) < moment

    async def take(
        self, cell: str, owner: Object, operation: str, *, retired: Collection[str] = ()
    ) -> Elsewhere | None:
        """Take or renew; who has it when it is not ours.

        `retired` are operations of the same object that are over: what they hold through this operator is ours, and so
        is what was taken for an operation of the object that then was never written. `owner` is the object that asked.
        """
        uid = owner["metadata"]["uid"]
        retired = {*retired, *self._of(cell, uid)} - {operation}
        self._owners[cell, operation] = uid
        holder = await self._holder(cell, owner, operation)
        if holder.fresh():
            return None
        kept = holder.sure()
        mine = {self._name(name) for name in retired}
        try:
            other = await holder.take(also=mine)
        except KubeError as error:
            if kept and holder.sure():
                return None
            alone = error.reason == NAMESPACE_TERMINATING
            other = self._last_in(cell, holder) if alone else f"unknown ({error.message})"
        if other is None:
            if not kept:
                self._since[cell, operation] = self.tick()
            for name in retired:
                self._forget(cell, name)
            return None
        self._since.pop((cell, operation), None)
        check = Check(
            CELL_LOCKED,
            ok=False,
            evidence=f"Another operation has the cell (Lease {lease_name(cell.partition('/')[2])}): {other}.",
            remedy="It goes on when that one has ended; if nothing renews the Lease it is taken over.",
        )
        return Elsewhere(other.partition("/")[0] if "/" in other else "", check)

    async def release(self, cell: str, owner: Object, operation: str | None) -> None:
        """Let others in at once: what the owner's operations hold, this one also from a former life of this operator.

        A Lease that is no longer ours is left alone; one that cannot be released runs out by itself.
        """
        for name in {*self._of(cell, owner["metadata"]["uid"]), *([operation] if operation else [])}:
            await self._release(cell, name)

    def _of(self, cell: str, uid: str) -> set[str]:
        """Operations of that object that this process has taken the cell for."""
        return {operation for (where, operation), owner in self._owners.items() if (where, owner) == (cell, uid)}

    async def _release(self, cell: str, operation: str) -> None:
        if self._released.get(cell) == operation:
            return
        holder = self._held.get((cell, operation)) or self._lease(cell, operation, None)
        self._forget(cell, operation)
        with contextlib.suppress(KubeError):
            with contextlib.suppress(NotFoundError):
                await holder.release()
            self._released[cell] = operation

    @contextmanager
    def guarding(self, cell: str, operation: str) -> Iterator[None]:
        """Every mutating call inside asks first whether the cell is still surely the operation's (`CellGuard`).

        Raises LookupError when the operation never took the cell.
        """
        token = _guarded.set(self._held[cell, operation])
        try:
            yield
        finally:
            _guarded.reset(token)

    async def _holder(self, cell: str, owner: Object, operation: str) -> LeaseHolder:
        self._released.pop(cell, None)
        held = self._held.get((cell, operation))
        if held is None:
            held = self._held[cell, operation] = self._lease(cell, operation, await self._cluster(cell, owner))
        return held

    async def _cluster(self, cell: str, owner: Object) -> Object | None:
        """The KafkaCluster, whose deletion takes the Lease with it. Whatever else asked for an operation may go before
        the Lease does, or live in another namespace."""
        meta = owner["metadata"]
        if owner["kind"] == CLUSTER.kind and f"{meta['namespace']}/{meta['name']}" == cell:
            return owner
        namespace, _, name = cell.partition("/")
        try:
            return await self._kube.get(CLUSTER, name, namespace)
        except NotFoundError:
            return None

    def _last_in(self, cell: str, holder: LeaseHolder) -> str | None:
        """The other operation of this operator that has a cell in which no Lease can be made any more: its namespace is
        being deleted. What is left is to undo what was begun, and only the active operator is there to do that."""
        for (where, operation), other in self._held.items():
            if where == cell and other is not holder and other.sure():
                return f"{operation}/{self._identity}"
        holder.assume()
        return None

    def _lease(self, cell: str, operation: str, owner: Object | None) -> LeaseHolder:
        namespace, _, cluster = cell.partition("/")
        return LeaseHolder(
            kube=self._kube,
            clock=self._clock,
            namespace=namespace,
            name=lease_name(cluster),
            identity=self._name(operation),
            duration=self._duration,
            renew_interval=self._duration / 3,
            owner=owner,
        )

    def _forget(self, cell: str, operation: str) -> None:
        self._held.pop((cell, operation), None)
        self._owners.pop((cell, operation), None)
        self._since.pop((cell, operation), None)

    def _name(self, operation: str) -> str:
        return f"{operation}/{self._identity}"


class CellGuard:
    """An interceptor: a mutation made under a cell's lock is made only while that is surely ours."""

    def before(self, call: str) -> None:
        holder = _guarded.get()
        if holder is not None and not holder.sure():
            raise LockLostError(f"Lease {holder.namespace}/{holder.name} is no longer surely ours; not doing: {call}")

    def after(self, call: str) -> None:
        """Nothing to do."""
