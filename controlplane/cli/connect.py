"""From the options of a command to a connection with the API server."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.options import Where

if TYPE_CHECKING:
    from controlplane.adapters.kubernetes.client import KubeClient

T = TypeVar("T")
FIELD_MANAGER = "kfleet-cli"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""Of any object of ours, and of a namespace (RFC 1123): it becomes part of a path."""
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
    """Nothing is asked yet: the first call finds out whether anybody answers. Raises KubeConfigError, and CliError for
    what cannot be a namespace."""
    from controlplane.adapters.kubernetes.client import KubeClient  # noqa: PLC0415 - HTTP: half a second
    from controlplane.adapters.kubernetes.config import find_config  # noqa: PLC0415 - YAML

    if where.namespace:
        check_name(where.namespace, "a namespace")
    config = find_config(where.kubeconfig, where.context)
    namespace = where.namespace or config.namespace
    async with KubeClient(config, field_manager=FIELD_MANAGER, timeout=timeout) as kube:
        yield Connection(kube, namespace, None if where.all_namespaces else namespace)


def check_name(name: str, of: str) -> None:
    """Raises CliError for what no object is called; `of` says which."""
    if not NAME.fullmatch(name):
        told = "small letters, digits, '-' and '.', with a letter or a digit at both ends"
        raise CliError(f"{name!r} is no name of {of}: it has {told}", ExitCode.USAGE)


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
