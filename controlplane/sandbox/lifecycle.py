"""`up` and `down`: the same state whatever was there before, a fresh machine, a crash or a reboot.

`up` is idempotent. What lives and still fits is adopted; what is dead, half-made or outdated is made anew; ports and
networks stay what they were. `down` ends containers too and leaves no process; `purge` leaves no file either.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.adapters.kubernetes.resources import NODES
from controlplane.ports import KubeError, Object
from controlplane.sandbox import claims, control_plane, processes
from controlplane.sandbox.apply import apply_all
from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.config import SandboxConfig, SandboxPaths
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.fault_state import lost_nodes
from controlplane.sandbox.node.records import StuckContainersError, end_containers
from controlplane.sandbox.objects import chart_objects, sandbox_objects
from controlplane.sandbox.once import locked, remove_tree
from controlplane.sandbox.pki import ensure_pki
from controlplane.sandbox.processes import Part
from controlplane.sandbox.progress import Progress

READY_SECONDS = 90.0
NODE_READY_SECONDS = 60.0
CONTAINER_GRACE_SECONDS = 15.0
"""`down` ends all of a cluster at once: no broker finds a controller to hand its leaders to, so longer is no use."""

STOP_SECONDS = 10.0
POLL_SECONDS = 0.05


def up(
    paths: SandboxPaths, progress: Progress, overrides: Mapping[str, Any] | None = None, *, operator: bool = True
) -> SandboxConfig:
    """Bring the sandbox up and wait until its nodes are ready. `overrides` are fields of SandboxConfig.

    Without `operator` its Deployment has no replicas: tests run operators of their own.
    Raises SandboxError; what was started by then stays, and another `up` goes on from there.
    """
    programs = ensure_control_plane(progress)
    started = time.monotonic()
    with _exclusive(paths, progress):
        for stray in processes.strays(paths, control_plane.is_part):
            processes.stop(stray, STOP_SECONDS)
        config = claims.claim(paths, overrides or {}, _own_ports(paths))
        progress.say(f"sandbox {config.name}: starting on {control_plane.server(config)}")
        ensure_pki(paths, config)
        control_plane.write_files(paths, config)
        for make in (control_plane.etcd, control_plane.apiserver):
            processes.ensure(paths, make(programs, paths, config))
        asyncio.run(_ready(paths))
        objects = sandbox_objects() + chart_objects(paths.ledger_url, operator=operator)
        parts = [make(programs, paths, config) for make in (control_plane.controller_manager, control_plane.scheduler)]
        lost = lost_nodes(paths)
        parts += [part for part in control_plane.workers(paths, config) if part.name not in lost]
        if lost:
            progress.say(
                f"sandbox {config.name}: {', '.join(sorted(lost))} stay down until healed (kfleet sandbox heal)"
            )
        with ThreadPoolExecutor(len(parts)) as pool:
            beginning = [pool.submit(processes.ensure, paths, part) for part in parts]
            asyncio.run(_apply(paths, objects))
            for part in beginning:
                part.result()
        _retire(paths, {*control_plane.ORDER, *(part.name for part in parts)})
        asyncio.run(_nodes_ready(paths, config, parts, progress))
    progress.say(f"sandbox {config.name}: up after {time.monotonic() - started:.1f} s")
    return config


def down(paths: SandboxPaths, progress: Progress, *, purge: bool = False) -> None:
    """End every process of the sandbox, containers included; with `purge` remove its files too. Idempotent."""
    if not paths.root.exists():
        claims.forget(paths.root)
        return
    with _exclusive(paths, progress):
        names = processes.recorded_names(paths)
        nodes = _nodes(paths)
        _stop(paths, [name for name in names if name not in control_plane.ORDER])
        if nodes:
            progress.say(f"sandbox {paths.root.name}: ending containers (up to {CONTAINER_GRACE_SECONDS:g} s)")
            _end_containers(paths, nodes)
        for name in reversed(control_plane.ORDER):
            _stop(paths, [name])
        for stray in processes.marked(paths):
            processes.stop(stray, CONTAINER_GRACE_SECONDS)
        if purge:
            remove_tree(paths.root)
            claims.forget(paths.root)
            _lock_file(paths).unlink(missing_ok=True)
    progress.say(f"sandbox {paths.root.name}: {'gone' if purge else 'down, its data kept'}")


@contextlib.contextmanager
def admin(paths: SandboxPaths) -> Iterator[Callable[[], KubeClient]]:
    """A factory of clients with the admin's identity, for use inside one event loop."""
    config = from_kubeconfig(paths.kubeconfig())
    yield lambda: KubeClient(config, field_manager="kfleet-sandbox")


