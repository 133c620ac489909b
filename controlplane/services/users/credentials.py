"""Bring the credentials of many users about: Secrets first, then Kafka, a rotation's last step into the Secrets again.

One user's trouble holds up nobody else. What happened is told by the names of things; no password, key or certificate
is in any message, Event or log line.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import SecretStr

from controlplane.api import names
from controlplane.api.conditions import seconds, timestamp
from controlplane.api.kafka_user import MAX_TRUSTED, AnnouncedStatus, KafkaUser
from controlplane.domain.access.pki import Inspection, Leaf
from controlplane.domain.users import certificates
from controlplane.domain.users import secret as files
from controlplane.domain.users.credentials import (
    Step,
    Stored,
    is_usable,
    iterations,
    next_step,
    rotates_at,
)
from controlplane.domain.users.login import Entrance
from controlplane.domain.users.values import ScramPassword
from controlplane.ports import (
    Clock,
    ConflictError,
    ForbiddenError,
    InvalidError,
    KafkaAdmin,
    KafkaError,
    KeyPair,
    KubeApi,
    Passwords,
    Pki,
    PkiError,
    UnreachableError,
)
from controlplane.services.at_once import each
from controlplane.services.users import secrets
from controlplane.services.users.secrets import Held, Wanted

log = logging.getLogger(__name__)

NORMAL: Literal["Normal"] = "Normal"
WARNING: Literal["Warning"] = "Warning"
NEW_PASSWORD_TRIES = 16
AHEAD_SECONDS = 60.0
"""How far an operator's clock may have been ahead of its successor's."""


@dataclass(frozen=True, slots=True)
class Told:
    """An Event to come."""

    kind: Literal["Normal", "Warning"]
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why the credentials are not current: a reason for programs, words for people. `waiting`: it may end by itself."""

    reason: str
    message: str
    waiting: bool = False


@dataclass
class Case:
    """One user whose credentials are looked after, and what came of it."""

    user: KafkaUser
    entrance: Entrance
    ca: str | None
    held: Held
    told: int | None
    """Iterations that Kafka has."""
    rotation: str
    rotate_after: float | None
    announce: Callable[[AnnouncedStatus], Awaitable[bool]]
    """Have its object say what first credentials are known by; False if it has moved, and they are not to be made."""
    spent: bool = False
    """The password in the Secret was taken from Kafka, to keep its user out."""
    problem: Obstacle | None = None
    events: list[Told] = field(default_factory=list)
    drifted: int = 0
    made: bool = False
    """Its credentials are there."""
    changed: bool = False
    """Something was written, into the Secret or into Kafka."""
    rotate_at: float | None = None
    not_after: float | None = None
    trusts: tuple[str, ...] | None = None
    """Fingerprints of the authorities in the Secret's ca.crt; None where it is not known."""
    signed_by: str | None = None
    """Fingerprint of the authority that signed the certificate in the Secret, if that is known."""

    @property
    def login(self) -> files.Login:
        return files.Login(self.entrance.bootstrap_servers, self.ca)

    @property
    def met(self) -> str:
        """The rotation that was done last; until the new password is the only one the Secret says what was asked."""
        if self.held.stored.next is None:
            return self.held.stored.rotation
        credential = self.user.status.credential
        return credential.rotation if credential is not None else ""

    @property
    def had_credentials(self) -> bool:
        return self.user.status.credential is not None


@dataclass(frozen=True, slots=True)
class Signer:
    """The authority that signs users' certificates now; `problem` says why there is none."""

    authority: KeyPair | None = None
    problem: str = ""


