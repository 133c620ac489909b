"""What clients feel, as part of a cluster's observation; and the canary's topic. See domain/cluster/clients.py."""

from __future__ import annotations

import logging
from dataclasses import replace

from controlplane.domain.cluster import clients
from controlplane.domain.cluster.world import World
from controlplane.domain.rolling import canary
from controlplane.domain.rolling.witness import Learning
from controlplane.ports import ClientWitness, KafkaAdmin, KafkaError
from controlplane.services.access.way import Way

log = logging.getLogger(__name__)
NOT_OURS = (
    f"topic {canary.TOPIC} is not as kfleet makes it, so that it is neither written to nor deleted; find out whose it "
    "is, and delete it"
)


async def watched(world: World, witness: ClientWitness, admin: KafkaAdmin | None, learning: Learning) -> World:
    """The World with what is known of the canary's topic, and with `observation.clients` around an upgrade; never
    raises, and waits for no probe. A watch that is over has ended when this returns, so that nobody writes into a topic
    that is about to be deleted.

    While no broker answers (`admin` None) the looks go on, so that the outage is in the canary's figures.
    """
    cluster, observation = world.cluster, world.observation
    key = f"{cluster.metadata.namespace}/{cluster.metadata.name}"
    tls = world.access.client if world.access is not None else None
    way = Way(cluster, tls, world.access is not None and world.access.by_name)
    partitions, servers = canary.partitions(observation), way.bootstrap(observation.nodes)
    ours = await _is_ours(admin) if admin is not None and partitions else False
    world = replace(world, learning=learning, canary_is_ours=bool(ours))
    if not servers or not way.is_open or not clients.is_watched(cluster, observation):
        await witness.forget(key)
        if ours is False and partitions and clients.has_canary(cluster) and clients.is_upgrading(cluster, observation):
            log.warning("%s: the upgrade has no canary: %s", key, NOT_OURS)
        return world
    leaders: tuple[int | None, ...] | None = None
    if admin is not None and ours is not None:
        leaders = tuple(partition.leader for partition in partitions if ours) if clients.has_canary(cluster) else ()
    found = await witness.look(key, servers, leaders, observation.as_of, way.tls)
    return replace(world, observation=replace(observation, clients=found))


async def _is_ours(admin: KafkaAdmin) -> bool | None:
    """Whether the topic of the canary's name has its settings; None where it cannot be told."""
    try:
        return bool(await _topic_id(admin))
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
    """Of the canary's topic, "" if there is none with all of its settings; it may have others, such as the throttles of
    a reassignment. Raises KafkaError."""
    found = (await admin.describe_topics([canary.TOPIC])).get(canary.TOPIC)
    return found.topic_id if found is not None and canary.CONFIG.items() <= found.config.items() else ""
