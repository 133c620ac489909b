"""A real cluster of many small brokers in racks, and Kafka's own `kafka-reassign-partitions` against it.

One combined node and brokers beside it, processes of this machine; the tool is the Java class that the script of that
name starts. Brokers hold next to nothing: it is their metadata that the tool plans by.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from support.hand_made import HOST, free_ports, uuid

from controlplane.sandbox.images import prepare, resolve
from controlplane.sandbox.progress import Silence

HEAP = "-Xmx160m"
FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
START_SECONDS = 180.0
POLL_SECONDS = 0.5
TOOL = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"

Replicas = tuple[int, ...]


@dataclass
class Brokers:
    """`racks[i]` is that of broker i; broker 0 is the controller too."""

    directory: Path
    version: str
    racks: Sequence[str]
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._env = resolve(f"kfleet/kafka:{self.version}").env
        self._ports = free_ports(len(self.racks) + 1)
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "error_cb": lambda _: None})

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self._ports[0]}"

    def start(self) -> None:
        cluster, directory_id = uuid(), uuid()
        for number in range(len(self.racks)):
            file = self._configure(number)
            voters = ["--initial-controllers", f"0@{HOST}:{self._ports[-1]}:{directory_id}"] if number == 0 else []
            self._run("kafka.tools.StorageTool", "format", "--config", str(file), "--cluster-id", cluster, *voters)
            with (self.directory / f"broker-{number}.log").open("wb") as log:
                java = self._java("kafka.Kafka", str(file))
                self._processes.append(subprocess.Popen(java, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        self._wait("all brokers", lambda: len(self._admin.list_topics(timeout=5).brokers) == len(self.racks))

    def create(self, topic: str, replicas: Sequence[Replicas]) -> None:
        """With these replicas, partition by partition."""
        new = NewTopic(topic, len(replicas), replica_assignment=[list(one) for one in replicas])
        self._admin.create_topics([new])[topic].result(60)
        self._wait(f"topic {topic}", lambda: len(self.assignment(topic)) == len(replicas))

    def assignment(self, topic: str) -> list[Replicas]:
        found = self._admin.list_topics(topic, timeout=10).topics[topic].partitions
        return [tuple(found[at].replicas) for at in sorted(found)]

    def generate(self, topic: str, brokers: Sequence[int]) -> dict[str, Any]:
        """What `--generate` proposes for the topic on these brokers."""
        topics = self.directory / "topics.json"
        topics.write_text(json.dumps({"version": 1, "topics": [{"topic": topic}]}))
        listed = ",".join(str(one) for one in brokers)
        said = self._tool("--generate", "--topics-to-move-json-file", str(topics), "--broker-list", listed)
        found = re.search(r"Proposed partition reassignment configuration\s*(\{.*\})", said)
        assert found, said
        proposed: dict[str, Any] = json.loads(found[1])
        return proposed

    def execute(self, reassignment: Mapping[str, Any]) -> str:
        """Carried out, to the end that `--verify` sees; what that said."""
        file = self.directory / "reassignment.json"
        file.write_text(json.dumps(reassignment))
        self._tool("--execute", "--reassignment-json-file", str(file))
        verified = [""]

        def complete() -> bool:
            verified[0] = self._tool("--verify", "--reassignment-json-file", str(file))
            return "still in progress" not in verified[0]

        self._wait("the reassignment", complete)
        return verified[0]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _tool(self, *arguments: str) -> str:
        return self._run(TOOL, "--bootstrap-server", self.bootstrap, *arguments)

    def _run(self, main: str, *arguments: str) -> str:
        done = subprocess.run(self._java(main, *arguments), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def _java(self, main: str, *arguments: str) -> list[str]:
        classes = f"{self._env['KAFKA_LIBS']}/*"
        return [f"{self._env['JAVA_HOME']}/bin/java", HEAP, *FLAGS, "-cp", classes, main, *arguments]

    def _configure(self, number: int) -> Path:
        own, controller = self._ports[number], self._ports[-1]
        listeners = f"PLAINTEXT://{HOST}:{own}" + (f",CONTROLLER://{HOST}:{controller}" if number == 0 else "")
        settings = {
            "process.roles": "broker,controller" if number == 0 else "broker",
            "node.id": str(number),
            "broker.rack": self.racks[number],
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": listeners,
            "advertised.listeners": listeners,
            "log.dirs": str(self.directory / f"data-{number}"),
            "num.network.threads": "1",
            "num.io.threads": "2",
            "log.cleaner.enable": "false",
        }
        file = self.directory / f"broker-{number}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return file

    def _wait(self, what: str, holds: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if holds():
                    return
            except KafkaException:
                pass  # nobody answers yet
            ended = [at for at, process in enumerate(self._processes) if process.poll() is not None]
            assert not ended, (self.directory / f"broker-{ended[0]}.log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, f"{what}: not within {START_SECONDS:g} s"
            time.sleep(POLL_SECONDS)


@contextmanager
def many_brokers(directory: Path, version: str, racks: Sequence[str]) -> Iterator[Brokers]:
    prepare(f"kfleet/kafka:{version}", Silence())
    cluster = Brokers(directory, version, racks)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
