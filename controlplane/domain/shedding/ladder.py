"""The ladder of load shedding: which level is entered or left next. Pure.

Invariants, each a property test:
1. A level is entered only from the one below, after brokers were saturated for `raise_after` without a break, and left
   only for the one below, after the cluster was relaxed for `release_after` without a break. Each step begins its time
   anew, so n levels take n times as long.
2. Between the two bounds, and where nothing is known, no time runs: what swings faster than the times changes nothing.
3. From any level, a cluster that stays relaxed comes to exactly level 0 and stays there.

What is remembered beside the level may be lost at any time (an operator that ends): a step then comes later, never
earlier.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from controlplane.api.duration import parse_seconds
from controlplane.api.load_shedding import LoadShedding

LOST_SIGHT_SECONDS = 60.0
"""After so long without a look it is not known what was between: both times begin anew."""


class Level(IntEnum):
    """Each level sheds what those below it shed, and one thing more."""

    NONE = 0
    REBALANCES = 1
    BULK = 2
    STANDARD = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """All in seconds; `relaxed` is less than `saturated`."""

    saturated: float
    relaxed: float
    raise_after: float
    release_after: float

    @classmethod
    def of(cls, spec: LoadShedding) -> Bounds:
        return cls(
            saturated=parse_seconds(spec.saturated_above),
            relaxed=parse_seconds(spec.relaxed_below),
            raise_after=parse_seconds(spec.raise_after),
            release_after=parse_seconds(spec.release_after),
        )


@dataclass(frozen=True, slots=True)
class Ladder:
    """`saturated_since` and `relaxed_since` are when the time began that runs, by a monotonic clock; at most one runs.
    `looked` is when it was looked last."""

    level: Level = Level.NONE
    saturated_since: float | None = None
    relaxed_since: float | None = None
    looked: float | None = None


def step(ladder: Ladder, worst: float | None, now: float, bounds: Bounds) -> Ladder:
    """After a look at `now`. `worst` is the saturation of the worst broker in seconds, None where nothing is known."""
    if ladder.looked is not None and now - ladder.looked > LOST_SIGHT_SECONDS:
        ladder = Ladder(ladder.level)
    seen = Ladder(ladder.level, looked=now)
    if worst is None or bounds.relaxed < worst <= bounds.saturated:
        return seen
    if worst > bounds.saturated:
        since = now if ladder.saturated_since is None else ladder.saturated_since
        if now - since >= bounds.raise_after and ladder.level < Level.STANDARD:
            return replace(seen, level=Level(ladder.level + 1), saturated_since=now)
        return replace(seen, saturated_since=since)
    since = now if ladder.relaxed_since is None else ladder.relaxed_since
    if now - since >= bounds.release_after and ladder.level > Level.NONE:
        return replace(seen, level=Level(ladder.level - 1), relaxed_since=now)
    return replace(seen, relaxed_since=since)


def judged(saturations: Mapping[int, float], serving: Collection[int], bounds: Bounds) -> float | None:
    """What `step` goes by. While a broker that serves has not answered nothing is given back: a queue that is
    too long to be waited for looks so too."""
    worst = worst_of(saturations)
    if worst is None or (worst[1] <= bounds.relaxed and not saturations.keys() >= set(serving)):
        return None
    return worst[1]


def worst_of(saturations: Mapping[int, float]) -> tuple[int, float] | None:
    """(the broker where requests wait longest, how many seconds); None where nothing is known."""
    return max(saturations.items(), key=lambda item: (item[1], -item[0]), default=None)
