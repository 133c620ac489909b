"""Throttles of replication (KIP-73): what is ours of them, and how it comes and goes. Pure.

A throttle is a rate on the brokers and a list of replicas on each topic, `partition:broker`, or `*` for all of them.
The rate is set for all brokers at once (the cluster-wide dynamic config): a broker that is down when the throttle is
lifted keeps none, a broker that somebody gave a rate of its own keeps that, and replicas that no topic lists are not
affected by any rate.

What others have set stays: a list's other entries, a `*`, a rate that is not ours, and, of what is both theirs and
ours, whatever was there when the plan was made (`kept`); a rate that was there and goes is set as if it had never been.
Kafka throttles no replica that is in sync, so both ways of a
move are listed at once.

Who is asked may be a moment behind who is told. So what is to be set or removed names all that is ours, also where it
looks as if it were there, or gone, already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.hops import Hop

LEADER, FOLLOWER = "leader", "follower"
SIDES = (LEADER, FOLLOWER)
ALL = "*"
FLOOR = 1024 * 1024
"""Bytes a second that are spent on a rebalance however busy its brokers are: it has to end."""

Config = Mapping[str, str]


def replicas_key(side: str) -> str:
    return f"{side}.replication.throttled.replicas"


def rate_key(side: str) -> str:
    return f"{side}.replication.throttled.rate"


@dataclass(frozen=True, slots=True)
class Throttle:
    """Of one batch: `rate` in bytes a second, and what of it was there before: `leader/topic/0:1`, `leader/rate=7`."""

    hops: tuple[Hop, ...]
    rate: int
    kept: frozenset[str] = frozenset()

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(sorted({hop.topic for hop in self.hops}))

    def entries(self, topic: str, side: str) -> tuple[str, ...]:
        """Ours and ours alone, in order."""
        wanted: list[str] = []
        for hop in sorted(self.hops, key=lambda one: one.partition):
            if hop.topic == topic:
                brokers = {*hop.before, *hop.after} if side == LEADER else hop.adding | hop.removing
                wanted += [f"{hop.partition}:{broker}" for broker in sorted(brokers)]
        return tuple(entry for entry in wanted if f"{side}/{topic}/{entry}" not in self.kept)

    @property
    def any(self) -> bool:
        """Whether there is anything to throttle that is ours."""
        return any(self.entries(topic, side) for topic in self.topics for side in SIDES)

    def put(self, topics: Mapping[str, Config], brokers: Config) -> Changes:
        """What to set so that it is on. Topics that are gone need nothing."""
        lists: dict[str, dict[str, str | None]] = {}
        for topic, side, value in self._lists(topics):
            there = _entries(value)
            more = [entry for entry in self.entries(topic, side) if entry not in there]
            lists.setdefault(topic, {})[replicas_key(side)] = ",".join((*there, *more))
        rates = {rate_key(side): str(self.rate) for side in SIDES if self._free(side, brokers)}
        return Changes(lists, dict(rates))

    def lifted(self, topics: Mapping[str, Config], brokers: Config) -> Changes:
        """What to set or remove so that nothing of it is left."""
        lists: dict[str, dict[str, str | None]] = {}
        for topic, side, value in self._lists(topics):
            ours = self.entries(topic, side)
            rest = [entry for entry in _entries(value) if entry not in ours]
            lists.setdefault(topic, {})[replicas_key(side)] = ",".join(rest) or None
        return Changes(lists, {rate_key(side): None for side in SIDES if self._free(side, brokers)})

    def is_on(self, topics: Mapping[str, Config], brokers: Config) -> bool:
        entries = all(
            entry in _entries(value)
            for topic, side, value in self._lists(topics)
            for entry in self.entries(topic, side)
        )
        return entries and all(rate_key(side) in brokers for side in SIDES if self._free(side, brokers))

    def is_off(self, topics: Mapping[str, Config], brokers: Config) -> bool:
        entries = any(
            entry in _entries(value)
            for topic, side, value in self._lists(topics)
            for entry in self.entries(topic, side)
        )
        return not entries and not any(rate_key(side) in brokers for side in SIDES if self._free(side, brokers))

    def _lists(self, topics: Mapping[str, Config]) -> Iterator[tuple[str, str, str]]:
        """(topic, side, value) of every list that has entries of ours, or shall have; not of one that says `*`."""
        for topic in self.topics:
            for side in SIDES if topic in topics else ():
                value = topics[topic].get(replicas_key(side), "")
                if self.entries(topic, side) and value.strip() != ALL:
                    yield topic, side, value

    def _free(self, side: str, brokers: Config) -> bool:
        """Whether that rate is ours to set and to remove: nobody else has set it, or whoever had has removed it.

        One that was like ours cannot be told from ours, and is left to whoever set it.
        """
        mine = str(self.rate)
        return _rate(side, mine) not in self.kept and brokers.get(rate_key(side)) in (None, mine)


@dataclass(frozen=True, slots=True)
class Changes:
    """Settings of topics and of all brokers to alter; None removes one."""

    topics: Mapping[str, Mapping[str, str | None]]
    brokers: Mapping[str, str | None]


def kept(hops: Sequence[Hop], rate: int, topics: Mapping[str, Config], brokers: Config) -> frozenset[str]:
    """What of the throttle of these hops somebody else has set already, when the plan is made."""
    plain = Throttle(tuple(hops), rate)
    found = {_rate(side, brokers[rate_key(side)]) for side in SIDES if rate_key(side) in brokers}
    for topic in plain.topics:
        for side in SIDES:
            there = _entries(topics.get(topic, {}).get(replicas_key(side), ""))
            found |= {f"{side}/{topic}/{entry}" for entry in plain.entries(topic, side) if entry in there}
    return frozenset(found)


def told_apart(rate: int, brokers: Config) -> int:
    """This rate, or the next lower one that nobody has set (a higher one where there is none)."""
    taken = {brokers.get(rate_key(side)) for side in SIDES}
    return next(one for one in (rate, rate - 1, rate - 2, rate + 1, rate + 2) if one > 0 and str(one) not in taken)


def _rate(side: str, value: str) -> str:
    return f"{side}/rate={value}"


def _entries(value: str) -> list[str]:
    return [entry for part in value.split(",") if (entry := part.strip()) and entry != ALL]


def spare(line: int, growth: Mapping[int, float], *, floor: int, grain: int = 1024 * 1024, share: float = 0.5) -> int:
    """A rate that leaves clients their part: `share` of what a broker's `line` (bytes a second) has left beside what is
    written to the busiest broker (`growth`, by broker), in whole `grain`s, and no less than `floor`."""
    busiest = max(growth.values(), default=0.0)
    return max(int((line - busiest) * share) // grain * grain, floor)


def growth(
    earlier: Mapping[TopicPartition, int],
    later: Mapping[TopicPartition, int],
    replicas: Iterable[tuple[TopicPartition, Sequence[int]]],
    seconds: float,
) -> dict[int, float]:
    """Bytes a second that each broker's replicas grew by between two looks; what retention removed counts for nothing.

    Raises ValueError for looks at one moment.
    """
    if seconds <= 0:
        raise ValueError("two looks at one moment say nothing about growth")
    found: dict[int, float] = {}
    for partition, brokers in replicas:
        before = earlier.get(partition, later.get(partition, 0))
        grown = max(later.get(partition, before) - before, 0)
        for broker in brokers:
            found[broker] = found.get(broker, 0.0) + grown / seconds
    return found
