"""A cluster that is to have fewer brokers and the Drain that it asks for, both on the engine, on fakes: nobody leaves
with a replica, and nothing is asked for twice, for ever, or beside a person's own Drain."""

from __future__ import annotations

from typing import Any

import pytest
from support.approvals import install_policies
from support.asked_moves import Object, Stage
from support.disks import Disks
from support.fake_kafka import FakeTopic
from support.simulation import KEY, SETTINGS, DieAt, Killed, run_until_ready
from support.tenancy import tenant

from controlplane.api import names
from controlplane.domain.cluster.moves import ATTEMPTS
from controlplane.ports import InvalidError, Resource
from controlplane.services.cluster.kind import KAFKA_CLUSTERS, placement
from controlplane.services.cluster.moves import move_of
from controlplane.services.cluster.plan import cluster_plan
from controlplane.services.keys import rebalance_key
from controlplane.services.rebalance.asked import REBALANCES, operator_user
from controlplane.services.tenants.read import KAFKA_TENANTS

PLACED = ((0, 3, 4), (1, 2, 3), (4, 0, 1), (0, 1, 2))
LEAVING = {3, 4}


def put(stage: Stage, name: str, *placed: tuple[int, ...]) -> None:
    kafka = stage.namespace.kafka
    kafka.topics[name] = FakeTopic(f"{name}-id", [kafka.put(on) for on in placed], {})
    for one in kafka.topics[name].partitions:
        one.size = 1000


@pytest.fixture
async def stage() -> Stage:
    """Five combined nodes, of which the last two are to leave again."""
    namespace = Disks()
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    stage = Stage(namespace)
    await resize(stage, 5)
    await run_until_ready(namespace, DieAt())
    put(stage, "t", *PLACED)
    return stage


async def resize(stage: Stage, replicas: int, **spec: Any) -> None:
    obj = await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    await stage.namespace.change(nodePools=[obj["spec"]["nodePools"][0] | {"replicas": replicas}], **spec)


async def turns(stage: Stage, number: int, *, moves: bool = False) -> None:
    cluster, rebalances = stage.cluster(), stage.rebalances()
    for _ in range(number):
        await stage.turn(cluster, rebalances if moves else None)


async def annotate(stage: Stage, **marks: str | None) -> None:
    wanted = {getattr(names, name): value for name, value in marks.items()}
    await stage.namespace.kube.patch(KAFKA_CLUSTERS, "cell", "kafka", {"metadata": {"annotations": wanted}})


def left(stage: Stage) -> set[int]:
    return stage.namespace.kafka.unregistered


def placed(stage: Stage, name: str = "t") -> list[tuple[int, ...]]:
    return [one.replicas for one in stage.namespace.kafka.topics[name].partitions]


async def assert_left(stage: Stage) -> None:
    assert left(stage) == LEAVING
    assert all(len(set(on)) == 3 and not LEAVING & set(on) for on in placed(stage))
    assert sorted(stage.namespace.kafka.voters) == [0, 1, 2]
    assert stage.harms == []
    assert stage.namespace.kafka.harms == []
    assert set(stage.restarts().values()) == {0}


def drain(name: str, *brokers: int, approval: str = "NotRequired", by: str = "") -> Object:
    """As a person makes it: without our labels."""
    meta: Object = {"name": name, "namespace": "kafka"} | ({"annotations": {names.REQUESTED_BY: by}} if by else {})
    goal = {"type": "Drain", "brokers": list(brokers)}
    spec = {"clusterRef": {"name": "cell"}, "goal": goal, "approval": approval}
    return {"apiVersion": "kfleet.dev/v1alpha1", "kind": "KafkaRebalance", "metadata": meta, "spec": spec}


def fewer(name: str, topic: str, *, replicas: int) -> Object:
    """As a person asks for it."""
    goal = {"type": "ChangeReplicas", "replicas": replicas, "topics": [topic]}
    return drain(name) | {"spec": drain(name)["spec"] | {"goal": goal}}


def reason_of(obj: Object) -> str:
    (found,) = [one["reason"] for one in obj["status"]["conditions"] if one["type"] == "Ready"]
    return str(found)


async def ended(stage: Stage, name: str, reason: str, message: str = "") -> None:
    """As its own pass would have written it."""
    obj = await stage.namespace.kube.get(REBALANCES, name, "kafka")
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await stage.namespace.kube.replace(REBALANCES, obj | {"status": {"conditions": [failed]}}, subresource="status")


