"""The words of a change of members: what is wanted, and the one next thing to do.

Members are the nodes that the spec asks for (`Layout.nodes`). Nodes are Kafka node ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.domain.check import Check
from controlplane.domain.observation import Identity, Role, TopicPartition


@dataclass(frozen=True, slots=True)
class Request:
    """A person's word that a node's disk is lost for good and that it shall come back on an empty one.

    `node` is None when what they wrote is no node id; `text` is what they wrote.
    """

    node: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where a change of members leads.

    `members` are roles by node id, `leaving` nodes that exist and are no longer asked for, in the order in which they
    go. `lost_volumes` are those of the requested node whose claims are gone or going, where it has others; `set_aside`
    members that have lost claims too and wait for a request of their own. `addresses` are where a controller is reached
    (host, port) and `directories` what a pod's init container found on its metadata volume, both by node id and absent
    while not known. `holds` are failed checks from outside the cluster and `guards` those that bar only what disturbs a
    node that is up (a window, a hazard), as for a roll.
    """

    members: Mapping[int, frozenset[Role]]
    leaving: tuple[int, ...] = ()
    request: Request | None = None
    lost_volumes: frozenset[int] = frozenset()
    set_aside: frozenset[int] = frozenset()
    addresses: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    directories: Mapping[int, str] = field(default_factory=dict)
    holds: tuple[Check, ...] = ()
    guards: tuple[Check, ...] = ()

    @property
    def controllers(self) -> tuple[int, ...]:
        return tuple(node for node, roles in sorted(self.members.items()) if Role.CONTROLLER in roles)


@dataclass(frozen=True, slots=True)
class AddVoter:
    """Make this observer a voter (KIP-853)."""

    node: int
    directory_id: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RemoveVoter:
    """Take the vote from this node's directory, and from no other directory of it."""

    node: int
    directory_id: str


@dataclass(frozen=True, slots=True)
class StopMember:
    """Delete this pod, with its uid and version as preconditions; it leaves, or its disk is lost."""

    node: int
    pod_name: str
    pod_uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class RetireNode:
    """Its process is gone and nothing is assigned to it: unregister it (brokers), then mark its claims as retired.

    The claims and what is on them stay. Done twice it changes nothing the second time.
    """

    node: int
    broker: bool
    claims: tuple[tuple[str, str], ...]
    """(name, uid) of each."""


@dataclass(frozen=True, slots=True)
class RenewVolume:
    """Let an empty volume be formatted again: its `formatted` mark goes, and so does a chosen directory id."""

    node: int
    claim: str
    uid: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class ReturnLeaders:
    """Preferred election for partitions that a node that is whole again should lead."""

    node: int
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class FinishReplacement:
    """The node is whole: the request for its replacement is met, which the status remembers. Nothing is carried out."""

    node: int


@dataclass(frozen=True, slots=True)
class AwaitMember:
    """Nothing to do but look again: `checks` (all failed) say what is missing."""

    node: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class DrainBrokers:
    """Replicas have to leave these brokers before any node leaves, which another operation sees to; `checks` (all
    failed) say how that stands. `node` is one of them."""

    node: int
    brokers: tuple[int, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing may be done now; `checks` (all failed) say why and what would help. Examined again at every pass."""

    node: int
    checks: tuple[Check, ...]


Action = (
    AddVoter
    | RemoveVoter
    | StopMember
    | RetireNode
    | RenewVolume
    | ReturnLeaders
    | FinishReplacement
    | AwaitMember
    | DrainBrokers
    | Refused
)
MEMBER_ACTIONS = (
    AddVoter,
    RemoveVoter,
    StopMember,
    RetireNode,
    RenewVolume,
    ReturnLeaders,
    FinishReplacement,
    AwaitMember,
    DrainBrokers,
    Refused,
)
WAITING = (AwaitMember, DrainBrokers, Refused)
"""Those that do nothing: something has to happen first."""


@dataclass(frozen=True, slots=True)
class Change:
    """The next action. `begun`: the node of the action cannot be left as it is, whatever is held.

    `withheld` are nodes for which no volume and no pod may be made yet.
    """

    action: Action
    goal: str
    begun: bool = False
    withheld: frozenset[int] = frozenset()

    @property
    def node(self) -> int:
        return self.action.node
