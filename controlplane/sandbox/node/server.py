"""The node's HTTPS server, which the API server calls for `kubectl logs`; exec, attach and port-forward are refused.

The client has to show the API server's own kubelet certificate: any certificate of the sandbox's CA passes the TLS
handshake (nodes have some too), only that user is answered.
"""

from __future__ import annotations

import datetime as dt
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from controlplane.sandbox.node import logs, objects
from controlplane.sandbox.node.records import attempts
from controlplane.sandbox.node.worker import PodWorker
from controlplane.sandbox.rbac import KUBELET_CLIENT

REFUSED = {
    "exec": "exec is not supported: the containers of a kfleet sandbox are local processes (see `kubectl logs`)",
    "attach": "attach is not supported: the containers of a kfleet sandbox are local processes (see `kubectl logs`)",
    "portForward": "port-forward is not needed: the pod's own address (status.podIP) is reachable from this machine",
    "run": "run is not supported: the containers of a kfleet sandbox are local processes",
}
log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Find = Callable[[str, str], PodWorker | None]


class LogServer:
    """Listens on 127.0.0.1, on the port of last time if it is free."""

    def __init__(self, find: Find, directory: Path, certificate: Path, client_ca: Path) -> None:
        self._find, self._directory = find, directory
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.load_verify_locations(client_ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        app = web.Application(middlewares=[_only_api_server])
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/healthz", self._healthz)
        for verb in REFUSED:
            app.router.add_route("*", f"/{verb}/{{rest:.*}}", self._refuse)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self.port = 0

    async def start(self) -> None:
        await self._runner.setup()
        remembered = self._directory / "port"
        wanted = int(remembered.read_text()) if remembered.exists() else 0
        try:
            site = await self._listen(wanted)
        except OSError:
            site = await self._listen(0)
        self.port = int(site.name.rpartition(":")[2]) or _bound_port(self._runner)
        remembered.write_text(str(self.port))

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _listen(self, port: int) -> web.TCPSite:
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._context)
        await site.start()
        return site

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _refuse(self, request: web.Request) -> web.Response:
        """As an API Status: kubectl shows its message, while it would try to read plain text as YAML."""
        message = REFUSED[request.path.split("/")[1]]
        status = {"status": "Failure", "reason": "NotSupported", "code": 501, "message": message}
        return web.json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}} | status, status=501)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        namespace, pod, name = (request.match_info[key] for key in ("namespace", "pod", "container"))
        worker = self._find(namespace, pod)
        member = next((one for one in worker.members if one.container.name == name), None) if worker else None
        if member is None:
            _fail(404, f'container "{name}" of pod "{namespace}/{pod}" is not on this node')
        options = _options(request)
        container = member.container
        if request.query.get("previous") == "true":
            earlier = [number for number in attempts(container.directory) if number < (container.attempt or 0)]
            if not earlier:
                _fail(400, f'previous terminated container "{name}" in pod "{pod}" not found')
            record, running = container.directory / str(earlier[-1]), lambda: False
        elif container.started is None:
            reason = (member.waiting or ("ContainerCreating", ""))[0]
            _fail(400, f'container "{name}" in pod "{pod}" is waiting to start: {reason}')
        else:
            number = container.attempt
            record = container.record_dir
            running = lambda: container.attempt == number and container.running  # noqa: E731
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        try:
            async for chunk in logs.stream(record, options, running):
                await response.write(chunk)
            await response.write_eof()
        except ConnectionResetError:
            log.debug("the reader of %s/%s left", pod, name)
        return response


@web.middleware
async def _only_api_server(request: web.Request, handler: Handler) -> web.StreamResponse:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    names = [value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"]
    if names != [KUBELET_CLIENT]:
        raise web.HTTPForbidden(text=f"{names} may not ask a node; use kubectl")
    return await handler(request)


def _options(request: web.Request) -> logs.Request:
    query = request.query
    try:
        since = objects.moment(query["sinceTime"]) if "sinceTime" in query else None
        if "sinceSeconds" in query:
            since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=int(query["sinceSeconds"]))
        return logs.Request(
            follow=query.get("follow") == "true",
            tail=int(query["tailLines"]) if "tailLines" in query else None,
            since=since,
            timestamps=query.get("timestamps") == "true",
            limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
        )
    except ValueError as error:
        _fail(400, f"bad log options: {error}")


def _fail(status: int, message: str) -> NoReturn:
    kinds: dict[int, type[web.HTTPError]] = {400: web.HTTPBadRequest, 404: web.HTTPNotFound}
    raise kinds[status](text=message)


def _bound_port(runner: web.AppRunner) -> int:
    return int(runner.addresses[0][1])
