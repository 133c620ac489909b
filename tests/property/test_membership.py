"""A change of members carried out on a model quorum, killed anywhere: never without a majority, and it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.membership.planner import plan_change
from controlplane.domain.membership.values import (
    Action,
    AddVoter,
    Change,
    FinishReplacement,
    Refused,
    RemoveVoter,
    RenewVolume,
    Request,
    RetireNode,
    StopMember,
    Target,
)
from controlplane.domain.observation import (
    ClusterObservation,
    Identity,
    KafkaObservation,
    NodeObservation,
    PodObservation,
    QuorumObservation,
    Role,
    VolumeObservation,
    VoterObservation,
)

CONTROLLER = frozenset({Role.CONTROLLER})
PASSES = 120


@dataclass
class Quorum:
    """Controllers with a disk each: `disks` are directory ids (None: empty), `marks` what claims say."""

    voters: dict[int, str]
    disks: dict[int, str | None] = field(default_factory=dict)
    marks: dict[int, str | None] = field(default_factory=dict)
    up: set[int] = field(default_factory=set)
    pods: dict[int, int] = field(default_factory=dict)
    behind: set[int] = field(default_factory=set)
    wanted: tuple[int, ...] = ()
    request: int | None = None
    retired: set[int] = field(default_factory=set)
    harms: list[str] = field(default_factory=list)
    uids: int = 0

    @staticmethod
    def of(size: int) -> Quorum:
        names = {node: f"d{node}" for node in range(size)}
        return Quorum(dict(names), dict(names), dict(names), set(names), dict.fromkeys(names, 0), wanted=tuple(names))

    def live(self) -> set[int]:
        up = self.up - self.behind
        return {node for node, directory in self.voters.items() if node in up and self.disks[node] == directory}

    def lose(self, node: int) -> None:
        self.disks[node] = None
        self.up.discard(node)

    def ask(self, node: int) -> None:
        """For a new one in its place."""
        self.request = node

    def observe(self) -> ClusterObservation:
        has_leader = 2 * len(self.live()) > len(self.voters)

        def state(node: int, directory: str) -> VoterObservation:
            current = node in self.up - self.behind and self.disks.get(node) == directory
            return VoterObservation(node, directory, 9, 0 if current else 4, current)

        quorum = QuorumObservation(
            as_of=0.0,
            leader=min(self.live(), default=None),
            epoch=1,
            voters=tuple(state(node, directory) for node, directory in sorted(self.voters.items())),
            observers=tuple(
                state(node, directory)
                for node in sorted(self.up)
                if (directory := self.disks[node]) is not None and self.voters.get(node) != directory
            ),
        )
        kafka = KafkaObservation(0.0, "c", (), (), features={"kraft.version": 1})
        nodes = tuple(self._node(node) for node in sorted(self.marks) if node not in self.retired)
        known = (quorum, kafka) if has_leader else (None, None)
        return ClusterObservation(0.0, "ns", "c", nodes, quorum=known[0], kafka=known[1])

    def _node(self, node: int) -> NodeObservation:
        lost = node in self.pods and self.disks[node] is None and self.marks[node] is not None
        pod = None
        if node in self.pods:
            pod = PodObservation(
                f"c-{node}", f"uid-{self.pods[node]}", "1", "h", "4.2.0", "ip", None, True, node in self.up, False,
                restarts=3 if lost else 0,
                format_message="DiskLost: /var/lib/kafka/data-0 has no meta.properties\n" if lost else None,
            )  # fmt: skip
            if node not in self.up and not lost and self.disks[node] is None:
                pod = replace(pod, format_message="DiskLost: /var/lib/kafka/data-0 has no meta.properties\n")
        volume = VolumeObservation(
            f"data-{node}", 0, 1, None, bound=True, identity=Identity("c", node), formatted=self.marks[node], uid="u"
        )
        return NodeObservation(node, "p", CONTROLLER, pod, (volume,))

    def target(self) -> Target:
        members = dict.fromkeys(self.wanted, CONTROLLER)
        return Target(
            members=members,
            leaving=tuple(sorted((n for n in self.marks if n not in members and n not in self.retired), reverse=True)),
            request=Request(self.request, str(self.request)) if self.request is not None else None,
            addresses=dict.fromkeys(members, ("h", 9090)),
            directories={node: d for node in members if node in self.up and (d := self.disks[node]) is not None},
        )

    def act(self, action: Action) -> None:
        match action:
            case AddVoter(node, directory):
                if node in self.voters:
                    self.harms.append(f"{node} votes twice")
                self.voters[node] = directory
            case RemoveVoter(node, directory):
                if self.voters.get(node) != directory:
                    self.harms.append(f"{node} has no vote of {directory}")
                self.voters.pop(node, None)
            case StopMember(node=node, pod_uid=uid):
                if node in self.voters:
                    self.harms.append(f"voter {node} was stopped")
                if uid == f"uid-{self.pods[node]}":
                    del self.pods[node]
                    self.up.discard(node)
            case RetireNode(node=node):
                if node in self.pods or node in self.voters:
                    self.harms.append(f"{node} was retired too early")
                self.retired.add(node)
            case RenewVolume(node=node):
                if self.disks[node] is not None or node in self.voters:
                    self.harms.append(f"the disk of {node} was given up")
                self.marks[node] = None
            case FinishReplacement():
                self.request = None
            case _:
                return
        if 2 * len(self.live()) <= len(self.voters):
            self.harms.append(f"no majority after {action}")

    def tick(self) -> None:
        """What happens by itself: pods are made, empty unmarked disks formatted, replicas catch up, marks written."""
        for node in self.wanted:
            self.marks.setdefault(node, None)
            self.disks.setdefault(node, None)
            if node not in self.pods:
                self.uids += 1
                self.pods[node] = self.uids
                self._start(node)
            elif node in self.up and self.marks[node] is None:
                self.marks[node] = self.disks[node]

    def _start(self, node: int) -> None:
        if self.disks[node] is None:
            if self.marks[node] is not None:
                return
            if node in self.voters:
                self.harms.append(f"{node} was formatted while its old directory votes")
            self.disks[node] = f"d{node}-{self.uids}"
        self.up.add(node)


Planner = Callable[[ClusterObservation, Target], Change | None]


def run(quorum: Quorum, kills: list[bool], planner: Planner = plan_change) -> bool:
    """Whether it came to an end: nothing to change, every member with a vote."""
    left = iter(kills)
    for _ in range(PASSES):
        quorum.tick()
        change = planner(quorum.observe(), quorum.target())
        if change is None:
            return sorted(quorum.voters) == sorted(quorum.wanted)
        if not next(left, False):
            quorum.act(change.action)
    return False


sizes = st.sampled_from((1, 3, 5, 7))


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, st.lists(st.booleans(), max_size=30))
def test_voters_join_and_leave_under_kills(before: int, after: int, kills: list[bool]) -> None:
    quorum = Quorum.of(before)
    quorum.wanted = tuple(range(after))
    assert run(quorum, kills)
    assert quorum.harms == []
    assert quorum.retired == set(range(after, before))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((3, 5, 7)), st.data(), st.lists(st.booleans(), max_size=30))
def test_a_lost_disk_is_replaced_under_kills(size: int, data: st.DataObject, kills: list[bool]) -> None:
    quorum = Quorum.of(size)
    lost = data.draw(st.integers(0, size - 1))
    quorum.lose(lost)
    assert plan_change(quorum.observe(), quorum.target()) is None, "nobody has asked"
    quorum.ask(lost)
    assert run(quorum, kills)
    assert quorum.harms == []
    assert quorum.request is None
    assert quorum.voters[lost] not in {None, f"d{lost}"}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((3, 5)), sizes, st.data())
def test_voters_that_lag_are_waited_for(before: int, after: int, data: st.DataObject) -> None:
    """Any minority may be behind, and come back later."""
    quorum = Quorum.of(before)
    quorum.wanted = tuple(range(after))
    quorum.behind = set(data.draw(st.lists(st.integers(0, before - 1), max_size=before // 2, unique=True)))
    run(quorum, [])
    assert quorum.harms == []
    quorum.behind = set()
    assert run(quorum, [])
    assert quorum.harms == []


def test_a_plan_once_carried_out_is_empty() -> None:
    quorum = Quorum.of(3)
    quorum.wanted = (0, 1, 2, 3, 4)
    assert run(quorum, [])
    assert plan_change(quorum.observe(), quorum.target()) is None


def test_a_node_that_serves_from_claims_that_go_is_not_given_up() -> None:
    quorum = Quorum.of(3)
    quorum.request = 1
    target = replace(quorum.target(), lost_volumes=frozenset({0}))
    change = plan_change(quorum.observe(), target)
    assert change is not None
    assert isinstance(change.action, Refused)
    assert [check.name for check in change.action.checks] == ["DiskNotSeenLost"]
    assert change.withheld == {1}
    quorum.up.discard(1)
    change = plan_change(quorum.observe(), target)
    assert change is not None
    assert isinstance(change.action, RemoveVoter)


@pytest.mark.parametrize("size", [2, 3])
def test_control_a_planner_that_does_not_count_is_caught(size: int) -> None:
    """Taking the votes of nodes that leave without looking at who is left."""

    def reckless(observation: ClusterObservation, target: Target) -> Change | None:
        for node in target.leaving:
            votes = next((v for v in observation.quorum.voters if v.id == node), None) if observation.quorum else None
            if votes is not None:
                return Change(RemoveVoter(node, votes.directory_id), "")
        return plan_change(observation, target)

    quorum = Quorum.of(5)
    quorum.wanted = tuple(range(size))
    quorum.behind = {0, 1}
    run(quorum, [], reckless)
    assert quorum.harms
