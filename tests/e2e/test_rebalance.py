"""Rebalances on real brokers under traffic: cancelled and deleted half way, stale, approved and killed all along.

The tests run in order on one cluster of one controller and four brokers; then the fourth leaves, and in the end one
whose disk is lost for good.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Person, person
from support.cell import Cell, combined_cluster, topic
from support.faults.replication import crawling, fill, lead, reassign
from support.replicas import Replicas, replicas, unfinished
from support.sandbox import Sandbox
from support.traffic import Traffic

from controlplane.api.operation import OperationStep
from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.steps import MOVE_REPLICAS, ORDER_REPLICAS, batch_of

KIND = "kafkarebalances.kfleet.dev"
TOPIC, BULK = "orders", "bulk"
BROKERS = (1, 2, 3, 4)
BULK_MIB, THROTTLE = 20, "2Mi"
BULK_SECONDS = BULK_MIB / 2
"""What a replica of BULK takes under that throttle."""
Object = dict[str, Any]


def pools(brokers: int) -> list[Object]:
    storage = {"volumes": [{"id": 0, "size": "1Gi"}]}
    return [
        {"name": "controllers", "roles": ["Controller"], "replicas": 1, "storage": storage, "jvm": {"heap": "192Mi"}},
        {
            "name": "brokers",
            "roles": ["Broker"],
            "replicas": brokers,
            "zones": ["a", "b", "c"],
            "storage": storage,
            "jvm": {"heap": "256Mi"},
        },
    ]


def asked(name: str, goal: Object, *, by: str = "", throttle: str = "Auto", **spec: Any) -> Object:
    meta: Object = {"name": name} | ({"annotations": {"kfleet.dev/requested-by": by}} if by else {})
    limits = {"throttle": throttle, "movesPerBroker": 10}
    wanted = {"clusterRef": {"name": "cell"}, "goal": goal, "limits": limits} | spec
    return {"apiVersion": "kfleet.dev/v1alpha1", "kind": "KafkaRebalance", "metadata": meta, "spec": wanted}


@pytest.fixture(scope="module")
def ready(cell: Cell) -> Cell:
    cell.operator.stop()
    cell.operator.settings["KFLEET_GROWTH_SECONDS"] = "0.5"
    cell.operator.start()
    cell.apply(combined_cluster(nodePools=pools(len(BROKERS))))
    cell.wait_ready(240)
    cell.apply(topic(TOPIC, config={"min.insync.replicas": 2}), topic(BULK, partitions=1, replicas=2))
    for name in (TOPIC, BULK):
        cell.wait_topic(name)
    fill(cell.bootstrap(), BULK, BULK_MIB)
    return cell


@pytest.fixture(scope="module")
def traffic(ready: Cell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """From the first test to the last move; nothing of it may be lost by any of them."""
    flow = Traffic(ready.bootstrap(), TOPIC, tmp_path_factory.mktemp("traffic") / "canary.jsonl")
    flow.wait_flowing()
    yield flow
    flow.stop()


@pytest.fixture(scope="module")
def people(ready: Cell, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Person, Person]:
    """alice may ask for rebalances, bob may approve them."""
    place = tmp_path_factory.mktemp("people")
    ledger = f"sqlite:///{place / 'ledger.db'}"
    alice = person(ready, sandbox, ledger, place, "alice", "edit")
    made = alice.kfleet("audit", "upgrade", "--yes")
    assert made.returncode == 0, made.stderr
    return alice, person(ready, sandbox, ledger, place, "bob", "kfleet-approver", "view")


def status(cell: Cell, name: str) -> Object:
    found: Object = cell.get(KIND, name).get("status") or {}
    return found


def reason(cell: Cell, name: str, kind: str = "Ready") -> str:
    found = [one["reason"] for one in status(cell, name).get("conditions", []) if one["type"] == kind]
    return str(found[0]) if found else ""


def elsewhere(seen: Replicas) -> list[int]:
    """Brokers that have nothing of BULK."""
    return [broker for broker in BROKERS if broker not in seen.of(BULK)[0]]


def wait_move(cell: Cell, name: str, number: int) -> None:
    """That replica is on its way, and those before it have arrived."""

    def under_way() -> bool:
        moved = status(cell, name).get("progress", {}).get("replicasMoved", 0)
        return moved == number - 1 and TopicPartition(BULK, 0) in replicas(cell).in_flight

    cell.wait(f"replica {number} to be on its way", under_way, 90)


def last_to_come(operation: Object) -> int:
    """The broker that gets the last replica of the plan."""
    moves = [step for step in operation["steps"] if step["verb"] == MOVE_REPLICAS]
    (hop,) = batch_of(OperationStep.model_validate(moves[-1])).hops
    (broker,) = hop.adding
    return broker


def wait_as_before(cell: Cell, before: Replicas) -> None:
    """Until the broker that is asked has heard of it: its metadata follow the controllers' a moment later."""

    def is_as_before() -> bool:
        now = replicas(cell)
        return unfinished(now) == [] and (now.placed, now.leaders) == (before.placed, before.leaders)

    cell.wait(f"everything to be as before, {before}", is_as_before, 30)


