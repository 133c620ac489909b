"""Topics of a tenant on real brokers: on its shard and nowhere else; what is not the tenant's is refused by name.

The tests run in order on one cluster of three combined nodes; the tenant has two of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.cell import Cell, combined_cluster, topic
from support.faults.replication import reassign
from support.replicas import replicas

TOPICS = "kafkatopics.kfleet.dev"
TENANT, SHOP, BATCH, ELSEWHERE = "e2e-store", "e2e-store", "e2e-store-batch", "e2e-elsewhere"
Object = dict[str, Any]


def tenant(cell: Cell) -> Object:
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaTenant",
        "metadata": {"name": TENANT},
        "spec": {
            "owner": {"team": "store"},
            "namespaces": [SHOP, BATCH],
            "topicPrefix": "store.",
            "cells": [{"kind": "KafkaCluster", "namespace": cell.namespace, "name": cell.name}],
            "shard": {"size": 2},
            "limits": {"partitions": 10},
        },
    }


def of_tenant(name: str, namespace: str, partitions: int = 1, topic_name: str = "") -> Object:
    obj = topic(name, partitions=partitions, replicas=2, tenantRef={"name": TENANT})
    del obj["spec"]["clusterRef"]
    obj["spec"]["topicName"] = topic_name or f"store.{name}"
    obj["metadata"]["namespace"] = namespace
    return obj


@pytest.fixture(scope="module")
def ready(cell: Cell) -> Iterator[Cell]:
    places = [SHOP, BATCH, ELSEWHERE]
    cell.operator.stop()
    cell.operator.settings["KFLEET_WATCH_NAMESPACES"] = json.dumps([cell.namespace, *places])
    cell.operator.settings["KFLEET_GROWTH_SECONDS"] = "0.5"
    cell.operator.start()
    for place in places:
        cell.kubectl("create", "namespace", place)
    cell.apply(combined_cluster(), tenant(cell))
    cell.wait_ready(240)
    try:
        yield cell
    finally:
        cell.kubectl("delete", "kafkatenants.kfleet.dev", TENANT, "--wait=false", check=False)
        cell.kubectl("delete", "namespace", *places, "--wait=false", check=False)


def apply(cell: Cell, *objects: Object) -> None:
    """Each in its own namespace, the cell's if it names none."""
    for obj in objects:
        where = obj["metadata"].get("namespace", cell.namespace)
        cell.kubectl("apply", "-n", where, "-f", "-", stdin=yaml.safe_dump(obj))


def status(cell: Cell, name: str, namespace: str) -> Object:
    found: Object = cell.get(TOPICS, name, namespace).get("status") or {}
    return found


def condition(cell: Cell, name: str, namespace: str, kind: str = "Ready") -> Object:
    found = status(cell, name, namespace).get("conditions", [])
    return next((one for one in found if one["type"] == kind), {"status": "Unknown", "reason": "", "message": ""})


def wait_reason(cell: Cell, name: str, namespace: str, reason: str) -> str:
    """The message that goes with it."""
    cell.wait(f"{namespace}/{name} {reason}", lambda: condition(cell, name, namespace)["reason"] == reason, 60)
    return str(condition(cell, name, namespace)["message"])


def shard(cell: Cell) -> set[int]:
    (place,) = cell.get("kafkatenants.kfleet.dev", TENANT)["status"]["cells"]
    return set(place["shard"])


def wait_known(cell: Cell, partitions: dict[str, int]) -> None:
    """Until the broker that is asked knows so many of each topic: its metadata follow the controllers' a moment
    later."""

    def known() -> bool:
        seen = replicas(cell)
        return {name: len(seen.of(name)) for name in partitions} == partitions

    cell.wait(f"{partitions} to be known", known, 60)


