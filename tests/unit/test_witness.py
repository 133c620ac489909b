"""What clients feel against what they felt before: each check with what it must find and what it must not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.observation import BrokerCanary, CanaryObservation, ClientObservation, GroupObservation
from controlplane.domain.rolling.witness import (
    LEVEL_CHARACTERS,
    LEVEL_GROUPS,
    ClientLevel,
    client_checks,
    group_key,
)

LAGS_AT_REST = (40, 10, 25, 30, 5, 20, 15)


def canary(median: float = 0.004, p99: float = 0.02, errors: tuple[int, ...] = (0, 0, 0)) -> CanaryObservation:
    brokers = tuple(BrokerCanary(broker, 30, failed, median) for broker, failed in enumerate(errors))
    return CanaryObservation(90, sum(errors), median, p99, brokers, "timed out" if any(errors) else "")


def seen(*groups: GroupObservation, by: CanaryObservation | None = None, seconds: float = 60.0) -> ClientObservation:
    return ClientObservation(1000.0, seconds, by or canary(), groups)


def group(name: str, *lags: int) -> GroupObservation:
    return GroupObservation(name, lags, 10.0 * (len(lags) - 1))


def level(*groups: GroupObservation, by: CanaryObservation | None = None) -> ClientLevel:
    found = ClientLevel.learn(seen(*groups, by=by))
    assert found is not None
    return found


def failing(clients: ClientObservation, before: ClientLevel) -> list[str]:
    return [check.name for check in client_checks(clients, before) if not check.ok]


QUIET = level(group("orders", *LAGS_AT_REST))


def test_a_cluster_as_it_was_fails_nothing() -> None:
    checks = client_checks(seen(group("orders", *LAGS_AT_REST)), QUIET)
    assert [(check.name, check.ok) for check in checks] == [
        ("CanaryErrors", True),
        ("CanarySlow", True),
        ("ConsumerLagGrows", True),
    ]
    assert all(check.evidence for check in checks)


@pytest.mark.parametrize(
    ("now", "names"),
    [
        pytest.param(canary(errors=(0, 12, 0)), ["CanaryErrors"], id="one broker's writes fail"),
        pytest.param(canary(errors=(2, 2, 2)), ["CanaryErrors"], id="a few everywhere"),
        pytest.param(canary(errors=(1, 1, 1)), [], id="three lost probes are a spike"),
        pytest.param(canary(median=0.2), ["CanarySlow"], id="half of the writes are slow"),
        pytest.param(canary(median=0.011), [], id="4 to 11 ms is no fault"),
        pytest.param(canary(p99=2.2), [], id="the stall of a healthy restart"),
        pytest.param(canary(p99=4.0), ["CanarySlow"], id="a tail that no restart explains"),
        pytest.param(canary(median=0.2, errors=(30, 0, 0)), ["CanaryErrors", "CanarySlow"], id="both"),
        pytest.param(CanaryObservation(0, 0, None, None), [], id="no probe yet"),
        pytest.param(CanaryObservation(8, 8, None, None), [], id="too few to judge"),
    ],
)
def test_the_canary(now: CanaryObservation, names: list[str]) -> None:
    assert failing(seen(by=now), QUIET) == names


def test_one_slow_broker_of_many_is_found_though_the_whole_is_not_slow() -> None:
    well = [BrokerCanary(broker, 30, 0, 0.004) for broker in range(12)]
    slow = CanaryObservation(390, 0, 0.004, 0.3, (*well, BrokerCanary(12, 30, 0, 0.25)))
    (check,) = [check for check in client_checks(seen(by=slow), QUIET) if not check.ok]
    assert check.name == "CanarySlow"
    assert "12: 250 ms" in check.evidence


def test_what_was_bad_before_is_not_the_upgrades_doing() -> None:
    bad = canary(median=0.3, p99=5.0, errors=(10, 10, 10))
    assert failing(seen(by=bad), level(by=bad)) == []
    assert failing(seen(by=canary(median=1.2, p99=5.0, errors=(25, 25, 25))), level(by=bad)) == [
        "CanaryErrors",
        "CanarySlow",
    ]


@pytest.mark.parametrize(
    ("before", "now", "grows"),
    [
        pytest.param(LAGS_AT_REST, (100, 900, 2000, 3100, 4000, 5200, 6000), True, id="grows"),
        pytest.param(LAGS_AT_REST, (10, 10, 9000, 6000, 4000, 2000, 30), False, id="a spike that is read"),
        pytest.param(LAGS_AT_REST, (20, 2000, 4000, 6000, 4500, 3000, 1500), False, id="a rebalance, then it reads"),
        pytest.param(LAGS_AT_REST, (10, 20, 100, 300, 500, 700, 900), False, id="under the floor"),
        pytest.param(LAGS_AT_REST, (100, 2000, 4000, 6000, 8000), False, id="too few looks"),
        pytest.param(
            (5000, 6000, 7000, 8000, 9000, 10000, 11000),
            (20000, 21000, 22000, 23000, 24000, 25000, 26000),
            False,
            id="it grew as fast before",
        ),
        pytest.param((50000,) * 7, (51000, 52000, 53000, 54000, 55000, 56000, 57000), False, id="much before as well"),
    ],
)
def test_consumer_lag(before: tuple[int, ...], now: tuple[int, ...], *, grows: bool) -> None:
    found = failing(seen(group("orders", *now)), level(group("orders", *before)))
    assert found == (["ConsumerLagGrows"] if grows else [])


GROWING = (100, 900, 2000, 3100, 4000, 5200, 6000)


def test_a_new_group_is_not_judged_and_one_of_many_small_ones_is() -> None:
    few = level(group("orders", *LAGS_AT_REST))
    assert failing(seen(group("new", *GROWING)), few) == []
    many = level(*(group(f"g{number}", *[100 + number] * 3) for number in range(LEVEL_GROUPS + 5)))
    assert failing(seen(group("g0", *GROWING)), many) == ["ConsumerLagGrows"]


def test_nothing_known_fails_nothing() -> None:
    bad = seen(group("orders", *GROWING), by=canary(median=9.0, errors=(30, 30, 30)))
    assert client_checks(None, QUIET) == ()
    assert client_checks(bad, None) == ()
    without_canary = ClientLevel.learn(ClientObservation(1.0, 60.0, None, ()))
    assert without_canary is not None
    assert failing(bad, without_canary) == []
    assert client_checks(replace(bad, canary=None, groups=None), QUIET) == ()


@pytest.mark.parametrize(
    ("clients", "known"),
    [
        pytest.param(None, False, id="nobody watches"),
        pytest.param(seen(seconds=3.0), False, id="too short"),
        pytest.param(seen(by=CanaryObservation(0, 0, None, None)), False, id="no probe yet"),
        pytest.param(ClientObservation(1.0, 60.0, None, None), True, id="nothing to learn is learned"),
        pytest.param(seen(), True, id="learned"),
    ],
)
def test_a_level_takes_time_and_probes(clients: ClientObservation | None, *, known: bool) -> None:
    assert (ClientLevel.learn(clients) is not None) is known


GROUPS = st.builds(
    lambda name, lags: GroupObservation(name, tuple(lags), 30.0),
    st.text(max_size=255),
    st.lists(st.integers(0, 2**53), min_size=1, max_size=7),
)
SECONDS = st.one_of(st.none(), st.floats(0, 1e4))


@given(
    st.lists(GROUPS, max_size=40, unique_by=lambda group: group_key(group.group)),
    st.integers(0, 10**6),
    SECONDS,
    SECONDS,
    st.integers(0, 3),
)
def test_a_level_fits_into_a_status_and_comes_back(
    groups: list[GroupObservation], attempts: int, p50: float | None, p99: float | None, left: int
) -> None:
    by = CanaryObservation(attempts, attempts // 3, p50, p99)
    found = ClientLevel.learn(ClientObservation(1.0, 60.0, by, tuple(groups), left))
    if found is not None:
        assert len(found.dump()) <= LEVEL_CHARACTERS
        assert ClientLevel.load(found.dump()) == found
        assert failing(ClientObservation(2.0, 60.0, by, tuple(groups), left), found) == []


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"latency":[1],"errors":0,"others":null,"groups":{}}', "x"])
def test_a_level_that_cannot_be_read_is_none(text: str) -> None:
    assert ClientLevel.load(text) is None
