"""Sections that every `describe` has: conditions and Events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from controlplane.api.conditions import Condition
from controlplane.cli.render import age, table
from controlplane.domain.health.summary import one_line
from controlplane.ports import Object


def event_documents(events: Sequence[Object] | None) -> list[dict[str, Any]] | None:
    """None stays None: they may not be read."""
    if events is None:
        return None
    return [
        {
            "type": event.get("type", ""),
            "reason": event.get("reason", ""),
            "message": event.get("message", ""),
            "count": event.get("count") or 1,
            "lastAt": event.get("lastTimestamp"),
        }
        for event in events
    ]


def conditions_text(conditions: Iterable[Condition], now: float) -> str:
    entries = [
        (entry.type, entry.status, entry.reason, age(entry.last_transition_time, now), one_line(entry.message))
        for entry in conditions
    ]
    return table(("type", "status", "reason", "since", "message"), entries)


def events_text(events: Iterable[Object], now: float) -> str:
    rows = [
        (
            age(event.get("lastTimestamp"), now),
            event.get("type", ""),
            event.get("reason", ""),
            event.get("count") or 1,
            one_line(event.get("message", "")),
        )
        for event in events
    ]
    return table(("age", "type", "reason", "count", "message"), rows)


def indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
