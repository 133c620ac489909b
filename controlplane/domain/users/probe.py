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
    """`topics` are those that the user may describe; operations that it may do by the name of the resource, of those
    that exist and could be asked about."""

    attempts: tuple[Attempt, ...]
    topics: frozenset[str] = frozenset()
    topic_operations: Mapping[str, frozenset[str]] = field(default_factory=dict)
    group_operations: Mapping[str, frozenset[str]] = field(default_factory=dict)


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


def _of_rule(rule: AclRule, result: LoginResult) -> list[Check]:
    name, words = rule.resource.name or "", ", ".join(operation.value for operation in rule.operations)
    if rule.resource.type is ResourceType.TOPIC:
        every, operations = result.topics, result.topic_operations
    elif rule.resource.type is ResourceType.GROUP and rule.resource.pattern_type is PatternType.LITERAL and name != "*":
        every, operations = frozenset({name}), result.group_operations
    else:
        return []
    if rule.resource.pattern_type is PatternType.PREFIXED:
        named = sorted(one for one in every if one.startswith(name))
    else:
        named = sorted(every) if name == "*" else [name]
    told = f"{words} on {rule.resource.type.value} {name}" + (
        "*" if rule.resource.pattern_type.value != "literal" else ""
    )
    asked = [one for one in named if one in operations]
    if not asked:
        return [Check("MayAsDeclared", ok=True, evidence=f"{told}: there is none to ask about.")]
    lacking = {one: _missing(rule, operations[one]) for one in asked}
    short = {one: sorted(missing) for one, missing in lacking.items() if missing}
    evidence = f"{told}: as declared ({len(asked)} asked)."
    if short:
        first, missing = next(iter(short.items()))
        evidence = f"{told}: on {first} the brokers do not grant {', '.join(missing)}."
    remedy = "A deny rule wins over it, or the operator has not got to it: kfleet user describe." if short else ""
    return [Check("MayAsDeclared", ok=not short, evidence=evidence, remedy=remedy)]


def _missing(rule: AclRule, granted: frozenset[str]) -> set[str]:
    wanted = {operation.value for operation in rule.operations}
    if ALL in wanted:
        wanted = {"Describe"}
    if wanted & IMPLY_DESCRIBE:
        wanted.add("Describe")
    if wanted & IMPLY_DESCRIBE_CONFIGS:
        wanted.add("DescribeConfigs")
    return wanted - granted