@pytest.mark.usefixtures("traffic")
def test_cancelled_half_way_it_is_undone(ready: Cell, people: tuple[Person, Person]) -> None:
    """One replica has arrived by then and is copied back; the second one crawls, by somebody else's throttle."""
    cell, (alice, bob) = ready, people
    before = replicas(cell)
    goal = {"type": "MoveTo", "brokers": elsewhere(before), "topics": [BULK]}
    body = json.dumps(asked("slow", goal, by=alice.user, throttle=THROTTLE))
    cell.kubectl("--kubeconfig", str(alice.kubeconfig), "create", "-f", "-", stdin=body)
    cell.wait("a plan to wait", lambda: reason(cell, "slow") == "AwaitingApproval", 90)
    planned = status(cell, "slow")["operation"]
    with crawling(cell.bootstrap(), BULK, [last_to_come(planned)]):
        theirs = replicas(cell).throttles
        began = time.monotonic()
        approved = bob.kfleet("approve", "kafkarebalance/slow", "-n", cell.namespace, "--yes")
        assert approved.returncode == 0, approved.stderr
        wait_move(cell, "slow", 2)
        assert time.monotonic() - began > BULK_SECONDS / 2, "a replica was copied faster than its throttle"
        during = unfinished(replicas(cell))
        assert [text for text in during if "is being reassigned" in text], "the control: what is not over is found"
        assert [text for text in during if "leader.replication.throttled.rate" in text]
        listed = alice.json("op", "list", "-n", cell.namespace)
        assert planned["id"] in [item["id"] for item in listed["items"]]
        shown = alice.kfleet("op", "show", "kafkarebalance/slow", "-n", cell.namespace)
        assert "[>]" in shown.stdout, shown.stdout
        assert f"held by {planned['id']}" in shown.stdout
        done = alice.kfleet("op", "cancel", planned["id"], "-n", cell.namespace, "--yes", "--wait")
        assert done.returncode == 0, done.stderr
        cell.wait("ours to go and what others have set to stay", lambda: replicas(cell).throttles == theirs, 30)
    assert reason(cell, "slow", "Failed") == "Cancelled"
    wait_as_before(cell, before)


def test_deleted_half_way_it_goes_once_it_is_undone(ready: Cell, people: tuple[Person, Person]) -> None:
    cell, (alice, _) = ready, people
    before = replicas(cell)
    goal = {"type": "MoveTo", "brokers": elsewhere(before), "topics": [BULK]}
    with crawling(cell.bootstrap(), BULK, elsewhere(before)):
        cell.apply(asked("gone", goal, throttle=THROTTLE, approval="NotRequired"))
        wait_move(cell, "gone", 1)
        cell.kubectl("--kubeconfig", str(alice.kubeconfig), "delete", KIND, "gone", "--timeout=240s")
    wait_as_before(cell, before)


def test_what_looks_like_its_plan_and_is_not_is_removed(ready: Cell) -> None:
    """There is no plan for a goal that cannot be met, so that no ConfigMap can hold one."""
    cell = ready
    cell.apply(asked("impossible", {"type": "Drain", "brokers": [1, 2, 3]}, approval="NotRequired"))
    cell.wait("it to be refused", lambda: reason(cell, "impossible") == "GoalInfeasible", 60)
    uid = cell.get(KIND, "impossible")["metadata"]["uid"]
    meta = {"name": "planted", "labels": {"kfleet.dev/plan-of": uid}}
    cell.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"plan": "mine"}})
    cell.wait("what was planted to go", lambda: "NotFound" in cell.kubectl("get", "cm", "planted", check=False), 60)
    cell.kubectl("delete", KIND, "impossible")