async def test_brokers_are_emptied_and_then_leave(stage: Stage) -> None:
    await resize(stage, 3)
    await stage.until_ready()
    await assert_left(stage)
    assert len(stage.made) == 1, stage.made
    assert stage.made[0].startswith("drain-cell-")
    last = (await stage.namespace.status())["lastOperation"]
    assert (last["kind"], last["outcome"]) == ("Membership", "Succeeded")
    await turns(stage, 3, moves=True)
    told = (await stage.only())["status"]
    assert told["progress"]["replicasMoved"] == told["proposal"]["replicasMoved"] == 4, "and it stays so"


async def test_what_moved_them_is_over_before_anybody_leaves(stage: Stage) -> None:
    """The cluster sees that the last replica has gone before its Drain does, which has leaders to elect then."""
    stage.namespace.kafka.topics["t"].partitions[1].leader = 2
    await resize(stage, 3)
    cluster, moves = stage.cluster(), stage.rebalances()
    over = False
    for number in range(200):
        await stage.turn(cluster, moves if number % 2 else None)
        if sorted(stage.namespace.kafka.voters) != [0, 1, 2, 3, 4]:
            break
        over = any(move_of(one).standing.over for one in await stage.namespace.kube.list(REBALANCES, "kafka"))
    assert over
    await stage.until_ready()
    await assert_left(stage)


async def test_one_that_is_down_leaves_although_its_drain_is_not_over(stage: Stage) -> None:
    """That would wait for the node to come back before it elects leaders."""
    stage.namespace.kafka.topics["t"].partitions[1].leader = 2
    await resize(stage, 3)
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(200):
        await stage.turn(cluster, moves)
        if not LEAVING & {broker for on in placed(stage) for broker in on}:
            break
    await turns(stage, 20)
    assert sorted(stage.namespace.kafka.voters) == [0, 1, 2, 3, 4]
    message = (await stage.condition())["message"]
    assert "is to move every replica off broker 3, 4" in message
    assert isinstance(stage.namespace, Disks)
    stage.namespace.lose_disk(4)
    await stage.until_ready()
    assert left(stage) == LEAVING
    assert sorted(stage.namespace.kafka.voters) == [0, 1, 2]
    assert stage.namespace.harms == []


@pytest.mark.parametrize(
    ("dead", "holds"), [((3,), True), ((4,), True), ((4,), False), ((3, 4), True)], ids=["3", "4", "4, empty", "both"]
)
async def test_one_that_is_lost_is_emptied_and_leaves_all_the_same(
    stage: Stage, dead: tuple[int, ...], *, holds: bool
) -> None:
    """Nobody would bring it back: it is to leave. What it had is copied from where else it is."""
    if not holds:
        for one in stage.namespace.kafka.topics["t"].partitions:
            other = min({0, 1, 2} - set(one.replicas), default=0)
            one.replicas = one.isr = tuple(other if broker in dead else broker for broker in one.replicas)
            one.leader = one.replicas[0]
    assert isinstance(stage.namespace, Disks)
    for broker in dead:
        stage.namespace.lose_disk(broker)
    await turns(stage, 10)
    await resize(stage, 3)
    await stage.until_ready()
    assert left(stage) == LEAVING
    assert all(len(set(on)) == 3 and not LEAVING & set(on) for on in placed(stage))
    assert sorted(stage.namespace.kafka.voters) == [0, 1, 2]
    assert stage.namespace.kafka.harms == []


async def brokers(stage: Stage, replicas: int) -> None:
    """A pool beside the other, of brokers alone: 5 and 6."""
    obj = await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    nodes = obj["spec"]["nodePools"][0]
    await stage.namespace.change(nodePools=[nodes, nodes | {"name": "more", "roles": ["Broker"], "replicas": replicas}])


async def with_brokers(stage: Stage) -> Disks:
    await brokers(stage, 2)
    await run_until_ready(stage.namespace, DieAt())
    put(stage, "u", (6, 0, 1), (5, 6, 2))
    assert isinstance(stage.namespace, Disks)
    return stage.namespace


