"""Disks that are lost before anybody marked them, several at once, or one of two: never formatted without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.disks import Disks
from support.fake_kafka import FakeTopic
from support.shelves import Shelves, shelved
from support.simulation import KEY, DieAt, Killed, run_until_ready, service

from controlplane.api import names
from controlplane.services.cluster.kind import KAFKA_CLUSTERS


async def three() -> Disks:
    namespace = Disks()
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = FakeTopic("id", [namespace.kafka.place(3) for _ in range(3)], {})
    return namespace


async def resize(namespace: Disks, replicas: int) -> None:
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    await namespace.change(nodePools=[obj["spec"]["nodePools"][0] | {"replicas": replicas}])


async def passes(namespace: Disks, number: int) -> None:
    one = service(namespace, DieAt())
    for _ in range(number):
        namespace.turn()
        await one.reconcile(KEY)


async def killed_at_every_write(namespace: Disks, phase: str) -> None:
    for _ in range(300):
        namespace.turn()
        try:
            await service(namespace, DieAt(1 if phase == "after" else 2, phase)).reconcile(KEY)
        except Killed:
            continue
        if await namespace.ready():
            return
    raise AssertionError(json.dumps(await namespace.status(), indent=1))


async def ready(namespace: Disks) -> dict[str, Any]:
    conditions = (await namespace.status())["conditions"]
    return next(c for c in conditions if c["type"] == "Ready")


async def test_a_joiner_that_serves_as_a_broker_is_marked_before_it_votes_and_never_formatted_again() -> None:
    namespace = await three()
    namespace.kafka.learners = {3, 4}
    await resize(namespace, 5)
    await passes(namespace, 15)
    assert sorted(namespace.kafka.voters) == [0, 1, 2]
    partition = namespace.kafka.topics["t"].partitions[0]
    partition.replicas, partition.isr, partition.leader = (4,), (4,), 4
    namespace.lose_disk(4)
    partition.replicas, partition.isr = (4,), (4,)
    await passes(namespace, 15)
    assert namespace.formats[4] == 1
    assert namespace.harms == []
    assert (await ready(namespace))["reason"] == "DiskLost"


async def test_a_controller_whose_claim_is_not_marked_gets_no_vote() -> None:
    namespace = await three()
    await resize(namespace, 5)
    one = service(namespace, DieAt())
    for _ in range(60):
        namespace.turn()
        for node in (3, 4):  # somebody takes the mark off before each pass
            if claim := namespace.claim(node):
                claim["metadata"]["annotations"].pop(names.FORMATTED, None)
        await one.reconcile(KEY)
    assert sorted(namespace.kafka.voters) == [0, 1, 2]
    await run_until_ready(namespace, DieAt())
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_nodes_with_two_volumes_leave_under_kills(phase: str) -> None:
    namespace = await shelved()
    await resize(namespace, 5)
    await run_until_ready(namespace, DieAt())
    await resize(namespace, 3)
    await killed_at_every_write(namespace, phase)
    for node in (3, 4):
        for volume in (0, 1):
            claim = namespace.claim_of(node, volume)
            assert claim is not None
            assert claim["metadata"]["annotations"][names.RETIRED] == "true"
    assert sorted(namespace.kafka.voters) == [0, 1, 2]
    assert len(namespace.formatted) == 10
    assert namespace.harms == []


@pytest.mark.parametrize("order", [(3, 4), (4, 3)])
async def test_two_nodes_whose_claims_are_gone_are_replaced_one_after_the_other(order: tuple[int, int]) -> None:
    namespace = await three()
    await resize(namespace, 5)
    await run_until_ready(namespace, DieAt())
    namespace.lose_claim(3)
    namespace.lose_claim(4)
    await passes(namespace, 8)
    assert (await ready(namespace))["reason"] == "VolumeMissing"
    first, second = order
    await namespace.ask_replacement(str(first))
    await passes(namespace, 60)
    assert not await namespace.asked()
    assert namespace.formats == {0: 1, 1: 1, 2: 1, 3: 1, 4: 1} | {first: 2}
    assert namespace.claim(second) is None
    assert namespace.kafka.voters[first] == f"directory-{first}-2"
    assert namespace.kafka.voters[second] == f"directory-{second}"
    told = await ready(namespace)
    assert told["reason"] == "VolumeMissing"
    assert f"node {second}" in told["message"]
    await namespace.ask_replacement(str(second))
    await run_until_ready(namespace, DieAt())
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 3, 4]
    assert namespace.harms == []


async def test_control_nobody_is_set_aside_for_a_request_for_no_node() -> None:
    namespace = await three()
    await resize(namespace, 5)
    await run_until_ready(namespace, DieAt())
    namespace.lose_claim(3)
    namespace.lose_claim(4)
    await namespace.ask_replacement("9")
    await passes(namespace, 20)
    assert (await ready(namespace))["reason"] == "VolumeMissing"
    assert set(namespace.formats.values()) == {1}


async def lose(namespace: Shelves, volume: int, how: str) -> None:
    if how == "gone":
        namespace.drop(1, volume)
        return
    namespace.begin_to_delete(1, volume)
    pod = namespace.kube.objects[("pods", "kafka", "cell-nodes-1")]
    claim = namespace.claim_of(1, volume)
    assert claim is not None
    namespace.contents.pop(claim["metadata"]["uid"])  # its disk has failed, and the pod fails with it
    env = pod["spec"]["initContainers"][0]["env"]
    assert claim["metadata"]["annotations"][names.FORMATTED]
    marks = claim["metadata"]["annotations"][names.FORMATTED]
    next(e for e in env if e["name"] == "KAFKA_FORMATTED")["value"] = f"{marks}," if volume == 0 else f",{marks}"


@pytest.mark.parametrize("how", ["gone", "going"])
@pytest.mark.parametrize("volume", [0, 1])
async def test_one_of_two_claims_is_replaced_when_a_person_says_so(volume: int, how: str) -> None:
    namespace = await shelved()
    await lose(namespace, volume, how)
    await passes(namespace, 8)
    told = await ready(namespace)
    assert told["reason"] == ("VolumeChangeUnsupported" if how == "gone" else "VolumeTerminating")
    assert "kfleet cluster replace-node cell 1" in told["message"]
    assert "Set the field back" not in told["message"]
    assert len(namespace.formatted) == 6
    await namespace.ask_replacement("1")
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 3)
    assert not await namespace.asked()
    assert namespace.formatted[6:] == [f"data-{volume}-cell-nodes-1"]
    assert namespace.kafka.voters[1] == ("directory-1-2" if volume == 0 else "directory-1")
    assert namespace.harms == []


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("how", ["gone", "going"])
@pytest.mark.parametrize("volume", [0, 1])
async def test_one_of_two_claims_is_replaced_under_kills(volume: int, how: str, phase: str) -> None:
    namespace = await shelved()
    await lose(namespace, volume, how)
    await namespace.ask_replacement("1")
    await killed_at_every_write(namespace, phase)
    assert namespace.formatted[6:] == [f"data-{volume}-cell-nodes-1"]
    assert sorted(namespace.kafka.voters) == [0, 1, 2]
    assert namespace.harms == []


async def test_one_of_two_claims_is_not_replaced_where_data_would_be_lost() -> None:
    namespace = await shelved()
    alone = namespace.kafka.topics["t"].partitions[2]
    alone.replicas, alone.isr, alone.leader = (1,), (1,), 1
    await lose(namespace, 1, "gone")
    await namespace.ask_replacement("1")
    await passes(namespace, 20)
    assert "ReplaceWouldLoseData" in [c["name"] for c in (await namespace.status())["operation"]["step"]["checks"]]
    assert len(namespace.formatted) == 6
    assert namespace.claim_of(1, 1) is None


async def test_a_claim_that_is_being_deleted_under_a_pod_that_serves_is_left_to_a_person() -> None:
    namespace = await shelved()
    uids = {pod: list(uids) for pod, uids in namespace.uids.items()}
    namespace.begin_to_delete(1, 1)
    await namespace.ask_replacement("1")
    await namespace.change(config={"num.network.threads": 4})  # which a roll would stop it for
    await passes(namespace, 8)
    told = await ready(namespace)
    assert "is being deleted" in told["message"]
    assert "delete the node's pod if it still runs" in told["message"]
    assert namespace.uids == uids
    namespace._crash(1)
    await run_until_ready(namespace, DieAt())
    assert namespace.formatted[6:] == ["data-1-cell-nodes-1"]
    assert namespace.harms == []


async def test_a_claim_that_goes_with_the_last_copy_keeps_its_failing_pod() -> None:
    namespace = await shelved()
    alone = namespace.kafka.topics["t"].partitions[2]
    alone.replicas, alone.isr, alone.leader = (1,), (1,), 1
    await lose(namespace, 1, "going")
    await namespace.ask_replacement("1")
    await namespace.change(config={"num.network.threads": 4})
    uids = {pod: list(uids) for pod, uids in namespace.uids.items()}
    await passes(namespace, 12)
    told = await ready(namespace)
    assert told["reason"] == "ReplaceWouldLoseData"
    assert "t-2" in told["message"]
    assert namespace.uids == uids
    assert namespace.claim_of(1, 1) is not None


async def test_a_pod_whose_claim_is_being_deleted_is_not_stopped_for_the_replacement_of_another() -> None:
    namespace = await shelved()
    namespace.begin_to_delete(2, 1)
    namespace.drop(1, 0)
    await namespace.ask_replacement("1")
    uids = list(namespace.uids["cell-nodes-2"])
    await namespace.change(config={"num.network.threads": 4})
    await passes(namespace, 12)
    assert (await ready(namespace))["reason"] == "VolumeTerminating"
    assert namespace.uids["cell-nodes-2"] == uids
    assert namespace.claim_of(2, 1) is not None


async def test_control_a_disk_that_is_formatted_without_a_word_is_a_harm() -> None:
    """The fake's own count: somebody takes the mark off, and the last copy is gone."""
    namespace = await shelved()
    partition = namespace.kafka.topics["t"].partitions[0]
    claim = namespace.claim_of(1, 0)
    assert claim is not None
    del claim["metadata"]["annotations"][names.FORMATTED]
    namespace.contents.pop(claim["metadata"]["uid"])
    namespace._crash(1)
    partition.replicas, partition.isr = (1,), (1,)
    await passes(namespace, 4)
    assert "the last copy of t-0 was on node 1" in namespace.harms
    assert "node 1 was formatted again while its old directory had a vote" in namespace.harms
