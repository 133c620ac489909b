"""The KafkaRebalances that a cluster asks for by itself: which there are, how one is made, how one goes."""

from __future__ import annotations

import contextlib

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_rebalance import GoalType, RebalanceGoal
from controlplane.domain.cluster import manifests
from controlplane.domain.cluster.moves import DropMove, RequestMove
from controlplane.domain.rebalance.asked import AskedMove, standing_of
from controlplane.ports import AlreadyExistsError, ConflictError, KubeApi, NotFoundError, Object
from controlplane.services.rebalance.asked import REBALANCES, rebalance


async def read_moves(kube: KubeApi, cluster: KafkaCluster, *, leaving: bool) -> tuple[AskedMove, ...]:
    """What the cluster has asked for, always: an operator that dies may leave one that nobody wants any more. While
    brokers are `leaving` people's Drains as well, which carry no label. Raises KubeError."""
    meta = cluster.metadata
    labels = "" if leaving else f"{names.CLUSTER}={meta.name}"
    found = await kube.list(REBALANCES, meta.namespace, labels=labels)
    return tuple(move_of(obj) for obj in found if obj["spec"]["clusterRef"]["name"] == meta.name and _matters(obj))


def _matters(obj: Object) -> bool:
    labels, goal = obj["metadata"].get("labels") or {}, obj["spec"]["goal"]["type"]
    return names.ASKED_BY in labels or (goal == GoalType.DRAIN and names.TENANT not in labels)


def move_of(obj: Object) -> AskedMove:
    """Whoever may edit a KafkaRebalance may put our label on it: it is one of the cluster's then."""
    meta, status = obj["metadata"], obj.get("status") or {}
    return AskedMove(
        name=meta["name"],
        operation=(meta.get("labels") or {}).get(names.ASKED_BY, ""),
        goal=GoalType(obj["spec"]["goal"]["type"]),
        brokers=tuple(sorted(obj["spec"]["goal"].get("brokers", ()))),
        standing=standing_of([c.Condition.model_validate(one) for one in status.get("conditions") or ()]),
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        begun="progress" in status or "intent" in (status.get("operation") or {}),
    )


async def request_move(kube: KubeApi, cluster: KafkaCluster, request: RequestMove, *, user: str) -> None:
    """`user` is who creates it. Raises KubeError; AlreadyExistsError only for one of that name that nobody but people
    asked for."""
    goal = RebalanceGoal(type=request.purpose.goal, brokers=request.brokers)
    body = rebalance(cluster, request.name, goal, user=user, labels={names.ASKED_BY: request.operation})
    owned = manifests.meta_of(cluster, request.name, None, owned=True)
    body["metadata"]["ownerReferences"] = owned["ownerReferences"]
    try:
        await kube.create(REBALANCES, body, cluster.metadata.namespace)
    except AlreadyExistsError:
        there = await kube.get(REBALANCES, request.name, cluster.metadata.namespace)
        if names.ASKED_BY not in there["metadata"].get("labels", {}):
            raise


async def drop_move(kube: KubeApi, step: DropMove, namespace: str) -> None:
    """It has gone or moved since it was read: the next look says which. Raises other KubeErrors."""
    with contextlib.suppress(NotFoundError, ConflictError):
        await kube.delete(REBALANCES, step.name, namespace, uid=step.uid, resource_version=step.resource_version)
