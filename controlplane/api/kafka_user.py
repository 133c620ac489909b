"""KafkaUser: one principal of a cluster: how it logs in, what it may do, how much of the brokers it may use.

It names the cluster, in its own namespace, or a tenant: then it is in one of the tenant's cells.

The source of the CRD and docs/reference/kafkauser.md. Names are narrow on purpose: a user's name stands in a JAAS line,
in a certificate's subject, in files that clients read and in Kafka's own principals, and must mean the same in each.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from controlplane.api.access import MAX_LISTENER_NAME, OBJECT_NAME_PATTERN, AuthenticationType
from controlplane.api.base import ApiModel, Metadata, Timestamp
from controlplane.api.conditions import Condition
from controlplane.api.group import API_VERSION
from controlplane.api.kafka_cluster import MAX_CLUSTER_NAME
from controlplane.api.rules import (
    SET_LIST,
    Duration,
    PositiveQuantity,
    Schema,
    immutable_optional,
    map_list,
    quantity_field,
    rule,
    rules,
)
from controlplane.api.tenant_ref import TenantRef

KIND = "KafkaUser"
PLURAL = "kafkausers"
SHORT_NAME = "kfu"

MAX_USER_NAME = 64
"""X.509's limit of a common name (ub-common-name)."""
MAX_ACLS = 64
MAX_RESOURCE_NAME = 249
MAX_OWNED_ACLS = 4 * MAX_ACLS
"""Those declared, and those declared before that are still to be removed, of several changes that followed at once."""
MAX_FOREIGN_SHOWN = 16
MAX_FOREIGN_TEXT = 400
MAX_TRUSTED = 8

CERTIFICATE_NAME_PATTERN = "^[a-z0-9.-]+$"
"""What brokers take for a user in a certificate's subject (domain/access/listeners.USERS_CN)."""
USER_NAME_PATTERN = "^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$"
RESOURCE_NAME_PATTERN = r"^([*]|[a-zA-Z0-9._:@/+-]+)$"
RESERVED_NAMES = ("ANONYMOUS",)
"""org.apache.kafka.common.security.auth.KafkaPrincipal.ANONYMOUS: whoever has not logged in."""

NAME_TOO_LONG = (
    f"metadata.name: longer than the {MAX_USER_NAME} characters of a user's name in Kafka; give spec.userName"
)
BAD_USER_NAME = (
    "spec.userName: ANONYMOUS is everybody who has not logged in; a rule for it would be one for everybody: choose "
    "another name"
)
BAD_CERTIFICATE_NAME = (
    "spec.userName: with authentication.type tls only a-z, 0-9, '.' and '-': brokers take no other name from a "
    "certificate"
)
NO_CLUSTER = "spec.clusterRef: exactly one of clusterRef and tenantRef says where the user logs in"
CLUSTER_SECRET_ENDINGS = ("-ca", "-ca-key", "-tls")
CLUSTER_SECRET = (
    "spec.secretName: Secrets that begin with the cluster's name and end with "
    f"{', '.join(CLUSTER_SECRET_ENDINGS)} are the cluster's own; give another name"
)
TENANTS_SECRET = (
    "spec.secretName: a tenant's user has no Secret whose name ends with "
    f"{', '.join(CLUSTER_SECRET_ENDINGS)}: those are clusters' own; give another name"
)
NO_RESOURCE_NAME = (
    "spec.authorization.acls[].resource.name: names one topic, group or transactionalId ('*' is every one); there is "
    "only one cluster, which takes none"
)
PREFIX_OF_ALL = (
    "spec.authorization.acls[].resource.name: '*' means every name only with patternType literal: as a prefix it "
    "matches names that begin with a star"
)
CLUSTER_PATTERN = "spec.authorization.acls[].resource.patternType: there is only one cluster; leave it out"
BAD_OPERATION = "spec.authorization.acls[].operations: {type} takes only {operations}"
CLUSTER_ALLOW = (
    "spec.authorization.acls[].operations: on the cluster no user is allowed more than {operations}: the rest would "
    "let it make topics, ACLs or configs beside their owners, or act as a broker"
)
BAD_HOST = "spec.authorization.acls[].host: must be one IP address, or '*' for every one"


class ResourceType(StrEnum):
    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactionalId"
    CLUSTER = "cluster"


class PatternType(StrEnum):
    LITERAL = "literal"
    PREFIXED = "prefixed"


