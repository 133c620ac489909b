"""Machines that are cordoned under a cluster, on fakes: who leaves, who waits, and what an eviction may take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.machines import SPARE, Machines, furnished
from support.simulation import KEY, DieAt, Killed, run_until_ready, service

from controlplane.domain.cluster.observe import tied_to

HOSTNAME = "kubernetes.io/hostname"


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
    kept = list(partition.replicas)
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


def expression(key: str, *values: str, operator: str = "In") -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("terms", "tied"),
    [
        ([[expression(HOSTNAME, "host-1")]], True),
        ([[expression("topology.topolvm.io/node", "node-1")]], True),
        ([[expression("topology.kubernetes.io/zone", "a"), expression(HOSTNAME, "host-1")]], True),
        ([[expression(HOSTNAME, "host-1", "host-2")]], False),
        ([[expression(HOSTNAME, "host-1")], [expression(HOSTNAME, "host-2")]], False),
        ([[expression(HOSTNAME, "host-2")]], False),
        ([[expression("topology.kubernetes.io/zone", "a")]], False),
        ([[expression(HOSTNAME, "host-1", operator="NotIn")]], False),
        ([], False),
    ],
)
def test_which_volumes_are_tied(terms: list[list[dict[str, Any]]], tied: bool) -> None:  # noqa: FBT001
    machine = {"metadata": {"name": "node-1", "labels": {HOSTNAME: "host-1"}}}
    selector = {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}
    assert tied_to({"spec": {"nodeAffinity": {"required": selector}}}, machine) is tied
    assert tied_to({"spec": {}}, machine) is False
