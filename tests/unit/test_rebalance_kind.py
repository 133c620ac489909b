"""KafkaRebalance on the engine, on fakes: from a plan, or why there is none, over its approval to its end; and how it
shares the cell with the cluster's own operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.approvals import approval, install_policies
from support.fake_kafka import FakePartition, FakeTopic
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, Walk, around, created, service
from support.tenancy import tenant

from controlplane.api import names
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal
from controlplane.domain.rebalance.values import Assignment, Broker, Constraint, Goal, Infeasible, Shortage
from controlplane.ports import KubeApi, PlanningError
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import Interceptor, intercept_admins, intercept_kube
from controlplane.services.keys import rebalance_key
from controlplane.services.operation.approvals import APPROVALS
from controlplane.services.operation.engine import Engine
from controlplane.services.operation.frozen import NAMESPACES, FrozenKind
from controlplane.services.operation.lock import CellGuard
from controlplane.services.rebalance.asked import REBALANCES
from controlplane.services.rebalance.cells import Cells
from controlplane.services.rebalance.recipe import RebalanceRecipe
from controlplane.services.tenants.read import KAFKA_TENANTS

NAME = "shift"
MINE = rebalance_key("kafka", NAME)
BEFORE = [(0, 1)] * 6
AFTER = [(0, 2)] * 4 + [(1, 0)] + [(0, 1)]


@dataclass
class Planner:
    """Answers what it is told; remembers what it was asked."""

    answer: Proposal | Infeasible | None = None
    asked: list[tuple[Assignment, Sequence[Broker], Goal]] = field(default_factory=list)

    async def propose(self, assignment: Assignment, brokers: Sequence[Broker], goal: Goal) -> Proposal | Infeasible:
        self.asked.append((assignment, brokers, goal))
        if self.answer is None:
            raise PlanningError("the process that plans ended without an answer: Killed")
        return self.answer


@dataclass
class Stage:
    namespace: Namespace
    planner: Planner

    def engine(self, die: Interceptor | None = None, *, identity: str = "one") -> Engine:
        """A new life of the operator."""
        interceptors = [die or DieAt(), CellGuard()]
        kube: KubeApi = intercept_kube(self.namespace.kube, interceptors)
        admins = intercept_admins(self.namespace.admins, interceptors)
        clock = self.namespace.clock
        settings = SETTINGS.model_copy(update={"growth_seconds": 0.001})
        recipe = RebalanceRecipe(Cells(kube, admins, clock), self.planner, clock, settings, doubt_seconds=3)
        kind = FrozenKind(recipe, kube, clock, EventRecorder(kube, clock))
        return Engine(kind, around(kube, clock, settings, identity=identity))

    async def ask(self, **spec: Any) -> None:
        asked = {"clusterRef": {"name": "cell"}, "goal": {"type": "Balance"}, "limits": {"throttle": "4Mi"}} | spec
        meta = {"name": NAME, "namespace": "kafka", "annotations": {names.REQUESTED_BY: "alice"}}
        await self.namespace.kube.create(REBALANCES, {"metadata": meta, "spec": asked})

    async def passes(self, engine: Engine, number: int = 1) -> None:
        for _ in range(number):
            self.namespace.turn()
            await engine.reconcile(MINE)

    async def until(self, engine: Engine, reason: str, passes: int = 120) -> dict[str, Any]:
        """Until that is the reason of Ready; the status."""
        for _ in range(passes):
            await self.passes(engine)
            if await self.reason("Ready") == reason:
                return await self.status()
        raise AssertionError(f"not {reason}: {await self.status()}")

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.namespace.kube.get(REBALANCES, NAME, "kafka")).get("status") or {}
        return found

    async def condition(self, kind: str) -> dict[str, Any]:
        return next(one for one in (await self.status())["conditions"] if one["type"] == kind)

    async def reason(self, kind: str) -> str:
        return str((await self.condition(kind))["reason"])

    def placed(self) -> list[tuple[int, ...]]:
        return [one.replicas for one in self.namespace.kafka.topics["m"].partitions]

    def throttles(self) -> dict[str, str]:
        kafka = self.namespace.kafka
        settings = {**kafka.topics["m"].config, **kafka.dynamic_config}
        return {key: value for key, value in settings.items() if "throttled" in key}


@pytest.fixture
async def stage() -> Stage:
    namespace = await created()
    partitions = [FakePartition(on, on, on[0], size=1000) for on in BEFORE]
    namespace.kafka.topics["m"] = FakeTopic("m-id", partitions, {"min.insync.replicas": "1"})
    found = [
        PartitionMove("m", number, old, new, 1000)
        for number, (old, new) in enumerate(zip(BEFORE, AFTER, strict=True))
        if old != new
    ]
    return Stage(namespace, Planner(Proposal(tuple(found), bound=3)))


async def test_it_waits_for_an_approval_and_does_what_was_approved(stage: Stage) -> None:
    await install_policies(stage.namespace.kube)
    await stage.ask()
    engine = stage.engine()
    status = await stage.until(engine, "AwaitingApproval")
    assert await stage.reason("Proposed") == "PlanMade"
    assert (await stage.condition("Approved"))["status"] == "False"
    assert status["proposal"] == {
        "replicasMoved": 4,
        "bytesMoved": 4000,
        "partitions": 5,
        "bound": 3,
        "gap": 1,
        "throttleBytes": 4 * 1024 * 1024,
    }
    assert stage.placed() == BEFORE
    obj = await stage.namespace.kube.get(REBALANCES, NAME, "kafka")
    given = approval(
        by="bob",
        plan_hash=status["operation"]["planHash"],
        uid=obj["metadata"]["uid"],
        at=stage.namespace.clock.now(),
        kind="KafkaRebalance",
        name=NAME,
    )
    await stage.namespace.kube.create(APPROVALS, given)
    status = await stage.until(engine, "Succeeded")
    assert stage.placed() == AFTER
    assert stage.throttles() == {}
    assert (await stage.condition("Complete"))["status"] == "True"
    assert await stage.reason("Approved") == "PlanApproved"
    assert status["progress"]["replicasMoved"] == 4
    assert "secondsLeft" not in status["progress"]
    assert status["lastOperation"]["outcome"] == "Succeeded"


async def test_the_requesters_own_approval_counts_nothing(stage: Stage) -> None:
    await install_policies(stage.namespace.kube)
    await stage.ask()
    engine = stage.engine()
    status = await stage.until(engine, "AwaitingApproval")
    obj = await stage.namespace.kube.get(REBALANCES, NAME, "kafka")
    words = {"by": "alice", "plan_hash": status["operation"]["planHash"], "uid": obj["metadata"]["uid"]}
    given = approval(**words, at=stage.namespace.clock.now(), kind="KafkaRebalance", name=NAME)
    await stage.namespace.kube.create(APPROVALS, given)
    await stage.until(engine, "ApprovalInvalid")
    assert stage.placed() == BEFORE


async def test_the_planner_is_asked_what_is_there(stage: Stage) -> None:
    await stage.ask(goal={"type": "Drain", "brokers": [1]}, approval="NotRequired", limits={"throttle": "Auto"})
    await stage.until(stage.engine(), "Succeeded")
    assignment, brokers, goal = stage.planner.asked[-1]
    assert str(goal) == "Drain(brokers=frozenset({1}))"
    assert [(broker.id, broker.rack) for broker in brokers] == [(0, "a"), (1, "b"), (2, "c")]
    there = {one.id: (one.replicas, one.size, one.min_isr) for one in assignment.partitions if one.topic == "m"}
    assert set(there.values()) == {((0, 1), 1000, 1)}
    assert {one.topic for one in assignment.partitions} == {"m", "t"}
    assert (await stage.status())["proposal"]["throttleBytes"] == SETTINGS.broker_bandwidth // 2


SHORT = Infeasible((Shortage(Constraint.REPLICAS, "m", "m needs 3 brokers and 2 are left", 3, 2),))


@pytest.mark.parametrize(
    ("spec", "answer", "reason", "says"),
    [
        ({"clusterRef": {"name": "nowhere"}}, SHORT, "ClusterNotFound", "no KafkaCluster nowhere"),
        ({}, SHORT, "GoalInfeasible", "m needs 3 brokers and 2 are left"),
        ({}, None, "PlanningFailed", "ended without an answer"),
        ({"goal": {"type": "Drain"}}, SHORT, "InvalidSpec", "spec.goal.brokers: needed by Drain"),
        ({"limits": {"throttle": "1Ki"}}, SHORT, "InvalidSpec", "spec.limits.throttle: must be Auto or a quantity"),
    ],
)
async def test_why_there_is_no_plan(
    stage: Stage, spec: dict[str, Any], answer: Infeasible | None, reason: str, says: str
) -> None:
    stage.planner.answer = answer
    await stage.ask(**spec)
    await stage.passes(stage.engine(), 3)
    ready = await stage.condition("Ready")
    assert (ready["reason"], ready["status"]) == (reason, "False")
    assert says in ready["message"]
    assert (await stage.reason("Proposed"), await stage.reason("Blocked")) == (reason, reason)
    assert "operation" not in await stage.status()
    assert stage.placed() == BEFORE


async def test_partitions_of_a_tenant_are_planned_for_its_shard(stage: Stage) -> None:
    await stage.namespace.kube.create(KAFKA_TENANTS, tenant(topicPrefix="m", shard=(0, 1, 2, 9), target=(1, 2, 9)))
    await stage.ask(approval="NotRequired")
    await stage.passes(stage.engine(), 2)
    allowed = {one.topic: one.allowed for one in stage.planner.asked[-1][0].partitions}
    assert allowed == {"m": frozenset({1, 2}), "t": None}, "where the shard will be, as far as brokers are there"


async def test_topics_of_a_tenant_are_not_moved_off_its_shard(stage: Stage) -> None:
    await stage.namespace.kube.create(KAFKA_TENANTS, tenant(topicPrefix="m", shard=(0, 1)))
    await stage.ask(goal={"type": "MoveTo", "brokers": [1, 2], "topics": ["m"]})
    await stage.passes(stage.engine(), 2)
    told = await stage.condition("Ready")
    assert told["reason"] == "GoalInfeasible"
    assert "spec.goal.brokers: 2 are not in the shard of KafkaTenant 'shop' (0, 1)" in told["message"]
    assert stage.planner.asked == []


@pytest.mark.parametrize(("shard", "reason"), [((0, 1, 2), "Succeeded"), ((0, 1), "Failed")])
async def test_a_plan_that_the_shard_has_left_behind_is_not_begun(
    stage: Stage, shard: tuple[int, ...], reason: str
) -> None:
    """Made and approved while the tenant had all three brokers."""
    await install_policies(stage.namespace.kube)
    kube = stage.namespace.kube
    await kube.create(KAFKA_TENANTS, tenant(topicPrefix="m", shard=(0, 1, 2)))
    await stage.ask()
    engine = stage.engine()
    status = await stage.until(engine, "AwaitingApproval")
    moved = await kube.get(KAFKA_TENANTS, "shop")
    moved["status"] = tenant(shard=shard)["status"]
    await kube.replace(KAFKA_TENANTS, moved, subresource="status")
    obj = await kube.get(REBALANCES, NAME, "kafka")
    words = {"by": "bob", "plan_hash": status["operation"]["planHash"], "uid": obj["metadata"]["uid"]}
    given = approval(**words, at=stage.namespace.clock.now(), kind="KafkaRebalance", name=NAME)
    await kube.create(APPROVALS, given)
    if reason == "Succeeded":
        await stage.until(engine, "Succeeded")
        assert stage.placed() == AFTER
        return
    status = await stage.until(engine, "Failed")
    assert status["lastOperation"]["ending"]["why"]["name"] == "PlanStale"
    assert "KafkaTenant 'shop' has 0, 1" in status["lastOperation"]["ending"]["why"]["evidence"]
    assert stage.placed() == BEFORE
    assert stage.throttles() == {}


async def test_a_cluster_that_requires_approvals_requires_them_here_too(stage: Stage) -> None:
    await stage.namespace.change(rollout={"approval": "Required"})
    await stage.ask(approval="NotRequired")
    await stage.passes(stage.engine(), 2)
    assert await stage.reason("Ready") == "ApprovalNeeded"


async def test_a_cluster_that_is_not_well_gets_no_plan(stage: Stage) -> None:
    await stage.ask(approval="NotRequired")
    stage.namespace.kafka.topics["t"].partitions[0].isr = (0,)
    await stage.passes(stage.engine(), 2)
    assert await stage.reason("Ready") == "UnderMinIsr"
    stage.namespace.kafka.topics["t"].partitions[0].isr = stage.namespace.kafka.topics["t"].partitions[0].replicas
    await stage.until(stage.engine(), "Succeeded")


async def test_a_topic_with_fewer_replicas_than_min_isr_can_be_given_more(stage: Stage) -> None:
    """It refuses acks=all writes as it is, and nothing but a rebalance mends that."""
    one = FakePartition((0,), (0,), 0, size=1000)
    stage.namespace.kafka.topics["thin"] = FakeTopic("thin-id", [one], {"min.insync.replicas": "2"})
    stage.planner.answer = Proposal((PartitionMove("thin", 0, (0,), (0, 1), 1000),), bound=1)
    await stage.ask(goal={"type": "ChangeReplicas", "replicas": 2, "topics": ["thin"]}, approval="NotRequired")
    await stage.until(stage.engine(), "Succeeded")
    assert one.replicas == (0, 1)


async def test_brokers_that_are_to_go_are_drained_first(stage: Stage) -> None:
    obj = await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    pool = obj["spec"]["nodePools"][0]
    await stage.namespace.change(nodePools=[pool | {"replicas": 1}])
    await stage.ask(approval="NotRequired")
    await stage.passes(stage.engine(), 2)
    ready = await stage.condition("Ready")
    assert (ready["reason"], "Nodes 1, 2 are to leave" in ready["message"]) == ("BrokersLeaving", True)


async def test_nothing_to_move_is_a_success(stage: Stage) -> None:
    stage.planner.answer = Proposal((), bound=0)
    await stage.ask()
    status = await stage.until(stage.engine(), "Succeeded")
    assert status["lastOperation"]["message"] == "nothing was to be done"


async def test_cancelled_half_way_everything_is_as_it_was(stage: Stage) -> None:
    stage.namespace.kafka.copying = 1000
    await stage.ask(approval="NotRequired")
    engine = stage.engine()
    for _ in range(40):
        await stage.passes(engine)
        if stage.namespace.kafka.in_flight():
            break
    assert stage.throttles()
    obj = await stage.namespace.kube.get(REBALANCES, NAME, "kafka")
    operation = obj["status"]["operation"]["id"]
    await stage.namespace.kube.patch(
        REBALANCES, NAME, "kafka", {"metadata": {"annotations": {names.CANCEL: operation}}}
    )
    status = await stage.until(engine, "Cancelled")
    assert stage.placed() == BEFORE
    assert stage.throttles() == {}
    assert stage.namespace.kafka.in_flight() == {}
    assert status["progress"]["replicasMoved"] == 0
    assert (await stage.condition("Failed"))["status"] == "True"


async def test_a_rate_of_another_rebalance_that_ends_before_it_begins_is_waited_for_by_nobody(stage: Stage) -> None:
    """It was there when the plan was made, and of the same value."""
    kafka = stage.namespace.kafka
    rates = {f"{side}.replication.throttled.rate": str(4 * 1024 * 1024) for side in ("leader", "follower")}
    kafka.dynamic_config |= rates
    await install_policies(stage.namespace.kube)
    await stage.ask(approval="Required")
    engine = stage.engine()
    status = await stage.until(engine, "AwaitingApproval")
    assert status["proposal"]["throttleBytes"] == 4 * 1024 * 1024 - 1
    for key in rates:
        del kafka.dynamic_config[key]
    obj = await stage.namespace.kube.get(REBALANCES, NAME, "kafka")
    words = {"by": "bob", "plan_hash": status["operation"]["planHash"], "uid": obj["metadata"]["uid"]}
    given = approval(**words, at=stage.namespace.clock.now(), kind="KafkaRebalance", name=NAME)
    await stage.namespace.kube.create(APPROVALS, given)
    await stage.until(engine, "Succeeded")
    assert stage.placed() == AFTER
    assert stage.throttles() == {}


async def test_a_deleted_one_is_undone_before_it_goes(stage: Stage) -> None:
    stage.namespace.kafka.copying = 1000
    await stage.ask(approval="NotRequired")
    engine = stage.engine()
    for _ in range(40):
        await stage.passes(engine)
        if stage.namespace.kafka.in_flight():
            break
    await stage.namespace.kube.create(NAMESPACES, {"metadata": {"name": "kafka"}})
    await stage.namespace.kube.delete(REBALANCES, NAME, "kafka")
    await stage.passes(engine, 40)
    assert await stage.namespace.kube.list(REBALANCES, "kafka") == []
    assert stage.placed() == BEFORE
    assert stage.throttles() == {}


async def test_its_cluster_may_vanish_under_it(stage: Stage) -> None:
    """Then there is nothing left to undo, and nothing that keeps it."""
    stage.namespace.kafka.copying = 1000
    await stage.ask(approval="NotRequired")
    engine = stage.engine()
    for _ in range(40):
        await stage.passes(engine)
        if stage.namespace.kafka.in_flight():
            break
    for key in [key for key in stage.namespace.kube.objects if key[0] in {"kafkaclusters", "pods"}]:
        del stage.namespace.kube.objects[key]
    status = await stage.until(engine, "RolledBack")
    assert status["lastOperation"]["ending"]["why"]["name"] == "ClusterNotFound"


async def test_a_roll_goes_first_between_two_batches_and_finds_no_throttle(stage: Stage) -> None:
    """One replica a broker at a time: four batches. Both engines take turns, as the queue runs them."""
    await stage.ask(approval="NotRequired", limits={"throttle": "4Mi", "movesPerBroker": 1})
    mine, cluster = stage.engine(), service(stage.namespace, DieAt())
    for _ in range(60):
        await stage.passes(mine)
        if (await stage.status()).get("progress", {}).get("replicasMoved", 0) >= 1:
            break
    uids = {name: list(found) for name, found in stage.namespace.uids.items()}
    await stage.namespace.change(config={"num.network.threads": 9})
    seen: set[str] = set()
    for _ in range(400):
        await stage.passes(mine)
        await cluster.reconcile(KEY)
        seen.add(await stage.reason("Blocked"))
        away = [node for node in stage.namespace.kafka.ids if node not in stage.namespace.kafka.up]
        if away:
            assert stage.throttles() == {}, "a roll meets a throttle"
            assert stage.namespace.kafka.in_flight() == {}
        if await stage.reason("Ready") == "Succeeded" and await stage.namespace.ready():
            break
    assert await stage.reason("Ready") == "Succeeded"
    assert {"CellWanted", "CellLocked"} & seen
    assert stage.placed() == AFTER
    assert {name: len(found) - len(uids[name]) for name, found in stage.namespace.uids.items()} == dict.fromkeys(
        uids, 1
    )


async def test_a_roll_that_waits_for_more_replicas_gives_the_cell_to_what_adds_them(stage: Stage) -> None:
    """Two replicas and min ISR 2: no broker can be restarted before there is a third one."""
    stage.namespace.kafka.topics["m"].config.clear()
    cluster = service(stage.namespace, DieAt())
    await stage.namespace.change(config={"num.network.threads": 9})
    for _ in range(4):
        stage.namespace.turn()
        await cluster.reconcile(KEY)
    assert "UnprotectedPartitions" in str(await stage.namespace.status())
    found = tuple(PartitionMove("m", number, (0, 1), (0, 1, 2), 1000) for number in range(6))
    stage.planner.answer = Proposal(found, bound=6)
    await stage.ask(goal={"type": "ChangeReplicas", "replicas": 3}, approval="NotRequired")
    mine = stage.engine()
    for _ in range(200):
        await stage.passes(mine)
        await cluster.reconcile(KEY)
        if await stage.reason("Ready") == "Succeeded" and await stage.namespace.ready():
            break
    assert stage.placed() == [(0, 1, 2)] * 6
    assert await stage.namespace.ready(), "the roll went on"


async def test_control_a_rebalance_without_gates_keeps_the_cell(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The roll then waits until the rebalance has ended."""

    async def none(*_: Any) -> tuple[()]:
        return ()

    monkeypatch.setattr(RebalanceRecipe, "gates", none)
    await stage.ask(approval="NotRequired", limits={"throttle": "4Mi", "movesPerBroker": 1})
    mine, cluster = stage.engine(), service(stage.namespace, DieAt())
    for _ in range(60):
        await stage.passes(mine)
        if (await stage.status()).get("progress", {}).get("replicasMoved", 0) >= 1:
            break
    await stage.namespace.change(config={"num.network.threads": 9})
    uids = {name: list(found) for name, found in stage.namespace.uids.items()}
    while await stage.reason("Ready") != "Succeeded":
        await cluster.reconcile(KEY)
        await stage.passes(mine)
        assert {name: list(found) for name, found in stage.namespace.uids.items()} == uids


