"""Everything admission refuses about one KafkaUser by itself, refused again, in the same words (see validate)."""

from __future__ import annotations

import ipaddress
import re

from controlplane.api import kafka_user as kind
from controlplane.api.kafka_user import AclResource, AclRule, KafkaUser, PatternType, Permission, ResourceType
from controlplane.api.validate import Problem

BAD_NAME_SHAPE = (
    "spec.userName: must consist of letters, digits, '.', '_' and '-', and begin and end with a letter or a digit: it "
    "stands in JAAS lines, certificates and principals"
)


def check_user(user: KafkaUser) -> list[Problem]:
    """What is wrong with a KafkaUser by itself."""
    messages = _name(user.user_name)
    if user.is_tls and not messages and re.fullmatch(kind.CERTIFICATE_NAME_PATTERN[1:-1], user.user_name) is None:
        messages.append(kind.BAD_CERTIFICATE_NAME)
    messages += _where(user)
    for index, rule in enumerate(user.spec.authorization.acls):
        messages += [text.replace("acls[]", f"acls[{index}]", 1) for text in _rule(rule)]
    return [_split(text) for text in messages]


def _where(user: KafkaUser) -> list[str]:
    cluster, tenant = user.spec.cluster_ref, user.spec.tenant_ref
    if (cluster is None) == (tenant is None):
        return [kind.NO_CLUSTER]
    if not user.secret_name.endswith(kind.CLUSTER_SECRET_ENDINGS):
        return []
    if cluster is None:
        return [kind.TENANTS_SECRET]
    return [kind.CLUSTER_SECRET] if user.secret_name.startswith(f"{cluster.name}-") else []


def _name(name: str) -> list[str]:
    if len(name) > kind.MAX_USER_NAME:
        return [kind.NAME_TOO_LONG]
    if name in kind.RESERVED_NAMES:
        return [kind.BAD_USER_NAME]
    return [] if re.fullmatch(kind.USER_NAME_PATTERN[1:-1], name) else [BAD_NAME_SHAPE]


def _rule(rule: AclRule) -> list[str]:
    found = _resource(rule.resource)
    if not set(rule.operations) <= set(kind.OPERATIONS[rule.resource.type]):
        found.append(kind.operations_message(rule.resource.type))
    on_cluster = rule.resource.type is ResourceType.CLUSTER and rule.type is Permission.ALLOW
    if on_cluster and not set(rule.operations) <= set(kind.CLUSTER_ALLOWED):
        found.append(kind.cluster_message())
    if rule.host != "*" and not _is_address(rule.host):
        found.append(kind.BAD_HOST)
    return found


def _resource(resource: AclResource) -> list[str]:
    found = []
    if (resource.type is ResourceType.CLUSTER) == (resource.name is not None):
        found.append(kind.NO_RESOURCE_NAME)
    if resource.pattern_type is PatternType.PREFIXED and resource.name == "*":
        found.append(kind.PREFIX_OF_ALL)
    if resource.pattern_type is PatternType.PREFIXED and resource.type is ResourceType.CLUSTER:
        found.append(kind.CLUSTER_PATTERN)
    return found


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _split(message: str) -> Problem:
    path, _, text = message.partition(": ")
    return path, text
