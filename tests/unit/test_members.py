"""Voters that join and leave, brokers that leave, lost disks: on fakes, to the end, with an operator that may die."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.disks import CLAIM, Disks
from support.fake_kafka import FakeTopic
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


async def ready(namespace: Disks) -> None:
    await run_until_ready(namespace, DieAt(), passes=120)


async def condition(namespace: Disks, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in (await namespace.status())["conditions"] if c["type"] == kind)
    return found


async def test_more_voters_join_one_by_one_and_leave_again() -> None:
    namespace = await three()
    await resize(namespace, 5)
    await ready(namespace)
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 3, 4]
    last = (await namespace.status())["lastOperation"]
    assert (last["kind"], last["outcome"]) == ("Membership", "Succeeded")
    assert [entry["target"] for entry in last["journal"] if entry["verb"] == "AddVoter"] == ["3", "4"]
    uids = {pod: list(uids) for pod, uids in namespace.uids.items()}
    await resize(namespace, 3)
    await ready(namespace)
    assert sorted(namespace.kafka.voters) == [0, 1, 2]
    assert namespace.kafka.unregistered == {3, 4}
    assert namespace.retired() == {3, 4}
    assert {pod: list(uids) for pod, uids in namespace.uids.items()} == uids, "nobody else was restarted"
    assert sorted(name for plural, _, name in namespace.kube.objects if plural == CLAIM) == sorted(namespace.seen)
    assert namespace.harms == []


async def test_ids_of_nodes_that_have_left_are_not_given_again() -> None:
    namespace = await three()
    for replicas in (5, 3, 5):
        await resize(namespace, replicas)
        await ready(namespace)
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 5, 6]
    assert namespace.harms == []


async def test_a_voter_that_has_not_caught_up_is_waited_for() -> None:
    namespace = await three()
    namespace.kafka.learners = {3, 4}
    await resize(namespace, 5)
    await passes(namespace, 12)
    assert sorted(namespace.kafka.voters) == [0, 1, 2]
    operation = (await namespace.status())["operation"]
    assert [check["name"] for check in operation["step"]["checks"]] == ["VoterJoining"]
    namespace.kafka.learners = set()
    await ready(namespace)
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 3, 4]


async def test_a_broker_with_partitions_does_not_leave() -> None:
    namespace = await three()
    await resize(namespace, 5)
    await ready(namespace)
    partition = namespace.kafka.topics["t"].partitions[0]
    partition.replicas = partition.isr = (0, 1, 4)
    await resize(namespace, 3)
    await passes(namespace, 6)
    refused = await condition(namespace, "Ready")
    assert refused["reason"] == "BrokersDraining"
    assert "spec.nodePools[nodes].replicas" in refused["message"]
    assert "t-0" in refused["message"]
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 3, 4]
    partition.replicas = partition.isr = (0, 1, 2)
    await ready(namespace)
    assert sorted(namespace.kafka.up) == [0, 1, 2]
    assert namespace.harms == []


async def test_defaults_are_not_lowered_by_fewer_brokers() -> None:
    namespace = await three()
    namespace.kafka.topics.clear()
    await resize(namespace, 1)
    await passes(namespace, 4)
    refused = await condition(namespace, "Ready")
    assert refused["reason"] == "ScaleDownRefused"
    assert "default.replication.factor" in refused["message"]
    assert sorted(namespace.kafka.voters) == [0, 1, 2]


@pytest.mark.parametrize("gone", ["disk", "claim"])
async def test_a_lost_disk_is_replaced_only_when_a_person_says_so(gone: str) -> None:
    namespace = await three()
    (namespace.lose_disk if gone == "disk" else namespace.lose_claim)(1)
    await passes(namespace, 12)
    told = await condition(namespace, "Ready")
    assert told["reason"] == ("DiskLost" if gone == "disk" else "VolumeMissing")
    assert "replace-node" in told["message"]
    assert namespace.kafka.voters[1] == "directory-1"
    assert namespace.formats == {0: 1, 1: 1, 2: 1}
    await namespace.ask_replacement("1")
    await ready(namespace)
    assert namespace.kafka.voters[1] == "directory-1-2"
    assert not await namespace.asked()
    assert namespace.formats == {0: 1, 1: 2, 2: 1}
    claim = namespace.claim(1)
    assert claim is not None
    marks = claim["metadata"]["annotations"]
    assert marks[names.FORMATTED] == "directory-1-2"
    assert "directoryId" not in json.loads(marks[names.IDENTITY])
    assert (await namespace.status())["lastOperation"]["outcome"] == "Succeeded"
    assert namespace.harms == []


async def test_a_replacement_that_would_lose_data_is_refused() -> None:
    namespace = await three()
    alone = namespace.kafka.topics["t"].partitions[2]
    alone.replicas, alone.isr, alone.leader = (1,), (1,), 1
    namespace.lose_disk(1)
    await namespace.ask_replacement("1")
    await passes(namespace, 15)
    told = await condition(namespace, "Blocked")
    assert "ReplaceWouldLoseData" in (await namespace.status())["operation"]["step"]["checks"][0]["name"]
    assert "t-2" in (await namespace.status())["operation"]["message"]
    assert told["status"] == "True"
    assert namespace.kafka.voters[1] == "directory-1"
    assert namespace.formats[1] == 1
    del namespace.kafka.topics["t"].partitions[2]
    await ready(namespace)
    assert namespace.harms == []


async def test_a_replacement_waits_for_a_majority_without_the_lost_voter() -> None:
    namespace = await three()
    namespace.lose_disk(1)
    namespace.kafka.learners = {2}
    await namespace.ask_replacement("1")
    await passes(namespace, 10)
    assert 1 in namespace.kafka.voters
    namespace.kafka.learners = set()
    await ready(namespace)
    assert namespace.harms == []


@pytest.mark.parametrize("text", ["9", "x", "-1", ""])
async def test_a_request_for_no_node_is_refused_and_holds_up_no_roll(text: str) -> None:
    namespace = await three()
    await namespace.ask_replacement(text)
    await passes(namespace, 4)
    told = await condition(namespace, "Blocked")
    assert told["reason"] == "ReplaceUnknownNode"
    await namespace.change(config={"num.network.threads": 4})
    await passes(namespace, 40)
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)


async def test_a_request_for_a_node_that_is_whole_changes_nothing_and_goes() -> None:
    namespace = await three()
    await namespace.ask_replacement("1")
    await ready(namespace)
    await passes(namespace, 4)
    assert not await namespace.asked()
    assert namespace.formats == {0: 1, 1: 1, 2: 1}
    assert all(len(uids) == 1 for uids in namespace.uids.values())


async def test_a_paused_change_begins_nothing_and_a_voteless_node_gets_its_vote_back() -> None:
    namespace = await three()
    namespace.lose_disk(1)
    await namespace.ask_replacement("1")
    one = service(namespace, DieAt())
    while 1 in namespace.kafka.voters:
        namespace.turn()
        await one.reconcile(KEY)
    await namespace.kube.patch(KAFKA_CLUSTERS, "cell", "kafka", {"metadata": {"annotations": {names.PAUSED: "true"}}})
    await passes(namespace, 30)
    assert namespace.kafka.voters[1] == "directory-1-2"
    await resize(namespace, 5)
    await passes(namespace, 15)
    assert sorted(namespace.kafka.voters) == [0, 1, 2]


async def test_a_cancelled_change_leaves_room_for_a_roll() -> None:
    namespace = await three()
    namespace.kafka.learners = {3, 4}
    await resize(namespace, 5)
    await passes(namespace, 8)
    operation = (await namespace.status())["operation"]["id"]
    await namespace.kube.patch(
        KAFKA_CLUSTERS, "cell", "kafka", {"metadata": {"annotations": {names.CANCEL: operation}}}
    )
    await passes(namespace, 4)
    status = await namespace.status()
    assert "operation" not in status
    assert (status["lastOperation"]["id"], status["lastOperation"]["outcome"]) == (operation, "Cancelled")
    namespace.kafka.learners = set()
    await passes(namespace, 6)
    assert sorted(namespace.kafka.voters) == [0, 1, 2]


async def test_a_roll_and_a_change_of_members_do_not_run_at_once() -> None:
    namespace = await three()
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    pool = obj["spec"]["nodePools"][0] | {"replicas": 5}
    await namespace.change(nodePools=[pool], config={"num.network.threads": 4})
    one = service(namespace, DieAt())
    kinds: list[str] = []
    for _ in range(150):
        namespace.turn()
        await one.reconcile(KEY)
        operation = (await namespace.status()).get("operation")
        if operation is not None and kinds[-1:] != [operation["kind"]]:
            kinds.append(operation["kind"])
        if await namespace.ready():
            break
    assert kinds == ["Membership", "Roll"]
    assert sorted(namespace.kafka.voters) == [0, 1, 2, 3, 4]
    assert namespace.harms == []


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("change", ["grow and shrink", "disk", "claim"])
async def test_an_operator_that_dies_at_every_write_comes_to_the_end(change: str, phase: str) -> None:
    namespace = await three()
    if change == "grow and shrink":
        stages = [5, 3]
    else:
        (namespace.lose_disk if change == "disk" else namespace.lose_claim)(2)
        await namespace.ask_replacement("2")
        stages = [3]
    for replicas in stages:
        await resize(namespace, replicas)
        for _ in range(300):
            namespace.turn()
            try:
                await service(namespace, DieAt(1 if phase == "after" else 2, phase)).reconcile(KEY)
            except Killed:
                continue
            if await namespace.ready():
                break
        assert await namespace.ready(), json.dumps(await namespace.status(), indent=1)
    assert sorted(namespace.kafka.voters) == [0, 1, 2]
    assert namespace.formats[2] == (1 if len(stages) == 2 else 2)
    assert namespace.harms == []


async def test_control_a_voter_removed_in_need_is_a_harm() -> None:
    """The fake's own count: a planner that took votes without asking would be found."""
    namespace = await three()
    namespace.kafka.stop_broker(2)
    admin = namespace.admins.get(KEY.cell, ["fake:9090"])
    await admin.remove_voter(1, "directory-1")
    assert namespace.harms
