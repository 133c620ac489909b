"""Reconcile all KafkaTopics of one cluster in one pass, in bulk: a handful of admin calls whatever their number.

Kafka's answer for one topic never holds up another. Statuses are written only where they change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_topic import KafkaTopic, KafkaTopicStatus
from controlplane.api.roles import Role
from controlplane.domain.check import explain
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.topics.planner import plan_topics
from controlplane.domain.topics.values import DesiredTopic, TopicDescription, TopicPlan
from controlplane.ports import (
    Clock,
    ConflictError,
    KafkaAdmin,
    KafkaAdmins,
    KafkaError,
    KubeApi,
    NotFoundError,
    Object,
    Resource,
)
from controlplane.services.access.way import way_to
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import PODS
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key
from controlplane.settings import OperatorSettings

log = logging.getLogger(__name__)

KAFKA_TOPICS = Resource(GROUP, VERSION, "kafkatopics", "KafkaTopic")
STATUS_WRITES = 16
"""Status writes at the same time."""


@dataclass
class Declared:
    """An object as it was read; `topic` follows what the pass has written since."""

    obj: Object
    topic: KafkaTopic


class TopicService:
    def __init__(
        self, kube: KubeApi, admins: KafkaAdmins, clock: Clock, events: EventRecorder, settings: OperatorSettings
    ) -> None:
        self._kube, self._admins, self._clock, self._events, self._settings = kube, admins, clock, events, settings

    async def reconcile(self, key: Key) -> float | None:
        """`key` names the cluster. None when it has no topics: an event will wake us."""
        declared = await self._declared(key)
        if not declared:
            return None
        waiting, admin, brokers = await self._admin(key)
        if admin is None:
            await self._write_all(declared, {d.topic.metadata.name: (False, *waiting) for d in declared}, {})
            # An event of the cluster wakes us when it appears; while it comes up its address is looked for.
            missing = waiting[0] == "ClusterNotFound"
            return self._settings.resync_interval if missing else self._settings.busy_interval
        try:
            verdicts, existing, done = await self._bring_about(admin, declared, brokers)
        except KafkaError as error:
            verdicts = {d.topic.metadata.name: (False, "KafkaUnavailable", error.message) for d in declared}
            await self._write_all(declared, verdicts, {})
            return self._settings.busy_interval
        await self._write_all(declared, verdicts, existing)
        return self._settings.resync_interval if done else self._settings.busy_interval

    async def _declared(self, key: Key) -> list[Declared]:
        found = []
        for obj in await self._kube.list(KAFKA_TOPICS, key.namespace):
            if "deletionTimestamp" in obj["metadata"] or obj["spec"]["clusterRef"]["name"] != key.name:
                continue
            try:
                found.append(Declared(obj, KafkaTopic.model_validate(obj)))
            except ValidationError as error:
                log.warning("KafkaTopic %s/%s cannot be read: %s", key.namespace, obj["metadata"]["name"], error)
        return found

    async def _admin(self, key: Key) -> tuple[tuple[str, str], KafkaAdmin | None, int]:
        """The cluster's admin and its declared number of brokers, or the reason why topics have to wait."""
        try:
            cluster = KafkaCluster.model_validate(await self._kube.get(KAFKA_CLUSTERS, key.name, key.namespace))
        except NotFoundError:
            return ("ClusterNotFound", f"spec.clusterRef: no KafkaCluster {key.name!r} in this namespace."), None, 0
        if not cluster.status.bootstrap_servers:
            return ("ClusterNotReady", f"KafkaCluster {key.name!r} is not up yet."), None, 0
        ours = f"{names.CLUSTER}={key.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        way = await way_to(self._kube, cluster, by_name=self._settings.addressing == "DNS")
        servers = way.bootstrap(observe_nodes(await self._kube.list(PODS, key.namespace, labels=ours), []))
        if not servers or not way.is_open:
            return ("ClusterNotReady", f"KafkaCluster {key.name!r} has no running broker."), None, 0
        brokers = sum(pool.replicas for pool in cluster.spec.node_pools if Role.BROKER in pool.roles)
        try:
            return ("", ""), self._admins.get(key.cell, servers, way.tls), brokers
        except KafkaError as error:
            return ("KafkaUnavailable", error.message), None, 0

    async def _bring_about(
        self, admin: KafkaAdmin, declared: list[Declared], brokers: int
    ) -> tuple[dict[str, tuple[bool, str, str]], dict[str, TopicDescription], bool]:
        """(Ready of each object by name, topics as they are now, whether everything holds). Raises KafkaError."""
        topics = [_desired(d.topic) for d in declared]
        existing = await admin.describe_topics()
        plan = plan_topics(topics, existing, brokers)
        moved = await self._claim_keys(declared, plan)
        errors = await self._carry_out(admin, without(plan, moved))
        if plan.creates or plan.grow or plan.config:
            existing = await admin.describe_topics()
        verdicts: dict[str, tuple[bool, str, str]] = {}
        for topic in topics:
            error = errors.get(topic.name)
            if refusal := plan.refusals.get(topic.key):
                verdicts[topic.key] = (False, refusal.name, explain([refusal]))
            elif error is not None and error.code == "INVALID_REPLICATION_FACTOR":
                verdicts[topic.key] = (False, "WaitingForBrokers", f"Not enough brokers are up: {error.message}")
            elif error is not None:
                verdicts[topic.key] = (False, "KafkaRefused", f"Kafka refused it ({error.code}): {error.message}")
            elif topic.name not in existing:
                verdicts[topic.key] = (False, "Creating", "Waiting for the topic to appear.")
            else:
                verdicts[topic.key] = (True, "AsDeclared", "")
        settled = all(ok or reason not in _WAITING for ok, reason, _ in verdicts.values())
        return verdicts, existing, settled

    async def _claim_keys(self, declared: list[Declared], plan: TopicPlan) -> set[str]:
        """Record which settings are ours before they are set, so that a crash in between forgets none.

        Returns the topics whose object moved or went away meanwhile: they wait for its event, the others do not.
        """
        moved: set[str] = set()
        limit = asyncio.Semaphore(STATUS_WRITES)

        async def claim(entry: Declared, keys: tuple[str, ...]) -> None:
            status = entry.topic.status.model_copy(update={"config_keys": keys})
            body = entry.obj | {"status": status.to_object()}
            try:
                async with limit:
                    written = await self._kube.replace(KAFKA_TOPICS, body, subresource="status")
            except (ConflictError, NotFoundError):
                moved.add(entry.topic.topic_name)
                return
            entry.obj["metadata"]["resourceVersion"] = written["metadata"]["resourceVersion"]
            entry.topic = entry.topic.model_copy(update={"status": status})

        changed = {*plan.config, *(new.name for new in plan.creates)}
        async with asyncio.TaskGroup() as group:
            for entry in declared:
                keys = plan.owned.get(entry.topic.metadata.name)
                known = set(entry.topic.status.config_keys)
                if keys is not None and entry.topic.topic_name in changed and set(keys) != known:
                    group.create_task(claim(entry, keys))
        return moved

    async def _carry_out(self, admin: KafkaAdmin, plan: TopicPlan) -> dict[str, KafkaError]:
        errors: dict[str, KafkaError | None] = {}
        if plan.creates:
            errors |= await admin.create_topics(plan.creates)
        if plan.grow:
            errors |= await admin.create_partitions(plan.grow)
        if plan.config:
            for name, error in (await admin.alter_topic_configs(plan.config)).items():
                errors[name] = errors.get(name) or error
        return {
            name: error
            for name, error in errors.items()
            # A killed pass made it, or somebody else just did: what is there is described and compared next.
            if error is not None and error.code != "TOPIC_ALREADY_EXISTS"
        }

    async def _write_all(
        self,
        declared: list[Declared],
        verdicts: Mapping[str, tuple[bool, str, str]],
        existing: Mapping[str, TopicDescription],
    ) -> None:
        limit = asyncio.Semaphore(STATUS_WRITES)

        async def write(entry: Declared) -> None:
            async with limit:
                await self._write_status(entry, verdicts[entry.topic.metadata.name], existing)

        async with asyncio.TaskGroup() as group:
            for entry in declared:
                if entry.topic.metadata.name in verdicts and not _is_paused(entry.topic):
                    group.create_task(write(entry))

    async def _write_status(
        self, entry: Declared, ready: tuple[bool, str, str], existing: Mapping[str, TopicDescription]
    ) -> None:
        topic, old = entry.topic, entry.topic.status
        status = topic_status(topic, ready, existing.get(topic.topic_name), now=self._clock.now())
        if status == old:
            return
        body = {key: value for key, value in entry.obj.items() if key != "status"} | {"status": status.to_object()}
        try:
            await self._kube.replace(KAFKA_TOPICS, body, subresource="status")
        except (ConflictError, NotFoundError):
            # The object moved or went away: its event wakes another pass.
            return
        before = c.find_condition(old.conditions, c.READY)
        if before is None or (before.status, before.reason) != (("True" if ready[0] else "False"), ready[1]):
            kind: Literal["Normal", "Warning"] = "Normal" if ready[0] or ready[1] in _WAITING else "Warning"
            await self._events.record(entry.obj, kind, ready[1], ready[2] or f"topic {topic.topic_name} is as declared")


