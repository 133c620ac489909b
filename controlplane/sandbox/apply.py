"""Put objects into the API server by server-side apply, in an order that works: CRDs, Namespaces, then the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.resources import CUSTOM_RESOURCE_DEFINITIONS
from controlplane.ports import InvalidError, NotFoundError, Object, Resource
from controlplane.sandbox.errors import SandboxError

ESTABLISHED_SECONDS = 20.0
POLL_SECONDS = 0.05
FIRST = ("CustomResourceDefinition", "Namespace")


async def apply_all(kube: KubeClient, objects: Iterable[Object]) -> None:
    """Apply every object under the client's field manager; raises KubeError, SandboxError for an unknown kind."""
    waiting = list(objects)
    for kind in FIRST:
        batch = [body for body in waiting if body["kind"] == kind]
        await _apply_batch(kube, batch)
        if kind == "CustomResourceDefinition":
            await asyncio.gather(*(_established(kube, body["metadata"]["name"]) for body in batch))
    await _apply_batch(kube, [body for body in waiting if body["kind"] not in FIRST])


async def _apply_batch(kube: KubeClient, batch: list[Object]) -> None:
    resources = await _discover(kube, {body["apiVersion"] for body in batch})
    for body in batch:
        if (body["apiVersion"], body["kind"]) not in resources:
            raise SandboxError(f"the API server has no kind {body['kind']} in {body['apiVersion']}")
    await asyncio.gather(*(kube.apply(resources[body["apiVersion"], body["kind"]], body) for body in batch))


async def _discover(kube: KubeClient, api_versions: set[str]) -> dict[tuple[str, str], Resource]:
    async def one(api_version: str) -> list[Resource]:
        group, _, version = api_version.rpartition("/")
        document = await kube.request("GET", f"/apis/{api_version}" if group else f"/api/{version}")
        entries: list[dict[str, Any]] = document["resources"]
        return [
            Resource(group, version, entry["name"], entry["kind"], entry["namespaced"])
            for entry in entries
            if "/" not in entry["name"]
        ]

    found = await asyncio.gather(*(one(api_version) for api_version in api_versions))
    return {(resource.api_version, resource.kind): resource for group in found for resource in group}


async def _established(kube: KubeClient, name: str) -> None:
    """A CRD serves only once it says so. Raises SandboxError after 20 s, InvalidError when its names collide."""
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while time.monotonic() < deadline:
        try:
            status = (await kube.get(CUSTOM_RESOURCE_DEFINITIONS, name)).get("status") or {}
        except NotFoundError:
            status = {}
        conditions = {entry["type"]: entry for entry in status.get("conditions") or []}
        if conditions.get("Established", {}).get("status") == "True":
            return
        accepted = conditions.get("NamesAccepted", {})
        if accepted.get("status") == "False":
            raise InvalidError(409, accepted["reason"], f"CRD {name}: {accepted['message']}")
        await asyncio.sleep(POLL_SECONDS)
    raise SandboxError(f"CRD {name} was not established within {ESTABLISHED_SECONDS:g} s")
