"""Reconcile all KafkaTopics of one cluster in one pass, in bulk: a handful of admin calls whatever their number.

They are those that name the cluster, in its namespace, and those of tenants that have been given it for a home, in any
namespace (where that is not watched, only this is said): limits of a tenant and names are decided over all of them.
Kafka's answer for one topic never holds up another. Statuses are written only where they change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.roles import Role
from controlplane.api.tenant_ref import CELL_PATH
from controlplane.api.validate import check_home
from controlplane.api.validate import explain as explain_problems
from controlplane.domain.access.enrolment import NOT_ENROLLED
from controlplane.domain.check import Check, explain
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.tenants.directory import Cell, Directory
from controlplane.domain.tenants.homes import unwatched
from controlplane.domain.topics.limits import cells_of, is_shared
from controlplane.domain.topics.planner import asks, plan_topics
from controlplane.domain.topics.tenancy import Facts, Tenancy
from controlplane.domain.topics.values import DesiredTopic, TopicDescription, TopicPlan
from controlplane.ports import (
    Clock,
    ConflictError,
    KafkaAdmin,
    KafkaAdmins,
    KafkaError,
    KubeApi,
    NotFoundError,
)
from controlplane.services.access.way import way_to
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import PODS
from controlplane.services.events import EventRecorder
from controlplane.services.keys import topics_key
from controlplane.services.queue import Key
from controlplane.services.tenants.read import read_directory
from controlplane.services.topic_spending import Spending
from controlplane.services.topic_status import KAFKA_TOPICS as KAFKA_TOPICS
from controlplane.services.topic_status import WAITING, Declared, Place, Ready, StatusWriter, readable
from controlplane.settings import OperatorSettings

log = logging.getLogger(__name__)

STATUS_WRITES = 16
"""Status writes at the same time."""
_NOT_NOW = frozenset({"INVALID_REPLICATION_FACTOR", "INVALID_REPLICA_ASSIGNMENT"})
"""What Kafka says when brokers that a topic needs are not up."""
_LOOKED_FOR = WAITING - {"TenantNotPlaced"}
"""What is waited for without an event of its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """By object key: Ready, its topic as it is now, and where that topic's replicas are. An object that has not got its
    name learns nothing of the topic that bears it."""

    verdicts: Mapping[str, Ready]
    found: Mapping[str, TopicDescription] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)


