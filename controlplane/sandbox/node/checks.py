"""One try of a probe or a lifecycle hook: httpGet, tcpSocket, exec. Messages are worded as a kubelet's."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from controlplane.ports import Object
from controlplane.sandbox.node import objects
from controlplane.sandbox.node.rootfs import locate

OUTPUT_LIMIT = 10 * 1024
USER_AGENT = "kube-probe/1.34"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container can be asked: its address, its root, its main process (whose environment exec inherits)."""

    container: Object
    pod_ip: str
    root: Path
    pid: int


async def check(probe: Object, target: Target, http: aiohttp.ClientSession, timeout: float) -> str | None:  # noqa: ASYNC109 - part of the probe
    """None for success, else why it failed."""
    try:
        if "httpGet" in probe:
            return await _http(probe["httpGet"], target, http, timeout)
        if "tcpSocket" in probe:
            return await _tcp(probe["tcpSocket"], target, timeout)
        if "exec" in probe:
            return await _exec(probe["exec"]["command"], target, timeout)
    except TimeoutError:
        return (
            f"command timed out after {timeout:g}s" if "exec" in probe else f"context deadline exceeded ({timeout:g}s)"
        )
    return f"unsupported check {sorted(probe)}"


async def _http(action: Object, target: Target, http: aiohttp.ClientSession, seconds: float) -> str | None:
    port = objects.container_port(target.container, action["port"])
    if port is None:
        return f"no port named {action['port']!r} in container {target.container['name']}"
    host, path = action.get("host") or target.pod_ip, action.get("path") or "/"
    url = f"{action.get('scheme', 'HTTP').lower()}://{host}:{port}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*"} | {
        header["name"]: header["value"] for header in action.get("httpHeaders") or []
    }
    try:
        async with http.get(url, headers=headers, ssl=False, timeout=aiohttp.ClientTimeout(total=seconds)) as response:
            if 200 <= response.status < 400:
                return None
            return f"HTTP probe failed with statuscode: {response.status}"
    except aiohttp.ClientError as error:
        return f'Get "{url}": {error}'


async def _tcp(action: Object, target: Target, seconds: float) -> str | None:
    port = objects.container_port(target.container, action["port"])
    if port is None:
        return f"no port named {action['port']!r} in container {target.container['name']}"
    host = action.get("host") or target.pod_ip
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        return f"dial tcp {host}:{port}: {error.strerror or error}"
    writer.close()
    return None


def _environment(pid: int) -> dict[str, str]:
    """What the process was started with: a node process that came back has it nowhere else."""
    raw = Path(f"/proc/{pid}/environ").read_bytes()
    return dict(entry.decode(errors="surrogateescape").split("=", 1) for entry in raw.split(b"\0") if b"=" in entry)


async def _exec(command: list[str], target: Target, seconds: float) -> str | None:
    """Runs beside the container with the environment its main process was started with; its whole group is ended."""
    try:
        env = _environment(target.pid)
        process = await asyncio.create_subprocess_exec(
            locate(command[0], target.root),
            *command[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            cwd=target.root,
            start_new_session=True,
        )
    except OSError as error:
        return f'exec: "{command[0]}": {error.strerror}'
    output = b""
    try:
        async with asyncio.timeout(seconds):
            if process.stdout is not None:
                while chunk := await process.stdout.read(65536):
                    output = (output + chunk)[:OUTPUT_LIMIT]
            code = await process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return None if code == 0 else output.decode(errors="replace").strip() or f"command exited with code {code}"
