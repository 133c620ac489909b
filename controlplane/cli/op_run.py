"""What the commands of `kfleet op` do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controlplane.api import names
from controlplane.api.operation import OperationStep
from controlplane.cli.ask import confirm
from controlplane.cli.connect import Connection, connect, run
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import CLUSTERS
from controlplane.cli.op_find import (
    Carried,
    again,
    all_carried,
    annotation,
    carried,
    carriers,
    find_operation,
    is_cancelled,
    is_paused,
    resource_of,
)
from controlplane.cli.op_view import VIEW, in_full, lock_words, worst_first
from controlplane.cli.op_watch import begun_again, exit_code, watch
from controlplane.cli.operator_lease import operator_seen
from controlplane.cli.options import Output, Where
from controlplane.cli.recorded import record
from controlplane.cli.render import show, show_one
from controlplane.domain.health.checks import operator_check
from controlplane.domain.operation.render import summary
from controlplane.ports import ConflictError, ForbiddenError, NotFoundError
from controlplane.sandbox.progress import Progress
from controlplane.services.lease import LEASES
from controlplane.services.operation.lock import lease_name
from controlplane.settings import OperatorSettings

ATTEMPTS = 10
"""A status that moves while we write beside it makes a conflict; the operation is looked at again each time."""


def list_operations(where: Where, output: Output, *, history: bool) -> None:
    async def ask() -> tuple[list[Carried], str | None]:
        async with connect(where) as connection:
            return all_carried(await carriers(connection, connection.scope)), connection.scope

    found, scope = run(ask())
    if history:
        from controlplane.cli import op_history  # noqa: PLC0415 - SQL: only with --all

        found += op_history.history(found, scope)
    where_words = f"in namespace {scope}" if scope is not None else "anywhere"
    show(output, VIEW, worst_first(found), none=f"no operations {where_words}")


def show_operation(where: Where, wanted: str, output: Output, *, every: bool) -> None:
    async def ask() -> tuple[Carried, Sequence[OperationStep], str]:
        async with connect(where) as connection:
            one = await find_operation(connection, wanted, anywhere=where.namespace is None)
            return one, await _steps(connection, one), await _lock(connection, one)

    one, steps, lock = run(ask())
    show_one(output, VIEW, one, text=lambda: in_full(one, steps, lock, every=every))


def watch_operation(where: Where, wanted: str, output: Output, *, timeout: float | None, local: bool) -> ExitCode:
    async def ask() -> Carried:
        async with connect(where) as connection:
            one = await find_operation(connection, wanted, anywhere=where.namespace is None)
            return await _to_the_end(connection, one, seconds=timeout, local=local)

    one = run(ask())
    show_one(output, VIEW, one)
    return exit_code(one)


def cancel_operation(where: Where, wanted: str, *, yes: bool, wait: bool, timeout: float | None) -> ExitCode:
    async def act() -> ExitCode:
        async with connect(where) as connection:
            one = await find_operation(connection, wanted, anywhere=where.namespace is None)
            if not one.under_way:
                raise CliError(f"{one.operation.id} has ended already ({one.operation.outcome})")
            if is_cancelled(one):
                _say(f"{one.operation.id} was cancelled already; what was begun is finished or undone")
            else:
                _say(in_full(one, await _steps(connection, one), "", every=False).partition("\n\nnext\n")[0])
                _say(_what_cancelling_does(one))
                confirm(f"cancel {one.operation.id} of {one.subject}", yes)
                await _record(connection, one, "op cancel", urgent=True)
                await _annotate(connection, one, lambda now: _cancelling(now, one.operation.id))
                _say(f"{one.operation.id} is cancelled{_how_it_is_taken_back(one)}")
            if not wait:
                return ExitCode.OK
            ended = await watch(connection, one, seconds=timeout, progress=Progress())
            if ended.operation.outcome == "Cancelled":
                return ExitCode.OK
            return ExitCode.UNHEALTHY if ended.under_way else ExitCode.FAILED

    return run(act())


def resume_operation(
    where: Where, wanted: str, *, yes: bool, wait: bool, timeout: float | None, local: bool
) -> ExitCode:
    async def act() -> ExitCode:
        async with connect(where) as connection:
            one = await find_operation(connection, wanted, anywhere=where.namespace is None)
            if not is_cancelled(one) and not is_paused(one):
                if not one.under_way:
                    raise CliError(f"{one.operation.id} has ended ({one.operation.outcome}) and was not cancelled")
                _say(f"{one.operation.id} is neither cancelled nor paused")
            else:
                _say(in_full(one, await _steps(connection, one), "", every=False).partition("\n\nnext\n")[0])
                _say(_what_resuming_does(one))
                confirm(f"resume {one.operation.id} of {one.subject}", yes)
                await _record(connection, one, "op resume", urgent=False)
                await _annotate(connection, one, lambda now: _resuming(now, one.operation.id))
                _say(f"{one.operation.id} may go on")
            if not wait and not local:
                return ExitCode.OK
            if one.under_way:
                return exit_code(await _to_the_end(connection, one, seconds=timeout, local=local))
            return await _again_to_the_end(connection, one, seconds=timeout, local=local)

    return run(act())


async def _to_the_end(connection: Connection, one: Carried, *, seconds: float | None, local: bool) -> Carried:
    if local:
        _of_a_cluster(one)
    if not local or not one.under_way:
        if one.under_way:
            await _say_if_nobody_works(connection)
        return await watch(connection, one, seconds=seconds, progress=Progress())
    from controlplane.cli.local import watch_local  # noqa: PLC0415 - Kafka clients: only with --local

    return await watch_local(connection, one, seconds=seconds, progress=Progress())


def _of_a_cluster(one: Carried) -> None:
    """Raises CliError: one cluster's work is done here, and nothing beside it."""
    if one.obj["kind"] != CLUSTERS.kind:
        raise CliError(
            f"--local does the work of a {CLUSTERS.kind} only, and this is a {one.obj['kind']}", ExitCode.USAGE
        )


