"""What clients feel, as part of a cluster's observation; and the canary's topic. See domain/cluster/clients.py."""

from __future__ import annotations

import logging
from dataclasses import replace

from controlplane.domain.cluster import clients
from controlplane.domain.cluster.world import World
from controlplane.domain.rolling import canary
from controlplane.ports import ClientWitness, KafkaAdmin, KafkaError
from controlplane.services.cluster.observe import bootstrap

log = logging.getLogger(__name__)
NOT_OURS = (
    f"topic {canary.TOPIC} is not as kfleet makes it, so that it is neither written to nor deleted; find out whose it "
    "is, and delete it"
)


async def watched(world: World, witness: ClientWitness, admin: KafkaAdmin | None) -> World:
    """The World with `observation.clients` while an upgrade is under way; never raises, and waits for no probe.

    While no broker answers (`admin` None) the looks go on, so that the outage is in the canary's figures.
    """
    cluster, observation = world.cluster, world.observation
    servers = bootstrap(observation.nodes)
    if not servers or not clients.is_upgrading(cluster, observation):
        return world
    leaders = None
    if admin is not None:
        leaders = await _leaders(world, admin) if clients.has_canary(cluster) else ()
    found = await witness.look(
        f"{cluster.metadata.namespace}/{cluster.metadata.name}", servers, leaders, observation.as_of
    )
    return replace(world, observation=replace(observation, clients=found))


async def _leaders(world: World, admin: KafkaAdmin) -> tuple[int | None, ...] | None:
    """Those of the canary's partitions; () where there is none of ours, None where it cannot be told."""
    partitions = canary.partitions(world.observation)
    if not partitions:
        return ()
    try:
        return tuple(partition.leader for partition in partitions) if await _topic_id(admin) else ()
    except KafkaError as error:
        log.info("the canary's topic cannot be described: %s", error.message)
        return None


async def canary_topic(admin: KafkaAdmin | None, step: clients.CreateCanaryTopic | clients.DeleteCanaryTopic) -> None:
    """Raises KafkaError; done twice it changes nothing the second time."""
    if admin is None:
        return
    if isinstance(step, clients.DeleteCanaryTopic):
        await _delete_topic(admin)
        return
    error = (await admin.create_topics([step.topic]))[canary.TOPIC]
    if error is not None and error.code != "TOPIC_ALREADY_EXISTS":
        raise error


async def _delete_topic(admin: KafkaAdmin) -> None:
    """Raises KafkaError, also for a topic of that name that is not ours."""
    if not await admin.describe_topics([canary.TOPIC]):
        return
    found = await _topic_id(admin)
    if not found:
        raise KafkaError("NOT_OURS", NOT_OURS)
    error = (await admin.delete_topics([found]))[found]
    if error is not None and error.code != "UNKNOWN_TOPIC_ID":
        raise error


async def _topic_id(admin: KafkaAdmin) -> str:
    """Of the canary's topic, "" if there is none with its very settings. Raises KafkaError."""
    found = (await admin.describe_topics([canary.TOPIC])).get(canary.TOPIC)
    return found.topic_id if found is not None and dict(found.config) == dict(canary.CONFIG) else ""
