"""An API server that answers what a test has put into it, over real HTTP: for what the CLI says and prints.

No schema, no admission, no watch that goes on: for those there is support.api_server. It runs in a thread of its own,
so that a command can run in the test's.

    with canned_api({"KafkaCluster": [obj, ...]}) as api:
        api.kubeconfig            a file to use
        api.refuse = (403, {...}) from now on every request gets that
        api.requests              (method, path, body) of all that came in
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Object = dict[str, Any]

PLURALS = {
    "kafkaclusters": "KafkaCluster",
    "kafkatenants": "KafkaTenant",
    "kafkausers": "KafkaUser",
    "secrets": "Secret",
    "approvals": "Approval",
    "leases": "Lease",
    "pods": "Pod",
    "events": "Event",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "services": "Service",
    "configmaps": "ConfigMap",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "deployments": "Deployment",
    "nodes": "Node",
}
USER = "ada"


@dataclass
class CannedApi:
    """`objects` by kind. A kind that is not among them does not exist there (404 for its list)."""

    objects: dict[str, list[Object]]
    kubeconfig: Path
    refuse: tuple[int, Object] | None = None
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    before: Callable[[str], None] = lambda path: None
    """Called with each request's path before it is answered: a world that changes while a command watches it."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path, body))
        self.before(request.path)
        if self.refuse is not None:
            return web.json_response(self.refuse[1], status=self.refuse[0])
        if request.path.endswith("/selfsubjectreviews"):
            return web.json_response({"status": {"userInfo": {"username": USER}}}, status=201)
        if request.path.endswith("/selfsubjectaccessreviews"):
            return web.json_response({"status": {"allowed": True}}, status=201)
        parts = request.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = parts[1] if parts and parts[0] == "namespaces" and len(parts) > 2 else None
        plural, *rest = parts[2:] if namespace else parts
        if plural not in PLURALS or PLURALS[plural] not in self.objects:
            return web.Response(status=404, text="404 page not found\n")
        here = [
            obj for obj in self.objects[PLURALS[plural]] if namespace in (None, obj["metadata"].get("namespace", ""))
        ]
        if not rest:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": here})
        found = next((obj for obj in here if obj["metadata"]["name"] == rest[0]), None)
        if found is None:
            return web.json_response(_status("NotFound", f'{plural} "{rest[0]}" not found'), status=404)
        return web.json_response(found)


def _status(reason: str, message: str) -> Object:
    return {"kind": "Status", "reason": reason, "message": message}


def kubeconfig_of(server: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "kafka"}}],
        "current-context": "here",
    }


@contextmanager
def canned_api(directory: Path, objects: Mapping[str, Sequence[Object]]) -> Iterator[CannedApi]:
    loop = asyncio.new_event_loop()
    everywhere: dict[str, list[Object]] = {"Node": []}
    canned = {kind: [json.loads(json.dumps(o)) for o in some] for kind, some in objects.items()}
    api = CannedApi(everywhere | canned, directory)
    runner: web.AppRunner | None = None

    async def start() -> int:
        nonlocal runner
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", api.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, name="canned-api")
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        api.kubeconfig = directory / "kubeconfig.yaml"
        api.kubeconfig.write_text(yaml.safe_dump(kubeconfig_of(f"http://127.0.0.1:{port}")))
        yield api
    finally:
        if runner is not None:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