class Permission(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Operation(StrEnum):
    """Kafka's own words (org.apache.kafka.common.acl.AclOperation), as its tools print them."""

    ALL = "All"
    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DELETE = "Delete"
    ALTER = "Alter"
    DESCRIBE = "Describe"
    CLUSTER_ACTION = "ClusterAction"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"
    IDEMPOTENT_WRITE = "IdempotentWrite"


OPERATIONS: dict[ResourceType, tuple[Operation, ...]] = {
    ResourceType.TOPIC: (
        Operation.ALL,
        Operation.READ,
        Operation.WRITE,
        Operation.CREATE,
        Operation.DELETE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.GROUP: (Operation.ALL, Operation.READ, Operation.DELETE, Operation.DESCRIBE),
    ResourceType.TRANSACTIONAL_ID: (Operation.ALL, Operation.WRITE, Operation.DESCRIBE),
    ResourceType.CLUSTER: (
        Operation.ALL,
        Operation.CREATE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.CLUSTER_ACTION,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
        Operation.IDEMPOTENT_WRITE,
    ),
}
"""What Kafka takes for each type (org.apache.kafka.security.authorizer.AclEntry.supportedOperations)."""
CLUSTER_ALLOWED = (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS, Operation.IDEMPOTENT_WRITE)
"""What a user may be allowed on the cluster itself. Denying takes all of OPERATIONS."""


def operations_message(kind: ResourceType) -> str:
    return BAD_OPERATION.format(type=kind.value, operations=", ".join(OPERATIONS[kind]))


def cluster_message() -> str:
    return CLUSTER_ALLOW.format(operations=", ".join(CLUSTER_ALLOWED))


def _among(operations: tuple[Operation, ...]) -> str:
    return f"self.operations.all(o, o in [{', '.join(repr(one.value) for one in operations)}])"


def _operation_rules() -> list[Schema]:
    supported = [
        rule(f"self.resource.type != '{kind.value}' || {_among(OPERATIONS[kind])}", operations_message(kind))
        for kind in ResourceType
    ]
    allowed = rule(
        f"self.resource.type != 'cluster' || self.type != 'allow' || {_among(CLUSTER_ALLOWED)}", cluster_message()
    )
    return [*supported, allowed]


class UserClusterRef(ApiModel):
    """The cluster that the user logs in to, in the user's namespace."""

    name: str = Field(min_length=1, max_length=MAX_CLUSTER_NAME, description="Its name, in this namespace.")


class UserAuthentication(ApiModel):
    type: AuthenticationType = Field(
        description="scram-sha-512: a password; tls: a certificate of the cluster's clients CA. Immutable.",
        json_schema_extra=rules(
            rule("self == oldSelf", "spec.authentication.type: immutable: it is another principal; create another user")
        ),
    )
    rotate_after: Duration | None = Field(
        None,
        description="New credentials are made when the present ones are this old, such as 720h; less than a minute "
        "counts as one. Without it a password stays until `kfleet user rotate`; a certificate is renewed in time in "
        "any case.",
    )


class AclResource(ApiModel):
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("(self.type == 'cluster') != has(self.name)", NO_RESOURCE_NAME),
            rule("self.patternType == 'literal' || !has(self.name) || self.name != '*'", PREFIX_OF_ALL),
            rule("self.patternType == 'literal' || self.type != 'cluster'", CLUSTER_PATTERN),
        )
    )
    type: ResourceType = Field(description="What the rule is about.")
    name: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_RESOURCE_NAME,
        pattern=RESOURCE_NAME_PATTERN,
        description="Its name, or its prefix, or '*' for every one; absent for the cluster.",
    )
    pattern_type: PatternType = Field(
        PatternType.LITERAL, description="prefixed: every name that begins with `name` (KIP-290)."
    )


class AclRule(ApiModel):
    model_config = ConfigDict(json_schema_extra=rules(*_operation_rules()))
    resource: AclResource = Field(description="What it is about.")
    operations: tuple[Operation, ...] = Field(
        min_length=1,
        max_length=len(Operation),
        description="Kafka's operations. Read, Write, Delete and Alter imply Describe.",
        json_schema_extra=SET_LIST,
    )
    host: str = Field(
        "*",
        min_length=1,
        max_length=45,
        description="The one address that it is for, or '*'.",
        json_schema_extra=rules(rule("self == '*' || isIP(self)", BAD_HOST)),
    )
    type: Permission = Field(Permission.ALLOW, description="deny wins over every allow.")


