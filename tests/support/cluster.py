"""A real Kafka cluster on loopback for tests: combined KRaft nodes with a dynamic quorum, run by the image's scripts.

with LocalKafka(tmp_path) as kafka:
    kafka.start("4.3.1", nodes=3)
    kafka.stop_node(2)      # controlled shutdown
    kafka.kill_node(3)      # SIGKILL
    kafka.start_node(2)     # the same data, the same address
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from support.pod import KafkaPod, PodError, kafka_id, loopback_network

START_SECONDS = 240.0
PORT, CONTROLLER_PORT = 9092, 9090
HOST = "${env:KFLEET_NODE_HOST}"
LISTENERS = f"CLIENTS://{HOST}:{PORT},CONTROLLER://{HOST}:{CONTROLLER_PORT}"
RELEASES = {"3.9.2": "3.9-IV0", "4.0.2": "4.0-IV3", "4.1.2": "4.1-IV1", "4.2.0": "4.2-IV1", "4.3.1": "4.3-IV0"}


class LocalKafka:
    """Node ids are 1 to `nodes`; every node is broker and controller, rack a, b, c in turn."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster_id = kafka_id()
        self.pods: dict[int, KafkaPod] = {}
        self.network = loopback_network()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bootstrap_servers(self) -> list[str]:
        return [self.address(node) for node in self.pods]

    @property
    def bootstrap(self) -> str:
        return ",".join(self.bootstrap_servers)

    def address(self, node: int) -> str:
        return f"{self.network}.{node}:{PORT}"

    def start(self, version: str, nodes: int = 1, config: Mapping[str, str] | None = None, heap: str = "256m") -> None:
        """Format and start all nodes; returns once every one of them is a broker of the cluster."""
        ids = range(1, nodes + 1)
        directories = {node: kafka_id() for node in ids}
        peers = ",".join(f"{self.network}.{node}:{CONTROLLER_PORT}" for node in ids)
        voters = ",".join(f"{node}@{self.network}.{node}:{CONTROLLER_PORT}:{directories[node]}" for node in ids)
        for node in ids:
            pod = KafkaPod(
                self.root / f"kafka-{node}",
                version=version,
                env={
                    "KAFKA_NODE_ID": str(node),
                    "KAFKA_CLUSTER_ID": self.cluster_id,
                    "KAFKA_LOG_DIRS": "/var/lib/kafka/data-0",
                    "KAFKA_FORMATTED": "",
                    "KAFKA_FIRST_VOTER": "true",
                    "KAFKA_IDENTITY_DIRECTORY_ID": directories[node],
                    "KAFKA_RELEASE_VERSION": RELEASES[version],
                    "KAFKA_HEAP": heap,
                },
                properties=_properties(node, nodes, config or {}),
                ip=f"{self.network}.{node}",
            )
            pod.publish_peers(peers, voters)
            self.pods[node] = pod
        with ThreadPoolExecutor(max_workers=2) as threads:
            for node, done in zip(ids, threads.map(lambda pod: pod.format(), self.pods.values()), strict=True):
                if done.code:
                    raise PodError(f"node {node} was not formatted: {done.message}\n{done.output}")
        for node in ids:
            self.pods[node].start()
        self.wait_serving(set(ids))

    def start_node(self, node: int, *, version: str | None = None, wait: bool = True) -> None:
        """Start a stopped node again, on another version if one is given."""
        if version is not None:
            self.pods[node].version = version
        self.pods[node].start()
        if wait:
            self.wait_serving({node})

    def stop_node(self, node: int) -> float:
        return self.pods[node].stop()

    def kill_node(self, node: int) -> None:
        self.pods[node].kill()

    def close(self) -> None:
        for pod in self.pods.values():
            pod.kill()

    def wait_serving(self, nodes: set[int], seconds: float = START_SECONDS) -> None:
        """Until each of `nodes` answers on its own port and counts every one of `nodes` among the brokers."""
        deadline = time.monotonic() + seconds
        for node in sorted(nodes):
            client = AdminClient(
                {"bootstrap.servers": self.address(node), "log_level": 0, "reconnect.backoff.max.ms": 200}
            )
            while not _brokers(client) >= nodes:
                if not self.pods[node].running:
                    raise PodError(f"node {node} exited: {self.pods[node].log_tail()}")
                if time.monotonic() > deadline:
                    raise PodError(f"node {node} does not serve after {seconds:.0f} s: {self.pods[node].log_tail()}")


def _brokers(client: AdminClient) -> set[int]:
    try:
        return set(client.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return set()


def _properties(node: int, nodes: int, config: Mapping[str, str]) -> str:
    replicas = str(min(3, nodes))
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "broker.rack": "abc"[(node - 1) % 3],
        "listeners": LISTENERS,
        "advertised.listeners": LISTENERS,
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "${env:KFLEET_POD_ROOT}/var/lib/kafka/data-0",
        "config.providers": "env",
        "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": "1",
        "min.insync.replicas": "2" if nodes > 1 else "1",
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": "false",
        "replica.fetch.backoff.ms": "100",
        # 128 MB by default, of a heap of 256.
        "log.cleaner.dedupe.buffer.size": "8388608",
    } | dict(config)
    return "".join(f"{key}={value}\n" for key, value in settings.items())
