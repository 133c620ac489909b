"""ConfigMaps, Secrets, claims and volumes that pods refer to, read one by one as NodeRestriction allows.

A node may get, and watch by name, only what the pods bound to it refer to; it can never list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.ports import ForbiddenError, KubeError, NotFoundError, Object, Resource, UnreachableError
from controlplane.sandbox.node.errors import MissingError

log = logging.getLogger(__name__)
Key = tuple[Resource, str | None, str]
RETRY_SECONDS = 5.0


class Sources:
    """Reads are fresh; without an API server the last known object serves, so that restarts need none."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known: dict[Key, Object] = {}
        self._listeners: dict[Key, dict[str, Callable[[], None]]] = {}
        self._watches: dict[Key, asyncio.Task[None]] = {}

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Raises MissingError, or KubeError (a new pod's objects may be forbidden for a moment: retry)."""
        key = (resource, namespace, name)
        try:
            self._known[key] = await self._client.get(resource, name, namespace)
        except NotFoundError as error:
            self._known.pop(key, None)
            raise MissingError(f'{resource.kind.lower()} "{name}" not found') from error
        except UnreachableError:
            if key not in self._known:
                raise
        return self._known[key]

    def subscribe(self, owner: str, resource: Resource, namespace: str, name: str, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the object may have changed, until `forget(owner)`. One watch an object."""
        key: Key = (resource, namespace, name)
        self._listeners.setdefault(key, {})[owner] = changed
        if key not in self._watches:
            self._watches[key] = asyncio.create_task(self._watch(key), name=f"watch {resource.kind} {name}")

    def forget(self, owner: str) -> None:
        for key, listeners in list(self._listeners.items()):
            listeners.pop(owner, None)
            if not listeners:
                del self._listeners[key]
                self._watches.pop(key).cancel()
                self._known.pop(key, None)

    async def close(self) -> None:
        for task in self._watches.values():
            task.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)

    async def _watch(self, key: Key) -> None:
        resource, namespace, name = key
        while True:
            try:
                async for event in self._client.watch(resource, namespace, fields=f"metadata.name={name}"):
                    if event.type != "SYNCED":
                        for changed in list(self._listeners.get(key, {}).values()):
                            changed()
            except ForbiddenError:
                log.debug("not allowed yet to watch %s %s/%s", resource.kind, namespace, name)
            except KubeError as error:
                log.warning("watch of %s %s/%s: %s", resource.kind, namespace, name, error)
            await asyncio.sleep(RETRY_SECONDS)
