"""Writes that a partition refuses because too few replicas are in sync, seen by a producer that tries each once."""

from __future__ import annotations

import threading

from confluent_kafka import KafkaError, KafkaException, Message, Producer

REFUSED = frozenset({KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND})
PAUSE_SECONDS = 0.05


class RefusedWrites:
    """acks=all to every partition of a topic, from its making to `stop`. A leader that moves is not a refusal."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "retries": 0, "log_level": 0})
        self._topic, self._partitions = topic, partitions
        self._seen: list[str] = []
        self._answers = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def seen(self) -> list[str]:
        """Raises AssertionError if nothing was ever answered, so that silence is no proof."""
        assert self._answers, f"no write to {self._topic} was answered"
        return list(self._seen)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            for partition in range(self._partitions):
                try:
                    self._producer.produce(self._topic, b"x", partition=partition, on_delivery=self._answered)
                except (BufferError, KafkaException):
                    break  # its queue is full, or the topic is not known yet: those before have not been answered
            self._producer.poll(0)
        self._producer.purge()
        self._producer.flush(10)

    def _answered(self, error: KafkaError | None, message: Message) -> None:
        self._answers += 1
        if error is not None and error.code() in REFUSED:
            self._seen.append(f"{message.topic()}-{message.partition()}: {error.name()}")
