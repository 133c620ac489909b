"""Entries of the ledger as people and scripts read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controlplane.adapters.ledger.rows import Entry, History, LedgerOperation, Source
from controlplane.cli.render import Column, View, table

MESSAGE_WIDTH = 60


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC; fractions of a second only where there are some."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds" if at.microsecond else "seconds").replace("+00:00", "Z")


def document(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": moment(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "cell": entry.cell,
        "operation": entry.operation,
        "outcome": entry.outcome,
        "message": entry.message,
        "detail": dict(entry.detail),
    }


def history_document(history: History) -> dict[str, Any]:
    one = history.operation
    return {
        "operation": {
            "id": one.operation,
            "uid": one.uid,
            "kind": one.kind,
            "mode": one.mode,
            "subject": one.subject,
            "cell": one.cell,
            "planHash": one.plan_hash,
            "goal": one.goal,
            "approval": one.approval,
            "direction": one.direction,
            "step": one.step,
            "attempt": one.attempt,
            "outcome": one.outcome,
            "message": one.message,
            "startedAt": moment(one.started_at),
            "endedAt": moment(one.ended_at),
        },
        "entries": [document(entry) for entry in history.entries],
    }


def what(entry: Entry) -> str:
    """A step says its number and target too: `ReplacePod 2 (step 3)`."""
    if entry.source is not Source.STEP:
        return entry.action
    attempt = entry.detail.get("attempt", 1)
    again = f", attempt {attempt}" if attempt > 1 else ""
    return f"{entry.action} {entry.detail.get('target', '')} (step {entry.detail.get('step')}{again})".replace(
        "  ", " "
    )


ENTRIES: View[Entry] = View(
    kind="AuditEntry",
    columns=(
        Column("AT", lambda entry: moment(entry.at)),
        Column("ACTOR", lambda entry: entry.actor),
        Column("ACTION", what),
        Column("SUBJECT", lambda entry: entry.subject),
        Column("OPERATION", lambda entry: entry.operation or "-"),
        Column("OUTCOME", lambda entry: entry.outcome or "-"),
        Column("ID", lambda entry: entry.id, wide=True),
        Column("MESSAGE", lambda entry: short(entry.message), wide=True),
    ),
    name=lambda entry: entry.id,
    document=document,
)
HISTORIES: View[History] = View(
    kind="AuditHistory",
    columns=(),
    name=lambda history: history.operation.operation,
    document=history_document,
)


def short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_WIDTH else line[: MESSAGE_WIDTH - 3] + "..."


def history_text(history: History) -> str:
    one = history.operation
    facts = [
        ("Operation", one.operation),
        ("Kind", f"{one.kind}, {one.mode}"),
        ("Subject", one.subject),
        ("Cell", one.cell),
        ("Goal", one.goal),
        ("Plan", one.plan_hash or "-"),
        ("Approval", one.approval or "-"),
        ("Began", moment(one.started_at)),
        ("Ended", _ended(one)),
    ]
    lines = [f"{name + ':':<11}{value}" for name, value in facts]
    rows = [
        (moment(entry.at), entry.actor, what(entry), entry.outcome or "-", entry.message) for entry in history.entries
    ]
    return "\n".join([*lines, "", table(("at", "actor", "action", "outcome", "message"), rows)])


def entry_text(entry: Entry) -> str:
    facts = [(name.capitalize(), value) for name, value in document(entry).items() if name != "detail" and value]
    facts += [(name, value) for name, value in entry.detail.items()]
    width = max(len(name) for name, _ in facts) + 2
    return "\n".join(f"{name + ':':<{width}}{value}" for name, value in facts)


def _ended(one: LedgerOperation) -> str:
    return f"{moment(one.ended_at)}, {one.outcome}: {one.message}" if one.ended_at else "under way"
