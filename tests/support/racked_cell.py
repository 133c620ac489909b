"""The cluster on fakes of `support.simulation`, with controllers apart and two brokers in each of three zones.

Pods take a few seconds to come up here, so that a roll has the time to take a second one down.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.fake_kafka import FakeKafka, FakeKafkaAdmin, FakeKafkaAdmins, FakePartition, FakeTopic
from support.simulation import KEY, DieAt, Namespace, run_until_ready

from controlplane.api import names
from controlplane.domain.observation import KafkaObservation, QuorumObservation

CONTROLLERS = frozenset(range(3))
BROKERS = tuple(range(3, 9))
START_SECONDS = 3


class RackedAdmin(FakeKafkaAdmin):
    """Controllers hold no replicas, brokers do not vote."""

    async def observe(self) -> tuple[KafkaObservation, QuorumObservation]:
        kafka, quorum = await super().observe()
        voters = tuple(voter for voter in quorum.voters if voter.id in CONTROLLERS)
        brokers = tuple(broker for broker in kafka.brokers if broker.id not in CONTROLLERS)
        leader = min((voter.id for voter in voters if voter.caught_up), default=None)
        return replace(kafka, brokers=brokers), replace(quorum, voters=voters, leader=leader)


class RackedAdmins(FakeKafkaAdmins):
    def get(self, cluster_key: str, bootstrap_servers: Any, tls: Any = None) -> FakeKafkaAdmin:
        assert bootstrap_servers
        return RackedAdmin(self.clusters[cluster_key])


class RackedNamespace(Namespace):
    """`most_down`: the most pods that were not ready at once, after the first of them all was."""

    def __init__(self) -> None:
        super().__init__()
        self.kafka = FakeKafka(nodes=len(CONTROLLERS) + len(BROKERS), first_id=0)
        self.kafka.up.clear()
        self.admins = RackedAdmins({KEY.cell: self.kafka})
        self._since: dict[str, float] = {}
        self.most_down = 0
        self.down_together: set[frozenset[int]] = set()

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        since = self._since.setdefault(pod["metadata"]["uid"], self.clock.seconds)
        started = has_peers and self.clock.seconds - since >= START_SECONDS
        if node in self.kafka.up and not started:
            self.kafka.stop_broker(node)
        super()._run(pod, node, has_peers=has_peers)
        pod["status"]["conditions"] = [{"type": "Ready", "status": str(started)}]
        if not started:
            self.kafka.stop_broker(node)

    def turn(self) -> None:
        super().turn()
        down = frozenset(self.kafka.ids) - self.kafka.up
        self.most_down = max(self.most_down, len(down))
        self.down_together.add(down)


async def racked(limit: int | str, *, partitions: int = 4) -> RackedNamespace:
    """Up and ready, with a topic that has one replica in every zone."""
    pool = {"storage": {"volumes": [{"id": 0, "size": "1Gi"}]}, "jvm": {"heap": "256Mi"}}
    namespace = RackedNamespace()
    await namespace.declare(
        nodePools=[
            pool | {"name": "controllers", "roles": ["Controller"], "replicas": 3, "zones": ["a", "b", "c"]},
            pool | {"name": "brokers", "roles": ["Broker"], "replicas": len(BROKERS), "zones": ["a", "b", "c"]},
        ],
        rollout={"soak": "2s", "maxUnavailable": limit},
    )
    await run_until_ready(namespace, DieAt())
    placed = []
    for number in range(partitions):
        replicas = tuple(BROKERS[zone + 3 * ((number >> zone) & 1)] for zone in range(3))
        placed.append(FakePartition(replicas, replicas, replicas[0]))
    namespace.kafka.topics["t"] = FakeTopic("id", placed, {})
    namespace.most_down = 0
    namespace.down_together = set()
    return namespace


def zone(namespace: Namespace, node: int) -> str:
    return next(
        str(obj["metadata"]["annotations"][names.RACK])
        for (plural, _, _), obj in namespace.kube.objects.items()
        if plural == "pods" and obj["metadata"]["labels"][names.NODE_ID] == str(node)
    )
