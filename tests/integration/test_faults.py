"""`kfleet sandbox fail | heal` on real pods, volumes and Services."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.node_space import Space, ready, space, state
from support.sandbox import Sandbox
from support.web import Client, answers, ask, web_pod, web_service

from controlplane.adapters.kubernetes.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from controlplane.ports import Object
from controlplane.sandbox import faults
from controlplane.sandbox.node.records import ContainerRecord

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def here(sandbox: Sandbox) -> AsyncIterator[Space]:
    async with space(sandbox) as found:
        yield found


async def fail(here: Space, kind: str, target: str) -> str:
    return await asyncio.to_thread(faults.fail, here.sandbox.paths, kind, target)


async def heal(here: Space, kind: str, target: str) -> str:
    return await asyncio.to_thread(faults.heal, here.sandbox.paths, kind, target)


async def kfleet(here: Space, *arguments: str) -> subprocess.CompletedProcess[str]:
    name = here.sandbox.paths.root.name
    return await asyncio.to_thread(here.sandbox.kfleet, "sandbox", *arguments, "--name", name)


def in_force(here: Space) -> list[tuple[str, str]]:
    """Those of this test's namespace."""
    found = [(one.kind, one.target) for one in faults.active(here.sandbox.paths)]
    return [fault for fault in found if fault[1].startswith(f"{here.namespace}/")]


def files(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def process_states(record: ContainerRecord) -> set[str]:
    """Letters of /proc/<pid>/stat: T is stopped."""
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in record.processes()}


def restarts(pod: Object) -> int:
    return int(state(pod).get("restartCount", 0))


async def test_cut_and_refuse_a_service(here: Space) -> None:
    await web_pod(here, "one")
    address = await web_service(here)
    target = f"{here.namespace}/web"
    await answers(address, {"one"})
    old = await Client.connect(address)
    assert await old.ask() == "one"

    await fail(here, "service", target)
    assert in_force(here) == [("service", target)]
    await answers(address, {"timeout"}, wait=0.5)
    with pytest.raises(TimeoutError):
        await old.ask(seconds=0.5)
    with pytest.raises(faults.FaultError, match="in force already"):
        await fail(here, "service", target)
    await heal(here, "service", target)
    await answers(address, {"one"})
    assert await old.ask() == "one", "what hung goes on"

    await fail(here, "refuse", target)
    await answers(address, {"refused"})
    with pytest.raises(ConnectionError):
        await old.ask()
    await heal(here, "refuse", target)
    await answers(address, {"one"})
    assert in_force(here) == []


async def test_kill_and_freeze_a_pod(here: Space) -> None:
    await web_pod(here, "one")
    address = await web_service(here)
    target = f"{here.namespace}/one"
    await answers(address, {"one"})
    assert "killed main" in await fail(here, "kill", target)
    pod = await here.until("one", lambda pod: restarts(pod) == 1 and ready(pod), "restarted")
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 137
    await answers(address, {"one"})

    await fail(here, "freeze", target)
    assert in_force(here) == [("freeze", target)]
    assert await ask(address, seconds=0.5) == "silent"
    (record,) = here.records("one")
    assert process_states(record) == {"T"}
    await heal(here, "freeze", target)
    await answers(address, {"one"})
    assert in_force(here) == []


async def test_lose_a_disk_and_get_it_back(here: Space) -> None:
    size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await here.create(PERSISTENT_VOLUME_CLAIMS, "data", spec=size)
    script = "cd $KFLEET_POD_ROOT; ls data; touch data/file-$(date +%s%N); touch up; exec sleep 600"
    mount = {
        "volumeMounts": [{"name": "v", "mountPath": "/data"}],
        "readinessProbe": {"exec": {"command": ["sh", "-c", "test -e $KFLEET_POD_ROOT/up"]}, "periodSeconds": 1},
    }
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    await here.pod("one", script, main=mount, volumes=volumes)
    await here.until("one", ready, "Ready")
    claim = await here.kube.get(PERSISTENT_VOLUME_CLAIMS, "data", here.namespace)
    volume = await here.kube.get(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
    path = Path(volume["spec"]["local"]["path"])
    before = files(path)
    assert len(before) == 1

    target = f"{here.namespace}/data"
    await fail(here, "disk", target)
    await here.until("one", lambda pod: restarts(pod) == 1 and ready(pod), "restarted on an empty disk")
    assert not before & files(path)
    assert in_force(here) == [("disk", target)]
    said = await heal(here, "disk", target)
    assert "what was written meanwhile is in" in said
    await here.until("one", lambda pod: restarts(pod) == 2 and ready(pod), "restarted on its own disk")
    assert before < files(path)
    assert here.logs("one").split() == sorted(before), "the pod itself sees its old files and nothing else"
    assert in_force(here) == []


async def test_the_command_line_injects_lists_and_heals(here: Space) -> None:
    await web_service(here)
    target = f"{here.namespace}/web"
    failed = await kfleet(here, "fail", "service", target)
    assert (failed.returncode, failed.stdout) == (0, "")
    report = json.loads((await kfleet(here, "status", "-o", "json")).stdout)
    assert [one["kind"] for one in report["faults"] if one["target"] == target] == ["service"]
    assert target in (await kfleet(here, "status")).stdout
    assert (await kfleet(here, "heal", "service", target)).returncode == 0
    assert in_force(here) == []
    refused = await kfleet(here, "fail", "meteor", target)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("kfleet: unknown kind of fault")
    assert refused.stderr.count("\n") == 1


async def test_what_cannot_be_done_says_why_and_changes_nothing(here: Space) -> None:
    await web_service(here, "headless", clusterIP="None")
    for kind, target, words in (
        ("kill", "none", "runs no container; running pods:"),
        ("service", "none", "there is: headless"),
        ("service", "headless", "is headless or has no selector"),
        ("disk", "none", "no PersistentVolumeClaim none"),
    ):
        with pytest.raises(faults.FaultError) as refused:
            await fail(here, kind, f"{here.namespace}/{target}")
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(faults.FaultError, match="no fault service"):
        await heal(here, "service", f"{here.namespace}/headless")
    assert in_force(here) == []
