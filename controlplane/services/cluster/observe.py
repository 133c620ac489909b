"""Observe one cluster: its objects in Kubernetes and what its brokers answer. Reads only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from controlplane.api import names
from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_user import KIND, PLURAL, KafkaUser
from controlplane.api.tenant_ref import CELL_PATH
from controlplane.domain.access.enrolment import not_enrolled
from controlplane.domain.access.values import Access
from controlplane.domain.check import Check
from controlplane.domain.cluster import addresses, growth, users
from controlplane.domain.cluster.access import epochs
from controlplane.domain.cluster.access_checks import stages
from controlplane.domain.cluster.layout import lay_out
from controlplane.domain.cluster.observe import observe_nodes, of_running_processes
from controlplane.domain.cluster.places import stay
from controlplane.domain.cluster.world import UserState, World, is_retired, node_id_of, retired_ids, zone_of
from controlplane.domain.observation import (
    ClusterObservation,
    KafkaObservation,
    NodeObservation,
    QuorumObservation,
    Stay,
)
from controlplane.domain.rebalance.asked import AskedMove
from controlplane.domain.rolling import safety
from controlplane.ports import (
    Clock,
    ForbiddenError,
    KafkaAdmins,
    KafkaError,
    KubeApi,
    NotFoundError,
    Object,
    Resource,
)
from controlplane.services.access.observe import Certificates, observe_access
from controlplane.services.access.way import Way, way_to
from controlplane.services.cluster.moves import read_moves
from controlplane.services.tenants.read import read_directory

log = logging.getLogger(__name__)

PODS = Resource("", "v1", "pods", "Pod")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICES = Resource("", "v1", "services", "Service")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
MACHINES = Resource("", "v1", "nodes", "Node", namespaced=False)
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
STORAGE_CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
KAFKA_USERS = Resource(GROUP, VERSION, PLURAL, KIND)
CORDONED = "spec.unschedulable=true"


async def observe_world(
    kube: KubeApi,
    admins: KafkaAdmins,
    clock: Clock,
    cluster: KafkaCluster,
    *,
    certificates: Certificates | None = None,
    by_name: bool = False,
) -> World:
    """One World. A cluster whose brokers do not answer has `kafka` and `quorum` None; raises KubeError.

    `certificates` is what looking at them takes, which only the operator may: without it nothing is known of them, but
    for the operator's own where this account may read it. `by_name` says then how brokers are reached.
    """
    meta = cluster.metadata
    ours = f"{names.CLUSTER}={meta.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
    pods, claims, services, config_maps, budgets, cordoned = await asyncio.gather(
        kube.list(PODS, meta.namespace, labels=ours),
        kube.list(CLAIMS, meta.namespace, labels=ours),
        kube.list(SERVICES, meta.namespace, labels=ours),
        kube.list(CONFIG_MAPS, meta.namespace, labels=ours),
        kube.list(DISRUPTION_BUDGETS, meta.namespace, labels=ours),
        _cordoned(kube),
    )
    retired, marked = retired_ids(claims), frozenset(c["metadata"]["name"] for c in claims if is_retired(c))
    claims = [claim for claim in claims if node_id_of(claim) not in retired]
    nodes = observe_nodes(pods, claims, await _stays(kube, pods, claims, cordoned))
    maps = {item["metadata"]["name"]: item.get("data") or {} for item in config_maps}
    # Before the brokers are asked: one that is over by now has left its replicas where they are seen.
    zones = dict(zone for claim in claims if (zone := zone_of(claim)))
    leaving = bool(lay_out(cluster, nodes, zones, formed=True).leaving)
    moves = await _moves(kube, cluster, leaving=leaving, strict=certificates is not None)
    world = World(
        cluster=cluster,
        observation=ClusterObservation(
            as_of=clock.now(),
            namespace=meta.namespace,
            name=meta.name,
            nodes=nodes,
            quorum=None,
            kafka=None,
            cordoned=_of_the_cluster(cordoned, nodes),
        ),
        services={service["metadata"]["name"]: service for service in services},
        config_maps=maps,
        disruption_budget=next((budget["spec"].get("minAvailable", -1) for budget in budgets), None),
        zones=zones,
        storage_classes=await _storage_classes(kube, growth.classes(cluster, nodes)),
        stuck=await _stuck(kube, nodes),
        machines=await _addresses(kube, addresses.machines(cluster, nodes, maps)),
        retired=retired,
        retired_claims=marked,
        moves=moves,
    )
    access, unenrolled = await _access(kube, certificates, world)
    if unenrolled is not None:
        way = Way(cluster, None, by_name, refused=unenrolled)
    elif access is not None:
        way = Way(cluster, access.client, access.by_name)
    else:
        way = await way_to(kube, cluster, by_name=by_name)
    kafka, quorum = await _observe_kafka(admins, cluster, nodes, way)
    world = replace(
        world,
        observation=replace(world.observation, as_of=clock.now(), quorum=quorum, kafka=kafka),
        certificates=epochs(nodes, access) if access is not None else {},
        access=access,
        unenrolled=unenrolled,
    )
    return replace(world, users=await _users(kube, world), owners=await _owners(kube, cluster, kafka))


async def _moves(kube: KubeApi, cluster: KafkaCluster, *, leaving: bool, strict: bool) -> tuple[AskedMove, ...]:
    """None for a person who may not list KafkaRebalances, or where there is no such kind (`kfleet cluster plan`); the
    operator (`strict`) never goes on without them."""
    try:
        return await read_moves(kube, cluster, leaving=leaving)
    except (ForbiddenError, NotFoundError):
        if strict:
            raise
        return ()


async def _owners(kube: KubeApi, cluster: KafkaCluster, kafka: KafkaObservation | None) -> dict[str, str]:
    """As their tenants say: team and contact. Empty for whoever may not list tenants."""
    if kafka is None or cluster.status.operation is None:
        return {}
    topics = {partition.topic for partition in kafka.partitions if safety.is_unprotected(partition)}
    try:
        tenants = await read_directory(kube) if topics else None
    except (NotFoundError, ForbiddenError):
        return {}
    owned = {topic: tenant.spec.owner for topic in topics if tenants and (tenant := tenants.of_topic(topic))}
    return {topic: f"{one.team} ({one.contact})" if one.contact else one.team for topic, one in owned.items()}


async def _access(kube: KubeApi, certificates: Certificates | None, world: World) -> tuple[Access | None, Check | None]:
    """(what is known of certificates, why nothing may be known of them)."""
    if certificates is None:
        return None, None
    try:
        return await observe_access(kube, certificates, world), None
    except ForbiddenError as error:
        return None, not_enrolled(world.cluster.metadata.namespace, error.message)


async def _users(kube: KubeApi, world: World) -> tuple[UserState, ...]:
    """Read only while something is decided by them. None for a person who may not list them (`kfleet cluster plan`);
    the operator, which looks at certificates, never goes on without them.

    Those of the cluster's tenants are among them, with their namespace before the name.
    """
    meta = world.cluster.metadata
    if not users.matter(world.cluster, world.access, stages(world)):
        return ()
    try:
        own = await kube.list(KAFKA_USERS, meta.namespace)
        given = await kube.list(KAFKA_USERS, fields=f"{CELL_PATH[1:]}={meta.namespace}/{meta.name}")
    except ForbiddenError:
        if world.access is not None:
            raise
        return ()
    named = [obj for obj in own if (obj["spec"].get("clusterRef") or {}).get("name") == meta.name]
    found = []
    for obj in (*named, *(obj for obj in given if "clusterRef" not in obj["spec"])):
        try:
            found.append(users.state_of(KafkaUser.model_validate(obj), world.cluster))
        except ValidationError:
            log.warning("KafkaUser %s/%s cannot be read", obj["metadata"]["namespace"], obj["metadata"]["name"])
    return tuple(sorted(found, key=lambda user: user.name))


async def _cordoned(kube: KubeApi) -> Sequence[Object]:
    """Kubernetes nodes that take no new pods: few, so one small list however many nodes there are.

    Empty for whoever may not list nodes (a user of `kfleet cluster plan`): then no drain is seen, and nothing else.
    """
    try:
        return await kube.list(MACHINES, fields=CORDONED, cached=True)
    except ForbiddenError:
        return ()


async def _addresses(kube: KubeApi, machines: Iterable[str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Addresses of Kubernetes nodes, one by one: those of a cluster are few among many, and their objects large.

    Empty for whoever may not list nodes.
    """
    try:
        found = await asyncio.gather(*(_machine(kube, name) for name in sorted(machines)))
    except ForbiddenError:
        return {}
    return {
        machine["metadata"]["name"]: tuple((one["type"], one["address"]) for one in addresses)
        for machine in found
        if machine is not None and (addresses := (machine.get("status") or {}).get("addresses"))
    }


