"""The Alembic scripts on both databases: up, down, up again, nothing drifted, and by many at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from support.ledger_fixtures import ledger_url, postgres
from support.ledgers import T0, approval, ended, event, operation, record

from controlplane.adapters.ledger import migrations, schema
from controlplane.adapters.ledger.database import Database
from controlplane.adapters.ledger.models import Base
from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import Wanted
from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.ports import LedgerError

__all__ = ["ledger_url", "postgres"]

TABLES = set(Base.metadata.tables)
SECOND = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None

def upgrade():
    with op.batch_alter_table("steps") as steps:
        steps.add_column(sa.Column("seconds", sa.Double(), nullable=False, server_default="0"))
    with op.batch_alter_table("operations") as operations:
        operations.alter_column("goal", new_column_name="aim")

def downgrade():
    with op.batch_alter_table("steps") as steps:
        steps.drop_column("seconds")
    with op.batch_alter_table("operations") as operations:
        operations.alter_column("aim", new_column_name="goal")
"""


def database(url: str) -> Database:
    return Database(url, timeout=60, create=True)


def tables(url: str) -> set[str]:
    return database(url).write(lambda connection: set(inspect(connection).get_table_names()))


def drift(url: str) -> list[Any]:
    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))

    return database(url).write(compare)


def test_from_nothing_to_the_models_and_back(ledger_url: str) -> None:
    assert migrations.current(database(ledger_url)) is None
    assert migrations.upgrade(database(ledger_url)) == (None, schema.HEAD)
    assert tables(ledger_url) == TABLES | {schema.TABLE}
    assert drift(ledger_url) == []
    assert migrations.upgrade(database(ledger_url)) == (schema.HEAD, schema.HEAD), "again changes nothing"

    assert migrations.downgrade(database(ledger_url), "base") == (schema.HEAD, None)
    assert tables(ledger_url) == {schema.TABLE}
    assert migrations.upgrade(database(ledger_url)) == (None, schema.HEAD)
    assert tables(ledger_url) == TABLES | {schema.TABLE}
    assert drift(ledger_url) == []


@pytest.mark.parametrize(
    "planted",
    [
        "ALTER TABLE steps ADD COLUMN planted TEXT",
        "DROP INDEX ix_steps_at",
        "CREATE INDEX ix_planted ON steps (verb)",
        "CREATE TABLE planted (id INTEGER)",
    ],
)
def test_drift_is_found(ledger_url: str, planted: str) -> None:
    """The control of `drift(...) == []`."""
    migrations.upgrade(database(ledger_url))
    database(ledger_url).write(lambda connection: connection.execute(text(planted)))
    assert len(drift(ledger_url)) == 1


def test_a_column_of_another_type_is_found(postgres: Any) -> None:
    url = postgres.database()
    migrations.upgrade(database(url))
    change = "ALTER TABLE steps ALTER COLUMN attempt TYPE text"
    database(url).write(lambda connection: connection.execute(text(change)))
    assert len(drift(url)) == 1