def test_nobody_asks_in_another_name_or_approves_their_own(ready: Cell, people: tuple[Person, Person]) -> None:
    cell, (alice, bob) = ready, people
    body = json.dumps(asked("named", {"type": "Racks"}, by=bob.user))
    as_alice = ("--kubeconfig", str(alice.kubeconfig), "create", "-f", "-")
    assert "requested-by" in cell.kubectl(*as_alice, stdin=body, check=False)
    body = json.dumps(asked("nameless", {"type": "Racks"}))
    assert "nobody but who creates it" in cell.kubectl(*as_alice, stdin=body, check=False)
    cell.kubectl(*as_alice, stdin=json.dumps(asked("own", {"type": "Drain", "brokers": [4]}, by=alice.user)))
    changed = cell.kubectl(
        "patch", KIND, "own", "--type=merge", "-p", '{"spec": {"approval": "NotRequired"}}', check=False
    )
    assert "immutable" in changed
    cell.wait("a plan to wait", lambda: reason(cell, "own") == "AwaitingApproval", 90)
    refused = alice.kfleet("approve", "kafkarebalance/own", "-n", cell.namespace, "--yes")
    assert refused.returncode == 4, refused.stderr
    denied = bob.kfleet("deny", "kafkarebalance/own", "-n", cell.namespace, "--yes", "--reason", "not today", "--wait")
    assert denied.returncode == 0, denied.stderr
    cell.wait("it to end", lambda: reason(cell, "own", "Failed") == "Denied", 60)


def test_a_plan_that_the_world_has_overtaken_is_refused(ready: Cell, people: tuple[Person, Person]) -> None:
    cell, (alice, bob) = ready, people
    goal = {"type": "MoveTo", "brokers": elsewhere(replicas(cell)), "topics": [BULK]}
    cell.kubectl(
        *("--kubeconfig", str(alice.kubeconfig), "create", "-f", "-"),
        stdin=json.dumps(asked("late", goal, by=alice.user)),
    )
    cell.wait("a plan to wait", lambda: reason(cell, "late") == "AwaitingApproval", 90)
    cell.operator.stop()  # it might see what comes before it is approved
    turned = replicas(cell).of(BULK)[0][::-1]
    reassign(cell.bootstrap(), BULK, turned)
    cell.wait("it to be turned", lambda: replicas(cell).of(BULK)[0] == turned, 60)
    lead(cell.bootstrap(), BULK)
    cell.wait("its leader", lambda: replicas(cell).leaders[TopicPartition(BULK, 0)] == turned[0], 60)
    before = replicas(cell)
    approved = bob.kfleet("approve", "kafkarebalance/late", "-n", cell.namespace, "--yes")
    assert approved.returncode == 0, approved.stderr
    cell.operator.start()
    cell.wait("it to end", lambda: reason(cell, "late", "Failed") == "Failed", 90)
    ended = status(cell, "late")["lastOperation"]
    assert ended["ending"]["why"]["name"] == "PlanStale"
    assert f"{BULK}-0 was to go from" in ended["message"]
    assert "progress" not in status(cell, "late")
    wait_as_before(cell, before)


def approved_places(operation: Object) -> dict[TopicPartition, tuple[int, ...]]:
    """Where the plan says that replicas will be, from the steps that were approved."""
    found: dict[TopicPartition, tuple[int, ...]] = {}
    for raw in operation["steps"]:
        step = OperationStep.model_validate(raw)
        if step.verb in (MOVE_REPLICAS, ORDER_REPLICAS):
            found |= {hop.id: hop.after for hop in batch_of(step).hops}
    return found


@pytest.mark.usefixtures("traffic")
def test_what_was_approved_is_done_whenever_the_operator_dies(
    ready: Cell, people: tuple[Person, Person], tmp_path: Path
) -> None:
    """The crash walk: every mutating call of the rebalance is one that the operator died before and after."""
    cell, (alice, bob) = ready, people
    before = replicas(cell)
    assert before.on(4), "there is something to drain"
    cell.operator.stop()
    state = tmp_path / "walk.json"
    cell.operator.start("support.crash_walk", str(state))
    body = json.dumps(asked("drain", {"type": "Drain", "brokers": [4]}, by=alice.user))
    cell.kubectl("--kubeconfig", str(alice.kubeconfig), "create", "-f", "-", stdin=body)
    cell.wait("a plan to wait", lambda: reason(cell, "drain") == "AwaitingApproval", 120)
    plan = status(cell, "drain")
    wanted = {**before.placed, **approved_places(plan["operation"])}
    assert plan["proposal"]["replicasMoved"] == len(before.on(4)), "what is there has to go, and nothing else"
    approved = bob.kfleet("approve", "kafkarebalance/drain", "-n", cell.namespace, "--yes")
    assert approved.returncode == 0, approved.stderr
    cell.wait("the drain to end under the crash walk", lambda: reason(cell, "drain", "Complete") == "Succeeded", 400)
    cell.operator.stop()
    cell.operator.start()
    cell.wait("the broker that is asked to know", lambda: unfinished(replicas(cell)) == [], 30)
    after = replicas(cell)
    assert after.placed == wanted, "exactly what was approved"
    assert after.on(4) == []
    ended = status(cell, "drain")
    assert ended["lastOperation"]["planHash"] == plan["operation"]["planHash"]
    assert ended["progress"]["replicasMoved"] == plan["proposal"]["replicasMoved"]
    kills = [line.split(" ", 2) for line in Path(f"{state}.journal").read_text().splitlines()]
    walked = json.loads(state.read_text())["number"]
    assert [int(number) for number, phase, _ in kills if phase == "after"] == list(range(1, walked))
    kinds = {label for _, _, label in kills}
    assert {"kafka alter_settings", "kafka alter_partition_reassignments"} <= kinds
    assert f"replace kafkarebalances/status {cell.namespace}/drain" in kinds


