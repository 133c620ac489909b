"""Real clients of listeners with TLS: who they say they are, whether they are let in, and steady traffic of theirs."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from support.cell import Cell

SECONDS = 8.0
Config = dict[str, Any]


def secret(cell: Cell, name: str) -> dict[str, str]:
    data = cell.get("secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def mutual(authorities: str, certificate: str, key: str) -> Config:
    return {
        "security.protocol": "SSL",
        "ssl.ca.pem": authorities,
        "ssl.certificate.pem": certificate,
        "ssl.key.pem": key,
    }


def scram(authorities: str, user: str, password: str) -> Config:
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.pem": authorities,
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }


def admin(server: str, config: Mapping[str, Any]) -> AdminClient:
    return AdminClient({"bootstrap.servers": server, "log_level": 0, "error_cb": lambda _: None} | dict(config))


def is_let_in(server: str, config: Mapping[str, Any]) -> bool:
    """Whether this client gets as far as metadata. A client that could not even be made is a mistake of the test."""
    client = admin(server, config)
    try:
        return bool(client.list_topics(timeout=SECONDS).brokers)
    except KafkaException:
        return False


class SecureTraffic:
    """Records with acks=all, one every few milliseconds, in a thread; what was acknowledged and what failed."""

    def __init__(self, server: str, topic: str, config: Mapping[str, Any]) -> None:
        settings = {
            "bootstrap.servers": server,
            "acks": "all",
            "linger.ms": 0,
            "delivery.timeout.ms": 60_000,
            "log_level": 0,
            "error_cb": self._error,
        }
        self._producer = Producer(settings | dict(config))
        self._topic, self._stop = topic, threading.Event()
        self.acknowledged, self.failed, self.errors = 0, 0, []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.failed += self._producer.flush(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._producer.produce(self._topic, b"x" * 100, on_delivery=self._delivered)
            self._producer.poll(0)
            time.sleep(0.005)

    def _delivered(self, error: KafkaError | None, _: Any) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self.failed += 1
            self.errors.append(error.str())

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self.errors.append(error.str())


@contextmanager
def forwarder(target: str) -> Iterator[str]:
    """Carries connections from an address that stands in no certificate to `target`; host:port of it."""
    host, port = target.rsplit(":", 1)
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def accept() -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((host, int(port)), SECONDS)
            except OSError:
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()