async def test_one_whose_machine_is_lost_is_emptied_before_its_pod_goes(stage: Stage) -> None:
    """That may be never: a person has to remove the machine, or the pod by force."""
    namespace = await with_brokers(stage)
    namespace.lose_machine(6, "more")
    await turns(stage, 5)
    await brokers(stage, 1)
    await turns(stage, 40, moves=True)
    assert not any(6 in on for on in placed(stage, "u"))
    operation = (await namespace.status())["operation"]
    assert (operation["step"]["verb"], operation["step"]["target"]) == ("AwaitMember", "6")
    assert "delete the pod by force" in operation["message"]
    assert left(stage) == set()
    namespace.remove_machine(6, "more")
    await stage.until_ready()
    assert left(stage) == {6}
    assert namespace.kafka.harms == []


@pytest.mark.parametrize("gone", ["before", "afterwards"])
async def test_one_whose_claim_is_gone_leaves_by_what_the_message_says(stage: Stage, gone: str) -> None:
    """A claim is what tells of a node. There is no machine for another one, and none is needed."""
    namespace = await with_brokers(stage)
    namespace.unplaced.add(6)
    if gone == "before":
        namespace.lose_claim(6, "more")
    await turns(stage, 5)
    await brokers(stage, 1)
    await turns(stage, 1)
    if gone == "afterwards":
        namespace.lose_claim(6, "more")
    await turns(stage, 5, moves=True)
    condition = await stage.condition()
    assert condition["reason"] == "VolumeMissing"
    assert "Kafka knows node 6" in condition["message"]
    assert "set spec.nodePools[more].replicas back to 2" in condition["message"]
    assert "kfleet cluster replace-node cell 6" in condition["message"]
    await brokers(stage, 2)
    await namespace.ask_replacement("6")
    await turns(stage, 10)
    assert namespace.claim(6, "more") is not None
    await brokers(stage, 1)
    await annotate(stage, REPLACE_NODE=None)
    await stage.until_ready()
    assert left(stage) == {6}
    assert all(len(set(on)) == 3 and 6 not in on for on in placed(stage, "u"))
    assert namespace.harms == []


async def test_one_that_stays_and_is_down_holds_a_drain(stage: Stage) -> None:
    """The control: it could come back with what is missing elsewhere."""
    assert isinstance(stage.namespace, Disks)
    stage.namespace.lose_disk(2)
    await turns(stage, 10)
    await resize(stage, 3)
    await turns(stage, 40, moves=True)
    assert left(stage) == set()
    assert placed(stage) == list(PLACED)


async def test_the_control_without_a_rebalance_nobody_leaves(stage: Stage) -> None:
    await resize(stage, 3)
    message = await stage.blocked("BrokersDraining", moves=False)
    await turns(stage, 20)
    assert "spec.nodePools[nodes].replicas: 3 takes away broker 3, 4" in message
    assert "3 partitions have a replica there" in message
    operation = (await stage.namespace.status())["operation"]
    assert (operation["kind"], operation["step"]["verb"]) == ("Membership", "DrainBrokers")
    assert sorted(stage.namespace.kafka.voters) == [0, 1, 2, 3, 4]
    assert left(stage) == set()
    made = await stage.only()
    assert made["metadata"]["labels"] == {names.CLUSTER: "cell", names.ASKED_BY: operation["id"]}
    assert [owner["kind"] for owner in made["metadata"]["ownerReferences"]] == ["KafkaCluster"]
    assert made["spec"]["approval"] == "NotRequired"
    assert made["spec"]["goal"] == {"type": "Drain", "brokers": [3, 4], "topics": []}
    leases = [one["spec"] for (plural, *_), one in stage.namespace.kube.objects.items() if plural == "leases"]
    assert [lease for lease in leases if lease.get("holderIdentity")] == [], "or its own Drain would wait for ever"


async def test_the_plan_shows_the_drain_before_anybody_leaves(stage: Stage) -> None:
    await resize(stage, 3)
    kube, admins, clock = stage.namespace.kube, stage.namespace.admins, stage.namespace.clock
    found = await cluster_plan(kube, admins, clock, placement(SETTINGS), namespace="kafka", name="cell")
    assert found.plan is not None
    steps = [(step.verb, step.target) for step in found.plan.steps]
    assert steps[0] == ("DrainBrokers", "node 3, 4")
    assert steps[-1] == ("RetireNode", "node 3")
    assert "moves 3 partitions to brokers that stay: t-0, t-1, t-2" in found.plan.steps[0].why
    assert stage.made == []