async def _say_if_nobody_works(connection: Connection) -> None:
    """Without an operator nothing moves, and a watch would say nothing for ever."""
    seen = await operator_seen(connection.kube, OperatorSettings(), time.time())
    if seen is not None and not operator_check(seen).ok:
        _say(f"no operator seems to be at work ({operator_check(seen).evidence}); --local does its work from here")


async def _again_to_the_end(connection: Connection, one: Carried, *, seconds: float | None, local: bool) -> ExitCode:
    """After an operation that had ended was resumed: what its object begins now, to its end."""
    if local:
        _of_a_cluster(one)
        from controlplane.cli.local import run_local  # noqa: PLC0415 - as above

        await run_local(connection, one.namespace, one.name, operation=None, seconds=seconds, say=Progress().say)
        last = next(carried(await connection.kube.get(resource_of(one), one.name, one.namespace)))
        _say(summary(last.operation, width=10_000))
        return exit_code(last)
    begun = await begun_again(connection, one, seconds=seconds)
    if begun is None:
        _say(f"{one.subject} is as declared: nothing was left to do")
        return ExitCode.OK
    return exit_code(await _to_the_end(connection, begun, seconds=seconds, local=False))


async def _steps(connection: Connection, one: Carried) -> Sequence[OperationStep]:
    """Those of a plan that lies in ConfigMaps."""
    if one.operation.plan_ref is None:
        return ()
    from controlplane.services.operation.plans import PlanStore  # noqa: PLC0415 - few plans are that large

    return await PlanStore(connection.kube).load(one.obj, one.operation)


async def _lock(connection: Connection, one: Carried) -> str:
    try:
        cluster = one.cell.partition("/")[2]
        return lock_words(await connection.kube.get(LEASES, lease_name(cluster), one.namespace))
    except NotFoundError:
        return lock_words(None)
    except ForbiddenError:
        return "you may not read its Lease"


async def _record(connection: Connection, one: Carried, action: str, *, urgent: bool) -> None:
    """Before it is done, where a ledger is kept. Stopping something must work without one, too (`urgent`)."""
    detail = {"planHash": one.operation.plan_hash, "state": one.state}
    cell = one.cell
    user = await connection.user()
    await record(user, action, one.subject, cell=cell, operation=one.operation.id, detail=detail, urgent=urgent)


def _how_it_is_taken_back(one: Carried) -> str:
    """A frozen one that has turned back does not turn again."""
    return f"; `kfleet op resume {one.operation.id}` takes that back" if one.operation.mode == "Replanned" else ""


def _what_cancelling_does(one: Carried) -> str:
    operation = one.operation
    if operation.intent is not None and operation.step is not None:
        target = f" {operation.step.target}" if operation.step.target else ""
        now = f"Step {operation.step.id} ({operation.step.verb}{target}) was begun: it is finished or undone first."
    else:
        now = "Nothing was begun that is not over: it ends at once."
    after = (
        "Steps that were done are undone, the last one first, where they can be."
        if operation.mode == "Frozen"
        else "What was changed so far stays; the rest stays as it is until it is resumed or the spec changes."
    )
    return f"{now} {after}"


def _what_resuming_does(one: Carried) -> str:
    taken = [word for word, there in (("cancelled", is_cancelled(one)), ("paused", is_paused(one))) if there]
    again_ = "It goes on" if one.under_way else "What is left of it is planned anew, as another operation,"
    return f"It is no longer {' or '.join(taken)}. {again_} as soon as nothing else stands in the way."


Change = Mapping[str, str | None]


def _cancelling(now: Carried | None, identity: str) -> Change | None:
    if now is None or not now.under_way:
        raise CliError(f"{identity} has ended meanwhile; nothing was done")
    return None if is_cancelled(now) else {names.CANCEL: identity}


def _resuming(now: Carried | None, identity: str) -> Change | None:
    if now is None:
        raise CliError(f"{identity} is gone meanwhile; nothing was done")
    change: dict[str, str | None] = {}
    if is_cancelled(now):
        change[names.CANCEL] = None
    if annotation(now.obj, names.PAUSED):
        change[names.PAUSED] = None
    return change or None


async def _annotate(connection: Connection, one: Carried, change_of: Callable[[Carried | None], Change | None]) -> None:
    """Change annotations of the object exactly as it was judged: its resourceVersion is the precondition."""
    now: Carried | None = one
    for _ in range(ATTEMPTS):
        change = change_of(now)
        if change is None or now is None:
            return
        meta: dict[str, Any] = {
            "uid": now.obj["metadata"]["uid"],
            "resourceVersion": now.obj["metadata"]["resourceVersion"],
            "annotations": dict(change),
        }
        try:
            await connection.kube.patch(resource_of(one), now.name, now.namespace, {"metadata": meta})
        except ConflictError:
            now = await again(connection, one)
        else:
            return
    raise CliError(f"{one.subject} changes too fast to be annotated; try again")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
