"""How a roll goes about it, on real parts: brokers of one rack together, and only inside a maintenance window.

The tests run in order on one cluster of one controller and two brokers in each of three zones, under traffic. Only the
brokers are restarted: their heap changes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Person, person
from support.audit import OPERATOR_USER, done, pods_done
from support.cell import Cell, combined_cluster, topic
from support.refused_writes import RefusedWrites
from support.replicas import replicas, unfinished
from support.sandbox import Sandbox
from support.traffic import Traffic

from controlplane.domain.cluster.moves import KEPT

TOPIC, SINGLE, PAIR = "orders", "single", "pair"
REBALANCES = "kafkarebalances"
KIND = f"{REBALANCES}.kfleet.dev"
ZONES = ("a", "b", "c")
BROKERS = range(1, 7)
NEVER = {"schedule": "0 0 29 2 *", "duration": "1h"}
"""A window that opens once in four years."""


def pools(heap: str) -> list[dict[str, Any]]:
    storage = {"volumes": [{"id": 0, "size": "1Gi"}]}
    return [
        {"name": "controllers", "roles": ["Controller"], "replicas": 1, "storage": storage, "jvm": {"heap": "192Mi"}},
        {
            "name": "brokers",
            "roles": ["Broker"],
            "replicas": len(BROKERS),
            "zones": list(ZONES),
            "storage": storage,
            "jvm": {"heap": heap},
        },
    ]


@pytest.fixture
def traffic(cell: Cell, tmp_path: Path) -> Iterator[Traffic]:
    flow = Traffic(cell.bootstrap(), TOPIC, tmp_path / "canary.jsonl")
    yield flow
    flow.stop()


@pytest.fixture(scope="module")
def people(cell: Cell, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Person, Person]:
    """alice may change clusters, bob may approve."""
    place = tmp_path_factory.mktemp("people")
    ledger = f"sqlite:///{place / 'ledger.db'}"
    alice = person(cell, sandbox, ledger, place, "alice", "edit")
    made = alice.kfleet("audit", "upgrade", "--yes")
    assert made.returncode == 0, made.stderr
    return alice, person(cell, sandbox, ledger, place, "bob", "kfleet-approver", "view")


def deleted(cell: Cell, sandbox: Sandbox) -> Counter[str]:
    return Counter(pods_done(sandbox.paths.audit_log, OPERATOR_USER, "delete", cell.namespace))


EACH_BROKER_ONCE = Counter({f"cell-brokers-{node}": 1 for node in BROKERS})


class Restarts:
    """Which brokers are away from their restart's beginning to its end; one that flaps before or after is not."""

    def __init__(self, cell: Cell) -> None:
        self._cell, self._before = cell, cell.pod_uids()
        self._returned: set[int] = set()
        self.seen: set[frozenset[int]] = set()

    def done(self) -> bool:
        """Looks once; whether every broker has come back."""
        self.away()
        return self._returned == set(BROKERS)

    def away(self) -> frozenset[int]:
        """Looks once."""
        pods = self._cell.pods()
        for node in BROKERS:
            if (pod := pods.get(node)) and pod["metadata"]["uid"] != self._before[node] and is_ready(pod):
                self._returned.add(node)
        untouched = {node for node, pod in pods.items() if pod["metadata"]["uid"] == self._before.get(node)}
        away = frozenset(BROKERS) - untouched - self._returned
        self.seen.add(away)
        return away


