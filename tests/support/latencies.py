"""What small writes of a client take, and what the machine does meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import psutil
from confluent_kafka import KafkaError, Producer

PERIOD = 0.05


@dataclass(frozen=True)
class Figures:
    """Milliseconds of so many writes."""

    count: int
    failed: int
    median: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: Sequence[float], failed: int = 0) -> Figures:
        ordered = sorted(one * 1000 for one in seconds)
        assert ordered, "nothing was written"
        return cls(len(ordered), failed, *(round(ordered[int(q * (len(ordered) - 1))], 1) for q in (0.5, 0.99, 1.0)))


class Writer:
    """One record every PERIOD, to these partitions in turn, acks=all, whether those before were answered or not."""

    def __init__(self, topic: str, partitions: Sequence[int], settings: Mapping[str, Any]) -> None:
        self._producer = Producer(
            {"acks": "all", "linger.ms": 0, "delivery.timeout.ms": 60_000, "log_level": 0, "client.id": "latencies"}
            | dict(settings)
        )
        self._topic, self._partitions = topic, tuple(partitions)
        self._stop = threading.Event()
        self._taken: list[tuple[float, float]] = []
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush(60)

    def during(self, begin: float, end: float) -> Figures:
        """Of what was sent between two moments of time.monotonic(); waits for what is still out."""
        self._producer.flush(60)
        return Figures.of([taken for sent, taken in tuple(self._taken) if begin <= sent < end], len(self.errors))

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            sent = time.monotonic()
            self._producer.produce(
                self._topic,
                b"x" * 100,
                partition=self._partitions[number % len(self._partitions)],
                on_delivery=lambda error, _, sent=sent: self._delivered(error, sent),
            )
            number += 1
            while (left := sent + PERIOD - time.monotonic()) > 0:
                self._producer.poll(left)

    def _delivered(self, error: KafkaError | None, sent: float) -> None:
        if error is not None:
            self.errors.append(error.str())
        else:
            self._taken.append((sent, time.monotonic() - sent))


class Processors:
    """How much of the machine's processors is used: by everybody, and by processes of ours."""

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._processes = tuple(processes)
        self._began = time.monotonic()
        self._before = (_busy(), self._ours())

    def percent(self) -> dict[str, float]:
        """Since it was made, of all cores together."""
        whole = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        everybody, ours = _busy() - self._before[0], self._ours() - self._before[1]
        return {"machine": round(100 * everybody / whole, 1), "test": round(100 * ours / whole, 1)}

    def _ours(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes if process.is_running())


def _busy() -> float:
    found = psutil.cpu_times()
    return float(sum(found) - found.idle - found.iowait - found.guest - found.guest_nice)
