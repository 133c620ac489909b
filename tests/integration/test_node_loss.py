"""Losing a node and getting it back, in a sandbox of its own: Services, leases, volumes, addresses, data."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from support.node_space import WAIT_SECONDS, Space, ready, space, state
from support.sandbox import Sandbox, running_sandbox, wait
from support.web import answers, web_pod, web_service

from controlplane.adapters.kubernetes.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PODS
from controlplane.ports import Object
from controlplane.sandbox import faults, processes

pytestmark = pytest.mark.sandbox
GRACE_SECONDS = 15.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    overrides = {"node_monitor_grace": GRACE_SECONDS, "node_lease_renew": 1.0}
    with running_sandbox(tmp_path_factory.mktemp("state"), "test-loss", overrides) as sandbox:
        yield sandbox


@pytest.fixture
async def here(own: Sandbox) -> AsyncIterator[Space]:
    async with space(own) as found:
        yield found


async def pod_with_data(here: Space, name: str, zone: str) -> Object:
    """A web pod in that zone; each start adds a line to a file on its volume and logs how many there are."""
    size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await here.create(PERSISTENT_VOLUME_CLAIMS, name, spec=size)
    return await web_pod(
        here,
        name,
        first="date +%s%N >> data/starts; wc -l < data/starts",
        nodeSelector={"topology.kubernetes.io/zone": zone},
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
        mounts=[{"name": "data", "mountPath": "/data"}],
    )


async def zone_is_avoided(here: Space, zone: str) -> None:
    """Until the scheduler leaves the zone alone: it hears of a taint when it hears of it, so it is asked with a pod."""
    for number in itertools.count():
        name = f"asks-{number}"
        await here.pod(name, "exec sleep 600", nodeSelector={"topology.kubernetes.io/zone": zone})
        asked = await here.until(name, lambda pod: scheduled(pod) is not None, "seen by the scheduler")
        if scheduled(asked) == "False":
            return


def scheduled(pod: Object) -> str | None:
    """Status of the condition PodScheduled."""
    conditions = pod["status"].get("conditions") or []
    return next((one["status"] for one in conditions if one["type"] == "PodScheduled"), None)


async def node_is(here: Space, node: str, wanted: str) -> None:
    """Until the node's Ready condition has this status."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for event in here.kube.watch(NODES, fields=f"metadata.name={node}"):
            conditions = event.object.get("status", {}).get("conditions") or []
            if any(one["type"] == "Ready" and one["status"] == wanted for one in conditions):
                return


def belongs_to(sandbox: Sandbox, node: str) -> list[str]:
    """Command lines of everything that runs for one node: itself, supervisors, containers."""
    marks = (f"--name {node}", f"/nodes/{node}/")
    return [command for command in sandbox.processes().values() if any(mark in command for mark in marks)]


async def test_a_lost_node_comes_back_with_its_pods_addresses_and_data(here: Space) -> None:
    sandbox = here.sandbox
    before, _ = await asyncio.gather(
        pod_with_data(here, "lost", "a"), web_pod(here, "other", nodeSelector={"topology.kubernetes.io/zone": "b"})
    )
    address = await web_service(here)
    await answers(address, {"lost", "other"})

    said = await asyncio.to_thread(faults.fail, sandbox.paths, "node", "node-a")
    assert "lost node-a with 1 containers" in said
    assert here.records("lost") == []
    assert belongs_to(sandbox, "node-a") == []
    await node_is(here, "node-a", "Unknown")
    await answers(address, {"other"})
    gone = await here.kube.get(PODS, "lost", here.namespace)
    assert not ready(gone)

    await asyncio.to_thread(sandbox.up)
    assert processes.find(sandbox.paths, "node-a") is None, "up leaves a lost node alone"
    status = await asyncio.to_thread(sandbox.kfleet, "sandbox", "status", "--name", sandbox.paths.root.name)
    assert status.returncode == 3
    assert "a fault keeps it down" in status.stdout

    assert await asyncio.to_thread(faults.heal, sandbox.paths, "node", "node-a") == "node-a is starting"
    await node_is(here, "node-a", "True")
    after = await here.until("lost", lambda pod: ready(pod) and state(pod)["restartCount"] == 1, "Ready again")
    await answers(address, {"lost", "other"})
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert here.logs("lost").strip() == "2", "its volume remembers the start before the loss"
    assert faults.active(sandbox.paths) == []


async def test_a_pod_made_again_on_a_lost_volume_gets_its_address_back(here: Space) -> None:
    """What the operator does: the pod is replaced, and its volume ties it to the node that was lost."""
    before = await pod_with_data(here, "again", "c")
    await asyncio.to_thread(faults.fail, here.sandbox.paths, "zone", "c")
    await node_is(here, "node-c", "Unknown")
    await zone_is_avoided(here, "c")
    await here.kube.delete(PODS, "again", here.namespace, grace_seconds=0)
    body = {
        "metadata": {"name": "again", "labels": before["metadata"]["labels"]},
        "spec": before["spec"] | {"nodeName": ""},
    }
    await here.kube.create(PODS, body, here.namespace)
    pending = await here.until("again", lambda pod: scheduled(pod) is not None, "seen by the scheduler")
    assert pending["status"]["phase"] == "Pending"
    assert "nodeName" not in pending["spec"]

    await asyncio.to_thread(faults.heal, here.sandbox.paths, "all", "")
    after = await here.until("again", ready, "Ready")
    assert after["spec"]["nodeName"] == "node-c"
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert here.logs("again").strip() == "2"


async def test_losing_a_node_loses_no_service(here: Space) -> None:
    """Proxy and provisioner belong to no node."""
    await web_pod(here, "stays", nodeSelector={"topology.kubernetes.io/zone": "b"})
    address = await web_service(here)
    await asyncio.to_thread(faults.fail, here.sandbox.paths, "node", "node-a")
    await answers(address, {"stays"})
    assert {processes.find(here.sandbox.paths, part) is not None for part in ("proxy", "provisioner")} == {True}
    await asyncio.to_thread(faults.heal, here.sandbox.paths, "node", "node-a")
    wait("node-a runs", lambda: processes.find(here.sandbox.paths, "node-a") is not None)
