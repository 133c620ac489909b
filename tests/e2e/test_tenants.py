"""A tenant on real brokers: it is placed, its topic lies on its shard, the shard shrinks and moves under traffic, and a
tenant that is deleted leaves everything where it is.

The tests run in order on one cluster of three nodes, one a zone, and share one flow of records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.cell import Cell, combined_cluster
from support.faults.replication import fill
from support.replicas import replicas, unfinished
from support.traffic import Traffic

KIND = "kafkatenants.kfleet.dev"
MOVES = "kafkarebalances.kfleet.dev"
TENANT, TOPIC = "e2e-stock", "stock.orders"
MIB = 4
Object = dict[str, Any]


def tenant(cell: Cell, name: str = TENANT, *, prefix: str = "stock.", **spec: Any) -> Object:
    wanted = {
        "owner": {"team": "stock"},
        "namespaces": [cell.namespace],
        "topicPrefix": prefix,
        "cells": [{"namespace": cell.namespace, "name": cell.name}],
        "shard": {"size": 3, "replacementDelay": "1h"},
        "limits": {"topics": 1},
    }
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaTenant",
        "metadata": {"name": name},
        "spec": wanted | spec,
    }


@pytest.fixture(scope="module")
def ready(cell: Cell) -> Iterator[Cell]:
    cell.operator.stop()
    cell.operator.settings |= {
        "KFLEET_GROWTH_SECONDS": "0.5",
        "KFLEET_USAGE_INTERVAL": "1",
        "KFLEET_REBALANCE_HISTORY": "1",
    }
    cell.operator.start()
    cell.apply(combined_cluster())
    cell.wait_ready(240)
    yield cell
    cell.kubectl("delete", KIND, TENANT, "e2e-late", "--ignore-not-found", check=False)


@pytest.fixture(scope="module")
def traffic(placed: Cell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """From the first move to the last; nothing of it may be lost by any of them."""
    flow = Traffic(placed.bootstrap(), TOPIC, tmp_path_factory.mktemp("traffic") / "canary.jsonl", rate=100)
    flow.wait_flowing()
    yield flow
    flow.stop()


def status(cell: Cell) -> Object:
    """Of the tenant in the cell."""
    cells = cell.get(KIND, TENANT).get("status", {}).get("cells", [])
    return dict(cells[0]) if cells else {}


def condition(cell: Cell, kind: str, name: str = TENANT) -> Object:
    found = cell.get(KIND, name)
    conditions = found.get("status", {}).get("conditions", [])
    current = [one for one in conditions if one["observedGeneration"] == found["metadata"]["generation"]]
    return next((one for one in current if one["type"] == kind), {"status": "Unknown", "reason": "", "message": ""})


def wait_placed(cell: Cell, size: int) -> list[int]:
    def placed() -> bool:
        found = status(cell)
        return condition(cell, "Ready")["status"] == "True" and len(found.get("shard", [])) == size

    cell.wait(f"a shard of {size}", placed, 90)
    found = status(cell)
    assert ("target" in found, "rebalance" in found) == (False, False)
    return list(found["shard"])


@pytest.fixture(scope="module")
def placed(ready: Cell) -> Cell:
    """With a topic that holds some data, two replicas of each partition."""
    cell = ready
    cell.apply(tenant(cell))
    assert len(wait_placed(cell, 3)) == 3
    topic = {"tenantRef": {"name": TENANT}, "topicName": TOPIC, "partitions": 3, "replicas": 2}
    meta = {"name": "orders"}
    cell.apply({"apiVersion": "kfleet.dev/v1alpha1", "kind": "KafkaTopic", "metadata": meta, "spec": topic})
    cell.wait_topic("orders")
    fill(cell.bootstrap(), TOPIC, MIB)
    return cell


def kept(cell: Cell) -> list[str]:
    """Moves that are there."""
    return [move["metadata"]["name"] for move in cell.get(MOVES)["items"]]


def wait_inside(cell: Cell, shard: list[int]) -> None:
    """Until the broker that is asked has heard of it: its metadata follow the controllers' a moment later."""

    def is_inside() -> bool:
        seen = replicas(cell)
        lying = {broker for brokers in seen.of(TOPIC).values() for broker in brokers}
        return lying == set(shard) and unfinished(seen) == []

    cell.wait(f"{TOPIC} to lie on {shard}, and nothing to be left of the move", is_inside, 30)