def rest_of(batches: set[frozenset[int]], restarts: Restarts) -> Callable[[], frozenset[int] | None]:
    """Looks once; what is away if that is one of the batches."""

    def look() -> frozenset[int] | None:
        away = restarts.away()
        return away if away in batches else None

    return look


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def operation(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = cell.cluster().get("status", {}).get("operation") or {}
    return found


def test_brokers_of_a_rack_go_together_and_nothing_is_lost(
    cell: Cell, sandbox: Sandbox, people: tuple[Person, Person], tmp_path: Path
) -> None:
    """Six brokers in three batches, as the plan said before; the batches are those of one rack, and writes go on."""
    alice, _ = people
    cell.apply(
        combined_cluster(nodePools=pools("256Mi"), rollout={"soak": "2s", "maxUnavailable": "50%"}),
        topic(TOPIC, partitions=12, config={"min.insync.replicas": 2}),
    )
    cell.wait_ready(280)
    cell.wait_topic(TOPIC)
    cell.wait_in_sync()
    racks = {node["id"]: node.get("rack") for node in cell.cluster()["status"]["nodes"]}
    snapshot = tmp_path / "cell.json"
    taken = alice.kfleet("cluster", "snapshot", cell.name, "-n", cell.namespace, "-f", str(snapshot))
    assert taken.returncode == 0, taken.stderr
    offline = ["cluster", "plan", cell.name, "--snapshot", str(snapshot), "--what-if", "maxUnavailable=50%"]
    foreseen = alice.json(*offline, "--what-if", "unprotectedPartitions=Accept")["batches"]
    batches = [batch for batch in foreseen["nodes"] if set(batch) <= set(BROKERS)]
    assert len(batches) == len(ZONES), foreseen
    assert foreseen["exact"], foreseen

    flow = Traffic(cell.bootstrap(), TOPIC, tmp_path / "canary.jsonl")
    together = {frozenset(batch) for batch in batches}
    try:
        flow.wait_flowing()
        before, restarts = deleted(cell, sandbox), Restarts(cell)
        with cell.held() as let_start:
            cell.patch({"nodePools": pools("260Mi")})
            for left in range(len(batches), 0, -1):
                away = cell.wait(f"a batch of the last {left} to be away, all of it", rest_of(together, restarts), 280)
                together.remove(away)
                (rack,) = {racks[node] for node in away}
                let_start(rack)
        cell.wait("every broker to be back", restarts.done, 280)
        cell.wait("the roll to end", lambda: cell.is_ready() and not operation(cell), 60)
        assert deleted(cell, sandbox) - before == EACH_BROKER_ONCE
        assert not together, "both brokers of each rack were away at once"
        assert all(len({racks[node] for node in away}) <= 1 for away in restarts.seen), "never brokers of two racks"
    finally:
        flow.stop()
    flow.assert_nothing_lost()


def test_what_cannot_be_spared_is_moved_off_each_batch_first(
    cell: Cell, sandbox: Sandbox, people: tuple[Person, Person], tmp_path: Path
) -> None:
    """One replica, and two with min ISR 2, on every broker: they are written to all along, and no write is refused."""
    alice, _ = people
    cell.apply(topic(SINGLE, replicas=1), topic(PAIR, replicas=2, config={"min.insync.replicas": 2}))
    for name in (SINGLE, PAIR):
        cell.wait_topic(name)
    cell.wait_in_sync()
    snapshot = tmp_path / "cell.json"
    taken = alice.kfleet("cluster", "snapshot", cell.name, "-n", cell.namespace, "-f", str(snapshot))
    assert taken.returncode == 0, taken.stderr
    offline = ["cluster", "plan", cell.name, "--snapshot", str(snapshot), "--what-if", "maxUnavailable=50%"]
    foreseen = alice.json(*offline, "--what-if", "unprotectedPartitions=MoveAway")
    verbs = [step["verb"] for step in foreseen["plan"]["steps"] if step["verb"] != "RestartNode"]
    assert verbs == ["MoveAway", "RestartBatch"] * len(ZONES), foreseen

    flows = [Traffic(cell.bootstrap(), name, tmp_path / f"{name}.jsonl", rate=100) for name in (SINGLE, PAIR)]
    refusals = RefusedWrites(cell.bootstrap(), PAIR, partitions=6)
    try:
        for flow in flows:
            flow.wait_flowing()
        before, audit = deleted(cell, sandbox), sandbox.paths.audit_log
        rollout = {"soak": "2s", "maxUnavailable": "50%", "unprotectedPartitions": "MoveAway"}
        cell.patch({"nodePools": pools("264Mi"), "rollout": rollout})
        cell.wait("the roll to end", lambda: cell.is_ready() and not operation(cell), 280)
        assert deleted(cell, sandbox) - before == EACH_BROKER_ONCE
        assert refusals.seen() == [], "min ISR was kept all along"
        made = done(audit, OPERATOR_USER, "create", cell.namespace, REBALANCES)
        assert sorted(made.values()) == [1] * len(ZONES), "one for each batch"
        cell.wait("the first of them to go", lambda: len(cell.get(KIND)["items"]) == KEPT, 60)
        cell.wait("nothing to be left of the moves", lambda: unfinished(replicas(cell)) == [], 30)
        # The control: an eviction that no roll makes room for is noticed.
        cell.kubectl("delete", "pod", f"cell-brokers-{replicas(cell).of(PAIR)[0][0]}", "--wait=false")
        cell.wait("a write to be refused", refusals.seen, 60)
    finally:
        refusals.stop()
        for flow in flows:
            flow.stop()
    cell.wait_ready(120)
    cell.wait_in_sync()
    for flow in flows:
        flow.assert_nothing_lost()


def test_outside_its_window_a_roll_waits_until_somebody_else_waives_that(
    cell: Cell, sandbox: Sandbox, people: tuple[Person, Person], traffic: Traffic
) -> None:
    alice, bob = people
    before, uids = deleted(cell, sandbox), cell.pod_uids()
    asked = {"metadata": {"annotations": {"kfleet.dev/requested-by": alice.user}}}
    change = asked | {"spec": {"maintenanceWindows": [NEVER], "nodePools": pools("256Mi")}}
    patch = ["patch", "kafkaclusters.kfleet.dev", cell.name, "--type=merge", "-p", json.dumps(change)]
    assert "must be" in cell.kubectl(*patch, check=False), "nobody else can be named as who asked"
    cell.kubectl(*patch, "--as", alice.user)
    blocked = cell.wait(
        "the window's hold",
        lambda: (found := cell.condition("Blocked"))["reason"] == "OutsideWindow" and found,
        60,
    )
    assert "29 Feb" in blocked["message"] or "02-29" in blocked["message"], blocked["message"]
    assert cell.pod_uids() == uids

    plan = operation(cell)
    own = alice.kfleet("approve", plan["id"], "--waive-window", "-n", cell.namespace, "--yes", "--reason", "mine")
    assert own.returncode == 4, own.stderr
    assert "asked for this yourself" in own.stderr
    assert cell.pod_uids() == uids
    given = bob.kfleet("approve", plan["id"], "--waive-window", "-n", cell.namespace, "--yes", "--reason", "agreed")
    assert given.returncode == 0, given.stderr
    cell.wait(
        "the roll to go on",
        lambda: cell.is_ready() and not operation(cell) and cell.pod_uids() != uids,
        280,
    )
    assert deleted(cell, sandbox) - before == EACH_BROKER_ONCE
    traffic.assert_nothing_lost()
