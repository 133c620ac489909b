"""A roll under MoveAway and the KafkaRebalances that it asks for, both on the engine, on fakes: what a partition cannot
spare is never on a node that goes, and nothing is asked for twice or for ever."""

from __future__ import annotations

from typing import Any

import pytest
from support.approvals import install_policies
from support.asked_moves import Object, Stage
from support.fake_kafka import FakePartition, FakeTopic
from support.simulation import SETTINGS, created
from support.tenancy import tenant

from controlplane.api import names
from controlplane.domain.cluster.moves import ATTEMPTS, KEPT
from controlplane.ports import InvalidError, Resource
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.rebalance.asked import REBALANCES, operator_user
from controlplane.services.tenants.read import KAFKA_TENANTS

RESTART = {"num.network.threads": 9}


def topic(name: str, *placed: tuple[int, ...]) -> FakeTopic:
    """Min ISR is the cluster's, 2: with one replica or two it can spare none."""
    return FakeTopic(f"{name}-id", [FakePartition(on, on, on[0], size=1000) for on in placed], {})


@pytest.fixture
async def stage() -> Stage:
    namespace = await created()
    namespace.kafka.topics["one"] = topic("one", (0,), (1,), (2,))
    namespace.kafka.topics["two"] = topic("two", (0, 1), (1, 2), (2, 0))
    return Stage(namespace, unsparable=("one", "two"))


async def roll(stage: Stage, **rollout: Any) -> None:
    policy = {"soak": "2s", "unprotectedPartitions": "MoveAway"} | rollout
    await stage.namespace.change(rollout=policy, config=RESTART)


async def test_each_node_is_restarted_once_and_only_when_it_is_empty_of_what_cannot_be_spared(stage: Stage) -> None:
    await roll(stage)
    await stage.until_ready()
    assert stage.harms == []
    assert stage.namespace.kafka.harms == []
    assert set(stage.restarts().values()) == {1}
    topics = stage.namespace.kafka.topics
    assert [len(set(one.replicas)) for one in (*topics["one"].partitions, *topics["two"].partitions)] == [1] * 3 + [
        2
    ] * 3
    assert len(stage.made) == 3, "one for each node"
    assert len(await stage.there()) == KEPT, "and the first of them has gone"
    assert all(name.startswith("roll-cell-") for name in stage.made)


async def test_the_control_under_accept_they_go_down_with_their_node(stage: Stage) -> None:
    await roll(stage, unprotectedPartitions="Accept")
    await stage.until_ready()
    assert stage.harms
    assert stage.made == []


async def test_what_is_asked_for_says_whose_it_is_and_waits_for_no_approval_where_none_is_required(
    stage: Stage,
) -> None:
    await roll(stage)
    message = await stage.blocked("MovingAway", moves=False)
    made = await stage.only()
    operation = (await stage.namespace.status())["operation"]["id"]
    assert made["metadata"]["labels"] == {names.CLUSTER: "cell", names.ASKED_BY: operation}
    assert [owner["kind"] for owner in made["metadata"]["ownerReferences"]] == ["KafkaCluster"]
    assert made["spec"]["approval"] == "NotRequired"
    assert made["spec"]["goal"] == {"type": "MoveAway", "brokers": made["spec"]["goal"]["brokers"], "topics": []}
    assert made["metadata"]["name"] in message
    assert set(stage.restarts().values()) == {0}


async def test_an_operator_that_dies_before_and_after_every_write_asks_once_for_each_node(stage: Stage) -> None:
    await roll(stage)
    assert await stage.walk_until_ready() > 50
    assert stage.harms == []
    assert set(stage.restarts().values()) == {1}
    assert len(stage.made) == 3, stage.made


