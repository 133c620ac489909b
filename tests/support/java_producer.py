"""The Java producer as traffic, accounted record by record like the canary's.

Kafka's own VerifiableProducer (kafka-tools) prints one JSON line a record when its answer comes. When the record was
sent is in the record itself (CreateTime, set by KafkaProducer.send), so reading the log back gives both ends, with
millisecond clocks of one machine, and shows what was acknowledged and is not there. ProducerPerformance would give
percentiles that include its warm-up and nothing about single records. The tool does not retry unless told to: the
producer's own default is put back. `send` blocks, and so hides waiting, only with 32 MiB of unanswered records.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from controlplane.domain.canary import Ack, Consumed, Event, Failed, Sent
from controlplane.sandbox.images import KAFKA_SCRIPTS, resolve

MAIN = "org.apache.kafka.tools.VerifiableProducer"
FLAGS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
RETRYING = "retries=2147483647\nenable.idempotence=true\n"
STOP_SECONDS = 90.0
READ_SECONDS = 60.0
NOWHERE = -1
"""The partition of records of which nobody said where they are."""
MS = 1_000_000


class Stored(NamedTuple):
    """One record of ours as the log has it. `created_ms` is when it was handed to the client, wall clock."""

    number: int
    partition: int
    offset: int
    created_ms: int


@dataclass
class Said:
    """What the tool printed, by record number. `sent` is its own count, less what it tried once it was being closed."""

    acked: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Number to (partition, offset, when the answer came in milliseconds)."""
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)
    sent: int = 0
    complete: bool = False
    """Its last word is there: every record before it was answered or given up."""


def parse(lines: Iterable[str]) -> Said:
    """Lines that are no JSON are the client's log. A record refused only because the tool was told to end never was
    sent: its loop goes on for a moment after its producer was closed."""
    said = Said()
    never_sent = 0
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if not isinstance(event, dict):
            continue
        match event.get("name"):
            case "producer_send_success":
                answer = event["partition"], event["offset"], event["timestamp"]
                said.acked[_number(event["value"])] = answer
            case "producer_send_error" if _closing(event):
                never_sent += 1
            case "producer_send_error":
                why = f"{event['exception']}: {event['message']}"
                said.failed[_number(event["value"])] = event["timestamp"], why
            case "tool_data":
                said.sent, said.complete = event["sent"] - never_sent, True
    said.sent = max(said.sent, len(said.acked) + len(said.failed))
    return said


def events(run: str, said: Said, log: Iterable[Stored]) -> Iterator[Event]:
    """What accounting works on. Numbers are counted anew per partition, in their order.

    A record that is not in the log has no time of its own: it gets that of the last one before it that is.
    """
    stored: dict[int, list[Stored]] = defaultdict(list)
    for record in log:
        stored[record.number].append(record)
    sequences: dict[int, int] = defaultdict(int)
    created_ms = min((records[0].created_ms for records in stored.values()), default=0)
    read: list[Consumed] = []
    for number in sorted({*range(said.sent), *stored, *said.acked, *said.failed}):
        copies = stored.get(number, [])
        if copies:
            created_ms = copies[0].created_ms
            partition = copies[0].partition
        else:
            partition = said.acked[number][0] if number in said.acked else NOWHERE
        sequence = sequences[partition]
        sequences[partition] += 1
        sent_ns = created_ms * MS
        yield Sent(run, partition, sequence, sent_ns)
        if number in said.acked:
            _, offset, answered_ms = said.acked[number]
            yield Ack(run, partition, sequence, sent_ns, max(sent_ns, answered_ms * MS), offset)
        elif number in said.failed:
            failed_ms, why = said.failed[number]
            yield Failed(run, partition, sequence, sent_ns, max(sent_ns, failed_ms * MS), why)
        read += [Consumed(run, partition, sequence, copy.offset, sent_ns) for copy in copies]
    yield from sorted(read, key=lambda one: (one.partition, one.offset))


def _number(value: str) -> int:
    """Values are PREFIX.NUMBER."""
    return int(value.partition(".")[2])


def _closing(event: dict[str, str]) -> bool:
    return "IllegalStateException" in event["exception"] or "closed" in (event["message"] or "").lower()


class JavaProducer:
    """Records at a steady rate from `start` to `stop`; `events` then says what became of them."""

    def __init__(self, bootstrap: str, topic: str, directory: Path, version: str, rate: int) -> None:
        env = resolve(f"kfleet/kafka:{version}").env
        directory.mkdir(parents=True, exist_ok=True)
        self._bootstrap, self._topic = bootstrap, topic
        self._prefix = secrets.randbelow(2**31)
        self._starts = self._ends()
        self._output = directory / "verifiable-producer.out"
        config = directory / "producer.properties"
        config.write_text(RETRYING)
        quiet = KAFKA_SCRIPTS.parent / "log4j2-quiet.properties"
        command = [f"{env['JAVA_HOME']}/bin/java", *FLAGS, f"-Dlog4j2.configurationFile={quiet}"]
        command += ["-cp", f"{env['KAFKA_LIBS']}/*", MAIN, "--bootstrap-server", bootstrap, "--topic", topic]
        command += ["--throughput", str(rate), "--value-prefix", str(self._prefix), "--command-config", str(config)]
        with self._output.open("wb") as output, (directory / "verifiable-producer.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=log)

    def wait_flowing(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not (self._output.exists() and self._output.stat().st_size > 20_000):
            alive = self._process.poll() is None and time.monotonic() < deadline
            assert alive, f"no traffic: {self._output.with_suffix('.log').read_text()[-2000:]}"
            time.sleep(0.2)

    def stop(self) -> None:
        """It flushes; SIGKILL and TimeoutExpired when that takes too long."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise

    def events(self) -> tuple[list[Event], bool]:
        """(events, whether the producer's last word is there and the log was read to its end)."""
        with self._output.open(errors="replace") as lines:
            said = parse(lines)
        log, whole = self._read()
        return list(events(str(self._prefix), said, log)), said.complete and whole

    def _consumer(self) -> Consumer:
        settings = {"bootstrap.servers": self._bootstrap, "group.id": f"bench-{self._prefix}", "log_level": 0}
        reading = {"enable.auto.commit": False, "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
        return Consumer(settings | reading | {"error_cb": lambda _: None})

    def _ends(self) -> list[int]:
        """The log end of each partition. Raises KafkaException when a broker does not say it within 10 s."""
        consumer = self._consumer()
        try:
            partitions = consumer.list_topics(self._topic, timeout=10).topics[self._topic].partitions
            return [
                consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=10, cached=False)[1]
                for number in sorted(partitions)
            ]
        finally:
            consumer.close()

    def _read(self) -> tuple[list[Stored], bool]:
        """(our records, whether everything from before the first to the present end was read)."""
        ends, positions = self._ends(), list(self._starts)
        found: list[Stored] = []
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in enumerate(positions)])
            deadline = time.monotonic() + READ_SECONDS
            while any(map(int.__lt__, positions, ends)) and time.monotonic() < deadline:
                for message in consumer.consume(500, 0.1):
                    if message.error() is not None:
                        continue  # transient; the deadline decides
                    positions[message.partition()] = message.offset() + 1
                    prefix, _, number = (message.value() or b"").decode(errors="replace").partition(".")
                    if prefix == str(self._prefix):
                        record = Stored(int(number), message.partition(), message.offset(), message.timestamp()[1])
                        found.append(record)
        except KafkaException as error:
            raise AssertionError(f"the log of {self._topic} cannot be read back: {error}") from error
        finally:
            consumer.close()
        return found, all(map(int.__ge__, positions, ends))
