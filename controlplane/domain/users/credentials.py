"""Passwords of SCRAM users: what a Secret and Kafka have, and the one next step. Pure: new passwords come from outside.

Kafka keeps a salted hash and tells nothing about it but its number of iterations (KIP-554). That number is a
fingerprint here: `iterations(user, password)` is derived from the password, so that Kafka's answer says whether it has
this password or another, without a record that could be lost, stale or restored from a backup. It tells 13 bits of a
password of 256 or more to those who may describe credentials.

The Secret is the one source, and is written before Kafka is told anything. A rotation goes over a second entry:

    password=old                       Kafka: old
    password=old, next=new             Kafka: old    (the intent)
    password=old, next=new             Kafka: new    (told)
    password=new                       Kafka: new

Killed anywhere, what is there says what comes next; at no point does Kafka have a password that no Secret has. Clients
that connect between the last two are refused once and try again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

MIN_ITERATIONS, MAX_ITERATIONS = 4097, 16384
"""4096 is what Kafka's tools use by themselves: a password that somebody sets with them differs for certain. 16384 is
Kafka's own limit (org.apache.kafka.common.security.scram.internals.ScramMechanism)."""
MIN_ROTATE_AFTER = 60.0
"""Seconds. A shorter age would be over before clients have read the Secret, at every pass again."""
PASSWORD_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
MIN_PASSWORD, MAX_PASSWORD = 32, 128


class Step(StrEnum):
    """What comes next for one user. Those that need a new password say so."""

    NOTHING = "Nothing"
    CREATE = "Create"
    """A new password into the Secret; then tell Kafka."""
    STAGE = "Stage"
    """A new password as the Secret's next one; then tell Kafka."""
    TELL_NEXT = "TellNext"
    """Tell Kafka the next password."""
    PROMOTE = "Promote"
    """The next password becomes the password."""
    TELL = "Tell"
    """Tell Kafka the password."""

    @property
    def needs_password(self) -> bool:
        return self in {Step.CREATE, Step.STAGE}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the Secret has. `issued_at` in seconds since the epoch; `rotation` is the request that was met last."""

    password: SecretStr | None = None
    next: SecretStr | None = None
    issued_at: float | None = None
    rotation: str = ""


def iterations(user: str, password: SecretStr) -> int:
    """Of a credential with this password: the same for the same, another for nearly every other."""
    digest = hashlib.sha256(f"kfleet scram\0{user}\0{password.get_secret_value()}".encode()).digest()
    return MIN_ITERATIONS + int.from_bytes(digest[:8]) % (MAX_ITERATIONS - MIN_ITERATIONS + 1)


def is_acceptable(password: SecretStr | None) -> bool:
    """Whether it has the shape of those made here. One that a person has written into the Secret is taken if it has: it
    is long, and no file or line misreads it."""
    if password is None:
        return False
    text = password.get_secret_value()
    return MIN_PASSWORD <= len(text) <= MAX_PASSWORD and set(text) <= PASSWORD_ALPHABET


def is_usable(user: str, new: SecretStr, stored: Stored) -> bool:
    """Whether a new password can be told from the present one by its fingerprint."""
    return is_acceptable(new) and all(
        iterations(user, new) != iterations(user, old) for old in (stored.password, stored.next) if old is not None
    )


def next_step(
    user: str,
    stored: Stored,
    told: int | None,
    *,
    now: float,
    rotate_after: float | None,
    rotation: str,
    spent: bool = False,
) -> Step:
    """`told` is the number of iterations that Kafka has, None for no credential; `rotation` the request that stands,
    empty for none. `spent`: Kafka has none since its user was kept out, and what the Secret has is not used again."""
    if stored.password is None or not is_acceptable(stored.password) or spent:
        return Step.CREATE
    if stored.next is not None and is_usable(user, stored.next, Stored(stored.password)):
        return Step.PROMOTE if told == iterations(user, stored.next) else Step.TELL_NEXT
    if told != iterations(user, stored.password):
        return Step.TELL
    due = rotates_at(stored, rotate_after)
    if (rotation and rotation != stored.rotation) or (due is not None and now >= due):
        return Step.STAGE
    return Step.NOTHING


def rotates_at(stored: Stored, rotate_after: float | None) -> float | None:
    """When the next rotation is due by age; None where there is none."""
    if rotate_after is None or stored.issued_at is None:
        return None
    return stored.issued_at + rotate_after
