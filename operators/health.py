"""/healthz and /readyz of the operator."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from controlplane.settings import OperatorSettings


@dataclass
class State:
    """`active` once this process holds the Lease; a standby is healthy and ready too, it waits."""

    active: bool = False


@contextlib.asynccontextmanager
async def serving(settings: OperatorSettings) -> AsyncIterator[State]:
    """Serve until the context ends; port 0 serves nothing. That an answer comes at all shows the event loop turns."""
    state = State()
    if settings.health_port == 0:
        yield state
        return

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"active": state.active})

    app = web.Application()
    app.router.add_get("/healthz", answer)
    app.router.add_get("/readyz", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.health_host, settings.health_port).start()
    try:
        yield state
    finally:
        await runner.cleanup()
