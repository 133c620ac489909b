"""Durations in specs: "90s", "15m", "1h30m", "500ms", as Go's time.ParseDuration reads them, without signs."""

from __future__ import annotations

import re

PATTERN = r"^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?([0-9]{1,9}ms)?$"
"""Matches the empty string too: a field that uses it also has minLength 2."""

_FORM = re.compile(r"^(?:(?P<h>[0-9]{1,5})h)?(?:(?P<m>[0-9]{1,6})m)?(?:(?P<s>[0-9]{1,8})s)?(?:(?P<ms>[0-9]{1,9})ms)?$")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class DurationError(ValueError):
    """Not a duration; the message names the text."""


def parse_seconds(text: str) -> float:
    """Seconds. Raises DurationError."""
    match = _FORM.fullmatch(text)
    if match is None or not text:
        raise DurationError(f"{text!r} is not a duration: write hours, minutes and seconds, such as 90s, 15m or 1h30m")
    return sum(int(match[unit]) * seconds for unit, seconds in _SECONDS.items() if match[unit])
