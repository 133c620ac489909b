"""What is wrong with an upgrade, and whether it is the new version's doing. Pure; times come from the observation.

A symptom is something that is wrong now. It counts as a fault once it has been seen without a break for as long as it
must last, and as mending, with its time beginning anew, whenever it has become less. What was wrong before the first
stop is no symptom; a node that was not up then has one that the new version is not blamed for, until it was well once.
Symptoms keep a soak from counting; only faults hold an upgrade or roll it back.

A symptom is confined when every node, replica or voter that shows it runs the new version. What clients feel shows
where a fault is felt, not where it is, and goes with the other symptoms. With no other the canary's are confined where
every broker runs the new version; lag that grows never is, since a consumer can have died by itself. Faults are
confined when all symptoms are, those that have not lasted included: nothing else may be wrong when the cause is looked
for in the new version.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from controlplane.api.conditions import timestamp
from controlplane.domain.check import Check
from controlplane.domain.observation import (
    ClusterObservation,
    NodeObservation,
    PartitionObservation,
    PodObservation,
    TopicPartition,
)
from controlplane.domain.rolling import health
from controlplane.domain.rolling.watch import Severity, Sighting, Trouble, UpgradeWatch, severity
from controlplane.domain.rolling.witness import LEARN_SECONDS, ClientLevel, client_checks

CRASH_SECONDS = 60.0
"""How long a node that crashes again and again, ended or cannot start is given, where `faultAfter` is longer: an image
registry that hiccups answers again within that. One that crashed once and runs again may be reading its logs, and has
all of `faultAfter`."""
CRASHES = 3
"""Restarts of one pod of the new version that are a crash loop even while it is up in between, if one more comes within
`faultAfter`; without one they are forgiven."""
GAP_SECONDS = 50.0
"""Without a look for longer than this, and than half of what a symptom must last, what was seen before proves nothing.
A cluster whose roll waits for people or a window is looked at every 30 s, and one call may run into its deadline."""
REFRESHED = 10
"""A sighting is written down again, and one that shrinks begins anew, at most so many times in what it must last."""


_LAG = "ConsumerLagGrows"
_NO_VOTER = "NotAVoter"
"""Voters come and go by a change of members, or by hand, and by no version."""
_UID = 8
"""Characters that tell a node's pods apart."""

