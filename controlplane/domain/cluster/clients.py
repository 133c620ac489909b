"""When a cluster's clients are watched, and when the canary's topic comes and goes. Pure.

Both only around an upgrade: from the pass that first sees another version wanted to the end of the operation, soak and
finalisation included, or to its way back. An upgrade that was rolled back and is not tried again is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.api.kafka_cluster import Canary, KafkaCluster
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling import canary
from controlplane.domain.rolling.witness import LEARN_SECONDS
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


def has_canary(cluster: KafkaCluster) -> bool:
    return cluster.spec.rollout.canary is Canary.ENABLED


def canary_steps(world: World) -> Iterator[CreateCanaryTopic | DeleteCanaryTopic]:
    """The topic is made when an operation stands in the status, every broker is up, and there is still a level to be
    learned: one made later could be compared with nothing. It goes when no upgrade is left, or it is not wanted."""
    cluster, observation, kafka = world.cluster, world.observation, world.observation.kafka
    if kafka is None:
        return
    present = bool(canary.partitions(observation))
    wanted = has_canary(cluster) and is_upgrading(cluster, observation)
    if present and not wanted:
        yield DeleteCanaryTopic()
    learning = observation.clients is not None and observation.clients.watched_seconds < LEARN_SECONDS
    complete = {node.id for node in observation.nodes if node.is_broker} == {broker.id for broker in kafka.brokers}
    if wanted and not present and learning and complete and cluster.status.operation is not None:
        topic = canary.new_topic(kafka.brokers)
        if topic is not None:
            yield CreateCanaryTopic(topic)
