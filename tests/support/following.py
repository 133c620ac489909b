"""Clients that follow their Secrets, as services do that are started anew when what they mount has changed.

One thread reads the Secrets of all of them and remembers every secret that it has seen; each client writes steadily
in a thread of its own, and keeps the account of what became of it.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from support.access_verdict import account_of
from support.cell import Cell
from support.leaks import key_lines

from controlplane.domain.users.secret import NEXT_PASSWORD, PASSWORD

LOOK_SECONDS = 1.5
PAUSE_SECONDS = 0.02
DELIVERY_SECONDS = 120
READ_SECONDS = 60.0
Config = dict[str, Any]


class Mounts:
    """What stands in a cell's Secrets, in `with` as of a moment ago. `seen` are all passwords and key lines that ever
    did."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._data: dict[str, dict[str, str]] = {}
        self.seen: set[str] = set()

    def __enter__(self) -> Self:
        self.look()
        self._over.clear()
        self._thread = threading.Thread(target=self._follow, name="mounts", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        alive = self._thread.is_alive()
        self._over.set()
        self._thread.join()
        assert alive, "nobody read the Secrets any more"

    def look(self) -> None:
        found = {}
        for item in self._cell.get("secrets")["items"]:
            data = item.get("data") or {}
            found[item["metadata"]["name"]] = {key: _text(value) for key, value in data.items()}
        for data in found.values():
            self.seen.update(data[key] for key in (PASSWORD, NEXT_PASSWORD) if data.get(key))
            self.seen.update(line for text in data.values() for line in key_lines(text))
        self._data = found

    def _follow(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

    def secret(self, name: str) -> dict[str, str]:
        return self._data.get(name, {})

    def settings(self, name: str) -> Config | None:
        """Of librdkafka, as they stand in a user's Secret; None while there is none."""
        text = self.secret(name).get("librdkafka.json")
        return dict(json.loads(text)) if text else None


def _text(value: str) -> str:
    return base64.b64decode(value).decode(errors="replace")


class Steady:
    """Writes one record after the other, acks=all, from `start` to `stop`. `follows` False: as it was at its start."""

    def __init__(
        self, mounts: Mounts, name: str, topic: str, *, follows: bool = True, patience_s: int = DELIVERY_SECONDS
    ) -> None:
        self.name, self.topic = name, topic
        self._mounts, self._follows, self._patience_s = mounts, follows, patience_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"steady {name}", daemon=True)
        self._settings: Config = {}
        self._label = f"{name} {time.monotonic_ns()}"
        self._last = time.monotonic()
        self.acknowledged: set[str] = set()
        self.failed, self.errors = Counter[str](), Counter[str]()
        self.clients, self.longest_gap_s = 0, 0.0

    def start(self) -> None:
        self._last = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def flowing(self) -> bool:
        return len(self.acknowledged) > 20

    def _run(self) -> None:
        producer: Producer | None = None
        number = 0
        while not self._over.wait(PAUSE_SECONDS):
            wanted = self._mounts.settings(self.name) if self._follows or producer is None else None
            if wanted is not None and wanted != self._settings:
                self._end(producer)
                producer, self._settings = self._made(wanted), wanted
            if producer is None:
                continue
            try:
                producer.produce(self.topic, f"{self._label} {number}".encode(), on_delivery=self._delivered)
                number += 1
            except KafkaException as error:  # what is known of the topic by now says no
                self.failed[error.args[0].name()] += 1
            except BufferError:  # nothing went through for long: it is not said to have been sent
                pass
            producer.poll(0)
        self._end(producer)

    def _made(self, settings: Config) -> Producer:
        self.clients += 1
        more = {"acks": "all", "linger.ms": 0, "delivery.timeout.ms": self._patience_s * 1000, "log_level": 0}
        more |= {"reconnect.backoff.max.ms": 1000, "queue.buffering.max.messages": 5000}
        return Producer(settings | more | {"error_cb": self._told})

    def _end(self, producer: Producer | None) -> None:
        if producer is not None and (left := producer.flush(self._patience_s + 10)):
            self.failed["unanswered"] += left

    def _told(self, error: KafkaError) -> None:
        self.errors[error.name()] += 1

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self.failed[error.name()] += 1
            return
        now = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now - self._last)
        self._last = now
        self.acknowledged.add(message.value().decode())

    def account(self, read: Mapping[str, int]) -> dict[str, Any]:
        """`read` is how often each record stands in the topic."""
        return account_of(self.acknowledged, read) | {
            "failed": sum(self.failed.values()),
            "why": dict(self.failed),
            "errors": dict(self.errors),
            "clients": self.clients,
            "longest_gap_s": round(self.longest_gap_s, 1),
        }


@contextmanager
def steady(cell: Cell, *clients: Steady) -> Iterator[None]:
    """All of them write from before the block to its end."""
    for one in clients:
        one.start()
    try:
        for one in clients:
            cell.wait(f"traffic of {one.name}: {one.failed} {one.errors}", one.flowing, 60)
        yield
    finally:
        for one in clients:
            one.stop()


def records(server: str, config: Mapping[str, Any], topic: str) -> Counter[str]:
    """How often each record stands in a topic, read from its beginning to its present end."""
    consumer = Consumer(
        {"bootstrap.servers": server, "group.id": "campaign", "enable.auto.commit": False, "log_level": 0}
        | {"auto.offset.reset": "earliest", "enable.partition.eof": True}
        | dict(config)
    )
    try:
        parts = consumer.list_topics(topic, timeout=READ_SECONDS).topics[topic].partitions
        consumer.assign([TopicPartition(topic, part, 0) for part in parts])
        found, open_ = Counter[str](), set(parts)
        deadline = time.monotonic() + READ_SECONDS
        while open_:
            assert time.monotonic() < deadline, f"topic {topic} was not read to its end"
            for message in consumer.consume(1000, timeout=1.0):
                if (error := message.error()) is None:
                    found[message.value().decode()] += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_.discard(message.partition())
        return found
    finally:
        consumer.close()
