"""Kubernetes nodes ("machines") that are being drained: which Kafka nodes leave them, and when an eviction may. Pure.

Two ways lead a pod off a cordoned machine, and never more than one node is down for both together:

- A pod whose volumes can be reached elsewhere is restarted like for any other reason (`Drain`), under all gates of a
  roll. Its pod is never made for a cordoned machine, so it leaves once. While that is under way the
  PodDisruptionBudget spares nobody: `kubectl drain` is refused (429), and asks again until the pod is gone.
- A pod whose volume is tied to the machine could only wait for it. Cordoning alone takes nothing down then; an eviction
  may, while every gate is open (the budget spares one). The pod waits unscheduled, the budget closes, and nobody else
  is stopped or evicted before it is back: after `kubectl uncordon`, or on another volume.
"""

from __future__ import annotations

from controlplane.domain.check import Check
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import ClusterObservation, NodeObservation
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.values import UnprotectedPolicy


def is_leaving(observation: ClusterObservation, node: NodeObservation) -> bool:
    """Its machine is cordoned and its volumes can be reached from another one."""
    pod = node.pod
    if pod is None or pod.terminating or pod.machine not in observation.cordoned:
        return False
    return not any(volume.machine == pod.machine for volume in node.volumes)


def stranded(observation: ClusterObservation, node: NodeObservation) -> tuple[Check, ...]:
    """Why a pod finds no machine, if that is because its volume is tied to a cordoned one."""
    pod = node.pod
    if pod is None or pod.scheduled or pod.terminating:
        return ()
    tied = [volume for volume in node.volumes if volume.machine in observation.cordoned]
    return tuple(
        Check(
            "VolumeOnCordonedMachine",
            ok=False,
            evidence=f"Node {node.id} (pod {pod.name}) has nowhere to run: PVC {volume.name} can be reached on machine "
            f"{volume.machine} only, which is cordoned.",
            remedy=f"It comes back after `kubectl uncordon {volume.machine}`; no other node is stopped or may be "
            "evicted before.",
        )
        for volume in tied[:1]
    )


def spares_nobody(world: World) -> tuple[Check, ...]:
    """Gates that no waiting opens: failed checks while which no eviction is allowed though everything is in sync."""
    observation = world.observation
    policy = UnprotectedPolicy(world.cluster.spec.rollout.unprotected_partitions.value)
    if policy is UnprotectedPolicy.ACCEPT:
        return ()
    partitions = safety.unprotected_partitions(observation, frozenset(node.id for node in observation.nodes))
    if partitions:
        return (safety.unprotected_check(partitions),)
    controllers = [node.id for node in observation.nodes if node.is_controller]
    return safety.judge(observation, frozenset(controllers[:1]), policy).failed
