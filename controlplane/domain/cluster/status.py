"""status of a KafkaCluster from what was observed and decided. Pure: equal input makes an equal status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.access import BrokerAddress, CertificateStatus, Listener, ListenerStatus
from controlplane.api.kafka_cluster import KafkaClusterStatus, NodeStatus, Replacement, RolledBack
from controlplane.api.operation import Operation
from controlplane.domain import versions
from controlplane.domain.check import Check, explain
from controlplane.domain.cluster import access_checks, drain, entrances, growth, naming, setup
from controlplane.domain.cluster.layout import Layout
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation

MESSAGE_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the pass decided: `refused` are failed spec checks, `blocked` failed checks of the roll, `rolled_back` the
    upgrade that the cluster is kept from, `replacement` the request for a node that is met with this pass, `lacking`
    failed checks of what keeps clients outside from being told where brokers are."""

    refused: tuple[Check, ...] = ()
    blocked: tuple[Check, ...] = ()
    lacking: tuple[Check, ...] = ()
    pending: tuple[str, ...] = ()
    operation: Operation | None = None
    last_operation: Operation | None = None
    rolled_back: RolledBack | None = None
    replacement: Replacement | None = None


def cluster_status(
    world: World, layout: Layout, verdict: Verdict, *, addressing: Literal["PodIP", "DNS"], now: float
) -> KafkaClusterStatus:
    cluster, observation = world.cluster, world.observation
    old = cluster.status
    nodes = tuple(_node(node, world) for node in observation.nodes)
    ways = _ways_in(world, layout, addressing)
    bootstrap = tuple(servers[0] for _, servers in ways if servers)
    kafka = observation.kafka
    level = kafka.features.get("metadata.version") if kafka else None
    running = {node.pod.version for node in observation.nodes if node.pod}
    conditions: Sequence[c.Condition] = old.conditions
    for kind, (status, reason, message) in _conditions(world, layout, verdict, nodes, bootstrap).items():
        conditions = c.set_condition(
            conditions,
            kind,
            status,
            reason,
            message[: c.MESSAGE_LIMIT],
            observed_generation=cluster.metadata.generation,
            now=now,
        )
    return KafkaClusterStatus(
        conditions=tuple(conditions),
        observed_generation=cluster.metadata.generation,
        cluster_id=layout.cluster_id if observation.nodes else old.cluster_id,
        version=running.pop() if len(running) == 1 else old.version,
        metadata_version=versions.level_name(level) if level is not None else old.metadata_version,
        bootstrap_servers=bootstrap or old.bootstrap_servers,
        listeners=_listeners(world, ways) or old.listeners,
        certificates=_certificates(world),
        when_no_acl=access_checks.when_no_acl(world),
        nodes=nodes,
        last_handled_reconcile_at=cluster.metadata.annotations.get(names.RECONCILE_AT, "")[:64] or None,
        dynamic_config=_claimed(world, layout) if kafka and not verdict.refused else old.dynamic_config,
        operation=verdict.operation,
        last_operation=verdict.last_operation or old.last_operation,
        rolled_back=verdict.rolled_back,
        replacement=verdict.replacement or _met(world),
        load_shedding=old.load_shedding,
    )


def _met(world: World) -> Replacement | None:
    """The request that was met before, while it stands."""
    met, text = world.cluster.status.replacement, world.cluster.metadata.annotations.get(names.REPLACE_NODE)
    return met if met is not None and met.request == text else None


def _claimed(world: World, layout: Layout) -> tuple[str, ...]:
    """Cluster-wide settings that are ours: claimed here a pass before they are set, and until they are gone."""
    kafka = world.observation.kafka
    still = {key for key in world.cluster.status.dynamic_config if kafka and key in kafka.dynamic_config}
    return tuple(sorted({*setup.desired_dynamic(world, layout), *still}))


Entry = tuple[bool, str, str]


