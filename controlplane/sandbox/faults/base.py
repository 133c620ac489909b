"""What every kind of fault is, and how kinds look at the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import KubeConfigError, from_kubeconfig
from controlplane.ports import KubeError, NotFoundError, Object, Resource
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.fault_state import Fault

ANSWER_SECONDS = 20.0
"""A busy machine's API server takes its time; one that is down refuses at once."""

T = TypeVar("T")


class FaultError(SandboxError):
    """This fault cannot be injected or healed; the message says why and what is possible."""


class FaultKind(Protocol):
    """`lasting` faults are recorded until healed; `repeatable` ones may be injected again while in force."""

    name: str
    description: str
    target: str
    """How a target is written, with an example."""

    lasting: bool
    repeatable: bool

    def prepare(self, paths: SandboxPaths, target: str) -> dict[str, str]:
        """Check the target, change nothing; returns what `heal` will need. Raises FaultError."""
        ...

    def inject(self, paths: SandboxPaths, target: str, undo: Mapping[str, str]) -> str:
        """Act; returns a line for a person."""
        ...

    def heal(self, paths: SandboxPaths, fault: Fault, forget: Callable[[], None]) -> str:
        """Undo, calling `forget` where the record must go; may be repeated after a crash. Returns a line."""
        ...


def split(target: str, what: str) -> tuple[str, str]:
    """The two halves of namespace/name. Raises FaultError."""
    namespace, _, name = target.partition("/")
    if not namespace or not name or "/" in name:
        raise FaultError(f"target {target!r} is not a {what}: write namespace/name")
    return namespace, name


def fetch(paths: SandboxPaths, resource: Resource, name: str, namespace: str | None = None) -> Object:
    """Raises FaultError, naming what there is when `name` is not there."""

    async def call(kube: KubeClient) -> Object:
        try:
            return await kube.get(resource, name, namespace)
        except NotFoundError as error:
            names = sorted(one["metadata"]["name"] for one in await kube.list(resource, namespace))
            where = f" in namespace {namespace}" if namespace else ""
            raise FaultError(
                f"no {resource.kind} {name}{where}; there is: {', '.join(names[:20]) or 'none'}"
            ) from error

    return _with_client(paths, call)


def fetch_all(paths: SandboxPaths, resource: Resource, namespace: str) -> Sequence[Object]:
    async def call(kube: KubeClient) -> Sequence[Object]:
        return await kube.list(resource, namespace)

    return _with_client(paths, call)


def _with_client(paths: SandboxPaths, call: Callable[[KubeClient], Awaitable[T]]) -> T:
    async def run() -> T:
        config = from_kubeconfig(paths.kubeconfig())
        async with KubeClient(config, field_manager="kfleet-sandbox", timeout=ANSWER_SECONDS) as kube:
            return await call(kube)

    try:
        return asyncio.run(run())
    except KubeConfigError as error:
        raise FaultError(f"the sandbox has never been up: {error}") from error
    except KubeError as error:
        raise FaultError(f"the API server cannot be asked (is the sandbox up?): {error.message}") from error
