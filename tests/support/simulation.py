"""A cluster on fakes: a namespace whose pods come up at once, and an operator that can die at each of its writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from support.cell import combined_cluster
from support.fake_kafka import FakeKafka, FakeKafkaAdmins, FakeTopic
from support.fake_kube import FakeKube
from support.fake_tls import tools
from support.outside import Outside

from controlplane.api import names
from controlplane.domain.cluster.layout import derived_uuid
from controlplane.ports import ClientWitness
from controlplane.services.cluster.kind import KAFKA_CLUSTERS, ClusterKind
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import Interceptor, intercept_admins, intercept_kube
from controlplane.services.keys import cluster_key
from controlplane.services.operation.approvals import Approvals
from controlplane.services.operation.engine import Engine, Surroundings
from controlplane.services.operation.lock import CellGuard, CellLocks
from controlplane.services.operation.outbox import Outbox
from controlplane.settings import OperatorSettings

KEY = cluster_key("kafka", "cell")
SETTINGS = OperatorSettings(addressing="PodIP")


class Killed(BaseException):
    """The operator died."""


@dataclass
class DieAt:
    """Counts mutating calls of one life; dies before or after call `number` (None: never)."""

    number: int | None = None
    phase: str = "before"
    calls: list[str] = field(default_factory=list)

    def before(self, call: str) -> None:
        if self.number == len(self.calls) + 1 and self.phase == "before":
            raise Killed
        self.calls.append(call)

    def after(self, call: str) -> None:
        if self.number == len(self.calls) and self.phase == "after":
            raise Killed


@dataclass
class Walk:
    """Dies before and after each mutating call, counted over all lives, as tests/support/crash_walk.py does."""

    number: int = 1
    phase: str = "before"
    pending: bool = False

    def before(self, _: str) -> None:
        if self.phase == "before":
            self.phase = "after"
            raise Killed
        self.pending = True

    def after(self, _: str) -> None:
        if self.pending:
            self.number, self.phase, self.pending = self.number + 1, "before", False
            raise Killed


@dataclass
class SlowClock:
    seconds: float = 1000.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Namespace:
    """Kubernetes and Kafka around one cluster: `turn` lets everything happen that happens by itself."""

    def __init__(self) -> None:
        self.kube, self.clock = FakeKube(), SlowClock()
        self.kafka = FakeKafka(nodes=3, first_id=0)
        self.kafka.up.clear()
        self.kafka.directories = {node: f"directory-{node}" for node in self.kafka.ids}
        self.kafka.voters = dict(self.kafka.directories)
        self.admins = FakeKafkaAdmins({KEY.cell: self.kafka})
        self.certificates, self.serving = tools(self.kube, self.clock, SETTINGS)
        self.uids: dict[str, list[str]] = {}
        self.outside = Outside(self.kube)

    async def declare(self, **spec: Any) -> None:
        body = combined_cluster(**spec)
        body["metadata"]["namespace"] = "kafka"
        created = await self.kube.create(KAFKA_CLUSTERS, body)
        self.kafka.cluster_id = derived_uuid(created["metadata"]["uid"], "cluster")

    async def change(self, **spec: Any) -> None:
        obj = await self.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        obj["spec"] |= spec
        await self.kube.replace(KAFKA_CLUSTERS, obj)

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.kube.get(KAFKA_CLUSTERS, "cell", "kafka")).get("status", {})
        return found

    async def ready(self) -> bool:
        obj = await self.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        return any(
            c["type"] == "Ready" and c["status"] == "True" and c["observedGeneration"] == obj["metadata"]["generation"]
            for c in obj.get("status", {}).get("conditions", [])
        )

    def turn(self) -> None:
        """A second passes: claims are bound, pods with what they need come up, nodes without a pod are down; nodes that
        were asked to have read their certificates again."""
        self.clock.seconds += 1
        self.kafka.now = self.clock.now()
        peers = self.kube.objects.get(("configmaps", "kafka", "cell-peers"))
        while self.admins.reloaded:
            self.serving.reload(self.admins.reloaded.pop())
        alive = set()
        for (plural, _, name), obj in self.kube.objects.items():
            if plural == "services":
                obj["spec"].setdefault("clusterIP", "127.9.0.1")
                self.outside.serve(name, obj)
            if plural == "persistentvolumeclaims":
                obj["status"] = {"phase": "Bound"}
            if plural == "pods":
                node = int(obj["metadata"]["labels"][names.NODE_ID])
                alive.add(node)
                if obj["metadata"]["uid"] not in self.uids.setdefault(name, []):
                    self.uids[name].append(obj["metadata"]["uid"])
                self._run(obj, node, has_peers=peers is not None)
        for node in sorted({*self.kafka.ids, *self.kafka.directories}):
            if node not in alive:
                self.kafka.stop_broker(node)

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        pod["spec"]["nodeName"] = self.outside.place(node)
        report: dict[str, Any] = {"directoryIds": {"/var/lib/kafka/data-0": f"directory-{node}"}}
        told = self.outside.tell(pod, node)
        if told:
            report["advertised"] = told
        state = {"running": {}} if told is None else {"terminated": {"message": json.dumps(report)}}
        has_peers = has_peers and told is not None
        pod["status"] = {
            "podIP": f"127.9.1.{node}",
            "conditions": [{"type": "Ready", "status": str(has_peers)}],
            "initContainerStatuses": [{"name": "format", "restartCount": 0, "state": state}],
        }
        has_peers = has_peers and self.serving.start(pod, node)
        pod["status"]["conditions"][0]["status"] = str(has_peers)
        if has_peers and node not in self.kafka.up:
            self.kafka.start_broker(node)


def around(kube: Any, clock: Any, settings: OperatorSettings, *, identity: str = "one") -> Surroundings:
    """What an engine needs beside its kind, without a ledger."""
    locks = CellLocks(kube, clock, identity=identity, duration=settings.cell_lock_duration)
    return Surroundings(kube, clock, locks, Approvals(kube), Outbox(None), settings)


def service(
    namespace: Namespace,
    interceptor: Interceptor,
    *,
    identity: str = "one",
    witness: ClientWitness | None = None,
) -> Engine:
    """A new life: nothing is remembered."""
    interceptors = [interceptor, CellGuard()]
    kube = intercept_kube(namespace.kube, interceptors)
    admins = intercept_admins(namespace.admins, interceptors)
    events = EventRecorder(kube, namespace.clock)
    certificates = namespace.certificates
    kind = ClusterKind(kube, admins, namespace.clock, events, SETTINGS, witness=witness, certificates=certificates)
    return Engine(kind, around(kube, namespace.clock, SETTINGS, identity=identity))


async def passes(namespace: Namespace, count: int) -> None:
    """One life of the operator, so many passes."""
    one = service(namespace, DieAt())
    for _ in range(count):
        namespace.turn()
        await one.reconcile(KEY)


async def run_until_ready(namespace: Namespace, die: DieAt, passes: int = 200) -> None:
    one = service(namespace, die)
    for _ in range(passes):
        namespace.turn()
        await one.reconcile(KEY)
        if await namespace.ready():
            return
    raise AssertionError(f"not Ready after {passes} passes: {json.dumps(await namespace.status(), indent=1)}")


async def created() -> Namespace:
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    return namespace


def some_topic(namespace: Namespace) -> FakeTopic:
    """Three partitions on all nodes that are up."""
    return FakeTopic("id", [namespace.kafka.place(3) for _ in range(3)], {})
