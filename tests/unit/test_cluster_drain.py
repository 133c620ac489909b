"""Machines that are cordoned under a cluster, on fakes: who leaves, who waits, and what an eviction may take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.fake_kafka import FakeKafkaAdmin
from support.machines import SPARE, Machines, furnished
from support.simulation import KEY, DieAt, Killed, run_until_ready, service

from controlplane.api import names
from controlplane.ports import ForbiddenError, KafkaUnreachableError
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import MACHINES


async def passes(namespace: Machines, count: int = 4) -> DieAt:
    die = DieAt()
    one = service(namespace, die)
    for _ in range(count):
        namespace.turn()
        await one.reconcile(KEY)
    return die


def gate(namespace: Machines) -> int:
    return int(namespace.kube.objects["poddisruptionbudgets", "kafka", "cell-nodes"]["spec"]["minAvailable"])


def evict(namespace: Machines, node: int) -> None:
    """What the API server does with an eviction that the budget allows."""
    assert gate(namespace) < len(namespace.pods())
    del namespace.kube.objects["pods", "kafka", f"cell-nodes-{node}"]


async def condition(namespace: Machines, kind: str) -> dict[str, Any]:
    return next(c for c in (await namespace.status())["conditions"] if c["type"] == kind)


async def test_a_node_leaves_a_cordoned_machine_once_and_for_that_reason() -> None:
    namespace = await furnished()
    before = namespace.pods()
    namespace.cordon("node-b")
    reasons: set[str] = set()
    one = service(namespace, DieAt())
    for _ in range(30):
        namespace.turn()
        await one.reconcile(KEY)
        step = (await namespace.status()).get("operation", {}).get("step", {})
        if step.get("verb") == "Stopping":
            reasons.add(step["why"])
            assert gate(namespace) == 3, "nobody is evicted beside it"
    assert await namespace.ready()
    assert reasons == {"Drain"}
    after = namespace.pods()
    assert {name for name in after if after[name] != before[name]} == {"cell-nodes-1"}
    assert namespace.machine_of(1) == f"node-b{SPARE}"
    assert (await namespace.status())["lastOperation"]["outcome"] == "Succeeded"
    assert gate(namespace) == 2


async def test_two_cordoned_machines_are_left_one_after_the_other() -> None:
    namespace = await furnished()
    for machine in ("node-a", "node-c"):
        namespace.cordon(machine)
    one = service(namespace, DieAt())
    for _ in range(40):
        namespace.turn()
        assert len(namespace.pods()) >= 2
        await one.reconcile(KEY)
    assert await namespace.ready()
    assert [namespace.machine_of(node) for node in range(3)] == [f"node-a{SPARE}", "node-b", f"node-c{SPARE}"]
    assert sorted(len(uids) for uids in namespace.uids.values()) == [1, 2, 2]


async def test_a_drain_and_a_new_setting_are_one_restart() -> None:
    namespace = await furnished()
    namespace.cordon("node-b")
    await namespace.change(config={"queued.max.requests": 400})
    await run_until_ready(namespace, DieAt())
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)
    assert namespace.machine_of(1) == f"node-b{SPARE}"


async def test_cordoning_takes_down_no_node_whose_volume_cannot_follow() -> None:
    namespace = await furnished(tied=True)
    await passes(namespace)
    before = namespace.pods()
    namespace.cordon("node-b")
    await passes(namespace, 6)
    assert namespace.pods() == before
    assert gate(namespace) == 2, "kubectl drain may take it"


async def test_an_evicted_node_whose_volume_is_tied_waits_and_nobody_follows_it() -> None:
    namespace = await furnished(tied=True)
    await passes(namespace)
    for machine in ("node-a", "node-b", "node-c"):
        namespace.cordon(machine)
    before = namespace.pods()
    evict(namespace, 1)
    await namespace.change(config={"queued.max.requests": 400})
    await passes(namespace, 8)
    blocked = await condition(namespace, "Blocked")
    assert blocked["reason"] == "VolumeOnCordonedMachine"
    assert "kubectl uncordon node-b" in blocked["message"]
    assert gate(namespace) == 3
    after = namespace.pods()
    assert {name for name in before if after.get(name) != before[name]} == {"cell-nodes-1"}
    for machine in ("node-a", "node-b", "node-c"):
        namespace.cordon(machine, on=False)
    await run_until_ready(namespace, DieAt())
    assert namespace.machine_of(1) == "node-b"


async def test_an_eviction_that_came_first_is_seen_before_anybody_is_stopped() -> None:
    """The gate stood open when the pass began: it is closed and the world looked at again before the first stop."""
    namespace = await furnished()
    await passes(namespace)
    assert gate(namespace) == 2
    namespace.cordon("node-b")
    one = service(namespace, DieAt())
    namespace.turn()
    await one.reconcile(KEY)
    assert (gate(namespace), len(namespace.pods())) == (3, 3)
    del namespace.kube.objects["pods", "kafka", "cell-nodes-0"]  # it had been allowed before the gate was closed
    for _ in range(30):
        namespace.turn()
        assert len(namespace.pods()) >= 2
        await one.reconcile(KEY)
    assert await namespace.ready()


async def test_a_partition_that_cannot_lose_a_replica_keeps_the_gate_shut() -> None:
    namespace = await furnished()
    topic = namespace.kafka.topics["t"]
    partition = topic.partitions[0]
    kept = partition.replicas
    partition.replicas, partition.isr = kept[:2], kept[:2]
    await passes(namespace)
    assert gate(namespace) == 3
    quiet = await passes(namespace)
    assert quiet.calls == []
    await namespace.change(rollout={"soak": "2s", "unprotectedPartitions": "Accept"})
    await passes(namespace)
    assert gate(namespace) == 2


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_drains_each_node_once(phase: str) -> None:
    namespace = await furnished()
    number = 1 if phase == "after" else 2
    for machine in ("node-a", "node-b"):
        namespace.cordon(machine)
    for _ in range(300):
        namespace.turn()
        assert len(namespace.pods()) >= 2
        try:
            await service(namespace, DieAt(number, phase)).reconcile(KEY)
        except Killed:
            continue
        if await namespace.ready() and namespace.machine_of(0) != "node-a" and namespace.machine_of(1) != "node-b":
            break
    assert sorted(len(uids) for uids in namespace.uids.values()) == [1, 2, 2], json.dumps(await namespace.status())


async def test_a_node_stays_where_no_other_machine_is_left_for_it() -> None:
    namespace = await furnished()
    await passes(namespace)
    before = namespace.pods()
    for machine in ("node-b", f"node-b{SPARE}"):
        namespace.cordon(machine)
    await passes(namespace, 8)
    assert namespace.pods() == before
    told = await condition(namespace, "Drainable")
    assert (told["status"], told["reason"]) == ("False", "NoMachineLeft")
    assert "node-b" in told["message"]
    namespace.cordon(f"node-b{SPARE}", on=False)
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 12)
    assert namespace.machine_of(1) == f"node-b{SPARE}"
    assert (await condition(namespace, "Drainable"))["status"] == "True"


async def test_a_node_stays_where_its_volume_may_not_be_read() -> None:
    namespace = await furnished(tied=True)
    await passes(namespace)
    before, get = namespace.pods(), namespace.kube.get

    async def refusing(resource: Any, name: str, namespace: str | None = None) -> Any:
        if resource.plural == "persistentvolumes":
            raise ForbiddenError(403, "Forbidden", "no")
        return await get(resource, name, namespace)

    namespace.kube.get = refusing  # type: ignore[method-assign]
    namespace.cordon("node-b")
    await passes(namespace, 8)
    assert namespace.pods() == before
    told = await condition(namespace, "Drainable")
    assert told["reason"] == "VolumeUnreadable"
    assert "`get` on persistentvolumes" in told["message"]


async def test_a_roll_stops_nobody_who_would_not_come_back_and_leaves_the_gate_to_evictions() -> None:
    namespace = await furnished(tied=True)
    await passes(namespace)
    before = namespace.pods()
    namespace.cordon("node-b")
    await namespace.change(config={"queued.max.requests": 400})
    await passes(namespace, 8)
    assert namespace.pods() == before
    assert (await condition(namespace, "Blocked"))["reason"] == "VolumeOnCordonedMachine"
    assert gate(namespace) == 2, "kubectl drain is not refused for ever"
    namespace.cordon("node-b", on=False)
    await run_until_ready(namespace, DieAt())
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)


async def test_volumes_are_read_only_of_pods_in_question() -> None:
    namespace = await furnished()
    await passes(namespace)
    read: list[str] = []
    get = namespace.kube.get

    async def counting(resource: Any, name: str, namespace: str | None = None) -> Any:
        if resource.plural == "persistentvolumes":
            read.append(name)
        return await get(resource, name, namespace)

    namespace.kube.get = counting  # type: ignore[method-assign]
    await namespace.kube.create(MACHINES, {"metadata": {"name": "elsewhere"}, "spec": {"unschedulable": True}})
    await passes(namespace)
    assert read == []
    namespace.cordon("node-b")
    await passes(namespace, 1)
    assert read == ["pv-data-0-cell-nodes-1"]


async def test_a_lasting_reason_against_evictions_is_told() -> None:
    namespace = await furnished()
    partition = namespace.kafka.topics["t"].partitions[0]
    kept = partition.replicas
    partition.replicas, partition.isr = kept[:2], kept[:2]
    await passes(namespace)
    told = await condition(namespace, "Drainable")
    assert (told["status"], told["reason"]) == ("False", "UnprotectedPartitions")
    partition.replicas, partition.isr = kept, kept
    await passes(namespace)
    assert (await condition(namespace, "Drainable"))["reason"] == "OneNodeMayGo"


async def test_a_drain_that_counts_as_cancelled_says_so() -> None:
    namespace = await furnished()
    namespace.cordon("node-b")
    await passes(namespace, 1)
    operation = (await namespace.status())["operation"]["id"]
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"]["annotations"] = {names.CANCEL: operation}
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await passes(namespace, 8)
    await passes(namespace, 8)
    namespace.cordon("node-c")
    pods = namespace.pods()
    await passes(namespace, 8)
    assert namespace.pods() == pods
    assert "that counts as the roll that was cancelled" in (await condition(namespace, "Blocked"))["message"]
    assert gate(namespace) == 2
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"]["annotations"] = {}
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await passes(namespace, 30)
    assert [namespace.machine_of(node) for node in range(3)] == ["node-a", f"node-b{SPARE}", f"node-c{SPARE}"]


async def test_a_node_that_left_and_that_no_machine_takes_stops_the_roll_and_says_so() -> None:
    """What the labels allow the scheduler may still refuse, for want of memory."""
    namespace = await furnished()
    place = namespace._place
    namespace._place = lambda pod, node: None if node == 1 else place(pod, node)  # type: ignore[method-assign]
    for machine in ("node-b", "node-c"):
        namespace.cordon(machine)
    await passes(namespace, 14)
    assert (await condition(namespace, "Blocked"))["reason"] == "NoMachineLeft"
    assert [namespace.machine_of(node) for node in range(3)] == ["node-a", None, "node-c"], "nobody follows it"
    assert gate(namespace) == 3
    namespace._place = place  # type: ignore[method-assign]
    namespace.cordon("node-b", on=False)
    await passes(namespace, 20)
    assert [namespace.machine_of(node) for node in range(3)] == ["node-a", "node-b", f"node-c{SPARE}"]


async def test_what_is_told_of_drains_stands_while_no_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = await furnished()
    partition = namespace.kafka.topics["t"].partitions[0]
    partition.replicas = partition.isr = partition.replicas[:2]
    await passes(namespace)

    async def silent(_: FakeKafkaAdmin) -> Any:
        raise KafkaUnreachableError("nobody answers")

    monkeypatch.setattr(FakeKafkaAdmin, "observe", silent)
    await passes(namespace)
    assert (await condition(namespace, "Available"))["reason"] == "NoBrokerAnswers"
    assert (await condition(namespace, "Drainable"))["reason"] == "UnprotectedPartitions"
