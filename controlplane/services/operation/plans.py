"""PlanStore: plans that are too large for a status, in immutable ConfigMaps beside the object that asked for them.

Each ConfigMap is one part: a run of steps and what the whole plan is, as canonical JSON, gzipped. Its name carries the
hash of that JSON and of the owner's uid, so that a store that was cut short and is repeated finds what it left, and so
that a part can be proven on its own: the status holds the names, and nobody but the operator writes that. A part
that no status names may be anybody's: it is never followed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import gzip
import json
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from controlplane.api import names
from controlplane.api.base import ApiModel
from controlplane.api.operation import INLINE_PLAN_BYTES, STEPS_LIMIT, Operation, OperationStep, PlanRef
from controlplane.domain.check import Check
from controlplane.domain.operation.frozen import FrozenSteps
from controlplane.domain.operation.plan import Plan, canonical, digest
from controlplane.ports import AlreadyExistsError, InvalidError, KubeApi, NotFoundError, Object, Resource
from controlplane.services.lease import owner_reference

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
PART_BYTES = 900 * 1000
"""A part's size in etcd, which takes 1.5 MiB a request."""
RAW_BYTES = 8 * 1024 * 1024
"""A part's size unpacked; nothing is unpacked beyond it, whoever wrote it."""
MAX_PARTS = 64
REMEMBERED_STEPS = 50_000
KEY = "plan.json.gz"
_NAME_DIGITS = 32
_OWNER_CHARACTERS = 200