class TopicService:
    def __init__(
        self, kube: KubeApi, admins: KafkaAdmins, clock: Clock, events: EventRecorder, settings: OperatorSettings
    ) -> None:
        self._kube, self._admins, self._settings = kube, admins, settings
        self._statuses = StatusWriter(kube, clock, events)
        self._spending = Spending(clock, 2 * settings.resync_interval)

    async def reconcile(self, key: Key) -> float | None:
        """`key` names the cluster. None when it has no topics: an event will wake us."""
        declared = await self._declared(key)
        if not declared:
            return None
        known = await read_directory(self._kube)
        waiting, admin, brokers = await self._admin(key)
        if admin is None:
            await self._write_all(key, declared, Outcome({entry.key: _not_yet(entry, *waiting) for entry in declared}))
            # An event of the cluster wakes us when it appears; while it comes up its address is looked for.
            missing = waiting[0] in ("ClusterNotFound", NOT_ENROLLED)
            return self._settings.resync_interval if missing else self._settings.busy_interval
        try:
            outcome = await self._bring_about(key, admin, declared, known, brokers)
        except KafkaError as error:
            outcome = Outcome({entry.key: (False, "KafkaUnavailable", error.message) for entry in declared})
        await self._write_all(key, declared, outcome)
        paused = {entry.key for entry in declared if entry.is_paused}
        settled = all(
            ok or reason not in _LOOKED_FOR for of, (ok, reason, _) in outcome.verdicts.items() if of not in paused
        )
        return self._settings.resync_interval if settled else self._settings.busy_interval

    async def _declared(self, key: Key) -> list[Declared]:
        own = await self._kube.list(KAFKA_TOPICS, key.namespace)
        named = [obj for obj in own if (obj["spec"].get("clusterRef") or {}).get("name") == key.name]
        given = await self._kube.list(KAFKA_TOPICS, fields=f"{CELL_PATH[1:]}={key.cell}")
        of_tenants = [obj for obj in given if "clusterRef" not in obj["spec"]]
        return [entry for obj in (*named, *of_tenants) if (entry := readable(obj)) is not None]

    async def _admin(self, key: Key) -> tuple[tuple[str, str], KafkaAdmin | None, int]:
        """The cluster's admin and its declared number of brokers, or the reason why topics have to wait."""
        try:
            cluster = KafkaCluster.model_validate(await self._kube.get(KAFKA_CLUSTERS, key.name, key.namespace))
        except NotFoundError:
            return ("ClusterNotFound", f"no KafkaCluster {key.name!r} in namespace {key.namespace!r}."), None, 0
        if not cluster.status.bootstrap_servers:
            return ("ClusterNotReady", f"KafkaCluster {key.name!r} is not up yet."), None, 0
        ours = f"{names.CLUSTER}={key.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        way = await way_to(self._kube, cluster, by_name=self._settings.addressing == "DNS")
        if way.refused is not None:
            return (way.refused.name, way.refusal), None, 0
        servers = way.bootstrap(observe_nodes(await self._kube.list(PODS, key.namespace, labels=ours), []))
        if not servers or not way.is_open:
            return ("ClusterNotReady", f"KafkaCluster {key.name!r} has no running broker."), None, 0
        brokers = sum(pool.replicas for pool in cluster.spec.node_pools if Role.BROKER in pool.roles)
        try:
            return ("", ""), self._admins.get(key.cell, servers, way.tls), brokers
        except KafkaError as error:
            return ("KafkaUnavailable", error.message), None, 0

    async def _bring_about(
        self, key: Key, admin: KafkaAdmin, declared: list[Declared], known: Directory, brokers: int
    ) -> Outcome:
        """Raises KafkaError."""
        cell = Cell(key.namespace, key.name)
        topics = [_desired(entry, self._unwatched(entry, cell)) for entry in declared]
        existing = await admin.describe_topics()
        asking = _asking(topics, existing)
        facts = await _facts(admin, asking, known)
        facts = replace(facts, sizes=self._spending.sizes(cell, facts.sizes, known))
        await self._look_elsewhere(cell, known, asking)
        # From here to `note` nothing is waited for: no other cell decides about the same limits meanwhile.
        tenancy = Tenancy(known, cell, existing, facts, self._spending.elsewhere(cell))
        plan = plan_topics(topics, existing, brokers, tenancy)
        self._spending.note(cell, tenancy.spent())
        moved = await self._claim_keys(declared, plan)
        errors = await self._carry_out(admin, without(plan, moved))
        if plan.creates or plan.grow or plan.config:
            existing = await admin.describe_topics()
        verdicts: dict[str, Ready] = {}
        for topic in topics:
            error = errors.get(topic.name)
            if refusal := plan.refusals.get(topic.key):
                verdicts[topic.key] = (False, refusal.name, explain([refusal]))
            elif error is not None and error.code in _NOT_NOW:
                verdicts[topic.key] = (False, "WaitingForBrokers", f"Not enough brokers are up: {error.message}")
            elif error is not None:
                verdicts[topic.key] = (False, "KafkaRefused", f"Kafka refused it ({error.code}): {error.message}")
            elif topic.name not in existing:
                verdicts[topic.key] = (False, "Creating", "Waiting for the topic to appear.")
            else:
                verdicts[topic.key] = (True, "AsDeclared", "")
        owners = [topic for topic in topics if topic.name in existing and plan.owners.get(topic.name) == topic.key]
        places: dict[str, Place] = {
            topic.key: tenancy.strayed(topic, existing[topic.name]) or "OnShard"
            for topic in owners
            if tenancy.shard(topic) is not None
        }
        return Outcome(verdicts, {topic.key: existing[topic.name] for topic in owners}, places)

    async def _look_elsewhere(self, cell: Cell, known: Directory, asking: set[str]) -> None:
        """Count what those who ask have in their other cells, where that has not been seen lately: statuses may be
        older than what was granted last, by an operator that has ended since. Where nobody answers they have to do."""
        tenants = [known.by_name[name] for name in sorted(asking) if name in known.by_name]
        others = {other for tenant in tenants if is_shared(tenant) for other in cells_of(tenant)} - {cell}
        for other in sorted(others):
            if not self._settings.watches(other.namespace) or self._spending.knows(other):
                continue
            _, admin, _ = await self._admin(topics_key(other.namespace, other.name))
            if admin is None:
                continue
            try:
                there, sizes = await admin.describe_topics(), await admin.partition_sizes()
            except KafkaError as error:
                log.info("limits of tenants in %s are counted by statuses: %s", other, error.message)
                continue
            if not self._spending.knows(other):  # its own pass has come first, and may have granted something
                facts = Facts(sizes=self._spending.sizes(other, sizes, known))
                self._spending.note(other, Tenancy(known, other, there, facts).spent())

    def _unwatched(self, entry: Declared, cell: Cell) -> Check | None:
        namespace = entry.topic.metadata.namespace
        return None if self._settings.watches(namespace) else unwatched(namespace, cell)

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
                keys = plan.owned.get(entry.key)
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

    async def _write_all(self, key: Key, declared: list[Declared], outcome: Outcome) -> None:
        limit = asyncio.Semaphore(STATUS_WRITES)

        async def write(entry: Declared) -> None:
            ready, found = outcome.verdicts[entry.key], outcome.found.get(entry.key)
            async with limit:
                await self._statuses.write(entry, ready, found, cell=key.cell, place=outcome.places.get(entry.key))

        async with asyncio.TaskGroup() as group:
            for entry in declared:
                if entry.key in outcome.verdicts and not entry.is_paused:
                    group.create_task(write(entry))