async def approved(stage: Stage, **rollout: Any) -> Object:
    """The roll is approved, and what it asks for waits to be."""
    await install_policies(stage.namespace.kube)
    obj = await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"]["annotations"] = {names.REQUESTED_BY: "alice"}
    await stage.namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await roll(stage, approval="Required", **rollout)
    await stage.blocked("AwaitingApproval")
    await stage.decide(await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    await stage.blocked("MoveAwaitsApproval")
    return await stage.only()


async def test_where_approvals_are_required_what_moves_data_needs_its_own(stage: Stage) -> None:
    made = await approved(stage)
    assert made["spec"]["approval"] == "Required"
    assert made["metadata"]["annotations"][names.REQUESTED_BY] == operator_user(SETTINGS)
    name = made["metadata"]["name"]
    told = (await stage.condition())["message"]
    assert f"kfleet approve kafkarebalance/{name} -n kafka" in told
    assert set(stage.restarts().values()) == {0}
    await stage.decide(made)
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(60):
        await stage.turn(cluster, moves)
        if sum(stage.restarts().values()) == 1 and (await stage.condition())["reason"] == "MoveAwaitsApproval":
            break
    assert sorted(stage.restarts().values()) == [0, 0, 1], "and the next node's asks again"
    assert stage.harms == []


async def test_once_approvals_are_required_what_asks_for_none_is_replaced(stage: Stage) -> None:
    await roll(stage)
    await stage.blocked("MovingAway", moves=False)
    before = await stage.only()
    made = await approved(stage)
    assert made["metadata"]["uid"] != before["metadata"]["uid"]
    assert made["spec"]["approval"] == "Required"
    assert set(stage.restarts().values()) == {0}


async def test_what_was_denied_is_not_asked_for_again_until_somebody_deletes_it(stage: Stage) -> None:
    made = await approved(stage)
    await stage.decide(made, "Deny")
    message = await stage.blocked("MoveAwayFailed")
    assert "ended as Denied" in message
    assert "Delete that KafkaRebalance" in message
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(30):
        await stage.turn(cluster, moves)
    assert await stage.there() == [made["metadata"]["name"]]
    assert set(stage.restarts().values()) == {0}
    await stage.namespace.kube.delete(REBALANCES, made["metadata"]["name"], "kafka")
    await stage.blocked("MoveAwaitsApproval")
    assert (await stage.only())["metadata"]["uid"] != made["metadata"]["uid"]


async def test_what_fails_by_itself_is_tried_again_and_not_for_ever(stage: Stage) -> None:
    await roll(stage)
    cluster = stage.cluster()
    for attempt in range(1, ATTEMPTS + 1):
        for _ in range(5):
            await stage.turn(cluster, None)
        (name,) = [one for one in await stage.there() if one.endswith(f"-{attempt}")]
        obj = await stage.namespace.kube.get(REBALANCES, name, "kafka")
        failed = {
            "type": "Failed",
            "status": "True",
            "reason": "Failed",
            "message": "the world has moved",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        await stage.namespace.kube.replace(REBALANCES, obj | {"status": {"conditions": [failed]}}, subresource="status")
    message = await stage.blocked("MoveAwayFailed", moves=False)
    assert "the world has moved" in message
    assert len(await stage.there()) == ATTEMPTS, "they are the memory of it"
    assert set(stage.restarts().values()) == {0}


async def test_a_roll_that_is_cancelled_takes_back_what_has_not_begun(stage: Stage) -> None:
    await approved(stage)
    obj = await stage.namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"].setdefault("annotations", {})[names.CANCEL] = obj["status"]["operation"]["id"]
    await stage.namespace.kube.replace(KAFKA_CLUSTERS, obj)
    cluster = stage.cluster()
    for _ in range(4):
        await stage.turn(cluster, None)
    assert await stage.there() == []
    assert "operation" not in await stage.namespace.status()


@pytest.mark.parametrize("policy", ["Block", "Accept"])
async def test_another_policy_takes_back_what_has_not_begun(stage: Stage, policy: str) -> None:
    await roll(stage)
    await stage.blocked("MovingAway", moves=False)
    await stage.namespace.change(rollout={"soak": "2s", "unprotectedPartitions": policy})
    cluster = stage.cluster()
    for _ in range(4):
        await stage.turn(cluster, None)
    assert await stage.there() == []


async def test_another_spec_asks_anew_and_what_had_begun_is_waited_for(stage: Stage) -> None:
    await roll(stage)
    await stage.blocked("MovingAway", moves=False)
    (first,) = await stage.there()
    await stage.namespace.change(config={"num.network.threads": 10})
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(3):
        await stage.turn(cluster, None)
    (second,) = await stage.there()
    assert first != second
    for _ in range(30):
        await stage.turn(cluster, moves)
        if "progress" in ((await stage.only()).get("status") or {}):
            break
    await stage.namespace.change(config={"num.network.threads": 11})
    for _ in range(3):
        await stage.turn(cluster, None)
    assert second in await stage.there()
    assert set(stage.restarts().values()) == {0}
    assert second in (await stage.condition())["message"]
    await stage.until_ready()
    assert stage.harms == []
    assert set(stage.restarts().values()) == {1}


async def test_while_somebody_else_makes_room_what_was_asked_for_goes(stage: Stage) -> None:
    """More replicas, or fewer that must be in sync: nothing has to move any more."""
    made = await approved(stage)
    for name in ("one", "two"):
        stage.namespace.kafka.topics[name].config["min.insync.replicas"] = "1"
    stage.namespace.kafka.topics.pop("one")
    stage.namespace.kafka.topics["one"] = FakeTopic("one-id", [], {})
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(60):
        await stage.turn(cluster, moves)
        if await stage.namespace.ready():
            break
    assert made["metadata"]["name"] not in await stage.there()
    assert await stage.namespace.ready()


async def test_partitions_on_every_broker_block_before_anything_is_stopped_or_moved(stage: Stage) -> None:
    stage.namespace.kafka.topics["all"] = topic("all", (0, 1, 2))
    stage.namespace.kafka.topics["all"].config["min.insync.replicas"] = "3"
    owner = {"team": "checkout", "contact": "checkout-oncall"}
    await stage.namespace.kube.create(KAFKA_TENANTS, tenant(topicPrefix="al", owner=owner))
    await roll(stage)
    await stage.blocked("UnprotectedPartitions")
    cluster, moves = stage.cluster(), stage.rebalances()
    for _ in range(15):  # words alone are told some seconds later
        await stage.turn(cluster, moves)
    message = (await stage.condition())["message"]
    assert "have one on every broker" in message
    assert "all-0" in message
    assert "all is checkout (checkout-oncall)'s" in message
    assert "Add a broker" in message
    assert stage.made == []
    assert set(stage.restarts().values()) == {0}


async def test_what_the_api_server_refuses_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    create = stage.namespace.kube.create

    async def refuse(resource: Resource, body: Object, namespace: str | None = None) -> Object:
        if resource is REBALANCES:
            raise InvalidError(422, "Invalid", "quota of rebalances is used up")
        return await create(resource, body, namespace)

    await roll(stage)
    monkeypatch.setattr(stage.namespace.kube, "create", refuse)
    message = await stage.blocked("MoveAwayRefused")
    assert "quota of rebalances is used up" in message
    monkeypatch.undo()
    await stage.until_ready()
    assert stage.harms == []


async def test_an_object_of_that_name_that_is_not_a_rolls_is_left_alone(stage: Stage) -> None:
    await roll(stage)
    await stage.blocked("MovingAway", moves=False)
    theirs = await stage.only()
    await stage.namespace.kube.delete(REBALANCES, theirs["metadata"]["name"], "kafka")
    theirs["metadata"] = {"name": theirs["metadata"]["name"], "namespace": "kafka"}
    await stage.namespace.kube.create(REBALANCES, theirs)
    message = await stage.blocked("MoveAwayRefused", moves=False)
    assert theirs["metadata"]["name"] in message


async def test_a_roll_that_waits_holds_no_cell(stage: Stage) -> None:
    """Or its own rebalance would wait for it for ever."""
    await roll(stage)
    await stage.blocked("MovingAway", moves=False)
    leases = [one["spec"] for (plural, *_), one in stage.namespace.kube.objects.items() if plural == "leases"]
    assert [lease for lease in leases if lease.get("holderIdentity")] == []
