"""What people and other operations may say to a roll: pause, cancel, resume, "the cell is taken". On fakes."""

from __future__ import annotations

from typing import Any

import pytest
from support.simulation import KEY, DieAt, Killed, Namespace, created, run_until_ready, service

from controlplane.api import names
from controlplane.services.operation.lock import lease_name

LEASE = ("leases", "kafka", lease_name("cell"))
PODS_ONCE = [2, 2, 2]


async def passes(namespace: Namespace, number: int, *, identity: str = "one", die: DieAt | None = None) -> None:
    one = service(namespace, die or DieAt(), identity=identity)
    for _ in range(number):
        namespace.turn()
        await one.reconcile(KEY)


async def begun() -> Namespace:
    """A version change whose first pod has been replaced."""
    namespace = await created()
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt())
    while not any(len(uids) == 2 for uids in namespace.uids.values()):
        namespace.turn()
        await one.reconcile(KEY)
    return namespace


def replaced(namespace: Namespace) -> list[int]:
    return sorted(len(uids) for uids in namespace.uids.values())


def annotate(namespace: Namespace, **annotations: str) -> None:
    meta = namespace.kube.objects[("kafkaclusters", "kafka", "cell")]["metadata"]
    meta["annotations"] = {getattr(names, name.upper()): value for name, value in annotations.items()}


async def blocked(namespace: Namespace) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = (await namespace.status())["conditions"]
    return next(condition for condition in conditions if condition["type"] == "Blocked")


def holder(namespace: Namespace) -> str:
    return str(namespace.kube.objects[LEASE]["spec"]["holderIdentity"])


def give_lease_to(namespace: Namespace, identity: str) -> None:
    lease = namespace.kube.objects.setdefault(
        LEASE,
        {
            "metadata": {"name": LEASE[2], "namespace": "kafka", "uid": "u", "resourceVersion": "1", "generation": 1},
            "spec": {},
        },
    )
    lease["spec"] = {"holderIdentity": identity, "renewTime": "t0", "leaseDurationSeconds": 30}


async def test_a_roll_holds_the_cell_from_its_first_stop_to_its_end() -> None:
    namespace = await begun()
    operation = (await namespace.status())["operation"]
    assert holder(namespace) == f"{operation['id']}/one"
    owner = namespace.kube.objects[LEASE]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("KafkaCluster", "cell")
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 1)
    assert replaced(namespace) == PODS_ONCE


async def test_the_cell_is_free_again_when_the_roll_has_ended() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    await passes(namespace, 60)
    assert replaced(namespace) == PODS_ONCE
    assert holder(namespace) == ""


async def test_a_cell_that_is_taken_is_left_alone_and_its_holder_is_named() -> None:
    namespace = await created()
    give_lease_to(namespace, "rebalance-7/other")
    await namespace.change(version="4.3.1")
    await passes(namespace, 5)
    condition = await blocked(namespace)
    assert condition["reason"] == "CellLocked"
    assert "rebalance-7/other" in condition["message"]
    assert replaced(namespace) == [1, 1, 1]


async def test_a_dead_holder_is_succeeded_after_its_duration_by_our_own_clock() -> None:
    namespace = await created()
    give_lease_to(namespace, "rebalance-7/other")
    await namespace.change(version="4.3.1")
    await passes(namespace, 29)
    assert replaced(namespace) == [1, 1, 1]
    await passes(namespace, 80)
    assert replaced(namespace) == PODS_ONCE


async def test_a_second_operator_with_the_same_roll_is_somebody_else() -> None:
    """Two installations that both reconcile the cell: one of them rolls, the other waits."""
    namespace = await begun()
    before = await namespace.status()
    second = DieAt()
    two = service(namespace, second, identity="two")
    for _ in range(3):
        namespace.turn()
        await two.reconcile(KEY)
    assert second.calls == [], "it leaves even the status to the one that has the cell"
    assert await namespace.status() == before
    await passes(namespace, 60)
    assert replaced(namespace) == PODS_ONCE


async def test_nothing_is_stopped_once_the_lock_is_lost() -> None:
    namespace = await begun()
    give_lease_to(namespace, "incident/pager")
    namespace.clock.seconds += 40
    die = DieAt()
    one = service(namespace, die)
    for _ in range(10):
        namespace.turn()
        await one.reconcile(KEY)
    assert [call for call in die.calls if call.startswith("delete pods")] == []
    assert (await blocked(namespace))["reason"] == "CellLocked"
    assert replaced(namespace) == [1, 1, 2]


