"""The steps that bring a cluster's objects into being, apart from the roll: each idempotent, none disruptive.

A pass carries out all of them in order and observes again. Their order is the crash safety: a volume carries its
identity before any pod may use it, the list of first voters is published once and never changed, and a pod is made
from marks that were read, never from memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controlplane.api import names
from controlplane.api.owned_config import config_texts
from controlplane.domain.access.values import FIRST_EPOCH
from controlplane.domain.cluster import dynamic, external, growth, lost, manifests, properties, services
from controlplane.domain.cluster.access import (
    AccessStep,
    DropAuthority,
    IssueCertificate,
    MakeAuthority,
    NoteLoaded,
    PrepareAuthority,
    PromoteAuthority,
    PublishAuthority,
    ReloadCertificates,
    RequireRestart,
    access_steps,
)
from controlplane.domain.cluster.clients import CreateCanaryTopic, DeleteCanaryTopic, canary_steps
from controlplane.domain.cluster.external import ApplyAdvertised, RemoveService
from controlplane.domain.cluster.layout import Layout, NodeLayout
from controlplane.domain.cluster.manifests import Manifest, Placement
from controlplane.domain.cluster.moves import DropMove, RequestMove
from controlplane.domain.cluster.reasons import last_template
from controlplane.domain.cluster.world import World
from controlplane.domain.membership.brokers import living_on
from controlplane.domain.observation import NodeObservation


@dataclass(frozen=True, slots=True)
class CreateVolume:
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class GrowVolume:
    """Ask for a larger size (a quantity), which is never taken back; nothing restarts."""

    claim: str
    uid: str
    size: str


@dataclass(frozen=True, slots=True)
class ApplyService:
    """`ours`: it was found with our labels; otherwise one of that name must not be there at all. `field` is the path of
    what in the spec it is made from."""

    manifest: Manifest
    ours: bool
    field: str = ""


@dataclass(frozen=True, slots=True)
class ApplyPeers:
    manifest: Manifest
    ours: bool


@dataclass(frozen=True, slots=True)
class ApplyDisruptionBudget:
    manifest: Manifest
    ours: bool


@dataclass(frozen=True, slots=True)
class MarkFormatted:
    """Write the directory id that the node's init container read back from meta.properties."""

    claim: str
    uid: str
    directory_id: str


@dataclass(frozen=True, slots=True)
class StartPod:
    """Apply the node's ConfigMap unless it is there as wanted, then create its pod.

    What is written is never written again: an operator that dies after each write still comes to the next one.
    """

    config_map: Manifest | None
    pod: Manifest
    ours: bool = True


@dataclass(frozen=True, slots=True)
class RemoveEndedPod:
    """A pod that ended for good (evicted, or its Kubernetes node shut down) stands in the way of its successor."""

    pod: str
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class AlterClusterConfig:
    """Set or reset cluster-wide settings that the status already claims as ours."""

    changes: Mapping[str, str | None]


SetupStep = (
    CreateVolume
    | GrowVolume
    | ApplyService
    | ApplyAdvertised
    | RemoveService
    | ApplyPeers
    | ApplyDisruptionBudget
    | MarkFormatted
    | StartPod
    | RemoveEndedPod
    | AlterClusterConfig
    | CreateCanaryTopic
    | DeleteCanaryTopic
    | RequestMove
    | DropMove
    | MakeAuthority
    | PublishAuthority
    | PrepareAuthority
    | PromoteAuthority
    | DropAuthority
    | IssueCertificate
    | ReloadCertificates
    | NoteLoaded
    | RequireRestart
)


