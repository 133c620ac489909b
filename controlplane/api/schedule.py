"""Schedules in specs: cron's five fields, read in a named time zone of the IANA database.

The types know patterns only, as the CRD does. What a pattern cannot say, whether cron takes the schedule, this
machine's tzdata the zone and the duration is long enough, is asked of an object that was read (`problems`): a spec that
cannot be read stops a whole pass, and with it whatever brings back a node that is down.

Expressions are Debian cron's as `cronsim` reads them: a time that daylight saving skips comes at once after the gap,
one that it repeats comes the first time only. A sixth field (seconds) and words such as @daily are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field

from controlplane.api.duration import parse_seconds

CRON_PATTERN = r"^[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4}$"
ZONE_PATTERN = r"^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"
"""A capital first: `localtime`, `posix/...` and `right/...` mean another thing on every machine."""

SHORTEST_SECONDS = 60.0

_FIELDS = 5
_ANY_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - whether a schedule ever comes has nothing to do with a zone


@lru_cache(maxsize=1024)
def check_cron(text: str) -> str:
    """The text itself. Raises ValueError for what is no schedule, and for one that never comes (30 February)."""
    if len(text.split()) != _FIELDS:
        raise ValueError(
            f"{text!r} is not a schedule: give five fields (minute, hour, day of month, month, day of week), "
            "such as 0 2 * * 6"
        )
    try:
        next(CronSim(text, _ANY_DAY))
    except CronSimError as error:
        raise ValueError(f"{text!r} is not a schedule: {str(error).lower()}") from error
    except StopIteration:
        raise ValueError(f"{text!r} never comes: no date of the next 50 years matches it") from None
    return text


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The time zone of that name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is not a time zone: use a name such as Europe/Berlin or UTC") from error


def problems(schedule: str, duration: str, time_zone: str) -> Iterator[tuple[str, str]]:
    """(field, message) for each of a window's fields that has the right form and no meaning."""
    for field, check, text in (
        ("schedule", check_cron, schedule),
        ("duration", _check_duration, duration),
        ("timeZone", zone, time_zone),
    ):
        try:
            check(text)
        except ValueError as error:
            yield field, str(error)


def _check_duration(text: str) -> None:
    if parse_seconds(text) < SHORTEST_SECONDS:
        raise ValueError(f"{text!r} is too short: a window is open for at least 1m")


Cron = Annotated[str, Field(min_length=9, max_length=128, pattern=CRON_PATTERN)]
TimeZone = Annotated[str, Field(min_length=1, max_length=64, pattern=ZONE_PATTERN)]
