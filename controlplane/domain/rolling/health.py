"""Is a node up, and is it back? Questions to one observation, answered with the checks that fail.

Three witnesses are asked: the kubelet (pod ready), the brokers (registered, in sync) and the quorum (caught up). None
is taken for another, and a section that could not be read proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.domain.check import Check
from controlplane.domain.observation import ClusterObservation, NodeObservation, PodObservation, TopicPartition

_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
"""Why a container waits in a pod with which all is well."""

BRIEF = frozenset({"BrokerNotRegistered", "ReplicasOutOfSync", "VoterBehind", "NotAVoter", "ClusterUnreachable"})
"""What a node that has just become ready lacks for some seconds; only Kafka can say when it is over."""

LISTED = 5
MESSAGE_LIMIT = 400


def listing(items: Iterable[object]) -> str:
    """The first five in order, then how many more: evidence stays short however large the cluster is."""
    names = [str(item) for item in items]
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def is_ready(node: NodeObservation) -> bool:
    return node.pod is not None and node.pod.ready and not node.pod.terminating


def is_running(node: NodeObservation) -> bool:
    """Whether its process may run and may be counted upon: a pod that waits, is unscheduled or ends is not."""
    pod = node.pod
    return pod is not None and pod.scheduled and not pod.terminating and (pod.ready or pod.waiting_reason is None)


def is_ailing(pod: PodObservation) -> bool:
    """Whether a pod that is not ready shows more than that it is starting: it crashed, ended, or cannot start."""
    refused = bool(pod.format_message) and not str(pod.format_message).startswith("{")
    stuck = pod.waiting_reason is not None and pod.waiting_reason not in _STARTING
    return not pod.ready and (pod.ended or pod.restarts > 0 or stuck or refused)


def is_dark(observation: ClusterObservation) -> bool:
    """No broker answers us and none is ready by its kubelet: two witnesses agree that no client is being served."""
    return observation.kafka is None and not any(node.is_broker and is_ready(node) for node in observation.nodes)


def unhealthy(observation: ClusterObservation, node: NodeObservation) -> tuple[Check, ...]:
    """Why this node is not up, () if it is. Data it lags behind with is `not_back`'s question."""
    return tuple(_unhealthy(observation, node))


def not_back(
    observation: ClusterObservation, node: NodeObservation, out_before: frozenset[TopicPartition]
) -> tuple[Check, ...]:
    """Why a node that was stopped is not back, () if it is (invariant 5).

    Back means up, in the ISR of every replica assigned to it except those in `out_before`, and, for a controller, a
    voter that has caught up.
    """
    return tuple(_unhealthy(observation, node)) or tuple(_behind(observation, node, out_before))


def replicas_out(observation: ClusterObservation, node_id: int) -> frozenset[TopicPartition]:
    """Replicas assigned to the node that are not in sync; empty while no broker answers."""
    partitions = observation.kafka.partitions if observation.kafka else ()
    return frozenset(p.id for p in partitions if node_id in p.replicas and node_id not in p.isr)


def _unhealthy(observation: ClusterObservation, node: NodeObservation) -> Iterator[Check]:
    pod = node.pod
    if pod is None:
        yield Check(
            "NodeMissing", ok=False, evidence=f"Node {node.id} has no pod.", remedy="It is about to be created."
        )
    elif pod.terminating:
        yield Check(
            "NodeStopping",
            ok=False,
            evidence=f"Node {node.id} (pod {pod.name}) is stopping.",
            remedy="If its Kubernetes node is lost, remove that node or delete the pod by force.",
        )
    elif not pod.ready:
        yield Check(
            "NodeNotReady",
            ok=False,
            evidence=f"Node {node.id} (pod {pod.name}, Kafka {pod.version}) is not ready{_symptoms(node)}.",
            remedy=f"See the logs of pod {pod.name}; a corrected spec reaches this node first.",
        )
    elif node.is_broker and observation.kafka is not None and node.id not in {b.id for b in observation.kafka.brokers}:
        yield Check(
            "BrokerNotRegistered",
            ok=False,
            evidence=f"Node {node.id} (pod {pod.name}) is ready but not among the cluster's live brokers.",
            remedy=f"See the logs of pod {pod.name}.",
        )


def _behind(
    observation: ClusterObservation, node: NodeObservation, out_before: frozenset[TopicPartition]
) -> Iterator[Check]:
    if node.is_controller:
        yield from _voter_behind(observation, node)
    if not node.is_broker:
        return
    if observation.kafka is None:
        yield unreachable(observation)
    elif missing := sorted(replicas_out(observation, node.id) - out_before):
        yield Check(
            "ReplicasOutOfSync",
            ok=False,
            evidence=f"Node {node.id} is catching up: {len(missing)} of its replicas are not in sync "
            f"({listing(missing)}).",
            remedy="Wait; if it does not end, look at that broker's disks and at replication traffic.",
        )


def _voter_behind(observation: ClusterObservation, node: NodeObservation) -> Iterator[Check]:
    if observation.quorum is None:
        yield quorum_unknown(observation)
        return
    voter = next((voter for voter in observation.quorum.voters if voter.id == node.id), None)
    if voter is None:
        yield Check(
            "NotAVoter",
            ok=False,
            evidence=f"Controller {node.id} is not among the voters of the metadata quorum.",
            remedy="Add it as a voter, or find out who removed it.",
        )
    elif not voter.caught_up:
        behind = f"is {voter.lag} records behind" if voter.lag else "has not been seen to fetch the end of"
        yield Check(
            "VoterBehind",
            ok=False,
            evidence=f"Controller {node.id} {behind} the metadata log.",
            remedy="Wait; if it does not end, see its logs.",
        )


def unreachable(observation: ClusterObservation) -> Check:
    pods = [node.pod.name for node in observation.nodes if node.is_broker and node.pod]
    return Check(
        "ClusterUnreachable",
        ok=False,
        evidence="No broker answers on the replication listener, so nothing is known about partitions.",
        remedy=f"See the logs of {listing(pods) or 'the brokers'}. A pod deleted by hand comes back with the new spec.",
    )


def quorum_unknown(observation: ClusterObservation) -> Check:
    pods = [node.pod.name for node in observation.nodes if node.is_controller and node.pod]
    return Check(
        "QuorumUnknown",
        ok=False,
        evidence="The metadata quorum cannot be described, so it is not known which controllers have caught up.",
        remedy=f"See the logs of {listing(pods) or 'the controllers'}. "
        "A pod deleted by hand comes back with the new spec.",
    )


def _symptoms(node: NodeObservation) -> str:
    pod = node.pod
    if pod is None:
        return ""
    parts = [part for part in (pod.waiting_reason, _shorten(pod.waiting_message)) if part]
    if pod.restarts:
        parts.append(f"restarted {pod.restarts} times")
    if pod.format_message and not pod.format_message.startswith("{"):
        parts.append(f"its init container said {_shorten(pod.format_message)!r}")
    return ": " + "; ".join(parts) if parts else ""


def _shorten(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= MESSAGE_LIMIT else flat[: MESSAGE_LIMIT - 3] + "..."
