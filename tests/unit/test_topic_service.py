"""TopicService on fakes: in bulk, one refusal holds up nobody, settings are claimed before they are set."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from support.cell import topic
from support.simulation import DieAt, Killed, Namespace, created

from controlplane.ports import KafkaAdmin, KafkaUnreachableError
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import intercept_admins, intercept_kube
from controlplane.services.keys import topics_key
from controlplane.services.queue import Key
from controlplane.services.topic_status import Declared
from controlplane.services.topics import KAFKA_TOPICS, TopicService
from controlplane.settings import OperatorSettings

KEY = topics_key("kafka", "cell")


def service(namespace: Namespace, die: DieAt | None = None) -> TopicService:
    watchers = [die] if die else []
    kube = intercept_kube(namespace.kube, watchers)
    admins = intercept_admins(namespace.admins, watchers)
    return TopicService(kube, admins, namespace.clock, EventRecorder(kube, namespace.clock), OperatorSettings())


async def declare(namespace: Namespace, *objects: dict[str, Any]) -> None:
    for obj in objects:
        obj["metadata"]["namespace"] = "kafka"
        await namespace.kube.create(KAFKA_TOPICS, obj)


async def ready(namespace: Namespace, name: str) -> dict[str, Any]:
    found = await namespace.kube.get(KAFKA_TOPICS, name, "kafka")
    condition: dict[str, Any] = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    return condition


async def test_many_topics_take_a_handful_of_calls() -> None:
    namespace = await created()
    await declare(namespace, *(topic(f"t{number}", partitions=1) for number in range(50)))
    die = DieAt()
    await service(namespace, die).reconcile(KEY)
    assert [call for call in die.calls if call.startswith("kafka ")] == ["kafka create_topics"]
    assert (await ready(namespace, "t49"))["status"] == "True"
    again = DieAt()
    await service(namespace, again).reconcile(KEY)
    assert again.calls == [], "a topic as declared is left alone"


async def test_one_refusal_holds_up_nobody() -> None:
    namespace = await created()
    await declare(
        namespace,
        topic("good"),
        topic("wide", replicas=9),
        topic("odd", config={"no.such.setting": 1}),
        topic("lost", cluster="nowhere"),
    )
    await service(namespace).reconcile(KEY)
    assert (await ready(namespace, "good"))["status"] == "True"
    wide = await ready(namespace, "wide")
    assert (wide["reason"], "spec.replicas" in wide["message"]) == ("ReplicationFactorTooLarge", True)
    assert (await ready(namespace, "odd"))["reason"] == "KafkaRefused"
    assert "status" not in await namespace.kube.get(KAFKA_TOPICS, "lost", "kafka"), "another cluster's topic"
    await service(namespace).reconcile(topics_key("kafka", "nowhere"))
    assert (await ready(namespace, "lost"))["reason"] == "ClusterNotFound"


async def test_a_setting_no_longer_declared_is_reset_and_a_foreign_one_stays() -> None:
    namespace = await created()
    await declare(namespace, topic("t1", config={"retention.ms": 1000, "cleanup.policy": "compact"}))
    await service(namespace).reconcile(KEY)
    namespace.kafka.topics["t1"].config["segment.bytes"] = "99"
    obj = await namespace.kube.get(KAFKA_TOPICS, "t1", "kafka")
    obj["spec"]["config"] = {"cleanup.policy": "compact"}
    await namespace.kube.replace(KAFKA_TOPICS, obj)
    await service(namespace).reconcile(KEY)
    assert namespace.kafka.topics["t1"].config == {"cleanup.policy": "compact", "segment.bytes": "99"}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("phase", ["before", "after"])
async def test_killed_at_any_write_no_setting_is_forgotten(number: int, phase: str) -> None:
    """Declared, killed somewhere on the way, no longer declared: whatever was set is reset."""
    namespace = await created()
    await declare(namespace, topic("t1", config={"retention.ms": 1000}))
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await service(namespace, DieAt(number, phase)).reconcile(KEY)
    obj = await namespace.kube.get(KAFKA_TOPICS, "t1", "kafka")
    obj["spec"]["config"] = {}
    await namespace.kube.replace(KAFKA_TOPICS, obj)
    await service(namespace).reconcile(KEY)
    assert namespace.kafka.topics["t1"].config == {}


async def test_an_object_that_goes_leaves_its_topic() -> None:
    namespace = await created()
    await declare(namespace, topic("t1"))
    await service(namespace).reconcile(KEY)
    await namespace.kube.delete(KAFKA_TOPICS, "t1", "kafka")
    await service(namespace).reconcile(KEY)
    assert "t1" in namespace.kafka.topics


async def test_a_topic_declared_while_a_broker_restarts_waits_instead_of_being_refused() -> None:
    namespace = await created()
    namespace.kafka.stop_broker(2)
    await declare(namespace, topic("t1"))
    await service(namespace).reconcile(KEY)
    assert (await ready(namespace, "t1"))["reason"] == "WaitingForBrokers"
    namespace.kafka.start_broker(2)
    await service(namespace).reconcile(KEY)
    assert (await ready(namespace, "t1"))["status"] == "True"


async def test_topics_wait_and_say_so_while_the_operator_cannot_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = await created()
    await declare(namespace, topic("t1"))

    def spoiled(*_: object) -> KafkaAdmin:
        raise KafkaUnreachableError("the operator's certificate cannot be used")

    with monkeypatch.context() as broken:
        broken.setattr(namespace.admins, "get", spoiled)
        await service(namespace).reconcile(KEY)
    told = await ready(namespace, "t1")
    assert (told["reason"], "certificate" in told["message"]) == ("KafkaUnavailable", True)
    await service(namespace).reconcile(KEY)
    assert (await ready(namespace, "t1"))["status"] == "True"


async def test_a_paused_topic_keeps_its_name() -> None:
    namespace = await created()
    old = topic("old", topicName="shared", config={"retention.ms": 1000})
    await declare(namespace, old)
    await service(namespace).reconcile(KEY)
    namespace.kube.objects[("kafkatopics", "kafka", "old")]["metadata"]["annotations"] = {"kfleet.dev/paused": "true"}
    await declare(namespace, topic("young", topicName="shared", config={"retention.ms": 5}))
    namespace.kube.objects[("kafkatopics", "kafka", "young")]["metadata"]["creationTimestamp"] = "2030-01-01T00:00:00Z"
    await service(namespace).reconcile(KEY)
    assert namespace.kafka.topics["shared"].config == {"retention.ms": "1000"}
    assert (await ready(namespace, "young"))["reason"] == "TopicNameTaken"


async def test_one_object_that_moved_holds_up_nobody() -> None:
    namespace = await created()
    await declare(namespace, *(topic(f"t{number}", config={"retention.ms": 1000}) for number in range(3)))
    one = service(namespace)
    declared = await one._declared(KEY)
    moved = namespace.kube.objects[("kafkatopics", "kafka", "t1")]
    moved["metadata"]["resourceVersion"] = "moved"

    async def stale(key: Key) -> list[Declared]:
        return declared

    one._declared = stale  # type: ignore[method-assign]
    await one.reconcile(KEY)
    assert set(namespace.kafka.topics) - {"t"} == {"t0", "t2"}


async def test_a_paused_topic_that_is_not_there_is_not_looked_for_all_the_time() -> None:
    namespace = await created()
    await declare(namespace, topic("old"), topic("never"))
    namespace.kube.objects[("kafkatopics", "kafka", "never")]["metadata"]["annotations"] = {"kfleet.dev/paused": "true"}
    one = service(namespace)
    await one.reconcile(KEY)
    assert await one.reconcile(KEY) == one._settings.resync_interval
    assert "never" not in namespace.kafka.topics