def _not_yet(entry: Declared, reason: str, message: str) -> Ready:
    field_ = "spec.clusterRef" if entry.topic.spec.cluster_ref is not None else "spec.tenantRef"
    return False, reason, f"{field_}: {message}" if reason == "ClusterNotFound" else message


def _asking(topics: list[DesiredTopic], existing: Mapping[str, TopicDescription]) -> set[str]:
    """Tenants that have a topic which wants something."""
    return {
        topic.tenant
        for topic in topics
        if topic.tenant is not None and not topic.paused and asks(topic, existing.get(topic.name))
    }


async def _facts(admin: KafkaAdmin, asking: set[str], known: Directory) -> Facts:
    """Kafka is asked only where topics of tenants want something. Raises KafkaError."""
    if not asking:
        return Facts()
    kafka, _ = await admin.observe()
    limited = any(known.by_name[one].spec.limits.storage is not None for one in asking if one in known.by_name)
    sizes = await admin.partition_sizes() if limited else {}
    return Facts({broker.id: broker.rack for broker in kafka.brokers}, sizes)


def without(plan: TopicPlan, topics: set[str]) -> TopicPlan:
    """The plan less everything about these topics."""
    return replace(
        plan,
        creates=tuple(new for new in plan.creates if new.name not in topics),
        grow={name: growth for name, growth in plan.grow.items() if name not in topics},
        config={name: changes for name, changes in plan.config.items() if name not in topics},
    )


def _desired(entry: Declared, refusal: Check | None) -> DesiredTopic:
    topic = entry.topic
    created, ref = topic.metadata.creation_timestamp, topic.spec.tenant_ref
    problems = check_home(topic)
    return DesiredTopic(
        key=entry.key,
        name=topic.topic_name,
        partitions=topic.spec.partitions,
        replicas=topic.spec.replicas,
        config=topic.spec.config,
        created_at=datetime.fromisoformat(created).timestamp() if created else 0.0,
        paused=entry.is_paused,
        owned_keys=frozenset(topic.status.config_keys),
        tenant=ref.name if ref is not None else None,
        refusal=Check("InvalidSpec", ok=False, evidence=explain_problems(problems)) if problems else refusal,
    )
