"""May the set of voters change by this node? One at a time, with a majority of caught-up voters at every instant.

The leader of a KRaft quorum puts a new voter set into force as soon as it is written to its own log (KIP-853), so what
counts is the new set: a majority of it has to run and be caught up before the change is asked for. That the old set has
one is shown by its leader answering.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.domain.check import Check
from controlplane.domain.observation import ClusterObservation, QuorumObservation, VoterObservation
from controlplane.domain.rolling import health

KRAFT_VERSION = "kraft.version"


def voter(quorum: QuorumObservation, node: int) -> VoterObservation | None:
    return next((one for one in quorum.voters if one.id == node), None)


def standing(observation: ClusterObservation, quorum: QuorumObservation) -> frozenset[int]:
    """Voters that have caught up and whose process may be counted upon."""
    running = {node.id for node in observation.nodes if health.is_running(node)}
    return frozenset(one.id for one in quorum.voters if one.caught_up) & running


def cannot_add(observation: ClusterObservation, quorum: QuorumObservation, node: int) -> tuple[Check, ...]:
    """Why this node, an observer that has caught up, may not become a voter now; () if it may."""
    voters = {one.id for one in quorum.voters}
    return (*_static(observation), *_majority(voters | {node}, standing(observation, quorum) | {node}, node, "With"))


def cannot_remove(observation: ClusterObservation, quorum: QuorumObservation, node: int) -> tuple[Check, ...]:
    """Why this voter may not lose its vote now; () if it may."""
    voters = {one.id for one in quorum.voters} - {node}
    if not voters:
        evidence = f"Node {node} is the only voter: the cluster's metadata is on its disk and nowhere else."
        remedy = "Restore its disk from a backup; without it there is no cluster."
        return (Check("LastVoter", ok=False, evidence=evidence, remedy=remedy),)
    return (*_static(observation), *_majority(voters, standing(observation, quorum) - {node}, node, "Without"))


def _majority(voters: set[int], counted: frozenset[int], node: int, word: str) -> Iterator[Check]:
    needed, left = len(voters) // 2 + 1, counted & voters
    if len(left) < needed:
        yield Check(
            "WouldLoseQuorum",
            ok=False,
            evidence=f"{word} node {node} {len(left)} of {len(voters)} voters would be up and caught up "
            f"({health.listing(sorted(left)) or 'none'}); {needed} are needed.",
            remedy="Wait until the other controllers have caught up; if they do not, see their logs.",
        )


def _static(observation: ClusterObservation) -> Iterator[Check]:
    features = observation.kafka.features if observation.kafka else {}
    if features.get(KRAFT_VERSION, 0) < 1:
        yield Check(
            "StaticQuorum",
            ok=False,
            evidence="kraft.version is 0: the voters stand in every node's configuration and cannot be changed.",
            remedy="Keep the number of controllers and their disks as they were.",
        )
