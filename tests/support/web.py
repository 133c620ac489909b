"""Pods that tell their name over HTTP and can be made unready, and a client that asks through a Service.

The servers are Python's own, on the pod's address; readiness is a file in an emptyDir, which a test removes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from support.node_space import Space, ready

from controlplane.adapters.kubernetes.resources import SERVICES
from controlplane.ports import Object

ASK_SECONDS = 30.0
"""For an answer that must come: only a machine that stands still makes a pod take so long."""

TRY_SECONDS = 3.0
UNTIL_SECONDS = 100.0
SERVER = """
import os, socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(os.environ["NAME"].encode() + b" " + line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server((os.environ["ADDRESS"], 8080), Handler).serve_forever()
"""


def field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


async def web_pod(here: Space, name: str, *, first: str = "true", **fields: Any) -> Object:
    """A pod labelled app=web that answers every line with its name and the line; returns it once it is ready.

    Each start of its container begins with the shell command `first`, in the pod's root.
    """
    script = f'cd "$KFLEET_POD_ROOT"; {first}; touch state/ready; exec python3 -c "$SERVER"'
    container = {
        "name": "main",
        "image": "kfleet/busybox:1",
        "command": ["sh", "-c", script],
        "env": [field("NAME", "metadata.name"), field("ADDRESS", "status.podIP"), {"name": "SERVER", "value": SERVER}],
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {
            "exec": {"command": ["sh", "-c", 'test -e "$KFLEET_POD_ROOT/state/ready"']},
            "periodSeconds": 1,
            "failureThreshold": 1,
            "timeoutSeconds": 30,  # a busy machine must not make a pod unready: tests do
        },
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
    }
    volumes = [{"name": "state", "emptyDir": {}}, *fields.pop("volumes", [])]
    container["volumeMounts"] += fields.pop("mounts", [])
    metadata = {"labels": {"app": "web"}}
    await here.pods(name, [container], metadata=metadata, volumes=volumes, **fields)
    return await here.until(name, ready, "Ready")


async def web_service(here: Space, name: str = "web", **spec: Any) -> str:
    """Returns its ClusterIP."""
    default = {"selector": {"app": "web"}, "ports": [{"name": "web", "port": 8000, "targetPort": "web"}]}
    made = await here.create(SERVICES, name, spec=default | spec)
    return str(made["spec"]["clusterIP"])


def set_ready(here: Space, pod: str, *, ready: bool) -> None:
    (record,) = here.records(pod)
    mark = record.root / "state" / "ready"
    if ready:
        mark.touch()
    else:
        mark.unlink()


class Client:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, address: str, port: int = 8000, seconds: float = ASK_SECONDS) -> Client:
        """Raises TimeoutError or OSError as a client would meet them."""
        return cls(*await asyncio.wait_for(asyncio.open_connection(address, port), seconds))

    async def ask(self, seconds: float = ASK_SECONDS) -> str:
        """The name of the pod behind this connection. Raises TimeoutError, OSError."""
        self.writer.write(b"hello\n")
        line = (await asyncio.wait_for(self.reader.readline(), seconds)).decode()
        if not line.endswith("hello\n"):
            raise ConnectionResetError(f"the connection ended with {line!r}")
        return line.split()[0]

    def close(self) -> None:
        self.writer.close()


async def ask(address: str, port: int = 8000, seconds: float = ASK_SECONDS) -> str:
    """One question on a connection of its own: the answering pod, or how it went wrong.

    refused, reset, timeout (no connection: a proxy that only stands still for a moment has the kernel accept it),
    silent (a connection, and no answer).
    """
    wrong = "timeout"
    try:
        client = await Client.connect(address, port, seconds)
        wrong = "silent"
        try:
            return await client.ask(seconds)
        finally:
            client.close()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return wrong
    except OSError:
        return "reset"


async def answers(
    address: str, wanted: set[str], port: int = 8000, *, wait: float = TRY_SECONDS, seconds: float = UNTIL_SECONDS
) -> None:
    """Until the last questions, two for each wanted answer, brought exactly these; `wait` bounds each question."""
    got: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            while len(got) < 2 * len(wanted) or set(got[-2 * len(wanted) :]) != wanted:
                got.append(await ask(address, port, wait))
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{address}:{port} never answered {wanted}, last {got[-5:]}") from None
