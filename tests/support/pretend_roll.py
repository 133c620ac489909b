"""A roll without pods: the real engine, lock and approvals of a KafkaCluster whose one step is to say it is done.

For what happens around a roll on an API server with nothing else: it waits, is approved or denied, begins, ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.api_server import ApiServer
from support.people import as_operator
from support.simulation import around

from controlplane.adapters.clock import SystemClock
from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_cluster import KafkaCluster, KafkaClusterStatus
from controlplane.api.operation import Operation, OperationIntent, OperationStatus, OperationStep, StepCheck
from controlplane.domain.check import Check
from controlplane.domain.operation.permit import Permit
from controlplane.domain.operation.plan import Plan, operation_id
from controlplane.domain.operation.progress import entry_of, finished, journalled
from controlplane.ports import ConflictError, KafkaError, KubeError, Object, UnreachableError
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.keys import cluster_key
from controlplane.services.operation.engine import Engine
from controlplane.services.operation.kind import Decision, Request
from controlplane.settings import OperatorSettings

PASS_SECONDS = 0.2
STEP = OperationStep(id=1, verb="Restart", target="all", why="the version changed", risk="Disruptive")


class PretendRoll:
    """Implements Kind[KafkaCluster, str]: `status.version` follows `spec.version` in one step."""

    resource = KAFKA_CLUSTERS

    def cell(self, obj: Object) -> str:
        return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"

    def status_of(self, obj: Object) -> KafkaClusterStatus:
        return KafkaClusterStatus.model_validate(obj.get("status") or {})

    async def observe(self, obj: Object) -> KafkaCluster:
        return KafkaCluster.model_validate(obj)

    def request(self, world: KafkaCluster) -> Request:
        return Request(
            approval_required=world.spec.rollout.approval == "Required",
            requested_by=world.metadata.annotations.get(names.REQUESTED_BY, ""),
        )

    def decide(self, world: KafkaCluster, permit: Permit, now: float) -> Decision[str]:
        operation, ended, action = self._roll(world, permit, now)
        blocked = (*permit.holds, *permit.refused)
        conditions = world.status.conditions
        for type_, value in ((c.READY, operation is None and not blocked), (c.BLOCKED, bool(blocked))):
            conditions = c.set_condition(
                conditions,
                type_,
                value,
                blocked[0].name if blocked else "Fine",
                blocked[0].evidence if blocked else "",
                observed_generation=world.metadata.generation,
                now=now,
            )
        succeeded = ended is not None and ended.outcome == "Succeeded"
        status = world.status.model_copy(
            update={
                "conditions": conditions,
                "observed_generation": world.metadata.generation,
                "version": world.spec.version if succeeded or not world.status.version else world.status.version,
                "operation": operation,
                "last_operation": ended or world.status.last_operation,
            }
        )
        return Decision(status=status, action=action, begun=operation is not None and operation.intent is not None)

    def _roll(
        self, world: KafkaCluster, permit: Permit, now: float
    ) -> tuple[Operation | None, Operation | None, str | None]:
        """(under way, just ended, what to do now)."""
        meta, before = world.metadata, world.status.operation
        if world.status.version in (None, world.spec.version):
            return None, None, None
        plan = Plan("Roll", "Replanned", f"Version {world.spec.version}", constraints={"version": world.spec.version})
        identity = operation_id("Roll", meta.uid, meta.generation, plan.hash)
        same = before if before is not None and before.id == identity else None
        superseded = finished(before, "Superseded", message="", now=now) if before and same is None else None
        if same is not None and same.intent is not None:
            done = same.model_copy(update={"journal": journalled(same.journal, entry_of(STEP, 1, "Done", now=now))})
            return None, finished(done, "Succeeded", message="all are back", now=now), None
        if permit.stop is not None:
            why = " ".join(check.evidence for check in permit.holds)
            return None, finished(same, permit.stop, message=why, now=now) if same else superseded, None
        checks = tuple(
            StepCheck(name=check.name, evidence=check.evidence, remedy=check.remedy) for check in permit.holds
        )
        operation = Operation(
            id=identity,
            kind="Roll",
            plan_hash=plan.hash,
            goal=plan.goal,
            started_at=same.started_at if same else timestamp(now),
            step=STEP.model_copy(update={"checks": checks}),
            approval=permit.approval,
            intent=None if permit.holds else OperationIntent(at=timestamp(now)),
        )
        return operation, superseded, None if permit.holds else "restart"

    async def act(self, action: str, world: KafkaCluster) -> bool:
        return True

    def explain(self, action: str, error: KubeError | KafkaError) -> Check:
        return Check("StepFailed", ok=False, evidence=error.message)

    def without_words(self, status: OperationStatus) -> OperationStatus:
        return status

    async def tell(self, obj: Object, before: OperationStatus, after: OperationStatus) -> None:
        """Nothing."""

    async def forget(self, namespace: str, name: str) -> None:
        """Nothing is kept."""


@contextmanager
def operating(server: ApiServer, namespace: str = "kafka") -> Iterator[None]:
    """An operator with the identity and the rights of the real one looks at every cluster of a namespace, until the
    end."""
    stop = threading.Event()
    failures: list[BaseException] = []

    async def operate() -> None:
        async with as_operator(server) as kube:
            engine: Engine = Engine(PretendRoll(), around(kube, SystemClock(), OperatorSettings()))
            while not stop.is_set():
                try:
                    for obj in await kube.list(KAFKA_CLUSTERS, namespace):
                        await engine.reconcile(cluster_key(namespace, obj["metadata"]["name"]))
                except (ConflictError, UnreachableError):
                    pass  # the object moved or the server is busy: the next pass looks again
                await asyncio.sleep(PASS_SECONDS)

    def work() -> None:
        try:
            asyncio.run(operate())
        except BaseException as error:  # noqa: BLE001 - said where the test can see it
            failures.append(error)

    thread = threading.Thread(target=work, name="operator")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)
    if failures:
        raise failures[0]


def waiting_operation(status: dict[str, Any]) -> dict[str, Any] | None:
    """The operation in a cluster's status once its step waits for an approval."""
    operation = status.get("operation") or {}
    checks = (operation.get("step") or {}).get("checks") or []
    names_ = {check["name"] for check in checks}
    return operation if names_ & {"AwaitingApproval", "ApprovalInvalid"} else None
