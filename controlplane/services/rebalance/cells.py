"""The clusters that rebalances work on: their objects, what is observed of them, and an admin of their brokers."""

from __future__ import annotations

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster.observe import capacities, observe_nodes
from controlplane.domain.cluster.world import World
from controlplane.domain.rebalance.bounds import Bounds
from controlplane.domain.tenants.directory import Cell
from controlplane.ports import Clock, KafkaAdmin, KafkaAdmins, KafkaUnreachableError, KubeApi, NotFoundError
from controlplane.services.access.way import plaintext, way_to
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import CLAIMS, PODS, observe_world
from controlplane.services.tenants.read import read_directory


class CellGoneError(Exception):
    """There is no KafkaCluster of that name any more, and none of its brokers."""


class Cells:
    """A cell is `namespace/name` of its KafkaCluster. `by_name`: nodes are reached by name (addressing DNS)."""

    def __init__(self, kube: KubeApi, admins: KafkaAdmins, clock: Clock, *, by_name: bool = False) -> None:
        self._kube, self._admins, self._clock, self._by_name = kube, admins, clock, by_name

    async def cluster(self, cell: str) -> KafkaCluster:
        """Raises CellGoneError, KubeError; pydantic.ValidationError for a spec that an older CRD let in."""
        namespace, _, name = cell.partition("/")
        try:
            return KafkaCluster.model_validate(await self._kube.get(KAFKA_CLUSTERS, name, namespace))
        except NotFoundError:
            raise CellGoneError(cell) from None

    async def observe(self, cluster: KafkaCluster) -> World:
        return await observe_world(self._kube, self._admins, self._clock, cluster, by_name=self._by_name)

    async def bounds(self, cell: str) -> Bounds:
        """Raises KubeError."""
        namespace, _, name = cell.partition("/")
        return Bounds(await read_directory(self._kube), Cell(namespace, name))

    async def capacities(self, cell: str) -> dict[int, int]:
        """Bytes of each broker's volumes, where all of them are known. Raises KubeError."""
        namespace, _, name = cell.partition("/")
        ours = f"{names.CLUSTER}={name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        pods = await self._kube.list(PODS, namespace, labels=ours)
        return capacities(observe_nodes(pods, await self._kube.list(CLAIMS, namespace, labels=ours)))

    async def admin(self, cell: str) -> KafkaAdmin:
        """Of the brokers whose pods have addresses, as the cluster's own passes use it.

        Brokers that outlive their KafkaCluster can be asked in plaintext only. Raises CellGoneError, KubeError,
        KafkaUnreachableError.
        """
        namespace, _, name = cell.partition("/")
        ours = f"{names.CLUSTER}={name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        nodes = observe_nodes(await self._kube.list(PODS, namespace, labels=ours), ())
        try:
            way = await way_to(self._kube, await self.cluster(cell), by_name=self._by_name)
        except CellGoneError:
            if not (left := plaintext(nodes)):
                raise
            return self._admins.get(cell, left)
        servers = way.bootstrap(nodes)
        if not servers:
            raise KafkaUnreachableError(f"no broker of {cell} has an address")
        if way.refused is not None:
            raise KafkaUnreachableError(way.refusal)
        if not way.is_open:
            raise KafkaUnreachableError(f"there is no certificate to ask the brokers of {cell} with")
        return self._admins.get(cell, servers, way.tls)