async def _machine(kube: KubeApi, name: str) -> Object | None:
    return next(iter(await kube.list(MACHINES, fields=f"metadata.name={name}", cached=True)), None)


async def _stays(
    kube: KubeApi, pods: Sequence[Object], claims: Sequence[Object], cordoned: Sequence[Object]
) -> Mapping[str, Stay]:
    """Why pods cannot leave a cordoned machine, or find none, by pod. Nothing is asked while no pod is in question."""
    closed = {machine["metadata"]["name"] for machine in cordoned}
    affected = [pod for pod in pods if cordoned and pod.get("spec", {}).get("nodeName") in (None, "", *closed)]
    if not affected:
        return {}
    mounted = {pod["metadata"]["name"]: _mounted(pod, claims) for pod in affected}
    names = sorted({name for volumes in mounted.values() for name in volumes.values()})
    machines = await kube.list(MACHINES, cached=True)
    found = await asyncio.gather(*(_volume(kube, name) for name in names))
    volumes = dict(zip(names, found, strict=True))
    stays = {}
    for pod in affected:
        of_claims = {claim: volumes[name] for claim, name in mounted[pod["metadata"]["name"]].items()}
        if why := stay(pod, of_claims, machines):
            stays[pod["metadata"]["name"]] = why
    return stays