async def test_a_cancelled_roll_finishes_its_node_ends_and_does_not_come_back() -> None:
    namespace = await begun()
    operation = (await namespace.status())["operation"]["id"]
    annotate(namespace, cancel=operation)
    await passes(namespace, 30)
    status = await namespace.status()
    assert "operation" not in status
    assert (status["lastOperation"]["id"], status["lastOperation"]["outcome"]) == (operation, "Cancelled")
    assert replaced(namespace) == [1, 1, 2]
    assert (await blocked(namespace))["reason"] == "Cancelled"
    assert all(node["ready"] for node in status["nodes"]), "the node that was begun came back"
    assert holder(namespace) == ""
    await namespace.change(config={"log.retention.ms": 7200000})
    await passes(namespace, 10)
    assert replaced(namespace) == [1, 1, 2], "a change that restarts nothing does not bring it back either"
    annotate(namespace)
    await run_until_ready(namespace, DieAt())
    assert replaced(namespace) == PODS_ONCE
    resumed = (await namespace.status())["lastOperation"]
    assert resumed["outcome"] == "Succeeded"
    assert resumed["id"] != operation, "its steps are not those of the one that was cancelled"


async def test_a_cancel_that_names_another_operation_is_none() -> None:
    namespace = await begun()
    annotate(namespace, cancel="roll-0-0000000000")
    await run_until_ready(namespace, DieAt())
    assert replaced(namespace) == PODS_ONCE


@pytest.mark.parametrize("kills", range(1, 12))
async def test_a_cancel_survives_an_operator_that_dies_at_every_write(kills: int) -> None:
    namespace = await begun()
    annotate(namespace, cancel=(await namespace.status())["operation"]["id"])
    for _ in range(60):
        namespace.turn()
        try:
            await service(namespace, DieAt(1 + kills % 2, ("before", "after")[kills % 2])).reconcile(KEY)
        except Killed:
            continue
    await passes(namespace, 10)
    status = await namespace.status()
    assert status["lastOperation"]["outcome"] == "Cancelled"
    assert replaced(namespace) == [1, 1, 2]


async def test_the_journal_tells_each_step_once_and_ends_with_the_outcome() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    await passes(namespace, 60)
    ended = (await namespace.status())["lastOperation"]
    keys = [(entry["step"], entry.get("attempt", 1)) for entry in ended["journal"]]
    assert len(keys) == len(set(keys))
    assert {"Stopping", "Starting"} <= {entry["verb"] for entry in ended["journal"]}
    assert ended["planHash"].startswith("sha256:")


async def test_a_node_that_was_down_when_the_plan_changed_comes_back_while_the_new_plan_is_held() -> None:
    """Cancelled, paused or not approved: the restart that was begun ends on what the node runs."""
    namespace = await created()
    await namespace.change(version="4.3.1")
    die = DieAt()
    one = service(namespace, die)
    while not any(call.startswith("delete pods") for call in die.calls):
        namespace.turn()
        await one.reconcile(KEY)
    await namespace.change(version="4.2.0", config={"num.network.threads": 9})
    annotate(namespace, paused="true")
    await passes(namespace, 20)
    status = await namespace.status()
    assert (await blocked(namespace))["reason"] == "Paused"
    assert "intent" not in status["operation"]
    assert status["operation"].get("replicasOutBefore", []) == []
    assert all(node["ready"] for node in status["nodes"])
    annotate(namespace, cancel=status["operation"]["id"])
    await passes(namespace, 5)
    assert (await namespace.status())["lastOperation"]["outcome"] == "Cancelled"
    annotate(namespace)
    await run_until_ready(namespace, DieAt())


def lose_pod(namespace: Namespace, node: int) -> None:
    del namespace.kube.objects[("pods", "kafka", f"cell-nodes-{node}")]


def versions(namespace: Namespace) -> list[str]:
    return sorted(
        obj["metadata"]["annotations"][names.KAFKA_VERSION]
        for (plural, _, _), obj in namespace.kube.objects.items()
        if plural == "pods"
    )


