"""An independent judge of invariants 1 and 2: written from the design's words, sharing no code with the planner.

`harm(observation, batch, accept=...)` lists what stopping the batch would do to the cluster as observed. It is kept
honest by negative controls in test_rolling_safety: planners planted with a fault must be caught.
"""

from __future__ import annotations

from controlplane.domain.observation import ClusterObservation, NodeObservation


def harm(observation: ClusterObservation, batch: set[int], *, accept: bool) -> list[str]:
    return [*_lost_writes(observation, batch, accept=accept), *_lost_quorum(observation, batch, accept=accept)]


def _lost_writes(observation: ClusterObservation, batch: set[int], *, accept: bool) -> list[str]:
    if observation.kafka is None:
        somebody_serves = any(n.is_broker and _ready(n) for n in observation.nodes)
        return [
            f"broker {n.id} is stopped and nothing is known of partitions"
            for n in observation.nodes
            if n.id in batch and n.is_broker and (_ready(n) or (_process(n) and somebody_serves))
        ]
    live = {b.id for b in observation.kafka.brokers}
    dead = {n.id for n in observation.nodes if not _process(n)}
    problems = []
    for p in observation.kafka.partitions:
        accepts_now = p.leader is not None and len(p.isr) >= p.min_isr
        if not accepts_now or not set(p.isr) & batch:
            continue
        hopeless = len(p.replicas) <= p.min_isr
        if hopeless and accept:
            continue
        left = [r for r in p.isr if r in live and r not in dead and r not in batch]
        if hopeless or len(left) < p.min_isr:
            problems.append(f"{p.id} keeps {left}, needs {p.min_isr}")
    return problems


def _lost_quorum(observation: ClusterObservation, batch: set[int], *, accept: bool) -> list[str]:
    victims = [n for n in observation.nodes if n.id in batch and n.is_controller and _process(n)]
    if not victims:
        return []
    dead = {n.id for n in observation.nodes if not _process(n)}
    if observation.quorum is None:
        if any(_ready(n) for n in victims):
            return ["a ready controller is stopped and nothing is known of the quorum"]
        if observation.kafka is None and not any(n.is_broker and _ready(n) for n in observation.nodes):
            return []
        voters = {n.id for n in observation.nodes if n.is_controller}
        standing = voters - dead - batch
    else:
        voters = {v.id for v in observation.quorum.voters}
        if not any(n.id in voters for n in victims):
            return []
        standing = {v.id for v in observation.quorum.voters if v.caught_up} - dead - batch
    if 2 * len(standing) > len(voters) or (accept and len(voters) <= 2):
        return []
    return [f"{sorted(standing)} of {sorted(voters)} is no majority"]


def _ready(node: NodeObservation) -> bool:
    return node.pod is not None and node.pod.ready and not node.pod.terminating


def _process(node: NodeObservation) -> bool:
    """Whether a Kafka process may be running there for good."""
    if node.pod is None or node.pod.terminating or not node.pod.scheduled:
        return False
    return node.pod.ready or not node.pod.waiting_reason
