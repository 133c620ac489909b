"""account(): a table of small worlds, each with the one figure that must notice it."""

from __future__ import annotations

import pytest

from controlplane.domain.accounting import MAX_SEQUENCE, Account, AccountingError, Range, Stall, account
from controlplane.domain.canary import Ack, Consumed, Event, Failed, Sent

MS = 1_000_000
START = 5_000_000_000_000
"""Monotonic clocks do not begin at zero."""


def sent(sequence: int, *, partition: int = 0, at_ms: float | None = None) -> Sent:
    at = START + int((sequence if at_ms is None else at_ms) * MS)
    return Sent("r", partition, sequence, at)


def ack(sequence: int, *, partition: int = 0, at_ms: float | None = None, took_ms: float = 2) -> Ack:
    at = START + int((sequence if at_ms is None else at_ms) * MS)
    return Ack("r", partition, sequence, at, at + int(took_ms * MS), sequence)


def fail(sequence: int, *, took_ms: float = 2) -> Failed:
    at = START + sequence * MS
    return Failed("r", 0, sequence, at, at + int(took_ms * MS), "timed out")


def read(sequence: int, offset: int | None = None, *, partition: int = 0) -> Consumed:
    return Consumed("r", partition, sequence, sequence if offset is None else offset, START)


def clean(count: int) -> list[Event]:
    return [make(sequence) for make in (sent, ack, read) for sequence in range(count)]


def counts(result: Account) -> dict[str, int]:
    """What is not zero, latencies aside."""
    names = ["lost", "duplicated", "reordered", "holes", "failed", "unresolved", "unacknowledged_consumed", "reread"]
    return {name: getattr(result, name) for name in names if getattr(result, name)}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        pytest.param([], {}, id="nothing happened"),
        pytest.param(clean(5), {}, id="all well"),
        pytest.param([ack(0), ack(1), read(0)], {"lost": 1}, id="acknowledged, never read"),
        pytest.param([ack(0), ack(1), read(1)], {"lost": 1}, id="a gap that was acknowledged is loss, not a hole"),
        pytest.param([ack(0), ack(2), sent(1), read(0), read(2)], {"holes": 1, "unresolved": 1}, id="hole"),
        pytest.param([ack(0), sent(1), read(0)], {"unresolved": 1}, id="an unanswered tail is no hole"),
        pytest.param([ack(0), fail(1), ack(2), read(0), read(2)], {"failed": 1, "holes": 1}, id="failed and absent"),
        pytest.param([fail(0), read(0)], {"failed": 1, "unacknowledged_consumed": 1}, id="failed, yet in the log"),
        pytest.param([fail(0), ack(0), read(0)], {}, id="an acknowledgement outweighs a failure"),
        pytest.param([sent(0), read(0)], {"unresolved": 1, "unacknowledged_consumed": 1}, id="the answer was lost"),
        pytest.param([*clean(2), read(1, 2)], {"duplicated": 1}, id="one copy"),
        pytest.param([*clean(2), read(0, 2), read(1, 3)], {"duplicated": 2}, id="a batch appended twice"),
        pytest.param([*clean(1), read(0, 1), read(0, 2)], {"duplicated": 2}, id="three copies are two too many"),
        pytest.param([*clean(2), read(0), read(1)], {"reread": 2}, id="the same offsets again"),
        pytest.param([ack(0), ack(1), read(1, 0), read(0, 1)], {"reordered": 1}, id="backwards"),
        pytest.param([*clean(1), ack(0, partition=1), read(0, 7, partition=1)], {}, id="partitions are apart"),
        pytest.param([*clean(1), ack(0, partition=1), read(0, 7, partition=2)],
                     {"lost": 1, "unresolved": 1, "unacknowledged_consumed": 1}, id="read in another partition"),
    ],
)  # fmt: skip
def test_each_trouble_is_named_and_nothing_else_is(events: list[Event], found: dict[str, int]) -> None:
    assert counts(account(events)) == found