async def test_an_operator_that_dies_before_and_after_every_write_comes_to_the_end(stage: Stage) -> None:
    await stage.ask(approval="NotRequired")
    walk = Walk()
    for _ in range(300):
        stage.namespace.turn()
        try:
            await stage.engine(walk).reconcile(MINE)
        except Killed:
            continue
        if (await stage.status()).get("lastOperation"):
            break
    assert walk.number > 10
    assert (await stage.status())["lastOperation"]["outcome"] == "Succeeded"
    assert stage.placed() == AFTER
    assert stage.throttles() == {}


async def test_a_plan_too_large_for_a_status_is_carried_out_from_config_maps(stage: Stage) -> None:
    name = "n" * 200
    partitions = [FakePartition((0, 1), (0, 1), 0, size=10) for _ in range(120)]
    stage.namespace.kafka.topics[name] = FakeTopic("n-id", partitions, {})
    found = tuple(PartitionMove(name, number, (0, 1), (0, 2), 10) for number in range(120))
    stage.planner.answer = Proposal(found, bound=120)
    await stage.ask(approval="NotRequired", limits={"throttle": "4Mi", "movesPerBroker": 40})
    engine = stage.engine()
    await stage.passes(engine, 4)
    operation = (await stage.status())["operation"]
    assert operation["planRef"]["configMaps"]
    await stage.until(engine, "Succeeded", passes=400)
    assert {one.replicas for one in partitions} == {(0, 2)}
    assert stage.namespace.kafka.topics[name].config == {}
