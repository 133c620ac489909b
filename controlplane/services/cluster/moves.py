"""The KafkaRebalances that a cluster's rolls ask for: which there are, how one is made, how one goes."""

from __future__ import annotations

import contextlib

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_rebalance import GoalType, RebalanceGoal
from controlplane.api.rollout import UnprotectedPartitions
from controlplane.domain.cluster import manifests
from controlplane.domain.cluster.away import DropMove, RequestMove
from controlplane.domain.rebalance.asked import AskedMove, standing_of
from controlplane.ports import AlreadyExistsError, ConflictError, KubeApi, NotFoundError, Object
from controlplane.services.rebalance.asked import REBALANCES, rebalance


async def read_moves(kube: KubeApi, cluster: KafkaCluster) -> tuple[AskedMove, ...]:
    """Raises KubeError. Nothing is asked where no roll can have made one that is still of use: what was made under
    `MoveAway` and has not begun is seen once more by the roll that follows on another policy."""
    meta, policy = cluster.metadata, cluster.spec.rollout.unprotected_partitions
    if policy is not UnprotectedPartitions.MOVE_AWAY and cluster.status.operation is None:
        return ()
    found = await kube.list(REBALANCES, meta.namespace, labels=f"{names.CLUSTER}={meta.name}")
    return tuple(move_of(obj) for obj in found if names.ROLL in obj["metadata"].get("labels", {}))


def move_of(obj: Object) -> AskedMove:
    """Whoever may edit a KafkaRebalance may put our label on it: it is one of a roll's then."""
    meta, status = obj["metadata"], obj.get("status") or {}
    return AskedMove(
        name=meta["name"],
        operation=meta["labels"][names.ROLL],
        brokers=tuple(sorted(obj["spec"]["goal"].get("brokers", ()))),
        standing=standing_of([c.Condition.model_validate(one) for one in status.get("conditions") or ()]),
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        begun="progress" in status or "intent" in (status.get("operation") or {}),
    )


async def request_move(kube: KubeApi, cluster: KafkaCluster, request: RequestMove, *, user: str) -> None:
    """`user` is who creates it. Raises KubeError; AlreadyExistsError only for one of that name that is no roll's."""
    goal = RebalanceGoal(type=GoalType.MOVE_AWAY, brokers=request.brokers)
    body = rebalance(cluster, request.name, goal, user=user, labels={names.ROLL: request.operation})
    owned = manifests.meta_of(cluster, request.name, None, owned=True)
    body["metadata"]["ownerReferences"] = owned["ownerReferences"]
    try:
        await kube.create(REBALANCES, body, cluster.metadata.namespace)
    except AlreadyExistsError:
        there = await kube.get(REBALANCES, request.name, cluster.metadata.namespace)
        if names.ROLL not in there["metadata"].get("labels", {}):
            raise


async def drop_move(kube: KubeApi, step: DropMove, namespace: str) -> None:
    """It has gone or moved since it was read: the next look says which. Raises other KubeErrors."""
    with contextlib.suppress(NotFoundError, ConflictError):
        await kube.delete(REBALANCES, step.name, namespace, uid=step.uid, resource_version=step.resource_version)
