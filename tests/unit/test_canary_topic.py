"""The canary's topic and its figures, and when the topic comes and goes: on fakes, killed at every write too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.fake_kafka import FakeKafka, FakeKafkaAdmin, FakePartition, FakeTopic
from support.fake_witness import FakeWitness
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, created, run_until_ready, service

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster.clients import CreateCanaryTopic, DeleteCanaryTopic, canary_steps
from controlplane.domain.observation import BrokerObservation, CanaryObservation, ClientObservation
from controlplane.domain.rolling import canary
from controlplane.domain.rolling.canary import LagSample, Probe
from controlplane.domain.rolling.witness import Learning
from controlplane.ports import KafkaError
from controlplane.services.cluster import clients
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import PODS, observe_world
from controlplane.services.operation.engine import Engine


def brokers(racks: Sequence[str | None]) -> list[BrokerObservation]:
    return [BrokerObservation(number, rack, "fake", 9091) for number, rack in enumerate(racks)]


@pytest.mark.parametrize(
    ("racks", "expected"),
    [
        pytest.param("abc", ((0, 1, 2), (1, 2, 0), (2, 0, 1)), id="a rack each"),
        pytest.param("aabbcc", ((0, 2, 4), (1, 2, 4), (2, 4, 0), (3, 4, 0), (4, 0, 2), (5, 0, 2)), id="two a rack"),
        pytest.param("aabb", ((0, 2, 1), (1, 2, 3), (2, 0, 3), (3, 0, 1)), id="fewer racks than replicas"),
        pytest.param([None, None, None], ((0, 1, 2), (1, 2, 0), (2, 0, 1)), id="no racks"),
        pytest.param("ab", ((0, 1), (1, 0)), id="two brokers"),
    ],
)
def test_every_broker_leads_one_partition_and_racks_are_mixed(
    racks: Sequence[str | None], expected: tuple[tuple[int, ...], ...]
) -> None:
    topic = canary.new_topic(brokers(racks))
    assert topic is not None
    assert topic.assignments == expected
    assert (topic.partitions, topic.replicas) == (len(racks), len(expected[0]))


def test_one_broker_has_no_canary() -> None:
    assert canary.new_topic(brokers("a")) is None


def test_figures_are_of_the_window_by_leader_at_the_time_of_sending() -> None:
    probes = [Probe(10.0, 1, 9.0), *(Probe(50.0 + number, 1, 0.001 * number) for number in range(1, 11))]
    probes += [Probe(55.0, 2, None, "timed out"), Probe(56.0, None, None, "no leader"), Probe(57.0, 2, 0.5)]
    found = canary.figures(probes, now=60.0)
    assert (found.attempts, found.errors, found.p50, found.p99) == (13, 2, 0.006, 0.5)
    assert [(one.broker, one.attempts, one.errors, one.p50) for one in found.brokers] == [
        (1, 10, 0, 0.005),
        (2, 2, 1, 0.5),
    ]
    assert found.last_error == "no leader"
    assert canary.figures(probes, now=900.0) == canary.figures([], now=0.0)


def test_a_groups_window_begins_anew_where_a_look_lacks_it() -> None:
    samples = [
        LagSample(0.0, {"old": 1}),
        LagSample(100.0, {"a": 1, "b": 5}),
        LagSample(105.0, {"a": 2}),
        LagSample(110.0, {"a": 3, "b": 7}, left_out=4),
    ]
    found, left_out = canary.groups(samples)
    assert found is not None
    assert [(group.group, group.lags, group.seconds) for group in found] == [("b", (7,), 0.0), ("a", (1, 2, 3), 10.0)]
    assert left_out == 4
    assert canary.groups([]) == (None, 0)


def test_only_the_largest_groups_are_told() -> None:
    found, left_out = canary.groups([LagSample(0.0, {f"g{n:03}": n for n in range(canary.GROUPS_TOLD + 10)})])
    assert found is not None
    assert (len(found), left_out) == (canary.GROUPS_TOLD, 10)
    assert found[0].lag == canary.GROUPS_TOLD + 9


async def upgraded(namespace: Namespace, witness: FakeWitness, die: DieAt, passes: int = 400) -> list[frozenset[str]]:
    """Topics of each pass until the upgrade is over."""
    one = service(namespace, die, witness=witness)
    seen = []
    for _ in range(passes):
        namespace.turn()
        await one.reconcile(KEY)
        seen.append(frozenset(namespace.kafka.topics))
        if await namespace.ready() and canary.TOPIC not in namespace.kafka.topics:
            return seen
    raise AssertionError(f"not over: {await namespace.status()}")


async def test_an_upgrade_has_a_canary_and_leaves_none() -> None:
    namespace, witness = await created(), FakeWitness()
    await namespace.change(version="4.3.1")
    seen = await upgraded(namespace, witness, DieAt())
    assert any(canary.TOPIC in topics for topics in seen)
    assert canary.TOPIC not in namespace.kafka.topics
    assert {len(leaders) for leaders in witness.looks if leaders} == {3}
    looks = len(witness.looks)
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(3):
        namespace.turn()
        await one.reconcile(KEY)
    assert len(witness.looks) == looks, "a cluster at rest is not watched"


async def test_writes_that_fail_on_the_new_version_bring_the_old_one_back() -> None:
    """The level before comes through the status, the fault lasts, and the topic goes with the way back."""
    namespace, witness = await created(), FakeWitness()
    await namespace.change(version="4.3.1", rollout={"soak": "60s", "faultAfter": "20s"})
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(300):
        namespace.turn()
        await one.reconcile(KEY)
        pods = await namespace.kube.list(PODS, "kafka")
        versions = {pod["metadata"]["annotations"][names.KAFKA_VERSION] for pod in pods}
        if versions == {"4.3.1"} and len(pods) == 3:
            witness.canary = CanaryObservation(90, 40, 0.004, 0.02, (), "timed out")
        if (await namespace.status()).get("rolledBack") and await back(namespace):
            break
    status = await namespace.status()
    assert status["rolledBack"]["reason"] == "CanaryErrors"
    assert versions == {"4.2.0"}
    assert canary.TOPIC not in namespace.kafka.topics
    looks = len(witness.looks)
    for _ in range(5):
        namespace.turn()
        await one.reconcile(KEY)
    assert len(witness.looks) == looks, "an upgrade that is not tried again is not watched"


async def back(namespace: Namespace) -> bool:
    return "operation" not in await namespace.status() and canary.TOPIC not in namespace.kafka.topics


async def test_a_restart_for_settings_is_not_watched() -> None:
    namespace, witness = await created(), FakeWitness()
    await namespace.change(config={"num.network.threads": 4})
    await upgraded(namespace, witness, DieAt())
    assert witness.looks == []


async def test_without_a_canary_the_groups_are_still_watched() -> None:
    namespace, witness = await created(), FakeWitness()
    await namespace.change(version="4.3.1", rollout={"soak": "2s", "canary": "Disabled"})
    seen = await upgraded(namespace, witness, DieAt())
    assert not any(canary.TOPIC in topics for topics in seen)
    assert set(witness.looks) <= {(), None}
    assert witness.looks


async def test_an_upgrade_that_is_held_makes_no_topic() -> None:
    namespace, witness = await created(), FakeWitness()
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"].setdefault("annotations", {})[names.PAUSED] = "true"
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(5):
        namespace.turn()
        await one.reconcile(KEY)
    assert canary.TOPIC not in namespace.kafka.topics


async def test_a_topic_of_that_name_with_other_settings_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    namespace, witness = await created(), FakeWitness()
    namespace.kafka.topics[canary.TOPIC] = FakeTopic("theirs", [namespace.kafka.place(3)], {"retention.ms": "1"})
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(120):
        namespace.turn()
        pause = await one.reconcile(KEY)
    assert namespace.kafka.topics[canary.TOPIC].topic_id == "theirs"
    assert set(witness.looks) <= {(), None}, "it is never written to"
    assert "the upgrade has no canary: topic __kfleet_canary is not as kfleet makes it" in caplog.text
    assert (await namespace.status())["metadataVersion"] == "4.3-IV0"
    assert (await namespace.ready(), pause) == (True, SETTINGS.resync_interval)


async def test_a_topic_of_that_name_disturbs_no_cluster_at_rest() -> None:
    namespace, witness = await created(), FakeWitness()
    namespace.kafka.topics[canary.TOPIC] = FakeTopic("theirs", [namespace.kafka.place(3)], {"retention.ms": "1"})
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(4):
        namespace.turn()
        pause = await one.reconcile(KEY)
    assert (await namespace.ready(), pause) == (True, SETTINGS.resync_interval)
    assert canary.TOPIC in namespace.kafka.topics


async def test_ours_is_known_and_goes_though_a_reassignment_left_its_throttles_on_it() -> None:
    namespace, witness = await created(), FakeWitness()
    throttled = {**canary.CONFIG, "leader.replication.throttled.replicas": "0:0,0:1"}
    namespace.kafka.topics[canary.TOPIC] = FakeTopic("ours", [namespace.kafka.place(3)], throttled)
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(4):
        namespace.turn()
        await one.reconcile(KEY)
    assert canary.TOPIC not in namespace.kafka.topics
    assert await namespace.ready()


async def upgrading_with_five(rolled: Callable[[Namespace], bool]) -> tuple[Namespace, Engine, dict[str, Any]]:
    """In the midst of an upgrade, once so many nodes are on the new version; the pool as it was with three."""
    namespace, witness = Namespace(), FakeWitness()
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    (pool,) = (await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))["spec"]["nodePools"]
    namespace.kafka.directories.update({3: "directory-3", 4: "directory-4"})
    await namespace.change(nodePools=[pool | {"replicas": 5}])
    await run_until_ready(namespace, DieAt())
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt(), witness=witness)
    for _ in range(200):
        namespace.turn()
        await one.reconcile(KEY)
        if rolled(namespace):
            break
    assert rolled(namespace)
    assert not await namespace.ready()
    assert canary.TOPIC in namespace.kafka.topics
    return namespace, one, pool


async def test_brokers_that_leave_get_none_of_it_and_it_does_not_refuse_their_leaving() -> None:
    """Scaled down in the midst of an upgrade that those who leave are through with: it goes to its end, then the topic
    goes, then the brokers."""
    namespace, one, pool = await upgrading_with_five(
        lambda space: all(len(uids) > 1 for name, uids in space.uids.items() if name.endswith(("-3", "-4")))
    )
    await namespace.change(nodePools=[pool | {"replicas": 3}])
    for _ in range(400):
        namespace.turn()
        await one.reconcile(KEY)
        if await namespace.ready() and canary.TOPIC not in namespace.kafka.topics:
            break
    assert sorted(voter for voter in namespace.kafka.voters) == [0, 1, 2], await namespace.status()
    assert (await namespace.status())["metadataVersion"] == "4.3-IV0"


async def test_an_upgrade_waits_where_nodes_are_to_leave_before_their_turn() -> None:
    """No level could be made final while Kafka knows them; with the number set back it goes on."""
    namespace, one, pool = await upgrading_with_five(
        lambda space: sum(len(uids) - 1 for uids in space.uids.values()) >= 2
    )
    await namespace.change(nodePools=[pool | {"replicas": 3}])
    for _ in range(40):
        namespace.turn()
        await one.reconcile(KEY)
    blocked = next(it for it in (await namespace.status())["conditions"] if it["type"] == "Blocked")
    assert (blocked["status"], blocked["reason"]) == ("True", "NodesLeaving")
    await namespace.change(nodePools=[pool | {"replicas": 5}])
    await run_until_ready(namespace, DieAt())
    assert (await namespace.status())["metadataVersion"] == "4.3-IV0"
    assert sorted(voter for voter in namespace.kafka.voters) == [0, 1, 2, 3, 4]


async def test_it_is_made_on_brokers_that_stay() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt(), witness=FakeWitness())
    await one.reconcile(KEY)
    cluster = KafkaCluster.model_validate(await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    world = await observe_world(namespace.kube, namespace.admins, namespace.clock, cluster)
    seen = replace(world.observation, clients=ClientObservation(world.observation.as_of))
    (step,) = canary_steps(replace(world, observation=seen, learning=Learning()), leaving=frozenset({1}))
    assert isinstance(step, CreateCanaryTopic)
    assert step.topic.assignments == ((0, 2), (2, 0))


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_leaves_no_topic(phase: str) -> None:
    namespace, witness = await created(), FakeWitness()
    await namespace.change(version="4.3.1")
    for _ in range(200):
        die = DieAt(1 if phase == "after" else 2, phase)
        try:
            await upgraded(namespace, witness, die)
        except Killed:
            continue
        break
    else:
        raise AssertionError("it died for ever")
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)
    assert (await namespace.status())["metadataVersion"] == "4.3-IV0"


async def test_making_and_deleting_it_twice_is_no_error_and_another_topic_is_not_deleted() -> None:
    kafka = FakeKafka(nodes=3)
    admin = FakeKafkaAdmin(kafka)
    topic = canary.new_topic((await admin.observe())[0].brokers)
    assert topic is not None
    for _ in range(2):
        await clients.canary_topic(admin, CreateCanaryTopic(topic))
    assert [one.replicas for one in kafka.topics[canary.TOPIC].partitions] == [(1, 2, 3), (2, 3, 1), (3, 1, 2)]
    for _ in range(2):
        await clients.canary_topic(admin, DeleteCanaryTopic())
    assert canary.TOPIC not in kafka.topics
    others = dict(canary.CONFIG) | {"retention.ms": "1"}
    kafka.topics[canary.TOPIC] = FakeTopic("theirs", [FakePartition((1,), (1,), 1)], others)
    with pytest.raises(KafkaError, match="find out whose"):
        await clients.canary_topic(admin, DeleteCanaryTopic())
    assert canary.TOPIC in kafka.topics
