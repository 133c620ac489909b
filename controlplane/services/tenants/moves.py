"""The KafkaRebalances that move tenants' topics: which there are, and how one is made."""

from __future__ import annotations

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.kafka_cluster import ApprovalPolicy, KafkaCluster
from controlplane.api.kafka_rebalance import GoalType, KafkaRebalance
from controlplane.domain.tenants.directory import Cell
from controlplane.domain.tenants.values import Move, MoveRequest, MoveState
from controlplane.ports import AlreadyExistsError, ForbiddenError, InvalidError, KubeApi, Object
from controlplane.services.rebalance.recipe import REBALANCES

INFEASIBLE = "GoalInfeasible"


async def read_moves(kube: KubeApi, cell: Cell) -> tuple[Object, ...]:
    """Raises KubeError."""
    found = await kube.list(REBALANCES, cell.namespace, labels=f"{names.CLUSTER}={cell.name}")
    return tuple(obj for obj in found if tenant_of(obj))


def move_of(obj: Object) -> Move:
    """A spec that cannot be read does not matter: only how it stands does."""
    meta, status = obj["metadata"], obj.get("status") or {}
    conditions = tuple(c.Condition.model_validate(one) for one in status.get("conditions") or ())
    complete, failed = c.find_condition(conditions, c.COMPLETE), c.find_condition(conditions, c.FAILED)
    # Whoever may edit a KafkaRebalance may write anything there.
    written = meta.get("annotations", {}).get(names.TENANT_GENERATION, "")
    generation = int(written) if written.isascii() and written.isdecimal() else 0
    name, tenant = meta["name"], tenant_of(obj)
    if complete is not None and complete.status == "True":
        at = c.seconds(complete.last_transition_time)
        return Move(name, tenant, MoveState.COMPLETE, generation, complete.reason, complete.message, at)
    if failed is not None and failed.status == "True":
        at = c.seconds(failed.last_transition_time)
        return Move(name, tenant, MoveState.FAILED, generation, failed.reason, failed.message, at)
    proposed = c.find_condition(conditions, c.PROPOSED)
    if proposed is not None and (proposed.status, proposed.reason) == ("False", INFEASIBLE):
        # What it was made for is not so any more: a topic is gone, or a broker. It would wait without end.
        return Move(name, tenant, MoveState.FAILED, generation, proposed.reason, proposed.message)
    reason, message = (complete.reason, complete.message) if complete is not None else ("", "")
    return Move(name, tenant, MoveState.UNDER_WAY, generation, reason, message)


async def create_move(kube: KubeApi, cluster: KafkaCluster, request: MoveRequest, *, user: str) -> str | None:
    """Why it was refused, None if it is there now, whoever made it. `user` is who we are to the API server. Raises
    other KubeErrors."""
    try:
        await kube.create(REBALANCES, rebalance(cluster, request, user=user), cluster.metadata.namespace)
    except AlreadyExistsError:
        return None
    except (InvalidError, ForbiddenError) as error:
        return error.message
    return None


def rebalance(cluster: KafkaCluster, request: MoveRequest, *, user: str) -> Object:
    """It waits for an approval exactly where the cluster's own changes do."""
    required = cluster.spec.rollout.approval is ApprovalPolicy.REQUIRED
    annotations = {names.TENANT_GENERATION: str(request.generation)} | ({names.REQUESTED_BY: user} if required else {})
    body = KafkaRebalance.model_validate(
        {
            "metadata": {"name": request.name},
            "spec": {
                "clusterRef": {"name": cluster.metadata.name},
                "goal": {"type": GoalType.MOVE_TO, "brokers": request.brokers, "topics": request.topics},
                "approval": ApprovalPolicy.REQUIRED if required else ApprovalPolicy.NOT_REQUIRED,
            },
        }
    ).to_object()
    body["metadata"] = {
        "name": request.name,
        "namespace": cluster.metadata.namespace,
        "labels": {names.CLUSTER: cluster.metadata.name, names.TENANT: request.tenant},
        "annotations": annotations,
    }
    del body["status"]
    return body


def tenant_of(obj: Object) -> str:
    """Whom it was made for; "" for nobody."""
    found: str = (obj["metadata"].get("labels") or {}).get(names.TENANT, "")
    return found
