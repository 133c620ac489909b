"""The process node on a real API server: probes, logs, what it refuses, and pods that cannot start."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator

import pytest
from support.node_space import Space, container, phase, ready, space, state, waiting
from support.sandbox import Sandbox

from controlplane.adapters.kubernetes.resources import CONFIG_MAPS, PODS, SECRETS
from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.progress import Progress

pytestmark = pytest.mark.sandbox
SLEEP = "exec sleep 600"


@pytest.fixture
async def here(sandbox: Sandbox) -> AsyncIterator[Space]:
    async with space(sandbox) as found:
        yield found


def _exec(script: str, **fields: int) -> dict[str, object]:
    """Its timeout is long: a try that a busy machine makes slow would be a failure that no test asked for."""
    command = ["sh", "-c", f"cd $KFLEET_POD_ROOT; {script}"]
    return {"exec": {"command": command}, "periodSeconds": 1, "timeoutSeconds": 60} | fields


async def test_the_three_probes(here: Space) -> None:
    probes = {
        "startupProbe": _exec("test -e d/started", failureThreshold=600),
        "readinessProbe": _exec("test -e d/ready"),
        "livenessProbe": _exec("test ! -e tmp/sick", failureThreshold=1),
        "volumeMounts": [{"name": "d", "mountPath": "/d"}],
    }
    await here.pod("p", SLEEP, main=probes, volumes=[{"name": "d", "emptyDir": {}}])
    pod = await here.until("p", phase("Running"))
    assert not state(pod)["started"]
    await here.event("p", "Unhealthy", "Startup probe failed")
    (record,) = here.records("p")
    directory = record.root / "d"
    (directory / "started").touch()
    pod = await here.until("p", lambda pod: state(pod).get("started"))
    assert not ready(pod)
    (directory / "ready").touch()
    await here.until("p", ready, "Ready")
    (directory / "ready").unlink()
    pod = await here.until("p", lambda pod: not ready(pod), "not Ready")
    assert state(pod)["restartCount"] == 0
    (record.root / "tmp" / "sick").touch()  # goes with this attempt: the next one is well from its first moment on
    await here.event("p", "Killing", "Container main failed liveness probe, will be restarted")
    pod = await here.until("p", lambda pod: state(pod).get("restartCount") == 1)
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 143


async def test_tcp_and_http_probes_fail_with_the_reason(here: Space) -> None:
    tcp = container("tcp", SLEEP, readinessProbe={"tcpSocket": {"port": 4001}, "periodSeconds": 1})
    http = container("http", SLEEP, readinessProbe={"httpGet": {"port": 4002, "path": "/x"}, "periodSeconds": 1})
    await here.pods("p", [tcp, http])
    pod = await here.until("p", phase("Running"))
    address = pod["status"]["podIP"]
    await here.event("p", "Unhealthy", f"Readiness probe failed: dial tcp {address}:4001")
    await here.event("p", "Unhealthy", f'Readiness probe failed: Get "http://{address}:4002/x"')
    assert not ready(pod)


async def test_a_container_that_becomes_ready_need_not_wait_for_its_period(here: Space) -> None:
    """Within its first period of an hour, though its first try failed."""
    probe = {"httpGet": {"port": 4003, "path": "/"}, "periodSeconds": 3600}
    script = "until test -e tmp/go; do sleep 0.05; done; exec python3 -m http.server 4003 --bind $ADDRESS"
    address = {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    await here.pod("p", script, main={"readinessProbe": probe, "env": [address]})
    await here.event("p", "Unhealthy", "Readiness probe failed")
    (here.records("p")[0].root / "tmp" / "go").touch()
    await here.until("p", ready, "Ready")


async def test_logs(here: Space) -> None:
    script = "for i in 1 2 3; do echo out $i; done; echo err >&2; until test -e tmp/go; do sleep 0.05; done; echo last"
    await here.pod("p", script, restartPolicy="Never")
    await here.until("p", phase("Running"))
    follow = await asyncio.create_subprocess_exec(
        ensure_control_plane(Progress()) / "kubectl",
        *("logs", "-f", "-n", here.namespace, "p"),
        env=here.sandbox.environment,
        stdout=subprocess.PIPE,
    )
    assert follow.stdout is not None
    first = [await follow.stdout.readline() for _ in range(4)]
    assert sorted(first) == [b"err\n", b"out 1\n", b"out 2\n", b"out 3\n"]
    (here.records("p")[0].root / "tmp" / "go").touch()
    assert await follow.stdout.read() == b"last\n"
    assert await follow.wait() == 0
    assert here.logs("p", "--tail=1") == "last\n"
    assert here.logs("p", "--tail=1", "--timestamps").split("Z ")[1] == "last\n"
    assert here.logs("p", "--limit-bytes=3") in {"out", "err"}
    assert "out 1" in here.logs("p", "--since=1h")
    refused = here.sandbox.kubectl("logs", "-n", here.namespace, "p", "--previous", check=False)
    assert 'previous terminated container "main" in pod "p" not found' in refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["exec", "p", "--", "ls"], "exec is not supported"),
        (["attach", "p"], "attach is not supported"),
        (["port-forward", "p", "8080:80"], "port-forward is not needed"),
    ],
)
async def test_what_needs_a_real_container_is_refused_in_one_line(here: Space, arguments: list[str], says: str) -> None:
    await here.pod("p", SLEEP)
    await here.until("p", phase("Running"))
    said = here.sandbox.kubectl(*arguments[:1], "-n", here.namespace, *arguments[1:], check=False)
    lines = [line for line in said.splitlines() if line.lower().startswith("error")]
    assert len(lines) == 1
    assert says in lines[0]


async def test_an_unknown_image_is_shown_as_everywhere(here: Space) -> None:
    await here.pod("p", SLEEP, main={"image": "registry.invalid/nothing:1"})
    await here.until("p", waiting("ErrImagePull"), "ErrImagePull")
    pod = await here.until("p", waiting("ImagePullBackOff"), "ImagePullBackOff")
    message = state(pod)["state"]["waiting"]["message"]
    assert 'Back-off pulling image "registry.invalid/nothing:1"' in message
    assert "kfleet/busybox:1" in message
    assert pod["status"]["phase"] == "Pending"
    await here.event("p", "Failed", 'Failed to pull image "registry.invalid/nothing:1"')
    await here.event("p", "Failed", "Error: ErrImagePull")
    await here.event("p", "BackOff", "Back-off pulling image")


async def test_a_missing_secret_in_env_is_named_and_waited_for(here: Space) -> None:
    variables = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "later", "key": "k"}}}]
    await here.pod("p", "echo $A", main={"env": variables}, restartPolicy="Never")
    pod = await here.until("p", waiting("CreateContainerConfigError"), "CreateContainerConfigError")
    assert state(pod)["state"]["waiting"]["message"].startswith('secret "later" not found')
    await here.event("p", "Failed", 'Error: secret "later" not found')
    await here.create(SECRETS, "later", data={"k": base64.b64encode(b"there").decode()})
    await here.until("p", phase("Succeeded"))
    assert here.logs("p") == "there\n"


async def test_a_missing_config_map_volume_is_named_and_waited_for(here: Space) -> None:
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    volumes = [{"name": "v", "configMap": {"name": "later"}}]
    await here.pod("p", "cat $KFLEET_POD_ROOT/v/k", main=mounts, volumes=volumes, restartPolicy="Never")
    await here.event("p", "FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "later" not found')
    pod = await here.until("p", waiting("ContainerCreating"), "ContainerCreating")
    assert pod["status"]["podIP"]
    await here.create(CONFIG_MAPS, "later", data={"k": "there"})
    await here.until("p", phase("Succeeded"))
    assert here.logs("p") == "there\n"


async def test_what_is_not_supported_is_an_event_that_names_the_field(here: Space) -> None:
    await here.pod("p", SLEEP, volumes=[{"name": "v", "hostPath": {"path": "/"}}])
    await here.event("p", "Unsupported", "spec.volumes[0].hostPath is not supported by a process node")
    pod = await here.until("p", waiting("Unsupported"), "Unsupported")
    assert pod["status"]["phase"] == "Pending"
    assert here.records("p") == []
    await here.kube.delete(PODS, "p", here.namespace)
    await here.gone("p")