def test_a_topic_lands_on_its_shard(ready: Cell) -> None:
    apply(ready, of_tenant("orders", SHOP, 4), of_tenant("nightly", BATCH, 2), topic("audit", partitions=3))
    for name, namespace in (("orders", SHOP), ("nightly", BATCH), ("audit", ready.namespace)):
        wait_reason(ready, name, namespace, "AsDeclared")
        assert status(ready, name, namespace)["cell"] == f"{ready.namespace}/{ready.name}"
    wait_known(ready, {"store.orders": 4, "store.nightly": 2, "audit": 3})
    seen = replicas(ready)
    assert len(shard(ready)) == 2
    for name in ("store.orders", "store.nightly"):
        placed = seen.of(name)
        assert {broker for brokers in placed.values() for broker in brokers} == shard(ready)
        leaders = [brokers[0] for brokers in placed.values()]
        assert {leaders.count(broker) for broker in shard(ready)} == {len(leaders) // 2}
    assert {broker for brokers in seen.of("audit").values() for broker in brokers} > shard(ready), "the control"


def test_what_is_not_the_tenants_is_refused_by_name(ready: Cell) -> None:
    apply(
        ready,
        of_tenant("stolen", ELSEWHERE),
        of_tenant("outside", SHOP, topic_name="outside"),
        of_tenant("beyond", BATCH, 5),
        topic("taken", topicName="store.taken"),
    )
    foreign = wait_reason(ready, "stolen", ELSEWHERE, "NamespaceNotListed")
    assert f"KafkaTenant '{TENANT}' does not list namespace '{ELSEWHERE}'" in foreign
    assert "'outside' does not begin with 'store.'" in wait_reason(ready, "outside", SHOP, "TopicOutsidePrefix")
    beyond = wait_reason(ready, "beyond", BATCH, "TenantLimitExceeded")
    assert "5 more on top of 6 are 1 beyond limits.partitions (10)" in beyond
    assert f"KafkaTenant '{TENANT}'" in wait_reason(ready, "taken", ready.namespace, "PrefixOfTenant")
    names = {one.topic for one in replicas(ready).placed}
    assert not names & {"store.stolen", "outside", "store.beyond", "store.taken"}


def test_partitions_are_added_on_the_shard_as_far_as_the_limit_goes(ready: Cell) -> None:
    grown = json.dumps({"spec": {"partitions": 8}})
    ready.kubectl("patch", TOPICS, "orders", "-n", SHOP, "--type=merge", "-p", grown)
    ready.wait("8 partitions", lambda: status(ready, "orders", SHOP)["partitions"] == 8, 60)
    wait_known(ready, {"store.orders": 8})
    placed = replicas(ready).of("store.orders")
    assert {broker for brokers in placed.values() for broker in brokers} == shard(ready)
    assert {[brokers[0] for brokers in placed.values()].count(broker) for broker in shard(ready)} == {4}
    # Another object's status, written beside the one that was waited for.
    ready.wait(
        "the other to be told", lambda: "5 more on top of 10" in condition(ready, "beyond", BATCH)["message"], 60
    )


def test_what_is_moved_by_hand_is_told_and_comes_back(ready: Cell) -> None:
    where = shard(ready)
    (stranger,) = set(ready.pods()) - where
    ready.kubectl("annotate", "kften", TENANT, "kfleet.dev/paused=true")  # else it might be back before we look
    reassign(ready.bootstrap(), "store.orders", [stranger, min(where)])
    ready.wait("Drifted", lambda: condition(ready, "orders", SHOP, "Drifted")["status"] == "True", 60)
    assert f"on brokers {stranger}." in condition(ready, "orders", SHOP, "Drifted")["message"]
    ready.kubectl("annotate", "kften", TENANT, "kfleet.dev/paused-")
    ready.wait("not any more", lambda: condition(ready, "orders", SHOP, "Drifted")["status"] == "False", 120)

    def lying() -> set[int]:
        return {broker for brokers in replicas(ready).of("store.orders").values() for broker in brokers}

    ready.wait("the broker that is asked to know", lambda: lying() == where, 30)
