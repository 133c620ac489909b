"""What there is to know before a cluster goes to another version, as one value. Pure; nothing here changes anything.

The path is the table's (domain/versions), hazards are the catalogue's, and features other than metadata.version stay as
they are because kfleet raises no other. What nobody has told us is None or listed as undecided, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controlplane.domain import versions
from controlplane.domain.check import Check, failed
from controlplane.domain.hazards.catalogue import find
from controlplane.domain.hazards.conditions import ELR_VERSION, STREAMS_VERSION
from controlplane.domain.hazards.values import Findings, Situation, number
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling.values import KRAFT_VERSION

SHARE_VERSION = "share.version"
CLIENTS_BASELINE = {
    "Java": "2.1",
    "librdkafka": "1.8.2",
    "KafkaJS": "1.15.0",
    "Sarama": "1.30.1",
    "kafka-python": "2.0.2",
}
"""Releases that KIP-896 checked its removals against: these and later ones work with Kafka 4."""
CLIENTS_CUT = (4, 0)


@dataclass(frozen=True, slots=True)
class Feature:
    """`now` is the finalised level, None if it is not known; `highest` what the target has, None if it has none or the
    table does not know the feature.
    """

    name: str
    now: int | None
    after: int | None
    highest: int | None


@dataclass(frozen=True, slots=True)
class Advice:
    """`running` are the versions that nodes run, oldest first. `path` is None when there is none, or when the finalised
    level is not known (`level`); `refused` says which.

    `no_return` is the metadata.version whose finalisation ends the way back. `clients_cut`: old clients stop working.
    """

    namespace: str
    name: str
    running: tuple[str, ...]
    target: str
    level: int | None
    path: tuple[versions.Hop, ...] | None
    refused: tuple[Check, ...]
    features: tuple[Feature, ...]
    findings: Findings
    no_return: str | None
    clients_cut: bool

    @property
    def clear(self) -> bool:
        """Nothing that is known stands in the way."""
        return not self.refused and not self.findings.blocking


def advise(
    observation: ClusterObservation,
    target: str,
    *,
    running: tuple[str, ...] = (),
    level: int | None = None,
    declared: Mapping[str, str] | None = None,
    pin: str | None = None,
) -> Advice:
    """`running` and `level` are used where the observation knows no pod or no features.

    Raises UnknownVersionError for an unknown target, and ValueError when no version is known to run.
    """
    last = versions.release(target)
    seen = {node.pod.version for node in observation.nodes if node.pod} or set(running)
    if not seen:
        raise ValueError("no node runs, so there is no version to start from")
    runs = tuple(sorted(seen, key=number))
    features = dict(observation.kafka.features) if observation.kafka is not None else {}
    level = features.get(versions.METADATA_VERSION, level)
    pinned = versions.check_pin(target, pin)
    refused = [pinned, *(versions.can_roll_binary(version, target, level) for version in runs if level is not None)]
    path = _path(runs[0], target, level, pin if pinned.ok else None)
    if path and len(path) > 1:  # not at once, and there is a way round
        refused = [pinned]
    if level is None:
        refused.append(
            Check(
                "ClusterUnreachable",
                ok=False,
                evidence="No broker answers from here, so the finalised metadata.version is not known.",
                remedy="Ask where brokers can be reached, or use a snapshot that was taken there.",
            )
        )
    after = max(level, path[-1].level_after) if path and level is not None else level
    at = Situation(observation, runs[0], target, declared, level, after if after != level else None)
    gone = next((hop.level_after for hop in path or () if hop.no_return), None)
    return Advice(
        namespace=observation.namespace,
        name=observation.name,
        running=runs,
        target=target,
        level=level,
        path=path,
        refused=failed(refused),
        features=_features(features, last, level, after),
        findings=find(at),
        no_return=versions.level_name(gone) if gone is not None else None,
        clients_cut=number(runs[0]) < CLIENTS_CUT <= number(target),
    )


def _path(running: str, target: str, level: int | None, pin: str | None) -> tuple[versions.Hop, ...] | None:
    if level is None:
        return None
    return versions.find_path(running, target, level, pin=versions.metadata_level(pin) if pin is not None else None)


def _features(
    found: Mapping[str, int], target: versions.Release, level: int | None, after: int | None
) -> tuple[Feature, ...]:
    """metadata.version first, then by name: what is finalised, and what the target would have to offer."""
    offered = {
        ELR_VERSION: target.eligible_leader_replicas,
        KRAFT_VERSION: 1,
        SHARE_VERSION: target.share,
        STREAMS_VERSION: target.streams,
    }
    others = [
        Feature(name, found.get(name, 0 if found else None), None, offered.get(name))
        for name in sorted((found.keys() | offered.keys()) - {versions.METADATA_VERSION})
        if name in found or offered.get(name)
    ]
    return (
        Feature(versions.METADATA_VERSION, level, after, target.metadata_level),
        *(replace(feature, after=feature.now) for feature in others),
    )
