"""Batches on the real engine, on fakes: what is down together, and an operator that dies at every write of it."""

from __future__ import annotations

import json

import pytest
from support.racked_cell import BROKERS, CONTROLLERS, RackedNamespace, racked, zone
from support.simulation import KEY, DieAt, Killed, run_until_ready, service


def assert_rolled(namespace: RackedNamespace, most: int) -> None:
    assert {len(uids) for uids in namespace.uids.values()} == {2}
    assert namespace.most_down == most
    for down in namespace.down_together:
        assert len({zone(namespace, node) for node in down}) <= 1
        assert len(down) == 1 or not down & CONTROLLERS
    for one in namespace.kafka.topics["t"].partitions:
        assert set(one.isr) == set(one.replicas)
        assert one.leader == one.replicas[0]


@pytest.mark.parametrize(("limit", "most"), [(1, 1), ("50%", 2)])
async def test_two_brokers_of_a_zone_are_down_together_where_that_is_allowed(limit: int | str, most: int) -> None:
    namespace = await racked(limit)
    await namespace.change(version="4.3.1")
    await run_until_ready(namespace, DieAt(), passes=600)
    assert_rolled(namespace, most)
    together = {down for down in namespace.down_together if len(down) == 2}
    assert together == ({frozenset((b, b + 3)) for b in BROKERS[:3]} if most == 2 else set())
    ended = (await namespace.status())["lastOperation"]
    assert ended["outcome"] == "Succeeded"


async def test_control_brokers_of_two_zones_or_a_controller_beside_another_are_caught() -> None:
    namespace = await racked(2)
    await namespace.change(version="4.3.1")
    await run_until_ready(namespace, DieAt(), passes=600)
    assert_rolled(namespace, 2)
    for planted in (frozenset((3, 4)), frozenset((0, 3))):
        namespace.down_together.add(planted)
        with pytest.raises(AssertionError):
            assert_rolled(namespace, 2)
        namespace.down_together.remove(planted)


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_ends_in_the_same_place(phase: str) -> None:
    """Each life makes one write at most (after) or two (before the second)."""
    namespace = await racked("50%")
    await namespace.change(version="4.3.1")
    for _ in range(900):
        namespace.turn()
        try:
            await service(namespace, DieAt(1 if phase == "after" else 2, phase)).reconcile(KEY)
        except Killed:
            continue
        if await namespace.ready():
            break
    assert await namespace.ready(), json.dumps(await namespace.status(), indent=1)
    assert_rolled(namespace, 2)


async def test_a_pause_stops_a_batch_between_its_nodes_and_what_is_down_comes_back() -> None:
    namespace = await racked(2)
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt())
    while not any((uids := namespace.uids[f"cell-brokers-{b}"]) and len(uids) == 2 for b in BROKERS):
        namespace.turn()
        await one.reconcile(KEY)
        step = (await namespace.status()).get("operation", {}).get("step", {})
        if "batches" in step.get("parameters", {}) and step["verb"] == "Stopping":
            meta = namespace.kube.objects[("kafkaclusters", "kafka", "cell")]["metadata"]
            meta["annotations"] = {"kfleet.dev/paused": "true"}
    for _ in range(20):
        namespace.turn()
        await one.reconcile(KEY)
    assert sorted(len(namespace.uids[f"cell-brokers-{b}"]) for b in BROKERS) == [1, 1, 1, 1, 1, 2]
    assert all(node["ready"] for node in (await namespace.status())["nodes"])
