"""All users of one cluster at once: declared objects and what Kafka has in, what is to be done for each out. Pure.

- Who was let in has its principal, whatever its state; of those who were not one that rules or quotas were made for,
  while it waits, then the oldest object (ties by key). Another's deletion takes nothing from it.
- A revoked or deleted user is denied everything before its credential is taken; a deleted one also loses the rules and
  quotas that were made for it. The denial stays behind: a certificate cannot be called back, and a session lives on
  until it has to log in again.
- While whenNoAcl is Allow nobody is denied. Denials name every topic, group and transactionalId, and a resource that
  an ACL is about is closed to all who have none on it (StandardAuthorizer): one of them would cut off everybody. Whose
  certificate was to be kept out waits all the same, and is allowed nothing that it was not.
- A principal whose password in Kafka is another's is left alone whatever its object says: nothing is made for it, it is
  denied nothing, and only what was made for it before goes.
- A user that is barred gets nothing new, and what was made for it before stays and is looked after; its quotas go on
  following, so that others have theirs.
- A tenant's user gets no principal that somebody has given rules to beside kfleet: it would have them too.
- A certificate that was revoked is still valid for whoever has it. Its principal is let in again only when every
  certificate made for it has expired, also one that logs in with a password now. A session lives on after its password
  is gone: until the last one has ended the principal stays denied too, and a password that was not taken goes.
- The plan of a world in which the plan was carried out is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.domain.access.listeners import REAUTHENTICATE_SECONDS
from controlplane.domain.check import Check
from controlplane.domain.users.acls import AclPlan, plan_acls, revocation
from controlplane.domain.users.certificates import CLOCKS_APART, is_over
from controlplane.domain.users.quotas import Layer, QuotaPlan, effective, plan_quotas, replace_values
from controlplane.domain.users.tenancy import is_within
from controlplane.domain.users.values import ALLOW, Acl

UNGUARDED = "AuthorizationDisabled"
UNDENIABLE = "DenialImpossible"
ANOTHERS = "CredentialExists"
SESSIONS = "SessionsNotOver"
STILL_VALID = "CertificateStillValid"


@dataclass(frozen=True, slots=True)
class DesiredUser:
    """What one object asks for. `key` is its namespace/name; times are seconds since the epoch.

    `owned_acls` and `owned_quotas` are what kfleet has made for it before, from its status. `certified`: there may be
    certificates of its principal, its own or of who had it before. `not_after` is when the last of them expires, or the
    last session with a former password ends; None where nobody knows. `anothers`: Kafka's password of this name was not
    made for it. `let_in`: it has had credentials. `pending`: who had its principal before left while the cluster was
    away, and has not been kept out yet. `barred`: why it may have nothing new. `layers` None: what its quotas are is
    not known, and they stay; of a paused one they are those that its status tells of. `given_back` is what load
    shedding has set and does not ask for any more, by Kafka's key. `within` is the prefix that a tenant's user is
    confined to. `owed`: a certificate of its principal is to be kept out once somebody can be denied anything again.
    `announced`: the iterations of a first password that was about to be made for it.
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
    layers: tuple[Layer, ...] | None = ()
    given_back: Mapping[str, float] = field(default_factory=dict)
    exclusive: bool = False
    owned_acls: frozenset[Acl] = frozenset()
    owned_quotas: Mapping[str, float] = field(default_factory=dict)
    certified: bool = False
    not_after: float | None = None
    anothers: bool = False
    let_in: bool = False
    pending: bool = False
    barred: Check | None = None
    within: str | None = None
    owed: bool = False
    announced: int | None = None

    @property
    def out(self) -> bool:
        return self.revoked or self.deleting

    @property
    def has_something(self) -> bool:
        """There may be something in Kafka that was made for it: another with its principal would have that too."""
        return bool(self.owned_acls or self.owned_quotas or self.announced)


