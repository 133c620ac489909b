"""Certificates in a PEM text (RFC 7468), as texts: nothing is decoded here. Pure.

What stands between and beside them is passed over, private keys among it.
"""

from __future__ import annotations

import re

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def certificates(pem: str) -> list[str]:
    """One PEM text each, in their order."""
    return [f"{found}\n" for found in _CERTIFICATE.findall(pem)]


def public_part(pem: str) -> str:
    """The certificates, without anything else that stands in the text."""
    return "".join(certificates(pem))


def first(pem: str) -> str:
    """The first certificate; empty where there is none."""
    return next(iter(certificates(pem)), "")


def in_one_line(pem: str) -> frozenset[str]:
    """Each certificate without its line breaks, so that two of them compare however they were broken."""
    return frozenset("".join(one.split()) for one in certificates(pem))
