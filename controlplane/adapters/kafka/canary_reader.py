"""The canary's reader: follows the partitions by assignment (no group, no commits) from where the run began."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from controlplane.adapters.journal import JournalWriter
from controlplane.adapters.kafka.canary_writer import client_config
from controlplane.domain.canary import CanaryOptions, Consumed, Payload
from controlplane.domain.journal import read_line

BATCH = 500
WAIT_S = 0.1


class LogReader(threading.Thread):
    """Reads until every partition has reached its target (set by `finish`) or the deadline has passed.

    Records of other runs and other writers are passed over; one in another partition than it was sent to does not count
    as read. If the log's start has moved beyond our position (records
    deleted), it goes on at the earliest record: what is missing then shows in the accounting.
    """

    def __init__(
        self,
        options: CanaryOptions,
        start_offsets: Sequence[int],
        acked_offsets: Sequence[int],
        journal: JournalWriter,
        note: Callable[[str], None],
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self._options, self._journal, self._note = options, journal, note
        self.positions = list(start_offsets)
        self._acked_offsets = acked_offsets
        self._targets: Sequence[int] | None = None
        self._deadline = float("inf")
        self._progress = time.monotonic()
        self.read = self.replaced = 0
        self.error: Exception | None = None

    def finish(self, targets: Sequence[int], deadline: float) -> bool:
        """Reads on to `targets` (end offsets) until `deadline` (monotonic). False if it did not get there."""
        self._deadline, self._targets = deadline, targets
        self.join()
        if self.error is not None:
            raise self.error
        return self._done()

    def run(self) -> None:
        try:
            consumer = self._make()
            while not self._done() and time.monotonic() < self._deadline:
                for message in consumer.consume(BATCH, WAIT_S):
                    self._take(message)
                if self._offline():
                    consumer = self._replace(consumer)
            consumer.close()
        except Exception as error:  # noqa: BLE001 - `finish` raises it on the caller's thread
            self.error = error

    def _done(self) -> bool:
        targets = self._targets
        return targets is not None and all(map(int.__ge__, self.positions, targets))

    def _make(self) -> Consumer:
        options = self._options
        consumer = Consumer(
            client_config(options, self._note)
            | {
                "group.id": f"kfleet-canary-{options.run}",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.error.backoff.ms": 50,
                "fetch.wait.max.ms": 100,
                "fetch.min.bytes": 32_768,
            }
        )
        consumer.assign([TopicPartition(options.topic, number, offset) for number, offset in enumerate(self.positions)])
        return consumer

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - how the client names it
                self.positions[message.partition()] = message.offset()
            else:
                self._note(f"reader: {error.str()}")
            return
        partition, offset = message.partition(), message.offset()
        self.positions[partition] = offset + 1
        self._progress = time.monotonic()
        payload = Payload.decode(message.value() or b"")
        if payload is None or payload.run != self._options.run:
            return
        if payload.partition != partition:
            self._note(f"reader: sequence {payload.sequence} of partition {payload.partition} is in {partition}")
            return
        self.read += 1
        self._journal.write(read_line(Consumed(payload.run, partition, payload.sequence, offset, time.monotonic_ns())))

    def _offline(self) -> bool:
        """Behind what was acknowledged, and nothing came for long (librdkafka issue 5301)."""
        if time.monotonic() - self._progress < self._options.offline_after:
            return False
        return any(acked >= position for acked, position in zip(self._acked_offsets, self.positions, strict=True))

    def _replace(self, old: Consumer) -> Consumer:
        """A new client from the same positions: nothing is skipped, nothing read twice."""
        self._note(f"reader replaced: nothing read for {self._options.offline_after:.0f} s though records are there")
        old.close()
        self._progress = time.monotonic()
        self.replaced += 1
        return self._make()


def end_offsets(
    options: CanaryOptions, partitions: int, deadline: float, note: Callable[[str], None]
) -> list[int] | None:
    """Every partition's log end now (last stable offset), asked until `deadline` (monotonic); None if none is told."""
    consumer = Consumer(client_config(options, note) | {"group.id": f"kfleet-canary-{options.run}"})
    ends: list[int] = []
    try:
        while len(ends) < partitions:
            try:
                partition = TopicPartition(options.topic, len(ends))
                ends.append(consumer.get_watermark_offsets(partition, timeout=2.0, cached=False)[1])
            except KafkaException as error:
                note(f"end offset of partition {len(ends)}: {error.args[0].str()}")
                if time.monotonic() >= deadline:
                    return None
        return ends
    finally:
        consumer.close()
