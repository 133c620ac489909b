"""Reconcile all KafkaUsers of one cluster in one pass: three questions to Kafka and a handful of calls, whatever their
number; a Secret each, by name.

The order is the safety: who is out is denied before anything else is done, credentials are in Kafka before rules let
anybody use them, and rules are made before others are taken away. What is about to be ours is recorded before it is
made, so that a crash in between leaves nothing behind that nobody knows of. After the calls everything is read again,
and a user is Ready when nothing is left to be done for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.access import WhenNoAcl
from controlplane.api.duration import parse_seconds
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_user import KafkaUserStatus
from controlplane.domain.access.enrolment import is_fresh
from controlplane.domain.check import Check, explain
from controlplane.domain.shedding.tighten import Shed
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.users.acls import revocation
from controlplane.domain.users.credentials import MIN_ROTATE_AFTER, is_of
from controlplane.domain.users.layers import CellState
from controlplane.domain.users.login import entrance
from controlplane.domain.users.planner import SESSIONS, AccessObservation, UserPlan, plan_users
from controlplane.domain.users.values import DENY, Acl
from controlplane.ports import (
    Clock,
    ConflictError,
    ForbiddenError,
    KafkaAdmin,
    KafkaAdmins,
    KafkaError,
    KubeApi,
    KubeError,
    NotFoundError,
    Passwords,
    Pki,
    UnreachableError,
)
from controlplane.services.access.secrets import unenrolled
from controlplane.services.at_once import each
from controlplane.services.cluster.observe import KAFKA_USERS as KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key
from controlplane.services.tenants.read import read_directory
from controlplane.services.users import secrets
from controlplane.services.users.credentials import (
    NORMAL,
    WARNING,
    Case,
    Credentials,
    Obstacle,
    Told,
    refused,
    secret_refused,
    unexpected,
)
from controlplane.services.users.departed import Departures, Memory, change, forget, lift
from controlplane.services.users.entry import Entry
from controlplane.services.users.ground import Ground, GroundReader
from controlplane.services.users.report import Reporter
from controlplane.services.users.residents import residents
from controlplane.services.users.shares import Shares
from controlplane.services.users.status import (
    REVOKED,
    Standing,
    is_recorded,
    no_longer_revoked,
    owned_status,
    says_revoked,
)
from controlplane.settings import OperatorSettings

log = logging.getLogger(__name__)

NO_AUTHORIZER = "SECURITY_DISABLED"
REPLICA_SELECTOR = "replica.selector.class"


class UserService:
    def __init__(
        self,
        kube: KubeApi,
        admins: KafkaAdmins,
        *,
        pki: Pki,
        passwords: Passwords,
        clock: Clock,
        events: EventRecorder,
        settings: OperatorSettings,
    ) -> None:
        self._kube, self._clock, self._settings = kube, clock, settings
        self._ground = GroundReader(kube, admins, by_name=settings.addressing == "DNS")
        lifetime = settings.user_certificate_lifetime
        self._credentials = Credentials(kube, pki, passwords, clock, lifetime=lifetime)
        self._departures = Departures(kube, pki, clock, lifetime=lifetime)
        self._shares, self._report = Shares(), Reporter(kube, clock, events)

    async def reconcile(self, key: Key) -> float | None:
        """`key` names the cluster. None when it has no users: an event will wake us."""
        directory = await read_directory(self._kube)
        entries = await residents(self._kube, key, directory, watches=self._settings.watches)
        memory = await self._departures.read(key, entries)
        if not entries and not memory.records:
            return None
        ground = await self._ground.read(key)
        if ground.is_gone:
            await self._leave(ground, [entry for entry in entries if entry.deleting], memory)
        if ground.admin is None:
            if not entries:
                return None if ground.is_gone else self._pause(ground, entries)
            standings = {
                e.key: Standing(ok=False, reason=ground.reason, message=ground.told(e.user), waiting=ground.is_coming)
                for e in entries
            }
            await self._write_all(entries, standings, {}, None)
            return self._pause(ground, entries)
        try:
            standings, plans, cell = await self._bring_about(ground, ground.admin, entries, directory, memory)
        except KafkaError as error:
            waiting = Standing(ok=False, reason="KafkaUnavailable", message=error.message, waiting=True)
            await self._write_all(entries, {entry.key: waiting for entry in entries}, {}, None)
            return self._settings.busy_interval
        await self._write_all(entries, standings, plans, cell)
        return self._next_look(entries, standings)

    async def _leave(self, ground: Ground, leaving: list[Entry], memory: Memory) -> None:
        """There is nobody to be kept out of. What they have may come back with the cluster's volumes, so that who had
        something is noted down before there is no object that says so."""
        if leaving and await self._ground.may_return(ground):
            await self._each((entry for entry in leaving if not entry.let_in), self._find_owner)
            known = [e for e in leaving if e.held_back and not e.anothers and e.refusal is None]
            await self._departures.remember(memory, known, CellState(), pending=True)
        await self._each((entry for entry in leaving if not entry.unremembered), self._let_go)

    def _pause(self, ground: Ground, entries: Iterable[Entry]) -> float:
        """Until the next look where there is no way to brokers."""
        soon = ground.is_coming or (not ground.is_gone and self._any_fresh(entries))
        return self._settings.busy_interval if soon else self._settings.resync_interval

    def _any_fresh(self, entries: Iterable[Entry]) -> bool:
        now = self._clock.now()
        return any(is_fresh(entry.user.status.conditions, now) for entry in entries)

    async def _bring_about(
        self, ground: Ground, admin: KafkaAdmin, entries: list[Entry], directory: Directory, memory: Memory
    ) -> tuple[dict[str, Standing], dict[str, UserPlan], CellState]:
        """(Ready by key, the plans of what is left, what quotas came of). Raises KafkaError."""
        usable = [entry for entry in entries if entry.refusal is None]
        await self._look_for_enrolment(usable)
        await self._each((entry for entry in entries if entry.refusal and entry.deleting), self._let_go)
        observed = await observe(admin)
        unknown = (entry for entry in usable if _is_unknown(entry, observed))
        await self._each(unknown, lambda entry: self._find_owner(entry, observed.scram[entry.user.user_name]))
        unlisted = _lets_unlisted_through(ground)
        shares = await self._shares.look(
            ground.key.cell, admin, entries, directory, self._clock.now(), from_replicas=_reads_from_replicas(ground)
        )
        shed = Shed.of(KafkaCluster.model_validate(ground.cluster))
        cell = replace(shares, shed=shed, observed=observed.quotas)
        plans = self._plan(usable, cell, observed, unlisted=unlisted)
        await self._departures.remember(memory, [e for e in usable if _is_leaving(e, plans.get(e.key))], cell)
        gone = self._departures.plan(memory, entries, cell, observed, unlisted=unlisted)
        await self._each(usable, lambda entry: self._claim(entry, plans.get(entry.key), cell))
        going = {e.key: e for e in usable if e.key in plans and not e.skip and (e.out or not e.unrecorded)}
        changed = await change(admin, gone.create, create=True)
        changed |= await forget(admin, gone.forget)
        changed |= await self._keep_out(admin, going, plans)
        recorded = {key: entry for key, entry in going.items() if not entry.unrecorded}
        changed |= await self._let_in(ground, admin, recorded, plans, observed)
        changed |= await change(admin, gone.delete, create=False)
        changed |= await lift(admin, gone.quotas)
        if changed:
            await asyncio.sleep(self._settings.settle_interval)
            observed = await observe(admin)
            plans = self._plan(usable, cell, observed, unlisted=unlisted)
        left = self._departures.plan(memory, entries, cell, observed, unlisted=unlisted)
        await self._departures.settle(memory, left)
        through = [e for e in usable if e.deleting and not e.unremembered and self._is_out(plans.get(e.key))]
        await self._each(through, self._take_leave)
        await self._each(
            (e for e in usable if e.paused and not e.out), lambda e: self._settle(e, plans.get(e.key), cell)
        )
        standings = {entry.key: self._standing(entry, plans.get(entry.key), observed) for entry in entries}
        return standings, plans, cell

    @staticmethod
    async def _each(entries: Iterable[Entry], work: Callable[[Entry], Awaitable[None]]) -> list[Entry]:
        """Those that it failed for, which have a problem then. Raises UnreachableError, in a group."""
        failed = []

        async def guarded(entry: Entry) -> None:
            try:
                await work(entry)
            except UnreachableError:
                raise
            except Exception as error:  # noqa: BLE001 - one user holds up nobody else, whatever is wrong with it
                entry.problem = unexpected(entry.user, error)
                failed.append(entry)

        await each(entries, guarded)
        return failed

    async def _look_for_enrolment(self, entries: Iterable[Entry]) -> None:
        """One question a namespace, however many users it has. Who has no credentials yet gets nothing where no Secret
        can be made for them."""
        there: dict[str, list[Entry]] = {}
        for entry in entries:
            there.setdefault(entry.user.metadata.namespace, []).append(entry)

        async def look(namespace: str) -> None:
            try:
                found = await unenrolled(self._kube, namespace)
            except KubeError as error:  # who is kept out does not wait for it; what it means for Secrets they will say
                log.warning("namespace %s: whether it is enrolled cannot be told: %s", namespace, error.message)
                return
            for entry in there[namespace]:
                entry.unenrolled = found
                if not entry.let_in:
                    entry.barred = found or entry.barred

        await each(there, look)

    async def _find_owner(self, entry: Entry, told: int | None = None) -> None:
        """Of a password that no status tells of: a pass that was killed has left a Secret with it. Where none can be
        read the password is another's; who is not let in for that anyhow is told why. `told` are the iterations that
        Kafka has, None where it cannot be asked: by them alone a Secret that somebody made is known."""
        entry.anothers = True
        if entry.unenrolled is not None:
            entry.anothers = entry.out
            return
        try:
            held = await secrets.read(self._kube, entry.user)
        except ForbiddenError as error:
            entry.problem = secret_refused(entry.user, error)
            return
        is_known = told is None or is_of(entry.user.user_name, held.stored, told)
        entry.anothers = held.obj is None or not held.ours or not is_known

    def _plan(
        self, entries: Iterable[Entry], cell: CellState, observed: AccessObservation, *, unlisted: bool
    ) -> dict[str, UserPlan]:
        desired = [entry.desired(cell) for entry in entries]
        return plan_users(desired, observed, self._clock.now(), unlisted=unlisted)

    async def _claim(self, entry: Entry, plan: UserPlan | None, cell: CellState) -> None:
        """Finalizer and record, before anything is done for the user."""
        if plan is None or entry.deleting:
            return
        entry.unrecorded = True
        try:
            if not entry.held_back and (plan.may_log_in or plan.acls.create or plan.quotas.changes):
                await self._set_finalizers(entry, [*entry.user.metadata.finalizers, names.USER_FINALIZER])
            layers = entry.layers_to_claim(cell) if plan.quotas.changes else None
            if not plan.is_empty and not is_recorded(entry.user, plan, layers):
                await self._record(entry, owned_status(entry.user, plan, layers))
            if plan.may_log_in and not entry.out and says_revoked(entry.user.status):
                await self._record(entry, no_longer_revoked(entry.user, self._clock.now()))
        except (ConflictError, NotFoundError):
            entry.skip = True
        else:
            entry.unrecorded = False

    async def _record(self, entry: Entry, status: KafkaUserStatus) -> None:
        """Raises ConflictError, NotFoundError."""
        written = await self._kube.replace(
            KAFKA_USERS, entry.obj | {"status": status.to_object()}, subresource="status"
        )
        entry.obj["metadata"]["resourceVersion"] = written["metadata"]["resourceVersion"]
        entry.user = entry.user.model_copy(update={"status": status})

    async def _settle(self, entry: Entry, plan: UserPlan | None, cell: CellState) -> None:
        """Of a paused user: nothing is shed from it any more, and its status says that, and nothing else anew."""
        if plan is None or not plan.is_empty or entry.skip:
            return
        try:
            await self._record(entry, owned_status(entry.user, plan, entry.layer_status(cell)))
        except (ConflictError, NotFoundError):
            entry.skip = True

    async def _keep_out(self, admin: KafkaAdmin, going: Mapping[str, Entry], plans: Mapping[str, UserPlan]) -> bool:
        """Denials first, which bite at the next request; then the credentials, in Kafka and in Secrets."""
        denials = {key: {acl for acl in plans[key].acls.create if acl.permission == DENY} for key in going}
        changed = await self._acls(admin, going, denials, create=True)
        out = [entry for key, entry in going.items() if plans[key].forget and not entry.errors]
        if out:
            results = await admin.delete_scram([entry.user.user_name for entry in out])
            for entry in out:
                error = results.get(entry.user.user_name)
                if error is not None and error.code != "RESOURCE_NOT_FOUND":
                    entry.errors.append(error)
        # A Secret is what says whose a password is: it stays until Kafka has the password no more.
        forgotten = [e for key, e in going.items() if (e.out or plans[key].waits_for_sessions) and not e.errors]
        await self._each(forgotten, self._forget_secret)
        return changed or bool(out)

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

    async def _let_in(
        self,
        ground: Ground,
        admin: KafkaAdmin,
        going: Mapping[str, Entry],
        plans: Mapping[str, UserPlan],
        observed: AccessObservation,
    ) -> bool:
        wanted = [e for key, e in going.items() if not e.out and plans[key].may_log_in]
        await self._cases(ground, wanted, observed)
        cases = [entry.case for entry in wanted if entry.case is not None]
        await self._credentials.bring_about(admin, cases, await self._ground.signer(ground, cases))
        changed = any(case.changed for case in cases)
        create = {key: set(plans[key].acls.create) for key in going}
        create = {key: {acl for acl in found if acl.permission != DENY} for key, found in create.items()}
        changed |= await self._acls(admin, going, create, create=True)
        # Rules are taken away once the new ones are there; a denial is lifted once there are credentials again, unless
        # it has to go for others' sake.
        delete = {key: set(plans[key].acls.delete) for key in going}
        if not _lets_unlisted_through(ground):
            for entry in wanted:
                if entry.case is None or entry.case.problem is not None:
                    delete[entry.key] -= revocation(entry.user.principal)
        changed |= await self._acls(admin, going, delete, create=False)
        changes = {going[key].user.user_name: plans[key].quotas.changes for key in going if plans[key].quotas.changes}
        if changes:
            results = await admin.alter_user_quotas(changes)
            for entry in going.values():
                if error := results.get(entry.user.user_name):
                    entry.errors.append(error)
        for key, entry in going.items():
            self._count_drift(entry, plans[key])
        return changed or bool(changes)

    async def _cases(self, ground: Ground, entries: Sequence[Entry], observed: AccessObservation) -> None:
        async def look(entry: Entry) -> None:
            if entry.unenrolled is not None:
                entry.problem = Obstacle(entry.unenrolled.name, explain([entry.unenrolled]))
                return
            found = entrance(ground.cluster, entry.user)
            if isinstance(found, Check):
                entry.problem = Obstacle(found.name, explain([found]))
                return
            if not found.bootstrap_servers:
                ref = "spec.tenantRef" if entry.of_tenant else "spec.clusterRef"
                told = f"{ref}: listener {found.name!r} of the cluster is not up yet."
                entry.problem = Obstacle("ClusterNotReady", told, waiting=True)
                return
            ca = await self._ground.authority(ground, found)
            if isinstance(ca, Obstacle):
                entry.problem = ca
                return
            try:
                held = await secrets.read(self._kube, entry.user)
            except ForbiddenError as error:
                entry.problem = secret_refused(entry.user, error)
                return
            rotate_after = entry.user.spec.authentication.rotate_after
            entry.case = Case(
                user=entry.user,
                entrance=found,
                ca=ca,
                held=held,
                told=observed.scram.get(entry.user.user_name),
                rotation=entry.user.metadata.annotations.get(names.ROTATE_AT, "")[:64],
                spent=not entry.user.is_tls and entry.is_spent(observed),
                rotate_after=max(parse_seconds(rotate_after), MIN_ROTATE_AFTER) if rotate_after is not None else None,
            )

        await self._each(entries, look)

    async def _acls(
        self, admin: KafkaAdmin, going: Mapping[str, Entry], wanted: Mapping[str, set[Acl]], *, create: bool
    ) -> bool:
        every = sorted({acl for key in going for acl in wanted[key]})
        if not every:
            return False
        results = await (admin.create_acls(every) if create else admin.delete_acls(every))
        for key, entry in going.items():
            entry.errors += [error for acl in sorted(wanted[key]) if (error := results.get(acl)) is not None]
        return True

    def _count_drift(self, entry: Entry, plan: UserPlan) -> None:
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

    @staticmethod
    def _is_out(plan: UserPlan | None) -> bool:
        """Nothing is left of a user that is being deleted (or it never had the principal)."""
        return plan is not None and plan.is_empty

    async def _take_leave(self, entry: Entry) -> None:
        if entry.unenrolled is not None and entry.let_in:
            await self._report.left_behind(entry)
        await self._let_go(entry)

    async def _let_go(self, entry: Entry) -> None:
        if not entry.held_back:
            return
        try:
            await self._set_finalizers(
                entry, [one for one in entry.user.metadata.finalizers if one != names.USER_FINALIZER]
            )
        except (ConflictError, NotFoundError):
            entry.skip = True

    async def _set_finalizers(self, entry: Entry, finalizers: Sequence[str]) -> None:
        meta = entry.obj["metadata"]
        change = {"metadata": {"finalizers": list(finalizers), "resourceVersion": meta["resourceVersion"]}}
        written = await self._kube.patch(KAFKA_USERS, meta["name"], meta["namespace"], change)
        meta |= {"finalizers": list(finalizers), "resourceVersion": written["metadata"]["resourceVersion"]}
        entry.user = entry.user.model_copy(
            update={"metadata": entry.user.metadata.model_copy(update={"finalizers": tuple(finalizers)})}
        )

    def _standing(self, entry: Entry, plan: UserPlan | None, observed: AccessObservation) -> Standing:
        refusal = entry.refusal or (plan.refusal if plan is not None else None)
        problem = entry.obstacle
        if entry.deleting:
            return Standing(ok=False, reason="Revoking", message="It is being deleted: revoked first.", waiting=True)
        if refusal is not None:
            return Standing(ok=False, reason=refusal.name, message=explain([refusal]), later=refusal.name == SESSIONS)
        if entry.errors:
            error = refused(entry.errors[0])
            return Standing(ok=False, reason=error.reason, message=error.message, waiting=error.waiting)
        if problem is not None:
            return Standing(ok=False, reason=problem.reason, message=problem.message, waiting=problem.waiting)
        if plan is None or not plan.is_empty or not self._is_told(entry, observed):
            return Standing(ok=False, reason="Applying", message="Kafka does not show everything yet.", waiting=True)
        if entry.revoked:
            told = f"annotation {names.REVOKED} is set: the user is kept out. Take it away to let it in again."
            if entry.unenrolled is not None:
                told += f" Secret {entry.user.secret_name!r} stays: condition {c.CREDENTIALS_CURRENT} says why."
            return Standing(ok=False, reason=REVOKED, message=told)
        return Standing(ok=True, reason="AsDeclared")

    @staticmethod
    def _is_told(entry: Entry, observed: AccessObservation) -> bool:
        """Whether Kafka has a password where there has to be one."""
        return entry.user.is_tls or entry.revoked or entry.user.user_name in observed.scram

    async def _write_all(
        self,
        entries: list[Entry],
        standings: Mapping[str, Standing],
        plans: Mapping[str, UserPlan],
        cell: CellState | None,
    ) -> None:
        async def write(entry: Entry) -> None:
            await self._report.write(entry, standings[entry.key], plans.get(entry.key), cell)

        async def write_problem(entry: Entry) -> None:
            if problem := entry.problem:
                told = Standing(ok=False, reason=problem.reason, message=problem.message)
                await self._report.write(entry, told, None, None)

        due = [entry for entry in entries if not entry.skip and (entry.out or not entry.paused)]
        await self._each(await self._each(due, write), write_problem)

    def _next_look(self, entries: Sequence[Entry], standings: Mapping[str, Standing]) -> float:
        waiting = any(standings[entry.key].waiting for entry in entries if entry.out or not entry.paused)
        if waiting or self._any_fresh(entry for entry in entries if entry.unenrolled is not None):
            return self._settings.busy_interval
        now = self._clock.now()
        due = [e.case.rotate_at - now for e in entries if e.case is not None and e.case.rotate_at is not None]
        return max(self._settings.busy_interval, min([self._settings.resync_interval, *due]))


def _is_unknown(entry: Entry, observed: AccessObservation) -> bool:
    """Kafka has a password of this name, and its status tells of none. A tenant's users take over nobody's."""
    user = entry.user
    told = entry.let_in or entry.pending or (user.spec.exclusive and not entry.of_tenant)
    return not user.is_tls and user.user_name in observed.scram and not told


def _is_leaving(entry: Entry, plan: UserPlan | None) -> bool:
    """It has its principal, was let in or may have been, and is being deleted, or is about to be kept out."""
    if entry.anothers or plan is None or not plan.has_principal:
        return False
    if entry.deleting:
        return entry.held_back
    return plan.forget or (entry.revoked and any(acl.permission == DENY for acl in plan.acls.create))


def _lets_unlisted_through(ground: Ground) -> bool:
    """Also while the spec says otherwise already, and a node does not yet: a denial there would close what it names."""
    authorization, status = ground.cluster["spec"].get("authorization") or {}, ground.cluster.get("status") or {}
    return WhenNoAcl.ALLOW in (authorization.get("whenNoAcl"), status.get("whenNoAcl"))


def _reads_from_replicas(ground: Ground) -> bool:
    """Whether brokers may send a client that reads to other replicas than the leader (KIP-392)."""
    return REPLICA_SELECTOR in (ground.cluster["spec"].get("config") or {})


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
