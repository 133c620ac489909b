"""Did a roll do harm? Judged from what a witness saw of the cluster, what the operator stopped, and what a test broke.

Pure, and independent of the planner: it knows the invariants of a roll (design section 6, 1 and 2), not how they are
kept.

- `UnsafeStop`: when a node was stopped, a partition would have kept fewer than min ISR in-sync replicas without it and
  without what was going down already, or the quorum no majority of caught-up voters.
- `UnderMinIsr`: a partition was seen below min ISR that would not have been but for nodes the operator had stopped,
  and no node that the test broke had a part in it. (Broken after the stop it is the test's doing; broken before, the
  stop was unsafe, and is found as that.)
- `UnwitnessedStop`: nobody looked within `STALE_SECONDS` before a stop. A blind witness proves nothing.

All times are seconds since the epoch, on one machine's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from controlplane.domain.observation import PartitionObservation, TopicPartition

STALE_SECONDS = 8.0
"""Longer than an answer takes while a frozen broker is asked first, shorter than two restarts are apart."""
MEANWHILE_SECONDS = 2.0
"""The operator looks between the witness's two looks: what had come back right after a stop may have been seen."""
GOING_SECONDS = 60.0
"""A stopped node that was never seen away has been missed by then, not held up."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The cluster as one broker told it between two moments."""

    began: float
    ended: float
    partitions: tuple[PartitionObservation, ...]
    brokers: frozenset[int]
    voters: frozenset[int] = frozenset()
    caught_up: frozenset[int] = frozenset()
    fetched: Mapping[int, float] = field(default_factory=dict)
    """When a voter fetched the end of the metadata log last; stays of a process that has ended."""


@dataclass(frozen=True, slots=True)
class Stop:
    """`again` is when its next pod was bound to a machine: what ran before has ended by then, what runs began later."""

    at: float
    node: int
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A node that the test broke, from `since` on: until it is in sync again it is away through the test."""

    node: int
    since: float


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str
    at: float
    evidence: str


@dataclass
class _Away:
    """Of one partition: `going` were in sync when they were stopped, `ours` left the ISR after that and are not back.

    A node that was out when it was stopped added nothing: what it lacks is not the stop's doing.
    """

    isr: tuple[int, ...] = ()
    going: dict[int, float] = field(default_factory=dict)
    ours: set[int] = field(default_factory=set)


def judge(sightings: Sequence[Sighting], stops: Sequence[Stop], broken: Sequence[Broken] = ()) -> list[Finding]:
    """Everything that went wrong, in order; a partition's span below min ISR is one finding."""
    found = [finding for stop in stops for finding in _stop(sightings, stops, stop)]
    found += _under(sightings, stops, broken)
    return sorted(found, key=lambda finding: finding.at)


def under_min_isr_s(sightings: Sequence[Sighting]) -> float:
    """Seconds in which some partition was seen below min ISR, for whatever reason."""
    total = 0.0
    for one, following in pairwise(sightings):
        if any(_is_under(partition) for partition in one.partitions):
            total += following.ended - one.ended
    return total


def _stop(sightings: Sequence[Sighting], stops: Sequence[Stop], stop: Stop) -> Iterator[Finding]:
    before = next((one for one in reversed(sightings) if one.ended <= stop.at), None)
    if before is None or stop.at - before.ended > STALE_SECONDS:
        yield Finding("UnwitnessedStop", stop.at, f"nobody looked right before node {stop.node} was stopped")
        return
    after = next((one for one in sightings if one.began >= stop.at), None)
    if after and after.began - stop.at > MEANWHILE_SECONDS:
        after = None
    gone = {stop.node, *_going_down(sightings, stops, stop, after)}
    later = {partition.id: partition for partition in after.partitions} if after else {}
    starved = []
    for partition in before.partitions:
        if partition.leader is None or stop.node not in partition.isr or not _can_spare_one(partition):
            continue
        meanwhile = later[partition.id].isr if partition.id in later else ()
        if len({*partition.isr, *meanwhile} - gone) < partition.min_isr:
            starved.append(partition.id)
    if starved:
        text = f"node {stop.node} was stopped while {len(starved)} partitions needed it, such as {min(starved)}"
        yield Finding("UnsafeStop", stop.at, text)
    if stop.node in before.voters:
        left = (before.caught_up | (after.caught_up if after else frozenset())) - gone
        if len(before.voters) > 2 and len(left) < len(before.voters) // 2 + 1:
            text = f"controller {stop.node} was stopped while only {sorted(left)} others had caught up"
            yield Finding("UnsafeStop", stop.at, text)


def _going_down(
    sightings: Sequence[Sighting], stops: Sequence[Stop], stop: Stop, after: Sighting | None
) -> Iterator[int]:
    """Nodes stopped before that nobody has seen away or back yet: they may still count as in sync."""
    for earlier in stops:
        if not 0 < stop.at - earlier.at < GOING_SECONDS or earlier.node == stop.node:
            continue
        between = [one for one in sightings if earlier.at < one.began and one.ended <= stop.at]
        seen_back = any(_is_back(earlier, one) for one in (*between, *([after] if after else [])))
        if not seen_back and not any(_is_away(earlier.node, one) for one in between):
            yield earlier.node


def _is_away(node: int, sighting: Sighting) -> bool:
    return node not in sighting.brokers and node not in sighting.caught_up


def _is_back(stop: Stop, sighting: Sighting) -> bool:
    """A controller that is restarted fast is never seen away; its new process has fetched then."""
    return stop.again is not None and sighting.fetched.get(stop.node, 0.0) > stop.again


def _under(sightings: Sequence[Sighting], stops: Sequence[Stop], broken: Sequence[Broken]) -> Iterator[Finding]:
    known: dict[TopicPartition, _Away] = {}
    told: set[TopicPartition] = set()
    last = float("-inf")
    for sighting in sightings:
        broke = {one.node for one in broken if one.since <= sighting.ended}
        fresh = [stop for stop in stops if last < stop.at <= sighting.ended]
        last, starved, through = sighting.ended, [], set[int]()
        for partition in sighting.partitions:
            away = known.setdefault(partition.id, _Away(partition.isr))
            _follow(away, partition, fresh, sighting.ended)
            if not _is_under(partition) or not _can_spare_one(partition):
                told.discard(partition.id)
                continue
            missing = set(partition.replicas) - set(partition.isr)
            ours = missing & away.ours
            by_us = bool(ours) and len(partition.isr) + len(ours) >= partition.min_isr
            if by_us and not (missing - ours) & broke and partition.id not in told:
                starved.append(partition.id)
                through |= ours
        if starved:
            told |= set(starved)
            text = f"{len(starved)} partitions, such as {min(starved)}, went below min ISR without {sorted(through)}"
            yield Finding("UnderMinIsr", sighting.ended, f"{text}, which the operator had stopped")


def _follow(away: _Away, partition: PartitionObservation, fresh: Sequence[Stop], now: float) -> None:
    away.going |= {stop.node: stop.at for stop in fresh if stop.node in away.isr}
    away.going = {node: at for node, at in away.going.items() if now - at <= GOING_SECONDS}
    left = away.going.keys() - set(partition.isr)
    away.ours = (away.ours | left) - set(partition.isr)
    away.going = {node: at for node, at in away.going.items() if node not in left}
    away.isr = partition.isr


def _is_under(partition: PartitionObservation) -> bool:
    return len(partition.isr) < partition.min_isr


def _can_spare_one(partition: PartitionObservation) -> bool:
    """Where RF <= min ISR no restart can keep it; the planner refuses those or is told to accept them."""
    return len(partition.replicas) > partition.min_isr
