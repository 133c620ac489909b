"""What a database says becomes one line: which ledger, what is wrong, what to do. Never a password."""

from __future__ import annotations

import sqlite3
from urllib.parse import quote, quote_plus

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from controlplane.ports import LedgerError

MASK = "***"
LINE_LIMIT = 300

_SQLITE = {
    sqlite3.SQLITE_FULL: "its disk is full; make room and it goes on",
    sqlite3.SQLITE_BUSY: "another process has had it locked for too long",
    sqlite3.SQLITE_LOCKED: "another process has had it locked for too long",
    sqlite3.SQLITE_READONLY: "its file or directory is read-only for this user",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened; is the directory there, and may this user write to it?",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; bring back a copy",
    sqlite3.SQLITE_IOERR: "reading or writing its file failed",
    sqlite3.SQLITE_INTERRUPT: "it did not answer in time",
}
_POSTGRES = {
    "28": "it refused the login; check user and password",
    "3D": "there is no such database on that server",
    "42501": "this user may not do that in it; check its grants",
    "42P01": "tables are missing; `kfleet audit upgrade` makes them",
    "53100": "its disk is full; make room and it goes on",
    "53300": "it has no connection left",
    "57014": "it did not answer in time",
    "55P03": "another process has had it locked for too long",
    "25006": "it is read-only at present (a standby?)",
}
_FOR_GOOD = ("22", "23", "54")
"""SQLSTATE classes of a value that will never fit: data exception, integrity violation, program limit exceeded."""


def place(url: URL) -> str:
    """Where the ledger is, for people: a file, or host:port/database."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    host = url.host or url.query.get("host") or "localhost"
    where = host if isinstance(host, str) else ",".join(host)
    return f"{where}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def ledger_error(url: URL, error: BaseException, *, late: float | None = None) -> LedgerError:
    """`late`: the deadline in seconds when it was that which ended the call."""
    if late is not None:
        return LedgerError(f"the ledger at {place(url)} did not answer within {late:g} s")
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = _first_line(cause, url)
    retriable, remedy = True, ""
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        remedy = _SQLITE.get(code & 0xFF, "") if code is not None else ""
        retriable = not isinstance(cause, sqlite3.IntegrityError | sqlite3.DataError)
        if "no such table" in said:
            remedy = _POSTGRES["42P01"]
    elif state := getattr(cause, "sqlstate", None):
        remedy = _POSTGRES.get(state) or _POSTGRES.get(state[:2], "")
        retriable = not state.startswith(_FOR_GOOD)
    elif not isinstance(error, SQLAlchemyError) or (isinstance(error, DBAPIError) and not _of_connection(error)):
        retriable = isinstance(error, OSError)
    return LedgerError(
        f"the ledger at {place(url)}: {remedy} ({said})" if remedy else f"the ledger at {place(url)}: {said}",
        retriable=retriable,
    )


def secrets_of(url: URL) -> tuple[str, ...]:
    """What of the URL must not be seen, as it is and as it is written in URLs; longest first."""
    found = [url.password] if url.password else []
    for name, value in url.query.items():
        if "password" in name.lower() or "secret" in name.lower():
            found += [value] if isinstance(value, str) else list(value)
    written = {form for secret in found for form in (str(secret), quote(str(secret), safe=""), quote_plus(str(secret)))}
    return tuple(sorted(filter(None, written), key=len, reverse=True))


def _of_connection(error: DBAPIError) -> bool:
    return type(error).__name__ in {"OperationalError", "InterfaceError"}


def _first_line(error: BaseException, url: URL) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    for secret in secrets_of(url):
        text = text.replace(secret, MASK)
    return text[:LINE_LIMIT].rstrip(".:")
