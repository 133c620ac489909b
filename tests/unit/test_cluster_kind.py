"""KafkaCluster on the engine, on fakes: the crash walk's question, asked of thousands of passes in a second."""

from __future__ import annotations

import json

import pytest
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, created, run_until_ready, service, some_topic

from controlplane.api import names
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import CLAIMS, PODS, SERVICES


async def test_create() -> None:
    namespace = await created()
    status = await namespace.status()
    assert status["bootstrapServers"] == ["127.9.0.1:9092"]
    assert [node["rack"] for node in status["nodes"]] == ["a", "b", "c"]
    claims = await namespace.kube.list(CLAIMS, "kafka")
    assert all({names.IDENTITY, names.FORMATTED} <= claim["metadata"]["annotations"].keys() for claim in claims)


async def test_ready_means_quiet() -> None:
    """At rest nothing is written, whatever the number of passes."""
    namespace = await created()
    die = DieAt()
    one = service(namespace, die)
    for _ in range(5):
        namespace.turn()
        await one.reconcile(KEY)
    quiet = DieAt()
    one = service(namespace, quiet)
    for _ in range(5):
        namespace.turn()
        await one.reconcile(KEY)
    assert quiet.calls == []


async def test_version_change_replaces_each_pod_once_and_finalises_after_the_soak() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    await run_until_ready(namespace, DieAt())
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)
    status = await namespace.status()
    assert status["metadataVersion"] == "4.3-IV0"
    assert status["lastOperation"]["outcome"] == "Succeeded"
    assert "operation" not in status


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_comes_to_the_end(phase: str) -> None:
    """Each life makes one write at most (after) or two (before the second); from creation to a finished upgrade."""
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"})
    number = 1 if phase == "after" else 2
    for stage in ("create", "upgrade"):
        if stage == "upgrade":
            namespace.kafka.topics["t"] = some_topic(namespace)
            await namespace.change(version="4.3.1")
        for _ in range(600):
            namespace.turn()
            try:
                one = service(namespace, DieAt(number, phase))
                await one.reconcile(KEY)
            except Killed:
                continue
            if await namespace.ready():
                break
        assert await namespace.ready(), (stage, json.dumps(await namespace.status(), indent=1))
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)


async def test_a_bad_spec_touches_nothing() -> None:
    namespace = await created()
    before = {key: obj for key, obj in namespace.kube.objects.items() if key[0] != "kafkaclusters"}
    for spec, reason in (
        ({"version": "9.9.9"}, "UnknownVersion"),
        ({"config": {"default.replication.factor": 7}}, "ReplicationFactorTooLarge"),
        ({"version": "4.1.2"}, "VersionChangeRefused"),
    ):
        obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        good = dict(obj["spec"])
        await namespace.change(**spec)
        die = DieAt()
        one = service(namespace, die)
        for _ in range(3):
            namespace.turn()
            await one.reconcile(KEY)
        conditions = {c["type"]: c for c in (await namespace.status())["conditions"]}
        assert conditions["Ready"]["reason"] == reason
        assert "spec." in conditions["Ready"]["message"]
        told = {"kafkaclusters/status", "poddisruptionbudgets"}
        assert {call.split()[1] for call in die.calls} <= told, "status and the drain gate, nothing else"
        obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        obj["spec"] = good
        await namespace.kube.replace(KAFKA_CLUSTERS, obj)
        await run_until_ready(namespace, DieAt())
    after = {key: obj for key, obj in namespace.kube.objects.items() if key[0] not in {"kafkaclusters", "events"}}
    assert {k: v["metadata"]["uid"] for k, v in after.items()} == {
        k: v["metadata"]["uid"] for k, v in before.items() if k[0] != "events"
    }


