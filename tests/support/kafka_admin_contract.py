"""What every implementation of ports.KafkaAdmin must do, told by the state of the cluster afterwards.

Subclasses provide the fixture `admin`: the admin of a cluster of three combined nodes (ids 1 to 3, racks a to c) on
4.2.0's feature levels with cluster-wide min.insync.replicas 2. Cases share it, so each names its topics after itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from controlplane.domain.observation import KafkaObservation, PartitionObservation, QuorumObservation, TopicPartition
from controlplane.ports import Growth, KafkaAdmin, KafkaError, NewTopic, TopicDescription

KAFKA_ID = re.compile(r"[A-Za-z0-9_-]{22}")
SECONDS = 60.0


def of_topic(kafka: KafkaObservation, topic: str) -> list[PartitionObservation]:
    return [partition for partition in kafka.partitions if partition.topic == topic]


def codes(results: dict[str, KafkaError | None]) -> dict[str, str | None]:
    return {name: error.code if error else None for name, error in results.items()}


class KafkaAdminContract:
    """The cases; `settled` asks until the cluster's answer satisfies a condition (brokers learn of changes later)."""

    @staticmethod
    async def settled(
        admin: KafkaAdmin, topic: str, condition: Callable[[TopicDescription | None], bool]
    ) -> TopicDescription | None:
        deadline = time.monotonic() + SECONDS
        while True:
            found = (await admin.describe_topics([topic])).get(topic)
            if condition(found) or time.monotonic() > deadline:
                return found

    @staticmethod
    async def observed(admin: KafkaAdmin, condition: Callable[[KafkaObservation], bool]) -> KafkaObservation:
        deadline = time.monotonic() + SECONDS
        while True:
            kafka, _ = await admin.observe()
            if condition(kafka) or time.monotonic() > deadline:
                return kafka

    async def created(self, admin: KafkaAdmin, name: str, **config: str) -> None:
        new = NewTopic(name, 3, 3, {key.replace("_", "."): value for key, value in config.items()})
        assert await admin.create_topics([new]) == {name: None}
        await self.observed(admin, lambda kafka: len(of_topic(kafka, name)) == 3)
        wanted = dict(new.config)
        await self.settled(admin, name, lambda topic: topic is not None and topic.config == wanted)

    async def test_observe_shows_brokers_features_and_quorum(self, admin: KafkaAdmin) -> None:
        deadline = time.monotonic() + SECONDS
        kafka, quorum = await admin.observe()
        while not all(voter.caught_up for voter in quorum.voters) and time.monotonic() < deadline:
            kafka, quorum = await admin.observe()  # on a busy machine one may fetch late
        assert [(broker.id, broker.rack) for broker in kafka.brokers] == [(1, "a"), (2, "b"), (3, "c")]
        assert KAFKA_ID.fullmatch(kafka.cluster_id)
        assert kafka.features["metadata.version"] == 29
        assert kafka.features["kraft.version"] == 1
        assert kafka.reassigning == ()
        assert kafka.as_of == quorum.as_of
        assert quorum.leader in {1, 2, 3}
        assert [(voter.id, voter.caught_up) for voter in quorum.voters] == [(1, True), (2, True), (3, True)]
        assert all(KAFKA_ID.fullmatch(voter.directory_id) for voter in quorum.voters)
        assert len({voter.directory_id for voter in quorum.voters}) == 3

    async def test_replicas_are_where_they_were_asked_for(self, admin: KafkaAdmin) -> None:
        places = ((2, 3, 1), (3, 1, 2))
        assert await admin.create_topics([NewTopic("placed", 2, 3, {}, places)]) == {"placed": None}
        found = await self.settled(admin, "placed", lambda topic: topic is not None and topic.partitions == 2)
        assert found is not None
        assert found.replicas == places

    async def test_a_topic_is_deleted_by_its_id_once(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "deleted")
        topic_id = (await admin.describe_topics(["deleted"]))["deleted"].topic_id
        assert await admin.delete_topics([topic_id]) == {topic_id: None}
        assert await self.settled(admin, "deleted", lambda topic: topic is None) is None
        assert codes(await admin.delete_topics([topic_id])) == {topic_id: "UNKNOWN_TOPIC_ID"}
        await self.created(admin, "deleted")

    async def test_each_topic_of_a_batch_gets_its_own_result(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "batch-old")
        results = await admin.create_topics(
            [
                NewTopic("batch-good", 2, 3, {"retention.ms": "60000"}),
                NewTopic("batch-old", 1, 3, {}),
                NewTopic("batch name", 1, 3, {}),
                NewTopic("batch-wide", 1, 9, {}),
                NewTopic("batch-typo", 1, 3, {"retention.millis": "1"}),
            ]
        )
        assert codes(results) == {
            "batch-good": None,
            "batch-old": "TOPIC_ALREADY_EXISTS",
            "batch name": "INVALID_TOPIC_EXCEPTION",
            "batch-wide": "INVALID_REPLICATION_FACTOR",
            "batch-typo": "INVALID_CONFIG",
        }
        typo = results["batch-typo"]
        assert typo is not None
        assert "retention.millis" in typo.message
        assert not typo.retriable
        good = await self.settled(admin, "batch-good", lambda topic: topic is not None)
        assert good is not None
        assert (good.partitions, good.replication_factor, good.config) == (2, 3, {"retention.ms": "60000"})
        assert KAFKA_ID.fullmatch(good.topic_id)
        assert set(await admin.describe_topics(["batch-good", "batch-wide", "batch-typo"])) == {"batch-good"}

    async def test_every_topic_is_described_but_not_the_internal_ones(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "listed")
        everything = await admin.describe_topics()
        assert everything["listed"].replicas == (await admin.describe_topics(["listed"]))["listed"].replicas
        assert not [name for name in everything if name.startswith("__")]

    async def test_partitions_only_grow(self, admin: KafkaAdmin) -> None:
        for name in ("grow", "shrink"):
            await self.created(admin, name)
        results = await admin.create_partitions({"grow": Growth(5), "shrink": Growth(2), "grow-unknown": Growth(5)})
        assert codes(results) == {
            "grow": None,
            "shrink": "INVALID_PARTITIONS",
            "grow-unknown": "UNKNOWN_TOPIC_OR_PARTITION",
        }
        grown = await self.settled(admin, "grow", lambda topic: topic is not None and topic.partitions == 5)
        assert grown is not None
        assert (grown.partitions, grown.replication_factor) == (5, 3)
        assert (await admin.describe_topics(["shrink"]))["shrink"].partitions == 3

    async def test_new_partitions_go_where_they_are_put(self, admin: KafkaAdmin) -> None:
        assert await admin.create_topics([NewTopic("put", 2, 2, {}, ((1, 2), (2, 3)))]) == {"put": None}
        await self.settled(admin, "put", lambda topic: topic is not None and topic.partitions == 2)
        bad = {
            "of brokers that are not there": ((3, 1), (3, 99)),
            "fewer than there are to be": ((3, 1),),
            "of another number of replicas": ((3, 1), (1, 2, 3)),
            "with a broker twice": ((3, 1), (3, 3)),
        }
        for what, assignments in bad.items():
            assert codes(await admin.create_partitions({"put": Growth(4, assignments)})) == {
                "put": "INVALID_REPLICA_ASSIGNMENT"
            }, what
        assert await admin.create_partitions({"put": Growth(4, ((3, 1), (1, 3)))}) == {"put": None}
        await self.placed(admin, "put", ((1, 2), (2, 3), (3, 1), (1, 3)))

    async def test_topic_configs_change_by_key(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "config", retention_ms="60000", segment_bytes="2000000")
        await self.created(admin, "config-typo", retention_ms="60000")
        results = await admin.alter_topic_configs(
            {
                "config": {"retention.ms": None, "cleanup.policy": "compact"},
                "config-typo": {"retention.ms": "1", "retention.millis": "1"},
                "config-unknown": {"retention.ms": "1"},
            }
        )
        assert codes(results) == {
            "config": None,
            "config-typo": "INVALID_CONFIG",
            "config-unknown": "UNKNOWN_TOPIC_OR_PARTITION",
        }
        wanted = {"cleanup.policy": "compact", "segment.bytes": "2000000"}
        changed = await self.settled(admin, "config", lambda topic: topic is not None and topic.config == wanted)
        assert changed is not None
        assert changed.config == wanted
        assert (await admin.describe_topics(["config-typo"]))["config-typo"].config == {"retention.ms": "60000"}

    async def test_min_isr_is_the_topics_own_else_the_clusters(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "isr-own", min_insync_replicas="1")
        await self.created(admin, "isr-cluster")
        kafka = await self.observed(
            admin, lambda kafka: all(len(one.isr) == 3 for one in of_topic(kafka, "isr-cluster"))
        )
        assert {partition.min_isr for partition in of_topic(kafka, "isr-own")} == {1}
        assert {partition.min_isr for partition in of_topic(kafka, "isr-cluster")} == {2}
        assert {len(partition.isr) for partition in of_topic(kafka, "isr-cluster")} == {3}
        assert all(partition.leader == partition.replicas[0] for partition in of_topic(kafka, "isr-cluster"))

    async def test_cluster_config_changes_by_key(self, admin: KafkaAdmin) -> None:
        before = (await admin.observe())[0].dynamic_config
        await admin.alter_cluster_config({"log.retention.ms": "7200000"})
        wanted = {**before, "log.retention.ms": "7200000"}
        assert (await self.observed(admin, lambda kafka: kafka.dynamic_config == wanted)).dynamic_config == wanted
        await admin.alter_cluster_config({"log.retention.ms": None})
        assert (await self.observed(admin, lambda kafka: kafka.dynamic_config == before)).dynamic_config == before
        with pytest.raises(KafkaError) as refused:
            await admin.alter_cluster_config({"node.id": "7"})
        assert (refused.value.code, refused.value.retriable) == ("INVALID_REQUEST", False)
        assert "node.id" in refused.value.message

    async def test_an_election_that_is_not_needed_is_not_an_error(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "elect")
        await admin.elect_preferred_leaders([TopicPartition("elect", number) for number in range(3)])
        with pytest.raises(KafkaError) as unknown:
            await admin.elect_preferred_leaders([TopicPartition("elect", 0), TopicPartition("elect-unknown", 0)])
        assert unknown.value.code == "UNKNOWN_TOPIC_OR_PARTITION"
        assert "1 of 2" in unknown.value.message
        assert "elect-unknown-0" in unknown.value.message

    async def test_replicas_move_and_change_their_order(self, admin: KafkaAdmin) -> None:
        places, one = ((1, 2), (2, 3)), TopicPartition("move", 0)
        assert await admin.create_topics([NewTopic("move", 2, 2, {}, places)]) == {"move": None}
        await self.settled(admin, "move", lambda topic: topic is not None and topic.partitions == 2)
        assert await admin.alter_partition_reassignments({one: (1, 3)}) == {one: None}
        await self.placed(admin, "move", ((1, 3), (2, 3)))
        assert one not in await admin.list_partition_reassignments()
        assert await admin.alter_partition_reassignments({one: (3, 1)}) == {one: None}
        await self.placed(admin, "move", ((3, 1), (2, 3)))
        await admin.elect_preferred_leaders([one])
        kafka = await self.observed(admin, lambda kafka: of_topic(kafka, "move")[0].leader == 3)
        assert (of_topic(kafka, "move")[0].leader, set(of_topic(kafka, "move")[0].isr)) == (3, {1, 3})

    async def test_each_partition_of_a_reassignment_gets_its_own_result(self, admin: KafkaAdmin) -> None:
        assert await admin.create_topics([NewTopic("moves", 3, 2, {}, ((1, 2),) * 3)]) == {"moves": None}
        await self.settled(admin, "moves", lambda topic: topic is not None and topic.partitions == 3)
        good, strange, still, nowhere = (
            *(TopicPartition("moves", number) for number in range(3)),
            TopicPartition("moves-unknown", 0),
        )
        results = await admin.alter_partition_reassignments(
            {good: (2, 1), strange: (1, 99), still: None, nowhere: (1, 2)}
        )
        assert {name: error.code if error else None for name, error in results.items()} == {
            good: None,
            strange: "INVALID_REPLICA_ASSIGNMENT",
            still: "NO_REASSIGNMENT_IN_PROGRESS",
            nowhere: "UNKNOWN_TOPIC_OR_PARTITION",
        }
        await self.placed(admin, "moves", ((2, 1), (1, 2), (1, 2)))

    async def test_what_is_in_flight_is_seen_and_cancelled(self, admin: KafkaAdmin) -> None:
        """A replica that is added on a broker that is down is on its way for as long as that lasts."""
        one = TopicPartition("flight", 0)
        _, quorum = await admin.observe()
        down = next(node for node in (2, 3) if node != quorum.leader)
        stays = ({2, 3} - {down}).pop()
        assert await admin.create_topics([NewTopic("flight", 1, 2, {}, ((stays, 1),))]) == {"flight": None}
        await self.settled(admin, "flight", lambda topic: topic is not None)
        with self.stopped(down):
            await self.observed(admin, lambda kafka: down not in {broker.id for broker in kafka.brokers})
            assert await admin.alter_partition_reassignments({one: (stays, down)}) == {one: None}
            seen = (await admin.list_partition_reassignments())[one]
            assert (seen.replicas, seen.adding, seen.removing) == ((stays, down, 1), frozenset({down}), frozenset({1}))
            kafka, _ = await admin.observe()
            assert one in kafka.reassigning
            assert await admin.alter_partition_reassignments({one: None}) == {one: None}
            assert one not in await admin.list_partition_reassignments()
            await self.placed(admin, "flight", ((stays, 1),))
        await self.observed(admin, lambda kafka: all(len(p.isr) == len(p.replicas) for p in kafka.partitions))

    async def test_throttles_of_topics_and_rates_of_all_brokers(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "throttle", retention_ms="60000")
        leader, follower = "leader.replication.throttled.replicas", "follower.replication.throttled.replicas"
        assert await admin.alter_topic_configs({"throttle": {leader: "0:1,0:2", follower: "0:3"}}) == {"throttle": None}
        wanted = {"retention.ms": "60000", leader: "0:1,0:2", follower: "0:3"}
        set_ = await self.settled(admin, "throttle", lambda topic: topic is not None and topic.config == wanted)
        assert set_ is not None
        assert set_.config == wanted
        assert codes(await admin.alter_topic_configs({"throttle": {leader: "0-1"}})) == {"throttle": "INVALID_CONFIG"}
        assert await admin.alter_topic_configs({"throttle": {leader: None, follower: None}}) == {"throttle": None}
        rest = {"retention.ms": "60000"}
        freed = await self.settled(admin, "throttle", lambda topic: topic is not None and topic.config == rest)
        assert freed is not None
        assert freed.config == rest
        before = (await admin.observe())[0].dynamic_config
        assert await admin.settings(["throttle", "throttle-unknown"]) == ({"throttle": rest}, before)
        keys = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
        unknown = {leader: "0:1"}
        results = await admin.alter_settings(
            {"throttle": {leader: "0:1"}, "throttle-unknown": unknown}, dict.fromkeys(keys, "2097152")
        )
        assert codes(results) == {"throttle": None, "throttle-unknown": "UNKNOWN_TOPIC_OR_PARTITION", "": None}
        both = {**before, **dict.fromkeys(keys, "2097152")}
        await self.observed(admin, lambda kafka: kafka.dynamic_config == both)
        assert await admin.settings(["throttle"]) == ({"throttle": {**rest, leader: "0:1"}}, both)
        results = await admin.alter_settings({"throttle": {leader: None}}, dict.fromkeys(keys))
        assert codes(results) == {"throttle": None, "": None}
        await self.observed(admin, lambda kafka: kafka.dynamic_config == before)
        assert await admin.alter_settings({}, {}) == {}
        rates = {"leader.replication.throttled.rate": "1048576", "follower.replication.throttled.rate": "1048576"}
        await admin.alter_cluster_config(rates)
        wanted = {**before, **rates}
        assert (await self.observed(admin, lambda kafka: kafka.dynamic_config == wanted)).dynamic_config == wanted
        assert (await admin.settings([]))[1].items() >= rates.items()
        await admin.alter_cluster_config(dict.fromkeys(rates))
        assert (await self.observed(admin, lambda kafka: kafka.dynamic_config == before)).dynamic_config == before

    async def test_every_partition_has_a_size(self, admin: KafkaAdmin) -> None:
        await self.created(admin, "sized")
        sizes = await admin.partition_sizes()
        assert all(size >= 0 for size in sizes.values())
        assert {one for one in sizes if one.topic == "sized"} == {TopicPartition("sized", n) for n in range(3)}

    async def placed(self, admin: KafkaAdmin, topic: str, wanted: tuple[tuple[int, ...], ...]) -> None:
        """Once nothing of it is in flight and every broker that is asked knows."""
        deadline = time.monotonic() + SECONDS
        while True:
            moving = {one.topic for one in await admin.list_partition_reassignments()}
            found = (await admin.describe_topics([topic]))[topic].replicas
            if (topic not in moving and found == wanted) or time.monotonic() > deadline:
                assert (topic in moving, found) == (False, wanted)
                return

    def stopped(self, node: int) -> AbstractContextManager[None]:
        """That broker is down inside, and on its way back afterwards."""
        raise NotImplementedError

    async def test_features_are_never_downgraded(self, admin: KafkaAdmin) -> None:
        for level in (28, 99):
            with pytest.raises(KafkaError) as refused:
                await admin.update_features({"metadata.version": level})
            assert refused.value.code == "INVALID_UPDATE_VERSION"
        await admin.update_features({"transaction.version": 2})
        kafka, _ = await admin.observe()
        assert (kafka.features["metadata.version"], kafka.features["transaction.version"]) == (29, 2)

    async def test_a_vote_is_taken_from_one_directory_and_given_back(self, admin: KafkaAdmin) -> None:
        _, quorum = await admin.observe()
        voter = next(one for one in quorum.voters if one.id != quorum.leader)
        with pytest.raises(KafkaError) as other:
            await admin.remove_voter(voter.id, "A" * 21 + "Q")
        assert other.value.code == "VOTER_NOT_FOUND"
        await admin.remove_voter(voter.id, voter.directory_id)
        left = await self.quorum_of(admin, lambda q: voter.id not in {one.id for one in q.voters})
        assert voter.id not in {one.id for one in left.voters}
        seen = await self.quorum_of(admin, lambda q: any(o.id == voter.id and o.caught_up for o in q.observers))
        assert [one.directory_id for one in seen.observers if one.id == voter.id] == [voter.directory_id]
        host, port = self.controller_address(voter.id)
        await admin.add_voter(voter.id, voter.directory_id, host, port)
        back = await self.quorum_of(admin, lambda q: any(o.id == voter.id and o.caught_up for o in q.voters))
        assert voter.directory_id in {one.directory_id for one in back.voters}
        with pytest.raises(KafkaError) as twice:
            await admin.add_voter(voter.id, voter.directory_id, host, port)
        assert twice.value.code == "DUPLICATE_VOTER"

    async def test_a_broker_that_nobody_knows_cannot_be_forgotten(self, admin: KafkaAdmin) -> None:
        assert await admin.registered_brokers() == frozenset({1, 2, 3})
        with pytest.raises(KafkaError) as unknown:
            await admin.unregister_broker(99)
        assert (unknown.value.code, unknown.value.retriable) == ("BROKER_ID_NOT_REGISTERED", False)

    @staticmethod
    async def quorum_of(admin: KafkaAdmin, condition: Callable[[QuorumObservation], bool]) -> QuorumObservation:
        deadline = time.monotonic() + SECONDS
        while True:
            _, quorum = await admin.observe()
            if condition(quorum) or time.monotonic() > deadline:
                return quorum

    def controller_address(self, node: int) -> tuple[str, int]:
        """Where a node's controller listener is; a cluster in memory has none."""
        return "fake", 9090

    async def test_nothing_to_do_is_no_error(self, admin: KafkaAdmin) -> None:
        assert await admin.create_topics([]) == {}
        assert await admin.create_partitions({}) == {}
        assert await admin.alter_topic_configs({}) == {}
        assert await admin.describe_topics([]) == {}
        await admin.alter_cluster_config({})
        await admin.elect_preferred_leaders([])
        assert await admin.alter_partition_reassignments({}) == {}

    async def test_more_topics_than_a_batch_holds(self, admin: KafkaAdmin) -> None:
        names = [f"many-{number}" for number in range(25)]
        assert set((await admin.create_topics([NewTopic(name, 1, 1, {}) for name in names])).values()) == {None}
        await self.settled(admin, names[-1], lambda topic: topic is not None)
        results = await admin.alter_topic_configs({name: {"retention.ms": "60000"} for name in names})
        assert results == dict.fromkeys(names)
        await self.settled(admin, names[-1], lambda topic: topic is not None and bool(topic.config))
        described = await admin.describe_topics(names)
        assert [described[name].config for name in names] == [{"retention.ms": "60000"}] * len(names)
        kafka, _ = await admin.observe()
        assert {partition.topic for partition in kafka.partitions} >= set(names)
