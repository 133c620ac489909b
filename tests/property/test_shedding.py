"""The ladder of load shedding: its invariants, whatever brokers do, and whenever what is remembered is lost."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.kafka_tenant import Priority
from controlplane.domain.shedding.ladder import LOST_SIGHT_SECONDS, Bounds, Ladder, Level, step, worst_of
from controlplane.domain.shedding.tighten import Shed, is_tightened, tightened
from controlplane.domain.users.quotas import CONSUMER, MUTATION, PRODUCER, REQUEST, Layer, effective

BOUNDS = Bounds(saturated=0.2, relaxed=0.05, raise_after=10.0, release_after=40.0)
HOT, WARM, CALM = 0.5, 0.1, 0.0

saturation = st.sampled_from([HOT, WARM, CALM, 0.2, 0.05, None])
looks = st.lists(st.tuples(st.floats(0.5, 100.0), saturation), max_size=120)
"""Seconds since the look before, and what was seen."""
bounds_of = st.builds(
    lambda relaxed, more, raise_after, release_after: Bounds(relaxed + more, relaxed, raise_after, release_after),
    st.floats(0.001, 1.0),
    st.floats(0.001, 1.0),
    st.floats(1.0, 50.0),
    st.floats(1.0, 400.0),
)


def walked(ladder: Ladder, seen: Iterable[tuple[float, float | None]], bounds: Bounds = BOUNDS) -> list[Ladder]:
    """The ladder after each look."""
    now = ladder.looked or 0.0
    found = []
    for seconds, worst in seen:
        now += seconds
        ladder = step(ladder, worst, now, bounds)
        found.append(ladder)
    return found


def every(seconds: float, worst: float | None, times: int) -> list[tuple[float, float | None]]:
    return [(seconds, worst)] * times


@given(looks, bounds_of)
def test_one_level_at_a_time_and_only_after_its_time(seen: list[tuple[float, float | None]], bounds: Bounds) -> None:
    """Judged from the looks alone: before every step, each look for as long as it takes saw the same."""
    now, times = 0.0, []
    for seconds, _ in seen:
        now += seconds
        times.append(now)
    levels = [Level.NONE, *(ladder.level for ladder in walked(Ladder(), seen, bounds))]
    changed = 0.0
    for at, (before, after) in enumerate(pairwise(levels)):
        if before is after:
            continue
        assert abs(after - before) == 1
        takes = bounds.raise_after if after > before else bounds.release_after
        assert times[at] - changed >= takes, "each step begins its time anew"
        run = [number for number in range(at + 1) if times[number] >= times[at] - takes]
        for number in run:
            worst = seen[number][1]
            assert worst is not None
            assert worst > bounds.saturated if after > before else worst <= bounds.relaxed
        changed = times[at]


@given(looks)
def test_once_relaxed_it_comes_to_level_0_and_stays(seen: list[tuple[float, float | None]]) -> None:
    ladder = walked(Ladder(), [*seen, (1.0, CALM)])[-1]
    rest = walked(ladder, every(5.0, CALM, 40))
    assert rest[-1].level is Level.NONE
    assert [one.level for one in rest] == sorted((one.level for one in rest), reverse=True)
    assert walked(rest[-1], every(5.0, CALM, 40))[-1].level is Level.NONE


@given(
    st.lists(
        st.tuples(st.sampled_from([HOT, WARM, CALM]), st.floats(0.5, BOUNDS.raise_after - 1.0)), min_size=1, max_size=60
    ),
    st.sampled_from(list(Level)),
)
def test_what_swings_faster_than_the_times_changes_nothing(swings: list[tuple[float, float]], level: Level) -> None:
    """Each swing is seen once, and followed by a moment between the bounds."""
    seen: list[tuple[float, float | None]] = [
        look for worst, seconds in swings for look in ((1.0, worst), (seconds, WARM))
    ]
    assert {ladder.level for ladder in walked(Ladder(level), seen)} == {level}


@given(st.floats(20.0, 200.0), st.integers(1, 30))
def test_a_long_swing_is_followed_no_faster_than_it_takes(period: float, swings: int) -> None:
    seen: list[tuple[float, float | None]] = []
    for number in range(swings):
        seen += every(1.0, CALM if number % 2 else HOT, int(period))
    levels = [ladder.level for ladder in walked(Ladder(), seen)]
    changes = sum(one is not other for one, other in pairwise([Level.NONE, *levels]))
    assert changes <= len(seen) / BOUNDS.raise_after
    released = sum(other < one for one, other in pairwise(levels))
    assert released <= len(seen) / BOUNDS.release_after


@given(looks, st.integers(0, 119))
def test_an_operator_that_ends_delays_a_step_and_never_makes_one(
    seen: list[tuple[float, float | None]], at: int
) -> None:
    """The level is in the status, all else is lost."""
    before = walked(Ladder(), seen[:at])
    level = before[-1].level if before else Level.NONE
    after = walked(Ladder(level), seen[at:])
    assert all(abs(one - other) <= 1 for one, other in pairwise([level, *(found.level for found in after)]))
    first = next((number for number, ladder in enumerate(after) if ladder.level is not level), None)
    if first is not None:
        passed = sum(seconds for seconds, _ in seen[at + 1 : at + first + 1])
        assert passed > min(BOUNDS.raise_after, BOUNDS.release_after) - 1e-6


@given(saturation, st.floats(LOST_SIGHT_SECONDS + 0.1, 1e6), st.sampled_from(list(Level)))
def test_time_that_nobody_looked_does_not_count(worst: float | None, away: float, level: Level) -> None:
    assert [one.level for one in walked(Ladder(level), [(1.0, worst), (away, worst)])] == [level, level]


@given(st.dictionaries(st.integers(0, 9), st.floats(0.0, 5.0), max_size=6))
def test_the_worst_broker_counts(found: dict[int, float]) -> None:
    worst = worst_of(found)
    assert (
        worst is None
        if not found
        else worst == (min(b for b, s in found.items() if s == max(found.values())), max(found.values()))
    )


quotas = st.dictionaries(
    st.sampled_from([PRODUCER, CONSUMER, REQUEST, MUTATION]), st.integers(1, 10**9).map(float), max_size=4
)
sheds = st.builds(Shed, st.sampled_from(list(Level)), st.integers(1, 99), st.integers(1, 64))


@given(sheds, st.sampled_from(list(Priority)), quotas, st.integers(1, 50))
def test_tightening_takes_and_never_gives(shed: Shed, priority: Priority, others: dict[str, float], users: int) -> None:
    layer = tightened(shed, priority, others, users=users, untouched=())
    base = Layer("base", others)
    assert (layer is not None) == is_tightened(shed.level, priority)
    if layer is None:
        return
    assert priority is not Priority.CRITICAL
    now = effective((base, layer))
    assert others.keys() | {REQUEST} == now.keys()
    assert all(0 < now[key] <= others[key] for key in others)
    assert now.get(MUTATION) == others.get(MUTATION)
    assert now[REQUEST] * users <= max(100 * shed.handlers, 0.01 * users)
    assert effective((base,)) == others, "without the layer it is what it was"


@given(quotas, st.integers(1, 98), st.integers(1, 16))
def test_more_levels_and_smaller_parts_never_give_more(others: dict[str, float], percent: int, handlers: int) -> None:
    for priority in Priority:
        last: dict[str, float] | None = None
        for level in Level:
            layer = tightened(Shed(level, percent, handlers), priority, others, users=2, untouched=())
            now = effective([Layer("base", others), *([layer] if layer is not None else [])])
            if last is not None:
                assert all(now.get(key, 0.0) <= value for key, value in last.items())
                assert last.keys() <= now.keys()
            last = now
    less = tightened(Shed(Level.BULK, percent, handlers), Priority.BULK, others, users=2, untouched=())
    more = tightened(Shed(Level.BULK, percent + 1, handlers), Priority.BULK, others, users=2, untouched=())
    assert less is not None
    assert more is not None
    assert all(less.values[key] <= more.values[key] for key in less.values)


@given(sheds, st.sampled_from(list(Priority)), quotas, st.sets(st.sampled_from([PRODUCER, CONSUMER, REQUEST])))
def test_keys_of_others_are_never_in_it(
    shed: Shed, priority: Priority, others: dict[str, float], untouched: set[str]
) -> None:
    layer = tightened(shed, priority, others, users=1, untouched=untouched)
    assert layer is None or not layer.values.keys() & untouched
