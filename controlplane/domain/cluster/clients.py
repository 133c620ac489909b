"""When a cluster's clients are watched, and when the canary's topic comes and goes. Pure.

Both only around an upgrade: from when nothing but the level before holds its first stop to the end of the operation,
soak and finalisation included, or to its way back. An upgrade that was rolled back and is not tried again is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.rollout import Canary
from controlplane.domain.cluster.way_back import LEARNING_SINCE
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling import canary
from controlplane.domain.rolling.operation import KIND
from controlplane.domain.rolling.values import Step
from controlplane.domain.topics.values import NewTopic

UPGRADE_GOAL = "Version "
"""How the goal of an operation begins that changes the version or finalises it."""


@dataclass(frozen=True, slots=True)
class CreateCanaryTopic:
    topic: NewTopic


@dataclass(frozen=True, slots=True)
class DeleteCanaryTopic:
    """The upgrade is over. Only if it is as kfleet made it."""


def is_upgrading(cluster: KafkaCluster, observation: ClusterObservation) -> bool:
    """Whether an upgrade is under way or about to begin; what holds it back does not matter."""
    operation, rolled = cluster.status.operation, cluster.status.rolled_back
    if operation is not None and operation.goal.startswith(UPGRADE_GOAL):
        return True
    running = {node.pod.version for node in observation.nodes if node.pod}
    if rolled is not None and running == {rolled.version} and operation is None:
        same = rolled.observed_generation == cluster.metadata.generation
        return not same or rolled.retry_token != cluster.spec.rollout.retry_token
    return bool(running - {cluster.spec.version})


def is_watched(cluster: KafkaCluster, observation: ClusterObservation) -> bool:
    """Whether clients are to be looked at now. Not while a change of members has the turn; nor while an upgrade of
    which nothing is begun waits for people, a window or a hazard, which may be for days."""
    operation = cluster.status.operation
    if not is_upgrading(cluster, observation) or (operation is not None and operation.kind != KIND):
        return False
    if any(node.pod is not None and node.pod.version == cluster.spec.version for node in observation.nodes):
        return True
    step = operation.step if operation is not None else None
    return step is not None and (step.verb != Step.BLOCKED or LEARNING_SINCE in step.parameters)


def has_canary(cluster: KafkaCluster) -> bool:
    return cluster.spec.rollout.canary is Canary.ENABLED


def canary_steps(
    world: World, leaving: frozenset[int] = frozenset()
) -> Iterator[CreateCanaryTopic | DeleteCanaryTopic]:
    """The topic is made when an operation stands in the status, every broker is up, and there is still a level to be
    learned: one made later could be compared with nothing. It goes when no upgrade is left, or it is not wanted, or no
    roll is under way and it lies on brokers that are `leaving`, which get none of it. What is not ours is left alone.
    """
    cluster, observation, kafka = world.cluster, world.observation, world.observation.kafka
    if kafka is None:
        return
    found, operation = canary.partitions(observation), cluster.status.operation
    wanted = has_canary(cluster) and is_upgrading(cluster, observation)
    rolling = operation is not None and operation.kind == KIND
    in_the_way = not rolling and any(leaving.intersection(partition.replicas) for partition in found)
    if found and world.canary_is_ours and (not wanted or in_the_way):
        yield DeleteCanaryTopic()
    clients, learning = observation.clients, world.learning
    early = clients is not None and learning is not None and clients.watched_seconds < learning.seconds
    complete = {node.id for node in observation.nodes if node.is_broker} == {broker.id for broker in kafka.brokers}
    if wanted and not found and early and complete and rolling:
        topic = canary.new_topic([broker for broker in kafka.brokers if broker.id not in leaving])
        if topic is not None:
            yield CreateCanaryTopic(topic)