class Authorization(ApiModel):
    acls: tuple[AclRule, ...] = Field(
        (),
        max_length=MAX_ACLS,
        description="What the user may do; what no rule allows is denied.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Quotas(ApiModel):
    """Kafka's quotas count for each broker by itself (KIP-13, KIP-124, KIP-599)."""

    producer_byte_rate: PositiveQuantity | None = quantity_field(
        "spec.quotas.producerByteRate", "Bytes a second that the user may write to each broker.", "10Mi", default=None
    )
    consumer_byte_rate: PositiveQuantity | None = quantity_field(
        "spec.quotas.consumerByteRate", "Bytes a second that the user may read from each broker.", "20Mi", default=None
    )
    request_percentage: PositiveQuantity | None = quantity_field(
        "spec.quotas.requestPercentage",
        "Share of one thread's time on each broker, in percent: 50 is half a thread, 200 two.",
        "50",
        default=None,
    )
    controller_mutation_rate: PositiveQuantity | None = quantity_field(
        "spec.quotas.controllerMutationRate",
        "Partitions a second that the user may create or delete.",
        "10",
        default=None,
    )


class KafkaUserSpec(ApiModel):
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.authentication.type != 'tls' || !has(self.userName)"
                f" || self.userName.matches('{CERTIFICATE_NAME_PATTERN}')",
                BAD_CERTIFICATE_NAME,
            ),
            rule("has(self.clusterRef) != has(self.tenantRef)", NO_CLUSTER),
            immutable_optional("spec.clusterRef", "clusterRef", "a user does not move; create another"),
            immutable_optional("spec.tenantRef", "tenantRef", "a user does not move; create another"),
            immutable_optional("spec.userName", "userName", "it is another principal; create another user"),
            immutable_optional("spec.secretName", "secretName", "clients mount it by name; create another user"),
        )
    )
    cluster_ref: UserClusterRef | None = Field(
        None, description="The cluster that the user logs in to, in the same namespace. Immutable."
    )
    tenant_ref: TenantRef | None = Field(
        None,
        description="Instead of clusterRef: the user logs in to a cell of this tenant, has rules on names that begin "
        "with the tenant's topicPrefix only, and shares the tenant's quotas. Immutable.",
    )
    user_name: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_USER_NAME,
        pattern=USER_NAME_PATTERN,
        description="The user's name in Kafka, as the principal User:NAME; metadata.name if absent. Immutable.",
        json_schema_extra=rules(rule("self != 'ANONYMOUS'", BAD_USER_NAME)),
    )
    secret_name: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=OBJECT_NAME_PATTERN,
        description="The Secret that clients mount; metadata.name if absent. Immutable.",
    )
    listener: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_LISTENER_NAME,
        pattern="^[a-z][a-z0-9]*$",
        description="The cluster's listener whose addresses the Secret has; by default the first with the user's "
        "authentication.",
    )
    authentication: UserAuthentication = Field(description="How the user proves who it is.")
    authorization: Authorization = Field(default_factory=Authorization, description="What the user may do.")
    quotas: Quotas = Field(default_factory=Quotas, description="How much of each broker the user may use.")
    exclusive: bool = Field(
        False,
        description="true: ACLs and quotas of this principal that are not declared here are removed; false: they are "
        "reported in status.foreign.",
    )


class Binding(ApiModel):
    """Service Binding for Kubernetes: where the credentials are."""

    name: str = Field(max_length=253, description="Name of the Secret, in this namespace.")


class CredentialStatus(ApiModel):
    """Of the present credentials; the credentials themselves stand in the Secret only."""

    issued_at: Timestamp | None = Field(None, description="When they were made.")
    rotate_at: Timestamp | None = Field(None, description="When the next ones are made, if that is known.")
    not_after: Timestamp | None = Field(None, description="When the certificate expires; tls only.")
    rotation: str = Field("", max_length=64, description="The last rotation that was asked for and done.")
    trusts: tuple[Annotated[str, Field(max_length=64)], ...] = Field(
        (),
        max_length=MAX_TRUSTED,
        description="SHA-256 of every authority in the Secret's ca.crt: one that is to follow waits until all have it.",
        json_schema_extra=SET_LIST,
    )
    signed_by: str | None = Field(
        None, max_length=64, description="SHA-256 of the authority that signed the certificate; tls only."
    )


class AnnouncedStatus(ApiModel):
    """First credentials that are about to be made. By this they are known as the user's own, should the operator end
    before its status tells of them, and the Secret be lost."""

    iterations: int | None = Field(
        None, ge=4096, description="The number that Kafka shows of the password; scram-sha-512 only."
    )
    not_after: Timestamp | None = Field(None, description="When the certificate expires; tls only.")


class ForeignStatus(ApiModel):
    """What the principal has in Kafka that is not declared here."""

    acls: int = Field(0, ge=0, description="How many ACLs.")
    shown: tuple[Annotated[str, Field(max_length=MAX_FOREIGN_TEXT)], ...] = Field(
        (),
        max_length=MAX_FOREIGN_SHOWN,
        description="The first of them.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    quotas: tuple[Annotated[str, Field(max_length=64)], ...] = Field(
        (), max_length=16, description="Kafka's keys of quotas.", json_schema_extra=SET_LIST
    )


