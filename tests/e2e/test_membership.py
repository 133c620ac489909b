"""Three combined nodes become five voters and three again, and one whose disk is lost comes back on an empty one.

The tests run in order on one cluster.
"""

from __future__ import annotations

import json
from typing import Any

from confluent_kafka.admin import AdminClient
from support.cell import Cell, combined_cluster, topic
from support.sandbox import Sandbox


def sized(replicas: int) -> dict[str, Any]:
    cluster = combined_cluster()
    cluster["spec"]["nodePools"][0]["replicas"] = replicas
    return cluster


def wait_brokers(cell: Cell, wanted: list[int]) -> None:
    """Until the broker that is asked has heard of it: its metadata follow the controllers' a moment later."""
    client = AdminClient({"bootstrap.servers": cell.bootstrap()})
    cell.wait(f"brokers {wanted}", lambda: sorted(client.list_topics(timeout=20).brokers) == wanted, 60)


def voters(cell: Cell, sandbox: Sandbox) -> dict[int, str]:
    """Directory ids by node id, as Kafka says."""
    done = sandbox.kfleet("cluster", "snapshot", cell.name, "-n", cell.namespace)
    assert done.returncode == 0, done.stderr
    return {one["id"]: one["directory_id"] for one in json.loads(done.stdout)["quorum"]["voters"]}


def claim_marks(cell: Cell, node: int) -> dict[str, str]:
    marks: dict[str, str] = cell.get("pvc", f"data-0-cell-nodes-{node}")["metadata"]["annotations"]
    return marks


def last(cell: Cell) -> tuple[str, str]:
    operation = cell.cluster()["status"].get("lastOperation", {})
    return operation.get("kind", ""), operation.get("outcome", "")


def test_more_voters_join(cell: Cell, sandbox: Sandbox) -> None:
    cell.apply(sized(3))
    cell.wait_ready(240)
    cell.apply(topic("t", partitions=3))
    before = cell.pod_uids()
    cell.apply(sized(5))
    cell.wait_ready(300)
    assert sorted(voters(cell, sandbox)) == [0, 1, 2, 3, 4]
    wait_brokers(cell, [0, 1, 2, 3, 4])
    assert last(cell) == ("Membership", "Succeeded")
    after = cell.pod_uids()
    assert {node: after[node] for node in before} == before, "nobody was restarted"


def test_they_leave_again_and_keep_their_claims(cell: Cell, sandbox: Sandbox) -> None:
    before = cell.pod_uids()
    cell.apply(sized(3))
    cell.wait_ready(240)
    assert sorted(voters(cell, sandbox)) == [0, 1, 2]
    wait_brokers(cell, [0, 1, 2])
    assert {claim_marks(cell, node).get("kfleet.dev/retired") for node in (3, 4)} == {"true"}
    assert cell.pod_uids() == {node: before[node] for node in (0, 1, 2)}


def test_a_node_whose_disk_is_lost_comes_back_when_a_person_says_so(cell: Cell, sandbox: Sandbox) -> None:
    was = voters(cell, sandbox)[1]
    target = f"{cell.namespace}/data-0-cell-nodes-1"
    assert sandbox.kfleet("sandbox", "fail", "disk", target, "--name", sandbox.config.name).returncode == 0
    cell.kubectl("delete", "pod", "cell-nodes-1", "--wait=false")
    cell.wait("DiskLost", lambda: cell.condition("Ready")["reason"] == "DiskLost", 120)
    assert voters(cell, sandbox)[1] == was
    asked = sandbox.kfleet("cluster", "replace-node", cell.name, "1", "--confirm", cell.name, "-n", cell.namespace)
    assert asked.returncode == 0, asked.stderr
    cell.wait("the request is met", lambda: "replacement" in cell.cluster()["status"], 240)
    assert cell.cluster()["status"]["replacement"]["request"] == annotations_of(cell)["kfleet.dev/replace-node"] == "1"
    cell.wait_ready(120)
    now = voters(cell, sandbox)
    assert sorted(now) == [0, 1, 2]
    assert now[1] == claim_marks(cell, 1)["kfleet.dev/formatted"] != was
    wait_brokers(cell, [0, 1, 2])
    client = AdminClient({"bootstrap.servers": cell.bootstrap()})

    def in_sync() -> bool:
        partitions = client.list_topics("t", timeout=20).topics["t"].partitions.values()
        return all(sorted(partition.isrs) == sorted(partition.replicas) for partition in partitions)

    cell.wait("every replica in sync", in_sync, 60)


def annotations_of(cell: Cell) -> dict[str, str]:
    found: dict[str, str] = cell.cluster()["metadata"].get("annotations") or {}
    return found
