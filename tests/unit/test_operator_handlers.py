"""What the operator's handlers wake: a cordon wakes the clusters that have pods on the machine, a heartbeat nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.api import names
from controlplane.bootstrap import is_ours
from controlplane.services.keys import (
    HOMES,
    cluster_key,
    rebalance_key,
    shedding_key,
    tenants_key,
    topics_key,
    users_key,
)
from controlplane.services.queue import Key
from controlplane.settings import OperatorSettings
from operators.handlers import registry


class Woken:
    """A queue that only remembers."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def add(self, key: Key, delay: float = 0.0) -> None:
        self.keys.append(key)


def handlers(queue: Woken, **settings: Any) -> dict[str, Any]:
    """Handler functions by id."""
    wiring: Any = SimpleNamespace(queue=queue)
    found, _ = registry(wiring, OperatorSettings(**settings))
    return {str(handler.id): handler.fn for handler in found._watching.get_all_handlers()}


def machine(run: dict[str, Any], name: str, *, cordoned: bool, kind: str = "MODIFIED") -> None:
    asyncio.run(run["nodes"](type=kind, name=name, spec={"unschedulable": True} if cordoned else {}))


def test_a_cordon_wakes_who_lives_there_once() -> None:
    queue = Woken()
    run = handlers(queue)
    for cluster, host in (("orders", "node-a"), ("billing", "node-b")):
        spec = {"nodeName": host}
        asyncio.run(run["pods"](namespace="kafka", labels={names.CLUSTER: cluster}, spec=spec))
    queue.keys.clear()
    machine(run, "node-a", cordoned=False, kind="ADDED")
    machine(run, "node-a", cordoned=False)
    assert queue.keys == []
    machine(run, "node-a", cordoned=True)
    machine(run, "node-a", cordoned=True)
    assert queue.keys == [cluster_key("kafka", "orders")]
    machine(run, "node-a", cordoned=False)
    machine(run, "node-c", cordoned=True)
    assert queue.keys == [cluster_key("kafka", "orders")] * 2


def test_a_machine_that_is_deleted_while_it_is_cordoned_wakes_them_too() -> None:
    queue = Woken()
    run = handlers(queue)
    asyncio.run(run["pods"](namespace="kafka", labels={names.CLUSTER: "orders"}, spec={"nodeName": "node-a"}))
    machine(run, "node-a", cordoned=True)
    queue.keys.clear()
    machine(run, "node-a", cordoned=True, kind="DELETED")
    assert queue.keys == [cluster_key("kafka", "orders")]


def test_a_machine_that_is_listed_again_wakes_them_since_it_may_have_been_open_meanwhile() -> None:
    queue = Woken()
    run = handlers(queue)
    asyncio.run(run["pods"](namespace="kafka", labels={names.CLUSTER: "orders"}, spec={"nodeName": "node-a"}))
    machine(run, "node-a", cordoned=True)
    queue.keys.clear()
    machine(run, "node-a", cordoned=True, kind="ADDED")
    assert queue.keys == [cluster_key("kafka", "orders")]


def test_only_cordoned_machines_are_watched() -> None:
    wiring: Any = SimpleNamespace(queue=Woken())
    _, settings = registry(wiring, OperatorSettings())
    assert {str(text) for text in settings.watching.field_selectors.values()} == {"spec.unschedulable=true"}


def test_an_approval_wakes_whose_plan_it_is_about() -> None:
    queue = Woken()
    run = handlers(queue)
    for kind in ("KafkaCluster", "KafkaRebalance", "Secret"):
        asyncio.run(run["approvals"](namespace="kafka", spec={"targetRef": {"kind": kind, "name": "orders"}}))
    asyncio.run(run["kafkarebalances"](namespace="kafka", name="drain"))
    assert queue.keys == [
        cluster_key("kafka", "orders"),
        rebalance_key("kafka", "orders"),
        rebalance_key("kafka", "drain"),
    ]


def test_an_object_wakes_all_of_its_kind_on_its_cluster_and_a_new_cluster_wakes_them_too() -> None:
    queue = Woken()
    run = handlers(queue)
    for plural in ("kafkatopics", "kafkausers"):
        asyncio.run(run[plural](namespace="kafka", spec={"clusterRef": {"name": "orders"}}, status={}))
        asyncio.run(run[plural](namespace="kafka", spec={}, status={}))
    both = [topics_key("kafka", "orders"), users_key("kafka", "orders")]
    assert queue.keys == both
    queue.keys.clear()
    cluster = next(handler for name, handler in run.items() if name.endswith(".cluster"))
    asyncio.run(cluster(type="ADDED", namespace="kafka", name="orders", spec={}, status={}))
    assert queue.keys == [cluster_key("kafka", "orders"), *both, tenants_key("kafka", "orders")]


