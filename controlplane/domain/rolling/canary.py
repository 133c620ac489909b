"""The operator's canary topic, and what its probes and the looks at consumer groups add up to. Pure.

The topic is the cluster's, not a user's: it has no KafkaTopic, its name begins with two underscores, as Kafka's own do
(MirrorMaker leaves `__.*` alone), and it exists while an upgrade is under way. One partition a broker, which is its
preferred leader, so that every broker's produce path is probed; the other replicas in other racks where there are any,
so that the topic adds no conflict to a batch of one rack. Its min ISR is 1: it must never be what blocks a roll, and
acks=all waits for every in-sync replica whatever that number is. One broker alone has no canary: its only partition
could not lose that broker, and a roll under `unprotectedPartitions: Block` would wait for a topic of our own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.observation import (
    BrokerCanary,
    BrokerObservation,
    CanaryObservation,
    ClusterObservation,
    GroupObservation,
    PartitionObservation,
)
from controlplane.domain.topics.values import NewTopic

TOPIC = "__kfleet_canary"
REPLICAS = 3
CONFIG: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "min.insync.replicas": "1",
    "retention.bytes": "1048577",
    "retention.ms": "600000",
    "segment.bytes": "1048576",
}
"""A probe has some 50 bytes: a segment of the least size that Kafka 4 allows (KIP-1030) holds hours of them. Together
these say whose topic it is: one of that name with other settings is somebody else's, neither written to nor deleted."""

WINDOW_SECONDS = 30.0
"""What a CanaryObservation looks back on; short, because how long a fault lasts is for others to say."""
DEADLINE_SECONDS = 10.0
"""When a probe is given up. Clients' defaults are 120 s (delivery.timeout.ms); the worst stall of a healthy restart is
a fifth of ten."""
PROBE_SECONDS = 1.0
PROBES_A_ROUND = 50
"""Of larger clusters each round probes the next fifty partitions."""

LAG_PERIOD_SECONDS = 5.0
LAG_WINDOW_SECONDS = 60.0
GROUPS_ASKED = 200
"""The first so many groups by name; each costs its coordinator a request every `LAG_PERIOD_SECONDS`."""
GROUPS_TOLD = 50
ERROR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """One record that was answered or given up at `at` (monotonic seconds); `seconds` is None for a failure."""

    at: float
    broker: int | None
    seconds: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class LagSample:
    """Every asked group's lag at `at` (monotonic seconds); `left_out` groups were not asked."""

    at: float
    lags: Mapping[str, int]
    left_out: int = 0


def new_topic(brokers: Sequence[BrokerObservation]) -> NewTopic | None:
    """The topic for these brokers, None where it would be in the way (one broker)."""
    if len(brokers) < 2:
        return None
    ordered = sorted(brokers, key=lambda broker: broker.id)
    assignments = tuple(_replicas(ordered, at) for at in range(len(ordered)))
    return NewTopic(TOPIC, len(ordered), len(assignments[0]), CONFIG, assignments)


def partitions(observation: ClusterObservation) -> tuple[PartitionObservation, ...]:
    """The canary's partitions as observed, by number; () while there is no such topic."""
    found = observation.kafka.partitions if observation.kafka else ()
    return tuple(partition for partition in found if partition.topic == TOPIC)


def figures(probes: Iterable[Probe], now: float) -> CanaryObservation:
    """Of the last `WINDOW_SECONDS` before `now` (monotonic)."""
    recent = [probe for probe in probes if probe.at > now - WINDOW_SECONDS]
    by_broker: dict[int, list[Probe]] = defaultdict(list)
    for probe in recent:
        if probe.broker is not None:
            by_broker[probe.broker].append(probe)
    latencies = _latencies(recent)
    return CanaryObservation(
        attempts=len(recent),
        errors=len(recent) - len(latencies),
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        brokers=tuple(
            BrokerCanary(broker, len(of), sum(probe.seconds is None for probe in of), percentile(_latencies(of), 0.5))
            for broker, of in sorted(by_broker.items())
        ),
        last_error=next((probe.error for probe in reversed(recent) if probe.error), "")[:ERROR_CHARACTERS],
    )


def groups(samples: Sequence[LagSample]) -> tuple[tuple[GroupObservation, ...] | None, int]:
    """(the groups of the last sample, largest lag first, how many are not told). None while nothing was sampled.

    A group's window begins anew where a sample lacks it: what is between two looks is not guessed.
    """
    if not samples:
        return None, 0
    last = samples[-1]
    found = []
    for name in last.lags:
        run = []
        for sample in reversed(samples):
            if name not in sample.lags or sample.at < last.at - LAG_WINDOW_SECONDS:
                break
            run.append(sample)
        lags = tuple(sample.lags[name] for sample in reversed(run))
        found.append(GroupObservation(name, lags, round(last.at - run[-1].at, 3)))
    found.sort(key=lambda group: (-group.lag, group.group))
    return tuple(found[:GROUPS_TOLD]), last.left_out + max(0, len(found) - GROUPS_TOLD)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of them do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _latencies(probes: Iterable[Probe]) -> list[float]:
    return sorted(probe.seconds for probe in probes if probe.seconds is not None)


def _replicas(ordered: Sequence[BrokerObservation], at: int) -> tuple[int, ...]:
    """The leader, then the next brokers in turn, those in racks not yet used first."""
    leader = ordered[at]
    others = [ordered[(at + step) % len(ordered)] for step in range(1, len(ordered))]
    chosen = [leader]
    while len(chosen) < min(REPLICAS, len(ordered)):
        racks = {broker.rack for broker in chosen if broker.rack is not None}
        left = [broker for broker in others if broker not in chosen]
        chosen.append(next((broker for broker in left if broker.rack not in racks), left[0]))
    return tuple(broker.id for broker in chosen)
