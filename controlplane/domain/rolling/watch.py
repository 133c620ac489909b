"""What an upgrade remembers while it is watched for faults: what ran and what was wrong before, and what is seen since.

It goes into `status.operation.step.parameters` as texts of at most `TEXT_LIMIT` characters and comes back from there:
`UpgradeWatch.load(watch.dump()) == watch` for every watch that was made here. Times are whole seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from controlplane.domain.observation import PartitionObservation, TopicPartition
from controlplane.domain.rolling.witness import ClientLevel

TEXT_LIMIT = 1024
"""Characters of one parameter of a step."""

VERSION_BEFORE, VERSION_TO, WATCHED = "versionBefore", "versionTo", "watched"
TROUBLE_BEFORE, CLIENTS_BEFORE, FAULTS_SINCE = "troubleBefore", "clientsBefore", "faultsSince"
ILL_BEFORE, LOOKED_SINCE = "illBefore", "lookedSince"
ILL_LIMIT = 100
"""Nodes that may be ill before: their ids fit into a text."""
_OVER = "Over"


class Severity(IntEnum):
    """How ill a partition is; a worse state includes the ones before it."""

    WELL = 0
    REPLICA_OUT = 1
    UNDER_MIN_ISR = 2
    OFFLINE = 3


def severity(partition: PartitionObservation) -> Severity:
    """Under min ISR as brokers count it: a replication factor below min ISR is no fault by itself."""
    if partition.leader is None:
        return Severity.OFFLINE
    if len(partition.isr) < min(partition.min_isr, len(partition.replicas)):
        return Severity.UNDER_MIN_ISR
    return Severity.REPLICA_OUT if len(partition.isr) < len(partition.replicas) else Severity.WELL


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was wrong before the first stop, so that none of it is taken for a fault of the new version.

    As exact as `TEXT_LIMIT` allows: by partition, else by topic, else for everything. What is less exact hides faults
    and invents none.
    """

    partitions: Mapping[TopicPartition, Severity] = field(default_factory=dict)
    topics: Mapping[str, Severity] = field(default_factory=dict)
    everything: Severity = Severity.WELL

    @staticmethod
    def of(partitions: Iterable[PartitionObservation]) -> Trouble:
        ill = {p.id: found for p in partitions if (found := severity(p))}
        topics: dict[str, Severity] = {}
        for partition, found in ill.items():
            topics[partition.topic] = max(found, topics.get(partition.topic, Severity.WELL))
        for wider in (Trouble(ill), Trouble(topics=topics)):
            if len(wider.dump()) <= TEXT_LIMIT:
                return wider
        return Trouble(everything=max(ill.values()))

    def before(self, partition: TopicPartition) -> Severity:
        return max(
            self.everything,
            self.topics.get(partition.topic, Severity.WELL),
            self.partitions.get(partition, Severity.WELL),
        )

    def dump(self) -> str:
        if self.everything:
            return str(int(self.everything))
        document: dict[str, Any] = {topic: int(found) for topic, found in self.topics.items()}
        for partition, found in sorted(self.partitions.items()):
            document.setdefault(partition.topic, {})[str(partition.partition)] = int(found)
        return json.dumps(document, separators=(",", ":")) if document else ""

    @staticmethod
    def load(text: str) -> Trouble:
        """A text that means nothing is read as "everything was ill": nothing is compared with it then."""
        try:
            document = json.loads(text or "{}")
            if isinstance(document, int):
                return Trouble(everything=Severity(document))
            whole = {topic: Severity(found) for topic, found in document.items() if isinstance(found, int)}
            exact = {
                TopicPartition(topic, int(number)): Severity(found)
                for topic, numbers in document.items()
                if not isinstance(numbers, int)
                for number, found in numbers.items()
            }
        except (ValueError, AttributeError, TypeError):
            return Trouble(everything=Severity.OFFLINE)
        return Trouble(exact, whole)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A symptom that is seen without a break since `since`; `seen` is when that was last written down.

    `least` is the smallest amount of it so far (replicas that are missing, records of lag): what shrinks is mending.
    """

    since: int
    seen: int
    least: int = 0


@dataclass(frozen=True, slots=True)
class UpgradeWatch:
    """One change of version under watch, from before its first stop to its finalisation.

    `before` ran on every node, "" where that is not known; `to` is what is being rolled out. `over` from the moment the
    finalisation is intended: nothing is rolled back after it. `sightings` by symptom, such as `Node/3`. `ill` are nodes
    that were not up before the first stop and have not been since. `looked`: since when somebody looks without a gap.
    """

    before: str
    to: str
    trouble: Trouble = field(default_factory=Trouble)
    level: ClientLevel | None = None
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    over: bool = False
    ill: frozenset[int] = frozenset()
    looked: Sighting | None = None

    def with_sightings(self, sightings: Mapping[str, Sighting]) -> UpgradeWatch:
        """Those seen longest, as far as they find room: they are the first to count."""
        kept: dict[str, Sighting] = {}
        room = TEXT_LIMIT
        for key, sighting in sorted(sightings.items(), key=lambda item: (item[1].since, item[0])):
            room -= len(_entry(key, sighting)) + 1
            if room < 0:
                break
            kept[key] = sighting
        return replace(self, sightings=kept)

    def dump(self) -> dict[str, str]:
        texts = {VERSION_BEFORE: self.before, VERSION_TO: self.to}
        if self.over:
            return texts | {WATCHED: _OVER}
        found = {
            TROUBLE_BEFORE: self.trouble.dump(),
            CLIENTS_BEFORE: self.level.dump() if self.level else "",
            LOOKED_SINCE: f"{self.looked.since},{self.looked.seen}" if self.looked else "",
            ILL_BEFORE: ",".join(str(node) for node in sorted(self.ill)[:ILL_LIMIT]),
            FAULTS_SINCE: ";".join(_entry(key, sighting) for key, sighting in self.sightings.items()),
        }
        return texts | {key: text for key, text in found.items() if text}

    @staticmethod
    def load(texts: Mapping[str, str]) -> UpgradeWatch | None:
        """None where nothing is watched."""
        if VERSION_TO not in texts:
            return None
        level, looked = texts.get(CLIENTS_BEFORE, ""), texts.get(LOOKED_SINCE, "")
        return UpgradeWatch(
            before=texts.get(VERSION_BEFORE, ""),
            to=texts[VERSION_TO],
            trouble=Trouble.load(texts.get(TROUBLE_BEFORE, "")),
            level=ClientLevel.load(level) if level else None,
            sightings=dict(_sighting(text) for text in texts.get(FAULTS_SINCE, "").split(";") if text),
            over=texts.get(WATCHED) == _OVER,
            looked=Sighting(*(int(second) for second in looked.split(","))) if looked else None,
            ill=frozenset(int(node) for node in texts.get(ILL_BEFORE, "").split(",") if node),
        )


def _entry(key: str, sighting: Sighting) -> str:
    return f"{key}={sighting.since},{sighting.seen},{sighting.least}"


def _sighting(text: str) -> tuple[str, Sighting]:
    key, _, numbers = text.partition("=")
    since, seen, least = numbers.split(",")
    return key, Sighting(int(since), int(seen), int(least))
