"""An operator for ToyRuns as a process of its own: the real queue, watch, engine, locks and Kubernetes client.

`python -m support.toy_operator NAMESPACE IDENTITY [--crash STATE] [--no-locks] [--abandon SECONDS]` with
KFLEET_KUBECONFIG and the other KFLEET_* settings. It ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from support.crash_walk import CrashBeforeAndAfterEachCall, walk
from support.toy import TOYS, NoLocks, toy_engine

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.services.intercept import Interceptor
from controlplane.services.operation.lock import CellLocks
from controlplane.services.queue import Key, WorkQueue
from controlplane.settings import OperatorSettings


async def operate(options: argparse.Namespace, settings: OperatorSettings, interceptors: list[Interceptor]) -> None:
    assert settings.kubeconfig is not None
    async with KubeClient(from_kubeconfig(settings.kubeconfig)) as kube:
        engine = toy_engine(
            kube,
            SystemClock(),
            options.namespace,
            interceptors=interceptors,
            identity=options.identity,
            settings=settings,
            locks=NoLocks if options.no_locks else CellLocks,
            abandon_seconds=options.abandon,
        )
        queue = WorkQueue(engine.reconcile, workers=4, retry_min=0.1, retry_max=0.5)
        tasks = [asyncio.create_task(queue.run()), asyncio.create_task(_watch(kube, options.namespace, queue))]
        loop = asyncio.get_running_loop()
        for task in tasks:
            loop.add_signal_handler(signal.SIGTERM, lambda: [task.cancel() for task in tasks])
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def _watch(kube: KubeClient, namespace: str, queue: WorkQueue) -> None:
    async for event in kube.watch(TOYS, namespace):
        if event.type != "SYNCED":
            queue.add(Key("ToyRun", namespace, event.object["metadata"]["name"]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("namespace")
    parser.add_argument("identity")
    parser.add_argument("--crash", type=Path)
    parser.add_argument("--no-locks", action="store_true")
    parser.add_argument("--abandon", type=float, default=300.0)
    options = parser.parse_args()
    settings = OperatorSettings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    if options.crash:
        walk(lambda: asyncio.run(operate(options, settings, [CrashBeforeAndAfterEachCall(options.crash)])))
    else:
        asyncio.run(operate(options, settings, []))


if __name__ == "__main__":
    main()
