"""One contract for every ledger: the fake that unit tests use, SQLite, and a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from support.fake_ledger import FakeLedger
from support.ledgers import HASH, T0, approval, ended, event, operation, record
from support.postgres import Postgres, running_postgres

from controlplane.adapters.ledger.columns import at
from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Entry, Place, Source, Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.ports import LedgerError, LedgerWriter


class Reads(Protocol):
    def stream(self, wanted: Wanted) -> Iterator[Entry]: ...

    def newest(self, wanted: Wanted, *, limit: int, before: Place | None = None) -> list[Entry]: ...


@dataclass
class Ledger:
    write: LedgerWriter
    read: Reads

    def all(self, **wanted: Any) -> list[Entry]:
        return list(self.read.stream(Wanted(**wanted)))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "fake":
        fake = FakeLedger()
        yield Ledger(fake, fake)
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ledger/ledger.db"
    else:
        url = request.getfixturevalue("postgres").database()
    writer, reader = SqlLedger(url, timeout=30, migrate=True), LedgerReader(url, timeout=30)
    writer.remove_older_than(0)  # the first contact makes the tables
    yield Ledger(writer, reader)
    writer.close()
    reader.close()


def test_an_operation_from_begin_to_end(ledger: Ledger) -> None:
    ledger.write.record_event(event())
    ledger.write.record_approval(approval())
    ledger.write.record_operation(record(operation(entries=1, approval="ok-1", mode="Frozen")))
    ledger.write.record_operation(record(ended(operation(entries=2, approval="ok-1", mode="Frozen"), at=T0 + 9)))

    entries = ledger.all()
    assert [(e.source, e.actor, e.action, e.outcome) for e in entries] == [
        (Source.EVENT, "alice", "Cancel", ""),
        (Source.APPROVAL, "bob", "Approve", ""),
        (Source.BEGIN, "kfleet", "Begin", ""),
        (Source.STEP, "kfleet", "ReplacePod", "Done"),
        (Source.STEP, "kfleet", "ReplacePod", "Done"),
        (Source.END, "kfleet", "End", "Succeeded"),
    ]
    assert {(e.subject, e.cell, e.operation) for e in entries} == {
        ("KafkaCluster kafka/orders", "kafka/orders", "roll-3-ab")
    }
    assert [e.message for e in entries] == ["", "looks good", "version 4.3.1", "", "", "done"]
    assert [dict(e.detail) for e in entries] == [
        {"why": "on call"},
        {"approval": "kafka/ok-approval-1", "planHash": HASH},
        {"approval": "ok-1", "planHash": HASH, "mode": "Frozen"},
        {"target": "1", "step": 1, "attempt": 1},
        {"target": "2", "step": 2, "attempt": 1},
        {},
    ]
    assert entries[0].at == at(T0 - 90)
    assert entries[-1].at == at(T0 + 9)


def test_everything_twice_is_everything_once(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.write.record_event(event())
        ledger.write.record_approval(approval())
        ledger.write.record_operation(record(operation(entries=3)))
        ledger.write.record_operation(record(ended(operation(entries=3), at=T0 + 9)))
    assert [e.source for e in ledger.all()] == ["event", "approval", "begin", "step", "step", "step", "end"]


def test_the_first_account_of_a_step_stays(ledger: Ledger) -> None:
    one = operation(entries=1)
    other = one.model_copy(update={"journal": (one.journal[0].model_copy(update={"outcome": "Failed"}),)})
    ledger.write.record_operation(record(one))
    ledger.write.record_operation(record(other))
    assert [e.outcome for e in ledger.all() if e.source is Source.STEP] == ["Done"]


def test_another_attempt_another_object_and_another_run_are_something_else(ledger: Ledger) -> None:
    one = operation(entries=1)
    again = one.model_copy(update={"journal": (one.journal[0].model_copy(update={"attempt": 2}),)})
    for this in (
        record(one),
        record(again),
        record(one, uid="uid-2"),
        record(operation("roll-4-cd", entries=1)),
        record(operation(entries=1, started=T0 + 100)),  # cancelled and resumed: it begins again under its id
    ):
        ledger.write.record_operation(this)
    assert sum(e.source is Source.STEP for e in ledger.all()) == 5
    assert sum(e.source is Source.BEGIN for e in ledger.all()) == 4


def test_a_late_word_does_not_open_what_has_ended(ledger: Ledger) -> None:
    ledger.write.record_operation(record(ended(operation(entries=2), at=T0 + 9)))
    ledger.write.record_operation(record(operation(entries=1, goal="old")))
    ledger.write.record_operation(record(ended(operation(entries=2), at=T0 + 5, outcome="Failed")))
    (end,) = (e for e in ledger.all() if e.source is Source.END)
    assert (end.outcome, end.at) == ("Succeeded", at(T0 + 9))
    ledger.write.record_operation(record(ended(operation(entries=2), at=T0 + 20, outcome="RolledBack")))
    (end,) = (e for e in ledger.all() if e.source is Source.END)
    assert end.outcome == "RolledBack"


def test_what_a_database_cannot_hold_is_held_anyway(ledger: Ledger) -> None:
    words = "nul \x00, half a pair \ud800, quotes ' \" \\ ; -- %s :x {}, \u202e, 🦔"
    if isinstance(ledger.write, FakeLedger):
        pytest.skip("memory holds anything")
    ledger.write.record_event(event(actor=words, detail={"why": words, words: [words, 1, None, {"a": 2.5}]}))
    clean = words.replace("\x00", "\ufffd").replace("\ud800", "?")
    unicode = words.replace("\ud800", "?")  # a status cannot hold half a pair
    ledger.write.record_operation(record(ended(operation(goal=unicode), at=T0 + 1, message=unicode * 10)))
    found = ledger.all()
    assert found[0].actor == clean
    assert found[0].detail == {"why": clean, clean: [clean, 1, None, {"a": 2.5}]}
    assert [e.message for e in found[1:]] == [clean, clean * 10]


def test_filters(ledger: Ledger) -> None:
    ledger.write.record_operation(record(ended(operation("a", entries=1), at=T0 + 9)))
    ledger.write.record_operation(record(operation("b", entries=1), uid="uid-2", cell="kafka/other"))
    ledger.write.record_approval(approval())
    ledger.write.record_approval(approval("approval-2", target_uid="uid-2", target="KafkaRebalance kafka/r"))
    ledger.write.record_approval(approval("approval-3", target_uid="never", target="KafkaCluster kafka/new"))
    ledger.write.record_event(event(detail={"cell": "kafka/other", "operation": "b"}))
    ledger.write.record_event(event("event-2", detail={}))

    def sources(**wanted: Any) -> str:
        return " ".join(e.source for e in ledger.all(**wanted))

    assert sources(cell="kafka/orders") == "approval begin step end"
    assert sources(cell="kafka/other") == "event approval begin step"
    assert sources(cell="kafka/new") == "approval"
    assert sources(cell="kafka/%") == ""
    assert sources(operation="a") == "approval begin step end"
    assert sources(operation="b") == "event approval begin step"
    assert sources(actor="bob") == "approval approval approval"
    assert sources(actor="alice") == "event event"
    assert sources(actor="kfleet") == "begin begin step step end"
    assert sources(actor="alice", operation="a") == ""
    assert sources(since=at(T0)) == "begin begin step step end"
    assert sources(until=at(T0)) == "event event approval approval approval"
    assert sources(since=at(T0 + 1), until=at(T0 + 9)) == "step step"


def test_pages_are_the_whole_in_order(ledger: Ledger) -> None:
    """Many entries of the same second: the place, not the time, says where the next page begins."""
    for n in range(6):
        ledger.write.record_event(event(f"event-{n}", at=T0))
        ledger.write.record_approval(approval(f"approval-{n}", at=T0))
        ledger.write.record_operation(record(ended(operation(f"op-{n}", entries=3, started=T0 + n % 2), at=T0 + 2)))
    whole = ledger.all()
    assert len(whole) == 6 * 7
    assert [e.place for e in whole] == sorted(e.place for e in whole)
    for limit in (1, 4, 7, 100):
        pages: list[Entry] = []
        while page := ledger.read.newest(Wanted(), limit=limit, before=pages[-1].place if pages else None):
            assert len(page) <= limit
            pages += page
        assert pages == whole[::-1], limit


def test_retention_removes_what_is_old_and_over(ledger: Ledger) -> None:
    old, young = T0, T0 + 1000
    ledger.write.record_operation(record(ended(operation("gone", entries=2, plan_hash="h1"), at=old + 5)))
    ledger.write.record_operation(record(operation("open", entries=2, plan_hash="h2")))
    ledger.write.record_operation(record(ended(operation("long", entries=2, plan_hash="h3"), at=young)))
    for name in ("h1", "h2", "h3", "never-used"):
        ledger.write.record_approval(approval(name, plan_hash=name))
    for name in ("gone", "open", "long", ""):
        ledger.write.record_event(event(f"of-{name}", detail={"operation": name}))
    ledger.write.record_event(event("young", at=young))

    removed = 0
    while batch := ledger.write.remove_older_than(T0 + 100):
        removed += batch
    assert removed == 1 + 2 + 2 + 2
    left = ledger.all()
    assert {e.operation for e in left if e.source is Source.BEGIN} == {"open", "long"}
    assert sum(e.source is Source.STEP for e in left) == 4
    assert {e.detail["planHash"] for e in left if e.source is Source.APPROVAL} == {"h2", "h3"}
    assert [e.operation for e in left if e.source is Source.EVENT] == ["open", "long", "roll-3-ab"]
    assert ledger.write.remove_older_than(T0 + 100) == 0


def test_nothing_is_half_recorded(ledger: Ledger) -> None:
    """One entry that cannot be taken: the operation and its other entries are not there either."""
    if isinstance(ledger.write, FakeLedger):
        pytest.skip("the fake takes anything")
    one = operation(entries=3)
    journal = (*one.journal[:2], one.journal[2].model_copy(update={"at": "soon"}))
    with pytest.raises(LedgerError) as refused:
        ledger.write.record_operation(record(one.model_copy(update={"journal": journal})))
    assert not refused.value.retriable
    assert ledger.all() == []
    ledger.write.record_operation(record(one))
    assert len(ledger.all()) == 4


def test_the_fake_can_be_down() -> None:
    down = FakeLedger(down=LedgerError("gone"))
    with pytest.raises(LedgerError):
        down.record_event(event())
    down.down = None
    down.record_event(event())
    assert (down.calls, len(down.events)) == (1, 1)
