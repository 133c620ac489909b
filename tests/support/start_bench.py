"""What one round of PBKDF2 instead of 10,000 gains a node: medians of alternating starts, and their table. Pure.

One row a start: {pair, side, role, ready_s, ready_cpu_s}, brokers' with in_sync_s and in_sync_cpu_s as well. Times
are seconds from the process's start: until Kafka says that it has started, and until the broker is in sync for every
replica that it holds. Processor time is the process's own, user and system, until the same moments.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

BEFORE, AFTER = SIDES = ("before", "after")
BROKER, CONTROLLER, OPEN = ROLES = ("broker", "controller", "broker without TLS")
OPEN_AT_MOST = 1.05
"""Processor time, of what it was: a start that reads no key may not cost more."""
FIGURES = {
    "ready_s": "until it has started, s",
    "ready_cpu_s": "processor time until it has started, s",
    "in_sync_s": "until it is in sync, s",
    "in_sync_cpu_s": "processor time until it is in sync, s",
}


def figures(role: str) -> tuple[str, ...]:
    return tuple(name for name in FIGURES if role != CONTROLLER or not name.startswith("in_sync"))


def medians(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """By role, side and figure. Raises StatisticsError without rows of one of them."""
    rows = tuple(rows)
    return {
        role: {
            side: {
                name: round(
                    statistics.median(row[name] for row in rows if (row["role"], row["side"]) == (role, side)), 3
                )
                for name in figures(role)
            }
            for side in SIDES
        }
        for role in ROLES
    }


def better(rows: Sequence[Row]) -> bool:
    """Secure nodes start sooner and with less processor time, by the median over pairs; others not with more."""

    def share(role: str, name: str) -> float:
        """Of what it was before."""
        of = {(row["pair"], row["side"]): row[name] for row in rows if row["role"] == role}
        return statistics.median(of[pair, AFTER] / of[pair, BEFORE] for pair in sorted({pair for pair, _ in of}))

    secure = (share(role, name) for role in (BROKER, CONTROLLER) for name in ("ready_s", "ready_cpu_s"))
    return all(each < 1 for each in secure) and share(OPEN, "ready_cpu_s") <= OPEN_AT_MOST


def table(rows: Iterable[Row]) -> str:
    lines = ["| | | 10,000 rounds | one round |", "| --- | --- | --- | --- |"]
    for role, of in medians(rows).items():
        lines += [
            f"| {role} | {FIGURES[name]} | {of[BEFORE][name]:.2f} | {of[AFTER][name]:.2f} |" for name in figures(role)
        ]
    return "\n".join(lines)
