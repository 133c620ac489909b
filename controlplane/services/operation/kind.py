"""What a kind of object brings to the engine: how it is observed, planned and acted on. Never a loop of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from controlplane.api.operation import Operation, OperationStatus
from controlplane.domain.check import Check
from controlplane.domain.operation.permit import Permit, Waivable
from controlplane.ports import KafkaError, KubeError, Object, Resource

W = TypeVar("W")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Decision(Generic[A]):
    """One pass as a value, before anything is done.

    `status` is the whole new status, with `status.operation` and `status.last_operation` as they shall be written.
    `preparations` are idempotent and disturb nobody; they need no lock. `action` is the operation's step: it is carried
    out under the cell's lock, after the status (its intent) was written. `farewell` undoes what was prepared for an
    operation that is over; until it is empty the object keeps its finalizer. `begun` says that the operation has
    something under way that must be finished whatever is held; `protect` that it must not vanish with its object
    meanwhile.
    `settled`: nothing is expected to change by itself. `brief`: what is waited for usually takes seconds and no event
    tells of it, so it is looked for often at first. `yields`: it waits for something that takes another operation,
    or a world that is well again; with nothing begun others may have the cell.
    """

    status: OperationStatus
    preparations: tuple[A, ...] = ()
    farewell: tuple[A, ...] = ()
    action: A | None = None
    begun: bool = False
    protect: bool = False
    settled: bool = False
    brief: bool = False
    yields: bool = False

    @property
    def operation(self) -> Operation | None:
        return self.status.operation


@dataclass(frozen=True, slots=True)
class Request:
    """Who has to have agreed before an operation of this object may begin, and to what else.

    `waivable` are failed checks that hold it unless an Approval of its plan sets them aside.
    """

    approval_required: bool = False
    requested_by: str = ""
    waivable: tuple[Waivable, ...] = ()


class Kind(Protocol[W, A]):
    """One kind of object. Errors of ports pass through `observe` and `act` (KubeError, KafkaError)."""

    @property
    def resource(self) -> Resource: ...

    def cell(self, obj: Object) -> str:
        """`namespace/name` of the KafkaCluster that its operations work on: one operation at a time."""
        ...

    def status_of(self, obj: Object) -> OperationStatus:
        """The status as it is, unknown fields left out."""
        ...

    async def observe(self, obj: Object) -> W:
        """Reads only. Raises pydantic.ValidationError for a spec that an older schema let in."""
        ...

    def request(self, world: W) -> Request: ...

    def decide(self, world: W, permit: Permit, now: float) -> Decision[A]:
        """Pure: equal arguments make an equal decision. Asked as if all were permitted; then, for the operation that
        comes out of it, with what really is, where that is something else."""
        ...

    async def act(self, action: A, world: W) -> bool:
        """Carry out one action; True when the world should be observed again at once. Idempotent or preconditioned."""
        ...

    def explain(self, action: A, error: KubeError | KafkaError) -> Check:
        """What an action was refused for, as the next decision is told (`Permit.refused`)."""
        ...

    def without_words(self, status: OperationStatus) -> OperationStatus:
        """The status without what only people read: two that are equal then are not worth a write at once."""
        ...

    async def tell(self, obj: Object, before: OperationStatus, after: OperationStatus) -> None:
        """Events about what changed between two statuses."""
        ...

    async def forget(self, namespace: str, name: str) -> None:
        """The object is gone."""
        ...
