"""The process node on a real API server and scheduler: volumes, environment, order, restarts, endings."""

from __future__ import annotations

import base64
import copy
import time
from collections.abc import AsyncIterator

import pytest
from support.node_space import ARM, Space, container, phase, ready, space, state, waiting
from support.sandbox import Sandbox

from controlplane.adapters.kubernetes.resources import CONFIG_MAPS, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS

pytestmark = pytest.mark.sandbox
SLEEP = "exec sleep 600"


@pytest.fixture
async def here(sandbox: Sandbox) -> AsyncIterator[Space]:
    async with space(sandbox) as found:
        yield found


async def test_nodes_are_registered_with_zone_capacity_and_lease(here: Space) -> None:
    nodes = {node["metadata"]["name"]: node for node in await here.kube.list(NODES)}
    assert sorted(nodes) == ["node-a", "node-b", "node-c"]
    assert nodes["node-b"]["metadata"]["labels"]["topology.kubernetes.io/zone"] == "b"
    assert nodes["node-b"]["status"]["allocatable"]["pods"] == "250"
    assert all(ready(node) for node in nodes.values())


async def test_volumes_appear_under_the_pod_root(here: Space) -> None:
    await here.create(CONFIG_MAPS, "cm", data={"a": "from-cm", "b": "unused"})
    await here.create(SECRETS, "secret", data={"s": base64.b64encode(b"from-secret").decode()})
    projected = [
        {"configMap": {"name": "cm", "items": [{"key": "a", "path": "deep/a"}]}},
        {"secret": {"name": "secret"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"configMap": {"name": "absent", "optional": True}},
    ]
    volumes = [
        {"name": "cm", "configMap": {"name": "cm", "items": [{"key": "a", "path": "a", "mode": 0o400}]}},
        {"name": "all", "projected": {"sources": projected}},
        {"name": "shared", "emptyDir": {}},
    ]
    mounts = [
        {"name": "cm", "mountPath": "/etc/cm"},
        {"name": "all", "mountPath": "/all"},
        {"name": "shared", "mountPath": "/data", "subPath": "one"},
    ]
    script = (
        "cd $KFLEET_POD_ROOT; cat etc/cm/a all/deep/a all/s all/labels; ls etc/cm; stat -Lc %a etc/cm/a; cat data/x"
    )
    init = container(
        "init", "echo from-init > $KFLEET_POD_ROOT/x/one/x", volumeMounts=[{"name": "shared", "mountPath": "/x"}]
    )
    init["command"][2] = "mkdir -p $KFLEET_POD_ROOT/x/one; " + init["command"][2]
    await here.pods(
        "p",
        [container("main", script, volumeMounts=mounts)],
        metadata={"labels": {"k": "v"}},
        initContainers=[init],
        volumes=volumes,
        restartPolicy="Never",
    )
    await here.until("p", phase("Succeeded"))
    assert here.logs("p") == 'from-cmfrom-cmfrom-secretk="v"\na\n400\nfrom-init\n'


async def test_a_claimed_volume_outlives_its_pod(here: Space) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    await here.create(PERSISTENT_VOLUME_CLAIMS, "data", spec=spec)
    fields = {
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
        "main": {"volumeMounts": [{"name": "d", "mountPath": "/d"}]},
        "restartPolicy": "Never",
    }
    for expected in ("1\n", "1\n2\n"):
        await here.pod(
            "p", "cd $KFLEET_POD_ROOT/d; test -e x && echo 2 >> x || echo 1 > x; cat x", **copy.deepcopy(fields)
        )
        await here.until("p", phase("Succeeded"))
        assert here.logs("p") == expected
        await here.kube.delete(PODS, "p", here.namespace)
        await here.gone("p")


async def test_a_config_map_is_refreshed_in_place(here: Space) -> None:
    await here.create(CONFIG_MAPS, "cm", data={"key": "old"})
    await here.pod(
        "p",
        "cd $KFLEET_POD_ROOT/cm; until grep -qs new key; do sleep 0.05; done; test ! -e gone && cat key",
        main={"volumeMounts": [{"name": "cm", "mountPath": "/cm"}]},
        volumes=[{"name": "cm", "configMap": {"name": "cm"}}],
        restartPolicy="Never",
    )
    await here.until("p", phase("Running"))
    await here.kube.patch(CONFIG_MAPS, "cm", here.namespace, {"data": {"key": "new"}})
    await here.until("p", phase("Succeeded"))
    assert here.logs("p") == "new\n"


async def test_environment_comes_from_everywhere_and_from_nowhere_else(here: Space) -> None:
    await here.create(CONFIG_MAPS, "cm", data={"KEY": "cm"})
    await here.create(SECRETS, "secret", data={"k": base64.b64encode(b"hush").decode()})
    variables = [
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "k"}}},
        {"name": "BOTH", "value": "$(KEY)-$(SECRET)"},
    ]
    main = container(
        "main", "env; echo $0", env=variables, envFrom=[{"configMapRef": {"name": "cm"}}], args=["$(BOTH)!"]
    )
    await here.pods("p", [main], restartPolicy="Never")
    pod = await here.until("p", phase("Succeeded"))
    *lines, argument = here.logs("p").splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert argument == "cm-hush!"
    assert found["WHO"] == "p"
    assert found["IP"] == pod["status"]["podIP"]
    assert found["NODE"] == pod["spec"]["nodeName"]
    assert found["BOTH"] == "cm-hush"
    assert found["KUBERNETES_SERVICE_PORT"] == str(here.sandbox.config.api_port)
    known = {"WHO", "IP", "NODE", "SECRET", "BOTH", "KEY", "PATH", "HOSTNAME", "HOME", "TMPDIR", "PWD"}
    assert {name for name in found if not name.startswith(("KFLEET_", "KUBERNETES_"))} <= known


