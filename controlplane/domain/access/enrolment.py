"""In which namespaces the operator may have Secrets. Pure.

A RoleBinding of ClusterRole `kfleet-secrets` is what enrols a namespace. Nothing of ours remembers which are: the API
server is asked, and whom it lets in is in. What was made before stays and goes on working when the binding is gone;
nothing new is made, and nothing is half made.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.api import conditions as c
from controlplane.api.rbac import enrolling
from controlplane.domain.check import Check

NOT_ENROLLED = "NamespaceNotEnrolled"
FRESH_SECONDS = 60.0
"""A binding that is made together with what needs it is in force a moment later: for so long it is looked for often."""


def not_enrolled(namespace: str, words: str) -> Check:
    """`words` are the API server's: they say for whom it is refused."""
    return Check(
        NOT_ENROLLED,
        ok=False,
        evidence=f"Namespace {namespace} is not enrolled: Secrets are refused there ({words.rstrip('.')}).",
        remedy=f"Whoever administers it enrols it: {enrolling(namespace)}",
    )


def is_fresh(conditions: Iterable[c.Condition], now: float) -> bool:
    """Whether the object has not been waiting for long; `now` is seconds since the epoch."""
    ready = c.find_condition(conditions, c.READY)
    return ready is None or ready.status != "False" or now - c.seconds(ready.last_transition_time) < FRESH_SECONDS
