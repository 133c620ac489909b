"""A tenant that saturates the request handlers of its shard, and what two others feel: one whose shard is apart from
it, and one whose shard overlaps, which is the control. Shared by the end-to-end test and `make bench-isolation`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from support.latencies import Figures, Processors, Writer
from support.noisy import Noise

SETTLE_SECONDS = 3.0
"""Of writes before figures begin: clients connect, and learn where partitions are."""
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Client:
    """Who writes where: partitions of a topic, and settings to log in with (librdkafka's, for the noisy one
    kafka-python's)."""

    topic: str
    partitions: Sequence[int]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    apart_before: Figures
    apart_during: Figures
    overlapping_before: Figures
    overlapping_during: Figures
    processors: Mapping[str, float]
    """Percent of all cores while it was saturated: of the whole machine, and of the test's own processes."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def apart_is_unhurt(self) -> bool:
        """About as before: what queues cost is many times that."""
        return _about(self.apart_during.median, self.apart_before.median) and self.apart_during.median * 4 < (
            self.overlapping_during.median
        )

    @property
    def overlapping_is_hurt(self) -> bool:
        return not _about(self.overlapping_during.median, self.overlapping_before.median)


def _about(now: float, before: float) -> bool:
    """Milliseconds; a busy machine of two cores moves both."""
    return now <= 4 * before + 10


def saturated(
    noisy: Client,
    connections: int,
    apart: Client,
    overlapping: Client,
    *,
    seconds: float,
    processes: Callable[[], Iterable[psutil.Process]],
) -> Outcome:
    """`processes` are those of the cluster. Waits until the overlapping tenant is hurt, for WAIT_SECONDS at most: then
    the handlers are saturated, or the control fails."""
    with (
        Writer(apart.topic, apart.partitions, apart.settings) as one,
        Writer(overlapping.topic, overlapping.partitions, overlapping.settings) as other,
    ):
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        time.sleep(seconds)
        calm = time.monotonic()
        before = one.during(began, calm), other.during(began, calm)
        with Noise(noisy.topic, noisy.partitions, connections, noisy.settings) as noise:
            _wait_until_hurt(other, before[1])
            assert noise.process is not None
            own = psutil.Process()
            processors = Processors([*processes(), psutil.Process(noise.process.pid), own])
            loud = time.monotonic()
            time.sleep(seconds)
            end = time.monotonic()
            percent = processors.percent()
            during = one.during(loud, end), other.during(loud, end)
        assert one.errors == other.errors == []
    return Outcome(before[0], during[0], before[1], during[1], percent)


def _wait_until_hurt(writer: Writer, before: Figures) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        began = time.monotonic()
        time.sleep(2.0)
        if not _about(writer.during(began, time.monotonic()).median, before.median):
            return
