"""An upgrade that goes wrong, on the real engine and on fakes: rolled back, held, tried again; operators that die."""

from __future__ import annotations

import json

import pytest
from support.ill_cell import NEW, OLD, IllNamespace, Rollout, on_old
from support.simulation import KEY, DieAt, Killed, run_until_ready, service

from controlplane.services.cluster.kind import KAFKA_CLUSTERS


def bad_version(_: int, version: str) -> bool:
    return version == NEW


def restarts(namespace: IllNamespace) -> dict[int, int]:
    """Pods that each node has had, without the first."""
    return {int(name.rpartition("-")[2]): len(uids) - 1 for name, uids in namespace.uids.items()}


async def assert_rolled_back(namespace: IllNamespace, *, times: int = 2) -> None:
    """On the version before, for good; the one node that was upgraded was restarted `times`, no other at all."""
    status = await namespace.status()
    assert namespace.running() == [OLD] * 3, json.dumps(status, indent=1)
    assert "operation" not in status
    assert status["lastOperation"]["outcome"] == "RolledBack"
    assert status["lastOperation"]["direction"] == "Back"
    record = status["rolledBack"]
    assert (record["version"], record["reason"]) == (OLD, "NodeNotReady")
    assert record["planHash"] == status["lastOperation"]["planHash"]
    assert "CrashLoopBackOff" in record["evidence"]
    for kind, value in (("Ready", "False"), ("RolledBack", "True"), ("Available", "True"), ("Stalled", "True")):
        assert (await namespace.condition(kind))["status"] == value, kind
    ready = await namespace.condition("Ready")
    assert ready["reason"] == "RolledBack"
    assert f"Set spec.version to {OLD}" in ready["message"]
    assert "retryToken" in ready["message"]
    assert sorted(restarts(namespace).values()) == [0, 0, times]
    assert namespace.kafka.features["metadata.version"] == 29
    assert namespace.crowded == 0


def annotate(namespace: IllNamespace, annotations: dict[str, str]) -> None:
    """As the object is now: every write makes a new one."""
    namespace.kube.objects[("kafkaclusters", "kafka", "cell")]["metadata"]["annotations"] = annotations


async def rolled_back() -> IllNamespace:
    namespace = await on_old()
    namespace.ill = bad_version
    await namespace.change(version=NEW)
    await namespace.passes(40)
    return namespace


async def test_a_version_that_crashes_is_rolled_back_and_not_tried_again() -> None:
    namespace = await rolled_back()
    await assert_rolled_back(namespace)
    events = {obj["reason"]: obj["type"] for (kind, _, _), obj in namespace.kube.objects.items() if kind == "events"}
    assert (events["RollingBack"], events["UpgradeRolledBack"]) == ("Warning", "Normal")
    await namespace.passes(20, identity="another")
    await assert_rolled_back(namespace)
    await namespace.change(deletionPolicy="Retain", maintenanceWindows=[{"schedule": "0 2 * * 6", "duration": "4h"}])
    await namespace.passes(20)
    await assert_rolled_back(namespace)


async def test_a_new_token_tries_again_and_a_version_that_is_good_by_then_stays() -> None:
    namespace = await rolled_back()
    await namespace.change(rollout=Rollout(retry_token="again").spec())
    await namespace.passes(40)
    await assert_rolled_back(namespace, times=4)
    namespace.ill = lambda _node, _version: False
    await namespace.change(rollout=Rollout(retry_token="third").spec())
    await run_until_ready(namespace, DieAt())
    status = await namespace.status()
    assert namespace.running() == [NEW] * 3
    assert "rolledBack" not in status
    assert status["lastOperation"]["outcome"] == "Succeeded"
    assert (await namespace.condition("RolledBack"))["status"] == "False"
    assert namespace.kafka.features["metadata.version"] == 30


async def test_setting_the_version_back_agrees_with_what_was_done_and_restarts_nothing() -> None:
    namespace = await rolled_back()
    await namespace.change(version=OLD)
    await run_until_ready(namespace, DieAt())
    assert "rolledBack" not in await namespace.status()
    assert sorted(restarts(namespace).values()) == [0, 0, 2]


async def test_a_fault_in_the_soak_takes_every_node_back_brokers_first() -> None:
    namespace = await on_old(Rollout(soak="1h"))
    await namespace.change(version=NEW)
    await namespace.passes(40)
    assert namespace.running() == [NEW] * 3
    assert (await namespace.status())["operation"]["step"]["verb"] == "Soaking"
    operation = (await namespace.status())["operation"]["id"]
    namespace.ill = lambda node, version: node == 2 and version == NEW
    await namespace.passes(60)
    assert namespace.running() == [OLD] * 3
    assert restarts(namespace) == {0: 2, 1: 2, 2: 2}
    status = await namespace.status()
    assert (status["lastOperation"]["id"], status["lastOperation"]["outcome"]) == (operation, "RolledBack")
    assert namespace.crowded == 0
    assert namespace.kafka.features["metadata.version"] == 29


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_ends_in_the_same_place(phase: str) -> None:
    """Each life makes one write at most (after) or two (before the second)."""
    namespace = await on_old()
    namespace.ill = bad_version
    await namespace.change(version=NEW)
    for _ in range(150):
        namespace.turn()
        try:
            await service(namespace, DieAt(1 if phase == "after" else 2, phase)).reconcile(KEY)
        except Killed:
            continue
    await assert_rolled_back(namespace)