def test_the_totals_of_a_clean_run() -> None:
    result = account(clean(1000))
    assert (result.sent, result.acknowledged, result.consumed, result.measured) == (1000, 1000, 1000, 1000)
    assert (result.p50_ms, result.p99_ms, result.max_ms, result.stalls) == (2.0, 2.0, 2.0, ())


def test_a_reader_that_came_second_in_the_arguments_reorders_nothing() -> None:
    first, second = [read(0), read(1)], [read(2), read(3)]
    acks = [ack(sequence) for sequence in range(4)]
    assert counts(account([*acks, *second, *first])) == {}


def test_runs_are_apart() -> None:
    other = [event._replace(run="other") for event in clean(3)]
    result = account([*clean(3), *other[:-1]])
    assert (result.sent, result.lost) == (6, 1)
    assert result.lost_ranges == (Range("other", 0, 2, 2),)


def test_lost_ranges_say_where() -> None:
    events = [ack(sequence) for sequence in range(10)] + [read(sequence) for sequence in (0, 1, 5, 6, 9)]
    result = account(events)
    assert result.lost == 5
    assert result.lost_ranges == (Range("r", 0, 2, 4), Range("r", 0, 7, 8))


def test_percentiles_are_waits_somebody_had() -> None:
    result = account([ack(sequence, took_ms=sequence + 1) for sequence in range(100)])
    assert (result.p50_ms, result.p99_ms, result.max_ms) == (50.0, 99.0, 100.0)


def test_warm_up_leaves_latencies_out_but_counts_records() -> None:
    slow, fast = ack(0, took_ms=900), ack(1, at_ms=2000, took_ms=3)
    result = account([slow, fast, read(0)], warm_up_s=1.0)
    assert (result.acknowledged, result.lost, result.measured, result.max_ms, result.stalls) == (2, 1, 1, 3.0, ())
    assert account([slow, fast]).max_ms == 900.0


def test_a_run_within_its_warm_up_measures_nothing() -> None:
    result = account([ack(0)], warm_up_s=1.0)
    assert (result.measured, result.p50_ms, result.p99_ms, result.max_ms) == (0, None, None, None)


def test_waits_that_overlap_are_one_stall_and_partitions_are_apart() -> None:
    events = [
        ack(0, took_ms=5),
        ack(1, at_ms=10, took_ms=300),
        ack(2, at_ms=20, took_ms=290),
        ack(3, at_ms=150, took_ms=160),
        ack(4, at_ms=290, took_ms=20),
        ack(5, at_ms=1000, took_ms=101),
        ack(0, partition=1, at_ms=10, took_ms=200),
        ack(1, partition=1, at_ms=400, took_ms=100),
    ]
    assert account(events).stalls == (
        Stall("r", 0, 0.01, 300.0, 3),
        Stall("r", 1, 0.01, 200.0, 1),
        Stall("r", 0, 1.0, 101.0, 1),
    )


def test_a_failed_record_stalls_until_it_failed() -> None:
    assert account([fail(0, took_ms=2000)]).stalls == (Stall("r", 0, 0.0, 2000.0, 1),)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (ack(-1, at_ms=0), "run r partition 0: sequence -1 is not in 0.."),
        (sent(MAX_SEQUENCE, at_ms=0), "sequence 134217728 is not in 0..134217727"),
        (ack(3, took_ms=-1), "sequence 3 was answered 1000000 ns before it was sent"),
        (read(3, -2), "sequence 3 was read at offset -2"),
    ],
)
def test_what_cannot_be_true_is_refused(event: Event, message: str) -> None:
    with pytest.raises(AccountingError) as caught:
        account([event])
    assert message in str(caught.value)


def test_json_holds_every_figure() -> None:
    document = account([ack(0, took_ms=250), ack(1)]).to_json()
    assert document["lost"] == 2
    assert document["stalls"] == [{"run": "r", "partition": 0, "start_s": 0.0, "duration_ms": 250.0, "records": 1}]
    assert document["lost_ranges"] == [{"run": "r", "partition": 0, "first": 0, "last": 1}]