class Credentials:
    """`lifetime` is that of a new certificate, in seconds."""

    def __init__(self, kube: KubeApi, pki: Pki, passwords: Passwords, clock: Clock, *, lifetime: float) -> None:
        self._kube, self._pki, self._passwords, self._clock = kube, pki, passwords, clock
        self._lifetime = lifetime

    async def bring_about(self, admin: KafkaAdmin, cases: Iterable[Case], signer: Signer) -> None:
        """Every case is settled or has a problem afterwards. Raises KafkaError when Kafka cannot be asked at all."""
        usable = [case for case in cases if self._may_begin(case)]
        for case in usable:
            self._trust_in_time(case)
        await self._passwords_of(admin, [case for case in usable if not case.user.is_tls])
        await each(
            (case for case in usable if case.user.is_tls), lambda case: self._guarded(case, self._certify(case, signer))
        )
        fingerprints = {ca: self._fingerprints(ca) for ca in {case.ca for case in usable}}
        for case in usable:
            if case.problem is None:
                case.trusts = fingerprints[case.ca]

    def _fingerprints(self, pem: str | None) -> tuple[str, ...]:
        """Of a PEM text; none of what cannot be read, which then nobody trusts."""
        try:
            found = self._pki.read(pem) if pem is not None else ()
        except PkiError:
            return ()
        return tuple(dict.fromkeys(one.fingerprint for one in found))[:MAX_TRUSTED]

    def _may_begin(self, case: Case) -> bool:
        if not case.held.ours:
            case.problem = Obstacle(
                "SecretTaken",
                f"spec.secretName: Secret {case.user.secret_name!r} exists and is not this user's; it is not touched. "
                "Delete it, or give spec.secretName another name.",
            )
        return case.problem is None

    def _trust_in_time(self, case: Case) -> None:
        """A time to come puts a rotation off for as long as somebody likes: what the status tells counts then."""
        stored, credential = case.held.stored, case.user.status.credential
        if stored.issued_at is None or stored.issued_at <= self._clock.now() + AHEAD_SECONDS:
            return
        told = seconds(credential.issued_at) if credential is not None and credential.issued_at is not None else None
        known = told if told is not None and told <= self._clock.now() else None
        case.held = replace(case.held, stored=replace(stored, issued_at=known))
        note = f"Secret {case.user.secret_name}: annotation {names.ISSUED_AT} had a time to come, and is put right"
        case.events.append(Told(WARNING, "SecretUpdated", note))

    async def _passwords_of(self, admin: KafkaAdmin, cases: list[Case]) -> None:
        steps = {case.user.user_name: self._step(case) for case in cases}
        await each(cases, lambda case: self._guarded(case, self._prepare(case, steps[case.user.user_name])))
        going = [case for case in cases if case.problem is None]
        due = {}
        for case in going:
            password = _to_tell(case, steps[case.user.user_name])
            if password is not None:
                due[case.user.user_name] = (case, password)
        first = [found for found in due.values() if not found[0].had_credentials]
        await each(first, lambda found: self._guarded(found[0], self._announce_password(*found)))
        due = {user: found for user, found in due.items() if found[0].problem is None}
        told = [ScramPassword(user, password, iterations(user, password)) for user, (_, password) in due.items()]
        errors = await admin.upsert_scram(told) if told else {}
        for user, (case, _) in due.items():
            case.changed = True
            if (error := errors.get(user)) is not None:
                case.problem = refused(error)
        last = (Step.STAGE, Step.TELL_NEXT, Step.PROMOTE)
        promoted = [case for case in going if case.problem is None and steps[case.user.user_name] in last]
        await each(promoted, lambda case: self._guarded(case, self._promote(case)))
        for case in going:
            case.made = case.problem is None
            case.rotate_at = rotates_at(case.held.stored, case.rotate_after)

    async def _announce_password(self, case: Case, password: SecretStr) -> None:
        await self._announce(case, AnnouncedStatus(iterations=iterations(case.user.user_name, password)))

    async def _announce(self, case: Case, announced: AnnouncedStatus) -> None:
        """Before first credentials are where somebody could use them."""
        if not await case.announce(announced):
            case.problem = Obstacle("Applying", "The object changed meanwhile.", waiting=True)

    def _step(self, case: Case) -> Step:
        return next_step(
            case.user.user_name,
            case.held.stored,
            case.told,
            now=self._clock.now(),
            rotate_after=case.rotate_after,
            rotation=case.rotation,
            spent=case.spent,
        )

    async def _prepare(self, case: Case, step: Step) -> None:
        """The Secret as it has to be before Kafka is told: the intent. PROMOTE has none."""
        stored, now = case.held.stored, self._clock.now()
        if step is Step.PROMOTE:
            return
        new = self._new_password(case.user.user_name, stored) if step.needs_password else None
        password = new if step is Step.CREATE else stored.password
        following = new if step is Step.STAGE else stored.next if step is Step.TELL_NEXT else None
        wanted = Wanted(
            data=files.contents(case.login, files.Identity(case.user.user_name, password)),
            next=following,
            issued_at=now if step is Step.CREATE or stored.issued_at is None else stored.issued_at,
            rotation=case.rotation if step.needs_password else stored.rotation if following is not None else case.met,
        )
        was_there = case.held.obj is not None
        case.held, keys = await secrets.write(self._kube, case.user, case.held, wanted)
        case.changed = case.changed or bool(keys)
        if step is Step.CREATE:
            self._tell_of_new(case, was_there=was_there)
        elif restored := sorted(keys - {files.NEXT_PASSWORD}):
            case.events.append(Told(NORMAL, "SecretUpdated", f"Secret {case.user.secret_name}: {', '.join(restored)}"))
        if step is Step.TELL and not keys and case.had_credentials:
            case.drifted += 1
            note = f"Kafka had another password of {case.user.user_name} than the Secret, and has the Secret's now"
            case.events.append(Told(WARNING, "DriftCorrected", note))

    def _tell_of_new(self, case: Case, *, was_there: bool) -> None:
        name = case.user.secret_name
        if not case.had_credentials or case.spent:
            case.events.append(Told(NORMAL, "CredentialsIssued", f"Secret {name} has the credentials"))
            return
        case.drifted += 1
        lost = "its credentials cannot be used" if was_there else "it was gone"
        note = f"Secret {name}: {lost}; it has new ones, and clients with the old ones have to take them"
        case.events.append(Told(WARNING, "CredentialsReplaced", note))

    async def _promote(self, case: Case) -> None:
        stored = case.held.stored
        wanted = Wanted(
            data=files.contents(case.login, files.Identity(case.user.user_name, stored.next)),
            issued_at=self._clock.now(),
            rotation=stored.rotation,
        )
        case.held, _ = await secrets.write(self._kube, case.user, case.held, wanted)
        case.changed = True
        case.events.append(Told(NORMAL, "CredentialsRotated", f"Secret {case.user.secret_name} has a new password"))

    def _new_password(self, user: str, stored: Stored) -> SecretStr:
        for _ in range(NEW_PASSWORD_TRIES):
            if is_usable(user, password := self._passwords.new(), stored):
                return password
        raise ValueError("no usable password came of many tries")

    async def _certify(self, case: Case, signer: Signer) -> None:
        stored, now = case.held.stored, self._clock.now()
        found = self._inspect(case.held, signer)
        why = certificates.cause(
            case.user.user_name,
            found,
            now=now,
            issued_at=stored.issued_at,
            rotate_after=case.rotate_after,
            asked=case.rotation,
            met=stored.rotation,
        )
        pair = KeyPair(case.held.certificate, case.held.key)
        issued_at, rotation = stored.issued_at, stored.rotation
        if why is not None:
            if signer.authority is None:
                case.problem = Obstacle("AuthorityMissing", f"spec.authentication.type: {signer.problem}")
                return
            pair = self._pki.issue(signer.authority, Leaf(case.user.user_name), self._lifetime)
            found = self._pki.inspect(pair, signer.authority.certificate)
            issued_at, rotation = now, case.rotation
            if not case.had_credentials:
                await self._announce(case, AnnouncedStatus(not_after=timestamp(found.leaf.not_after)))
                if case.problem is not None:
                    return
        wanted = Wanted(
            data=files.contents(
                case.login, files.Identity(case.user.user_name, certificate=pair.certificate, key=pair.key)
            ),
            issued_at=issued_at if issued_at is not None else now,
            rotation=rotation,
        )
        was_there = case.held.obj is not None
        case.held, keys = await secrets.write(self._kube, case.user, case.held, wanted)
        case.made, case.changed = True, bool(keys)
        self._tell_of_certificate(case, why, keys, was_there=was_there)
        if signer.authority is not None and found is not None and found.trusted:
            (case.signed_by,) = self._fingerprints(signer.authority.certificate)
        if found is not None:
            case.not_after = found.leaf.not_after
            case.rotate_at = certificates.renews_at(found, issued_at=wanted.issued_at, rotate_after=case.rotate_after)

    def _tell_of_certificate(
        self, case: Case, why: certificates.Cause | None, keys: frozenset[str], *, was_there: bool
    ) -> None:
        if why in (certificates.Cause.MISSING, certificates.Cause.FOREIGN):
            self._tell_of_new(case, was_there=was_there)
        elif why is not None:
            note = f"Secret {case.user.secret_name} has a new certificate ({why})"
            case.events.append(Told(NORMAL, "CredentialsRotated", note))
        elif keys:
            note = f"Secret {case.user.secret_name}: {', '.join(sorted(keys))}"
            case.events.append(Told(NORMAL, "SecretUpdated", note))

    def _inspect(self, held: Held, signer: Signer) -> Inspection | None:
        """Held against the authority that signs now: while one follows another both are trusted, and new certificates
        are made in that time. Without one to hold it against it is believed. None for what cannot be read."""
        pair = KeyPair(held.certificate, held.key)
        try:
            found = self._pki.inspect(pair, signer.authority.certificate if signer.authority else held.certificate)
            return found if signer.authority else replace(found, trusted=True)
        except PkiError:
            return None

    @staticmethod
    async def _guarded(case: Case, work: Awaitable[None]) -> None:
        try:
            await work
        except ConflictError:
            case.problem = Obstacle("SecretMoved", f"Secret {case.user.secret_name!r} changed meanwhile.", waiting=True)
        except (ForbiddenError, InvalidError) as error:
            case.problem = secret_refused(case.user, error)
        except PkiError as error:
            case.problem = Obstacle("AuthorityMissing", f"spec.authentication.type: {error}")
        except UnreachableError:
            raise
        except Exception as error:  # noqa: BLE001 - one user holds up nobody else, whatever is wrong with it
            case.problem = unexpected(case.user, error)


def unexpected(user: KafkaUser, error: Exception) -> Obstacle:
    """Told by its type only: nobody knows what its words hold."""
    name = type(error).__name__
    log.error("KafkaUser %s/%s: %s", user.metadata.namespace, user.metadata.name, name)
    return Obstacle("UnexpectedError", f"An error that the operator did not expect ({name}); it tries again.")


def refused(error: KafkaError) -> Obstacle:
    return Obstacle("KafkaRefused", f"Kafka refused it ({error.code}): {error.message}", waiting=error.retriable)


def secret_refused(user: KafkaUser, error: ForbiddenError | InvalidError) -> Obstacle:
    return Obstacle("SecretRefused", f"Secret {user.secret_name!r}: {error.message}")


def _to_tell(case: Case, step: Step) -> SecretStr | None:
    """The password that Kafka is told after the Secret was prepared."""
    stored: Stored = case.held.stored
    if step in (Step.STAGE, Step.TELL_NEXT):
        return stored.next
    return stored.password if step in (Step.CREATE, Step.TELL) else None
