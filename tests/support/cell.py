"""One Kafka cluster under test on a real API server: a namespace, an operator process, kubectl, and waiting.

What a test does to it goes through kubectl, as a user would; everything it waits for is a condition with a generous
limit, and what stood in the way is part of the failure. What has to happen in the middle of a roll happens inside
`Cell.held`: the roll stands there until it is done, however slow the test, the machine or both are.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka.admin import AdminClient
from support.enrolment import enrol
from support.operator import HOME, OperatorProcess, write_kubeconfig
from support.reads import KINDS, reader
from support.sandbox import Sandbox

from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.api.names import RECONCILE_AT, ZONE
from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.progress import Silence

Object = dict[str, Any]
OPERATOR = "kfleet-operator"
HELD = "kfleet-test/held"
"""What pods that are held lack: an extended resource, with a name of its own each time."""
PATIENCE = 3
"""Limits are what a busy machine of two cores needs; nothing is judged by them, so each is waited for this many times
over."""
KAFKA_SECONDS = 30
KUBECTL_SECONDS = 300
"""Above every --timeout that kubectl is given here: that one tells what it waits for."""


class NotInTimeError(AssertionError):
    """A condition did not come true; the message ends with the state of the world."""


@dataclass
class Cell:
    kubectl_binary: Path
    kubeconfig: Path
    namespace: str
    operator: OperatorProcess
    name: str = "cell"

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            [str(self.kubectl_binary), "--kubeconfig", str(self.kubeconfig), "-n", self.namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=KUBECTL_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout if not done.returncode else done.stderr

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def patch(self, spec: Object, kind: str = "kafkaclusters.kfleet.dev", name: str = "") -> None:
        body = json.dumps({"spec": spec})
        self.kubectl("patch", kind, name or self.name, "--type=merge", "-p", body)

    def get(self, kind: str, name: str = "", namespace: str = "") -> Object:
        """One object, or the list of all; of the cell's namespace unless another one is named."""
        where = namespace or self.namespace
        if kind in KINDS:
            return reader(self.kubeconfig).get(KINDS[kind], name, where)
        document: Object = json.loads(self.kubectl("get", kind, *([name] if name else []), "-n", where, "-o", "json"))
        return document

    def cluster(self) -> Object:
        return self.get("kafkaclusters.kfleet.dev", self.name)

    def condition(self, kind: str) -> Object:
        conditions = self.cluster().get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {"status": "Unknown", "reason": "", "message": ""})

    def is_ready(self) -> bool:
        cluster = self.cluster()
        return any(
            c["type"] == "Ready"
            and c["status"] == "True"
            and c["observedGeneration"] == cluster["metadata"]["generation"]
            for c in cluster.get("status", {}).get("conditions", [])
        )

    def pods(self) -> dict[int, Object]:
        """Kafka pods that are not being deleted, by node id."""
        return {
            int(pod["metadata"]["labels"]["kfleet.dev/node-id"]): pod
            for pod in self.get("pods")["items"]
            if "kfleet.dev/node-id" in pod["metadata"].get("labels", {}) and "deletionTimestamp" not in pod["metadata"]
        }

    def pod_uids(self) -> dict[int, str]:
        return {node: pod["metadata"]["uid"] for node, pod in self.pods().items()}

    def events(self) -> list[Object]:
        items: list[Object] = self.get("events")["items"]
        return items

    def bootstrap(self) -> str:
        servers = self.cluster()["status"]["bootstrapServers"]
        return str(servers[0])

    def lease_holder(self) -> str:
        lease = self.get("lease", f"operator-{self.namespace}", HOME)
        return str(lease["spec"]["holderIdentity"])

    def wait(self, what: str, condition: Callable[[], Any], timeout: float = 120.0) -> Any:
        """The condition's first true value. Raises NotInTimeError with a dump of the state of the world."""
        deadline = time.monotonic() + PATIENCE * timeout
        while True:
            if value := condition():
                return value
            if time.monotonic() > deadline:
                raise NotInTimeError(f"{what}: not within {PATIENCE * timeout:g} s\n{self.dump()}")
            time.sleep(0.3)

    @contextmanager
    def held(self) -> Iterator[Callable[[str], object]]:
        """Pods made in here stay Pending, and a roll stands at the first of them: its middle can neither be missed nor
        be over too soon. What is yielded lets those of one zone start before the end.

        By default of their namespace they ask for what no machine has. A cordon or a taint would touch all pods there
        are, and a cordoned machine is one that the operator leaves, or stops nobody on.
        """
        nodes = {node["metadata"]["labels"][ZONE]: node["metadata"]["name"] for node in self.get("nodes")["items"]}
        lacking = f"{HELD}-{secrets.token_hex(4)}"
        limit = {"type": "Container", "default": {lacking: "1"}, "defaultRequest": {lacking: "1"}}
        meta = {"name": "held"}
        self.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": [limit]}})
        probe = ("run", "probe", "--image=probe", "--dry-run=server", "-o", "json")
        self.wait("pods to be held", lambda: lacking in self.kubectl(*probe), 10)
        given = json.dumps({"status": {key: {lacking: "1000"} for key in ("capacity", "allocatable")}})

        def let_start(zone: str) -> None:
            self.kubectl("patch", "node", nodes[zone], "--subresource=status", "--type=merge", "-p", given)

        try:
            yield let_start
        finally:
            self.kubectl("delete", "limitrange", "held")
            for zone in nodes:
                let_start(zone)

    def wait_topic(self, name: str) -> None:
        def ready() -> bool:
            conditions = self.get("kafkatopics.kfleet.dev", name).get("status", {}).get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        self.wait(f"topic {name} Ready", ready, 60)

    def wait_available(self) -> None:
        """Partitions of a node that ended without a word have no leader until its session is over."""
        self.wait("the rest to serve", lambda: self.condition("Available")["status"] == "True")

    def wait_in_sync(self) -> None:
        """Every broker there and every replica in sync, as Kafka has it."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap(), "log_level": 0})

        def in_sync() -> bool:
            found = admin.list_topics(timeout=KAFKA_SECONDS)
            partitions = [part for topic in found.topics.values() for part in topic.partitions.values()]
            brokers = {broker for part in partitions for broker in part.replicas}
            return brokers <= found.brokers.keys() and all(len(part.isrs) == len(part.replicas) for part in partitions)

        self.wait("every replica in sync", in_sync)

    def wait_looked_at(self) -> None:
        """Until the operator has taken a whole pass that began from here on: a pass writes its status before it acts,
        so that only the next one's says that it is over."""
        for _ in range(2):
            stamp = f"{time.time():.6f}"
            self.kubectl("annotate", "--overwrite", "kafkaclusters.kfleet.dev", self.name, f"{RECONCILE_AT}={stamp}")
            seen = partial(self._last_asked, stamp)
            self.wait("the operator to look", seen, 60)

    def _last_asked(self, stamp: str) -> bool:
        return bool(self.cluster()["status"].get("lastHandledReconcileAt") == stamp)

    def wait_drainable(self) -> None:
        """The operator sees every node up and every replica in sync: its drain gate is open."""
        budget, open_at = f"{self.name}-nodes", len(self.pods()) - 1
        self.wait("the drain gate opens", lambda: self.get("pdb", budget)["spec"]["minAvailable"] == open_at)

    def wait_ready(self, timeout: float = 180.0) -> None:
        self.wait(f"{self.name} Ready", self.is_ready, timeout)

    def dump(self) -> str:
        """What a person would look at first."""
        parts = [
            self.kubectl("get", "kafkaclusters.kfleet.dev", "-o", "yaml", check=False),
            self.kubectl("get", "pods,pvc,kafkatopics.kfleet.dev", "-o", "wide", check=False),
            self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-6000:],
            self.operator.tail(),
        ]
        parts += [
            f"--- {name}\n" + self.kubectl("logs", name, "--all-containers", "--tail=15", check=False)
            for name in self.kubectl("get", "pods", "-o", "name", check=False).split()
        ]
        return "\n".join(parts)


