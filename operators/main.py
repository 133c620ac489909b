"""kfleet-operator: take the Lease, then let kopf watch and our queue work; end when the Lease is lost.

kopf does the watching, not the deciding: handlers only wake the queue. The Lease is taken before kopf starts, and every
mutation asks first whether it is still surely ours, so a process that was stopped past takeover and wakes again ends
before it can write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import kopf
from pydantic import ValidationError

from controlplane import bootstrap
from controlplane.adapters.kubernetes.config import KubeConfigError
from controlplane.ports import KubeError, LedgerError
from controlplane.services.intercept import Interceptor
from controlplane.services.lease import LeaseGuard, LeaseLostError
from controlplane.settings import OperatorSettings
from operators import handlers, health, logs

log = logging.getLogger("kfleet.operator")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_LEASE_LOST = 3


def main() -> None:
    """The entry point `kfleet-operator`. Exit 0 when told to stop, 1 on failure, 2 on bad settings, 3 without Lease."""
    run()


def run(interceptors: Sequence[Interceptor] = ()) -> None:
    """As `main`, with interceptors around every mutating call (the crash walk's harness)."""
    try:
        settings = OperatorSettings()
    except ValidationError as error:
        fields = "; ".join(
            ": ".join([*(f"KFLEET_{str(part).upper()}" for part in e["loc"][:1]), e["msg"]]) for e in error.errors()
        )
        _leave(EXIT_USAGE, f"settings: {fields}")
    logs.configure(settings)
    try:
        asyncio.run(_operate(settings, interceptors))
    except (KubeConfigError, KubeError, LedgerError) as error:
        _leave(EXIT_FAILED, str(error))


async def _operate(settings: OperatorSettings, interceptors: Sequence[Interceptor]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    guard = LeaseGuard(_end_now)
    wiring = bootstrap.operator(settings, [guard, *interceptors])
    guard.lease = wiring.lease
    async with wiring, health.serving(settings) as state:
        acquired = asyncio.create_task(wiring.lease.acquire())
        await _first(acquired, asyncio.create_task(stop.wait()))
        if stop.is_set():
            return
        await acquired
        state.active = True
        registry, kopf_settings = handlers.registry(wiring, settings)
        work = [
            asyncio.create_task(_hold(wiring), name="lease"),
            asyncio.create_task(wiring.queue.run(), name="queue"),
            *(asyncio.create_task(run(), name=name) for name, run in wiring.background.items()),
            asyncio.create_task(
                kopf.operator(
                    registry=registry,
                    settings=kopf_settings,
                    namespaces=settings.watch_namespaces,
                    clusterwide=not settings.watch_namespaces,
                    standalone=True,
                    stop_flag=stop,
                ),
                name="kopf",
            ),
        ]
        await _first(*work, asyncio.create_task(stop.wait()))
        for task in work:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        with contextlib.suppress(KubeError):
            await wiring.lease.release()


async def _hold(wiring: bootstrap.Wiring) -> None:
    try:
        await wiring.lease.hold()
    except LeaseLostError as error:
        _end_now(str(error))


async def _first(*tasks: asyncio.Task[object]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _end_now(why: str) -> NoReturn:
    """No cleanup of any kind: another operator may be active already."""
    sys.stderr.write(f"kfleet-operator: {why}\n")
    sys.stderr.flush()
    os._exit(EXIT_LEASE_LOST)


def _leave(code: int, why: str) -> None:
    sys.stderr.write(f"kfleet-operator: {why}\n")
    raise SystemExit(code)
