"""Tenants of a cell: who is placed where, when a broker is replaced, what is refused and what is counted."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from support.tenants import CELL, SHARD, START, TenantCell, cell_of, tenant

from controlplane.api.kafka_tenant import TenantLimits, TenantUsage
from controlplane.domain.tenants.directory import directory
from controlplane.domain.tenants.planner import QUICK_CHANGES, QUICK_PARTITIONS, is_quick, plan_cell
from controlplane.domain.tenants.ranges import read_ranges, write_ranges
from controlplane.domain.tenants.repack import offers
from controlplane.domain.tenants.usage import beyond, readable


def placed(cell: TenantCell, count: int, **words: Any) -> None:
    for number in range(count):
        cell.add(f"t{number}", at=START + number, **words)
    cell.settle()


def test_tenants_placed_at_once_reach_the_optimum() -> None:
    cell = cell_of(3, 6)
    placed(cell, 36)
    shards = list(cell.shards().values())
    assert len(set(shards)) == 36
    assert max(len(set(a) & set(b)) for a, b in combinations(shards, 2)) == 1
    assert all({cell.brokers[broker] for broker in shard} == {"a", "b", "c"} for shard in shards)
    assert {cell.status(name).reason for name in cell.tenants} == {"Placed"}
    assert cell.ready("t0") == ("True", "Placed")


def test_a_new_tenant_moves_nobody_and_one_that_goes_leaves_the_others_alone() -> None:
    cell = cell_of(3, 2)
    placed(cell, 4)
    before = cell.shards()
    cell.add("late", at=START + 100)
    cell.settle()
    assert {name: shard for name, shard in cell.shards().items() if name != "late"} == before
    del cell.tenants["t1"]
    cell.settle()
    assert {name: shard for name, shard in cell.shards().items() if name in before} == {
        name: shard for name, shard in before.items() if name != "t1"
    }


def test_more_tenants_than_fit_say_by_how_much_they_overlap() -> None:
    cell = cell_of(3, 1)
    placed(cell, 2)
    status = cell.status("t1")
    assert (status.reason, status.placed, status.overlap, status.gap) == ("OverlapExceeded", True, 3, 0)
    assert "2 more than spec.shard.maxOverlap" in status.message
    assert cell.ready("t1") == ("True", "OverlapExceeded")


def test_a_gap_is_said_where_history_is_worse_than_a_fresh_start() -> None:
    cell = cell_of(1, 6)
    cell.add("a", shard={"size": 3}, annotations={SHARD: "0,1,2"})
    cell.add("b", at=START + 1, shard={"size": 3}, annotations={SHARD: "1,2,3"})
    cell.settle()
    assert (cell.status("a").overlap, cell.status("a").gap) == (2, 2)


def test_a_broker_that_is_down_is_replaced_after_the_delay_and_not_before() -> None:
    cell = cell_of(3, 3)
    placed(cell, 3)
    before = cell.shards()
    crashed = before["t0"][0]
    cell.down = {crashed}
    outcome = cell.turn()["t0"]
    assert outcome.look_at == cell.now + 600
    assert [one.broker for one in cell.status("t0").away] == [crashed]
    cell.now += 599
    cell.settle()
    assert cell.shards() == before
    cell.now += 1
    cell.settle()
    for name, shard in cell.shards().items():
        assert crashed not in shard
        assert len(set(shard) - set(before[name])) <= 1
        assert {cell.brokers[broker] for broker in shard} == {"a", "b", "c"}


def test_a_broker_that_comes_back_in_time_stays() -> None:
    cell = cell_of(3, 2)
    placed(cell, 2)
    before = cell.shards()
    for _ in range(3):
        cell.down = {before["t0"][0]}
        cell.settle()
        cell.now += 599
        cell.down = set()
        cell.settle()
    assert cell.shards() == before
    assert cell.status("t0").away == ()


def test_delays_are_each_tenants_own() -> None:
    cell = cell_of(1, 5)
    cell.add("hasty", shard={"size": 2, "replacementDelay": "1m"}, annotations={SHARD: "0,1"})
    cell.add("calm", at=START + 1, shard={"size": 2, "replacementDelay": "1h"}, annotations={SHARD: "0,2"})
    cell.settle()
    for name in ("hasty", "calm"):
        cell.annotate(name)
    cell.down = {0}
    cell.settle()
    cell.now += 120
    cell.settle()
    assert 0 not in cell.status("hasty").shard
    assert cell.status("calm").shard == (0, 2)


def test_the_only_broker_of_a_zone_is_not_replaced_by_one_of_another() -> None:
    cell = cell_of(3, 1)
    placed(cell, 1)
    cell.down = {0}
    cell.settle()
    cell.now += 3600
    cell.settle()
    assert cell.status("t0").shard == (0, 1, 2)


def test_nobody_new_is_placed_on_a_broker_that_is_down_where_zones_can_do_without_it() -> None:
    cell = cell_of(3, 2)
    cell.down = {0}
    placed(cell, 3)
    assert all(0 not in shard for shard in cell.shards().values())


def test_a_broker_that_is_gone_is_replaced_at_once_by_one_other() -> None:
    cell = cell_of(3, 3)
    placed(cell, 9)
    before = cell.shards()
    del cell.brokers[4]
    cell.settle()
    for name, shard in cell.shards().items():
        assert 4 not in shard
        assert len(set(shard) - set(before[name])) == (4 in before[name])


def test_topics_follow_from_a_broker_that_is_gone() -> None:
    cell = cell_of(3, 2)
    cell.add("t")
    cell.settle()
    shard = cell.status("t").shard
    cell.topics["t.x"] = [shard]
    del cell.brokers[shard[0]]
    cell.settle()
    assert shard[0] not in cell.status("t").shard
    assert cell.stray("t") == []


def test_a_new_broker_relieves_who_shares_too_much_and_nobody_else() -> None:
    cell = cell_of(1, 2)
    placed(cell, 2, shard={"size": 1, "maxOverlap": 0})
    cell.add("third", at=START + 50, shard={"size": 1, "maxOverlap": 0})
    cell.settle()
    crowded = {name for name in cell.tenants if cell.status(name).overlap}
    before = cell.shards()
    assert len(crowded) == 2
    cell.brokers[2] = "a"
    cell.settle()
    assert {cell.status(name).overlap for name in cell.tenants} == {0}
    moved = {name for name, shard in cell.shards().items() if shard != before[name]}
    assert len(moved) == 1
    assert moved <= crowded


def test_a_zone_that_is_new_takes_its_part() -> None:
    cell = cell_of(2, 3)
    placed(cell, 2, shard={"size": 4, "maxOverlap": 3})
    cell.brokers |= {6: "c", 7: "c"}
    cell.settle()
    for shard in cell.shards().values():
        assert sorted([cell.brokers[broker] for broker in shard].count(zone) for zone in "abc") == [1, 1, 2]


@pytest.mark.parametrize(
    ("words", "reason", "says"),
    [
        ({"shard": {"size": 9}}, "ShardDoesNotFit", "spec.shard.size: a shard of 9 brokers needs 3 more than the 6"),
        ({"shard": {"size": 3, "maxOverlap": 3}}, "InvalidSpec", "spec.shard.maxOverlap: "),
        ({"annotations": {SHARD: "1,x"}}, "InvalidSpec", "metadata.annotations[kfleet.dev/shard]: '1,x'"),
        ({"annotations": {SHARD: "0,2,9"}}, "ShardDoesNotFit", "there is no broker 9"),
        ({"annotations": {SHARD: "0,2"}}, "ShardDoesNotFit", "it has 2 brokers, and spec.shard.size is 3"),
        ({"annotations": {SHARD: "0,1,2"}}, "ShardDoesNotFit", "zones give other parts"),
        ({"annotations": {"kfleet.dev/paused": "true"}}, "Paused", "kfleet.dev/paused"),
        (
            {"namespaces": ["first", "x"]},
            "NamespaceTaken",
            "spec.namespaces[0]: 'first' belongs to KafkaTenant 'first'",
        ),
        ({"topicPrefix": "first.more."}, "PrefixTaken", "spec.topicPrefix: 'first.more.' and 'first.'"),
    ],
)
def test_what_cannot_be_is_said_with_the_field(words: dict[str, Any], reason: str, says: str) -> None:
    cell = cell_of(3, 2)
    cell.add("first")
    cell.add("t", at=START + 1, **words)
    cell.settle()
    assert cell.status("t").shard == ()
    assert cell.ready("t") == ("False", reason)
    ready = next(one for one in cell.tenants["t"].status.conditions if one.type == "Ready")
    assert says in ready.message
    assert cell.ready("first") == ("True", "Placed"), "it holds up nobody"


def test_a_zone_that_is_too_small_says_which_and_by_how_much() -> None:
    cell = TenantCell({0: "a", 1: "a", 2: "a", 3: "b"})
    cell.add("t", shard={"size": 4})
    cell.settle()
    assert "zone b has 1: 1 too few" in cell.status("t").message


def test_a_shard_smaller_than_a_topic_has_replicas_is_refused_and_the_old_one_stays() -> None:
    cell = cell_of(3, 1)
    cell.add("t")
    cell.settle()
    cell.topics["t.x"] = [(0, 1, 2)]
    cell.change("t", size=2)
    cell.settle()
    assert (cell.status("t").shard, cell.ready("t")) == ((0, 1, 2), ("False", "ShardTooSmall"))
    assert "spec.shard.size: 2, and topic 't.x' has 3 replicas: 1 too few" in cell.status("t").message


def test_a_shard_that_was_asked_for_is_had_and_kept_without_the_asking() -> None:
    cell = cell_of(3, 2)
    placed(cell, 1)
    assert cell.status("t0").shard != (1, 3, 5)
    cell.topics["t0.x"] = [cell.status("t0").shard]
    cell.annotate("t0", **{SHARD: "1,3,5"})
    cell.settle()
    assert (cell.status("t0").shard, cell.stray("t0")) == ((1, 3, 5), [])
    cell.annotate("t0")
    cell.settle()
    assert cell.status("t0").shard == (1, 3, 5)


def test_a_paused_tenant_is_not_moved() -> None:
    cell = cell_of(3, 2)
    cell.add("t", shard={"size": 4})
    cell.settle()
    before = cell.status("t").shard
    cell.annotate("t", **{"kfleet.dev/paused": "true"})
    cell.change("t", size=3)
    cell.settle()
    assert cell.status("t").shard == before
    cell.annotate("t")
    cell.settle()
    assert len(cell.status("t").shard) == 3


def test_a_cell_that_a_tenant_leaves_is_kept_while_its_topics_are_there() -> None:
    cell = cell_of(3, 2)
    placed(cell, 1)
    shard = cell.status("t0").shard
    cell.topics["t0.x"] = [shard]
    body = cell.tenants["t0"].to_object()
    body["spec"]["cells"] = [{"kind": "KafkaCluster", "namespace": "kafka", "name": "other"}]
    cell.tenants["t0"] = tenant("t0").model_validate(body)
    cell.settle()
    assert (cell.status("t0").shard, cell.status("t0").reason) == (shard, "LeftWithTopics")
    assert cell.directory.shard(cell.tenants["t0"], CELL) is None, "nothing new is created there"
    del cell.topics["t0.x"]
    cell.settle()
    assert cell.shards() == {}


def test_a_refused_move_is_said() -> None:
    cell = cell_of(1, 3)
    cell.add("t", shard={"size": 2})
    cell.settle()
    other = next(broker for broker in cell.brokers if broker not in cell.status("t").shard)
    cell.topics["t.x"] = [(other,)]
    request = cell.plan()["t"].create
    assert request is not None
    view = replace(cell.view(), refused={request.name: "no rights"})
    outcome = plan_cell(cell.directory, view, cell.now)["t"]
    assert outcome.status is not None
    assert (outcome.status.reason, outcome.create) == ("MoveRefused", request)
    assert "no rights" in outcome.status.message


def test_what_a_tenant_has_is_counted_by_its_prefix_every_replica_of_it() -> None:
    cell = cell_of(3, 1)
    cell.add("t", limits={"topics": 1, "partitions": 9, "storage": "1Ki"})
    cell.topics |= {"t.x": [(0, 1, 2), (1, 2, 0)], "t.y": [(0, 1)], "tx": [(0,)]}
    sizes = {partition.id: 100 for partition in cell.view().partitions}
    outcome = plan_cell(cell.directory, cell.view(sizes), cell.now)["t"]
    assert outcome.status is not None
    assert outcome.status.usage == TenantUsage(topics=2, partitions=3, storage=800)
    cell.settle()
    within = next(one for one in cell.tenants["t"].status.conditions if one.type == "WithinLimits")
    assert (within.status, within.reason) == ("False", "LimitExceeded")
    assert within.message.startswith("spec.limits.topics: 2 of 1, 1 too many.")


def test_limits_say_by_how_much() -> None:
    usage = TenantUsage(topics=5, partitions=20, storage=3 * 1024**3)
    limits = TenantLimits(topics=5, partitions=15, storage="2Gi")
    found = [check.evidence for check in beyond(limits, usage)]
    assert found == ["spec.limits.partitions: 20 of 15, 5 too many.", "spec.limits.storage: 3Gi of 2Gi, 1Gi too many."]
    assert beyond(TenantLimits(), usage) == ()
    assert [readable(size) for size in (0, 1023, 1536, 5 * 1024**5)] == ["0", "1023", "1.5Ki", "5Pi"]


def test_ids_as_text() -> None:
    assert write_ranges([8, 0, 1, 2, 4, 5]) == "0-2,4-5,8"
    assert list(read_ranges("0-2,4-5,8")) == [0, 1, 2, 4, 5, 8]
    assert (write_ranges([]), list(read_ranges(""))) == ("", [])


def test_a_repack_offers_what_history_has_spoilt() -> None:
    cell = cell_of(1, 9)
    for number, shard in enumerate(["0,1,2", "0,1,3", "0,1,4"]):
        cell.add(f"t{number}", at=START + number, annotations={SHARD: shard})
    cell.settle()
    (offer,) = offers(cell.directory, CELL, cell.fleet)
    assert (offer.tenants, offer.repack.better) == (3, True)
    assert max(offer.repack.overlaps_then) <= 1 < max(offer.repack.overlaps_now)
    for name, _, brokers in offer.repack.moves:
        cell.annotate(name, **{SHARD: ",".join(map(str, brokers))})
    cell.settle()
    assert {cell.status(name).overlap for name in cell.tenants} <= {0, 1}


def test_names_and_prefixes_belong_to_the_oldest() -> None:
    old, young = tenant("z"), tenant("a", at=START + 1, namespaces=["z", "own"], topicPrefix="z.sub.")
    known = directory([young, old])
    assert known.by_namespace["z"].metadata.name == "z"
    assert [check.name for check in known.conflicts(young)] == ["NamespaceTaken", "PrefixTaken"]
    assert known.conflicts(old) == ()
    owner = known.of_topic("z.sub.topic")
    assert owner is not None
    assert owner.metadata.name == "z"
    assert known.of_topic("y.topic") is None
    refused = {("nobody", "z"): "TenantNotFound", ("a", "z"): "NamespaceTaken", ("z", "own"): "NamespaceNotListed"}
    for (name, namespace), reason in refused.items():
        found = known.resolve(name, namespace)
        assert getattr(found, "name", "") == reason
    assert known.resolve("z", "z") is old


def test_only_a_cell_of_which_little_changes_is_planned_at_once() -> None:
    cell = cell_of(3, 6)
    for number in range(QUICK_CHANGES):
        cell.add(f"t{number}", at=START + number)
    assert is_quick(cell.directory, cell.view())
    cell.add("more", at=START + 100)
    assert not is_quick(cell.directory, cell.view()), "they have to be placed"
    cell.settle()
    assert is_quick(cell.directory, cell.view())
    cell.brokers[18] = "a"
    assert not is_quick(cell.directory, cell.view()), "a broker has come"
    cell.settle()
    cell.topics["other"] = [(0, 1)] * QUICK_PARTITIONS
    assert is_quick(cell.directory, cell.view())
    cell.topics["other"] += [(0, 1)]
    assert not is_quick(cell.directory, cell.view())
