"""`kfleet status`: the fleet on one screen, worst first, with what to type next."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from controlplane.cli.errors import ExitCode
from controlplane.cli.options import AllNamespaces, Context, Kubeconfig, Namespace, Output, OutputOption, Where

if TYPE_CHECKING:
    from controlplane.cli.render import View
    from controlplane.domain.check import Check
    from controlplane.domain.health.summary import ClusterSummary

app = typer.Typer(name="status", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

HINTS = 5
NARROWEST_WHY = 30


@app.command()
def status(
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show every cluster, worst first.

    Of every namespace, unless one is named. Exit code 3: a cluster is not healthy, or no operator is at work.
    """
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP

    del all_namespaces  # the default; `-A` is what hands type
    where = Where(namespace, kubeconfig, context, all_namespaces=namespace is None)
    operator, fleet = run(_look(where))
    view = fleet_view(time.time(), width=_room(output, fleet))
    _print(output, view, fleet, operator)
    if (operator is not None and not operator.ok) or not all(row.healthy for row in fleet):
        raise typer.Exit(ExitCode.UNHEALTHY)


async def _look(where: Where) -> tuple[Check | None, list[ClusterSummary]]:
    """(the operator's check, None if we may not look; the clusters, worst first)."""
    from controlplane.cli.connect import connect  # noqa: PLC0415
    from controlplane.cli.lookup import CLUSTERS, objects  # noqa: PLC0415
    from controlplane.cli.operator_lease import operator_seen  # noqa: PLC0415
    from controlplane.domain.health.checks import operator_check  # noqa: PLC0415
    from controlplane.domain.health.summary import summarise  # noqa: PLC0415
    from controlplane.settings import OperatorSettings  # noqa: PLC0415

    async with connect(where) as connection:
        now = time.time()
        fleet = [summarise(obj, now) for obj in await objects(connection, CLUSTERS, connection.scope)]
        seen = await operator_seen(connection.kube, OperatorSettings(), now)
    fleet.sort(key=lambda row: (row.state.severity, row.since or "", row.key))
    return operator_check(seen) if seen else None, fleet


def fleet_view(now: float, *, width: int | None) -> View[ClusterSummary]:
    """`width`: characters for the reason in a table; None for all of it."""
    from controlplane.cli.cluster_view import cluster_document, cluster_id, nodes_cell, version_cell  # noqa: PLC0415
    from controlplane.cli.next_command import next_command  # noqa: PLC0415
    from controlplane.cli.render import Column, View, age  # noqa: PLC0415
    from controlplane.domain.health.summary import ClusterSummary  # noqa: PLC0415

    def why(row: ClusterSummary) -> str:
        return row.why if width is None or len(row.why) <= width else row.why[: width - 3] + "..."

    def document(row: ClusterSummary) -> dict[str, Any]:
        return cluster_document(row) | {"next": next_command(row) or None}

    columns = (
        Column[ClusterSummary]("cluster", lambda row: row.key),
        Column[ClusterSummary]("state", lambda row: row.state.value),
        Column[ClusterSummary]("nodes", nodes_cell),
        Column[ClusterSummary]("version", version_cell),
        Column[ClusterSummary]("since", lambda row: age(row.since, now)),
        Column[ClusterSummary]("operation", lambda row: row.operation.id if row.operation else "-", wide=True),
        Column[ClusterSummary]("next", lambda row: next_command(row) or "-", wide=True),
        Column[ClusterSummary]("why", lambda row: why(row) or "-"),
    )
    return View("Cluster", columns, cluster_id, document)


def _room(output: Output, fleet: Sequence[ClusterSummary]) -> int | None:
    """Characters that are left for the last column on a terminal; a pipe gets everything."""
    if output is not Output.table or not sys.stdout.isatty():
        return None
    bare = fleet_view(0.0, width=0)
    taken = len(bare.text(fleet).splitlines()[0]) - len("WHY")
    return max(shutil.get_terminal_size().columns - taken, NARROWEST_WHY)


def _print(output: Output, view: View[ClusterSummary], fleet: Sequence[ClusterSummary], operator: Check | None) -> None:
    from controlplane.cli.next_command import next_command  # noqa: PLC0415
    from controlplane.cli.render import print_document, show  # noqa: PLC0415

    if output in {Output.json, Output.yaml}:
        fields = {
            "healthy": sum(row.healthy for row in fleet),
            "unhealthy": sum(not row.healthy for row in fleet),
            "operator": None if operator is None else {"alive": operator.ok, "evidence": operator.evidence},
            "clusters": [view.document(row) for row in fleet],
        }
        print_document(output, "FleetStatus", fields)
        return
    show(output, view, fleet, none="no clusters; declare one with kubectl apply -f examples/quickstart")
    if operator is not None and not operator.ok:
        print(f"operator: {operator.evidence} {operator.remedy}", file=sys.stderr)
    if output is Output.table and fleet:
        counted = Counter(row.state.value for row in fleet)
        states = ", ".join(f"{number} {state}" for state, number in counted.items())
        print(f"{len(fleet)} cluster{'s' if len(fleet) > 1 else ''}: {states}", file=sys.stderr)
        for command in [command for row in fleet if (command := next_command(row))][:HINTS]:
            print(f"next: {command}", file=sys.stderr)
