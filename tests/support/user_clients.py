"""Real clients that log in with what a user's Secret holds, and what brokers say to them."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Producer

from controlplane.domain.users.secret import properties_file
from controlplane.sandbox.images import resolve

SECONDS = 60.0
AUTHENTICATION = "_AUTHENTICATION"
DENIED = "TOPIC_AUTHORIZATION_FAILED"


class Client:
    """A producer of librdkafka's, from a Secret's data; it stays connected until it is dropped. A record that has no
    answer after `patience_s` has failed."""

    def __init__(self, secret: Mapping[str, str], *, patience_s: int = 5, **settings: str) -> None:
        self.errors: list[str] = []
        self._patience_s = patience_s
        self._producer = Producer(
            json.loads(secret["librdkafka.json"])
            | {"message.timeout.ms": patience_s * 1000, "reconnect.backoff.max.ms": 500, "log_level": 0}
            | settings
            | {"error_cb": lambda error: self.errors.append(error.name())}
        )

    def topics(self) -> set[str]:
        """Those that the user may describe. Raises KafkaException."""
        try:
            return set(self._producer.list_topics(timeout=10).topics)
        finally:
            self._producer.poll(0)

    def produce(self, topic: str) -> str:
        """Empty when it was acknowledged, else the error's name (also that of a client which has been told already)."""
        outcome: list[KafkaError | None] = []
        try:
            self._producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
        except KafkaException as refused:
            return str(refused.args[0].name())
        self._producer.flush(2 * self._patience_s)
        (error,) = outcome
        return "" if error is None else str(error.name())

    def produces(self, topic: str, wanted: str, seconds: float = SECONDS) -> bool:
        """Whether it comes to that, however late the client learns of it."""
        deadline = time.monotonic() + seconds
        while self.produce(topic) != wanted:
            if time.monotonic() > deadline:
                return False
            self._producer.poll(0.2)
        return True

    def is_refused(self, seconds: float = SECONDS) -> bool:
        """Whether the brokers do not take its credentials."""
        deadline = time.monotonic() + seconds
        while AUTHENTICATION not in self.errors and time.monotonic() < deadline:
            self._producer.poll(0.2)
        return AUTHENTICATION in self.errors

    def take(self, secret: Mapping[str, str]) -> None:
        """New credentials for connections to come, as a running service takes them when its Secret changes."""
        self._producer.set_sasl_credentials(secret["username"], secret["password"])


class Busy:
    """Writes one record after the other on one client, acks=all, and keeps the account; `with Busy(client, topic)`."""

    def __init__(self, client: Client, topic: str) -> None:
        self.client, self.topic = client, topic
        self.acknowledged, self.failed = 0, list[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            error = self.client.produce(self.topic)
            if error:
                self.failed.append(error)
            else:
                self.acknowledged += 1


def java_offsets(
    directory: Path, secret: Mapping[str, str], topic: str, version: str
) -> subprocess.CompletedProcess[str]:
    """Kafka's own Java tool asks for the offsets of a topic, with the Secret's client.properties as they are."""
    file = directory / "client.properties"
    file.touch(mode=0o600)
    file.write_text(secret["client.properties"])
    tool = ["org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", secret["bootstrap.servers"]]
    return subprocess.run(
        [*_java(version), *tool, "--command-config", str(file), "--topic", topic],
        capture_output=True,
        text=True,
        timeout=120,
    )


def java_quotas(directory: Path, server: str, operator: Mapping[str, str], user: str, version: str) -> dict[str, float]:
    """What Kafka's own tool says of a user's quotas, asked with the operator's certificate (its Secret's data)."""
    settings = {
        "security.protocol": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": operator["tls.crt"],
        "ssl.keystore.key": operator["tls.key"],
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": operator["ca.crt"],
    }
    file = directory / "admin.properties"
    file.touch(mode=0o600)
    file.write_text(properties_file(settings))
    which = ["--bootstrap-server", server, "--describe", "--entity-type", "users", "--entity-name", user]
    tool = ["kafka.admin.ConfigCommand", "--command-config", str(file), *which]
    done = subprocess.run([*_java(version), *tool], capture_output=True, text=True, timeout=120)
    _, _, found = done.stdout.partition(f"'{user}' are ")
    if not found:
        raise AssertionError(done.stdout + done.stderr)
    pairs = (pair.split("=") for pair in found.split("\n")[0].split(", "))
    return {name: float(value) for name, value in pairs if not name.startswith("SCRAM-")}


def _java(version: str) -> list[str]:
    env = resolve(f"kfleet/kafka:{version}").env
    return [f"{env['JAVA_HOME']}/bin/java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{env['KAFKA_LIBS']}/*"]
