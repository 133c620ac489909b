"""Which version the schema of a ledger has, without loading what changes it."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from controlplane.ports import LedgerError

HEAD = "0001"
"""The revision that the models stand for (a test holds it against alembic/versions)."""
TABLE = "alembic_version"


def revision_of(connection: Connection) -> str | None:
    """None: nothing was ever migrated here."""
    if not inspect(connection).has_table(TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {TABLE}")).scalar()  # noqa: S608 - a constant
    return found


def require_current(connection: Connection, place: str) -> None:
    """Raises LedgerError, saying what to run, unless the schema is the one that the models stand for."""
    found = revision_of(connection)
    if found == HEAD:
        return
    if found is None:
        raise LedgerError(f"the ledger at {place} has no tables yet; run `kfleet audit upgrade`")
    from controlplane.adapters.ledger.migrations import known  # noqa: PLC0415 - Alembic is loaded only to explain

    if found in known():
        raise LedgerError(f"the ledger at {place} has schema {found}, older than {HEAD}; run `kfleet audit upgrade`")
    raise LedgerError(
        f"the ledger at {place} has schema {found}, newer than this kfleet knows ({HEAD}); use a newer one"
    )