async def test_fewer_replicas_are_refused_and_touch_nothing() -> None:
    namespace = await created()
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    pool = obj["spec"]["nodePools"][0]
    for change, reason in (({"replicas": 1}, "ScaleDownRefused"),):
        await namespace.change(nodePools=[pool | change])
        pods = [pod["metadata"]["uid"] for pod in await namespace.kube.list(PODS, "kafka")]
        one = service(namespace, DieAt())
        for _ in range(3):
            namespace.turn()
            await one.reconcile(KEY)
        conditions = {c["type"]: c for c in (await namespace.status())["conditions"]}
        assert conditions["Ready"]["reason"] == reason, conditions["Ready"]
        assert "goal ChangeReplicas" in conditions["Ready"]["message"]
        assert [pod["metadata"]["uid"] for pod in await namespace.kube.list(PODS, "kafka")] == pods


async def test_a_node_that_is_drained_while_the_spec_is_refused_comes_back_as_it_was() -> None:
    namespace = await created()
    before = await namespace.kube.get(PODS, "cell-nodes-1", "kafka")
    await namespace.change(version="9.9.9")
    del namespace.kube.objects[("pods", "kafka", "cell-nodes-1")]
    one = service(namespace, DieAt())
    for _ in range(3):
        namespace.turn()
        await one.reconcile(KEY)
    after = await namespace.kube.get(PODS, "cell-nodes-1", "kafka")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]
    format_env = {entry["name"]: entry.get("value") for entry in after["spec"]["initContainers"][0]["env"]}
    assert format_env["KAFKA_FORMATTED"] == "directory-1", "a formatted volume is never formatted again"


async def test_a_pod_that_ended_for_good_is_replaced() -> None:
    namespace = await created()
    await service(namespace, DieAt()).reconcile(KEY)
    pod = namespace.kube.objects[("pods", "kafka", "cell-nodes-1")]
    pod["status"] = {"phase": "Failed", "reason": "Evicted", "podIP": "127.9.1.1"}
    uid = pod["metadata"]["uid"]
    one = service(namespace, DieAt())
    await one.reconcile(KEY)
    await run_until_ready(namespace, DieAt())
    assert (await namespace.kube.get(PODS, "cell-nodes-1", "kafka"))["metadata"]["uid"] != uid


def gate(namespace: Namespace) -> int:
    budget = namespace.kube.objects[("poddisruptionbudgets", "kafka", "cell-nodes")]
    return int(budget["spec"]["minAvailable"])


async def settle(namespace: Namespace, passes: int = 4) -> None:
    one = service(namespace, DieAt())
    for _ in range(passes):
        namespace.turn()
        await one.reconcile(KEY)


async def test_a_pod_that_is_on_its_way_out_is_not_deleted_again() -> None:
    """A kubelet writes phase Succeeded on a deleted pod before it lets the object go."""
    namespace = await created()
    pod = namespace.kube.objects[("pods", "kafka", "cell-nodes-1")]
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pod["status"]["phase"] = "Succeeded"
    die = DieAt()
    await service(namespace, die).reconcile(KEY)
    assert not [call for call in die.calls if call.startswith("delete")]


async def test_the_drain_gate_is_closed_while_anything_is_out_of_sync() -> None:
    namespace = await created()
    await settle(namespace)
    assert gate(namespace) == 2
    partition = namespace.kafka.topics["t"].partitions[0]
    partition.isr = partition.isr[:2]
    await settle(namespace)
    assert gate(namespace) == 3
    partition.isr = partition.replicas
    await settle(namespace)
    assert gate(namespace) == 2


async def test_a_claim_that_is_being_deleted_keeps_its_pod() -> None:
    namespace = await created()
    namespace.kube.objects[("persistentvolumeclaims", "kafka", "data-0-cell-nodes-1")]["metadata"][
        "deletionTimestamp"
    ] = "2026-01-01T00:00:00Z"
    await namespace.change(config={"num.network.threads": 4})
    die = DieAt()
    one = service(namespace, die)
    for _ in range(4):
        namespace.turn()
        await one.reconcile(KEY)
    conditions = {c["type"]: c for c in (await namespace.status())["conditions"]}
    assert conditions["Ready"]["reason"] == "VolumeTerminating"
    assert not [call for call in die.calls if "pods" in call.split()]


