"""What a KafkaTopic says of itself, and how it is written: only where it changes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_topic import KafkaTopic, KafkaTopicStatus
from controlplane.domain.check import Check, explain
from controlplane.domain.topics.tenancy import WAITING as WAITING_FOR_TENANT
from controlplane.domain.topics.values import TopicDescription
from controlplane.ports import Clock, ConflictError, KubeApi, NotFoundError, Object, Resource
from controlplane.services.events import EventRecorder

log = logging.getLogger(__name__)

KAFKA_TOPICS = Resource(GROUP, VERSION, "kafkatopics", "KafkaTopic")
WAITING = frozenset({"Creating", "ClusterNotReady", "KafkaUnavailable"}) | WAITING_FOR_TENANT
"""Reasons that pass by themselves."""

Ready = tuple[bool, str, str]
"""Whether it is, the reason, the message."""
Place = Literal["OnShard"] | Check | None
"""Of a tenant's topic: on its shard, or why it is not; None: nobody has looked."""


@dataclass
class Declared:
    """An object as it was read; `topic` follows what the pass has written since."""

    obj: Object
    topic: KafkaTopic

    @property
    def key(self) -> str:
        return f"{self.topic.metadata.namespace}/{self.topic.metadata.name}"

    @property
    def is_paused(self) -> bool:
        return self.topic.metadata.annotations.get(names.PAUSED) == "true"


def readable(obj: Object) -> Declared | None:
    """None for what this version cannot read, which is told in the log, and for what is being deleted."""
    meta = obj["metadata"]
    if "deletionTimestamp" in meta:
        return None
    try:
        return Declared(obj, KafkaTopic.model_validate(obj))
    except ValidationError as error:
        log.warning("KafkaTopic %s/%s cannot be read: %s", meta["namespace"], meta["name"], error)
        return None


class StatusWriter:
    def __init__(self, kube: KubeApi, clock: Clock, events: EventRecorder) -> None:
        self._kube, self._clock, self._events = kube, clock, events

    async def write(
        self, entry: Declared, ready: Ready, found: TopicDescription | None, *, cell: str | None, place: Place = None
    ) -> None:
        """Raises KubeError, but not for an object that moved or went away: its event wakes another pass."""
        topic, old = entry.topic, entry.topic.status
        status = topic_status(topic, ready, found, now=self._clock.now(), cell=cell, place=place)
        if status == old:
            return
        try:
            await self._kube.replace(KAFKA_TOPICS, entry.obj | {"status": status.to_object()}, subresource="status")
        except (ConflictError, NotFoundError):
            return
        before = c.find_condition(old.conditions, c.READY)
        if before is None or (before.status, before.reason) != (("True" if ready[0] else "False"), ready[1]):
            kind: Literal["Normal", "Warning"] = "Normal" if ready[0] or ready[1] in WAITING else "Warning"
            await self._events.record(entry.obj, kind, ready[1], ready[2] or f"topic {topic.topic_name} is as declared")


def topic_status(
    topic: KafkaTopic,
    ready: Ready,
    found: TopicDescription | None,
    *,
    now: float,
    cell: str | None = None,
    place: Place = None,
) -> KafkaTopicStatus:
    """Pure. `found` None keeps what was known: a topic is not gone because nobody answered."""
    old = topic.status
    ok, reason, message = ready
    waiting = reason in WAITING
    generation = topic.metadata.generation
    conditions = old.conditions
    for kind, value in ((c.READY, ok), (c.RECONCILING, not ok and waiting), (c.STALLED, not ok and not waiting)):
        conditions = c.set_condition(conditions, kind, value, reason, message, observed_generation=generation, now=now)
    if isinstance(place, Check):
        told = explain([place])
        conditions = c.set_condition(
            conditions, c.DRIFTED, True, place.name, told, observed_generation=generation, now=now
        )
    elif place is not None:
        conditions = c.set_condition(conditions, c.DRIFTED, False, "OnShard", observed_generation=generation, now=now)
    return KafkaTopicStatus(
        conditions=conditions,
        observed_generation=generation,
        topic_name=topic.topic_name,
        cell=cell or old.cell,
        topic_id=found.topic_id if found else old.topic_id,
        partitions=found.partitions if found else old.partitions,
        replicas=found.replication_factor if found else old.replicas,
        config_keys=tuple(sorted(topic.spec.config)) if ok else old.config_keys,
    )