def test_the_models_stand_for_the_newest_script() -> None:
    scripts = ScriptDirectory.from_config(migrations.configuration())
    assert scripts.get_heads() == [schema.HEAD]
    assert migrations.known() == {script.revision for script in scripts.walk_revisions()}


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called: this is a later kfleet, with a script that changes a table."""
    later = tmp_path / "alembic"
    shutil.copytree(migrations.scripts(), later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / "0002_seconds.py").write_text(SECOND)

    def switch() -> None:
        monkeypatch.setattr(migrations, "scripts", lambda: later)
        for module in ("migrations", "schema", "writer"):
            monkeypatch.setattr(f"controlplane.adapters.ledger.{module}.HEAD", "0002")

    return switch


def test_a_later_version_and_its_records(
    ledger_url: str, next_version: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(ledger: SqlLedger) -> None:
        ledger.record_operation(record(ended(operation(entries=3), at=T0 + 9)))
        ledger.record_approval(approval())
        ledger.record_event(event())

    fill(SqlLedger(ledger_url, timeout=60, migrate=True))
    before = list(LedgerReader(ledger_url, timeout=60).stream(Wanted()))
    assert len(before) == 7
    next_version()
    for old in (
        lambda: list(LedgerReader(ledger_url, timeout=60).stream(Wanted())),
        lambda: fill(SqlLedger(ledger_url, timeout=60)),
    ):
        with pytest.raises(LedgerError, match="schema 0001, older than 0002; run `kfleet audit upgrade`"):
            old()
    assert migrations.upgrade(database(ledger_url)) == ("0001", "0002")
    assert len(drift(ledger_url)) == 3, "a column more, and one of another name"
    assert migrations.downgrade(database(ledger_url), "0001") == ("0002", "0001")
    assert drift(ledger_url) == []
    with pytest.raises(LedgerError, match="column"):  # these models are of 0001: the schema was brought to 0002
        fill(SqlLedger(ledger_url, timeout=60, migrate=True))
    assert migrations.current(database(ledger_url)) == "0002", "an operator brings it up to date by itself"
    migrations.downgrade(database(ledger_url), "0001")
    monkeypatch.undo()
    assert list(LedgerReader(ledger_url, timeout=60).stream(Wanted())) == before


def test_a_schema_of_the_future_is_left_alone(ledger_url: str) -> None:
    migrations.upgrade(database(ledger_url))
    database(ledger_url).write(
        lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9'"))
    )
    for call in (
        lambda: list(LedgerReader(ledger_url, timeout=60).stream(Wanted())),
        lambda: SqlLedger(ledger_url, timeout=60).record_event(event()),
        lambda: SqlLedger(ledger_url, timeout=60, migrate=True).record_event(event()),
        lambda: migrations.upgrade(database(ledger_url)),
    ):
        with pytest.raises(LedgerError, match="schema 9, newer than this kfleet knows") as refused:
            call()
        assert refused.value.retriable, "an operator keeps its entries until a newer one is there"


def started(url: str, tmp_path: Path, code: str = "") -> list[int]:
    """Two processes that bring the schema up to date at the same time; their exit codes."""
    script = f"""
import os, pathlib, sys, time
from controlplane.adapters.ledger import migrations
from controlplane.adapters.ledger.database import Database
meeting = pathlib.Path({str(tmp_path)!r})
def meet(name):
    (meeting / f"{{name}}-{{os.getpid()}}").touch()
    until = time.monotonic() + 60
    while len(list(meeting.glob(f"{{name}}-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
{code}
database = Database({url!r}, timeout=60, create=True)
meet("start")
migrations.upgrade(database)
"""
    both = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) for _ in range(2)]
    return [process.wait(timeout=120) for process in both]


UNLOCKED = """
from alembic.runtime.migration import MigrationContext
migrations.ADVISORY_LOCK = os.getpid()
ensure = MigrationContext._ensure_version_table
def together(self, **options):
    meet("looked")
    ensure(self, **options)
MigrationContext._ensure_version_table = together
"""


def test_two_who_start_at_once(ledger_url: str, tmp_path: Path) -> None:
    assert started(ledger_url, tmp_path) == [0, 0]
    assert drift(ledger_url) == []


def test_without_the_lock_they_collide(postgres: Any, tmp_path: Path) -> None:
    """The control: both have seen an empty database before either makes a table."""
    assert sorted(started(postgres.database(), tmp_path, UNLOCKED)) == [0, 1]


def test_two_threads_of_one_operator(ledger_url: str) -> None:
    """The outbox and the sweep both make first contact."""
    with ThreadPoolExecutor(4) as threads:
        ledger = SqlLedger(ledger_url, timeout=60, migrate=True)
        futures: list[Future[Any]] = [
            threads.submit(ledger.record_event, event(f"event-{number}")) for number in range(4)
        ]
        futures += [threads.submit(ledger.remove_older_than, 0)]
        assert [future.exception() for future in futures] == [None] * 5
    assert len(list(LedgerReader(ledger_url, timeout=60).stream(Wanted()))) == 4
