"""Operations where they live: in the status of the objects that asked for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from controlplane.api import names
from controlplane.api.conditions import BLOCKED, find_condition
from controlplane.api.operation import Operation, OperationStatus, StepCheck
from controlplane.cli.connect import Connection
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import CLUSTERS, REBALANCES, did_you_mean, objects
from controlplane.ports import ForbiddenError, NotFoundError, Object, Resource

CARRIERS = (CLUSTERS, REBALANCES)
"""Kinds whose status carries operations."""

UNDER_WAY, BLOCKED_STATE, AWAITING, WAITING = "UnderWay", "Blocked", "AwaitingApproval", "Waiting"
END_NOT_RECORDED = "EndNotRecorded"
"""Of an operation that only the ledger knows."""
APPROVAL_CHECKS = frozenset({"AwaitingApproval", "ApprovalInvalid"})
TURN_CHECKS = frozenset({"Paused", "CellLocked", "Cancelled", "OutsideWindow"})
"""Somebody's will or turn, and nothing wrong: `Waiting`, not `Blocked`."""


@dataclass(frozen=True)
class Carried:
    """One operation and the object that asked for it. `blocked` is the reason of its Blocked condition, if True.

    `from_ledger`: the object has moved on or is gone; of it only the name is known.
    """

    obj: Object
    operation: Operation
    blocked: str = ""
    from_ledger: bool = False

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def subject(self) -> str:
        return f"{self.obj['kind']} {self.namespace}/{self.name}"

    @property
    def cell(self) -> str:
        """`namespace/name` of the KafkaCluster it works on."""
        of_another = ((self.obj.get("spec") or {}).get("clusterRef") or {}).get("name")
        return f"{self.namespace}/{of_another or self.name}"

    @property
    def under_way(self) -> bool:
        return self.operation.outcome is None

    @property
    def approval_checks(self) -> tuple[StepCheck, ...]:
        """What of its step waits for an approval. Another reason may stand before it in the Blocked condition."""
        step = self.operation.step
        return tuple(check for check in step.checks if check.name in APPROVAL_CHECKS) if step is not None else ()

    @property
    def state(self) -> str:
        """One word: how it ended, or whether it moves."""
        if self.operation.outcome is not None:
            return self.operation.outcome
        if self.from_ledger:
            return END_NOT_RECORDED
        if self.blocked in APPROVAL_CHECKS or self.approval_checks:
            return AWAITING
        if self.blocked in TURN_CHECKS:
            return WAITING
        return BLOCKED_STATE if self.blocked else UNDER_WAY


def carried(obj: Object) -> Iterator[Carried]:
    """The operation under way, then the last one that ended. Raises CliError for a status of another version."""
    try:
        status = OperationStatus.model_validate(
            {
                key: value
                for key, value in (obj.get("status") or {}).items()
                if key in {"conditions", "operation", "lastOperation"}
            }
        )
    except ValidationError as error:
        meta = obj["metadata"]
        raise CliError(
            f"the status of {obj['kind']} {meta['namespace']}/{meta['name']} cannot be read by this version of kfleet "
            f"({error.error_count()} fields); use the version of the operator"
        ) from error
    condition = find_condition(status.conditions, BLOCKED)
    blocked = condition.reason if condition is not None and condition.status == "True" else ""
    if status.operation is not None:
        yield Carried(obj, status.operation, blocked)
    if status.last_operation is not None:
        yield Carried(obj, status.last_operation)


async def carriers(connection: Connection, namespace: str | None) -> Sequence[Object]:
    """Every object that may carry an operation, by kind, namespace and name.

    A control plane that was installed before there were others than clusters has none of them.
    """
    found = list(await objects(connection, CLUSTERS, namespace))
    for resource in CARRIERS[1:]:
        try:
            others = await connection.kube.list(resource, namespace)
        except NotFoundError:
            continue
        found += sorted(others, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
    return found


def all_carried(found: Sequence[Object]) -> list[Carried]:
    """What can be read of them; what cannot is said on stderr and keeps nobody from the rest."""
    there: list[Carried] = []
    for obj in found:
        try:
            there += carried(obj)
        except CliError as error:
            print(f"kfleet: {error}", file=sys.stderr)
    return there


async def find_operation(connection: Connection, wanted: str, *, anywhere: bool) -> Carried:
    """By id, or by the name of its object (`orders`, `kafkacluster/orders`: the one under way, else the last).

    Looked for in the connection's namespace, then, with `anywhere`, in all that may be listed. Raises CliError with the
    nearest ids when there is none.
    """
    there = all_carried(await carriers(connection, connection.scope))
    found = _match(there, wanted)
    if found is None and anywhere and connection.scope is not None:
        try:
            there = all_carried(await carriers(connection, None))
        except ForbiddenError:
            anywhere = False
        else:
            found = _match([one for one in there if one.operation.id == wanted], wanted)
    if found is not None:
        return found
    where = "" if anywhere or connection.scope is None else f" in namespace {connection.scope}"
    ids = sorted({one.operation.id for one in there})
    raise CliError(f"no operation {wanted}{where}{did_you_mean(wanted, ids)}")


def _match(there: Sequence[Carried], wanted: str) -> Carried | None:
    for one in there:
        if one.operation.id == wanted:
            return one
    kind, _, name = wanted.rpartition("/")
    of_object = [
        one
        for one in there
        if one.name == name and kind.lower() in {"", one.obj["kind"].lower(), f"{one.obj['kind'].lower()}s"}
    ]
    spaces = {one.namespace for one in of_object}
    if len(spaces) > 1:
        raise CliError(f"{wanted} is in several namespaces ({', '.join(sorted(spaces))}); say which with -n")
    return of_object[0] if of_object else None


def resource_of(one: Carried) -> Resource:
    return next(resource for resource in CARRIERS if resource.kind == one.obj["kind"])


async def again(connection: Connection, one: Carried) -> Carried | None:
    """The same operation as it stands now; None when its object is gone or has moved on to others."""
    try:
        obj = await connection.kube.get(resource_of(one), one.name, one.namespace)
    except NotFoundError:
        return None
    if obj["metadata"]["uid"] != one.obj["metadata"]["uid"]:
        return None
    return same(obj, one.operation.id)


def same(obj: Object, operation_id: str) -> Carried | None:
    return next((one for one in carried(obj) if one.operation.id == operation_id), None)


def is_cancelled(one: Carried) -> bool:
    return bool(annotation(one.obj, names.CANCEL) == one.operation.id)


def is_paused(one: Carried) -> bool:
    return bool(annotation(one.obj, names.PAUSED) == "true")


def annotation(obj: Object, name: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(name, ""))