async def test_an_operator_that_dies_before_and_after_every_write_asks_once(stage: Stage) -> None:
    await resize(stage, 3)
    assert await stage.walk_until_ready() > 20
    await assert_left(stage)
    assert len(stage.made) == 1, stage.made


async def approved(stage: Stage) -> Object:
    """The change of members is approved, and what it asks for waits to be."""
    await install_policies(stage.namespace.kube)
    await annotate(stage, REQUESTED_BY="alice")
    await resize(stage, 3, rollout={"soak": "2s", "approval": "Required"})
    await stage.blocked("AwaitingApproval")
    assert await stage.there() == [], "nothing is asked for before the change is approved"
    await stage.decide(await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    await stage.blocked("DrainAwaitsApproval")
    return await stage.only()


async def test_where_approvals_are_required_what_moves_data_needs_its_own(stage: Stage) -> None:
    made = await approved(stage)
    assert made["spec"]["approval"] == "Required"
    assert made["metadata"]["annotations"][names.REQUESTED_BY] == operator_user(SETTINGS)
    assert f"kfleet approve kafkarebalance/{made['metadata']['name']} -n kafka" in (await stage.condition())["message"]
    assert placed(stage) == list(PLACED)
    await stage.decide(made)
    await stage.until_ready()
    await assert_left(stage)
    assert stage.made == [made["metadata"]["name"]]


async def test_what_was_denied_is_not_asked_for_again_while_they_are_to_leave(stage: Stage) -> None:
    made = await approved(stage)
    name = made["metadata"]["name"]
    await stage.decide(made, "Deny")
    message = await stage.blocked("DrainFailed")
    assert "ended as Denied" in message
    assert "Delete that KafkaRebalance" in message
    await stage.namespace.change(maintenanceWindows=[])  # another generation with the same wish
    await turns(stage, 30, moves=True)
    assert await stage.there() == [name]
    assert (await stage.only())["metadata"]["uid"] == made["metadata"]["uid"]
    await stage.namespace.kube.delete(REBALANCES, name, "kafka")
    await stage.blocked("DrainAwaitsApproval")
    assert (await stage.only())["metadata"]["uid"] != made["metadata"]["uid"]
    assert placed(stage) == list(PLACED)


async def test_a_denial_is_forgotten_with_the_wish(stage: Stage) -> None:
    made = await approved(stage)
    await stage.decide(made, "Deny")
    await stage.blocked("DrainFailed")
    await resize(stage, 5)
    await turns(stage, 5)
    assert await stage.there() == []
    await resize(stage, 3)
    await stage.blocked("AwaitingApproval")
    await stage.decide(await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    await stage.blocked("DrainAwaitsApproval")


async def test_what_fails_by_itself_is_tried_again_and_not_for_ever(stage: Stage) -> None:
    await resize(stage, 3)
    for attempt in range(1, ATTEMPTS + 1):
        await turns(stage, 5)
        (name,) = [one for one in await stage.there() if one.endswith(f"-{attempt}")]
        await ended(stage, name, "Failed", "the world has moved")
    message = await stage.blocked("DrainFailed", moves=False)
    assert "the world has moved" in message
    assert len(await stage.there()) == ATTEMPTS, "they are the memory of it"
    await resize(stage, 5)
    await turns(stage, 5)
    assert await stage.there() == []


async def test_taken_back_what_has_not_begun_goes_and_nothing_has_moved(stage: Stage) -> None:
    await resize(stage, 3)
    await stage.blocked("BrokersDraining", moves=False)
    await resize(stage, 5)
    await turns(stage, 4)
    assert await stage.there() == []
    await stage.until_ready()
    assert placed(stage) == list(PLACED)
    assert left(stage) == set()


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_as_it_is_taken_back_leaves_nothing(stage: Stage, phase: str) -> None:
    """The status says that nothing is under way by then, and still the Drain of brokers that stay must go."""
    await resize(stage, 3)
    await stage.blocked("BrokersDraining", moves=False)
    await resize(stage, 5)
    for number in range(1, 6):
        stage.namespace.turn()
        try:
            await stage.cluster(DieAt(number, phase)).reconcile(KEY)
        except Killed:
            continue
    await turns(stage, 3)
    assert await stage.there() == []


async def test_taken_back_under_a_spec_that_is_refused_it_goes_too(stage: Stage) -> None:
    await resize(stage, 3)
    await stage.blocked("BrokersDraining", moves=False)
    await resize(stage, 5, version="9.9.9")
    await turns(stage, 3)
    assert await stage.there() == []


async def test_taken_back_what_has_begun_is_waited_for_and_they_stay(stage: Stage) -> None:
    await resize(stage, 3)
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(40):
        await stage.turn(cluster, moves)
        if await stage.there() and "progress" in ((await stage.only()).get("status") or {}):
            break
    await resize(stage, 5)
    await turns(stage, 3)
    assert await stage.there() == stage.made
    await stage.until_ready()
    await turns(stage, 40, moves=True)
    assert left(stage) == set()
    assert sorted(stage.namespace.kafka.voters) == [0, 1, 2, 3, 4]
    assert len(stage.made) == 1


async def test_a_change_that_is_cancelled_takes_back_what_has_not_begun(stage: Stage) -> None:
    await resize(stage, 3)
    await stage.blocked("BrokersDraining", moves=False)
    operation = (await stage.namespace.status())["operation"]["id"]
    await annotate(stage, CANCEL=operation)
    await turns(stage, 4)
    assert await stage.there() == []
    assert "operation" not in await stage.namespace.status()
    await annotate(stage, CANCEL=None)
    await stage.until_ready()
    await assert_left(stage)


@pytest.mark.parametrize("held", ["paused", "outside its window"])
async def test_what_is_held_asks_for_nothing(stage: Stage, held: str) -> None:
    never = {"schedule": "0 0 29 2 *", "duration": "1h", "timeZone": "UTC"}
    if held == "paused":
        await annotate(stage, PAUSED="true")
    await resize(stage, 3, **({} if held == "paused" else {"maintenanceWindows": [never]}))
    await turns(stage, 12, moves=True)
    assert stage.made == []
    checks = [check["name"] for check in (await stage.namespace.status())["operation"]["step"]["checks"]]
    assert checks[0] == ("Paused" if held == "paused" else "OutsideWindow")
    assert "BrokerNotEmpty" in checks
    await annotate(stage, PAUSED=None)
    await stage.namespace.change(maintenanceWindows=[])
    await stage.until_ready()
    await assert_left(stage)


async def test_where_it_does_not_fit_it_says_by_how_much_and_moves_nothing(stage: Stage) -> None:
    """A tenant's shard: of its three brokers one would stay."""
    put(stage, "shop.orders", (0, 3, 4))
    await stage.namespace.kube.create(KAFKA_TENANTS, tenant(shard=(0, 3, 4)))
    before = placed(stage)
    await resize(stage, 3)
    message = await stage.blocked("ScaleDownRefused")
    assert "spec.nodePools[nodes].replicas: 3 takes away broker 3, 4" in message
    assert "shop.orders-0: 3 replicas need 3 brokers, 1 may have them (0): 2 too few" in message
    await turns(stage, 20, moves=True)
    conditions = {one["type"]: one for one in (await stage.namespace.status())["conditions"]}
    assert conditions["Ready"]["reason"] == "ScaleDownRefused"
    assert placed(stage) == before
    assert left(stage) == set()
    assert len(stage.made) == 1
    await stage.namespace.kube.delete(KAFKA_TENANTS, "shop")
    await stage.until_ready()
    await assert_left(stage)


async def test_more_replicas_than_brokers_are_refused_before_anything_is_asked_for(stage: Stage) -> None:
    put(stage, "wide", (0, 1, 2, 3, 4))
    await resize(stage, 3)
    await turns(stage, 6, moves=True)
    conditions = {one["type"]: one for one in (await stage.namespace.status())["conditions"]}
    assert conditions["Ready"]["reason"] == "ScaleDownRefused"
    assert "spec.nodePools[nodes].replicas: 3 leaves 3 brokers, 2 too few" in conditions["Ready"]["message"]
    assert "wide-0" in conditions["Ready"]["message"]
    assert stage.made == []
    assert placed(stage) == list(PLACED)


@pytest.mark.parametrize("dead", [(), (4,)], ids=["up", "down"])
async def test_what_has_too_many_replicas_can_be_given_fewer_while_they_wait(
    stage: Stage, dead: tuple[int, ...]
) -> None:
    """They cannot leave before, so that it must not wait until they have left, nor for one that is down."""
    put(stage, "wide", (4, 3, 0, 1), (0, 1, 2, 3))
    assert isinstance(stage.namespace, Disks)
    for broker in dead:
        stage.namespace.lose_disk(broker)
    await turns(stage, 10)
    await resize(stage, 3)
    assert "goal ChangeReplicas" in await stage.blocked("ScaleDownRefused")
    await stage.namespace.kube.create(REBALANCES, fewer("mine", "wide", replicas=3))
    await stage.until_ready()
    assert left(stage) == LEAVING
    assert [set(on) for on in placed(stage, "wide")] == [{0, 1, 2}, {0, 1, 2}]
    assert all(len(set(on)) == 3 and not LEAVING & set(on) for on in placed(stage))
    assert stage.namespace.kafka.harms == []
    assert reason_of(await stage.namespace.kube.get(REBALANCES, "mine", "kafka")) == "Succeeded"


async def test_so_can_what_does_not_fit_on_those_that_stay(stage: Stage) -> None:
    """Of the shard of its tenant two stay."""
    put(stage, "shop.orders", (3, 0, 1))
    await stage.namespace.kube.create(KAFKA_TENANTS, tenant(shard=(0, 1, 3)))
    await resize(stage, 3)
    assert "shop.orders-0: 3 replicas need 3 brokers, 2 may have them" in await stage.blocked("ScaleDownRefused")
    await stage.namespace.kube.create(REBALANCES, fewer("mine", "shop.orders", replicas=2))
    await stage.until_ready()
    assert [set(on) for on in placed(stage, "shop.orders")] == [{0, 1}]
    await assert_left(stage)
    assert reason_of(await stage.namespace.kube.get(REBALANCES, "mine", "kafka")) == "Succeeded"


async def test_fewer_replicas_that_they_do_not_wait_for_wait_for_them(stage: Stage) -> None:
    """The control: they would move what the Drain moves."""
    await resize(stage, 3)
    await stage.blocked("BrokersDraining", moves=False)
    await stage.namespace.kube.create(REBALANCES, fewer("mine", "t", replicas=2))
    await stage.rebalances().reconcile(rebalance_key("kafka", "mine"))
    assert reason_of(await stage.namespace.kube.get(REBALANCES, "mine", "kafka")) == "BrokersLeaving"
    await stage.until_ready()
    await turns(stage, 20, moves=True)
    assert reason_of(await stage.namespace.kube.get(REBALANCES, "mine", "kafka")) == "Succeeded"
    assert left(stage) == LEAVING
    assert all(len(on) == 2 and not LEAVING & set(on) for on in placed(stage))


async def test_a_persons_drain_is_left_to_do_it(stage: Stage) -> None:
    await install_policies(stage.namespace.kube)
    await stage.namespace.kube.create(REBALANCES, drain("mine", 3, 4, approval="Required", by="alice"))
    await turns(stage, 3, moves=True)  # made before the number is lowered
    await resize(stage, 3)
    message = await stage.blocked("DrainAwaitsApproval")
    assert "KafkaRebalance mine is to move every replica off broker 3, 4" in message
    await turns(stage, 20, moves=True)
    assert stage.made == ["mine"]
    await stage.decide(await stage.only())
    await stage.until_ready()
    await assert_left(stage)
    assert stage.made == ["mine"]
    assert await stage.there() == ["mine"], "a person's is a person's to delete"


async def test_a_persons_drain_that_comes_later_takes_the_place_of_one_that_has_not_begun(stage: Stage) -> None:
    made = await approved(stage)
    await stage.namespace.kube.create(REBALANCES, drain("mine", 3, 4, approval="Required", by="alice"))
    await turns(stage, 4)
    assert await stage.there() == ["mine"]
    await turns(stage, 6, moves=True)
    assert stage.made == [made["metadata"]["name"], "mine"]


async def test_a_persons_drain_of_others_too_that_cannot_be_is_no_reason_to_wait(stage: Stage) -> None:
    """Two brokers would be left for three replicas; of those that leave alone there is a plan."""
    await stage.namespace.kube.create(REBALANCES, drain("theirs", 2, 3, 4))
    await turns(stage, 3, moves=True)
    await resize(stage, 3)
    await stage.until_ready()
    await assert_left(stage)
    assert len(stage.made) == 2
    assert sorted(await stage.there()) == sorted(stage.made), "a person's is a person's to delete"


async def test_a_persons_drain_of_just_those_that_cannot_be_says_what_stands_in_the_way(stage: Stage) -> None:
    put(stage, "shop.orders", (0, 3, 4))
    await stage.namespace.kube.create(KAFKA_TENANTS, tenant(shard=(0, 3, 4)))
    await stage.namespace.kube.create(REBALANCES, drain("theirs", 3, 4))
    await turns(stage, 3, moves=True)
    await resize(stage, 3)
    message = await stage.blocked("ScaleDownRefused")
    assert "KafkaRebalance theirs" in message
    assert "shop.orders-0: 3 replicas need 3 brokers, 1 may have them (0): 2 too few" in message
    await turns(stage, 10, moves=True)
    assert stage.made == ["theirs"], "another would be told the same"


@pytest.mark.parametrize("why", ["of other brokers", "failed", "can never be approved"])
async def test_a_persons_drain_that_does_not_do_it_is_no_reason_to_wait(stage: Stage, why: str) -> None:
    if why == "can never be approved":
        await install_policies(stage.namespace.kube)
        await annotate(stage, REQUESTED_BY="alice")
        await stage.namespace.change(rollout={"soak": "2s", "approval": "Required"})
    await stage.namespace.kube.create(REBALANCES, drain("theirs", *((4,) if why == "of other brokers" else (3, 4))))
    if why == "failed":
        await ended(stage, "theirs", "Cancelled")
    await resize(stage, 3)
    if why == "can never be approved":
        await stage.blocked("AwaitingApproval")
        await stage.decide(await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    await stage.blocked("BrokersDraining" if why != "can never be approved" else "DrainAwaitsApproval")
    await turns(stage, 1)
    assert [name for name in await stage.there() if name != "theirs"] == [
        name for name in stage.made if name.startswith("drain-cell-")
    ]
    assert len(stage.made) == 2


async def test_what_lands_there_afterwards_is_drained_once_more(stage: Stage) -> None:
    await resize(stage, 3)
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(200):
        await stage.turn(cluster, moves)
        if all(not LEAVING & set(on) for on in placed(stage)):
            break
    put(stage, "late", (3, 4, 0))
    await stage.until_ready()
    await assert_left(stage)
    assert all(not LEAVING & set(on) for on in placed(stage, "late"))
    assert [name.rpartition("-")[2] for name in stage.made] == ["1", "2"]


async def test_what_the_api_server_refuses_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    create = stage.namespace.kube.create

    async def refuse(resource: Resource, body: Object, namespace: str | None = None) -> Object:
        if resource is REBALANCES:
            raise InvalidError(422, "Invalid", "quota of rebalances is used up")
        return await create(resource, body, namespace)

    await resize(stage, 3)
    monkeypatch.setattr(stage.namespace.kube, "create", refuse)
    for _ in range(2):
        await turns(stage, 4)
    status = await stage.namespace.status()
    assert "quota of rebalances is used up" in str(status["conditions"])
    assert "DrainRefused" in str(status["conditions"])
    monkeypatch.undo()
    await stage.until_ready()
    await assert_left(stage)


async def test_a_roll_waits_until_they_have_left(stage: Stage) -> None:
    stage.unsparable = ()  # a roll restarts nodes with replicas that can be spared
    await resize(stage, 3, config={"num.network.threads": 9})
    cluster, moves = stage.cluster(), stage.rebalances()
    kinds: list[str] = []
    for _ in range(400):
        await stage.turn(cluster, moves)
        operation = (await stage.namespace.status()).get("operation")
        if operation is not None and kinds[-1:] != [operation["kind"]]:
            kinds.append(operation["kind"])
        if await stage.namespace.ready():
            break
    assert kinds == ["Membership", "Roll"]
    assert left(stage) == LEAVING
    assert stage.namespace.kafka.harms == []
    assert len(stage.made) == 1


async def test_no_other_version_is_rolled_out_while_nodes_stay_that_are_to_leave(stage: Stage) -> None:
    await resize(stage, 3)
    await stage.blocked("BrokersDraining", moves=False)
    await annotate(stage, CANCEL=(await stage.namespace.status())["operation"]["id"])
    await turns(stage, 3)
    await stage.namespace.change(version="4.3.1")
    message = await stage.blocked("NodesLeaving", moves=False)
    assert "Node 3, 4 is to leave, and would never run Kafka 4.3.1" in message
    await turns(stage, 10)
    assert set(stage.restarts().values()) == {0}
    await resize(stage, 5)
    await stage.until_ready()
    assert set(stage.restarts().values()) == {1}
