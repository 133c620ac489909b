"""Certificates as values: what one says, and what a new one is to say. Pure; the adapter behind `ports.Pki` signs."""

from __future__ import annotations

from dataclasses import dataclass

UNIT = "kfleet"
"""OU of the certificates of kfleet's own principals. A user's certificate has a CN and nothing else, and no SCRAM user
is made with '=' in its name, so that none of them is ever one of these."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a new certificate shall say. `hosts` are DNS names and IP addresses that it serves; without any it is a
    client's only. `unit` becomes the OU; None leaves it out."""

    common_name: str
    unit: str | None = None
    hosts: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return f"CN={self.common_name}" + (f",OU={self.unit}" if self.unit else "")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says. Times are seconds since the epoch; `fingerprint` is SHA-256 of its DER in hex.

    `subject` and `issuer` are RFC 2253 names, as Kafka's principals are (`CN=alice`). `hosts` are its subject's
    alternative names alone, as clients verify them: a CN counts for nothing, nor does an address written as a DNS name.
    """

    subject: str
    issuer: str
    fingerprint: str
    hosts: tuple[str, ...]
    not_before: float
    not_after: float
    is_authority: bool = False


@dataclass(frozen=True, slots=True)
class Inspection:
    """A certificate with its key held against authorities. `chain` are the certificates of its file, the leaf first.

    `key_matches`: the private key is the leaf's. `trusted`: the chain ends in one of the authorities, and each of its
    certificates was signed by the next. Expiry is not part of it: that depends on the time.
    """

    chain: tuple[Certificate, ...]
    key_matches: bool
    trusted: bool

    @property
    def leaf(self) -> Certificate:
        return self.chain[0]
