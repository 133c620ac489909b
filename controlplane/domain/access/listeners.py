"""server.properties of listeners with TLS, of who may connect and of who may do what. Pure.

Nodes and the operator are let in on CONTROLLER and REPLICATION by certificates of the cluster's authority alone; users
on their own listeners by a password, or by a certificate of the authority for users alone. So neither can be taken for
the other: a user's principal is `User:<name>`, kfleet's own have an OU and are super users.

Keys and certificates lie in files of a Secret; nothing secret is ever part of these settings. Every path is one that we
write (`${env:KFLEET_POD_ROOT}`), and of users' words only listeners' names occur, which are letters and digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.api.access import Authentication, AuthenticationType, Authorization, WhenNoAcl
from controlplane.domain.access.pki import UNIT, Leaf

TLS_DIR = "/etc/kafka/tls"
NODE_PEM = "node.pem"
"""A node's private key and certificate."""
CLUSTER_CA = "cluster-ca.crt"
CLIENTS_CA = "clients-ca.crt"
LISTENER_PEM = "listener-{name}.pem"
"""Private key and certificate that were given for one listener."""

CLIENT_AUTH = "listener.name.{name}.ssl.client.auth"
"""Whether a listener of TLS asks clients for a certificate; its protocol does not tell."""
AUTHORIZER = "authorizer.class.name"
ALLOWS_UNLISTED = "allow.everyone.if.no.acl.found"

NODES = Leaf("nodes", UNIT)
OPERATOR = Leaf("operator", UNIT)
LINKS = Leaf("links", UNIT)
SUPER_USERS = tuple(f"User:{leaf.subject}" for leaf in (NODES, OPERATOR, LINKS))
"""From the first start on, whether there are ACLs or not: nobody could make any otherwise."""
USERS_CN = "RULE:^CN=([a-z0-9.-]+)$/$1/"
"""A user's certificate has a CN and nothing else (KIP-371); any other subject is refused."""
REAUTHENTICATE_SECONDS = 900
"""A connection whose password was changed or whose user is gone ends within this time (KIP-368)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A users' listener; the name is upper-cased for Kafka. `given`: its certificate is not the cluster's own.
    `external`: its clients are outside Kubernetes."""

    name: str
    port: int
    tls: bool = False
    authentication: Authentication | None = None
    given: bool = False
    external: bool = False

    @property
    def mechanism(self) -> AuthenticationType | None:
        return self.authentication.type if self.authentication is not None else None

    @property
    def protocol(self) -> str:
        """Kafka's security protocol. `authentication` needs `tls`; a spec without it is refused."""
        if self.mechanism is AuthenticationType.SCRAM_SHA_512:
            return "SASL_SSL"
        return "SSL" if self.tls else "PLAINTEXT"


def settings(
    listeners: Sequence[Listener], internal: Sequence[str], *, authorization: Authorization | None, root: str
) -> Mapping[str, str]:
    """Everything about TLS, authentication and authorization of a node whose nodes know one another by certificates.

    `internal` are the names of the cluster's own listeners that this node has or connects to, `root` stands before each
    path.
    """
    return dict(_settings(listeners, internal, authorization=authorization, root=root + TLS_DIR))


def _settings(
    listeners: Sequence[Listener], internal: Sequence[str], *, authorization: Authorization | None, root: str
) -> Iterator[tuple[str, str]]:
    for name in internal:
        prefix = f"listener.name.{name.lower()}"
        yield from _store(prefix, "keystore", f"{root}/{NODE_PEM}")
        yield from _store(prefix, "truststore", f"{root}/{CLUSTER_CA}")
        yield CLIENT_AUTH.format(name=name.lower()), "required"
        yield f"{prefix}.ssl.endpoint.identification.algorithm", "https"
    for listener in listeners:
        if listener.tls:
            yield from _user_listener(listener, root)
    if authorization is not None:
        yield AUTHORIZER, "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        yield ALLOWS_UNLISTED, str(authorization.when_no_acl is WhenNoAcl.ALLOW).lower()
        yield "super.users", ";".join(SUPER_USERS)


def _user_listener(listener: Listener, root: str) -> Iterator[tuple[str, str]]:
    prefix = f"listener.name.{listener.name}"
    own = LISTENER_PEM.format(name=listener.name) if listener.given else NODE_PEM
    yield from _store(prefix, "keystore", f"{root}/{own}")
    if listener.mechanism is AuthenticationType.TLS:
        yield from _store(prefix, "truststore", f"{root}/{CLIENTS_CA}")
        yield CLIENT_AUTH.format(name=listener.name), "required"
        yield f"{prefix}.ssl.principal.mapping.rules", USERS_CN
    else:
        yield CLIENT_AUTH.format(name=listener.name), "none"
    if listener.mechanism is AuthenticationType.SCRAM_SHA_512:
        yield f"{prefix}.sasl.enabled.mechanisms", "SCRAM-SHA-512"
        yield (
            f"{prefix}.scram-sha-512.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        )
        yield f"{prefix}.connections.max.reauth.ms", str(REAUTHENTICATE_SECONDS * 1000)


def _store(prefix: str, which: str, path: str) -> Iterator[tuple[str, str]]:
    yield f"{prefix}.ssl.{which}.type", "PEM"
    yield f"{prefix}.ssl.{which}.location", path
