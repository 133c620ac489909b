"""`--local`: the operator's engine in this process, under the operator's Lease, for one cluster, when it is down.

Everything that keeps two operators from harming each other keeps this one and a real one apart: the Lease is taken only
after its holder has been silent for its whole duration, every mutation asks first whether it is still surely ours, and
when it is not the process ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NoReturn

from controlplane import bootstrap
from controlplane.api.access import NodeSecurity
from controlplane.cli.connect import Connection
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import CLUSTERS
from controlplane.cli.op_find import Carried, carried
from controlplane.cli.op_watch import watch
from controlplane.cli.operator_settings import operator_settings
from controlplane.ports import ForbiddenError, KubeApi, KubeError, NotFoundError, Object
from controlplane.sandbox.progress import Progress
from controlplane.services.access import secrets
from controlplane.services.cluster.plan import ClusterPlan
from controlplane.services.keys import cluster_key
from controlplane.services.lease import LEASES, LeaseGuard, LeaseHolder, LeaseLostError
from controlplane.services.queue import Key, WorkQueue
from controlplane.settings import OperatorSettings

POLL_SECONDS = 0.5
Say = Callable[[str], None]


async def watch_local(connection: Connection, one: Carried, *, seconds: float | None, progress: Progress) -> Carried:
    """Carry the operation to its end here, and tell of it as `kfleet op watch` does.

    Raises CliError while an operator is alive, and when this process would do something else than `one`.
    """
    async with _operator(connection, one.namespace, one.name, one.operation.id, progress.say):
        return await watch(connection, one, seconds=seconds, progress=progress)


async def run_local(
    connection: Connection,
    namespace: str,
    cluster: str,
    *,
    operation: str | None,
    seconds: float | None,
    say: Say,
) -> None:
    """Do the operator's work for this cluster until `operation` has ended; with None until it has been looked at as it
    is declared now and no operation is under way.

    Raises CliError while an operator is alive, when this process would do something else than the operator, and when
    the time is up.
    """
    async with _operator(connection, namespace, cluster, operation, say) as passed:
        try:
            async with asyncio.timeout(seconds):
                await passed.wait()
                events = connection.kube.watch(CLUSTERS, namespace, fields=f"metadata.name={cluster}")
                async for event in events:
                    if event.type == "DELETED" or (event.type != "SYNCED" and _is_over(event.object, operation)):
                        return
        except TimeoutError:
            raise CliError(f"not over within {seconds:g} s", ExitCode.UNHEALTHY) from None


def _is_over(obj: Object, operation: str | None) -> bool:
    there = list(carried(obj))
    if operation is not None:
        return not any(one.under_way and one.operation.id == operation for one in there)
    looked_at = (obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"]
    return looked_at and not any(one.under_way for one in there)


@contextlib.asynccontextmanager
async def _operator(
    connection: Connection, namespace: str, cluster: str, operation: str | None, say: Say
) -> AsyncIterator[asyncio.Event]:
    """An operator for one cluster while the body runs; the event is set once its status says what this one found."""
    obj = await _cluster(connection, namespace, cluster)
    await refuse_without_secrets(connection.kube, obj)
    identity = f"{await connection.user()}@{socket.gethostname()}-{os.getpid()}"
    settings = await operator_settings(
        connection, namespace, cluster, identity=identity, watch_namespaces=[namespace], health_port=0
    )
    guard, writes = LeaseGuard(_end_now), ClusterWrites()
    _one_line_logs()
    async with bootstrap.operator(settings, [guard, writes], config=connection.kube.config) as wiring:
        await take_over(wiring.lease, say)
        guard.lease = wiring.lease
        try:
            with _sigterm_as_ctrl_c():
                async with _beside() as beside:
                    beside(_hold(wiring.lease))
                    plan = await bootstrap.cluster_plan(connection.kube, settings, namespace=namespace, name=cluster)
                    refuse_another_plan(plan, obj, operation)
                    passed, passing = asyncio.Event(), asyncio.Lock()
                    for work in wiring.background.values():
                        beside(work())
                    key = cluster_key(namespace, cluster)
                    beside(_work(wiring, settings, key, writes=writes, passed=passed, passing=passing))
                    say(f"doing the operator's work for {namespace}/{cluster} as {identity}")
                    yield passed
                    await passing.acquire()  # what ended the operation also gives the cell back
        finally:
            await _release(wiring.lease, say)


async def _cluster(connection: Connection, namespace: str, cluster: str) -> Object:
    try:
        return await connection.kube.get(CLUSTERS, cluster, namespace)
    except NotFoundError as error:
        raise CliError(f"no KafkaCluster {cluster} in namespace {namespace}") from error


async def refuse_without_secrets(kube: KubeApi, obj: Object) -> None:
    """Raises CliError where the work takes Secrets that are refused to whoever runs this. The status would say it of
    the operator."""
    if (obj["spec"].get("security") or {}).get("nodes") != NodeSecurity.MUTUAL_TLS:
        return
    try:
        await secrets.read(kube, secrets.PROBE, obj["metadata"]["namespace"])
    except ForbiddenError as error:
        raise CliError(
            f"--local works with certificates, and Secrets are refused: {error.message}", ExitCode.DENIED
        ) from None


class ClusterWrites:
    """An interceptor: whether a write of the cluster's own object was tried. It may have met a conflict."""

    def __init__(self) -> None:
        self.tried = False

    def before(self, call: str) -> None:
        _, what, *_ = call.split()
        self.tried = self.tried or what.partition("/")[0] == CLUSTERS.plural

    def after(self, call: str) -> None:
        """Nothing to do."""


