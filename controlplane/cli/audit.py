"""`kfleet audit`: who did what, from the ledger. Reads its database directly: no Kubernetes is needed."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from controlplane.cli.ask import confirm
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.options import Output, OutputOption, Yes

if TYPE_CHECKING:
    from controlplane.adapters.ledger.reader import LedgerReader
    from controlplane.adapters.ledger.rows import Wanted

app = typer.Typer(
    name="audit",
    help="Who did what: list, show, export.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
TIMEOUT_SECONDS = 10.0
LEDGER_VARIABLE = "KFLEET_LEDGER_URL"
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _moment(text: str | None) -> datetime | None:
    """A time with a zone, else in this machine's; or how long ago."""
    if text is None:
        return None
    if match := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is neither like 90m, 12h, 7d nor like 2026-11-30T08:00Z") from None


Ledger = Annotated[
    str,
    typer.Option(
        "--ledger",
        envvar=LEDGER_VARIABLE,
        help="Its URL; better in the variable, where no other user sees a password.",
        show_default=False,
    ),
]
Cell = Annotated[str, typer.Option("--cell", metavar="NAMESPACE/NAME", help="About this cluster.", show_default=False)]
OperationId = Annotated[str, typer.Option("--operation", metavar="ID", help="About this one.", show_default=False)]
Actor = Annotated[
    str, typer.Option("--actor", help="By this user; what operators did is by kfleet.", show_default=False)
]
Since = Annotated[
    str | None, typer.Option("--since", help="From then on: 90m, 12h, 7d, or a time.", show_default=False)
]
Until = Annotated[str | None, typer.Option("--until", help="Before then.", show_default=False)]


@app.command(name="list")
def list_(
    *,
    ledger: Ledger = "",
    cell: Cell = "",
    operation: OperationId = "",
    actor: Actor = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
    before: Annotated[
        str, typer.Option("--before", metavar="ID", help="Those older than this entry.", show_default=False)
    ] = "",
    output: OutputOption = Output.table,
) -> None:
    """List what happened, the newest first."""
    wanted = _wanted(cell, operation, actor, since, until)
    with _reader(ledger) as reader:
        from controlplane.cli.audit_render import ENTRIES  # noqa: PLC0415 - SQLAlchemy: --help does without
        from controlplane.cli.render import show  # noqa: PLC0415 - beside it

        place = None
        if before:
            last = reader.entry(before)
            if last is None:
                raise CliError(f"the ledger has no entry {before!r}; `kfleet audit list -o wide` shows their ids")
            place = last.place
        found = reader.newest(wanted, limit=limit + 1, before=place)
    show(output, ENTRIES, found[:limit], none="nothing of that kind is in the ledger")
    if len(found) > limit:
        print(f"kfleet: there are older ones: --before {found[limit - 1].id}", file=sys.stderr)


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An operation, or an entry such as step-17.")],
    ledger: Ledger = "",
    output: OutputOption = Output.table,
) -> None:
    """Show one operation with all that is known of it, or one entry."""
    with _reader(ledger) as reader:
        from controlplane.cli import audit_render as texts  # noqa: PLC0415 - SQLAlchemy: --help does without
        from controlplane.cli.render import show_one  # noqa: PLC0415 - beside it

        if history := reader.history(id_):
            show_one(output, texts.HISTORIES, history, text=lambda: texts.history_text(history))
        elif entry := reader.entry(id_):
            show_one(output, texts.ENTRIES, entry, text=lambda: texts.entry_text(entry))
        else:
            raise CliError(f"the ledger has no operation and no entry {id_!r}; `kfleet audit list` shows what it has")


@app.command()
def export(
    *,
    ledger: Ledger = "",
    cell: Cell = "",
    operation: OperationId = "",
    actor: Actor = "",
    since: Since = None,
    until: Until = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Write there, all or nothing.", show_default=False)
    ] = None,
) -> None:
    """Write every entry as a line of JSON, the oldest first."""
    wanted = _wanted(cell, operation, actor, since, until)
    with _reader(ledger) as reader:
        if file is None:
            count = _write(reader, wanted, sys.stdout)
        else:
            with _whole(file) as target:
                count = _write(reader, wanted, target)
    print(f"kfleet: {count} entries{f' in {file}' if file else ''}", file=sys.stderr)


@app.command()
def upgrade(ledger: Ledger = "", yes: Yes = False) -> None:
    """Make the ledger's tables, or bring them up to date. Operators do this by themselves."""
    _need(ledger)
    from controlplane.adapters.ledger import migrations  # noqa: PLC0415 - SQLAlchemy and Alembic
    from controlplane.adapters.ledger.database import Database  # noqa: PLC0415 - the same
    from controlplane.adapters.ledger.schema import HEAD  # noqa: PLC0415 - the same

    with _quiet():
        database = Database(ledger, timeout=TIMEOUT_SECONDS, create=True)
        found = migrations.current(database)
        if found == HEAD:
            print(f"kfleet: the ledger at {database.place} has schema {HEAD}; nothing to do", file=sys.stderr)
            return
        print(f"kfleet: the ledger at {database.place}: schema {found or 'none'} becomes {HEAD}", file=sys.stderr)
        confirm("change the schema", yes)
        migrations.upgrade(database)
    print(f"kfleet: schema {HEAD}", file=sys.stderr)


def _wanted(cell: str, operation: str, actor: str, since: str | None, until: str | None) -> Wanted:
    from controlplane.adapters.ledger.rows import Wanted  # noqa: PLC0415 - beside SQLAlchemy

    if cell and cell.count("/") != 1:
        raise typer.BadParameter(f"--cell is NAMESPACE/NAME, not {cell!r}")
    return Wanted(cell, operation, actor, _moment(since), _moment(until))


@contextmanager
def _reader(url: str) -> Iterator[LedgerReader]:
    _need(url)
    from controlplane.adapters.ledger.reader import LedgerReader  # noqa: PLC0415 - SQLAlchemy: --help does without

    with _quiet():
        reader = LedgerReader(url, timeout=TIMEOUT_SECONDS)
        try:
            yield reader
        finally:
            reader.close()


def _need(url: str) -> None:
    if not url:
        raise CliError(f"which ledger? Set {LEDGER_VARIABLE} as the operator has it, or --ledger", ExitCode.USAGE)


@contextmanager
def _quiet() -> Iterator[None]:
    """What SQLAlchemy logs about a connection that broke is not ours to show; the error says it in one line."""
    if not os.environ.get("KFLEET_DEBUG"):
        logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())
        logging.getLogger("sqlalchemy").propagate = False
    yield


def _write(reader: LedgerReader, wanted: Wanted, target: IO[str]) -> int:
    from controlplane.cli.audit_render import document  # noqa: PLC0415 - beside SQLAlchemy
    from controlplane.cli.render import JSON_VERSION  # noqa: PLC0415 - the same

    count = 0
    for entry in reader.stream(wanted):
        line = {"apiVersion": JSON_VERSION, "kind": "AuditEntry"} | document(entry)
        target.write(json.dumps(line, ensure_ascii=False) + "\n")
        count += 1
    return count


@contextmanager
def _whole(file: Path) -> Iterator[IO[str]]:
    """Under `file` stands what was there before or all of the new one, also after a crash; only we may read it."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        try:
            yield new.file
            new.flush()
            os.fsync(new.fileno())
            Path(new.name).replace(file)
        except BaseException:
            Path(new.name).unlink()
            raise
