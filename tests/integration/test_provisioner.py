"""Local volumes for real claims: where their pod runs, kept or removed as the class says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from support.node_space import Space, ready, space
from support.sandbox import Sandbox, wait

from controlplane.adapters.kubernetes.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from controlplane.ports import KubeError, NotFoundError, Object
from controlplane.sandbox.provisioner.volumes import PROVISIONER, SELECTED_NODE

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def here(sandbox: Sandbox) -> AsyncIterator[Space]:
    async with space(sandbox) as found:
        yield found


async def claim(here: Space, name: str = "data", annotations: dict[str, str] | None = None, **spec: object) -> Object:
    default = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"metadata": {"name": name, "annotations": annotations or {}}, "spec": default | spec}
    return await here.kube.create(PERSISTENT_VOLUME_CLAIMS, body, here.namespace)


async def user_of(here: Space, name: str = "data", zone: str = "b") -> Object:
    """A pod that has written into the claim's volume."""
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    ready_file = {"readinessProbe": {"exec": {"command": ["sh", "-c", "test -s $KFLEET_POD_ROOT/data/file"]}}}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]
    where = {"topology.kubernetes.io/zone": zone}
    script = 'echo "$HOSTNAME" >> $KFLEET_POD_ROOT/data/file; exec sleep 600'
    await here.pod(f"user-{name}", script, main=mount | ready_file, volumes=volumes, nodeSelector=where)
    return await here.until(f"user-{name}", ready, "Ready")


async def volume_of(here: Space, name: str = "data") -> tuple[Object, Path]:
    bound = await here.kube.get(PERSISTENT_VOLUME_CLAIMS, name, here.namespace)
    volume = await here.kube.get(PERSISTENT_VOLUMES, bound["spec"]["volumeName"])
    return volume, Path(volume["spec"]["local"]["path"])


async def until_volume(here: Space, name: str, holds: Callable[[Object], bool]) -> None:
    async for event in here.kube.watch(PERSISTENT_VOLUMES, fields=f"metadata.name={name}"):
        if event.type == "DELETED" or (event.object and holds(event.object)):
            return
        if event.type == "SYNCED":
            try:
                await here.kube.get(PERSISTENT_VOLUMES, name)
            except NotFoundError:
                return


async def release(here: Space, name: str = "data") -> None:
    await here.kube.delete(PODS, f"user-{name}", here.namespace, grace_seconds=0)
    await here.kube.delete(PERSISTENT_VOLUME_CLAIMS, name, here.namespace)


@pytest.fixture
async def deleting_class(here: Space) -> AsyncIterator[str]:
    name = f"deleting-{here.namespace}"
    body = {
        "metadata": {"name": name},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }
    await here.kube.create(STORAGE_CLASSES, body)
    yield name
    await here.kube.delete(STORAGE_CLASSES, name)


async def test_a_volume_lies_where_its_pod_runs_and_is_retained(here: Space) -> None:
    made = await claim(here)
    pod = await user_of(here, zone="b")
    volume, path = await volume_of(here)
    assert volume["metadata"]["name"] == f"pvc-{made['metadata']['uid']}"
    assert volume["spec"]["claimRef"]["uid"] == made["metadata"]["uid"]
    assert path.parent == here.sandbox.paths.volumes("node-b")
    assert pod["spec"]["nodeName"] == "node-b"
    assert (path / "file").exists()
    await here.event("data", "ProvisioningSucceeded")

    await release(here)
    await until_volume(here, volume["metadata"]["name"], lambda one: one["status"]["phase"] == "Released")
    assert (path / "file").exists()
    assert (await here.kube.get(PERSISTENT_VOLUMES, volume["metadata"]["name"]))["status"]["phase"] == "Released"
    await here.kube.delete(PERSISTENT_VOLUMES, volume["metadata"]["name"])
    await until_volume(here, volume["metadata"]["name"], lambda _: False)
    assert (path / "file").exists(), "Retain keeps the data whatever happens to the object"


async def test_delete_removes_directory_and_volume(here: Space, deleting_class: str) -> None:
    await claim(here, storageClassName=deleting_class)
    await user_of(here)
    volume, path = await volume_of(here)
    assert (path / "file").exists()
    await release(here)
    await until_volume(here, volume["metadata"]["name"], lambda _: False)
    assert not path.exists()


async def test_a_deleted_volume_waits_for_its_claim_and_leaves_no_directory(here: Space, deleting_class: str) -> None:
    await claim(here, storageClassName=deleting_class)
    await user_of(here)
    volume, path = await volume_of(here)
    await here.kube.delete(PERSISTENT_VOLUMES, volume["metadata"]["name"])
    await until_volume(here, volume["metadata"]["name"], lambda one: bool(one["metadata"].get("deletionTimestamp")))
    assert (path / "file").exists(), "a claim still uses it"
    await release(here)
    await until_volume(here, volume["metadata"]["name"], lambda _: False)
    wait("the directory is gone", lambda: not path.exists())


async def test_a_claim_grows_where_its_class_allows_it(here: Space, deleting_class: str) -> None:
    await claim(here)
    pod = await user_of(here)
    larger = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    await here.kube.patch(PERSISTENT_VOLUME_CLAIMS, "data", here.namespace, larger)
    await here.event("data", "VolumeResizeSuccessful")
    grown = await here.kube.get(PERSISTENT_VOLUME_CLAIMS, "data", here.namespace)
    volume, path = await volume_of(here)
    assert grown["status"]["capacity"]["storage"] == volume["spec"]["capacity"]["storage"] == "3Gi"
    assert (path / "file").exists()
    assert (await here.kube.get(PODS, "user-data", here.namespace))["metadata"]["uid"] == pod["metadata"]["uid"]

    await claim(here, "fixed", storageClassName=deleting_class)
    await user_of(here, "fixed")
    with pytest.raises(KubeError, match="only dynamically provisioned pvc can be resized and the storageclass"):
        await here.kube.patch(PERSISTENT_VOLUME_CLAIMS, "fixed", here.namespace, larger)
    await release(here, "fixed")


async def test_what_a_directory_cannot_be_is_refused_with_an_event(here: Space) -> None:
    await claim(here, annotations={SELECTED_NODE: "node-a"}, accessModes=["ReadWriteMany"])
    event = await here.event("data", "ProvisioningFailed")
    assert "spec.accessModes: ReadWriteMany is not possible" in event["message"]


async def test_a_node_that_is_gone_is_given_back_to_the_scheduler(here: Space) -> None:
    await claim(here, annotations={SELECTED_NODE: "node-ghost"})
    await here.event("data", "ProvisioningFailed", "node-ghost does not exist any more")
    pod = await user_of(here, zone="c")
    _, path = await volume_of(here)
    assert path.parent == here.sandbox.paths.volumes("node-c")
    assert pod["spec"]["nodeName"] == "node-c"
