"""All users of one cluster at once: declared objects and what Kafka has in, what is to be done for each out. Pure.

- The oldest object wins a principal (ties by key), whatever its state; another's deletion takes nothing from it.
- A revoked or deleted user is denied everything before its credential is taken; a deleted one also loses the rules and
  quotas that were made for it. The denial stays behind: a certificate cannot be called back, and a session lives on
  until it has to log in again.
- While whenNoAcl is Allow nobody is denied. Denials name every topic, group and transactionalId, and a resource that
  an ACL is about is closed to all who have none on it (StandardAuthorizer): one of them would cut off everybody.
- A principal whose password in Kafka is another's is left alone whatever its object says: nothing is made for it, it is
  denied nothing, and only what was made for it before goes.
- A certificate that was revoked is still valid for whoever has it. Its principal is let in again only when every
  certificate made for it has expired.
- The plan of a world in which the plan was carried out is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.domain.check import Check
from controlplane.domain.users.acls import AclPlan, plan_acls, revocation
from controlplane.domain.users.quotas import Layer, QuotaPlan, effective, plan_quotas
from controlplane.domain.users.values import Acl

UNGUARDED = "AuthorizationDisabled"
UNDENIABLE = "DenialImpossible"
ANOTHERS = "CredentialExists"


@dataclass(frozen=True, slots=True)
class DesiredUser:
    """What one object asks for. `key` is its name; times are seconds since the epoch.

    `owned_acls` and `owned_quotas` are what kfleet has made for it before, from its status. `not_after` is when the
    last certificate made for it expires, None for none. `anothers`: Kafka's password of this name was not made for it.
    """

    key: str
    user: str
    principal: str
    tls: bool = False
    created_at: float = 0.0
    paused: bool = False
    revoked: bool = False
    deleting: bool = False
    acls: frozenset[Acl] = frozenset()
    layers: tuple[Layer, ...] = ()
    exclusive: bool = False
    owned_acls: frozenset[Acl] = frozenset()
    owned_quotas: Mapping[str, float] = field(default_factory=dict)
    not_after: float | None = None
    anothers: bool = False

    @property
    def out(self) -> bool:
        return self.revoked or self.deleting


@dataclass(frozen=True, slots=True)
class AccessObservation:
    """What Kafka has. `acls` is None where there is no authorizer; `scram` are iterations by user."""

    acls: frozenset[Acl] | None
    scram: Mapping[str, int]
    quotas: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class UserPlan:
    """`refusal`: nothing of the user is touched, but for a denial that stays. `forget`: its SCRAM credential is to be
    deleted."""

    refusal: Check | None = None
    acls: AclPlan = field(default_factory=AclPlan)
    quotas: QuotaPlan = field(default_factory=QuotaPlan)
    forget: bool = False

    @property
    def may_log_in(self) -> bool:
        """Whether there are to be credentials. Without an authorizer there are: they are no less needed then."""
        return self.refusal is None or self.refusal.name == UNGUARDED

    @property
    def is_empty(self) -> bool:
        return not (self.acls.create or self.acls.delete or self.quotas.changes or self.forget)


def winners(desired: Iterable[DesiredUser]) -> dict[str, DesiredUser]:
    """By principal."""
    found: dict[str, DesiredUser] = {}
    for user in sorted(desired, key=lambda user: (user.created_at, user.key)):
        found.setdefault(user.principal, user)
    return found


def plan_users(
    desired: Iterable[DesiredUser], observed: AccessObservation, now: float, *, unlisted: bool = False
) -> dict[str, UserPlan]:
    """By key. Paused users keep their principal and are otherwise left alone, unless they are to be kept out.

    `unlisted`: what no ACL is about is let through (whenNoAcl: Allow).
    """
    users = list(desired)
    first = winners(users)
    plans = {}
    for user in users:
        winner = first[user.principal]
        if winner is not user:
            plans[user.key] = UserPlan(refusal=None if user.deleting else principal_taken(user, winner))
        elif not user.paused or user.out:
            plans[user.key] = plan_user(user, observed, now, unlisted=unlisted)
    return plans


def plan_user(user: DesiredUser, observed: AccessObservation, now: float, *, unlisted: bool = False) -> UserPlan:
    """Of the one who has the principal."""
    if user.anothers:
        return _taken_away(user, observed)
    quotas = _quotas(user, observed)
    forget = user.out and not user.tls and user.user in observed.scram
    if observed.acls is None:
        return UserPlan(refusal=_unguarded(user), quotas=quotas, forget=forget)
    refusal = _undeniable(user) if unlisted else _still_valid(user, observed.acls, now)
    denied = revocation(user.principal) if not unlisted and (user.out or refusal) else frozenset()
    declared = frozenset() if user.deleting else user.acls
    acls = plan_acls(
        user.principal,
        declared | denied,
        user.owned_acls,
        observed.acls,
        exclusive=user.exclusive and not user.deleting,
    )
    return UserPlan(refusal, acls, quotas, forget)


def _taken_away(user: DesiredUser, observed: AccessObservation) -> UserPlan:
    """Of a user whose name is another's in Kafka: only what was made for it goes."""
    ours = user.owned_acls & (observed.acls or frozenset())
    quotas = plan_quotas({}, user.owned_quotas, observed.quotas.get(user.user, {}), exclusive=False)
    refusal = Check(
        ANOTHERS,
        ok=False,
        evidence=f"spec.userName: Kafka has a password of {user.user!r} already, which somebody else made and may be "
        "using.",
        remedy="Delete it (kafka-configs --delete-config SCRAM-SHA-512), or take it over with spec.exclusive: true; "
        "clients need the new one then.",
    )
    return UserPlan(refusal, AclPlan(delete=ours, owned=ours), QuotaPlan(quotas.changes, owned=quotas.owned))


