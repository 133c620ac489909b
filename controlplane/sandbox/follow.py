"""A watch that a part of the sandbox may lean on for its whole life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from controlplane.ports import KubeApi, KubeError, Object, Resource, WatchEvent

REFUSED_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


async def follow(kube: KubeApi, resource: Resource) -> AsyncIterator[WatchEvent]:
    """`KubeApi.watch` over all namespaces that also survives refusals.

    An API server that has just started may answer 403 before its RBAC cache is filled, and `up` may apply our role
    after our start. Then the watch begins anew; objects that went away meanwhile are sent as DELETED before SYNCED,
    with their uid, name and namespace only.
    """
    known: dict[str, Object] = {}
    while True:
        fresh: set[str] | None = set()
        try:
            async for event in kube.watch(resource):
                if event.type == "SYNCED":
                    if fresh is not None:
                        for uid in known.keys() - fresh:
                            yield WatchEvent("DELETED", known.pop(uid))
                        fresh = None
                elif event.type == "DELETED":
                    known.pop(event.object["metadata"]["uid"], None)
                else:
                    meta = {key: event.object["metadata"].get(key) for key in ("uid", "name", "namespace")}
                    known[meta["uid"]] = {"metadata": meta}
                    if fresh is not None:
                        fresh.add(meta["uid"])
                yield event
        except KubeError as error:
            log.warning("watch of %s refused, trying again: %s", resource.plural, error)
            await asyncio.sleep(REFUSED_PAUSE_SECONDS)
