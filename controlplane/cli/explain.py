"""`kfleet explain`: what a name in a status, an Event, a plan or on the screen means, and what to do."""

from __future__ import annotations

from textwrap import shorten
from typing import Annotated, Any

import typer

from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.options import Output, OutputOption
from controlplane.cli.render import Column, View, show, show_one
from controlplane.domain.explain import CATALOGUE, Entry, find, nearest

SHOWN = 78
"""Characters of a meaning in the list of all names."""

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _names(incomplete: str) -> list[str]:
    return sorted(name for name in CATALOGUE if name.lower().startswith(incomplete.lower()))


def _document(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "sorts": [str(sort) for sort in entry.sorts],
        "means": entry.means,
        "does": entry.does,
        "remedy": entry.remedy,
        "see": list(entry.see),
    }


VIEW: View[Entry] = View(
    kind="Explanation",
    columns=(
        Column("NAME", lambda entry: entry.name),
        Column("IS A", lambda entry: ", ".join(entry.sorts)),
        Column("MEANS", lambda entry: shorten(_first_sentence(entry.means), SHOWN, placeholder="...")),
        Column("WHAT TO DO", lambda entry: _first_sentence(entry.remedy), wide=True),
    ),
    name=lambda entry: entry.name,
    document=_document,
)


@app.command()
def explain(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A condition, reason, check, step or Event, such as UnprotectedPartitions; without it: all of them.",
            autocompletion=_names,
            show_default=False,
        ),
    ] = None,
    *,
    output: OutputOption = Output.table,
    page: Annotated[
        bool, typer.Option("--page", help="All of them as a Markdown page (docs/explain.md).", show_default=False)
    ] = False,
) -> None:
    """Say what a name means that kfleet uses in a status, an Event or a plan, and what to do about it."""
    from controlplane.domain.explain.page import entry_text, markdown  # noqa: PLC0415 - completion does without

    if page:
        if name is not None:
            raise CliError("--page is about all names: leave NAME out", ExitCode.USAGE)
        print(markdown(), end="")
        return
    if name is None:
        show(output, VIEW, sorted(CATALOGUE.values(), key=lambda entry: entry.name))
        return
    entry = find(name)
    if entry is None:
        near = nearest(name)
        hint = f"did you mean {', '.join(near)}?" if near else "`kfleet explain` lists what there is"
        raise CliError(f"kfleet says nothing that is called {name!r}; {hint}", ExitCode.USAGE)
    show_one(output, VIEW, entry, text=lambda: entry_text(entry))


def _first_sentence(text: str) -> str:
    head, stop, _ = text.partition(". ")
    return head + "." if stop else text
