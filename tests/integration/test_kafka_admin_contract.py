"""The Kafka adapter against three real brokers: the port's contract, then brokers that stop, freeze and return."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from support.cluster import CONTROLLER_PORT, LocalKafka
from support.kafka_admin_contract import KafkaAdminContract, of_topic

from controlplane.adapters.kafka import admin as admin_module
from controlplane.adapters.kafka import connections
from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.domain.observation import KafkaObservation
from controlplane.ports import KafkaAdmin, KafkaError, KafkaUnreachableError

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
KEY = "test/contract"


@pytest.fixture(scope="module", name="cluster")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path_factory.mktemp("contract")) as kafka:
        kafka.start("4.2.0", nodes=3)
        yield kafka


@pytest.fixture(name="admins")
async def registry() -> AsyncIterator[KafkaPythonAdmins]:
    admins = KafkaPythonAdmins(threads=4, timeout=10.0, voter_caught_up_seconds=2.0)
    yield admins
    await admins.close()
    assert not io_threads()


@pytest.fixture(name="admin")
def real_admin(admins: KafkaPythonAdmins, cluster: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> KafkaAdmin:
    monkeypatch.setattr(admin_module, "BATCH", 10)
    return admins.get(KEY, cluster.bootstrap_servers)


def io_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kafka-")]


async def forwarded_by_each(admins: KafkaPythonAdmins, cluster: LocalKafka, topic: str) -> None:
    """Until a change goes through every broker: for ten seconds after the controllers' leader has stopped one may still
    forward to it, also when that is up again."""
    end = time.monotonic() + 90
    for node in cluster.pods:
        admin = admins.get(f"test/through-{node}", [cluster.address(node)])
        answer: object = None
        while answer != {topic: None}:
            assert time.monotonic() < end, f"node {node} forwards no change: {answer}"
            try:
                answer = await admin.alter_topic_configs({topic: {"retention.ms": "50000"}})
            except KafkaUnreachableError as error:
                answer = error


class TestRealBrokers(KafkaAdminContract):
    @pytest.fixture(autouse=True)
    def _addresses(self, cluster: LocalKafka) -> None:
        self._network, self._cluster = cluster.network, cluster

    @contextmanager
    def stopped(self, node: int) -> Iterator[None]:
        self._cluster.stop_node(node)
        try:
            yield
        finally:
            self._cluster.start_node(node)

    def controller_address(self, node: int) -> tuple[str, int]:
        return f"{self._network}.{node}", CONTROLLER_PORT

    """The contract, then what takes real brokers. Cases that stop one leave all of them running."""

    async def test_a_stopped_broker_is_passed_over(
        self, cluster: LocalKafka, admin: KafkaAdmin, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The active controller's, which takes the controllers' leader along: the worst one to lose."""
        await self.created(admin, "stopped")
        _, quorum = await admin.observe()
        node = quorum.leader
        assert node is not None
        with caplog.at_level(logging.INFO):
            cluster.stop_node(node)
            began = time.monotonic()
            kafka = await self.observed(admin, lambda kafka: not on(kafka, node))
            assert [broker.id for broker in kafka.brokers] == [other for other in (1, 2, 3) if other != node]
            assert {len(one.isr) for one in of_topic(kafka, "stopped")} == {2}
            assert time.monotonic() - began < 20
            cluster.start_node(node)
            await self.observed(admin, lambda kafka: all(len(one.isr) == 3 for one in of_topic(kafka, "stopped")))
        assert [record for record in caplog.records if record.name.startswith("kafka")] == []
        kafka, _ = await admin.observe()
        partitions = [one.id for one in of_topic(kafka, "stopped")]
        await admin.elect_preferred_leaders(partitions)
        kafka = await self.observed(admin, lambda kafka: leads_preferred(kafka, "stopped"))
        assert leads_preferred(kafka, "stopped")

    async def test_a_frozen_broker_costs_one_pause(
        self, cluster: LocalKafka, admin: KafkaAdmin, admins: KafkaPythonAdmins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SIGSTOP: the kernel still accepts connections, so nothing refuses and nothing answers.

        Not the active controller: without it Kafka itself takes no change until another one is elected. Who is asked is
        counted, because a pause of the machine's looks like one of the broker's.
        """
        await self.created(admin, "frozen")
        await forwarded_by_each(admins, cluster, "frozen")
        _, quorum = await admin.observe()
        node = 2 if quorum.leader != 2 else 3
        frozen, asked = cluster.pods[node], Counter[str]()
        choose = connections._Lane.broker

        def counted(lane: connections._Lane, address: str, deadline: float) -> connections.Broker:
            asked[address] += 1
            return choose(lane, address, deadline)

        monkeypatch.setattr(connections._Lane, "broker", counted)
        frozen.freeze()
        try:
            for _ in range(5):
                await admin.describe_topics(["frozen"])
            assert asked.total() >= 5
            assert asked.pop(cluster.address(node), 0) <= 1
            began = time.monotonic()
            results = await admins.get("test/fresh", cluster.bootstrap_servers).alter_topic_configs(
                {"frozen": {"retention.ms": "60000"}}
            )
            assert results == {"frozen": None}
            assert time.monotonic() - began < 20, "the deadlines of a look and a change"
            assert asked[cluster.address(node)] <= 1
        finally:
            frozen.thaw()
        await self.observed(admin, lambda kafka: all(len(one.isr) == 3 for one in of_topic(kafka, "frozen")))

    async def test_servers_that_all_refuse_are_told_at_once(self, admins: KafkaPythonAdmins) -> None:
        admin = admins.get("test/nobody", ["127.0.0.1:1", "127.0.0.1:2"])
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(KafkaUnreachableError) as nobody:
                await admin.observe()
            assert time.monotonic() - began < 5, "half of the deadline of a call"
        assert "127.0.0.1:1" in nobody.value.message
        assert "127.0.0.1:2" in nobody.value.message

    async def test_connections_follow_the_servers(self, cluster: LocalKafka, admins: KafkaPythonAdmins) -> None:
        servers = cluster.bootstrap_servers
        first = admins.get(KEY, servers)
        assert admins.get(KEY, list(reversed(servers))) is first
        second = admins.get(KEY, servers[:1])
        assert second is not first
        assert (await second.observe())[0].cluster_id == cluster.cluster_id
        with pytest.raises(ValueError, match="no bootstrap servers"):
            admins.get("test/none", [])
        await admins.forget(KEY)
        await admins.forget("test/never-seen")
        with pytest.raises(KafkaError):
            await second.observe()
        assert (await admins.get(KEY, servers).observe())[0].cluster_id == cluster.cluster_id


def on(kafka: KafkaObservation, node: int) -> bool:
    """True while `node` is a broker or in any ISR."""
    return any(broker.id == node for broker in kafka.brokers) or any(node in one.isr for one in kafka.partitions)


def leads_preferred(kafka: KafkaObservation, topic: str) -> bool:
    return all(one.leader == one.replicas[0] for one in of_topic(kafka, topic))
