"""Ids of brokers as text: 1,000 of them in a status are one short line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def write_ranges(ids: Iterable[int]) -> str:
    """Such as 0-5,8; the inverse of `read_ranges`."""
    spans: list[tuple[int, int]] = []
    for one in sorted(set(ids)):
        if spans and spans[-1][1] == one - 1:
            spans[-1] = spans[-1][0], one
        else:
            spans.append((one, one))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def read_ranges(text: str) -> Iterator[int]:
    """Raises ValueError."""
    for span in text.split(",") if text else ():
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1)
