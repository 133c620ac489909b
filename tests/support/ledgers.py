"""Records for ledger tests."""

from __future__ import annotations

from typing import Any

from controlplane.api.conditions import timestamp
from controlplane.api.operation import JournalEntry, Operation, OperationStep
from controlplane.ports import ApprovalRecord, AuditEvent, OperationRecord

T0 = 1_700_000_000.0
HASH = "sha256:" + "ab" * 32


def operation(id_: str = "roll-3-ab", *, entries: int = 0, started: float = T0, **changes: Any) -> Operation:
    """`entries` steps, each a second after the one before; no outcome unless given."""
    journal = tuple(
        JournalEntry(step=n, verb="ReplacePod", target=str(n), outcome="Done", at=timestamp(started + n))
        for n in range(1, entries + 1)
    )
    step = OperationStep(id=entries, verb="ReplacePod", target=str(entries)) if entries else None
    known = {"goal": "version 4.3.1", "plan_hash": HASH, "step": step, "journal": journal}
    return Operation(id=id_, kind="Roll", started_at=timestamp(started), **(known | changes))


def ended(one: Operation, *, at: float, outcome: str = "Succeeded", message: str = "done") -> Operation:
    return one.model_copy(update={"outcome": outcome, "ended_at": timestamp(at), "message": message})


def record(one: Operation, *, uid: str = "uid-1", cell: str = "kafka/orders") -> OperationRecord:
    return OperationRecord(uid, f"KafkaCluster {cell}", cell, one)


def approval(uid: str = "approval-1", *, at: float = T0 - 60, **changes: Any) -> ApprovalRecord:
    known: dict[str, Any] = {
        "uid": uid,
        "name": f"ok-{uid}",
        "namespace": "kafka",
        "target": "KafkaCluster kafka/orders",
        "target_uid": "uid-1",
        "plan_hash": HASH,
        "decision": "Approve",
        "approver": "bob",
        "reason": "looks good",
        "at": at,
    }
    return ApprovalRecord(**(known | changes))


def event(id_: str = "event-1", *, at: float = T0 - 90, **changes: Any) -> AuditEvent:
    detail = {"cell": "kafka/orders", "operation": "roll-3-ab", "why": "on call"}
    known: dict[str, Any] = {"id": id_, "at": at, "actor": "alice", "action": "Cancel"}
    return AuditEvent(**(known | {"subject": "KafkaCluster kafka/orders", "detail": detail} | changes))
