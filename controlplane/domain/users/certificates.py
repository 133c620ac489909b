"""When a user's certificate is made anew. Pure: the adapter has read it, and says what it says."""

from __future__ import annotations

from enum import StrEnum

from controlplane.domain.access.pki import Inspection, Leaf

RENEW_AT = 2 / 3
"""Of its life: what is left is the time that something may be broken without anybody being locked out."""
CLOCKS_APART = 86_400.0
"""Seconds. A certificate ends by the brokers' clocks, and the operator's may be ahead of them, by a wrong time zone at
worst: for so long after its end it counts as valid where somebody is kept out for it."""


class Cause(StrEnum):
    """Why there has to be another one."""

    MISSING = "Missing"
    """None is there, or what is there cannot be read."""
    FOREIGN = "Foreign"
    """It says another name, or its key is another's."""
    UNTRUSTED = "Untrusted"
    """Another authority has signed it: the clients CA is a new one."""
    AGED = "Aged"
    ASKED = "Asked"


def cause(
    user: str,
    found: Inspection | None,
    *,
    now: float,
    issued_at: float | None,
    rotate_after: float | None,
    asked: str,
    met: str,
) -> Cause | None:
    """None while the certificate will do. `asked` is the rotation that stands, empty for none; `met` the last
    one that was done."""
    if found is None:
        return Cause.MISSING
    if not found.key_matches or found.leaf.subject != Leaf(user).subject:
        return Cause.FOREIGN
    if not found.trusted:
        return Cause.UNTRUSTED
    if now >= renews_at(found, issued_at=issued_at, rotate_after=rotate_after):
        return Cause.AGED
    return Cause.ASKED if asked and asked != met else None


def is_over(until: float | None, now: float, *, certificate: bool) -> bool:
    """Whether nobody can be a principal any more whose last session or certificate ends at `until` (None: nobody
    knows). `certificate`: it may be that of a certificate; a session ends by how long it lasts, not by a clock."""
    return until is not None and now >= until + (CLOCKS_APART if certificate else 0)


def renews_at(found: Inspection, *, issued_at: float | None, rotate_after: float | None) -> float:
    """Seconds since the epoch."""
    leaf = found.leaf
    in_time = leaf.not_before + RENEW_AT * (leaf.not_after - leaf.not_before)
    if rotate_after is None:
        return in_time
    return min(in_time, (leaf.not_before if issued_at is None else issued_at) + rotate_after)
