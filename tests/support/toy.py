"""A toy kind on the real engine: a ToyRun carries out a script of verbs that work on ConfigMaps of its namespace.

The verbs are small and of every sort: idempotent with an inverse (SetKey), only safe with the intent's preconditions
(Count), not idempotent at all (Mark: two acts leave two marks, so that a test sees what happened twice), slow
(AwaitKey), failing (Stumble) and destructive (Wipe).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import Field

from controlplane.api.base import ApiModel, Metadata
from controlplane.api.crd import Kind, crd
from controlplane.api.group import GROUP, VERSION
from controlplane.api.operation import Operation, OperationStatus
from controlplane.domain.check import Check
from controlplane.domain.operation.frozen import FrozenSteps
from controlplane.domain.operation.plan import Plan
from controlplane.domain.operation.verb import Doing, Done, Failed, Look, Pending, Traits, UnderWay, step_of
from controlplane.ports import AlreadyExistsError, Clock, KubeApi, NotFoundError, Object, Resource
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import Interceptor, intercept_kube
from controlplane.services.operation.approvals import Approvals
from controlplane.services.operation.engine import Engine, Surroundings
from controlplane.services.operation.frozen import FrozenKind
from controlplane.services.operation.kind import Request
from controlplane.services.operation.lock import CellGuard, CellLocks, Elsewhere
from controlplane.services.operation.outbox import Outbox
from controlplane.services.operation.verbs import Verb
from controlplane.settings import OperatorSettings

log = logging.getLogger(__name__)

TOYS = Resource(GROUP, VERSION, "toyruns", "ToyRun")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
BOARD = "board"
MARK = f"{GROUP}/toy-mark"
CLOSED = "gate"
"""Key of the board: while it is `closed` no further step is begun."""
SETTINGS = OperatorSettings(
    busy_interval=0.1, settle_interval=0.02, resync_interval=0.5, cell_lock_duration=3.0, status_interval=0.2
)


class ScriptStep(ApiModel):
    verb: str
    target: str
    parameters: dict[str, str] = Field(default_factory=dict)


class ToySpec(ApiModel):
    cell: str = "toy"
    script: tuple[ScriptStep, ...] = ()
    padding: int = Field(0, description="Characters that each step carries along, so that a plan becomes large.")


class ToyRun(ApiModel):
    """One script."""

    metadata: Metadata
    spec: ToySpec
    status: OperationStatus = OperationStatus()


TOY_CRD = crd(Kind(ToyRun, "ToyRun", "toyruns", "toy", ()))


def toy(name: str, script: Sequence[tuple[str, str, dict[str, str]]], **spec: Any) -> Object:
    steps = [{"verb": verb, "target": target, "parameters": parameters} for verb, target, parameters in script]
    return {"metadata": {"name": name, "namespace": "toys"}, "spec": {"cell": "toy", "script": steps} | spec}


@dataclass
class Board:
    """Keys and values in one ConfigMap of a namespace."""

    kube: KubeApi
    namespace: str

    async def read(self) -> tuple[dict[str, str], Object]:
        obj = await self.kube.get(CONFIG_MAPS, BOARD, self.namespace)
        return dict(obj.get("data") or {}), obj["metadata"]

    async def write(self, key: str, value: str | None) -> None:
        await self.kube.patch(CONFIG_MAPS, BOARD, self.namespace, {"data": {key: value}})


class OnBoard:
    """A verb on the board."""

    traits = Traits()

    def __init__(self, board: Board) -> None:
        self.board = board


class SetKey(OnBoard):
    """Idempotent. Parameters: `value`, and `before` for the way back ("" means that there was none)."""

    traits = Traits(inverse="RestoreKey")
    wanted = "value"

    async def observe(self, doing: Doing) -> Look:
        data, meta = await self.board.read()
        if data.get(doing.step.target, "") == doing.step.parameters.get(self.wanted, ""):
            return Done()
        return Pending(uid=meta["uid"], resource_version=meta["resourceVersion"])

    async def act(self, doing: Doing) -> None:
        await self.board.write(doing.step.target, doing.step.parameters.get(self.wanted, "") or None)


class Count(OnBoard):
    """One more, with the resourceVersion that the intent saw: twice is impossible, and not harmless."""

    traits = Traits(risk="Disruptive")

    async def observe(self, doing: Doing) -> Look:
        obj = await self._counter(doing)
        meta = obj["metadata"]
        if doing.intent is not None and doing.intent.resource_version != meta["resourceVersion"]:
            return Done(f"counted to {obj['data']['count']}")
        return Pending(uid=meta["uid"], resource_version=meta["resourceVersion"])

    async def act(self, doing: Doing) -> None:
        assert doing.intent is not None
        obj = await self._counter(doing)
        obj["data"]["count"] = str(int(obj["data"]["count"]) + 1)
        obj["metadata"]["resourceVersion"] = doing.intent.resource_version
        await self.board.kube.replace(CONFIG_MAPS, obj)

    async def _counter(self, doing: Doing) -> Object:
        return await self.board.kube.get(CONFIG_MAPS, doing.step.target, self.board.namespace)


class Mark(OnBoard):
    """Not idempotent: each act leaves a ConfigMap of its own. `slow` seconds pass before it is there, and with `gate`
    the board has to have that key first; that it is waited for stands in the log."""

    traits = Traits(risk="Disruptive", inverse="Unmark")

    async def observe(self, doing: Doing) -> Look:
        return Done() if await self._marks(doing) else Pending()

    async def act(self, doing: Doing) -> None:
        await asyncio.sleep(float(doing.step.parameters.get("slow", "0")))
        if gate := doing.step.parameters.get("gate"):
            log.info("act %s waits for %s", doing.step.target, gate)
            while gate not in (await self.board.read())[0]:
                await asyncio.sleep(0.05)
        name = f"mark-{doing.step.target}-{uuid.uuid4().hex[:8]}"
        meta = {"name": name, "namespace": self.board.namespace, "labels": {MARK: doing.step.target}}
        await self.board.kube.create(CONFIG_MAPS, {"metadata": meta, "data": {}})

    async def _marks(self, doing: Doing) -> Sequence[Object]:
        return await self.board.kube.list(CONFIG_MAPS, self.board.namespace, labels=f"{MARK}={doing.step.target}")


class RestoreKey(SetKey):
    """As SetKey, to the value before."""

    traits = Traits(urgent=True)
    wanted = "before"


class Unmark(Mark):
    traits = Traits(risk="Disruptive")

    async def observe(self, doing: Doing) -> Look:
        return Pending() if await self._marks(doing) else Done()

    async def act(self, doing: Doing) -> None:
        for mark in await self._marks(doing):
            await self.board.kube.delete(CONFIG_MAPS, mark["metadata"]["name"], self.board.namespace)


class Stumble(OnBoard):
    """Every attempt fails until it has been tried `fails` times; then it is done."""

    traits = Traits(attempts=3, inverse="RestoreKey")

    async def observe(self, doing: Doing) -> Look:
        data, _ = await self.board.read()
        tried = int(data.get(doing.step.target, "0"))
        if tried < doing.attempt:
            return Pending()
        if tried > int(doing.step.parameters["fails"]):
            return Done()
        return Failed(Check("Stumbled", ok=False, evidence=f"attempt {tried} failed", remedy="Try again."))

    async def act(self, doing: Doing) -> None:
        await self.board.write(doing.step.target, str(doing.attempt))


class AwaitKey(OnBoard):
    """Under way from when it was begun until somebody sets the target on the board to `go` (or to `fail`)."""

    traits = Traits(inverse="RestoreKey")

    async def observe(self, doing: Doing) -> Look:
        data, _ = await self.board.read()
        match data.get(doing.step.target):
            case None:
                return Pending()
            case "go":
                return Done()
            case "fail":
                return Failed(Check("ToldToFail", ok=False, evidence="The board says so."), again=False)
        return UnderWay("waits for its key")

    async def act(self, doing: Doing) -> None:
        await self.board.write(doing.step.target, "begun")


class Wipe(OnBoard):
    """Takes a key away, and nothing brings it back."""

    traits = Traits(risk="Destructive")

    async def observe(self, doing: Doing) -> Look:
        data, _ = await self.board.read()
        return Pending() if doing.step.target in data else Done()

    async def act(self, doing: Doing) -> None:
        await self.board.write(doing.step.target, None)


def verbs(kube: KubeApi, namespace: str) -> dict[str, Verb]:
    board = Board(kube, namespace)
    return {
        "SetKey": SetKey(board),
        "RestoreKey": RestoreKey(board),
        "Count": Count(board),
        "Mark": Mark(board),
        "Unmark": Unmark(board),
        "Stumble": Stumble(board),
        "AwaitKey": AwaitKey(board),
        "Wipe": Wipe(board),
    }


class ToyRecipe:
    """Implements services.operation.frozen.Recipe. `planned` counts how often a plan was made."""

    resource = TOYS

    def __init__(self, kube: KubeApi, namespace: str) -> None:
        self.verbs = verbs(kube, namespace)
        self.board = Board(kube, namespace)
        self.planned = 0

    def cell(self, obj: Object) -> str:
        return f"{obj['metadata']['namespace']}/{obj['spec'].get('cell', 'toy')}"

    def status_of(self, obj: Object) -> OperationStatus:
        return OperationStatus.model_validate(obj.get("status") or {})

    def request(self, obj: Object) -> Request:
        return Request()

    async def plan(self, obj: Object) -> Plan | tuple[Check, ...]:
        self.planned += 1
        spec = ToyRun.model_validate(obj).spec
        steps = []
        for number, entry in enumerate(spec.script, start=1):
            if entry.verb not in self.verbs:
                return (Check("NoSuchVerb", ok=False, evidence=f"spec.script: no verb {entry.verb}"),)
            traits = self.verbs[entry.verb].traits
            padding = {f"padding{part}": noise(number, part) for part in range(spec.padding // 1000)}
            words = entry.parameters | padding
            steps.append(step_of(number, entry.verb, traits, target=entry.target, why="the script", **words))
        goal = f"a script of {len(steps)} steps"
        return Plan("Toy", "Frozen", goal, tuple(steps), {"cell": spec.cell}, ("GateOpen",))

    def described(
        self, obj: Object, status: OperationStatus, plan: Plan | None, steps: FrozenSteps | None, now: float
    ) -> OperationStatus:
        return status

    async def gates(self, obj: Object, operation: Operation) -> tuple[Check, ...]:
        data, _ = await self.board.read()
        closed = data.get(CLOSED) == "closed"
        return (Check("GateOpen", ok=not closed, evidence="The gate is closed." if closed else ""),)


@cache
def noise(step: int, part: int) -> str:
    """A thousand characters that hardly compress, always the same."""
    return "".join(uuid.uuid5(uuid.NAMESPACE_OID, f"{step}/{part}/{number}").hex for number in range(32))[:1000]


class NoLocks(CellLocks):
    """The negative control: everybody always has every cell."""

    async def take(self, cell: str, owner: Object, operation: str, **_: Any) -> Elsewhere | None:
        (await self._holder(cell, owner, operation)).assume()
        self._since.setdefault((cell, operation), 0)
        return None


def toy_engine(
    kube: KubeApi,
    clock: Clock,
    namespace: str,
    *,
    interceptors: Sequence[Interceptor] = (),
    identity: str = "one",
    settings: OperatorSettings = SETTINGS,
    locks: type[CellLocks] = CellLocks,
    abandon_seconds: float = 300.0,
) -> Engine:
    """One life of an operator for ToyRuns of one namespace: nothing is remembered."""
    kube = intercept_kube(kube, [*interceptors, CellGuard()])
    recipe = ToyRecipe(kube, namespace)
    kind = FrozenKind(recipe, kube, clock, EventRecorder(kube, clock), abandon_seconds=abandon_seconds)
    held = locks(kube, clock, identity=identity, duration=settings.cell_lock_duration)
    return Engine(kind, Surroundings(kube, clock, held, Approvals(kube), Outbox(None), settings))


async def set_up(kube: KubeApi, namespace: str, **data: str) -> None:
    """The board and a counter, unless they are there."""
    for name, content in ((BOARD, data), ("counter", {"count": "0"})):
        try:
            await kube.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": namespace}, "data": content})
        except AlreadyExistsError:
            continue


async def marks(kube: KubeApi, namespace: str) -> Counter[str]:
    """How often each Mark was made."""
    found = await kube.list(CONFIG_MAPS, namespace)
    return Counter(obj["metadata"]["labels"][MARK] for obj in found if MARK in obj["metadata"].get("labels", {}))


async def operation_of(kube: KubeApi, name: str, namespace: str) -> tuple[Operation | None, Operation | None]:
    """(under way, last); (None, None) also when the object is gone."""
    try:
        obj = await kube.get(TOYS, name, namespace)
    except NotFoundError:
        return None, None
    status = OperationStatus.model_validate(obj.get("status") or {})
    return status.operation, status.last_operation
