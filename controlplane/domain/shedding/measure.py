"""How saturated a broker is, from how long small requests waited there.

A broker serves requests of all its listeners with `num.io.threads` request handlers behind one queue (Kafka's
SocketServer, RequestChannel and KafkaRequestHandlerPool). ApiVersions takes the same way as any other request and costs
a handler next to nothing: what it takes longer than at rest is the time that it stood in that queue, or waited for a
network thread. No JMX is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

LATEST = 5
"""Samples whose median counts: a pause for garbage or a busy machine spoils one or two of them, a queue all."""
FEWEST = 3
FRESH_SECONDS = 10.0
"""After so long without a sample nothing is known of a broker: it does not answer, and nothing is waiting there."""
STALE_SECONDS = 60.0
"""Samples older than this say nothing about now."""
REST_MOST_SECONDS = 0.02
"""What a request takes at rest, at most: who begins to look at a broker that is saturated already sees that it is."""


@dataclass(frozen=True, slots=True)
class Delay:
    """One small request: answered (or still not) at `at`, after `seconds`. Both of one monotonic clock."""

    at: float
    seconds: float


def saturation(delays: Sequence[Delay], now: float) -> float | None:
    """Seconds that a small request waits longer than at rest; None where too little is known. `delays` are in order."""
    latest = [delay.seconds for delay in delays[-LATEST:] if now - delay.at <= STALE_SECONDS]
    if len(latest) < FEWEST or now - delays[-1].at > FRESH_SECONDS:
        return None
    rest = min(REST_MOST_SECONDS, *(delay.seconds for delay in delays))
    return max(0.0, median(latest) - rest)


def saturations(delays: Mapping[int, Sequence[Delay]], now: float) -> dict[int, float]:
    """By broker; those of which too little is known are left out."""
    found = {broker: saturation(samples, now) for broker, samples in delays.items()}
    return {broker: seconds for broker, seconds in sorted(found.items()) if seconds is not None}
