"""Maintenance windows: may something disruptive be begun now, and if not, when? Pure; times are seconds since 1970.

A window opens whenever its schedule comes in its time zone and stays open for its duration, counted in elapsed time:
four hours are four hours in the night in which the clock is changed, too. It is open from the opening itself up to, and
not including, its end. No windows at all mean that it is always open.

`cronsim` iterates local times and says where the clock's changes put them (api/schedule). In the hour that is repeated
the order of local times is not the order of instants, so every search here begins `_FOLD_SECONDS` early and compares
instants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim

from controlplane.api.conditions import timestamp
from controlplane.api.duration import parse_seconds
from controlplane.api.rollout import MaintenanceWindow
from controlplane.api.schedule import zone
from controlplane.domain.check import Check

OUTSIDE_WINDOW = "OutsideWindow"

_FOLD_SECONDS = 3 * 3600.0
"""More than any clock has been set back at once."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One time that a window is open: from `since` up to `until`. Openings that overlap are not joined."""

    window: MaintenanceWindow
    since: float
    until: float


def open_window(windows: Sequence[MaintenanceWindow], now: float) -> Opening | None:
    """What is open now; of several the one that is open longest."""
    found = [opening for window in windows if (opening := _current(window, now)) is not None]
    return max(found, key=lambda opening: opening.until, default=None)


def next_opening(windows: Sequence[MaintenanceWindow], now: float) -> Opening | None:
    """What opens next, strictly after now; None without windows."""
    found = [_opening(window, _first_after(window, now)) for window in windows]
    return min(found, key=lambda opening: opening.since, default=None)


def check_window(windows: Sequence[MaintenanceWindow], now: float) -> Check:
    """Whether something disruptive may be begun now. Its words change only when a window opens or closes."""
    if not windows or open_window(windows, now) is not None:
        return Check(OUTSIDE_WINDOW, ok=True)
    opening = next_opening(windows, now)
    if opening is None:
        raise AssertionError("a schedule that was read has a next time")
    local = datetime.fromtimestamp(opening.since, zone(opening.window.time_zone))
    return Check(
        OUTSIDE_WINDOW,
        ok=False,
        evidence=f"No maintenance window is open; the next one opens at {timestamp(opening.since)} "
        f"({local:%a %Y-%m-%d %H:%M} {opening.window.time_zone}, for {opening.window.duration}).",
        remedy="It goes on by itself then.",
    )


def _current(window: MaintenanceWindow, now: float) -> Opening | None:
    since = _first_after(window, now - parse_seconds(window.duration))
    return _opening(window, since) if since <= now else None


def _opening(window: MaintenanceWindow, since: float) -> Opening:
    return Opening(window, since, since + parse_seconds(window.duration))


def _first_after(window: MaintenanceWindow, moment: float) -> float:
    return min(_around(window, moment))


def _around(window: MaintenanceWindow, moment: float) -> Iterator[float]:
    """Openings after `moment`: all within `_FOLD_SECONDS` of it, or the first one later than that."""
    start = datetime.fromtimestamp(moment - _FOLD_SECONDS, UTC).astimezone(zone(window.time_zone))
    for local in CronSim(window.schedule, start):
        instant = local.timestamp()
        if instant > moment:
            yield instant
            if instant > moment + _FOLD_SECONDS or local.utcoffset() == start.utcoffset():
                return