@dataclass(frozen=True, slots=True)
class AccessObservation:
    """What Kafka has. `acls` is None where there is no authorizer; `scram` are iterations by user."""

    acls: frozenset[Acl] | None
    scram: Mapping[str, int]
    quotas: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class UserPlan:
    """`refusal`: nothing of the user is touched, but for a denial that stays. `kept`: refused, and its credentials and
    quotas are looked after all the same. `forget`: its SCRAM credential is to be deleted.
    `has_principal`: no other object has it."""

    refusal: Check | None = None
    acls: AclPlan = field(default_factory=AclPlan)
    quotas: QuotaPlan = field(default_factory=QuotaPlan)
    forget: bool = False
    kept: bool = False
    has_principal: bool = True

    @property
    def may_log_in(self) -> bool:
        """Whether there are to be credentials. Without an authorizer there are: they are no less needed then."""
        return self.refusal is None or self.refusal.name == UNGUARDED or self.kept

    @property
    def waits_for_sessions(self) -> bool:
        """It is let in once nobody can be logged in with a former password; until then its revocation goes on."""
        return self.refusal is not None and self.refusal.name == SESSIONS

    @property
    def is_empty(self) -> bool:
        return not (self.acls.create or self.acls.delete or self.quotas.changes or self.forget)


def winners(desired: Iterable[DesiredUser]) -> dict[str, DesiredUser]:
    """By principal."""
    found: dict[str, DesiredUser] = {}
    for user in sorted(desired, key=lambda user: (not user.let_in, not user.has_something, user.created_at, user.key)):
        found.setdefault(user.principal, user)
    return found


def plan_users(
    desired: Iterable[DesiredUser], observed: AccessObservation, now: float, *, unlisted: bool = False
) -> dict[str, UserPlan]:
    """By key. Paused users keep their principal and are otherwise left alone, unless they are to be kept out, or load
    shedding has taken something from them that is theirs again.

    `unlisted`: what no ACL is about is let through (whenNoAcl: Allow).
    """
    users = list(desired)
    first = winners(users)
    plans = {}
    for user in users:
        winner = first[user.principal]
        if winner is not user:
            refusal = None if user.deleting else principal_taken(user, winner)
            plans[user.key] = UserPlan(refusal=refusal, has_principal=False)
        elif not user.paused or user.out:
            plans[user.key] = plan_user(user, observed, now, unlisted=unlisted)
        elif user.given_back:
            plans[user.key] = _paused(user, observed)
    return plans


def plan_user(user: DesiredUser, observed: AccessObservation, now: float, *, unlisted: bool = False) -> UserPlan:
    """Of the one who has the principal."""
    if user.anothers:
        return _taken_away(user, observed)
    quotas = _quotas(user, observed)
    barred = None if user.out else user.barred or _has_rules(user, observed)
    if barred is not None:
        denials = revocation(user.principal) - user.owned_acls if unlisted else frozenset[Acl]()
        acls = AclPlan(delete=denials & (observed.acls or frozenset()), owned=user.owned_acls)
        return UserPlan(barred, acls, quotas, kept=True) if user.let_in else UserPlan(barred, acls)
    told = not user.tls and user.user in observed.scram
    if observed.acls is None:
        return UserPlan(refusal=_unguarded(user), quotas=quotas, forget=told and user.out)
    refusal = (_undeniable(user) if unlisted else None) or _still_about(
        user, observed.acls, now, told=told, unlisted=unlisted
    )
    denied = revocation(user.principal) if not unlisted and (user.out or refusal) else frozenset()
    declared = frozenset() if user.deleting else user.acls
    acls = plan_acls(
        user.principal,
        declared | denied,
        user.owned_acls,
        observed.acls,
        exclusive=user.exclusive and not user.deleting,
    )
    if unlisted and (user.out or refusal):
        acls = acls.without(acl for acl in acls.create if acl.permission == ALLOW)
    plan = UserPlan(refusal, acls, quotas)
    return replace(plan, forget=told and (user.out or plan.waits_for_sessions))


def _paused(user: DesiredUser, observed: AccessObservation) -> UserPlan:
    """Of a paused user only what load shedding has set, and still stands there, becomes what it was."""
    quotas = replace_values(
        user.given_back, effective(user.layers or ()), user.owned_quotas, observed.quotas.get(user.user, {})
    )
    paused = Check("Paused", ok=False, evidence=f"metadata.annotations[{names.PAUSED}]: it is left alone.")
    return UserPlan(paused, AclPlan(owned=user.owned_acls), quotas)


