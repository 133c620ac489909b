"""What a pass finds out before anything is done: what Kafka has, where Secrets may be had, whose a password is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from controlplane.api.access import WhenNoAcl
from controlplane.domain.users.credentials import is_of
from controlplane.domain.users.planner import AccessObservation
from controlplane.domain.users.values import Acl
from controlplane.ports import ForbiddenError, KafkaAdmin, KafkaError, KubeApi, KubeError
from controlplane.services.access.secrets import unenrolled
from controlplane.services.at_once import each
from controlplane.services.users import secrets
from controlplane.services.users.credentials import secret_refused
from controlplane.services.users.entry import Entry
from controlplane.services.users.ground import Ground

log = logging.getLogger(__name__)

NO_AUTHORIZER = "SECURITY_DISABLED"
REPLICA_SELECTOR = "replica.selector.class"


async def observe(admin: KafkaAdmin) -> AccessObservation:
    """Raises KafkaError."""

    async def all_acls() -> frozenset[Acl] | None:
        try:
            return await admin.describe_acls()
        except KafkaError as error:
            if error.code != NO_AUTHORIZER:
                raise
            return None

    found, scram, limits = await asyncio.gather(all_acls(), admin.describe_scram(), admin.describe_user_quotas())
    return AccessObservation(acls=found, scram=scram, quotas=limits)


async def look_for_enrolment(kube: KubeApi, entries: Iterable[Entry]) -> None:
    """One question a namespace, however many users it has. Who has no credentials yet gets nothing where no Secret can
    be made for them."""
    there: dict[str, list[Entry]] = {}
    for entry in entries:
        there.setdefault(entry.user.metadata.namespace, []).append(entry)

    async def look(namespace: str) -> None:
        try:
            found = await unenrolled(kube, namespace)
        except KubeError as error:  # who is kept out does not wait for it; what it means for Secrets they will say
            log.warning("namespace %s: whether it is enrolled cannot be told: %s", namespace, error.message)
            return
        for entry in there[namespace]:
            entry.unenrolled = found
            if not entry.let_in:
                entry.barred = found or entry.barred

    await each(there, look)


def is_unknown(entry: Entry, observed: AccessObservation) -> bool:
    """Kafka has a password of this name, and its status tells of none. A tenant's users take over nobody's."""
    user = entry.user
    told = entry.let_in or entry.pending or (user.spec.exclusive and not entry.of_tenant)
    return not user.is_tls and user.user_name in observed.scram and not told


async def find_owner(kube: KubeApi, entry: Entry, told: int | None = None) -> None:
    """Of a password that no status tells of: a pass that was killed has left a Secret with it. Where none can be read
    the password is another's; who is not let in for that anyhow is told why. `told` are the iterations that Kafka has,
    None where it cannot be asked: by them alone a Secret that somebody made is known."""
    entry.anothers = True
    if entry.unenrolled is not None:
        entry.anothers = entry.out
        return
    try:
        held = await secrets.read(kube, entry.user)
    except ForbiddenError as error:
        entry.problem = secret_refused(entry.user, error)
        return
    is_known = told is None or is_of(entry.user.user_name, held.stored, told)
    entry.anothers = held.obj is None or not held.ours or not is_known


def lets_unlisted_through(ground: Ground) -> bool:
    """Also while the spec says otherwise already, and a node does not yet: a denial there would close what it names."""
    authorization, status = ground.cluster["spec"].get("authorization") or {}, ground.cluster.get("status") or {}
    return WhenNoAcl.ALLOW in (authorization.get("whenNoAcl"), status.get("whenNoAcl"))


def reads_from_replicas(ground: Ground) -> bool:
    """Whether brokers may send a client that reads to other replicas than the leader (KIP-392)."""
    return REPLICA_SELECTOR in (ground.cluster["spec"].get("config") or {})