async def test_a_setting_taken_back_while_a_broker_is_down_is_reset_when_it_is_back() -> None:
    namespace = await created()
    await namespace.change(config={"log.retention.ms": 7200000})
    await run_until_ready(namespace, DieAt())
    assert namespace.kafka.dynamic_config["log.retention.ms"] == "7200000"
    pod = namespace.kube.objects.pop(("pods", "kafka", "cell-nodes-2"))
    namespace.turn()
    await namespace.change(config={})
    await service(namespace, DieAt()).reconcile(KEY)
    namespace.kube.objects.setdefault(("pods", "kafka", "cell-nodes-2"), pod)
    await settle(namespace, 6)
    assert "log.retention.ms" not in namespace.kafka.dynamic_config


async def test_a_paused_roll_stops_after_the_node_that_was_begun_and_goes_on_when_told() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt())
    while not any(len(uids) == 2 for uids in namespace.uids.values()):
        namespace.turn()
        await one.reconcile(KEY)
    cluster = namespace.kube.objects[("kafkaclusters", "kafka", "cell")]
    cluster["metadata"]["annotations"] = {names.PAUSED: "true"}
    await settle(namespace, 10)
    assert sorted(len(uids) for uids in namespace.uids.values()) == [1, 1, 2]
    conditions = {c["type"]: c for c in (await namespace.status())["conditions"]}
    assert conditions["Blocked"]["reason"] == "Paused"
    del namespace.kube.objects[("kafkaclusters", "kafka", "cell")]["metadata"]["annotations"]
    await run_until_ready(namespace, DieAt())
    assert sorted(len(uids) for uids in namespace.uids.values()) == [2, 2, 2]


async def test_bootstrap_servers_stay_while_the_cluster_serves() -> None:
    namespace = await created()
    before = (await namespace.status())["bootstrapServers"]
    await namespace.change(version="9.9.9")
    await settle(namespace)
    assert (await namespace.status())["bootstrapServers"] == before


async def test_an_object_of_that_name_that_is_not_ours_is_never_taken_over() -> None:
    namespace = Namespace()
    foreign = {"metadata": {"name": "cell-clients", "namespace": "kafka"}, "spec": {"selector": {"app": "theirs"}}}
    await namespace.kube.create(SERVICES, foreign)
    await namespace.declare()
    await settle(namespace, 6)
    found = await namespace.kube.get(SERVICES, "cell-clients", "kafka")
    assert found["spec"]["selector"] == {"app": "theirs"}
    conditions = {c["type"]: c for c in (await namespace.status())["conditions"]}
    assert conditions["Ready"]["reason"] == "NameTaken"
    assert "cell-clients" in conditions["Ready"]["message"]
    assert len(await namespace.kube.list(PODS, "kafka")) == 3, "one refused step holds up no other"


async def test_a_node_that_lacks_only_kafkas_word_is_looked_for_often_at_first_and_ever_less_often() -> None:
    namespace = await created()
    await namespace.change(config={"queued.max.requests": 501})
    one = service(namespace, DieAt())
    start_broker = namespace.kafka.start_broker
    namespace.kafka.start_broker = lambda node: None  # type: ignore[method-assign]
    pauses = []
    for _ in range(40):
        namespace.turn()
        pauses.append(await one.reconcile(KEY))
    waiting = [pause for pause in pauses if pause is not None and pause != SETTINGS.settle_interval]
    assert waiting[0] < 2 * SETTINGS.settle_interval
    assert waiting == sorted(waiting)
    assert waiting[-1] == SETTINGS.busy_interval
    namespace.kafka.start_broker = start_broker  # type: ignore[method-assign]
    await run_until_ready(namespace, DieAt())
