"""Real clients of listeners with TLS: who they say they are, whether they are let in, and steady traffic of theirs."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka.errors import KafkaConnectionError
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from support.cell import Cell
from support.hidden import Hidden

from controlplane.adapters import tls
from controlplane.domain.access.values import ClientTls

SECONDS = 60.0
"""For an answer of a broker: on a busy machine a connection with TLS takes its time."""
REFUSAL_SECONDS = 20.0
"""Who is cut off without a word, as a plaintext client is, is taken to be refused."""
PATIENCE_MS = 30_000


def secret(cell: Cell, name: str) -> dict[str, str]:
    data = cell.get("secret", name)["data"]
    return Hidden({key: base64.b64decode(value).decode() for key, value in data.items()})


def mutual(authorities: str, certificate: str, key: str) -> Hidden:
    return Hidden(
        {
            "security.protocol": "SSL",
            "ssl.ca.pem": authorities,
            "ssl.certificate.pem": certificate,
            "ssl.key.pem": key,
        }
    )


def scram(authorities: str, user: str, password: str) -> Hidden:
    return Hidden(
        {
            "security.protocol": "SASL_SSL",
            "ssl.ca.pem": authorities,
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password,
        }
    )


def admin(server: str, config: Mapping[str, Any]) -> AdminClient:
    return AdminClient({"bootstrap.servers": server, "log_level": 0, "error_cb": lambda _: None} | dict(config))


_REFUSALS = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
"""What one side says to the other; a plaintext client is only cut off."""


def is_let_in(server: str, config: Mapping[str, Any]) -> bool:
    """Whether this client gets as far as metadata. A client that could not even be made is a mistake of the test."""
    refusals: list[KafkaError] = []

    def note(error: KafkaError) -> None:
        if error.code() in _REFUSALS:
            refusals.append(error)

    client = admin(server, dict(config) | {"error_cb": note})
    deadline = time.monotonic() + REFUSAL_SECONDS
    while time.monotonic() < deadline and len(refusals) < 2:
        with suppress(KafkaException):
            return bool(client.list_topics(timeout=1).brokers)
        client.poll(0)
    return False


def is_answered(server: str, config: Mapping[str, Any]) -> bool:
    """Whether the node tells this client which requests it takes, the first thing that anybody asks: all that a
    controller has to show, which knows of no metadata and no passwords. By the client that the operator asks with.
    With TLS 1.3 a client whose certificate is not taken learns of it no sooner than when it reads."""
    net, context = NetworkSelector(), _context(config)
    connections = KafkaConnectionManager(
        net,
        bootstrap_servers=[server],
        socket_connection_setup_timeout_ms=PATIENCE_MS,
        security_protocol="SSL" if context else "PLAINTEXT",
        ssl_context=context,
    )
    (node,) = connections.cluster.bootstrap_brokers()

    async def connected() -> None:
        await connections.get_connection(node.node_id, refresh_metadata_on_err=False)

    try:
        connections.run(connected)
    except KafkaConnectionError:
        return False
    finally:
        connections.close()
        net.close()
    return True


def _context(config: Mapping[str, Any]) -> ssl.SSLContext | None:
    """None in plaintext."""
    if "security.protocol" not in config:
        return None
    if "ssl.key.pem" not in config:
        return ssl.create_default_context(cadata=config["ssl.ca.pem"])
    return tls.context(ClientTls(config["ssl.ca.pem"], config["ssl.certificate.pem"], config["ssl.key.pem"]))


def write_and_read(servers: str, topic: str, config: Mapping[str, Any]) -> None:
    """A record to each partition, and the same ones back from where they were put."""
    settings = {"bootstrap.servers": servers, "log_level": 0} | dict(config)
    written: dict[int, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        written[message.partition()] = message.offset()

    producer = Producer(settings | {"acks": "all"})
    partitions = producer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
    for partition in partitions:
        producer.produce(topic, b"from outside", partition=partition, on_delivery=delivered)
    assert producer.flush(60) == 0
    assert partitions, f"{topic} is not to be seen"
    assert written.keys() == partitions.keys()
    consumer = Consumer(settings | {"group.id": "outside", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in written.items()])
        deadline, missing = time.monotonic() + 60, dict(written)
        while missing:
            assert time.monotonic() < deadline, missing
            message = consumer.poll(1.0)
            if message is not None and message.error() is None and missing.get(message.partition()) == message.offset():
                assert message.value() == b"from outside"
                del missing[message.partition()]
    finally:
        consumer.close()


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
        self.acknowledged, self.failed = 0, 0
        self.errors: list[str] = []
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
            try:
                self._producer.produce(self._topic, b"x" * 100, on_delivery=self._delivered)
            except KafkaException as error:  # what is known of the topic by now says no
                self._delivered(error.args[0], None)
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
