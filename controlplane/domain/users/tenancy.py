"""Where a tenant's user lives, and on whose names anybody may have rules. Pure.

- A user is in one cell for life, whatever becomes of its tenant: which one is recorded before anything is made there.
- A tenant's users have rules on names that begin with its prefix, and nobody else is allowed anything on them: neither
  users of the cluster nor those of another tenant, by name, by prefix or by '*'. Topics, groups and transactional ids
  alike.
- Who had rules before they were refused keeps them, and is told: a tenant that is new in a cell cuts nobody off.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.api.kafka_user import AclRule, KafkaUser, Operation, PatternType, Permission, ResourceType
from controlplane.domain.check import Check
from controlplane.domain.tenants.directory import Cell, Directory, names
from controlplane.domain.users.values import LITERAL, Acl

FOREIGN_PREFIX = "ForeignPrefix"
ON_CLUSTER = frozenset({Operation.IDEMPOTENT_WRITE})
"""What a tenant's user may have on the cluster itself: clients before Kafka 2.8 want it to write (KIP-679). The rest
shows what other tenants have."""


def cell_of(text: str) -> Cell:
    """`namespace/name`, as a status has it."""
    namespace, _, name = text.partition("/")
    return Cell(namespace, name)


def tenant_in(user: KafkaUser, cell: Cell, directory: Directory) -> KafkaTenant | Check:
    """Whose user it is in the cell that it has, or why it is nobody's any more."""
    ref = user.spec.tenant_ref
    if ref is None:
        raise ValueError("a user of a cluster")
    tenant = directory.resolve(ref.name, user.metadata.namespace)
    if isinstance(tenant, Check):
        return tenant
    if not names(tenant, cell):
        return Check(
            "CellLeft",
            ok=False,
            evidence=f"spec.tenantRef.name: KafkaTenant {ref.name!r} does not name cell {cell} any more, where this "
            "user is.",
            remedy="A user does not move: delete it, and create one in another cell of the tenant.",
        )
    if not directory.owns_prefix(tenant):
        (taken,) = (check for check in directory.conflicts(tenant) if check.name == "PrefixTaken")
        told = f"spec.tenantRef.name: KafkaTenant {ref.name!r} does not have its prefix ({taken.evidence})"
        return Check("PrefixTaken", ok=False, evidence=told, remedy=taken.remedy)
    return tenant


def trespass(user: KafkaUser, tenant: KafkaTenant | None, others: Iterable[KafkaTenant]) -> Check | None:
    """A rule of the user on names that it may have none on. `tenant` is its own, None for a user of the cluster;
    `others` are tenants of its cell whose prefixes are in force."""
    for index, rule in enumerate(user.spec.authorization.acls):
        field = f"spec.authorization.acls[{index}].resource"
        found = _beyond(rule, tenant, field) if tenant is not None else _upon(rule, others, field)
        if found is not None:
            return found
    return None


def is_within(acl: Acl, prefix: str) -> bool:
    """Whether a binding is about names that begin with `prefix` only."""
    named = acl.resource in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
    return named and acl.name.startswith(prefix)


def covers(acl_name: str, pattern: str, prefix: str) -> bool:
    """Whether a name or a pattern means anything that begins with `prefix`."""
    if pattern == LITERAL:
        return acl_name == "*" or acl_name.startswith(prefix)
    return acl_name.startswith(prefix) or prefix.startswith(acl_name)


def _beyond(rule: AclRule, tenant: KafkaTenant, field: str) -> Check | None:
    prefix, whose = tenant.spec.topic_prefix, f"KafkaTenant {tenant.metadata.name!r}"
    if rule.resource.type is ResourceType.CLUSTER:
        if set(rule.operations) <= ON_CLUSTER:
            return None
        return Check(
            FOREIGN_PREFIX,
            ok=False,
            evidence=f"{field}.type: a tenant's user has no rule on the cluster itself but "
            f"{', '.join(sorted(ON_CLUSTER))}: the rest is about what other tenants have.",
            remedy="Take the rule out.",
        )
    name = rule.resource.name or ""
    if name.startswith(prefix):
        return None
    return Check(
        FOREIGN_PREFIX,
        ok=False,
        evidence=f"{field}.name: {name!r} does not begin with {prefix!r}, the topicPrefix of {whose}; its users have "
        "rules on no other topics, groups and transactional ids.",
        remedy=f"Name one that begins with {prefix!r}.",
    )


def _upon(rule: AclRule, others: Iterable[KafkaTenant], field: str) -> Check | None:
    if rule.type is Permission.DENY or rule.resource.type is ResourceType.CLUSTER:
        return None
    name, pattern = rule.resource.name or "", rule.resource.pattern_type.value
    for other in others:
        prefix = other.spec.topic_prefix
        if covers(name, pattern, prefix):
            star = "*" if rule.resource.pattern_type is PatternType.PREFIXED else ""
            return Check(
                FOREIGN_PREFIX,
                ok=False,
                evidence=f"{field}.name: {name + star!r} covers names that begin with {prefix!r}, which are "
                f"KafkaTenant {other.metadata.name!r}'s: its own users alone have rules on them.",
                remedy=f"Name what is not the tenant's, or make this a user of the tenant "
                f"(spec.tenantRef: {{name: {other.metadata.name}}}).",
            )
    return None
