"""ACLs of one principal: what its object declares, what kfleet has made, what Kafka has, and the difference.

- Only bindings that an object declares, or declared before, are ever touched; another's (foreign ones) are reported,
  and removed only where the object says `exclusive`.
- A revoked principal has four DENY bindings beside its others. DENY wins over every ALLOW, `User:*` included
  (StandardAuthorizer), and the authorizer is asked at every request, so they bite connections that are open. They
  close every resource of the four kinds to those who have no ACL on it where whenNoAcl is Allow.
- The plan of a world in which the plan was carried out is empty.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from controlplane.api.kafka_user import AclRule, ResourceType
from controlplane.domain.users.values import ALL, ANY_HOST, ANY_NAME, CLUSTER_RESOURCE, DENY, LITERAL, Acl

REVOKED_RESOURCES = (
    (ResourceType.TOPIC.value, ANY_NAME),
    (ResourceType.GROUP.value, ANY_NAME),
    (ResourceType.TRANSACTIONAL_ID.value, ANY_NAME),
    (ResourceType.CLUSTER.value, CLUSTER_RESOURCE),
)


@dataclass(frozen=True, slots=True)
class AclPlan:
    """`owned` is to be recorded before the calls: what is declared and what is still to be removed of ours.

    `drifted` are bindings of ours that somebody else removed; they are among `create`.
    """

    create: frozenset[Acl] = frozenset()
    delete: frozenset[Acl] = frozenset()
    foreign: frozenset[Acl] = frozenset()
    drifted: frozenset[Acl] = frozenset()
    owned: frozenset[Acl] = frozenset()

    def without(self, acls: Iterable[Acl]) -> AclPlan:
        """These are not made, and so are not ours."""
        kept_back = frozenset(acls)
        return replace(
            self,
            create=self.create - kept_back,
            drifted=self.drifted - kept_back,
            owned=self.owned - (kept_back & self.create),
        )


def declared(principal: str, rules: Iterable[AclRule]) -> frozenset[Acl]:
    """One binding for each operation of each rule."""
    return frozenset(
        Acl(
            principal=principal,
            resource=rule.resource.type.value,
            name=rule.resource.name or CLUSTER_RESOURCE,
            pattern=rule.resource.pattern_type.value,
            operation=operation.value,
            permission=rule.type.value,
            host=kafka_host(rule.host),
        )
        for rule in rules
        for operation in rule.operations
    )


def revocation(principal: str) -> frozenset[Acl]:
    return frozenset(
        Acl(principal=principal, resource=resource, name=name, pattern=LITERAL, operation=ALL, permission=DENY)
        for resource, name in REVOKED_RESOURCES
    )


def plan_acls(
    principal: str, wanted: frozenset[Acl], owned: frozenset[Acl], observed: frozenset[Acl], *, exclusive: bool
) -> AclPlan:
    """`observed` are all bindings of the cluster; `owned` those of this principal that kfleet has made.

    kfleet's own DENY bindings of an earlier revocation are removed wherever they are not wanted.
    """
    present = frozenset(acl for acl in observed if acl.principal == principal)
    ours = owned | revocation(principal)
    foreign = present - wanted - ours
    delete = (present & ours) - wanted
    if exclusive:
        delete |= foreign
    return AclPlan(
        create=wanted - present,
        delete=delete,
        foreign=frozenset() if exclusive else foreign,
        drifted=(wanted & owned) - present,
        owned=wanted | (present & owned),
    )


def to_texts(acls: Iterable[Acl]) -> tuple[str, ...]:
    """Bindings of one principal as its status keeps them, the operations of one rule together.

    `allow topic prefixed orders. * Read,Write`: nothing in it holds a blank (names have none, by their pattern).
    """
    operations: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for acl in acls:
        operations[acl.permission, acl.resource, acl.pattern, acl.name, acl.host].add(acl.operation)
    return tuple(sorted(" ".join((*rule, ",".join(sorted(words)))) for rule, words in operations.items()))


def from_texts(principal: str, texts: Iterable[str]) -> frozenset[Acl]:
    """The inverse of `to_texts`; what cannot be read is left out, and is foreign then: reported, not removed."""
    found = set()
    for text in texts:
        parts = text.split(" ")
        if len(parts) != 6:
            continue
        permission, resource, pattern, name, host, words = parts
        found |= {Acl(principal, resource, name, pattern, word, permission, host) for word in words.split(",")}
    return frozenset(found)


def kafka_host(host: str) -> str:
    """An address as Java prints it (InetAddress.getHostAddress), which is what Kafka's authorizer compares with: eight
    groups without leading zeros, none left out."""
    if host == ANY_HOST:
        return host
    address = ipaddress.ip_address(host)
    if address.version == 4:
        return str(address)
    return ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
