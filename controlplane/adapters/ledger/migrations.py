"""The schema's versions: the Alembic scripts, run by whoever starts first while the others wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from controlplane.adapters.ledger.database import Database
from controlplane.adapters.ledger.schema import HEAD, revision_of
from controlplane.ports import LedgerError

ADVISORY_LOCK = 0x6B666C656574
"""PostgreSQL advisory lock of whoever migrates: the letters of "kfleet"."""
MIGRATION_SECONDS = 300.0
_one_at_a_time = threading.Lock()
"""Alembic keeps what it works on in globals. Other processes are kept out by the database's lock."""


def scripts() -> Path:
    """Inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "alembic"
    return inside if inside.is_dir() else package.parent / "alembic"


def configuration(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database, target: str = "head") -> tuple[str | None, str | None]:
    """Bring the schema to `target`; (before, after). A schema that is there already is left alone."""
    return _migrate(database, lambda config: command.upgrade(config, target))


def downgrade(database: Database, target: str) -> tuple[str | None, str | None]:
    """Back to `target`; "base" removes every table and what is in it."""
    return _migrate(database, lambda config: command.downgrade(config, target))


def current(database: Database) -> str | None:
    """The schema's revision; None: there are no tables yet, perhaps not even a file."""
    return None if database.missing else database.write(revision_of)


def known() -> frozenset[str]:
    """Every revision this kfleet knows."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions())


def _migrate(database: Database, run: Callable[[Config], None]) -> tuple[str | None, str | None]:
    def work(connection: Connection) -> tuple[str | None, str | None]:
        if not database.sqlite:  # SQLite's BEGIN IMMEDIATE is the lock
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
        before = revision_of(connection)
        if before is not None and before not in known():
            raise LedgerError(
                f"the ledger at {database.place} has schema {before}, newer than this kfleet knows ({HEAD}); "
                "use a newer one"
            )
        run(configuration(connection))
        if database.sqlite and connection.execute(text("PRAGMA foreign_key_check")).first():
            raise LedgerError(f"the ledger at {database.place} would lose rows; nothing was changed", retriable=False)
        return before, revision_of(connection)

    if database.sqlite:
        database.write_ahead()
    with _one_at_a_time, closing(database.for_migration()) as its_own:
        return its_own.write(work, timeout=MIGRATION_SECONDS)
