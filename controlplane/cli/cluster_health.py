"""`kfleet cluster health`: every check with its evidence, once or until it changes for the better."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.cli.cluster_observe import Observe, observer, why_silent
from controlplane.cli.cluster_view import cluster_id
from controlplane.cli.connect import Connection, connect
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import CLUSTERS, find
from controlplane.cli.operator_lease import operator_seen
from controlplane.cli.options import Output, Where
from controlplane.cli.render import View, show_one
from controlplane.domain.check import Check, failed
from controlplane.domain.health.checks import cluster_checks
from controlplane.domain.health.summary import ClusterSummary, one_line, summarise
from controlplane.ports import ForbiddenError, Object, UnreachableError
from controlplane.settings import OperatorSettings

WATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Watch:
    """`seconds`: how long at most, None for ever."""

    on: bool = False
    exit_when_healthy: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """`asked` says that brokers answered from here; `note` why they did not."""

    cluster: ClusterSummary
    checks: tuple[Check, ...]
    asked: bool
    note: str

    @property
    def ok(self) -> bool:
        return not failed(self.checks)


def health_document(health: ClusterHealth) -> dict[str, Any]:
    cluster = health.cluster
    return {
        "namespace": cluster.metadata.namespace,
        "name": cluster.metadata.name,
        "state": cluster.state.value,
        "healthy": health.ok,
        "brokersAsked": health.asked,
        "checks": [
            {"name": check.name, "ok": check.ok, "evidence": check.evidence, "remedy": check.remedy}
            for check in health.checks
        ],
    }


VIEW = View[ClusterHealth]("ClusterHealth", (), lambda row: cluster_id(row.cluster), health_document)


def health_text(checks: Sequence[Check]) -> str:
    """A line a check; what to do below those that do not pass."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{'ok' if check.ok else 'FAIL':<4}  {check.name:<{width}}  {one_line(check.evidence)}".rstrip())
        if check.remedy and not check.ok:
            lines.append(f"      {'':<{width}}  -> {one_line(check.remedy)}")
    return "\n".join(lines)


async def check_cluster(where: Where, name: str, output: Output, watch: Watch) -> bool:
    """Print the checks; whether the last look found all of them passed."""
    end = None if watch.seconds is None else time.monotonic() + watch.seconds
    last: ClusterHealth | None = None
    async with connect(where) as connection, observer(connection) as observe:
        while True:
            health = await _look_again(connection, observe, name, last, end)
            _print(output, health, last)
            last = health
            if not watch.on or (watch.exit_when_healthy and health.ok):
                return health.ok
            if _over(end):
                return health.ok
            await asyncio.sleep(WATCH_SECONDS)


def _over(end: float | None) -> bool:
    """Whether another look would come too late."""
    return end is not None and time.monotonic() + WATCH_SECONDS > end


async def _look_again(
    connection: Connection, observe: Observe, name: str, last: ClusterHealth | None, end: float | None
) -> ClusterHealth:
    """A watch outlives an API server that is away, a first look does not. At `end` it is as it was last seen."""
    while True:
        try:
            return await _look(connection, observe, await find(connection, CLUSTERS, name))
        except UnreachableError as error:
            if last is None:
                raise
            if _over(end):
                print(f"kfleet: {error.message}; it is not known how it is now", file=sys.stderr)
                return last
            print(f"kfleet: {error.message}; trying again", file=sys.stderr)
            await asyncio.sleep(WATCH_SECONDS)


async def _look(connection: Connection, observe: Observe, obj: Object) -> ClusterHealth:
    now = time.time()
    summary = summarise(obj, now)
    operator = await operator_seen(connection.kube, OperatorSettings(), now)
    observation, note = None, ""
    try:
        observation = await observe(obj)
        if observation.kafka is None:
            note = why_silent(observation)
    except (ForbiddenError, CliError) as error:
        note = str(error)
    checks = cluster_checks(summary, observation=observation, operator=operator)
    return ClusterHealth(summary, checks, observation is not None and observation.kafka is not None, note)


def _print(output: Output, health: ClusterHealth, last: ClusterHealth | None) -> None:
    """All of it the first time; afterwards what has changed, with the time."""
    if last is not None and last.checks == health.checks:
        return
    if last is None and health.note:
        print(f"kfleet: brokers were not asked: {health.note}", file=sys.stderr)
    if last is None or output not in {Output.table, Output.wide}:
        show_one(output, VIEW, health, text=lambda: health_text(health.checks))
    else:
        changed = [check for check in health.checks if check not in last.checks]
        print(f"{time.strftime('%H:%M:%S')}\n{health_text(changed)}")
    sys.stdout.flush()