def _conditions(
    world: World, layout: Layout, verdict: Verdict, nodes: Sequence[NodeStatus], bootstrap: Sequence[str]
) -> dict[str, Entry]:
    operation = verdict.operation
    ready = _ready(world, layout, verdict, nodes, bootstrap)
    certificates = (*access_checks.problems(world), *access_checks.awaited(world))
    blocked = (*verdict.refused, *_disks(nodes), *verdict.blocked)
    record = verdict.rolled_back
    helpless = bool(blocked) or ready[1] == "RolledBack"
    entries = {
        c.READY: ready,
        c.AVAILABLE: _available(world),
        c.ROLLING_OUT: (True, "RollInProgress", f"{operation.goal}: {operation.message}".rstrip(": "))
        if operation
        else (False, "NothingToRoll", ""),
        c.BLOCKED: (True, blocked[0].name, explain(blocked)) if blocked else (False, "NotBlocked", ""),
        c.RECONCILING: (not ready[0] and not helpless, ready[1], ready[2]),
        c.STALLED: (helpless, ready[1], ready[2] if helpless else ""),
    }
    if record is not None:
        entries[c.ROLLED_BACK] = (True, record.reason, _rolled_back(world, record))
    elif c.find_condition(world.cluster.status.conditions, c.ROLLED_BACK) is not None:
        entries[c.ROLLED_BACK] = (False, "NotRolledBack", "")
    if certificates:
        entries[c.CERTIFICATES] = (False, certificates[0].name, explain(certificates))
    elif world.access is not None and access_checks.in_use(world):
        entries[c.CERTIFICATES] = (True, "CertificatesValid", "")
    said = c.find_condition(world.cluster.status.conditions, c.DRAINABLE)
    if hindrances := drain.hindrances(world):
        entries[c.DRAINABLE] = (False, hindrances[0].name, explain(hindrances))
    elif said is not None and operation is None and world.observation.kafka and world.observation.quorum:
        entries[c.DRAINABLE] = (True, "OneNodeMayGo", "")
    return entries


def _ready(
    world: World, layout: Layout, verdict: Verdict, nodes: Sequence[NodeStatus], bootstrap: Sequence[str]
) -> Entry:
    if verdict.refused:
        return False, verdict.refused[0].name, explain(verdict.refused)
    if disks := _disks(nodes):
        return False, disks[0].name, explain(disks)
    broken = [node for node in nodes if node.message]
    if held := verdict.blocked or verdict.lacking:
        return False, held[0].name, explain(held)
    if broken:
        return False, broken[0].state, "; ".join(f"node {node.id}: {node.message}" for node in broken)
    if verdict.operation:
        return False, "RollInProgress", verdict.operation.message
    waiting = [node for node in nodes if not node.ready]
    if len(nodes) < len(layout.nodes) or waiting:
        wrong = access_checks.problems(world)
        missing = f"{len(layout.nodes) - len(nodes) + len(waiting)} of {len(layout.nodes)} nodes."
        return (False, wrong[0].name, explain(wrong)) if wrong else (False, "NodesStarting", missing)
    if not bootstrap:
        return False, "Registering", "Waiting for every node to register for the first time."
    if verdict.pending:
        return False, "Applying", "; ".join(verdict.pending)
    if verdict.rolled_back:
        return False, "RolledBack", _rolled_back(world, verdict.rolled_back)
    lacking = access_checks.held_back(world) or growth.unfinished(world.observation.nodes)
    return (False, lacking[0].name, explain(lacking)) if lacking else (True, "AsDeclared", "")


def _rolled_back(world: World, record: RolledBack) -> str:
    """What happened, and what to do about it."""
    return (
        f"Kafka {world.cluster.spec.version} was rolled back to {record.version} and is not tried again. "
        f"{record.evidence} Set spec.version to {record.version}, change the spec so that it asks for something else, "
        "or try the same again with a new spec.rollout.retryToken."
    )


def _disks(nodes: Sequence[NodeStatus]) -> tuple[Check, ...]:
    """Nodes whose init container would not format or use a log dir: the reason comes before all its consequences."""
    return tuple(
        Check(
            node.state,
            ok=False,
            evidence=f"Node {node.id}: {(node.message or '').strip()}.",
            remedy="It is never formatted by itself; put the right volume back, then delete the node's pod."
            + (f" If it is lost for good: {REPLACE} {node.id}." if node.state == REFUSALS[0] else ""),
        )
        for node in nodes
        if node.state in REFUSALS
    )


