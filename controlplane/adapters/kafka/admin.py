"""ports.KafkaAdmin against real brokers.

Every call has a deadline. Bulk calls go out in batches of at most `BATCH` items; results of batches that were answered
are kept when a later one is not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from controlplane.adapters.kafka import access, members, raw, replicas
from controlplane.adapters.kafka.connections import Broker, Connections, Question
from controlplane.adapters.kafka.errors import check, of_code
from controlplane.domain.observation import (
    BrokerObservation,
    KafkaObservation,
    PartitionObservation,
    PartitionPlace,
    QuorumObservation,
    Reassignment,
    TopicPartition,
)
from controlplane.ports import Acl, Growth, KafkaError, NewTopic, ScramPassword, TopicDescription

T = TypeVar("T")
N = TypeVar("N")
Results = dict[str, KafkaError | None]

BATCH = 500
ELECTION_BATCH = 200
MIN_ISR = "min.insync.replicas"
LAGGING = "STALE_BROKER"
RELOADED = "listener.name.controller.ssl.keystore.location"
"""A per-broker key that no kfleet cluster has dynamically: the files stand in server.properties."""


class KafkaPythonAdmin:
    """Implements ports.KafkaAdmin. `timeout` is the deadline of one request to the cluster, in seconds."""

    def __init__(self, connections: Connections, *, timeout: float, voter_caught_up_seconds: float) -> None:
        self._connections = connections
        self._timeout = timeout
        self._caught_up_seconds = voter_caught_up_seconds

    async def observe(self) -> tuple[KafkaObservation, QuorumObservation]:
        """All sections from one broker, which must be caught up with the controllers: its metadata is its own."""
        return await self._connections.read(self._observe, self._timeout)

    async def describe_topics(self, names: Sequence[str] | None = None) -> dict[str, TopicDescription]:
        if names is not None:
            found: dict[str, TopicDescription] = {}
            for batch in raw.batches(names, BATCH):
                found |= await self._connections.read(_describe(batch), self._timeout)
            return found
        return await self._connections.read(_describe(None), self._timeout)

    async def create_topics(self, topics: Sequence[NewTopic]) -> Results:
        async def create(broker: Broker, batch: list[NewTopic]) -> Results:
            return raw.created(await broker.send(raw.create_topics(batch, broker.milliseconds_left)))

        return await self._in_bulk(topics, create, lambda topic: topic.name)

    async def delete_topics(self, ids: Sequence[str]) -> Results:
        async def delete(broker: Broker, batch: list[str]) -> Results:
            return raw.deleted(await broker.send(raw.delete_topics(batch, broker.milliseconds_left)))

        return await self._in_bulk(ids, delete, str)

    async def create_partitions(self, topics: Mapping[str, Growth]) -> Results:
        async def create(broker: Broker, batch: list[tuple[str, Growth]]) -> Results:
            request = raw.create_partitions(dict(batch), broker.milliseconds_left)
            return raw.partitions_created(await broker.send(request))

        return await self._in_bulk(topics.items(), create, lambda item: item[0])

    async def alter_topic_configs(self, changes: Mapping[str, Mapping[str, str | None]]) -> Results:
        async def alter(broker: Broker, batch: list[tuple[str, Mapping[str, str | None]]]) -> Results:
            return raw.altered(await broker.send(raw.alter_configs(raw.TOPIC, dict(batch))))

        return await self._in_bulk(changes.items(), alter, lambda item: item[0])

    async def alter_cluster_config(self, changes: Mapping[str, str | None]) -> None:
        async def alter(broker: Broker) -> None:
            for error in raw.altered(await broker.send(raw.alter_configs(raw.BROKER, {"": changes}))).values():
                if error is not None:
                    raise error

        if changes:
            await self._connections.write(alter, self._timeout)

    async def settings(self, topics: Sequence[str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        async def ask(broker: Broker) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
            answer, metadata = await broker.send(raw.describe_quorum()), await broker.send(raw.metadata([]))
            _refuse_lagging(broker.address, _brokers(metadata), self._quorum(raw.quorum_partition(answer), time.time()))
            of_topics: dict[str, dict[str, str]] = {}
            for batch in raw.batches(topics, BATCH):
                request = raw.describe_configs(raw.TOPIC, batch)
                of_topics |= raw.configs(await broker.send(request), raw.DYNAMIC_TOPIC_CONFIG)
            of_brokers = await broker.send(raw.describe_configs(raw.BROKER, [""]))
            return of_topics, raw.configs(of_brokers, raw.DYNAMIC_DEFAULT_BROKER_CONFIG).get("", {})

        return await self._connections.read(ask, self._timeout)

    async def alter_settings(
        self, topics: Mapping[str, Mapping[str, str | None]], brokers: Mapping[str, str | None]
    ) -> Results:
        changes = [(raw.TOPIC, name, wanted) for name, wanted in topics.items()]
        changes += [(raw.BROKER, "", brokers)] if brokers else []

        async def alter(broker: Broker) -> Results:
            return raw.altered(await broker.send(raw.alter_configs_of(changes)))

        return await self._connections.write(alter, self._timeout) if changes else {}

    async def reload(self, node: int) -> None:
        """Have this very node, the only server, read its stores again: what is written of its config, even if nothing
        changes by it, makes it do that (KAFKA-14136). A key is taken away that nobody sets: it leaves no trace."""

        async def alter(broker: Broker) -> None:
            changes = {str(node): {RELOADED: None}}
            for error in raw.altered(await broker.send(raw.alter_configs(raw.BROKER, changes))).values():
                if error is not None:
                    raise error

        await self._connections.write(alter, self._timeout)

    async def elect_preferred_leaders(self, partitions: Sequence[TopicPartition]) -> None:
        """All batches are tried; then the first failure is raised, saying how many there were."""
        failures: dict[TopicPartition, KafkaError] = {}
        for batch in raw.batches(partitions, ELECTION_BATCH):
            failures |= await self._connections.write(_elect(batch), self._timeout)
        if failures:
            partition, error = next(iter(failures.items()))
            raise KafkaError(
                error.code,
                f"{len(failures)} of {len(partitions)} preferred elections failed, first {partition}: {error.message}",
                retriable=all(each.retriable for each in failures.values()),
            )

    async def alter_partition_reassignments(
        self, targets: Mapping[TopicPartition, Sequence[int] | None]
    ) -> dict[TopicPartition, KafkaError | None]:
        """A failure of the whole request is raised, also after batches that were taken: look again and say it again."""
        results: dict[TopicPartition, KafkaError | None] = {}
        for batch in raw.batches(targets.items(), BATCH):
            results |= await self._connections.write(_reassign(batch), self._timeout)
        return results

    async def list_partition_reassignments(self) -> dict[TopicPartition, Reassignment]:
        async def ask(broker: Broker) -> dict[TopicPartition, Reassignment]:
            return replicas.reassignments(await broker.send(raw.list_reassignments(broker.milliseconds_left)))

        return await self._connections.read(ask, self._timeout)

    async def places(self) -> tuple[PartitionPlace, ...]:
        return await self._connections.read(_places, self._timeout)

    async def partition_sizes(self) -> dict[TopicPartition, int]:
        async def ask(broker: Broker) -> dict[TopicPartition, int]:
            return replicas.sizes(await broker.send(replicas.describe_log_dirs()))

        return replicas.largest(await self._connections.read_each(ask, self._timeout))

    async def update_features(self, levels: Mapping[str, int]) -> None:
        async def update(broker: Broker) -> None:
            raw.check_features(await broker.send(raw.upgrade_features(levels, broker.milliseconds_left)))

        await self._connections.write(update, self._timeout)

    async def add_voter(self, node: int, directory_id: str, host: str, port: int) -> None:
        async def add(broker: Broker) -> None:
            cluster = await _cluster_id(broker)
            request = members.add_voter(
                cluster, node, directory_id, host=host, port=port, timeout_ms=broker.milliseconds_left
            )
            members.check_answer(await broker.send(request))

        await self._connections.write(add, self._timeout)

    async def remove_voter(self, node: int, directory_id: str) -> None:
        async def remove(broker: Broker) -> None:
            request = members.remove_voter(await _cluster_id(broker), node, directory_id)
            members.check_answer(await broker.send(request))

        await self._connections.write(remove, self._timeout)

    async def registered_brokers(self) -> frozenset[int] | None:
        async def ask(broker: Broker) -> frozenset[int]:
            return members.registered(await broker.send(members.describe_cluster()))

        try:
            return await self._connections.read(ask, self._timeout)
        except KafkaError as error:
            if error.retriable:
                raise
            return None

    async def unregister_broker(self, node: int) -> None:
        async def unregister(broker: Broker) -> None:
            members.check_answer(await broker.send(members.unregister_broker(node)))

        await self._connections.write(unregister, self._timeout)

    async def describe_scram(self, users: Sequence[str] | None = None) -> dict[str, int]:
        found: dict[str, int] = {}
        for batch in [None] if users is None else raw.batches(users, BATCH):
            found |= await self._connections.read(_scram(batch), self._timeout)
        return found

    async def upsert_scram(self, passwords: Sequence[ScramPassword]) -> Results:
        async def upsert(broker: Broker, batch: list[Any]) -> Results:
            return access.scram_altered(await broker.send(access.upsert_scram(batch)))

        # Salting takes milliseconds a password: neither on this loop nor on the thread that all requests share.
        salted = await asyncio.to_thread(access.salted, passwords)
        return await self._in_bulk(salted, upsert, lambda one: str(one.name))

    async def delete_scram(self, users: Sequence[str]) -> Results:
        async def delete(broker: Broker, batch: list[str]) -> Results:
            return access.scram_altered(await broker.send(access.delete_scram(batch)))

        return await self._in_bulk(users, delete, str)

    async def describe_acls(self) -> frozenset[Acl]:
        async def describe(broker: Broker) -> frozenset[Acl]:
            return access.acls(await broker.send(access.describe_acls()))

        return await self._connections.read(describe, self._timeout)

    async def create_acls(self, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        async def create(broker: Broker, batch: list[Acl]) -> dict[Acl, KafkaError | None]:
            return access.acls_created(await broker.send(access.create_acls(batch)), batch)

        return await self._in_bulk(acls, create, lambda acl: acl)

    async def delete_acls(self, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        async def delete(broker: Broker, batch: list[Acl]) -> dict[Acl, KafkaError | None]:
            return access.acls_deleted(await broker.send(access.delete_acls(batch)), batch)

        return await self._in_bulk(acls, delete, lambda acl: acl)

    async def describe_user_quotas(self) -> dict[str, dict[str, float]]:
        async def describe(broker: Broker) -> dict[str, dict[str, float]]:
            return access.user_quotas(await broker.send(access.describe_user_quotas()))

        return await self._connections.read(describe, self._timeout)

    async def alter_user_quotas(self, changes: Mapping[str, Mapping[str, float | None]]) -> Results:
        async def alter(broker: Broker, batch: list[tuple[str, Mapping[str, float | None]]]) -> Results:
            return access.quotas_altered(await broker.send(access.alter_user_quotas(dict(batch))))

        return await self._in_bulk(changes.items(), alter, lambda item: item[0])

    async def close(self) -> None:
        await self._connections.close()

    async def _in_bulk(
        self,
        items: Iterable[T],
        send: Callable[[Broker, list[T]], Awaitable[dict[N, KafkaError | None]]],
        name: Callable[[T], N],
    ) -> dict[N, KafkaError | None]:
        results: dict[N, KafkaError | None] = {}
        failure: KafkaError | None = None
        for batch in raw.batches(items, BATCH):
            if failure is None:
                try:
                    results |= await self._connections.write(_sending(send, batch), self._timeout)
                    continue
                except KafkaError as error:
                    if not results:
                        raise
                    failure = error
            results |= {name(item): failure for item in batch}
        return results

    async def _observe(self, broker: Broker) -> tuple[KafkaObservation, QuorumObservation]:
        as_of = time.time()
        asked = [
            broker.start(request)
            for request in (
                raw.describe_quorum(),  # first: who had caught up by then tells no older metadata afterwards
                raw.metadata(None),
                raw.list_reassignments(broker.milliseconds_left),
                raw.api_versions(),
                raw.describe_configs(raw.BROKER, [""]),
            )
        ]
        quorum_answer, metadata, reassignments, versions, dynamic = [await answer for answer in asked]
        check(getattr(metadata, "error_code", None) or 0)
        quorum = self._quorum(raw.quorum_partition(quorum_answer), as_of)
        brokers = _brokers(metadata)
        _refuse_lagging(broker.address, brokers, quorum)
        for topic in metadata.topics:
            check(topic.error_code, f"topic {topic.name} cannot be read")
        min_isr: dict[str, dict[str, str]] = {}
        for batch in raw.batches((topic.name for topic in metadata.topics), BATCH):
            min_isr |= raw.configs(await broker.send(raw.describe_configs(raw.TOPIC, batch, [MIN_ISR])))
        kafka = KafkaObservation(
            as_of=as_of,
            cluster_id=metadata.cluster_id,
            brokers=brokers,
            partitions=_partitions(metadata.topics, min_isr),
            reassigning=raw.reassigning(reassignments),
            features=raw.finalized_features(versions),
            dynamic_config=raw.configs(dynamic, raw.DYNAMIC_DEFAULT_BROKER_CONFIG).get("", {}),
        )
        return kafka, quorum

    def _quorum(self, partition: Any, as_of: float) -> QuorumObservation:
        leader = next((one for one in partition.current_voters if one.replica_id == partition.leader_id), None)
        if leader is None:
            raise KafkaError("LEADER_NOT_AVAILABLE", "the controllers have no leader at the moment", retriable=True)
        return QuorumObservation(
            as_of=as_of,
            leader=partition.leader_id,
            epoch=partition.leader_epoch,
            voters=raw.replicas_of_quorum(partition.current_voters, leader, self._caught_up_seconds),
            observers=raw.replicas_of_quorum(partition.observers, leader, self._caught_up_seconds),
        )


async def _cluster_id(broker: Broker) -> str:
    """Sent along with a change of voters, so that one meant for another cluster at this address is refused."""
    return str((await broker.send(raw.metadata([]))).cluster_id)


def _brokers(metadata: Any) -> tuple[BrokerObservation, ...]:
    found = (BrokerObservation(node.node_id, node.rack, node.host, node.port) for node in metadata.brokers)
    return tuple(sorted(found, key=lambda one: one.id))


def _refuse_lagging(address: str, brokers: Sequence[BrokerObservation], quorum: QuorumObservation) -> None:
    """Raises KafkaError (retriable: another broker is asked) if the broker at `address` lags behind the controllers, or
    if they have not heard of it for so long (five minutes; since their election) that they do not list it.

    A broker under another address than it advertises cannot be told apart, and is believed.
    """
    answering = next((one.id for one in brokers if f"{one.host}:{one.port}" == address), None)
    if answering is None:
        return
    replica = next((one for one in (*quorum.voters, *quorum.observers) if one.id == answering), None)
    if replica is None or not replica.caught_up:
        behind = f"is {replica.lag} metadata records behind" if replica else "has not asked the controllers for long"
        raise KafkaError(LAGGING, f"broker {answering} {behind}", retriable=True)


def _partitions(topics: Iterable[Any], configs: Mapping[str, Mapping[str, str]]) -> tuple[PartitionObservation, ...]:
    """Topics without configs were deleted between the two questions, and are left out."""
    found = [
        PartitionObservation(
            topic=topic.name,
            partition=partition.partition_index,
            leader=partition.leader_id if partition.leader_id >= 0 else None,
            replicas=tuple(partition.replica_nodes),
            isr=tuple(partition.isr_nodes),
            min_isr=int(configs[topic.name][MIN_ISR]),
        )
        for topic in topics
        if topic.name in configs
        for partition in topic.partitions
    ]
    return tuple(sorted(found, key=lambda one: (one.topic, one.partition)))


def _describe(names: Sequence[str] | None) -> Question[dict[str, TopicDescription]]:
    async def describe(broker: Broker) -> dict[str, TopicDescription]:
        answer = await broker.send(raw.metadata(names))
        topics = {}
        for topic in answer.topics:
            error = of_code(topic.error_code)
            if error is None and (names is not None or not topic.is_internal):
                topics[topic.name] = topic
            elif error is not None and error.code != raw.UNKNOWN_TOPIC:
                raise KafkaError(error.code, f"topic {topic.name}: {error.message}", retriable=error.retriable)
        configs: dict[str, dict[str, str]] = {}
        for batch in raw.batches(topics, BATCH):
            configs |= raw.configs(await broker.send(raw.describe_configs(raw.TOPIC, batch)), raw.DYNAMIC_TOPIC_CONFIG)
        return {
            name: TopicDescription(
                name=name,
                topic_id=raw.kafka_uuid(topic.topic_id),
                replicas=tuple(
                    tuple(partition.replica_nodes)
                    for partition in sorted(topic.partitions, key=lambda one: one.partition_index)
                ),
                config=configs[name],
            )
            for name, topic in sorted(topics.items())
            if name in configs
        }

    return describe


async def _places(broker: Broker) -> tuple[PartitionPlace, ...]:
    answer = await broker.send(raw.metadata(None))
    return tuple(
        PartitionPlace(
            topic.name, partition.leader_id if partition.leader_id >= 0 else None, (*partition.replica_nodes,)
        )
        for topic in sorted(answer.topics, key=lambda one: one.name)
        for partition in sorted(topic.partitions, key=lambda one: one.partition_index)
    )


def _elect(batch: list[TopicPartition]) -> Question[dict[TopicPartition, KafkaError]]:
    async def elect(broker: Broker) -> dict[TopicPartition, KafkaError]:
        return raw.failed_elections(await broker.send(raw.elect_preferred(batch, broker.milliseconds_left)))

    return elect


def _reassign(
    batch: list[tuple[TopicPartition, Sequence[int] | None]],
) -> Question[dict[TopicPartition, KafkaError | None]]:
    async def reassign(broker: Broker) -> dict[TopicPartition, KafkaError | None]:
        request = replicas.alter_reassignments(batch, broker.milliseconds_left)
        return replicas.altered_reassignments(await broker.send(request))

    return reassign


def _scram(users: list[str] | None) -> Question[dict[str, int]]:
    async def describe(broker: Broker) -> dict[str, int]:
        return access.scram_iterations(await broker.send(access.describe_scram(users)))

    return describe


def _sending(
    send: Callable[[Broker, list[T]], Awaitable[dict[N, KafkaError | None]]], batch: list[T]
) -> Question[dict[N, KafkaError | None]]:
    async def command(broker: Broker) -> dict[N, KafkaError | None]:
        return await send(broker, batch)

    return command
