"""The canary's journal, version 1: JSON lines, written outside Kafka, the evidence that accounting works on.

    {"kfleet_canary_journal": 1, "run": "c0ffee", "topic": "orders", "start_offsets": [0, 0, 17], ...}   first line
    ["sent", partition, first_sequence, count, sent_at_ns]                  `count` records in a row, one call each
    ["ack", partition, sequence, sent_at_ns, acked_at_ns, offset]           acknowledged with acks=all
    ["fail", partition, sequence, sent_at_ns, failed_at_ns, "error"]        given up by the client
    ["read", partition, sequence, offset, read_at_ns]                       read back from the log
    ["note", at_ns, "text"]                                                 what the clients reported
    {"summary": {...}}                                                      last line of a run that ended in order

Times are nanoseconds of the writing machine's monotonic clock. `start_offsets[p]` is partition p's log end before the
first record. A canary that is killed leaves no summary and at most one half-written line, the last: readers count it
in `torn` and go on. Any other line that does not parse is damage and is refused. Fields may be added to the objects;
a new kind of line or a changed one is a new version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from controlplane.domain.canary import Ack, Consumed, Event, Failed, Sent

VERSION = 1
_MARK = "kfleet_canary_journal"


class JournalError(ValueError):
    """A journal that cannot be trusted; the message is `name:line: what is wrong`."""


@dataclass(frozen=True, slots=True)
class Header:
    run: str
    topic: str
    start_offsets: tuple[int, ...]
    bootstrap: str = ""
    protocol: str = ""
    rate: float = 0.0
    client: str = ""
    started_at: str = ""
    """ISO 8601, UTC: the one wall-clock time here, for people."""

    def line(self) -> str:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({_MARK: VERSION, **fields}) + "\n"


def sent_line(partition: int, first_sequence: int, count: int, sent_at_ns: int) -> str:
    return f'["sent",{partition},{first_sequence},{count},{sent_at_ns}]\n'


def ack_line(ack: Ack) -> str:
    return f'["ack",{ack.partition},{ack.sequence},{ack.sent_at_ns},{ack.acked_at_ns},{ack.offset}]\n'


def failed_line(failed: Failed) -> str:
    error = json.dumps(failed.error)
    return f'["fail",{failed.partition},{failed.sequence},{failed.sent_at_ns},{failed.failed_at_ns},{error}]\n'


def read_line(read: Consumed) -> str:
    return f'["read",{read.partition},{read.sequence},{read.offset},{read.consumed_at_ns}]\n'


def note_line(at_ns: int, text: str) -> str:
    return f'["note",{at_ns},{json.dumps(text)}]\n'


def summary_line(summary: dict[str, Any]) -> str:
    return json.dumps({"summary": summary}) + "\n"


@dataclass(slots=True)
class JournalReader:
    """Reads one journal as a stream. `header`, `summary`, `torn` and `notes` are known once `events` is exhausted."""

    name: str
    header: Header | None = None
    summary: dict[str, Any] | None = None
    torn: int = 0
    notes: list[str] = field(default_factory=list)

    def events(self, lines: Iterable[str]) -> Iterator[Event]:
        """Raises JournalError. Only the last line may be half-written."""
        broken: str | None = None
        number = 0
        for number, text in enumerate(lines, 1):
            if broken is not None:
                raise JournalError(broken)
            try:
                line = json.loads(text)
            except ValueError as error:
                broken = f"{self.name}:{number}: not JSON ({error})"
                if text.endswith("\n"):
                    raise JournalError(broken) from error
                continue
            try:
                yield from self._parse(line)
            except (ValueError, TypeError, IndexError, KeyError) as error:
                raise JournalError(f"{self.name}:{number}: {error}") from error
        if self.header is None:
            raise JournalError(f"{self.name}:{max(number, 1)}: no canary journal: the first line is no header")
        self.torn = int(broken is not None)

    def _parse(self, line: Any) -> Iterator[Event]:
        if self.header is None:
            self.header = _header(line)
        elif isinstance(line, list):
            yield from self._record(self.header.run, line)
        elif isinstance(line, dict) and isinstance(line.get("summary"), dict):
            self.summary = line["summary"]
        else:
            raise ValueError("neither a record nor the summary")

    def _record(self, run: str, line: list[Any]) -> Iterator[Event]:
        kind, *rest = line
        if kind == "ack":
            yield Ack(run, *_integers(rest, 5))
        elif kind == "read":
            yield Consumed(run, *_integers(rest, 4))
        elif kind == "sent":
            partition, first, count, at_ns = _integers(rest, 4)
            for sequence in range(first, first + count):
                yield Sent(run, partition, sequence, at_ns)
        elif kind == "fail":
            partition, sequence, sent_ns, failed_ns = _integers(rest[:-1], 4)
            yield Failed(run, partition, sequence, sent_ns, failed_ns, str(rest[-1]))
        elif kind == "note":
            self.notes.append(str(rest[-1]))
        else:
            raise ValueError(f"unknown kind of record {kind!r}")


def _integers(values: list[Any], count: int) -> list[int]:
    if len(values) != count or not all(type(value) is int for value in values):
        raise ValueError(f"expected {count} whole numbers, found {values}")
    return values


def _header(line: Any) -> Header:
    if not isinstance(line, dict) or _MARK not in line:
        raise ValueError("no canary journal: the first line is no header")
    if line[_MARK] != VERSION:
        raise ValueError(f"journal version {line[_MARK]} is not known to this kfleet (it reads version {VERSION})")
    known = {name: line[name] for name in Header.__slots__ if name in line}
    return Header(**{**known, "start_offsets": tuple(line["start_offsets"])})
