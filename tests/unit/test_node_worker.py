"""The loop of one pod on real processes, without an API server: what it does with containers that end at once."""

from __future__ import annotations

import asyncio
import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.sandbox.images import Runtime
from controlplane.sandbox.node import container
from controlplane.sandbox.node.worker import PodWorker

SECONDS = 60.0


class Client:
    """Takes the pod's status, as the API server does."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self.pod = pod

    async def patch(self, *_: object, **__: object) -> dict[str, Any]:
        body = _[3]
        assert isinstance(body, dict)
        meta = self.pod["metadata"]
        meta = meta | {"resourceVersion": str(int(meta["resourceVersion"]) + 1)}
        self.pod = self.pod | {"metadata": meta, "status": body["status"]}
        return self.pod


def context(directory: Path, client: Client) -> Any:
    def nothing(*_: object, **__: object) -> None:
        return None

    quiet = types.SimpleNamespace(normal=nothing, warning=nothing, forget=nothing)
    runtime = Runtime(path=(Path("/usr/bin"), Path("/bin")), env={})
    return types.SimpleNamespace(
        client=client,
        sources=quiet,
        tokens=quiet,
        events=quiet,
        addresses=types.SimpleNamespace(claim=lambda *_: "127.0.0.1", release=nothing),
        images=types.SimpleNamespace(puller=lambda *_: types.SimpleNamespace(look=lambda _: runtime)),
        config=types.SimpleNamespace(restart_backoff=0.1, restart_backoff_max=0.1),
        http=None,
        service_env={},
        pod_dir=lambda uid: directory / uid,
        place=lambda ip: types.SimpleNamespace(node="node", pod_ip=ip, allocatable={}),
    )


def pod(*inits: str, main: str, policy: str = "Always") -> dict[str, Any]:
    def one(name: str, script: str) -> dict[str, Any]:
        return {"name": name, "image": "busybox", "command": ["sh", "-c", script]}

    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"},
        "spec": {
            "restartPolicy": policy,
            "initContainers": [one(f"init-{number}", script) for number, script in enumerate(inits)],
            "containers": [one("main", main)],
        },
    }


@pytest.fixture
def ends_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that ends at once is over, with its supervisor, when its start returns."""
    spawn = container._spawn

    def wait(spec: dict[str, Any], record: Path) -> subprocess.Popen[str]:
        process = spawn(spec, record)
        if "sleep" not in spec["argv"][-1]:
            process.wait()
        return process

    monkeypatch.setattr(container, "_spawn", wait)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


def state(client: Client) -> dict[str, Any]:
    statuses = client.pod.get("status", {}).get("containerStatuses") or [{}]
    found: dict[str, Any] = statuses[0].get("state", {})
    return found


@pytest.mark.usefixtures("ends_before_it_is_looked_at")
async def test_init_containers_that_end_at_once_are_followed_by_the_container(tmp_path: Path) -> None:
    client = Client(pod("true", "true", main="exec sleep 60"))
    worker = PodWorker(context(tmp_path, client), client.pod, None)
    try:
        await until(lambda: "running" in state(client))
    finally:
        worker.remove()
        await asyncio.wait_for(worker.task, SECONDS)
    assert worker.finished


@pytest.mark.usefixtures("ends_before_it_is_looked_at")
async def test_an_init_container_that_fails_at_once_and_is_not_restarted_ends_the_pod(tmp_path: Path) -> None:
    client = Client(pod("exit 3", main="exec sleep 60", policy="Never"))
    worker = PodWorker(context(tmp_path, client), client.pod, None)
    try:
        await until(lambda: client.pod.get("status", {}).get("phase") == "Failed")
        assert "running" not in state(client)
    finally:
        worker.remove()
        await asyncio.wait_for(worker.task, SECONDS)
