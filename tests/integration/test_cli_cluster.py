"""`kfleet` at work on a real cluster: three nodes, an operator under its own account, users with their own rights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cell import Cell, combined_cluster, make_cell, topic
from support.cli_tree import leaves
from support.operator import HOME, write_kubeconfig
from support.sandbox import Sandbox
from support.warm_cli import WarmCli

from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.domain.observation import ClusterObservation
from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.progress import Silence

pytestmark = [pytest.mark.sandbox, pytest.mark.kafka, pytest.mark.timeout(900)]

KFLEET = Path(sys.executable).parent / "kfleet"


@pytest.fixture(scope="module")
def cell(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with make_cell(sandbox, "cli", tmp_path_factory.mktemp("cli")) as made:
        made.apply(combined_cluster(rollout={"soak": "1s"}), topic("orders"))
        made.wait_ready()
        made.wait_topic("orders")
        yield made


def environment(cell: Cell, kubeconfig: Path | None = None) -> dict[str, str]:
    """This shell's, told where the cell's own operator keeps its Lease."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")}
    return clean | {
        "KUBECONFIG": str(kubeconfig or cell.kubeconfig),
        "KFLEET_NAMESPACE": HOME,
        "KFLEET_LEASE_NAME": f"operator-{cell.namespace}",
    }


@dataclass(frozen=True)
class Cli:
    """The command line in the cell's namespace, as whoever `kubeconfig` says."""

    cell: Cell
    warm: WarmCli

    def __call__(
        self, *arguments: str, kubeconfig: Path | None = None, namespaced: bool = True
    ) -> subprocess.CompletedProcess[str]:
        where = ("-n", self.cell.namespace) if namespaced else ()
        return self.warm.run((*arguments, *where), environment(self.cell, kubeconfig))

    def settled(self, *arguments: str, code: int = 0, says: str = "", kubeconfig: Path | None = None) -> str:
        """stdout, once the command ends with `code` and says so: each looks anew at brokers and probes, and on a busy
        machine one of them may be late for a moment."""
        done = self(*arguments, kubeconfig=kubeconfig)

        def is_so() -> bool:
            nonlocal done
            done = self(*arguments, kubeconfig=kubeconfig)
            return done.returncode == code and says in done.stdout

        if done.returncode != code or says not in done.stdout:
            self.cell.wait(f"{' '.join(arguments)} to end with {code} and {says!r}; first {done}", is_so, 60)
        return done.stdout


@pytest.fixture(scope="module")
def kfleet(cell: Cell, warm: WarmCli) -> Cli:
    return Cli(cell, warm)


def user(cell: Cell, directory: Path, name: str, role: str = "") -> Path:
    """A kubeconfig of a ServiceAccount, with one of Kubernetes' own roles in its namespace, or with none."""
    cell.kubectl("create", "serviceaccount", name)
    if role:
        subject = f"--serviceaccount={cell.namespace}:{name}"
        cell.kubectl("create", "rolebinding", name, f"--clusterrole={role}", subject)
        asked = ("auth", "can-i", "list", "kafkaclusters.kfleet.dev")
        who = f"--as=system:serviceaccount:{cell.namespace}:{name}"
        cell.wait("its rights are in effect", lambda: cell.kubectl(*asked, who, check=False).strip() == "yes")
    token = cell.kubectl("create", "token", name).strip()
    admin = from_kubeconfig(cell.kubeconfig)
    path = directory / f"{name}.yaml"
    write_kubeconfig(path, server=admin.server, ca_pem=admin.ca_pem or "", token=token)
    return path


def test_a_cluster_that_is_well(cell: Cell, kfleet: Cli, tmp_path: Path) -> None:
    cell.wait_ready()
    document = json.loads(kfleet.settled("status", "-o", "json"))
    assert (document["healthy"], document["operator"]["alive"]) == (1, True)
    got = json.loads(kfleet.settled("cluster", "get", "cell", "-o", "json", says='"state": "Healthy"'))
    assert (got["state"], got["nodes"]) == ("Healthy", {"declared": 3, "ready": 3})
    health = json.loads(kfleet.settled("cluster", "health", "cell", "-o", "json", says='"brokersAsked": true'))
    assert {"PartitionsServe", "ReplicasInSync", "QuorumCaughtUp"} <= {check["name"] for check in health["checks"]}
    described = kfleet.settled("cluster", "describe", "cell", says="State:      Healthy")
    assert "ID   POOL    ROLES" in described
    file = tmp_path / "snapshot.json"

    def snapshot() -> ClusterObservation:
        assert kfleet("cluster", "snapshot", "cell", "-f", str(file)).returncode == 0
        return ClusterObservation.from_json(json.loads(file.read_text()))

    kafka = cell.wait("brokers that answer in time", lambda: snapshot().kafka)
    assert len([p for p in kafka.partitions if p.topic == "orders"]) == 6
    planned = kfleet.settled("cluster", "plan", "cell")
    assert planned == f"{cell.namespace}/cell is as declared: nothing to do\n"


def test_the_operator_is_asked_to_look_and_has(cell: Cell, kfleet: Cli) -> None:
    cell.wait_ready()
    kfleet.settled("status")
    before = cell.cluster()["status"].get("lastHandledReconcileAt")
    started = time.monotonic()
    done = kfleet("cluster", "reconcile", "cell", "--timeout", "200")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "has been looked at: Healthy" in done.stderr
    assert time.monotonic() - started < 200
    assert cell.cluster()["status"]["lastHandledReconcileAt"] != before


