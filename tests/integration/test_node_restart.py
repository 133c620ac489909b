"""A node process that dies and comes back, and what has to be hurried: in a sandbox of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from support.node_space import ARM, Space, phase, ready, space, state
from support.sandbox import Sandbox, running_sandbox, wait

from controlplane.adapters.kubernetes.resources import PODS
from controlplane.ports import Object
from controlplane.sandbox import control_plane, processes
from controlplane.sandbox.node import procfs
from controlplane.sandbox.node.records import end_containers, records

pytestmark = pytest.mark.sandbox
SLEEP = "exec sleep 600"
SETTINGS = {"zones": ["a"], "token_seconds": 600, "token_refresh_fraction": 0.003, "node_monitor_grace": 600.0}
"""Tokens live the 10 minutes the API server insists on and are renewed after 1.8 s; no absence of the node is told."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("node"), "test-node", SETTINGS) as sandbox:
        yield sandbox


@pytest.fixture
async def here(own: Sandbox) -> AsyncIterator[Space]:
    async with space(own) as found:
        yield found


def _kill_node(sandbox: Sandbox) -> None:
    """SIGKILL to the node process; returns once it is gone."""
    running = processes.find(sandbox.paths, "node-a")
    assert running is not None, "the node process does not run"
    os.kill(running.pid, signal.SIGKILL)
    processes.stop(running, 5.0)


def _start_node(sandbox: Sandbox) -> None:
    part = next(one for one in control_plane.workers(sandbox.paths, sandbox.config) if one.name == "node-a")
    processes.ensure(sandbox.paths, part)


async def test_bound_tokens_are_refreshed_and_die_with_the_pod(here: Space) -> None:
    token = "$KFLEET_POD_ROOT/var/run/secrets/kubernetes.io/serviceaccount/token"
    await here.pod("p", f"cat {token}; echo; while sleep 0.2; do cat {token} 2> /dev/null; echo; done")
    pod = await here.until("p", phase("Running"))
    seen: set[str] = set()
    while len(seen) < 2:
        seen = set((await asyncio.to_thread(here.logs, "p")).split())
    first, second = sorted((_claims(one) for one in seen), key=lambda claims: claims["iat"])[:2]
    assert first["kubernetes.io"]["pod"]["uid"] == second["kubernetes.io"]["pod"]["uid"] == pod["metadata"]["uid"]
    assert first["exp"] - first["iat"] == here.sandbox.config.token_seconds
    assert second["iat"] > first["iat"]


def _claims(token: str) -> Object:
    payload = token.split(".")[1]
    claims: Object = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


async def test_containers_outlive_the_node_process(here: Space) -> None:
    await here.pod("stays", "echo before; exec sleep 600")
    await here.pod(
        "ends",
        "until test -e $KFLEET_POD_ROOT/tmp/go; do sleep 0.05; done; exit 7",
        restartPolicy="Never",
    )
    await here.pod("dies", SLEEP)
    before = await here.until("stays", ready, "Ready")
    await here.until("ends", phase("Running"))
    await here.until("dies", phase("Running"))
    (stays,), (ends,), (dies,) = (here.records(name) for name in ("stays", "ends", "dies"))
    _kill_node(here.sandbox)
    (ends.root / "tmp" / "go").touch()
    os.kill(dies.supervisor_pid, signal.SIGKILL)
    await here.kube.patch(PODS, "stays", here.namespace, {"metadata": {"annotations": {"seen": "later"}}})
    assert stays.alive()
    _start_node(here.sandbox)
    pod = await here.until("ends", phase("Failed"))
    assert state(pod)["state"]["terminated"]["exitCode"] == 7
    pod = await here.until("dies", lambda pod: state(pod).get("restartCount") == 1)
    assert state(pod)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    wait("its main process is gone", lambda: not procfs.alive(dies.pid, dies.start_time))
    pod = await here.until("stays", lambda pod: pod["status"].get("observedGeneration", 1) and ready(pod))
    assert here.records("stays") == [stays]
    assert _became_ready(pod) == _became_ready(before)
    assert here.logs("stays") == "before\n"
    await here.kube.delete(PODS, "stays", here.namespace)
    await here.gone("stays")
    assert not stays.alive()


def _became_ready(pod: dict[str, dict[str, list[dict[str, str]]]]) -> str:
    return next(one["lastTransitionTime"] for one in pod["status"]["conditions"] if one["type"] == "Ready")


async def test_a_pod_removed_while_no_node_process_looked_is_ended(here: Space) -> None:
    await here.pod("p", SLEEP)
    await here.until("p", phase("Running"))
    (record,) = here.records("p")
    _kill_node(here.sandbox)
    await here.kube.delete(PODS, "p", here.namespace, grace_seconds=0)
    _start_node(here.sandbox)
    wait("its container was ended", lambda: not record.alive())
    wait("its files are removed", lambda: not record.record_dir.exists())


async def test_end_containers_leaves_nothing_and_they_come_back(here: Space) -> None:
    await here.pod("p", f"trap '' TERM; sleep 600 & {ARM}; sleep 601")
    await here.armed("p")
    (record,) = here.records("p")
    _kill_node(here.sandbox)
    assert end_containers(here.sandbox.paths, "node-a", 0.2) >= 1
    assert records(here.sandbox.paths, "node-a") == []
    assert record.processes() == []
    _start_node(here.sandbox)
    pod = await here.until("p", lambda pod: state(pod).get("restartCount") == 1)
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 137
    await here.kube.delete(PODS, "p", here.namespace)
    await here.gone("p")