def test_a_tenant_wakes_the_cells_that_it_names_or_has_left_and_a_move_of_its_topics_wakes_them_too() -> None:
    queue = Woken()
    run = handlers(queue)
    named, left = ({"namespace": "kafka", "name": name} for name in ("orders", "billing"))
    told = {"meta": {"generation": 1}, "spec": {"cells": [named, {"name": "no-namespace"}]}}
    asyncio.run(run["kafkatenants"](**told, status={"cells": [left], "observedGeneration": 1}))
    assert queue.keys == [
        key_of("kafka", name) for name in ("orders", "billing") for key_of in (tenants_key, topics_key, users_key)
    ]
    queue.keys.clear()
    spec = {"clusterRef": {"name": "orders"}}
    asyncio.run(run["moves"](namespace="kafka", labels={names.TENANT: "checkout"}, spec=spec))
    assert queue.keys == [tenants_key("kafka", "orders")]
    asyncio.run(run["moves"](namespace="kafka", labels={}, spec=spec))
    assert queue.keys == [tenants_key("kafka", "orders")], "nobody's tenant is concerned"
    queue.keys.clear()
    asyncio.run(run["moves"](namespace="kafka", labels={names.ASKED_BY: "roll-2-0123456789"}, spec=spec))
    assert queue.keys == [cluster_key("kafka", "orders")], "the roll that has asked for it"


@pytest.mark.parametrize(("plural", "key_of"), [("kafkatopics", topics_key), ("kafkausers", users_key)])
def test_an_object_of_a_tenant_wakes_those_of_its_cell_and_until_it_has_one_who_gives_it_one(
    plural: str, key_of: Callable[[str, str], Key]
) -> None:
    queue = Woken()
    run = handlers(queue)
    spec = {"tenantRef": {"name": "checkout"}}
    asyncio.run(run[plural](namespace="shop", spec=spec, status={}))
    asyncio.run(run[plural](namespace="shop", spec=spec, status={"cell": "kafka/orders"}))
    assert queue.keys == [HOMES, key_of("kafka", "orders")]


def test_a_tenant_that_says_something_new_wakes_those_that_may_wait_for_it() -> None:
    queue = Woken()
    run = handlers(queue)
    told = {"meta": {"generation": 2}, "spec": {"namespaces": ["shop"]}}
    asyncio.run(run["kafkatenants"](**told, status={"observedGeneration": 2}))
    assert queue.keys == [], "figures move all the time"
    asyncio.run(run["kafkatenants"](**told, status={"observedGeneration": 1}))
    asyncio.run(run["kafkatenants"](**told, status={}))
    assert queue.keys == [HOMES, HOMES]


def test_only_clusters_that_shed_load_or_have_something_to_lift_are_looked_at_for_it() -> None:
    queue = Woken()
    cluster = next(handler for name, handler in handlers(queue).items() if name.endswith(".cluster"))
    spec: dict[str, Any]
    status: dict[str, Any]
    for spec, status in (
        ({}, {}),
        ({"loadShedding": {"mode": "Disabled"}}, {}),
        ({"loadShedding": None}, {"nodes": []}),
    ):
        asyncio.run(cluster(type="MODIFIED", namespace="kafka", name="calm", spec=spec, status=status))
    on, left = {"loadShedding": {"mode": "Enabled"}}, {"loadShedding": {"level": 2}}
    for name, spec, status in (("on", on, {}), ("left", {}, left), ("both", on, left)):
        asyncio.run(cluster(type="MODIFIED", namespace="kafka", name=name, spec=spec, status=status))
    shedding = [key for key in queue.keys if key != cluster_key("kafka", key.name)]
    assert shedding == [shedding_key("kafka", name) for name in ("on", "left", "both")]


def test_an_operator_of_some_namespaces_leaves_cells_elsewhere_alone_and_gives_homes_to_all() -> None:
    settings = OperatorSettings(watch_namespaces=["kafka"])
    assert not is_ours(topics_key("other", "orders"), settings)
    assert is_ours(topics_key("kafka", "orders"), settings)
    queue = Woken()
    run = handlers(queue, watch_namespaces=["kafka"])
    cells = [{"namespace": "other", "name": "orders"}]
    asyncio.run(run["kafkatenants"](meta={"generation": 1}, spec={"cells": cells}, status={}))
    for plural in ("kafkatopics", "kafkausers"):
        spec, status = {"tenantRef": {"name": "shop"}}, {"cell": "other/orders"}
        asyncio.run(run[plural](namespace="kafka", spec=spec, status=status))
    assert len(queue.keys) == 6
    assert {key for key in queue.keys if is_ours(key, settings)} == {HOMES}, "who waits for a cell waits anywhere"