def _quotas(user: DesiredUser, observed: AccessObservation) -> QuotaPlan:
    wanted = {} if user.deleting else effective(user.layers)
    found = observed.quotas.get(user.user, {})
    return plan_quotas(wanted, user.owned_quotas, found, exclusive=user.exclusive and not user.deleting)


def _unguarded(user: DesiredUser) -> Check | None:
    if user.deleting or not (user.acls or user.revoked):
        return None
    return Check(
        UNGUARDED,
        ok=False,
        evidence="spec.authorization.acls: the cluster has no authorizer, so that everybody may do everything.",
        remedy="Set spec.authorization.type: Standard on the KafkaCluster; the ACLs follow by themselves.",
    )


def _undeniable(user: DesiredUser) -> Check | None:
    if not (user.revoked and user.tls) or user.deleting:
        return None
    return Check(
        UNDENIABLE,
        ok=False,
        evidence=f"metadata.annotations: {user.principal} cannot be denied anything while spec.authorization.whenNoAcl "
        "of the cluster is Allow: denying it would cut off every client without ACLs. Its Secret is gone, and whoever "
        "has its certificate is still let in.",
        remedy="Set spec.authorization.whenNoAcl: Deny on the KafkaCluster once its users have their ACLs; the denial "
        "follows by itself.",
    )


def _still_valid(user: DesiredUser, acls: frozenset[Acl], now: float) -> Check | None:
    """A denial of an earlier revocation, of a principal that logs in with certificates."""
    if user.out or not user.tls or not (revocation(user.principal) - user.acls) & acls:
        return None
    if user.not_after is not None and now >= user.not_after:
        return None
    return Check(
        "CertificateStillValid",
        ok=False,
        evidence=f"spec.userName: {user.principal} was revoked, and a certificate cannot be called back: whoever has "
        "it would be let in again.",
        remedy="Choose another spec.userName, or wait until the last certificate has expired (status.credential"
        ".notAfter). If it is certain that none is about any more, delete the four DENY ACLs of the principal.",
    )


def principal_taken(user: DesiredUser, winner: DesiredUser) -> Check:
    return Check(
        "PrincipalTaken",
        ok=False,
        evidence=f"spec.userName: {user.principal} belongs to {winner.key}, which is older.",
        remedy="Choose another name, or delete that object.",
    )
