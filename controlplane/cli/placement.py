"""`kfleet placement`: which brokers tenants would get, and what that is worth. Asks nobody and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.options import Output, OutputOption

app = typer.Typer(
    name="placement",
    help="Shuffle shards on paper: who gets which brokers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def placement() -> None:
    """Shuffle shards on paper: who gets which brokers."""


@app.command()
def simulate(
    *,
    tenants: Annotated[int, typer.Option("--tenants", metavar="N", help="How many tenants there are in the end.")],
    brokers: Annotated[
        str | None,
        typer.Option(
            "--brokers",
            metavar="N|FILE",
            help="So many brokers without zones, or a JSON file of them: id, rack, weight.",
            show_default=False,
        ),
    ] = None,
    zones: Annotated[
        int | None, typer.Option("--zones", metavar="N", help="So many zones (racks).", show_default=False)
    ] = None,
    brokers_per_zone: Annotated[
        str | None,
        typer.Option(
            "--brokers-per-zone",
            metavar="N[,N...]",
            help="Brokers in every zone, or in each of them.",
            show_default=False,
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option("--shard-size", metavar="K", help="Brokers a tenant.")] = 3,
    max_overlap: Annotated[
        int, typer.Option("--max-overlap", metavar="T", help="Brokers that any two tenants may share.")
    ] = 1,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap", help="More than that if they do not fit: as little as can be.", show_default=False
        ),
    ] = False,
    history: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Go on from this output of an earlier -o json: who has a shard keeps it.",
            show_default=False,
        ),
    ] = None,
    repack: Annotated[
        bool,
        typer.Option("--repack", help="With --from: also what a fresh assignment would move.", show_default=False),
    ] = False,
    bad: Annotated[
        int, typer.Option("--bad", metavar="M", help="Blast radius: so many tenants misbehave at once.")
    ] = 1,
    output: OutputOption = Output.table,
) -> None:
    """Assign shards to tenants on paper, and judge them.

    Who gets which brokers, how far that is from what is proven possible, and what misbehaving tenants take along.
    Exit code 1: the tenants do not fit, and the message says how many would, or a file is wrong; 2: the numbers mean
    nothing.
    """
    from controlplane.cli.placement_render import show_simulation  # noqa: PLC0415 - --help does without
    from controlplane.cli.placement_simulate import Question, fleet_of, simulated  # noqa: PLC0415

    fleet = fleet_of(brokers, zones, brokers_per_zone)
    question = Question(fleet, tenants, shard_size, max_overlap, bad, allow_overlap=allow_overlap)
    show_simulation(output, simulated(question, history, repack=repack))
