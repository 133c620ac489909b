"""The canary's accounting: what was acknowledged, what came back, and what a producer had to wait for.

The one function `account` is used by the canary, the demo, tests, gates and drills. Its claims:

- `lost`: acknowledged with acks=all and never read. The only figure that is a broken promise of Kafka's.
- `duplicated`: copies of a sequence beyond the first, found at other offsets. The same offset read again (a reader that
  was restarted, a journal given twice) is a re-read, not a duplicate.
- `reordered`: first copies whose sequence is below one that stands earlier in the partition's log.
- `holes`: never acknowledged, never read, though a later sequence of the partition was read. Apart from `lost`:
  nobody was promised these records.
- `unacknowledged_consumed`: read although no acknowledgement arrived (its answer was lost; legal).
- `unresolved`: sent, and neither acknowledged nor failed when the journal ends.
- A stall is a span in which one partition kept records waiting for longer than the threshold: the union of their
  [sent, answered] spans, merged where they overlap. Failed records count until their failure.

Sequences are per (run, partition), from 0, chosen by the producer, who also sets the partition. All times are
nanoseconds of one monotonic clock per run. The result does not depend on the order of events, except that each
reader's `Consumed` of a partition come in log order.

Cost: about 25 bytes a record (a flag byte, an offset, two times); no object is kept per record.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from controlplane.domain.canary import Ack, Consumed, Event, Failed
from controlplane.domain.latency import Span, percentile_ns, spans

STALL_THRESHOLD_MS = 100.0
MAX_SEQUENCE = 1 << 27
"""Flags grow to the highest sequence; one beyond this (days of traffic to one partition) is damage, not data."""
SAMPLE_RANGES = 20
"""How many ranges of missing sequences are kept as evidence."""


class AccountingError(ValueError):
    """An event that cannot be true: negative or absurd numbers. The message names it."""


@dataclass(frozen=True, slots=True)
class Stall:
    """`start_s` is seconds since the run's first send."""

    run: str
    partition: int
    start_s: float
    duration_ms: float
    records: int


