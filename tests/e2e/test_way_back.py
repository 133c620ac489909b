"""Rolls that have to wait, and an upgrade that has to go back, on real parts: one controller, three brokers, traffic.

The tests run in order on one cluster, which begins on 4.2.0 and ends on 4.3.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.audit import OPERATOR_USER
from support.campaign import ended, said
from support.cell import Cell, combined_cluster, topic
from support.faults.pods import frozen, kept_dead, wait_ended
from support.faults.replication import crawling, fill, make_topic
from support.roll_witness import Stops
from support.sandbox import Sandbox
from support.traffic import Traffic

TOPIC, LAGGING = "orders", "lagging"
CONTROLLER, BROKERS = 0, (1, 2, 3)
BEFORE, AFTER = "4.2.0", "4.3.1"
LAG_MIB = 48
"""Minutes of a replica that crawls; far more than one fetches before its broker, starting on a busy machine, has read
that it is throttled: replicas begin to fetch before dynamic configs are applied."""
EACH_BROKER_ONCE = Counter(BROKERS)


def pools(heap: str) -> list[dict[str, Any]]:
    """Another heap restarts the brokers alone."""
    pool = combined_cluster()["spec"]["nodePools"][0]
    controllers = {"name": "controllers", "roles": ["Controller"], "replicas": 1, "jvm": {"heap": "192Mi"}}
    return [pool | controllers, pool | {"name": "brokers", "roles": ["Broker"], "jvm": {"heap": heap}}]


@pytest.fixture
def traffic(cell: Cell, tmp_path: Path) -> Iterator[Traffic]:
    flow = Traffic(cell.bootstrap(), TOPIC, tmp_path / "canary.jsonl")
    yield flow
    flow.stop()


def operator_stops(cell: Cell, sandbox: Sandbox) -> Stops:
    return Stops(sandbox.paths.audit_log, OPERATOR_USER, cell.namespace)


def counted(stops: Stops) -> Counter[int]:
    """How often the operator stopped each node since `stops` was made."""
    return Counter(stop.node for stop in stops.all())


def target(cell: Cell, node: int) -> str:
    return f"{cell.namespace}/cell-{'brokers' if node in BROKERS else 'controllers'}-{node}"


def looked_again(cell: Cell) -> None:
    """Until the operator has decided anew what it sees: it signs a generation that changes nothing of the plan."""
    now = cell.cluster()["spec"]["rollout"].get("onFault", "RollBack")
    cell.patch({"rollout": {"onFault": "Hold" if now == "RollBack" else "RollBack"}})
    generation = cell.cluster()["metadata"]["generation"]
    conditions = ("Ready", "Available")
    cell.wait(
        "the operator to look again",
        lambda: all(cell.condition(kind).get("observedGeneration") == generation for kind in conditions),
    )


def test_slow_follower(cell: Cell, sandbox: Sandbox, tmp_path: Path) -> None:
    """What was written while a broker was away it fetches at a crawl: it is ready all that time, and the roll waits."""
    cell.apply(
        combined_cluster(nodePools=pools("256Mi"), rollout={"soak": "2s", "faultAfter": "5m"}),
        topic(TOPIC, config={"min.insync.replicas": 2}),
    )
    cell.wait_ready(240)
    cell.wait_topic(TOPIC)
    cell.wait_in_sync()
    bootstrap, stops = cell.bootstrap(), operator_stops(cell, sandbox)
    make_topic(bootstrap, LAGGING, BROKERS, min_isr=2)
    traffic = Traffic(bootstrap, TOPIC, tmp_path / "canary.jsonl")
    try:
        traffic.wait_flowing()
        with crawling(bootstrap, LAGGING, BROKERS):
            with cell.held():
                cell.patch({"nodePools": pools("264Mi")})
                first = cell.wait("the first stop", stops.all)[0].node
                wait_ended(sandbox, target(cell, first))
                fill(bootstrap, LAGGING, LAG_MIB)
            cell.wait("the roll to wait for the follower", lambda: said(cell, rf"Node {first} is catching up"))
            looked_again(cell)
            assert counted(stops) == {first: 1}, "it went on while a follower was behind"
            assert said(cell, rf"Node {first} is catching up"), "the follower caught up by itself: nothing was shown"
        cell.wait("the roll to end", lambda: ended(cell), 300)
        assert counted(stops) == EACH_BROKER_ONCE
        traffic.assert_nothing_lost()
    finally:
        traffic.stop()


def test_frozen_broker(cell: Cell, sandbox: Sandbox, traffic: Traffic) -> None:
    """It hangs while another restarts. Its probe finds it ready, since the kernel accepts: the brokers know better."""
    traffic.wait_flowing()
    stops = operator_stops(cell, sandbox)
    with cell.held():
        cell.patch({"nodePools": pools("256Mi")})
        first = cell.wait("the first stop", stops.all)[0].node
        wait_ended(sandbox, target(cell, first))
        other = next(node for node in BROKERS if node != first)
        with frozen(sandbox, target(cell, other)):
            # With two of three away no partition has its min ISR. The one that hangs may get its new spec first.
            cell.wait("the operator to see that it is away", lambda: cell.condition("Available")["status"] == "False")
            looked_again(cell)
            third = EACH_BROKER_ONCE - Counter([first, other])
            assert not counted(stops) & third, "a third broker was stopped while two were away"
    cell.wait("the roll to end", lambda: ended(cell), 300)
    assert counted(stops) == EACH_BROKER_ONCE
    traffic.assert_nothing_lost()


def test_forced_rollback(cell: Cell, sandbox: Sandbox, traffic: Traffic) -> None:
    """A broker that cannot live on the new version takes the upgrade back; it is tried again once a person says so."""
    traffic.wait_flowing()
    stops = operator_stops(cell, sandbox)
    accept = {"unprotectedPartitions": "Accept"}  # one controller has no majority to keep
    cell.patch({"version": AFTER, "rollout": accept | {"onFault": "RollBack", "faultAfter": "5s"}})
    (bad,) = cell.wait("the controller and one broker to be upgraded", lambda: upgraded(cell) & set(BROKERS), 300)
    with kept_dead(sandbox, target(cell, bad)):
        cell.wait("the way back to reach it", lambda: counted(stops)[bad] == 2, 200)
    cell.wait("the way back to end", lambda: cell.condition("Ready")["reason"] == "RolledBack" and not busy(cell), 300)
    status = cell.cluster()["status"]
    assert {node["version"] for node in status["nodes"]} == {BEFORE}
    assert status["metadataVersion"] == "4.2-IV1", "nothing was finalised"
    assert status["lastOperation"]["outcome"] == "RolledBack"
    assert status["rolledBack"]["version"] == BEFORE, status["rolledBack"]
    assert cell.condition("RolledBack")["status"] == "True"
    assert cell.condition("Available")["status"] == "True"
    expected = Counter({CONTROLLER: 2, bad: 2})
    assert counted(stops) == expected, "each node that was upgraded went back once, the others were left alone"

    cell.operator.stop()
    cell.operator.start()
    looked_again(cell)
    assert counted(stops) == expected, "the same plan was tried again by itself"
    assert cell.condition("Ready")["reason"] == "RolledBack"

    cell.patch({"rollout": {"retryToken": "once more", "faultAfter": "5m"}})
    cell.wait("the upgrade", lambda: ended(cell), 400)
    status = cell.cluster()["status"]
    assert {node["version"] for node in status["nodes"]} == {AFTER}
    assert status["metadataVersion"] == "4.3-IV0"
    assert cell.condition("RolledBack")["status"] != "True"
    assert counted(stops) - expected == EACH_BROKER_ONCE + Counter([CONTROLLER])
    traffic.assert_nothing_lost()


def upgraded(cell: Cell) -> set[int]:
    return {
        node
        for node, pod in cell.pods().items()
        if pod["spec"]["containers"][0]["image"].endswith(f":{AFTER}") and _runs(pod)
    }


def _runs(pod: dict[str, Any]) -> bool:
    """Its process is there: one that is still being made cannot be killed."""
    return any("running" in one["state"] for one in pod.get("status", {}).get("containerStatuses", ()))


def busy(cell: Cell) -> bool:
    return bool(cell.cluster()["status"].get("operation"))
