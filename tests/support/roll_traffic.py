"""The two producers of `make bench-roll`, judged by the same accounting over the same stretch of time.

What was sent before the roll began counts for loss and not for latencies: that is the warm-up. Both write acks=all,
idempotent, at the same rate to the same topic, and both logs are read to their end afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from support.java_producer import JavaProducer
from support.traffic import Traffic

from controlplane.adapters.journal import account_journals
from controlplane.domain.accounting import Account, account
from controlplane.domain.canary import Consumed, Event


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks: the canary writes down the monotonic one, Java the wall's."""

    monotonic_ns: int
    wall_ns: int

    @classmethod
    def now(cls) -> Moment:
        return cls(time.monotonic_ns(), time.time_ns())


class Client(Protocol):
    def wait_flowing(self) -> None: ...

    def stop(self) -> None: ...

    def figures(self, since: Moment) -> dict[str, Any]:
        """Latencies and stalls of what was sent after `since`; everything else of the whole run."""


class Librdkafka:
    def __init__(self, bootstrap: str, topic: str, directory: Path, version: str, rate: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._traffic = Traffic(bootstrap, topic, directory / "canary.jsonl", rate)

    def wait_flowing(self) -> None:
        self._traffic.wait_flowing()

    def stop(self) -> None:
        self._traffic.stop()

    def figures(self, since: Moment) -> dict[str, Any]:
        journal = self._traffic.journal
        with journal.open() as lines:
            first_ns = next(line[4] for line in map(json.loads, lines) if isinstance(line, list) and line[0] == "sent")
        warm_up_s = max(0.0, (since.monotonic_ns - first_ns) / 1e9)
        result, (reader,) = account_journals([journal], warm_up_s=warm_up_s)
        summary = reader.summary or {}
        own = {"client_worst_pause_ms": summary.get("worst_pause_ms")}
        return of_account(result, complete=summary.get("complete") is True) | own


class Java:
    def __init__(self, bootstrap: str, topic: str, directory: Path, version: str, rate: int) -> None:
        self._producer = JavaProducer(bootstrap, topic, directory, version, rate)

    def wait_flowing(self) -> None:
        self._producer.wait_flowing()

    def stop(self) -> None:
        self._producer.stop()

    def figures(self, since: Moment) -> dict[str, Any]:
        found, complete = self._producer.events()
        return of_account(account(found, warm_up_s=_warm_up_s(found, since.wall_ns)), complete=complete)


CLIENTS: dict[str, Callable[[str, str, Path, str, int], Client]] = {"java": Java, "librdkafka": Librdkafka}
"""Made with (bootstrap servers, topic, directory for files, Kafka version, records a second)."""


def of_account(result: Account, *, complete: bool) -> dict[str, Any]:
    return {
        "complete": complete,
        "worst_ms": result.max_ms,
        "p99_ms": result.p99_ms,
        "p50_ms": result.p50_ms,
        "stalls": len(result.stalls),
        "stalled_ms": round(sum(stall.duration_ms for stall in result.stalls), 1),
        "longest_stalls": [
            {"ms": stall.duration_ms, "partition": stall.partition, "at_s": stall.start_s}
            for stall in sorted(result.stalls, key=lambda one: -one.duration_ms)[:5]
        ],
    } | {
        name: getattr(result, name)
        for name in ("sent", "acknowledged", "measured", "lost", "failed", "unresolved", "duplicated")
    }


def _warm_up_s(found: Iterable[Event], since_ns: int) -> float:
    first_ns = min((event.sent_at_ns for event in found if not isinstance(event, Consumed)), default=since_ns)
    return max(0.0, (since_ns - first_ns) / 1e9)