_Ill = tuple[TopicPartition, set[int]]
"""A partition, and the brokers that do not serve their replica of it."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """`key` is the same at each look; `lasts` seconds make it a fault; `amount` is how much of it there is."""

    key: str
    check: Check
    confined: bool | None
    """None: it says nothing of where the fault is."""
    lasts: float
    amount: int = 0
    again: float = 0.0
    """Above 0: `amount` only grows, and says something when it has grown within so many seconds."""

    def forgiven(self, sighting: Sighting, now: float) -> bool:
        return 0 < self.again <= now - sighting.since and self.amount == sighting.least

    def lasted(self, sighting: Sighting, now: float) -> bool:
        return now - sighting.since >= self.lasts and (not self.again or self.amount > sighting.least)


@dataclass(frozen=True, slots=True)
class Findings:
    """`faults` (failed checks) have lasted, `symptoms` have not yet; `watch` is what to write down."""

    watch: UpgradeWatch
    faults: tuple[Check, ...] = ()
    symptoms: tuple[Check, ...] = ()
    confined: bool = False
    since: int = 0
    """When the oldest of the faults began."""


def begin(observation: ClusterObservation, before: str, to: str, learn_seconds: float = LEARN_SECONDS) -> UpgradeWatch:
    """The watch of an upgrade of which nothing is done yet, or nothing is remembered."""
    partitions = observation.kafka.partitions if observation.kafka else ()
    watch = UpgradeWatch(before, to, Trouble.of(partitions), ClientLevel.learn(observation.clients, learn_seconds))
    ill = frozenset(n.id for n in observation.nodes if health.unhealthy(observation, n) and not _upgraded(n, watch))
    return replace(watch, ill=ill)


def look(
    observation: ClusterObservation,
    watch: UpgradeWatch,
    stopped: Mapping[int, frozenset[TopicPartition]],
    fault_after: float,
) -> Findings:
    """What is seen now, with what was seen before. `stopped`: nodes that the roll stopped and did not yet see back,
    with their replicas that were out before. `fault_after` in seconds."""
    if watch.over:
        return Findings(watch)
    found = list(_Case(observation, watch, stopped, fault_after).symptoms())
    now = math.ceil(observation.as_of)
    sightings = {one.key: _sighted(watch.sightings.get(one.key), one, now) for one in found}
    found = [one for one in found if not one.forgiven(sightings[one.key], observation.as_of)]
    lasting = [one for one in found if one.lasted(sightings[one.key], observation.as_of)]
    return Findings(
        watch=replace(
            watch.with_sightings(sightings),
            ill=_still_ill(observation, watch),
            looked=_looked(watch.looked, now, fault_after),
        ),
        faults=tuple(dict.fromkeys(one.check for one in lasting)),
        symptoms=tuple(dict.fromkeys(one.check for one in found if one not in lasting)),
        confined=_confined(observation, watch, found),
        since=min((sightings[one.key].since for one in lasting), default=0),
    )


def begun(observation: ClusterObservation, watch: UpgradeWatch) -> bool:
    """Whether any node runs the new version."""
    return any(_upgraded(node, watch) for node in observation.nodes)


def _still_ill(observation: ClusterObservation, watch: UpgradeWatch) -> frozenset[int]:
    return frozenset(n.id for n in observation.nodes if n.id in watch.ill and health.unhealthy(observation, n))


def _looked(before: Sighting | None, now: int, fault_after: float) -> Sighting:
    """Since when somebody looks, without a gap in which a fault could have gone unseen."""
    gap = max(fault_after / 2, GAP_SECONDS)
    if before is None or before.since > now or now - before.seen > gap:
        return Sighting(now, now)
    return Sighting(before.since, now) if now - before.seen >= gap / 2 else before


def _sighted(before: Sighting | None, symptom: Symptom, now: int) -> Sighting:
    """Never later than now, so that a clock set back does not make a fault last longer than it has to."""
    span = max(symptom.lasts, symptom.again)
    if before is None or before.since > now or now - before.seen > max(span / 2, GAP_SECONDS):
        return Sighting(now, now, symptom.amount)
    if 0 < symptom.again < now - before.since and symptom.amount > before.least:
        return Sighting(now, now, symptom.amount)
    written = span / REFRESHED
    if symptom.amount < before.least and now - before.since >= written:
        return Sighting(now, now, symptom.amount)
    if now - before.seen >= max(written, 1.0):
        return Sighting(before.since, now, before.least)
    return before


def _confined(observation: ClusterObservation, watch: UpgradeWatch, symptoms: list[Symptom]) -> bool:
    words = {one.confined for one in symptoms}
    if words == {None}:
        brokers = [node for node in observation.nodes if node.is_broker]
        return any(one.key != _LAG for one in symptoms) and all(_upgraded(node, watch) for node in brokers)
    return True in words and False not in words


def _upgraded(node: NodeObservation, watch: UpgradeWatch) -> bool:
    """Its pod was made for the new version, whether its process has begun or not."""
    return node.pod is not None and node.pod.version == watch.to


class _Case:
    """One look at one upgrade."""

    def __init__(
        self,
        observation: ClusterObservation,
        watch: UpgradeWatch,
        stopped: Mapping[int, frozenset[TopicPartition]],
        fault_after: float,
    ) -> None:
        self.observation, self.watch, self.stopped, self.fault_after = observation, watch, stopped, fault_after
        upgraded = {node.id for node in observation.nodes if _upgraded(node, watch)}
        self.upgraded = upgraded - watch.ill
        """Those of which the new version can be what is wrong."""
        self.on_its_way = {
            node.id
            for node in observation.nodes
            if node.id in stopped and node.id not in upgraded and not health.is_ready(node)
        }
        """Stopped by the roll and not made anew yet: as planned, however long the old process takes to end."""
        self.out: dict[int, set[TopicPartition]] = defaultdict(set)
        """Replicas that are out now and that were not before the upgrade, by broker: one look at all partitions. Those
        of a partition that is being reassigned are out because somebody adds them, for as long as that takes."""
        moving = frozenset(observation.kafka.reassigning if observation.kafka else ())
        for partition in observation.kafka.partitions if observation.kafka else ():
            if partition.id in moving:
                continue
            if len(partition.isr) < len(partition.replicas) and not watch.trouble.before(partition.id):
                for broker in set(partition.replicas).difference(partition.isr):
                    self.out[broker].add(partition.id)

    def symptoms(self) -> Iterator[Symptom]:
        for node in self.observation.nodes:
            if node.id not in self.on_its_way:
                yield from self._node(node)
        yield from self._silence()
        yield from self._partitions()
        for check in client_checks(self.observation.clients, self.watch.level):
            if not check.ok:
                yield Symptom(check.name, check, None, self.fault_after)

    def _node(self, node: NodeObservation) -> Iterator[Symptom]:
        pod, confined = node.pod, node.id in self.upgraded
        checks = health.unhealthy(self.observation, node)
        if checks:
            # Each pod has its own time from when it has a place, and so has its crashing: a slow start is none of it.
            shows = confined and _shows_its_version(node)
            own = f"{node.id}/{pod.uid[:_UID]}" if pod is not None and shows else f"{node.id}"
            yield Symptom(f"Node/{own}", checks[0], shows, self.fault_after)
            crash = f"Crash/{own}"
            if shows and pod is not None and _crashes(pod, seen=crash in self.watch.sightings):
                yield Symptom(crash, checks[0], shows, min(self.fault_after, CRASH_SECONDS))
        if confined and pod is not None and pod.restarts >= CRASHES:
            yield Symptom(
                f"Crashes/{node.id}/{pod.uid[:_UID]}",
                Check(
                    "NodeCrashes",
                    ok=False,
                    evidence=f"Node {node.id} (pod {pod.name}, Kafka {pod.version}) has crashed {pod.restarts} times "
                    "since it was upgraded.",
                    remedy=f"See the logs of pod {pod.name} before its last start.",
                ),
                confined,
                min(self.fault_after, CRASH_SECONDS),
                amount=pod.restarts,
                again=self.fault_after,
            )
        if checks or self.observation.kafka is None or self.observation.quorum is None:
            return
        missing = self.out[node.id] - self.stopped.get(node.id, frozenset())
        if not missing and not node.is_controller:
            return
        before = health.replicas_out(self.observation, node.id) - missing
        for check in health.not_back(self.observation, node, before):
            if check.name == _NO_VOTER:
                continue
            amount = len(missing) + self._lag(node)
            yield Symptom(f"{check.name}/{node.id}", check, confined, self.fault_after, amount)

    def _lag(self, node: NodeObservation) -> int:
        """Records that a voter is behind."""
        quorum = self.observation.quorum
        return sum(v.lag for v in quorum.voters if v.id == node.id and not v.caught_up) if quorum else 0

    def _silence(self) -> Iterator[Symptom]:
        """Confined only where there is nothing but upgraded nodes: who is silent cannot say why. Where kubelets say
        that brokers are up, it may be us who cannot hear."""
        everywhere = len(self.upgraded) == len(self.observation.nodes)
        if self.observation.kafka is None:
            dark = everywhere and health.is_dark(self.observation)
            yield Symptom("Silence", health.unreachable(self.observation), dark, self.fault_after)
        elif self.observation.quorum is None:
            yield Symptom("Silence", health.quorum_unknown(self.observation), everywhere, self.fault_after)

    def _partitions(self) -> Iterator[Symptom]:
        """Partitions that have become worse than before, and that are not waiting for a node that is on its way."""
        offline: list[_Ill] = []
        under: list[_Ill] = []
        for partition in self.observation.kafka.partitions if self.observation.kafka else ():
            now = severity(partition)
            if now < Severity.UNDER_MIN_ISR or now <= self.watch.trouble.before(partition.id):
                continue
            affected = self._affected(partition) - self.on_its_way
            if affected or not self.on_its_way.intersection(partition.replicas):
                (offline if now is Severity.OFFLINE else under).append((partition.id, affected))
        if offline:
            yield self._ill(
                offline,
                Check(
                    "PartitionsOffline",
                    ok=False,
                    evidence=f"{len(offline)} partitions have no leader since the upgrade began ({_where(offline)}).",
                    remedy="Bring back the brokers that hold their last in-sync replicas.",
                ),
            )
        if under:
            yield self._ill(
                under,
                Check(
                    "UnderMinIsr",
                    ok=False,
                    evidence=f"{len(under)} partitions have fallen below their min ISR since the upgrade began, and "
                    f"refuse acks=all writes ({_where(under)}).",
                    remedy="See the brokers whose replicas are out.",
                ),
            )

    def _affected(self, partition: PartitionObservation) -> set[int]:
        """Brokers that do not serve their replica: out of the ISR, not registered, or not up."""
        live = {broker.id for broker in self.observation.kafka.brokers} if self.observation.kafka else set()
        return {broker for broker in partition.replicas if broker not in partition.isr or broker not in live}

    def _ill(self, found: list[_Ill], check: Check) -> Symptom:
        confined = all(brokers and brokers <= self.upgraded for _, brokers in found)
        return Symptom(check.name, check, confined, self.fault_after, len(found))


def _where(found: list[_Ill]) -> str:
    named = health.listing(sorted(partition for partition, _ in found))
    missing = set[int]().union(*(brokers for _, brokers in found))
    return f"{named}; missing on node {health.listing(sorted(missing)) or 'none'}"


def _shows_its_version(node: NodeObservation) -> bool:
    """A pod without a place, one that is going, and a disk that must not be formatted are nobody's version's doing."""
    pod = node.pod
    if pod is None or pod.terminating or not pod.scheduled:
        return False
    return not pod.format_message or pod.format_message.startswith("{")


def _crashes(pod: PodObservation, *, seen: bool) -> bool:
    """It cannot start, has ended, or waits to be started again; `seen` so before, it still does while it runs in
    between. Restarts alone may be of a reboot, or long ago."""
    return health.is_ailing(pod if seen and pod.restarts > 1 else replace(pod, restarts=0))


def evidence(findings: Findings) -> str:
    """Each fault, and since when."""
    return f"Since {timestamp(findings.since)}: {' '.join(check.evidence for check in findings.faults)}"


def held_check(findings: Findings, why: str) -> Check:
    """Why nothing further is stopped: the faults, and `why` nothing is rolled back."""
    remedies = " ".join(dict.fromkeys(check.remedy for check in findings.faults if check.remedy))
    return Check(
        "UpgradeFault",
        ok=False,
        evidence=f"{evidence(findings)} Nothing further is stopped and nothing is finalised; "
        f"it is not rolled back: {why}.",
        remedy=f"It goes on by itself once that is over. {remedies}".strip(),
    )
