"""Every failure is one clear line, and no password is ever in it."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError
from support.ledgers import event

from controlplane.adapters.ledger import command_log, errors
from controlplane.adapters.ledger.command_log import journal_path, record_cli_event, rejected_path
from controlplane.adapters.ledger.database import Database
from controlplane.adapters.ledger.errors import MASK, ledger_error, place
from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.ports import LedgerError

SECRET = "s3cr/t p@ss"
WRITTEN = "s3cr%2Ft%20p%40ss"

UNREADABLE = [
    f"postgresql://kfleet:x@db:{SECRET}/ledger",
    f"{SECRET}://",
    SECRET,
    "",
    f"mysql://kfleet:{WRITTEN}@db/ledger",
    "sqlite://",
    "sqlite:///:memory:",
]


@pytest.mark.parametrize("url", UNREADABLE)
def test_a_url_that_cannot_be_used_is_not_repeated(url: str) -> None:
    with pytest.raises(LedgerError) as refused:
        SqlLedger(url, timeout=1)
    assert not refused.value.retriable
    shown = "".join(traceback.format_exception(refused.value))
    assert "s3cr" not in shown
    assert refused.value.message.count("\n") == 0


def unreachable() -> list[str]:
    return [
        f"postgresql://kfleet:{WRITTEN}@127.0.0.1:1/ledger",
        f"postgresql://kfleet:{SECRET}@127.0.0.1:1/ledger",
        f"postgresql://kfleet@127.0.0.1:1/ledger?password={WRITTEN}",
        f"postgresql+psycopg2://kfleet:{WRITTEN}@127.0.0.1:1/ledger",
        f"postgresql://kfleet:{WRITTEN}@127.0.0.1:1/ledger?no_such_parameter={WRITTEN}",
        f"postgresql://kfleet:{WRITTEN}@no-such-host.invalid/ledger",
    ]


@pytest.mark.parametrize("url", unreachable())
def test_nothing_that_is_said_or_logged_has_the_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ledger = SqlLedger(url, timeout=2, migrate=True)
    with pytest.raises(LedgerError) as refused:
        ledger.record_event(event())
    shown = "".join(traceback.format_exception(refused.value)) + caplog.text + repr(ledger) + ledger.place
    for secret in (SECRET, WRITTEN, "s3cr"):
        assert secret not in shown, shown
    assert "\n" not in refused.value.message
    assert "127.0.0.1:1/ledger" in refused.value.message or "no-such-host.invalid/ledger" in refused.value.message


def test_a_driver_that_repeats_the_password_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    url = make_url(f"postgresql+psycopg://kfleet:{WRITTEN}@db/ledger")
    said = psycopg.OperationalError(f"cannot use {SECRET} nor {WRITTEN} here\nsecond line")
    error = ledger_error(url, OperationalError("SELECT", {}, said))
    assert error.message == f"the ledger at db/ledger: cannot use {MASK} nor {MASK} here"
    monkeypatch.setattr(errors, "secrets_of", lambda _: ())
    assert SECRET in ledger_error(url, OperationalError("SELECT", {}, said)).message, "the mask is what hides it"


def test_places_have_no_credentials() -> None:
    for url, wanted in {
        f"postgresql://u:{WRITTEN}@db:5432/ledger": "db:5432/ledger",
        "postgresql://u:p@/ledger?host=/run/postgresql": "/run/postgresql/ledger",
        "postgresql://u:p@/ledger?host=a:1&host=b:2": "a:1,b:2/ledger",
        "sqlite:////var/lib/kfleet/ledger.db": "/var/lib/kfleet/ledger.db",
    }.items():
        assert place(make_url(url)) == wanted


def test_what_sqlite_says(tmp_path: Path) -> None:
    """By the real thing: not a database, a directory, a read-only file, a locked one, no tables."""
    cases = {"not an SQLite database": tmp_path / "text", "cannot be opened": tmp_path / "dir"}
    (tmp_path / "text").write_text("this is a text file, and a long one at that, longer than a header of SQLite\n" * 9)
    (tmp_path / "dir").mkdir()
    for words, path in cases.items():
        with pytest.raises(LedgerError, match=words) as refused:
            SqlLedger(f"sqlite:///{path}", timeout=1, migrate=True).record_event(event())
        assert str(path) in refused.value.message
    locked = SqlLedger(f"sqlite:///{tmp_path}/locked", timeout=0.2, migrate=True)
    locked.record_event(event())
    with sqlite3.connect(tmp_path / "locked", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked") as refused:
            locked.record_event(event("event-2"))
        assert refused.value.retriable
        assert list(LedgerReader(f"sqlite:///{tmp_path}/locked", timeout=0.2).stream(Wanted())), "readers need no turn"
        other.execute("ROLLBACK")
    locked.record_event(event("event-2"))


def test_a_statement_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/db", timeout=0.2, create=True)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(LedgerError, match=r"did not answer within 0\.2 s"):
        database.write(lambda connection: connection.execute(text(endless)).scalar())
    assert database.write(lambda connection: connection.execute(text("SELECT 1")).scalar()) == 1


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ledger = SqlLedger(f"sqlite:///{tmp_path}/a/ledger.db", timeout=5, migrate=True)
        ledger.record_event(event())
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a", *(tmp_path / "a").iterdir())}
    finally:
        os.umask(before)
    assert modes == {"a": 0o700, "ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}


def test_only_whoever_migrates_makes_a_file(tmp_path: Path) -> None:
    for call in (
        lambda url: SqlLedger(url, timeout=1).record_event(event()),
        lambda url: list(LedgerReader(url, timeout=1).stream(Wanted())),
        lambda url: record_cli_event(url, actor="a", action="b", subject="c"),
    ):
        with pytest.raises(LedgerError, match="kfleet audit upgrade"):
            call(f"sqlite:///{tmp_path}/ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_the_cli_does_nothing_that_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = f"sqlite:///{tmp_path}/ledger.db"
    said: list[str] = []
    record_cli_event("", actor="alice", action="Cancel", subject="x")  # no ledger is kept: allowed
    with pytest.raises(LedgerError, match="nothing was done"):
        record_cli_event(url, actor="alice", action="Approve", subject="KafkaCluster kafka/orders")
    assert not journal_path().exists()

    for number in range(3):
        record_cli_event(
            url, actor="alice", action="Cancel", subject=f"s{number}", operation="op-1", urgent=True, say=said.append
        )
    assert len(said) == 3
    assert str(journal_path()) in said[0]
    assert journal_path().stat().st_mode & 0o777 == 0o600

    SqlLedger(url, timeout=5, migrate=True).remove_older_than(0)
    record_cli_event(url, actor="bob", action="Resume", subject="s3", detail={"why": "over"})
    entries = list(LedgerReader(url, timeout=5).stream(Wanted()))
    assert [(e.actor, e.action, e.subject) for e in entries] == [
        *[("alice", "Cancel", f"s{number}") for number in range(3)],
        ("bob", "Resume", "s3"),
    ]
    assert entries[0].operation == "op-1"
    assert entries[3].detail == {"why": "over"}
    assert journal_path().read_text() == ""


def test_a_journal_that_was_sent_and_not_removed_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = f"sqlite:///{tmp_path}/ledger.db"
    record_cli_event(url, actor="alice", action="Cancel", subject="s", urgent=True)
    waiting = journal_path().read_text()
    SqlLedger(url, timeout=5, migrate=True).remove_older_than(0)
    record_cli_event(url, actor="bob", action="Look", subject="s")
    journal_path().write_text(waiting)  # as if killed before it was emptied
    record_cli_event(url, actor="bob", action="Look", subject="s")
    assert [e.actor for e in LedgerReader(url, timeout=5).stream(Wanted())] == ["alice", "bob", "bob"]


def test_a_line_that_will_never_be_taken_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the database (it wants an actor), cut short, no text, no event; the one between them is recorded."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = f"sqlite:///{tmp_path}/ledger.db"
    said: list[str] = []
    record_cli_event(url, actor="alice", action="Cancel", subject="s", urgent=True)
    good = journal_path().read_bytes()
    bad = [good.replace(b'"alice"', b"null"), b'{"id": \n', b"\xff\xfe\n", b"[1]\n"]
    journal_path().write_bytes(b"".join([bad[0], bad[1], good, bad[2], bad[3]]))
    with pytest.raises(LedgerError, match="nothing was done"):
        record_cli_event(url, actor="bob", action="Look", subject="s", say=said.append)
    assert (said, rejected_path().exists()) == ([], False), "the ledger is away: that says nothing about the lines"

    SqlLedger(url, timeout=5, migrate=True).remove_older_than(0)
    for _ in range(2):
        record_cli_event(url, actor="bob", action="Look", subject="s", say=said.append)
    assert [e.actor for e in LedgerReader(url, timeout=5).stream(Wanted())] == ["alice", "bob", "bob"]
    assert (journal_path().read_bytes(), rejected_path().read_bytes()) == (b"", b"".join(bad))
    assert rejected_path().stat().st_mode & 0o777 == 0o600
    assert len(said) == len(bad)
    assert all(str(rejected_path()) in line and "\n" not in line for line in said)


@pytest.mark.parametrize("ledger_there", [False, True])
def test_what_is_urgent_needs_no_home(ledger_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - pytest's way
    """A file stands where the directory should be: not even root can write there."""
    (tmp_path / "state").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = f"sqlite:///{tmp_path}/ledger.db"
    said: list[str] = []
    if ledger_there:
        SqlLedger(url, timeout=5, migrate=True).remove_older_than(0)
    record_cli_event(url, actor="alice", action="Cancel", subject="s", urgent=True, say=said.append)
    if ledger_there:
        assert [e.actor for e in LedgerReader(url, timeout=5).stream(Wanted())] == ["alice"]
        assert said == []
    else:
        assert [line for line in said if "is recorded nowhere" in line and str(journal_path()) in line] == said
        assert len(said) == 1
        with pytest.raises(LedgerError, match="nothing was done"):
            record_cli_event(url, actor="alice", action="Approve", subject="s")


def test_a_journal_that_cannot_be_read_keeps_nobody_from_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    journal_path().mkdir(parents=True)
    url = f"sqlite:///{tmp_path}/ledger.db"
    said: list[str] = []
    SqlLedger(url, timeout=5, migrate=True).remove_older_than(0)
    record_cli_event(url, actor="bob", action="Look", subject="s", say=said.append)
    assert [e.actor for e in LedgerReader(url, timeout=5).stream(Wanted())] == ["bob"]
    assert len(said) == 1
    assert str(journal_path()) in said[0]


def test_importing_the_record_needs_no_alembic() -> None:
    """It is on the path of every mutating command."""
    code = f"import sys; import {command_log.__name__}; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
