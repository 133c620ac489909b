"""Sandboxes as a user has them: up, crash, up again, two at once, down. Everything here is real."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.sandbox import Sandbox, running_sandbox, wait

from controlplane.adapters.kubernetes.resources import CONFIG_MAPS, NODES
from controlplane.ports import ForbiddenError
from controlplane.sandbox import processes
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.pki import leaf_path

pytestmark = pytest.mark.sandbox
PARTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "proxy",
    "provisioner",
    "node-a",
    "node-b",
    "node-c",
)
SLEEPER = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sleeper", "namespace": "default"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "kfleet/busybox:1", "command": ["sleep", "3600"]}],
    },
}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("state"), "test-one") as sandbox:
        yield sandbox


def pids(sandbox: Sandbox) -> dict[str, int]:
    running = {name: processes.find(sandbox.paths, name) for name in PARTS}
    return {name: process.pid for name, process in running.items() if process is not None}


def kill(sandbox: Sandbox, *names: str) -> None:
    """SIGKILL, and wait until the kernel agrees."""
    victims = [process for name in names if (process := processes.find(sandbox.paths, name)) is not None]
    assert len(victims) == len(names)
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    wait("killed", lambda: not any(victim.alive for victim in victims))


def ready_nodes(sandbox: Sandbox) -> set[str]:
    items = json.loads(sandbox.kubectl("get", "nodes", "-o", "json"))["items"]
    return {
        node["metadata"]["name"]
        for node in items
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    }


def wait_for_nodes(sandbox: Sandbox) -> None:
    """After a long outage the control plane may call nodes lost that renew their leases a moment later."""
    wait("every node is ready", lambda: ready_nodes(sandbox) == {"node-a", "node-b", "node-c"})


def test_up_gives_a_cluster_with_three_zones(one: Sandbox) -> None:
    assert ready_nodes(one) == {"node-a", "node-b", "node-c"}
    zones = one.kubectl("get", "nodes", "-o", r"jsonpath={.items[*].metadata.labels.topology\.kubernetes\.io/zone}")
    assert sorted(zones.split()) == ["a", "b", "c"]
    classes = json.loads(one.kubectl("get", "storageclass", "standard", "-o", "json"))
    assert (classes["provisioner"], classes["reclaimPolicy"]) == ("kfleet.dev/local", "Retain")
    assert "kafkaclusters.kfleet.dev" in one.kubectl("get", "crds", "-o", "name")
    assert set(pids(one)) == set(PARTS)


def test_status_and_env_tell_the_truth(one: Sandbox) -> None:
    done = one.kfleet("sandbox", "status", "--name", "test-one", "-o", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["state"]) == ("SandboxStatus", "Running")
    assert {part["name"]: part["pid"] for part in document["parts"]} == pids(one)
    env = one.kfleet("sandbox", "env", "--name", "test-one").stdout
    told = subprocess.run(["bash", "-c", f'{env}\necho "$KUBECONFIG"'], capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()) == one.kubeconfig
    assert one.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_kubectl_and_logs_pass_through(one: Sandbox) -> None:
    done = one.kfleet("sandbox", "kubectl", "--name", "test-one", "get", "nodes", "-o", "name")
    assert done.stdout.split() == ["node/node-a", "node/node-b", "node/node-c"], done.stderr
    refused = one.kfleet("sandbox", "kubectl", "--name", "test-one", "get", "pod", "nobody")
    assert refused.returncode == 1
    assert "NotFound" in refused.stderr
    assert "kube-apiserver" in one.kfleet("sandbox", "logs", "--name", "test-one").stdout
    unknown = one.kfleet("sandbox", "logs", "etcd2", "--name", "test-one")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)


def test_up_again_changes_nothing(one: Sandbox) -> None:
    before, config = pids(one), one.config
    one.up()
    assert (pids(one), one.config) == (before, config)


def test_two_ups_at_once_make_one_sandbox(one: Sandbox) -> None:
    kill(one, "kube-scheduler", "node-b")
    with ThreadPoolExecutor(2) as pool:
        for attempt in [pool.submit(one.kfleet, "sandbox", "up", "--name", "test-one") for _ in range(2)]:
            assert attempt.result().returncode == 0, attempt.result().stderr
    commands = list(one.processes().values())
    assert sum("kube-scheduler " in command for command in commands) == 1
    assert sum("--name node-b" in command and "sandbox.node " in command for command in commands) == 1
    one.up()


def test_a_crash_is_recovered_with_the_same_addresses_and_objects(one: Sandbox) -> None:
    one.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    config, before = one.config, pids(one)
    kill(one, "kube-apiserver", "etcd")
    status = one.kfleet("sandbox", "status", "--name", "test-one")
    assert status.returncode == 3
    assert "Degraded" in status.stderr
    one.up()
    after = pids(one)
    assert one.config == config
    assert {name for name in PARTS if after[name] != before[name]} == {"etcd", "kube-apiserver"}
    assert one.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
    wait_for_nodes(one)


def test_a_stale_record_never_costs_an_innocent_process_its_life(one: Sandbox) -> None:
    """After a reboot the pid of a record may belong to anybody."""
    innocent = subprocess.Popen(["sleep", "600"])
    try:
        kill(one, "proxy")
        record_file = one.paths.run / "proxy.json"
        record = json.loads(record_file.read_text())
        for stale in ({"pid": innocent.pid}, {"boot_id": "another", "pid": innocent.pid}):
            record_file.write_text(json.dumps(record | stale))
            one.up()
            assert innocent.poll() is None
            assert pids(one)["proxy"] != innocent.pid
            kill(one, "proxy")
    finally:
        innocent.kill()
        innocent.wait()
        one.up()


def test_half_written_files_are_made_anew(one: Sandbox) -> None:
    config = one.config
    certificate = one.paths.root / "certificates" / "admin.pem"
    certificate.write_bytes(certificate.read_bytes()[:100])
    one.paths.kubeconfig("node-a").write_text("apiVersion")
    (one.paths.run / "etcd.json").write_text('{"pid"')
    etcd = next(pid for pid, command in one.processes().items() if "/etcd " in command)
    one.up()
    wait_for_nodes(one)
    assert one.config == config
    assert etcd not in one.processes(), "a part without a record must be found by its marker, not doubled"


async def test_nobody_gets_in_without_credentials(one: Sandbox) -> None:
    async with one.client("proxy") as kube:
        with pytest.raises(ForbiddenError):
            await kube.list(CONFIG_MAPS, "default")
        kube._ssl = _without_certificate(one)
        with pytest.raises(ForbiddenError) as refused:
            await kube.list(NODES)
        assert refused.value.status == 401


def test_etcd_answers_only_the_api_server(one: Sandbox) -> None:
    def version(context: ssl.SSLContext) -> str:
        context.check_hostname = False
        with urllib.request.urlopen(
            f"https://127.0.0.1:{one.config.etcd_port}/version", context=context, timeout=20
        ) as answer:
            return str(answer.read())

    context = ssl.create_default_context(cafile=str(one.paths.pki / "etcd-ca.crt"))
    with pytest.raises(OSError):  # noqa: PT011 - an alert or a reset, as the race of TLS 1.3 has it
        version(context)
    context.load_cert_chain(leaf_path(one.paths, "admin"))
    with pytest.raises(OSError):  # noqa: PT011
        version(context)
    allowed = ssl.create_default_context(cafile=str(one.paths.pki / "etcd-ca.crt"))
    allowed.load_cert_chain(leaf_path(one.paths, "etcd"))
    assert "etcdserver" in version(allowed)


def _without_certificate(sandbox: Sandbox) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(sandbox.paths.pki / "ca.crt"))


def test_changes_are_audited_and_secrets_stay_out_of_it(one: Sandbox) -> None:
    one.kubectl("create", "secret", "generic", "audited", "--from-literal=password=hunter2")

    def entry() -> bool:
        return any(
            line["verb"] == "create" and line.get("objectRef", {}).get("name") == "audited"
            for line in map(json.loads, one.paths.audit_log.read_text().split("\n")[:-1])  # behind it: half a line
        )

    wait("audit entry", entry)
    assert "aHVudGVyMg==" not in one.paths.audit_log.read_text()


def test_two_sandboxes_share_nothing(one: Sandbox, tmp_path: Path) -> None:
    with running_sandbox(tmp_path, "test-two") as two:
        first, second = one.config, two.config
        fields = ("api_port", "etcd_port", "etcd_peer_port", "controller_manager_port", "scheduler_port")
        assert not {getattr(first, f) for f in fields} & {getattr(second, f) for f in fields}
        assert len({first.pod_cidr, first.service_cidr, second.pod_cidr, second.service_cidr}) == 4
        two.kubectl("create", "configmap", "only-in-two")
        assert "NotFound" in one.kubectl("get", "configmap", "only-in-two", check=False)
        assert ready_nodes(two) == {"node-a", "node-b", "node-c"}
    assert two.processes() == {}
    assert not two.paths.root.exists()
    assert [entry.name for entry in (tmp_path / "sandboxes").iterdir()] == [], "purge must leave no file"
    wait_for_nodes(one)


def test_down_ends_everything_and_up_brings_it_back(one: Sandbox) -> None:
    one.kubectl("apply", "-f", "-", stdin=json.dumps(SLEEPER))

    def running() -> bool:
        return one.kubectl("get", "pod", "sleeper", "-o", "jsonpath={.status.phase}") == "Running"

    wait("pod runs", running)
    assert any("sleep 3600" in command for command in one.processes().values())
    one.down()
    assert one.processes() == {}
    stopped = one.kfleet("sandbox", "status", "--name", "test-one")
    assert stopped.returncode == 3
    assert "Stopped" in stopped.stderr
    one.down()
    one.up()
    wait("pod runs again", lambda: any("sleep 3600" in command for command in one.processes().values()))
    one.kubectl("delete", "pod", "sleeper")
    wait("process gone", lambda: not any("sleep 3600" in command for command in one.processes().values()))


def test_the_session_fixture_is_one_sandbox(sandbox: Sandbox) -> None:
    assert ready_nodes(sandbox) == {"node-a", "node-b", "node-c"}
    assert sandbox.paths.root != SandboxPaths.named("default").root
    assert sandbox.kubectl("-n", "kfleet", "get", "deploy", "kfleet-operator", "-o", "jsonpath={.spec.replicas}") == "0"