async def test_a_spike_is_no_fault_and_begins_the_soak_anew() -> None:
    namespace = await on_old()
    await namespace.change(version=NEW)
    while (await namespace.status()).get("operation", {}).get("step", {}).get("verb") != "Soaking":
        await namespace.passes(1)
    await namespace.passes(6)
    namespace.ill = lambda node, _version: node == 1
    await namespace.passes(3)
    namespace.ill = lambda _node, _version: False
    await namespace.passes(8)
    assert namespace.kafka.features["metadata.version"] == 29, "the soak's clock went on over the spike"
    await run_until_ready(namespace, DieAt())
    assert namespace.running() == [NEW] * 3
    assert "rolledBack" not in await namespace.status()
    assert restarts(namespace) == {0: 1, 1: 1, 2: 1}


async def test_control_a_fault_of_a_node_that_was_not_upgraded_holds_and_rolls_nothing_back() -> None:
    namespace = await on_old()
    namespace.ill = bad_version
    await namespace.change(version=NEW)
    while NEW not in namespace.running():
        await namespace.passes(1)
    namespace.slow = {namespace.running().index(OLD)}
    await namespace.passes(20)
    assert sorted(namespace.running()) == [OLD, OLD, NEW]
    blocked = await namespace.condition("Blocked")
    assert blocked["reason"] == "UpgradeFault"
    assert f"not confined to nodes that run Kafka {NEW}" in blocked["message"]
    assert "rolledBack" not in await namespace.status()
    (follower,), namespace.slow = namespace.slow, set()
    namespace.kafka.start_broker(follower)  # it catches up
    await namespace.passes(30)
    await assert_rolled_back(namespace)


@pytest.mark.parametrize("why", ["onFault is Hold", "there is no way back", "paused"])
async def test_what_may_not_be_rolled_back_is_held_and_goes_on_by_itself(why: str) -> None:
    namespace = await on_old(Rollout(on_fault="Hold") if "Hold" in why else None)
    namespace.ill = bad_version
    await namespace.change(version=NEW)
    while NEW not in namespace.running():
        await namespace.passes(1)
    if why == "paused":
        annotate(namespace, {"kfleet.dev/paused": "true"})
    elif "way back" in why:
        namespace.kafka.features["metadata.version"] = 30
    await namespace.passes(20)
    assert sorted(namespace.running()) == [OLD, OLD, NEW]
    blocked = await namespace.condition("Blocked")
    assert blocked["status"] == "True"
    assert why in blocked["message"]
    assert "rolledBack" not in await namespace.status()
    if why == "paused":
        annotate(namespace, {})
        await namespace.passes(40)
        await assert_rolled_back(namespace)
        return
    namespace.ill = lambda _node, _version: False
    await run_until_ready(namespace, DieAt())
    assert namespace.running() == [NEW] * 3
    assert sorted(restarts(namespace).values()) == [1, 1, 1]


async def test_it_goes_back_outside_every_window_and_stays_cancelled_when_cancelled() -> None:
    namespace = await on_old(Rollout(soak="1h"))
    await namespace.change(version=NEW)
    await namespace.passes(40)
    await namespace.change(maintenanceWindows=[{"schedule": "0 2 1 1 *", "duration": "1h"}])
    namespace.ill = lambda node, version: node == 2 and version == NEW
    while namespace.running().count(OLD) < 2:
        await namespace.passes(1)
    operation = (await namespace.status())["operation"]["id"]
    annotate(namespace, {"kfleet.dev/cancel": operation})
    await namespace.passes(20)
    assert namespace.running().count(OLD) == 2
    assert (await namespace.status())["lastOperation"]["outcome"] == "Cancelled"
    annotate(namespace, {})
    await namespace.passes(20)
    assert namespace.running() == [OLD] * 3
    assert (await namespace.status())["lastOperation"]["outcome"] == "RolledBack"


async def test_without_its_status_it_is_tried_again_and_harms_nobody() -> None:
    namespace = await rolled_back()
    del namespace.kube.objects[("kafkaclusters", "kafka", "cell")]["status"]
    await namespace.passes(40)
    await assert_rolled_back(namespace, times=4)
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    assert obj["spec"]["version"] == NEW
