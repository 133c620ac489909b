"""A real cluster laid out as examples/quickstart, run by the image's scripts without Kubernetes: three controllers and
three brokers; with TLS everywhere, passwords for users and an authorizer, or with nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic
from support.cluster import RELEASES
from support.pod import KafkaPod, PodError, kafka_id, loopback_network

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kafka.security import librdkafka_tls
from controlplane.adapters.pki import CryptographyPki
from controlplane.api.access import Authentication, AuthenticationType, Authorization, AuthorizationType
from controlplane.domain.access.listeners import CLUSTER_CA, NODE_PEM, NODES, OPERATOR, TLS_DIR
from controlplane.domain.access.values import ClientTls
from controlplane.domain.cluster.properties import (
    CONTROLLER_PORT,
    REPLICATION_PORT,
    Listener,
    NodeProperties,
    defaults,
    render,
)

CONTROLLERS, BROKERS = (1, 2, 3), (4, 5, 6)
DATA = "/var/lib/kafka/data-0"
HEAP_MIB = 256
SCRAM = Listener("clients", 9093, True, Authentication(type=AuthenticationType.SCRAM_SHA_512))
OPEN = Listener("clients", 9093)
AUTHORIZATION = Authorization(type=AuthorizationType.STANDARD)
CERTIFICATE_SECONDS = 86400.0
SECONDS = 240.0
POLL_SECONDS = 0.05


class Quickstart:
    """Pods by node id; they are started and stopped one by one."""

    def __init__(self, root: Path, version: str, *, secure: bool) -> None:
        self._network = loopback_network()
        self._pki = CryptographyPki(SystemClock())
        self._authority = self._pki.make_authority("quickstart", CERTIFICATE_SECONDS)
        own = self._pki.issue(self._authority, OPERATOR, CERTIFICATE_SECONDS)
        self._tls = ClientTls(self._authority.certificate, own.certificate, own.key) if secure else None
        cluster_id, directories = kafka_id(), {node: kafka_id() for node in CONTROLLERS}
        peers = ",".join(f"{self._address(node)}:{CONTROLLER_PORT}" for node in CONTROLLERS)
        voters = ",".join(f"{n}@{self._address(n)}:{CONTROLLER_PORT}:{directories[n]}" for n in CONTROLLERS)
        self.pods: dict[int, KafkaPod] = {}
        for node in (*CONTROLLERS, *BROKERS):
            env = {
                "KAFKA_NODE_ID": str(node),
                "KAFKA_CLUSTER_ID": cluster_id,
                "KAFKA_LOG_DIRS": DATA,
                "KAFKA_FORMATTED": "",
                "KAFKA_FIRST_VOTER": str(node in CONTROLLERS).lower(),
                "KAFKA_IDENTITY_DIRECTORY_ID": directories.get(node, ""),
                "KAFKA_RELEASE_VERSION": RELEASES[version],
                "KAFKA_HEAP": f"{HEAP_MIB}m",
            }
            text = _properties(node, secure=secure)
            pod = KafkaPod(root / f"node-{node}", version=version, env=env, properties=text, ip=self._address(node))
            pod.publish_peers(peers, voters)
            if secure:
                self._equip(pod)
            self.pods[node] = pod

    def start(self, topic: NewTopic) -> None:
        """Format and start all nodes; returns once the topic is in sync."""
        with ThreadPoolExecutor(max_workers=2) as threads:
            for node, done in zip(self.pods, threads.map(lambda pod: pod.format(), self.pods.values()), strict=True):
                if done.code:
                    raise PodError(f"node {node} was not formatted: {done.message}\n{done.output}")
        for pod in self.pods.values():
            pod.start()
        self.wait(lambda seen: len(seen.brokers) == len(BROKERS))
        self._asking.create_topics([topic])[topic.topic].result(SECONDS)
        self.wait(lambda seen: topic.topic in seen.topics and in_sync(seen))

    def wait(self, holds: Callable[[ClusterMetadata], bool]) -> None:
        """Until what a broker answers to the operator is so."""
        deadline = time.monotonic() + SECONDS
        while not self._holds(holds):
            for node, pod in self.pods.items():
                if not pod.running:
                    raise PodError(f"node {node} ended: {pod.log_tail()}")
            if time.monotonic() > deadline:
                raise PodError(f"not within {SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        for pod in self.pods.values():
            pod.kill()

    def _holds(self, holds: Callable[[ClusterMetadata], bool]) -> bool:
        try:
            return holds(self._asking.list_topics(timeout=1.0))
        except KafkaException:
            return False

    @cached_property
    def _asking(self) -> AdminClient:
        servers = ",".join(f"{self._address(node)}:{REPLICATION_PORT}" for node in BROKERS)
        quiet = {"log_level": 0, "reconnect.backoff.max.ms": 200, "error_cb": lambda _: None}
        return AdminClient({"bootstrap.servers": servers} | librdkafka_tls(self._tls) | quiet)

    def _equip(self, pod: KafkaPod) -> None:
        own = self._pki.issue(self._authority, replace(NODES, hosts=(pod.ip,)), CERTIFICATE_SECONDS)
        directory = pod.path(TLS_DIR)
        directory.mkdir()
        (directory / NODE_PEM).write_text(own.key + own.certificate)
        (directory / CLUSTER_CA).write_text(self._authority.certificate)

    def _address(self, node: int) -> str:
        return f"{self._network}.{node}"


@contextmanager
def quickstart(root: Path, version: str, topic: NewTopic, *, secure: bool) -> Iterator[Quickstart]:
    cluster = Quickstart(root, version, secure=secure)
    try:
        cluster.start(topic)
        yield cluster
    finally:
        cluster.close()


def in_sync(seen: ClusterMetadata) -> bool:
    return all(
        len(partition.isrs) == len(partition.replicas)
        for topic in seen.topics.values()
        for partition in topic.partitions.values()
    )


def _properties(node: int, *, secure: bool) -> str:
    return render(
        NodeProperties(
            node_id=node,
            controller=node in CONTROLLERS,
            broker=node in BROKERS,
            rack="abc"[node % 3],
            volumes=(0,),
            listeners=(SCRAM if secure else OPEN,),
            static_config=defaults(len(BROKERS), HEAP_MIB << 20),
            min_isr="2",
            mutual_tls=secure,
            authorization=AUTHORIZATION if secure else None,
        )
    )
