"""What is read from the ledger, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Source(StrEnum):
    """What an entry tells of, in the order in which entries of the same moment are read."""

    EVENT = "event"
    APPROVAL = "approval"
    BEGIN = "begin"
    STEP = "step"
    END = "end"


RANKS = {source: rank for rank, source in enumerate(Source)}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries; an empty field means any. `since` and `until` (excluded) are points in time with a zone."""

    cell: str = ""
    operation: str = ""
    actor: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an entry stands among all entries; `begin-17` is the id that people see of (`at`, rank of begin, 17)."""

    at: datetime
    rank: int
    row: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `detail` has what only this source knows, JSON values, nothing empty."""

    place: Place
    source: Source
    actor: str
    action: str
    subject: str
    cell: str
    operation: str
    outcome: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.source}-{self.place.row}"

    @property
    def at(self) -> datetime:
        return self.place.at


@dataclass(frozen=True, slots=True)
class LedgerOperation:
    """One operation as the ledger has it; `outcome` and `ended_at` are absent while it is under way."""

    uid: str
    operation: str
    kind: str
    mode: str
    subject: str
    cell: str
    plan_hash: str
    goal: str
    approval: str
    direction: str
    step: int | None
    attempt: int
    outcome: str | None
    message: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class History:
    """An operation and every entry about it, oldest first: who asked, who agreed, each step, how it ended.

    One that was cancelled and began again under its id has several runs; `operation` is the newest.
    """

    operation: LedgerOperation
    entries: tuple[Entry, ...]
