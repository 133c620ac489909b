"""Requests about access: every word has its code, and nobody who prints a credential learns a password."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from pydantic import SecretStr

from controlplane.adapters.kafka import access
from controlplane.domain.users.values import ScramPassword

TABLES = (access.RESOURCES, access.PATTERNS, access.PERMISSIONS, access.OPERATIONS)


@pytest.mark.parametrize("table", TABLES)
def test_every_code_has_a_word_and_back(table: dict[int, str]) -> None:
    for code in (*table, 77):
        assert access._code(table, access._word(table, code)) == code


@pytest.mark.parametrize("word", ["Fly", "read", "unknown-", "unknown-x", ""])
def test_what_is_no_word_of_kafkas_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is none of All, Read"):
        access._code(access.OPERATIONS, word)


def test_a_credential_shows_its_password_to_nobody() -> None:
    one = ScramPassword("ann", SecretStr("pa55-planted"), 4097)
    assert "pa55-planted" not in f"{one} {one!r} {[one]}"
    assert "pa55-planted" in one.password.get_secret_value(), "the control: it is in there"


def test_salted_as_rfc_5802_says_and_each_anew() -> None:
    """Hi(str, salt, i) of the RFC, written out: U1 = HMAC(str, salt + INT(1)), the rest chained and xored."""
    one = ScramPassword("ann", SecretStr("pencil"), 4)
    (first,), (second,) = access.salted([one]), access.salted([one])
    assert first.salt != second.salt
    u = hmac.new(b"pencil", first.salt + b"\0\0\0\x01", hashlib.sha512).digest()
    expected = int.from_bytes(u)
    for _ in range(3):
        u = hmac.new(b"pencil", u, hashlib.sha512).digest()
        expected ^= int.from_bytes(u)
    assert first.salted_password == expected.to_bytes(64)