@dataclass(frozen=True, slots=True)
class Range:
    """Sequences `first` to `last`, both included."""

    run: str
    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Account:
    """The verdict. Counts are records; latencies are produce() to acknowledgement, None when nothing was measured.

    `sent == acknowledged + failed + unresolved` always: a record that was read was sent, whatever else is known.
    """

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    unresolved: int = 0
    consumed: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    holes: int = 0
    unacknowledged_consumed: int = 0
    reread: int = 0
    measured: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    stalls: tuple[Stall, ...] = ()
    lost_ranges: tuple[Range, ...] = ()
    """The first SAMPLE_RANGES of what is missing: evidence, not the count."""

    def to_json(self) -> dict[str, Any]:
        document = {name: getattr(self, name) for name in self.__slots__}
        document["stalls"] = [{name: getattr(one, name) for name in Stall.__slots__} for one in self.stalls]
        document["lost_ranges"] = [{name: getattr(one, name) for name in Range.__slots__} for one in self.lost_ranges]
        return document


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What one canary run found.

    `complete` is False when the log could not be read to its end or answers were missing; `why` says it. In
    `worst_pause_ms` the canary measures itself: the longest time in which it did not look for answers.
    """

    account: Account
    complete: bool
    why: str
    worst_pause_ms: float
    clients_replaced: int

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "account"}
        return {**self.account.to_json(), **fields}


def account(
    events: Iterable[Event], *, warm_up_s: float = 0.0, stall_threshold_ms: float = STALL_THRESHOLD_MS
) -> Account:
    """One pass over `events`. Records sent within `warm_up_s` of their run's first send count everywhere except in
    latencies and stalls (a producer's first second looks like a stall). Raises AccountingError."""
    logs: dict[tuple[str, int], _Log] = {}
    for event in events:
        key = event[0], event[1]
        log = logs.get(key)
        if log is None:
            log = logs[key] = _Log()
        try:
            log.add(event)
        except AccountingError as error:
            raise AccountingError(f"run {event.run} partition {event.partition}: {error}") from None
    return _summarise(logs, int(warm_up_s * 1e9), int(stall_threshold_ms * 1e6))


_SENT, _ACKED, _FAILED, _READ = 1, 2, 4, 8


def _table(holds: Callable[[int], bool]) -> bytes:
    """A translation table for flag bytes: 1 where `holds`. Counting then runs at memory speed."""
    return bytes(int(holds(flags)) for flags in range(256))


_IS_SENT = _table(lambda flags: flags != 0)
_IS_ACKED = _table(lambda flags: bool(flags & _ACKED))
_IS_FAILED = _table(lambda flags: flags & (_ACKED | _FAILED) == _FAILED)
_IS_READ = _table(lambda flags: bool(flags & _READ))
_IS_LOST = _table(lambda flags: flags & (_ACKED | _READ) == _ACKED)
_IS_MISSING_UNACKED = _table(lambda flags: not flags & (_ACKED | _READ))
_IS_READ_UNACKED = _table(lambda flags: flags & (_ACKED | _READ) == _READ)


class _Log:
    """One partition of one run: a flag byte and the first offset of each sequence, and when answers came."""

    __slots__ = ("answered_ns", "copies", "first_sent_ns", "flags", "offsets", "reordered", "reread", "sent_ns", "top")

    def __init__(self) -> None:
        self.flags = bytearray()
        self.offsets = array("q")
        self.sent_ns = array("q")
        self.answered_ns = array("q")
        self.first_sent_ns: int | None = None
        self.top = (-1, -1)
        self.copies: set[tuple[int, int]] = set()
        self.reordered = self.reread = 0

    def add(self, event: Event) -> None:
        sequence = event.sequence
        if not 0 <= sequence < MAX_SEQUENCE:
            raise AccountingError(f"sequence {sequence} is not in 0..{MAX_SEQUENCE - 1}")
        if sequence >= len(self.flags):
            more = max(sequence + 1, 2 * len(self.flags), 1024) - len(self.flags)
            self.flags.extend(bytes(more))
            self.offsets.frombytes(bytes(8 * more))
        if isinstance(event, Consumed):
            self._read(sequence, event.offset)
            return
        sent_ns = event.sent_at_ns
        if self.first_sent_ns is None or sent_ns < self.first_sent_ns:
            self.first_sent_ns = sent_ns
        if isinstance(event, Ack):
            self._answered(sequence, sent_ns, event.acked_at_ns, _ACKED)
        elif isinstance(event, Failed):
            self._answered(sequence, sent_ns, event.failed_at_ns, _FAILED)
        else:
            self.flags[sequence] |= _SENT

    def _answered(self, sequence: int, sent_ns: int, answered_ns: int, flag: int) -> None:
        if answered_ns < sent_ns:
            raise AccountingError(f"sequence {sequence} was answered {sent_ns - answered_ns} ns before it was sent")
        if not self.flags[sequence] & flag:
            self.sent_ns.append(sent_ns)
            self.answered_ns.append(answered_ns)
        self.flags[sequence] |= flag

    def _read(self, sequence: int, offset: int) -> None:
        if offset < 0:
            raise AccountingError(f"sequence {sequence} was read at offset {offset}")
        if self.flags[sequence] & _READ:
            if self.offsets[sequence] == offset or (sequence, offset) in self.copies:
                self.reread += 1
            else:
                self.copies.add((sequence, offset))
            return
        self.flags[sequence] |= _READ
        self.offsets[sequence] = offset
        highest, its_offset = self.top
        if sequence > highest:
            self.top = sequence, offset
        elif offset > its_offset:
            self.reordered += 1

    def count(self, table: bytes) -> int:
        return self.flags.translate(table).count(1)

    def holes(self) -> int:
        return self.flags[: self.top[0] + 1].translate(_IS_MISSING_UNACKED).count(1)

    def lost(self) -> Iterator[tuple[int, int]]:
        """Ranges of sequences that were acknowledged and never read."""
        marks = self.flags.translate(_IS_LOST)
        start = marks.find(1)
        while start >= 0:
            end = marks.find(0, start)
            end = len(marks) if end < 0 else end
            yield start, end - 1
            start = marks.find(1, end)


def _summarise(logs: dict[tuple[str, int], _Log], warm_up_ns: int, threshold_ns: int) -> Account:
    began: dict[str, int] = {}
    for (run, _), log in logs.items():
        if log.first_sent_ns is not None:
            began[run] = min(log.first_sent_ns, began.get(run, log.first_sent_ns))
    latencies = array("q")
    stalls: list[Stall] = []
    for (run, partition), log in logs.items():
        origin = began.get(run, 0)
        measured = [
            (sent, answered)
            for sent, answered in zip(log.sent_ns, log.answered_ns, strict=True)
            if sent >= origin + warm_up_ns
        ]
        latencies.extend(answered - sent for sent, answered in measured)
        stalls += [_stall(run, partition, origin, span) for span in spans(measured, threshold_ns)]
    every = tuple(logs.values())
    ranges = (Range(run, part, *edges) for (run, part), log in sorted(logs.items()) for edges in log.lost())
    ordered = sorted(latencies)
    return Account(
        sent=sum(log.count(_IS_SENT) for log in every),
        acknowledged=sum(log.count(_IS_ACKED) for log in every),
        failed=sum(log.count(_IS_FAILED) for log in every),
        unresolved=sum(log.count(_IS_SENT) - log.count(_IS_ACKED) - log.count(_IS_FAILED) for log in every),
        consumed=sum(log.count(_IS_READ) for log in every),
        lost=sum(log.count(_IS_LOST) for log in every),
        duplicated=sum(len(log.copies) for log in every),
        reordered=sum(log.reordered for log in every),
        holes=sum(log.holes() for log in every),
        unacknowledged_consumed=sum(log.count(_IS_READ_UNACKED) for log in every),
        reread=sum(log.reread for log in every),
        measured=len(ordered),
        p50_ms=_ms(percentile_ns(ordered, 50)),
        p99_ms=_ms(percentile_ns(ordered, 99)),
        max_ms=_ms(percentile_ns(ordered, 100)),
        stalls=tuple(sorted(stalls, key=lambda one: (one.run, one.start_s, one.partition))),
        lost_ranges=tuple(islice(ranges, SAMPLE_RANGES)),
    )


def _stall(run: str, partition: int, origin_ns: int, span: Span) -> Stall:
    return Stall(
        run=run,
        partition=partition,
        start_s=round((span.start_ns - origin_ns) / 1e9, 3),
        duration_ms=round((span.end_ns - span.start_ns) / 1e6, 3),
        records=span.records,
    )


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / 1e6, 3)
