"""Certificates that people give for a listener, in cert-manager's layout (tls.crt, tls.key, ca.crt). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from controlplane.api.conditions import timestamp
from controlplane.domain.access.pki import Certificate, Inspection

LISTED = 10
"""Of names that are missing, so many are told: whoever corrects a certificate wants all of them at once."""


def problem(found: Inspection, now: float) -> str:
    """Why nobody could be shown this certificate, in words that follow the Secret's name; empty if that can be."""
    if not found.key_matches:
        return "has a tls.key that is not the key of tls.crt"
    if not found.trusted:
        return "has a tls.crt that its ca.crt has not signed"
    if found.leaf.is_authority:
        return "has an authority in tls.crt, where the certificate of a server belongs"
    if now < found.leaf.not_before:
        return f"has a tls.crt that is not valid before {timestamp(found.leaf.not_before)}"
    ended = [one for one in found.chain if now >= one.not_after]
    return f"has a tls.crt that ended at {timestamp(ended[0].not_after)}" if ended else ""


def missing(leaf: Certificate, hosts: Iterable[str]) -> tuple[str, ...]:
    """Which of the names and addresses that clients are told to connect to a certificate is not for: a client that
    verifies host names refuses it there."""
    return tuple(sorted(host for host in hosts if not covers(leaf.hosts, host)))


def is_not_for(hosts: tuple[str, ...]) -> str:
    """The words for what `missing` has found, like those of `problem`."""
    more = f" and {len(hosts) - LISTED} more" if len(hosts) > LISTED else ""
    return f"has a tls.crt that is not for {', '.join(hosts[:LISTED])}{more}, where clients connect to"


def covers(names: Iterable[str], host: str) -> bool:
    """Whether one of a certificate's names is this host's, as RFC 6125 has it: a `*` is the whole of the first label
    and stands for one label, never for a part of an address, and what follows it has two labels at least (OpenSSL)."""
    try:
        return str(ip_address(host)) in set(names)
    except ValueError:
        wanted = host.lower()
    _, _, parent = wanted.partition(".")
    accepted = {wanted, f"*.{parent}"} if "." in parent else {wanted}
    return any(name.lower() in accepted for name in names)
