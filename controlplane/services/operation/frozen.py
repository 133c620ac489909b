"""FrozenKind: an object that carries one frozen operation, as a Kind of the engine.

What differs between such kinds (a rebalance, a runbook) is a Recipe: how a plan is made and which verbs carry it out.
A generation of the object gets one operation; it ends in Complete or in Failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from controlplane.api import conditions as c
from controlplane.api import names
from controlplane.api.operation import Operation, OperationStatus, PlanRef
from controlplane.domain.check import Check, failed
from controlplane.domain.operation import conditions
from controlplane.domain.operation.frozen import FrozenSteps, Move, Place, Situation, advance
from controlplane.domain.operation.permit import Permit
from controlplane.domain.operation.plan import Plan, frozen_operation, generation_of, operation_id, unfit
from controlplane.domain.operation.progress import wordless
from controlplane.domain.operation.verb import Doing, Look, contradictions
from controlplane.ports import Clock, KafkaError, KubeApi, KubeError, Object, Resource
from controlplane.services.events import EventRecorder
from controlplane.services.operation.kind import Decision, Request
from controlplane.services.operation.plans import PlanStore, fits_inline
from controlplane.services.operation.verbs import Verbs, look_ahead, traits_of

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
ABANDON_SECONDS = 300.0
"""How long a namespace that is being deleted is kept for undoing what was begun in it."""


class Recipe(Protocol):
    """What one kind brings. Errors of ports pass through."""

    @property
    def resource(self) -> Resource: ...

    @property
    def verbs(self) -> Verbs: ...

    def cell(self, obj: Object) -> str: ...

    def status_of(self, obj: Object) -> OperationStatus: ...

    def request(self, obj: Object) -> Request: ...

    async def plan(self, obj: Object) -> Plan | tuple[Check, ...]:
        """A frozen plan for the object as it is now, or the failed checks for which there can be none."""
        ...

    async def gates(self, obj: Object, operation: Operation) -> tuple[Check, ...]:
        """The checks that the plan names as its gates: those that fail keep further steps from being begun."""
        ...

    def described(
        self, obj: Object, status: OperationStatus, plan: Plan | None, steps: FrozenSteps | None, now: float
    ) -> OperationStatus:
        """The status with what the kind says beside the operation (pure). `plan` is the one that has just been made."""
        ...


@dataclass(frozen=True, slots=True)
class FrozenWorld:
    """One observation. Only while there is no operation in the status: `begun`, the one that a new plan makes (`made`),
    or `unstored`, a plan whose steps no operation can name yet."""

    obj: Object
    status: OperationStatus
    request: Request
    begun: Operation | None = None
    made: Plan | None = None
    unstored: Plan | None = None
    refused: tuple[Check, ...] = ()
    plan: FrozenSteps | None = None
    guarded: bool = True
    looks: Mapping[Place, Look] = field(default_factory=dict)
    gates: tuple[Check, ...] = ()
    leftovers: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    abandon: bool = False

    @property
    def generation(self) -> int:
        return int(self.obj["metadata"]["generation"])


@dataclass(frozen=True, slots=True)
class StorePlan:
    plan: Plan


@dataclass(frozen=True, slots=True)
class GuardPlan:
    config_maps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    config_maps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DropPlans:
    config_maps: tuple[str, ...]


Action = StorePlan | GuardPlan | ReleasePlan | DropPlans | Doing


class FrozenKind:
    """Implements Kind[FrozenWorld, Action]."""

    def __init__(
        self,
        recipe: Recipe,
        kube: KubeApi,
        clock: Clock,
        events: EventRecorder,
        *,
        abandon_seconds: float = ABANDON_SECONDS,
    ) -> None:
        self._recipe, self._kube, self._clock, self._events = recipe, kube, clock, events
        self._plans = PlanStore(kube)
        self._stored: dict[tuple[str, str], tuple[str, int, Plan]] = {}
        self._abandon_seconds = abandon_seconds

    @property
    def resource(self) -> Resource:
        return self._recipe.resource

    def cell(self, obj: Object) -> str:
        return self._recipe.cell(obj)

    def status_of(self, obj: Object) -> OperationStatus:
        return self._recipe.status_of(obj)

    def request(self, world: FrozenWorld) -> Request:
        return world.request

    async def observe(self, obj: Object) -> FrozenWorld:
        status, request = self._recipe.status_of(obj), self._recipe.request(obj)
        meta = obj["metadata"]
        world = FrozenWorld(obj, status, request)
        now = self._clock.now()
        if (operation := status.operation) is not None:
            self._stored.pop((meta["namespace"], meta["name"]), None)
            loaded = await self._plans.prove(obj, operation)
            abandon = await self._namespace_goes(obj, now)
            forward = operation.direction == "Forward" and "deletionTimestamp" not in meta
            return replace(
                world,
                plan=loaded.plan,
                guarded=loaded.guarded,
                looks=await look_ahead(operation, loaded.plan, self._recipe.verbs, now=now, abandon=abandon),
                gates=await self._recipe.gates(obj, operation) if forward else (),
                abandon=abandon,
            )
        if names.CELL_FINALIZER in meta.get("finalizers", []):
            world = replace(world, held=await self._plans.guarded(obj))
        if "deletionTimestamp" in meta or _ended(status, meta["generation"]):
            return world
        return await self._propose(world, now)

    async def _propose(self, world: FrozenWorld, now: float) -> FrozenWorld:
        """The plan to follow: the one that this process stored for this generation, else a new one.

        What others may have stored is never followed: only parts that this very plan makes are.
        """
        obj = world.obj
        plan = self._stored_for(obj) or await self._made(obj)
        reference = None
        if isinstance(plan, Plan) and not await asyncio.to_thread(fits_inline, plan):
            reference = await self._plans.stored(obj, plan)
            if reference is None:
                return replace(world, unstored=plan)
        named = (*_parts_of_last(world.status), *(reference.config_maps if reference is not None else ()))
        leftovers = tuple(name for name in await self._plans.present(obj) if name not in named)
        world = replace(world, leftovers=leftovers)
        if not isinstance(plan, Plan):
            return replace(world, refused=plan)
        operation = await asyncio.to_thread(_begun, obj, plan, reference, now)
        steps = FrozenSteps.of(plan.steps)
        return replace(
            world,
            begun=operation,
            made=plan,
            plan=steps,
            guarded=reference is None,
            looks=await look_ahead(operation, steps, self._recipe.verbs, now=now),
            gates=await self._recipe.gates(obj, operation),
        )

    def _stored_for(self, obj: Object) -> Plan | None:
        meta = obj["metadata"]
        uid, generation, plan = self._stored.get((meta["namespace"], meta["name"]), ("", 0, None))
        return plan if (uid, generation) == (meta["uid"], meta["generation"]) else None

    async def _made(self, obj: Object) -> Plan | tuple[Check, ...]:
        """A new plan, or why there is none. Raises ValueError for one that contradicts the verbs."""
        made = await self._recipe.plan(obj)
        if not isinstance(made, Plan):
            return failed(made)
        if made.mode != "Frozen" or (wrong := contradictions(made.steps, traits_of(self._recipe.verbs))):
            raise ValueError(f"{self.resource.kind}: not a plan to propose: {made.mode}, {'; '.join(wrong)}")
        why = await asyncio.to_thread(unfit, made)
        return made if why is None else (why,)

    def decide(self, world: FrozenWorld, permit: Permit, now: float) -> Decision[Action]:
        status = world.status
        drop = (DropPlans(world.leftovers),) if world.leftovers else ()
        operation = status.operation or world.begun
        if operation is None or world.plan is None:
            store = (StorePlan(world.unstored),) if world.unstored is not None else ()
            return self._without_operation(world, (*store, *drop), permit.refused, now)
        move, guard = self._move(operation, world.plan, world, permit, now)
        moved = move.operation
        if permit.approval and not moved.approval:
            moved = moved.model_copy(update={"approval": permit.approval})
        over = moved.outcome is not None
        new = status.model_copy(
            update={
                "operation": None if over else moved,
                "last_operation": moved if over else status.last_operation,
                "conditions": (conditions.over if over else conditions.under_way)(
                    status.conditions, moved, generation=world.generation, now=now
                ),
                "observed_generation": world.generation,
            }
        )
        new = self._recipe.described(world.obj, new, world.made, world.plan, now)
        return Decision(
            status=new,
            preparations=(*guard, *drop),
            farewell=_farewell(moved) if over else (),
            action=move.act,
            begun=move.begun,
            protect=not over and (bool(guard) or move.act is not None or _has_begun(moved)),
            settled=over or (not move.begun and bool(permit.holds) and not guard),
            yields=bool(failed(world.gates)) and move.act is None,
        )

    def _move(
        self, operation: Operation, plan: FrozenSteps, world: FrozenWorld, permit: Permit, now: float
    ) -> tuple[Move, tuple[Action, ...]]:
        """The move, and the guard that a plan outside the status needs before its first step."""
        if generation_of(operation.id) != world.generation and permit.stop is None:
            changed = Check("Superseded", ok=False, evidence="The spec has changed.", remedy="A new plan follows.")
            permit = replace(permit.with_hold(changed), stop="Superseded")
        situation = Situation(
            plan,
            world.looks,
            permit,
            now,
            traits_of(self._recipe.verbs),
            gates=failed(world.gates),
            abandon=world.abandon,
        )
        move = advance(operation, situation)
        ref = operation.plan_ref
        if ref is None or world.guarded or move.act is None or operation.direction == "Back":
            return move, ()
        unguarded = Check("PlanNotGuarded", ok=False, evidence="Its ConfigMaps are not kept from being deleted yet.")
        move = advance(operation, replace(situation, permit=permit.with_hold(unguarded)))
        return move, (GuardPlan(ref.config_maps),)

    def _without_operation(
        self,
        world: FrozenWorld,
        preparations: tuple[Action, ...],
        refused: tuple[Check, ...],
        now: float,
    ) -> Decision[Action]:
        status, last, generation = world.status, world.status.last_operation, world.generation
        if last is not None and _ended(status, generation):
            words = conditions.over(status.conditions, last, generation=generation, now=now)
        else:
            why = (*world.refused, *refused)
            words = conditions.unplanned(status.conditions, why, generation=generation, now=now)
        new = status.model_copy(update={"conditions": words, "observed_generation": world.generation})
        return Decision(
            status=self._recipe.described(world.obj, new, None, None, now),
            preparations=preparations,
            farewell=(ReleasePlan(world.held),) if world.held else (),
            settled=not preparations,
        )

    async def act(self, action: Action, world: FrozenWorld) -> bool:
        meta = world.obj["metadata"]
        namespace = meta["namespace"]
        match action:
            case StorePlan(plan):
                await self._plans.store(world.obj, plan)
                self._stored[namespace, meta["name"]] = (meta["uid"], world.generation, plan)
            case GuardPlan(config_maps):
                await self._plans.guard(namespace, config_maps)
            case ReleasePlan(config_maps):
                await self._plans.release(namespace, config_maps)
            case DropPlans(config_maps):
                await self._plans.drop(namespace, config_maps)
            case Doing(step=step):
                await self._recipe.verbs[step.verb].act(action)
        return True

    def explain(self, action: Action, error: KubeError | KafkaError) -> Check:
        what = f"{action.step.verb} {action.step.target}" if isinstance(action, Doing) else type(action).__name__
        return Check("StepFailed", ok=False, evidence=f"{what}: {error.message}", remedy="It is tried again.")

    def without_words(self, status: OperationStatus) -> OperationStatus:
        return status.model_copy(
            update={
                "conditions": tuple(condition.model_copy(update={"message": ""}) for condition in status.conditions),
                "operation": wordless(status.operation),
            }
        )

    async def tell(self, obj: Object, before: OperationStatus, after: OperationStatus) -> None:
        old, new = before.operation, after.operation
        if new is not None and (old is None or old.id != new.id):
            await self._events.record(obj, "Normal", "OperationPlanned", new.goal, new.id)
        if new is not None and new.ending is not None and (old is None or old.ending is None):
            await self._events.record(obj, "Warning", "OperationTurnedBack", new.ending.why.evidence, new.id)
        ended, known = after.last_operation, before.last_operation
        if ended is not None and (known is None or known.id != ended.id):
            note = f"{ended.goal}: {ended.outcome}: {ended.message}"
            well = ended.outcome == "Succeeded"
            await self._events.record(obj, "Normal" if well else "Warning", "OperationEnded", note, ended.id)
        was, blocked = c.find_condition(before.conditions, c.BLOCKED), c.find_condition(after.conditions, c.BLOCKED)
        if blocked is not None and blocked.status == "True" and (was is None or was.reason != blocked.reason):
            await self._events.record(obj, "Warning", blocked.reason, blocked.message, new.id if new else "")

    async def forget(self, namespace: str, name: str) -> None:
        self._stored.pop((namespace, name), None)

    async def _namespace_goes(self, obj: Object, now: float) -> bool:
        """Whether the object's namespace has been going for so long that it must not be kept any longer."""
        if "deletionTimestamp" not in obj["metadata"]:
            return False
        since = (await self._kube.get(NAMESPACES, obj["metadata"]["namespace"]))["metadata"].get("deletionTimestamp")
        return bool(since) and now - datetime.fromisoformat(since).timestamp() > self._abandon_seconds


def _ended(status: OperationStatus, generation: int) -> bool:
    """This generation has had its operation."""
    return status.last_operation is not None and generation_of(status.last_operation.id) == generation


def _parts_of_last(status: OperationStatus) -> tuple[str, ...]:
    """ConfigMaps that people may still want to look at."""
    last = status.last_operation
    return last.plan_ref.config_maps if last is not None and last.plan_ref is not None else ()


def _begun(obj: Object, plan: Plan, reference: PlanRef | None, now: float) -> Operation:
    name = operation_id(plan.kind, obj["metadata"]["uid"], obj["metadata"]["generation"], plan.hash)
    return frozen_operation(plan, name, reference=reference, now=now)


def _has_begun(operation: Operation) -> bool:
    tried = operation.intent is not None or operation.attempt > 1
    return tried or operation.direction == "Back" or bool(operation.journal)


def _farewell(operation: Operation) -> tuple[Action, ...]:
    return (ReleasePlan(operation.plan_ref.config_maps),) if operation.plan_ref is not None else ()
