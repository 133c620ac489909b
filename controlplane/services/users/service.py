"""Reconcile all KafkaUsers of one cluster in one pass: three questions to Kafka and a handful of calls, whatever their
number; a Secret each, by name.

The order is the safety: who is out is denied before anything else is done, credentials are in Kafka before rules let
anybody use them, and rules are made before others are taken away. What is about to be ours is recorded before it is
made, so that a crash in between leaves nothing behind that nobody knows of. After the calls everything is read again,
and a user is Ready when nothing is left to be done for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access.enrolment import is_fresh
from controlplane.domain.shedding.tighten import Shed
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.users.layers import CellState
from controlplane.domain.users.planner import STILL_VALID, AccessObservation, UserPlan, plan_users
from controlplane.domain.users.values import DENY
from controlplane.ports import Clock, KafkaAdmin, KafkaAdmins, KafkaError, KubeApi, Passwords, Pki
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key
from controlplane.services.tenants.read import read_directory
from controlplane.services.users.carry_out import Execution
from controlplane.services.users.claims import Claims
from controlplane.services.users.credentials import Credentials
from controlplane.services.users.departed import Departures, Memory, change, forget, lift
from controlplane.services.users.entry import Entry
from controlplane.services.users.ground import Ground, GroundReader
from controlplane.services.users.guarded import each_user
from controlplane.services.users.look import (
    is_anothers,
    lets_unlisted_through,
    look_for_enrolment,
    observe,
    reads_from_replicas,
)
from controlplane.services.users.report import Reporter, standing
from controlplane.services.users.residents import residents
from controlplane.services.users.shares import Shares
from controlplane.services.users.status import Standing
from controlplane.settings import OperatorSettings


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
        credentials = Credentials(kube, pki, passwords, clock, lifetime=lifetime)
        self._claims = Claims(kube, clock)
        self._execution = Execution(kube, self._ground, credentials, self._claims)
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
            for entry in leaving:
                entry.anothers = not (entry.let_in or entry.user.status.announced)
            known = [e for e in leaving if e.held_back and e.refusal is None and (e.has_something or not e.anothers)]
            await self._departures.remember(memory, known, CellState(), pending=True)
        await each_user((entry for entry in leaving if not entry.unremembered), self._claims.let_go)

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
        await look_for_enrolment(self._kube, usable)
        await each_user((entry for entry in entries if entry.refusal and entry.deleting), self._claims.let_go)
        observed = await observe(admin)
        for entry in usable:
            entry.anothers = is_anothers(entry, observed)
        unlisted = lets_unlisted_through(ground)
        shares = await self._shares.look(
            ground.key.cell, admin, entries, directory, self._clock.now(), from_replicas=reads_from_replicas(ground)
        )
        shed = Shed.of(KafkaCluster.model_validate(ground.cluster))
        cell = replace(shares, shed=shed, observed=observed.quotas)
        plans = self._plan(usable, cell, observed, unlisted=unlisted)
        leaving = [e for e in usable if _is_leaving(e, plans.get(e.key))]
        if unlisted:
            now = self._clock.now()
            leaving += [e for e in usable if e not in leaving and _is_owing(e, plans.get(e.key), now)]
        await self._departures.remember(memory, leaving, cell, unlisted=unlisted)
        gone = self._departures.plan(memory, entries, cell, observed, unlisted=unlisted)
        if unlisted:
            await self._departures.settle(memory, gone)
            memory.tell(entries)
        await each_user(usable, lambda entry: self._claims.claim(entry, plans.get(entry.key), cell))
        going = {e.key: e for e in usable if e.key in plans and not e.skip and (e.out or not e.unrecorded)}
        changed = await change(admin, gone.create, create=True)
        changed |= await forget(admin, gone.forget)
        changed |= await self._execution.keep_out(admin, going, plans)
        recorded = {key: entry for key, entry in going.items() if not entry.unrecorded}
        changed |= await self._execution.let_in(ground, admin, recorded, plans, observed, unlisted=unlisted)
        changed |= await change(admin, gone.delete, create=False)
        changed |= await lift(admin, gone.quotas)
        if changed:
            await asyncio.sleep(self._settings.settle_interval)
            observed = await observe(admin)
            plans = self._plan(usable, cell, observed, unlisted=unlisted)
        left = self._departures.plan(memory, entries, cell, observed, unlisted=unlisted)
        await self._departures.settle(memory, left)
        through = [e for e in usable if e.deleting and not e.unremembered and _is_out(plans.get(e.key))]
        await each_user(through, self._take_leave)
        await each_user(
            (e for e in usable if e.paused and not e.out), lambda e: self._claims.settle(e, plans.get(e.key), cell)
        )
        standings = {entry.key: standing(entry, plans.get(entry.key), observed) for entry in entries}
        return standings, plans, cell

    def _plan(
        self, entries: Iterable[Entry], cell: CellState, observed: AccessObservation, *, unlisted: bool
    ) -> dict[str, UserPlan]:
        desired = [entry.desired(cell) for entry in entries]
        return plan_users(desired, observed, self._clock.now(), unlisted=unlisted)

    async def _take_leave(self, entry: Entry) -> None:
        if entry.unenrolled is not None and entry.let_in:
            await self._report.left_behind(entry)
        await self._claims.let_go(entry)

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
        await each_user(await each_user(due, write), write_problem)

    def _next_look(self, entries: Sequence[Entry], standings: Mapping[str, Standing]) -> float:
        waiting = any(standings[entry.key].waiting for entry in entries if entry.out or not entry.paused)
        if waiting or self._any_fresh(entry for entry in entries if entry.unenrolled is not None):
            return self._settings.busy_interval
        now = self._clock.now()
        due = [e.case.rotate_at - now for e in entries if e.case is not None and e.case.rotate_at is not None]
        return max(self._settings.busy_interval, min([self._settings.resync_interval, *due]))


def _is_leaving(entry: Entry, plan: UserPlan | None) -> bool:
    """It has its principal, was let in or may have been, and is being deleted, or is about to be kept out."""
    if entry.anothers or plan is None or not plan.has_principal:
        return False
    if entry.deleting:
        return entry.held_back
    return plan.forget or (entry.revoked and any(acl.permission == DENY for acl in plan.acls.create))


def _is_owing(entry: Entry, plan: UserPlan | None, now: float) -> bool:
    """A certificate of its principal is about, or may be, that is to let nobody in, and no record says so yet."""
    if plan is None or not plan.has_principal or (entry.departed is not None and entry.departed.owed):
        return False
    revoked = entry.revoked and entry.user.is_tls and not entry.is_over(now)
    return revoked or (plan.refusal is not None and plan.refusal.name == STILL_VALID)


def _is_out(plan: UserPlan | None) -> bool:
    """Nothing is left of a user that is being deleted (or it never had the principal)."""
    return plan is not None and plan.is_empty
