"""`kubectl drain` on real parts: what it takes, what it is refused meanwhile, and what leaves a machine by itself.

First with volumes that can be reached from every machine (PersistentVolumes without node affinity; the three process
nodes are one host), then with those of the sandbox, which stay where they are. The tests run in order.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.audit import keep
from support.cell import Cell, combined_cluster, topic
from support.sandbox import Sandbox, shared_sandbox
from support.traffic import Traffic

TOPIC = "orders"
MACHINES = ("node-a", "node-b", "node-c")
CLASS = "anywhere"
EVERYWHERE = {"key": "kubernetes.io/hostname", "operator": "Exists"}
FLAGS = ("--ignore-daemonsets", "--delete-emptydir-data", "--force")


@pytest.fixture(scope="module")
def sandbox(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Of its own: whoever has pods on a cordoned machine minds it, and other modules run beside this one. Like the
    shared one it is taken down by the next run if this one is killed."""
    root = sandbox.paths.root
    with shared_sandbox(root.parents[1], f"{root.name}-drain") as own:
        yield own
        keep(sandbox.paths.audit_log, "drain", own.paths.audit_log)


def drain(cell: Cell, machine: str, *, seconds: int) -> subprocess.CompletedProcess[str]:
    """As an administrator would."""
    selector = "--pod-selector=kfleet.dev/cluster=cell"
    command = [str(cell.kubectl_binary), "--kubeconfig", str(cell.kubeconfig), "drain", machine, selector]
    return subprocess.run(
        [*command, *FLAGS, f"--timeout={seconds}s"], capture_output=True, text=True, timeout=seconds + 60, check=False
    )


@pytest.fixture
def uncordoned(cell: Cell) -> Iterator[None]:
    yield
    for machine in MACHINES:
        cell.kubectl("uncordon", machine)


@pytest.fixture
def traffic(cell: Cell, tmp_path: Path) -> Iterator[Traffic]:
    flow = Traffic(cell.bootstrap(), TOPIC, tmp_path / "canary.jsonl")
    yield flow
    flow.stop()


@pytest.fixture(scope="module")
def anywhere(cell: Cell, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A StorageClass with three volumes that follow their pods."""
    name = f"{CLASS}-{cell.namespace}"
    body = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    cell.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}} | body)
    root = tmp_path_factory.mktemp("volumes")
    for number in range(3):
        (root / str(number)).mkdir()
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
            "hostPath": {"path": str(root / str(number))},
            # Said to be reachable everywhere: without this a hostPath is taken to be its machine's own.
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [EVERYWHERE]}]}},
        }
        meta = {"name": f"{name}-{number}"}
        cell.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})
    yield name
    cell.kubectl("delete", "pv", *(f"{name}-{number}" for number in range(3)), "--wait=false", check=False)
    cell.kubectl("delete", "storageclass", name, check=False)


def machines(cell: Cell) -> dict[int, str]:
    return {node: pod["spec"].get("nodeName", "") for node, pod in cell.pods().items()}


def cluster(storage_class: str | None, zones: list[str], **spec: Any) -> dict[str, Any]:
    body = combined_cluster(**spec)
    pool = body["spec"]["nodePools"][0]
    pool["storage"] = {
        "volumes": [{"id": 0, "size": "1Gi"} | ({"storageClassName": storage_class} if storage_class else {})]
    }
    pool["zones"] = zones
    return body


def test_a_cordoned_machine_is_left_by_a_planned_restart_under_traffic(
    cell: Cell, anywhere: str, traffic: Traffic, uncordoned: None
) -> None:
    traffic.wait_flowing()
    before, lived = cell.pod_uids(), machines(cell)
    machine = lived[0]
    leaving = {node for node, where in lived.items() if where == machine}
    cell.kubectl("cordon", machine)
    cell.wait("all have left", lambda: machine not in machines(cell).values() and cell.is_ready(), 240)
    traffic.stop()
    after = cell.pod_uids()
    assert {node for node in after if after[node] != before[node]} == leaving
    journal = cell.cluster()["status"]["lastOperation"]["journal"]
    stops = [entry for entry in journal if entry["verb"] == "Stopping"]
    assert {int(entry["target"]) for entry in stops} == leaving
    emptied = drain(cell, machine, seconds=30)
    assert emptied.returncode == 0, emptied.stderr
    traffic.assert_nothing_lost()


@pytest.fixture(autouse=True, scope="module")
def _made(cell: Cell, anywhere: str) -> None:
    cell.apply(cluster(anywhere, []))
    cell.wait_ready()
    cell.apply(topic(TOPIC))
    cell.wait("the topic", lambda: cell.get("kafkatopics.kfleet.dev", TOPIC).get("status"), 60)


def test_an_eviction_is_refused_while_a_roll_is_under_way_and_asks_again(cell: Cell, uncordoned: None) -> None:
    """`kubectl drain` says so in Kubernetes' own words, and ends well once the roll has let go."""
    cell.patch({"config": {"queued.max.requests": 450}})
    cell.wait("a roll", lambda: cell.cluster()["status"].get("operation"), 60)
    cell.wait("its first restart", lambda: len([p for p in cell.pods().values() if _ready(p)]) < 3, 60)
    # Only a pod that is Ready is under the budget's protection; the one that restarts may be evicted at any time.
    protected = {node: pod for node, pod in cell.pods().items() if _ready(pod) and not _leaves(pod)}
    machine = protected[max(protected)]["spec"]["nodeName"]  # not the next to restart
    done = drain(cell, machine, seconds=300)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "Cannot evict pod as it would violate the pod's disruption budget" in said
    assert "will retry after 5s" in said
    cell.wait_ready(240)
    assert machine not in machines(cell).values()


def _leaves(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def test_a_volume_that_cannot_move_waits_for_its_machine_and_nobody_follows(cell: Cell, uncordoned: None) -> None:
    cell.kubectl("delete", "kafkaclusters.kfleet.dev", "cell", "--timeout=60s")
    cell.kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=60s")
    cell.kubectl("delete", "pvc,configmaps", "-l", "kfleet.dev/cluster=cell", "--timeout=60s")
    cell.apply(cluster(None, ["a", "b", "c"]))
    cell.wait_ready()
    cell.wait("the gate", lambda: cell.get("poddisruptionbudgets", "cell-nodes")["spec"]["minAvailable"] == 2, 60)
    before, lived = cell.pod_uids(), machines(cell)
    first, second = lived[0], lived[1]
    cell.kubectl("cordon", first)
    cell.wait_looked_at()
    assert cell.pod_uids() == before, "cordoning alone takes nothing down that could not come back"
    done = drain(cell, first, seconds=180)
    assert done.returncode == 0, done.stderr
    cell.wait("the reason", lambda: cell.condition("Blocked")["reason"] == "VolumeOnCordonedMachine", 60)
    assert f"kubectl uncordon {first}" in cell.condition("Blocked")["message"]
    refused = drain(cell, second, seconds=12)
    assert refused.returncode != 0
    assert "disruption budget" in refused.stdout + refused.stderr
    now = cell.pod_uids()
    assert {node for node in before if now.get(node) != before[node]} == {0}, json.dumps(now)
    cell.kubectl("uncordon", first)
    cell.kubectl("uncordon", second)
    cell.wait_ready(180)
    assert machines(cell) == lived
