"""A plan: what an operation will do, as a value, and the hash that an approval names.

Mode Frozen: the hash covers the steps, and those steps or nothing are executed. Mode Replanned: the hash covers goal,
constraints and gates; the steps are planned anew from each observation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from controlplane.api.conditions import timestamp
from controlplane.api.operation import Mode, Operation, OperationStep, PlanRef
from controlplane.api.validate import explain, problems_of
from controlplane.domain.check import Check

HASH_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Plan:
    """`kind` is the operation's, such as Roll; `goal` and `why` of the steps are for people and not hashed.

    `constraints` (JSON values) are what the execution has to keep, `gates` the names of the checks that can stop it.
    Steps count from 1 without holes.
    """

    kind: str
    mode: Mode
    goal: str
    steps: tuple[OperationStep, ...] = ()
    constraints: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if [step.id for step in self.steps] != list(range(1, len(self.steps) + 1)):
            raise ValueError("steps of a plan count from 1 without holes")

    @property
    def hash(self) -> str:
        """SHA-256 of canonical JSON without words, times, estimates or anything observed."""
        document: dict[str, Any] = {
            "kind": self.kind,
            "mode": self.mode,
            "constraints": dict(self.constraints),
            "gates": sorted(self.gates),
        }
        if self.mode == "Frozen":
            document["steps"] = [
                {
                    "id": step.id,
                    "verb": step.verb,
                    "target": step.target,
                    "risk": step.risk,
                    "inverse": step.inverse,
                    "parameters": step.parameters,
                }
                for step in self.steps
            ]
        return digest(document)


def canonical(document: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8 as it is."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(document: Any) -> str:
    """`sha256:` and the hash of the document's canonical JSON."""
    return HASH_PREFIX + hashlib.sha256(canonical(document)).hexdigest()


def frozen_operation(plan: Plan, name: str, *, reference: PlanRef | None, now: float) -> Operation:
    """The operation that follows a frozen plan, before it begins. With `reference` the steps lie outside the status."""
    return Operation(
        id=name,
        kind=plan.kind,
        mode="Frozen",
        plan_hash=plan.hash,
        goal=plan.goal,
        started_at=timestamp(now),
        step=plan.steps[0] if plan.steps else None,
        steps=plan.steps if reference is None else (),
        plan_ref=reference,
        constraints=canonical(dict(plan.constraints)).decode() if plan.constraints else "",
        gates=plan.gates,
    )


def unfit(plan: Plan) -> Check | None:
    """Why no status can carry an operation with this plan, wherever its steps lie."""
    try:
        frozen_operation(plan, "", reference=PlanRef(config_maps=(), steps=len(plan.steps)), now=0)
    except ValidationError as error:
        return Check(
            "PlanUnfit",
            ok=False,
            evidence=f"The plan does not fit into a status: {explain(problems_of(error))}",
            remedy="Ask for less at once.",
        )
    return None


def operation_id(kind: str, uid: str, generation: int, plan_hash: str) -> str:
    """The same for the same plan of the same object, so that a pass that is repeated names the same operation."""
    salt = hashlib.sha256(f"{uid}/{generation}/{plan_hash.removeprefix(HASH_PREFIX)}".encode()).hexdigest()[:10]
    return f"{kind.lower()}-{generation}-{salt}"


def generation_of(operation: str) -> int:
    """The generation of the object that an operation id was made for; -1 for an id of another make."""
    number = operation.rpartition("-")[0].rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
