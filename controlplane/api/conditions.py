"""Conditions as KEP-1623 wants them: one entry a type, lastTransitionTime moves only with the status. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from controlplane.api.base import ApiModel, Timestamp

ConditionStatus = Literal["True", "False", "Unknown"]

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
AVAILABLE = "Available"
ROLLING_OUT = "RollingOut"
BLOCKED = "Blocked"
ROLLED_BACK = "RolledBack"
DRAINABLE = "Drainable"
CERTIFICATES = "CertificatesCurrent"
LOAD_SHEDDING = "LoadShedding"
DRIFTED = "Drifted"
PROPOSED = "Proposed"
APPROVED = "Approved"
CREDENTIALS_CURRENT = "CredentialsCurrent"
COMPLETE = "Complete"
FAILED = "Failed"
PLACED = "Placed"
WITHIN_LIMITS = "WithinLimits"
NAMESPACES_WATCHED = "NamespacesWatched"

MESSAGE_LIMIT = 4096
"""Ours; KEP-1623 allows 32768, but a status is read by people and sent to every watcher."""


class Condition(ApiModel):
    """One aspect of an object's state. `message` says what to do when the state is not the wanted one."""

    type: str = Field(max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$", description="Name of the condition, CamelCase.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    observed_generation: int = Field(0, ge=0, description="metadata.generation that this condition was set for.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")
    reason: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$")] = Field(
        description="Why, in one CamelCase word for programs."
    )
    message: str = Field("", max_length=MESSAGE_LIMIT, description="Why, and what to do, for people.")


def timestamp(seconds: float) -> str:
    """RFC 3339 with whole seconds, as Kubernetes writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """The inverse of `timestamp`."""
    return datetime.fromisoformat(text).timestamp()


def find_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def set_condition(
    conditions: Iterable[Condition],
    type_: str,
    status: bool | ConditionStatus,  # noqa: FBT001 - set_condition(c, READY, True, ...) reads as what it does
    reason: str,
    message: str = "",
    *,
    observed_generation: int,
    now: float,
) -> tuple[Condition, ...]:
    """The conditions with one set: in place if its type is there, else at the end.

    lastTransitionTime is kept while the status stays the same, whatever happens to reason and message. A message
    longer than MESSAGE_LIMIT is cut. `now` is seconds since the epoch. Setting the same thing twice changes nothing.
    """
    before = tuple(conditions)
    wanted: ConditionStatus = ("True" if status else "False") if isinstance(status, bool) else status
    old = find_condition(before, type_)
    new = Condition(
        type=type_,
        status=wanted,
        observed_generation=observed_generation,
        last_transition_time=old.last_transition_time if old and old.status == wanted else timestamp(now),
        reason=reason,
        message=message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "...",
    )
    if old is None:
        return (*before, new)
    return tuple(new if condition.type == type_ else condition for condition in before)
