"""Carry out one step of a cluster's plan. Every write is idempotent or carries a precondition."""

from __future__ import annotations

import contextlib

from controlplane.api import names
from controlplane.domain.cluster import setup
from controlplane.domain.cluster.clients import CreateCanaryTopic, DeleteCanaryTopic
from controlplane.domain.cluster.external import ApplyAdvertised, RemoveService
from controlplane.domain.cluster.manifests import Manifest
from controlplane.domain.cluster.moves import DropMove
from controlplane.domain.cluster.world import World
from controlplane.domain.rolling import values as rolling
from controlplane.ports import AlreadyExistsError, ConflictError, KafkaAdmin, KubeApi, NotFoundError, Resource
from controlplane.services.cluster import clients
from controlplane.services.cluster.moves import drop_move
from controlplane.services.cluster.observe import CLAIMS, CONFIG_MAPS, DISRUPTION_BUDGETS, PODS, SERVICES


async def set_up(kube: KubeApi, step: setup.SetupStep, admin: KafkaAdmin | None, namespace: str) -> None:
    """Raises KubeError or KafkaError; done twice it changes nothing the second time."""
    match step:
        case setup.CreateVolume(manifest):
            await kube.create(CLAIMS, manifest)
        case setup.GrowVolume(claim, uid, size):
            larger = {"metadata": {"uid": uid}, "spec": {"resources": {"requests": {"storage": size}}}}
            await kube.patch(CLAIMS, claim, namespace, larger)
        case setup.ApplyService(manifest, ours):
            await _apply(kube, SERVICES, manifest, ours=ours)
        case RemoveService(name, uid):
            with contextlib.suppress(NotFoundError, ConflictError):
                await kube.delete(SERVICES, name, namespace, uid=uid)
        case setup.ApplyPeers(manifest, ours) | ApplyAdvertised(manifest, ours):
            await _apply(kube, CONFIG_MAPS, manifest, ours=ours)
        case setup.ApplyDisruptionBudget(manifest, ours):
            await _apply(kube, DISRUPTION_BUDGETS, manifest, ours=ours)
        case setup.MarkFormatted(claim, uid, directory_id):
            await kube.patch(
                CLAIMS,
                claim,
                namespace,
                {"metadata": {"uid": uid, "annotations": {names.FORMATTED: directory_id}}},
            )
        case setup.StartPod(config_map, pod, ours):
            if config_map is not None:
                await _apply(kube, CONFIG_MAPS, config_map, ours=ours)
            await kube.create(PODS, pod)
        case setup.RemoveEndedPod(pod_name, uid, resource_version):
            with contextlib.suppress(NotFoundError, ConflictError):
                await kube.delete(PODS, pod_name, namespace, uid=uid, resource_version=resource_version)
        case setup.AlterClusterConfig(changes):
            if admin is not None and changes:
                await admin.alter_cluster_config(changes)
        case CreateCanaryTopic() | DeleteCanaryTopic():
            await clients.canary_topic(admin, step)
        case DropMove():
            await drop_move(kube, step, namespace)


async def roll(kube: KubeApi, action: rolling.Action, admin: KafkaAdmin | None, world: World) -> bool:
    """Carry out the roll's next action; True when something was done and the world should be observed at once."""
    match action:
        case rolling.StopNode(node=node_id, pod_uid=uid):
            node = world.observation.node(node_id)
            if node is None or node.pod is None:
                return True
            # Gone, replaced or changed since it was observed: the next observation says which.
            with contextlib.suppress(NotFoundError, ConflictError):
                await kube.delete(
                    PODS,
                    node.pod.name,
                    world.cluster.metadata.namespace,
                    uid=uid,
                    resource_version=node.pod.resource_version,
                )
            return True
        case rolling.ElectLeaders(partitions):
            if admin is not None:
                await admin.elect_preferred_leaders(partitions)
            return True
        case rolling.Finalise(levels):
            if admin is not None:
                await admin.update_features(levels)
            return True
        case _:
            return False


async def _apply(kube: KubeApi, resource: Resource, manifest: Manifest, *, ours: bool) -> None:
    """Server-side apply; raises AlreadyExistsError rather than take over an object of that name that is not ours."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    if not ours:
        with contextlib.suppress(NotFoundError):
            await kube.get(resource, name, namespace)
            why = f"{resource.kind} {name} exists and is not kfleet's; remove it or rename one of the two"
            raise AlreadyExistsError(409, "AlreadyExists", why)
    await kube.apply(resource, manifest)
