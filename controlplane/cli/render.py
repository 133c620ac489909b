"""How values look on stdout: columns, wide columns, names, versioned JSON and YAML. No colour, so NO_COLOR has nothing
to turn off.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from controlplane.cli.options import Output

R = TypeVar("R")

JSON_VERSION = "cli.kfleet.dev/v1"


@dataclass(frozen=True)
class Column(Generic[R]):
    """`wide` ones appear with -o wide only."""

    title: str
    cell: Callable[[R], object]
    wide: bool = False


@dataclass(frozen=True)
class View(Generic[R]):
    """How rows of one sort are shown. `kind` and the fields of `document` are what scripts rely on: JSON_VERSION
    changes when their shape does. `name` is what `-o name` prints, such as kafkacluster.kfleet.dev/orders.
    """

    kind: str
    columns: Sequence[Column[R]]
    name: Callable[[R], str]
    document: Callable[[R], dict[str, Any]]

    def text(self, rows: Iterable[R], *, wide: bool = False) -> str:
        shown = [column for column in self.columns if wide or not column.wide]
        return table([column.title for column in shown], [[column.cell(row) for column in shown] for row in rows])


def show(output: Output, view: View[R], rows: Sequence[R], *, none: str = "nothing found") -> None:
    """A list on stdout. An empty one is an empty table, and `none` is said on stderr."""
    if output in {Output.json, Output.yaml}:
        print(_document(output, f"{view.kind}List", {"items": [view.document(row) for row in rows]}))
    elif not rows:
        print(none, file=sys.stderr)
    elif output is Output.name:
        print("\n".join(view.name(row) for row in rows))
    else:
        print(view.text(rows, wide=output is Output.wide))


def show_one(output: Output, view: View[R], row: R, *, text: Callable[[], str] | None = None) -> None:
    """One value on stdout; `text` is what table and wide print, by default the row under its headers."""
    if output in {Output.json, Output.yaml}:
        print(_document(output, view.kind, view.document(row)))
    elif output is Output.name:
        print(view.name(row))
    else:
        print(text() if text is not None else view.text([row], wide=output is Output.wide))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as kubectl prints them: upper-case headers, three spaces between, no trailing blanks."""
    lines = [[header.upper() for header in headers], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def print_document(output: Output, kind: str, fields: dict[str, Any]) -> None:
    """A document that is neither a list of a view nor one of its rows, as JSON or YAML."""
    print(_document(output, kind, fields))


def document(kind: str, fields: dict[str, Any]) -> str:
    """JSON that scripts may rely on: `apiVersion` changes when its shape does."""
    return _document(Output.json, kind, fields)


def age(since: str | None, now: float) -> str:
    """How long ago an RFC 3339 time was, as kubectl writes it: 12s, 5m, 3h, 12d; "-" for none."""
    if not since:
        return "-"
    return duration(now - datetime.fromisoformat(since).timestamp())


def duration(seconds: float) -> str:
    """One unit is enough to read by, two where the second still matters: 95s, 12m, 3h20m, 9h, 12d."""
    whole = max(int(seconds), 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 120:
        return f"{minutes}m"
    if hours < 8 and minutes % 60:
        return f"{hours}h{minutes % 60}m"
    return f"{hours}h" if hours < 48 else f"{days}d"


def _document(output: Output, kind: str, fields: dict[str, Any]) -> str:
    whole = {"apiVersion": JSON_VERSION, "kind": kind} | fields
    if output is Output.json:
        return json.dumps(whole, indent=2)
    import yaml  # noqa: PLC0415 - 90 ms that no other format needs

    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).rstrip()
