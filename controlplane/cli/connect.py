"""From the options of a command to a connection with the API server."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from controlplane.cli.options import Where

if TYPE_CHECKING:
    from controlplane.adapters.kubernetes.client import KubeClient

T = TypeVar("T")
FIELD_MANAGER = "kfleet-cli"
SELF_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass(frozen=True)
class Connection:
    """`namespace` is the one asked for, else the context's; `scope` is it, or None for every namespace."""

    kube: KubeClient
    namespace: str
    scope: str | None

    async def user(self) -> str:
        """Who the API server says we are. Raises KubeError."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self.kube.request("POST", SELF_REVIEW, body=review)
        return str(answer["status"]["userInfo"]["username"])


@asynccontextmanager
async def connect(where: Where, *, timeout: float = 15.0) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - of each call, not of the body
    """Nothing is asked yet: the first call finds out whether anybody answers. Raises KubeConfigError."""
    from controlplane.adapters.kubernetes.client import KubeClient  # noqa: PLC0415 - HTTP: half a second
    from controlplane.adapters.kubernetes.config import find_config  # noqa: PLC0415 - YAML

    config = find_config(where.kubeconfig, where.context)
    namespace = where.namespace or config.namespace
    async with KubeClient(config, field_manager=FIELD_MANAGER, timeout=timeout) as kube:
        yield Connection(kube, namespace, None if where.all_namespaces else namespace)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end. Ctrl-C cancels it, clean-up included, and raises KeyboardInterrupt.

    Libraries' logs are not ours to show: a command says in one line what is wrong. KFLEET_DEBUG=1 shows them.
    """
    debug = bool(os.environ.get("KFLEET_DEBUG"))
    logging.basicConfig(
        handlers=[logging.StreamHandler() if debug else logging.NullHandler()],
        level=logging.DEBUG if debug else logging.WARNING,
    )
    return asyncio.run(work)
