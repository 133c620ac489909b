"""The provisioner killed before and after each of its writes: the next one finishes, and makes nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fake_kube import FakeKube

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kubernetes.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
)
from controlplane.ports import Object, Resource
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.provisioner import volumes
from controlplane.sandbox.provisioner.server import Provisioner
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key


class Killed(BaseException):
    """What SIGKILL is to a test: nothing of ours catches it."""


class DeadlyKube(FakeKube):
    """Dies at the nth write to anything but Events, before or after it took effect."""

    def __init__(self) -> None:
        super().__init__()
        self.deadline: tuple[int, bool] | None = None
        self.writes = 0

    async def _write(self, call: str, resource: Resource, arguments: tuple[Any, ...], fields: dict[str, Any]) -> Any:
        method = getattr(FakeKube, call)
        if resource.plural == "events":
            return await method(self, resource, *arguments, **fields)
        self.writes += 1
        if self.deadline == (self.writes, False):
            raise Killed
        result = await method(self, resource, *arguments, **fields)
        if self.deadline == (self.writes, True):
            raise Killed
        return result

    async def create(self, resource: Resource, *arguments: Any, **fields: Any) -> Object:
        return await self._write("create", resource, arguments, fields)

    async def patch(self, resource: Resource, *arguments: Any, **fields: Any) -> Object:
        return await self._write("patch", resource, arguments, fields)

    async def delete(self, resource: Resource, *arguments: Any, **fields: Any) -> None:
        await self._write("delete", resource, arguments, fields)


async def world(policy: str) -> DeadlyKube:
    kube = DeadlyKube()
    await kube.create(NODES, {"metadata": {"name": "node-a", "labels": {volumes.HOSTNAME: "node-a"}}})
    await kube.create(
        STORAGE_CLASSES,
        {
            "metadata": {"name": "standard"},
            "provisioner": volumes.PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": policy,
        },
    )
    asked = {volumes.ASKED[0]: volumes.PROVISIONER, volumes.SELECTED_NODE: "node-a"}
    spec = {
        "storageClassName": "standard",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    claim = {"metadata": {"name": "data", "namespace": "ns", "annotations": asked}, "spec": spec}
    await kube.create(PERSISTENT_VOLUME_CLAIMS, claim)
    kube.writes = 0
    return kube


async def one_life(kube: DeadlyKube, paths: SandboxPaths) -> None:
    """Start, sweep, and one pass over everything there is; Killed when the deadline strikes."""
    provisioner = Provisioner(kube, EventRecorder(kube, SystemClock(), component="test"), paths)
    await provisioner._sweep()
    for resource in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES):
        for obj in await kube.list(resource):
            if provisioner._concerns(resource, obj):
                meta = obj["metadata"]
                key = Key(resource.kind, meta.get("namespace", ""), meta["name"])
                provisioner._seen[key] = obj
                await provisioner.reconcile(key)


def directories(paths: SandboxPaths) -> list[Path]:
    return sorted(paths.volumes("x").parent.glob("*/*"))


@pytest.mark.parametrize("after", [False, True])
async def test_killed_around_the_creation_of_a_volume(tmp_path: Path, after: bool) -> None:  # noqa: FBT001
    paths, kube = SandboxPaths(tmp_path), await world("Retain")
    kube.deadline = (1, after)
    with pytest.raises(Killed):
        await one_life(kube, paths)
    kube.deadline = None
    for _ in range(2):
        await one_life(kube, paths)
    (volume,) = await kube.list(PERSISTENT_VOLUMES)
    assert directories(paths) == [Path(volume["spec"]["local"]["path"])]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", [1, 2])
async def test_killed_around_the_removal_of_a_volume(tmp_path: Path, write: int, after: bool) -> None:  # noqa: FBT001
    """Write 1 deletes the released object (it stays for its finalizer), write 2 drops the finalizer."""
    paths, kube = SandboxPaths(tmp_path), await world("Delete")
    await one_life(kube, paths)
    (volume,) = await kube.list(PERSISTENT_VOLUMES)
    await kube.delete(PERSISTENT_VOLUME_CLAIMS, "data", "ns")
    going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}} if write == 2 else {}
    await kube.patch(PERSISTENT_VOLUMES, volume["metadata"]["name"], None, {"status": {"phase": "Released"}} | going)
    kube.writes, kube.deadline = 0, (1, after)
    with pytest.raises(Killed):
        await one_life(kube, paths)
    assert directories(paths) == [], "the directory goes before the object does"
    kube.deadline = None
    for _ in range(2):  # its deletion wakes the provisioner once more
        await one_life(kube, paths)
    assert await kube.list(PERSISTENT_VOLUMES) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", [1, 2])
async def test_killed_around_the_growth_of_a_volume(tmp_path: Path, write: int, after: bool) -> None:  # noqa: FBT001
    """Write 1 is the volume's capacity, write 2 the claim's; until then it is growing."""
    paths, kube = SandboxPaths(tmp_path), await world("Retain")
    await one_life(kube, paths)
    (volume,) = await kube.list(PERSISTENT_VOLUMES)
    bound = {
        "spec": {"volumeName": volume["metadata"]["name"], "resources": {"requests": {"storage": "3Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
    }
    await kube.patch(PERSISTENT_VOLUME_CLAIMS, "data", "ns", bound)
    kube.writes, kube.deadline = 0, (write, after)
    with pytest.raises(Killed):
        await one_life(kube, paths)
    kube.deadline = None
    await one_life(kube, paths)
    (volume,) = await kube.list(PERSISTENT_VOLUMES)
    claim = await kube.get(PERSISTENT_VOLUME_CLAIMS, "data", "ns")
    assert volume["spec"]["capacity"] == claim["status"]["capacity"] == {"storage": "3Gi"}
    kube.writes = 0
    await one_life(kube, paths)
    assert kube.writes == 0, "nothing is left to do"


async def test_an_empty_leftover_is_swept_and_data_never(tmp_path: Path) -> None:
    paths, kube = SandboxPaths(tmp_path), await world("Retain")
    empty, full = (paths.volumes("node-b") / name for name in ("pvc-left", "pvc-full"))
    empty.mkdir(parents=True)
    full.mkdir()
    (full / "data").write_text("x")
    await one_life(kube, paths)
    assert not empty.exists()
    assert (full / "data").read_text() == "x"
