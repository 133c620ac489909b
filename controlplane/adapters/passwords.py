"""ports.Passwords from the operating system's randomness."""

from __future__ import annotations

import secrets

from pydantic import SecretStr

ENTROPY_BYTES = 32


class RandomPasswords:
    def new(self) -> SecretStr:
        """256 bits in base64url: 43 characters."""
        return SecretStr(secrets.token_urlsafe(ENTROPY_BYTES))