class _TooLargeError(ValueError):
    """A plan that does not fit into MAX_PARTS ConfigMaps."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """`guarded`: the ConfigMaps outlive a deletion of the namespace until they are released."""

    plan: FrozenSteps
    guarded: bool


class Part(ApiModel):
    """What is read of a part that is what its name says."""

    part: int = Field(ge=0)
    steps: tuple[OperationStep, ...]


class PlanStore:
    """Remembers plans that were proven and guarded: what is executed is what was approved, whatever becomes of the
    ConfigMaps afterwards."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube
        self._known: OrderedDict[tuple[str, str], FrozenSteps] = OrderedDict()

    async def store(self, owner: Object, plan: Plan) -> PlanRef:
        """Create the parts that are not there yet. Raises KubeError; InvalidError for a plan that is too large."""
        try:
            parts = await asyncio.to_thread(_all_parts, owner, plan)
        except _TooLargeError as error:
            raise InvalidError(422, "PlanTooLarge", str(error)) from None
        for name, raw in parts:
            if (found := await self._find(owner, name)) is None:
                await self._kube.create(CONFIG_MAPS, _config_map(owner, name, raw))
            elif not await asyncio.to_thread(_as_written, owner["metadata"]["uid"], found):
                message = f"ConfigMap {name} is there and holds something else; delete it"
                raise AlreadyExistsError(409, "AlreadyExists", message)
        return PlanRef(config_maps=tuple(name for name, _ in parts), steps=len(plan.steps))

    async def stored(self, owner: Object, plan: Plan) -> PlanRef | None:
        """Where the steps of this very plan lie; None unless every part is there as `store` writes it."""
        try:
            parts = await asyncio.to_thread(_all_parts, owner, plan)
        except _TooLargeError:
            return None
        for name, _ in parts:
            found = await self._find(owner, name)
            if found is None or not await asyncio.to_thread(_as_written, owner["metadata"]["uid"], found):
                return None
        return PlanRef(config_maps=tuple(name for name, _ in parts), steps=len(plan.steps))

    async def present(self, owner: Object) -> tuple[str, ...]:
        """Names of whatever says that it is a part of one of the object's plans."""
        return tuple(obj["metadata"]["name"] for obj in await self._parts_of(owner))

    async def load(self, owner: Object, operation: Operation) -> tuple[OperationStep, ...]:
        """The steps for people to look at: those that can be proven, in order."""
        proven = (await self.prove(owner, operation)).plan
        return tuple(proven.steps[number] for number in sorted(proven.steps))

    async def prove(self, owner: Object, operation: Operation) -> Loaded:
        """The steps of an operation, proven against its hash; what cannot be proven is left out and `lost` says so."""
        namespace, uid = owner["metadata"]["namespace"], owner["metadata"]["uid"]
        if operation.plan_ref is None:
            return Loaded(_inline(operation), guarded=True)
        if (known := self._known.get((uid, operation.plan_hash))) is not None:
            self._known.move_to_end((uid, operation.plan_hash))
            return Loaded(known, guarded=True)
        parts, problems, guarded = [], [], True
        for name in operation.plan_ref.config_maps:
            try:
                obj = await self._kube.get(CONFIG_MAPS, name, namespace)
            except NotFoundError:
                problems.append(f"ConfigMap {name} is gone")
                continue
            guarded &= names.CELL_FINALIZER in obj["metadata"].get("finalizers", [])
            part = await asyncio.to_thread(_proven, uid, obj)
            if part is None:
                problems.append(f"ConfigMap {name} is not what was written")
            else:
                parts.append(part)
        plan = await asyncio.to_thread(_assembled, operation, parts, problems)
        if plan.lost is None and guarded:
            self._remember(uid, operation.plan_hash, plan)
        return Loaded(plan, guarded)

    async def guarded(self, owner: Object) -> tuple[str, ...]:
        """The object's parts that are kept from vanishing."""
        return tuple(
            obj["metadata"]["name"]
            for obj in await self._parts_of(owner)
            if names.CELL_FINALIZER in obj["metadata"].get("finalizers", [])
        )

    async def guard(self, namespace: str, config_maps: Sequence[str]) -> None:
        """Keep the parts until they are released: a namespace that is deleted must not take away how to undo."""
        for name in config_maps:
            await self._set_guard(namespace, name, on=True)

    async def release(self, namespace: str, config_maps: Sequence[str]) -> None:
        for name in config_maps:
            await self._set_guard(namespace, name, on=False)

    async def drop(self, namespace: str, config_maps: Sequence[str]) -> None:
        """Delete parts that no operation names."""
        for name in config_maps:
            try:
                await self._kube.delete(CONFIG_MAPS, name, namespace)
            except NotFoundError:
                continue

    async def _find(self, owner: Object, name: str) -> Object | None:
        try:
            return await self._kube.get(CONFIG_MAPS, name, owner["metadata"]["namespace"])
        except NotFoundError:
            return None

    async def _parts_of(self, owner: Object) -> Sequence[Object]:
        meta = owner["metadata"]
        return await self._kube.list(CONFIG_MAPS, meta["namespace"], labels=f"{names.PLAN_OF}={meta['uid']}")

    async def _set_guard(self, namespace: str, name: str, *, on: bool) -> None:
        try:
            obj = await self._kube.get(CONFIG_MAPS, name, namespace)
        except NotFoundError:
            if on:
                raise
            return
        meta = obj["metadata"]
        others = [finalizer for finalizer in meta.get("finalizers", []) if finalizer != names.CELL_FINALIZER]
        wanted = [*others, names.CELL_FINALIZER] if on else others
        if wanted != meta.get("finalizers", []):
            change = {"metadata": {"finalizers": wanted, "resourceVersion": meta["resourceVersion"]}}
            await self._kube.patch(CONFIG_MAPS, name, namespace, change)

    def _remember(self, uid: str, plan_hash: str, plan: FrozenSteps) -> None:
        self._known[uid, plan_hash] = plan
        while sum(known.count for known in self._known.values()) > REMEMBERED_STEPS and len(self._known) > 1:
            self._known.popitem(last=False)


def fits_inline(plan: Plan) -> bool:
    """Whether the steps may stand in the status itself."""
    return len(plan.steps) <= STEPS_LIMIT and len(canonical(_steps(plan.steps))) <= INLINE_PLAN_BYTES


def _steps(steps: Sequence[OperationStep]) -> list[dict[str, Any]]:
    return [step.model_dump(mode="json", by_alias=True, exclude={"checks"}, exclude_defaults=True) for step in steps]


def _all_parts(owner: Object, plan: Plan) -> list[tuple[str, bytes]]:
    return list(_parts(owner, plan))


