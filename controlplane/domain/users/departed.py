"""Principals that somebody may still log in as, or be logged in as, without an object that lets them. Pure.

A denial outlives its user: by the time in which a session has to prove itself again, or until the last certificate has
expired, by the brokers' clocks too. Then nobody can be that principal, and the denial goes. Where none could be made
(whenNoAcl: Allow) it follows once it can be. For that a record of each is kept outside of Kafka, written before the
object is let go.

- Who left while its cluster was away (`pending`) is denied, and its password forgotten, when that is back, before
  anything else: the cluster's volumes still let it in. What it had is remembered with it, so that its rules and quotas
  go then too, and nobody else's. Of one that was still waiting to be let in only these go, and nobody is denied for it.
- A principal that is declared again, or let in again, is its object's business; the record only says when its
  certificates expire and its sessions end, whatever the object logs in with, and stays until one that was kept out has
  another password: the former one may still lie in its Secret.
- While whenNoAcl is Allow a denial that its certificate would have is owed, also for the object that has the principal
  then: that waits, and Kafka denies it when the stage ends, however often the stages change.
- Who takes a denial away with kafka-acls has decided: it is not put back.
- What expires when nobody knows is denied for ever.
- The plan of a world in which the plan was carried out is empty, and nothing is ever done for a principal without a
  record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controlplane.domain.access.listeners import REAUTHENTICATE_SECONDS
from controlplane.domain.users.acls import revocation, to_texts
from controlplane.domain.users.certificates import is_over
from controlplane.domain.users.planner import AccessObservation, DesiredUser
from controlplane.domain.users.quotas import effective
from controlplane.domain.users.quotas import to_texts as quota_texts
from controlplane.domain.users.values import Acl

SLACK_SECONDS = 60.0
"""Noted down beyond the end of a session: what takes long is recorded once in this time, not at every pass."""
MAX_DEPARTED = 5000
"""Of one cluster: what a ConfigMap has room for. The denial of one more stays for ever."""
MAX_LEFT_TEXT = 250_000
"""Characters of all rules and quotas that are remembered, which a ConfigMap has room for beside that. Those of one more
stay in Kafka, as somebody else's."""


@dataclass(frozen=True, slots=True)
class Departed:
    """`until` is when the last session or certificate has ended, in seconds since the epoch, None where nobody knows.
    `denied`: Kafka has been seen to deny it. `certificate`: it may be that of a certificate. `pending`: nothing could
    be done in Kafka when it left, and there may be a password of it. `acls` and `quotas` were made for it, and could
    not be taken away then. `let_in`: it may have had credentials; else only what it has left matters. `owed`: it has a
    certificate, and is denied nothing because whenNoAcl is or was Allow. `iterations`: those of its password; one with
    others is somebody else's; None for any."""

    until: float | None
    denied: bool = False
    certificate: bool = True
    pending: bool = False
    acls: frozenset[Acl] = frozenset()
    quotas: Mapping[str, float] = field(default_factory=dict)
    let_in: bool = True
    owed: bool = False
    iterations: int | None = None

    def is_over(self, now: float) -> bool:
        return is_over(self.until, now, certificate=self.certificate)

    @property
    def left_something(self) -> bool:
        return bool(self.acls or self.quotas)

    @property
    def text_size(self) -> int:
        """About so many characters of a record are what it has left."""
        quotas = quota_texts(self.quotas)
        return sum(map(len, (*to_texts(self.acls), *quotas, *quotas.values())))


Records = Mapping[str, Departed]
"""By principal."""


@dataclass(frozen=True, slots=True)
class DepartedPlan:
    """ACLs to make and to remove, users whose SCRAM credentials are to be deleted, quotas to be removed by user and
    key, and the records afterwards."""

    create: frozenset[Acl] = frozenset()
    delete: frozenset[Acl] = frozenset()
    forget: frozenset[str] = frozenset()
    quotas: Mapping[str, Mapping[str, None]] = field(default_factory=dict)
    records: Records = field(default_factory=dict)


def with_departing(
    records: Records, users: Iterable[DesiredUser], now: float, *, pending: bool = False, unlisted: bool = False
) -> dict[str, Departed]:
    """The records with those of users that are being deleted or are about to be kept out; `pending`: with what they
    have, as far as there is room for it. Of one whose name is another's in Kafka only that is remembered. `unlisted`:
    nobody can be denied anything (see planner)."""
    found = dict(records)
    room = MAX_LEFT_TEXT - sum(record.text_size for record in found.values())
    for user in users:
        known = found.get(user.principal)
        if known is not None or len(found) < MAX_DEPARTED:
            record = known or Departed(now, let_in=False)
            if not user.anothers:
                record = _departing(user, known, now, unlisted=unlisted)
            if pending:
                record = _unseen(user, record, room)
                room -= record.text_size - (known.text_size if known is not None else 0)
            found[user.principal] = record
    return found


def _unseen(user: DesiredUser, record: Departed, room: int) -> Departed:
    acls, quotas = record.acls | user.owned_acls, {**record.quotas, **user.owned_quotas}
    if not (record.pending or user.anothers):
        record = replace(record, pending=True, iterations=None if user.let_in else user.announced)
    bare = record
    whole = replace(bare, acls=acls, quotas=quotas)
    return whole if whole.text_size - record.text_size <= room else bare


