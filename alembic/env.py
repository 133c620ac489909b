"""How Alembic reaches the ledger: on the connection that kfleet hands over (its transaction and its lock), or, for
`alembic revision --autogenerate` by a developer, on the database that KFLEET_LEDGER_URL names."""

import os
from typing import Literal

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.types import TypeDecorator

from controlplane.adapters.ledger.models import Base


def plain(kind: str, item: object, _: object) -> str | Literal[False]:
    """A script keeps what a column was, whatever becomes of our classes: sa.Text(), not Words()."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=True,
        render_item=plain,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite changes a table by making it anew
    )
    with context.begin_transaction():
        context.run_migrations()


def standalone() -> None:
    from controlplane.adapters.ledger.database import Database  # noqa: PLC0415 - a developer's way in

    Database(os.environ.get("KFLEET_LEDGER_URL", ""), timeout=60.0, create=True, foreign_keys=False).write(migrate)


if context.is_offline_mode():
    raise SystemExit("kfleet's migrations look at the database they change; run them online")
if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    standalone()
