"""What a scenario of `make campaign-rolling` and its record have to say to count. Pure."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.roll_judge import Finding

MINIMUM_ACKNOWLEDGED = 1000

SCENARIOS = (
    "4.1.2 to 4.2.0 and back before finalisation",
    "walk over 4.1.2, 4.2.0 and 4.3.1",
    "broker killed during another's restart",
    "controller lost mid-roll",
    "reassignment in flight",
    "slow follower",
    "frozen broker",
    "ledger gone",
    "API server gone for thirty seconds",
    "full volume on restart",
    "control: a planted unsafe stop and a planted loss are found",
)
"""What the record must hold, all of it passed."""


def complaints(account: Mapping[str, Any], found: Sequence[Finding], *, new_epochs: int) -> list[str]:
    """What speaks against a scenario; empty when nothing does."""
    wrong = [f"{finding.kind}: {finding.evidence}" for finding in found]
    wrong += [f"{account[key]} records {key}" for key in ("lost", "reordered") if account[key]]
    if account["duplicated"] and not new_epochs:
        wrong.append(f"{account['duplicated']} records duplicated by the cluster")
    if account["acknowledged"] < MINIMUM_ACKNOWLEDGED:
        wrong.append(f"only {account['acknowledged']} records acknowledged: no traffic to speak of")
    return wrong


def with_planted_loss(journal: Path) -> Path:
    """A copy of a canary's journal in which one record that was read never was."""
    copy = journal.with_name("planted-loss.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    victim = next(number for number, line in enumerate(lines) if line.startswith('["read"'))
    copy.write_text("".join(lines[:victim] + lines[victim + 1 :]))
    shutil.copymode(journal, copy)
    return copy


def whole_problems(outcomes: Any, scenarios: Sequence[str]) -> list[str]:
    """Why these are not the outcomes of all `scenarios`, each once and passed; empty when they are."""
    entries = outcomes.get("scenarios") if isinstance(outcomes, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return ["no list of scenarios"]
    names = Counter(entry.get("name") for entry in entries)
    found = [f"scenario {name!r} is missing" for name in scenarios if name not in names]
    found += [f"scenario {name!r} is there {number} times" for name, number in names.items() if number > 1]
    for entry in entries:
        if entry.get("passed") is not True or not entry.get("outcome") or not entry.get("figures"):
            found.append(f"scenario {entry.get('name')!r} did not pass")
    return found


def scenario_problems(outcomes: Any) -> list[str]:
    """Why the outcomes of a record are not those of a whole campaign that passed; empty when they are."""
    return whole_problems(outcomes, SCENARIOS) or [
        f"scenario {entry['name']!r} does not say that nothing was lost"
        for entry in outcomes["scenarios"]
        if entry["figures"].get("canary", {}).get("lost") != 0
    ]
