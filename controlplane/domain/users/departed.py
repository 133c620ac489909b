"""Principals that somebody may still log in as, or be logged in as, without an object that lets them. Pure.

A denial outlives its user: by the time in which a session has to prove itself again, or until the last certificate has
expired. Then nobody can be that principal, and the denial goes. Where none could be made (whenNoAcl: Allow) it follows
once it can be. For that a record of each is kept outside of Kafka, written before the object is let go.

- Who left while its cluster was away (`pending`) is denied, and its password forgotten, when that is back, before
  anything else: the cluster's volumes still let it in.
- A principal that is declared again, or let in again, is its object's business; the record only says when its
  certificates expire and its sessions end, whatever the object logs in with.
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
from controlplane.domain.users.planner import AccessObservation, DesiredUser
from controlplane.domain.users.values import Acl

SLACK_SECONDS = 60.0
"""Noted down beyond the end of a session: what takes long is recorded once in this time, not at every pass."""
MAX_DEPARTED = 5000
"""Of one cluster: what a ConfigMap has room for. The denial of one more stays for ever."""


@dataclass(frozen=True, slots=True)
class Departed:
    """`until` is when the last session or certificate has ended, in seconds since the epoch, None where nobody knows.
    `denied`: Kafka has been seen to deny it. `certificate`: it may be that of a certificate. `pending`: nothing could
    be done in Kafka when it left, and there may be a password of it."""

    until: float | None
    denied: bool = False
    certificate: bool = True
    pending: bool = False

    def is_over(self, now: float) -> bool:
        return self.until is not None and now >= self.until


Records = Mapping[str, Departed]
"""By principal."""


@dataclass(frozen=True, slots=True)
class DepartedPlan:
    """ACLs to make and to remove, users whose SCRAM credentials are to be deleted, and the records afterwards."""

    create: frozenset[Acl] = frozenset()
    delete: frozenset[Acl] = frozenset()
    forget: frozenset[str] = frozenset()
    records: Records = field(default_factory=dict)


def with_departing(
    records: Records, users: Iterable[DesiredUser], now: float, *, pending: bool = False
) -> dict[str, Departed]:
    """The records with those of users that are being deleted or are about to be kept out."""
    found = dict(records)
    for user in users:
        known = found.get(user.principal)
        if known is not None or len(found) < MAX_DEPARTED:
            record = _departing(user, known, now)
            found[user.principal] = replace(record, pending=True) if pending else record
    return found


def _departing(user: DesiredUser, known: Departed | None, now: float) -> Departed:
    enough = user.not_after if user.tls else now + REAUTHENTICATE_SECONDS
    until = user.not_after if user.tls else _sessions_end(now)
    if known is None:
        return Departed(until, certificate=user.tls)
    certificate = user.tls or (known.certificate and not known.is_over(now))
    if certificate == known.certificate and _later(known.until, enough) == known.until:
        return known
    return replace(known, until=_later(known.until, until), certificate=certificate)


def _sessions_end(now: float) -> float:
    """Of those that were logged in with a password that goes now."""
    return now + REAUTHENTICATE_SECONDS + SLACK_SECONDS


def _later(one: float | None, other: float | None) -> float | None:
    """None is never."""
    return None if one is None or other is None else max(one, other)


def plan_departed(
    records: Records, declared: AbstractSet[str], observed: AccessObservation, now: float, *, unlisted: bool
) -> DepartedPlan:
    """`declared` are principals that an object has; `unlisted`: what no ACL is about is let through (see planner)."""
    acls = observed.acls
    create: set[Acl] = set()
    delete: set[Acl] = set()
    forget: set[str] = set()
    left: dict[str, Departed] = {}
    for principal, remembered in sorted(records.items()):
        record, user = remembered, principal.removeprefix("User:")
        denial = revocation(principal)
        present = denial & (acls or frozenset())
        if record.pending:
            missing = denial - present if acls is not None and not unlisted else frozenset[Acl]()
            if missing or user in observed.scram:
                create |= missing
                forget |= {user} & observed.scram.keys()
                left[principal] = record
                continue
            record = replace(record, pending=False, until=_later(record.until, _sessions_end(now)))
        over = record.is_over(now)
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
    return DepartedPlan(frozenset(create), frozenset(delete), frozenset(forget), left)
