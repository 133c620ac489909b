"""One Kafka cluster in memory behind ports.KafkaAdmin, with the error codes that brokers give.

`FakeKafka` is the cluster: tests stop and start its brokers and look at its topics. The same contract suite
(support.kafka_admin_contract) runs against it and against real brokers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from support.pod import kafka_id

from controlplane.domain.observation import (
    BrokerObservation,
    KafkaObservation,
    PartitionObservation,
    PartitionPlace,
    QuorumObservation,
    Reassignment,
    TopicPartition,
    VoterObservation,
)
from controlplane.ports import (
    Acl,
    ClientTls,
    Growth,
    KafkaAdmin,
    KafkaError,
    KafkaUnreachableError,
    NewTopic,
    ScramPassword,
    TopicDescription,
)

Results = dict[str, KafkaError | None]

MIN_ISR = "min.insync.replicas"
THROTTLED = ("follower.replication.throttled.replicas", "leader.replication.throttled.replicas")
RATES = ("follower.replication.throttled.rate", "leader.replication.throttled.rate")
TOPIC_KEYS = frozenset({MIN_ISR, "cleanup.policy", "retention.bytes", "retention.ms", "segment.bytes", *THROTTLED})
DYNAMIC_KEYS = frozenset(
    {MIN_ISR, "log.cleaner.threads", "log.retention.bytes", "log.retention.ms", "num.io.threads", *RATES}
)
_THROTTLED_FORM = re.compile(r"\*|([0-9]+:[0-9]+)(,[0-9]+:[0-9]+)*|")
"""org.apache.kafka.storage.internals.log.ThrottledReplicaListValidator"""
QUOTA_KEYS = frozenset({"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"})
SUPPORTED = {"metadata.version": 30, "kraft.version": 1, "transaction.version": 2}


@dataclass
class FakePartition:
    """`adding` and `removing` while it is reassigned; `left` are the looks until what is added is in sync."""

    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int | None
    adding: frozenset[int] = frozenset()
    removing: frozenset[int] = frozenset()
    left: int = 0
    size: int = 0

    @property
    def in_flight(self) -> bool:
        return bool(self.adding or self.removing)

    def place(self, replicas: tuple[int, ...]) -> None:
        """These and no others; the leader stays if it is one of them, as in the controller."""
        self.replicas, self.adding, self.removing = replicas, frozenset(), frozenset()
        self.isr = tuple(one for one in replicas if one in self.isr)
        if self.leader not in self.isr:
            self.leader = next(iter(self.isr), None)


@dataclass
class FakeTopic:
    topic_id: str
    partitions: list[FakePartition]
    config: dict[str, str]
    internal: bool = False


@dataclass
class FakeKafka:
    """Combined nodes from `first_id` on in racks a, b, c; all up, all voters.

    Others may join: a node that is started is an observer with its directory until it is made a voter. `learners` are
    nodes that are up and have not caught up with the metadata log yet. A replica that is added is in sync after
    `copying` looks at the cluster, if its broker is up.
    """

    nodes: int = 3
    first_id: int = 1
    cluster_id: str = field(default_factory=kafka_id)
    topics: dict[str, FakeTopic] = field(default_factory=dict)
    dynamic_config: dict[str, str] = field(default_factory=lambda: {MIN_ISR: "2"})
    features: dict[str, int] = field(
        default_factory=lambda: {"metadata.version": 29, "kraft.version": 1, "transaction.version": 2}
    )
    reassigning: set[TopicPartition] = field(default_factory=set)
    now: float = 0.0
    copying: int = 1
    scram: dict[str, ScramPassword] = field(default_factory=dict)
    acls: set[Acl] = field(default_factory=set)
    quotas: dict[str, dict[str, float]] = field(default_factory=dict)
    authorizer: bool = True

    def __post_init__(self) -> None:
        self.up = set(self.ids)
        self.directories = {node: kafka_id() for node in self.up}
        self.voters = dict(self.directories)
        """Directory ids of the voters: a node that comes back on another disk does not vote with it."""
        self.unregistered: set[int] = set()
        self.learners: set[int] = set()
        self.fetched: dict[int, float] = {}
        """When a voter fetched the end of the metadata log last; `now` for those that are not in it."""
        self.quorum_leader = self.first_id
        self._places = itertools.count()
        self.harms: list[str] = []

    @property
    def registered(self) -> set[int]:
        return {*self.ids, *self.directories} - self.unregistered

    @property
    def ids(self) -> range:
        return range(self.first_id, self.first_id + self.nodes)

    def stop_broker(self, node: int) -> None:
        """It leaves every ISR that has another member, and its leaderships move."""
        self.up.discard(node)
        for topic in self.topics.values():
            for partition in topic.partitions:
                rest = tuple(one for one in partition.isr if one != node)
                partition.isr = rest or partition.isr
                if partition.leader == node:
                    partition.leader = next((one for one in rest if one in self.up), None)
        if self.quorum_leader == node and (left := self.up & self.voters.keys()):
            self.quorum_leader = min(left)

    def start_broker(self, node: int) -> None:
        """It is back in the ISR of all its replicas at once; leaders stay where they are."""
        self.up.add(node)
        self.unregistered.discard(node)
        for topic in self.topics.values():
            for partition in topic.partitions:
                if node in partition.replicas and node not in partition.isr:
                    partition.isr = (*partition.isr, node)
                if partition.leader is None:
                    partition.leader = node if node in partition.isr else None

    def check_majority(self, change: str) -> None:
        """What invariant 1 of a change of members forbids is written down: a voter set without a live majority."""
        if 2 * len(self.live_voters) <= len(self.voters):
            self.harms.append(f"{change}: {sorted(self.live_voters)} of {sorted(self.voters)} are up")

    @property
    def live_voters(self) -> set[int]:
        up = self.up - self.learners
        return {node for node, directory in self.voters.items() if node in up and self.directories[node] == directory}

    def partition(self, wanted: TopicPartition) -> FakePartition | None:
        topic = self.topics.get(wanted.topic)
        return topic.partitions[wanted.partition] if topic and wanted.partition < len(topic.partitions) else None

    def in_flight(self) -> dict[TopicPartition, FakePartition]:
        return {
            TopicPartition(name, number): one
            for name, topic in sorted(self.topics.items())
            for number, one in enumerate(topic.partitions)
            if one.in_flight
        }

    def copy(self) -> None:
        """Replication goes on a little."""
        for one in self.in_flight().values():
            one.left -= 1
            if one.left < 0 and one.adding <= self.up:
                one.isr = (*one.isr, *sorted(one.adding - set(one.isr)))
                one.place(tuple(replica for replica in one.replicas if replica not in one.removing))

    def reassign(self, one: FakePartition, target: tuple[int, ...]) -> None:
        """As the controller does it: the wanted replicas first, then those that go. An order takes effect at once."""
        before = frozenset(one.replicas) - one.adding
        one.replicas = (*target, *(replica for replica in one.replicas if replica not in target))
        one.adding, one.removing = frozenset(target) - before, frozenset(one.replicas) - frozenset(target)
        one.left = self.copying
        if not one.adding:
            one.place(target)

    def put(self, replicas: tuple[int, ...]) -> FakePartition:
        """A new partition on these brokers: in sync are those that are up."""
        isr = tuple(one for one in replicas if one in self.up)
        return FakePartition(replicas, isr, isr[0])

    def place(self, replicas: int) -> FakePartition:
        start = next(self._places)
        brokers = sorted(self.up)
        chosen = tuple(brokers[(start + offset) % len(brokers)] for offset in range(replicas))
        return FakePartition(chosen, chosen, chosen[0])


class FakeKafkaAdmin:
    """Implements ports.KafkaAdmin. Unreachable while no broker of the cluster is up."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.kafka = kafka
        self.closed = False

    async def observe(self) -> tuple[KafkaObservation, QuorumObservation]:
        kafka = self._reach()
        kafka.copy()
        if 2 * len(kafka.live_voters) <= len(kafka.voters):
            raise KafkaError("LEADER_NOT_AVAILABLE", "the controllers have no leader at the moment", retriable=True)
        observation = KafkaObservation(
            as_of=kafka.now,
            cluster_id=kafka.cluster_id,
            brokers=tuple(
                BrokerObservation(node, "abc"[(node - kafka.first_id) % 3], "fake", 9090 + node)
                for node in sorted(kafka.up)
            ),
            partitions=tuple(
                PartitionObservation(name, number, one.leader, one.replicas, one.isr, self._min_isr(topic))
                for name, topic in sorted(kafka.topics.items())
                for number, one in enumerate(topic.partitions)
            ),
            reassigning=tuple(sorted({*kafka.reassigning, *kafka.in_flight()})),
            features=dict(kafka.features),
            dynamic_config=dict(kafka.dynamic_config),
        )

        def state(node: int, directory: str) -> VoterObservation:
            caught_up = node in kafka.up and kafka.directories[node] == directory and node not in kafka.learners
            fetched = kafka.fetched.get(node, kafka.now)
            return VoterObservation(node, directory, 10, 0 if caught_up else 5, caught_up, fetched)

        voters = tuple(state(node, directory) for node, directory in sorted(kafka.voters.items()))
        observers = tuple(
            state(node, kafka.directories[node])
            for node in sorted(kafka.up)
            if kafka.voters.get(node) != kafka.directories[node]
        )
        return observation, QuorumObservation(kafka.now, kafka.quorum_leader, 1, voters, observers)

    async def describe_topics(self, names: Sequence[str] | None = None) -> dict[str, TopicDescription]:
        topics = self._reach().topics
        found = {
            name: topic
            for name, topic in sorted(topics.items())
            if (name in names if names is not None else not topic.internal)
        }
        return {
            name: TopicDescription(
                name, topic.topic_id, tuple(one.replicas for one in topic.partitions), dict(topic.config)
            )
            for name, topic in found.items()
        }

    async def places(self) -> tuple[PartitionPlace, ...]:
        topics = sorted(self._reach().topics.items())
        return tuple(
            PartitionPlace(name, one.leader, one.replicas) for name, topic in topics for one in topic.partitions
        )

    async def settings(self, topics: Sequence[str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        kafka = self._reach()
        of_topics = {name: dict(kafka.topics[name].config) for name in topics if name in kafka.topics}
        return of_topics, dict(kafka.dynamic_config)

    async def create_topics(self, topics: Sequence[NewTopic]) -> Results:
        kafka = self._reach()
        results: Results = {}
        for new in topics:
            results[new.name] = error = self._refusal(new)
            if error is None:
                partitions = [kafka.put(on) for on in new.assignments] or [
                    kafka.place(new.replicas) for _ in range(new.partitions)
                ]
                kafka.topics[new.name] = FakeTopic(kafka_id(), partitions, dict(new.config))
        return results

    async def delete_topics(self, ids: Sequence[str]) -> Results:
        kafka = self._reach()
        results: Results = {}
        for topic_id in ids:
            name = next((name for name, topic in kafka.topics.items() if topic.topic_id == topic_id), None)
            if name is None:
                results[topic_id] = KafkaError("UNKNOWN_TOPIC_ID", "This server does not host this topic ID.")
            else:
                del kafka.topics[name]
                results[topic_id] = None
        return results

    async def create_partitions(self, topics: Mapping[str, Growth]) -> Results:
        kafka = self._reach()
        results: Results = {}
        for name, growth in topics.items():
            topic, total = kafka.topics.get(name), growth.partitions
            if topic is None:
                results[name] = _unknown(name)
            elif total <= len(topic.partitions):
                message = f"The topic {name} currently has {len(topic.partitions)} partition(s)"
                results[name] = KafkaError("INVALID_PARTITIONS", f"{message}; {total} would not be an increase.")
            else:
                replicas, more = len(topic.partitions[0].replicas), total - len(topic.partitions)
                results[name] = error = self._misplaced(growth.assignments, replicas, more)
                if error is None:
                    placed = [kafka.put(on) for on in growth.assignments]
                    topic.partitions += placed or [kafka.place(replicas) for _ in range(more)]
        return results

    async def alter_topic_configs(self, changes: Mapping[str, Mapping[str, str | None]]) -> Results:
        kafka = self._reach()
        results: Results = {}
        for name, wanted in changes.items():
            topic = kafka.topics.get(name)
            strange = sorted(set(wanted) - TOPIC_KEYS)
            unreadable = [key for key in THROTTLED if not _THROTTLED_FORM.fullmatch(wanted.get(key) or "*")]
            if topic is None:
                results[name] = _unknown(name)
            elif strange:
                results[name] = _unknown_config(strange[0])
            elif unreadable:
                told = f"Invalid value {wanted[unreadable[0]]} for configuration {unreadable[0]}"
                results[name] = KafkaError("INVALID_CONFIG", told)
            else:
                topic.config = _incremented(topic.config, wanted)
                results[name] = None
        return results

    async def alter_settings(
        self, topics: Mapping[str, Mapping[str, str | None]], brokers: Mapping[str, str | None]
    ) -> Results:
        results = await FakeKafkaAdmin.alter_topic_configs(self, topics)
        if brokers:
            await FakeKafkaAdmin.alter_cluster_config(self, brokers)
            results[""] = None
        return results

    async def alter_cluster_config(self, changes: Mapping[str, str | None]) -> None:
        kafka = self._reach()
        static = sorted(set(changes) - DYNAMIC_KEYS)
        if static:
            raise KafkaError("INVALID_REQUEST", f"Cannot update these configs dynamically: Set({', '.join(static)})")
        kafka.dynamic_config = _incremented(kafka.dynamic_config, changes)

    async def elect_preferred_leaders(self, partitions: Sequence[TopicPartition]) -> None:
        kafka = self._reach()
        failures: dict[TopicPartition, KafkaError] = {}
        for wanted in partitions:
            topic = kafka.topics.get(wanted.topic)
            if topic is None or wanted.partition >= len(topic.partitions):
                failures[wanted] = _unknown(wanted.topic)
                continue
            one = topic.partitions[wanted.partition]
            if one.replicas[0] in kafka.up and one.replicas[0] in one.isr:
                one.leader = one.replicas[0]
            else:
                failures[wanted] = KafkaError(
                    "PREFERRED_LEADER_NOT_AVAILABLE", "The preferred leader was not available.", retriable=True
                )
        if failures:
            first, error = next(iter(failures.items()))
            told = f"{len(failures)} of {len(partitions)} preferred elections failed, first {first}: {error.message}"
            raise KafkaError(error.code, told, retriable=all(each.retriable for each in failures.values()))

    async def alter_partition_reassignments(
        self, targets: Mapping[TopicPartition, Sequence[int] | None]
    ) -> dict[TopicPartition, KafkaError | None]:
        kafka = self._reach()
        results: dict[TopicPartition, KafkaError | None] = {}
        for wanted, target in targets.items():
            one = kafka.partition(wanted)
            results[wanted] = None
            if one is None:
                results[wanted] = _unknown(wanted.topic)
            elif target is None and not one.in_flight:
                results[wanted] = KafkaError("NO_REASSIGNMENT_IN_PROGRESS", "No partition reassignment is in progress.")
            elif target is None:
                one.place(tuple(replica for replica in one.replicas if replica not in one.adding))
            elif not target or len(set(target)) < len(target) or not set(target) <= kafka.registered:
                told = f"The manual partition assignment {list(target)} names a broker twice or one that is not there."
                results[wanted] = KafkaError("INVALID_REPLICA_ASSIGNMENT", told)
            else:
                kafka.reassign(one, tuple(target))
        return results

    async def list_partition_reassignments(self) -> dict[TopicPartition, Reassignment]:
        kafka = self._reach()
        kafka.copy()
        foreign = {one: Reassignment((), frozenset(), frozenset()) for one in sorted(kafka.reassigning)}
        return foreign | {
            name: Reassignment(one.replicas, one.adding, one.removing) for name, one in kafka.in_flight().items()
        }

    async def partition_sizes(self) -> dict[TopicPartition, int]:
        return {
            TopicPartition(name, number): one.size
            for name, topic in self._reach().topics.items()
            for number, one in enumerate(topic.partitions)
        }

    async def update_features(self, levels: Mapping[str, int]) -> None:
        kafka = self._reach()
        for name, level in levels.items():
            if level < kafka.features.get(name, 0) or level > SUPPORTED.get(name, -1):
                raise KafkaError("INVALID_UPDATE_VERSION", f"Invalid update version {level} for feature {name}.")
        kafka.features |= levels

    async def add_voter(self, node: int, directory_id: str, host: str, port: int) -> None:
        kafka = self._reach()
        if node in kafka.voters:
            raise KafkaError("DUPLICATE_VOTER", f"The voter id for ReplicaKey(id={node}) is already part of the set.")
        if node not in kafka.up or kafka.directories[node] != directory_id or node in kafka.learners:
            raise KafkaError("REQUEST_TIMED_OUT", f"New voter {node} has not caught up.", retriable=True)
        kafka.voters[node] = directory_id
        kafka.check_majority(f"added {node}")

    async def remove_voter(self, node: int, directory_id: str) -> None:
        kafka = self._reach()
        if kafka.voters.get(node) != directory_id:
            raise KafkaError("VOTER_NOT_FOUND", f"Cannot remove voter ReplicaKey(id={node}): it is not a voter.")
        del kafka.voters[node]
        if kafka.quorum_leader == node and (left := kafka.up & kafka.voters.keys()):
            kafka.quorum_leader = min(left)
        kafka.check_majority(f"removed {node}")

    async def registered_brokers(self) -> frozenset[int] | None:
        return frozenset(self._reach().registered)

    async def unregister_broker(self, node: int) -> None:
        kafka = self._reach()
        if node not in kafka.registered:
            raise KafkaError("BROKER_ID_NOT_REGISTERED", f"Broker ID {node} is not currently registered")
        kafka.unregistered.add(node)

    async def describe_scram(self, users: Sequence[str] | None = None) -> dict[str, int]:
        scram = self._reach().scram
        return {user: one.iterations for user, one in scram.items() if users is None or user in users}

    async def upsert_scram(self, passwords: Sequence[ScramPassword]) -> Results:
        kafka = self._reach()
        results: Results = {}
        for one in passwords:
            if not 4096 <= one.iterations <= 16384:
                low = "small" if one.iterations < 4096 else "large"
                results[one.user] = KafkaError("UNACCEPTABLE_CREDENTIAL", f"Too {low} iterations")
            else:
                kafka.scram[one.user] = one
                results[one.user] = None
        return results

    async def delete_scram(self, users: Sequence[str]) -> Results:
        scram = self._reach().scram
        missing = KafkaError("RESOURCE_NOT_FOUND", "Attempt to delete a user credential that does not exist")
        return {user: missing if scram.pop(user, None) is None else None for user in users}

    async def describe_acls(self) -> frozenset[Acl]:
        return frozenset(self._authorizer().acls)

    async def create_acls(self, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        kafka = self._authorizer()
        results: dict[Acl, KafkaError | None] = {}
        for one in acls:
            if one.resource == "cluster" and one.name != "kafka-cluster":
                told = "The only valid name for the CLUSTER resource is kafka-cluster"
                results[one] = KafkaError("INVALID_REQUEST", told)
            else:
                kafka.acls.add(one)
                results[one] = None
        return results

    async def delete_acls(self, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        self._authorizer().acls.difference_update(acls)
        return dict.fromkeys(acls)

    async def describe_user_quotas(self) -> dict[str, dict[str, float]]:
        return {user: dict(values) for user, values in self._reach().quotas.items()}

    async def alter_user_quotas(self, changes: Mapping[str, Mapping[str, float | None]]) -> Results:
        kafka = self._reach()
        results: Results = {}
        for user, wanted in changes.items():
            strange = sorted(set(wanted) - QUOTA_KEYS)
            if strange:
                results[user] = KafkaError("INVALID_REQUEST", f"Invalid configuration key {strange[0]}")
                continue
            merged = {**kafka.quotas.get(user, {}), **wanted}
            kept = {key: value for key, value in merged.items() if value is not None}
            kafka.quotas[user] = kept
            if not kept:
                del kafka.quotas[user]
            results[user] = None
        return results

    async def close(self) -> None:
        self.closed = True

    def _reach(self) -> FakeKafka:
        if self.closed or not self.kafka.up:
            raise KafkaUnreachableError("no broker answers (fake: none is up)")
        return self.kafka

    def _authorizer(self) -> FakeKafka:
        kafka = self._reach()
        if not kafka.authorizer:
            raise KafkaError("SECURITY_DISABLED", "No Authorizer is configured.")
        return kafka

    def _min_isr(self, topic: FakeTopic) -> int:
        return int(topic.config.get(MIN_ISR) or self.kafka.dynamic_config.get(MIN_ISR, "1"))

    def _refusal(self, new: NewTopic) -> KafkaError | None:
        if new.name in self.kafka.topics:
            return KafkaError("TOPIC_ALREADY_EXISTS", f"Topic '{new.name}' already exists.")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", new.name):
            return KafkaError("INVALID_TOPIC_EXCEPTION", f"Topic name is invalid: '{new.name}'")
        if new.partitions < 1:
            return KafkaError("INVALID_PARTITIONS", "Number of partitions must be larger than 0.")
        if not new.assignments and new.replicas > len(self.kafka.up):
            told = f"Unable to replicate the partition {new.replicas} time(s): only {len(self.kafka.up)} broker(s)"
            return KafkaError("INVALID_REPLICATION_FACTOR", told)
        strange = sorted(set(new.config) - TOPIC_KEYS)
        if strange:
            return _unknown_config(strange[0])
        return self._misplaced(new.assignments, new.replicas, new.partitions)

    def _misplaced(self, assignments: Sequence[tuple[int, ...]], replicas: int, number: int) -> KafkaError | None:
        """org.apache.kafka.controller.ReplicationControlManager.validateManualPartitionAssignment"""
        problem = ""
        if assignments and len(assignments) != number:
            problem = f"Attempted to add {number} additional partition(s), but only {len(assignments)} were specified."
        for on in assignments:
            strangers = set(on) - self.kafka.registered
            if strangers:
                problem = (
                    f"The manual partition assignment includes broker {min(strangers)}, but no such broker is there."
                )
            elif len(set(on)) != len(on):
                problem = "The manual partition assignment includes a broker more than once."
            elif len(on) != replicas:
                problem = f"The manual partition assignment includes a partition with {len(on)} replica(s)."
            elif not self.kafka.up.intersection(on):
                problem = "All brokers specified in the manual partition assignment are fenced."
        return KafkaError("INVALID_REPLICA_ASSIGNMENT", problem) if problem else None


class FakeKafkaAdmins:
    """Implements ports.KafkaAdmins: clusters by key, as many as the test puts in."""

    def __init__(self, clusters: Mapping[str, FakeKafka]) -> None:
        self.clusters = dict(clusters)
        self.reloaded: list[int] = []
        """Nodes that were told to read their files again, in turn."""

    def get(self, cluster_key: str, bootstrap_servers: Sequence[str], tls: ClientTls | None = None) -> KafkaAdmin:
        if not bootstrap_servers:
            raise ValueError("no bootstrap servers")
        return FakeKafkaAdmin(self.clusters[cluster_key])

    async def reload(self, node: int, server: str, tls: ClientTls) -> None:
        self.reloaded.append(node)

    async def forget(self, cluster_key: str) -> None:
        """Nothing is held open."""


def _incremented(config: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**config, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def _unknown(name: str) -> KafkaError:
    return KafkaError("UNKNOWN_TOPIC_OR_PARTITION", f"The topic '{name}' does not exist.", retriable=True)


def _unknown_config(key: str) -> KafkaError:
    return KafkaError("INVALID_CONFIG", f"Unknown topic config name: {key}")
