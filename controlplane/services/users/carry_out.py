"""Carry out the plans of a pass, of all users together: who is out is kept out, then the others are let in.

The order is the safety: denials first, credentials before rules let anybody use them, rules before others are taken
away, and a denial is lifted last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.duration import parse_seconds
from controlplane.domain.check import Check, explain
from controlplane.domain.users.acls import revocation
from controlplane.domain.users.credentials import MIN_ROTATE_AFTER
from controlplane.domain.users.login import entrance
from controlplane.domain.users.planner import AccessObservation, UserPlan
from controlplane.domain.users.values import DENY, Acl
from controlplane.ports import ForbiddenError, KafkaAdmin, KubeApi
from controlplane.services.users import secrets
from controlplane.services.users.claims import Claims
from controlplane.services.users.credentials import NORMAL, WARNING, Case, Credentials, Obstacle, Told, secret_refused
from controlplane.services.users.entry import Entry
from controlplane.services.users.ground import Ground, GroundReader
from controlplane.services.users.guarded import each_user

Plans = Mapping[str, UserPlan]
"""By key."""


class Execution:
    """`going` are entries by key for which something may be done, each with a plan."""

    def __init__(self, kube: KubeApi, ground: GroundReader, credentials: Credentials, claims: Claims) -> None:
        self._kube, self._ground, self._credentials, self._claims = kube, ground, credentials, claims

    async def keep_out(self, admin: KafkaAdmin, going: Mapping[str, Entry], plans: Plans) -> bool:
        """Denials first, which bite at the next request; then the credentials, in Kafka and in Secrets. Whether Kafka
        was asked for anything. Raises KafkaError."""
        denials = {key: {acl for acl in plans[key].acls.create if acl.permission == DENY} for key in going}
        changed = await _acls(admin, going, denials, create=True)
        out = [entry for key, entry in going.items() if plans[key].forget and not entry.errors]
        if out:
            results = await admin.delete_scram([entry.user.user_name for entry in out])
            for entry in out:
                error = results.get(entry.user.user_name)
                if error is not None and error.code != "RESOURCE_NOT_FOUND":
                    entry.errors.append(error)
        # A Secret is what says whose a password is: it stays until Kafka has the password no more.
        forgotten = [e for key, e in going.items() if (e.out or plans[key].waits_for_sessions) and not e.errors]
        await each_user(forgotten, self._forget_secret)
        return changed or bool(out)

    async def let_in(
        self,
        ground: Ground,
        admin: KafkaAdmin,
        going: Mapping[str, Entry],
        plans: Plans,
        observed: AccessObservation,
        *,
        unlisted: bool,
    ) -> bool:
        """As `keep_out`. `unlisted`: what no ACL is about is let through, so that denials have to go for others' sake.
        Raises KafkaError."""
        wanted = [e for key, e in going.items() if not e.out and plans[key].may_log_in]
        await self._cases(ground, wanted, observed)
        cases = [entry.case for entry in wanted if entry.case is not None]
        await self._credentials.bring_about(admin, cases, await self._ground.signer(ground, cases))
        changed = any(case.changed for case in cases)
        create = {key: {acl for acl in plans[key].acls.create if acl.permission != DENY} for key in going}
        changed |= await _acls(admin, going, create, create=True)
        # Rules are taken away once the new ones are there; a denial is lifted once there are credentials again.
        delete = {key: set(plans[key].acls.delete) for key in going}
        for entry in wanted:
            if not unlisted and (entry.case is None or entry.case.problem is not None):
                delete[entry.key] -= revocation(entry.user.principal)
        changed |= await _acls(admin, going, delete, create=False)
        changes = {going[key].user.user_name: plans[key].quotas.changes for key in going if plans[key].quotas.changes}
        if changes:
            results = await admin.alter_user_quotas(changes)
            for entry in going.values():
                if error := results.get(entry.user.user_name):
                    entry.errors.append(error)
        for key, entry in going.items():
            _count_drift(entry, plans[key])
        return changed or bool(changes)

    async def _forget_secret(self, entry: Entry) -> None:
        """What a Secret held is known to others by now: it is not used again."""
        if entry.unenrolled is not None:
            return
        try:
            held = await secrets.read(self._kube, entry.user)
            deleted = await secrets.delete(self._kube, entry.user, held)
        except ForbiddenError as error:
            entry.problem = secret_refused(entry.user, error)
            return
        if deleted:
            note = f"{entry.user.principal} is kept out, and its credentials are gone"
            entry.events.append(Told(NORMAL, "UserRevoked", note))

    async def _cases(self, ground: Ground, entries: Sequence[Entry], observed: AccessObservation) -> None:
        async def look(entry: Entry) -> None:
            found = await self._case(ground, entry, observed)
            if isinstance(found, Case):
                entry.case = found
            else:
                entry.problem = found

        await each_user(entries, look)

    async def _case(self, ground: Ground, entry: Entry, observed: AccessObservation) -> Case | Obstacle:
        if entry.unenrolled is not None:
            return Obstacle(entry.unenrolled.name, explain([entry.unenrolled]))
        found = entrance(ground.cluster, entry.user)
        if isinstance(found, Check):
            return Obstacle(found.name, explain([found]))
        if not found.bootstrap_servers:
            ref = "spec.tenantRef" if entry.of_tenant else "spec.clusterRef"
            told = f"{ref}: listener {found.name!r} of the cluster is not up yet."
            return Obstacle("ClusterNotReady", told, waiting=True)
        ca = await self._ground.authority(ground, found)
        if isinstance(ca, Obstacle):
            return ca
        try:
            held = await secrets.read(self._kube, entry.user)
        except ForbiddenError as error:
            return secret_refused(entry.user, error)
        rotate_after = entry.user.spec.authentication.rotate_after
        return Case(
            user=entry.user,
            entrance=found,
            ca=ca,
            held=held,
            told=observed.scram.get(entry.user.user_name),
            rotation=entry.user.metadata.annotations.get(names.ROTATE_AT, "")[:64],
            announce=partial(self._claims.announce, entry),
            spent=not entry.user.is_tls and entry.is_spent(observed),
            rotate_after=max(parse_seconds(rotate_after), MIN_ROTATE_AFTER) if rotate_after is not None else None,
        )


async def _acls(admin: KafkaAdmin, going: Mapping[str, Entry], wanted: Mapping[str, set[Acl]], *, create: bool) -> bool:
    every = sorted({acl for key in going for acl in wanted[key]})
    if not every:
        return False
    results = await (admin.create_acls(every) if create else admin.delete_acls(every))
    for key, entry in going.items():
        entry.errors += [error for acl in sorted(wanted[key]) if (error := results.get(acl)) is not None]
    return True


def _count_drift(entry: Entry, plan: UserPlan) -> None:
    """Only of users that were as declared: until then what is missing has not been there."""
    ready = c.find_condition(entry.user.status.conditions, c.READY)
    was = ready is not None and ready.status == "True"
    if was and ready is not None and ready.observed_generation == entry.user.metadata.generation:
        put_back = [*sorted(map(str, plan.acls.drifted)), *plan.quotas.drifted]
        if put_back:
            shown = "; ".join(put_back[:4]) + (f" and {len(put_back) - 4} more" if len(put_back) > 4 else "")
            entry.events.append(Told(WARNING, "DriftCorrected", f"put back: {shown}"))
        entry.drifted += len(put_back)
    if entry.case is not None:
        entry.drifted += entry.case.drifted
        entry.events += entry.case.events
