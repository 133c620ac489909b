"""What a KafkaUser's status says. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.api import conditions as c
from controlplane.api.kafka_user import (
    MAX_FOREIGN_SHOWN,
    MAX_FOREIGN_TEXT,
    Binding,
    CredentialStatus,
    DriftStatus,
    ForeignStatus,
    KafkaUser,
    KafkaUserStatus,
    QuotaLayerStatus,
)
from controlplane.domain.access.enrolment import NOT_ENROLLED
from controlplane.domain.tenants.quotas import Division
from controlplane.domain.users.acls import from_texts
from controlplane.domain.users.acls import to_texts as acl_texts
from controlplane.domain.users.layers import TENANT, binding
from controlplane.domain.users.planner import ANOTHERS, UserPlan
from controlplane.domain.users.quotas import Layer
from controlplane.domain.users.quotas import from_texts as quotas_from_texts
from controlplane.domain.users.quotas import to_texts as quota_texts
from controlplane.services.users.credentials import Case

REVOKED = "Revoked"
DRIFT_SECONDS = 300.0
"""How often the count of corrections moves at most: who fights over an ACL must not make a status flap."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One condition's worth: the reason and, unless it holds, words for people. `waiting`: it may end by itself, at any
    moment; `later`: it does, and nothing is gained by looking often."""

    ok: bool
    reason: str
    message: str = ""
    waiting: bool = False
    later: bool = False


def owned_status(user: KafkaUser, plan: UserPlan, layers: tuple[QuotaLayerStatus, ...] | None) -> KafkaUserStatus:
    """Its status with what is about to be ours recorded, and what its quotas come of where they are known."""
    owned: dict[str, object] = {"acls": acl_texts(plan.acls.owned), "quotas": quota_texts(plan.quotas.owned)}
    return user.status.model_copy(update=owned | ({"quota_layers": layers} if layers is not None else {}))


def is_recorded(user: KafkaUser, plan: UserPlan, layers: tuple[QuotaLayerStatus, ...] | None) -> bool:
    """`layers` None: nothing about them is to be recorded."""
    if layers is not None and user.status.quota_layers != layers:
        return False
    acls = from_texts(user.principal, user.status.acls)
    return acls == plan.acls.owned and quotas_from_texts(user.status.quotas) == dict(plan.quotas.owned)


def says_revoked(status: KafkaUserStatus) -> bool:
    ready = c.find_condition(status.conditions, c.READY)
    return ready is not None and ready.reason == REVOKED


def no_longer_revoked(user: KafkaUser, now: float) -> KafkaUserStatus:
    """Its status before it is let in again: as long as one says that it is kept out, it is. Who revokes it in the next
    moment takes that for the answer."""
    told = "It is being let in again."
    generation = user.metadata.generation
    conditions = c.set_condition(
        user.status.conditions, c.READY, False, "Applying", told, observed_generation=generation, now=now
    )
    return user.status.model_copy(update={"conditions": conditions})


def user_status(
    user: KafkaUser,
    ready: Standing,
    credentials: Standing | None,
    plan: UserPlan | None,
    *,
    case: Case | None,
    layers: tuple[QuotaLayerStatus, ...] | None,
    drifted: int,
    now: float,
) -> KafkaUserStatus:
    """`plan` is the one after everything was done, None where Kafka was not asked: what was known stays then, and that
    of `credentials` and `layers` where nothing is known of them now."""
    old = user.status
    waiting = not ready.ok and (ready.waiting or ready.later)
    conditions = old.conditions
    for kind, value, standing in (
        (c.READY, ready.ok, ready),
        (c.CREDENTIALS_CURRENT, credentials is not None and credentials.ok, credentials),
        (c.RECONCILING, waiting, ready),
        (c.STALLED, not ready.ok and not waiting, ready),
    ):
        if standing is None:
            continue
        conditions = c.set_condition(
            conditions,
            kind,
            value,
            standing.reason,
            standing.message,
            observed_generation=user.metadata.generation,
            now=now,
        )
    credential = _credential(user, case)
    known = plan is not None and (plan.refusal is None or plan.kept or plan.refusal.name == ANOTHERS)
    return KafkaUserStatus(
        conditions=conditions,
        observed_generation=user.metadata.generation,
        principal=user.principal,
        cell=old.cell,
        binding=_binding(user, ready, case),
        credential=credential,
        announced=old.announced if credential is None else None,
        acls=acl_texts(plan.acls.owned) if plan is not None and known else old.acls,
        quotas=quota_texts(plan.quotas.owned) if plan is not None and known else old.quotas,
        quota_layers=layers if layers is not None and known else old.quota_layers,
        foreign=_foreign(plan) if plan is not None and known else old.foreign,
        drift=_drift(old.drift, drifted, now),
    )


def quota_layers(layers: Iterable[Layer], division: Division | None) -> tuple[QuotaLayerStatus, ...]:
    """`division` is what the tenant's layer came of."""
    found = tuple(layers)
    bound = binding(found)
    return tuple(
        QuotaLayerStatus(
            name=layer.name,
            values=quota_texts(layer.values),
            binds=tuple(key for key, name in bound.items() if name == layer.name),
            brokers=division.brokers if division is not None and layer.name == TENANT else None,
            users=division.users if division is not None and layer.name == TENANT else None,
        )
        for layer in found
    )


def _binding(user: KafkaUser, ready: Standing, case: Case | None) -> Binding | None:
    if case is None:
        return user.status.binding if ready.waiting or ready.reason == NOT_ENROLLED else None
    return Binding(name=user.secret_name) if case.held.obj is not None and case.held.ours else None


def _credential(user: KafkaUser, case: Case | None) -> CredentialStatus | None:
    """The end of a certificate never moves back: one that was made before may end later than the present one. First
    ones that Kafka may not have been told of are announced, and no more."""
    old = user.status.credential
    if case is None or case.held.obj is None or not case.held.ours or not (case.made or old is not None):
        return old
    stored = case.held.stored
    not_after = case.not_after
    if not_after is not None and old is not None and old.not_after is not None:
        not_after = max(not_after, c.seconds(old.not_after))
    return CredentialStatus(
        issued_at=c.timestamp(stored.issued_at) if stored.issued_at is not None else None,
        rotate_at=c.timestamp(case.rotate_at) if case.rotate_at is not None else None,
        not_after=c.timestamp(not_after) if not_after is not None else old.not_after if old is not None else None,
        rotation=case.met,
        trusts=case.trusts if case.trusts is not None else old.trusts if old is not None else (),
        signed_by=case.signed_by or (old.signed_by if old is not None else None),
    )


def _foreign(plan: UserPlan) -> ForeignStatus | None:
    acls, quotas = sorted(plan.acls.foreign), plan.quotas.foreign
    if not acls and not quotas:
        return None
    shown = tuple(str(acl)[:MAX_FOREIGN_TEXT] for acl in acls[:MAX_FOREIGN_SHOWN])
    return ForeignStatus(acls=len(acls), shown=shown, quotas=quotas)


def _drift(old: DriftStatus | None, drifted: int, now: float) -> DriftStatus | None:
    if not drifted:
        return old
    return DriftStatus(corrected=(old.corrected if old else 0) + drifted, last=c.timestamp(now))


def may_count(user: KafkaUser, now: float) -> bool:
    """Whether the count of corrections may move already."""
    last = user.status.drift.last if user.status.drift else None
    return last is None or now - c.seconds(last) >= DRIFT_SECONDS
