"""`kfleet cluster reconcile`: ask the operator to look now, and see that it has."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime

from controlplane.api import names
from controlplane.cli.ask import confirm
from controlplane.cli.connect import connect
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import CLUSTERS, find
from controlplane.cli.operator_lease import operator_seen
from controlplane.cli.options import Where
from controlplane.cli.recorded import record
from controlplane.domain.health.checks import operator_check
from controlplane.domain.health.summary import State, summarise
from controlplane.ports import Object
from controlplane.settings import OperatorSettings

WAIT_SECONDS = 60.0


async def ask_operator(where: Where, name: str, seconds: float | None) -> None:
    """Set the annotation and wait until the status answers it. Raises CliError when it does not in time."""
    limit = WAIT_SECONDS if seconds is None else seconds
    stamp = datetime.now(UTC).isoformat()
    change = {"metadata": {"annotations": {names.RECONCILE_AT: stamp}}}
    async with connect(where) as connection:
        await find(connection, CLUSTERS, name)
        cell = f"{connection.namespace}/{name}"
        await record(await connection.user(), "cluster reconcile", f"KafkaCluster {cell}", cell=cell)
        await connection.kube.patch(CLUSTERS, name, connection.namespace, change)
        try:
            async with asyncio.timeout(limit):
                fields = f"metadata.name={name}"
                async for event in connection.kube.watch(CLUSTERS, connection.namespace, fields=fields):
                    if event.type == "DELETED":
                        raise CliError(f"KafkaCluster {name} was deleted")
                    if event.type != "SYNCED" and _handled(event.object, stamp):
                        _say(event.object)
                        return
        except TimeoutError:
            now = time.time()
            seen = await operator_seen(connection.kube, OperatorSettings(), now)
            check = operator_check(seen) if seen else None
            why = f"{check.evidence} " if check and not check.ok else ""
            raise CliError(
                f"the operator has not looked at {name} within {limit:g} s. {why}"
                "The request stays; --local does the operator's work here when it is down"
            ) from None


async def locally(where: Where, name: str, seconds: float | None, *, yes: bool) -> None:
    """Do the operator's work for this cluster in this process. Raises CliError while an operator is alive."""
    from controlplane.cli.local import run_local  # noqa: PLC0415 - the operator's parts

    async with connect(where) as connection:
        await find(connection, CLUSTERS, name)
        cell = f"{connection.namespace}/{name}"
        confirm(f"do the operator's work for {cell} here", yes)
        # Without the operator the cell is in need already: a ledger that is away as well must not stand in the way.
        await record(
            await connection.user(), "cluster reconcile --local", f"KafkaCluster {cell}", cell=cell, urgent=True
        )
        await run_local(connection, connection.namespace, name, operation=None, seconds=seconds, say=_note)
        _say(await find(connection, CLUSTERS, name))


def _handled(obj: Object, stamp: str) -> bool:
    return (obj.get("status") or {}).get("lastHandledReconcileAt") == stamp


def _note(text: str) -> None:
    print(f"kfleet: {text}", file=sys.stderr, flush=True)


def _say(obj: Object) -> None:
    summary = summarise(obj, time.time())
    state = summary.state.value if summary.state is State.HEALTHY else f"{summary.state.value}: {summary.why}"
    _note(f"{summary.key} has been looked at: {state}")