def _mounted(pod: Object, claims: Sequence[Object]) -> dict[str, str]:
    """PersistentVolumes of a pod by claim; claims that none stands behind yet are left out."""
    wanted = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.get("spec", {}).get("volumes") or []
        if "persistentVolumeClaim" in volume
    }
    bound = {claim["metadata"]["name"]: claim["spec"].get("volumeName") for claim in claims}
    return {claim: name for claim in wanted if (name := bound.get(claim))}


async def _volume(kube: KubeApi, name: str) -> Object | None:
    """None for a volume that may not be read, or is not there: where its data is cannot be known then."""
    try:
        return await kube.get(VOLUMES, name)
    except (NotFoundError, ForbiddenError):
        return None


def _of_the_cluster(cordoned: Sequence[Object], nodes: tuple[NodeObservation, ...]) -> tuple[str, ...]:
    mine = {node.pod.machine for node in nodes if node.pod}
    mine |= {machine for node in nodes if node.stay for machine in node.stay.machines}
    return tuple(sorted(name for machine in cordoned if (name := machine["metadata"]["name"]) in mine))


async def _stuck(kube: KubeApi, nodes: tuple[NodeObservation, ...]) -> frozenset[str]:
    """Asked only where a node that has data has a claim that is not bound; a class that may not be read is left out."""
    added = [volume for node in nodes if any(v.formatted for v in node.volumes) for volume in node.volumes]
    found = set()
    for name in sorted({volume.storage_class for volume in added if not volume.bound and volume.storage_class}):
        try:
            if (await kube.get(STORAGE_CLASSES, name)).get("volumeBindingMode") != "WaitForFirstConsumer":
                found.add(name)
        except NotFoundError:
            found.add(name)
        except ForbiddenError:
            continue
    return frozenset(found)


async def _storage_classes(kube: KubeApi, wanted: frozenset[str]) -> dict[str, bool]:
    """Whether volumes of these classes can be expanded; those that we may not read are left out."""
    found: dict[str, bool] = {}
    for name in sorted(wanted):
        try:
            found[name] = bool((await kube.get(STORAGE_CLASSES, name)).get("allowVolumeExpansion"))
        except NotFoundError:
            found[name] = False
        except ForbiddenError:
            continue
    return found


async def _observe_kafka(
    admins: KafkaAdmins, cluster: KafkaCluster, nodes: tuple[NodeObservation, ...], way: Way
) -> tuple[KafkaObservation | None, QuorumObservation | None]:
    """Not even tried before some broker's pod is ready: until then nothing can answer."""
    if not any(node.is_broker and node.pod and node.pod.ready for node in nodes):
        return None, None
    meta = cluster.metadata
    if not way.is_open:
        log.info("%s/%s: no certificate to ask its brokers with", meta.namespace, meta.name)
        return None, None
    try:
        admin = admins.get(f"{meta.namespace}/{meta.name}", way.bootstrap(nodes), way.tls)
        kafka, quorum = await admin.observe()
    except KafkaError as error:
        log.info("%s/%s: no observation of Kafka: %s", meta.namespace, meta.name, error.message)
        return None, None
    return kafka, of_running_processes(quorum, nodes)
