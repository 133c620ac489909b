"""What the outside must offer, as Protocols. Adapters implement them, services ask only for them.

Every error a port may raise stands here too, so that services handle them without knowing the library behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import quote

from pydantic import SecretStr

from controlplane.api.operation import Operation
from controlplane.domain.access.pki import Certificate, Inspection, Leaf
from controlplane.domain.access.values import ClientTls as ClientTls
from controlplane.domain.observation import (
    ClientObservation,
    KafkaObservation,
    PartitionPlace,
    QuorumObservation,
    Reassignment,
    TopicPartition,
)
from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.values import Assignment, Broker, Goal, Infeasible
from controlplane.domain.shedding.measure import Delay as Delay
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.tenants.values import CellView, Outcome
from controlplane.domain.topics.values import Growth as Growth
from controlplane.domain.topics.values import NewTopic as NewTopic
from controlplane.domain.topics.values import TopicDescription as TopicDescription
from controlplane.domain.users.values import Acl as Acl
from controlplane.domain.users.values import ScramPassword as ScramPassword

Object = dict[str, Any]
"""A Kubernetes object as the API server sends it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a kind lives in the API: `Resource("apps", "v1", "deployments", "Deployment")`."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The REST path; a namespaced resource without `namespace` means all namespaces. No name leads out of its place
        in it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe=":")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=":"))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


class KubeError(Exception):
    """The API server refused or could not be reached. `status` is the HTTP code, 0 when there was no answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The `reason` of a refused create: the namespace is being deleted and takes nothing new."""


class NotFoundError(KubeError):
    """404: no such object (or no such kind: the CRDs are not installed)."""


class ConflictError(KubeError):
    """409: the object moved under us, or a precondition (uid, resourceVersion) no longer holds."""


class AlreadyExistsError(ConflictError):
    """409 AlreadyExists: a create met an object of that name."""


class ForbiddenError(KubeError):
    """401 or 403: credentials or RBAC."""


class InvalidError(KubeError):
    """400 or 422: schema, CEL or an admission policy refused it; `message` names the field."""