class DriftStatus(ApiModel):
    corrected: int = Field(0, ge=0, description="How often something was put back that another had changed.")
    last: Timestamp | None = Field(None, description="When last.")


class QuotaLayerStatus(ApiModel):
    """Quotas from one source. Of each key the least over all layers is set in Kafka."""

    name: Annotated[str, Field(max_length=32)] = Field(description="declared, tenant or shed.")
    values: dict[str, Annotated[str, Field(max_length=64)]] = Field(
        default_factory=dict, max_length=8, description="What it says, by Kafka's key."
    )
    binds: tuple[Annotated[str, Field(max_length=64)], ...] = Field(
        (), max_length=8, description="Keys for which it is this layer that counts.", json_schema_extra=SET_LIST
    )
    brokers: int | None = Field(None, ge=1, description="tenant: the brokers that byte rates are divided by.")
    users: int | None = Field(None, ge=1, description="tenant: the users that everything is divided by.")


class KafkaUserStatus(ApiModel):
    conditions: tuple[Condition, ...] = Field(
        (),
        max_length=16,
        description="Ready, CredentialsCurrent, Reconciling, Stalled.",
        json_schema_extra=map_list("type"),
    )
    observed_generation: int | None = Field(None, ge=0, description="The generation this status is about.")
    principal: str | None = Field(None, max_length=128, description="The user's principal in Kafka.")
    cell: str | None = Field(
        None,
        max_length=128,
        description="The cluster that a tenant's user was given, as namespace/name; it stays there for life.",
    )
    binding: Binding | None = Field(None, description="Where the credentials are (Service Binding for Kubernetes).")
    credential: CredentialStatus | None = Field(None, description="How old the credentials are.")
    announced: AnnouncedStatus | None = Field(None, description="First credentials that are about to be made.")
    acls: tuple[Annotated[str, Field(max_length=512)], ...] = Field(
        (),
        max_length=MAX_OWNED_ACLS,
        description="ACLs that kfleet has made for the user, so that one no longer declared is removed.",
        json_schema_extra=SET_LIST,
    )
    quotas: dict[str, Annotated[str, Field(max_length=64)]] = Field(
        default_factory=dict,
        max_length=8,
        description="Quotas that kfleet has set, by Kafka's key.",
    )
    quota_layers: tuple[QuotaLayerStatus, ...] = Field(
        (), max_length=8, description="Where they come from.", json_schema_extra=map_list("name")
    )
    foreign: ForeignStatus | None = Field(None, description="What the principal has that is not declared here.")
    drift: DriftStatus | None = Field(None, description="What others changed and kfleet put back.")


_MOUNTED = "(has(self.spec.secretName) ? self.spec.secretName : self.metadata.name)"
_ENDS_LIKE_CLUSTERS = f"{list(CLUSTER_SECRET_ENDINGS)}.exists(e, {_MOUNTED}.endsWith(e))"
_NOT_CLUSTERS_SECRET = (
    f"!has(self.spec.clusterRef) || !({_MOUNTED}.startsWith(self.spec.clusterRef.name + '-') && {_ENDS_LIKE_CLUSTERS})"
)
_NO_CLUSTERS_SECRET = f"!has(self.spec.tenantRef) || !{_ENDS_LIKE_CLUSTERS}"


class KafkaUser(ApiModel):
    """A user of a Kafka cluster. `model_validate(obj)` reads an object as the API server sends it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"has(self.spec.userName) || size(self.metadata.name) <= {MAX_USER_NAME}", NAME_TOO_LONG),
            rule(_NOT_CLUSTERS_SECRET, CLUSTER_SECRET),
            rule(_NO_CLUSTERS_SECRET, TENANTS_SECRET),
        )
    )
    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: KafkaUserSpec = Field(description="What shall be.")
    status: KafkaUserStatus = Field(KafkaUserStatus(), description="What is.")

    @property
    def user_name(self) -> str:
        """The user's name in Kafka."""
        return self.spec.user_name or self.metadata.name

    @property
    def secret_name(self) -> str:
        return self.spec.secret_name or self.metadata.name

    @property
    def cluster_name(self) -> str | None:
        """Of the cluster that it logs in to; None for a tenant's user that was given none yet."""
        if self.spec.cluster_ref is not None:
            return self.spec.cluster_ref.name
        return self.status.cell.rpartition("/")[2] if self.status.cell is not None else None

    @property
    def cell(self) -> str | None:
        """The same, as namespace/name."""
        if self.spec.cluster_ref is not None:
            return f"{self.metadata.namespace}/{self.spec.cluster_ref.name}"
        return self.status.cell

    @property
    def is_tls(self) -> bool:
        return self.spec.authentication.type is AuthenticationType.TLS

    @property
    def principal(self) -> str:
        return f"User:{self.user_name}"