@pytest.mark.parametrize("held", ["AwaitingApproval", "Paused", "Cancelled"])
async def test_a_pod_that_is_lost_while_the_roll_is_held_comes_back_as_it_was(held: str) -> None:
    """What nobody has agreed to reaches no node, not even one that an eviction took away."""
    namespace = await created()
    if held == "Paused":
        annotate(namespace, paused="true")
    approval = {"approval": "Required"} if held == "AwaitingApproval" else {}
    await namespace.change(version="4.3.1", rollout={"soak": "2s"} | approval, config={"log.retention.ms": 7200000})
    await passes(namespace, 1 if held == "Cancelled" else 5)
    if held == "Cancelled":
        annotate(namespace, cancel=(await namespace.status())["operation"]["id"])
        await passes(namespace, 10)
        before = versions(namespace)
    else:
        before = ["4.2.0"] * 3
        assert (await blocked(namespace))["reason"] == held
    lose_pod(namespace, 2)
    await passes(namespace, 5)
    assert versions(namespace) == before
    assert "log.retention.ms" not in namespace.kafka.dynamic_config or held == "Cancelled"
    assert all(node["ready"] for node in (await namespace.status())["nodes"])


async def test_what_is_intended_stays_written_while_another_has_the_cell() -> None:
    """The cell is taken between our intent and our delete: the stop may have happened, and must stay known."""
    namespace = await created()
    await namespace.change(version="4.3.1")
    with pytest.raises(Killed):
        await passes(namespace, 5, die=DieAt(2))
    before = (await namespace.status())["operation"]
    assert before["intent"]
    give_lease_to(namespace, "incident/pager")
    await passes(namespace, 5)
    after = (await namespace.status())["operation"]
    assert {key: after[key] for key in ("id", "intent", "replicasOutBefore", "journal")} == {
        key: before[key] for key in ("id", "intent", "replicasOutBefore", "journal")
    }
    assert [check["name"] for check in after["step"]["checks"]] == ["CellLocked"]


async def test_a_stop_that_did_not_happen_is_not_told_as_done() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    with pytest.raises(Killed):
        await passes(namespace, 5, die=DieAt(2))
    annotate(namespace, paused="true")
    await passes(namespace, 5)
    (entry,) = (await namespace.status())["operation"]["journal"]
    assert (entry["verb"], entry["outcome"]) == ("Stopping", "NotDone")
    assert replaced(namespace) == [1, 1, 1]


async def test_a_refused_spec_keeps_the_cell_until_the_node_is_back_and_can_be_cancelled() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    die = DieAt()
    one = service(namespace, die)
    while not any(call.startswith("delete pods") for call in die.calls):
        namespace.turn()
        await one.reconcile(KEY)
    name = (await namespace.status())["operation"]["id"]
    await namespace.change(version="9.9.9")
    annotate(namespace, cancel=name)
    await one.reconcile(KEY)
    assert holder(namespace) == f"{name}/one"
    for _ in range(10):
        namespace.turn()
        await one.reconcile(KEY)
    status = await namespace.status()
    assert (status["lastOperation"]["id"], status["lastOperation"]["outcome"]) == (name, "Cancelled")
    assert holder(namespace) == ""


async def test_waiting_for_people_is_no_work() -> None:
    """Denied, paused or not approved for days: looked at as seldom as a cluster at rest, and nodes can be drained."""
    namespace = await created()
    annotate(namespace, paused="true")
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt())
    again = []
    for _ in range(6):
        namespace.turn()
        again.append(await one.reconcile(KEY))
    assert again[-1] == one._settings.resync_interval
    assert namespace.kube.objects[("poddisruptionbudgets", "kafka", "cell-nodes")]["spec"]["minAvailable"] == 2


async def test_a_spec_that_changes_between_two_looks_does_not_lock_itself_out() -> None:
    namespace = await created()
    await namespace.change(version="4.3.1")
    one = service(namespace, DieAt())
    await one._look(KEY)
    await namespace.change(config={"num.network.threads": 9})
    for _ in range(3):
        namespace.turn()
        await one.reconcile(KEY)
    assert (await blocked(namespace))["reason"] != "CellLocked"
    await run_until_ready(namespace, DieAt())


async def test_a_cluster_that_goes_while_it_is_looked_at_is_no_failure() -> None:
    """Deleted between the read and the status write: the next pass finds nothing, and says nothing."""
    namespace = await created()
    await namespace.change(version="4.3.1")

    class Deletes:
        def before(self, call: str) -> None:
            if call.startswith("replace kafkaclusters/status"):
                namespace.kube.objects.pop(("kafkaclusters", "kafka", "cell"), None)

        def after(self, call: str) -> None:
            """Nothing to do."""

    one = service(namespace, Deletes())
    assert await one.reconcile(KEY) is not None
    assert await one.reconcile(KEY) is None
