"""One ledger database, SQLite or PostgreSQL: connections, transactions and a deadline for each of them.

The deadline is ours and not the server's alone: a server that is frozen or cut off answers nothing, not even that a
statement took too long, so a watchdog ends the connection from this side.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from controlplane.adapters.ledger.errors import ledger_error, place
from controlplane.ports import LedgerError

T = TypeVar("T")
READS = "kfleet_reads"
RECYCLE_SECONDS = 300
RETRY_SECONDS = 0.05


def parse_url(text_: str) -> URL:
    """Raises LedgerError, which never repeats the text: it may hold a password."""
    try:
        url = make_url(text_)
    except (ArgumentError, ValueError):
        raise LedgerError(
            "the ledger's URL cannot be read; it looks like postgresql://user:password@host:5432/database (special "
            "characters in the password as %XX) or sqlite:////path/ledger.db",
            retriable=False,
        ) from None
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+pysqlite")
    raise LedgerError("the ledger is a PostgreSQL database or an SQLite file; its URL names neither", retriable=False)


class Deadline:
    """Ends what `connection` is doing when it has not been left after `seconds`; `passed` says whether it has."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._driver: Any = connection.connection.dbapi_connection
        self._lock, self._over, self.passed = threading.Lock(), False, False
        self._seconds = seconds
        self._timer = self._start()

    def again(self) -> None:
        """The time starts anew."""
        self._timer.cancel()
        self._timer = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True

    def _start(self) -> threading.Timer:
        timer = threading.Timer(self._seconds, self._cut)
        timer.daemon = True
        timer.start()
        return timer

    def _cut(self) -> None:
        with self._lock:  # the connection is still in use, so its descriptor is still its own
            if self._over:
                return
            self.passed = True
            if isinstance(self._driver, sqlite3.Connection):
                self._driver.interrupt()
            elif not self._driver.closed:
                with socket.socket(fileno=os.dup(self._driver.fileno())) as wire:
                    wire.shutdown(socket.SHUT_RDWR)


class Database:
    """Transactions on the ledger at `url`. Every failure is a LedgerError; every call ends within about `timeout`.

    From any thread. With `create` an SQLite file that is missing is made, with mode 0600 in a directory of mode 0700.
    """

    def __init__(self, url: str, *, timeout: float, create: bool = False, foreign_keys: bool = True) -> None:
        self.url, self.timeout = parse_url(url), timeout
        self._create, self._foreign_keys = create, foreign_keys
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = self._sqlite_engine() if self.sqlite else self._postgres_engine()

    def __repr__(self) -> str:
        return f"Database({self.place})"

    @property
    def place(self) -> str:
        return place(self.url)

    @property
    def missing(self) -> bool:
        """SQLite only: there is no file. Raises LedgerError when that cannot be seen."""
        with self._translated():
            return self.sqlite and not Path(self.url.database or "").exists()

    def write(self, work: Callable[[Connection], T], *, timeout: float | None = None) -> T:
        """`work` in one transaction. It may run twice when a connection of the pool turns out to be dead."""
        self._find_file()
        with self._translated():
            try:
                return self._once(work, timeout or self.timeout)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            return self._once(work, timeout or self.timeout)

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Deadline]]:
        """One snapshot of the ledger, however many queries are made; each of them has `timeout` (Deadline.again)."""
        self._find_file()
        deadline: Deadline | None = None
        with self._translated(), self._engine.connect() as connection:
            if self.sqlite:
                connection.execution_options(**{READS: True})
            else:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            try:
                with Deadline(connection, self.timeout) as deadline, connection.begin():
                    self._limit(connection, self.timeout)
                    yield connection, deadline
            except SQLAlchemyError as error:
                if deadline is not None and deadline.passed:
                    raise ledger_error(self.url, error, late=self.timeout) from None
                raise

    def write_ahead(self) -> None:
        """SQLite's write-ahead log: readers and a writer do not wait for one another. Kept in the file.

        Turning it on needs the file alone for a moment, and SQLite does not wait for that by itself.
        """
        self._find_file()
        until = time.monotonic() + self.timeout
        with self._translated(), closing(sqlite3.connect(self.url.database or "", timeout=self.timeout)) as connection:
            while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(RETRY_SECONDS)

    def for_migration(self) -> Database:
        """The same one, with connections of its own. SQLite changes a table by making it anew, and dropping the old one
        would take with it whatever refers to its rows: foreign keys are off there.
        """
        url = self.url.render_as_string(hide_password=False)
        return Database(url, timeout=self.timeout, create=self._create, foreign_keys=False)

    def close(self) -> None:
        self._engine.dispose()

    def _once(self, work: Callable[[Connection], T], timeout: float) -> T:
        deadline: Deadline | None = None
        with self._engine.connect() as connection:
            try:
                with Deadline(connection, timeout) as deadline, connection.begin():
                    self._limit(connection, timeout)
                    return work(connection)
            except SQLAlchemyError as error:
                if deadline is not None and deadline.passed:
                    raise ledger_error(self.url, error, late=timeout) from None
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise ledger_error(self.url, error) from None

    def _limit(self, connection: Connection, timeout: float) -> None:
        """The server's own limits, for this transaction only, so that a connection pooler in between is no problem."""
        if not self.sqlite:
            milliseconds = str(max(int(timeout * 1000), 1))
            connection.execute(
                text("SELECT set_config('statement_timeout', :ms, true), set_config('lock_timeout', :ms, true)"),
                {"ms": milliseconds},
            )

    def _postgres_engine(self) -> Engine:
        return create_engine(
            self.url,
            hide_parameters=True,
            pool_size=1,
            max_overflow=9,
            pool_timeout=self.timeout,
            pool_recycle=RECYCLE_SECONDS,
            connect_args={
                "connect_timeout": max(round(self.timeout), 1),
                "application_name": "kfleet",
                "prepare_threshold": None,
            },
        )

    def _sqlite_engine(self) -> Engine:
        engine = create_engine(
            self.url,
            hide_parameters=True,
            pool_size=1,
            max_overflow=9,
            pool_timeout=self.timeout,
            connect_args={"timeout": self.timeout, "check_same_thread": False},
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _: object) -> None:
            connection.isolation_level = None  # we begin, not the driver: it would do so only before the first change
            connection.execute(f"PRAGMA foreign_keys = {'ON' if self._foreign_keys else 'OFF'}")
            connection.execute("PRAGMA synchronous = FULL")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # A transaction that first reads and then writes cannot wait for its turn; one that says so at once can.
            reads = connection.get_execution_options().get(READS)
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

        return engine

    def _find_file(self) -> None:
        """SQLite gives the files beside it (-wal, -shm) the mode of this one."""
        if not self.missing:
            return
        if not self._create:
            raise LedgerError(f"there is no ledger at {self.place}; `kfleet audit upgrade` makes one")
        path = Path(self.url.database or "")
        with self._translated():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