def setup_steps(
    world: World,
    layout: Layout,
    placement: Placement,
    *,
    gate_open: bool,
    restored: frozenset[int] = frozenset(),
    withheld: frozenset[int] = frozenset(),
    departing: frozenset[int] = frozenset(),
) -> tuple[SetupStep, ...]:
    """Everything that is missing or differs now. `gate_open` lets the PDB spare one node (section 5's drain gate).

    `restored` are nodes whose pod, when it is missing, comes back as it was last: what is wanted of them is not
    permitted yet. `withheld` are nodes whose volumes are lost and that may not have new ones yet. `departing` are
    nodes that a change of members goes on with in this very pass.
    """
    withheld |= lost.set_aside(world, layout)
    return (
        *_services(world, layout),
        *_volumes(world, layout, withheld),
        *_peers(world, layout, placement),
        *access_steps(world, layout),
        *external.steps(world),
        *_pods(world, layout, placement, restored, withheld),
        *_leaving_pods(world, layout, departing),
        *_marks(world),
        *_disruption_budget(world, layout, gate_open=gate_open),
        *_dynamic_config(world, layout),
        *canary_steps(world, frozenset(layout.leaving)),
    )


def pending(steps: Iterable[SetupStep]) -> tuple[str, ...]:
    """Names of the actions that keep the spec from being in effect. Certificates are renewed without anybody's asking
    and while all is in effect: those that are missing keep their nodes from being ready."""
    return tuple(sorted({type(step).__name__ for step in steps if not isinstance(step, AccessStep)}))


def _services(world: World, layout: Layout) -> Iterator[SetupStep]:
    """What is declared no more goes once nobody can be led there any more. Which traffic a broker's Service takes
    changes when its pod is away to be told another address: what clients were told of it before leads there until then.
    """
    brokers = {node.id for node in layout.brokers} | {node.id for node in world.observation.nodes if node.is_broker}
    wanted = services.services(world.cluster, brokers)
    outdated = external.told_otherwise(world)
    for one in wanted:
        found = world.services.get(one.name)
        keeps = found is not None and one.name in outdated
        manifest = services.as_served(one.manifest, found) if keeps and found is not None else one.manifest
        if found is None or services.differs(manifest, found):
            yield ApplyService(manifest, found is not None, one.field)
    yield from external.leftovers(world, {one.name for one in wanted})


def _volumes(world: World, layout: Layout, withheld: frozenset[int]) -> Iterator[SetupStep]:
    """New nodes of a formed cluster wait until Kafka answers: only it knows which ids are taken."""
    if world.formed and world.observation.kafka is None and any(not node.exists for node in layout.nodes):
        return
    for node in layout.nodes:
        if node.id in withheld:
            continue
        observed = world.observation.node(node.id)
        present = {volume.volume_id for volume in observed.volumes} if observed else set()
        for volume in node.volumes:
            if volume.volume_id not in present:
                yield CreateVolume(manifests.claim(world.cluster, node, volume))
    for grown in growth.next_to_grow(world.cluster, world.observation.nodes):
        yield GrowVolume(grown.found.name, grown.found.uid, grown.wanted.size)


def _peers(world: World, layout: Layout, placement: Placement) -> Iterator[SetupStep]:
    """Published once, when every first controller has an address; never changed afterwards.

    If it is lost later it names those first controllers that are left: voters that came later have no chosen directory.
    """
    if world.peers.get("initial-controllers"):
        return
    later = any(volume.formatted for node in world.observation.nodes for volume in node.volumes)
    controllers = []
    for node in layout.controllers:
        observed = world.observation.node(node.id)
        directory = _directory(observed)
        if directory is None and later:
            continue
        address = (
            manifests.dns_name(world.cluster, node)
            if placement.addressing == "DNS"
            else (observed.pod.ip if observed and observed.pod else None)
        )
        if directory is None or address is None:
            return
        controllers.append((node.id, address, directory))
    if not controllers:
        return
    port = properties.CONTROLLER_PORT
    yield ApplyPeers(
        manifests.peers(
            world.cluster,
            ",".join(f"{address}:{port}" for _, address, _ in controllers),
            ",".join(f"{node_id}@{address}:{port}:{directory}" for node_id, address, directory in controllers),
        ),
        bool(world.peers),
    )


def _directory(node: NodeObservation | None) -> str | None:
    if node is None:
        return None
    return next((v.identity.directory_id for v in node.volumes if v.identity and v.identity.directory_id), None)


