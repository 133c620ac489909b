"""Percentiles and stalls of waiting times. Pure; all times are nanoseconds of one clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Somebody waited from `start_ns` to `end_ns`; `records` waits were merged into it."""

    start_ns: int
    end_ns: int
    records: int


def percentile_ns(ordered: Sequence[int], percent: float) -> int | None:
    """Nearest rank: the smallest value that at least `percent` of all are not above. None for no values.

    `ordered` ascends. Nearest rank, because an interpolated wait is one nobody had.
    """
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def spans(waits: Iterable[tuple[int, int]], threshold_ns: int) -> list[Span]:
    """The union of all waits (start, end) longer than `threshold_ns`, as disjoint spans in order of time."""
    found: list[Span] = []
    for start, end in sorted(wait for wait in waits if wait[1] - wait[0] > threshold_ns):
        if found and start <= found[-1].end_ns:
            last = found[-1]
            found[-1] = Span(last.start_ns, max(last.end_ns, end), last.records + 1)
        else:
            found.append(Span(start, end, 1))
    return found
