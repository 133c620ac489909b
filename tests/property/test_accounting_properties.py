"""Negative controls at large: plant k troubles of a kind in a clean run, and exactly k must be reported."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.accounting import Account, account
from controlplane.domain.canary import Ack, Consumed, Event, Sent

MS = 1_000_000
sizes = st.lists(st.integers(1, 60), min_size=1, max_size=4)
"""Records of each partition."""


def run_of(per_partition: list[int]) -> tuple[list[Event], list[list[Consumed]]]:
    """What the producer notes, and each partition's log with strangers between our records."""
    noted: list[Event] = []
    logs: list[list[Consumed]] = []
    for partition, count in enumerate(per_partition):
        for sequence in range(count):
            at = 7_000 * MS + sequence * MS
            noted += [Sent("r", partition, sequence, at), Ack("r", partition, sequence, at, at + MS, 3 * sequence)]
        logs.append([Consumed("r", partition, sequence, 3 * sequence, 0) for sequence in range(count)])
    return noted, logs


def flat(logs: list[list[Consumed]]) -> list[Consumed]:
    return [record for log in logs for record in log]


def clean(per_partition: list[int]) -> Account:
    noted, logs = run_of(per_partition)
    return account([*noted, *flat(logs)])


@given(sizes, st.data())
def test_dropped_records_are_lost_each_one(per_partition: list[int], data: st.DataObject) -> None:
    noted, logs = run_of(per_partition)
    records = flat(logs)
    dropped = data.draw(st.sets(st.integers(0, len(records) - 1)))
    kept = [record for index, record in enumerate(records) if index not in dropped]
    result = account([*noted, *kept])
    assert result.lost == len(dropped)
    assert (result.duplicated, result.reordered, result.holes) == (0, 0, 0)
    assert result.consumed == result.acknowledged - len(dropped)


@given(sizes, st.data())
def test_unacknowledged_gaps_are_holes_only_below_a_later_record(per_partition: list[int], data: st.DataObject) -> None:
    noted, logs = run_of(per_partition)
    everyone = {(record.partition, record.sequence) for record in flat(logs)}
    gone = data.draw(st.sets(st.sampled_from(sorted(everyone))))
    noted = [e for e in noted if not (isinstance(e, Ack) and (e.partition, e.sequence) in gone)]
    left = everyone - gone
    result = account([*noted, *(e for log in logs for e in log if (e.partition, e.sequence) in left)])
    top = {p: max((s for q, s in left if q == p), default=-1) for p, _ in everyone}
    assert result.holes == sum(sequence < top[partition] for partition, sequence in gone)
    assert (result.lost, result.unresolved) == (0, len(gone))


@given(sizes, st.data())
def test_copies_are_duplicates_each_one(per_partition: list[int], data: st.DataObject) -> None:
    """A copy lands anywhere behind its original, as a retry that was written twice would."""
    noted, logs = run_of(per_partition)
    planted = data.draw(st.lists(st.sampled_from(flat(logs)), max_size=10))
    copies = [record._replace(offset=1 + 3 * len(logs[record.partition]) + i) for i, record in enumerate(planted)]
    result = account([*noted, *flat(logs), *copies])
    assert result.duplicated == len(planted)
    assert (result.lost, result.reordered, result.holes, result.reread) == (0, 0, 0, 0)


@given(sizes, st.data())
def test_swapped_neighbours_are_reordered_each_pair(per_partition: list[int], data: st.DataObject) -> None:
    noted, logs = run_of(per_partition)
    swapped = 0
    for log in logs:
        for index in data.draw(st.sets(st.integers(0, max(0, len(log) // 2 - 1)))):
            if 2 * index + 1 < len(log):
                one, two = log[2 * index], log[2 * index + 1]
                log[2 * index : 2 * index + 2] = [two._replace(offset=one.offset), one._replace(offset=two.offset)]
                swapped += 1
    result = account([*noted, *flat(logs)])
    assert result.reordered == swapped
    assert (result.lost, result.duplicated, result.holes) == (0, 0, 0)


@given(sizes, st.data())
def test_a_shuffled_log_counts_records_behind_a_higher_one(per_partition: list[int], data: st.DataObject) -> None:
    noted, logs = run_of(per_partition)
    expected = 0
    for partition, log in enumerate(logs):
        order = data.draw(st.permutations(range(len(log))))
        logs[partition] = [Consumed("r", partition, sequence, place, 0) for place, sequence in enumerate(order)]
        expected += sum(sequence < max(order[:place], default=-1) for place, sequence in enumerate(order))
    result = account([*noted, *flat(logs)])
    assert (result.reordered, result.lost, result.duplicated) == (expected, 0, 0)


@given(sizes, st.data())
def test_the_order_of_notes_does_not_matter(per_partition: list[int], data: st.DataObject) -> None:
    noted, logs = run_of(per_partition)
    reads = flat(logs)[: data.draw(st.integers(0, sum(per_partition)))]
    shuffled = data.draw(st.permutations(noted))
    assert account([*shuffled, *reads]) == account([*reads, *noted])


@given(sizes)
def test_a_journal_given_twice_is_a_reread(per_partition: list[int]) -> None:
    noted, logs = run_of(per_partition)
    events = [*noted, *flat(logs), *(record._replace(offset=10_000) for record in flat(logs)[:3])]
    once, twice = account(events), account([*events, *events])
    assert twice == replace(once, reread=once.consumed + once.duplicated)


@given(sizes)
def test_nothing_is_found_in_a_clean_run(per_partition: list[int]) -> None:
    result = clean(per_partition)
    total = sum(per_partition)
    assert (result.sent, result.acknowledged, result.consumed) == (total, total, total)
    assert (result.lost, result.duplicated, result.reordered, result.holes, result.stalls) == (0, 0, 0, 0, ())
