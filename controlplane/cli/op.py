"""`kfleet op`: operations, where they stand, what they wait for, and a word with them."""

from __future__ import annotations

from typing import Annotated

import typer

from controlplane.cli.completion_names import operation_ids
from controlplane.cli.local_option import Local, Timeout
from controlplane.cli.options import (
    AllNamespaces,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    OutputOption,
    Where,
    Yes,
)

app = typer.Typer(
    name="op",
    help="Operations: list, show, watch, cancel, resume.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

OperationId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Id of an operation, or the name of its object: the one under way, else the last.",
        autocompletion=operation_ids,
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Until it has ended.", show_default=False)]


@app.command("list")
def list_(
    *,
    history: Annotated[
        bool,
        typer.Option("--all", help="And those that only the ledger knows (KFLEET_LEDGER_URL).", show_default=False),
    ] = False,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Those under way and the last of every object.

    What needs somebody comes first, then what moves, then what has ended.
    """
    from controlplane.cli import op_run  # noqa: PLC0415 - HTTP and models: --help does without

    op_run.list_operations(Where(namespace, kubeconfig, context, all_namespaces), output, history=history)


@app.command()
def show(
    operation: OperationId,
    *,
    every: Annotated[bool, typer.Option("--every", help="Every step of a long plan.", show_default=False)] = False,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Its plan, its progress, what it waits for.

    With its journal and who has the cell.
    """
    from controlplane.cli import op_run  # noqa: PLC0415 - as above

    op_run.show_operation(Where(namespace, kubeconfig, context), operation, output, every=every)


@app.command()
def watch(
    operation: OperationId,
    *,
    timeout: Timeout = None,
    local: Local = False,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Follow it to its end, on stderr.

    Exit 0: it succeeded; 4: it was denied; 1: it ended otherwise. When --timeout is over first: 5 if it waits for
    approval, else 3.
    """
    from controlplane.cli import op_run  # noqa: PLC0415 - as above

    where = Where(namespace, kubeconfig, context)
    raise typer.Exit(op_run.watch_operation(where, operation, output, timeout=timeout, local=local))


@app.command()
def cancel(
    operation: OperationId,
    *,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Begin no further step of it.

    What was begun is finished or undone. `kfleet op resume` takes that back.
    """
    from controlplane.cli import op_run  # noqa: PLC0415 - as above

    where = Where(namespace, kubeconfig, context)
    raise typer.Exit(op_run.cancel_operation(where, operation, yes=yes, wait=wait, timeout=timeout))


@app.command()
def resume(
    operation: OperationId,
    *,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    local: Local = False,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Take a cancellation or a pause back.

    With --wait it is followed to its end, with the exit codes of `kfleet op watch`.
    """
    from controlplane.cli import op_run  # noqa: PLC0415 - as above

    where = Where(namespace, kubeconfig, context)
    raise typer.Exit(op_run.resume_operation(where, operation, yes=yes, wait=wait, timeout=timeout, local=local))