@pytest.mark.usefixtures("traffic")
def test_a_broker_that_shall_leave_is_emptied_first(ready: Cell) -> None:
    """Nothing is asked of anybody but the number. Whatever was drained before, there are replicas on the broker."""
    cell = ready
    for name, brokers in ((BULK, (4, 1)), (TOPIC, (4, 1, 2))):
        reassign(cell.bootstrap(), name, brokers)
    both = {TopicPartition(name, 0) for name in (BULK, TOPIC)}
    cell.wait("replicas to be there", lambda: both <= set(replicas(cell).on(4)) and not unfinished(replicas(cell)), 90)
    before, held = cell.pod_uids(), replicas(cell).on(4)
    cell.patch({"nodePools": pools(3)})
    cell.wait_ready(240)
    made = [one for one in cell.get(KIND)["items"] if "kfleet.dev/asked-by" in one["metadata"].get("labels", {})]
    assert [(one["spec"]["goal"]["type"], one["spec"]["goal"]["brokers"]) for one in made] == [("Drain", [4])]
    assert reason(cell, made[0]["metadata"]["name"], "Complete") == "Succeeded"
    assert status(cell, made[0]["metadata"]["name"])["progress"]["replicasMoved"] == len(held)
    assert cell.pod_uids() == {node: uid for node, uid in before.items() if node != 4}
    assert sorted(cell.pods()) == [0, 1, 2, 3]
    cell.wait_in_sync()
    cell.wait("the broker that is asked to know", lambda: unfinished(replicas(cell)) == [], 30)
    assert replicas(cell).on(4) == []


def is_failing(cell: Cell, broker: int) -> bool:
    """Started again and not up."""
    found = cell.pods()[broker]["status"]
    up = any((one["type"], one["status"]) == ("Ready", "True") for one in found.get("conditions", []))
    return not up and sum(one["restartCount"] for one in found.get("containerStatuses", [])) > 1


def test_one_that_is_lost_for_good_is_emptied_and_leaves_too(ready: Cell, sandbox: Sandbox, traffic: Traffic) -> None:
    """Its disk is gone, so that it never starts again. What it had is copied from where else it is."""
    cell = ready
    cell.patch({"nodePools": pools(4)})
    cell.wait_ready(240)
    (lost,) = set(cell.pods()) - {0, 1, 2, 3}
    for name, brokers in ((BULK, (lost, 1)), (TOPIC, (lost, 1, 2))):
        reassign(cell.bootstrap(), name, brokers)
    both = {TopicPartition(name, 0) for name in (BULK, TOPIC)}
    cell.wait("replicas", lambda: both <= set(replicas(cell).on(lost)) and not unfinished(replicas(cell)), 90)
    before, there = cell.pod_uids(), replicas(cell)
    held = there.on(lost)
    claim = f"data-0-cell-brokers-{lost}"
    failed = sandbox.kfleet("sandbox", "fail", "disk", f"{cell.namespace}/{claim}", "--name", sandbox.config.name)
    assert failed.returncode == 0, failed.stderr
    cell.wait("it to fail again on what is left of its disk", lambda: is_failing(cell, lost), 60)
    cell.patch({"nodePools": pools(3)})
    cell.wait_ready(240)
    (made,) = [one for one in cell.get(KIND)["items"] if one["spec"]["goal"].get("brokers") == [lost]]
    assert "kfleet.dev/asked-by" in made["metadata"]["labels"]
    drain = made["metadata"]["name"]
    cell.wait("its drain to be over", lambda: reason(cell, drain, "Complete") == "Succeeded", 60)
    assert status(cell, drain)["progress"]["replicasMoved"] == len(held)
    assert cell.pod_uids() == {node: uid for node, uid in before.items() if node != lost}, "the others never stopped"
    assert cell.get("pvc", claim)["metadata"]["annotations"].get("kfleet.dev/retired") == "true"
    cell.wait_in_sync()
    cell.wait("the broker that is asked to know", lambda: unfinished(replicas(cell)) == [], 30)
    after = replicas(cell)
    assert after.on(lost) == []
    assert after.registered == {1, 2, 3}
    assert {one: len(set(after.placed[one])) for one in both} == {one: len(there.placed[one]) for one in both}
    traffic.assert_nothing_lost()
