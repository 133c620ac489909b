"""The contract of ports.KafkaAdmin against the fake; the same cases meet real brokers in tests/integration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.fake_kafka import FakeKafka, FakeKafkaAdmin, FakePartition, FakeTopic
from support.kafka_access_contract import KafkaAccessContract, acl
from support.kafka_admin_contract import KafkaAdminContract, of_topic

from controlplane.domain.observation import TopicPartition
from controlplane.ports import KafkaAdmin, KafkaError, KafkaUnreachableError, NewTopic


@pytest.fixture(name="kafka")
def fake_cluster() -> FakeKafka:
    kafka = FakeKafka()
    offsets = FakePartition((1, 2, 3), (1, 2, 3), 1)
    kafka.topics["__consumer_offsets"] = FakeTopic("A" * 22, [offsets], {}, internal=True)
    return kafka


@pytest.fixture(name="admin")
def fake_admin(kafka: FakeKafka) -> KafkaAdmin:
    return FakeKafkaAdmin(kafka)


class TestFake(KafkaAdminContract):
    """What only the fake can show quickly stands here as well."""

    @pytest.fixture(autouse=True)
    def _cluster(self, kafka: FakeKafka) -> None:
        self._kafka = kafka

    @contextmanager
    def stopped(self, node: int) -> Iterator[None]:
        self._kafka.stop_broker(node)
        yield
        self._kafka.start_broker(node)

    async def test_a_stopped_broker_leaves_and_returns(self, kafka: FakeKafka, admin: KafkaAdmin) -> None:
        await admin.create_topics([NewTopic("roll", 3, 3, {})])
        kafka.stop_broker(1)
        seen, quorum = await admin.observe()
        assert [broker.id for broker in seen.brokers] == [2, 3]
        assert {(one.isr, one.leader == 1) for one in of_topic(seen, "roll")} <= {((2, 3), False), ((3, 2), False)}
        assert [voter.id for voter in quorum.voters if not voter.caught_up] == [1]
        partitions = [one.id for one in of_topic(seen, "roll")]
        with pytest.raises(KafkaError) as refused:
            await admin.elect_preferred_leaders(partitions)
        assert (refused.value.code, refused.value.retriable) == ("PREFERRED_LEADER_NOT_AVAILABLE", True)
        kafka.start_broker(1)
        await admin.elect_preferred_leaders(partitions)
        back, _ = await admin.observe()
        assert all(one.leader == one.replicas[0] and len(one.isr) == 3 for one in of_topic(back, "roll"))

    async def test_no_majority_of_controllers_and_no_broker_at_all(self, kafka: FakeKafka, admin: KafkaAdmin) -> None:
        for node in (1, 2):
            kafka.stop_broker(node)
        with pytest.raises(KafkaError) as leaderless:
            await admin.observe()
        assert (leaderless.value.code, leaderless.value.retriable) == ("LEADER_NOT_AVAILABLE", True)
        kafka.stop_broker(3)
        with pytest.raises(KafkaUnreachableError):
            await admin.describe_topics()

    async def test_internal_topics_are_observed(self, kafka: FakeKafka, admin: KafkaAdmin) -> None:
        kafka.reassigning.add(TopicPartition("__consumer_offsets", 0))
        seen, _ = await admin.observe()
        assert [one.topic for one in seen.partitions] == ["__consumer_offsets"]
        assert seen.reassigning == (TopicPartition("__consumer_offsets", 0),)


class TestFakeAccess(KafkaAccessContract):
    async def test_without_an_authorizer_there_are_no_acls(self, kafka: FakeKafka, admin: KafkaAdmin) -> None:
        kafka.authorizer = False
        for ask in (admin.describe_acls, lambda: admin.create_acls([acl("u")])):
            with pytest.raises(KafkaError) as disabled:
                await ask()
            assert (disabled.value.code, disabled.value.retriable) == ("SECURITY_DISABLED", False)
