"""Users on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.api import names
from controlplane.api.conditions import READY, find_condition
from controlplane.api.group import GROUP
from controlplane.api.kafka_user import AclRule, KafkaUser
from controlplane.cli.render import View, age, table
from controlplane.cli.sections import conditions_text, event_documents, events_text, indent
from controlplane.domain.check import Check
from controlplane.ports import Object


@dataclass(frozen=True, slots=True)
class Description:
    """`events` are the API server's, newest last; None when we may not read them."""

    user: KafkaUser
    events: Sequence[Object] | None


def user_id(user: KafkaUser) -> str:
    return f"kafkauser.{GROUP}/{user.metadata.name}"


def _document(row: Description) -> dict[str, Any]:
    user, spec, status = row.user, row.user.spec, row.user.status
    return {
        "name": user.metadata.name,
        "namespace": user.metadata.namespace,
        "cluster": user.cluster_name,
        "cell": user.cell,
        "tenant": spec.tenant_ref.name if spec.tenant_ref is not None else None,
        "principal": user.principal,
        "authentication": spec.authentication.to_object(),
        "secret": status.binding.name if status.binding is not None else None,
        "revoked": names.REVOKED in user.metadata.annotations,
        "credential": status.credential.to_object() if status.credential is not None else None,
        "acls": [rule.to_object() for rule in spec.authorization.acls],
        "quotas": {
            "declared": spec.quotas.to_object(),
            "effective": dict(status.quotas),
            "layers": [layer.to_object() for layer in status.quota_layers],
        },
        "foreign": status.foreign.to_object() if status.foreign is not None else None,
        "drift": status.drift.to_object() if status.drift is not None else None,
        "conditions": [condition.to_object() for condition in status.conditions],
        "events": event_documents(row.events),
    }


DESCRIPTION = View[Description]("UserDescription", (), lambda row: user_id(row.user), _document)


def description_text(row: Description, now: float) -> str:
    """Sections as `kubectl describe` has them, those that are empty left out."""
    user, status = row.user, row.user.status
    facts = [
        ("Name", user.metadata.name),
        ("Namespace", user.metadata.namespace),
        *_where(user),
        ("Principal", user.principal),
        ("State", state_line(user)),
        ("Secret", status.binding.name if status.binding is not None else "-"),
        ("Credentials", _credentials(user, now)),
        ("Created", f"{age(user.metadata.creation_timestamp, now)} ago"),
    ]
    parts = ["\n".join(f"{f'{name}:':<13}{value}" for name, value in facts)]
    if user.spec.authorization.acls:
        rows = [rule_cells(rule) for rule in user.spec.authorization.acls]
        parts.append("Rules\n" + indent(table(("type", "operations", "resource", "name", "host"), rows)))
    if status.quotas:
        parts.append("Quotas\n" + indent(_quotas(user)))
    if status.foreign is not None:
        more = status.foreign.acls - len(status.foreign.shown)
        lines = [*status.foreign.shown, *([f"and {more} more"] if more > 0 else []), *status.foreign.quotas]
        parts.append("Foreign (in Kafka, and not declared)\n" + indent("\n".join(lines)))
    if status.drift is not None:
        times = f"{status.drift.corrected} put back, last {age(status.drift.last, now)} ago"
        parts.append(f"Drift\n{indent(times)}")
    if status.conditions:
        parts.append("Conditions\n" + indent(conditions_text(status.conditions, now)))
    if row.events:
        parts.append("Events\n" + indent(events_text(row.events, now)))
    return "\n\n".join(parts)


def _where(user: KafkaUser) -> list[tuple[str, str]]:
    if user.spec.tenant_ref is None:
        return [("Cluster", user.cluster_name or "-")]
    return [("Tenant", user.spec.tenant_ref.name), ("Cluster", user.cell or "none yet")]


def _quotas(user: KafkaUser) -> str:
    """Each with the layers that it comes of, the one that binds named beside it."""
    status = user.status
    layers = status.quota_layers
    bound = {key: layer.name for layer in layers for key in layer.binds}
    rows = [
        (key, value, bound.get(key, "-"), *(layer.values.get(key, "-") for layer in layers))
        for key, value in sorted(status.quotas.items())
    ]
    shown = table(("quota", "on each broker", "by", *(layer.name for layer in layers)), rows)
    shares = [
        f"tenant: divided by {layer.users} users, byte rates also by {layer.brokers} brokers"
        for layer in layers
        if layer.users is not None
    ]
    return "\n".join([shown, *shares])


def state_line(user: KafkaUser) -> str:
    """Ready's reason, or that nobody has looked yet."""
    ready = find_condition(user.status.conditions, READY)
    if ready is None:
        return "Unreported"
    return ready.reason if ready.status == "True" else f"{ready.reason}: {' '.join(ready.message.split())}"


def _credentials(user: KafkaUser, now: float) -> str:
    kind, found = user.spec.authentication.type.value, user.status.credential
    if found is None:
        return f"{kind}, none yet"
    words = [kind]
    if found.issued_at is not None:
        words.append(f"issued {age(found.issued_at, now)} ago")
    if found.rotate_at is not None:
        words.append(f"next {found.rotate_at}")
    if found.not_after is not None:
        words.append(f"valid until {found.not_after}")
    return ", ".join(words)


def rule_cells(rule: AclRule) -> tuple[str, str, str, str, str]:
    name = rule.resource.name or "-"
    pattern = "*" if rule.resource.pattern_type.value == "prefixed" else ""
    operations = ",".join(operation.value for operation in rule.operations)
    return rule.type.value, operations, rule.resource.type.value, f"{name}{pattern}", rule.host


@dataclass(frozen=True, slots=True)
class LoginReport:
    """What came of logging in; checks in the order in which they were made."""

    user: KafkaUser
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def _report_document(row: LoginReport) -> dict[str, Any]:
    return {
        "name": row.user.metadata.name,
        "namespace": row.user.metadata.namespace,
        "principal": row.user.principal,
        "passed": row.ok,
        "checks": [
            {"name": check.name, "ok": check.ok, "evidence": check.evidence, "remedy": check.remedy}
            for check in row.checks
        ],
    }


REPORT = View[LoginReport]("UserTest", (), lambda row: user_id(row.user), _report_document)


def report_text(row: LoginReport) -> str:
    rows = [
        ("ok" if check.ok else "FAILED", check.name, f"{check.evidence} {check.remedy}".strip()) for check in row.checks
    ]
    return table(("result", "check", "evidence"), rows)
