"""Who joins and who leaves: from one observation to the one next thing to do. Pure; nothing is remembered.

Every phase is seen from the world (voters and observers, marks on claims, what an init container said), so a crash
between two passes is ordinary. Write the operation, carry out the action, observe, plan again; None: nothing to change.

Invariants (each a property test):

1. Voters change one at a time, and a majority of the new set is up and caught up before each change (`quorum`).
2. A node loses its vote before it is stopped for good, and its claims are marked as retired only when its pod is gone,
   it has no vote, nothing is assigned to it and Kafka has forgotten it. Claims are never deleted.
3. A disk is given up only by a person's word (`Target.request`), only while it is seen to be lost, and only where every
   partition of its broker has an in-sync leader elsewhere. Its old directory has no vote any more before a new one is
   formatted: two directories of one node never vote.
4. What is held (`Target.holds`) begins nothing; a node that has lost its vote for a new disk gets it back all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from controlplane.domain.check import Check
from controlplane.domain.membership import brokers, quorum
from controlplane.domain.membership.values import (
    Action,
    AddVoter,
    AwaitMember,
    Change,
    DrainBrokers,
    FinishReplacement,
    Refused,
    RemoveVoter,
    RenewVolume,
    RetireNode,
    ReturnLeaders,
    StopMember,
    Target,
)
from controlplane.domain.observation import (
    ClusterObservation,
    Identity,
    NodeObservation,
    Role,
    TopicPartition,
    VolumeObservation,
)
from controlplane.domain.rolling import health, safety
from controlplane.domain.rolling.values import UnprotectedPolicy

DISK_LOST = "DiskLost"
"""How the init container begins when a marked log dir is empty: images/kafka/bin/kafka-node-format."""
_LOST_DIR = re.compile(r"/data-(\d+) ")

Steps = Iterator[tuple[Action, bool]]
"""An action, and whether what it goes on with cannot be left as it is (`Change.begun`)."""


def plan_change(observation: ClusterObservation, target: Target) -> Change | None:
    """The next action, or None if the members are as wanted. Never raises, whatever was observed."""
    return _Membership(observation, target).change()


def lost_volumes(node: NodeObservation) -> tuple[VolumeObservation, ...]:
    """Volumes that are marked as formatted and were found empty when the node was started last."""
    words = (node.pod.format_message or "") if node.pod is not None else ""
    if not words.startswith(DISK_LOST):
        return ()
    named = {int(number) for number in _LOST_DIR.findall(words)}
    return tuple(volume for volume in node.volumes if not named or volume.volume_id in named)


def joining(observation: ClusterObservation, target: Target) -> tuple[int, ...]:
    """Controllers that are asked for, have no vote and are not set aside; () while the voters are not known."""
    if observation.quorum is None:
        return ()
    voters = {one.id for one in observation.quorum.voters}
    return tuple(node for node in target.controllers if node not in voters | target.set_aside)


class _Membership:
    def __init__(self, observation: ClusterObservation, target: Target) -> None:
        self.observation, self.target = observation, target
        self.quorum, self.kafka = observation.quorum, observation.kafka
        self.replaced = target.request.node if target.request is not None else None
        self.joining = joining(observation, target)
        self.withheld: frozenset[int] = frozenset()

    def change(self) -> Change | None:
        found = next(self._actions(), None)
        if found is None:
            return None
        action, begun = found
        return Change(action, self._goal(), begun=begun, withheld=self.withheld)

    def _goal(self) -> str:
        parts = []
        if self.target.request is not None:
            parts.append(f"replace node {self.target.request.text[:16]}")
        if joiners := [node for node in self.joining if node != self.replaced]:
            parts.append(f"add voter {health.listing(joiners)}")
        if self.target.leaving:
            parts.append(f"remove node {health.listing(sorted(self.target.leaving))}")
        return "; ".join(parts).capitalize()

    def _actions(self) -> Steps:
        """A refusal of one change does not hold up another, and is told at the end."""
        refused: list[tuple[Action, bool]] = []
        for steps in (self._replace(), self._retire(), self._join(), self._leave()):
            for step in steps:
                if isinstance(step[0], Refused):
                    refused.append(step)
                    break
                yield step
        yield from refused
        yield from self._finish()

    # Nodes whose disk is lost

    def _replace(self) -> Steps:
        node_id = self.replaced
        if self.target.request is not None and (node_id is None or node_id not in self.target.members):
            yield Refused(-1 if node_id is None else node_id, (self._unknown(),)), False
            return
        if node_id is None:
            return
        node = self.observation.node(node_id)
        gone = node is None or not node.volumes
        partly = self.target.lost_volumes
        if node is not None and partly and health.is_ready(node):
            self.withheld = frozenset({node_id})
            yield Refused(node_id, (_still_serving(node),)), False
            return
        lost = lost_volumes(node) if node is not None else ()
        marked = tuple(volume for volume in lost if volume.formatted is not None)
        if gone or partly or marked:
            missing = partly | {volume.volume_id for volume in lost}
            metadata_lost = node is None or gone or min({v.volume_id for v in node.volumes} | missing) in missing
            yield from self._give_up(node_id, node, metadata_lost=metadata_lost, gone=gone or bool(partly))
            if node is not None and marked:
                yield RenewVolume(node_id, marked[0].name, marked[0].uid, _fresh(marked[0], node_id)), True
        elif node is not None and node.pod is not None and lost and not node.pod.terminating:
            yield _stop(node), True

    def _give_up(self, node_id: int, node: NodeObservation | None, *, metadata_lost: bool, gone: bool) -> Steps:
        """Everything that comes before a new disk: nothing is lost with the old one, and it has no vote.

        `gone`: claims are gone or going, so a pod that waits for them has to go before new ones are made.
        Nothing more is yielded once a volume may be made for it.
        """
        self.withheld = frozenset({node_id}) if gone else frozenset()
        roles = self.target.members[node_id]
        votes = quorum.voter(self.quorum, node_id) if self.quorum is not None and metadata_lost else None
        voteless = self.quorum is not None and metadata_lost and Role.CONTROLLER in roles and votes is None
        checks: list[Check] = [*(() if voteless else self.target.holds)]
        if self.kafka is None:
            checks.append(health.unreachable(self.observation))
        elif Role.BROKER in roles:
            checks += brokers.would_lose_data(self.kafka, node_id)
        if self.quorum is None:
            checks.append(health.quorum_unknown(self.observation))
        elif votes is not None:
            checks += quorum.cannot_remove(self.observation, self.quorum, node_id)
        if checks:
            yield Refused(node_id, tuple(checks)), voteless
        elif votes is not None:
            yield RemoveVoter(node_id, votes.directory_id), False
        elif gone and node is not None and node.pod is not None:
            yield (self._awaiting(node_id) if node.pod.terminating else _stop(node)), True
        elif going := [volume.name for volume in self._volumes_of(node_id) if volume.terminating]:
            yield AwaitMember(node_id, (_going(node_id, going),)), True
        else:
            self.withheld = frozenset()

    def _unknown(self) -> Check:
        text = self.target.request.text[:64] if self.target.request is not None else ""
        return Check(
            "ReplaceUnknownNode",
            ok=False,
            evidence=f"metadata.annotations[kfleet.dev/replace-node]: {text!r} is the id of no node that is asked for.",
            remedy="Name a node of status.nodes, or take the annotation off.",
        )

    def _finish(self) -> Steps:
        if self.replaced is None or self.replaced not in self.target.members:
            return
        node = self.observation.node(self.replaced)
        if node is None or not node.volumes or any(volume.formatted is None for volume in node.volumes):
            yield self._awaiting(self.replaced), True
        elif missing := health.not_back(self.observation, node, frozenset()):
            yield AwaitMember(node.id, (*missing, *_not_seen_lost(node))), True
        elif partitions := self._led_elsewhere(node.id):
            yield ReturnLeaders(node.id, partitions), True
        else:
            yield FinishReplacement(node.id), True

    def _led_elsewhere(self, node: int) -> tuple[TopicPartition, ...]:
        """Partitions that this node should lead, is in sync with, and does not lead."""
        partitions = self.kafka.partitions if self.kafka is not None else ()
        return tuple(
            sorted(p.id for p in partitions if p.replicas and p.replicas[0] == node != p.leader and node in p.isr)
        )

    # Voters that join

    def _join(self) -> Steps:
        for node_id in self.joining:
            if node_id in self.withheld:
                continue
            begun = node_id == self.replaced
            node = self.observation.node(node_id)
            if node is None or node.pod is None or health.unhealthy(self.observation, node):
                yield self._awaiting(node_id), begun
                return
            yield from self._vote(node_id, begun=begun)
            return

    def _vote(self, node_id: int, *, begun: bool) -> Steps:
        directory = self.target.directories.get(node_id)
        address = self.target.addresses.get(node_id)
        seen = [one for one in self.quorum.observers if one.id == node_id] if self.quorum is not None else []
        ready = [one for one in seen if one.caught_up and one.directory_id == directory]
        if self.quorum is None or not ready or address is None or directory is None:
            lag = min((one.lag for one in seen if one.directory_id == directory), default=None)
            words = "has not fetched from the metadata quorum yet" if lag is None else f"is {lag} records behind"
            check = Check(
                "VoterJoining",
                ok=False,
                evidence=f"Controller {node_id} {words}; it becomes a voter once it has caught up.",
                remedy="Wait; if it does not end, see its logs.",
            )
            yield AwaitMember(node_id, (check,)), begun
            return
        if any(volume.formatted is None for volume in self._volumes_of(node_id)):
            # Its disk, if it were lost now, would be formatted again with a vote on it.
            yield AwaitMember(node_id, (_unformatted(node_id),)), begun
            return
        checks = (
            *(() if begun else self.target.holds),
            *quorum.cannot_add(self.observation, self.quorum, node_id),
        )
        if checks:
            yield Refused(node_id, checks), begun
        else:
            yield AddVoter(node_id, directory, *address), begun

    def _volumes_of(self, node_id: int) -> tuple[VolumeObservation, ...]:
        node = self.observation.node(node_id)
        return node.volumes if node is not None else ()

    # Nodes that leave

    def _retire(self) -> Steps:
        """A leaving node whose process is gone and that has no vote is finished with, whatever is held."""
        for node_id in self.target.leaving:
            node = self.observation.node(node_id)
            if node is None or node.pod is not None or self._voting(node):
                continue
            if node.is_broker and (self.kafka is None or brokers.cannot_leave(self.kafka, (node_id,))):
                continue
            if self.kafka is not None and any(one.id == node_id for one in self.kafka.brokers):
                check = Check(
                    "BrokerStillRegistered",
                    ok=False,
                    evidence=f"Node {node_id} is stopped and its session with the controllers has not ended yet.",
                    remedy="Wait; it ends by itself.",
                )
                yield AwaitMember(node_id, (check,)), True
            else:
                claims = tuple((volume.name, volume.uid) for volume in node.volumes)
                yield RetireNode(node_id, node.is_broker, claims), True

    def _voting(self, node: NodeObservation) -> bool:
        """It has a vote, or may have one."""
        if not node.is_controller:
            return False
        return self.quorum is None or quorum.voter(self.quorum, node.id) is not None

    def _leave(self) -> Steps:
        """Brokers are emptied first, all that leave at once, also while a pod ends: on a lost machine it never does.
        Then nodes go one after the other; the active controller last, so that leadership moves once at most."""
        leader = self.quorum.leader if self.quorum is not None else None
        filled = brokers.cannot_leave(self.kafka, self.target.leaving) if self.kafka is not None else ()
        for node_id in sorted(self.target.leaving, key=lambda node: node == leader):
            node = self.observation.node(node_id)
            if node is None:
                continue
            held = (*self.target.holds, *(self.target.guards if filled or health.is_ready(node) else ()))
            checks = [*held, *(filled or self._unknown_what_it_holds(node))]
            votes = quorum.voter(self.quorum, node_id) if self.quorum is not None and node.is_controller else None
            if node.is_controller and self.quorum is None:
                checks.append(health.quorum_unknown(self.observation))
            elif self.quorum is not None and votes is not None:
                checks += quorum.cannot_remove(self.observation, self.quorum, node_id)
            elif node.pod is not None and not node.pod.terminating:
                checks += safety.judge(self.observation, frozenset({node_id}), UnprotectedPolicy.BLOCK).failed
            if filled and not held and self.kafka is not None:
                emptied = brokers.known(self.kafka, self.target.leaving)
                yield DrainBrokers(emptied[-1], emptied, filled), False
            elif node.pod is not None and node.pod.terminating and votes is None:
                yield self._awaiting(node_id), True
            elif checks:
                yield Refused(node_id, tuple(dict.fromkeys(checks))), False
            elif votes is not None:
                yield RemoveVoter(node_id, votes.directory_id), False
            elif node.pod is not None:
                yield _stop(node), False
            return

    def _unknown_what_it_holds(self, node: NodeObservation) -> tuple[Check, ...]:
        return (health.unreachable(self.observation),) if node.is_broker and self.kafka is None else ()

    def _awaiting(self, node_id: int) -> AwaitMember:
        node = self.observation.node(node_id)
        found = health.unhealthy(self.observation, node) if node is not None else ()
        missing = Check(
            "NodeMissing", ok=False, evidence=f"Node {node_id} has no pod.", remedy="It is about to be created."
        )
        return AwaitMember(
            node_id, found or ((missing if node is None or node.pod is None else _unformatted(node_id)),)
        )


def _unformatted(node_id: int) -> Check:
    return Check(
        "NodeFormatting",
        ok=False,
        evidence=f"Node {node_id} is not formatted and registered yet.",
        remedy="Wait; if it does not end, see its logs.",
    )


def _not_seen_lost(node: NodeObservation) -> Iterator[Check]:
    """An init container looks at the disk once a pod: a disk that is lost under a running one is not seen to be."""
    if node.pod is not None and health.is_ailing(node.pod):
        yield Check(
            "DiskNotSeenLost",
            ok=False,
            evidence=f"The disk of node {node.id} was there when pod {node.pod.name} was made; nothing is given up.",
            remedy=f"If it was lost since, delete pod {node.pod.name}: its successor looks again.",
        )


def _still_serving(node: NodeObservation) -> Check:
    pod = node.pod.name if node.pod is not None else ""
    return Check(
        "DiskNotSeenLost",
        ok=False,
        evidence=f"Pod {pod} still serves from volumes of node {node.id} whose claims are gone or being deleted.",
        remedy=f"Delete pod {pod} if they shall go: the node is then made again on empty ones.",
    )


def _going(node_id: int, claims: list[str]) -> Check:
    return Check(
        "VolumeTerminating",
        ok=False,
        evidence=f"PVC {health.listing(claims)} of node {node_id} is being deleted.",
        remedy="Wait until it is gone; if it does not go, see its finalizers.",
    )


def _stop(node: NodeObservation) -> StopMember:
    if node.pod is None:
        raise AssertionError(f"node {node.id} has no pod to stop")
    return StopMember(node.id, node.pod.name, node.pod.uid, node.pod.resource_version)


def _fresh(volume: VolumeObservation, node_id: int) -> Identity:
    """The volume's identity without a chosen directory id: the next format draws one, as for every later voter."""
    if volume.identity is None:
        raise AssertionError(f"{volume.name} has no identity; nothing is done to such a volume")
    return replace(volume.identity, node_id=node_id, directory_id=None)
