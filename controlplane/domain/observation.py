"""ClusterObservation: everything a planner may know about one cluster, as one frozen value.

Planners read it, `kfleet cluster snapshot` writes it, tests use it. Times are seconds since the epoch, sizes in
bytes, offsets records. Each section that comes from its own call carries its own `as_of`, so that a planner can refuse
stale knowledge; a section that could not be read is None, never an empty value that looks like good news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from controlplane.api.roles import Role as Role


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class PartitionObservation:
    """One partition as brokers' metadata shows it; `min_isr` is the effective value (topic's, else the cluster's)."""

    topic: str
    partition: int
    leader: int | None
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    min_isr: int

    @property
    def id(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class PartitionPlace:
    """Where one partition is. `replicas` has the preferred leader first, `leader` is None while there is none."""

    topic: str
    leader: int | None
    replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reassignment:
    """A partition that is being reassigned (KIP-455). `replicas` are all that it has now: the wanted ones, those on
    their way (`adding`) among them, then those that go once the wanted ones are in sync (`removing`)."""

    replicas: tuple[int, ...]
    adding: frozenset[int]
    removing: frozenset[int]


@dataclass(frozen=True, slots=True)
class VoterObservation:
    """A KRaft voter or observer of the metadata quorum (DescribeQuorum, KIP-595 and KIP-853).

    `lag` is records behind the leader's log end; `caught_up` is the adapter's verdict (the leader, or fetched up to the
    leader's end within the last `voter_caught_up_seconds`), `caught_up_at` when that fetch was, by the leader's clock.
    """

    id: int
    directory_id: str
    log_end_offset: int
    lag: int
    caught_up: bool
    caught_up_at: float | None = None


@dataclass(frozen=True, slots=True)
class QuorumObservation:
    as_of: float
    leader: int | None
    epoch: int
    voters: tuple[VoterObservation, ...]
    observers: tuple[VoterObservation, ...] = ()


@dataclass(frozen=True, slots=True)
class BrokerObservation:
    """A broker that is registered and unfenced (it appears in DescribeCluster)."""

    id: int
    rack: str | None
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class KafkaObservation:
    """What the cluster itself answers over the replication listener.

    `features` are the finalised levels (metadata.version, kraft.version, ...), `dynamic_config` the cluster-wide
    dynamic broker configs (resource name ""), `reassigning` partitions with replicas being added or removed.
    """

    as_of: float
    cluster_id: str
    brokers: tuple[BrokerObservation, ...]
    partitions: tuple[PartitionObservation, ...]
    reassigning: tuple[TopicPartition, ...] = ()
    features: Mapping[str, int] = field(default_factory=dict)
    dynamic_config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """The `identity` mark on a PVC: written before any pod exists, never changed.

    `directory_id` is set only for the first voters, the only ones whose directory id can be chosen (KIP-853).
    """

    cluster_id: str
    node_id: int
    directory_id: str | None = None


@dataclass(frozen=True, slots=True)
class VolumeObservation:
    """A PVC of a node. `formatted` is the directory id read back from meta.properties, None before it registers.

    `size_bytes` is what it asks for, `capacity_bytes` what it has (None before it is bound); `resizing` is what its
    storage says of the difference.
    """

    name: str
    volume_id: int
    size_bytes: int
    storage_class: str | None
    bound: bool
    identity: Identity | None
    formatted: str | None
    uid: str = ""
    terminating: bool = False
    capacity_bytes: int | None = None
    resizing: str = ""


@dataclass(frozen=True, slots=True)
class PodObservation:
    """The pod of a node. `spec_hash` is what it was made from (annotation kfleet.dev/spec-hash).

    `ended` pods have stopped for good (phase Failed or Succeeded) and, not being deleted, are in their successor's way.
    `waiting_reason` and `waiting_message` are of the first container that cannot run; `format_message` is what the init
    container said last: JSON with the directory ids, or why it refused to format. `machine` is the Kubernetes node it
    is bound to; `certificates` the digest of those it was started with (annotation kfleet.dev/certificates).
    `started_at` is when Kafka's process that runs now was started, in whole seconds of its machine's clock.
    """

    name: str
    uid: str
    resource_version: str
    spec_hash: str
    version: str
    ip: str | None
    rack: str | None
    scheduled: bool
    ready: bool
    terminating: bool
    ended: bool = False
    restarts: int = 0
    waiting_reason: str | None = None
    waiting_message: str | None = None
    format_message: str | None = None
    machine: str | None = None
    certificates: str = ""
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """Why a pod has no machine but cordoned ones: its volume is tied to one, is not known not to be (`Unreadable`), or
    no machine is left. `machines` are cordoned ones that would take it; `evidence` is half a sentence."""

    why: Literal["Volume", "Unreadable", "Machines"]
    evidence: str
    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeObservation:
    """One Kafka node: what stands for it in Kubernetes. Whether it serves is in `kafka` and `quorum`.

    `stay` is asked where its pod is on a cordoned machine, or unscheduled while any is cordoned; None otherwise.
    """

    id: int
    pool: str
    roles: frozenset[Role]
    pod: PodObservation | None
    volumes: tuple[VolumeObservation, ...] = ()
    stay: Stay | None = None

    @property
    def is_controller(self) -> bool:
        return Role.CONTROLLER in self.roles

    @property
    def is_broker(self) -> bool:
        return Role.BROKER in self.roles

    @property
    def rack(self) -> str | None:
        return self.pod.rack if self.pod else None


@dataclass(frozen=True, slots=True)
class BrokerCanary:
    """The canary's probes of partitions that this broker led when they were sent; see CanaryObservation."""

    broker: int
    attempts: int
    errors: int
    p50: float | None


@dataclass(frozen=True, slots=True)
class CanaryObservation:
    """The operator's own produce probes (acks=all) of the last `canary.WINDOW_SECONDS`.

    `attempts` are probes that were answered or given up, `errors` those given up or refused; `p50` and `p99` are
    seconds from produce to acknowledgement of the others, None if there is none. No attempt: nothing known yet.
    """

    attempts: int
    errors: int
    p50: float | None
    p99: float | None
    brokers: tuple[BrokerCanary, ...] = ()
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class GroupObservation:
    """A consumer group's lag in records over all its partitions: `lags` as looked at, oldest first, the last one now,
    over a span of `seconds`."""

    group: str
    lags: tuple[int, ...]
    seconds: float = 0.0

    @property
    def lag(self) -> int:
        return self.lags[-1]


@dataclass(frozen=True, slots=True)
class ClientObservation:
    """What clients feel; observed around an upgrade only, see `rolling.witness`.

    `watched_seconds`: since when without a gap. `canary` is None where it is off, `groups` (the largest lags first;
    `groups_left_out` more were not asked or did not fit) where they could not be read.
    """

    as_of: float
    watched_seconds: float = 0.0
    canary: CanaryObservation | None = None
    groups: tuple[GroupObservation, ...] | None = None
    groups_left_out: int = 0


@dataclass(frozen=True, slots=True)
class ClusterObservation:
    """One cluster at one moment. `kafka` and `quorum` are None while no broker answers.

    `cordoned` are Kubernetes nodes that take no new pods, of those that this cluster's pods run on or wait for.
    """

    as_of: float
    namespace: str
    name: str
    nodes: tuple[NodeObservation, ...]
    quorum: QuorumObservation | None = None
    kafka: KafkaObservation | None = None
    clients: ClientObservation | None = None
    cordoned: tuple[str, ...] = ()

    def node(self, node_id: int) -> NodeObservation | None:
        return next((node for node in self.nodes if node.id == node_id), None)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; `from_json(to_json(x)) == x`."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> ClusterObservation:
        """Raises pydantic.ValidationError for a document that is not a snapshot."""
        return _ADAPTER.validate_python(dict(document))


_ADAPTER: TypeAdapter[ClusterObservation] = TypeAdapter(ClusterObservation)
