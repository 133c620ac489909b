"""ports.DelayGauge before real brokers: whose time it sees. A broker with one request handler, which waits for its disk
most of the time, is told from one at rest, and from one that is frozen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from support.cluster import PORT, LocalKafka
from support.noisy import FLUSHED, Noise

from controlplane.adapters.kafka import delays
from controlplane.adapters.kafka.delays import DelayGauges
from controlplane.domain.shedding.measure import saturations

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
KEY, BUSY, REST = "test/saturation", 1, 2
PARTITIONS, CONNECTIONS = 48, 6
SECONDS = 90.0
SATURATED = 0.05


@pytest.fixture(scope="module", name="cluster")
def two_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path_factory.mktemp("saturation")) as kafka:
        kafka.start("4.3.1", nodes=2, config={"num.io.threads": "1"})
        topic = NewTopic("flushed", PARTITIONS, replica_assignment=[[BUSY]] * PARTITIONS, config=FLUSHED)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        (done,) = admin.create_topics([topic]).values()
        done.result(60)
        yield kafka


@pytest.fixture(name="gauge")
async def real_gauge() -> AsyncIterator[DelayGauges]:
    gauges = DelayGauges(interval=0.2)
    yield gauges
    await gauges.close()


def brokers(cluster: LocalKafka) -> dict[int, tuple[str, int]]:
    return {node: (f"{cluster.network}.{node}", PORT) for node in (BUSY, REST)}


async def until(
    gauge: DelayGauges, cluster: LocalKafka, condition: Callable[[Mapping[int, float]], bool]
) -> Mapping[int, float]:
    deadline = time.monotonic() + SECONDS
    while True:
        found = saturations(await gauge.look(KEY, brokers(cluster)), time.monotonic())
        if condition(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)


async def test_requests_wait_where_handlers_wait_for_the_disk(cluster: LocalKafka, gauge: DelayGauges) -> None:
    rest = await until(gauge, cluster, lambda found: found.keys() == {BUSY, REST} and max(found.values()) < SATURATED)
    client = {"bootstrap_servers": cluster.bootstrap_servers}
    with Noise("flushed", range(PARTITIONS), CONNECTIONS, client):
        busy = await until(gauge, cluster, lambda found: found.get(BUSY, 0.0) > SATURATED)
        print(f"\nat rest {rest}, busy {busy}")
        assert busy[REST] < busy[BUSY] / 2
    await until(gauge, cluster, lambda found: found.get(BUSY, 1.0) < SATURATED / 2)


async def test_a_frozen_broker_is_not_known_to_be_saturated_for_long(
    cluster: LocalKafka, gauge: DelayGauges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel goes on accepting connections."""
    monkeypatch.setattr(delays, "SILENT_SECONDS", 2.0)
    await until(gauge, cluster, lambda found: found.keys() == {BUSY, REST})
    cluster.pods[REST].freeze()
    try:
        silent = (await gauge.look(KEY, brokers(cluster)))[REST][-1].at + delays.SILENT_SECONDS
        while time.monotonic() < silent + 1.5:
            await gauge.look(KEY, brokers(cluster))
            await asyncio.sleep(0.1)
        newest = (await gauge.look(KEY, brokers(cluster)))[REST][-1].at
        assert newest < time.monotonic() - 1.0, "nothing new is known of it"
    finally:
        cluster.pods[REST].thaw()
    began = time.monotonic()
    while (await gauge.look(KEY, brokers(cluster)))[REST][-1].at < began:
        assert time.monotonic() < began + SECONDS
        await asyncio.sleep(0.2)
