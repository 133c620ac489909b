"""Maintenance windows: openings to the second, both changes of the clock in both hemispheres, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.refusals import changed, cluster

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.rollout import MaintenanceWindow
from controlplane.api.validate import check_cluster, explain, problems_of
from controlplane.domain.windows import check_window, next_opening, open_window

BERLIN, SYDNEY = "Europe/Berlin", "Australia/Sydney"


def window(schedule: str = "0 2 * * 6", duration: str = "4h", time_zone: str = "UTC") -> MaintenanceWindow:
    return MaintenanceWindow(schedule=schedule, duration=duration, time_zone=time_zone)


def at(text: str) -> float:
    """Seconds of an RFC 3339 time; the offset says which of two equal local times is meant."""
    return datetime.fromisoformat(text).timestamp()


def test_without_windows_it_is_always_open() -> None:
    assert check_window((), 0.0).ok
    assert open_window((), 0.0) is None
    assert next_opening((), 0.0) is None


def test_open_from_the_first_second_and_closed_at_the_last() -> None:
    one = (window(time_zone=BERLIN),)
    opens, closes = at("2026-11-21T02:00:00+01:00"), at("2026-11-21T06:00:00+01:00")
    assert not check_window(one, opens - 1).ok
    for moment in (opens, opens + 0.5, closes - 1):
        found = open_window(one, moment)
        assert found is not None
        assert (found.since, found.until) == (opens, closes)
        assert check_window(one, moment).ok
    assert not check_window(one, closes).ok
    assert open_window(one, closes) is None


def test_outside_it_says_when_and_says_the_same_until_then() -> None:
    one = (window(time_zone=BERLIN),)
    check = check_window(one, at("2026-11-15T12:00:00Z"))
    assert check.name == "OutsideWindow"
    assert "opens at 2026-11-21T01:00:00Z (Sat 2026-11-21 02:00 Europe/Berlin, for 4h)" in check.evidence
    assert check == check_window(one, at("2026-11-20T23:59:59Z")), "words that move would be status writes"


CHANGES = {
    # The clock goes forward at 02:00 in Berlin and in Sydney, back at 03:00: 02:30 is skipped, or comes twice.
    "skipped, north": (BERLIN, "30 2 * * *", "2027-03-28T00:00:00+01:00", "2027-03-28T03:00:00+02:00"),
    "twice, north": (BERLIN, "30 2 * * *", "2026-10-25T00:00:00+02:00", "2026-10-25T02:30:00+02:00"),
    "the day after skipping": (BERLIN, "30 2 * * *", "2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"),
    "never the second of two": (BERLIN, "30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
    "asked between the two": (BERLIN, "45 2 * * *", "2026-10-25T02:10:00+01:00", "2026-10-26T02:45:00+01:00"),
    "skipped, south": (SYDNEY, "30 2 * * *", "2026-10-04T00:00:00+10:00", "2026-10-04T03:00:00+11:00"),
    "twice, south": (SYDNEY, "30 2 * * *", "2027-04-04T00:00:00+11:00", "2027-04-04T02:30:00+11:00"),
    "after the change, north": (BERLIN, "0 4 * * *", "2027-03-28T00:00:00+01:00", "2027-03-28T04:00:00+02:00"),
    "after the change, south": (SYDNEY, "0 4 * * *", "2027-04-04T00:00:00+11:00", "2027-04-04T04:00:00+10:00"),
    "half an hour": ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04T00:00:00+10:30", "2026-10-04T02:30:00+11:00"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_openings_when_the_clock_changes(case: str) -> None:
    zone, schedule, now, opens = CHANGES[case]
    found = next_opening((window(schedule, "1h", zone),), at(now))
    assert found is not None
    assert datetime.fromtimestamp(found.since, ZoneInfo(zone)).isoformat() == opens


@pytest.mark.parametrize(
    ("zone", "opens", "closes"),
    [
        (BERLIN, "2027-03-28T01:00:00+01:00", "2027-03-28T06:00:00+02:00"),
        (BERLIN, "2026-10-25T01:00:00+02:00", "2026-10-25T04:00:00+01:00"),
        (SYDNEY, "2026-10-04T01:00:00+10:00", "2026-10-04T06:00:00+11:00"),
        (SYDNEY, "2027-04-04T01:00:00+11:00", "2027-04-04T04:00:00+10:00"),
    ],
)
def test_four_hours_are_four_hours_in_the_night_of_the_change(zone: str, opens: str, closes: str) -> None:
    one = (window("0 1 * * *", "4h", zone),)
    assert at(closes) - at(opens) == 4 * 3600
    for moment in range(int(at(opens)) - 1800, int(at(closes)) + 1800, 600):
        assert check_window(one, moment).ok is (at(opens) <= moment < at(closes)), moment


def test_of_several_the_one_that_stays_open_longest_and_the_one_that_opens_first() -> None:
    short, long = window("0 2 * * *", "1h"), window("0 1 * * *", "3h")
    found = open_window((short, long), at("2026-11-21T02:30:00Z"))
    assert found is not None
    assert found.window is long
    following = next_opening((short, long), at("2026-11-21T05:00:00Z"))
    assert following is not None
    assert following.window is long


schedules = st.sampled_from(["0 2 * * *", "30 2 * * *", "*/20 * * * *", "45 1,2 * * 0", "15 */3 * * *", "0 0 1 * *"])
zones = st.sampled_from(["UTC", BERLIN, SYDNEY, "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata"])
moments = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)).map(lambda t: t.replace(tzinfo=UTC).timestamp())  # noqa: DTZ001


@given(schedules, zones, st.sampled_from(["20m", "1h", "26h"]), moments)
def test_open_exactly_when_some_opening_is_not_over(schedule: str, zone: str, duration: str, now: float) -> None:
    """Said again by walking openings one after another from a day before the first that could matter."""
    one = (window(schedule, duration, zone),)
    seconds = {"20m": 1200, "1h": 3600, "26h": 93600}[duration]
    began, moment = [], now - seconds - 86400
    while (found := next_opening(one, moment)) is not None and found.since <= now:
        assert found.since > moment
        began.append(found.since)
        moment = found.since
    assert check_window(one, now).ok is any(since <= now < since + seconds for since in began)


@given(schedules, zones, moments)
def test_what_opens_next_is_open_then_and_reads_as_scheduled(schedule: str, zone: str, now: float) -> None:
    one = (window(schedule, "20m", zone),)
    found = next_opening(one, now)
    assert found is not None
    assert found.since > now
    assert open_window(one, found.since) is not None
    local = datetime.fromtimestamp(found.since, ZoneInfo(zone))
    before = local - timedelta(hours=3)
    if local.utcoffset() == before.utcoffset() and schedule[0].isdigit():
        assert local.minute == int(schedule.split(maxsplit=1)[0])


REFUSED = {
    "a word": ("schedule", "@weekly 0 0 0 0", "should match pattern"),
    "six fields": ("schedule", "0 0 2 * * 6", "should match pattern"),
    "this machine's": ("timeZone", "localtime", "should match pattern"),
    "outside": ("timeZone", "../../etc/passwd", "should match pattern"),
    "duration": ("duration", "4 hours", "should match pattern"),
}
MEANINGLESS = {
    "schedule": ("schedule", "61 2 * * *", "is not a schedule: bad minute"),
    "never": ("schedule", "0 2 30 2 *", "is not a schedule: bad day-of-month"),
    "zone": ("timeZone", "Europe/Berlim", "'Europe/Berlim' is not a time zone"),
    "a folder of zones": ("timeZone", "Europe", "'Europe' is not a time zone"),
    "too short": ("duration", "59s", "is too short"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_window_is_refused_with_its_path(case: str) -> None:
    field, value, says = REFUSED[case]
    good = {"schedule": "0 2 * * 6", "duration": "4h", "timeZone": BERLIN}
    body = changed(cluster(), {"spec/maintenanceWindows": [good, good | {field: value}]})
    with pytest.raises(ValidationError) as refused:
        KafkaCluster.model_validate(body)
    words = explain(problems_of(refused.value))
    assert words.startswith(f"spec.maintenanceWindows[1].{field}: ")
    assert says in words
    fine = KafkaCluster.model_validate(changed(cluster(), {"spec/maintenanceWindows": [good]}))
    assert fine.spec.maintenance_windows[0].time_zone == BERLIN


@pytest.mark.parametrize("case", MEANINGLESS)
def test_what_has_the_form_of_a_window_is_read_and_then_refused_with_its_path(case: str) -> None:
    """Reading it must not fail: a pass that cannot read the spec brings no node back that is down."""
    field, value, says = MEANINGLESS[case]
    good = {"schedule": "0 2 * * 6", "duration": "4h", "timeZone": BERLIN}
    body = changed(cluster(), {"spec/maintenanceWindows": [good, good | {field: value}]})
    ((path, message),) = check_cluster(KafkaCluster.model_validate(body))
    assert path == f"spec.maintenanceWindows[1].{field}"
    assert says in message
    fine = changed(cluster(), {"spec/maintenanceWindows": [good]})
    assert check_cluster(KafkaCluster.model_validate(fine)) == []


def test_zones_are_known_where_the_system_has_none() -> None:
    """A bare container: the tzdata package is what is left."""
    script = (
        "import zoneinfo as z; z.reset_tzpath(to=[]); from controlplane.api import schedule as s; print(s.zone('{}'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script.format(BERLIN)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "Europe/Berlin\n"), done.stderr