async def test_init_containers_run_in_order_and_failures_are_retried(here: Space) -> None:
    mount = [{"name": "d", "mountPath": "/d"}]
    inits = [
        container(
            "one",
            "cd $KFLEET_POD_ROOT/d; echo one >> order; test -e again || { touch again; exit 4; }",
            volumeMounts=mount,
        ),
        container("two", "echo two >> $KFLEET_POD_ROOT/d/order", volumeMounts=mount),
    ]
    main = container("main", "cat $KFLEET_POD_ROOT/d/order", volumeMounts=mount)
    volumes = [{"name": "d", "emptyDir": {}}]
    await here.pods("p", [main], initContainers=inits, volumes=volumes, restartPolicy="OnFailure")
    pod = await here.until("p", phase("Succeeded"))
    assert here.logs("p") == "one\none\ntwo\n"
    one = state(pod, "one", "initContainerStatuses")
    assert (one["restartCount"], one["lastState"]["terminated"]["exitCode"]) == (1, 4)
    assert one["state"]["terminated"]["reason"] == "Completed"


async def test_two_pods_share_a_port_number_each_on_its_own_address(here: Space) -> None:
    script = (
        'exec python3 -c "import os; '
        "from http.server import *; "
        "ThreadingHTTPServer((os.environ['IP'], 8080), SimpleHTTPRequestHandler).serve_forever()\""
    )
    address = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    probe = {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1}
    ports = [{"name": "web", "containerPort": 8080}]
    for name in ("p", "q"):
        main = container("main", script, env=address, readinessProbe=probe, ports=ports)
        await here.pods(name, [main], nodeSelector={"topology.kubernetes.io/zone": "a"})
    pods = [await here.until(name, ready, "Ready") for name in ("p", "q")]
    assert len({pod["status"]["podIP"] for pod in pods}) == 2
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-a"}
    before = pods[0]["status"]["podIP"]
    await here.kube.delete(PODS, "p", here.namespace)
    await here.gone("p")
    await here.pod("p", SLEEP)
    again = await here.until("p", phase("Running"))
    assert again["status"]["podIP"] == before


async def test_a_crashing_container_backs_off_and_shows_it(here: Space) -> None:
    await here.pod("p", "echo attempt; echo why > $KFLEET_TERMINATION_LOG; exit 3")
    pod = await here.until("p", lambda pod: waiting("CrashLoopBackOff")(pod) and state(pod)["restartCount"] >= 2)
    shown = state(pod)
    assert "back-off" in shown["state"]["waiting"]["message"]
    assert "restarting failed container=main" in shown["state"]["waiting"]["message"]
    ended = shown["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"].strip()) == (3, "Error", "why")
    assert pod["status"]["phase"] == "Running"
    event = await here.event("p", "BackOff")
    assert event["message"].startswith("Back-off restarting failed container main in pod p_")
    assert here.logs("p", "--previous") == "attempt\n"


async def test_restart_policy_never_and_signals(here: Space) -> None:
    await here.pods("p", [container("main", "kill -9 $$$$"), container("ok", "exit 0")], restartPolicy="Never")
    pod = await here.until("p", phase("Failed"))
    assert state(pod)["state"]["terminated"]["exitCode"] == 137
    assert state(pod, "ok")["state"]["terminated"]["reason"] == "Completed"
    assert state(pod)["restartCount"] == 0


async def test_a_command_that_cannot_run_says_so(here: Space) -> None:
    await here.pods("p", [container("main", "", command=["no-such-program"])], restartPolicy="Never")
    pod = await here.until("p", phase("Failed"))
    ended = state(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no-such-program" in ended["message"]


async def test_termination_is_graceful_then_forced_and_the_object_goes_last(here: Space) -> None:
    bye = "trap 'echo bye > $KFLEET_TERMINATION_LOG; exit 0' TERM"
    await here.pod("soft", f"{bye}; {ARM}; while :; do sleep 0.05; done", terminationGracePeriodSeconds=120)
    await here.pod("hard", f"trap '' TERM; sleep 600 & {ARM}; while :; do wait; done", terminationGracePeriodSeconds=1)
    for name in ("soft", "hard"):
        await here.armed(name)
    (hard,) = here.records("hard")
    processes = hard.processes()
    assert len(processes) == 2
    began = time.monotonic()

    async def delete_both() -> None:
        await here.kube.delete(PODS, "soft", here.namespace)
        await here.kube.delete(PODS, "hard", here.namespace)

    pod = await here.until("soft", lambda pod: state(pod).get("state", {}).get("terminated"), after=delete_both)
    assert state(pod)["state"]["terminated"]["message"].strip() == "bye"
    await here.gone("soft")
    await here.gone("hard")
    assert time.monotonic() - began >= 1.0
    assert not hard.alive()
    assert hard.processes() == []
    assert not hard.record_dir.exists()


async def test_the_grace_of_a_stop_under_way_can_be_cut_short(here: Space) -> None:
    await here.pod("p", f"trap '' TERM; {ARM}; while :; do sleep 0.1; done", terminationGracePeriodSeconds=300)
    await here.armed("p")
    await here.kube.delete(PODS, "p", here.namespace)
    await here.event("p", "Killing")
    await here.kube.delete(PODS, "p", here.namespace, grace_seconds=1)
    await here.gone("p")


async def test_an_active_deadline_fails_the_pod(here: Space) -> None:
    await here.pod("p", SLEEP, activeDeadlineSeconds=1)
    pod = await here.until("p", phase("Failed"))
    assert pod["status"]["reason"] == "DeadlineExceeded"
