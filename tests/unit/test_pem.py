"""Certificates in PEM texts, taken apart without being read."""

from __future__ import annotations

from controlplane.domain.access.pem import certificates, first, in_one_line, public_part

ONE, OTHER = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("AAAA\nBBBB", "CCCC"))
KEY = "-----BEGIN PRIVATE KEY-----\npa55\n-----END PRIVATE KEY-----\n"


def test_nothing_but_certificates_is_public() -> None:
    file = f"of the shop\n{KEY}{ONE}{KEY}\n{OTHER}-----BEGIN CERTIFICATE-----\nDDDD"
    assert certificates(file) == [ONE, OTHER]
    assert public_part(file) == f"{ONE}{OTHER}"
    assert first(file) == ONE
    assert (certificates(KEY), public_part(KEY), first(KEY)) == ([], "", "")


def test_they_compare_however_their_lines_are_broken() -> None:
    assert in_one_line(ONE.replace("\n", "\r\n") + OTHER) == in_one_line(OTHER + ONE.replace("\nBBBB", "BBBB"))
    assert in_one_line(ONE) != in_one_line(OTHER)
    assert in_one_line(KEY) == frozenset()