def _available(world: World) -> Entry:
    kafka = world.observation.kafka
    if kafka is None or not kafka.brokers:
        return False, "NoBrokerAnswers", "No broker answers on its replication listener."
    offline = [p for p in kafka.partitions if p.leader is None]
    if offline:
        return False, "PartitionsOffline", f"{len(offline)} partitions have no leader, such as {offline[0].id}."
    under = [p for p in kafka.partitions if len(p.isr) < min(p.min_isr, len(p.replicas))]
    if under:
        return False, "UnderMinIsr", f"{len(under)} partitions are below min ISR, such as {under[0].id}."
    return True, "Serving", ""


def _node(node: NodeObservation, world: World) -> NodeStatus:
    state, message = _state(node)
    return NodeStatus(
        id=node.id,
        pool=node.pool,
        roles=tuple(sorted(node.roles)),
        rack=world.zones.get(node.id),
        version=node.pod.version if node.pod else None,
        ready=bool(node.pod and node.pod.ready and not node.pod.terminating),
        state=state,
        message=message[:MESSAGE_LIMIT] if message else None,
    )


CRASH_STATES = frozenset({"CrashLoopBackOff", "Error", "RunContainerError"})
CANNOT_START = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"})
REPLACE = "kfleet cluster replace-node NAME"
REFUSALS = ("DiskLost", "ForeignLogDir")
"""How the init container begins its last words when it will not format; see images/kafka/bin/kafka-node-format."""


def _state(node: NodeObservation) -> tuple[str, str | None]:
    pod = node.pod
    if pod is None:
        return "Stopped", None
    if pod.terminating:
        return "Stopping", None
    if pod.ready:
        return "Running", None
    for refusal in REFUSALS:
        if (pod.format_message or "").startswith(refusal):
            return refusal, pod.format_message
    if pod.waiting_reason in CANNOT_START or pod.waiting_reason in CRASH_STATES or pod.restarts:
        return pod.waiting_reason or "Crashed", pod.waiting_message or f"restarted {pod.restarts} times"
    if not pod.scheduled:
        return "Pending", pod.waiting_message
    return "Starting", None


def _listeners(world: World, ways: Sequence[tuple[Listener, tuple[str, ...]]]) -> tuple[ListenerStatus, ...]:
    """What a broker tells clients is what it was started with."""
    own = naming.cluster_ca(world.cluster.metadata.name)
    found = []
    for item, servers in ways:
        given = item.certificate_secret_ref
        authority = (given.name if given is not None else own) if item.tls else None
        brokers = [
            BrokerAddress(id=node.id, address=str(told))
            for node in world.observation.nodes
            if (told := entrances.told(world, item, node))
        ]
        found.append(
            ListenerStatus(
                name=item.name,
                bootstrap_servers=servers,
                ca_secret=authority,
                brokers=tuple(brokers) if item.is_external else None,
            )
        )
    return tuple(found)


def _certificates(world: World) -> tuple[CertificateStatus, ...]:
    found = sorted(access_checks.in_use(world).items())
    return tuple(CertificateStatus(name=name, not_after=c.timestamp(one.not_after)) for name, one in found)


def _ways_in(
    world: World, layout: Layout, addressing: Literal["PodIP", "DNS"]
) -> tuple[tuple[Listener, tuple[str, ...]], ...]:
    """Where clients of each listener begin, in the spec's order; only once every declared node carries both marks on
    all its volumes. Empty for a listener for clients outside that has no address yet."""
    by_id = {node.id: node for node in world.observation.nodes}
    for wanted in layout.nodes:
        node = by_id.get(wanted.id)
        if node is None or setup.missing_volumes(node, wanted):
            return ()
        declared = {volume.volume_id for volume in wanted.volumes}
        mounted = [volume for volume in node.volumes if volume.volume_id in declared]
        if any(volume.identity is None or volume.formatted is None for volume in mounted):
            return ()
    found: list[tuple[Listener, tuple[str, ...]]] = []
    for item in world.cluster.spec.listeners:
        name = naming.listener_service(world.cluster.metadata.name, item.name)
        if name not in world.services:
            return ()
        found.append((item, entrances.begin(world, item, by_name=addressing == "DNS")))
    return tuple(found)
