"""The words of a roll: what is wanted, what has been recorded, and the one next thing to do.

A roll brings every pod of a cluster to a desired spec, batch by batch, under the invariants of `planner`. Nodes are
Kafka node ids; times are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.rolling.watch import UpgradeWatch

KRAFT_VERSION = "kraft.version"


class RestartReason(StrEnum):
    """Why a pod has to be replaced, in the order in which reasons are told. For people: what decides are the spec hash
    and `NodeTarget.leaving`."""

    VERSION_CHANGED = "VersionChanged"
    VOLUMES_CHANGED = "VolumesChanged"
    CONFIG_CHANGED = "ConfigChanged"
    RESOURCES_CHANGED = "ResourcesChanged"
    JVM_CHANGED = "JvmChanged"
    POD_TEMPLATE_CHANGED = "PodTemplateChanged"
    CERTIFICATE_CHANGED = "CertificateChanged"
    ADVERTISED_CHANGED = "AdvertisedAddressChanged"
    DRAIN = "Drain"
    REQUESTED = "Requested"


class UnprotectedPolicy(StrEnum):
    """What to do about partitions, and quorums, that cannot lose a node: `rollout.unprotectedPartitions`."""

    BLOCK = "Block"
    ACCEPT = "Accept"
    MOVE_AWAY = "MoveAway"
    """As Block does, until their replicas have been moved off the nodes that are next."""


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """What one node's pod is to be made from; a pod whose annotation carries `spec_hash` is done.

    Except the pod with uid `leaving`: that one has to go whatever it was made from (its machine is drained, it was
    started with other certificates or addresses). Its successor has another uid, so nothing is restarted twice for it.
    """

    node: int
    spec_hash: str
    version: str
    reasons: tuple[RestartReason, ...] = ()
    leaving: str | None = None


@dataclass(frozen=True, slots=True)
class RollTarget:
    """Where a roll leads. `goal` is for people: "Restart", "VersionChange 4.2.0 -> 4.3.1".

    `soak_seconds` pass with every node back before `finalise` (feature levels, from `versions.finalisation_target`) is
    carried out; a roll with nothing to finalise may soak as well. kraft.version is never finalised: raising it turns a
    static quorum into a dynamic one with no way back (KAFKA-21426), so a target that names it cannot be made.
    `constraints` are what was declared beside the nodes' specs; they are part of what is approved. `holds` are failed
    checks from outside the cluster (paused, not approved, the cell taken): while there is one no node is stopped and
    nothing is finalised; what was begun goes on. `guards` (a window is closed, a known hazard applies) bar the same of
    ready nodes, and let a node that is not up have its target; so do `faults` of an upgrade, which have lasted, while
    its `symptoms`, which have not, only keep the soak from counting. However long it has soaked, it is finalised after
    `watch_seconds` of looking without a gap, or the soak if that is less. `max_unavailable` brokers of one rack may be
    down together; with 1 there are no batches, and a roll goes node by node. `back`: to an older version brokers go
    before controllers, since old brokers can follow new controllers (an upgrade goes the other way round).
    """

    goal: str
    nodes: tuple[NodeTarget, ...]
    unprotected: UnprotectedPolicy = UnprotectedPolicy.BLOCK
    soak_seconds: float = 0.0
    finalise: Mapping[str, int] | None = None
    constraints: Mapping[str, str] = field(default_factory=dict)
    holds: tuple[Check, ...] = ()
    guards: tuple[Check, ...] = ()
    max_unavailable: int = 1
    faults: tuple[Check, ...] = ()
    symptoms: tuple[Check, ...] = ()
    watch_seconds: float = 0.0
    back: bool = False

    def __post_init__(self) -> None:
        if self.finalise and KRAFT_VERSION in self.finalise:
            raise ValueError(f"{KRAFT_VERSION} must never be finalised by a roll (KAFKA-21426)")

    @property
    def held(self) -> tuple[Check, ...]:
        """All that bars stopping a ready node and finalising."""
        return (*self.holds, *self.guards, *self.faults)

    def node(self, node_id: int) -> NodeTarget | None:
        return next((node for node in self.nodes if node.node == node_id), None)


class Step(StrEnum):
    """Where a roll stands: `status.operation.step`."""

    PENDING = "Pending"
    STOPPING = "Stopping"
    STARTING = "Starting"
    AWAITING = "Awaiting"
    ELECTING = "Electing"
    SOAKING = "Soaking"
    FINALISING = "Finalising"
    BLOCKED = "Blocked"
    DONE = "Done"


@dataclass(frozen=True, slots=True)
class StopNode:
    """Delete this pod, with its uid as precondition. `accepted` names what the restart is allowed to interrupt."""

    node: int
    pod_name: str
    pod_uid: str
    replicas_out_before: tuple[TopicPartition, ...] = ()
    reasons: tuple[RestartReason, ...] = ()
    accepted: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class StartNode:
    """Create the node's pod from its target."""

    node: int


@dataclass(frozen=True, slots=True)
class AwaitNode:
    """Nothing to do but look again: `checks` (all failed) say what is missing until this node is back."""

    node: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class ElectLeaders:
    """Preferred election (KIP-460) for these partitions; safe to repeat."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Soak:
    """Every node is back; look again, and at the latest at `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Finalise:
    """Raise these features to these levels, and no others; never a downgrade."""

    levels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing may be done now; `checks` (all failed) say why and what would help. Examined again at every pass.

    `away`: brokers that could be stopped together, had they no replica that its partition cannot spare; those are to be
    moved off them.
    """

    checks: tuple[Check, ...]
    away: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """Every node runs its target, is back and has soaked; features are at their levels."""


Action = StopNode | StartNode | AwaitNode | ElectLeaders | Soak | Finalise | Blocked | Done


@dataclass(frozen=True, slots=True)
class Intent:
    """What was about to be done when the status was written. `pod_uid` is the pod to be stopped, None for a start."""

    action: Step
    node: int
    pod_uid: str | None = None


@dataclass(frozen=True, slots=True)
class RollProgress:
    """What `status.operation` carries from one pass to the next; everything else is observed.

    `replicas_out_before` has an entry for every node that this roll stopped and that is not back yet, with the replicas
    that were out of sync before: those are not waited for. `all_back_since` is when every node was first seen back with
    nothing left to restart; it is forgotten as soon as that stops being true, or people hold the roll. `batches` are
    what is left of the plan that was made when its first batch was begun, with at most `batch_limit` brokers each: the
    first one is under way, and holds its members that wait and those that are not back. Empty in a roll that goes node
    by node; where the limit was lowered to that with several members down, they stay until one is left. `watch` is what
    a change of version is compared with, from its first stop on. `unrecorded` is how many entries of the journal the
    ledger has not taken yet: read from the status, never written.
    """

    id: str
    goal: str
    step: Step = Step.PENDING
    intent: Intent | None = None
    replicas_out_before: Mapping[int, frozenset[TopicPartition]] = field(default_factory=dict)
    all_back_since: float | None = None
    batches: tuple[tuple[int, ...], ...] = ()
    batch_limit: int = 1
    watch: UpgradeWatch | None = None
    unrecorded: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Transition:
    """Write `progress` to the status first, then carry out `action`, then observe and plan again.

    Killed between the two, the next plan finds out from the observation alone whether the action happened.
    """

    action: Action
    progress: RollProgress
    undone: int | None = None
    """The node whose stop was written down and did not happen."""
