"""The node's main loop: pods bound to it come in by one watch, each gets a worker; the rest runs beside them."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.adapters.kubernetes.resources import PODS
from controlplane.ports import KubeError, Object
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.node import objects, records, rootfs
from controlplane.sandbox.node.addresses import Addresses
from controlplane.sandbox.node.context import Context
from controlplane.sandbox.node.images import Images, Resolver
from controlplane.sandbox.node.pod_events import PodEvents
from controlplane.sandbox.node.registration import Registration
from controlplane.sandbox.node.server import LogServer
from controlplane.sandbox.node.sources import Sources
from controlplane.sandbox.node.tokens import Tokens
from controlplane.sandbox.node.worker import PodWorker

WATCH_RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Node:
    """One process node. `run` returns at SIGTERM or SIGINT and leaves the containers running."""

    def __init__(self, paths: SandboxPaths, name: str, resolve: Resolver) -> None:
        self._paths, self._name, self._resolve = paths, name, resolve
        self._directory = paths.node(name)
        self._workers: dict[str, PodWorker] = {}
        self._done: set[str] = set()
        """Pods deleted by us whose DELETED has not come yet: older versions of them may still arrive."""

    async def run(self) -> None:
        """Raises SandboxError when another process is this node already."""
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with AsyncExitStack() as stack:
            stack.callback(os.close, _sole(self._directory, self._name))
            context = await self._context(stack)
            server = LogServer(
                self._find,
                self._directory,
                self._paths.certificate(f"kubelet-{self._name}"),
                self._paths.pki / "ca.crt",
            )
            await server.start()
            stack.push_async_callback(server.close)
            registration = Registration(context.client, context.config, self._name, server.port)
            tasks = [
                asyncio.create_task(registration.run(), name="registration"),
                asyncio.create_task(context.events.run(), name="events"),
                asyncio.create_task(self._watch(context), name="pods"),
                asyncio.create_task(stopped.wait(), name="stop"),
            ]
            log.info("node %s serves on port %d", self._name, server.port)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for worker in self._workers.values():
                worker.release()
            for task in tasks:
                task.cancel()
            for task in done:
                task.result()

    async def _context(self, stack: AsyncExitStack) -> Context:
        config = self._paths.load()
        kubeconfig = from_kubeconfig(self._paths.kubeconfig(self._name))
        client = await stack.enter_async_context(KubeClient(kubeconfig, field_manager="kubelet"))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)))
        sources = Sources(client)
        stack.push_async_callback(sources.close)
        events = PodEvents(client, self._name)
        images = Images(self._resolve, events, config.restart_backoff, config.restart_backoff_max)
        stack.callback(images.close)
        host, _, port = kubeconfig.server.rpartition("/")[2].partition(":")
        return Context(
            node=self._name,
            directory=self._directory,
            config=config,
            client=client,
            sources=sources,
            tokens=Tokens(client, config.token_seconds, config.token_refresh_fraction),
            events=events,
            addresses=Addresses(self._paths.root, config.pod_cidr),
            images=images,
            http=http,
            service_env={"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
        )

    async def _watch(self, context: Context) -> None:
        while True:
            try:
                async for event in context.client.watch(PODS, fields=f"spec.nodeName={self._name}"):
                    if event.type == "SYNCED":
                        await self._drop_orphans()
                    else:
                        self._dispatch(context, event.type, event.object)
            except KubeError as error:
                log.warning("watch of pods: %s", error)
                await asyncio.sleep(WATCH_RETRY_SECONDS)

    def _dispatch(self, context: Context, kind: str, pod: Object) -> None:
        uid = objects.uid(pod)
        worker = self._workers.get(uid)
        if kind == "DELETED":
            self._done.discard(uid)
            if worker is not None:
                worker.remove()
        elif uid in self._done:
            return
        elif worker is not None:
            worker.update(pod)
        else:
            older = self._find(objects.namespace(pod), objects.name(pod))
            fresh = PodWorker(context, pod, older)
            self._workers[uid] = fresh
            fresh.task.add_done_callback(lambda _: self._forget(uid))

    def _forget(self, uid: str) -> None:
        if not self._workers.pop(uid).removed:
            self._done.add(uid)

    def _find(self, namespace: str, name: str) -> PodWorker | None:
        """The newest worker of that pod name."""
        found = None
        for worker in self._workers.values():
            if (objects.namespace(worker.pod), objects.name(worker.pod)) == (namespace, name):
                found = worker
        return found

    async def _drop_orphans(self) -> None:
        """Pods that were removed from the API server while no node process looked: end what runs, delete the files."""
        for directory in (self._directory / "pods").glob("*"):
            if directory.name not in self._workers:
                await asyncio.to_thread(self._drop, directory)

    def _drop(self, directory: Path) -> None:
        running = [one for one in records.records(self._paths, self._name) if one.uid == directory.name]
        log.info("pod %s is gone from the API server: ending %d containers", directory.name, len(running))
        records.end(running, max((one.grace for one in running), default=0.0), self._name)
        rootfs.remove(directory)


def _sole(directory: Path, name: str) -> int:
    """Two processes being one node would start every container twice. Returns the lock's descriptor."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory / "node.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise SandboxError(f"another process is node {name} already (lock {directory / 'node.lock'})") from error
    return lock