_WAITING = frozenset({"Creating", "ClusterNotReady", "KafkaUnavailable", "WaitingForBrokers"})


def without(plan: TopicPlan, topics: set[str]) -> TopicPlan:
    """The plan less everything about these topics."""
    return replace(
        plan,
        creates=tuple(new for new in plan.creates if new.name not in topics),
        grow={name: total for name, total in plan.grow.items() if name not in topics},
        config={name: changes for name, changes in plan.config.items() if name not in topics},
    )


def _is_paused(topic: KafkaTopic) -> bool:
    return topic.metadata.annotations.get(names.PAUSED) == "true"


def _desired(topic: KafkaTopic) -> DesiredTopic:
    created = topic.metadata.creation_timestamp
    return DesiredTopic(
        key=topic.metadata.name,
        name=topic.topic_name,
        partitions=topic.spec.partitions,
        replicas=topic.spec.replicas,
        config=topic.spec.config,
        created_at=datetime.fromisoformat(created).timestamp() if created else 0.0,
        paused=_is_paused(topic),
        owned_keys=frozenset(topic.status.config_keys),
    )


def topic_status(
    topic: KafkaTopic, ready: tuple[bool, str, str], found: TopicDescription | None, *, now: float
) -> KafkaTopicStatus:
    """Pure. `found` None keeps what was known: a topic is not gone because nobody answered."""
    old = topic.status
    ok, reason, message = ready
    waiting = reason in _WAITING
    conditions = old.conditions
    for kind, value in ((c.READY, ok), (c.RECONCILING, not ok and waiting), (c.STALLED, not ok and not waiting)):
        conditions = c.set_condition(
            conditions,
            kind,
            value,
            reason,
            message,
            observed_generation=topic.metadata.generation,
            now=now,
        )
    return KafkaTopicStatus(
        conditions=conditions,
        observed_generation=topic.metadata.generation,
        topic_name=topic.topic_name,
        topic_id=found.topic_id if found else old.topic_id,
        partitions=found.partitions if found else old.partitions,
        replicas=found.replication_factor if found else old.replicas,
        config_keys=tuple(sorted(topic.spec.config)) if ok else old.config_keys,
    )
