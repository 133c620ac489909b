"""`kfleet cluster`: what a cluster is, how it is, what comes next. Nothing here changes Kafka or pods."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.completion_names import cluster_names
from controlplane.cli.errors import ExitCode
from controlplane.cli.local_option import Local, Timeout
from controlplane.cli.options import (
    AllNamespaces,
    ClusterName,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    OutputOption,
    Where,
    Yes,
)

app = typer.Typer(
    name="cluster",
    help="Clusters: what they are, how they are, what comes next.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
OptionalName = Annotated[
    str, typer.Argument(metavar="[NAME]", help="One cluster; all of them by default.", autocompletion=cluster_names)
]


@app.command()
def get(
    name: OptionalName = "",
    *,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List clusters, or show one."""
    if name and all_namespaces:
        raise typer.BadParameter("one cluster is in one namespace: say -n NAMESPACE", param_hint="-A")
    from controlplane.cli.cluster_read import many, one  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.cluster_view import cluster_view  # noqa: PLC0415
    from controlplane.cli.connect import run  # noqa: PLC0415
    from controlplane.cli.render import show, show_one  # noqa: PLC0415

    where = Where(namespace, kubeconfig, context, all_namespaces=all_namespaces)
    view = cluster_view(time.time(), namespaces=all_namespaces)
    if name:
        show_one(output, view, run(one(where, name)))
        return
    rows, place = run(many(where))
    show(output, view, rows, none=f"no clusters in {place}")


@app.command()
def describe(
    name: ClusterName,
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show a cluster at length: nodes, conditions, Events."""
    from controlplane.cli.cluster_read import described  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.cluster_view import DESCRIPTION, description_text  # noqa: PLC0415
    from controlplane.cli.connect import run  # noqa: PLC0415
    from controlplane.cli.render import show_one  # noqa: PLC0415

    row = run(described(Where(namespace, kubeconfig, context), name))
    show_one(output, DESCRIPTION, row, text=lambda: description_text(row, time.time()))


@app.command()
def health(
    name: ClusterName,
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on; say what changes.")] = False,
    exit_when_healthy: Annotated[
        bool, typer.Option("--exit-when-healthy", help="Watch until every check passes.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds to watch; for ever by default.")
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Check a cluster: is it well, and what to do if not.

    Brokers are asked too where they can be reached from here. A roll under way is no illness. Exit code 3: a check
    does not pass.
    """
    from controlplane.cli.cluster_health import Watch, check_cluster  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.connect import run  # noqa: PLC0415

    until = Watch(on=watch or exit_when_healthy, exit_when_healthy=exit_when_healthy, seconds=timeout)
    if not run(check_cluster(Where(namespace, kubeconfig, context), name, output, until)):
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def snapshot(
    name: ClusterName,
    *,
    namespace: Namespace = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Write it there instead of to stdout.")] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Write down what a planner would see of a cluster, as JSON.

    `kafka` and `quorum` are null when no broker answers from here.
    """
    from controlplane.cli.cluster_snapshot import take  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.connect import run  # noqa: PLC0415

    run(take(Where(namespace, kubeconfig, context), name, file))


@app.command()
def plan(
    name: ClusterName,
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="KEY=VALUE",
            help="Plan as if it were so: version, maxUnavailable, unprotectedPartitions.",
        ),
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", help="Plan for that file of `cluster snapshot`, asking nobody.")
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show what the operator would do next, without doing it.

    Exit code 3: the cluster differs from its spec, or would. A snapshot has no spec: every node is restarted, or with
    --what-if version=V those that run another.
    """
    from controlplane.cli.plan_options import what_if_of  # noqa: PLC0415 - --help does without pydantic

    wanted = what_if_of(what_if or [])
    if snapshot is not None:
        from controlplane.cli.cluster_plan import show_snapshot_plan  # noqa: PLC0415

        if show_snapshot_plan(snapshot, name, wanted, output):
            raise typer.Exit(ExitCode.UNHEALTHY)
        return
    from controlplane.cli.cluster_plan import show_plan  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.connect import run  # noqa: PLC0415

    if run(show_plan(Where(namespace, kubeconfig, context), name, output, wanted)):
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def reconcile(
    name: ClusterName,
    *,
    namespace: Namespace = None,
    timeout: Timeout = None,
    local: Local = False,
    yes: Yes = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Have the operator look at a cluster, and wait until it has.

    It waits 60 s by default. What is declared stays as it is, so this asks only with --local.
    """
    from controlplane.cli.cluster_reconcile import ask_operator, locally  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.connect import run  # noqa: PLC0415

    where = Where(namespace, kubeconfig, context)
    run(locally(where, name, timeout, yes=yes) if local else ask_operator(where, name, timeout))


@app.command("replace-node")
def replace_node(
    name: ClusterName,
    node: Annotated[int, typer.Argument(metavar="ID", min=0, max=999, help="Node id.")],
    *,
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="NAME", help="The cluster's name, instead of being asked for it.")
    ] = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Bring a node whose disk is lost back on an empty one.

    Refused where it would lose data: every partition of a broker must have another in-sync leader, and a controller's
    quorum a majority without it. Asks for the cluster's name.
    """
    from controlplane.cli.cluster_replace import replace_node as ask  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.connect import run  # noqa: PLC0415

    run(ask(Where(namespace, kubeconfig, context), name, node, confirm))
