"""`kfleet pending`: plans that wait for somebody's approval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from controlplane.cli.options import AllNamespaces, Context, Kubeconfig, Namespace, Output, OutputOption, Where

if TYPE_CHECKING:
    from controlplane.cli.op_find import Carried
    from controlplane.cli.render import View

app = typer.Typer(name="pending", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def pending(
    namespace: Namespace = None,
    *,
    all_namespaces: AllNamespaces = False,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List the plans that wait for an approval, the one that waits longest first."""
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.render import show  # noqa: PLC0415

    waiting, user = run(_look(Where(namespace, kubeconfig, context, all_namespaces)))
    show(output, pending_view(user), waiting, none="no plan waits for an approval")


async def _look(where: Where) -> tuple[list[Carried], str]:
    """(what waits, who is asking)."""
    from controlplane.cli.connect import connect  # noqa: PLC0415
    from controlplane.cli.op_find import all_carried, carriers  # noqa: PLC0415
    from controlplane.cli.waiting import awaits_approval  # noqa: PLC0415

    async with connect(where) as connection:
        found = all_carried(await carriers(connection, connection.scope))
        waiting = [one for one in found if awaits_approval(one)]
        return sorted(waiting, key=lambda one: one.operation.started_at), await connection.user()


def pending_view(user: str) -> View[Carried]:
    """`user` is who is looking: their own requests are not theirs to approve, and marked."""
    import time  # noqa: PLC0415

    from controlplane.cli.render import Column, View, age  # noqa: PLC0415
    from controlplane.cli.waiting import requester, why  # noqa: PLC0415

    def asked_by(one: Carried) -> str:
        who = requester(one)
        return f"{who} (you)" if who == user else who or "-"

    def document(one: Carried) -> dict[str, Any]:
        return {
            "id": one.operation.id,
            "object": {
                "kind": one.obj["kind"],
                "namespace": one.namespace,
                "name": one.name,
                "uid": one.obj["metadata"]["uid"],
            },
            "goal": one.operation.goal,
            "planHash": one.operation.plan_hash,
            "requestedBy": requester(one),
            "own": requester(one) == user,
            "since": one.operation.started_at,
            "reason": why(one).name,
            "message": why(one).evidence,
        }

    return View(
        kind="PendingApproval",
        columns=(
            Column("NAMESPACE", lambda one: one.namespace),
            Column("OBJECT", lambda one: f"{one.obj['kind'].lower()}/{one.name}"),
            Column("ID", lambda one: one.operation.id),
            Column("REQUESTED-BY", asked_by),
            Column("WAITING", lambda one: age(one.operation.started_at, time.time())),
            Column("GOAL", lambda one: one.operation.goal),
            Column("PLAN", lambda one: one.operation.plan_hash, wide=True),
            Column("WHY", lambda one: why(one).evidence, wide=True),
        ),
        name=lambda one: one.operation.id,
        document=document,
    )
