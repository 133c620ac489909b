"""Certificates that people give for a listener, in cert-manager's layout (tls.crt, tls.key, ca.crt). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.api.conditions import timestamp
from controlplane.domain.access.pki import Inspection

KEY_KINDS = ("RSA", "EC secp256r1", "EC secp384r1", "EC secp521r1")
"""What Kafka reads (RSA, DSA and EC: DefaultSslEngineFactory) and TLS 1.2 and 1.3 of Java can both use."""


def problem(found: Inspection, hosts: Iterable[str], now: float) -> str:
    """Why brokers cannot show this certificate, in words that follow the Secret's name; empty if they can.

    `hosts` are the names and addresses that clients are told to connect to: a client that verifies host names would
    refuse every other certificate.
    """
    leaf = found.leaf
    if found.key_kind not in KEY_KINDS:
        return f"has a tls.key of the kind {found.key_kind}, and brokers take {', '.join(KEY_KINDS)}"
    if not found.key_matches:
        return "has a tls.key that is not the key of tls.crt"
    if not found.trusted:
        return "has a tls.crt that its ca.crt has not signed"
    if leaf.is_authority:
        return "has an authority in tls.crt, where the certificate of a server belongs"
    if not found.serves:
        return "has a tls.crt that is not for a server (extended key usage)"
    if now < leaf.not_before:
        return f"has a tls.crt that is not valid before {timestamp(leaf.not_before)}"
    ended = [one for one in found.chain if now >= one.not_after]
    if ended:
        return f"has a tls.crt that ended at {timestamp(ended[0].not_after)}"
    missing = sorted(host for host in hosts if not covers(leaf.hosts, host))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"has a tls.crt that is not for {missing[0]}{more}, where clients connect to"
    return ""


def covers(names: Iterable[str], host: str) -> bool:
    """Whether one of a certificate's names is this host's: RFC 6125, a `*` only as the whole of the first label."""
    wanted = host.lower()
    _, _, parent = wanted.partition(".")
    return any(name.lower() == wanted or (parent and name.lower() == f"*.{parent}") for name in names)