def test_the_plan_is_the_operators_own_and_nothing_is_done(cell: Cell, kfleet: Cli) -> None:
    """Foreseen while no operator runs; then the operator takes exactly that plan."""
    cell.wait_ready()
    cell.operator.stop()
    try:
        waited = kfleet("cluster", "reconcile", "cell", "--timeout", "1")
        assert waited.returncode == 1
        assert "the operator has not looked at cell within 1 s" in waited.stderr
        uids, version = cell.pod_uids(), cell.cluster()["metadata"]["resourceVersion"]
        cell.patch({"config": {"num.io.threads": 5}})
        version = cell.cluster()["metadata"]["resourceVersion"]
        planned = kfleet.settled("cluster", "plan", "cell", "-o", "json", code=3, says='"brokersAsked": true')
        plan = json.loads(planned)["plan"]
        assert [step["verb"] for step in plan["steps"]] == ["RestartNode"] * 3
        kfleet.settled("cluster", "plan", "cell", code=3, says="RestartNode")
        health = kfleet("cluster", "health", "cell")
        assert health.returncode == 3
        assert "FAIL  GenerationObserved" in health.stdout
        assert (cell.pod_uids(), cell.cluster()["metadata"]["resourceVersion"]) == (uids, version)
    finally:
        cell.operator.start()
    begun = cell.wait("the roll", lambda: cell.cluster()["status"].get("operation"), 60)
    assert begun["planHash"] == plan["hash"]
    rolling = kfleet("cluster", "health", "cell", "--exit-when-healthy", "--timeout", "240")
    assert rolling.returncode == 0, rolling.stdout
    cell.wait_ready(240)


def test_a_lost_broker_is_seen_and_waited_for(cell: Cell, kfleet: Cli) -> None:
    """A pod that cannot come back: its node is lost, so health fails until it is; --timeout ends the wait with 3."""
    cell.wait_ready()
    cell.operator.stop()
    try:
        cell.kubectl("delete", "pod", cell.pods()[2]["metadata"]["name"], "--wait=true", "--grace-period=5")
        cell.wait("its replicas out", lambda: "FAIL  ReplicasInSync" in kfleet("cluster", "health", "cell").stdout)
        ill = kfleet("cluster", "health", "cell", "--exit-when-healthy", "--timeout", "3")
        assert ill.returncode == 3
    finally:
        cell.operator.start()
    well = kfleet("cluster", "health", "cell", "--exit-when-healthy", "--timeout", "240")
    assert well.returncode == 0, well.stdout
    assert "ok    ReplicasInSync" in well.stdout
    cell.wait_ready(240)


def test_names_complete_from_the_cluster(cell: Cell) -> None:
    line = ["kfleet", "cluster", "health", "-n", cell.namespace, "ce"]
    completing = {"_KFLEET_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}

    def offered() -> bool:
        done = subprocess.run(
            [KFLEET], env=environment(cell) | completing, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stderr == ""
        return done.stdout.split() == ["cell"]

    cell.wait("an answer within the second that a lookup may take", offered, 60)


def test_a_user_without_rights_is_told_which_one_is_missing(cell: Cell, kfleet: Cli, tmp_path: Path) -> None:
    nobody = user(cell, tmp_path, "nobody")
    for leaf in leaves():
        if not leaf.asks_kubernetes:
            continue
        words = (*leaf.words, *leaf.arguments({"name": "cell", "target": "cell"}))
        done = kfleet(*words, kubeconfig=nobody, namespaced="--namespace" in leaf.options)
        assert (done.returncode, done.stdout) == (4, ""), (leaf.words, done.stderr)
        assert done.stderr.count("\n") == 1, (leaf.words, done.stderr)
        who = f'User "system:serviceaccount:{cell.namespace}:nobody" cannot '
        assert who in done.stderr, (leaf.words, done.stderr)
        assert 'in API group "kfleet.dev"' in done.stderr, (leaf.words, done.stderr)


def test_who_may_look_may_not_change(cell: Cell, kfleet: Cli, tmp_path: Path) -> None:
    """The view role reads clusters and what they consist of, and is refused in one line at the first change."""
    cell.wait_ready()
    viewer = user(cell, tmp_path, "viewer", "view")
    for command in (["cluster", "get"], ["cluster", "describe", "cell"], ["cluster", "health", "cell"], ["op", "list"]):
        kfleet.settled(*command, kubeconfig=viewer)
    kfleet.settled("cluster", "plan", "cell", kubeconfig=viewer)
    done = kfleet("cluster", "reconcile", "cell", kubeconfig=viewer)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert 'cannot patch resource "kafkaclusters"' in done.stderr


def test_kubectl_runs_it_as_a_plugin(cell: Cell, tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-kfleet"
    plugin.write_text(f"#!{sys.executable}\nfrom controlplane.cli.main import kubectl_main\n\nkubectl_main()\n")
    plugin.chmod(0o755)
    done = subprocess.run(
        [ensure_control_plane(Silence()) / "kubectl", "kfleet", "cluster", "get", "-n", cell.namespace, "-o", "name"],
        env=environment(cell) | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "kafkacluster.kfleet.dev/cell\n"), done.stderr
