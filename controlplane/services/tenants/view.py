"""What tenants are planned from: one cell as it is. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.check import Check
from controlplane.domain.cluster.layout import Layout, lay_out
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import KafkaObservation
from controlplane.domain.placement.values import Broker, Fleet
from controlplane.domain.tenants.directory import Cell
from controlplane.domain.tenants.values import CellView
from controlplane.ports import KafkaError, KubeApi, Object
from controlplane.services.rebalance.cells import CellGoneError, Cells
from controlplane.services.tenants.moves import move_of, read_moves


@dataclass(frozen=True)
class Seen:
    """A cluster that answers."""

    cluster: KafkaCluster
    view: CellView
    moves: tuple[Object, ...]
    """The KafkaRebalances that `view.moves` was read from."""


async def look(kube: KubeApi, cells: Cells, cell: Cell, refused: Mapping[str, str], *, weigh: bool) -> Seen | Check:
    """Or why nothing can be said of it at the moment. `weigh` asks for sizes too. Raises KubeError.

    Moves are read first: one that is done by then has left its replicas where the observation shows them.
    """
    try:
        cluster = await cells.cluster(str(cell))
    except CellGoneError:
        return Check(
            "ClusterNotFound",
            ok=False,
            evidence=f"spec.cells: there is no KafkaCluster {cell.name!r} in namespace {cell.namespace!r}.",
            remedy="Name one that is there.",
        )
    moves = await read_moves(kube, cell)
    world = await cells.observe(cluster)
    kafka = world.observation.kafka
    if kafka is None:
        return Check("ClusterNotReady", ok=False, evidence=f"KafkaCluster {cell} does not answer yet.")
    try:
        admin = await cells.admin(str(cell))
        registered = await admin.registered_brokers()
        sizes = await admin.partition_sizes() if weigh else None
    except KafkaError as error:
        return Check("KafkaUnavailable", ok=False, evidence=error.message)
    fleet, down = fleet_of(world, kafka, registered)
    if fleet is None:
        return Check("ClusterNotReady", ok=False, evidence=f"KafkaCluster {cell} has no broker yet.")
    by_name = {obj["metadata"]["name"]: move_of(obj) for obj in moves}
    return Seen(cluster, CellView(cell, fleet, down, kafka.partitions, sizes, by_name, refused), moves)


def fleet_of(
    world: World, kafka: KafkaObservation, registered: frozenset[int] | None
) -> tuple[Fleet | None, frozenset[int]]:
    """(Brokers that are declared and that Kafka knows, those of them that do not serve). Before Kafka 4.0 no broker
    says who is known: those that have a volume are."""
    layout = lay_out(world.cluster, world.observation.nodes, world.zones, formed=True)
    known = registered if registered is not None else frozenset(node.id for node in layout.brokers if node.exists)
    members = brokers_of(layout, known)
    serving = {broker.id for broker in kafka.brokers}
    down = frozenset(broker.id for broker in members if broker.id not in serving)
    return (Fleet(members) if members else None), down


def brokers_of(layout: Layout, known: frozenset[int]) -> tuple[Broker, ...]:
    """Zones count only if every broker has one: otherwise nothing can be said about spreading."""
    nodes = [node for node in layout.brokers if node.id in known]
    zoned = all(node.zone for node in nodes)
    return tuple(Broker(node.id, (node.zone or "") if zoned else "") for node in nodes)
