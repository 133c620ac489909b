"""One Kafka pod as the operator would run it: kafka-node-format, then kafka-node-run, in a pod root of its own.

The scripts, the Java and the jars are those that the sandbox runs (controlplane.sandbox.images.resolve).
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane.sandbox.images import resolve

FORMAT_SECONDS = 180.0
STOP_SECONDS = 180.0
CLAIM_PORT = 9099


class PodError(RuntimeError):
    """The pod did not do what the test needs; the message carries the end of its log."""


def kafka_id() -> str:
    """A directory or cluster id as Kafka makes them: base64url of 16 random bytes that does not begin with a dash."""
    while True:
        text = urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


_claims: list[socket.socket] = []


def loopback_network() -> str:
    """The first three bytes of a /24 in 127.0.0.0/8 for one cluster or server, e.g. "127.241.7".

    Every pod has an address of its own and the ports it would have anywhere; free ports of 127.0.0.1 would be taken by
    some client's outgoing connection before a slow machine's broker binds them, or while it is stopped. Sandboxes claim
    lower networks. A socket bound in it keeps other test processes out of it until this one ends.
    """
    while True:
        network = f"127.{240 + secrets.randbelow(15)}.{1 + secrets.randbelow(254)}"
        claim = socket.socket()
        try:
            claim.bind((f"{network}.254", CLAIM_PORT))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return network


@dataclass(frozen=True)
class Formatted:
    """How kafka-node-format ended: exit code, termination message, and what it printed."""

    code: int
    message: str
    output: str


class KafkaPod:
    """`env` is what the operator would set; pod root, address, termination log and the image's env are added."""

    def __init__(
        self, root: Path, *, version: str, env: Mapping[str, str], properties: str, ip: str = "127.0.0.1"
    ) -> None:
        self.root, self.version = root, version
        self.env, self.ip = dict(env), ip
        self.scripts: Path | None = None
        """Where kafka-node-format and kafka-node-run are, if not in the image."""
        self.log_file = root / "kafka.log"
        self.termination_log = root / "termination-log"
        self._process: subprocess.Popen[bytes] | None = None
        for directory in ("etc/kafka/config", "etc/kafka/peers", "etc/kafka/run"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        for directory in env.get("KAFKA_LOG_DIRS", "").split(","):
            if directory.startswith("/"):
                self.path(directory).mkdir(parents=True, exist_ok=True)
        self.path("/etc/kafka/config/server.properties").write_text(properties)

    def path(self, inside: str) -> Path:
        """Where an absolute path of the pod lies on this machine."""
        return self.root / inside.lstrip("/")

    def publish_peers(self, bootstrap_servers: str, initial_controllers: str = "") -> None:
        """What the operator writes once every first controller has an address."""
        self.path("/etc/kafka/peers/initial-controllers").write_text(initial_controllers)
        self.path("/etc/kafka/peers/peers.properties").write_text(
            f"controller.quorum.bootstrap.servers={bootstrap_servers}\n"
        )

    def start_format(self) -> subprocess.Popen[str]:
        self.termination_log.unlink(missing_ok=True)
        program, environment = self._program("kafka-node-format")
        return subprocess.Popen(
            [program],
            env=environment,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish_format(self, process: subprocess.Popen[str]) -> Formatted:
        try:
            output, _ = process.communicate(timeout=FORMAT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        message = self.termination_log.read_text() if self.termination_log.exists() else ""
        return Formatted(process.returncode, message, output)

    def format(self) -> Formatted:
        return self.finish_format(self.start_format())

    def start(self) -> None:
        program, environment = self._program("kafka-node-run")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [program], env=environment, cwd=self.root, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> float:
        """SIGTERM (controlled shutdown); returns the seconds it took."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def log_tail(self, size: int = 3000) -> str:
        return self.log_file.read_text(errors="replace")[-size:] if self.log_file.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            raise PodError(f"{self.root.name} is not running: {self.log_tail()}")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> float:
        process, self._process = self._process, None
        if process is None:
            return 0.0
        began = time.monotonic()
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise PodError(
                f"{self.root.name} ignored {number.name} for {STOP_SECONDS:.0f} s: {self.log_tail()}"
            ) from None
        return time.monotonic() - began

    def _program(self, name: str) -> tuple[str, dict[str, str]]:
        runtime = resolve(f"kfleet/kafka:{self.version}")
        places = (self.scripts, *runtime.path) if self.scripts is not None else runtime.path
        program = next(path / name for path in places if (path / name).exists())
        search = ":".join(str(path) for path in runtime.path)
        pod = {
            "KFLEET_POD_ROOT": str(self.root),
            "KFLEET_NODE_HOST": self.ip,
            "KFLEET_TERMINATION_LOG": str(self.termination_log),
            "HOME": str(self.root),
        }
        return str(program), {"PATH": search} | runtime.env | pod | self.env
