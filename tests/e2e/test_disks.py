"""Volumes that grow and volumes that are added, on real parts and under traffic. The tests run in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cell import Cell, combined_cluster, topic
from support.traffic import Traffic

TOPIC = "orders"


def cluster(*volumes: dict[str, Any], **spec: Any) -> dict[str, Any]:
    body = combined_cluster(**spec)
    body["spec"]["nodePools"][0]["storage"] = {"volumes": list(volumes)}
    return body


@pytest.fixture
def traffic(cell: Cell, tmp_path: Path) -> Iterator[Traffic]:
    flow = Traffic(cell.bootstrap(), TOPIC, tmp_path / "canary.jsonl")
    yield flow
    flow.stop()


@pytest.fixture(autouse=True, scope="module")
def _made(cell: Cell) -> None:
    cell.apply(cluster({"id": 0, "size": "1Gi"}))
    cell.wait_ready()
    cell.apply(topic(TOPIC))
    cell.wait("the topic", lambda: cell.get("kafkatopics.kfleet.dev", TOPIC).get("status"), 60)


def capacities(cell: Cell) -> dict[str, str]:
    return {pvc["metadata"]["name"]: pvc["status"]["capacity"]["storage"] for pvc in cell.get("pvc")["items"]}


def test_volumes_grow_and_nothing_restarts(cell: Cell) -> None:
    before = cell.pod_uids()
    cell.apply(cluster({"id": 0, "size": "2Gi"}))
    cell.wait("the sizes", lambda: set(capacities(cell).values()) == {"2Gi"} and cell.is_ready(), 60)
    assert cell.pod_uids() == before


def test_a_smaller_size_is_refused_with_its_field(cell: Cell) -> None:
    before = cell.pod_uids()
    cell.apply(cluster({"id": 0, "size": "1Gi"}))
    cell.wait("the refusal", lambda: cell.condition("Ready")["reason"] == "VolumeChangeUnsupported", 60)
    message = cell.condition("Ready")["message"]
    assert "spec.nodePools[nodes].storage.volumes[0].size" in message
    assert "never shrinks" in message
    assert cell.pod_uids() == before
    cell.apply(cluster({"id": 0, "size": "2Gi"}))
    cell.wait_ready(60)


def test_a_volume_is_added_with_one_restart_of_each_node(cell: Cell, traffic: Traffic) -> None:
    traffic.wait_flowing()
    before, marks = cell.pod_uids(), formatted(cell)
    cell.apply(cluster({"id": 0, "size": "2Gi"}, {"id": 1, "size": "1Gi"}, config={"queued.max.requests": 450}))
    cell.wait_ready(300)
    traffic.stop()
    after = cell.pod_uids()
    assert all(after[node] != before[node] for node in before)
    journal = cell.cluster()["status"]["lastOperation"]["journal"]
    stops = [entry["target"] for entry in journal if entry["verb"] == "Stopping"]
    assert sorted(stops) == ["0", "1", "2"]
    now = formatted(cell)
    assert {claim: now[claim] for claim in marks} == marks, "what was formatted is not formatted again"
    assert len(now) == 6
    assert len(set(now.values())) == 6
    traffic.assert_nothing_lost()
    report = cell.kubectl("logs", "cell-nodes-0", "-c", "format")
    assert "formatting /var/lib/kafka/data-1" in report
    cell.apply(topic("spread", partitions=8))
    cell.wait("it", lambda: cell.get("kafkatopics.kfleet.dev", "spread").get("status"), 60)


def formatted(cell: Cell) -> dict[str, str]:
    return {
        pvc["metadata"]["name"]: pvc["metadata"]["annotations"].get("kfleet.dev/formatted", "")
        for pvc in cell.get("pvc")["items"]
    }