def _pods(
    world: World, layout: Layout, placement: Placement, restored: frozenset[int], withheld: frozenset[int]
) -> Iterator[SetupStep]:
    """A pod for each node that has all its volumes and no pod."""
    for node in layout.nodes:
        observed = world.observation.node(node.id)
        if observed is not None and observed.pod is not None and observed.pod.ended:
            yield RemoveEndedPod(observed.pod.name, observed.pod.uid, observed.pod.resource_version)
        if observed is not None and observed.pod is None and node.id not in withheld:
            again = _as_it_was(world, observed) if node.id in restored else None
            if again is not None:
                yield again
            elif not missing_volumes(observed, node):
                yield start_pod(world, node, layout, placement, observed)


def missing_volumes(observed: NodeObservation, node: NodeLayout) -> frozenset[int]:
    """Volumes that are declared for a node and have no claim yet; claims that are declared no more do not count."""
    return frozenset(volume.volume_id for volume in node.volumes) - {volume.volume_id for volume in observed.volumes}


def short_of_volumes(world: World, layout: Layout) -> frozenset[int]:
    """Nodes that cannot be started as declared before claims are made for them. Where those may not be made now, such a
    node, when its pod is missing, comes back as it was."""
    return frozenset(
        node.id
        for node in layout.nodes
        if (observed := world.observation.node(node.id)) is not None and missing_volumes(observed, node)
    )


def _leaving_pods(world: World, layout: Layout, departing: frozenset[int]) -> Iterator[SetupStep]:
    """A node that is to leave and lost its pod comes back as it was while it still has a vote or a replica: a change
    that is held, refused or cancelled may leave it a member for long. Who is not known to have neither has one."""
    for node_id in layout.leaving:
        node = world.observation.node(node_id)
        if node is None or node_id in departing or not _still_member(world, node):
            continue
        if node.pod is not None and node.pod.ended:
            yield RemoveEndedPod(node.pod.name, node.pod.uid, node.pod.resource_version)
        elif node.pod is None and (again := _as_it_was(world, node)):
            yield again


def _still_member(world: World, node: NodeObservation) -> bool:
    kafka, quorum = world.observation.kafka, world.observation.quorum
    if kafka is None or quorum is None:
        return True
    votes = node.is_controller and any(voter.id == node.id for voter in quorum.voters)
    return votes or (node.is_broker and bool(living_on(kafka, (node.id,))))


IDENTITY_REFUSALS = frozenset({"ForeignVolume", "ClusterIdMismatch"})


def restore_steps(world: World, layout: Layout, refused: frozenset[str]) -> tuple[SetupStep, ...]:
    """While a spec is refused: nodes whose pod went away come back as they were last, from their ConfigMap, and no
    drain takes another one.

    A bad spec touches nothing, and a node that was drained or was being restarted meanwhile must not stay down for it.
    Certificates are renewed all the same, and brokers told where they are, if their certificates can follow: a spec may
    be refused for longer than they last.
    What a disk holds is marked all the same, or it could be lost unseen.
    When the volumes themselves are in doubt nothing is started.
    """
    if refused & IDENTITY_REFUSALS:
        return ()
    steps: list[SetupStep] = list(_disruption_budget(world, layout, gate_open=False)) if world.formed else []
    for node in world.observation.nodes:
        if node.pod is not None and node.pod.ended:
            steps.append(RemoveEndedPod(node.pod.name, node.pod.uid, node.pod.resource_version))
        elif node.pod is None and (again := _as_it_was(world, node)):
            steps.append(again)
    told = world.formed and world.unenrolled is None
    renewals = (*access_steps(world, None), *external.steps(world)) if told else ()
    return (*renewals, *steps, *_marks(world))


def _as_it_was(world: World, node: NodeObservation) -> StartPod | None:
    """The node's last pod, from its ConfigMap; None when it never had one or a volume of it is gone.

    Volumes that were declared since and are there already are left for later.
    """
    template = last_template(world, node.pool, node.id)
    if not template or not manifests.claims_of(template) <= {volume.name for volume in node.volumes}:
        return None
    return StartPod(None, _certified(world, node.id, manifests.with_marks(template, node)))


