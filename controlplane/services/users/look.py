"""What a pass finds out before anything is done: what Kafka has, where Secrets may be had, whose a password is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from controlplane.api.access import WhenNoAcl
from controlplane.domain.users.planner import AccessObservation
from controlplane.domain.users.values import Acl
from controlplane.ports import KafkaAdmin, KafkaError, KubeApi, KubeError
from controlplane.services.access.secrets import unenrolled
from controlplane.services.at_once import each
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


def is_anothers(entry: Entry, observed: AccessObservation) -> bool:
    """Kafka has a password of this name, and its status tells of none, nor announced this one in a pass that was
    killed. A Secret proves nothing: whoever may write one can have it name the user as its owner, and find a password
    with those iterations. A tenant's users take over nobody's. Who gets nothing for another reason is told that one."""
    user, told = entry.user, observed.scram.get(entry.user.user_name)
    if user.is_tls or told is None or entry.let_in or entry.pending or (user.spec.exclusive and not entry.of_tenant):
        return False
    return entry.announced != told and (entry.out or entry.unenrolled is None)


def lets_unlisted_through(ground: Ground) -> bool:
    """Also while the spec says otherwise already, and a node does not yet: a denial there would close what it names."""
    authorization, status = ground.cluster["spec"].get("authorization") or {}, ground.cluster.get("status") or {}
    return WhenNoAcl.ALLOW in (authorization.get("whenNoAcl"), status.get("whenNoAcl"))


def reads_from_replicas(ground: Ground) -> bool:
    """Whether brokers may send a client that reads to other replicas than the leader (KIP-392)."""
    return REPLICA_SELECTOR in (ground.cluster["spec"].get("config") or {})
