"""How operations look: rows, versioned documents, and one of them in full."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.api.operation import Operation, OperationStep
from controlplane.cli.op_find import AWAITING, BLOCKED_STATE, UNDER_WAY, WAITING, Carried, annotation
from controlplane.cli.render import Column, View, age
from controlplane.domain.operation.render import operation_lines, text

_ORDER = (AWAITING, BLOCKED_STATE, WAITING, UNDER_WAY)


def worst_first(found: Sequence[Carried]) -> list[Carried]:
    """What needs somebody, then what moves, then what has ended, the newest of each first."""

    def rank(one: Carried) -> tuple[int, float]:
        ended = one.operation.ended_at or one.operation.started_at
        place = _ORDER.index(one.state) if one.state in _ORDER else len(_ORDER)
        return place, -_seconds(ended)

    return sorted(found, key=rank)


def document(one: Carried) -> dict[str, Any]:
    meta = one.obj["metadata"]
    return {
        "id": one.operation.id,
        "state": one.state,
        "blocked": one.blocked,
        "source": "Ledger" if one.from_ledger else "Status",
        "object": {
            "apiVersion": one.obj["apiVersion"],
            "kind": one.obj["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "requestedBy": annotation(one.obj, names.REQUESTED_BY),
        "operation": one.operation.to_object(),
    }


def _step(operation: Operation) -> str:
    step = operation.step
    return f"{step.id} {step.verb} {step.target}".rstrip() if step is not None else "-"


def _state(one: Carried) -> str:
    return f"{one.state} ({one.blocked})" if one.blocked and one.blocked != one.state else one.state


VIEW: View[Carried] = View(
    kind="Operation",
    columns=(
        Column("NAMESPACE", lambda one: one.namespace),
        Column("OBJECT", lambda one: f"{one.obj['kind'].lower()}/{one.name}"),
        Column("ID", lambda one: one.operation.id),
        Column("STATE", _state),
        Column("STEP", lambda one: _step(one.operation)),
        Column("STARTED", lambda one: age(one.operation.started_at, time.time())),
        Column("GOAL", lambda one: one.operation.goal),
        Column("ENDED", lambda one: age(one.operation.ended_at, time.time()), wide=True),
        Column("MODE", lambda one: one.operation.mode, wide=True),
        Column("APPROVAL", lambda one: one.operation.approval or "-", wide=True),
        Column("MESSAGE", lambda one: " ".join(one.operation.message.split()) or "-", wide=True),
    ),
    name=lambda one: one.operation.id,
    document=document,
)


def in_full(one: Carried, steps: Sequence[OperationStep], lock: str, *, every: bool) -> str:
    """For people: whose it is, the renderer's lines, who has the cell, what to type next."""
    requested = annotation(one.obj, names.REQUESTED_BY)
    notes = [f"of {one.subject}" + (f", asked for by {requested}" if requested else "")]
    if lock:
        notes.append(f"cell: {lock}")
    shown = text(operation_lines(one.operation, steps, notes=notes, every=every))
    hints = "\n".join(f"  {line}" for line in next_commands(one))
    return f"{shown}\n\nnext\n{hints}" if hints else shown


def next_commands(one: Carried) -> list[str]:
    identity = one.operation.id
    if one.state == AWAITING:
        return [f"kfleet approve {identity}", f"kfleet deny {identity}"]
    if one.state == "Cancelled":
        return [f"kfleet op resume {identity}"]
    if one.under_way:
        hints = [f"kfleet op watch {identity}", f"kfleet op cancel {identity}"]
        return [f"kfleet explain {one.blocked}", *hints] if one.blocked else hints
    return []


def lock_words(lease: dict[str, Any] | None) -> str:
    """The cell's Lease in words: `roll-3-ab12, through operator-1, renewed at 2026-...`."""
    spec = (lease or {}).get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    if not holder:
        return "nobody has it"
    operation, _, operator = holder.partition("/")
    through = f" through {operator}" if operator else ""
    return f"held by {operation}{through}, renewed {str(spec.get('renewTime', ''))[:19]}Z"


def _seconds(stamp: str | None) -> float:
    return datetime.fromisoformat(stamp or timestamp(0)).timestamp()
