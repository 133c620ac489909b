"""Topics of tenants on fakes: each gets one home, is made on its shard only, and refusals are told in any namespace."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from support.cell import topic
from support.simulation import DieAt, Killed, Namespace, created
from support.tenancy import CELL, tenant

from controlplane.ports import InvalidError, Resource
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.homes import Homes
from controlplane.services.intercept import intercept_admins, intercept_kube
from controlplane.services.keys import HOMES, topics_key
from controlplane.services.tenants.read import KAFKA_TENANTS
from controlplane.services.topics import KAFKA_TOPICS, TopicService
from controlplane.settings import OperatorSettings

KEY = topics_key("kafka", "cell")
Object = dict[str, Any]


def of_tenant(name: str, namespace: str = "shop", *, tenant: str = "shop", replicas: int = 2, **spec: Any) -> Object:
    obj = topic(name, replicas=replicas, topicName=f"shop.{name}", tenantRef={"name": tenant}, **spec)
    del obj["spec"]["clusterRef"]
    obj["metadata"]["namespace"] = namespace
    return obj


async def declare(namespace: Namespace, *objects: Object) -> None:
    for number, obj in enumerate(objects):
        obj["metadata"].setdefault("creationTimestamp", f"2026-02-01T00:00:{number:02}Z")
        await namespace.kube.create(KAFKA_TENANTS if obj["kind"] == "KafkaTenant" else KAFKA_TOPICS, obj)


async def passes(namespace: Namespace, die: DieAt | None = None, **settings: Any) -> None:
    """As events would have it: who gets a home wakes the pass over its topics."""
    watchers = [die] if die else []
    kube, admins = intercept_kube(namespace.kube, watchers), intercept_admins(namespace.admins, watchers)
    events, configured = EventRecorder(kube, namespace.clock), OperatorSettings(**settings)
    await Homes(kube, namespace.clock, events, configured).reconcile(HOMES)
    await TopicService(kube, admins, namespace.clock, events, configured).reconcile(KEY)


async def status(namespace: Namespace, name: str, where: str = "shop") -> Object:
    found: Object = (await namespace.kube.get(KAFKA_TOPICS, name, where)).get("status") or {}
    return found


async def condition(namespace: Namespace, name: str, kind: str = "Ready", where: str = "shop") -> Object:
    found = (await status(namespace, name, where)).get("conditions", [])
    return next((one for one in found if one["type"] == kind), {})


def brokers(namespace: Namespace, name: str) -> set[int]:
    return {broker for one in namespace.kafka.topics[name].partitions for broker in one.replicas}


@pytest.fixture
async def shop() -> Namespace:
    namespace = await created()
    await declare(namespace, tenant(shard=(1, 2), namespaces=["shop", "shop-batch"]))
    return namespace


async def test_topics_of_all_its_namespaces_are_made_on_its_shard(shop: Namespace) -> None:
    await declare(shop, of_tenant("orders"), of_tenant("nightly", "shop-batch"), topic("audit") | _in("kafka"))
    await passes(shop)
    for name, where in (("orders", "shop"), ("nightly", "shop-batch")):
        assert brokers(shop, f"shop.{name}") == {1, 2}
        found = await status(shop, name, where)
        assert (found["cell"], found["topicName"]) == ("kafka/cell", f"shop.{name}")
        assert (await condition(shop, name, where=where))["reason"] == "AsDeclared"
        assert (await condition(shop, name, "Drifted", where))["status"] == "False"
    assert brokers(shop, "audit") == {0, 1, 2}
    assert (await status(shop, "audit", "kafka"))["cell"] == "kafka/cell"


def _in(namespace: str) -> Object:
    return {"metadata": {"name": "audit", "namespace": namespace}}


async def test_many_topics_take_a_handful_of_calls(shop: Namespace) -> None:
    await declare(shop, *(of_tenant(f"t{number}", partitions=1) for number in range(50)))
    die = DieAt()
    await passes(shop, die)
    assert [call for call in die.calls if call.startswith("kafka ")] == ["kafka create_topics"]
    leaders = [one.leader for name, made in shop.kafka.topics.items() if "shop." in name for one in made.partitions]
    assert sorted(map(leaders.count, {1, 2})) == [25, 25]
    again = DieAt()
    await passes(shop, again)
    assert again.calls == [], "a topic as declared is left alone"


@pytest.mark.parametrize(
    ("obj", "reason", "says"),
    [
        (of_tenant("orders", "elsewhere"), "NamespaceNotListed", "does not list namespace 'elsewhere'"),
        (of_tenant("orders", tenant="nobody"), "TenantNotFound", "there is no KafkaTenant 'nobody'"),
        (of_tenant("orders", tenant="shop", replicas=3), "ReplicationFactorTooLarge", "3 replicas do not fit on the 2"),
    ],
)
async def test_a_refusal_is_told_where_the_topic_is(shop: Namespace, obj: Object, reason: str, says: str) -> None:
    await declare(shop, obj)
    await passes(shop)
    told = await condition(shop, "orders", where=obj["metadata"]["namespace"])
    assert (told["reason"], told["status"], says in told["message"]) == (reason, "False", True)
    assert "shop.orders" not in shop.kafka.topics


async def test_a_topic_that_names_a_cluster_and_a_tenant_is_nobodys(shop: Namespace) -> None:
    """Admission lets none in; an older schema might have."""
    both = of_tenant("orders", "kafka")
    both["spec"]["clusterRef"] = {"name": "cell"}
    await declare(shop, both)
    await passes(shop)
    told = await condition(shop, "orders", where="kafka")
    assert (told["reason"], "exactly one of clusterRef" in told["message"]) == ("InvalidSpec", True)
    assert "shop.orders" not in shop.kafka.topics


async def test_a_tenant_that_comes_later_takes_its_topics_in() -> None:
    namespace = await created()
    await declare(namespace, of_tenant("orders"))
    await passes(namespace)
    assert (await condition(namespace, "orders"))["reason"] == "TenantNotFound"
    assert "cell" not in await status(namespace, "orders")
    await declare(namespace, tenant())
    await passes(namespace)
    told = await condition(namespace, "orders")
    assert (told["reason"], (await condition(namespace, "orders", "Reconciling"))["status"]) == (
        "TenantNotPlaced",
        "True",
    )
    placed = await namespace.kube.get(KAFKA_TENANTS, "shop")
    placed["status"] = tenant(shard=(0, 2))["status"]
    await namespace.kube.replace(KAFKA_TENANTS, placed, subresource="status")
    await passes(namespace)
    assert brokers(namespace, "shop.orders") == {0, 2}


async def test_a_topic_stays_in_its_cell_whatever_becomes_of_the_tenant(shop: Namespace) -> None:
    await declare(shop, of_tenant("orders"))
    await passes(shop)
    obj = await shop.kube.get(KAFKA_TENANTS, "shop")
    obj["spec"]["cells"] = [CELL | {"name": "west"}]
    await shop.kube.replace(KAFKA_TENANTS, obj)
    await passes(shop)
    assert (await condition(shop, "orders"))["reason"] == "CellLeft"
    assert (await status(shop, "orders"))["cell"] == "kafka/cell"
    await shop.kube.delete(KAFKA_TENANTS, "shop")
    await passes(shop)
    assert (await condition(shop, "orders"))["reason"] == "TenantNotFound"
    assert "shop.orders" in shop.kafka.topics


async def test_limits_hold_over_all_namespaces(shop: Namespace) -> None:
    obj = await shop.kube.get(KAFKA_TENANTS, "shop")
    obj["spec"]["limits"] = {"topics": 2, "storage": "1Gi"}
    await shop.kube.replace(KAFKA_TENANTS, obj)
    await declare(shop, of_tenant("a"), of_tenant("b", "shop-batch"), of_tenant("c"))
    await passes(shop)
    assert {"shop.a", "shop.b"} <= shop.kafka.topics.keys()
    told = await condition(shop, "c")
    assert (told["reason"], "1 beyond limits.topics (2)" in told["message"]) == ("TenantLimitExceeded", True)
    for one in shop.kafka.topics["shop.a"].partitions:
        one.size = 1 << 28
    await shop.kube.delete(KAFKA_TOPICS, "b", "shop-batch")
    del shop.kafka.topics["shop.b"]
    await passes(shop)
    assert "beyond limits.storage (1Gi)" in (await condition(shop, "c"))["message"]


async def test_what_was_moved_by_hand_is_told_until_it_is_back(shop: Namespace) -> None:
    await declare(shop, of_tenant("orders"))
    await passes(shop)
    first = shop.kafka.topics["shop.orders"].partitions[0]
    before = first.replicas
    first.place((0, *before[1:]))
    await passes(shop)
    told = await condition(shop, "orders", "Drifted")
    assert (told["status"], told["reason"]) == ("True", "OutsideShard")
    assert "on brokers 0." in told["message"]
    assert "goal MoveTo, brokers [1, 2]" in told["message"]
    assert (await condition(shop, "orders"))["reason"] == "AsDeclared"
    first.place(before)
    await passes(shop)
    assert (await condition(shop, "orders", "Drifted"))["status"] == "False"


async def test_who_does_not_get_a_name_learns_nothing_of_its_topic(shop: Namespace) -> None:
    await declare(shop, of_tenant("orders"), of_tenant("copy") | {"spec": of_tenant("orders")["spec"]})
    await passes(shop)
    assert (await condition(shop, "copy"))["reason"] == "TopicNameTaken"
    assert not {"topicId", "partitions"} & (await status(shop, "copy")).keys()


async def test_only_watched_namespaces_are_looked_after(shop: Namespace) -> None:
    await declare(shop, of_tenant("orders"), of_tenant("nightly", "shop-batch"))
    await passes(shop, watch_namespaces=["kafka", "shop"])
    assert "shop.orders" in shop.kafka.topics
    assert await status(shop, "nightly", "shop-batch") == {}
    await passes(shop)
    assert (await condition(shop, "nightly", where="shop-batch"))["status"] == "True"
    made = shop.kafka.topics["shop.nightly"]
    changed = await shop.kube.get(KAFKA_TOPICS, "nightly", "shop-batch")
    changed["spec"]["config"] = {"retention.ms": 5000}
    await shop.kube.replace(KAFKA_TOPICS, changed)
    await passes(shop, watch_namespaces=["kafka", "shop"])
    told = await condition(shop, "nightly", where="shop-batch")
    assert (told["status"], told["reason"]) == ("False", "NamespaceNotWatched")
    assert "the operator of cell kafka/cell does not watch namespace 'shop-batch'" in told["message"]
    assert (shop.kafka.topics["shop.nightly"], "retention.ms" in made.config) == (made, False)
    assert (await condition(shop, "orders"))["status"] == "True"
    await passes(shop)
    assert (await condition(shop, "nightly", where="shop-batch"))["status"] == "True"
    assert made.config["retention.ms"] == "5000"


async def test_who_gives_a_cell_of_another_operator_says_so_until_that_one_answers(shop: Namespace) -> None:
    await declare(shop, of_tenant("orders"))
    events = EventRecorder(shop.kube, shop.clock)
    there = OperatorSettings(watch_namespaces=["shop"])
    assert await Homes(shop.kube, shop.clock, events, there).reconcile(HOMES) is None
    told, found = await condition(shop, "orders"), await status(shop, "orders")
    assert (told["reason"], found["cell"]) == ("CellElsewhere", "kafka/cell")
    assert "condition NamespacesWatched of the KafkaTenant" in told["message"]
    assert await Homes(shop.kube, shop.clock, events, there).reconcile(HOMES) is None
    await passes(shop, watch_namespaces=["kafka"])
    assert (await condition(shop, "orders"))["reason"] == "NamespaceNotWatched"
    assert "shop.orders" not in shop.kafka.topics
    await passes(shop, watch_namespaces=["kafka", "shop"])
    assert (await condition(shop, "orders"))["reason"] == "AsDeclared"


async def test_topics_and_users_get_their_cell_in_one_pass_and_none_waits_for_another(shop: Namespace) -> None:
    """One whose status the API server refuses is tried again, and the others have theirs."""
    users: list[Object] = [
        {"kind": "KafkaUser", "metadata": {"name": name, "namespace": "shop"}, "spec": {"tenantRef": {"name": "shop"}}}
        for name in ("app", "bad")
    ]
    for user in users:
        user["spec"] |= {"authentication": {"type": "scram-sha-512"}}
        await shop.kube.create(KAFKA_USERS, user)
    await declare(shop, of_tenant("orders"), of_tenant("bad"), of_tenant("lost", tenant="nobody"))

    class Strict:
        def __getattr__(self, name: str) -> Any:
            return getattr(shop.kube, name)

        async def replace(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
            if body["metadata"]["name"] == "bad":
                raise InvalidError(422, "Invalid", "status.cell: no")
            return await shop.kube.replace(resource, body, subresource=subresource)

    strict: Any = Strict()
    events = EventRecorder(shop.kube, shop.clock)
    settings = OperatorSettings()
    assert await Homes(strict, shop.clock, events, settings).reconcile(HOMES) == settings.resync_interval
    cells = {
        (resource.kind, obj["metadata"]["name"]): obj.get("status", {}).get("cell")
        for resource in (KAFKA_TOPICS, KAFKA_USERS)
        for obj in await shop.kube.list(resource)
    }
    assert cells == {
        ("KafkaTopic", "orders"): "kafka/cell",
        ("KafkaTopic", "bad"): None,
        ("KafkaTopic", "lost"): None,
        ("KafkaUser", "app"): "kafka/cell",
        ("KafkaUser", "bad"): None,
    }
    assert (await condition(shop, "lost"))["reason"] == "TenantNotFound"


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("phase", ["before", "after"])
async def test_killed_at_any_write_it_is_made_once_and_where_it_was_to_be(
    shop: Namespace, number: int, phase: str
) -> None:
    await declare(shop, of_tenant("orders", config={"retention.ms": 1000}))
    die = DieAt(number, phase)
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await passes(shop, die)
        assert len(die.calls) < number, "the walk goes past the last write"
    await passes(shop)
    assert brokers(shop, "shop.orders") == {1, 2}
    assert (await condition(shop, "orders"))["reason"] == "AsDeclared"
    assert (await status(shop, "orders"))["configKeys"] == ["retention.ms"]