def test_what_it_has_is_counted(placed: Cell) -> None:
    cell = placed
    enough = 2 * MIB * 1024**2
    cell.wait("its size", lambda: status(cell)["usage"]["storage"] >= enough, 30)
    usage = status(cell)["usage"]
    assert (usage["topics"], usage["partitions"]) == (1, 3)
    assert condition(cell, "WithinLimits")["status"] == "True"


@pytest.mark.usefixtures("traffic")
def test_a_shard_that_shrinks_takes_its_topics_along(placed: Cell) -> None:
    cell = placed
    cell.patch({"shard": {"size": 2}}, KIND, TENANT)
    shard = wait_placed(cell, 2)
    wait_inside(cell, shard)
    (move,) = cell.get(MOVES)["items"]
    assert move["metadata"]["labels"]["kfleet.dev/tenant"] == TENANT
    assert move["spec"]["goal"]["brokers"] == shard
    assert move["status"]["proposal"]["replicasMoved"] > 0


@pytest.mark.usefixtures("traffic")
def test_a_shard_that_was_asked_for_is_moved_to(placed: Cell) -> None:
    cell = placed
    (first,), before = kept(cell), status(cell)["shard"]
    (other,) = {0, 1, 2} - set(before)
    wanted = sorted([before[0], other])
    cell.kubectl("annotate", KIND, TENANT, f"kfleet.dev/shard={','.join(map(str, wanted))}")
    cell.wait("the shard to be there", lambda: status(cell)["shard"] == wanted, 90)
    assert wait_placed(cell, 2) == wanted
    wait_inside(cell, wanted)
    cell.wait("the first move to be deleted", lambda: first not in kept(cell), 60)
    (second,) = cell.get(MOVES)["items"]
    assert second["spec"]["goal"]["brokers"] == wanted, "of those that are over one is kept"


def test_nothing_was_lost(traffic: Traffic) -> None:
    traffic.assert_nothing_lost()


def test_what_cannot_be_is_refused_or_said(placed: Cell) -> None:
    cell = placed
    odd = tenant(cell, "e2e-odd", prefix="odd.", shard={"size": 2, "maxOverlap": 2})
    assert "spec.shard.maxOverlap: must be less" in cell.kubectl("apply", "-f", "-", stdin=json.dumps(odd), check=False)
    renamed = cell.kubectl("patch", KIND, TENANT, "--type=merge", "-p", '{"spec": {"topicPrefix": "x."}}', check=False)
    assert "spec.topicPrefix: immutable" in renamed
    cell.apply(tenant(cell, "e2e-late", prefix="stock.more."))
    cell.wait("it to say so", lambda: condition(cell, "Ready", "e2e-late")["reason"] == "NamespaceTaken", 30)
    assert "spec.topicPrefix" in condition(cell, "Ready", "e2e-late")["message"]
    cell.kubectl("delete", KIND, "e2e-late")


def test_a_tenant_that_is_deleted_leaves_its_topics_and_finds_them_again(placed: Cell) -> None:
    cell = placed
    before, moves = replicas(cell).of(TOPIC), kept(cell)
    cell.kubectl("delete", KIND, TENANT, "--timeout=60s")
    cell.apply(tenant(cell, shard={"size": 2}))
    assert set(wait_placed(cell, 2)) == {broker for brokers in before.values() for broker in brokers}
    assert replicas(cell).of(TOPIC) == before
    assert (kept(cell), len(moves)) == (moves, 1), "nothing had to move"
