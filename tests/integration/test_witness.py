"""The witnesses against three real brokers: probes in peace, a broker that freezes, a group that falls behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from confluent_kafka import Consumer, Producer
from support.cluster import LocalKafka

from controlplane.adapters.kafka import witness as witness_module
from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.adapters.kafka.witness import ClientWitnesses
from controlplane.domain.cluster.clients import CreateCanaryTopic, DeleteCanaryTopic
from controlplane.domain.observation import ClientObservation, ClusterObservation
from controlplane.domain.rolling import canary
from controlplane.domain.rolling.witness import ClientLevel, client_checks
from controlplane.ports import KafkaAdmin, KafkaError, NewTopic
from controlplane.services.cluster.clients import canary_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
KEY = "test/witness"


@pytest.fixture(scope="module", name="cluster")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path_factory.mktemp("witness")) as kafka:
        kafka.start("4.2.0", nodes=3)
        yield kafka


@pytest.fixture(name="admin")
async def real_admin(cluster: LocalKafka) -> AsyncIterator[KafkaAdmin]:
    admins = KafkaPythonAdmins(threads=4, timeout=10.0, voter_caught_up_seconds=2.0)
    yield admins.get(KEY, cluster.bootstrap_servers)
    await admins.close()


@pytest.fixture(name="witness")
async def real_witness() -> AsyncIterator[ClientWitnesses]:
    witness = ClientWitnesses(threads=2)
    yield witness
    await witness.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("kafka-witness")]


class Looks:
    """What the operator does every second: ask for the leaders, then look."""

    def __init__(self, cluster: LocalKafka, admin: KafkaAdmin, witness: ClientWitnesses) -> None:
        self._servers, self._admin, self._witness = cluster.bootstrap_servers, admin, witness

    async def until(self, condition: Callable[[ClientObservation], bool], seconds: float) -> ClientObservation:
        deadline = time.monotonic() + seconds
        while True:
            found = await self._witness.look(KEY, self._servers, await self._leaders(), time.time())
            if condition(found):
                return found
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.5)

    async def _leaders(self) -> tuple[int | None, ...] | None:
        try:
            kafka, _ = await self._admin.observe()
        except KafkaError:
            return None
        observation = ClusterObservation(0.0, "", "", (), kafka=kafka)
        return tuple(partition.leader for partition in canary.partitions(observation))


@pytest.fixture(name="looks")
async def watched(cluster: LocalKafka, admin: KafkaAdmin, witness: ClientWitnesses) -> AsyncIterator[Looks]:
    topic = canary.new_topic((await admin.observe())[0].brokers)
    assert topic is not None
    await canary_topic(admin, CreateCanaryTopic(topic))
    yield Looks(cluster, admin, witness)
    await canary_topic(admin, DeleteCanaryTopic())


def failing(seen: ClientObservation, before: ClientLevel) -> list[str]:
    return [check.name for check in client_checks(seen, before) if not check.ok]


def attempts(at_least: int) -> Callable[[ClientObservation], bool]:
    return lambda seen: seen.canary is not None and seen.canary.attempts >= at_least


async def test_in_peace_a_level_is_learned_and_nothing_fails(looks: Looks) -> None:
    seen = await looks.until(lambda seen: ClientLevel.learn(seen) is not None, 90)
    level = ClientLevel.learn(seen)
    assert seen.canary is not None
    assert level is not None
    assert seen.canary.errors == 0
    assert {one.broker for one in seen.canary.brokers} == {1, 2, 3}
    assert 0.0 < (level.p50 or 0.0) < canary.DEADLINE_SECONDS
    assert all(check.ok for check in client_checks(seen, level))


async def test_frozen_brokers_show_as_slow_then_as_errors_and_their_end_as_neither(
    cluster: LocalKafka, looks: Looks
) -> None:
    """One frozen broker is fenced before a probe is given up (broker.session.timeout.ms is 9 s): a stall. With two of
    three nobody can fence them: errors."""
    before = ClientLevel(p50=0.005, p99=0.1, slowest=0.005)
    await looks.until(attempts(15), 60)
    frozen = [cluster.pods[3], cluster.pods[2]]
    try:
        for pod, name in zip(frozen, ("CanarySlow", "CanaryErrors"), strict=True):

            def shows(seen: ClientObservation, name: str = name) -> bool:
                return name in failing(seen, before)

            pod.freeze()
            seen = await looks.until(shows, 90)
        assert seen.canary is not None
        assert seen.canary.last_error
    finally:
        for pod in frozen:
            pod.thaw()
    seen = await looks.until(lambda seen: seen.canary is not None and seen.canary.errors == 0, 120)
    assert "CanaryErrors" not in failing(seen, before)


async def test_a_broker_that_stops_in_order_is_no_error(cluster: LocalKafka, looks: Looks) -> None:
    """What a roll does: the negative control of the case above."""
    await looks.until(attempts(15), 60)
    cluster.stop_node(1)
    began = time.monotonic()
    seen = await looks.until(lambda _: time.monotonic() > began + 12, 60)
    cluster.start_node(1)
    assert seen.canary is not None
    assert (seen.canary.errors, seen.canary.last_error) == (0, "")
    seen = await looks.until(attempts(30), 120)
    assert seen.canary is not None
    assert seen.canary.errors == 0


async def test_lag_is_that_of_the_group_and_grows_while_nobody_reads(
    cluster: LocalKafka, admin: KafkaAdmin, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "LAG_PERIOD_SECONDS", 1.0)
    assert await admin.create_topics([NewTopic("read", 2, 3, {})]) == {"read": None}
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 1})
    write(producer, 100)
    await asyncio.to_thread(read_all, cluster.bootstrap, 100)
    seen = await looks.until(lambda seen: lag_of(seen) == 0, 60)
    assert seen.groups is not None
    for number in range(4):

        def lags(seen: ClientObservation, records: int = 50 * (number + 1)) -> bool:
            return lag_of(seen) == records

        write(producer, 50)
        seen = await looks.until(lags, 90)
    (group,) = [one for one in seen.groups or () if one.group == "readers"]
    assert list(group.lags) == sorted(group.lags)
    assert (group.lags[0], group.lag) == (0, 200)
    assert group.seconds >= 3.0


def lag_of(seen: ClientObservation) -> int | None:
    return next((group.lag for group in seen.groups or () if group.group == "readers"), None)


def write(producer: Producer, records: int) -> None:
    for number in range(records):
        producer.produce("read", b"record", partition=number % 2)
    assert producer.flush(30) == 0


def read_all(bootstrap: str, records: int) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "readers", "auto.offset.reset": "earliest"})
    consumer.subscribe(["read"])
    left = records
    while left:
        left -= len(consumer.consume(left, 1.0))
    consumer.close()


async def test_nobody_answers_and_nothing_is_raised(witness: ClientWitnesses) -> None:
    for _ in range(20):
        seen = await witness.look("test/nobody", ["127.0.0.1:1"], (1, 2), 5.0)
        await asyncio.sleep(0.5)
    assert seen.as_of == 5.0
    assert seen.groups is None
    assert seen.canary is not None
    deadline = time.monotonic() + 30
    while seen.canary is None or not seen.canary.errors:
        assert time.monotonic() < deadline, seen
        seen = await witness.look("test/nobody", ["127.0.0.1:1"], None, 5.0)
        await asyncio.sleep(0.5)
    assert seen.canary is not None
    assert seen.canary.errors == seen.canary.attempts


async def test_a_watch_nobody_looks_at_ends_and_a_later_one_begins_anew(
    looks: Looks, witness: ClientWitnesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    await looks.until(attempts(3), 60)
    assert probing()
    monkeypatch.setattr(witness_module, "IDLE_SECONDS", 1.0)
    deadline = time.monotonic() + 60
    while probing():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    seen = await looks.until(lambda _: True, 5)
    assert seen.watched_seconds < 1.0
    assert seen.canary is not None
    assert seen.canary.attempts == 0


def probing() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if "_Watch." in str(task.get_coro())]
