"""What a login with a user's Secret shows, as checks. Pure: the adapter has logged in and asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.api.conditions import timestamp
from controlplane.api.kafka_user import AclRule, KafkaUser, PatternType, Permission, ResourceType
from controlplane.domain.access.pki import Certificate
from controlplane.domain.check import Check
from controlplane.domain.users import secret as files
from controlplane.domain.users.values import ALL

IMPLY_DESCRIBE = frozenset({"Read", "Write", "Delete", "Alter"})
IMPLY_DESCRIBE_CONFIGS = frozenset({"AlterConfigs"})
"""org.apache.kafka.metadata.authorizer.StandardAuthorizerData."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One login. `error` is empty when the server let the user in, else its words."""

    server: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class LoginResult:
    """Operations that the user may do by the name of the resource, of those that exist; `refused_*` are names of which
    it is not even told whether they do, `silent_*` those that nobody has answered about, with the reason."""

    attempts: tuple[Attempt, ...]
    topics: Mapping[str, frozenset[str]] = field(default_factory=dict)
    refused_topics: frozenset[str] = frozenset()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    refused_groups: frozenset[str] = frozenset()
    silent_topics: Mapping[str, str] = field(default_factory=dict)
    silent_groups: Mapping[str, str] = field(default_factory=dict)


def check_secret(user: KafkaUser, data: Mapping[str, str]) -> Check:
    """Whether everything is there that a client of this kind needs."""
    kind = (files.CERTIFICATE, files.KEY) if user.is_tls else (files.PASSWORD, "sasl.jaas.config")
    wanted = ("bootstrap.servers", "username", *kind, files.CLIENT_PROPERTIES, files.LIBRDKAFKA)
    missing = [key for key in wanted if not data.get(key)]
    return Check(
        "SecretComplete",
        ok=not missing,
        evidence=f"Secret {user.secret_name} " + (f"lacks {', '.join(missing)}." if missing else "has all its keys."),
        remedy="The operator restores it; see why it does not: kfleet user describe." if missing else "",
    )


def check_certificate(certificate: Certificate, now: float) -> Check:
    ok = certificate.not_before <= now < certificate.not_after
    return Check(
        "CertificateValid",
        ok=ok,
        evidence=f"{certificate.subject}, from {timestamp(certificate.not_before)} to "
        f"{timestamp(certificate.not_after)}.",
        remedy="" if ok else "The operator renews it in time; see why it did not: kfleet user describe.",
    )


def check_logins(attempts: Sequence[Attempt]) -> list[Check]:
    return [
        Check(
            "LoggedIn",
            ok=not attempt.error,
            evidence=f"{attempt.server}: {attempt.error or 'let in'}.",
            remedy="" if not attempt.error else "Look at the cluster if it is not there, at the user if it is refused.",
        )
        for attempt in attempts
    ]


def check_rules(rules: Sequence[AclRule], result: LoginResult) -> list[Check]:
    """What each ALLOW rule says, by the brokers' own word. Only of topics that exist and of groups named in full."""
    found = []
    for rule in rules:
        if rule.type is Permission.ALLOW:
            found += _of_rule(rule, result)
    return found


def named(rules: Sequence[AclRule], kind: ResourceType) -> list[str]:
    """Resources of this type that rules name in full."""
    literal = [one.resource for one in rules if one.resource.pattern_type is PatternType.LITERAL]
    return sorted({one.name for one in literal if one.type is kind and one.name is not None and one.name != "*"})


def _of_rule(rule: AclRule, result: LoginResult) -> list[Check]:
    name, prefixed = rule.resource.name or "", rule.resource.pattern_type is PatternType.PREFIXED
    if rule.resource.type is ResourceType.TOPIC:
        granted, refused, silent = result.topics, result.refused_topics, result.silent_topics
    elif rule.resource.type is ResourceType.GROUP and not prefixed and name != "*":
        granted, refused, silent = result.groups, result.refused_groups, result.silent_groups
    else:
        return []
    told = f"{', '.join(rule.operations)} on {rule.resource.type.value} {name}{'*' if prefixed else ''}"
    wanted = _wanted(rule)
    if prefixed or name == "*":
        asked = sorted(one for one in granted if not prefixed or one.startswith(name))
        unknown = sorted(one for one in silent if not prefixed or one.startswith(name))
    else:
        asked = [name] if name in granted or (name in refused and "Describe" in wanted) else []
        unknown = [name] if name in silent else []
    lacking = {one: sorted(wanted - granted.get(one, frozenset())) for one in asked}
    first = next((one for one in asked if lacking[one]), None)
    if first is None and unknown:
        return [_unanswered(told, unknown, silent[unknown[0]])]
    if not asked:
        return [Check("MayAsDeclared", ok=True, evidence=f"{told}: there is none to ask about.")]
    if first is None:
        return [Check("MayAsDeclared", ok=True, evidence=f"{told}: as declared ({len(asked)} asked).")]
    return [
        Check(
            "MayAsDeclared",
            ok=False,
            evidence=f"{told}: on {first} the brokers do not grant {', '.join(lacking[first])}.",
            remedy="A deny rule wins over it, or the operator has not got to it: kfleet user describe.",
        )
    ]


def _unanswered(told: str, unknown: Sequence[str], why: str) -> Check:
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return Check(
        "MayAsDeclared",
        ok=False,
        evidence=f"{told}: the brokers were asked about {unknown[0]}{more} and did not answer ({why}).",
        remedy="Try again, with a longer --timeout; if it stays so look at the cluster: kfleet cluster health.",
    )


def _wanted(rule: AclRule) -> set[str]:
    """With what they imply; All is held to the least of it, since not every type has every operation."""
    wanted = {operation.value for operation in rule.operations}
    if ALL in wanted:
        return {"Describe"}
    if wanted & IMPLY_DESCRIBE:
        wanted.add("Describe")
    if wanted & IMPLY_DESCRIBE_CONFIGS:
        wanted.add("DescribeConfigs")
    return wanted