def _parts(owner: Object, plan: Plan) -> Iterator[tuple[str, bytes]]:
    """(name, JSON) of each part: as few as the limits allow. The same plan makes the same parts."""
    whole = {
        "planHash": plan.hash,
        "generation": owner["metadata"]["generation"],
        "kind": plan.kind,
        "goal": plan.goal,
        "constraints": dict(plan.constraints),
        "gates": list(plan.gates),
    }
    runs = list(_runs(plan.steps, whole))
    if len(runs) > MAX_PARTS:
        raise _TooLargeError(f"a plan of {len(plan.steps)} steps needs {len(runs)} parts; {MAX_PARTS} are allowed")
    for number, run in enumerate(runs):
        raw = canonical(whole | {"part": number, "parts": len(runs), "steps": _steps(run)})
        yield _name(owner["metadata"]["name"], owner["metadata"]["uid"], raw), raw


def _runs(steps: Sequence[OperationStep], whole: Mapping[str, Any]) -> Iterator[Sequence[OperationStep]]:
    raw = canonical({**whole, "part": MAX_PARTS, "parts": MAX_PARTS, "steps": _steps(steps)})
    if len(raw) <= RAW_BYTES and len(_packed(raw)) <= PART_BYTES:
        yield steps
    elif len(steps) < 2:
        raise _TooLargeError(f"step {steps[0].id} alone is larger than a ConfigMap may be")
    else:
        middle = len(steps) // 2
        yield from _runs(steps[:middle], whole)
        yield from _runs(steps[middle:], whole)


def _packed(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def _name(owner: str, uid: str, raw: bytes) -> str:
    content = digest({"uid": uid, "content": raw.decode()}).partition(":")[2]
    return f"{owner[:_OWNER_CHARACTERS].rstrip('.-')}-plan-{content[:_NAME_DIGITS]}"


def _config_map(owner: Object, name: str, raw: bytes) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": {
                names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET,
                names.PLAN_OF: owner["metadata"]["uid"],
            },
            "ownerReferences": [owner_reference(owner)],
        },
        "immutable": True,
        "binaryData": {KEY: base64.b64encode(_packed(raw)).decode()},
    }


def _proven(uid: str, obj: Object) -> Part | None:
    """The part, if its content is what its name says and is a part."""
    name = obj["metadata"]["name"]
    try:
        packed = base64.b64decode((obj.get("binaryData") or {}).get(KEY, ""), validate=True)
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        raw = unpacker.decompress(packed, RAW_BYTES)
        if not unpacker.eof or _name("", uid, raw).rpartition("-")[2] != name.rpartition("-")[2]:
            return None
        return Part.model_validate_json(raw)
    except (ValueError, zlib.error, binascii.Error):
        return None


def _as_written(uid: str, obj: Object) -> bool:
    """Whether what was found is what the store would have made: nobody can change it, and it is listed."""
    mine = (obj["metadata"].get("labels") or {}).get(names.PLAN_OF) == uid
    return mine and obj.get("immutable") is True and _proven(uid, obj) is not None


def _steps_in(parts: Sequence[Part]) -> tuple[OperationStep, ...]:
    return tuple(step for part in sorted(parts, key=lambda part: part.part) for step in part.steps)


def _inline(operation: Operation) -> FrozenSteps:
    if _hash(operation, operation.steps) == operation.plan_hash:
        return FrozenSteps.of(operation.steps)
    return FrozenSteps(len(operation.steps), {}, _changed("The steps in the status are not those of planHash."))


def _assembled(operation: Operation, parts: Sequence[Part], problems: Sequence[str]) -> FrozenSteps:
    steps = _steps_in(parts)
    if not problems and _hash(operation, steps) == operation.plan_hash:
        return FrozenSteps.of(steps)
    why = f"{'; '.join(problems[:4])}." if problems else "The parts of the plan are not those of planHash."
    count = operation.plan_ref.steps if operation.plan_ref is not None else len(steps)
    proven = {step.id: step for step in steps} if problems else {}
    return FrozenSteps(count, proven, _changed(why))


def _hash(operation: Operation, steps: tuple[OperationStep, ...]) -> str:
    """The hash of what the operation says its plan is; empty when that is no plan at all."""
    try:
        constraints = json.loads(operation.constraints or "{}")
        return Plan(operation.kind, "Frozen", operation.goal, steps, constraints, operation.gates).hash
    except ValueError:
        return ""


def _changed(why: str) -> Check:
    return Check(
        "PlanChanged",
        ok=False,
        evidence=why,
        remedy="Nothing more of the plan is done; what was done and can be proven to be of it is undone.",
    )
