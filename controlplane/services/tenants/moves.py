"""The KafkaRebalances that move tenants' topics: which there are, and how one is made."""

from __future__ import annotations

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_rebalance import GoalType, RebalanceGoal
from controlplane.domain.rebalance.asked import MoveState, standing_of
from controlplane.domain.tenants.directory import Cell
from controlplane.domain.tenants.values import Move, MoveRequest
from controlplane.ports import AlreadyExistsError, ForbiddenError, InvalidError, KubeApi, Object
from controlplane.services.rebalance.asked import REBALANCES, rebalance


async def read_moves(kube: KubeApi, cell: Cell) -> tuple[Object, ...]:
    """Raises KubeError."""
    found = await kube.list(REBALANCES, cell.namespace, labels=f"{names.CLUSTER}={cell.name}")
    return tuple(obj for obj in found if tenant_of(obj))


def move_of(obj: Object) -> Move:
    """A spec that cannot be read does not matter: only how it stands does."""
    meta, status = obj["metadata"], obj.get("status") or {}
    standing = standing_of([c.Condition.model_validate(one) for one in status.get("conditions") or ()])
    # Whoever may edit a KafkaRebalance may write anything there.
    written = meta.get("annotations", {}).get(names.TENANT_GENERATION, "")
    generation = int(written) if written.isascii() and written.isdecimal() else 0
    # Infeasible: what it was made for is not so any more, a topic is gone, or a broker. It would wait without end.
    state = MoveState.FAILED if standing.state is MoveState.INFEASIBLE else standing.state
    return Move(meta["name"], tenant_of(obj), state, generation, standing.reason, standing.message, standing.ended_at)


async def create_move(kube: KubeApi, cluster: KafkaCluster, request: MoveRequest, *, user: str) -> str | None:
    """Why it was refused, None if it is there now, whoever made it. `user` is who we are to the API server. Raises
    other KubeErrors."""
    try:
        await kube.create(REBALANCES, _rebalance(cluster, request, user=user), cluster.metadata.namespace)
    except AlreadyExistsError:
        return None
    except (InvalidError, ForbiddenError) as error:
        return error.message
    return None


def _rebalance(cluster: KafkaCluster, request: MoveRequest, *, user: str) -> Object:
    return rebalance(
        cluster,
        request.name,
        RebalanceGoal(type=GoalType.MOVE_TO, brokers=request.brokers, topics=request.topics),
        user=user,
        labels={names.TENANT: request.tenant},
        annotations={names.TENANT_GENERATION: str(request.generation)},
    )


def tenant_of(obj: Object) -> str:
    """Whom it was made for; "" for nobody."""
    found: str = (obj["metadata"].get("labels") or {}).get(names.TENANT, "")
    return found
