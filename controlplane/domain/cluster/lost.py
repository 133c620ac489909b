"""Claims that nodes were started with and that are gone or going, while a person has one node replaced. Pure.

Without a request every such claim refuses the spec. While one stands, its node is what the change of members is about,
and the others are set aside: they stay members under their ids, and no volume and no pod is made for them.
"""

from __future__ import annotations

from controlplane.api.kafka_cluster import NodePool
from controlplane.domain.check import Check
from controlplane.domain.cluster import manifests, naming
from controlplane.domain.cluster.layout import Layout, Lost
from controlplane.domain.cluster.reasons import last_template
from controlplane.domain.cluster.world import World
from controlplane.domain.membership.brokers import would_lose_data
from controlplane.domain.observation import NodeObservation
from controlplane.domain.rolling import health


def without_volumes(world: World) -> tuple[Lost, ...]:
    """The node to be replaced, if it has no claim left, then others that Kafka knows and that have none: of those whose
    pool is known. () without a request for a node that exists."""
    request = world.replacement
    whole = {node.id for node in world.observation.nodes if node.volumes}
    if request is None or request.node is None or (world.lost is None and request.node not in whole):
        return ()
    others = sorted(world.known_ids - whole - world.retired - {request.node})
    traced = (world.trace(node_id) for node_id in others)
    return (*((world.lost,) if world.lost is not None else ()), *(found for found in traced if found is not None))


def lost_claims(world: World, node: NodeObservation) -> frozenset[int]:
    """Volumes of a node with claims: those being deleted, and declared ones that it was started with and that are gone.

    What a node was started with is in its ConfigMap; when that is gone too every declared volume counts. A node of
    which nothing is formatted has nothing to lose.
    """
    going = frozenset(volume.volume_id for volume in node.volumes if volume.terminating)
    pool = next((pool for pool in world.cluster.spec.node_pools if pool.name == node.pool), None)
    if pool is None or not any(volume.formatted for volume in node.volumes):
        return going
    template = last_template(world, node.pool, node.id)
    mounted = manifests.claims_of(template) if template is not None else None
    present = {volume.volume_id for volume in node.volumes}
    cluster = world.cluster.metadata.name
    gone = {
        volume.id
        for volume in pool.storage.volumes
        if volume.id not in present
        and (mounted is None or naming.volume(cluster, node.pool, node.id, volume.id) in mounted)
    }
    return going | gone


def beyond(world: World, node_id: int) -> NodePool | None:
    """The pool of a node without claims, if others make up its number of replicas: who leaves is told by claims."""
    traced = world.trace(node_id)
    pool = next((pool for pool in world.cluster.spec.node_pools if traced and pool.name == traced.pool), None)
    if pool is None:
        return None
    whole = [node for node in world.observation.nodes if node.pool == pool.name and node.volumes]
    return pool if len(whole) >= pool.replicas else None


def excused(world: World, layout: Layout) -> frozenset[int]:
    """Members whose lost claims do not refuse the spec now.

    A roll may stop any of them, and the last of what is on a claim goes with its pod: so none that serves, none with a
    claim that a pod still keeps from going, unless that is what was asked for and the data is elsewhere.
    """
    request = world.replacement
    members = {node.id for node in layout.nodes}
    if request is None or request.node not in members:
        return frozenset()
    found = {one.id for one in without_volumes(world)}
    for node in world.observation.nodes:
        asked = node.id == request.node
        if node.volumes and lost_claims(world, node) and _may_go(world, node, asked=asked):
            found.add(node.id)
        elif health.is_ready(node) and not asked:
            found.discard(node.id)
    return frozenset(members & found)


def _may_go(world: World, node: NodeObservation, *, asked: bool) -> bool:
    if node.pod is None or not any(volume.terminating for volume in node.volumes):
        return not health.is_ready(node)
    return asked and not health.is_ready(node) and not kept(world, node)


def kept(world: World, node: NodeObservation) -> tuple[Check, ...]:
    """Why a node's data must not go with its claims; () if all of it is elsewhere."""
    kafka = world.observation.kafka
    if kafka is None:
        return (health.unreachable(world.observation),)
    return would_lose_data(kafka, node.id) if node.is_broker else ()


def set_aside(world: World, layout: Layout) -> frozenset[int]:
    """The excused that nobody has asked to replace yet."""
    request = world.replacement
    return excused(world, layout) - ({request.node} if request is not None else set())


def requested(world: World) -> frozenset[int]:
    """The lost volumes of the node to be replaced; empty when it has none at all."""
    request = world.replacement
    node = world.observation.node(request.node) if request is not None and request.node is not None else None
    return lost_claims(world, node) if node is not None and node.volumes else frozenset()
