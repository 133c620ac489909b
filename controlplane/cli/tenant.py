"""`kfleet tenant`: who uses which brokers, and what a fresh assignment would do. Nothing is changed here."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from controlplane.cli.completion_names import cluster_names, tenant_names
from controlplane.cli.options import Context, Kubeconfig, Namespace, Output, OutputOption, Where

app = typer.Typer(
    name="tenant",
    help="Tenants: list, describe, repack.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_(
    *,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List tenants: what is theirs, and whether they have the shards that they declare."""
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.render import show  # noqa: PLC0415
    from controlplane.cli.tenant_read import many  # noqa: PLC0415
    from controlplane.cli.tenant_view import view  # noqa: PLC0415

    show(output, view(time.time()), run(many(Where(None, kubeconfig, context))), none="no tenants")


@app.command()
def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a KafkaTenant.", autocompletion=tenant_names)],
    *,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show a tenant at length: shards, overlap, quotas, limits, conditions, Events."""
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.render import show_one  # noqa: PLC0415
    from controlplane.cli.tenant_read import described  # noqa: PLC0415
    from controlplane.cli.tenant_view import DESCRIPTION, description_text  # noqa: PLC0415

    row = run(described(Where(None, kubeconfig, context), name))
    show_one(output, DESCRIPTION, row, text=lambda: description_text(row, time.time()))


@app.command()
def repack(
    cell: Annotated[
        str,
        typer.Argument(metavar="CELL", help="A KafkaCluster: NAME, or NAMESPACE/NAME.", autocompletion=cluster_names),
    ],
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show what a fresh assignment of a cell's tenants would move.

    It says whether that is worth it, and moves nothing. A tenant takes what is offered with the annotation
    kfleet.dev/shard; the lines to copy are printed.
    """
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.render import show_one  # noqa: PLC0415
    from controlplane.cli.tenant_repack import VIEW, offered, repack_text  # noqa: PLC0415

    row = run(offered(Where(namespace, kubeconfig, context), cell))
    show_one(output, VIEW, row, text=lambda: repack_text(row))