def _own_ports(paths: SandboxPaths) -> frozenset[int]:
    config = claims.load(paths)
    if config is None:
        return frozenset()
    holders: dict[str, tuple[str, ...]] = {
        control_plane.APISERVER: ("api_port",),
        control_plane.ETCD: ("etcd_port", "etcd_peer_port"),
        control_plane.CONTROLLER_MANAGER: ("controller_manager_port",),
        control_plane.SCHEDULER: ("scheduler_port",),
    }
    live = [fields for name, fields in holders.items() if processes.find(paths, name)]
    return frozenset(getattr(config, field) for fields in live for field in fields)


async def _ready(paths: SandboxPaths) -> None:
    deadline = time.monotonic() + READY_SECONDS
    why = "no answer"
    with admin(paths) as client:
        async with client() as kube:
            while time.monotonic() < deadline:
                try:
                    await kube.text("/readyz")
                except KubeError as error:
                    why = error.message.splitlines()[0] if error.message else error.reason
                else:
                    return
                _all_alive(paths, (control_plane.ETCD, control_plane.APISERVER))
                await asyncio.sleep(POLL_SECONDS)
    log = processes.log_file(paths, control_plane.APISERVER)
    raise SandboxError(f"kube-apiserver was not ready within {READY_SECONDS:g} s ({why}); see {log}")


async def _apply(paths: SandboxPaths, objects: list[Object]) -> None:
    with admin(paths) as client:
        async with client() as kube:
            try:
                await apply_all(kube, objects)
            except KubeError as error:
                raise SandboxError(f"the API server refused an object of the sandbox: {error.message}") from error


async def _nodes_ready(paths: SandboxPaths, config: SandboxConfig, parts: list[Part], progress: Progress) -> None:
    deadline = time.monotonic() + NODE_READY_SECONDS
    wanted = set(config.nodes) & {part.name for part in parts}
    missing = wanted
    with admin(paths) as client:
        async with client() as kube:
            while time.monotonic() < deadline:
                try:
                    missing = wanted - {node["metadata"]["name"] for node in await _ready_nodes(kube)}
                except KubeError as error:
                    raise SandboxError(f"cannot list nodes: {error.message}") from error
                _all_alive(paths, (part.name for part in parts))
                if not missing:
                    return
                progress.beat(f"  waiting for {', '.join(sorted(missing))}")
                await asyncio.sleep(POLL_SECONDS)
    raise SandboxError(
        f"not ready within {NODE_READY_SECONDS:g} s: {', '.join(sorted(missing))}; see the logs in {paths.logs}"
    )


async def _ready_nodes(kube: KubeClient) -> list[Object]:
    def ready(node: Object) -> bool:
        conditions = node.get("status", {}).get("conditions") or []
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    return [node for node in await kube.list(NODES) if ready(node)]


def _all_alive(paths: SandboxPaths, names: Iterable[str]) -> None:
    for name in names:
        if processes.find(paths, name) is None:
            raise SandboxError(
                f"{name} ended right after it was started: {processes.tail(paths, name)} "
                f"(log: {processes.log_file(paths, name)})"
            )


def _retire(paths: SandboxPaths, wanted: set[str]) -> None:
    """Parts of an earlier configuration (a zone that is no longer there)."""
    gone = [name for name in processes.recorded_names(paths) if name not in wanted]
    _stop(paths, gone)
    _end_containers(paths, [name for name in gone if paths.node(name).exists()])


def _stop(paths: SandboxPaths, names: list[str]) -> None:
    def one(name: str) -> None:
        running = processes.find(paths, name)
        if running is not None:
            processes.stop(running, STOP_SECONDS)
        processes.forget(paths, name)

    if names:
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(one, names))


def _end_containers(paths: SandboxPaths, nodes: list[str]) -> None:
    if not nodes:
        return
    try:
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: end_containers(paths, node, CONTAINER_GRACE_SECONDS), nodes))
    except StuckContainersError as error:
        raise SandboxError(str(error)) from error


def _nodes(paths: SandboxPaths) -> list[str]:
    directory = paths.node("x").parent
    return sorted(entry.name for entry in directory.iterdir() if entry.is_dir()) if directory.is_dir() else []


def _lock_file(paths: SandboxPaths) -> Path:
    """Beside the root, so that it can be held while the root is removed."""
    return paths.root.parent / f".{paths.root.name}.lock"


@contextlib.contextmanager
def _exclusive(paths: SandboxPaths, progress: Progress) -> Iterator[None]:
    with locked(
        _lock_file(paths), lambda: progress.beat(f"another command works on sandbox {paths.root.name}; waiting")
    ):
        yield