class UnreachableError(KubeError):
    """No answer: refused, timed out, or 5xx/429 after which a retry may help."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`SYNCED` (object {}) marks the end of the initial list; after it come live changes.

    After a reconnect that needs a new list the whole state is sent again as ADDED, then SYNCED again; objects that went
    away meanwhile are sent as DELETED first.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]
    object: Object


class KubeApi(Protocol):
    """The Kubernetes API, unstructured. All calls raise KubeError subclasses only."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object: ...

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        cached: bool = False,
    ) -> Sequence[Object]:
        """`cached`: a few seconds old is good enough; the API server answers from memory and does not ask etcd."""
        ...

    async def create(self, resource: Resource, body: Object, namespace: str | None = None) -> Object: ...

    async def replace(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        """PUT; `body` carries metadata.name, namespace and resourceVersion (ConflictError if it moved)."""
        ...

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        """Server-side apply under the client's field manager; `body` carries metadata.name and namespace."""
        ...

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        body: Object,
        *,
        subresource: str | None = None,
    ) -> Object:
        """JSON merge patch (RFC 7386); put metadata.resourceVersion into `body` for a precondition."""
        ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        """DELETE with preconditions; raises NotFoundError, or ConflictError when a precondition fails."""
        ...

    def watch(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """List, then watch for ever, reconnecting with back-off (see WatchEvent)."""
        ...


class KafkaError(Exception):
    """A Kafka admin call failed. `code` is Kafka's error name ("POLICY_VIOLATION"); `retriable` is Kafka's verdict."""

    def __init__(self, code: str, message: str, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retriable = code, message, retriable


class KafkaUnreachableError(KafkaError):
    """No broker answered before the deadline."""

    def __init__(self, message: str) -> None:
        super().__init__("UNREACHABLE", message, retriable=True)


class KafkaAdmin(Protocol):
    """Admin calls against one cluster, in bulk. Results of bulk calls are per item: None is success.

    All calls are bounded by a deadline and raise KafkaError (KafkaUnreachableError when nothing answers).
    """

    async def observe(self) -> tuple[KafkaObservation, QuorumObservation]: ...

    async def describe_topics(self, names: Sequence[str] | None = None) -> dict[str, TopicDescription]:
        """Topics by name; those that do not exist are absent. None means all but internal ones."""
        ...

    async def create_topics(self, topics: Sequence[NewTopic]) -> dict[str, KafkaError | None]: ...

    async def delete_topics(self, ids: Sequence[str]) -> dict[str, KafkaError | None]:
        """Topics by their topic id, and results by it; one that is gone is UNKNOWN_TOPIC_ID."""
        ...

    async def create_partitions(self, topics: Mapping[str, Growth]) -> dict[str, KafkaError | None]: ...

    async def alter_topic_configs(
        self, changes: Mapping[str, Mapping[str, str | None]]
    ) -> dict[str, KafkaError | None]:
        """Incremental: a value sets a key, None removes it; keys not named stay."""
        ...

    async def settings(self, topics: Sequence[str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        """(what is set on each of these topics that is there, the cluster-wide dynamic broker configs).

        From one broker that is caught up with the controllers, the cluster's last: whoever sees what was set on a topic
        also sees what was set for all brokers before, or with it.
        """
        ...

    async def alter_settings(
        self, topics: Mapping[str, Mapping[str, str | None]], brokers: Mapping[str, str | None]
    ) -> dict[str, KafkaError | None]:
        """What `settings` reads, incremental, in one request. Results by topic, that of the brokers under ""."""
        ...

    async def alter_cluster_config(self, changes: Mapping[str, str | None]) -> None:
        """Cluster-wide dynamic broker configs (resource name ""), incremental like topics'."""
        ...

    async def elect_preferred_leaders(self, partitions: Sequence[TopicPartition]) -> None:
        """Preferred election (KIP-460); partitions that need none are not an error."""
        ...

    async def alter_partition_reassignments(
        self, targets: Mapping[TopicPartition, Sequence[int] | None]
    ) -> dict[TopicPartition, KafkaError | None]:
        """Where each partition's replicas shall be, the preferred leader first (KIP-455); None cancels what is in
        flight, NO_REASSIGNMENT_IN_PROGRESS if nothing is. A target takes the place of one that is in flight."""
        ...

    async def list_partition_reassignments(self) -> dict[TopicPartition, Reassignment]:
        """Every partition that is being reassigned."""
        ...

    async def places(self) -> tuple[PartitionPlace, ...]:
        """Where every partition is and who leads it, by one broker's metadata; Kafka's own topics too."""
        ...

    async def partition_sizes(self) -> dict[TopicPartition, int]:
        """Bytes of one replica, the largest of those that the brokers which answer hold; Kafka's own topics too."""
        ...

    async def update_features(self, levels: Mapping[str, int]) -> None:
        """Finalise explicit upgrade levels (KIP-584); never a downgrade."""
        ...

    async def add_voter(self, node: int, directory_id: str, host: str, port: int) -> None:
        """Make an observer of the metadata quorum a voter (KIP-853); `host` and `port` of its controller listener.

        DUPLICATE_VOTER if its id is a voter's already, whatever its directory.
        """
        ...

    async def remove_voter(self, node: int, directory_id: str) -> None:
        """Of this very directory: VOTER_NOT_FOUND for another one."""
        ...

    async def registered_brokers(self) -> frozenset[int] | None:
        """Every broker that Kafka knows, fenced ones included; None where no broker can say (before Kafka 4.0)."""
        ...

    async def unregister_broker(self, node: int) -> None:
        """Forget a broker that is gone for good; BROKER_ID_NOT_REGISTERED if it is not known."""
        ...

    async def describe_scram(self, users: Sequence[str] | None = None) -> dict[str, int]:
        """Iterations of each user's SCRAM-SHA-512 credential; users without one are absent. None means all users."""
        ...

    async def upsert_scram(self, passwords: Sequence[ScramPassword]) -> dict[str, KafkaError | None]:
        """Set SCRAM-SHA-512 credentials, each with a new salt; results by user. Sessions go on."""
        ...

    async def delete_scram(self, users: Sequence[str]) -> dict[str, KafkaError | None]:
        """Results by user; RESOURCE_NOT_FOUND for one without a SCRAM-SHA-512 credential."""
        ...

    async def describe_acls(self) -> frozenset[Acl]:
        """Every ACL binding of the cluster; SECURITY_DISABLED where it has no authorizer."""
        ...

    async def create_acls(self, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        """One that is there already is no error."""
        ...

    async def delete_acls(self, acls: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        """Exactly these bindings; one that is not there is no error."""
        ...

    async def describe_user_quotas(self) -> dict[str, dict[str, float]]:
        """Quotas of users by name (not those of a user with a client id, nor the default), by Kafka's key."""
        ...

    async def alter_user_quotas(
        self, changes: Mapping[str, Mapping[str, float | None]]
    ) -> dict[str, KafkaError | None]:
        """Incremental: a value sets a key, None removes it; keys not named stay. Results by user."""
        ...

    async def close(self) -> None: ...


class KafkaAdmins(Protocol):
    """One connection set per (cluster, credential generation)."""

    def get(self, cluster_key: str, bootstrap_servers: Sequence[str], tls: ClientTls | None = None) -> KafkaAdmin:
        """Without `tls` in plaintext. Raises KafkaUnreachableError for one that cannot be used."""
        ...

    async def reload(self, node: int, server: str, tls: ClientTls) -> None:
        """Have a node read the files of its listeners' certificates again, whatever its role; changes nothing else.

        `server` is the node's own: no other may be asked. Raises KafkaError.
        """
        ...

    async def forget(self, cluster_key: str) -> None: ...


class PlanningError(Exception):
    """No answer, not even that there is none: it took too long, or the process that plans failed."""


class RebalancePlanner(Protocol):
    """`domain.rebalance.propose` where it keeps nobody waiting: it takes from milliseconds to minutes."""

    async def propose(self, assignment: Assignment, brokers: Sequence[Broker], goal: Goal) -> Proposal | Infeasible:
        """Raises PlanningError."""
        ...


class TenantPlanner(Protocol):
    """`domain.tenants.planner.plan_cell` where it keeps nobody waiting."""

    async def plan_cell(self, known: Directory, view: CellView, now: float) -> dict[str, Outcome]:
        """Raises PlanningError."""
        ...


class ClientWitness(Protocol):
    """What clients feel of clusters. A look begins a watch or keeps it alive; without looks it ends by itself."""

    async def look(
        self,
        cluster_key: str,
        bootstrap_servers: Sequence[str],
        leaders: Sequence[int | None] | None,
        as_of: float,
        tls: ClientTls | None = None,
    ) -> ClientObservation:
        """What is known by now; waits for no broker and never raises.

        `leaders` are those of the canary's partitions by number, () where there is no such topic, and None where that
        is not known at the moment: the canary goes on with what it knew.
        """
        ...

    async def forget(self, cluster_key: str) -> None: ...


class DelayGauge(Protocol):
    """How long small requests wait on each broker. A look begins a watch or keeps it alive; without looks it ends."""

    async def look(
        self, cluster_key: str, brokers: Mapping[int, tuple[str, int]], tls: ClientTls | None = None
    ) -> Mapping[int, Sequence[Delay]]:
        """What is known by now, by broker, oldest first; waits for no broker and never raises.

        `brokers` are host and port by node id. One that does not answer has no new samples. A request that has been
        waiting for long is among them as long as it waits.
        """
        ...

    async def forget(self, cluster_key: str) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float: ...


class PkiError(Exception):
    """Something that is no certificate or key that can be used. The message says what, and never quotes it."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, its chain behind it if it has one, and its private key: PEM, the key as PKCS#8 and unencrypted."""

    certificate: str
    key: str = field(repr=False)


class Pki(Protocol):
    """Makes and reads certificates. Everything raises PkiError for what cannot be read."""

    def make_authority(self, common_name: str, seconds: float) -> KeyPair:
        """A self-signed authority with a new key, valid for `seconds` from now; it signs leaves only."""
        ...

    def issue(self, authority: KeyPair, leaf: Leaf, seconds: float) -> KeyPair:
        """A leaf with a new key. It is valid for `seconds` from now, and never longer than its authority."""
        ...

    def read(self, pem: str) -> tuple[Certificate, ...]:
        """Every certificate of a PEM text, at least one, in its order."""
        ...

    def inspect(self, pair: KeyPair, authorities: str) -> Inspection:
        """Whether a key is its certificate's, and whether one of `authorities` (PEM) has signed it."""
        ...

    def as_pkcs8(self, key: str) -> str:
        """The same private key (PEM) as Kafka reads it; other forms are PKCS#1 (RSA) and SEC 1 (EC)."""
        ...


class Passwords(Protocol):
    def new(self) -> SecretStr:
        """One that nobody can guess and no file or line misreads: 32 characters or more of A-Z, a-z, 0-9, - and _."""
        ...


class CertificateProbe(Protocol):
    async def serving(self, host: str, port: int, tls: ClientTls) -> str | None:
        """Fingerprint (SHA-256 in hex) of the certificate that a server shows; None where there is none that `tls`
        trusts for this host, or no answer. Never raises."""
        ...


class LedgerError(Exception):
    """The ledger could not be reached or refused; `retriable` says whether the same call may succeed later."""

    def __init__(self, message: str, *, retriable: bool = True) -> None:
        super().__init__(message)
        self.message, self.retriable = message, retriable


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """What the ledger is told of one operation: the operation as its status has it, and whose it is.

    `uid` and `subject` ("KafkaCluster kafka/orders") name the object that asked for it, `cell` ("kafka/orders") what
    it works on.
    """

    uid: str
    subject: str
    cell: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """One Approval object as it was when an operator first saw it."""

    uid: str
    name: str
    namespace: str
    target: str
    target_uid: str
    plan_hash: str
    decision: str
    approver: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to what. `id` makes recording it twice the same as once; `at` is seconds since the epoch."""

    id: str
    at: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


class LedgerWriter(Protocol):
    """Copies of what happened, for audit and history; correctness never reads them.

    Every call is one transaction, and the same call again changes nothing. Blocking, from any thread; raises
    LedgerError, within the ledger's deadline.
    """

    def record_operation(self, record: OperationRecord) -> None:
        """The operation (inserted, or its later state) and each of its journal entries under (uid, operation, step,
        attempt)."""
        ...

    def record_approval(self, approval: ApprovalRecord) -> None: ...

    def record_event(self, event: AuditEvent) -> None: ...

    def remove_older_than(self, seconds: float) -> int:
        """Retention: ended operations with their steps, approvals and events before then (seconds since the epoch).

        One batch of them; how many rows, 0 when none is left.
        """
        ...