@contextmanager
def make_cell(
    sandbox: Sandbox,
    name: str,
    directory: Path,
    namespace: str | None = None,
    *,
    enrolled: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Cell]:
    """A namespace with an operator of its own, which runs under the chart's ServiceAccount. Both go at the end.

    `settings` are the operator's, beside those that every test's operator has.
    """
    namespace = namespace or f"e2e-{name}"
    kubectl = ensure_control_plane(Silence()) / "kubectl"
    sandbox.kubectl("create", "namespace", namespace)
    if enrolled:
        enrol(sandbox.kubectl, namespace)
    token = sandbox.kubectl("create", "token", OPERATOR, "-n", HOME, "--duration=3h").strip()
    admin = from_kubeconfig(sandbox.kubeconfig)
    kubeconfig = directory / "operator.yaml"
    write_kubeconfig(kubeconfig, server=admin.server, ca_pem=admin.ca_pem or "", token=token)
    operator = OperatorProcess(kubeconfig, namespace, directory / "operator.log", settings=dict(settings or {}))
    cell = Cell(kubectl, sandbox.kubeconfig, namespace, operator)
    operator.start()
    try:
        yield cell
    finally:
        cell.kubectl("delete", "kafkaclusters.kfleet.dev,kafkatopics.kfleet.dev", "--all", "--wait=false", check=False)
        # Their finalizer is the operator's to take away: without one the namespace would not go.
        cell.kubectl("delete", "kafkausers.kfleet.dev", "--all", "--timeout=60s", check=False)
        operator.stop()
        # Without their controllers brokers would use up their grace period.
        cell.kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false", check=False)
        cell.kubectl("delete", "namespace", namespace, "--timeout=120s", check=False)


def combined_cluster(name: str = "cell", version: str = "4.2.0", **spec: Any) -> Object:
    """Three combined nodes, one a zone, small and quick."""
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaCluster",
        "metadata": {"name": name},
        "spec": {
            "provider": {"type": "Pods"},
            "version": version,
            "nodePools": [
                {
                    "name": "nodes",
                    "roles": ["Controller", "Broker"],
                    "replicas": 3,
                    "zones": ["a", "b", "c"],
                    "storage": {"volumes": [{"id": 0, "size": "1Gi"}]},
                    "jvm": {"heap": "256Mi"},
                }
            ],
            "listeners": [{"name": "clients", "port": 9092}],
            "rollout": {"soak": "2s"},
        }
        | spec,
    }


def topic(name: str, cluster: str = "cell", partitions: int = 6, replicas: int = 3, **spec: Any) -> Object:
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaTopic",
        "metadata": {"name": name},
        "spec": {"clusterRef": {"name": cluster}, "partitions": partitions, "replicas": replicas} | spec,
    }
