"""Who reaches a cluster how: listeners, security, authentication and authorization of a KafkaCluster."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from controlplane.api.base import ApiModel, Timestamp
from controlplane.api.external import LISTENER_RULES, MAX_BROKERS, External, ListenerType
from controlplane.api.rules import map_list, rule, rules

MAX_LISTENER_NAME = 15
"""It names a container port, which has at most 15 characters."""
MIN_USER_PORT = 9092
RESERVED_LISTENERS = ("controller", "nodes", "replication")
"""The operator's own listeners on ports 9090 and 9091, and the headless Service `<cluster>-nodes`."""
OBJECT_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
DUPLICATE_PORT = "spec.listeners[].port: two listeners have the same port"
AUTHENTICATION_IN_THE_CLEAR = (
    "spec.listeners[].tls: authentication needs tls: true, or who listens on the wire is let in too"
)
CERTIFICATE_WITHOUT_TLS = "spec.listeners[].certificateSecretRef: needs tls: true"
LISTENER_CHANGED = (
    "spec.listeners[].tls: type, tls and authentication of a listener never change, since its clients would be cut "
    "off: add another listener, move the clients, then remove this one"
)
RESERVED_LISTENER = (
    f"spec.listeners[].name: {', '.join(RESERVED_LISTENERS)} are names of the operator's own; choose another"
)
TLS_IS_ON = "(has({0}.tls) && {0}.tls)"


class NodeSecurity(StrEnum):
    """How the nodes of a cluster talk with one another, and the operator with them."""

    PLAINTEXT = "Plaintext"
    MUTUAL_TLS = "MutualTls"


class AuthenticationType(StrEnum):
    """How clients say who they are, in Kafka's spelling."""

    SCRAM_SHA_512 = "scram-sha-512"
    TLS = "tls"


class AuthorizationType(StrEnum):
    STANDARD = "Standard"


class Security(ApiModel):
    """How the cluster's own connections are protected."""

    nodes: NodeSecurity = Field(
        description="MutualTls: nodes, and the operator, know one another by certificates of an authority that the "
        "operator makes for this cluster (Secret <cluster>-cluster-ca). Plaintext: whoever reaches ports 9090 and 9091 "
        "may do everything. Immutable.",
    )


class Authentication(ApiModel):
    """How clients of a listener say who they are."""

    type: AuthenticationType = Field(
        description="scram-sha-512: user and password. tls: a certificate of the cluster's authority for users (Secret "
        "<cluster>-clients-ca); its CN is the user's name.",
    )


class WhenNoAcl(StrEnum):
    """What is let through on a resource that no ACL is about."""

    DENY = "Deny"
    ALLOW = "Allow"


class Authorization(ApiModel):
    """Who may do what."""

    type: AuthorizationType = Field(
        description="Standard: Kafka's ACLs; what no ACL allows, only the cluster's nodes and the operator may do."
    )
    when_no_acl: WhenNoAcl = Field(
        WhenNoAcl.DENY,
        description="Deny: what no ACL is about is denied. Allow: it is let through; the stage at which ACLs are made "
        "for a cluster that had none and is in use.",
    )


class SecretRef(ApiModel):
    """A Secret in the same namespace."""

    name: str = Field(min_length=1, max_length=253, pattern=OBJECT_NAME_PATTERN, description="Name of the Secret.")


class Listener(ApiModel):
    """A listener for clients. Ports 9090 and 9091 are the operator's."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"!has(self.authentication) || {TLS_IS_ON.format('self')}", AUTHENTICATION_IN_THE_CLEAR),
            rule(f"!has(self.certificateSecretRef) || {TLS_IS_ON.format('self')}", CERTIFICATE_WITHOUT_TLS),
            *LISTENER_RULES,
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=MAX_LISTENER_NAME, pattern=r"^[a-z][a-z0-9]*$")] = Field(
        description="Name of the listener; upper-cased it is Kafka's listener name. Without '-', so that no two "
        "clusters' Services can share a name.",
        json_schema_extra=rules(rule(f"!(self in {list(RESERVED_LISTENERS)})", RESERVED_LISTENER)),
    )
    port: int = Field(ge=MIN_USER_PORT, le=65535, description="Port on every broker and on the bootstrap Service.")
    type: ListenerType = Field(
        ListenerType.INTERNAL,
        description="Internal: reachable within Kubernetes. NodePort: from outside, at a port of the Kubernetes node "
        "that a broker runs on. LoadBalancer: from outside, at a load balancer for each broker. Never changes.",
    )
    tls: bool = Field(
        False, description="Whether clients speak TLS. Never changes; needs spec.security.nodes MutualTls."
    )
    authentication: Authentication | None = Field(
        None, description="How clients say who they are; anybody is let in if absent. Never changes."
    )
    certificate_secret_ref: SecretRef | None = Field(
        None,
        description="A Secret as cert-manager writes it (tls.crt, tls.key, ca.crt) with what the brokers show on this "
        "listener; one of the cluster's own authority if absent.",
    )
    external: External | None = Field(
        None, description="How clients outside Kubernetes reach it; NodePort and LoadBalancer only."
    )

    @property
    def is_external(self) -> bool:
        return self.type is not ListenerType.INTERNAL

    @property
    def outside(self) -> External:
        """`external`, with nothing in it where it is absent."""
        return self.external or External()


_LISTENER_KEPT = (
    f"n.type == o.type && {TLS_IS_ON.format('n')} == {TLS_IS_ON.format('o')}"
    " && has(n.authentication) == has(o.authentication)"
    " && (!has(n.authentication) || n.authentication.type == o.authentication.type)"
)
RULES_OF_LISTENERS = (
    rule("self.all(a, self.exists_one(b, a.port == b.port))", DUPLICATE_PORT),
    rule(f"oldSelf.all(o, self.all(n, n.name != o.name || ({_LISTENER_KEPT})))", LISTENER_CHANGED),
)


class BrokerAddress(ApiModel):
    """Where a broker is reached from outside."""

    id: int = Field(ge=0, description="Kafka node id.")
    address: str = Field(max_length=320, description="host:port that it tells clients.")


class ListenerStatus(ApiModel):
    """How clients reach one listener."""

    name: str = Field(max_length=MAX_LISTENER_NAME, description="Its name.")
    bootstrap_servers: tuple[Annotated[str, Field(max_length=320)], ...] = Field(
        (),
        max_length=MAX_BROKERS,
        description="host:port to begin with.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    ca_secret: str | None = Field(
        None, max_length=253, description="Secret whose ca.crt clients trust; absent for a listener without TLS."
    )
    brokers: tuple[BrokerAddress, ...] | None = Field(
        None,
        max_length=MAX_BROKERS,
        description="Of a listener of type NodePort or LoadBalancer: what each broker tells clients.",
        json_schema_extra=map_list("id"),
    )


class CertificateStatus(ApiModel):
    """One kind of certificate of the cluster, by the one that ends first."""

    name: str = Field(max_length=253, description="The Secret that it lies in.")
    not_after: Timestamp = Field(description="When it ends.")