def _departing(user: DesiredUser, known: Departed | None, now: float, *, unlisted: bool) -> Departed:
    is_certificate = user.tls or (unlisted and not user.out and user.certified)
    enough = user.not_after if is_certificate else now + REAUTHENTICATE_SECONDS
    until = user.not_after if is_certificate else _sessions_end(now)
    if known is None:
        return Departed(until, certificate=is_certificate, owed=unlisted and is_certificate)
    if not known.let_in:
        return replace(known, until=until, certificate=is_certificate, let_in=True, owed=unlisted and is_certificate)
    certificate = is_certificate or (known.certificate and not known.is_over(now))
    known = replace(known, owed=certificate and (known.owed or unlisted))
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
    records: Records,
    heirs: Mapping[str, DesiredUser | None],
    observed: AccessObservation,
    now: float,
    *,
    unlisted: bool,
) -> DepartedPlan:
    """`heirs` are by principal who has it by an object now, None for one of which nothing is looked at; `unlisted`:
    what no ACL is about is let through (see planner)."""
    acls = observed.acls
    create: set[Acl] = set()
    delete: set[Acl] = set()
    forget: set[str] = set()
    quotas: dict[str, Mapping[str, None]] = {}
    left: dict[str, Departed] = {}
    for principal, remembered in sorted(records.items()):
        user, heir = principal.removeprefix("User:"), heirs.get(principal)
        record = _of_its_own(remembered, user, observed)
        if heir is not None or principal not in heirs:
            record = _still_there(record, user, heir, observed)
            rules, limits = _unwanted(record, heir)
            delete |= rules if acls is not None else frozenset()
            quotas |= {user: dict.fromkeys(limits)} if limits else {}
        if not record.let_in:
            if record.left_something:
                left[principal] = record
            continue
        denial = revocation(principal)
        present = denial & (acls or frozenset())
        if record.pending:
            missing = denial - present if acls is not None and not unlisted else frozenset[Acl]()
            if missing or user in observed.scram:
                create |= missing
                forget |= {user} & observed.scram.keys()
                left[principal] = record
                continue
            until = _later(record.until, _sessions_end(now))
            record = replace(record, pending=False, iterations=None, until=until)
        over = record.is_over(now)
        stays = not over or record.left_something or _has_a_spent_password(heir, observed)
        if principal in heirs:
            if present or stays:
                kept_out = record.owed or remembered.pending or _is_kept_out(heir, present)
                owed = kept_out if unlisted else record.owed and present != denial
                left[principal] = replace(record, denied=False, owed=owed and record.certificate and not over)
        elif acls is None:
            if stays:
                left[principal] = record
        elif over or unlisted:
            delete |= present
            if present or stays:
                left[principal] = replace(record, denied=False, owed=record.certificate and not over)
        elif not record.denied:
            create |= denial - present
            left[principal] = replace(record, denied=present == denial, owed=record.owed and present != denial)
        elif present or record.left_something:
            left[principal] = record
    return DepartedPlan(frozenset(create), frozenset(delete), frozenset(forget), quotas, left)


def _of_its_own(record: Departed, user: str, observed: AccessObservation) -> Departed:
    """Where Kafka has another password than the one that was about to be made, that is somebody else's: nobody is kept
    out for one that was not made."""
    if record.iterations in (None, observed.scram.get(user, record.iterations)):
        return record
    return replace(record, pending=False, iterations=None, let_in=record.certificate)


def _still_there(record: Departed, user: str, heir: DesiredUser | None, observed: AccessObservation) -> Departed:
    """Less what is gone, what somebody has changed, and what the heir has recorded as its own. A denial of a user that
    was revoked before it left is none of it: that goes when nobody can be that user any more."""
    theirs = heir.owned_acls if heir is not None else frozenset[Acl]()
    limits: Mapping[str, float] = heir.owned_quotas if heir is not None else {}
    values, acls = observed.quotas.get(user, {}), record.acls - theirs - revocation(f"User:{user}")
    acls = acls if observed.acls is None else acls & observed.acls
    quotas = {key: value for key, value in record.quotas.items() if values.get(key) == value and key not in limits}
    return replace(record, acls=acls, quotas=quotas)


def _unwanted(record: Departed, heir: DesiredUser | None) -> tuple[frozenset[Acl], list[str]]:
    """ACLs and keys of quotas that go: an heir that stays keeps those that it declares too."""
    if heir is None or heir.deleting:
        return record.acls, sorted(record.quotas)
    return record.acls - heir.acls, sorted(record.quotas.keys() - effective(heir.layers or ()).keys())


def _has_a_spent_password(heir: DesiredUser | None, observed: AccessObservation) -> bool:
    """It was kept out, and has no other password yet."""
    return heir is not None and heir.let_in and not heir.tls and heir.user not in observed.scram


def _is_kept_out(heir: DesiredUser | None, present: frozenset[Acl]) -> bool:
    """`present` are denials that are there. One of which nothing is looked at is as it was."""
    return bool(present) if heir is None else heir.out or bool(present - heir.acls)