def _taken_away(user: DesiredUser, observed: AccessObservation) -> UserPlan:
    """Of a user whose name is another's in Kafka: only what was made for it goes."""
    ours = user.owned_acls & (observed.acls or frozenset())
    quotas = plan_quotas({}, user.owned_quotas, observed.quotas.get(user.user, {}), exclusive=False)
    refusal = Check(
        ANOTHERS,
        ok=False,
        evidence=f"spec.userName: Kafka has a password of {user.user!r} already, which somebody else made and may be "
        "using.",
        remedy="Choose another spec.userName, or have it deleted (kafka-configs --delete-config SCRAM-SHA-512)."
        if user.within is not None
        else "Delete it (kafka-configs --delete-config SCRAM-SHA-512), or take it over with spec.exclusive: true; "
        "clients need the new one then.",
    )
    return UserPlan(refusal, AclPlan(delete=ours, owned=ours), QuotaPlan(quotas.changes, owned=quotas.owned))


def _quotas(user: DesiredUser, observed: AccessObservation) -> QuotaPlan:
    if user.layers is None and not user.deleting:
        return QuotaPlan(owned=user.owned_quotas)
    wanted = {} if user.deleting else effective(user.layers or ())
    found = observed.quotas.get(user.user, {})
    return plan_quotas(wanted, user.owned_quotas, found, exclusive=user.exclusive and not user.deleting)


def _has_rules(user: DesiredUser, observed: AccessObservation) -> Check | None:
    """A tenant's user, of a principal that others have allowed something beyond the tenant's names."""
    if user.within is None or (user.exclusive and user.let_in):
        return None
    theirs = {acl for acl in observed.acls or () if acl.principal == user.principal and acl.permission == ALLOW}
    found = sorted(acl for acl in theirs - user.owned_acls if not is_within(acl, user.within))
    if not found:
        return None
    return Check(
        "PrincipalHasRules",
        ok=False,
        evidence=f"spec.userName: {user.principal} is allowed in Kafka what no KafkaUser declares ({found[0]}"
        f"{f' and {len(found) - 1} more' if len(found) > 1 else ''}): a tenant's user would have it too.",
        remedy="Choose another spec.userName, or have these ACLs removed with kafka-acls.",
    )


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


def _still_about(user: DesiredUser, acls: frozenset[Acl], now: float, *, told: bool, unlisted: bool) -> Check | None:
    """A denial of an earlier revocation, of a principal that somebody may still be: with a certificate, or logged in
    with a former password, which a revocation that was cut short has not taken (`told`: Kafka has it). A denial of a
    password user that nobody noted down is lifted at once, and so is one of a session where nobody is denied."""
    was_out = user.pending or user.owed or bool((revocation(user.principal) - user.acls) & acls)
    is_over_now = not user.pending and is_over(user.not_after, now, certificate=user.certified)
    if user.out or not was_out or (unlisted and (is_over_now or not user.certified)):
        return None
    if user.pending and not user.certified:
        return _sessions_not_over(user, now + REAUTHENTICATE_SECONDS)
    if is_over_now:
        return _sessions_not_over(user, now + REAUTHENTICATE_SECONDS) if told else None
    if not user.certified:
        return _sessions_not_over(user, user.not_after) if user.not_after is not None else None
    end = user.not_after + CLOCKS_APART if user.not_after is not None else None
    until = f" on all clocks ({timestamp(end)})" if end is not None else ", which nobody here knows"
    certain = "delete the four DENY ACLs of the principal"
    return Check(
        STILL_VALID,
        ok=False,
        evidence=f"spec.userName: {user.principal} was revoked, and a certificate cannot be called back: whoever has "
        "it would be let in again.",
        remedy=f"Choose another spec.userName, or wait until the last certificate has expired{until}. If it is certain "
        f"that none is about any more, {certain}{' once whenNoAcl of the cluster is Deny' if unlisted else ''}.",
    )


def _sessions_not_over(user: DesiredUser, until: float) -> Check:
    return Check(
        SESSIONS,
        ok=False,
        evidence=f"spec.userName: {user.principal} was kept out a short time ago, and whoever was logged in with its "
        f"former password may be so until {timestamp(until)}: let in now, they would be too.",
        remedy="It is let in then by itself.",
    )


def principal_taken(user: DesiredUser, winner: DesiredUser) -> Check:
    return Check(
        "PrincipalTaken",
        ok=False,
        evidence=f"spec.userName: {user.principal} belongs to {_shown(winner, user)}, which had it first.",
        remedy="Choose another name, or delete that object.",
    )


def _shown(winner: DesiredUser, to: DesiredUser) -> str:
    """With its namespace, unless it is the same."""
    return winner.key.removeprefix(f"{to.key.rpartition('/')[0]}/")
