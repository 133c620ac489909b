"""A Kafka cluster as a person keeps it by hand, and the script such a person restarts it with.

Three combined nodes, processes of this machine. Kafka's settings are its defaults but for what says where a node is.
Java, jars, heap and flags are those of the operated cluster to the letter: the image's own `kafka-node-run` starts
both, this one without the class archive, which nobody has who installs Kafka. While it waits the script asks over a
connection that stays, four times a second; a person's kafka-topics.sh would start a JVM each time. That favours this
side.
"""

from __future__ import annotations

import base64
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic
from support.roll_figures import NodePhases, Timeline

from controlplane.sandbox.images import Runtime, prepare, resolve
from controlplane.sandbox.progress import Silence

HOST = "127.0.0.1"
NODES = (1, 2, 3)
STOP_SECONDS = 120.0
"""As long as the operator gives a pod (KFLEET_STOP_GRACE)."""
START_SECONDS = 120.0
PORT_POLL_SECONDS = 0.1
ASK_POLL_SECONDS = 0.25
ASK_SECONDS = 5.0


@dataclass
class _Node:
    number: int
    port: int
    controller_port: int
    root: Path
    directory_id: str
    process: subprocess.Popen[bytes] | None = None


@dataclass
class HandMade:
    """`heap_mib` as spec.nodePools[].jvm.heap; `extra` are lines for every node's server.properties."""

    directory: Path
    version: str
    heap_mib: int
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ports = iter(free_ports(2 * len(NODES)))
        self._nodes = [
            _Node(number, next(ports), next(ports), self.directory / f"node-{number}", uuid()) for number in NODES
        ]
        self._runtime: Runtime = resolve(f"kfleet/kafka:{self.version}")

    @cached_property
    def _asking(self) -> AdminClient:
        """Its own words about nodes that are down are not wanted: they are down on purpose."""
        servers = {"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 200}
        return AdminClient(servers | {"log_level": 0, "error_cb": lambda _: None})

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{HOST}:{node.port}" for node in self._nodes)

    def create(self) -> None:
        """Format and start all nodes; returns when all have registered."""
        cluster_id = uuid()
        for node in self._nodes:
            (node.root / "data").mkdir(parents=True)
            self._configure(node)
            self._format(node, cluster_id)
        for node in self._nodes:
            self._start(node)
        self._wait("all nodes to register", lambda found: len(found.brokers) == len(NODES))

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        topic = NewTopic(name, partitions, replication_factor=len(NODES), config=dict(config))
        self._asking.create_topics([topic])[name].result(ASK_SECONDS * 4)
        self._wait(f"topic {name}", lambda found: name in found.topics and _in_sync(found))

    def return_leaders(self) -> None:
        """A roll leaves them elsewhere, and the next would begin unlike the first. (Ours returns them itself.)"""
        self._asking.elect_leaders(ElectionType.PREFERRED, None).result(ASK_SECONDS * 4)
        self._wait("preferred leaders", lambda found: _in_sync(found) and _preferred(found))

    def roll(self, settings: Mapping[str, str]) -> Timeline:
        """The script: for each node in turn stop it, change its file, start it, wait until every replica is in sync."""
        self.extra |= settings
        phases = []
        for node in self._nodes:
            asked = time.monotonic()
            _stop(node)
            gone = time.monotonic()
            self._configure(node)
            self._start(node)
            launched = time.monotonic()
            _wait_port(node)
            started = time.monotonic()
            self._wait("every replica in sync", _in_sync)
            phases.append(
                NodePhases(
                    node=str(node.number),
                    stop_s=gone - asked,
                    replace_s=0.0,
                    launch_s=launched - gone,
                    start_s=started - launched,
                    back_s=time.monotonic() - started,
                )
            )
        return Timeline(0.0, tuple(phases))

    def properties(self, node: int) -> dict[str, str]:
        """server.properties of one node. Nothing in it that Kafka has a default for, `extra` excepted."""
        one = next(each for each in self._nodes if each.number == node)
        listeners = f"PLAINTEXT://{HOST}:{one.port},CONTROLLER://{HOST}:{one.controller_port}"
        controllers = ",".join(f"{HOST}:{each.controller_port}" for each in self._nodes)
        return {
            "process.roles": "broker,controller",
            "node.id": str(one.number),
            "controller.quorum.bootstrap.servers": controllers,
            "controller.listener.names": "CONTROLLER",
            "listeners": listeners,
            "advertised.listeners": listeners,
            "log.dirs": str(one.root / "data"),
        } | self.extra

    def command(self) -> tuple[list[str], dict[str, str]]:
        """(argv, environment without the pod root) of a node: the image's script and what the image sets, but for the
        class archive."""
        script = self._runtime.path[0] / "kafka-node-run"
        path = ":".join(str(folder) for folder in self._runtime.path)
        own = {name: value for name, value in self._runtime.env.items() if name != "KAFKA_CDS"}
        return [str(script)], own | {"PATH": path, "KAFKA_HEAP": f"{self.heap_mib}m"}

    def close(self) -> None:
        """All at once and by SIGKILL: the last ones would find nobody to hand their leaders to."""
        for node in self._nodes:
            if node.process is not None:
                node.process.kill()
                node.process.wait()

    def _configure(self, node: _Node) -> None:
        path = _properties_file(node)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key}={value}\n" for key, value in self.properties(node.number).items()))

    def _format(self, node: _Node, cluster_id: str) -> None:
        env = self._runtime.env
        voters = ",".join(f"{n.number}@{HOST}:{n.controller_port}:{n.directory_id}" for n in self._nodes)
        java = [f"{env['JAVA_HOME']}/bin/java", "-Xmx128m", "-cp", f"{env['KAFKA_LIBS']}/*"]
        tool = ["kafka.tools.StorageTool", "format", "--config", str(_properties_file(node))]
        identity = ["--cluster-id", cluster_id, "--initial-controllers", voters]
        done = subprocess.run([*java, *tool, *identity], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _start(self, node: _Node) -> None:
        argv, env = self.command()
        own = {"KFLEET_POD_ROOT": str(node.root), "KFLEET_TERMINATION_LOG": str(node.root / "termination")}
        with (node.root / "log").open("ab") as log:
            node.process = subprocess.Popen(
                argv, env=env | own, cwd=node.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait(self, what: str, holds: Callable[[ClusterMetadata], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if holds(self._asking.list_topics(timeout=ASK_SECONDS)):
                    return
            except KafkaException:
                pass  # it asked the node that is down; the next try finds another
            assert time.monotonic() < deadline, f"{what}: not within {START_SECONDS:g} s"
            time.sleep(ASK_POLL_SECONDS)


@contextmanager
def hand_made(directory: Path, version: str, heap_mib: int) -> Iterator[HandMade]:
    """A cluster that runs, and is gone at the end. Its jars are fetched first, as `kfleet sandbox pull` does."""
    prepare(f"kfleet/kafka:{version}", Silence())
    cluster = HandMade(directory, version, heap_mib)
    try:
        cluster.create()
        yield cluster
    finally:
        cluster.close()


def _in_sync(found: ClusterMetadata) -> bool:
    return len(found.brokers) == len(NODES) and all(
        len(partition.isrs) == len(partition.replicas)
        for topic in found.topics.values()
        for partition in topic.partitions.values()
    )


def _preferred(found: ClusterMetadata) -> bool:
    return all(
        partition.leader == partition.replicas[0]
        for topic in found.topics.values()
        for partition in topic.partitions.values()
    )


def _stop(node: _Node) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)
    node.process.wait(STOP_SECONDS)


def _wait_port(node: _Node) -> None:
    assert node.process is not None
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, node.port), timeout=1.0).close()
        except OSError:
            log = node.root / "log"
            assert node.process.poll() is None, f"node {node.number} ended: {log.read_text(errors='replace')[-2000:]}"
            assert time.monotonic() < deadline, f"node {node.number} does not listen within {START_SECONDS:g} s"
            time.sleep(PORT_POLL_SECONDS)
        else:
            return


def _properties_file(node: _Node) -> Path:
    """Where kafka-node-run looks for it."""
    return node.root / "etc" / "kafka" / "run" / "server.properties"


def free_ports(count: int) -> list[int]:
    """All at once, so that none is given twice."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((HOST, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def uuid() -> str:
    """16 bytes in base64url as Kafka writes ids; a leading "-" would look like an option."""
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode().replace("-", "A")
