"""The clusters that rebalances work on: their objects, what is observed of them, and an admin of their brokers."""

from __future__ import annotations

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.cluster.world import World
from controlplane.ports import Clock, KafkaAdmin, KafkaAdmins, KafkaUnreachableError, KubeApi, NotFoundError
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import PODS, bootstrap, observe_world


class CellGoneError(Exception):
    """There is no KafkaCluster of that name any more, and none of its brokers."""


class Cells:
    """A cell is `namespace/name` of its KafkaCluster."""

    def __init__(self, kube: KubeApi, admins: KafkaAdmins, clock: Clock) -> None:
        self._kube, self._admins, self._clock = kube, admins, clock

    async def cluster(self, cell: str) -> KafkaCluster:
        """Raises CellGoneError, KubeError; pydantic.ValidationError for a spec that an older CRD let in."""
        namespace, _, name = cell.partition("/")
        try:
            return KafkaCluster.model_validate(await self._kube.get(KAFKA_CLUSTERS, name, namespace))
        except NotFoundError:
            raise CellGoneError(cell) from None

    async def observe(self, cluster: KafkaCluster) -> World:
        return await observe_world(self._kube, self._admins, self._clock, cluster)

    async def admin(self, cell: str) -> KafkaAdmin:
        """Of the brokers whose pods have addresses, as the cluster's own passes use it.

        Raises CellGoneError, KubeError, KafkaUnreachableError.
        """
        namespace, _, name = cell.partition("/")
        ours = f"{names.CLUSTER}={name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        servers = bootstrap(observe_nodes(await self._kube.list(PODS, namespace, labels=ours), ()))
        if not servers:
            await self.cluster(cell)
            raise KafkaUnreachableError(f"no broker of {cell} has an address")
        return self._admins.get(cell, servers)
