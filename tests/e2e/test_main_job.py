"""The main job on real parts: one cluster of three combined nodes, from its creation to its deletion, under traffic.

The tests run in order on one cluster; each leaves it Ready for the next.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.audit import OPERATOR_USER, pods_done
from support.cell import Cell, combined_cluster, topic
from support.sandbox import Sandbox
from support.traffic import Traffic

TOPIC = "orders"


@pytest.fixture
def traffic(cell: Cell, tmp_path: Path) -> Iterator[Traffic]:
    flow = Traffic(cell.bootstrap(), TOPIC, tmp_path / "canary.jsonl")
    yield flow
    flow.stop()


def test_create(cell: Cell) -> None:
    """A declared cluster comes up, each node in its zone, and a declared topic is there with its configuration."""
    cell.apply(combined_cluster(), topic(TOPIC, config={"min.insync.replicas": 2, "retention.ms": 600000}))
    cell.wait_ready(240)
    cell.wait_topic(TOPIC)
    cell.wait_drainable()
    status = cell.cluster()["status"]
    assert [node["rack"] for node in status["nodes"]] == ["a", "b", "c"]
    assert all(node["ready"] and node["version"] == "4.2.0" for node in status["nodes"])
    assert status["metadataVersion"] == "4.2-IV1"
    assert cell.get("poddisruptionbudgets", "cell-nodes")["spec"]["minAvailable"] == 2
    for claim in cell.get("pvc")["items"]:
        assert {"kfleet.dev/identity", "kfleet.dev/formatted"} <= claim["metadata"]["annotations"].keys()
        assert "ownerReferences" not in claim["metadata"], "a deleted cluster must keep its volumes"


def test_dynamic_config_restarts_nothing(cell: Cell) -> None:
    before = cell.pod_uids()
    cell.patch({"config": {"log.retention.ms": 7200000}})
    cell.wait(
        "config applied", lambda: cell.is_ready() and "log.retention.ms" in cell.cluster()["status"]["dynamicConfig"]
    )
    assert cell.pod_uids() == before


def deletions_and_creations(cell: Cell, sandbox: Sandbox) -> Counter[str]:
    """What the API server's audit log says the operators did to this cell's pods so far."""
    log, namespace = sandbox.paths.audit_log, cell.namespace
    deleted, made = (pods_done(log, OPERATOR_USER, verb, namespace) for verb in ("delete", "create"))
    return Counter({f"delete {pod}": n for pod, n in deleted.items()}) + Counter(
        {f"create {pod}": n for pod, n in made.items()}
    )


EACH_POD_ONCE = Counter({f"{verb} cell-nodes-{node}": 1 for verb in ("delete", "create") for node in range(3)})


def test_roll_with_the_operator_killed_before_and_after_each_write(
    cell: Cell, sandbox: Sandbox, traffic: Traffic, tmp_path: Path
) -> None:
    """The crash walk: every mutating call of the roll is one that the operator died before and after."""
    traffic.wait_flowing()
    before = deletions_and_creations(cell, sandbox)
    state = tmp_path / "walk.json"
    cell.operator.stop()
    cell.operator.start("support.crash_walk", str(state))
    cell.patch({"config": {"log.retention.ms": 7200000, "num.network.threads": 4}})

    def rolled() -> bool:
        return cell.is_ready() and not cell.cluster()["status"].get("operation")

    cell.wait("the roll to finish under the crash walk", rolled, 400)
    cell.operator.stop()
    cell.operator.start()
    assert deletions_and_creations(cell, sandbox) - before == EACH_POD_ONCE, "each pod replaced exactly once"
    kills = Path(f"{state}.journal").read_text().splitlines()
    calls = [line.split(" ", 2) for line in kills]
    walked = json.loads(state.read_text())["number"]
    assert [int(number) for number, phase, _ in calls if phase == "after"] == list(range(1, walked))
    kinds = {label.split(" ")[0] + " " + label.split(" ")[1] for _, _, label in calls}
    assert {"delete pods", "create pods", "replace kafkaclusters/status", "kafka elect_preferred_leaders"} <= kinds, (
        kinds
    )
    traffic.assert_nothing_lost()


def test_operator_stopped_past_takeover_ends_when_it_wakes(
    cell: Cell, sandbox: Sandbox, traffic: Traffic, tmp_path: Path
) -> None:
    """SIGSTOP in the middle of a roll, another takes the Lease, SIGCONT: the first exits and nothing is doubled."""
    traffic.wait_flowing()
    audited = deletions_and_creations(cell, sandbox)
    before = cell.pod_uids()
    first = cell.operator
    second = type(first)(first.kubeconfig, first.namespace, tmp_path / "second.log", identity="second")
    try:
        with cell.held():
            cell.patch({"config": {"log.retention.ms": 7200000, "num.network.threads": 5}})
            cell.wait("the first node to be restarted", lambda: cell.pod_uids() != before, 90)
            first.signal(signal.SIGSTOP)
            second.start()
            cell.wait("takeover", lambda: cell.lease_holder() == "second", 90)
            first.signal(signal.SIGCONT)
            assert first.wait(120) == 3, first.tail()
        cell.wait("the second operator to finish the roll", cell.is_ready, 180)
        assert deletions_and_creations(cell, sandbox) - audited == EACH_POD_ONCE, second.tail()
    finally:
        second.stop()
    first.start()
    traffic.assert_nothing_lost()


def test_a_node_that_never_becomes_ready_stops_the_roll_and_a_corrected_spec_goes_on(
    cell: Cell, traffic: Traffic
) -> None:
    traffic.wait_flowing()
    before = cell.pod_uids()
    cell.patch({"version": "4.3.1", "config": {"num.network.threads": "not-a-number"}})

    def changed() -> set[int]:
        return {node for node, uid in cell.pod_uids().items() if uid != before[node]}

    def blocked() -> dict[str, str] | None:
        """By a node that was restarted: before that, a follower that fell behind may hold the roll up for a moment."""
        condition = cell.condition("Blocked")
        named = any(f"node {node}" in condition["message"].lower() for node in changed())
        return condition if condition["status"] == "True" and named else None

    def told() -> bool:
        events = [event for event in cell.events() if event["reason"] == condition["reason"]]
        return any(f"node {stuck}" in event["message"].lower() for event in events)

    condition = cell.wait("the roll to stop", blocked, 120)
    assert len(changed()) == 1, "the roll stops at the first node"
    (stuck,) = changed()
    assert f"node {stuck}" in condition["message"].lower()
    cell.wait(f"an Event {condition['reason']} about node {stuck}", told, 60)
    cell.wait_available()
    assert changed() == {stuck}
    cell.patch({"version": "4.3.1", "config": {"num.network.threads": 3}})
    cell.wait_ready(240)
    after = cell.pod_uids()
    assert all(after[node] != before[node] for node in after)
    status = cell.cluster()["status"]
    assert {node["version"] for node in status["nodes"]} == {"4.3.1"}
    assert status["metadataVersion"] == "4.3-IV0", "finalised explicitly after the soak"
    traffic.assert_nothing_lost()


def test_metadata_downgrade_is_refused_and_touches_nothing(cell: Cell) -> None:
    before = cell.pod_uids()
    cell.patch({"version": "4.2.0"})
    condition = cell.wait(
        "a refusal", lambda: (c := cell.condition("Ready"))["reason"] == "VersionChangeRefused" and c, 60
    )
    assert "spec.version" in condition["message"]
    assert "4.3-IV0" in condition["message"]
    assert cell.pod_uids() == before
    cell.patch({"version": "4.3.1"})
    cell.wait_ready(60)
    assert cell.pod_uids() == before


def test_a_deleted_cluster_keeps_its_volumes_and_the_same_name_adopts_them(cell: Cell) -> None:
    identity = cell.cluster()["status"]["clusterId"]
    claims = {claim["metadata"]["uid"] for claim in cell.get("pvc")["items"]}
    cell.kubectl("delete", "kafkaclusters.kfleet.dev", cell.name)
    cell.wait("the pods to go", lambda: not cell.get("pods")["items"], 90)
    assert {claim["metadata"]["uid"] for claim in cell.get("pvc")["items"]} == claims
    cell.apply(combined_cluster(version="4.3.1"))
    cell.wait_ready(180)
    assert cell.cluster()["status"]["clusterId"] == identity
    assert {claim["metadata"]["uid"] for claim in cell.get("pvc")["items"]} == claims
    cell.wait_topic(TOPIC)
    assert cell.get("kafkatopics.kfleet.dev", TOPIC)["status"]["partitions"] == 6, "the topic, with what was in it"


def test_a_lost_disk_is_never_formatted_by_itself(cell: Cell, sandbox: Sandbox) -> None:
    claim = cell.get("pvc", "data-0-cell-nodes-1")
    mark = claim["metadata"]["annotations"]["kfleet.dev/formatted"]
    name = sandbox.config.name
    target = f"{cell.namespace}/data-0-cell-nodes-1"
    assert sandbox.kfleet("sandbox", "fail", "disk", target, "--name", name).returncode == 0
    cell.kubectl("delete", "pod", "cell-nodes-1", "--wait=false")

    def lost() -> bool:
        node = next(n for n in cell.cluster()["status"]["nodes"] if n["id"] == 1)
        ready = cell.condition("Ready")
        return node["state"] == "DiskLost" and ready["reason"] == "DiskLost" and mark in ready["message"]

    cell.wait("DiskLost, with the mark of the disk that is missed", lost, 90)
    cell.wait_available()
    assert cell.get("pvc", "data-0-cell-nodes-1")["metadata"]["annotations"]["kfleet.dev/formatted"] == mark
    assert sandbox.kfleet("sandbox", "heal", "disk", target, "--name", name).returncode == 0
    cell.kubectl("delete", "pod", "cell-nodes-1", "--wait=false")
    cell.wait_ready(120)
