"""What a cluster's own changes wait for its users with: another authority that signs, and `whenNoAcl: Deny`. Pure.

A user whose Secret does not trust the authority that is about to sign could not connect any more, and one whose
certificate the former authority signed would not be let in once that is dropped. Who is kept out on purpose (deleted,
revoked), never had credentials or has no listener to log in at is waited for with neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.access import WhenNoAcl
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_user import KafkaUser
from controlplane.domain.access.values import Access, Authority
from controlplane.domain.check import Check
from controlplane.domain.cluster.world import UserState, World
from controlplane.domain.rolling.health import listing

OUT_OF_REACH = frozenset({"DenialImpossible", "CertificateStillValid"})
"""Why a user is not Ready that is kept out: `Deny` takes nothing from it."""


def state_of(user: KafkaUser, cluster: KafkaCluster) -> UserState:
    wanted = user.spec.authentication.type
    fits = [
        item
        for item in cluster.spec.listeners
        if item.authentication is not None
        and item.authentication.type is wanted
        and user.spec.listener in (None, item.name)
    ]
    credential = user.status.credential if fits else None
    ours = bool(fits) and fits[0].tls and fits[0].certificate_secret_ref is None
    ready = c.find_condition(user.status.conditions, c.READY)
    current = ready if ready is not None and ready.observed_generation == user.metadata.generation else None
    return UserState(
        name=user.metadata.name if user.spec.tenant_ref is None else f"{user.metadata.namespace}/{user.metadata.name}",
        out=user.metadata.deletion_timestamp is not None or names.REVOKED in user.metadata.annotations,
        ready=current is not None and current.status == "True",
        reason=current.reason if current is not None else "",
        refused=user.status.credential is None and _is_stalled(user),
        trusts=frozenset(credential.trusts) if credential is not None and ours else None,
        signed_by=credential.signed_by or "" if credential is not None and user.is_tls else None,
    )


def _is_stalled(user: KafkaUser) -> bool:
    found = c.find_condition(user.status.conditions, c.STALLED)
    return found is not None and found.status == "True" and found.observed_generation == user.metadata.generation


def matter(cluster: KafkaCluster, access: Access | None, stages: AbstractSet[WhenNoAcl]) -> bool:
    """Whether anything is decided by users now; otherwise nobody has to read them."""
    following = access is not None and any(_waits(access, one) for one in (access.cluster_ca, access.clients_ca))
    return following or _closes(cluster, stages)


# One authority follows another.


def behind(world: World, authority: Authority) -> tuple[str, ...]:
    """Names of the users that the next stage of this authority's succession waits for. None past its last moment:
    nodes must be signed anew before what they have ends, and what a dropped authority signed has ended by then."""
    access = world.access
    if access is None or not _waits(access, authority) or world.observation.as_of >= _last_moment(access, authority):
        return ()
    return tuple(user.name for user in world.users if not user.out and not _has_followed(user, authority))


def _has_followed(user: UserState, authority: Authority) -> bool:
    if authority.next_ is not None:
        return user.trusts is None or authority.next_.fingerprint in user.trusts
    return user.signed_by is None or authority.current is None or user.signed_by == authority.current.fingerprint


def _waits(access: Access, authority: Authority) -> bool:
    """The cluster's signs only once users trust it; that of users is dropped only once they have other certificates."""
    return authority.next_ is not None if authority is access.cluster_ca else authority.old is not None


def _last_moment(access: Access, authority: Authority) -> float:
    if authority.next_ is not None and authority.current is not None:
        return authority.current.not_after - access.lifetimes.restart_before
    return authority.old.not_after if authority.old is not None else 0.0


def awaited(world: World, authority: Authority) -> Iterator[Check]:
    """Who keeps this authority's succession from going on, and what people can do about it."""
    access, found = world.access, behind(world, authority)
    if access is None or not found:
        return
    lack = "do not trust it yet" if authority.next_ is not None else "have no certificate by it yet"
    yield Check(
        "UsersNotReissued",
        ok=False,
        evidence=f"Another authority follows {authority.name}, and KafkaUsers {lack}: {listing(found)}.",
        remedy="See what keeps them from CredentialsCurrent; revoke or delete those that nobody uses. It goes on "
        f"without them at {timestamp(_last_moment(access, authority))}.",
    )


# Authorization in stages.


def _closes(cluster: KafkaCluster, stages: AbstractSet[WhenNoAcl]) -> bool:
    """Whether `Deny` is asked for and no node has it yet. What has begun is finished whoever comes after."""
    wanted = cluster.spec.authorization
    return wanted is not None and wanted.when_no_acl is WhenNoAcl.DENY and stages == {WhenNoAcl.ALLOW}


def cut_off(world: World, stages: AbstractSet[WhenNoAcl]) -> Iterator[Check]:
    """Users whose ACLs are not there, which `Deny` would cut off. `stages` are what nodes run with."""
    if not _closes(world.cluster, stages):
        return
    found = [
        f"{user.name} ({user.reason or 'not looked at yet'})"
        for user in world.users
        if not (user.ready or user.out or user.refused or user.reason in OUT_OF_REACH)
    ]
    if found:
        yield Check(
            "UsersNotReady",
            ok=False,
            evidence=f"spec.authorization.whenNoAcl: Deny, and KafkaUsers are not Ready, which it would cut off: "
            f"{listing(found)}.",
            remedy="It begins by itself once they are. Revoke or delete those that nobody uses, or go back to Allow.",
        )