def start_pod(
    world: World, node: NodeLayout, layout: Layout, placement: Placement, observed: NodeObservation
) -> StartPod:
    wanted = manifests.config_map(world.cluster, node, layout, placement)
    found = world.config_maps.get(wanted["metadata"]["name"])
    pod = _certified(world, node.id, manifests.pod(world.cluster, node, layout, placement, observed))
    return StartPod(None if found == wanted["data"] else wanted, pod, ours=found is not None)


def _certified(world: World, node_id: int, pod: Manifest) -> Manifest:
    """Which certificates a pod starts with, whatever else it is made from; without any it has no such annotation."""
    digest = world.certificates.get(node_id)
    if digest is None and (world.access is not None or world.unenrolled is not None):
        digest = FIRST_EPOCH
    if digest:
        pod["metadata"]["annotations"][names.CERTIFICATES] = digest
    return pod


def _marks(world: World) -> Iterator[SetupStep]:
    """`formatted` once the node has registered: a broker in the metadata, a controller in the quorum.

    A broker may take replicas from then on, whether or not its controller has a vote yet; so may an observer get one.
    """
    kafka, quorum = world.observation.kafka, world.observation.quorum
    if kafka is None or quorum is None:
        return
    brokers = {broker.id for broker in kafka.brokers}
    voters = {voter.id for voter in quorum.voters}
    observers = {(observer.id, observer.directory_id) for observer in quorum.observers}
    for node in world.observation.nodes:
        directories = directory_ids(node)
        observes = node.is_controller and any((node.id, directory) in observers for directory in directories.values())
        if not observes and node.id not in (brokers if node.is_broker else voters):
            continue
        for volume in node.volumes:
            found = directories.get(volume.volume_id)
            if volume.formatted is None and found is not None:
                yield MarkFormatted(volume.name, volume.uid, found)


def directory_ids(node: NodeObservation) -> dict[int, str]:
    """Volume id to directory id, as the node's init container reported them; empty before it has."""
    try:
        report = json.loads(node.pod.format_message or "") if node.pod else {}
        reported: Mapping[str, str] = report["directoryIds"] if isinstance(report, dict) and report else {}
    except (ValueError, KeyError):
        return {}
    paths = {properties.DATA_DIR.format(volume=volume.volume_id): volume.volume_id for volume in node.volumes}
    return {paths[path]: directory for path, directory in reported.items() if path in paths}


def _disruption_budget(world: World, layout: Layout, *, gate_open: bool) -> Iterator[SetupStep]:
    """While the gate is shut every node that is there counts, also one that no pool of the spec declares: the budget
    selects its pod too, and would spare another one for it."""
    leaving = sum(1 for node in world.observation.nodes if node.id in layout.leaving and node.pod is not None)
    members = len(layout.nodes) + leaving
    wanted = members - 1 if gate_open else max(members, len(world.observation.nodes))
    if world.disruption_budget != wanted:
        yield ApplyDisruptionBudget(
            manifests.disruption_budget(world.cluster, wanted), world.disruption_budget is not None
        )


def _dynamic_config(world: World, layout: Layout) -> Iterator[SetupStep]:
    kafka = world.observation.kafka
    if kafka is None or len(kafka.brokers) < len(layout.brokers):
        return
    changes = dynamic.changes(
        desired_dynamic(world, layout),
        frozenset(world.cluster.status.dynamic_config),
        kafka.dynamic_config,
        replicas_out=any(set(p.isr) != set(p.replicas) for p in kafka.partitions),
    )
    # A key is claimed in the status by one pass and set by the next, so that none is ever set and forgotten.
    claimed = {key: value for key, value in changes.items() if key in world.cluster.status.dynamic_config}
    if changes:
        yield AlterClusterConfig(claimed)


def desired_dynamic(world: World, layout: Layout) -> dict[str, str]:
    declared = config_texts(world.cluster.spec.config)
    wanted, _ = dynamic.split(properties.dynamic_defaults(len(layout.brokers)) | declared)
    return wanted
