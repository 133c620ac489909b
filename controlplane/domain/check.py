"""A check: one question asked of an observation, and what to do when the answer is no.

Gates, hazards, prechecks, probes, detectors and readiness are all checks, so that one renderer shows them and one test
style covers them. Shape after segmentio/topicctl: a check is data, never a callback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is CamelCase and doubles as a condition reason; `evidence` says what was seen, `remedy` what to do."""

    name: str
    ok: bool
    evidence: str = ""
    remedy: str = ""


def failed(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks that do not hold, in the order given."""
    return tuple(check for check in checks if not check.ok)


def explain(checks: Iterable[Check]) -> str:
    """One sentence a failed check: what is wrong, then what to do."""
    return " ".join(" ".join(part for part in (check.evidence, check.remedy) if part) for check in failed(checks))
