"""Topics of tenants in one cell: whose a name is, what the limits leave, where partitions go, what has strayed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from support.tenancy import CELL, read, tenant

from controlplane.api.tenant_ref import TenantCellRef, TenantRef
from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.tenants.directory import Cell, directory
from controlplane.domain.tenants.homes import home
from controlplane.domain.topics.planner import asks, plan_topics
from controlplane.domain.topics.tenancy import Facts, Tenancy
from controlplane.domain.topics.values import DesiredTopic, Growth, TopicDescription, TopicPlan

EAST = Cell("kafka", "cell")
WEST = CELL | {"name": "west"}
RACKS = {1: "a", 2: "b", 3: "c", 4: "a", 5: "b", 6: "c"}
SHOP = tenant(shard=(1, 2, 3))
GIB = 1 << 30
ORDERS = DesiredTopic("shop/orders", "shop.orders", 4, 3, created_at=10.0, tenant="shop")


def described(name: str, *replicas: tuple[int, ...], config: dict[str, str] | None = None) -> TopicDescription:
    return TopicDescription(name, "id", replicas, config or {})


def planned(
    *topics: DesiredTopic,
    tenants: Iterable[dict[str, Any]] = (SHOP,),
    observed: Iterable[TopicDescription] = (),
    up: Iterable[int] = tuple(RACKS),
    sizes: dict[TopicPartition, int] | None = None,
) -> TopicPlan:
    there = {one.name: one for one in observed}
    facts = Facts({one: RACKS[one] for one in up}, sizes or {})
    return plan_topics(topics, there, len(RACKS), Tenancy(directory(read(*tenants)), EAST, there, facts))


def refused(plan: TopicPlan, key: str = "shop/orders") -> Check:
    assert not plan.creates
    assert (plan.grow, plan.config, plan.unchanged) == ({}, {}, ())
    return plan.refusals[key]


def test_a_topic_is_created_on_its_shard_racks_and_leaders_spread() -> None:
    (new,) = planned(ORDERS, tenants=[tenant(shard=(1, 2, 3, 4, 5, 6))]).creates
    assert len(new.assignments) == new.partitions == 4
    for partition in new.assignments:
        assert {RACKS[broker] for broker in partition} == {"a", "b", "c"}
    assert len({partition[0] for partition in new.assignments}) == 4
    (new,) = planned(ORDERS).creates
    assert {frozenset(partition) for partition in new.assignments} == {frozenset({1, 2, 3})}


def test_while_the_shard_moves_new_partitions_go_where_it_will_be() -> None:
    moving = tenant(shard=(1, 2, 3, 4), target=(2, 3, 4))
    (new,) = planned(ORDERS, tenants=[moving]).creates
    assert {broker for partition in new.assignments for broker in partition} == {2, 3, 4}


def test_a_topic_of_the_cluster_is_left_to_kafka() -> None:
    (new,) = planned(DesiredTopic("kafka/audit", "audit", 4, 3)).creates
    assert new.assignments == ()


def test_a_topic_grows_on_its_shard() -> None:
    there = described("shop.orders", (1, 2, 3), (2, 3, 1))
    plan = planned(ORDERS, observed=[there])
    growth = plan.grow["shop.orders"]
    assert growth == Growth(4, growth.assignments)
    assert {frozenset(partition) for partition in growth.assignments} == {frozenset({1, 2, 3})}
    assert 3 in {partition[0] for partition in growth.assignments}, "who leads nothing yet leads first"
    after = described("shop.orders", *there.replicas, *growth.assignments)
    assert planned(ORDERS, observed=[after]).unchanged == ("shop/orders",)


@pytest.mark.parametrize(
    ("change", "tenants", "name", "says"),
    [
        ({"tenant": "none"}, [SHOP], "TenantNotFound", "no KafkaTenant 'none'"),
        ({"key": "other/orders"}, [SHOP], "NamespaceNotListed", "does not list namespace 'other'"),
        (
            {},
            [SHOP, tenant("elder", namespaces=["shop"], shard=(1, 2, 3), created="2025-01-01T00:00:00Z")],
            "NamespaceTaken",
            "belongs to KafkaTenant 'elder'",
        ),
        ({}, [tenant(cells=[WEST])], "CellLeft", "does not name cell kafka/cell"),
        (
            {},
            [SHOP, tenant("elder", topicPrefix="sho", created="2025-01-01T00:00:00Z")],
            "PrefixTaken",
            "another tenant, which is older",
        ),
        ({"name": "orders"}, [SHOP], "TopicOutsidePrefix", "'orders' does not begin with 'shop.'"),
        ({}, [tenant()], "TenantNotPlaced", "has no shard in kafka/cell yet"),
        ({"replicas": 4}, [SHOP], "ReplicationFactorTooLarge", "4 replicas do not fit on the 3 brokers (1, 2, 3)"),
        ({"replicas": 5}, [tenant(shard=(1, 2, 3))], "ReplicationFactorTooLarge", "2 too few"),
    ],
)
def test_refusals_say_why_and_create_nothing(
    change: dict[str, Any], tenants: list[dict[str, Any]], name: str, says: str
) -> None:
    topic = replace(ORDERS, **change)
    found = refused(planned(topic, tenants=tenants), topic.key)
    assert (found.name, found.ok) == (name, False)
    assert says in found.evidence
    assert found.remedy


def test_a_topic_of_the_cluster_does_not_take_a_tenants_prefix() -> None:
    taken = replace(ORDERS, key="kafka/orders", tenant=None)
    found = refused(planned(taken), "kafka/orders")
    assert (found.name, "begins with 'shop.'" in found.evidence) == ("PrefixOfTenant", True)
    (new,) = planned(taken, tenants=[tenant(cells=[WEST])]).creates
    assert new.name == "shop.orders", "in a cell that the tenant has not, it is a name like any other"


def test_who_has_no_right_to_a_name_does_not_keep_it_from_who_has() -> None:
    squatter = replace(ORDERS, key="other/orders", created_at=1.0)
    plan = planned(squatter, ORDERS)
    assert [new.name for new in plan.creates] == ["shop.orders"]
    assert plan.refusals["other/orders"].name == "NamespaceNotListed"
    assert plan.owners == {"shop.orders": "shop/orders"}


def limited(**limits: Any) -> dict[str, Any]:
    return tenant(shard=(1, 2, 3), limits=limits)


def named(name: str, at: float, partitions: int = 4, **config: Any) -> DesiredTopic:
    return DesiredTopic(f"shop/{name}", f"shop.{name}", partitions, 3, config, created_at=at, tenant="shop")


def test_limits_are_spent_oldest_first_and_say_by_how_much() -> None:
    young, old, other = named("young", 30.0, 6), named("old", 10.0, 6), named("middle", 20.0, 5)
    plan = planned(young, other, old, tenants=[limited(topics=2, partitions=11)])
    assert [new.name for new in plan.creates] == ["shop.old", "shop.middle"]
    told = plan.refusals["shop/young"]
    assert told.name == "TenantLimitExceeded"
    assert "spec.topicName: 1 more on top of 2 are 1 beyond limits.topics (2)" in told.evidence
    assert "spec.partitions: 6 more on top of 11 are 6 beyond limits.partitions (11)" in told.evidence


def test_what_exists_is_counted_whoever_made_it_and_left_alone() -> None:
    kept = described("shop.kept", *[(1, 2, 3)] * 8)
    grown = described("shop.orders", *[(1, 2, 3)] * 4)
    plan = planned(ORDERS, observed=[kept, grown], tenants=[limited(partitions=5)])
    assert plan.unchanged == ("shop/orders",), "over the limit already, and nothing more is asked for"
    told = refused(planned(replace(ORDERS, partitions=5), observed=[kept, grown], tenants=[limited(partitions=12)]))
    assert "1 more on top of 12 are 1 beyond limits.partitions (12)" in told.evidence


def test_other_cells_count_as_they_were_measured_last() -> None:
    usage = {"topics": 3, "partitions": 9, "storage": 0}
    both = tenant(shard=(1, 2, 3), cells=[CELL, WEST], usage=usage, limits={"partitions": 12})
    assert "4 more on top of 9 are 1 beyond" in refused(planned(ORDERS, tenants=[both])).evidence


def test_storage_is_what_is_there_or_what_retention_lets_there_be() -> None:
    """4 partitions x 3 replicas x 1 GiB are 12 GiB."""
    bounded = named("orders", 10.0, 4, **{"retention.bytes": GIB})
    assert planned(bounded, tenants=[limited(storage="12Gi")]).creates
    told = refused(planned(bounded, tenants=[limited(storage="11Gi")]))
    assert "12 GiB more on top of 0 B, 1.0 GiB beyond limits.storage (11Gi)" in told.evidence
    there = described("shop.orders", *[(1, 2, 3)] * 4, config={"retention.bytes": str(GIB)})
    both = [limited(storage="20Gi")]
    assert planned(bounded, observed=[there], tenants=both).unchanged
    second = refused(
        planned(named("second", 20.0, **{"retention.bytes": GIB}), observed=[there], tenants=both), "shop/second"
    )
    assert "12 GiB more on top of 12 GiB, 4.0 GiB beyond" in second.evidence, "nothing has been written yet"
    more = replace(bounded, config={"retention.bytes": 2 * GIB})
    assert "12 GiB more on top of 12 GiB" in refused(planned(more, observed=[there], tenants=both)).evidence
    sizes = {TopicPartition("shop.orders", number): 2 * GIB for number in range(4)}
    unbounded = named("second", 20.0)
    told = refused(planned(unbounded, observed=[there], tenants=both, sizes=sizes), "shop/second")
    assert "there are already 24 GiB, 4.0 GiB beyond limits.storage (20Gi)" in told.evidence
    assert planned(unbounded, observed=[there], tenants=both).creates


def test_compacted_topics_reserve_nothing() -> None:
    compacted = named("orders", 10.0, 4, **{"retention.bytes": GIB, "cleanup.policy": "compact"})
    assert planned(compacted, tenants=[limited(storage="1Gi")]).creates


def test_nothing_is_born_without_all_its_replicas() -> None:
    told = refused(planned(ORDERS, up=(1, 3, 4, 5, 6)))
    assert (told.name, "Brokers 2 of the shard" in told.evidence) == ("WaitingForBrokers", True)
    wide = [tenant(shard=(1, 2, 3, 4, 5, 6))]
    (new,) = planned(ORDERS, tenants=wide, up=(1, 2, 3, 4, 5)).creates
    assert {broker for partition in new.assignments for broker in partition} <= {1, 2, 3, 4, 5}
    assert refused(planned(ORDERS, tenants=wide, up=(1, 2, 4, 5))).name == "WaitingForBrokers", "a rack is missing"


def test_what_lies_elsewhere_is_told_with_its_remedy() -> None:
    there = described("shop.orders", (1, 2, 3), (2, 3, 5), (6, 5, 1))
    told = Tenancy(directory(read(SHOP)), EAST, {}, Facts()).strayed(ORDERS, there)
    assert told is not None
    assert told.name == "OutsideShard"
    assert "outside of the shard of KafkaTenant 'shop' (1, 2, 3): on brokers 5, 6." in told.evidence
    assert "goal MoveTo, brokers [1, 2, 3] and topics [shop.orders]" in told.remedy
    wide = Tenancy(directory(read(tenant(shard=(1, 2, 3, 5, 6)))), EAST, {}, Facts())
    assert wide.strayed(ORDERS, there) is None


def test_while_a_shard_moves_its_topics_say_who_moves_them() -> None:
    moving = tenant(shard=(1, 2, 3, 4), target=(2, 3, 4))
    moving["status"]["cells"][0]["rebalance"] = "tenant-shop-1"
    tenancy = Tenancy(directory(read(moving)), EAST, {}, Facts())
    told = tenancy.strayed(ORDERS, described("shop.orders", (1, 2, 3), (2, 3, 4)))
    assert told is not None
    assert "on brokers 1." in told.evidence
    assert told.remedy.startswith("KafkaRebalance kafka/tenant-shop-1 moves it there")
    assert tenancy.strayed(ORDERS, described("shop.orders", (2, 3, 4))) is None


def test_an_object_of_a_tenant_has_one_home() -> None:
    both = directory(read(tenant(cells=[CELL, WEST])))
    only = directory(read(SHOP))
    west = TenantCellRef(namespace="kafka", name="west")
    assert home(only, TenantRef(name="shop"), "shop") == EAST
    assert home(both, TenantRef(name="shop", cell=west), "shop") == Cell("kafka", "west")
    for known, asked, says in ((both, None, "has 2 cells"), (only, west, "has no cell kafka/west")):
        told = home(known, TenantRef(name="shop", cell=asked), "shop")
        assert isinstance(told, Check)
        assert told.name == "CellNotNamed"
        assert says in told.evidence
        assert "kafka/cell" in told.remedy
    foreign = home(only, TenantRef(name="shop"), "other")
    assert isinstance(foreign, Check)
    assert foreign.name == "NamespaceNotListed"


def test_kafka_is_asked_only_for_what_could_be_granted() -> None:
    there = described("shop.orders", *[(1, 2, 3)] * 4, config={"retention.ms": "5"})
    assert asks(ORDERS, None)
    assert not asks(ORDERS, there)
    assert asks(replace(ORDERS, partitions=5), there)
    assert asks(replace(ORDERS, config={"retention.ms": 6}), there)
    assert not asks(replace(ORDERS, config={"retention.ms": float("inf")}), there)
