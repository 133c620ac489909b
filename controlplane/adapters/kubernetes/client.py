"""KubeApi over aiohttp: unstructured objects, server-side apply, preconditions, a watch that never gives up.

Why not the generated client: importing it takes over a second and 60 MB in each of the processes that use this
(docs/decisions/0003-kubernetes-client.md).
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from controlplane.adapters.kubernetes.config import KubeConfig
from controlplane.ports import (
    NAMESPACE_TERMINATING,
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubeError,
    NotFoundError,
    Object,
    Resource,
    UnreachableError,
    WatchEvent,
)

Items = list[Object]
LIST_PAGE = 500
WATCH_SERVER_SECONDS = 300
WATCH_CLIENT_SECONDS = 310
CONNECT_SECONDS = 30
WATCH_BACKOFF_SECONDS = (0.2, 2.0)
GONE = 410


class KubeClient:
    """One API server, one set of credentials, one field manager. Use as an async context manager."""

    def __init__(
        self, config: KubeConfig, *, field_manager: str = "kfleet", timeout: float = 15.0, user_agent: str = "kfleet"
    ) -> None:
        self.config = config
        self._user_agent = user_agent
        self.field_manager = field_manager
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, CONNECT_SECONDS))
        self._ssl: ssl.SSLContext | bool = config.ssl_context() or True
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return await self.request("GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        cached: bool = False,
    ) -> Sequence[Object]:
        items, _ = await self._list(resource, namespace, labels, fields, cached=cached)
        return items

    async def create(self, resource: Resource, body: Object, namespace: str | None = None) -> Object:
        namespace = namespace or body["metadata"].get("namespace")
        return await self.request(
            "POST", resource.path(namespace), body=_typed(resource, body), params={"fieldManager": self.field_manager}
        )

    async def replace(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        meta = body["metadata"]
        return await self.request(
            "PUT",
            resource.path(meta.get("namespace"), meta["name"], subresource),
            body=_typed(resource, body),
            params={"fieldManager": self.field_manager},
        )

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        meta = body["metadata"]
        return await self.request(
            "PATCH",
            resource.path(meta.get("namespace"), meta["name"]),
            body=_typed(resource, body),
            params={"fieldManager": self.field_manager, "force": str(force).lower()},
            content_type="application/apply-patch+yaml",
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        body: Object,
        *,
        subresource: str | None = None,
    ) -> Object:
        return await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            body=body,
            params={"fieldManager": self.field_manager},
            content_type="application/merge-patch+json",
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        preconditions = {key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value}
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if preconditions:
            body["preconditions"] = preconditions
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        await self.request("DELETE", resource.path(namespace, name), body=body)

    async def watch(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        known: dict[str, Object] = {}
        version: str | None = None
        backoff = WATCH_BACKOFF_SECONDS[0]
        while True:
            try:
                if version is None:
                    items, version = await self._list(resource, namespace, labels, fields)
                    fresh = {item["metadata"]["uid"]: item for item in items}
                    for uid, gone in known.items():
                        if uid not in fresh:
                            yield WatchEvent("DELETED", gone)
                    known = fresh
                    for item in items:
                        yield WatchEvent("ADDED", item)
                    yield WatchEvent("SYNCED", {})
                async for kind, item in self._stream(resource, namespace, labels, fields, version):
                    backoff = WATCH_BACKOFF_SECONDS[0]
                    if kind == "ERROR":
                        version = None
                        if item.get("code") != GONE:
                            await asyncio.sleep(WATCH_BACKOFF_SECONDS[0])
                        break
                    version = item["metadata"]["resourceVersion"]
                    if kind == "BOOKMARK":
                        continue
                    if kind == "DELETED":
                        known.pop(item["metadata"]["uid"], None)
                    else:
                        known[item["metadata"]["uid"]] = item
                    yield WatchEvent(kind, item)  # type: ignore[arg-type]
            except UnreachableError:
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, WATCH_BACKOFF_SECONDS[1])
            except KubeError as error:
                if error.status != GONE:
                    raise
                version = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        params: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One call on a raw path (subresources, /version, SelfSubjectAccessReview). Raises KubeError."""
        text = await self._text(method, path, body=body, params=params, content_type=content_type)
        document: Object = json.loads(text) if text else {}
        return document

    async def text(self, path: str, params: dict[str, str] | None = None) -> str:
        """GET of something that is not JSON (pod logs, /readyz). Raises KubeError."""
        return await self._text("GET", path, body=None, params=params, content_type="application/json")

    async def _text(
        self, method: str, path: str, *, body: Object | None, params: dict[str, str] | None, content_type: str
    ) -> str:
        data = None if body is None else json.dumps(body)
        headers = self._headers({"Content-Type": content_type} if data is not None else {})
        try:
            async with self._http().request(
                method,
                self.config.server + path,
                data=data,
                params=params,
                headers=headers,
                ssl=self._ssl,
                timeout=self._timeout,
            ) as response:
                text = await response.text()
                if response.status >= 400:
                    raise _error(response.status, text)
                return text
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(0, "Unreachable", f"API server {self.config.server}: {_why(error)}") from error

    async def _list(
        self, resource: Resource, namespace: str | None, labels: str, fields: str, *, cached: bool = False
    ) -> tuple[Sequence[Object], str]:
        items: Items = []
        params = {"limit": str(LIST_PAGE)} | _selectors(labels, fields)
        if cached:
            params["resourceVersion"] = "0"
        while True:
            page = await self.request("GET", resource.path(namespace), params=params)
            items.extend(_typed(resource, item) for item in page.get("items") or [])
            if not (more := page["metadata"].get("continue")):
                return items, page["metadata"]["resourceVersion"]
            params["continue"] = more
            params.pop("resourceVersion", None)  # the token has its own

    async def _stream(
        self, resource: Resource, namespace: str | None, labels: str, fields: str, version: str
    ) -> AsyncIterator[tuple[str, Object]]:
        params = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SERVER_SECONDS),
        } | _selectors(labels, fields)
        timeout = aiohttp.ClientTimeout(total=WATCH_CLIENT_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with self._http().get(
                self.config.server + resource.path(namespace),
                params=params,
                headers=self._headers({}),
                ssl=self._ssl,
                timeout=timeout,
            ) as response:
                if response.status >= 400:
                    raise _error(response.status, await response.text())
                async for line in _lines(response.content):
                    event = json.loads(line)
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(0, "Unreachable", f"API server {self.config.server}: {_why(error)}") from error

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._session

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        bearer = self.config.bearer()
        return (
            headers
            | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
            | {
                "Accept": "application/json",
                "User-Agent": self._user_agent,
            }
        )


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: StreamReader.readline stops at 64 KiB, and objects may be larger."""
    pending = b""
    async for chunk in content.iter_any():
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def _typed(resource: Resource, body: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind} | body


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def _why(error: Exception) -> str:
    """The cause without the library's words around it."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno) if error.os_error.errno > 0 else str(error.os_error.strerror)
    return str(error) or type(error).__name__


_ERRORS: dict[int, Callable[[int, str, str], KubeError]] = {
    400: InvalidError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidError,
    429: UnreachableError,
}


def _error(status: int, text: str) -> KubeError:
    try:
        document: Any = json.loads(text)
        reason, message = document.get("reason") or str(status), document.get("message") or text
        causes = (document.get("details") or {}).get("causes") or []
        if any(cause.get("reason") == NAMESPACE_TERMINATING for cause in causes):
            reason = NAMESPACE_TERMINATING
    except (ValueError, AttributeError):
        reason, message = str(status), text
    if reason == "AlreadyExists":
        return AlreadyExistsError(status, reason, message)
    if status >= 500:
        return UnreachableError(status, reason, message)
    return _ERRORS.get(status, KubeError)(status, reason, message)
