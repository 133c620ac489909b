"""Kubernetes nodes ("machines") that are being drained: which Kafka nodes leave them, and when an eviction may. Pure.

Two ways lead a pod off a cordoned machine, and never more than one node is down for both together:

- A pod that another machine is seen to take (`places`) is restarted like for any other reason (`Drain`), under all
  gates of a roll. Its pod is never made for a cordoned machine, so it leaves once. While that is under way the
  PodDisruptionBudget spares nobody: `kubectl drain` is refused (429), and asks again until the pod is gone.
- A pod that stays (`NodeObservation.stay`: its volume is tied to the machine or may be, or no machine is left) could
  only wait for it. Neither cordoning nor a roll takes it down then; an eviction may, while every gate is open (the
  budget spares one). The pod waits unscheduled, the budget closes, and nobody else is stopped or evicted before it is
  back: after `kubectl uncordon`, or on another machine or volume.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.domain.check import Check
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import ClusterObservation, NodeObservation
from controlplane.domain.operation.permit import Permit
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.health import listing
from controlplane.domain.rolling.values import NodeTarget, RestartReason, UnprotectedPolicy

STAYS = frozenset({"VolumeOnCordonedMachine", "VolumeUnreadable", "NoMachineLeft"})
"""Names of checks of nodes that stay."""
_LASTING = frozenset({"UnprotectedPartitions", "UnprotectedQuorum"})


def is_leaving(observation: ClusterObservation, node: NodeObservation) -> bool:
    """Its machine is cordoned and another one is seen to take it."""
    pod = node.pod
    if pod is None or pod.terminating or pod.machine not in observation.cordoned:
        return False
    return node.stay is None


def stranded(node: NodeObservation) -> tuple[Check, ...]:
    """Why a pod finds no machine, if that is because machines are cordoned."""
    pod, stay = node.pod, node.stay
    if pod is None or pod.scheduled or pod.terminating or stay is None:
        return ()
    opened = " or ".join(f"`kubectl uncordon {machine}`" for machine in stay.machines[:2])
    evidence = f"Node {node.id} (pod {pod.name}) has nowhere to run: {stay.evidence}"
    remedy = f"It comes back after {opened}; no other node is stopped or may be evicted before."
    if stay.why == "Volume":
        return (Check("VolumeOnCordonedMachine", ok=False, evidence=f"{evidence}, which is cordoned.", remedy=remedy),)
    return (Check("NoMachineLeft", ok=False, evidence=f"{evidence}.", remedy=remedy),)


def staying(observation: ClusterObservation, node: NodeObservation) -> tuple[Check, ...]:
    """Why a node that runs on a cordoned machine does not leave it by itself."""
    pod, stay = node.pod, node.stay
    if pod is None or stay is None or pod.terminating or pod.machine not in observation.cordoned:
        return ()
    evidence = f"Node {node.id} stays on machine {pod.machine}, which is cordoned: {stay.evidence}."
    opened = f"`kubectl uncordon {pod.machine}`"
    evicted = f"`kubectl drain` may evict it while all nodes are in sync; it is down then until {opened}."
    if stay.why == "Volume":
        return (Check("VolumeOnCordonedMachine", ok=False, evidence=evidence, remedy=evicted),)
    if stay.why == "Unreadable":
        granted = "Grant the operator `get` on persistentvolumes; until then the volume is taken to be tied there."
        return (Check("VolumeUnreadable", ok=False, evidence=evidence, remedy=granted),)
    return (Check("NoMachineLeft", ok=False, evidence=evidence, remedy=f"Add a machine that takes it, or {opened}."),)


def bars_stops(observation: ClusterObservation, targets: Iterable[NodeTarget]) -> tuple[Check, ...]:
    """No ready node is stopped while one of those to be restarted would not come back: its machine takes no new pod."""
    return tuple(
        check
        for target in targets
        if target.reasons and (node := observation.node(target.node)) and node.pod and node.pod.ready
        for check in staying(observation, node)
    )


def kept_by(targets: Iterable[NodeTarget], permit: Permit) -> tuple[Check, ...]:
    """Who would leave a cordoned machine, had the roll not been cancelled: a drain is in no plan, so that it belongs to
    whatever roll there is, and to the one that was cancelled as long as that is not taken back."""
    drained = [target.node for target in targets if RestartReason.DRAIN in target.reasons]
    if not drained or permit.stop is None:
        return ()
    return (
        Check(
            "DrainCancelled",
            ok=False,
            evidence=f"Node {listing(drained)} would leave a cordoned machine by a restart; that counts as the roll "
            "that was cancelled, whatever it was about.",
            remedy="Resume that operation, or let `kubectl drain` evict the pods one by one.",
        ),
    )


def hindrances(world: World) -> tuple[Check, ...]:
    """What will not pass by waiting and keeps machines from being drained, for people."""
    observation = world.observation
    stays = tuple(check for node in observation.nodes for check in staying(observation, node))
    if not world.formed or observation.kafka is None or observation.quorum is None:
        return stays
    return (*stays, *(check for check in spares_nobody(world) if check.name in _LASTING))


def spares_nobody(world: World) -> tuple[Check, ...]:
    """Gates that no waiting opens: failed checks while which no eviction is allowed though everything is in sync."""
    observation = world.observation
    policy = UnprotectedPolicy(world.cluster.spec.rollout.unprotected_partitions.value)
    if policy is UnprotectedPolicy.ACCEPT:
        return ()
    partitions = safety.unprotected_partitions(observation, frozenset(node.id for node in observation.nodes))
    if partitions:
        return (safety.unprotected_check(partitions, policy),)
    controllers = [node.id for node in observation.nodes if node.is_controller]
    return safety.judge(observation, frozenset(controllers[:1]), policy).failed
