"""`kfleet upgrade`: what to know before a cluster goes to another version. Nothing here changes anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.errors import ExitCode
from controlplane.cli.options import ClusterName, Context, Kubeconfig, Namespace, Output, OutputOption, Where

app = typer.Typer(
    name="upgrade",
    help="Upgrades: the way, the hazards, the point of no return.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def upgrade() -> None:
    """Upgrades: the way, the hazards, the point of no return."""


@app.command()
def advise(
    name: ClusterName,
    *,
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="Kafka version to go to, such as 4.3.1.")],
    snapshot: Annotated[
        Path | None,
        typer.Option(
            "--snapshot", help="Judge this file of `kfleet cluster snapshot`; ask nobody.", show_default=False
        ),
    ] = None,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Say how a cluster gets to a version, and what to know before.

    The path, feature levels before and after, hazards, clients that stop working, the point of no return. A snapshot
    holds no spec: hazards of settings are then listed as not decided. Exit code 3: something stands in the way.
    """
    from controlplane.cli.upgrade_advice import from_cluster, from_snapshot, show_advice  # noqa: PLC0415

    where = Where(namespace, kubeconfig, context)
    if snapshot is not None:
        advice = from_snapshot(snapshot, name, to)
    else:
        from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP

        advice = run(from_cluster(where, name, to))
    if not show_advice(output, advice):
        raise typer.Exit(ExitCode.UNHEALTHY)