async def _work(
    wiring: bootstrap.Wiring,
    settings: OperatorSettings,
    key: Key,
    *,
    writes: ClusterWrites,
    passed: asyncio.Event,
    passing: asyncio.Lock,
) -> None:
    """Pass after pass of this one cluster, until cancelled; `passing` is held while there is one.

    `passed` is set by a pass that finds nothing to write (or no cluster): the status says what this process found.
    Until then a pass that wrote is followed by another one at once, as its write may have been lost to a conflict.
    """

    async def reconcile(key: Key) -> float | None:
        writes.tried = False
        async with passing:
            again = await wiring.reconcile(key)
        if again is None or not writes.tried:
            passed.set()
        return again if again is None or passed.is_set() else min(again, settings.settle_interval)

    queue = WorkQueue(reconcile, workers=1, retry_min=settings.retry_min, retry_max=settings.retry_max)
    queue.add(key)
    await queue.run()


async def take_over(lease: LeaseHolder, say: Say) -> None:
    """Take the operator's Lease once nobody has renewed it for its whole duration. Raises CliError when one does."""
    where = f"{lease.namespace}/{lease.name}"
    first = await _stamp(lease)
    told = False
    while (other := await lease.take()) is not None:
        now = await _stamp(lease)
        if now != first and now[0]:
            raise CliError(
                f"{other} is alive: it holds Lease {where} since {now[1]} and renewed it at {now[2]}; "
                "leave --local out, it does the work"
            )
        if not told:
            told = True
            say(f"{first[0]} renewed Lease {where} at {first[2]}; waiting {first[3]} s for another renewal")
        first = now if not now[0] else first
        await asyncio.sleep(POLL_SECONDS)


async def _stamp(lease: LeaseHolder) -> tuple[str, str, str, str]:
    """(holder, since when, last renewal, seconds that it is valid for); empty texts when there is no holder."""
    try:
        found = await lease.kube.get(LEASES, lease.name, lease.namespace)
    except NotFoundError:
        return "", "", "", ""
    spec = found.get("spec") or {}
    return (
        str(spec.get("holderIdentity") or ""),
        str(spec.get("acquireTime") or "")[:19],
        str(spec.get("renewTime") or ""),
        str(spec.get("leaseDurationSeconds") or f"{lease.duration:g}"),
    )


def refuse_another_plan(plan: ClusterPlan, obj: Object, operation: str | None) -> None:
    """Raises CliError when this process would begin something that the operator has not.

    Settings that differ from the operator's make every pod look out of date. The hash of a plan covers what every pod
    is made from, so the same hash means the same settings.
    """
    following = plan.operation
    if following is None:
        return
    known = {one.operation.id: one.operation.plan_hash for one in carried(obj)}
    if operation is not None and known.get(operation) != following.plan_hash:
        raise CliError(
            f"this process would begin {following.id} ({following.goal}) and not go on with {operation}: the spec has "
            "changed, or its settings (KFLEET_*) are not the operator's"
        )
    judged = (obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"]
    if operation is None and judged and following.plan_hash not in known.values():
        raise CliError(
            f"this process would begin {following.id} ({following.goal}), which the operator has not found necessary "
            "for the same spec: its settings (KFLEET_*) are not the operator's"
        )


async def _hold(lease: LeaseHolder) -> None:
    try:
        await lease.hold()
    except LeaseLostError as error:
        _end_now(str(error))


def _end_now(why: str) -> NoReturn:
    """No clean-up of any kind: an operator may be active already."""
    sys.stderr.write(f"kfleet: {why}\n")
    sys.stderr.flush()
    os._exit(ExitCode.FAILED)


async def _release(lease: LeaseHolder, say: Say) -> None:
    try:
        await lease.release()
    except KubeError as error:
        say(f"the operator's Lease could not be released ({error.message}); it runs out by itself")
    else:
        say("the operator's Lease is released")


@contextlib.asynccontextmanager
async def _beside() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Tasks beside the body: they end with it, and one that fails ends it. Raises what failed first."""
    tasks: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as group:
            try:
                yield lambda work: tasks.append(group.create_task(work))
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM cancels the running task, so that the Lease is released as after Ctrl-C."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if ended:
            raise CliError("ended by SIGTERM", ExitCode.INTERRUPTED) from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


class _OneLine(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        del ei
        return ""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(super().format(record).split())


def _one_line_logs() -> None:
    """What the engine warns of goes to stderr, one line each; a traceback only with KFLEET_DEBUG=1."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(message)s") if os.environ.get("KFLEET_DEBUG") else _OneLine("kfleet: %(message)s")
    )
    logger = logging.getLogger("controlplane")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
