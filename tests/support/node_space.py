"""Pods in a namespace of one test: creating them, waiting for what the API server says of them, reading their logs.

async with space(sandbox) as here:
    await here.pod("p", "echo hello", restartPolicy="Never")
    await here.until("p", phase("Succeeded"))
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from support.sandbox import Sandbox

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.resources import EVENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from controlplane.ports import NotFoundError, Object, Resource
from controlplane.sandbox.node.records import ContainerRecord, records

WAIT_SECONDS = 100.0
"""How long a thing that must come may take on a machine that is slow and busy; nothing waits for it to pass."""

IMAGE = "kfleet/busybox:1"
ARM = ": > $KFLEET_POD_ROOT/tmp/armed"
"""Where a script's traps and children are in place: see `Space.armed`."""


@dataclass(frozen=True)
class Space:
    """One test's namespace."""

    sandbox: Sandbox
    kube: KubeClient
    namespace: str

    async def create(self, resource: Resource, name: str, **fields: Any) -> Object:
        return await self.kube.create(resource, {"metadata": {"name": name}} | fields, self.namespace)

    async def pod(self, name: str, script: str, **fields: Any) -> Object:
        """A pod of one container `main` running a shell script; see `container` for what else `fields` may hold."""
        return await self.pods(name, [container("main", script, **fields.pop("main", {}))], **fields)

    async def pods(self, name: str, containers: Sequence[Object], **fields: Any) -> Object:
        metadata = fields.pop("metadata", {}) | {"name": name}
        spec = {"containers": list(containers), "terminationGracePeriodSeconds": 2} | fields
        return await self.kube.create(PODS, {"metadata": metadata, "spec": spec}, self.namespace)

    async def until(
        self,
        name: str,
        holds: Callable[[Object], Any],
        why: str = "",
        *,
        after: Callable[[], Awaitable[Any]] | None = None,
    ) -> Object:
        """The pod as soon as `holds(pod)` is true.

        `after` is done once the watch stands, so that not even the shortest state that it brings about is missed.
        """
        last: Object = {}
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                async for event in self.kube.watch(PODS, self.namespace, fields=f"metadata.name={name}"):
                    if event.type == "SYNCED" and after is not None:
                        begin, after = after, None
                        await begin()
                    elif event.type in ("ADDED", "MODIFIED") and after is None:
                        last = event.object
                        if holds(last):
                            return last
        except TimeoutError:
            raise AssertionError(f"pod {name} never came to {why or holds}: {last.get('status')}") from None
        raise AssertionError("the watch ended")

    async def gone(self, name: str) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                async for event in self.kube.watch(PODS, self.namespace, fields=f"metadata.name={name}"):
                    if event.type == "DELETED":
                        return
                    if event.type == "SYNCED":
                        await self.kube.get(PODS, name, self.namespace)
        except NotFoundError:
            return
        except TimeoutError:
            raise AssertionError(f"pod {name} never went") from None

    async def event(self, pod: str, reason: str, text: str = "") -> Object:
        """The first Event of that reason on the pod whose message contains `text`."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                async for event in self.kube.watch(EVENTS, self.namespace, fields=f"involvedObject.name={pod}"):
                    found = event.object
                    if found and found["reason"] == reason and text in found["message"]:
                        return found
        except TimeoutError:
            raise AssertionError(f"no Event {reason} {text!r} on pod {pod}") from None
        raise AssertionError("the watch ended")

    async def armed(self, pod: str) -> None:
        """Until the pod's script has come past `ARM`: Running says only that its shell was started."""
        await self.until(pod, phase("Running"))
        (record,) = self.records(pod)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not (record.root / "tmp" / "armed").exists():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"the script of pod {pod} never came past ARM") from None

    def logs(self, pod: str, *arguments: str) -> str:
        return self.sandbox.kubectl("logs", "-n", self.namespace, pod, *arguments)

    def records(self, pod: str) -> list[ContainerRecord]:
        found = [one for node in self.sandbox.config.nodes for one in records(self.sandbox.paths, node)]
        return [one for one in found if (one.namespace, one.pod) == (self.namespace, pod)]


@asynccontextmanager
async def space(sandbox: Sandbox) -> AsyncIterator[Space]:
    """A namespace with its default ServiceAccount; its deletion is begun, not awaited."""
    async with sandbox.client() as kube:
        name = f"node-{secrets.token_hex(3)}"
        await kube.create(NAMESPACES, {"metadata": {"name": name}})
        async with asyncio.timeout(WAIT_SECONDS):
            async for event in kube.watch(SERVICE_ACCOUNTS, name):
                if event.type == "ADDED" and event.object["metadata"]["name"] == "default":
                    break
        try:
            yield Space(sandbox, kube, name)
        finally:
            await kube.delete(NAMESPACES, name)


def container(name: str, script: str, **fields: Any) -> Object:
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script]} | fields


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda pod: bool(pod["status"].get("phase") == wanted)


def state(pod: Object, name: str = "main", field: str = "containerStatuses") -> Object:
    """The containerStatus of one container; {} before there is one."""
    return next((one for one in pod["status"].get(field) or [] if one["name"] == name), {})


def waiting(reason: str) -> Callable[[Object], bool]:
    return lambda pod: (state(pod).get("state") or {}).get("waiting", {}).get("reason") == reason


def ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or [])
