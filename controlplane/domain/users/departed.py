"""Principals whose objects are gone while somebody may still log in as them, or be logged in. Pure.

A denial outlives its user: by the time in which a session has to prove itself again, or until the last certificate has
expired. Then nobody can be that principal, and the denial goes. Where none could be made (whenNoAcl: Allow) it follows
once it can be. For that a record of each is kept outside of Kafka, written before the object is let go.

- A principal that is declared again is its object's business; the record only says when its certificates expire.
- Who takes a denial away with kafka-acls has decided: it is not put back.
- What expires when nobody knows is denied for ever.
- The plan of a world in which the plan was carried out is empty, and nothing is ever done for a principal without a
  record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from controlplane.domain.access.listeners import REAUTHENTICATE_SECONDS
from controlplane.domain.users.acls import revocation
from controlplane.domain.users.planner import DesiredUser
from controlplane.domain.users.values import Acl

MAX_DEPARTED = 5000
"""Of one cluster: what a ConfigMap has room for. The denial of one more stays for ever."""


@dataclass(frozen=True, slots=True)
class Departed:
    """`until` is when the last session or certificate has ended, in seconds since the epoch, None where nobody knows.
    `denied`: Kafka has been seen to deny it."""

    until: float | None
    denied: bool = False


Records = Mapping[str, Departed]
"""By principal."""


@dataclass(frozen=True, slots=True)
class DepartedPlan:
    """ACLs to make and to remove, and the records afterwards."""

    create: frozenset[Acl] = frozenset()
    delete: frozenset[Acl] = frozenset()
    records: Records = field(default_factory=dict)


def with_departing(records: Records, users: Iterable[DesiredUser], now: float) -> dict[str, Departed]:
    """The records with those of users that are being deleted. Times are put off generously, so that a deletion that
    takes long is recorded a few times and not at every pass."""
    found = dict(records)
    for user in users:
        known = found.get(user.principal)
        if known is None and len(found) >= MAX_DEPARTED:
            continue
        until = user.not_after if user.tls else now + 2 * REAUTHENTICATE_SECONDS
        if known is None:
            found[user.principal] = Departed(until)
        elif known.until is not None and (until is None or known.until < now + REAUTHENTICATE_SECONDS):
            found[user.principal] = replace(known, until=None if until is None else max(known.until, until))
    return found


def plan_departed(
    records: Records, declared: AbstractSet[str], acls: frozenset[Acl] | None, now: float, *, unlisted: bool
) -> DepartedPlan:
    """`declared` are principals that an object has; `acls` all of the cluster, None without an authorizer; `unlisted`:
    what no ACL is about is let through (see planner)."""
    create: set[Acl] = set()
    delete: set[Acl] = set()
    left: dict[str, Departed] = {}
    for principal, record in sorted(records.items()):
        over = record.until is not None and now >= record.until
        denial = revocation(principal)
        present = denial & (acls or frozenset())
        if principal in declared:
            if present or not over:
                left[principal] = replace(record, denied=False)
        elif acls is None:
            if not over:
                left[principal] = record
        elif over or unlisted:
            delete |= present
            if present or not over:
                left[principal] = replace(record, denied=False)
        elif not record.denied:
            create |= denial - present
            left[principal] = replace(record, denied=present == denial)
        elif present:
            left[principal] = record
    return DepartedPlan(frozenset(create), frozenset(delete), left)
