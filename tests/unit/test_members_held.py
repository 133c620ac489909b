"""Changes of members that people hold, cancel or ask for again, on fakes; the answered request of a replacement."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from support.disks import Disks
from support.fake_kafka import FakeTopic
from support.simulation import KEY, DieAt, Killed, run_until_ready, service

from controlplane.api import names
from controlplane.api.operation import Operation
from controlplane.cli.cluster_replace import request_text
from controlplane.domain.membership.operation import identity, plan_of
from controlplane.domain.membership.values import Request, Target
from controlplane.domain.observation import Role
from controlplane.domain.operation.plan import generation_of
from controlplane.services.cluster.kind import KAFKA_CLUSTERS


async def three(**spec: Any) -> Disks:
    namespace = Disks()
    await namespace.declare(rollout={"soak": "2s"}, **spec)
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


async def annotate(namespace: Disks, **marks: str | None) -> None:
    wanted = {getattr(names, name): value for name, value in marks.items()}
    await namespace.kube.patch(KAFKA_CLUSTERS, "cell", "kafka", {"metadata": {"annotations": wanted}})


async def ready(namespace: Disks) -> None:
    await run_until_ready(namespace, DieAt(), passes=150)


# What waits for an approval is written, so that somebody can approve it


async def lost_in_a_roll(**rollout: str) -> tuple[Disks, int]:
    """A node that the roll has restarted loses its disk while the next one is not done with."""
    namespace = await three()
    await namespace.change(config={"num.network.threads": 4})
    one = service(namespace, DieAt())
    restarted: list[int] = []
    while not restarted:
        namespace.turn()
        await one.reconcile(KEY)
        restarted = [node for node in range(3) if len(namespace.uids[f"cell-nodes-{node}"]) == 2]
    lost = restarted[0]
    await passes(namespace, 1)
    if rollout:
        await namespace.change(rollout={"soak": "2s", **rollout})
    namespace.lose_disk(lost)
    await namespace.ask_replacement(str(lost))
    return namespace, lost


async def test_a_disk_that_is_lost_in_a_roll_is_replaced_and_the_roll_goes_on() -> None:
    namespace, lost = await lost_in_a_roll()
    await ready(namespace)
    assert namespace.formats[lost] == 2
    assert namespace.harms == []


async def test_a_disk_that_is_lost_in_a_roll_waits_for_an_approval_of_its_own() -> None:
    namespace, lost = await lost_in_a_roll(approval="Required")
    one, seen = service(namespace, DieAt()), set()
    for _ in range(40):
        namespace.turn()
        await one.reconcile(KEY)
        operation = (await namespace.status()).get("operation") or {}
        seen.add((operation.get("id"), operation.get("kind"), operation.get("startedAt")))
    operation = (await namespace.status())["operation"]
    assert operation["kind"] == "Membership"
    assert "AwaitingApproval" in [check["name"] for check in operation["step"]["checks"]]
    assert len([one for one in seen if one[1] == "Membership"]) == 1, seen
    assert namespace.formats[lost] == 1
    await namespace.change(rollout={"soak": "2s"})
    await ready(namespace)
    assert namespace.formats[lost] == 2
    assert namespace.harms == []


# A node that is to leave and may not yet stays up


@pytest.mark.parametrize("held", ["paused", "cancelled", "not caught up"])
async def test_a_leaving_voter_that_loses_its_pod_while_it_may_not_leave_comes_back(held: str) -> None:
    namespace = await three()
    await resize(namespace, 5)
    await ready(namespace)
    if held == "paused":
        await annotate(namespace, PAUSED="true")
    if held == "not caught up":
        namespace.kafka.learners = {0, 1}
    await resize(namespace, 3)
    await passes(namespace, 1)
    if held == "cancelled":
        await annotate(namespace, CANCEL=(await namespace.status())["operation"]["id"])
    await passes(namespace, 1)
    left = sorted(namespace.kafka.voters)[3:]
    assert left
    for node in left:
        namespace._crash(node)
    await passes(namespace, 20)
    assert namespace.kafka.up >= {*left, 0, 1, 2}
    assert set(left) <= set(namespace.kafka.voters)
    await annotate(namespace, PAUSED=None, CANCEL=None)
    namespace.kafka.learners = set()
    await ready(namespace)
    assert sorted(namespace.kafka.up) == [0, 1, 2]
    assert namespace.harms == []


async def test_control_a_leaving_voter_that_may_leave_is_not_started_again() -> None:
    namespace = await three()
    await resize(namespace, 5)
    await ready(namespace)
    before = {pod: list(uids) for pod, uids in namespace.uids.items()}
    await resize(namespace, 3)
    await ready(namespace)
    assert {pod: list(uids) for pod, uids in namespace.uids.items()} == before


# What was begun is finished under a spec that is refused


@pytest.mark.parametrize("gone", ["disk", "claim"])
async def test_a_voteless_node_gets_its_vote_back_while_the_spec_is_refused(gone: str) -> None:
    namespace = await three()
    (namespace.lose_disk if gone == "disk" else namespace.lose_claim)(1)
    await namespace.ask_replacement("1")
    one = service(namespace, DieAt())
    while 1 in namespace.kafka.voters:
        namespace.turn()
        await one.reconcile(KEY)
    await namespace.change(config={"default.replication.factor": 9})
    await passes(namespace, 60)
    assert namespace.kafka.voters[1] == "directory-1-2"
    status = await namespace.status()
    assert next(c for c in status["conditions"] if c["type"] == "Ready")["reason"] == "ReplicationFactorTooLarge"
    assert "operation" not in status
    assert not await namespace.asked()
    assert namespace.harms == []


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("gone", ["disk", "claim"])
async def test_that_comes_to_its_end_whenever_the_operator_dies(gone: str, phase: str) -> None:
    namespace = await three()
    (namespace.lose_disk if gone == "disk" else namespace.lose_claim)(1)
    await namespace.ask_replacement("1")
    one = service(namespace, DieAt())
    while 1 in namespace.kafka.voters:
        namespace.turn()
        await one.reconcile(KEY)
    await namespace.change(config={"default.replication.factor": 9})
    for _ in range(200):
        namespace.turn()
        with suppress(Killed):
            await service(namespace, DieAt(1 if phase == "after" else 2, phase)).reconcile(KEY)
        if not await namespace.asked():
            break
    assert not await namespace.asked()
    assert namespace.kafka.voters[1] == "directory-1-2"
    assert namespace.formats[1] == 2
    await namespace.change(config={})
    await ready(namespace)
    assert namespace.harms == []


async def test_control_no_replacement_begins_while_the_spec_is_refused() -> None:
    namespace = await three()
    await namespace.change(config={"default.replication.factor": 9})
    namespace.lose_disk(1)
    await namespace.ask_replacement("1")
    await passes(namespace, 30)
    assert namespace.kafka.voters[1] == "directory-1"
    assert namespace.formats[1] == 1
    assert await namespace.asked()


# No id twice


async def replaced(namespace: Disks, *requests: str) -> list[str]:
    """Ids of the operations that these requests, one after the other, lead to."""
    seen: list[str] = []
    for text in requests:
        namespace.lose_disk(int(text.partition("/")[0]))
        await namespace.ask_replacement(text)
        one = service(namespace, DieAt())
        for _ in range(120):
            namespace.turn()
            await one.reconcile(KEY)
            operation = (await namespace.status()).get("operation")
            if operation is not None and seen[-1:] != [operation["id"]]:
                seen.append(operation["id"])
            if await namespace.ready() and not await namespace.asked():
                break
    return seen


async def test_the_same_change_asked_for_again_is_an_operation_of_its_own() -> None:
    namespace = await three()
    seen = await replaced(namespace, "1", "2", "1", "1/again")
    assert len(seen) == len(set(seen)) == 4
    assert namespace.formats == {0: 1, 1: 4, 2: 2}
    assert namespace.harms == []


async def test_an_old_word_of_cancel_cancels_no_later_change() -> None:
    namespace = await three()
    await annotate(namespace, CANCEL=(await replaced(namespace, "1"))[0])
    await replaced(namespace, "2", "1")
    assert namespace.formats == {0: 1, 1: 3, 2: 2}


# A request is answered once, and stays where its owner wrote it


async def test_a_request_that_is_met_stays_on_the_object_and_asks_for_nothing_more() -> None:
    namespace = await three()
    await replaced(namespace, "1")
    found = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    assert found["metadata"]["annotations"][names.REPLACE_NODE] == "1"
    assert found["status"]["replacement"]["request"] == "1"
    last = found["status"]["lastOperation"]
    assert (last["kind"], last["outcome"]) == ("Membership", "Succeeded")
    namespace.lose_disk(1)
    await passes(namespace, 30)
    assert namespace.formats[1] == 2, "a word that was said of another disk"
    assert namespace.kafka.voters[1] == "directory-1-2"
    assert (await namespace.status())["lastOperation"]["id"] == last["id"]


async def test_a_request_may_be_made_again_once_it_was_taken_off_or_with_another_word() -> None:
    namespace = await three()
    await replaced(namespace, "1")
    await annotate(namespace, REPLACE_NODE=None)
    await passes(namespace, 2)
    assert "replacement" not in await namespace.status()
    await replaced(namespace, "1", "1/second")
    assert namespace.formats[1] == 4
    assert namespace.harms == []


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_answer_is_given_once_whenever_the_operator_dies(phase: str) -> None:
    namespace = await three()
    namespace.lose_disk(1)
    await namespace.ask_replacement("1")
    for _ in range(300):
        namespace.turn()
        try:
            await service(namespace, DieAt(1 if phase == "after" else 2, phase)).reconcile(KEY)
        except Killed:
            continue
        if await namespace.ready() and not await namespace.asked():
            break
    assert not await namespace.asked()
    assert namespace.formats[1] == 2
    assert namespace.harms == []


def test_a_cancelled_change_stays_cancelled_over_a_roll_of_its_generation_and_no_longer() -> None:
    target = Target(members={0: frozenset({Role.CONTROLLER})}, request=Request(0, "0"))
    plan_hash = plan_of(target).hash

    def identity_of(last: Operation | None, *, generation: int = 4, cancelled: str = "") -> str:
        return identity(target, uid="u", generation=generation, under_way=None, last=last, cancelled=cancelled)

    def ended(name: str, kind: str, plan: str) -> Operation:
        return Operation(id=name, kind=kind, plan_hash=plan, goal="", started_at="2026-01-01T00:00:00Z")

    first = identity_of(None)
    mine, roll = ended(first, "Membership", plan_hash), ended("roll-4-aaaaaaaaaa", "Roll", "sha256:bb")
    other = ended("membership-4-cccccccccc", "Membership", "sha256:cc")
    assert generation_of(first) == 4
    assert identity_of(mine, cancelled=first) == identity_of(roll, cancelled=first) == first
    assert identity_of(roll, generation=5, cancelled=first) != first
    assert identity_of(other, cancelled=first) != first
    assert len({first, *(identity_of(last) for last in (mine, roll, other))}) == 4


@pytest.mark.parametrize(
    ("asked", "met", "wanted"), [(None, False, "1"), ("1", False, "1"), ("1/a", False, "1/a"), ("1", True, "1/")]
)
def test_the_command_asks_anew_only_after_a_request_that_was_met(asked: str | None, *, met: bool, wanted: str) -> None:
    found = request_text(1, asked, met=met)
    assert found == wanted if not met else found.startswith(wanted) and len(found) == 10
