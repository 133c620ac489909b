"""`kfleet rebalance`: moves of replicas, planned. Nothing here changes anything."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="rebalance",
    help="Rebalances: the fewest moves to a goal, for any cluster.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class PlanOutput(StrEnum):
    """As everywhere, and what `kafka-reassign-partitions --reassignment-json-file` takes."""

    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"
    name = "name"
    reassignment = "reassignment"


@app.callback()
def rebalance() -> None:
    """Rebalances: the fewest moves to a goal, for any cluster."""


@app.command()
def plan(
    *,
    assignment: Annotated[
        Path,
        typer.Option("--assignment", metavar="FILE", help="All partitions, in Kafka's reassignment JSON."),
    ],
    brokers: Annotated[
        Path,
        typer.Option(
            "--brokers", metavar="FILE", help="Brokers that may have replicas: id, rack, weight, capacity (JSON)."
        ),
    ],
    goal: Annotated[
        str,
        typer.Option(
            "--goal",
            help="balance, bytes, leaders, racks, drain:1,2, move-to:4,5,6 (with --topics), replicas:3, move-away:1.",
        ),
    ],
    sizes: Annotated[
        Path | None,
        typer.Option("--sizes", metavar="FILE", help="Bytes of a replica of each partition.", show_default=False),
    ] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option(
            "--topics", metavar="PATTERN", help="Topics of move-to and replicas, such as 'checkout.*'; repeatable."
        ),
    ] = None,
    allowed: Annotated[
        Path | None,
        typer.Option(
            "--allowed", metavar="FILE", help="Brokers that topics are kept on: pattern to ids.", show_default=False
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="How far from its share of bytes a broker may be.", min=0.0, max=1.0)
    ] = 0.1,
    min_isr: Annotated[
        int,
        typer.Option(
            "--min-isr", help="For move-away: RF up to this cannot spare a replica. For replicas: no fewer.", min=1
        ),
    ] = 2,
    exact: Annotated[
        bool, typer.Option("--exact", help="Fail unless no other plan moves less.", show_default=False)
    ] = False,
    output: Annotated[PlanOutput, typer.Option("-o", "--output", help="Format on stdout.")] = PlanOutput.table,
) -> None:
    """Plan a rebalance from files; ask nobody, change nothing.

    It moves as little as can be, says what no plan can do without (the bound) and how far it is from that (the gap).
    What cannot be met ends with exit code 1 and how much is missing; no part of it is proposed.
    """
    from controlplane.cli.rebalance_input import Given, read_given  # noqa: PLC0415 - --help does without
    from controlplane.cli.rebalance_plan import show_plan  # noqa: PLC0415

    given = Given(assignment, brokers, goal, sizes, tuple(topics or ()), allowed, tolerance, min_isr)
    show_plan(read_given(given), output, exact=exact)
